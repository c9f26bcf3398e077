"""Suites of one metric, judged by the shipped gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, TypeAlias

from pytest_llmops.baselines.baseline import Baseline, summarize_test
from pytest_llmops.baselines.gate import judge_suite
from pytest_llmops.baselines.metric_data import GateRules
from pytest_llmops.measurement import Measurement
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import Verdict

Sides: TypeAlias = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""By the name of a case: the scores of its trials in the baseline and in the run."""
CHECK = "text.contains"


def make_record(
    case: str, metrics: Mapping[str, Sequence[float]], *, version: str = "", **more: Any
) -> TestRecord:
    """Return a test with the scores of its trials, by metric."""
    measurements = tuple(
        Measurement(name=name, value=fmean(scores), samples=tuple(scores), version=version)
        for name, scores in metrics.items()
    )
    return TestRecord(nodeid=f"test_a.py::test_a[{case}]", measurements=measurements, **more)


def judge_records(
    before: Sequence[TestRecord], after: Sequence[TestRecord], rules: GateRules | None = None
) -> Verdict:
    """Return the verdict of the gate on a run against another one."""
    baseline = Baseline(tests={record.nodeid: summarize_test(record) for record in before})
    return judge_suite(baseline, after, rules=rules)


def judge_sides(sides: Sides, metric: str = CHECK, rules: GateRules | None = None) -> Verdict:
    """Return the verdict of the gate on a suite with one metric."""
    before = [make_record(case, {metric: old}) for case, (old, _) in sides.items()]
    after = [make_record(case, {metric: new}) for case, (_, new) in sides.items()]
    return judge_records(before, after, rules)


def passing(
    cases: int, before: int = 3, after: int = 3
) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
    """Return checks that pass in all of their trials on both sides."""
    return {f"case {number}": ((1.0,) * before, (1.0,) * after) for number in range(cases)}
