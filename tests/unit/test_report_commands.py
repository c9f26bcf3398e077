"""The command to run next, by how a run ended."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmops.measurement import Measurement
from pytest_llmops.reports.commands import find_next_command
from pytest_llmops.reports.html_views import _describe_rerun
from pytest_llmops.results.dataset_cases import CASE_DETAIL, split_dataset_cases
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.verdict import CaseChange, Verdict

MISS = "no recording answers POST /v1 [LLM-MISS]"
WORSE = CaseChange(nodeid="test_a.py::test_worse", kind="regressed")


def record(name: str, outcome: Any = "failed", **how: Any) -> TestRecord:
    return TestRecord(nodeid=f"test_a.py::{name}", outcome=outcome, **how)


def missed(name: str, mode: str = "new") -> TestRecord:
    commands = [f"pytest test_a.py::{name} --llm-record={mode}"]
    return record(name, "errored", message=MISS, raised=("CassetteMiss",), facts={"record": commands})


def gate(status: str, *, decides: bool = True) -> Verdict:
    return Verdict(kind="baseline", status=status, decides=decides, changes=(WORSE,))


FAILED = record("test_x", message="text.exact 0.00 < 1.00")
SPENT = record("test_y", "errored", raised=("BudgetReached",))


@pytest.mark.parametrize(
    ("run", "command"),
    [
        (Run(), ""),
        (Run(records=(record("test_x", "passed"),), verdicts=(gate("GREEN"),)), ""),
        (Run(verdicts=(gate("AMBER"),)), ""),
        (Run(verdicts=(gate("RED", decides=False),)), ""),
        (Run(records=(FAILED, missed("test_b"), missed("test_c", "all"))), "pytest test_a.py::test_b --llm-record=new"),
        (Run(records=(SPENT, FAILED), verdicts=(gate("RED"),)), "pytest test_a.py::test_x"),
        (Run(records=(SPENT,)), ""),
        (Run(verdicts=(gate("RED"),)), "pytest test_a.py::test_worse"),
    ],
    ids=["empty", "green", "amber", "accepted", "missed", "failed", "budget", "red"],
)  # fmt: skip
def test_the_next_command(run: Run, command: str) -> None:
    assert find_next_command(run) == command


def test_a_command_for_another_folder_than_the_project() -> None:
    assert find_next_command(Run(records=(FAILED,)), folder="shop") == "pytest shop/test_a.py::test_x"


def test_cases_of_a_dataset_run_again_in_the_test_that_evaluates_them() -> None:
    score = {n: Measurement(name="m", value=0.0, label=n, detail={CASE_DETAIL: n}) for n in ("x", "y")}
    records = tuple(split_dataset_cases([record("test_a", "passed", measurements=tuple(score.values()))]))
    changes = tuple(CaseChange(nodeid=f"test_a.py::test_a[{n}]", kind="regressed") for n in score)
    verdict = Verdict(kind="baseline", status="RED", decides=True, changes=changes)
    run = Run(records=records, verdicts=(verdict,))
    assert find_next_command(run) == "pytest test_a.py::test_a"
    assert "test_a[" not in _describe_rerun(records[1], None, "")


def test_a_verdict_without_tests_has_no_next_command() -> None:
    assert find_next_command(Run(verdicts=(Verdict(kind="baseline", status="ERROR", decides=True),))) == ""
