"""The drops that a later run would notice, estimated from only the trials of the baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, pstdev

from pytest_llmops.baselines.baseline import Baseline, flip_rate, list_scored
from pytest_llmops.baselines.changes import metric_name, metric_trials
from pytest_llmops.baselines.metric_data import GateRules
from pytest_llmops.metrics.change.trials import TrialPair, estimate_change_error, pool_noise

PLANNED_TRIALS = (1, 3, 5, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPower:
    """The noise of a metric, and the drops that would be noticed in spite of it.

    Attributes:
        cases: How many tests have the metric.
        trials: The smallest number of trials of a case.
        mean: Mean score, higher is better.
        noise: Standard deviation of a trial within its case; None: no case has two trials.
        detectable: Pairs of a number of trials and the drop of the mean that a run with these is expected to notice in 8 of 10
            cases. Empty if the trials of each case agree: then the noise of a later run is not known.
        noisiest: Cases whose trials differ, with their standard deviation, the largest first.
        flaky: Cases that pass in some trials and fail in others, the largest share first: node id, share of pairs of trials
            that differ, and the time of the acceptance since which the case is flaky.
    """

    name: str
    cases: int
    trials: int
    mean: float
    noise: float | None = None
    detectable: tuple[tuple[int, float], ...] = ()
    noisiest: tuple[tuple[str, float], ...] = ()
    flaky: tuple[tuple[str, float, str], ...] = ()


def estimate_power(
    baseline: Baseline, *, alpha: float = 0.05, planned: Sequence[int] = PLANNED_TRIALS
) -> list[MetricPower]:
    """Return the power of each metric of a baseline, in alphabetical order.

    Args:
        baseline: The baseline.
        alpha: Level at which a drop is proved.
        planned: Numbers of trials for which the detectable drop is estimated.

    >>> estimate_power(Baseline())
    []
    """
    names: set[str] = set()
    for test in baseline.tests.values():
        names.update(map(metric_name, test.scores))
    return [_estimate_metric_power(baseline, name, alpha, planned) for name in sorted(names)]


def _estimate_metric_power(
    baseline: Baseline, name: str, alpha: float, planned: Sequence[int]
) -> MetricPower:
    """Return the power of one metric; ``noise`` and what follows from it is missing if no case has two trials."""
    trials: dict[str, TrialPair] = {}
    flaky = []
    for nodeid, test in baseline.tests.items():
        scores = list_scored(metric_trials(test, name, tuple(test.scores)))
        rate = flip_rate(scores)
        if rate:
            flaky.append((nodeid, rate, test.flaky_since))
        if scores:
            # A single trial at the mean replaces the later run, and adds no spread of its own.
            trials[nodeid] = TrialPair(scores, (fmean(scores),))
    flaky.sort(key=lambda case: (-case[1], case[0]))
    pairs = list(trials.values())
    mean = 0.0
    if pairs:
        mean = fmean(fmean(pair.before) for pair in pairs)
    power = MetricPower(
        name=name,
        cases=len(pairs),
        trials=min((len(pair.before) for pair in pairs), default=0),
        mean=mean,
        flaky=tuple(flaky),
    )
    noise = pool_noise(pairs)
    if noise is None:
        return power
    detectable = _list_detectable_drops(trials, alpha, planned)
    noisiest = _list_noisiest(trials)
    return replace(
        power,
        noise=noise.standard_error,
        detectable=tuple(detectable),
        noisiest=tuple(noisiest),
    )


def _list_detectable_drops(
    trials: Mapping[str, TrialPair], alpha: float, planned: Sequence[int]
) -> list[tuple[int, float]]:
    """Return each planned number of trials with the drop it notices, which is never below the floor of the gate."""
    drops = []
    for count in planned:
        error = estimate_change_error(trials, trials_after=count)
        if error is not None and error.standard_error:
            drop = max(error.detectable_drop(alpha), GateRules().floor)
            drops.append((count, drop))
    return drops


def _list_noisiest(trials: Mapping[str, TrialPair]) -> list[tuple[str, float]]:
    """Return the cases whose trials differ, with their standard deviation, the largest first."""
    noisy = []
    for nodeid, pair in trials.items():
        spread = pstdev(pair.before)
        if spread > 0:
            noisy.append((nodeid, spread))
    return sorted(noisy, key=lambda entry: (-entry[1], entry[0]))
