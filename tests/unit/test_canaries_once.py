"""The canaries of a judge are run once in a test run, by one worker, and the run is kept only after its tape has closed well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from filelock import FileLock

from pytest_llmops import recorder
from pytest_llmops.assertions import judge_agreement
from pytest_llmops.assertions.judge_agreement import assert_judge_canaries_once
from pytest_llmops.cassettes import run_folder, use_cassette
from pytest_llmops.errors import CassetteMiss, MeasurementFailed, UsageError
from pytest_llmops.judges.calibration.canaries import Canary, canaries_for_judge
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Verdict
from pytest_llmops.settings import Settings

CANARIES = [Canary(id=f"c{number}", answer=f"bad {number}") for number in range(3)] + [
    Canary(id="right", answer="30 days", control=True)
]


class Counting:
    """A judge that passes the right answer only, and counts its calls."""

    pass_at = 7

    def __init__(self, name: str = "own/tone", version: str = "1") -> None:
        self.name = name
        self.version = version
        self.calls = 0

    def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:  # noqa: ARG002
        self.calls += 1
        return Verdict(score=9 if "30" in answer else 1)


class Tapes:
    """The cassettes of a run: the names that were opened, and an error at the end of the next block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mode = "new"
        self.opened: list[str] = []
        self.at_end: BaseException | None = None

    @contextmanager
    def use_cassette(self, name: str) -> Iterator[Any]:
        self.opened.append(name)
        yield SimpleNamespace(path=self.folder / name, mode=self.mode)
        if self.at_end is not None:
            raise self.at_end


@pytest.fixture
def tapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tapes]:
    """A test of a run of its own, and its cassettes."""
    tapes = Tapes(tmp_path / "a")
    mine = recorder.Recorder(settings=Settings(judge_records=str(tmp_path)))
    monkeypatch.setattr(use_cassette, "use_cassette", tapes.use_cassette)
    monkeypatch.setattr(run_folder, "current_folder", lambda: tmp_path)
    monkeypatch.setattr(judge_agreement, "_runs_by_settings", [])
    recorder.push_recorder(mine)
    yield tapes
    recorder.pop_recorder(mine)


def check(judge: Any, canaries: Any = CANARIES, at_least: float | None = 1.0, label: str = "") -> Measurement:
    return assert_judge_canaries_once(
        judge, canaries=canaries, at_least=at_least, label=label, default=lambda: Counting("default")
    )


def test_a_second_test_of_the_run_calls_nothing(tapes: Tapes) -> None:
    judge = Counting()
    first, second = check(judge), check(judge, label="again")
    assert judge.calls == 4
    assert (first.name, first.value, first.threshold, first.status) == (
        "judge.own/tone.canaries",
        1.0,
        1.0,
        "passed",
    )
    assert (second.value, second.label, second.detail["canaries"]) == (1.0, "again", first.detail["canaries"])
    assert len(set(tapes.opened)) == 1
    assert tapes.opened[0].startswith("canaries/own-tone.1.")


def test_another_version_other_canaries_or_another_folder_are_run_anew(tapes: Tapes) -> None:
    judge, other = Counting(), Counting(version="2")
    check(judge)
    check(other)
    assert (judge.calls, other.calls) == (4, 4)
    check(judge, CANARIES[1:])
    assert judge.calls == 7
    tapes.folder = tapes.folder.with_name("b")
    check(judge)
    assert judge.calls == 11
    assert len(set(tapes.opened)) == 3


def test_another_run_begins_anew(tapes: Tapes) -> None:
    judge = Counting()
    check(judge)
    mine = recorder.find_test_recorder()
    before = mine.settings
    mine.settings = Settings(judge_records=str(tapes.folder))
    check(judge)
    assert judge.calls == 8
    mine.settings = before
    check(judge)
    assert judge.calls == 12
    assert len(judge_agreement._runs_by_settings) == 1


def test_a_run_whose_tape_missed_a_request_is_not_kept(tapes: Tapes) -> None:
    judge = Counting()
    tapes.at_end = CassetteMiss("no recording")
    with pytest.raises(CassetteMiss):
        check(judge)
    tapes.at_end = None
    check(judge)
    assert judge.calls == 8


def test_only_a_tape_that_records_needs_the_lock(tapes: Tapes, monkeypatch: pytest.MonkeyPatch) -> None:
    locked: list[str] = []

    @contextmanager
    def lock(key: str) -> Iterator[None]:
        locked.append(key)
        yield
        locked.append("end")

    monkeypatch.setattr(judge_agreement, "_lock_canary_run", lock)
    tapes.mode = "none"
    check(Counting())
    assert locked == []
    tapes.mode = "new"
    check(Counting(name="other"))
    check(Counting(name="other"))
    assert [key.partition(".")[0] for key in locked] == ["other", "end"]


def test_a_worker_waits_for_the_one_that_runs_the_canaries(tapes: Tapes) -> None:
    held: list[bool] = []
    folder = tapes.folder.parent
    with judge_agreement._lock_canary_run("key"):
        (file,) = folder.glob("canaries-*.lock")
        other = FileLock(file, blocking=False)
        try:
            other.acquire()
        except TimeoutError:
            held.append(True)
    assert held == [True]
    with FileLock(file, blocking=False):
        pass
    assert len(file.stem.removeprefix("canaries-")) == 16


def test_after_the_time_out_a_worker_calls_the_judge_itself(
    tapes: Tapes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_agreement, "LOCK_TIMEOUT_S", 0)
    done: list[str] = []
    with judge_agreement._lock_canary_run("key"):
        (file,) = tapes.folder.parent.glob("canaries-*.lock")
        with judge_agreement._lock_canary_run("key"):
            done.append("called")
        with pytest.raises(TimeoutError):
            FileLock(file, blocking=False).acquire()
    assert done == ["called"]


def test_without_a_judge_the_default_is_used(tapes: Tapes) -> None:
    assert check(None).name == "judge.default.canaries"
    assert check(Counting()).name == "judge.own/tone.canaries"


def test_without_canaries_the_built_in_ones_are_run(tapes: Tapes) -> None:
    judge = Counting()
    check(judge, None, at_least=None)
    check(judge, None, at_least=None)
    assert judge.calls == len(canaries_for_judge(judge))


def test_a_judge_that_passes_a_canary_fails_with_its_facts(tapes: Tapes) -> None:
    judge = Counting()
    canaries = [*CANARIES, Canary(id="bad", answer="30 30")]
    with pytest.raises(MeasurementFailed) as caught:
        check(judge, canaries)
    (measurement,) = caught.value.measurements
    assert (measurement.value, measurement.version) == (0.75, "1")
    assert recorder.find_test_recorder().facts == {"judge": {"name": "own/tone", "version": "1", "model": ""}}
    detail = cast("dict[str, Any]", measurement.detail["canaries"])
    assert (detail["judge"], detail["model"], detail["threshold"]) == ("own/tone", "", 7)
    assert check(judge, canaries, at_least=0.75).status == "passed"
    assert judge.calls == 5


def test_a_share_above_1_is_refused_before_any_call(tapes: Tapes) -> None:
    judge = Counting()
    with pytest.raises(UsageError):
        check(judge, at_least=1.5)
    assert (judge.calls, tapes.opened) == (0, [])
