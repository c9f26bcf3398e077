"""The trials of a metric in all compared cases: its change, the errors of that, and what would settle it if it is undecided."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property
from statistics import NormalDist, fmean

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


class MetricData:
    """A metric in all tests in which it can be compared.

    Attributes:
        trials: Of the tests that have new evidence.
        cases: How many tests have the metric, also those that are unchanged.
    """

    def __init__(self, metric: str, comparison: SuiteComparison) -> None:
        self.metric = metric
        self.trials: dict[str, TrialPair] = {}
        self.means: list[tuple[float, float]] = []
        self.cases = self.scored = self.unscored = 0
        for test in comparison.compared:
            self._add_test(test)

    def _add_test(self, test: ComparedTest) -> None:
        before, after = (metric_trials(side, self.metric, test.series) for side in (test.before, test.after))
        scored_before, scored_after = (
            tuple(score for score in side if score is not None) for side in (before, after)
        )
        if test.record.outcome in ("failed", "errored") and any(
            metric_name(name) == self.metric for name in test.lost
        ):
            self.unscored += TrialFacts.from_wire(test.record.fact("trials")).n or 1
        self.scored += len(scored_after)
        self.unscored += len(after) - len(scored_after)
        if not scored_before or (not scored_after and not test.unchanged):
            return
        self.cases += 1
        if test.unchanged:
            self.means.append((fmean(scored_before), fmean(scored_before)))
            return
        self.means.append((fmean(scored_before), fmean(scored_after)))
        self.trials[test.record.nodeid] = TrialPair(scored_before, scored_after)

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

    def estimate_error(self, before: int = 0, after: int = 0) -> ChangeError | None:
        """Return the standard error of the change, as `estimate_change_error` does."""
        error = estimate_change_error(self.trials, trials_before=before, trials_after=after)
        return error and replace(
            error, standard_error=error.standard_error * self.share, growth=error.growth * self.share
        )

    def bound_errors(
        self, before: int = 0, after: int = 0, cases: float = 1.0
    ) -> tuple[ChangeError, ChangeError] | None:
        """Return the errors by which a drop is excluded, and by which it is proved; None: too few trials or cases give them.

        Where nearly all scores are 0 or 1, excluding a drop takes more than their spread. The spread of either side depends on
        its mean, so each has its own; if one has single trials only, the differences of the cases give it. And each side has one
        trial more of either kind: that 36 trials all passed, whose spread is 0, does not exclude that one in 20 fails. Under the
        permutation either side has the spread of both, by their trials: three trials of the baseline that all passed weigh little
        beside 20 of which some fail. Its changes come in steps, half of which are taken off.

        Args:
            before: Plan with so many trials of each case in the baseline; 0: those that there are.
            after: The same of the run.
            cases: Plan with so many times the cases.

        Source: Agresti and Caffo, "Simple and Effective Confidence Intervals for Proportions", 2000.
        """
        error = self.estimate_error(before, after)
        if error is None or self._checks is None:
            if error:
                return (replace(error, standard_error=error.standard_error / math.sqrt(cases)),) * 2
            return None
        means, present, spreads = zip(*self._checks, strict=True)
        totals = [
            cases * (len(self.trials) * planned or total)
            for planned, total in zip((before, after), present, strict=True)
        ]
        # What has failed once will fail again: of further trials the share of either kind is that of the present ones.
        variances = [
            (total + 1) / (total + 2) ** 3
            if self._is_steady
            else (spread + (seen + 1) / (seen + 2) ** 3) * seen / total
            for spread, seen, total in zip(spreads, present, totals, strict=True)
        ]
        old, new = ((1 - 2 * mean) / (total + 2) for mean, total in zip(means, totals, strict=True))
        share = self.share
        ratio = totals[0] / totals[1]
        return (
            ChangeError(math.sqrt(sum(variances)) * share, error.freedom, max(old - new, 0.0) * share),
            ChangeError(
                math.sqrt(variances[0] * ratio + variances[1] / ratio) * share,
                error.freedom,
                sum(1 / total for total in totals) / 2 * share,
            ),
        )

    @cached_property
    def _paired_error(self) -> ChangeError | None:
        """The error from the spread of the differences of cases, which holds that of their true changes."""
        return estimate_change_error(
            {
                case: TrialPair((fmean(pair.before),), (fmean(pair.after),))
                for case, pair in self.trials.items()
            }
        )

    @cached_property
    def _is_steady(self) -> bool:
        """Whether no trial of a case differs from another, on a metric that passes or fails."""
        return self._checks is not None and not any(spread for *_, spread in self._checks)

    @cached_property
    def _checks(self) -> list[tuple[float, int, float]] | None:
        # Of each side the mean, the number of trials, and the variance of the mean from the spread; None: few scores are 0 or 1.
        if not passes_or_fails(self.trials.values()):
            return None
        sides = [*zip(*map(astuple, self.trials.values()), strict=True)]
        noises = [pool_noise([TrialPair(trials, trials) for trials in side]) for side in sides]
        totals = [sum(map(len, side)) for side in sides]
        if all(noises):
            single = None
        else:
            single = self._paired_error
        return [
            (
                fmean(map(fmean, side)),
                total,
                single.standard_error**2 / total / sum(1 / number for number in totals)
                if single
                else noise.standard_error**2 * sum(1 / len(trials) for trials in side) / len(side) ** 2
                if noise
                else 0.0,
            )
            for side, noise, total in zip(sides, noises, totals, strict=True)
        ]

    def _chance_to_settle(
        self, rules: GateRules, levels: tuple[float, float], plan: tuple[int, int, float], *, two_sided: bool
    ) -> float:
        """Return the probability that so many trials or cases prove or exclude a drop.

        Before the data the true change is taken as normal around 0, with a spread between floor and margin: single trials do not make a change of 20 points likely. A change that its error does not explain has a wider spread, the one that makes it likeliest.
        """
        now = self.bound_errors()
        planned = self.bound_errors(*plan)
        if now is None or planned is None:
            return 0.0
        # New cases have true changes of their own.
        (bound, null), own = planned, self._paired_error if plan[2] > 1 else None
        variance = max(now[0].standard_error, own.standard_error * self.share if own else 1e-9) ** 2
        if self._is_steady:
            kept = 1.0
        elif own:
            kept = 1 / plan[2]
        else:
            kept = bound.standard_error**2 / variance
        pull = kept + (1 - kept) / (1 + variance / max(rules.floor * rules.margin, self.change**2 - variance))
        proved = min(null.lower_end(0.0, 1 - levels[0]), -rules.floor)
        excluded = -rules.margin - bound.lower_end(0.0, 1 - levels[1])
        return 1 - sum(
            max(later.cdf(min(excluded, 0.0) if two_sided else excluded) - later.cdf(proved), 0.0)
            for change in ((self.change, -self.change) if two_sided else (self.change,))
            for later in [NormalDist(change * pull, math.sqrt(max(variance * (1 - kept) * pull, 1e-18)))]
        )

    def describe_next_step(
        self, rules: GateRules, levels: tuple[float, float], *, two_sided: bool = False
    ) -> str:
        """Return how many trials, or cases, would settle an undecided metric in most runs.

        Args:
            rules: What the gate decides by.
            levels: At which a drop is proved, and excluded.
            two_sided: Both sides get further trials, and a rise is proved and excluded as well.
        """
        before, after, most = *self.fewest_trials, rules.planned[-1]
        plans: tuple[tuple[Sequence[int], Callable[[int], tuple[int, int, float]]], ...] = (
            ([n for n in rules.planned if n > after and not two_sided], lambda n: (0, n, 1)),
            (
                range((after if two_sided else before) + 1, MAX_PLANNED_TRIALS + 1),
                lambda n: (max(n, before), max(min(n, most), after), 1),
            ),
            (range(1, 1000 * self.cases), lambda n: (0, 0, 1 + n / self.cases)),
        )
        alone, both, more = (
            next(iter(counts[bisect_left(counts, SETTLED, key=chance) :]), 0)
            for counts, plan in plans
            for chance in [
                lambda n, plan=plan: self._chance_to_settle(rules, levels, plan(n), two_sided=two_sided)
            ]
        )
        trials = alone or both
        is_fixed = most == MAX_PLANNED_TRIALS
        is_whole = alone or two_sided
        if is_fixed and both > after:
            here = "here and "
        else:
            here = ""
        if alone and not is_fixed:
            option = "record=new"
        else:
            option = f"trials={trials}"
        steps = (
            f"{trials} trials of each case{'' if is_whole else f', {here}in the baseline'} (--llm-{option})",
            f"about {format_count(more, 'more case')}" if more else "more cases",
        )
        return (
            f"{' or '.join(steps[not trials :])} would settle it "
            f"{'if every trial scores as now' if self._is_steady else 'in most runs'}"
            + (
                ""
                if is_whole
                else f"; {'more trials of this run alone' if both else f'up to {most} trials of each case'} would not"
            )
        )

    @property
    def fewest_trials(self) -> tuple[int, int]:
        """The smallest number of trials of a case, before and after; (0, 0): no case has new evidence."""
        pairs = self.trials.values()
        return (
            min((len(pair.before) for pair in pairs), default=0),
            min((len(pair.after) for pair in pairs), default=0),
        )

    def is_large_enough(self, rules: GateRules) -> bool:
        """Return whether a statistical verdict means something."""
        repeated = self.fewest_trials[0] >= rules.min_trials and self.cases >= rules.min_cases
        return repeated or self.cases >= rules.min_single_cases
