"""Tests of a run beside those of the baseline: what got worse, better, is new, gone, or cannot be compared."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from pytest_llmops.baselines.baseline import (
    TRIAL_RATE,
    Baseline,
    BaselineTest,
    Trials,
    read_output,
    summarize_test,
)
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import CHANGE_KINDS, CaseChange, ChangeKind, ScoreChange

SMALLEST_CHANGE = 2e-6  # scores are stored with six digits
SAME_SCORE = 0.005  # half a point: models of meaning score a text alike on all processors up to this
GOOD_OUTCOMES = frozenset({"passed", "xfailed"})
_SERIES_SUFFIX = re.compile(r" \[.*| #\d+\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ComparedTest:
    """A test that ran, and the same test of the baseline.

    Attributes:
        why: Why some or all of it cannot be compared.
        series: Measurements of equal version on both sides.
        other_versions: Measurements whose metric or judge has another version now.
        lost: Measurements of the baseline that this run did not make.
        unchanged: All its requests and answers are the baseline's, and so are the scores: they are no new evidence.
    """

    record: TestRecord
    before: BaselineTest
    after: BaselineTest
    why: str = ""
    series: tuple[str, ...] = ()
    other_versions: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class SuiteComparison:
    """All tests of the baseline and of a run.

    Attributes:
        compared: Tests on both sides.
        new: Tests that the baseline does not have.
        missing: Tests of the baseline that did not run: skipped, deselected, or gone.
    """

    compared: tuple[ComparedTest, ...] = ()
    new: tuple[TestRecord, ...] = ()
    missing: tuple[str, ...] = ()
    baseline: Baseline = field(default_factory=Baseline)


def compare_tests(baseline: Baseline, records: Iterable[TestRecord]) -> SuiteComparison:
    """Pair the tests of a run with those of a baseline by node id."""
    ran = [record for record in records if record.outcome != "skipped"]
    compared = [
        _compare_test(record, baseline.tests[record.nodeid])
        for record in ran
        if record.nodeid in baseline.tests
    ]
    names = {record.nodeid for record in ran}
    return SuiteComparison(
        compared=tuple(compared),
        new=tuple(record for record in ran if record.nodeid not in baseline.tests),
        missing=tuple(nodeid for nodeid in baseline.tests if nodeid not in names),
        baseline=baseline,
    )


def _compare_test(record: TestRecord, before: BaselineTest) -> ComparedTest:
    after = summarize_test(record, repeated=TRIAL_RATE in before.scores)
    if before.fingerprints.get("case") != after.fingerprints.get("case"):
        return ComparedTest(record, before, after, why="the case has another input or reference now")
    both = [name for name in before.scores if name in after.scores]
    # What was never scored has no version: a judge that was not asked does not tell its own.
    series = tuple(
        name
        for name in both
        if before.metrics[name] == after.metrics[name]
        or any(set(side.scores[name]) == {None} for side in (before, after))
    )
    others = tuple(name for name in both if name not in series)
    lost = tuple(name for name in before.scores if name not in after.scores)
    reasons = {"another version of": others, "not measured now:": lost}
    why = "; ".join(f"{reason} {', '.join(names)}" for reason, names in reasons.items() if names)
    # A recording that the baseline does not have is new evidence, whatever the others are.
    unchanged = bool(after.recordings) and set(after.recordings) <= set(before.recordings) and not others
    unchanged = unchanged and all(_repeats_scores(before, after, name) for name in series)
    return ComparedTest(record, before, after, why, series, others, lost, unchanged)


def _repeats_scores(before: BaselineTest, after: BaselineTest, name: str) -> bool:
    """Return whether recordings of the baseline got its scores again: else the code that makes the score changed."""
    old = before.scores[name]
    new = after.scores[name]
    # Unscored trials come last, so that a score is not always at the place of its recording.
    is_aligned = None not in (*old, *new) and [len(old), len(new)] == [
        len(side.recordings) for side in (before, after)
    ]
    for place, score in enumerate(new):
        known = [
            other
            for index, other in enumerate(old)
            if other is not None and (not is_aligned or before.recordings[index] == after.recordings[place])
        ]
        if score is not None and all(abs(score - other) > SAME_SCORE for other in known):
            return False
    return True


def metric_name(series: str) -> str:
    """Return the name of a metric without label and number.

    >>> metric_name("text.contains [fact] #2")
    'text.contains'
    """
    return _SERIES_SUFFIX.sub("", series)


def find_metrics(tests: Iterable[ComparedTest]) -> list[str]:
    """Return the names of the metrics that can be compared in some test, in alphabetical order."""
    return sorted({metric_name(name) for test in tests for name in test.series})


def metric_trials(test: BaselineTest, metric: str, series: Sequence[str]) -> Trials:
    """Return a metric's score in each trial of a test, higher is better: the mean of its series, None: unscored."""
    names = [name for name in series if metric_name(name) == metric]
    trials: list[float | None] = []
    # Trials of one test have the same index in all series; a series that some trials left out ends earlier.
    for index in range(max((len(test.scores[name]) for name in names), default=0)):
        made = [
            (test.scores[name][index], test.metrics[name][1])
            for name in names
            if index < len(test.scores[name])
        ]
        scores = [1 - score if better == "lower" else score for score, better in made if score is not None]
        trials.append(fmean(scores) if len(scores) == len(made) else None)
    return tuple(trials)


def list_changes(
    comparison: SuiteComparison, find_output: Callable[[str], str | None], *, partial: bool
) -> list[CaseChange]:
    """Return the tests that are not as they were, by kind and the worst first.

    Args:
        comparison: The tests of both sides.
        find_output: Returns the output of a test of the baseline; None: it is not known.
        partial: Only a part of the suite ran: what did not run is not gone.
    """
    changes = [change for test in comparison.compared if (change := _describe_change(test, find_output))]
    changes += [
        CaseChange(
            nodeid=record.nodeid,
            kind="new",
            after_outcome=record.outcome,
            scores=_score_changes({}, summarize_test(record).scores, {}),
            after_output=read_output(record),
        )
        for record in comparison.new
        if record.measurements
    ]
    if not partial:
        changes += [
            CaseChange(
                nodeid=nodeid, kind="removed", before_outcome=comparison.baseline.tests[nodeid].outcome
            )
            for nodeid in comparison.missing
        ]
    order: dict[str, int] = {kind: index for index, kind in enumerate(CHANGE_KINDS)}
    return sorted(changes, key=lambda change: (order[change.kind], _severity(change), change.nodeid))


def _severity(change: CaseChange) -> tuple[bool, float]:
    broken = change.kind == "regressed" and change.after_outcome not in GOOD_OUTCOMES
    return not broken, change.gain if change.kind == "regressed" else -change.gain


def _describe_change(test: ComparedTest, find_output: Callable[[str], str | None]) -> CaseChange | None:
    nodeid = test.record.nodeid
    scores = _score_changes(
        {name: test.before.scores[name] for name in test.series},
        {name: test.after.scores[name] for name in test.series},
        {name: metric[1] for name, metric in test.before.metrics.items()},
    )
    was_good, is_good = (side.outcome in GOOD_OUTCOMES for side in (test.before, test.after))
    kind: ChangeKind | None = None
    if test.why and not test.series:
        kind = "not comparable"
    elif (was_good and not is_good) or any(score.gain < 0 for score in scores):
        kind = "regressed"
    elif (is_good and not was_good) or any(score.gain > 0 for score in scores):
        kind = "improved"
    elif scores or test.why:  # what could not be scored is neither better nor worse
        kind = "not comparable"
    if kind is None or (test.unchanged and was_good == is_good and not test.why):
        return None
    return CaseChange(
        nodeid=nodeid,
        kind=kind,
        why=test.why,
        scores=scores,
        before_outcome=test.before.outcome,
        after_outcome=test.after.outcome,
        before_output=find_output(nodeid),
        after_output=read_output(test.record),
    )


def _score_changes(
    before: Mapping[str, Trials], after: Mapping[str, Trials], better: Mapping[str, str]
) -> tuple[ScoreChange, ...]:
    """Return the scores that differ, the largest loss first."""
    changes = [
        ScoreChange(
            name=name,
            better=better.get(name, "higher"),
            before=mean_score(before.get(name, ())),
            after=mean_score(trials),
        )
        for name, trials in after.items()
    ]
    differing = [
        change
        for change in changes
        if abs(change.gain) > SMALLEST_CHANGE or (change.before is None) != (change.after is None)
    ]
    return tuple(sorted(differing, key=lambda change: change.gain))


def mean_score(trials: Trials) -> float | None:
    """Return the mean of the trials that were scored; None: there are none.

    >>> mean_score((1.0, None, 0.5))
    0.75
    """
    scores = [score for score in trials if score is not None]
    if scores:
        return fmean(scores)
    return None
