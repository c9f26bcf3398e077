"""The trials of a metric in all compared cases: its change, the error of the change, and the way to decide an undecided metric.

Many metrics score a trial only with 0 or 1 (it passes or fails). Their mean is a pass rate, whose error needs formulas of its
own: see `MetricData.bound_errors`. The verdict itself has its numbers from `metrics.change.p_values` and `metrics.change.bounds`; the errors
here are for planning. A metric is "steady" if it is such a metric and all trials of each case agree.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist, fmean

from pytest_llmops.baselines.baseline import list_scored
from pytest_llmops.baselines.changes import ComparedTest, SuiteComparison, metric_name, metric_trials
from pytest_llmops.measurement import format_count
from pytest_llmops.metrics.change.bounds import (
    Side,
    bound_range,
    centre_offset,
    lower_bound,
    measure_sides,
    needed_trials,
    paired_variance,
    rule_out,
    unseen_variance,
)
from pytest_llmops.metrics.change.trials import (
    ChangeError,
    TrialPair,
    estimate_change_error,
    mean_change,
    passes_or_fails,
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
    """The rules of the gate.

    Attributes:
        primary: The metric that decides, or several with spaces between them; "": the only metric decides, and of several all are
            guard-rails.
        alpha: The error of GREEN: the probability of ruling out a drop that is there.
        mean_level: Probability that the mean of the metrics that decide is RED if nothing changed. It is a little smaller than alpha, as
            cases that broke may turn the verdict RED as well.
        guard_level: The same for all guard-rails together.
        compare_level: Probability that `llm_compare` calls some variant better or worse if they are all the same.
        broken_level: The odds of chance above which broken cases prove nothing.
        margin: A drop of the mean that must be excluded for GREEN.
        floor: The smallest drop that is RED.
        min_cases: Fewer compared cases get no statistical verdict.
        min_trials: With fewer trials of a case in the baseline, ``min_single_cases`` cases are required instead.
        max_unscored: Share of trials without a score above which the verdict is ERROR.
        min_share: Share of the baseline's tests that must have run.
        planned: Numbers of trials of each case that a later run can have, ascending.
        next_trials: Trials of each case in the next look of ``--llm-trials=auto``; 0: there is none.
    """

    primary: str = ""
    alpha: float = 0.05
    mean_level: float = 0.04
    guard_level: float = 0.01
    compare_level: float = 0.03
    broken_level: float = 0.01
    margin: float = 0.05
    floor: float = 0.02
    min_cases: int = 10
    min_trials: int = 3
    min_single_cases: int = 20
    max_unscored: float = MAX_UNSCORED
    min_share: float = 0.9
    planned: Sequence[int] = range(1, MAX_PLANNED_TRIALS + 1)
    next_trials: int = 0

    def list_named(self, measured: Collection[str]) -> tuple[str, ...]:
        """Return the metrics that decide, as the settings name them: one of those measured, or several with spaces between them.

        >>> GateRules(primary="judge.quality, text.contains").list_named(["text.contains", "judge.quality"])
        ('judge.quality', 'text.contains')
        >>> GateRules(primary="answer quality").list_named(["answer quality"])
        ('answer quality',)
        """
        if self.primary in measured:  # its name may have spaces
            return (self.primary,)
        return tuple(self.primary.replace(",", " ").split())

    def divide(self, looks: int) -> "GateRules":
        """Return the rules of each of several looks at the same suite, whose errors add up."""
        return replace(
            self,
            alpha=self.alpha / looks,
            mean_level=self.mean_level / looks,
            guard_level=self.guard_level / looks,
            broken_level=self.broken_level / looks,
        )

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


class MetricData:
    """A metric in all tests in which it can be compared.

    Attributes:
        trials: The trials by node id, only of tests with new evidence (see `ComparedTest.unchanged`).
        means: Mean score of each test before and after.
        means_before: Mean score in the baseline of each test, also of those that have no score now.
        cases: How many tests have the metric, including those that are unchanged.
        scored: How many trials of the run have a score; ``unscored``: how many have none.
    """

    def __init__(self, metric: str, comparison: SuiteComparison) -> None:
        self.metric = metric
        self.trials: dict[str, TrialPair] = {}
        self.means: list[tuple[float, float]] = []
        self.means_before: list[float] = []
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
        known = list_scored(metric_trials(test.before, self.metric, (*test.series, *test.lost)))
        if known:
            self.means_before.append(fmean(known))
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
            self.trials[test.record.nodeid] = TrialPair(before, after, self._count_sessions(test, before))

    def _count_sessions(self, test: ComparedTest, scored: Sequence[float]) -> tuple[int, ...]:
        """Return how many trials each session of the baseline has; empty if that is one session, or some trials have no score."""
        sessions = tuple(test.before.sessions.values())
        if sum(sessions) != len(scored):
            return ()
        return sessions

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

    def bound_change(self, level: float) -> tuple[float | None, float | None]:
        """Return lower and upper end of the likely range of the change over all cases; None: too few cases have new trials.

        The change of cases without new evidence is 0, so a range of the others shrinks by their share.
        """
        if not self.trials:
            return None, None
        likely = bound_range(self.trials, level)
        if likely is None:
            return None, None
        lower = rule_out(self.trials, level, likely)
        _, upper = likely
        return lower * self.share, upper * self.share

    def likely_range(self, level: float) -> tuple[float, float] | None:
        """Return the likely range of the change over all cases, from the spread of cases and trials; None: too few have new trials.

        Unlike the lower end of `bound_change` it is not widened by what so few trials may not have met.
        """
        likely = bound_range(self.trials, level)
        if likely is None:
            return None
        lower, upper = likely
        return lower * self.share, upper * self.share

    def rules_out_difference(self, level: float, margin: float) -> bool:
        """Return whether a drop of the margin is ruled out over all cases, and also if the run and the baseline change places."""
        swapped = {nodeid: TrialPair(pair.after, pair.before) for nodeid, pair in self.trials.items()}
        for trials in (self.trials, swapped):
            lower = lower_bound(trials, level)
            if lower is None or lower * self.share <= -margin:
                return False
        return True

    def estimate_error(self, before: int = 0, after: int = 0) -> ChangeError | None:
        """Return the standard error of the change over all cases; None: too few trials or cases give one.

        It is the larger of that from the trials and that from the differences between cases. What these exceed the trials by does not
        shrink with further trials.

        Args:
            before: Trials of each case in the baseline; 0: as many as now.
            after: Trials of each case in the run; 0: as many as now.
        """
        error = estimate_change_error(self.trials, trials_before=before, trials_after=after)
        if error is None:
            return None
        share = self.share
        total = math.hypot(error.standard_error, math.sqrt(self._variance_between_cases))
        return replace(error, standard_error=total * share, growth=error.growth * share)

    @cached_property
    def _variance_between_cases(self) -> float:
        """The variance of the change that comes from differences between cases and that the trials of these cases do not explain."""
        error = estimate_change_error(self.trials)
        if error is None:
            return 0.0
        return max(paired_variance(self.trials) - error.standard_error**2, 0.0)

    def bound_errors(self, plan: Plan = PRESENT) -> ErrorBounds | None:
        """Return the errors by which a later run excludes a drop, and by which it proves one; None: too few trials or cases give them.

        Metrics with other scores than 0 and 1 have one error for both. A metric that passes or fails needs more:

        - The spread of a pass rate depends on the rate, so the baseline and the run each have their own. If one of them has
          only single trials, it is taken from the differences between cases.
        - To exclude a drop, each side is given one more passed and one more failed trial. Otherwise 36 trials that all passed
          would have the spread 0, and exclude that one in 20 fails.
        - A drop is proved by exchanging the trials of both sides, so there each side has the spread of both, weighted by trials:
          3 passed trials of the baseline count little against 20 of the run of which some failed.

        Args:
            plan: The trials and cases to plan with.
        """
        error = self.estimate_error(plan.before, plan.after)
        if error is None:
            return None
        if not self._passes_or_fails:
            planned = replace(error, standard_error=error.standard_error / math.sqrt(plan.cases))
            return ErrorBounds(planned, planned)
        old, new = self._sides
        old_trials, new_trials = self._count_planned_trials(plan)
        old_variance = self._plan_variance(old, old_trials)
        new_variance = self._plan_variance(new, new_trials)
        share = self.share
        planned_old = replace(old, trials=round(old_trials))
        planned_new = replace(new, trials=round(new_trials))
        between = self._variance_between_cases / plan.cases
        spread = math.sqrt(old_variance + new_variance + between)
        excluding = ChangeError(
            spread * share, error.freedom, centre_offset(planned_old, planned_new) * share
        )
        ratio = old_trials / new_trials
        exchanged_spread = math.sqrt(old_variance * ratio + new_variance / ratio + between)
        proving = ChangeError(exchanged_spread * share, error.freedom)
        return ErrorBounds(excluding=excluding, proving=proving)

    def _count_planned_trials(self, plan: Plan) -> tuple[float, float]:
        """Return how many trials the cases with new evidence have in a plan, in the baseline and in the run."""
        cases = len(self.trials)
        old, new = self._sides
        before = cases * plan.before or old.trials
        after = cases * plan.after or new.trials
        return plan.cases * before, plan.cases * after

    def _plan_variance(self, side: Side, trials: float) -> float:
        """Return the variance that the mean of a side would have with this number of trials.

        Further trials are expected to pass and fail in the same proportion as the present ones.
        """
        if self._is_steady:
            return unseen_variance(trials)
        return (side.variance + unseen_variance(side.trials)) * side.trials / trials

    @cached_property
    def _is_steady(self) -> bool:
        """Whether the metric passes or fails, and all trials of each case agree."""
        return self._passes_or_fails and not any(side.variance for side in self._sides)

    @cached_property
    def _passes_or_fails(self) -> bool:
        return passes_or_fails(self.trials.values())

    @cached_property
    def _sides(self) -> tuple[Side, Side]:
        return measure_sides(self.trials)

    def _chance_to_settle(
        self, rules: GateRules, levels: tuple[float, float], plan: Plan, *, two_sided: bool
    ) -> float:
        """Return the probability that a later run according to the plan proves or excludes a drop.

        This is a Bayesian prediction. The prior of the true change is normal around 0, with a spread between floor and margin,
        so that a few single trials do not make a change of 20 points likely. If the observed change is larger than its error
        explains, the prior is widened to the spread that makes the observation most likely.

        Args:
            rules: The rules of the gate.
            levels: The level at which a drop is proved, and the one at which it is excluded.
            plan: Trials and cases of the later run.
            two_sided: A rise is proved and excluded as well.
        """
        now = self.bound_errors()
        planned = self.bound_errors(plan)
        if now is None or planned is None:
            return 0.0
        smallest_error = 1e-9
        has_new_cases = plan.cases > 1  # they have true changes of their own
        if has_new_cases:
            smallest_error = max(smallest_error, math.sqrt(paired_variance(self.trials)) * self.share)
        variance = max(now.excluding.standard_error, smallest_error) ** 2
        # The share of the later result that the present one determines already.
        if self._is_steady:
            kept = 1.0
        elif has_new_cases:
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
        if not self._can_exclude(rules, excluding_level, plan):
            excluded = math.inf
        later = NormalDist(self.change * shrinkage, spread)
        if not two_sided:
            return 1 - max(later.cdf(excluded) - later.cdf(proved), 0.0)
        mirrored = NormalDist(-self.change * shrinkage, spread)
        if math.isfinite(excluded):
            excluded = min(excluded, 0.0)
        undecided_drop = max(later.cdf(excluded) - later.cdf(proved), 0.0)
        undecided_rise = max(mirrored.cdf(excluded) - mirrored.cdf(proved), 0.0)
        return 1 - (undecided_drop + undecided_rise)

    def _can_exclude(self, rules: GateRules, level: float, plan: Plan) -> bool:
        """Return whether the run of a plan has enough trials to exclude that some rare answers are worthless."""
        _, new_trials = self._count_planned_trials(plan)
        return new_trials >= needed_trials(level, rules.margin / self.share)

    def count_missing_trials(self, rules: GateRules) -> int:
        """Return how many further trials the run needs so that a drop of the margin can be ruled out at all; 0: it has enough."""
        if not self.trials:
            return 0
        _, present = self._count_planned_trials(PRESENT)
        return max(0, needed_trials(rules.alpha, rules.margin / self.share) - round(present))

    def chance_of_verdict(self, rules: GateRules, levels: tuple[float, float], trials: int) -> float:
        """Return the probability that a run of so many trials of each case is decided, as `plan_next_step` predicts it."""
        return self._chance_to_settle(rules, levels, Plan(after=trials), two_sided=False)

    def plan_next_step(
        self, rules: GateRules, levels: tuple[float, float], *, two_sided: bool = False
    ) -> "NextStep":
        """Return how many trials, or cases, would decide an undecided metric in most runs.

        Args:
            rules: The rules of the gate.
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
    """The trials or cases that would decide an undecided metric in most runs.

    Attributes:
        run_only: Trials of each case that would do if only this run gets more; 0: no number would.
        both: Trials of each case that would do on both sides; 0: no number would.
        cases: Further cases that would do; 0: no number would.
        present_cases: How many cases there are.
        is_steady: All trials of each case agree, so the numbers hold only if they still do.
        is_fixed: The number of trials is given; else ``--llm-trials=auto`` runs more by itself.
        has_enough_trials: This run has ``both`` trials already, or runs more by itself: only the baseline needs them.
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
        """Whether nobody would do it: no number of trials helps, and it needs over 500 cases or over five times the suite."""
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
