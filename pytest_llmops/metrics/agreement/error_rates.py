"""How often a judge that passes or fails is right, for what people pass and for what people fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pytest_llmops.metrics.agreement.two_raters import confusion


class Share(NamedTuple):
    """Some out of a number of items."""

    hits: int
    total: int

    @property
    def value(self) -> float | None:
        """The share, 0 to 1; None of no items.

        >>> Share(3, 4).value, Share(0, 0).value
        (0.75, None)
        """
        return self.hits / self.total if self.total else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a judge makes of what people pass and fail.

    Attributes:
        tp: Passed by people and by the judge.
        fn: Passed by people, failed by the judge.
        fp: Failed by people, passed by the judge.
        tn: Failed by both.
    """

    tp: int
    fn: int
    fp: int
    tn: int

    @property
    def tpr(self) -> Share:
        """Of what people pass, what the judge passes: its sensitivity."""
        return Share(self.tp, self.tp + self.fn)

    @property
    def tnr(self) -> Share:
        """Of what people fail, what the judge fails: its specificity. A lenient judge is low here."""
        return Share(self.tn, self.tn + self.fp)

    @property
    def precision(self) -> Share:
        """Of what the judge passes, what people pass."""
        return Share(self.tp, self.tp + self.fp)

    @property
    def agreement(self) -> Share:
        """Of all, what both pass or both fail."""
        return Share(self.tp + self.tn, self.tp + self.fn + self.fp + self.tn)


def judge_rates(people: Sequence[bool], judge: Sequence[bool]) -> Rates:
    """Return how often a judge passes what people pass, and fails what people fail.

    Args:
        people: Whether people pass each item.
        judge: Whether the judge does, in the same order.

    Raises:
        ValueError: The lists differ in length.

    >>> judge_rates([True, True, False, False], [True, False, False, False]).tnr
    Share(hits=2, total=2)
    """
    counts = confusion([bool(label) for label in people], [bool(label) for label in judge])
    return Rates(
        tp=counts.get((True, True), 0),
        fn=counts.get((True, False), 0),
        fp=counts.get((False, True), 0),
        tn=counts.get((False, False), 0),
    )
