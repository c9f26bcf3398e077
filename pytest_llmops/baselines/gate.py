"""The gate: did the suite get worse than its baseline? RED, GREEN, AMBER, ERROR, or no statistical verdict.

RED: a drop is proved, and it is at least the floor. GREEN: a drop beyond the margin is excluded. AMBER: neither. ERROR: too
much could not be scored, did not run, or cannot be compared. The table of error rates is in docs/baseline.md.

The primary metric decides. The others are guard-rails: they can turn the verdict RED, and are tested jointly so that their
number does not raise the rate of false alarms. A metric is "decided" if it has any of the statuses RED, GREEN and AMBER,
"open" if there is too little data for one, and "decisive" if the overall verdict is about it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from pytest_llmops.baselines.baseline import TRIAL_RATE, Baseline
from pytest_llmops.baselines.changes import (
    ComparedTest,
    SuiteComparison,
    compare_tests,
    find_metrics,
    list_changes,
    metric_name,
)
from pytest_llmops.baselines.metric_data import GateRules, MetricData
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

ACCEPT_RED = "--llm-accept REASON --llm-accept-anyway"
# ``--llm-trials=auto`` looks at the result after 1, 3 and 5 trials: the level of each look. They sum to that of a single look
LOOK_LEVELS = {1: 0.01, 3: 0.015, 5: 0.025}
NAMED_SUSPECTS = 3


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
) -> Verdict:
    """Compare a run with a baseline.

    Args:
        baseline: What was accepted.
        records: The tests of the run.
        name: The baseline's file, for people.
        rules: What the gate decides by; None: the defaults.
        partial: Only a part of the suite was selected to run: there is no verdict, and tests that did not run are not removed.
        find_output: Returns the output of a test of the baseline; None: it is not known.

    >>> judge_suite(Baseline(), []).sentence
    'the baseline holds no test'
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
    )
    if not baseline.tests:
        return replace(verdict, status="ERROR", sentence=f"{name} holds no test")
    if partial:
        total = format_count(len(baseline.tests), "test")
        ran = f"{len(comparison.compared):,} of {total} of the baseline"
        return replace(verdict, sentence=f"partial: {ran}, no verdict")
    measured = [MetricData(metric, comparison) for metric in find_metrics(comparison.compared)]
    primary = choose_primary(measured, rules)
    metrics = _judge_metrics(measured, primary, rules)
    verdict = replace(verdict, metrics=tuple(metrics))
    problem = _why_not_comparable(comparison, measured, primary, rules)
    if problem and _holds_enough(baseline, rules):
        return replace(verdict, status="ERROR", sentence=problem)
    if problem:
        return replace(verdict, sentence=problem)
    return _conclude(verdict, comparison, measured, rules)


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
    '; changes are listed, and a verdict takes 10 cases with 3 trials, or 20 cases'
    """
    rules = GateRules()
    if _holds_enough(baseline, rules):
        return ""
    takes = f"{rules.min_cases} cases with {rules.min_trials} trials, or {rules.min_single_cases} cases"
    return f"; changes are listed, and a verdict takes {takes}"


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


def _why_not_comparable(
    comparison: SuiteComparison, measured: Sequence[MetricData], primary: str, rules: GateRules
) -> str:
    """Return the first reason why nothing can be decided, and what to do; "" if the run can be compared."""
    return (
        _why_tests_missing(comparison, rules)
        or _why_other_versions(comparison, rules)
        or _why_metric_lost(comparison, rules)
        or _why_unscored(measured, primary, rules)
    )


def _describe_mending(comparison: SuiteComparison) -> str:
    """Return the advice to mend broken tests first; "" if none is broken.

    A test is broken if it ended with an error, or if it failed before all of its measurements were made.
    """
    broken = sum(record.outcome == "errored" for record in comparison.new)
    for test in comparison.compared:
        is_cut_short = bool(test.lost) and test.record.outcome == "failed"
        if is_cut_short or test.record.outcome == "errored":
            broken += 1
    if broken:
        return f"Mend the {format_count(broken, 'broken test')} first"
    return ""


def _why_tests_missing(comparison: SuiteComparison, rules: GateRules) -> str:
    """Return that too many tests of the baseline did not run; "" if enough of them did."""
    total = len(comparison.baseline.tests)
    missing = len(comparison.missing)
    if missing <= total * (1 - rules.min_share):
        return ""
    step = _describe_mending(comparison)
    if not step:
        step = "Restore them; if a person renamed or removed them on purpose, they accept a new baseline (--llm-accept)"
    return f"{missing:,} of {format_count(total, 'test')} of the baseline did not run: nothing is decided. {step}"


def _why_other_versions(comparison: SuiteComparison, rules: GateRules) -> str:
    """Return that too many tests have a metric or judge in another version than the baseline; "" if few have."""
    others = [test for test in comparison.compared if test.other_versions]
    if len(others) <= len(comparison.compared) * (1 - rules.min_share):
        return ""
    names = sorted({name for test in others for name in test.other_versions})
    tests = format_count(len(others), "test")
    return (
        f"{format_name_list(names)}: another version than in the baseline in {tests}: not "
        "compared. Score the old outputs with it (llmops judge rescore), or accept a new baseline (--llm-accept)"
    )


def _why_metric_lost(comparison: SuiteComparison, rules: GateRules) -> str:
    """Return that too many tests no longer measure a metric of the baseline; "" if there is no such metric.

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
            step = _describe_mending(comparison)
            if step:
                step = f"{step} (what is not recorded: --llm-record=new)"
            else:
                step = "If that is meant, accept a new baseline (--llm-accept)"
            tests = format_count(total, "test")
            return (
                f"{name}: not measured now in {without:,} of {tests} that had it: nothing is decided. {step}"
            )
    return ""


def _why_unscored(measured: Sequence[MetricData], primary: str, rules: GateRules) -> str:
    """Return that the primary metric (without one: any metric) was not measured, or in too few trials; "" if all is well."""
    names = [data.metric for data in measured]
    if primary and primary not in names:
        known = format_name_list(names)
        return f"ini llm_primary_metric: expected a metric that was measured ({known}), got {primary!r}"
    for data in measured:
        if primary not in ("", data.metric):
            continue
        total = data.scored + data.unscored
        if data.unscored > total * rules.max_unscored:
            trials = format_count(total, "trial")
            return f"{data.metric}: {data.unscored:,} of {trials} could not be scored: nothing is decided"
    return ""


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
    return replace(verdict, status=status, p_value=p_value, lower=lower, detectable=detectable)


def _conclude(
    verdict: Verdict, comparison: SuiteComparison, measured: Sequence[MetricData], rules: GateRules
) -> Verdict:
    """Return the verdict with the status, sentence and advice that follow from its metrics."""
    if verdict.unchanged and not any(map(_has_moved, comparison.compared)):
        return replace(verdict, status="GREEN", sentence="nothing changed: every answer is the baseline's")
    decided = [metric for metric in verdict.metrics if metric.status]
    if not decided:
        return replace(verdict, sentence=_describe_small_suite(measured, rules))
    status, decisive = _weigh_metrics(decided)
    if status != "RED":
        open_metric = _find_open_primary(verdict.metrics)
        if open_metric:
            # Guard-rails that did not drop say nothing about the metric that decides.
            primary_data = [data for data in measured if data.metric == open_metric]
            return replace(verdict, sentence=f"{open_metric}: {_describe_small_suite(primary_data, rules)}")
    sentence = _describe_change(decisive, status, rules)
    if status != "GREEN":
        worse = [_case_name(change.nodeid) for change in verdict.of_kind("regressed")]
        sentence += list_suspects(worse)
    advice = _list_advice(decisive, status, len(decided), measured, rules)
    return replace(verdict, status=status, sentence=sentence, advice=tuple(advice))


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


def describe_metric_change(metric: MetricVerdict) -> str:
    """Return the change of a metric in points, with its means before and after.

    >>> describe_metric_change(MetricVerdict(name="exact", role="primary", before=0.9, after=0.8, change=-0.1))
    'exact -10.0 points (0.90 -> 0.80)'
    """
    return f"{metric.name} {format_points(metric.change)} ({metric.before:.2f} -> {metric.after:.2f})"


def _describe_change(metrics: Sequence[MetricVerdict], status: str, rules: GateRules) -> str:
    """Return the changes of metrics in points, and what that proves."""
    changes = "; ".join(map(describe_metric_change, metrics))
    margin = format_size(rules.margin)
    if status == "GREEN":
        return f"{changes}: a drop of {margin} is excluded"
    if status == "AMBER":
        return f"{changes}: no drop is proved, and one of {margin} is not excluded"
    return changes


def _list_advice(
    decisive: Sequence[MetricVerdict],
    status: str,
    decided: int,
    measured: Sequence[MetricData],
    rules: GateRules,
) -> list[str]:
    """Return what would settle an AMBER verdict, which drop the suite notices, and what to do about a RED one.

    Args:
        decisive: The metrics that the verdict is about; at least one.
        status: The status of the verdict.
        decided: How many metrics have a status.
        measured: The trials of all metrics.
        rules: What the gate decides by.
    """
    by_name = {data.metric: data for data in measured}
    advice = []
    if status == "AMBER":
        proving = rules.alpha
        if decisive[0].role != "primary":  # guard-rails share the level (Bonferroni, for the estimate)
            proving = rules.alpha / decided
        steps: dict[str, list[str]] = {}
        for metric in decisive:
            step = by_name[metric.name].describe_next_step(rules, (proving, rules.alpha))
            steps.setdefault(step, []).append(metric.name)
        for step, names in steps.items():
            advice.append(f"{', '.join(names)}: {step}")
    for metric in decisive:
        power = _describe_power(metric, by_name[metric.name], rules, status)
        if power:
            advice.append(power)
    if status == "RED":
        advice.append(
            "look at the answers below and mend the cause; only if a person wants this drop, accept it: "
            f"{ACCEPT_RED}"
        )
    return advice


def list_suspects(names: Sequence[str]) -> str:
    """Return the end of a sentence that names the cases that got worse; "" if there are none.

    Args:
        names: The cases, the worst first.

    >>> list_suspects(["late", "tone", "fr", "de"]), list_suspects([])
    ('; worse: late, tone, fr and 1 more', '')
    """
    if not names:
        return ""
    text = f"; worse: {', '.join(names[:NAMED_SUSPECTS])}"
    if len(names) > NAMED_SUSPECTS:
        text += f" and {len(names) - NAMED_SUSPECTS:,} more"
    return text


def _describe_small_suite(measured: Sequence[MetricData], rules: GateRules) -> str:
    """Return why there is no statistical verdict: how many cases and trials there are, and how many it takes."""
    cases = max((data.cases for data in measured), default=0)
    trials = max((data.fewest_trials[0] for data in measured), default=0)
    if not cases:
        return "no statistical verdict: no score of this run can be compared with the baseline"
    counted = f"no statistical verdict: {format_count(cases, 'case')}"
    if not trials:
        return f"{counted} as in the baseline, and none with new answers that were scored"
    size = rules.describe_least_size()
    return f"{counted} with {format_count(trials, 'trial')} in the baseline; it takes {size}"


def _describe_power(metric: MetricVerdict, data: MetricData, rules: GateRules, status: str) -> str:
    """Return which drop the suite notices, and which it would notice with one more trial; "" if that is not known.

    An AMBER verdict gets no word on more trials: its next step says that already.
    """
    if not metric.detectable:  # no error is known, or nothing varies
        return ""
    text = f"{metric.name}: this suite notices a drop of {format_size(metric.detectable)} in 8 of 10 runs"
    if status == "AMBER":
        return text
    trials = metric.trials_after + 1
    further = data.estimate_error(0, trials)
    if further is None:
        return text
    finer = max(further.detectable_drop(rules.alpha), rules.floor)
    if round(finer, 3) < round(metric.detectable, 3):
        text += f"; with {trials} trials of each case it would be {finer * 100:.1f}"
    return text


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


def _case_name(nodeid: str) -> str:
    """Return the parameters of a test from its node id; the name of its function if it has none.

    >>> _case_name("tests/test_a.py::test_refund[late]"), _case_name("tests/test_a.py::test_refund")
    ('late', 'test_refund')
    """
    function, _, case = nodeid.partition("[")
    return case.removesuffix("]") or function.rpartition("::")[2]
