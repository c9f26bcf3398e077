"""The trials of a metric in all compared cases: its change, the errors of that, and what would settle it if it is undecided."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist, fmean

from pytest_llmops.baselines.baseline import list_scored
from pytest_llmops.baselines.changes import ComparedTest, SuiteComparison, metric_name, metric_trials
from pytest_llmops.measurement import format_count
from pytest_llmops.metrics.trial_change import (
    ChangeError,
    TrialPair,
    estimate_change_error,
    mean_change,
    passes_or_fails,
    pool_noise,
)
from pytest_llmops.results.details import TrialFacts

MAX_PLANNED_TRIALS = 20  # more trials than these are never advised
# What is advised settles so many of the suites whose true change is as likely as `_chance_to_settle` takes it. As the true change is
# often in the middle, where neither verdict is near, 8 of 10 simulated ones are left
SETTLED = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRules:
    """What the gate decides by.

    Attributes:
        primary: The metric that decides; "": the only metric, else all are guard-rails.
        alpha: Probability of RED if nothing changed.
        margin: A drop of the mean that must be excluded for GREEN.
        floor: The smallest drop that is RED.
        min_cases: Fewer compared cases get no statistical verdict.
        min_trials: Fewer trials in the baseline need ``min_single_cases`` cases.
        max_unscored: Share of trials without a score above which the verdict is ERROR.
        min_share: Share of the baseline's tests that must have run.
        planned: Trials of each case that a later run can take.
    """

    primary: str = ""
    alpha: float = 0.05
    margin: float = 0.05
    floor: float = 0.02
    min_cases: int = 10
    min_trials: int = 3
    min_single_cases: int = 20
    max_unscored: float = 0.05
    min_share: float = 0.9
    planned: Sequence[int] = range(1, MAX_PLANNED_TRIALS + 1)

    def describe_least_size(self) -> str:
        """Return how many cases and trials a statistical verdict takes.

        >>> GateRules().describe_least_size()
        '10 cases with 3 trials (--llm-trials=3), or 20 cases'
        """
        repeated = f"{self.min_cases} cases with {self.min_trials} trials (--llm-trials={self.min_trials})"
        return f"{repeated}, or {self.min_single_cases} cases"


@dataclass(frozen=True, slots=True)
class ErrorBounds:
    """The error by which a drop is excluded, and the one by which it is proved."""

    excluding: ChangeError
    proving: ChangeError


@dataclass(frozen=True, slots=True)
class Plan:
    """A later run: the trials of each case before and after (0: those that there are), and so many times the cases."""

    before: int = 0
    after: int = 0
    cases: float = 1.0


PRESENT = Plan()


@dataclass(frozen=True, slots=True)
class _PassedOrFailed:
    """A side of a metric that passes or fails: its mean, its trials, and the variance of the mean from their spread."""

    mean: float
    trials: int
    variance: float


class MetricData:
    """A metric in all tests in which it can be compared.

    Attributes:
        trials: Of the tests that have new evidence.
        means: Mean score of each test before and after.
        cases: How many tests have the metric, also those that are unchanged.
        scored: Trials of the run with a score; ``unscored``: without one.
    """

    def __init__(self, metric: str, comparison: SuiteComparison) -> None:
        self.metric = metric
        self.trials: dict[str, TrialPair] = {}
        self.means: list[tuple[float, float]] = []
        self.cases = 0
        self.scored = 0
        self.unscored = 0
        for test in comparison.compared:
            self._add_test(test)

    def _add_test(self, test: ComparedTest) -> None:
        before = list_scored(metric_trials(test.before, self.metric, test.series))
        trials_after = metric_trials(test.after, self.metric, test.series)
        after = list_scored(trials_after)
        is_broken = test.record.outcome in ("failed", "errored")
        if is_broken and self.metric in map(metric_name, test.lost):
            facts = TrialFacts.from_wire(test.record.fact("trials"))
            self.unscored += facts.n or 1
        self.scored += len(after)
        self.unscored += len(trials_after) - len(after)
        if not before:
            return
        if test.unchanged:
            self.cases += 1
            self.means.append((fmean(before), fmean(before)))
        elif after:
            self.cases += 1
            self.means.append((fmean(before), fmean(after)))
            self.trials[test.record.nodeid] = TrialPair(before, after)

    @property
    def share(self) -> float:
        """Share of the cases that have new evidence: the others have a difference of 0."""
        if self.cases:
            return len(self.trials) / self.cases
        return 0.0

    @property
    def change(self) -> float:
        """Mean change over all cases."""
        if self.trials:
            return mean_change(self.trials) * self.share
        return 0.0

    @property
    def mean_scores(self) -> tuple[float, float]:
        """Mean score over all cases, before and after; 0 without any."""
        if not self.means:
            return 0.0, 0.0
        before = fmean(before for before, _ in self.means)
        after = fmean(after for _, after in self.means)
        return before, after

    def estimate_error(self, before: int = 0, after: int = 0) -> ChangeError | None:
        """Return the standard error of the change, as `estimate_change_error` does."""
        error = estimate_change_error(self.trials, trials_before=before, trials_after=after)
        if error is None:
            return None
        share = self.share
        return replace(error, standard_error=error.standard_error * share, growth=error.growth * share)

    def bound_errors(self, plan: Plan = PRESENT) -> ErrorBounds | None:
        """Return the errors by which a drop is excluded, and by which it is proved; None: too few trials or cases give them.

        Where nearly all scores are 0 or 1, excluding a drop takes more than their spread. The spread of either side depends on
        its mean, so each has its own; if one has single trials only, the differences of the cases give it. And each side has one
        trial more of either kind: that 36 trials all passed, whose spread is 0, does not exclude that one in 20 fails. Under the
        permutation either side has the spread of both, by their trials: three trials of the baseline that all passed weigh little
        beside 20 of which some fail. Its changes come in steps, half of which are taken off.

        Args:
            plan: The trials and cases to plan with.

        Source: Agresti and Caffo, "Simple and Effective Confidence Intervals for Proportions", 2000.
        """
        error = self.estimate_error(plan.before, plan.after)
        if error is None:
            return None
        if self._passed_or_failed is None:
            planned = replace(error, standard_error=error.standard_error / math.sqrt(plan.cases))
            return ErrorBounds(planned, planned)
        old, new = self._passed_or_failed
        old_trials = plan.cases * (len(self.trials) * plan.before or old.trials)
        new_trials = plan.cases * (len(self.trials) * plan.after or new.trials)
        old_variance = self._plan_variance(old, old_trials)
        new_variance = self._plan_variance(new, new_trials)
        share = self.share
        old_offset = (1 - 2 * old.mean) / (old_trials + 2)
        new_offset = (1 - 2 * new.mean) / (new_trials + 2)
        offset = max(old_offset - new_offset, 0.0)
        spread = math.sqrt(old_variance + new_variance)
        excluding = ChangeError(spread * share, error.freedom, offset * share)
        ratio = old_trials / new_trials
        permuted_spread = math.sqrt(old_variance * ratio + new_variance / ratio)
        step = 1 / old_trials + 1 / new_trials
        proving = ChangeError(permuted_spread * share, error.freedom, step / 2 * share)
        return ErrorBounds(excluding=excluding, proving=proving)

    def _plan_variance(self, side: _PassedOrFailed, trials: float) -> float:
        """Return the variance of a side's mean with so many trials.

        What has failed once will fail again: of further trials the share of either kind is that of the present ones.
        """
        if self._is_steady:
            return (trials + 1) / (trials + 2) ** 3
        present = side.trials
        unseen_variance = (present + 1) / (present + 2) ** 3
        return (side.variance + unseen_variance) * present / trials

    @cached_property
    def _paired_error(self) -> ChangeError | None:
        """The error from the spread of the differences of cases, which holds that of their true changes."""
        means = {}
        for case, pair in self.trials.items():
            means[case] = TrialPair((fmean(pair.before),), (fmean(pair.after),))
        return estimate_change_error(means)

    @cached_property
    def _is_steady(self) -> bool:
        """Whether no trial of a case differs from another, on a metric that passes or fails."""
        sides = self._passed_or_failed
        return sides is not None and not any(side.variance for side in sides)

    @cached_property
    def _passed_or_failed(self) -> tuple[_PassedOrFailed, _PassedOrFailed] | None:
        """Both sides of a metric that passes or fails; None: few scores are 0 or 1."""
        pairs = list(self.trials.values())
        if not passes_or_fails(pairs):
            return None
        sides = [[pair.before for pair in pairs], [pair.after for pair in pairs]]
        noises = [pool_noise([TrialPair(trials, trials) for trials in side]) for side in sides]
        totals = [sum(map(len, side)) for side in sides]
        paired = None
        if None in noises:  # a side has single trials only
            paired = self._paired_error
        summaries = []
        for side, noise, total in zip(sides, noises, totals, strict=True):
            mean = fmean(map(fmean, side))
            variance = _mean_variance(side, noise, paired, totals)
            summaries.append(_PassedOrFailed(mean, total, variance))
        old, new = summaries
        return old, new

    def _chance_to_settle(
        self, rules: GateRules, levels: tuple[float, float], plan: Plan, *, two_sided: bool
    ) -> float:
        """Return the probability that so many trials or cases prove or exclude a drop.

        Before the data the true change is taken as normal around 0, with a spread between floor and margin: single trials
        do not make a change of 20 points likely. A change that its error does not explain has a wider spread, the one that
        makes it likeliest.
        """
        now = self.bound_errors()
        planned = self.bound_errors(plan)
        if now is None or planned is None:
            return 0.0
        own = None
        if plan.cases > 1:  # new cases have true changes of their own
            own = self._paired_error
        least = 1e-9
        if own is not None:
            least = own.standard_error * self.share
        variance = max(now.excluding.standard_error, least) ** 2
        if self._is_steady:
            kept = 1.0
        elif own is not None:
            kept = 1 / plan.cases
        else:
            kept = planned.excluding.standard_error**2 / variance
        prior = max(rules.floor * rules.margin, self.change**2 - variance)
        pull = kept + (1 - kept) / (1 + variance / prior)
        spread = math.sqrt(max(variance * (1 - kept) * pull, 1e-18))
        proving_level, excluding_level = levels
        proved = min(planned.proving.lower_end(0.0, 1 - proving_level), -rules.floor)
        excluded = -rules.margin - planned.excluding.lower_end(0.0, 1 - excluding_level)
        later = NormalDist(self.change * pull, spread)
        if not two_sided:
            return 1 - max(later.cdf(excluded) - later.cdf(proved), 0.0)
        mirrored = NormalDist(-self.change * pull, spread)
        excluded = min(excluded, 0.0)
        undecided_drop = max(later.cdf(excluded) - later.cdf(proved), 0.0)
        undecided_rise = max(mirrored.cdf(excluded) - mirrored.cdf(proved), 0.0)
        return 1 - (undecided_drop + undecided_rise)

    def describe_next_step(
        self, rules: GateRules, levels: tuple[float, float], *, two_sided: bool = False
    ) -> str:
        """Return how many trials, or cases, would settle an undecided metric in most runs.

        Args:
            rules: What the gate decides by.
            levels: At which a drop is proved, and excluded.
            two_sided: Both sides get further trials, and a rise is proved and excluded as well.
        """
        before, after = self.fewest_trials
        most = rules.planned[-1]

        def find_least(counts: Sequence[int], make_plan: Callable[[int], Plan]) -> int:
            """Return the least of the numbers whose plan settles it; 0: none does."""

            def chance(count: int) -> float:
                return self._chance_to_settle(rules, levels, make_plan(count), two_sided=two_sided)

            place = bisect_left(counts, SETTLED, key=chance)
            if place == len(counts):
                return 0
            return counts[place]

        alone = 0
        if not two_sided:
            further = [count for count in rules.planned if count > after]
            alone = find_least(further, lambda count: Plan(after=count))
        first = after if two_sided else before

        def plan_both(count: int) -> Plan:
            """Return the plan of so many trials on both sides: not less than there are, nor more than can be taken."""
            return Plan(max(count, before), max(min(count, most), after))

        both = find_least(range(first + 1, MAX_PLANNED_TRIALS + 1), plan_both)
        further_cases = range(1, 1000 * self.cases)
        cases = find_least(further_cases, lambda count: Plan(cases=1 + count / self.cases))
        return self._describe_steps(rules, alone=alone, both=both, cases=cases, two_sided=two_sided)

    def _describe_steps(self, rules: GateRules, *, alone: int, both: int, cases: int, two_sided: bool) -> str:
        """Return in words which trials of this run alone, of both sides, or further cases would settle a metric; 0: none would."""
        most = rules.planned[-1]
        is_fixed = most == MAX_PLANNED_TRIALS
        is_whole = bool(alone or two_sided)
        trials = alone or both
        steps = []
        if trials:
            where = ""
            if not is_whole:
                where = ", in the baseline"
                if is_fixed and both > self.fewest_trials[1]:
                    where = ", here and in the baseline"
            option = f"trials={trials}"
            if alone and not is_fixed:
                option = "record=new"
            steps.append(f"{trials} trials of each case{where} (--llm-{option})")
        if cases:
            steps.append(f"about {format_count(cases, 'more case')}")
        else:
            steps.append("more cases")
        condition = "in most runs"
        if self._is_steady:
            condition = "if every trial scores as now"
        text = f"{' or '.join(steps)} would settle it {condition}"
        if is_whole:
            return text
        if both:
            return f"{text}; more trials of this run alone would not"
        return f"{text}; up to {most} trials of each case would not"

    @property
    def fewest_trials(self) -> tuple[int, int]:
        """The smallest number of trials of a case, before and after; (0, 0): no case has new evidence."""
        pairs = self.trials.values()
        before = min((len(pair.before) for pair in pairs), default=0)
        after = min((len(pair.after) for pair in pairs), default=0)
        return before, after

    def is_large_enough(self, rules: GateRules) -> bool:
        """Return whether a statistical verdict means something."""
        repeated = self.fewest_trials[0] >= rules.min_trials and self.cases >= rules.min_cases
        return repeated or self.cases >= rules.min_single_cases


def _mean_variance(
    side: Sequence[tuple[float, ...]],
    noise: ChangeError | None,
    paired: ChangeError | None,
    totals: Sequence[int],
) -> float:
    """Return the variance of a side's mean: its part of that of the differences of cases, else from the noise of its trials."""
    if paired is not None:
        own_trials = sum(map(len, side))
        inverse_totals = sum(1 / total for total in totals)
        return paired.standard_error**2 / own_trials / inverse_totals
    if noise is None:
        return 0.0
    inverse_counts = sum(1 / len(trials) for trials in side)
    return noise.standard_error**2 * inverse_counts / len(side) ** 2
