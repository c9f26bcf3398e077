"""Words of outcomes, scores and headlines in pytest's own lines."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.reports import NODEID, Config, make_report

from pytest_llmops.harness.terminal import (
    MODES,
    TerminalHooks,
    describe_failure,
    describe_scores,
    describe_settings,
)
from pytest_llmops.measurement import Measurement
from pytest_llmops.results.problems import merge_record_commands
from pytest_llmops.settings import Settings


def make_hooks(**how: Any) -> TerminalHooks:
    return TerminalHooks(Config(Path(), **how), lambda _: None)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("MeasurementErrored", "UNSCORED"),
        ("CassetteMiss", "MISSED"),
        ("BudgetReached", "BUDGET"),
        ("JudgeError", "ERROR"),
    ],
)
def test_what_could_not_be_judged_has_a_word_of_its_own(kind: str, word: str) -> None:
    report = make_report("failed", llmops={"outcome": "errored", "kind": kind})
    assert make_hooks().pytest_report_teststatus(report) == (
        "error",
        word[0],
        (word, {"red": True}),
    )


@pytest.mark.parametrize(
    ("outcome", "when", "payload"),
    [
        ("failed", "call", None),
        ("failed", "call", {}),
        ("failed", "call", {"outcome": "failed", "kind": "x"}),
        ("failed", "setup", {"outcome": "errored", "kind": "x"}),
        ("skipped", "call", {"outcome": "errored", "kind": "x"}),
    ],
)
def test_all_else_has_the_words_of_pytest(outcome: str, when: str, payload: dict[str, Any] | None) -> None:
    more: dict[str, Any] = {} if payload is None else {"llmops": payload}
    assert make_hooks().pytest_report_teststatus(make_report(outcome, when, **more)) is None


def test_very_verbose_output_shows_scores_beside_the_outcome() -> None:
    hooks = make_hooks(verbosity=1)
    scores = [
        Measurement(name="semantic.checks", value=1, threshold=1),
        Measurement(name="semantic", value=0.73, threshold=0.55),
        Measurement(name="judge.quality", value=0.5, threshold=0.75, detail={"scale": [1, 5]}, label="a\nb"),
    ]
    payload = {"measurements": [score.to_wire() for score in scores]}
    word = hooks.pytest_report_teststatus(make_report("failed", llmops=payload))
    word_shown = "FAILED (judge.quality [a\\nb] 3/5 < 4/5, semantic 0.73)"
    assert word == ("failed", "F", (word_shown, {"red": True}))
    hooks.list_failures({})
    assert make_hooks().pytest_report_teststatus(make_report(llmops=payload)) is None


def failure(message: str, *measurements: Measurement, assertions: tuple[str, ...] = ()) -> Any:
    crash = SimpleNamespace(message=message)
    wire = [measurement.to_wire() for measurement in measurements]
    payload = {"measurements": wire, "assertions": list(assertions)}
    return make_report("failed", longrepr=SimpleNamespace(reprcrash=crash), llmops=payload)


LOW = Measurement(name="semantic", value=0.41, threshold=0.55)
MISSING = Measurement(
    name="text.contains",
    value=0,
    threshold=1,
    detail={"evidence": [["missing", '"Paris"'], ["answer", '"x"']]},
)


@pytest.mark.parametrize(
    ("report", "headline"),
    [
        (failure("MeasurementFailed: semantic 0.41 ...", LOW, assertions=("assert_semantic",)), "assert_semantic 0.41 < 0.55"),
        (failure("MeasurementFailed: x", MISSING, assertions=("assert_contains",)), 'assert_contains: missing "Paris"'),
        (
            failure("MeasurementFailed: semantic: 2 of 3\nmore", LOW, assertions=("assert_semantic",)),
            "assert_semantic: 2 of 3",
        ),
        (
            failure("MeasurementFailed: x", LOW, MISSING, LOW, assertions=("assert_semantic", "", "assert_score")),
            "2 assertions failed: assert_semantic 0.41 < 0.55; assert_score 0.41 < 0.55",
        ),
        (failure(f"Failed: UsageError: {NODEID}: no such file\nmore"), "no such file"),
        (failure("ModelError: down [LLM-MODEL]"), "ModelError: down [LLM-MODEL]"),
        (
            failure("MeasurementFailed: x [LLM-THRESHOLD]\nmore", LOW, assertions=("assert_semantic",)),
            "assert_semantic 0.41 < 0.55 [LLM-THRESHOLD]",
        ),
    ],
)  # fmt: skip
def test_a_failure_has_a_headline_with_its_score(report: Any, headline: str) -> None:
    assert describe_failure(report) == headline
    make_hooks().list_failures({"failed": [report], "error": [make_report("failed")]})
    assert report.longrepr.reprcrash.message == headline


def test_the_line_on_the_settings_shows_no_secret_of_an_address() -> None:
    line = describe_settings(
        Settings(
            model=("a", "b\n::error::"),
            record="new",
            base_url="http://me:pass@host/v1?key=k",
            max_calls=1,
            judge=True,
        )
    )
    assert line.startswith("llm: recordings are replayed, missing answers are requested live")
    assert line.endswith("; server http://[secret]@host/v1?[secret]; at most 1 live call")
    assert "\n" not in line


def test_the_line_on_the_settings_says_where_tools_answer() -> None:
    line = describe_settings(Settings(record="all", tools="replay"))
    assert line == "llm: all calls of models are made live and recorded again; tools are replayed"
    line = describe_settings(Settings(tools="compare"))
    assert (
        line
        == "llm: recordings are replayed, no live calls of models; tools are called and compared with their recordings"
    )


def test_a_command_that_records_all_names_few_tests_or_their_files() -> None:
    def missed(*names: str, mode: str = "new") -> list[str]:
        return merge_record_commands(f"pytest {name} --llm-record={mode}" for name in names)

    files = [f"tests/{n}/test_a.py::test_b" for n in range(6)]
    assert missed(*files[:3]) == [f"pytest {' '.join(files[:3])} --llm-record=new"]
    assert missed(*files[:4]) == [f"pytest {' '.join(files[:4])} --llm-record=new".replace("::test_b", "")]
    assert missed(*files) == ["pytest tests --llm-record=new"]
    # `all` would record again what is recorded: it is for the tests that missed something.
    assert missed(*files, mode="all") == [f"pytest {' '.join(files)} --llm-record=all"]
    assert missed("'a.py::t", "a.py::u") == ["pytest a.py::u --llm-record=new"]
    assert merge_record_commands(['use_cassette(..., record="new")']) == []


@pytest.mark.parametrize(
    ("settings", "mode", "more"),
    [
        (Settings(record="new", changed=True), "changed", ""),
        (Settings(record="new", batch=True), "batch", ""),
        (Settings(record="new", fork=True), "fork", ""),
        (
            Settings(record="verify", budget=2.5, max_calls=20),
            "verify",
            "; at most 20 live calls; budget $2.50",
        ),
        (Settings(judge=True, model="a", judge_model="b"), "none", "; model a; judge b"),
        (Settings(judge=True, model="a"), "none", "; model a; judge a"),
        (Settings(judge_model="b"), "none", ""),
        (Settings(judge=True), "none", ""),
        (Settings(tools="off"), "none", ""),
    ],
)
def test_the_line_on_the_settings_has_its_mode_and_limits(settings: Settings, mode: str, more: str) -> None:
    assert describe_settings(settings) == f"llm: {MODES[mode]}{more}"


def test_a_passed_test_with_many_scores_is_green_and_shows_three() -> None:
    scores = [Measurement(name=name, value=0.5) for name in "abcde"]
    over = Measurement(name="cost", value=0.5, threshold=0.25, better="lower")
    wire = [score.to_wire() for score in (*scores, over)]
    report = make_report(llmops={"measurements": wire})
    shown = "PASSED (cost 0.50 > 0.25, a 0.50, b 0.50, 3 more)"
    assert make_hooks(verbosity=1).pytest_report_teststatus(report) == (
        "passed",
        ".",
        (shown, {"green": True}),
    )
    assert describe_scores({"measurements": wire[:3]}) == "a 0.50, b 0.50, c 0.50"


def test_a_failure_without_named_assertions_has_its_own_line() -> None:
    report = failure("MeasurementFailed: a line", LOW, assertions=("",))
    assert describe_failure(report) == "a line"
    report = failure("MeasurementFailed: a line", assertions=("assert_semantic",))
    assert describe_failure(report) == "a line"


def test_a_report_with_a_plain_text_has_a_headline_too() -> None:
    report = make_report("failed", longrepr="Failed: no file\nmore", llmops={"measurements": []})
    assert describe_failure(report) == "no file"
    make_hooks().list_failures({"failed": [report]})
    assert report.longrepr == "Failed: no file\nmore"
