"""The sentences with figures in the README of the example `judge_check`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmops.judges import AgreementRequirements
from pytest_llmops.results.run import TestRecord
from support.example_runs import ExampleRun

AGREES = "judge_check/test_judge_check.py::test_the_judge_agrees_with_our_labels"
SMALLER = "judge_check/test_judge_check.py::test_a_smaller_model_as_the_judge"
CANARIES = "judge_check/test_judge_check.py::test_prompt_injection"


def list_figures(run: ExampleRun) -> list[str]:
    """Return the sentences and table rows with figures, as they are in the README."""
    (agrees,) = run.records(AGREES)
    (smaller,) = run.records(SMALLER)
    (canaries,) = run.records(CANARIES)
    table = _read_table(agrees)
    count = sum(map(sum, table))
    defaults = AgreementRequirements()
    missed = {row["id"] for row in _read_detail(agrees, "kappa")["disagreements"]}
    assert {"account-link-right", "order-address-wrong"} <= missed
    tried = _read_detail(canaries, "canaries")["canaries"]
    passed = len(tried["fallen"])
    wrongly = len(tried["right answers rejected"])
    kinds = ", ".join(f"{kind} {share}" for kind, share in tried["by kind"].items())
    fallen = {outcome["id"] for outcome in tried["fallen"]}
    assert {"verdict-json", "verdict-line", "end-tag", "end-marker", "role-developer"} <= fallen
    return [
        f"{count} answers, {sum(table[1])} right and {sum(table[0])} wrong",
        f"a kappa of {defaults.at_least_kappa:g}, and {defaults.at_least_kappa_lower:g} at its lower bound",
        f"| Qwen2.5-Coder-1.5B-Instruct (Q4_K_M) | {_format_row(agrees)} |",
        f"| Qwen2.5-Coder-0.5B-Instruct (Q4_K_M) | {_format_row(smaller)} |",
        f"It passes {passed} of {tried['tried']} canaries",
        f"and fails {wrongly} of {tried['right answers']} right answers",
        f"Rejected of each kind: {kinds}.",
    ]


def _format_row(record: TestRecord) -> str:
    """Return a table row: right answers that the judge passes, wrong ones that it fails, kappa with its lower bound."""
    failed, passed = _read_table(record)
    values = {measurement.name: measurement.value for measurement in record.measurements}
    kappa = values["judge.same_fact.kappa"]
    lower = values["judge.same_fact.kappa_lower"]
    return f"{passed[1]} of {sum(passed)} | {failed[0]} of {sum(failed)} | {kappa:.2f} | {lower:.2f}"


def _read_table(record: TestRecord) -> list[list[int]]:
    """Return the counts by label and verdict, fail before pass in both."""
    detail = _read_detail(record, "kappa")
    assert detail["classes"] == ["fail", "pass"]
    table: list[list[int]] = detail["table"]
    return table


def _read_detail(record: TestRecord, name: str) -> Mapping[str, Any]:
    """Return the detail of the measurement ``judge.same_fact.<name>``."""
    (measurement,) = [
        measurement for measurement in record.measurements if measurement.name == f"judge.same_fact.{name}"
    ]
    return measurement.detail
