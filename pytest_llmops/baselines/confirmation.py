"""The verdict on broken cases that ran again in another session (``--llm-again``): RED if they fail again.

It never revokes the verdict of the earlier run.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from pytest_llmops.baselines.baseline import Baseline, list_scored
from pytest_llmops.baselines.broken import AGAIN_COMMAND, format_odds
from pytest_llmops.baselines.changes import (
    ComparedTest,
    FindCalls,
    compare_tests,
    find_no_calls,
    list_changes,
    metric_trials,
)
from pytest_llmops.baselines.earlier_run import EarlierRun, find_edited_tests
from pytest_llmops.baselines.gate import describe_baseline, find_no_output
from pytest_llmops.baselines.metric_data import GateRules
from pytest_llmops.errors import format_name_list
from pytest_llmops.measurement import format_count
from pytest_llmops.metrics.change.broken_cases import ROUNDING, confirm_broken_cases
from pytest_llmops.metrics.change.trials import TrialPair
from pytest_llmops.results.broken_case import BrokenCase
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import NOT_CONFIRMED, Verdict

RUN_ANEW = "Whether the broken cases are still the same is not known; run the whole suite:"


@dataclass(frozen=True, slots=True)
class _Repeated:
    """Broken cases with the scores of their trials in this session, by node id and metric."""

    scores: Mapping[tuple[str, str], tuple[float, ...]]

    def of(self, case: BrokenCase) -> tuple[float, ...]:
        return self.scores.get((case.nodeid, case.metric), ())


def judge_again(
    baseline: Baseline,
    records: Iterable[TestRecord],
    earlier: EarlierRun,
    rules: GateRules,
    *,
    name: str = "the baseline",
    find_output: Callable[[str], str | None] = find_no_output,
    find_calls: FindCalls = find_no_calls,
) -> Verdict:
    """Return the verdict on broken cases that ran again in another session.

    RED: they failed again, and both sessions together are too unlikely for chance. AMBER: they failed again, but chance can still do
    that. NONE: they did not. ERROR: they have no score, or are not the cases of the earlier run any more.

    Args:
        baseline: The baseline of the earlier run.
        records: The tests of this run.
        earlier: The run in which the cases broke.
        rules: The rules of the gate.
        name: The baseline's file, for people.
        find_output: Returns the output of a test of the baseline; None: it is not known.
        find_calls: Returns the calls of tools that a test of the baseline made, see `FindCalls`.
    """
    by_nodeid = {record.nodeid: record for record in records}
    comparison = compare_tests(baseline, by_nodeid.values())
    verdict = Verdict(
        kind="baseline",
        decides=True,
        baseline=describe_baseline(baseline, name),
        changes=tuple(list_changes(comparison, find_output, find_calls, partial=True)),
        compared=len(comparison.compared),
        answers=sum(test.has_known_answers for test in comparison.compared),
    )
    if not by_nodeid:  # as with --collect-only
        return replace(verdict, sentence="No verdict: no broken case ran")
    tests = {test.record.nodeid: test for test in comparison.compared}
    problem = _why_another_case(earlier, by_nodeid, tests)
    if problem:
        return replace(
            verdict,
            status="ERROR",
            sentence=f"Not compared: {problem}",
            next_step=RUN_ANEW,
            next_command="pytest",
        )
    scores = {}
    for case in earlier.cases:
        scores[case.nodeid, case.metric] = _read_scores(tests.get(case.nodeid), case.metric)
    repeated = _Repeated(scores)
    unscored = [case.name for case in earlier.cases if not repeated.of(case)]
    if unscored:
        verb = "has" if len(unscored) == 1 else "have"
        return replace(
            verdict,
            status="ERROR",
            sentence=f"Not decided: {format_count(len(unscored), 'broken case')} {verb} no score now ({format_name_list(unscored)})",
            next_step="Mend the cause, then run again:",
            next_command=AGAIN_COMMAND,
        )
    return _conclude(verdict, earlier, repeated, rules)


def _why_another_case(
    earlier: EarlierRun, records: Mapping[str, TestRecord], tests: Mapping[str, ComparedTest]
) -> str:
    """Return why what ran now is something else than what broke; "": it is the same."""
    edited = find_edited_tests(earlier, records)
    if edited:
        return f"{format_name_list(edited)} makes another request than in the earlier run (was a prompt or an input edited?)"
    for case in earlier.cases:
        if not case.before or not case.after:
            return f"{case.name} has no scores in the earlier run, so its stored run is damaged"
        test = tests.get(case.nodeid)
        if test is None:
            continue
        if test.case_edited:
            return f"{case.name} has another input or reference than in the baseline"
        before = list_scored(metric_trials(test.before, case.metric, test.series))
        if before and before != case.before:
            return f"{case.name} has other scores in the baseline than the earlier run was compared with"
    return ""


def _read_scores(test: ComparedTest | None, metric: str) -> tuple[float, ...]:
    """Return the scores of a metric in the trials of a test; empty if it did not run, has no score, or cannot be compared."""
    if test is None:
        return ()
    return list_scored(metric_trials(test.after, metric, test.series))


def _conclude(verdict: Verdict, earlier: EarlierRun, repeated: _Repeated, rules: GateRules) -> Verdict:
    """Return the verdict with status and sentence: how many of the cases failed again."""
    confirmed: list[BrokenCase] = []
    chance = 1.0
    is_proved = False
    for metric in dict.fromkeys(case.metric for case in earlier.cases):
        cases = [case for case in earlier.cases if case.metric == metric]
        pairs = {case.nodeid: TrialPair(case.before, case.after) for case in cases}
        again = {case.nodeid: repeated.of(case) for case in cases}
        result = confirm_broken_cases(pairs, again, _list_breakable(cases))
        for case in cases:
            if case.nodeid in result.broke:
                confirmed.append(replace(case, after=(*case.after, *repeated.of(case))))
        if result.broke:
            chance = min(chance, result.chance)
            is_proved = is_proved or result.chance <= rules.broken_level + ROUNDING
    verdict = replace(verdict, broken=tuple(confirmed), broken_chance=chance)
    if not confirmed:
        return _leave_unconfirmed(verdict, earlier, repeated)
    names = format_name_list([case.name for case in confirmed])
    if is_proved:
        return replace(
            verdict,
            status="RED",
            sentence=_describe_confirmed(confirmed, len(earlier.cases)),
            why=f"If nothing had changed, chance would do this in both sessions in {format_odds(chance)}",
        )
    return replace(
        verdict,
        status="AMBER",
        sentence=f"{len(confirmed)} of {format_count(len(earlier.cases), 'broken case')} failed again ({names}), which chance can still do",
        why=f"If nothing had changed, chance would do this in {format_odds(chance)}",
        next_step="Read the answers: what fails in two sessions is worth a look, though chance can do it",
    )


def _list_breakable(cases: Sequence[BrokenCase]) -> list[tuple[int, int]]:
    """Return the numbers of trials of all cases of a metric that could have broken: as stored, but at least those that broke."""
    stored = max((case.list_breakable() for case in cases), key=len)
    broke = [(len(case.before), len(case.after)) for case in cases]
    return list((Counter(stored) | Counter(broke)).elements())


def _describe_confirmed(confirmed: Sequence[BrokenCase], total: int) -> str:
    """Return which cases failed again, and how."""
    names = format_name_list([case.name for case in confirmed])
    words = {case.describe(plural=len(confirmed) > 1) for case in confirmed}
    sentence = f"{format_count(len(confirmed), 'case')} broke, and failed again in this session ({names})"
    if len(words) == 1:
        sentence += f": {words.pop()}"
    if len(confirmed) < total:
        sentence += f"; {total - len(confirmed)} did not fail again"
    return sentence


def _leave_unconfirmed(verdict: Verdict, earlier: EarlierRun, repeated: _Repeated) -> Verdict:
    """Return the verdict on cases that did not fail again: it is NONE, and the verdict of the earlier run stays."""
    how = [f"{case.name} {_describe_trials(repeated.of(case))}" for case in earlier.cases]
    return replace(
        verdict,
        sentence=f"{NOT_CONFIRMED}{', '.join(how)} this time",
        next_step=f"The verdict of the earlier run stays ({earlier.status}); read the answers of both runs",
    )


def _describe_trials(scores: Sequence[float]) -> str:
    """Return how trials scored: of checks how many passed, else the mean.

    >>> _describe_trials((1.0, 0.0)), _describe_trials((0.5, 1.0))
    ('passed 1 of 2', 'scored 0.75')
    """
    if set(scores) <= {0.0, 1.0}:
        return f"passed {sum(score == 1 for score in scores)} of {len(scores)}"
    return f"scored {fmean(scores):.2f}"
