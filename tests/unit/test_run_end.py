"""The end of a run, from plain data: why it is red or ended early, its exit status, and the tests of others."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmops.harness import run_end
from pytest_llmops.results.assertion_lint import LintedAssertion
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.verdict import Verdict

RED = Verdict(kind="baseline", status="RED", decides=True)
GREEN = Verdict(kind="baseline", status="GREEN", decides=True)
TOOTHLESS = LintedAssertion(place="test_a.py:3", name="assert_score", answers=1, alterations=9)


def run_with(*verdicts: Verdict, lint: LintedAssertion | None = None) -> Run:
    facts: dict[str, Any] = {}
    if lint is not None:
        facts["lint"] = [lint.to_wire()]
    return Run(records=(TestRecord(nodeid="test_a.py::test_b", facts=facts),), verdicts=verdicts)


def reports(*nodeids: str, when: str = "call") -> list[SimpleNamespace]:
    return [SimpleNamespace(nodeid=nodeid, when=when) for nodeid in nodeids]


def same(nodeid: str) -> str:
    return nodeid


@pytest.mark.parametrize(
    ("nodeid", "plain"),
    [
        ("t.py::test_b@gpu", "t.py::test_b"),
        ("t.py::test_b[x@y]", "t.py::test_b[x@y]"),
        ("t.py::test_b[x@y]@gpu", "t.py::test_b[x@y]"),
        ("at@home/t.py::test_b", "at@home/t.py::test_b"),
        ("at@home/t.py::test_b@gpu", "at@home/t.py::test_b"),
        ("t.py::test_b", "t.py::test_b"),
    ],
)
def test_only_the_group_behind_the_name_of_a_test_is_removed(nodeid: str, plain: str) -> None:
    assert run_end.strip_group(nodeid) == plain


def test_names_are_in_the_order_of_their_texts_and_then_of_their_numbers() -> None:
    names = ["b.py::y[1]", "b.py::x[1]", "a.py::x[10]", "a.py::x[2]"]
    assert sorted(names, key=run_end.natural_sort_key) == names[::-1]


@pytest.mark.parametrize(
    ("failed", "status", "stop", "because"),
    [
        (0, 0, "", []),
        (0, 5, False, []),
        (2, 1, "", ["2"]),
        (0, 1, "", ["1"]),
        (0, 2, "", ["2"]),
        (0, 3, "", ["3"]),
        (0, 2, "enough", ["2", "enough"]),
        (3, 1, "enough", ["3", "enough"]),
        (0, 0, True, ["True"]),
    ],
)
def test_why_a_run_is_red(failed: int, status: int, stop: object, because: list[str]) -> None:
    reasons = run_end.why_run_failed(failed, status, stop)
    assert [re.sub(r".*(\d).*", r"\1", reason) for reason in reasons] == because


@pytest.mark.parametrize("status", [0, 1, 5])
def test_a_run_that_pytest_finished_did_not_end_early(status: int) -> None:
    assert run_end.why_ended_early(status, False, False) == ""


@pytest.mark.parametrize("status", [2, 3, 4])
def test_a_run_that_ctrl_c_or_an_error_ended_names_its_status(status: int) -> None:
    assert run_end.why_ended_early(status, False, "").endswith(f"(exit status {status})")


@pytest.mark.parametrize(
    ("stop", "fail", "ended"),
    [("stopping after 1", "", "stopping after 1"), (False, "a crash", "a crash"), ("a", "b", "a")],
)
def test_a_run_that_was_told_to_stop_gives_pytests_reason(stop: object, fail: object, ended: str) -> None:
    assert run_end.why_ended_early(1, stop, fail) == ended
    assert run_end.why_ended_early(2, stop, fail) == ended


@pytest.mark.parametrize(
    ("status", "verdict", "after"),
    [(0, GREEN, 0), (0, RED, 1), (1, GREEN, 1), (2, GREEN, 2), (2, RED, 2), (5, GREEN, 5), (5, RED, 5)],
)
def test_a_red_verdict_fails_a_run_that_pytest_passed_and_an_interrupted_run_keeps_its_status(
    status: int, verdict: Verdict, after: int
) -> None:
    assert run_end.decide_status(run_with(verdict), status, fails_toothless=True, is_refused=False) == after


@pytest.mark.parametrize(("status", "after"), [(0, 1), (2, 2), (5, 5)])
def test_a_run_that_was_to_be_accepted_and_was_not_fails(status: int, after: int) -> None:
    assert run_end.decide_status(run_with(), status, fails_toothless=False, is_refused=True) == after


@pytest.mark.parametrize(("status", "fails", "after"), [(0, True, 1), (0, False, 0), (2, True, 2)])
def test_an_assertion_that_accepts_every_answer_fails_the_run_if_it_is_to(
    status: int, after: int, *, fails: bool
) -> None:
    run = run_with(lint=TOOTHLESS)
    assert run_end.decide_status(run, status, fails_toothless=fails, is_refused=False) == after


def test_other_tests_are_counted_by_outcome_without_our_own_and_without_modules() -> None:
    stats = {
        "passed": reports("a", "b", "ours"),
        "error": [*reports("c"), *reports("module", when="collect")],
        "xpassed": reports("d"),
        "xfailed": reports("e"),
        "skipped": reports("f", "g@gpu"),
        "failed": reports("ours@gpu"),
        "deselected": reports("h"),
    }
    plain = run_end.count_other_tests(stats, {"ours"}, lambda nodeid: nodeid.partition("@")[0])
    assert plain == {"passed": 2, "errored": 1, "xpassed": 1, "xfailed": 1, "skipped": 2}


def test_other_failures_are_named_once_each_and_ten_at_most() -> None:
    stats = {
        "failed": reports("ours", *map(str, range(8))),
        "error": [*reports("7", "8", "9", "10"), *reports("module", when="collect")],
        "passed": reports("fine"),
    }
    assert run_end.name_other_failures(stats, {"ours"}, same) == list("0123456789")
    few = {"error": [*reports("c"), *reports("module", when="collect")], "failed": reports("b")}
    assert run_end.name_other_failures(few, (), same) == ["b", "c"]
