"""Tests of a run compared with the baseline: the ones that got worse, better, is new, gone, or cannot be compared."""

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from pytest_llmops.baselines.baseline import (
    TRIAL_RATE,
    Baseline,
    BaselineTest,
    Trials,
    list_scored,
    summarize_test,
)
from pytest_llmops.baselines.requests import list_answers, request_fingerprint
from pytest_llmops.baselines.stored_answers import read_output
from pytest_llmops.metrics.change.broken_cases import GAP
from pytest_llmops.results.call_sequences import CallSequence
from pytest_llmops.results.details import VariantFacts
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import CHANGE_KINDS, CaseChange, ChangeKind, ScoreChange

SMALLEST_CHANGE = 2e-6  # scores are stored with six digits
SAME_SCORE = 0.005  # half a point: models of meaning score a text alike on all processors up to this
GOOD_OUTCOMES = frozenset({"passed", "xfailed"})
# Returns the calls of tools that a test made in the baseline, by node id; empty: none are known
FindCalls = Callable[[str], tuple[CallSequence, ...]]
_SERIES_SUFFIX = re.compile(r" \[.*| #\d+\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ComparedTest:
    """A test that ran, and the same test of the baseline.

    A series is the scores that the trials of a test have for one measurement, by its name with label ("judge.quality [tone]").

    Attributes:
        why: Why some or all of it cannot be compared; "" if everything can.
        series: Names of the series with the same version on both sides; only these are compared.
        other_versions: Names of the series with another version of the metric or judge now.
        lost: Names of the series of the baseline that this run did not measure.
        unchanged: All recordings and scores are the same as in the baseline, so that the test is not new evidence.
        case_edited: Its case has another input or reference, so that nothing is compared.
        old_nodeid: Its name in the baseline.
    """

    record: TestRecord
    before: BaselineTest
    after: BaselineTest
    why: str = ""
    series: tuple[str, ...] = ()
    other_versions: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    unchanged: bool = False
    case_edited: bool = False
    old_nodeid: str = ""

    @property
    def has_known_answers(self) -> bool:
        """Whether both sides have answers whose fingerprints can be compared."""
        if self.case_edited:
            return False
        is_known = bool(self.before.calls or self.before.output)
        return is_known and bool(self.after.calls or self.after.output)

    @property
    def answer_changed(self) -> bool:
        """Whether an answer, or a text made of it, differs than in the baseline; False also where it is not known."""
        if not self.has_known_answers:
            return False
        return self.has_other_answers or self.has_other_output

    @property
    def has_other_answers(self) -> bool:
        """Whether a model gave the application other answers than in the baseline. More or fewer trials are not other answers."""
        if not self.before.calls:
            return False
        old = set(self.before.recordings)
        new = set(self.after.recordings)
        if old and new and (new <= old or old <= new):
            return False
        answers_before = list_answers(self.before.calls)
        answers_after = list_answers(self.after.calls)
        if self.before.trials == self.after.trials == 1:
            return answers_before != answers_after
        return not answers_after <= answers_before

    def list_fallen_metrics(self) -> list[str]:
        """Return the metrics in which recorded answers of the baseline score far lower now.

        The same answers and another score: the code that makes the score, or the expectation, has changed.
        """
        if not self.after.recordings or not set(self.after.recordings) <= set(self.before.recordings):
            return []
        fallen = [metric_name(name) for name in self.series if self._has_fallen(name)]
        return list(dict.fromkeys(fallen))

    def _has_fallen(self, name: str) -> bool:
        """Return whether each recording scores lower in a series than in the baseline, by the gap of a broken case."""
        is_aligned = _has_score_per_recording(self.before, name) and _has_score_per_recording(
            self.after, name
        )
        if not is_aligned:
            return False
        _, better = self.before.metrics[name]
        sign = 1 if better == "higher" else -1
        for recording, score in zip(self.after.recordings, list_scored(self.after.scores[name]), strict=True):
            known = _list_scores_of_recording(self.before, name, recording)
            if any(sign * (other - score) < GAP for other in known):
                return False
        return True

    @property
    def has_other_output(self) -> bool:
        """Whether the assertions looked at another text that the code made. With another number of trials it is not known."""
        if self.before.trials != self.after.trials:
            return False
        return self.before.output != self.after.output


@dataclass(frozen=True, slots=True)
class SuiteComparison:
    """All tests of the baseline and of a run.

    Attributes:
        compared: Tests on both sides.
        new: Tests that the baseline does not have.
        missing: Tests of the baseline that did not run: skipped, deselected, or gone.
        renamed: Name in the run -> name in the baseline, of tests that only have another name.
    """

    compared: tuple[ComparedTest, ...] = ()
    new: tuple[TestRecord, ...] = ()
    missing: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    baseline: Baseline = field(default_factory=Baseline)


def select_gated_tests(records: Iterable[TestRecord]) -> list[TestRecord]:
    """Return the tests that the baseline holds: not the tests of an agent without its skill, or with an older one (`skill_arms`).

    Whether such an arm got better or worse does not concern the change, and its tests would hide the losses of the tested version.
    """
    return [record for record in records if VariantFacts.from_wire(record.fact("compare")).in_baseline]


def compare_tests(baseline: Baseline, records: Iterable[TestRecord]) -> SuiteComparison:
    """Pair the tests of a run and of a baseline by node id; a test with another name is recognised by its requests."""
    ran = {record.nodeid: record for record in records if record.outcome != "skipped"}
    missing = [nodeid for nodeid in baseline.tests if nodeid not in ran]
    new = [record for nodeid, record in ran.items() if nodeid not in baseline.tests]
    renamed = _find_renamed(baseline, missing, new)
    compared = []
    for nodeid, record in ran.items():
        old_nodeid = renamed.get(nodeid, nodeid)
        before = baseline.tests.get(old_nodeid)
        if before is not None:
            compared.append(replace(_compare_test(record, before), old_nodeid=old_nodeid))
    old_names = set(renamed.values())
    return SuiteComparison(
        compared=tuple(compared),
        new=tuple(record for record in new if record.nodeid not in renamed),
        missing=tuple(nodeid for nodeid in missing if nodeid not in old_names),
        renamed=renamed,
        baseline=baseline,
    )


def _find_renamed(baseline: Baseline, missing: Iterable[str], new: Iterable[TestRecord]) -> dict[str, str]:
    """Return new name -> old name of the tests that only have another name: the same case, requests and metrics as one that is gone.

    If several tests would fit, none is taken.
    """
    old_by_content: dict[Hashable, list[str]] = {}
    for nodeid in missing:
        content = _identify(baseline.tests[nodeid])
        if content is not None:
            old_by_content.setdefault(content, []).append(nodeid)
    if not old_by_content:
        return {}
    new_by_content: dict[Hashable, list[str]] = {}
    for record in new:
        content = _identify(summarize_test(record))
        if content is not None:
            new_by_content.setdefault(content, []).append(record.nodeid)
    renamed = {}
    for content, names in new_by_content.items():
        old_names = old_by_content.get(content, [])
        if len(names) == len(old_names) == 1:
            renamed[names[0]] = old_names[0]
    return renamed


def _identify(test: BaselineTest) -> Hashable | None:
    """Return what stays of a test that is renamed: its case, requests and metrics; None: it makes no request."""
    requests = frozenset(map(request_fingerprint, test.calls))
    if not requests:
        return None
    return requests, test.fingerprints.get("case"), frozenset(test.scores)


def _compare_test(record: TestRecord, before: BaselineTest) -> ComparedTest:
    """Sort the series of a test into comparable, other version and lost; a test with another case has none to compare."""
    after = summarize_test(record, repeated=TRIAL_RATE in before.scores)
    if before.fingerprints.get("case") != after.fingerprints.get("case"):
        return ComparedTest(
            record, before, after, why="the case has another input or reference now", case_edited=True
        )
    series = []
    other_versions = []
    lost = []
    for name in before.scores:
        if name not in after.scores:
            lost.append(name)
        elif has_same_version(before, after, name):
            series.append(name)
        else:
            other_versions.append(name)
    reasons = []
    if other_versions:
        reasons.append(f"another version of {', '.join(other_versions)}")
    if lost:
        reasons.append(f"not measured now: {', '.join(lost)}")
    return ComparedTest(
        record=record,
        before=before,
        after=after,
        why="; ".join(reasons),
        series=tuple(series),
        other_versions=tuple(other_versions),
        lost=tuple(lost),
        unchanged=not other_versions and is_unchanged(before, after, series),
    )


def has_same_version(before: BaselineTest, after: BaselineTest, name: str) -> bool:
    """Return whether a measurement has the same version on both sides.

    A side without any score counts as the same version: a judge that was not called does not report one.
    """
    if before.metrics[name] == after.metrics[name]:
        return True
    unscored = {None}
    return set(before.scores[name]) == unscored or set(after.scores[name]) == unscored


def is_unchanged(before: BaselineTest, after: BaselineTest, series: Iterable[str]) -> bool:
    """Return whether a test replayed only recordings of the baseline, and got the scores of the baseline again.

    A single recording that the baseline does not have makes it new evidence.
    """
    if not after.recordings or not set(after.recordings) <= set(before.recordings):
        return False
    return all(_repeats_scores(before, after, name) for name in series)


def _repeats_scores(before: BaselineTest, after: BaselineTest, name: str) -> bool:
    """Return whether the replayed recordings got their scores of the baseline again.

    If not, the code that computes the score was changed. Scores are compared recording by recording where it is known
    which score belongs to which, else each score with all scores of the baseline.
    """
    old = before.scores[name]
    new = after.scores[name]
    is_aligned = _has_score_per_recording(before, name) and _has_score_per_recording(after, name)
    for place, score in enumerate(new):
        if score is None:
            continue
        known = list_scored(old)
        if is_aligned:
            known = _list_scores_of_recording(before, name, after.recordings[place])
        if all(abs(score - other) > SAME_SCORE for other in known):
            return False
    return True


def _has_score_per_recording(test: BaselineTest, name: str) -> bool:
    """Return whether the n-th score of a series belongs to the n-th recording.

    It does not if a trial got no score: such trials come last in the scores, but not in the recordings. Nor does it in the share
    of passed trials, which has the passed ones first, unless all are alike.
    """
    scores = test.scores[name]
    if name == TRIAL_RATE and len(set(scores)) > 1:
        return False
    return None not in scores and len(scores) == len(test.recordings)


def _list_scores_of_recording(test: BaselineTest, name: str, recording: str) -> tuple[float, ...]:
    """Return the scores that a series has for a recording: one for each trial that replayed it."""
    pairs = zip(list_scored(test.scores[name]), test.recordings, strict=True)
    return tuple(score for score, source in pairs if source == recording)


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
    """Return the score of a metric in each trial of a test, turned so that higher is better; None: unscored.

    If a test measures the metric several times ("exact", "exact #2"), the score of a trial is their mean.
    """
    names = [name for name in series if metric_name(name) == metric]
    longest = max((len(test.scores[name]) for name in names), default=0)
    trials: list[float | None] = []
    # Trials of one test have the same index in all series; a series that some trials left out ends earlier.
    for index in range(longest):
        present = [name for name in names if index < len(test.scores[name])]
        trials.append(_mean_of_all([_read_goodness(test, name, index) for name in present]))
    return tuple(trials)


def _read_goodness(test: BaselineTest, name: str, index: int) -> float | None:
    """Return the score of a trial, turned so that higher is better; None: unscored."""
    score = test.scores[name][index]
    _, better = test.metrics[name]
    if score is not None and better == "lower":
        return 1 - score
    return score


def _mean_of_all(scores: Sequence[float | None]) -> float | None:
    """Return the mean of all scores; None if one of them is missing."""
    known = list_scored(scores)
    if len(known) < len(scores):
        return None
    return fmean(known)


def find_no_calls(nodeid: str) -> tuple[CallSequence, ...]:
    """Return nothing: no calls of the baseline are known."""
    del nodeid
    return ()


def list_changes(
    comparison: SuiteComparison,
    find_output: Callable[[str], str | None],
    find_calls: FindCalls = find_no_calls,
    *,
    partial: bool,
) -> list[CaseChange]:
    """Return the tests that differ from the baseline, by kind and the worst first.

    Args:
        comparison: The tests of both sides.
        find_output: Returns the output of a test of the baseline; None: it is not known.
        find_calls: Returns the calls of tools of a test of the baseline, see `FindCalls`.
        partial: Only a part of the suite ran, so tests that did not run are not reported as removed.
    """
    changes = []
    for test in comparison.compared:
        change = _describe_change(test, find_output)
        if change is not None:
            changes.append(replace(change, before_calls=find_calls(test.old_nodeid)))
    changes += [_describe_new_test(record) for record in comparison.new if record.measurements]
    if not partial:
        for nodeid in comparison.missing:
            outcome = comparison.baseline.tests[nodeid].outcome
            changes.append(CaseChange(nodeid=nodeid, kind="removed", before_outcome=outcome))
    return sorted(changes, key=_severity)


def _describe_new_test(record: TestRecord) -> CaseChange:
    """Describe a test that the baseline does not have, with its scores now."""
    summary = summarize_test(record)
    return CaseChange(
        nodeid=record.nodeid,
        kind="new",
        after_outcome=record.outcome,
        scores=_score_changes({}, summary.scores, {}),
        after_output=read_output(record),
    )


def _severity(change: CaseChange) -> tuple[int, bool, float, str]:
    """Return a sort key: by kind, then the largest change first. Of regressed tests those that fail come first."""
    order = CHANGE_KINDS.index(change.kind)
    if change.kind == "regressed":
        return order, change.after_outcome in GOOD_OUTCOMES, change.gain, change.nodeid
    return order, True, -change.gain, change.nodeid


def _describe_change(test: ComparedTest, find_output: Callable[[str], str | None]) -> CaseChange | None:
    """Describe how a test differs from the baseline; None if it does not differ."""
    before = {name: test.before.scores[name] for name in test.series}
    after = {name: test.after.scores[name] for name in test.series}
    better = {name: better for name, (_, better) in test.before.metrics.items()}
    scores = _score_changes(before, after, better)
    kind = _classify_change(test, scores)
    if kind is None:
        return None
    return CaseChange(
        nodeid=test.record.nodeid,
        kind=kind,
        why=test.why,
        scores=scores,
        before_outcome=test.before.outcome,
        after_outcome=test.after.outcome,
        before_output=find_output(test.old_nodeid),
        after_output=read_output(test.record),
        answer_changed=test.answer_changed,
        case_edited=test.case_edited,
    )


def _classify_change(test: ComparedTest, scores: Sequence[ScoreChange]) -> ChangeKind | None:
    """Return the kind of change since the baseline, None for none.

    The outcome counts before the scores, and a loss of one score before the gain of another.
    """
    was_good = test.before.outcome in GOOD_OUTCOMES
    is_good = test.after.outcome in GOOD_OUTCOMES
    if test.unchanged and was_good == is_good and not test.why:
        return "changed" if test.answer_changed else None
    if test.why and not test.series:
        return "not comparable"
    if was_good and not is_good:
        return "regressed"
    if any(score.gain < 0 for score in scores):
        return "regressed"
    if is_good and not was_good:
        return "improved"
    if any(score.gain > 0 for score in scores):
        return "improved"
    if scores or test.why:  # a test without a score is neither better nor worse
        return "not comparable"
    if test.answer_changed:
        return "changed"
    return None


def _score_changes(
    before: Mapping[str, Trials], after: Mapping[str, Trials], better: Mapping[str, str]
) -> tuple[ScoreChange, ...]:
    """Return the scores that differ, the largest loss first.

    Args:
        before: Trials of the baseline by series; a series that is missing there was not scored.
        after: Trials of this run by series.
        better: Direction of each series; ``higher`` where it is missing.
    """
    differing = []
    for name, trials in after.items():
        trials_before = before.get(name, ())
        change = ScoreChange(
            name=name,
            better=better.get(name, "higher"),
            before=mean_score(trials_before),
            after=mean_score(trials),
            trials_before=len(list_scored(trials_before)),
            trials_after=len(list_scored(trials)),
            passes=all(score in (0, 1) for score in list_scored((*trials_before, *trials))),
        )
        is_scored_on_one_side = (change.before is None) != (change.after is None)
        if abs(change.gain) > SMALLEST_CHANGE or is_scored_on_one_side:
            differing.append(change)
    return tuple(sorted(differing, key=lambda change: change.gain))


def mean_score(trials: Trials) -> float | None:
    """Return the mean of the trials that were scored; None: there are none.

    >>> mean_score((1.0, None, 0.5))
    0.75
    """
    scores = list_scored(trials)
    if scores:
        return fmean(scores)
    return None
