"""The verdict on a change of the suite: whether it got worse than its baseline, in words, with the next step.

RED: a drop is proved, and it is at least the floor. GREEN: a drop beyond the margin is ruled out. AMBER: neither. ERROR: too many
trials have no score, or too many tests did not run or cannot be compared. NONE: too few cases, or only a part of the suite ran.
The table of error rates is in docs/baseline.md.

The primary metric decides. The others are guard-rails: they can turn the verdict RED, and are tested jointly so that their
number does not raise the rate of false alarms. A metric is "decided" if it has any of the statuses RED, GREEN and AMBER,
"open" if there is too little data for one, and "decisive" if the overall verdict is about it.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_llmops.baselines.baseline import TRIAL_RATE, Baseline
from pytest_llmops.baselines.changes import (
    ComparedTest,
    SuiteComparison,
    compare_tests,
    find_metrics,
    list_changes,
    metric_name,
)
from pytest_llmops.baselines.edits import FindRequests, find_edits, find_no_requests
from pytest_llmops.baselines.metric_data import GateRules, MetricData, format_points, format_size
from pytest_llmops.errors import format_name_list
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.metrics.trial_change import (
    draw_null_changes,
    drop_p_value,
    joint_drop_p_values,
    mean_change,
)
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import MetricVerdict, Verdict

ACCEPT_RED = 'pytest --llm-accept "REASON" --llm-accept-anyway'
# ``--llm-trials=auto`` looks at the result after 1, 3 and 5 trials: the level of each look. They sum to that of a single look
LOOK_LEVELS = {1: 0.01, 3: 0.015, 5: 0.025}
ROUNDING = 1e-9  # a tenth of 40 tests is 4, whatever the float says


def find_no_output(nodeid: str) -> None:
    """Return None: no output of the baseline is known."""
    del nodeid


def judge_suite(
    baseline: Baseline,
    records: Iterable[TestRecord],
    *,
    name: str = "the baseline",
    rules: GateRules | None = None,
    partial: bool = False,
    find_output: Callable[[str], str | None] = find_no_output,
    find_requests: FindRequests = find_no_requests,
) -> Verdict:
    """Compare a run with a baseline.

    Args:
        baseline: What was accepted.
        records: The tests of the run.
        name: The baseline's file, for people.
        rules: What the gate decides by; None: the defaults.
        partial: Only a part of the suite was selected to run: there is no verdict, and tests that did not run are not removed.
        find_output: Returns the output of a test of the baseline; None: it is not known.
        find_requests: Returns the requests that a test of the baseline made, see `FindRequests`.

    >>> judge_suite(Baseline(), []).sentence
    'Not compared: the baseline holds no test'
    """
    rules = rules or GateRules()
    comparison = compare_tests(baseline, records)
    changes = list_changes(comparison, find_output, partial=partial)
    unchanged = sum(test.unchanged for test in comparison.compared)
    verdict = Verdict(
        kind="baseline",
        decides=True,
        baseline=describe_baseline(baseline, name),
        changes=tuple(changes),
        unchanged=unchanged,
        edits=tuple(find_edits(comparison, find_requests)),
        answers=sum(test.has_known_answers for test in comparison.compared),
        compared=len(comparison.compared),
    )
    if not baseline.tests:
        return replace(verdict, status="ERROR", sentence=f"Not compared: {name} holds no test")
    if partial:
        total = format_count(len(baseline.tests), "test")
        return replace(
            verdict,
            sentence=f"No verdict: {len(comparison.compared):,} of {total} of the baseline ran",
            next_step="For a verdict, run all tests:",
            next_command="pytest",
        )
    measured = [MetricData(metric, comparison) for metric in find_metrics(comparison.compared)]
    primary = choose_primary(measured, rules)
    metrics = _judge_metrics(measured, primary, rules)
    verdict = replace(verdict, metrics=tuple(metrics))
    problem = _why_not_comparable(comparison, measured, primary, rules)
    if problem is None:
        return _conclude(verdict, comparison, measured, rules)
    status = "NONE"
    if _holds_enough(baseline, rules):
        status = "ERROR"
    return replace(
        verdict,
        status=status,
        sentence=problem.sentence,
        why=problem.why,
        next_step=problem.next_step,
        next_command=problem.command,
    )


def _holds_enough(baseline: Baseline, rules: GateRules) -> bool:
    """Return whether a baseline is large enough for a statistical verdict on some metric."""
    trials: dict[str, list[int]] = {}
    for test in baseline.tests.values():
        counts = {metric_name(series): len(scores) for series, scores in test.scores.items()}
        for name, count in counts.items():
            trials.setdefault(name, []).append(count)
    return any(_is_enough(counts, rules) for counts in trials.values())


def _is_enough(counts: Sequence[int], rules: GateRules) -> bool:
    """Return whether there are enough cases for a verdict, given how many trials each has: many cases, or fewer with repeated trials."""
    if len(counts) >= rules.min_single_cases:
        return True
    return len(counts) >= rules.min_cases and min(counts) >= rules.min_trials


def describe_small_baseline(baseline: Baseline) -> str:
    """Return how many cases a verdict needs, as the end of a sentence, if a baseline is too small for one; else "".

    >>> describe_small_baseline(Baseline())
    '; changes are listed, but for a verdict 20 cases are needed, or 10 with 3 trials'
    """
    rules = GateRules()
    if _holds_enough(baseline, rules):
        return ""
    size = f"{rules.min_single_cases} cases are needed, or {rules.min_cases} with {rules.min_trials} trials"
    return f"; changes are listed, but for a verdict {size}"


def describe_baseline(baseline: Baseline, name: str) -> str:
    """Return the name of a baseline with the day, commit and reason of its latest acceptance.

    >>> from pytest_llmops.baselines.baseline import Acceptance
    >>> describe_baseline(Baseline(history=(Acceptance(on="2026-11-02T10:00:00+00:00", reason="first"),)), "b.json")
    'b.json, accepted 2026-11-02 (first)'
    """
    if not baseline.history:
        return name
    latest = baseline.history[-1]
    commit = ""
    if latest.commit:
        commit = f" after {latest.commit[:7]}"
    day = latest.on[:10]
    return shorten_text(f"{name}, accepted {day}{commit} ({latest.reason})", 400)


def choose_primary(measured: Sequence[MetricData], rules: GateRules) -> str:
    """Return the metric that decides: the one the rules name, else the only one that was measured; "" if there are several.

    The share of passed trials and the ``robust.*`` metrics are never chosen by themselves.
    """
    if rules.primary:
        return rules.primary
    names = [data.metric for data in measured if not data.metric.startswith((TRIAL_RATE, "robust."))]
    if len(names) == 1:
        return names[0]
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Obstacle:
    """Why nothing can be decided, and what to do about it."""

    sentence: str
    why: str = ""
    next_step: str = ""
    command: str = ""


def _why_not_comparable(
    comparison: SuiteComparison, measured: Sequence[MetricData], primary: str, rules: GateRules
) -> _Obstacle | None:
    """Return the first reason why nothing can be decided, and what to do; None if the run can be compared."""
    return (
        _why_tests_missing(comparison, rules)
        or _why_other_versions(comparison, rules)
        or _why_metric_lost(comparison, rules)
        or _why_unscored(measured, primary, rules)
    )


def _count_broken(comparison: SuiteComparison) -> int:
    """Return how many tests are broken: they ended with an error, or failed before all of their measurements were made."""
    broken = sum(record.outcome == "errored" for record in comparison.new)
    for test in comparison.compared:
        is_cut_short = bool(test.lost) and test.record.outcome == "failed"
        if is_cut_short or test.record.outcome == "errored":
            broken += 1
    return broken


def _advise_mending(comparison: SuiteComparison, otherwise: str) -> tuple[str, str]:
    """Return the next step and its command: to mend broken tests first, else to accept a new baseline.

    Args:
        comparison: The tests of both sides.
        otherwise: In which case a person accepts a new baseline: "If they were removed on purpose".
    """
    broken = _count_broken(comparison)
    if broken:
        return f"Fix the {format_count(broken, 'test')} with an error first, then run again:", "pytest"
    return f"{otherwise}, accept a new baseline:", ACCEPT_RED


def _count_limit(total: int, rules: GateRules) -> int:
    """Return how many of ``total`` tests may be missing."""
    return math.floor(total * (1 - rules.min_share) + ROUNDING)


def _why_tests_missing(comparison: SuiteComparison, rules: GateRules) -> _Obstacle | None:
    """Return that too many tests of the baseline did not run; None if enough of them did."""
    total = len(comparison.baseline.tests)
    missing = len(comparison.missing)
    if missing <= total * (1 - rules.min_share):
        return None
    next_step, command = _advise_mending(comparison, "If they were removed or renamed on purpose")
    return _Obstacle(
        sentence=(
            f"Not compared: {missing:,} of {format_count(total, 'test')} of the baseline did not run "
            f"(limit: {_count_limit(total, rules):,})"
        ),
        next_step=next_step,
        command=command,
    )


def _why_other_versions(comparison: SuiteComparison, rules: GateRules) -> _Obstacle | None:
    """Return that too many tests have a metric or judge in another version than the baseline; None if few have."""
    others = [test for test in comparison.compared if test.other_versions]
    if len(others) <= len(comparison.compared) * (1 - rules.min_share):
        return None
    names = sorted({name for test in others for name in test.other_versions})
    verb = "has" if len(names) == 1 else "have"
    is_judged = all(name.startswith("judge.") for name in names)
    next_step = "Accept a new baseline:"
    command = ACCEPT_RED
    if is_judged:
        next_step = "Score the answers of the baseline with the new version:"
        command = "llmops judge rescore"
    tests = format_count(len(comparison.compared), "test")
    return _Obstacle(
        sentence=f"Not compared: {format_name_list(names)} {verb} another version than in the baseline",
        why=f"In {len(others):,} of {tests}",
        next_step=next_step,
        command=command,
    )


def _why_metric_lost(comparison: SuiteComparison, rules: GateRules) -> _Obstacle | None:
    """Return that too many tests no longer measure a metric of the baseline; None if there is no such metric.

    Without this a metric could turn GREEN on the few tests that still measure it. Only metrics that the gate judges, and that
    were in enough tests for a verdict, can stop it.
    """
    tests_before: Counter[str] = Counter()  # by metric: how many tests of the baseline have it
    tests_without: Counter[str] = Counter()  # how many of these do not measure it now
    for test in comparison.compared:
        tests_before.update(set(map(metric_name, test.before.scores)))
        tests_without.update(set(map(metric_name, test.lost)))
    for name, without in sorted(tests_without.items()):
        total = tests_before[name]
        is_gated = rules.primary in ("", name)
        is_common = total >= rules.min_cases
        is_missing_too_often = without > total * (1 - rules.min_share)
        if is_gated and is_common and is_missing_too_often:
            next_step, command = _advise_mending(comparison, "If that is intended")
            if _count_broken(comparison):
                command = "pytest --llm-record=new"  # as some of them may lack a recording
            tests = format_count(total, "test")
            return _Obstacle(
                sentence=(
                    f"Not compared: {name} is no longer measured in {without:,} of {tests} "
                    f"(limit: {_count_limit(total, rules):,})"
                ),
                next_step=next_step,
                command=command,
            )
    return None


def _why_unscored(measured: Sequence[MetricData], primary: str, rules: GateRules) -> _Obstacle | None:
    """Return that the primary metric (without one: any metric) was not measured, or in too few trials; None if all is well."""
    names = [data.metric for data in measured]
    if primary and primary not in names:
        known = format_name_list(names)
        return _Obstacle(
            sentence=f"Not compared: the ini key llm_primary_metric names {primary!r}, which no test measured",
            why=f"Measured: {known}",
            next_step="Correct the key, or measure the metric",
        )
    for data in measured:
        if primary not in ("", data.metric):
            continue
        total = data.scored + data.unscored
        if data.unscored > total * rules.max_unscored:
            return _describe_unscored(data, total, rules)
    return None


def _describe_unscored(data: MetricData, total: int, rules: GateRules) -> _Obstacle:
    """Return that a metric has no score in too many trials."""
    counted = f"{data.unscored:,} of {format_count(total, 'trial')}"
    limit = math.floor(total * rules.max_unscored + ROUNDING)
    why = f"At most {limit:,} of {total:,} may have none ({rules.max_unscored:.0%})".replace("%", " %")
    if data.metric.startswith("judge."):
        return _Obstacle(
            sentence=f"Not decided: the judge gave no score for {counted} ({data.metric})",
            why=why,
            next_step="Once the judge's model answers again, ask only for what is missing:",
            command="pytest --llm-record=new",
        )
    return _Obstacle(
        sentence=f"Not decided: {data.metric} has no score in {counted}",
        why=why,
        next_step="Mend the cause, then run again:",
        command="pytest",
    )


def _judge_metrics(measured: Sequence[MetricData], primary: str, rules: GateRules) -> list[MetricVerdict]:
    """Return the verdict on each metric, the primary one first. It is tested at the full level, all others jointly."""
    changed = [data for data in measured if data.trials]
    nulls = draw_null_changes([data.trials for data in changed])
    p_values: dict[str, float] = {}
    guards = []
    for index, data in enumerate(changed):
        if data.metric == primary:
            p_values[data.metric] = drop_p_value(mean_change(data.trials), nulls[index])
        else:
            guards.append(index)
    if guards:
        changes = [mean_change(changed[index].trials) for index in guards]
        joint = joint_drop_p_values(changes, nulls[guards])
        p_values |= zip([changed[index].metric for index in guards], joint, strict=True)
    verdicts = []
    for data in sorted(measured, key=lambda data: data.metric != primary):
        role = "primary" if data.metric == primary else "guard-rail"
        verdicts.append(_judge_metric(data, role, p_values, rules))
    return verdicts


def _judge_metric(
    data: MetricData, role: str, p_values: Mapping[str, float], rules: GateRules
) -> MetricVerdict:
    """Return the verdict on a metric; without new trials, or with too few, it has no status.

    Args:
        data: The trials of the metric.
        role: ``primary`` or ``guard-rail``.
        p_values: By metric; has each metric with new trials.
        rules: What the gate decides by.
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
    if not data.trials or not data.is_large_enough(rules):
        return verdict
    lower = None
    errors = data.bound_errors()
    if errors is not None:
        lower = errors.excluding.lower_end(data.change, 1 - rules.alpha)
        is_drop_excluded = lower > -rules.margin
    else:  # single trials of too few cases: a drop is excluded only if no score differs
        is_drop_excluded = not any(pair.difference for pair in data.trials.values())
    p_value = p_values[data.metric]
    status = "AMBER"
    if p_value <= rules.alpha and data.change <= -rules.floor:
        status = "RED"
    elif is_drop_excluded:
        status = "GREEN"
    detectable = None
    error = data.estimate_error()
    if error is not None and error.standard_error:
        detectable = max(error.detectable_drop(rules.alpha), rules.floor)
    upper = None
    if lower is not None:
        upper = 2 * data.change - lower
    return replace(verdict, status=status, p_value=p_value, lower=lower, upper=upper, detectable=detectable)


def _conclude(
    verdict: Verdict, comparison: SuiteComparison, measured: Sequence[MetricData], rules: GateRules
) -> Verdict:
    """Return the verdict with the status, sentences and advice that follow from its metrics."""
    if verdict.unchanged and not any(map(_has_moved, comparison.compared)):
        what = "No score" if verdict.changed_answers else "Nothing"
        answers = f"all {verdict.unchanged:,} answers are the recordings of the baseline"
        if verdict.unchanged == 1:
            answers = "the answer is the recording of the baseline"
        return replace(verdict, status="GREEN", sentence=f"{what} changed: {answers}")
    decided = [metric for metric in verdict.metrics if metric.status]
    if not decided:
        return _leave_open(verdict, measured, rules)
    status, decisive = _weigh_metrics(decided)
    if status != "RED":
        open_metric = _find_open_primary(verdict.metrics)
        if open_metric:
            # Guard-rails that did not drop say nothing about the metric that decides.
            primary_data = [data for data in measured if data.metric == open_metric]
            return _leave_open(verdict, primary_data, rules)
    verdict = replace(verdict, status=status, advice=tuple(_list_advice(decisive, measured, rules)))
    if status == "RED":
        return replace(verdict, sentence=_describe_drop(decisive, verdict.metrics))
    if status == "GREEN":
        return replace(
            verdict, sentence=f"On average, a drop of {_format_margin(rules)} or more is ruled out"
        )
    return _leave_undecided(verdict, decisive, len(decided), measured, rules)


def _format_margin(rules: GateRules) -> str:
    """Return the margin as "5 points"."""
    return f"{rules.margin * 100:g} points"


def _describe_drop(decisive: Sequence[MetricVerdict], metrics: Sequence[MetricVerdict]) -> str:
    """Return the sentence of RED: the largest drop, with its metric if there are several."""
    worst = min(decisive, key=lambda metric: metric.change)
    size = format_size(-worst.change)
    sentence = f"The suite got worse by {size}"
    if len(metrics) > 1:
        sentence += f" ({worst.name})"
    return sentence


def _leave_undecided(
    verdict: Verdict,
    decisive: Sequence[MetricVerdict],
    decided: int,
    measured: Sequence[MetricData],
    rules: GateRules,
) -> Verdict:
    """Return the AMBER verdict: what is still possible, why it is open, and what would decide it.

    Args:
        verdict: The verdict with its metrics.
        decisive: The metrics that are undecided; at least one.
        decided: How many metrics have a status.
        measured: The trials of all metrics.
        rules: What the gate decides by.
    """
    proving = rules.alpha
    if decisive[0].role != "primary":  # guard-rails share the level (Bonferroni, for the estimate)
        proving = rules.alpha / decided
    by_name = {data.metric: data for data in measured}
    first = decisive[0]
    names = first.name
    if len(decisive) > 1:
        names += f" and {len(decisive) - 1} more"
    data = by_name[first.name]
    step = data.plan_next_step(rules, (proving, rules.alpha))
    cases = format_count(data.cases, "case")
    trials = max(first.trials_before, first.trials_after)
    if trials > 1:
        cases += f" of {format_count(min(first.trials_before, first.trials_after), 'trial')}"
    why = f"{cases} are too few to see a drop of that size"
    if first.lower is not None and first.upper is not None:
        ends = (
            max(first.lower, -first.before),
            min(first.upper, 1 - first.before),
        )  # scores stay within 0 and 1
        lower, upper = (f"{100 * end:+.1f}" for end in ends)
        why = f"Measured: {format_points(first.change)}; with {cases} the true change may be anything from {lower} to {upper}"
    next_step = step.words
    changed = verdict.changed_answers
    if step.is_out_of_reach and changed:
        next_step += f". Read the {format_count(changed, 'changed answer')}"
    return replace(
        verdict,
        sentence=f"Not decided: a drop of {_format_margin(rules)} or more is still possible ({names})",
        why=why,
        next_step=next_step,
        next_command=step.command,
    )


def _leave_open(verdict: Verdict, measured: Sequence[MetricData], rules: GateRules) -> Verdict:
    """Return the verdict without a status: how many cases and trials there are, and how many a verdict needs."""
    if not any(data.cases for data in measured):
        return replace(verdict, sentence="No verdict: no score of this run can be compared with the baseline")
    scored = [data for data in measured if data.trials]
    if not scored:
        return replace(verdict, sentence="No verdict: no new answer was scored")
    name = ""
    if len(verdict.metrics) > 1 and len(measured) == 1:
        name = f" on {measured[0].metric}"
    further = min(data.count_missing_cases(rules) for data in scored)
    next_step = f"For a verdict, add {format_count(further, 'case')}"
    changed = verdict.changed_answers
    if changed:
        next_step = f"Read the {format_count(changed, 'changed answer')}. {next_step}"
    return replace(
        verdict,
        sentence=f"Too few cases for a verdict{name}: {rules.describe_least_size()}",
        next_step=next_step,
    )


def _has_moved(test: ComparedTest) -> bool:
    """Return whether a test has answers or scores that the baseline does not have."""
    return not test.unchanged and bool(test.series or test.why)


def _weigh_metrics(decided: Sequence[MetricVerdict]) -> tuple[str, Sequence[MetricVerdict]]:
    """Return the overall status, and the metrics that it is due to.

    Args:
        decided: The metrics with a status; at least one.
    """
    red = [metric for metric in decided if metric.status == "RED"]
    if red:
        return "RED", red
    # Without a primary metric all of them lead: GREEN takes all.
    leading = [metric for metric in decided if metric.role == "primary"] or decided
    undecided = [metric for metric in leading if metric.status != "GREEN"]
    if undecided:
        return "AMBER", undecided
    return "GREEN", leading


def _find_open_primary(metrics: Iterable[MetricVerdict]) -> str:
    """Return the name of the primary metric if there is too little data for a verdict on it; else ""."""
    for metric in metrics:
        if metric.role == "primary" and not metric.status:
            return metric.name
    return ""


def _list_advice(
    decisive: Sequence[MetricVerdict], measured: Sequence[MetricData], rules: GateRules
) -> list[str]:
    """Return the smallest drop that the suite detects, for each metric that the verdict is about."""
    by_name = {data.metric: data for data in measured}
    advice = [_describe_power(metric, by_name[metric.name], rules) for metric in decisive]
    return list(filter(None, advice))


def _describe_power(metric: MetricVerdict, data: MetricData, rules: GateRules) -> str:
    """Return which drop the suite detects, and which it would detect with one more trial; "" if that is not known.

    Of an undecided metric it says nothing on more trials: the next step does.
    """
    if not metric.detectable:  # no error is known, or nothing varies
        return ""
    size = format_size(metric.detectable)
    text = f"{metric.name}: the smallest drop that this suite detects in 8 of 10 runs is {size}"
    if metric.status == "AMBER":
        return text
    trials = metric.trials_after + 1
    further = data.estimate_error(0, trials)
    if further is None:
        return text
    finer = max(further.detectable_drop(rules.alpha), rules.floor)
    if round(finer, 3) < round(metric.detectable, 3):
        text += f"; with --llm-trials={trials} it would be {finer * 100:.1f}"
    return text
