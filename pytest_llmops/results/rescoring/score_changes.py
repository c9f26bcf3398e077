"""Compare two verdicts on the same outputs, and summarize and format the changes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_llmops.measurement import Measurement, format_count, label_suffix, shorten_text
from pytest_llmops.results.rescoring.judged_outputs import Output, old_verdict

Status: TypeAlias = Literal["pass", "fail", "recorded", "undecided", "unscored", "new"]
_STATUSES: Mapping[str, Status] = {
    "passed": "pass",
    "failed": "fail",
    "recorded": "recorded",
    "errored": "unscored",
}
MAX_NODE, MAX_REASON, MAX_ERRORS = 300, 120, 5
SAME_SCORE_TOLERANCE = 1e-9  # normalised scores closer than this are the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A judge's verdict on an output.

    Attributes:
        status: ``recorded`` has no threshold, ``undecided`` waits for a person, ``new`` was never judged.
        score: On the judge's own scale; None: unscored.
        scale: Lowest and highest score; None: not known.
        normalised: From 0 (lowest) to 1 (highest); None: unscored.
        threshold: On the judge's own scale; None: none.
    """

    status: Status = "new"
    score: float | None = None
    scale: tuple[float, float] | None = None
    normalised: float | None = None
    threshold: float | None = None
    reason: str = ""
    error: str = ""
    judge: str = ""
    version: str = ""
    model: str = ""


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
        return self.old.status != self.new.status or abs(self.delta or 0.0) > SAME_SCORE_TOLERANCE

    @property
    def worse(self) -> bool:
        """Whether it fails now and did not before, or cannot be scored now."""
        return self.new.status == "unscored" or (self.new.status == "fail" and self.old.status != "fail")

    @property
    def order(self) -> tuple[int, float, int, int]:
        """Sort key, the worst first: failed now, unscored now, then by loss of score; never judged last, by score."""
        first, value = 2, self.delta or 0.0
        if self.old.status == "new":
            first, value = 3, -1.0 if self.new.normalised is None else self.new.normalised
        elif self.worse:
            first = 0 if self.new.status == "fail" else 1
        return first, value, self.output.record, self.output.place or 0


def score_from_measurement(measurement: Measurement | None) -> Score:
    """Return the score of an output that a measurement holds.

    >>> score_from_measurement(None).status
    'new'
    """
    if measurement is None:
        return Score()
    verdict = old_verdict(measurement)
    status = _STATUSES[measurement.status]
    if status == "recorded" and "review" in measurement.detail:
        status = "undecided"
    return Score(
        status=status,
        score=verdict.score if status != "unscored" else None,
        scale=verdict.scale if status != "unscored" else None,
        normalised=measurement.value,
        threshold=verdict.threshold,
        reason=verdict.reason,
        error=measurement.error,
        judge=verdict.name or measurement.name.removeprefix("judge."),
        version=measurement.version,
        model=verdict.model,
    )


def compare_scores(pairs: Iterable[tuple[Output, Measurement]]) -> list[Change]:
    """Return each output with both scores, the worst change first; else in the order of the run."""
    changes = [
        Change(output=output, old=score_from_measurement(output.old), new=score_from_measurement(new))
        for output, new in pairs
    ]
    return sorted(changes, key=lambda change: change.order)


def list_judges(scores: Iterable[Score]) -> list[tuple[str, str, str]]:
    """Return name, version and model of each judge once, sorted."""
    every = list(scores)
    # A judge that got no answer to judge was not called, and its version is not known.
    known = [score for score in every if score.version or score.score is not None] or every
    return sorted({(score.judge, score.version, score.model) for score in known})


def format_changes(
    changes: Sequence[Change], *, judge_called: bool, passed_over: Mapping[str, int]
) -> Iterator[str]:
    """Yield a line for each changed output, and then a summary; foreign text is shortened and escaped.

    Args:
        changes: The changes, in this order.
        judge_called: A judge was called; otherwise only the threshold changed.
        passed_over: How many measurements could not be scored again, by reason.
    """
    ordered = sorted(changes, key=lambda change: (change.output.record, change.output.place or 0))
    judged = [change for change in ordered if change.old.status != "new"]
    both = [score for change in ordered for score in (change.old, change.new)]
    scales = sorted({score.scale for score in both if score.scale and score.score is not None})
    changed = [change for change in changes if change.changed]
    yield from (_format_change(change, unlike=len(scales) > 1) for change in changed)
    if changed:
        yield ""
    unseen = (
        f", {len(ordered) - len(judged):,} that no judge saw before" if len(judged) < len(ordered) else ""
    )
    tests = format_count(len({change.output.record for change in changes}), "test")
    count = sum(change.changed for change in judged)
    old, new = list_judges(change.old for change in judged), list_judges(change.new for change in ordered)
    pairs = [
        ("outputs", f"{len(ordered):,} of {tests}: {count:,} changed{unseen}"),
        *_iter_judge_rows(old, new, judge_called=judge_called),
        *_iter_mean_rows(ordered, scales),
        ("verdicts", _format_flips(judged)),
        *_iter_error_rows("unscored before", (change.old for change in judged)),
        *_iter_error_rows("unscored now", (change.new for change in ordered)),
    ]
    if passed_over:
        pairs.append(("passed over", "; ".join(f"{n:,}: {why}" for why, n in passed_over.items())))
    width = max(len(label) for label, _ in pairs)
    yield from (f"{label:<{width}}  {text}" for label, text in pairs)
    if judge_called and old and old == new and not unseen:
        note = "; what has is its noise, or the threshold" if count else ", and nothing has"
        yield f"the same judge, version and answers: nothing could have changed{note}"


def _format_change(change: Change, *, unlike: bool) -> str:
    old, new, output = change.old, change.new, change.output
    status = new.status if old.status == new.status else f"{old.status} -> {new.status}"
    scores = _format_scaled_score(new, unlike=unlike)
    if change.delta != 0 or old.scale != new.scale:
        delta = "" if change.delta is None else f"  {change.delta:+.2f}"
        scores = f"{_format_scaled_score(old, unlike=unlike)} -> {scores}{delta}"
    explanation = new.error if new.status == "unscored" else new.reason
    why = f"  {shorten_text(explanation, MAX_REASON)}" if explanation else ""
    return f"{shorten_text(output.nodeid, MAX_NODE)}{label_suffix(output.label)}  {scores}  {status}{why}"


def _format_scaled_score(score: Score, *, unlike: bool) -> str:
    if score.score is None:
        return "none"
    scale = f" of {score.scale[0]:g} to {score.scale[1]:g}" if unlike and score.scale else ""
    return f"{score.score:.4g}{scale}"


def _iter_judge_rows(
    old: Sequence[tuple[str, str, str]], new: Sequence[tuple[str, str, str]], *, judge_called: bool
) -> Iterator[tuple[str, str]]:
    before = "; ".join(map(_format_judge, old))
    if not judge_called:
        yield "judge", f"{before}: not asked, only the threshold is another"
        return
    yield "judge", f"{before or 'nobody'} -> {'; '.join(map(_format_judge, new))}"
    models = [{model for _, _, model in side} for side in (old, new)]
    if old and new and not any("" in side for side in models):
        yield "model", "the same" if models[0] == models[1] else "another"


def _iter_mean_rows(
    changes: Sequence[Change], scales: Sequence[tuple[float, float]]
) -> Iterator[tuple[str, str]]:
    both = [
        (change.old.normalised, change.new.normalised)
        for change in changes
        if change.old.normalised is not None and change.new.normalised is not None
    ]
    if both:
        old, new = (math.fsum(side) / len(both) for side in zip(*both, strict=True))
        listed = ", ".join(f"{low:g} to {high:g}" for low, high in scales)
        unlike = f"; the scales are unlike ({listed}): all are taken from 0 to 1" if len(scales) > 1 else ""
        yield "mean", f"{old:.4f} -> {new:.4f} (0 to 1, of {len(both):,} scored by both){unlike}"


def _format_flips(changes: Iterable[Change]) -> str:
    statuses = [(change.old.status, change.new.status) for change in changes]
    flips: Counter[tuple[str, str]] = Counter(pair for pair in sorted(statuses) if pair[0] != pair[1])
    counts = {("pass", "fail"): 0, ("fail", "pass"): 0, **flips}
    return ", ".join(f"{count:,} {before} -> {now}" for (before, now), count in counts.items())


def _iter_error_rows(label: str, scores: Iterable[Score]) -> Iterator[tuple[str, str]]:
    counts = Counter(score.error for score in scores if score.status == "unscored").most_common()
    parts = [f"{count:,}: {shorten_text(why, MAX_REASON)}" for why, count in counts[:MAX_ERRORS]]
    if rest := sum(count for _, count in counts[MAX_ERRORS:]):
        parts.append(f"{rest:,} for other reasons")
    if parts:
        yield label, "; ".join(parts)


def _format_judge(judge: tuple[str, str, str]) -> str:
    name, version, model = (shorten_text(part, 100) for part in judge)
    return f"{name}, version {version or '(none)'}" + (f", model {model}" if model else "")
