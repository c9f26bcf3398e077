"""Judges at work: patience with a busy server, many answers at once, and no verdict where a check has failed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.messages import check_message
from support.server import WAIT_S
from support.tapes import no_tape, taped

from pytest_llmops import (
    assert_checklist,
    assert_contains,
    assert_judge_score,
    assert_preferred,
    recorder,
    soft,
)
from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.rate_limit import RateLimiter
from pytest_llmops.errors import CallDeferred, MeasurementFailed, ModelError
from pytest_llmops.judges.concurrency import run_judge_tasks
from pytest_llmops.judges.protocol import response_format as capabilities
from pytest_llmops.judges.protocol.response_format import retry_rate_limited
from pytest_llmops.judges.rubric import Pairwise
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Verdict
from pytest_llmops.providers.offline import ScriptedModel
from pytest_llmops.settings import Settings


class Busy:
    def __init__(self, *errors: ModelError) -> None:
        self.errors = list(errors)
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return "yes"


def busy(text: str = "was refused with status 429: slow down", kind: str = "rate_limit") -> ModelError:
    return ModelError(text, kind=kind, status=429)


def test_a_busy_server_is_asked_again_with_the_pace_of_all(tmp_path: Path) -> None:
    ask = Busy(*(busy() for _ in range(capabilities.MAX_TRIES - 1)))
    with taped(tmp_path / "c.json", "new"):
        assert retry_rate_limited(ask) == "yes"
    assert ask.asked == capabilities.MAX_TRIES


@pytest.mark.parametrize(
    "errors",
    [
        [busy()] * 9,
        [busy("insufficient_quota")] * 2,
        [busy("was refused", kind="auth")] * 2,
        [busy("is down", kind="server")] * 2,
    ],
)
def test_patience_ends(tmp_path: Path, errors: list[ModelError]) -> None:
    ask = Busy(*errors)
    with taped(tmp_path / "c.json", "new"), pytest.raises(ModelError):
        retry_rate_limited(ask)
    assert ask.asked == (capabilities.MAX_TRIES if len(errors) == 9 else 1)


def test_where_nothing_keeps_the_pace_nothing_is_asked_again() -> None:
    ask = Busy(busy())
    with no_tape(), pytest.raises(ModelError):
        retry_rate_limited(ask)
    assert ask.asked == 1


def test_after_it_was_in_vain_nobody_waits_until_the_server_answers(tmp_path: Path) -> None:
    pace = RateLimiter(1, lambda: tmp_path, sleep=lambda _: pytest.fail("somebody waits"))
    with taped(tmp_path / "c.json", "new", pace=pace):
        empty = Busy(busy("insufficient_quota"))
        pace.slow_down("", 60)
        with pytest.raises(ModelError):
            retry_rate_limited(empty)
        later = Busy(busy(), busy())
        with pytest.raises(ModelError):
            retry_rate_limited(later)
        assert (empty.asked, later.asked) == (1, 1)
        pace.enter().release(200, {})
        assert retry_rate_limited(Busy(busy())) == "yes"


def settled(limit: int) -> recorder.Recorder:
    return recorder.Recorder(settings=Settings(concurrency=limit))


def test_several_answers_are_judged_at_once_and_come_in_their_order(tmp_path: Path) -> None:
    """The first goes alone; of the others all three have to be at work together for any of them to end."""
    together_at_work = threading.Barrier(3, timeout=WAIT_S)

    def task(number: int) -> tuple[int, str]:
        if number:
            together_at_work.wait()
        return number, recorder.current_purpose()

    with taped(tmp_path / "c.json", "new"), recorder.set_purpose("judge"):
        mine = settled(3)
        recorder.push_recorder(mine)
        try:
            result = list(run_judge_tasks([partial(task, number) for number in range(7)]))
        finally:
            recorder.pop_recorder(mine)
    assert result == [(number, "judge") for number in range(7)]


@pytest.mark.parametrize("mode", ["none", "new"])
def test_replayed_or_alone_one_after_the_other(tmp_path: Path, mode: str) -> None:
    class Alone:
        concurrent = False

    threads = []
    with taped(tmp_path / "c.json", mode):  # type: ignore[arg-type]
        list(
            run_judge_tasks(
                [lambda: threads.append(threading.get_ident())] * 4, judge=Alone() if mode == "new" else None
            )
        )
    assert set(threads) == {threading.get_ident()}


def test_who_stops_pays_for_no_more_than_is_at_work(tmp_path: Path) -> None:
    done: list[int] = []
    with taped(tmp_path / "c.json", "new"):
        mine = settled(2)
        recorder.push_recorder(mine)
        try:
            for number, _ in enumerate(
                run_judge_tasks([partial(done.append, number) for number in range(100)])
            ):
                if number == 1:  # the first of those that are asked at once
                    break
            assert sorted(done) == [0, 1, 2]
        finally:
            recorder.pop_recorder(mine)


def test_what_one_raises_ends_it_and_no_more_is_begun(tmp_path: Path) -> None:
    done: list[int] = []

    def boom() -> None:
        raise ValueError("boom")

    tasks: list[Callable[[], None]] = [
        partial(done.append, 0),
        boom,
        *[partial(done.append, number) for number in range(1, 50)],
    ]
    with taped(tmp_path / "c.json", "new"):
        mine = settled(2)
        recorder.push_recorder(mine)
        try:
            with pytest.raises(ValueError, match="boom"):
                list(run_judge_tasks(tasks))
        finally:
            recorder.pop_recorder(mine)
    assert set(done) <= {0, 1}


def test_who_asks_the_same_asks_in_its_order(tmp_path: Path) -> None:
    seen: list[int] = []
    first = threading.Event()

    def task(number: int) -> int:
        if number == 3:
            first.set()
        elif number == 1:
            assert first.wait(WAIT_S)  # number 3 asks something else: it need not wait for this one
        seen.append(number)
        return number

    with taped(tmp_path / "c.json", "new"):
        mine = settled(4)
        recorder.push_recorder(mine)
        try:
            keys = ["a", "same", "same", "other"]
            assert list(run_judge_tasks([partial(task, number) for number in range(4)], keys=keys)) == [
                0,
                1,
                2,
                3,
            ]
        finally:
            recorder.pop_recorder(mine)
    assert seen.index(1) < seen.index(2)


@pytest.mark.parametrize("mode", ["none", "new"])
def test_what_one_finds_out_about_the_server_the_others_do_not_hear(tmp_path: Path, mode: RecordMode) -> None:
    """All start from what the first has found out: whoever is faster, the same is asked again on replay."""

    def task(number: int) -> capabilities.Capabilities:
        known = capabilities.get_capabilities("server")
        capabilities.put_capabilities("server", (number + 1, frozenset()), None)
        return known

    with taped(tmp_path / "c.json", mode):
        mine = settled(3)
        recorder.push_recorder(mine)
        try:
            result = list(run_judge_tasks([partial(task, number) for number in range(5)]))
            assert result == [capabilities.NO_CAPABILITIES, *[(1, frozenset())] * 4]
            assert capabilities.get_capabilities("server") == (1, frozenset())
            with capabilities.forget_capabilities():
                assert capabilities.get_capabilities("server") == capabilities.NO_CAPABILITIES
        finally:
            recorder.pop_recorder(mine)


def test_a_panel_of_judges_that_are_asked_alone_is_asked_alone(tmp_path: Path) -> None:
    class Alone:
        concurrent = False

    class Panel:
        judges = (object(), Alone())

    threads: list[int] = []
    with taped(tmp_path / "c.json", "new"):
        list(run_judge_tasks([lambda: threads.append(threading.get_ident())] * 4, judge=Panel()))
    assert set(threads) == {threading.get_ident()}


class Counting:
    """A judge that passes everything, and counts."""

    version = "1"
    pass_at = 1.0
    asked = 0

    def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
        del answer, question, reference
        self.asked += 1
        return Verdict(score=10)


def test_in_a_soft_block_no_judge_is_asked_once_a_check_has_failed() -> None:
    judge, model = Counting(), ScriptedModel([])
    mine = recorder.Recorder()
    recorder.push_recorder(mine)
    try:
        with pytest.raises(MeasurementFailed, match=r"text\.contains") as caught, soft():
            assert_judge_score("x", judge=judge)
            assert_contains("x", "y")
            with soft():
                measurement = assert_judge_score("x", judge=judge)
            told_too = assert_checklist("x", ["is y"], model=model)
            assert_preferred("x", "y", judge=Pairwise(model=model), label="old")
    finally:
        recorder.pop_recorder(mine)
    assert judge.asked == 1
    assert model.asked == []
    check_message(measurement.error)
    assert told_too.status == "errored"
    assert len(caught.value.measurements) == 1
    # Nothing of it is a measurement: it is neither low, nor unscored.
    assert [measurement.name for measurement in mine.measurements] == ["judge.Counting", "text.contains"]
    assert mine.facts["not called: judge.pairwise [old]"] == "failed before it: text.contains"
    assert "not called: judge.Counting" in mine.facts


def test_judges_are_asked_all_the_same_on_request_and_after_a_judge() -> None:
    judge = Counting()
    with pytest.raises(MeasurementFailed), soft(judges=True):
        assert_contains("x", "y")
        assert_judge_score("x", judge=judge)
    with pytest.raises(MeasurementFailed), soft():
        recorder.emit(Measurement(name="judge.other", value=0.0, threshold=1.0))
        assert_judge_score("x", judge=judge)
    assert judge.asked == 2


def test_after_the_block_judges_are_asked_again() -> None:
    judge = Counting()
    with pytest.raises(MeasurementFailed), soft():
        assert_contains("x", "y")
    assert_judge_score("x", judge=judge)
    assert judge.asked == 1


def test_a_tape_that_collects_gets_the_calls_of_all_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(active_tape, "current_tape", lambda: SimpleNamespace(mode="new", collects=True))
    jobs = []

    def task(number: int) -> int:
        jobs.append(active_tape.current_job())
        if number % 2:
            raise CallDeferred(number)
        return number

    results = run_judge_tasks([partial(task, number) for number in range(5)])
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    with pytest.raises(CallDeferred) as raised:
        next(results)
    assert (raised.value.place, len(jobs), len(set(jobs[1:]))) == (1, 5, 4)
