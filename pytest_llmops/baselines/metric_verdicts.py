"""The gate's verdict on each metric: whether a drop of its mean is proved, or ruled out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from pytest_llmops.baselines.metric_data import GateRules, MetricData
from pytest_llmops.metrics.change.p_values import ROUNDING, drop_p_value
from pytest_llmops.metrics.change.trials import adjust_p_values
from pytest_llmops.results.verdict import MetricVerdict


def judge_metrics(
    measured: Sequence[MetricData], primaries: Sequence[str], rules: GateRules
) -> list[MetricVerdict]:
    """Return the verdict on each metric, those that decide first.

    Those that decide share one level, all guard-rails another one (Holm). Without one that decides all share the first.
    """
    tests = _test_drops(measured, primaries, rules)
    verdicts = []
    for data in sorted(measured, key=lambda data: data.metric not in primaries):
        role = "primary" if data.metric in primaries else "guard-rail"
        verdicts.append(_judge_metric(data, role, tests.get(data.metric), rules))
    return verdicts


@dataclass(frozen=True, slots=True)
class _DropTest:
    """The test of a drop: its p-value, corrected for the number of metrics, and the level that it is compared with."""

    p_value: float
    level: float

    @property
    def is_proved(self) -> bool:
        """Whether the drop is more than chance."""
        return self.p_value <= self.level + ROUNDING


def _test_drops(
    measured: Sequence[MetricData], primaries: Sequence[str], rules: GateRules
) -> dict[str, _DropTest]:
    """Return the test of each metric that has new trials."""
    changed = [data for data in measured if data.trials]
    leading = [data for data in changed if not primaries or data.metric in primaries]
    guards = [data for data in changed if primaries and data.metric not in primaries]
    tests = {}
    for group, level in ((leading, rules.mean_level), (guards, rules.guard_level)):
        adjusted = adjust_p_values([drop_p_value(data.trials) for data in group])
        for data, p_value in zip(group, adjusted, strict=True):
            tests[data.metric] = _DropTest(p_value, level)
    return tests


def _judge_metric(data: MetricData, role: str, test: _DropTest | None, rules: GateRules) -> MetricVerdict:
    """Return the verdict on a metric; without new trials, or with too few, it has no status.

    Args:
        data: The trials of the metric.
        role: ``primary`` or ``guard-rail``.
        test: The test of its drop; None: it has no new trials.
        rules: The rules of the gate.
    """
    before, after = data.mean_scores
    trials_before, trials_after = data.fewest_trials
    verdict = MetricVerdict(
        name=data.metric,
        role=role,
        before=before,
        after=after,
        change=data.change,
        cases=data.cases,
        unchanged=data.cases - len(data.trials),
        trials_before=trials_before,
        trials_after=trials_after,
        scored=data.scored,
        unscored=data.unscored,
    )
    if (
        verdict.is_unscored and data.means_before
    ):  # the cases with a score on both sides are not a fair sample
        verdict = replace(verdict, before=fmean(data.means_before))
    if test is None or not data.is_large_enough(rules):
        return verdict
    lower, upper = data.bound_change(rules.alpha)
    if lower is not None:
        is_drop_excluded = lower > -rules.margin
    else:  # new trials of a single case: a drop is excluded only if no score differs, and there are enough of them
        has_moved = any(pair.difference for pair in data.trials.values())
        is_drop_excluded = not has_moved and not data.count_missing_trials(rules)
    status = "AMBER"
    if test.is_proved and data.change <= -rules.floor + ROUNDING:
        status = "RED"
    elif is_drop_excluded:
        status = "GREEN"
    if lower is not None and upper is not None:  # scores stay within 0 and 1
        lower = max(lower, -before)
        upper = min(upper, 1 - before)
    detectable = None
    error = data.estimate_error()
    # The cases of a proved drop differ because of it: their spread does not show the changes that a later run would notice.
    if status != "RED" and error is not None and error.standard_error:
        detectable = max(error.detectable_drop(test.level), rules.floor)
    return replace(
        verdict, status=status, p_value=test.p_value, lower=lower, upper=upper, detectable=detectable
    )
