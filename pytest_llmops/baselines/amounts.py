"""Compare what agents needed for an answer (steps, repeated calls, tokens, cost) with the baseline, over the suite."""

import math
from dataclasses import replace

from pytest_llmops.baselines.baseline import BaselineTest
from pytest_llmops.baselines.changes import ComparedTest, SuiteComparison, has_same_version, is_unchanged
from pytest_llmops.baselines.metric_data import GateRules, MetricData
from pytest_llmops.metrics.change.p_values import ROUNDING, change_p_value
from pytest_llmops.metrics.change.trials import TrialPair, Trials, adjust_p_values
from pytest_llmops.results.amounts import AMOUNTS, AmountChange, AmountStatus
from pytest_llmops.results.run import TestRecord


def compare_amounts(comparison: SuiteComparison, rules: GateRules) -> tuple[AmountChange, ...]:
    """Return how each amount changed since the baseline; empty: no agent's steps were measured on either side.

    Chance is ruled out as for scores: by exchanging trials within each case, and by the differences between cases. All amounts
    share the level `GateRules.alpha` (Holm).
    """
    total = _count_cases(comparison)
    if not total:
        return ()
    view = replace(comparison, compared=tuple(map(_show_amounts_as_scores, comparison.compared)))
    measured = [MetricData(name, view) for name in AMOUNTS]
    tested = [data for data in measured if data.trials and data.is_large_enough(rules)]
    p_values = adjust_p_values([change_p_value(_enlarge(data.trials)) for data in tested])
    by_name = {data.metric: p_value for data, p_value in zip(tested, p_values, strict=True)}
    return tuple(_describe_change(data, by_name.get(data.metric), total, rules) for data in measured)


def _count_cases(comparison: SuiteComparison) -> int:
    """Return in how many tests an agent's steps were measured, now or in the baseline."""
    count = sum(map(_measures_steps, comparison.new))
    for test in comparison.compared:
        count += bool(test.before.amounts) or _measures_steps(test.record)
    for nodeid in comparison.missing:
        count += bool(comparison.baseline.tests[nodeid].amounts)
    return count


def _measures_steps(record: TestRecord) -> bool:
    return any(measurement.name in AMOUNTS for measurement in record.measurements)


def _show_amounts_as_scores(test: ComparedTest) -> ComparedTest:
    """Return a test whose scores are its amounts, so that the statistics of scores apply to them."""
    before = _swap_scores(test.before)
    after = _swap_scores(test.after)
    series = []
    for name in before.scores:
        is_comparable = name in after.scores and has_same_version(before, after, name)
        if is_comparable and not test.case_edited:
            series.append(name)
    return replace(
        test,
        before=before,
        after=after,
        series=tuple(series),
        lost=(),
        unchanged=is_unchanged(before, after, series),
    )


def _swap_scores(test: BaselineTest) -> BaselineTest:
    # As "higher is better", or `MetricData` would turn an amount into 1 - amount.
    metrics = {name: (version, "higher") for name, (version, _) in test.metrics.items()}
    return replace(test, scores=test.amounts, metrics=metrics)


def _enlarge(trials: Trials) -> Trials:
    """Return amounts that are all below 1, such as dollars, as multiples of the largest: the exchange counts in steps of 1/100."""
    largest = max(max(*pair.before, *pair.after) for pair in trials.values())
    if not 0 < largest < 1:
        return trials
    enlarged = {}
    for case, pair in trials.items():
        before = tuple(amount / largest for amount in pair.before)
        after = tuple(amount / largest for amount in pair.after)
        enlarged[case] = TrialPair(before, after, pair.sessions)
    return enlarged


def _describe_change(data: MetricData, p_value: float | None, total: int, rules: GateRules) -> AmountChange:
    """Return the change of an amount; ``p_value`` is None if it was not tested."""
    change = AmountChange(
        name=data.metric,
        status="not compared",
        cases=data.cases,
        unchanged=data.cases - len(data.trials),
        total=total,
    )
    if not data.cases:
        return change
    before, after = data.mean_scores
    status = _find_status(before, after, p_value, rules)
    return replace(change, status=status, before=before, after=after, p_value=p_value)


def _find_status(before: float, after: float, p_value: float | None, rules: GateRules) -> AmountStatus:
    if math.isclose(before, after):
        return "same"
    if p_value is None:
        return "too few"
    if p_value > rules.alpha + ROUNDING:
        return "chance"
    if after > before:
        return "rose"
    return "fell"
