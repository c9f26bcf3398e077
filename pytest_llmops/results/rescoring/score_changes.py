"""Compare the old and the new scores of outputs, and describe what changed."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_llmops.measurement import Measurement, format_count, label_suffix, shorten_text
from pytest_llmops.results.details import JudgeVerdict, Scale
from pytest_llmops.results.rescoring.judged_outputs import Output, judge_name

Status: TypeAlias = Literal["pass", "fail", "recorded", "undecided", "unscored", "new"]
_STATUSES: Mapping[str, Status] = {
    "passed": "pass",
    "failed": "fail",
    "recorded": "recorded",
    "errored": "unscored",
}
MAX_NODE = 300
MAX_REASON = 120
MAX_ERRORS = 5
SAME_SCORE_TOLERANCE = 1e-9  # normalised scores closer than this are the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Score(JudgeVerdict):
    """A judge's verdict on an output; without a score, it has no scale either.

    Attributes:
        status: ``recorded``: without a threshold. ``undecided``: flagged for a person. ``new``: never judged.
        normalised: The score from 0 (lowest) to 1 (highest); None: unscored.
    """

    status: Status = "new"
    normalised: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An output with its old and its new score."""

    output: Output
    old: Score
    new: Score

    @property
    def delta(self) -> float | None:
        """By how much the normalised score rose; None: a score is missing."""
        if self.old.normalised is None or self.new.normalised is None:
            return None
        return self.new.normalised - self.old.normalised

    @property
    def changed(self) -> bool:
        """Whether score or status changed."""
        if self.old.status != self.new.status:
            return True
        return abs(self.delta or 0.0) > SAME_SCORE_TOLERANCE

    @property
    def worse(self) -> bool:
        """Whether the output fails now and did not before, or cannot be scored now."""
        if self.new.status == "unscored":
            return True
        return self.new.status == "fail" and self.old.status != "fail"

    @property
    def order(self) -> tuple[int, float, int, int]:
        """Sort key, the worst first: those that fail now, those unscored now, all others, and those never judged before.

        Within these groups the largest loss is first; among those never judged before, the lowest score.
        """
        place = self.output.record, self.output.place or 0
        if self.old.status == "new":
            score = self.new.normalised
            if score is None:
                score = -1.0
            return 3, score, *place
        if not self.worse:
            group = 2
        elif self.new.status == "fail":
            group = 0
        else:
            group = 1
        return group, self.delta or 0.0, *place


def score_from_measurement(measurement: Measurement | None) -> Score:
    """Return the score that a measurement holds; one of status ``new`` for None.

    >>> score_from_measurement(None).status
    'new'
    """
    if measurement is None:
        return Score()
    status = _STATUSES[measurement.status]
    if status == "recorded" and "review" in measurement.detail:
        status = "undecided"
    no_numbers = {}
    if status == "unscored":
        no_numbers = dict.fromkeys(("score", "low", "high"))
    return Score.from_wire(
        measurement.detail.get("judge"),
        name=judge_name(measurement),
        version=measurement.version,
        status=status,
        normalised=measurement.value,
        error=measurement.error,
        **no_numbers,
    )


def compare_scores(pairs: Iterable[tuple[Output, Measurement]]) -> list[Change]:
    """Return each output with its old and new score, the worst change first; see `Change.order`."""
    changes = []
    for output, new in pairs:
        old = score_from_measurement(output.old)
        changes.append(Change(output=output, old=old, new=score_from_measurement(new)))
    return sorted(changes, key=lambda change: change.order)


def list_judges(scores: Iterable[Score]) -> list[tuple[str, str, str]]:
    """Return name, version and model of each judge once, sorted; at least one if there is a score.

    Scores of a judge that was not called, because the answer was missing, do not count: they have no version. Without others,
    they count.
    """
    all_scores = list(scores)
    known = [score for score in all_scores if score.version or score.score is not None] or all_scores
    return sorted({(score.name, score.version, score.model) for score in known})


def format_changes(
    changes: Sequence[Change], *, judge_called: bool, passed_over: Mapping[str, int]
) -> Iterator[str]:
    """Yield a line for each changed output, and then a summary; foreign text is shortened and escaped.

    Args:
        changes: The changes, in this order.
        judge_called: A judge was called; otherwise only the threshold changed.
        passed_over: How many measurements got no new score, by reason.
    """
    ordered = sorted(changes, key=lambda change: (change.output.record, change.output.place or 0))
    scales = _list_scales(ordered)
    changed = [change for change in changes if change.changed]
    for change in changed:
        yield _format_change(change, unlike=len(scales) > 1)
    if changed:
        yield ""
    rows = list(_iter_rows(ordered, scales, judge_called=judge_called))
    if passed_over:
        reasons = [f"{number:,}: {why}" for why, number in passed_over.items()]
        rows.append(("passed over", "; ".join(reasons)))
    width = max(len(label) for label, _ in rows)
    for label, text in rows:
        yield f"{label:<{width}}  {text}"
    if judge_called and _has_same_judge(ordered):
        note = ", and nothing has"
        if changed:
            note = "; only its noise or the threshold has"
        yield f"the same judge, version and answers: nothing could have changed{note}"


def _iter_rows(
    ordered: Sequence[Change], scales: Sequence[Scale], *, judge_called: bool
) -> Iterator[tuple[str, str]]:
    """Yield the rows of the summary as label and text."""
    judged = [change for change in ordered if change.old.status != "new"]
    yield "outputs", _describe_outputs(ordered, judged)
    old = list_judges(change.old for change in judged)
    new = list_judges(change.new for change in ordered)
    yield from _iter_judge_rows(old, new, judge_called=judge_called)
    yield from _iter_mean_rows(ordered, scales)
    yield "verdicts", _describe_flips(judged)
    yield from _iter_error_rows("unscored before", (change.old for change in judged))
    yield from _iter_error_rows("unscored now", (change.new for change in ordered))


def _has_same_judge(changes: Sequence[Change]) -> bool:
    """Return whether every output was judged before, and by the same judges in the same versions."""
    if any(change.old.status == "new" for change in changes):
        return False
    old = list_judges(change.old for change in changes)
    return bool(old) and old == list_judges(change.new for change in changes)


def _list_scales(changes: Iterable[Change]) -> list[Scale]:
    """Return the different scales of all scores."""
    scales = set()
    for change in changes:
        for score in (change.old, change.new):
            if score.scale and score.score is not None:
                scales.add(score.scale)
    return sorted(scales)


def _describe_outputs(ordered: Sequence[Change], judged: Sequence[Change]) -> str:
    records = {change.output.record for change in ordered}
    tests = format_count(len(records), "test")
    count = sum(change.changed for change in judged)
    text = f"{len(ordered):,} of {tests}: {count:,} changed"
    unseen = len(ordered) - len(judged)
    if unseen:
        text += f", {unseen:,} that no judge saw before"
    return text


def _describe_flips(judged: Iterable[Change]) -> str:
    """Return the numbers of changed verdicts by kind; "pass -> fail" and "fail -> pass" are listed even if they are 0."""
    pairs = [(change.old.status, change.new.status) for change in judged]
    counts: dict[tuple[Status, Status], int] = {("pass", "fail"): 0, ("fail", "pass"): 0}
    for before, now in sorted(pairs):
        if before != now:
            counts[before, now] = counts.get((before, now), 0) + 1
    return ", ".join(f"{count:,} {before} -> {now}" for (before, now), count in counts.items())


def _format_change(change: Change, *, unlike: bool) -> str:
    """Return a change as a line: test, scores, status and reason; with ``unlike`` scales each score names its scale."""
    old = change.old
    new = change.new
    output = change.output
    status: str = new.status
    if old.status != new.status:
        status = f"{old.status} -> {new.status}"
    scores = _format_scaled_score(new, unlike=unlike)
    if change.delta != 0 or old.scale != new.scale:
        scores = f"{_format_scaled_score(old, unlike=unlike)} -> {scores}"
        if change.delta is not None:
            scores += f"  {change.delta:+.2f}"
    explanation = new.reason
    if new.status == "unscored":
        explanation = new.error
    name = f"{shorten_text(output.nodeid, MAX_NODE)}{label_suffix(output.label)}"
    line = f"{name}  {scores}  {status}"
    if explanation:
        line += f"  {shorten_text(explanation, MAX_REASON)}"
    return line


def _format_scaled_score(score: Score, *, unlike: bool) -> str:
    if score.score is None:
        return "none"
    text = f"{score.score:.4g}"
    if unlike and score.scale:
        low, high = score.scale
        text += f" of {low:g} to {high:g}"
    return text


def _iter_judge_rows(
    old: Sequence[tuple[str, str, str]], new: Sequence[tuple[str, str, str]], *, judge_called: bool
) -> Iterator[tuple[str, str]]:
    """Yield the rows on the judges, and whether their model is the same; judges are given as name, version and model."""
    before = "; ".join(map(_format_judge, old))
    if not judge_called:
        yield "judge", f"{before}: not called, only the threshold is different"
        return
    now = "; ".join(map(_format_judge, new))
    yield "judge", f"{before or 'nobody'} -> {now}"
    old_models = {model for _, _, model in old}
    new_models = {model for _, _, model in new}
    if not old or not new or "" in old_models | new_models:
        return
    if old_models == new_models:
        yield "model", "the same"
    else:
        yield "model", "another"


def _iter_mean_rows(
    changes: Sequence[Change], scales: Sequence[tuple[float, float]]
) -> Iterator[tuple[str, str]]:
    """Yield the row with the mean scores before and after, over the outputs that have both; nothing if there are none."""
    old = []
    new = []
    for change in changes:
        if change.old.normalised is not None and change.new.normalised is not None:
            old.append(change.old.normalised)
            new.append(change.new.normalised)
    if not old:
        return
    count = len(old)
    old_mean = math.fsum(old) / count
    new_mean = math.fsum(new) / count
    text = f"{old_mean:.4f} -> {new_mean:.4f} (0 to 1, of {count:,} scored by both)"
    if len(scales) > 1:
        listed = ", ".join(f"{low:g} to {high:g}" for low, high in scales)
        text += f"; the scales are unlike ({listed}): all are taken from 0 to 1"
    yield "mean", text


def _iter_error_rows(label: str, scores: Iterable[Score]) -> Iterator[tuple[str, str]]:
    """Yield the row with the most frequent errors of unscored outputs; nothing if all were scored."""
    errors = Counter(score.error for score in scores if score.status == "unscored")
    counts = errors.most_common()
    parts = []
    for error, count in counts[:MAX_ERRORS]:
        parts.append(f"{count:,}: {shorten_text(error, MAX_REASON)}")
    rest = sum(count for _, count in counts[MAX_ERRORS:])
    if rest:
        parts.append(f"{rest:,} for other reasons")
    if parts:
        yield label, "; ".join(parts)


def _format_judge(judge: tuple[str, str, str]) -> str:
    name, version, model = (shorten_text(part, 100) for part in judge)
    text = f"{name}, version {version or '(none)'}"
    if model:
        text += f", model {model}"
    return text
