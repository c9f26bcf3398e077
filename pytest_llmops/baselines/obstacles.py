"""Why a run cannot be compared with its baseline, and what to do about it: too many tests, scores or versions are missing or others."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmops.baselines.baseline import list_scored
from pytest_llmops.baselines.changes import SuiteComparison, metric_name
from pytest_llmops.baselines.metric_data import GateRules, MetricData
from pytest_llmops.errors import format_name_list
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.metrics.change.p_values import ROUNDING

ACCEPT_RED = 'pytest --llm-accept "anyway: REASON"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Why nothing can be decided, and what to do about it."""

    sentence: str
    why: str = ""
    next_step: str = ""
    command: str = ""


def why_not_comparable(
    comparison: SuiteComparison, measured: Sequence[MetricData], primaries: Sequence[str], rules: GateRules
) -> Obstacle | None:
    """Return the first reason why nothing can be decided, and what to do; None if the run can be compared."""
    return (
        _why_tests_missing(comparison, rules)
        or _why_other_versions(comparison, rules)
        or _why_metric_lost(comparison, rules)
        or _why_unscored(measured, primaries, rules)
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


def _why_tests_missing(comparison: SuiteComparison, rules: GateRules) -> Obstacle | None:
    """Return that too many tests of the baseline did not run; None if enough of them did."""
    total = len(comparison.baseline.tests)
    missing = len(comparison.missing)
    if missing <= _count_limit(total, rules):
        return None
    next_step, command = _advise_mending(comparison, "If they were removed or renamed on purpose")
    if missing == total and not comparison.new:  # nothing ran that could be accepted
        next_step = "Find out where they went; if they were removed on purpose, delete the baseline"
        command = ""
    return Obstacle(
        sentence=(
            f"Not compared: {missing:,} of {format_count(total, 'test')} of the baseline did not run "
            f"(limit: {_count_limit(total, rules):,})"
        ),
        next_step=next_step,
        command=command,
    )


def _why_other_versions(comparison: SuiteComparison, rules: GateRules) -> Obstacle | None:
    """Return that too many tests have a metric or judge in another version than the baseline; None if few have."""
    others = [test for test in comparison.compared if test.other_versions]
    if len(others) <= _count_limit(len(comparison.compared), rules):
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
    return Obstacle(
        sentence=f"Not compared: {format_name_list(names)} {verb} another version than in the baseline",
        why=f"In {len(others):,} of {tests}",
        next_step=next_step,
        command=command,
    )


def _why_metric_lost(comparison: SuiteComparison, rules: GateRules) -> Obstacle | None:
    """Return that too many tests no longer measure a metric of the baseline; None without such a metric.

    Without this a metric could turn GREEN on the few tests that still measure it. Only metrics that were in enough tests for a verdict
    can stop it; a guard-rail can as well.
    """
    tests_before: Counter[str] = Counter()  # by metric: how many tests of the baseline have it
    tests_without: Counter[str] = Counter()  # how many of these do not measure it now
    for test in comparison.compared:
        tests_before.update(set(map(metric_name, test.before.scores)))
        tests_without.update(set(map(metric_name, test.lost)))
    for name, without in sorted(tests_without.items()):
        total = tests_before[name]
        is_common = total >= rules.min_cases
        is_missing_too_often = without > _count_limit(total, rules)
        if is_common and is_missing_too_often:
            next_step, command = _advise_mending(comparison, "If that is intended")
            if _count_broken(comparison):
                command = "pytest --llm-record=new"  # as some of them may lack a recording
            tests = format_count(total, "test")
            return Obstacle(
                sentence=(
                    f"Not compared: {name} is no longer measured in {without:,} of {tests} "
                    f"(limit: {_count_limit(total, rules):,})"
                ),
                next_step=next_step,
                command=command,
            )
    return None


def _why_unscored(
    measured: Sequence[MetricData], primaries: Sequence[str], rules: GateRules
) -> Obstacle | None:
    """Return that a metric that decides (without one: any) was not measured, or in too few trials; None if all is well."""
    names = [data.metric for data in measured]
    for primary in primaries:
        if primary not in names:
            known = format_name_list(names)
            return Obstacle(
                sentence=f"Not compared: the ini key llm_primary_metric names {primary!r}, which no test measured",
                why=f"Measured: {known}",
                next_step="Correct the key, or measure the metric",
            )
    for data in measured:
        if primaries and data.metric not in primaries:
            continue
        total = data.scored + data.unscored
        if data.unscored > total * rules.max_unscored + ROUNDING:
            return _describe_unscored(data, total, rules)
    return None


def why_out_of_scale(comparison: SuiteComparison, rules: GateRules) -> Obstacle | None:
    """Return that a metric has scores that are not from 0 to 1, as points of them mean nothing; None: all have.

    A metric of so few tests that it gets no verdict, such as the kappa of a judge, is ignored.
    """
    tests_with = Counter(name for test in comparison.compared for name in set(map(metric_name, test.series)))
    named = rules.list_named(tests_with)
    judged = {name for name, count in tests_with.items() if count >= rules.min_cases or name in named}
    for test in comparison.compared:
        for name in test.series:
            if metric_name(name) not in judged:
                continue
            scores = list_scored((*test.before.scores[name], *test.after.scores[name]))
            outside = [score for score in scores if not 0 <= score <= 1]
            if outside:
                place = shorten_text(test.record.nodeid, 200)
                return Obstacle(
                    sentence=f"Not compared: {name} has scores that are not from 0 to 1 ({outside[0]:g} in {place})",
                    why="Points are percent of a metric's scale, so the gate needs to know it",
                    next_step="Give the scale, such as assert_score(..., scale=(1, 5)), and accept a new baseline:",
                    command=ACCEPT_RED,
                )
    return None


def _describe_unscored(data: MetricData, total: int, rules: GateRules) -> Obstacle:
    """Return that a metric has no score in too many trials."""
    counted = f"{data.unscored:,} of {format_count(total, 'trial')}"
    limit = math.floor(total * rules.max_unscored + ROUNDING)
    why = f"At most {limit:,} of {total:,} may have none ({rules.max_unscored:.0%})".replace("%", " %")
    if data.metric.startswith("judge."):
        return Obstacle(
            sentence=f"Not decided: the judge gave no score for {counted} ({data.metric})",
            why=why,
            next_step="Once the judge's model answers again, record only the missing answers:",
            command="pytest --llm-record=new",
        )
    return Obstacle(
        sentence=f"Not decided: {data.metric} has no score in {counted}",
        why=why,
        next_step="Mend the cause, then run again:",
        command="pytest",
    )
