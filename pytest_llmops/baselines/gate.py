"""The verdict on a change of the suite: whether it got worse than its baseline, in words, with the next step.

RED: a drop is proved, and it is at least the floor; or three cases broke. GREEN: a drop beyond the margin is ruled out. AMBER: neither.
ERROR: too many trials have no score, or too many tests did not run or cannot be compared. NONE: too few cases, or only a part of the
suite ran. Cases that broke are named whatever the verdict is (`broken`). The tables of error rates are in docs/explanation/measured/verdicts.md.

The primary metric decides, or those that the settings name. The others are guard-rails: they can turn the verdict RED, and share a
level of their own so that their number does not raise the rate of false alarms. A metric is "decided" if it has any of the statuses RED, GREEN and AMBER,
"open" if there is too little data for one, and "decisive" if the overall verdict is about it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pytest_llmops.baselines.amounts import compare_amounts
from pytest_llmops.baselines.baseline import TRIAL_RATE, Baseline
from pytest_llmops.baselines.broken import (
    AGAIN_COMMAND,
    BrokenSuite,
    describe_broken,
    explain_chance,
    find_broken,
)
from pytest_llmops.baselines.changes import (
    ComparedTest,
    FindCalls,
    SuiteComparison,
    compare_tests,
    find_metrics,
    find_no_calls,
    list_changes,
    metric_name,
    select_gated_tests,
)
from pytest_llmops.baselines.edits import FindRequests, find_edits, find_no_requests
from pytest_llmops.baselines.metric_data import GateRules, MetricData, format_points, format_size
from pytest_llmops.baselines.metric_verdicts import judge_metrics
from pytest_llmops.baselines.obstacles import Obstacle, why_not_comparable, why_out_of_scale
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.metrics.change.bounds import needed_trials
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import MetricVerdict, Verdict

ACCEPT_RENAMED = 'pytest --llm-accept "renamed"'
MANY_METRICS = 3  # so many metrics without one that decides are hardly ever GREEN together


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
    find_calls: FindCalls = find_no_calls,
) -> Verdict:
    """Compare a run with a baseline.

    Args:
        baseline: The accepted baseline.
        records: The tests of the run.
        name: The baseline's file, for people.
        rules: The rules of the gate. None: the defaults.
        partial: Only a part of the suite was selected to run: no verdict is given, and tests that did not run are not removed.
        find_output: Returns the output of a test of the baseline; None: it is not known.
        find_requests: Returns the requests that a test of the baseline made, see `FindRequests`.
        find_calls: Returns the calls of tools that a test of the baseline made, see `FindCalls`.

    >>> judge_suite(Baseline(), []).sentence
    'Not compared: the baseline holds no test'
    """
    rules = rules or GateRules()
    comparison = compare_tests(baseline, select_gated_tests(records))
    changes = list_changes(comparison, find_output, find_calls, partial=partial)
    verdict = Verdict(
        kind="baseline",
        decides=True,
        baseline=describe_baseline(baseline, name),
        changes=tuple(changes),
        unchanged=sum(test.unchanged for test in comparison.compared),
        edits=tuple(find_edits(comparison, find_requests)),
        answers=sum(test.has_known_answers for test in comparison.compared),
        compared=len(comparison.compared),
        amounts=compare_amounts(comparison, rules),
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
    primaries = choose_primaries(measured, rules)
    problem = why_out_of_scale(comparison, rules)
    if problem is None:
        metrics = judge_metrics(measured, primaries, rules)
        broken = find_broken(measured, comparison.compared, primaries, rules)
        verdict = replace(
            verdict,
            metrics=tuple(metrics),
            broken=broken.cases,
            broken_chance=broken.chance,
            trials_again=broken.trials_again,
        )
        problem = why_not_comparable(comparison, measured, primaries, rules)
        if problem is None:
            return _add_broken(_conclude(verdict, comparison, measured, rules), broken)
    status = "NONE"
    if _holds_enough(baseline, rules) or not comparison.compared:
        status = "ERROR"
    return _refuse(verdict, status, problem)


def _refuse(verdict: Verdict, status: str, problem: Obstacle) -> Verdict:
    """Return the verdict on a run that cannot be compared."""
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


def choose_primaries(measured: Sequence[MetricData], rules: GateRules) -> tuple[str, ...]:
    """Return the metrics that decide: those the rules name, else the only one that was measured; none if there are several.

    The share of passed trials and the ``robust.*`` metrics are never chosen by themselves.
    """
    named = rules.list_named([data.metric for data in measured])
    if named:
        return named
    names = [data.metric for data in measured if not data.metric.startswith((TRIAL_RATE, "robust."))]
    if len(names) == 1:
        return (names[0],)
    return ()


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
        open_metric = _find_open_primary(verdict.metrics, measured)
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


def _add_broken(verdict: Verdict, broken: BrokenSuite) -> Verdict:
    """Return the verdict with what broke: as its sentence, or after the sentence on the mean, with the next step."""
    if not broken.cases:
        return verdict
    sentence = describe_broken(broken)
    if verdict.status == "RED" and not broken.has_same_answer:
        return verdict  # the mean has it; the list of cases begins with those that broke
    if broken.is_red:
        if verdict.status == "RED":
            sentence = f"{verdict.sentence}; {sentence}"
        why = "" if broken.has_same_answer else explain_chance(broken)
        return replace(verdict, status="RED", sentence=sentence, why=why, next_step="", next_command="")
    chance = explain_chance(broken)
    mean = f"{verdict.sentence[:1].lower()}{verdict.sentence[1:]}"
    if not broken.trials_again:
        subject, whose = ("this case", "its") if len(broken.cases) == 1 else ("these cases", "their")
        why = f"{chance}. Running {subject} again would not settle it, because other cases also vary or the baseline has few trials. Read {whose} answers and decide"
        return replace(verdict, sentence=f"{sentence}; {mean}", why=why)
    again = "the broken case" if len(broken.cases) == 1 else "the broken cases"
    fails = "it fails" if len(broken.cases) == 1 else "they fail"
    next_step = f"Run {again} again in another hour or on another day; if {fails} again, it is your change:"
    verdict = replace(verdict, next_step=next_step, next_command=AGAIN_COMMAND)
    if verdict.status == "GREEN":
        return replace(verdict, sentence=f"{sentence}; {mean}", why=chance)
    return replace(verdict, status="AMBER", sentence=sentence, why=chance)


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
    """Return the AMBER verdict: the change that is still possible, why it is open, and the way to decide it.

    Args:
        verdict: The verdict with its metrics.
        decisive: The metrics that are undecided; at least one.
        decided: How many metrics have a status.
        measured: The trials of all metrics.
        rules: The rules of the gate.
    """
    proving = rules.mean_level
    if decisive[0].role != "primary":  # they share the level (Bonferroni, for the estimate)
        proving = rules.mean_level / decided
    by_name = {data.metric: data for data in measured}
    first = decisive[0]
    names = first.name
    if len(decisive) > 1:
        names += f" and {len(decisive) - 1} more"
    data = by_name[first.name]
    levels = (proving, rules.alpha)
    step = data.plan_next_step(rules, levels)
    cases = format_count(data.cases, "case")
    trials = max(first.trials_before, first.trials_after)
    if trials > 1:
        cases += f" of {format_count(min(first.trials_before, first.trials_after), 'trial')}"
    sentence, why = _describe_open_change(first, cases, names, rules)
    missing = data.count_missing_trials(rules)
    if missing:
        needed = needed_trials(rules.alpha, rules.margin / data.share)
        why += f"; ruling a drop out needs about {needed:,} new answers, this run has {needed - missing:,}"
    next_step = step.words
    changed = verdict.changed_answers
    if step.is_out_of_reach and changed:
        next_step += f". Read the {format_count(changed, 'changed answer')}"
    chance_of_verdict = None
    if rules.next_trials:
        chance_of_verdict = data.chance_of_verdict(rules, levels, rules.next_trials)
    return replace(
        verdict,
        chance_of_verdict=chance_of_verdict,
        sentence=sentence,
        why=why,
        next_step=next_step,
        next_command=step.command,
    )


def _describe_open_change(metric: MetricVerdict, cases: str, names: str, rules: GateRules) -> tuple[str, str]:
    """Return the sentence of AMBER, and how large the change of the first undecided metric may be.

    Args:
        metric: The metric.
        cases: How many cases and trials there are, in words.
        names: The undecided metrics, in words.
        rules: The rules of the gate.
    """
    drop = f"a drop of {_format_margin(rules)} or more"
    sentence = f"Not decided: {drop} is still possible ({names})"
    why = f"{cases} are too few to see a drop of that size"
    is_better = round(metric.change * 100, 1) > 0
    if is_better:
        sentence = f"Better by {format_size(metric.change)} in this run, but {cases} cannot rule out {drop} ({names})"
    if metric.lower is not None and metric.upper is not None:
        lower, upper = (f"{100 * end:+.1f}" for end in (metric.lower, metric.upper))
        why = f"Measured: {format_points(metric.change)}; with {cases} the true change may be anything from {lower} to {upper}"
        if is_better:
            why = f"The true change is probably between {lower} and {upper} points"
    return sentence, why


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
    verdict = replace(
        verdict,
        sentence=f"Too few cases for a verdict{name}: {rules.describe_least_size()}",
        next_step=next_step,
    )
    removed = len(verdict.of_kind("removed"))
    new = len(verdict.of_kind("new"))
    is_explained = 0 < further <= min(removed, new)
    if not is_explained:
        return verdict
    tests = format_count(removed, "test")
    which = "it was" if removed == 1 else "they were"
    is_new = "is" if new == 1 else "are"
    return replace(
        verdict,
        why=f"{tests} of the baseline did not run and {new:,} {is_new} new",
        next_step=f"If {which} renamed, accept the run:",
        next_command=ACCEPT_RENAMED,
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
    # Without a primary metric all of them lead: GREEN needs all.
    leading = [metric for metric in decided if metric.role == "primary"] or decided
    undecided = [metric for metric in leading if metric.status != "GREEN"]
    if undecided:
        return "AMBER", undecided
    return "GREEN", leading


def _find_open_primary(metrics: Iterable[MetricVerdict], measured: Iterable[MetricData]) -> str:
    """Return the name of the primary metric if there is too little data for a verdict on it; else "".

    Of several primary metrics, one whose answers are all the recordings of the baseline cannot have dropped: the others decide.
    """
    primaries = [metric for metric in metrics if metric.role == "primary"]
    is_decided = any(metric.status for metric in primaries)
    unchanged = {data.metric for data in measured if data.cases and not data.trials}
    for metric in primaries:
        if metric.status:
            continue
        if is_decided and metric.name in unchanged:
            continue
        return metric.name
    return ""


def _list_advice(
    decisive: Sequence[MetricVerdict], measured: Sequence[MetricData], rules: GateRules
) -> list[str]:
    """Return the smallest drop that the suite detects, for each metric that the verdict is about."""
    by_name = {data.metric: data for data in measured}
    advice = [_describe_power(metric, by_name[metric.name], rules) for metric in decisive]
    has_primary = any(metric.role == "primary" for metric in decisive)
    if not has_primary and len(measured) >= MANY_METRICS:
        advice.append(
            f"{len(measured)} metrics decide together, so the verdict is rarely GREEN: "
            "name one to three of them in the ini key llm_primary_metric"
        )
    return list(filter(None, advice))


def _describe_power(metric: MetricVerdict, data: MetricData, rules: GateRules) -> str:
    """Return which drop the suite detects, and which it would detect with one more trial; "" if that is not known.

    Of an undecided metric it has nothing on more trials: the next step has it. A verdict is about guard-rails next to a metric that
    decides only if they are RED, and these have no smallest drop; so all that have one are tested at the level of the mean.
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
    finer = max(further.detectable_drop(rules.mean_level), rules.floor)
    if round(finer, 3) < round(metric.detectable, 3):
        text += f"; with --llm-trials={trials} it would be {finer * 100:.1f}"
    return text
