"""The trials of a metric in all compared cases: its change, the error of the change, and what would decide an undecided metric.

Many metrics score a trial only with 0 or 1 (it passes or fails). Their mean is a pass rate, whose error needs formulas of its
own: see `MetricData.bound_errors`. A metric is "steady" if it is such a metric and all trials of each case agree.
"""

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
from pytest_llmops.results.shares import MAX_ADDED, MAX_GROWTH, round_plan
from pytest_llmops.results.verdict import MAX_UNSCORED

MAX_PLANNED_TRIALS = 20  # more trials than these are never advised
# The advice names the first plan that `_chance_to_settle` expects to settle this share of suites. Simulated suites are settled in
# 8 of 10 cases: their true change is often in the middle, where neither verdict is near
SETTLED = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRules:
    """What the gate decides by.

    Attributes:
        primary: The metric that decides; "": the only metric decides, and of several all are guard-rails.
        alpha: Probability of RED if nothing changed.
        margin: A drop of the mean that must be excluded for GREEN.
        floor: The smallest drop that is RED.
        min_cases: Fewer compared cases get no statistical verdict.
        min_trials: With fewer trials of a case in the baseline, ``min_single_cases`` cases are required instead.
        max_unscored: Share of trials without a score above which the verdict is ERROR.
        min_share: Share of the baseline's tests that must have run.
        planned: Numbers of trials of each case that a later run can have, ascending.
    """

    primary: str = ""
    alpha: float = 0.05
    margin: float = 0.05
    floor: float = 0.02
    min_cases: int = 10
    min_trials: int = 3
    min_single_cases: int = 20
    max_unscored: float = MAX_UNSCORED
    min_share: float = 0.9
    planned: Sequence[int] = range(1, MAX_PLANNED_TRIALS + 1)

    def describe_least_size(self) -> str:
        """Return how many cases and trials a statistical verdict needs.

        >>> GateRules().describe_least_size()
        '20 are needed, or 10 with 3 trials'
        """
        return f"{self.min_single_cases} are needed, or {self.min_cases} with {self.min_trials} trials"


@dataclass(frozen=True, slots=True)
class ErrorBounds:
    """The error by which a drop is excluded, and the one by which it is proved."""

    excluding: ChangeError
    proving: ChangeError


@dataclass(frozen=True, slots=True)
class Plan:
    """A later run to plan with.

    Attributes:
        before: Trials of each case in the baseline; 0: as many as now.
        after: Trials of each case in the run; 0: as many as now.
        cases: Factor by which the number of cases grows.
    """

    before: int = 0
    after: int = 0
    cases: float = 1.0


PRESENT = Plan()


@dataclass(frozen=True, slots=True)
class _PassRateSide:
    """The baseline or the run of a metric that passes or fails.

    Attributes:
        mean: The pass rate.
        trials: How many trials there are in all cases.
        variance: Variance of the mean, estimated from the spread of trials within a case.
    """

    mean: float
    trials: int
    variance: float


class MetricData:
    """A metric in all tests in which it can be compared.

    Attributes:
        trials: The trials by node id, only of tests with new evidence (see `ComparedTest.unchanged`).
        means: Mean score of each test before and after.
        cases: How many tests have the metric, including those that are unchanged.
        scored: How many trials of the run have a score; ``unscored``: how many have none.
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
        """Count a test; one without a score on either side adds no case.

        A broken test that did not get as far as measuring the metric counts with all its trials as unscored.
        """
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
        """Share of the cases that have new evidence. The change of the others is 0, so that means over all cases shrink by it."""
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
        """Return the standard error of the change over all cases; None: too few trials or cases give one.

        Args:
            before: Trials of each case in the baseline; 0: as many as now.
            after: Trials of each case in the run; 0: as many as now.
        """
        error = estimate_change_error(self.trials, trials_before=before, trials_after=after)
        if error is None:
            return None
        share = self.share
        return replace(error, standard_error=error.standard_error * share, growth=error.growth * share)

    def bound_errors(self, plan: Plan = PRESENT) -> ErrorBounds | None:
        """Return the errors by which a drop is excluded, and by which it is proved; None: too few trials or cases give them.

        Metrics with other scores than 0 and 1 have one error for both. A metric that passes or fails needs more:

        - The spread of a pass rate depends on the rate, so the baseline and the run each have their own. If one of them has
          only single trials, it is taken from the differences between cases.
        - To exclude a drop, each side is given one more passed and one more failed trial. Otherwise 36 trials that all passed
          would have the spread 0, and exclude that one in 20 fails.
        - A drop is proved by permuting the trials of both sides, so there each side has the spread of both, weighted by trials:
          3 passed trials of the baseline count little against 20 of the run of which some failed.
        - The change of a permutation moves in steps; half a step is subtracted (the correction for continuity).

        Args:
            plan: The trials and cases to plan with.

        Source: Agresti and Caffo, "Simple and Effective Confidence Intervals for Proportions", 2000.
        """
        error = self.estimate_error(plan.before, plan.after)
        if error is None:
            return None
        if self._pass_rate_sides is None:
            planned = replace(error, standard_error=error.standard_error / math.sqrt(plan.cases))
            return ErrorBounds(planned, planned)
        old, new = self._pass_rate_sides
        cases = len(self.trials)
        old_trials = plan.cases * (cases * plan.before or old.trials)
        new_trials = plan.cases * (cases * plan.after or new.trials)
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

    def _plan_variance(self, side: _PassRateSide, trials: float) -> float:
        """Return the variance that the mean of a side would have with this number of trials.

        Further trials are expected to pass and fail in the same proportion as the present ones.
        """
        if self._is_steady:
            return (trials + 1) / (trials + 2) ** 3
        present = side.trials
        unseen_variance = (present + 1) / (present + 2) ** 3
        return (side.variance + unseen_variance) * present / trials

    @cached_property
    def _paired_error(self) -> ChangeError | None:
        """The error from the spread of the differences between cases, which includes the spread of their true changes."""
        means = {}
        for case, pair in self.trials.items():
            means[case] = TrialPair((fmean(pair.before),), (fmean(pair.after),))
        return estimate_change_error(means)

    @cached_property
    def _is_steady(self) -> bool:
        """Whether the metric passes or fails, and all trials of each case agree."""
        sides = self._pass_rate_sides
        return sides is not None and not any(side.variance for side in sides)

    @cached_property
    def _pass_rate_sides(self) -> tuple[_PassRateSide, _PassRateSide] | None:
        """The baseline and the run of a metric that passes or fails; None: it does not, most of its scores are in between."""
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
            summaries.append(_PassRateSide(mean, total, variance))
        old, new = summaries
        return old, new

    def _chance_to_settle(
        self, rules: GateRules, levels: tuple[float, float], plan: Plan, *, two_sided: bool
    ) -> float:
        """Return the probability that a later run according to the plan proves or excludes a drop.

        This is a Bayesian prediction. The prior of the true change is normal around 0, with a spread between floor and margin,
        so that a few single trials do not make a change of 20 points likely. If the observed change is larger than its error
        explains, the prior is widened to the spread that makes the observation most likely.

        Args:
            rules: What the gate decides by.
            levels: The level at which a drop is proved, and the one at which it is excluded.
            plan: Trials and cases of the later run.
            two_sided: A rise is proved and excluded as well.
        """
        now = self.bound_errors()
        planned = self.bound_errors(plan)
        if now is None or planned is None:
            return 0.0
        error_between_cases = None
        if plan.cases > 1:  # new cases have true changes of their own
            error_between_cases = self._paired_error
        smallest_error = 1e-9
        if error_between_cases is not None:
            smallest_error = error_between_cases.standard_error * self.share
        variance = max(now.excluding.standard_error, smallest_error) ** 2
        # The share of the later result that the present one determines already.
        if self._is_steady:
            kept = 1.0
        elif error_between_cases is not None:
            kept = 1 / plan.cases
        else:
            kept = planned.excluding.standard_error**2 / variance
        prior_variance = max(rules.floor * rules.margin, self.change**2 - variance)
        # New trials pull the change towards 0, the mean of the prior: the later change is this factor of the present one.
        shrinkage = kept + (1 - kept) / (1 + variance / prior_variance)
        spread = math.sqrt(max(variance * (1 - kept) * shrinkage, 1e-18))
        proving_level, excluding_level = levels
        proved = min(planned.proving.lower_end(0.0, 1 - proving_level), -rules.floor)
        excluded = -rules.margin - planned.excluding.lower_end(0.0, 1 - excluding_level)
        later = NormalDist(self.change * shrinkage, spread)
        if not two_sided:
            return 1 - max(later.cdf(excluded) - later.cdf(proved), 0.0)
        mirrored = NormalDist(-self.change * shrinkage, spread)
        excluded = min(excluded, 0.0)
        undecided_drop = max(later.cdf(excluded) - later.cdf(proved), 0.0)
        undecided_rise = max(mirrored.cdf(excluded) - mirrored.cdf(proved), 0.0)
        return 1 - (undecided_drop + undecided_rise)

    def plan_next_step(
        self, rules: GateRules, levels: tuple[float, float], *, two_sided: bool = False
    ) -> "NextStep":
        """Return how many trials, or cases, would decide an undecided metric in most runs.

        Args:
            rules: What the gate decides by.
            levels: The level at which a drop is proved, and the one at which it is excluded.
            two_sided: For variants in one run: both sides get the further trials, and a rise is proved and excluded as well.
        """
        before, after = self.fewest_trials
        most = rules.planned[-1]

        def find_least(counts: Sequence[int], make_plan: Callable[[int], Plan]) -> int:
            """Return the smallest of the ascending numbers whose plan decides the metric; 0: none does."""

            def chance(count: int) -> float:
                return self._chance_to_settle(rules, levels, make_plan(count), two_sided=two_sided)

            place = bisect_left(counts, SETTLED, key=chance)
            if place == len(counts):
                return 0
            return counts[place]

        run_only = 0
        if not two_sided:
            further = [count for count in rules.planned if count > after]
            run_only = find_least(further, lambda count: Plan(after=count))
        first = after if two_sided else before

        def plan_both(count: int) -> Plan:
            """Return the plan with this number of trials on both sides, but never fewer than now or more than a run can have."""
            return Plan(max(count, before), max(min(count, most), after))

        both = find_least(range(first + 1, MAX_PLANNED_TRIALS + 1), plan_both)
        further_cases = range(1, 1000 * self.cases)
        cases = find_least(further_cases, lambda count: Plan(cases=1 + count / self.cases))
        is_fixed = most == MAX_PLANNED_TRIALS
        return NextStep(
            run_only=run_only,
            both=both,
            cases=cases,
            present_cases=self.cases,
            is_steady=self._is_steady,
            is_fixed=is_fixed,
            has_enough_trials=both <= after or not is_fixed,
            two_sided=two_sided,
        )

    @property
    def fewest_trials(self) -> tuple[int, int]:
        """The smallest number of trials of a case, before and after; (0, 0): no case has new evidence."""
        pairs = self.trials.values()
        before = min((len(pair.before) for pair in pairs), default=0)
        after = min((len(pair.after) for pair in pairs), default=0)
        return before, after

    def is_large_enough(self, rules: GateRules) -> bool:
        """Return whether there are enough cases for a statistical verdict: many, or fewer with repeated trials."""
        return not self.count_missing_cases(rules)

    def count_missing_cases(self, rules: GateRules) -> int:
        """Return how many further cases a statistical verdict needs; 0: there are enough."""
        needed = rules.min_single_cases
        if self.fewest_trials[0] >= rules.min_trials:
            needed = min(needed, rules.min_cases)
        return max(0, needed - self.cases)


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """What would decide an undecided metric in most runs.

    Attributes:
        run_only: Trials of each case that would do if only this run gets more; 0: no number would.
        both: Trials of each case that would do on both sides; 0: no number would.
        cases: Further cases that would do; 0: no number would.
        present_cases: How many cases there are.
        is_steady: All trials of each case agree, so the numbers hold only if they still do.
        is_fixed: The number of trials is given; else ``--llm-trials=auto`` takes more by itself.
        has_enough_trials: This run has ``both`` trials already, or takes more by itself: only the baseline needs them.
        two_sided: The sides are variants in one run, which always have the same number of trials.
    """

    run_only: int = 0
    both: int = 0
    cases: int = 0
    present_cases: int = 0
    is_steady: bool = False
    is_fixed: bool = True
    has_enough_trials: bool = False
    two_sided: bool = False

    @property
    def is_out_of_reach(self) -> bool:
        """Whether nobody would do it: no number of trials helps, and it takes over 500 cases or over five times the suite."""
        return not (self.run_only or self.both or self._are_cases_within_reach)

    @property
    def _are_cases_within_reach(self) -> bool:
        most = min(MAX_ADDED, MAX_GROWTH * self.present_cases)
        return 0 < self.cases <= most

    @property
    def words(self) -> str:
        """What to do, as a sentence without a full stop; with a colon at its end if `command` follows.

        >>> NextStep(both=12, cases=58, present_cases=40).words
        'To decide, add about 58 cases, or record 12 trials per case in the baseline and on this branch'
        >>> NextStep(run_only=5, cases=58, present_cases=40).words
        'To decide, record 5 trials per case:'
        >>> NextStep(cases=61, present_cases=40).words
        'To decide, add about 61 cases; more trials would not help'
        >>> NextStep(cases=2176, present_cases=20).words
        'This suite cannot decide so small a change'
        >>> NextStep(both=9, cases=2176, present_cases=20).words
        'To decide, record 9 trials per case in the baseline and on this branch'
        """
        if self.is_out_of_reach:
            return "This suite cannot decide so small a change"
        condition = ""
        if self.is_steady:
            condition = ", if the scores stay as they are"
        if self.run_only:
            return f"To decide, record {self.run_only} trials per case{condition}:"
        steps = []
        if self._are_cases_within_reach:
            steps.append(f"add about {format_count(round_plan(self.cases), 'case')}")
        if self.both:
            where = " in the baseline and on this branch"
            if self.two_sided:
                where = ""
            elif self.has_enough_trials:
                where = " in the baseline"
            steps.append(f"record {self.both} trials per case{where}")
        text = f"To decide, {', or '.join(steps)}{condition}"
        if not self.both:
            text += "; more trials would not help"
        return text

    @property
    def command(self) -> str:
        """The command that does it, without the options of this run; "": there is none."""
        if not self.run_only:
            return ""
        if self.is_fixed:
            return f"pytest --llm-record=new --llm-trials={self.run_only}"
        return "pytest --llm-record=new"


def _mean_variance(
    side: Sequence[tuple[float, ...]],
    noise: ChangeError | None,
    paired: ChangeError | None,
    totals: Sequence[int],
) -> float:
    """Return the variance of the mean of one side of a metric that passes or fails.

    Args:
        side: The trials of each case.
        noise: Spread of the trials within a case; None: the side has only single trials.
        paired: Error from the differences between cases, given if either side has only single trials. The side gets the part
            of it that its number of trials explains.
        totals: How many trials each of the two sides has.
    """
    if paired is not None:
        own_trials = sum(map(len, side))
        inverse_totals = sum(1 / total for total in totals)
        return paired.standard_error**2 / own_trials / inverse_totals
    if noise is None:
        return 0.0
    inverse_counts = sum(1 / len(trials) for trials in side)
    return noise.standard_error**2 * inverse_counts / len(side) ** 2


def format_points(change: float) -> str:
    """Return a change of a score from 0 to 1 in points with its sign.

    >>> format_points(-0.0612), format_points(0.0)
    ('-6.1 points', '0.0 points')
    """
    points = round(change * 100, 1) or 0.0
    if points:
        return f"{points:+.1f} points"
    return "0.0 points"


def format_size(size: float) -> str:
    """Return the size of a difference in points."""
    return f"{size * 100:.1f} points"
