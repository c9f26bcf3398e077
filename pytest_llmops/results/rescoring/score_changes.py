"""Compare two verdicts on the same outputs, and summarize the changes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pytest_llmops.measurement import Measurement
from pytest_llmops.results.rescoring.judged_outputs import (
    Output,
    old_verdict,
)

Status: TypeAlias = Literal["pass", "fail", "recorded", "undecided", "unscored", "new"]
_STATUSES: Mapping[str, Status] = {
    "passed": "pass",
    "failed": "fail",
    "recorded": "recorded",
    "errored": "unscored",
}
SAME_SCORE_TOLERANCE = 1e-9
"""Normalised scores closer than this are the same."""


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
