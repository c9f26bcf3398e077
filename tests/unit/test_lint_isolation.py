"""An assertion of ``--llm-lint`` on an altered answer leaves no trace in its test, and asks nobody."""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial
from pathlib import Path

import pytest
from support.tapes import call, make_tape, recorded

from pytest_llmops import recorder
from pytest_llmops.cassettes import Fault, FaultPlan, Tape, active_tape, current_tape
from pytest_llmops.errors import (
    BudgetReached,
    CassetteMiss,
    MeasurementErrored,
    MeasurementFailed,
    UsageError,
)
from pytest_llmops.harness.lint.isolation import NO_CASSETTE, Ending, Isolation, Outcome
from pytest_llmops.measurement import Measurement
from pytest_llmops.settings import Settings

BAD = Measurement(name="a", value=0.0, threshold=0.5)
NOTED: ContextVar[str] = ContextVar("noted", default="")


@pytest.fixture
def user_test() -> Iterator[recorder.Recorder]:
    running = recorder.Recorder(settings=Settings(), soft=True, watch_answer=lambda _: None)
    running.hidden["Anna"] = "NAME"
    recorder.push_recorder(running)
    yield running
    recorder.pop_recorder(running)


def raises(error: BaseException) -> Outcome:
    def assertion() -> None:
        raise error

    return Isolation().evaluate(assertion, may_ask=False)


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (CassetteMiss("nothing"), "asks"),
        (BudgetReached("no money"), "asks"),
        (MeasurementErrored("no score", [BAD]), "failed"),
        (MeasurementFailed("bad", [BAD]), "failed"),
        (UsageError("wrong"), "refused"),
        (ValueError("of a metric"), "failed"),
        (SystemExit(1), "failed"),
    ],
)
def test_the_error_of_an_assertion_says_how_it_ended(error: BaseException, ending: Ending) -> None:
    assert raises(error) == Outcome(ending)


def test_a_run_that_is_interrupted_ends() -> None:
    with pytest.raises(KeyboardInterrupt):
        raises(KeyboardInterrupt())


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        ([], Outcome("passed", None)),
        ([Measurement(name="a", value=0.3)], Outcome("passed", 0.3)),
        ([Measurement(name="a", value=0.3), Measurement(name="b", value=0.7)], Outcome("passed", 0.7)),
        (
            [Measurement(name="a", value=0.3, threshold=0.5), Measurement(name="b", value=1)],
            Outcome("failed"),
        ),
        ([Measurement(name="a", error="no score")], Outcome("failed")),
    ],
    ids=["nothing", "one", "the last value counts", "one is bad", "one has no score"],
)
def test_the_measurements_of_an_assertion_say_how_it_ended(
    user_test: recorder.Recorder, given: list[Measurement], outcome: Outcome
) -> None:
    def assertion() -> None:
        for measurement in given:
            recorder.emit(measurement)

    assert Isolation().evaluate(assertion, may_ask=False) == outcome
    assert user_test.measurements == []
    assert user_test.failures == []


def test_the_test_keeps_its_records_and_its_surroundings_are_seen(
    user_test: recorder.Recorder, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    exchange = recorder.Exchange(
        method="POST",
        url="u",
        request={},
        status=200,
        content_type="",
        body=b"",
        latency_s=0.1,
        ttft_s=None,
        replayed=True,
        purpose="app",
    )
    user_test.exchanges.append(exchange)
    user_test.facts["case"] = "late"
    seen = []

    def assertion() -> None:
        own = recorder.current_recorder()
        assert own is not None
        seen.append((own.silent, own.soft, own.outer, own.watch_answer, own.facts, own.unreadable))
        assert own.settings is user_test.settings
        assert own.exchanges == [exchange]
        assert own.hidden == {"Anna": "NAME"}
        own.exchanges.clear()
        own.hidden.clear()
        own.facts["x"] = 1
        own.unreadable.append(None)  # type: ignore[arg-type]
        NOTED.set("by the assertion")
        print("out")
        print("err", file=sys.stderr)
        warnings.warn("loud", stacklevel=1)
        random.random()

    random.seed(7)
    state = random.getstate()
    assert Isolation().evaluate(assertion, may_ask=False) == Outcome("passed")
    ((silent, soft, outer, watch_answer, _, _),) = seen
    assert (silent, soft, outer, watch_answer) == (True, False, None, None)
    assert random.getstate() == state
    assert recorder.current_recorder() is user_test
    assert user_test.exchanges == [exchange]
    assert user_test.hidden == {"Anna": "NAME"}
    assert user_test.facts == {"case": "late"}
    assert user_test.unreadable == []
    assert NOTED.get() == ""
    assert tuple(capsys.readouterr()) == ("", "")
    assert list(recwarn) == []


def test_random_numbers_are_restored_after_an_error_too() -> None:
    random.seed(7)
    state = random.getstate()

    def assertion() -> None:
        random.random()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Isolation().evaluate(assertion, may_ask=False)
    assert random.getstate() == state


@pytest.fixture
def tape(tmp_path: Path) -> Iterator[Tape]:
    """The tape of a test, with recorded answers and a fault."""
    path = tmp_path / "a.yaml"
    recorded(path, ("first", "an answer"), ("second", "an answer"), ("third", "an answer"))
    used = make_tape(path, "none", faults=FaultPlan([Fault(kind="empty")]))
    active_tape.push_tape(used)
    yield used
    active_tape.remove_tape(used)


def test_an_assertion_gets_recorded_answers_only(tape: Tape) -> None:
    isolation = Isolation()
    used: list[Tape | None] = []

    def ask(text: str) -> None:
        used.append(current_tape())
        replay = current_tape()
        assert replay is not None
        assert call(replay, text, "never") == "an answer"

    for known in ("first", "second"):
        assert isolation.evaluate(partial(ask, known), may_ask=True) == Outcome("passed")
    assert used[0] is used[1]
    assert isinstance(used[0], Tape)
    assert (used[0].path, used[0].mode, used[0].config.faults) == (tape.path, "none", None)
    assert used[0] is not tape
    assert current_tape() is tape
    assert isolation.evaluate(partial(ask, "unknown"), may_ask=True) == Outcome("asks")
    assert isolation.evaluate(partial(ask, "third"), may_ask=True) == Outcome("passed"), "a miss is over"


def test_a_miss_that_the_metric_catches_counts_all_the_same(tape: Tape) -> None:
    def caught() -> None:
        replay = current_tape()
        assert replay is not None
        with pytest.raises(CassetteMiss):
            call(replay, "unknown", "never")

    assert Isolation().evaluate(caught, may_ask=True) == Outcome("asks")


def test_an_assertion_that_asks_nobody_keeps_the_tape_of_its_test(tape: Tape) -> None:
    used: list[Tape | None] = []
    Isolation().evaluate(lambda: used.append(current_tape()), may_ask=False)
    assert used == [tape]


def test_another_tape_of_the_test_gets_a_replay_of_its_own_and_no_tape_an_empty_one(tape: Tape) -> None:
    isolation = Isolation()
    used: list[Tape | None] = []

    def look() -> None:
        used.append(current_tape())

    isolation.evaluate(look, may_ask=True)
    other = make_tape(tape.path.with_name("b.yaml"), "none")
    active_tape.push_tape(other)
    isolation.evaluate(look, may_ask=True)
    active_tape.remove_tape(other)
    replays = [replay for replay in used if replay is not None]
    assert [replay.path.name for replay in replays] == ["a.yaml", "b.yaml"]
    bare = Isolation()._replay_of(None)
    assert (bare.path, bare.mode) == (NO_CASSETTE, "none")
    assert not NO_CASSETTE.exists()
