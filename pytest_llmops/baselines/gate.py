"""The gate: did the suite get worse than its baseline? RED, GREEN, AMBER, ERROR, or no statistical verdict.

RED: a drop is proved, and it is at least the floor. GREEN: a drop beyond the margin is excluded. AMBER: neither. ERROR: too
much could not be scored, did not run, or cannot be compared. The table of error rates is in docs/baseline.md.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import chain
from statistics import fmean

from pytest_llmops.baselines.baseline import TRIAL_RATE, Baseline
from pytest_llmops.baselines.changes import (
    ComparedTest,
    SuiteComparison,
    compare_tests,
    find_metrics,
    list_changes,
    metric_name,
    metric_trials,
)
from pytest_llmops.errors import format_name_list
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.metrics.trial_change import (
    ChangeError,
    TrialPair,
    draw_null_changes,
    drop_p_value,
    estimate_change_error,
    joint_drop_p_values,
    mean_change,
    pool_noise,
)
from pytest_llmops.results.details import TrialFacts
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import MetricVerdict, SuiteVerdict, VerdictStatus

ACCEPT_RED = "--llm-accept REASON --llm-accept-anyway"
# Level of each look of ``--llm-trials=auto`` by its trials; together they are the level of a single look
LOOK_LEVELS = {1: 0.01, 3: 0.015, 5: 0.025}
# Share of scores of 0 or 1 from which on a metric counts as passed or failed
NEARLY_ALL = 0.9
MAX_PLANNED_TRIALS = 20  # more trials than these are never advised
NAMED_SUSPECTS = 3


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


def judge_suite(
    baseline: Baseline,
    records: Iterable[TestRecord],
    *,
    name: str = "the baseline",
    rules: GateRules | None = None,
    partial: bool = False,
    find_output: Callable[[str], str | None] = lambda _: None,
) -> SuiteVerdict:
    """Compare a run with a baseline.

    Args:
        baseline: What was accepted.
        records: The tests of the run.
        name: The baseline's file, for people.
        rules: What the gate decides by; None: the defaults.
        partial: Only a part of the suite was meant to run: no verdict, and what did not run is not gone.
        find_output: Returns the output of a test of the baseline; None: it is not known.

    >>> judge_suite(Baseline(), []).sentence
    'the baseline holds no test'
    """
    rules = rules or GateRules()
    comparison = compare_tests(baseline, records)
    verdict = SuiteVerdict(
        baseline=describe_baseline(baseline, name),
        changes=tuple(list_changes(comparison, find_output, partial=partial)),
        unchanged=sum(test.unchanged for test in comparison.compared),
    )
    if not baseline.tests:
        return replace(verdict, status="ERROR", sentence=f"{name} holds no test")
    if partial:
        ran = f"{len(comparison.compared):,} of {format_count(len(baseline.tests), 'test')} of the baseline"
        return replace(verdict, sentence=f"partial: {ran}, no verdict")
    measured = [MetricData(metric, comparison) for metric in find_metrics(comparison.compared)]
    primary = choose_primary(measured, rules)
    problem = _why_not_comparable(comparison, measured, primary, rules)
    verdict = replace(verdict, metrics=tuple(_judge_metrics(measured, primary, rules)))
    if problem:
        can_decide = _holds_enough(baseline, rules)
        return replace(verdict, status="ERROR" if can_decide else "NONE", sentence=problem)
    return _conclude(verdict, comparison, measured, rules)


def _holds_enough(baseline: Baseline, rules: GateRules) -> bool:
    # Return whether a baseline is large enough for a statistical verdict on some metric.
    trials: dict[str, list[int]] = {}
    for test in baseline.tests.values():
        for name, count in {metric_name(series): len(test.scores[series]) for series in test.scores}.items():
            trials.setdefault(name, []).append(count)
    return any(
        len(counts) >= rules.min_single_cases
        or (len(counts) >= rules.min_cases and min(counts) >= rules.min_trials)
        for counts in trials.values()
    )


def describe_small_baseline(baseline: Baseline) -> str:
    """Return what a verdict takes, if a baseline is too small for one; else "".

    >>> describe_small_baseline(Baseline())
    '; changes are listed, and a verdict takes 10 cases with 3 trials, or 20 cases'
    """
    rules = GateRules()
    takes = f"{rules.min_cases} cases with {rules.min_trials} trials, or {rules.min_single_cases} cases"
    return "" if _holds_enough(baseline, rules) else f"; changes are listed, and a verdict takes {takes}"


def describe_baseline(baseline: Baseline, name: str) -> str:
    """Return which baseline it is, in words.

    >>> from pytest_llmops.baselines.baseline import Acceptance
    >>> describe_baseline(Baseline(history=(Acceptance(on="2026-11-02T10:00:00+00:00", reason="first"),)), "b.json")
    'b.json, accepted 2026-11-02 (first)'
    """
    if not baseline.history:
        return name
    latest = baseline.history[-1]
    commit = f" at {latest.commit[:7]}" if latest.commit else ""
    return shorten_text(f"{name}, accepted {latest.on[:10]}{commit} ({latest.reason})", 400)


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
        return len(self.trials) / self.cases if self.cases else 0.0

    @property
    def change(self) -> float:
        """Mean change over all cases."""
        return mean_change(self.trials) * self.share if self.trials else 0.0

    def estimate_error(self, trials_after: int | None = None) -> ChangeError | None:
        """Return the standard error of the change, as `estimate_change_error` does."""
        error = estimate_change_error(self.trials, trials_after=trials_after) if self.trials else None
        return replace(error, standard_error=error.standard_error * self.share) if error else None

    def bound_error(self, trials_after: int | None = None) -> ChangeError | None:
        """Return the error by which a drop is excluded: where nearly all scores are 0 or 1, it takes more than their spread.

        The spread of either side depends on its mean, so each has its own; if one has single trials only, the differences
        of the cases give it. And each side has one trial more of either kind: that 36 trials all passed, whose spread is 0, does
        not exclude that one in 20 fails.

        Source: Agresti and Caffo, "Simple and Effective Confidence Intervals for Proportions", 2000.
        """
        error = self.estimate_error(trials_after)
        sides = [*zip(*map(astuple, self.trials.values()), strict=True)]
        if error is None or fmean(score in (0.0, 1.0) for score in chain(*chain(*sides))) < NEARLY_ALL:
            return error
        counts = [
            [trials_after if index and trials_after else len(trials) for trials in side]
            for index, side in enumerate(sides)
        ]
        noises = [pool_noise([TrialPair(trials, trials) for trials in side]) for side in sides]
        means = [[*map(fmean, side)] for side in sides]
        single = estimate_change_error(
            {
                str(case): TrialPair((old,), (new,))
                for case, (old, new) in enumerate(zip(*means, strict=True))
            },
            trials_after=trials_after,
        )
        variance = (
            sum(
                noise.standard_error**2 * sum(1 / count for count in side) / len(side) ** 2
                for noise, side in zip(noises, counts, strict=True)
                if noise
            )
            if all(noises) or not single
            else single.standard_error**2
        )
        totals = [*map(sum, counts)]
        variance += sum((total + 1) / (total + 2) ** 3 for total in totals)
        old, new = ((1 - 2 * fmean(side)) / (total + 2) for side, total in zip(means, totals, strict=True))
        return ChangeError(math.sqrt(variance) * self.share, error.freedom, max(old - new, 0.0) * self.share)

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


def choose_primary(measured: Sequence[MetricData], rules: GateRules) -> str:
    """Return the metric that decides: that of the rules, else the only one; "": none does alone."""
    names = [data.metric for data in measured if not data.metric.startswith((TRIAL_RATE, "robust."))]
    return names[0] if not rules.primary and len(names) == 1 else rules.primary


def _why_not_comparable(
    comparison: SuiteComparison, measured: Sequence[MetricData], primary: str, rules: GateRules
) -> str:
    total = len(comparison.baseline.tests)
    missing = len(comparison.missing)
    if missing > total * (1 - rules.min_share):
        return (
            f"{missing:,} of {format_count(total, 'test')} of the baseline did not run: nothing is decided. If they were renamed "
            "or removed, accept a new baseline (--llm-accept)"
        )
    others = [test for test in comparison.compared if test.other_versions]
    if len(others) > len(comparison.compared) * (1 - rules.min_share):
        names = sorted({name for test in others for name in test.other_versions})
        return (
            f"{format_name_list(names)}: another version than in the baseline in {format_count(len(others), 'test')}: not "
            "compared. Score the old outputs with it (llmops judge rescore), or accept a new baseline (--llm-accept)"
        )
    before, lost = (
        Counter(name for names in side for name in set(map(metric_name, names)))
        for side in (
            [test.before.scores for test in comparison.compared],
            [test.lost for test in comparison.compared],
        )
    )
    for name, count in sorted(lost.items()):
        had = before[name]
        if rules.primary in ("", name) and had >= rules.min_cases and count > had * (1 - rules.min_share):
            broken = sum(
                test.record.outcome == "errored" or bool(test.lost and test.record.outcome == "failed")
                for test in comparison.compared
            )
            step = f"Mend the {format_count(broken, 'broken test')} first (what is not recorded: --llm-record=new)"
            return (
                f"{name}: not measured now in {count:,} of {format_count(had, 'test')} that had it: nothing is decided. "
                + (step if broken else "If that is meant, accept a new baseline (--llm-accept)")
            )
    if primary and primary not in [data.metric for data in measured]:
        known = format_name_list([data.metric for data in measured])
        return f"ini llm_primary_metric: expected a metric that was measured ({known}), got {primary!r}"
    for data in measured:
        asked = data.scored + data.unscored
        if primary in ("", data.metric) and data.unscored > asked * rules.max_unscored:
            return f"{data.metric}: {data.unscored:,} of {format_count(asked, 'trial')} could not be scored: nothing is decided"
    return ""


def _judge_metrics(measured: Sequence[MetricData], primary: str, rules: GateRules) -> list[MetricVerdict]:
    # Return the verdict on each metric: the primary metric at full level, all others jointly.
    changed = [data for data in measured if data.trials]
    nulls = draw_null_changes([data.trials for data in changed])
    p_values = {
        data.metric: drop_p_value(mean_change(data.trials), null)
        for data, null in zip(changed, nulls, strict=True)
        if data.metric == primary
    }
    if guards := [index for index, data in enumerate(changed) if data.metric != primary]:
        joint = joint_drop_p_values([mean_change(changed[index].trials) for index in guards], nulls[guards])
        p_values |= {changed[index].metric: p for index, p in zip(guards, joint, strict=True)}
    return [
        _judge_metric(data, "primary" if data.metric == primary else "guard-rail", p_values, rules)
        for data in sorted(measured, key=lambda data: data.metric != primary)
    ]


def _judge_metric(
    data: MetricData, role: str, p_values: Mapping[str, float], rules: GateRules
) -> MetricVerdict:
    before, after = (fmean(side) for side in zip(*data.means, strict=True)) if data.means else (0.0, 0.0)
    verdict = MetricVerdict(
        name=data.metric,
        role=role,
        before=before,
        after=after,
        change=data.change,
        cases=data.cases,
        unchanged=data.cases - len(data.trials),
        trials_before=data.fewest_trials[0],
        trials_after=data.fewest_trials[1],
    )
    if not data.trials or not data.is_large_enough(rules):
        return verdict
    error = data.estimate_error()
    bound = data.bound_error()
    lower = bound.lower_end(data.change, 1 - rules.alpha) if bound else None
    p_value = p_values[data.metric]
    status = "AMBER"
    if p_value <= rules.alpha and data.change <= -rules.floor:
        status = "RED"
    elif (
        lower > -rules.margin
        if lower is not None
        else not any(pair.difference for pair in data.trials.values())
    ):
        status = "GREEN"
    return replace(
        verdict,
        status=status,
        p_value=p_value,
        lower=lower,
        detectable=max(error.detectable_drop(rules.alpha), rules.floor)
        if error and error.standard_error
        else None,
    )


def _conclude(
    verdict: SuiteVerdict, comparison: SuiteComparison, measured: Sequence[MetricData], rules: GateRules
) -> SuiteVerdict:
    decided = [metric for metric in verdict.metrics if metric.status]
    moved = [test for test in comparison.compared if not test.unchanged and (test.series or test.why)]
    if verdict.unchanged and not moved:
        return replace(verdict, status="GREEN", sentence="nothing changed: every answer is the baseline's")
    if not decided:
        return replace(verdict, sentence=_describe_small_suite(measured, rules))
    red = [metric for metric in decided if metric.status == "RED"]
    open_primary = next(
        (metric for metric in verdict.metrics if metric.role == "primary" and not metric.status), None
    )
    if open_primary is not None and not red:  # the others do not stand for the metric that decides
        own = [data for data in measured if data.metric == open_primary.name]
        return replace(verdict, sentence=f"{open_primary.name}: {_describe_small_suite(own, rules)}")
    leading = [metric for metric in decided if metric.role == "primary"] or decided
    is_green = all(metric.status == "GREEN" for metric in leading)
    status: VerdictStatus = "RED" if red else "GREEN" if is_green else "AMBER"
    told = red or [metric for metric in leading if metric.status == status] or leading
    sentence = "; ".join(_describe_metric(metric, status, rules) for metric in told)
    worse = verdict.of_kind("regressed")
    if status != "GREEN" and worse:
        rest = f" and {len(worse) - NAMED_SUSPECTS:,} more" if len(worse) > NAMED_SUSPECTS else ""
        sentence += (
            f"; worse: {', '.join(_case_name(change.nodeid) for change in worse[:NAMED_SUSPECTS])}{rest}"
        )
    by_name = {data.metric: data for data in measured}
    advice = [_describe_power(metric, by_name[metric.name], rules) for metric in told]
    if status == "RED":
        advice.append(f"look at the answers below; if the drop is meant, accept it: {ACCEPT_RED}")
    if status == "AMBER":
        advice += [_describe_next_step(metric, by_name[metric.name], rules) for metric in told]
    return replace(verdict, status=status, sentence=sentence, advice=tuple(filter(None, advice)))


def _describe_small_suite(measured: Sequence[MetricData], rules: GateRules) -> str:
    cases = max((data.cases for data in measured), default=0)
    trials = max((data.fewest_trials[0] for data in measured), default=0)
    if cases and not trials:
        return f"no statistical verdict: {format_count(cases, 'case')} as in the baseline, and none with new answers that were scored"
    return (
        f"no statistical verdict: {format_count(cases, 'case')} with {format_count(trials, 'trial')} in the baseline; it takes "
        f"{rules.min_cases} cases with {rules.min_trials} trials (--llm-trials={rules.min_trials}), or {rules.min_single_cases} cases"
    )


def _describe_metric(metric: MetricVerdict, status: VerdictStatus, rules: GateRules) -> str:
    change = f"{metric.name} {format_points(metric.change)} ({metric.before:.2f} -> {metric.after:.2f})"
    if status == "RED":
        return change
    if status == "GREEN":
        return f"{change}: a drop of {format_size(rules.margin)} is excluded"
    return f"{change}: no drop is proved, and one of {format_size(rules.margin)} is not excluded"


def _describe_power(metric: MetricVerdict, data: MetricData, rules: GateRules) -> str:
    # Say which drop the suite notices, and what a further trial would make of it.
    if not metric.detectable:  # no error is known, or nothing varies
        return ""
    notices = f"{metric.name}: this suite notices a drop of {format_size(metric.detectable)} in 8 of 10 runs"
    further = data.estimate_error(metric.trials_after + 1)
    if further is None or metric.trials_before < rules.min_trials:
        return f"{notices}; trials make it finer (--llm-trials={rules.min_trials})"
    finer = max(further.detectable_drop(rules.alpha), rules.floor)
    return f"{notices}; with {metric.trials_after + 1} trials of each case it would be {finer * 100:.1f}"


def _describe_next_step(metric: MetricVerdict, data: MetricData, rules: GateRules) -> str:
    # Say how many trials would decide if the means stay as they are.
    if metric.trials_before >= rules.min_trials:
        for trials in range(metric.trials_after + 1, MAX_PLANNED_TRIALS + 1):
            if (error := data.bound_error(trials)) is None:
                break
            excluded = error.lower_end(metric.change, 1 - rules.alpha) > -rules.margin
            proved = -metric.change >= max(rules.floor, error.detectable_drop(rules.alpha, 0.5))
            if excluded or proved:
                return f"{metric.name}: {trials} trials of each case would settle it if the means stay (--llm-trials={trials})"
        return f"{metric.name}: more cases would settle it, or more trials of each case, in the baseline too"
    return f"{metric.name}: more cases would settle it, or {rules.min_trials} trials of each case, in the baseline too (--llm-trials={rules.min_trials})"


def format_points(change: float) -> str:
    """Return a change of a score from 0 to 1 in points with its sign.

    >>> format_points(-0.0612), format_points(0.0)
    ('-6.1 points', '0.0 points')
    """
    points = round(change * 100, 1) or 0.0
    return f"{points:+.1f} points" if points else "0.0 points"


def format_size(size: float) -> str:
    """Return the size of a difference in points."""
    return f"{size * 100:.1f} points"


def _case_name(nodeid: str) -> str:
    """Return the part of a node id that tells cases apart.

    >>> _case_name("tests/test_a.py::test_refund[late]"), _case_name("tests/test_a.py::test_refund")
    ('late', 'test_refund')
    """
    function, _, case = nodeid.partition("[")
    return case.removesuffix("]") or function.rpartition("::")[2]
