"""Compare two verdicts on the same outputs, and summarize and format the changes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The summary of all changes of a run.

    Attributes:
        pairs: Outputs that both judges scored; the means cover these.
        old_mean: Normalised; None: there is no pair.
        flips: How many went from one status to another, by (old, new).
        old_errors: Why outputs had no score, and how many; ``new_errors`` likewise.
        old_judges: Name, version and model of the old judges; ``new_judges`` likewise.
        scales: All scales there are.
    """

    tests: int = 0
    outputs: int = 0
    changed: int = 0
    worse: int = 0
    new: int = 0
    pairs: int = 0
    old_mean: float | None = None
    new_mean: float | None = None
    flips: Mapping[tuple[str, str], int] = field(default_factory=dict)
    old_errors: Mapping[str, int] = field(default_factory=dict)
    new_errors: Mapping[str, int] = field(default_factory=dict)
    old_judges: tuple[tuple[str, str, str], ...] = ()
    new_judges: tuple[tuple[str, str, str], ...] = ()
    scales: tuple[tuple[float, float], ...] = ()

    @property
    def same_judge(self) -> bool:
        """Whether the same judges in the same versions judged the same outputs."""
        return bool(self.old_judges) and self.old_judges == self.new_judges and not self.new

    @property
    def same_model(self) -> bool | None:
        """Whether the models of old and new judges are the same; None: not known."""
        old, new = ({model for _, _, model in side} for side in (self.old_judges, self.new_judges))
        return None if "" in old | new or not old or not new else old == new


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


def summarize_changes(changes: Sequence[Change]) -> Summary:
    """Return the summary of changes; without changes all counts are 0, and the means None.

    >>> summarize_changes([]).old_mean is None
    True
    """
    both = [
        (change.old.normalised, change.new.normalised)
        for change in changes
        if change.old.normalised is not None and change.new.normalised is not None
    ]
    ordered = sorted(changes, key=lambda change: (change.output.record, change.output.place or 0))
    judged = [change for change in ordered if change.old.status != "new"]
    flips = Counter(
        (change.old.status, change.new.status) for change in judged if change.old.status != change.new.status
    )
    return Summary(
        tests=len({change.output.record for change in changes}),
        outputs=len(changes),
        changed=sum(change.changed for change in judged),
        worse=sum(change.worse for change in changes),
        new=len(changes) - len(judged),
        pairs=len(both),
        old_mean=math.fsum(old for old, _ in both) / len(both) if both else None,
        new_mean=math.fsum(new for _, new in both) / len(both) if both else None,
        flips={(str(old), str(new)): count for (old, new), count in sorted(flips.items())},
        old_errors=_count_errors(change.old for change in judged),
        new_errors=_count_errors(change.new for change in ordered),
        old_judges=_list_judges(change.old for change in judged),
        new_judges=_list_judges(change.new for change in ordered),
        scales=tuple(
            sorted({score.scale for change in changes for score in (change.old, change.new) if score.scale and score.score is not None})
        ),
    )  # fmt: skip


def _count_errors(scores: Iterable[Score]) -> dict[str, int]:
    return dict(Counter(score.error for score in scores if score.status == "unscored").most_common())


def _list_judges(scores: Iterable[Score]) -> tuple[tuple[str, str, str], ...]:
    every = list(scores)
    # A judge that got no answer to judge was not called, and its version is not known.
    known = [score for score in every if score.version or score.score is not None] or every
    return tuple(sorted({(score.judge, score.version, score.model) for score in known}))


def format_changes(
    changes: Sequence[Change], total: Summary, *, judge_called: bool, passed_over: Mapping[str, int]
) -> Iterator[str]:
    """Yield a line for each changed output, and then the summary; foreign text is shortened and escaped.

    Args:
        changes: The changes, in this order.
        total: Their summary.
        judge_called: A judge was called; otherwise only the threshold changed.
        passed_over: How many measurements could not be scored again, by reason.
    """
    unlike = len(total.scales) > 1
    change_lines = [_format_change(change, unlike=unlike) for change in changes if change.changed]
    yield from change_lines
    if change_lines:
        yield ""
    pairs = list(_iter_summary_rows(total, judge_called=judge_called, passed_over=passed_over))
    width = max(len(label) for label, _ in pairs)
    yield from (f"{label:<{width}}  {text}" for label, text in pairs)
    if judge_called and total.same_judge:
        note = "; what has is its noise, or the threshold" if total.changed else ", and nothing has"
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


def _iter_summary_rows(
    total: Summary, *, judge_called: bool, passed_over: Mapping[str, int]
) -> Iterator[tuple[str, str]]:
    new = f", {total.new:,} that no judge saw before" if total.new else ""
    tests = format_count(total.tests, "test")
    yield "outputs", f"{total.outputs:,} of {tests}: {total.changed:,} changed{new}"
    old = "; ".join(map(_format_judge, total.old_judges))
    if judge_called:
        yield "judge", f"{old or 'nobody'} -> {'; '.join(map(_format_judge, total.new_judges))}"
        if total.same_model is not None:
            yield "model", "the same" if total.same_model else "another"
    else:
        yield "judge", f"{old}: not asked, only the threshold is another"
    if total.old_mean is not None and total.new_mean is not None:
        scales = ", ".join(f"{low:g} to {high:g}" for low, high in total.scales)
        unlike = (
            f"; the scales are unlike ({scales}): all are taken from 0 to 1" if len(total.scales) > 1 else ""
        )
        means = f"{total.old_mean:.4f} -> {total.new_mean:.4f}"
        yield "mean", f"{means} (0 to 1, of {total.pairs:,} scored by both){unlike}"
    flips = {("pass", "fail"): 0, ("fail", "pass"): 0, **total.flips}
    yield "verdicts", ", ".join(f"{count:,} {before} -> {now}" for (before, now), count in flips.items())
    for label, errors in (("unscored before", total.old_errors), ("unscored now", total.new_errors)):
        counts = list(errors.items())
        parts = [f"{count:,}: {shorten_text(why, MAX_REASON)}" for why, count in counts[:MAX_ERRORS]]
        if rest := sum(count for _, count in counts[MAX_ERRORS:]):
            parts.append(f"{rest:,} for other reasons")
        if parts:
            yield label, "; ".join(parts)
    if passed_over:
        yield "passed over", "; ".join(f"{count:,}: {why}" for why, count in passed_over.items())


def _format_judge(judge: tuple[str, str, str]) -> str:
    name, version, model = (shorten_text(part, 100) for part in judge)
    return f"{name}, version {version or '(none)'}" + (f", model {model}" if model else "")
