"""What a test reports of each of its phases, when it passed, and what fails it at its end."""

from __future__ import annotations

import logging
import os
import unittest
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from support.cassettes import entry, merged
from support.exchanges import exchange
from support.items import Hook, fixture_of, item_of
from support.messages import check_message
from support.reports import make_report
from support.tapes import call, recorded

from pytest_llmops import recorder
from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.faults.kinds import Fault
from pytest_llmops.errors import (
    BudgetReached,
    CassetteError,
    CassetteMiss,
    MeasurementErrored,
    MeasurementFailed,
    UsageError,
)
from pytest_llmops.harness import tapes
from pytest_llmops.harness.fault_variants import FaultVariant
from pytest_llmops.harness.item import Harness, describe_error, describe_source, fingerprint_exchanges
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Call, Usage
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.results.fault_survey import UNRECORDED
from pytest_llmops.settings import Settings

OURS = pytest.mark.llm_cassette.mark
OWN = "cassettes/test_a/test_x.json"
GOOD = Measurement(name="good", value=1.0)
UNSCORED = Measurement(name="judge.quality", error="the judge gave no score")
MISS = CassetteMiss("no recording", command="pytest a.py --llm-record=new")
CHAT = "http://127.0.0.1:1/v1/chat/completions"


def skip(reason: str) -> NoReturn:
    raise pytest.skip.Exception(reason)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Harness]]:
    """Makes the harness of a started test; all are stopped at the end, and nothing is left in use."""
    for name in ("OPENAI_BASE_URL", *tapes.API_KEY_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    before = active_tape.base_tape()
    made: list[Harness] = []

    def start(settings: Settings | None = None, *, ours: bool = True, **how: Any) -> Harness:
        marks = (OURS,) if ours else ()
        harness = Harness(item_of(tmp_path, *marks, **how), settings or Settings(), skip, ours=ours)
        harness.start()
        made.append(harness)
        return harness

    yield start
    for harness in reversed(made):
        harness.stop()
    assert active_tape.base_tape() is before


Make = Callable[..., Harness]


def miss(harness: Harness) -> CassetteMiss:
    """Let the test request something that is not recorded, and catch the error."""
    assert harness.tape is not None
    with pytest.raises(CassetteMiss) as caught:
        call(harness.tape, "never recorded", "")
    return caught.value


def end(harness: Harness, outcome: str = "passed", error: BaseException | None = None, **more: Any) -> Any:
    report = make_report(outcome, **more)
    harness.end_phase(report, error)
    return report


def payload_of(harness: Harness, when: str = "call", error: BaseException | None = None) -> dict[str, Any]:
    return harness.build_payload(when, error)


# What the error of a phase adds.


def test_a_phase_without_an_error_adds_nothing() -> None:
    assert describe_error(None) == {}


def test_an_error_of_the_test_itself_is_named_and_is_a_failure() -> None:
    assert describe_error(KeyError("x")) == {"raised": ["KeyError"]}
    group = ExceptionGroup("two", [KeyError("a"), OSError("b")])
    assert describe_error(group) == {"raised": ["KeyError", "OSError"]}


def test_a_miss_has_its_command_and_no_score() -> None:
    assert describe_error(MISS) == {
        "raised": ["CassetteMiss"],
        "record": ["pytest a.py --llm-record=new"],
        "outcome": "errored",
        "kind": "CassetteMiss",
    }


def test_a_low_score_names_its_assertions_and_is_a_failure() -> None:
    low = MeasurementFailed("too low", [GOOD], ["assert_contains", "assert_judge_score"])
    assert describe_error(low) == {
        "raised": ["MeasurementFailed"],
        "assertions": ["assert_contains", "assert_judge_score"],
    }


def test_a_group_with_an_error_of_ours_has_no_score_by_its_kind() -> None:
    group = BaseExceptionGroup("tasks", [OSError(), UsageError("a wrong name")])
    entries = describe_error(group)
    assert (entries["outcome"], entries["kind"]) == ("errored", "UsageError")


# What the phases of a test hold.


def test_each_measurement_and_call_is_reported_by_one_phase(make: Make) -> None:
    harness = make()
    harness.recorder.measurements.append(GOOD)
    harness.recorder.exchanges.append(exchange(CHAT, {"model": "m"}, {"choices": []}))
    first = payload_of(harness)
    assert [entry["name"] for entry in first["measurements"]] == ["good"]
    assert len(first["calls"]) == 1
    harness.recorder.exchanges.append(exchange(CHAT, {"model": "later"}, {"choices": []}))
    second = payload_of(harness)
    assert second["measurements"] == []
    assert [entry["model"] for entry in second["calls"]] == ["later"]
    assert payload_of(harness)["calls"] == []


def test_the_facts_of_a_test_are_reported_at_its_end(make: Make) -> None:
    harness = make()
    harness.recorder.facts["case"] = {"id": "a"}
    assert "facts" not in payload_of(harness)
    assert payload_of(harness, "teardown")["facts"] == {"case": {"id": "a"}}


def test_all_commands_of_a_test_are_in_its_facts(make: Make) -> None:
    harness = make()
    assert payload_of(harness, "setup", MISS)["record"] == [MISS.command]
    other = CassetteMiss("another", command="pytest b.py")
    assert payload_of(harness, "call", other)["record"] == ["pytest b.py"]
    closing = payload_of(harness, "teardown")
    assert "record" not in closing
    assert closing["facts"]["record"] == [MISS.command, "pytest b.py"]


def test_scores_after_a_caught_miss_are_withdrawn(make: Make) -> None:
    harness = make()
    harness.open_cassette()
    harness.recorder.measurements.append(GOOD)
    assert payload_of(harness)["measurements"][0]["value"] == 1.0
    miss(harness)
    harness.recorder.measurements.append(GOOD)
    (score,) = payload_of(harness)["measurements"]
    assert score.get("value") is None
    check_message(score["error"])
    harness.close_cassette()


def test_the_digest_of_all_recordings_is_a_fact(make: Make) -> None:
    harness = make()
    assert "recordings" not in payload_of(harness, "teardown")["facts"]
    harness.recorder.exchanges.append(exchange(CHAT, {"model": "m"}, {"choices": []}))
    digest = fingerprint_exchanges(harness.recorder.exchanges)
    assert payload_of(harness, "teardown")["facts"]["recordings"] == [digest]


def test_secrets_of_the_test_and_of_fixtures_are_masked(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    of_fixtures = Redactor()
    monkeypatch.setattr(tapes, "fixture_redactor", lambda: of_fixtures)
    monkeypatch.setenv("APP_PASSWORD", "hunter2hunter2")
    harness = make()
    harness.recorder.hidden["Jane Roe"] = "[name]"
    assert (
        harness.mask_secrets("hunter2hunter2 of Jane Roe: swordfish99") == "[secret] of [name]: swordfish99"
    )
    of_fixtures.learn({"swordfish99"})
    assert harness.mask_secrets("swordfish99") == "[secret]"


# Whether there is anything to report.


def has(make: Make, change: Callable[[Harness], object]) -> bool:
    harness = make(ours=False)
    assert not harness.has_results()
    change(harness)
    return harness.has_results()


def test_a_test_of_ours_is_always_reported(make: Make) -> None:
    assert make(ours=True).has_results()


def test_another_test_is_reported_once_it_has_anything_of_ours(make: Make, tmp_path: Path) -> None:
    assert has(make, lambda one: one.recorder.measurements.append(GOOD))
    assert has(make, lambda one: one.recorder.exchanges.append(exchange(CHAT, {}, {})))
    assert has(make, lambda one: one.refused.append(MISS))
    assert has(make, lambda one: one.open_block_cassette("block"))
    assert has(make, lambda one: one.log.add_unrun(tmp_path / "a.json", shared=False))
    assert has(make, lambda one: setattr(one, "record", object()))
    assert not has(make, lambda one: one.recorder.facts.update(case={}))


# How a phase ended.


@pytest.mark.parametrize("outcome", ["passed", "failed", "skipped"])
def test_only_the_call_decides_whether_the_test_passed(make: Make, outcome: str) -> None:
    harness = make()
    end(harness, outcome, when="setup")
    end(harness, outcome, when="teardown")
    assert not harness.passed
    end(harness)
    first = harness.passed
    end(harness, "failed", ValueError("x"))  # of the test, after its subtests
    assert (first, harness.passed) == (True, False)


@pytest.mark.parametrize(
    ("outcome", "when", "hiding"),
    [
        ("passed", "call", "the test passed"),
        ("passed", "setup", ""),
        ("passed", "teardown", ""),
        ("failed", "call", ""),
        ("skipped", "call", "the test was skipped"),
        ("skipped", "setup", "the test was skipped"),  # by a fixture
    ],
)
def test_the_call_or_a_skip_may_hide_a_miss(make: Make, outcome: str, when: str, hiding: str) -> None:
    harness = make()
    error = None if outcome == "passed" else ValueError("x")
    end(harness, outcome, error, when=when)
    assert harness.hiding == hiding


@pytest.mark.parametrize(("measured", "outcome"), [((), "skipped"), ((UNSCORED,), "failed")])
def test_a_low_score_stays_an_expected_failure_and_a_missing_one_does_not(
    make: Make, measured: tuple[Measurement, ...], outcome: str
) -> None:
    harness = make()
    harness.recorder.measurements += measured
    report = end(harness, "skipped", AssertionError("low"), wasxfail="known")
    assert (report.outcome, hasattr(report, "wasxfail")) == (outcome, outcome == "skipped")


def test_an_error_that_no_xfail_expects_leaves_the_report_as_it_is(make: Make) -> None:
    report = end(make(), "skipped", MISS)
    assert report.outcome == "skipped"


# What fails a test at its end.


def test_a_caught_miss_fails_a_test_that_passed(make: Make) -> None:
    harness = make()
    harness.open_cassette()
    miss(harness)
    end(harness)
    with pytest.raises(CassetteMiss, match="the test passed"):
        harness.close_cassette()
    assert harness.log.uses[0]["ran"] is False  # type: ignore[index,call-overload]
    assert harness.tape is None


def test_a_miss_that_the_test_did_not_catch_is_not_raised_again(make: Make) -> None:
    harness = make()
    harness.open_cassette()
    end(harness, "failed", miss(harness))
    harness.close_cassette()
    assert harness.log.facts["missed"] == 1


def miss_elsewhere(harness: Harness) -> CassetteMiss:
    """The same in a process that the test started."""
    harness.open_cassette()
    caught = miss(harness)
    assert harness.tape is not None
    harness.tape.report.errors_elsewhere = 1
    return caught


def test_a_miss_in_another_process_is_raised_if_no_report_shows_it(make: Make) -> None:
    harness = make()
    miss_elsewhere(harness)
    end(harness, "failed", RuntimeError("no answer"))
    with pytest.raises(CassetteMiss, match="in a process that the test started: "):
        harness.close_cassette()


def test_a_miss_in_another_process_is_not_raised_again(make: Make) -> None:
    harness = make()
    end(harness, "failed", miss_elsewhere(harness))
    harness.close_cassette()
    assert harness.log.facts["missed"] == 1


def test_a_miss_of_the_set_up_of_a_fixture_fails_the_test_once(make: Make) -> None:
    harness = make()
    harness.open_cassette()
    harness.caught_in_setup = MISS
    end(harness)
    with pytest.raises(CassetteMiss, match="no recording"):
        harness.close_cassette()
    assert harness.log.uses[0]["ran"] is False  # type: ignore[index,call-overload]
    harness.close_cassette()


def test_the_miss_of_the_test_comes_before_the_one_of_a_fixture(make: Make) -> None:
    harness = make()
    harness.open_cassette()
    own = miss(harness)
    harness.caught_in_setup = MISS
    end(harness)
    with pytest.raises(CassetteMiss) as caught:
        harness.close_cassette()
    assert str(caught.value).endswith(str(own))


def test_a_refused_connection_fails_a_test_that_nothing_records(make: Make) -> None:
    harness = make(ours=False)
    harness.refused += [CassetteMiss("the first"), CassetteMiss("the second")]
    end(harness)
    with pytest.raises(CassetteMiss, match="the first"):
        harness.close_cassette()


def test_a_refused_connection_of_a_test_that_failed_is_not_raised_again(make: Make) -> None:
    harness = make(ours=False)
    harness.refused.append(MISS)
    end(harness, "failed", ValueError("x"))
    harness.close_cassette()
    assert harness.has_results()


def test_a_miss_in_a_tear_down_fails_the_tear_down(make: Make) -> None:
    harness = make()
    harness.caught_in_teardown = BudgetReached("one call too many")
    end(harness)
    with pytest.raises(BudgetReached, match="the fixture was torn down"):
        harness.close_cassette()


def test_a_passing_test_uses_its_recordings_up_and_a_failing_one_does_not(make: Make, tmp_path: Path) -> None:
    recorded(tmp_path / OWN, ("used", "a"), ("unused", "b"))
    for outcome, stale in (("failed", 0), ("passed", 1)):
        harness = make()
        harness.open_cassette()
        assert harness.tape is not None
        call(harness.tape, "used", "")
        end(harness, outcome, ValueError("x") if outcome == "failed" else None)
        harness.close_cassette()
        assert harness.log.facts["stale"] == stale
        assert harness.recorder.facts["cassette"] is harness.log.facts


@pytest.mark.parametrize("is_fork", [True, False])
def test_a_fork_tells_where_its_trial_left_the_recorded_run(make: Make, *, is_fork: bool) -> None:
    harness = make(Settings(record="new", fork=is_fork))
    harness.open_cassette()
    assert harness.tape is not None
    config = harness.tape.config
    end(harness)
    harness.close_cassette()
    assert (config.fork is not None) == is_fork
    assert harness.recorder.facts.get("fork") == (config.fork and config.fork.describe(config.take))


def test_a_cassette_that_cannot_be_written_is_reported_all_the_same(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise CassetteError("disk full")

    harness = make(Settings(record="new"))
    harness.open_cassette()
    assert harness.tape is not None
    call(harness.tape, "x", "live")
    end(harness)
    monkeypatch.setattr("pytest_llmops.cassettes.store.merge_journals", fail)
    with pytest.raises(CassetteError, match="disk full"):
        harness.close_cassette()
    assert [use["path"] for use in harness.log.uses] == [OWN]  # type: ignore[index,call-overload]


# Why a phase failed.


def failing_call(error: BaseException) -> Any:
    with pytest.raises(type(error)) as caught:
        raise error
    return SimpleNamespace(excinfo=caught)


def test_a_failure_after_a_caught_miss_is_replaced_by_it(make: Make) -> None:
    harness = make()
    harness.open_cassette()
    low = AssertionError("low")
    before = failing_call(low)
    assert harness.replace_by_cause(before) is low
    miss(harness)
    cause = harness.replace_by_cause(before)
    assert isinstance(cause, CassetteMiss)
    assert cause.__cause__ is low
    assert before.excinfo.value is cause
    assert cause.__traceback__ is not None
    harness.close_cassette()


@pytest.mark.parametrize("elsewhere", [0, 1])
def test_another_error_without_a_score_is_replaced_only_by_a_miss_in_another_process(
    make: Make, elsewhere: int
) -> None:
    harness = make()
    harness.open_cassette()
    miss(harness)
    assert harness.tape is not None
    harness.tape.report.errors_elsewhere = elsewhere
    wrong = UsageError("a wrong name")
    cause = harness.replace_by_cause(failing_call(wrong))
    assert isinstance(cause, CassetteMiss if elsewhere else UsageError)
    end(harness, "failed", cause)
    harness.close_cassette()


def test_without_a_cassette_the_error_stays(make: Make) -> None:
    low = AssertionError("low")
    assert make(ours=False).replace_by_cause(failing_call(low)) is low


def test_a_skip_is_recognised_and_replaced_where_something_got_no_score(make: Make) -> None:
    harness = make()
    skipped = pytest.skip.Exception("no model")
    assert harness.is_skip(skipped, pytest.skip.Exception)
    assert not harness.is_skip(ValueError("x"), pytest.skip.Exception)
    assert not harness.is_skip(None, pytest.skip.Exception)
    assert harness.is_skip(unittest.SkipTest("no model"), pytest.skip.Exception)
    phase = failing_call(skipped)
    assert harness.replace_skip(phase) is skipped
    harness.recorder.measurements.append(UNSCORED)
    assert isinstance(harness.replace_skip(phase), MeasurementErrored)


# Which cassette a test opens.


def test_a_skipped_test_reports_the_cassettes_of_its_fixtures_as_shared(make: Make, tmp_path: Path) -> None:
    harness = make(fixtures=(fixture_of(tmp_path, "index"),))
    harness.add_unrun()
    assert [(use["path"], use["shared"]) for use in harness.log.uses] == [  # type: ignore[index,call-overload]
        (OWN, False),
        ("cassettes/conftest/fixture.index.json", True),
    ]


def test_each_set_up_of_the_same_test_plays_the_next_take(make: Make) -> None:
    harness = make()
    takes = []
    for _ in range(3):
        harness.open_cassette()
        assert harness.tape is not None
        takes.append((harness.tape.config.attempt, harness.tape.config.take))
        end(harness)
        harness.close_cassette()
    assert takes == [(None, "0"), (1, "1"), (2, "2")]


def test_a_trial_plays_its_own_take(make: Make) -> None:
    harness = make()
    with recorder.run_as_trial(4):
        harness.open_cassette()
    assert harness.tape is not None
    assert harness.tape.config.take == "4"
    harness.close_cassette()


@pytest.mark.parametrize(("option", "mode"), [(None, "live"), ("none", "none")])
def test_a_marker_makes_a_test_call_live_unless_the_command_line_names_a_mode(
    make: Make, option: str | None, mode: str
) -> None:
    harness = make(Settings())
    live = pytest.mark.llm_cassette(record="live").mark
    harness.item.get_closest_marker = {"llm_cassette": live}.get
    harness.item.config.getoption = {"llm_record": option}.get
    harness.open_cassette()
    assert harness.tape is not None
    assert harness.tape.mode == mode
    harness.close_cassette()


def test_the_environment_of_a_test_is_set_while_its_cassette_is_open(make: Make) -> None:
    harness = make(Settings(base_url="http://127.0.0.1:1/v1"))
    harness.open_cassette()
    assert os.environ["OPENAI_BASE_URL"] == "http://127.0.0.1:1/v1"
    assert active_tape.base_tape() is harness.tape
    harness.close_cassette()
    assert "OPENAI_BASE_URL" not in os.environ


def test_a_block_of_a_test_of_ours_belongs_to_its_cassette(make: Make) -> None:
    harness = make()
    harness.open_cassette()
    assert harness.tape is not None
    block = harness.open_block_cassette("block", "new")
    assert (harness.tape.inner, block.mode, block.shared) == ([block], "new", True)
    harness.close_cassette()
    payload = payload_of(harness, "teardown")
    assert [use["path"] for use in payload["tapes"]] == ["cassettes/block.json", OWN]


def test_a_test_with_the_llm_fixture_reports_its_case_and_the_models_of_the_hook(make: Make) -> None:
    for names, more in (((), {}), (("llm",), {"case": "", "models": ["a", "b"]})):
        harness = make(names=names)
        harness.item.ihook.pytest_llmops_models = Hook({"b": object, "a": object})
        harness.open_cassette()
        end(harness)
        harness.close_cassette()
        (use,) = harness.log.uses
        assert isinstance(use, dict)
        assert {name: use[name] for name in ("case", "models") if name in use} == more


def test_a_started_test_gives_its_recorder_what_an_assertion_needs(make: Make) -> None:
    harness = make(Settings(judge=True))
    own = harness.recorder
    assert recorder._stack[-1] is own
    assert own.settings is harness.settings
    assert own.find_component == harness.find_component
    assert own.describe_origin == harness.describe_origin
    assert own.redact == harness.mask_secrets
    assert own.open_block_cassette == harness.open_block_cassette


def test_the_lines_of_pytests_log_are_masked(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_PASSWORD", "hunter2hunter2")
    handler = logging.StreamHandler()
    harness = make()
    harness.item.config.pluginmanager.get_plugin = {
        "logging-plugin": SimpleNamespace(report_handler=handler)
    }.get
    harness.start()
    harness.stop()
    record = logging.LogRecord("app", logging.INFO, "a.py", 1, "key hunter2hunter2", None, None)
    assert handler.format(record) == "key [secret]"


def test_the_parameters_and_markers_of_a_test_are_facts(make: Make) -> None:
    harness = make()
    harness.item.get_closest_marker = {
        "llm_cassette": OURS,
        "llm_sentinel": pytest.mark.llm_sentinel.mark,
    }.get
    harness.item.callspec = SimpleNamespace(
        id="late", params={"word": "x"}, indices={"word": 1}, _idlist=["late"]
    )
    harness.open_cassette()
    assert harness.recorder.facts == {"sentinel": True, "params": {"word": {"id": "late", "place": 1}}}
    assert harness.tape is not None
    assert harness.tape.path.name == "late.json"
    harness.close_cassette()


def test_a_test_without_parameters_and_markers_has_no_facts(make: Make) -> None:
    harness = make()
    harness.open_cassette()
    assert harness.recorder.facts == {}
    harness.close_cassette()


def test_a_test_of_another_recorder_must_not_have_faults(make: Make) -> None:
    theirs: Any = SimpleNamespace(name="vcr", args=(), kwargs={})
    marks = {"vcr": theirs, "llm_fault": pytest.mark.llm_fault("timeout").mark}
    harness = make(names=("vcr",))
    harness.item.get_closest_marker = marks.get
    harness.item.iter_markers = lambda name=None: (marks[key] for key in marks if name in (None, key))
    with pytest.raises(UsageError, check=check_message):
        harness.open_cassette()
    del marks["llm_fault"]
    harness.open_cassette()
    assert harness.tape is None


def test_a_test_with_a_fault_of_the_run_gets_it_and_its_answers_are_watched(make: Make) -> None:
    harness = make()
    variant = harness.variant = FaultVariant(Fault(kind="hostile"))
    harness.open_cassette()
    assert harness.tape is not None
    config = harness.tape.config
    assert (config.faults, config.fault_take) == (variant.plan, variant.take)
    assert config.command == "pytest test_a.py::test_x --llm-faults=hostile --llm-record=new"
    assert harness.recorder.watch_answer == variant.plan.note_text
    end(harness, "failed", miss(harness))
    harness.close_cassette()
    assert variant.find_end().status == UNRECORDED


def test_without_a_fault_of_the_run_answers_are_not_watched(make: Make) -> None:
    harness = make()
    harness.open_cassette()
    assert harness.tape is not None
    assert (harness.tape.config.faults, harness.tape.config.fault_take) == (None, "")
    assert harness.recorder.watch_answer is None
    harness.close_cassette()


@pytest.mark.parametrize(("marks", "takes"), [((), 3), ((pytest.mark.llm_trials(3).mark,), None)])
def test_a_test_without_a_marker_for_trials_reports_how_many_takes_it_has(
    make: Make, tmp_path: Path, marks: tuple[pytest.Mark, ...], takes: int | None
) -> None:
    merged(tmp_path / OWN, entry(1, take="2"))
    harness = make()
    harness.item.get_closest_marker = {mark.name: mark for mark in marks}.get
    harness.open_cassette()
    assert harness.tape is not None
    harness.tape.player.given.begin_request("key-1", "0")
    end(harness)
    harness.close_cassette()
    (use,) = harness.log.uses
    assert isinstance(use, dict)
    assert use.get("takes") == takes


def test_a_test_that_replays_nothing_reports_no_takes(make: Make) -> None:
    harness = make()
    harness.open_cassette()
    end(harness)
    harness.close_cassette()
    (use,) = harness.log.uses
    assert isinstance(use, dict)
    assert "takes" not in use


def test_a_test_knows_the_credentials_of_its_requests_also_after_its_end(make: Make) -> None:
    harness = make()
    assert harness.redactor is harness.redactor
    harness.open_cassette()
    assert harness.tape is not None
    own = harness.tape.config.redactor
    assert harness.redactor is own
    harness.close_cassette()
    assert harness.redactor is own


def test_a_renamed_test_finds_its_recordings_in_the_cassettes_of_tests_that_are_gone(make: Make) -> None:
    harness = make()
    index: Any = object()
    harness.collected = SimpleNamespace(index=index)  # type: ignore[assignment]
    harness.open_cassette()
    assert harness.tape is not None
    assert harness.tape.config.elsewhere is index
    harness.tape = None


def test_the_cassette_of_a_fixture_is_shared_and_closed_by_its_last_finalizer(
    make: Make, tmp_path: Path
) -> None:
    harness = make(Settings(record="new"))
    finalizers: list[Any] = []
    tape = harness.tape_of_fixture(
        SimpleNamespace(addfinalizer=finalizers.append), tmp_path / "f.json", lambda: harness
    )
    assert (tape.tape.path, tape.tape.shared, tape.tape.mode) == (tmp_path / "f.json", True, "new")
    assert finalizers == [tape.end_teardown]
    tape.end_teardown()
    assert [use["path"] for use in harness.log.uses] == ["f.json"]  # type: ignore[index,call-overload]


# Where an answer came from.


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (Call(model="gpt-5", endpoint="chat"), "gpt-5 (live)"),
        (Call(endpoint="chat", replayed=True), "chat (replayed)"),
        (
            Call(
                model="gpt-5",
                usage=Usage(input_tokens=1200, output_tokens=34),
                cost_usd=0.5,
                latency_s=1.234,
            ),
            "gpt-5, 1,234 tok, $0.5, 1.23 s (live)",
        ),
        (Call(model="m" * 60), f"{'m' * 60} (live)"),
        (Call(model="m" * 70), f"{'m' * 60}... (+10 chars) (live)"),
    ],
)
def test_the_source_of_an_answer_has_what_is_known_of_it(made: Call, words: str) -> None:
    assert describe_source(made) == words


def test_the_origin_is_the_last_answer_of_the_application_with_its_cassette(make: Make) -> None:
    harness = make()
    rerun = ("rerun", "pytest test_a.py::test_x")
    assert harness.describe_origin() == [rerun]
    answer = {"choices": [{"message": {"content": "a"}}]}
    app = [exchange(CHAT, {"model": name, "messages": []}, answer) for name in ("first", "second")]
    judge = replace(app[0], purpose="judge")
    harness.recorder.exchanges += [*app, judge]
    assert harness.describe_origin() == [("from", "second, 0.50 s (replayed)"), rerun]
    harness.open_cassette()
    assert harness.describe_origin()[0] == ("from", f"second, 0.50 s (replayed), cassette {OWN}")
    harness.settings = Settings(record="live")
    assert harness.describe_origin()[0] == ("from", "second, 0.50 s (replayed)")
    harness.close_cassette()
