"""Compute the error rates of a pass/fail judge against human labels: true positive rate, true negative rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pytest_llmops.metrics.agreement.two_raters import confusion


class Share(NamedTuple):
    """A number of hits among a total of items."""

    hits: int
    total: int

    @property
    def value(self) -> float | None:
        """The share, 0 to 1; None without items.

        >>> Share(3, 4).value, Share(0, 0).value
        (0.75, None)
        """
        return self.hits / self.total if self.total else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The confusion counts of a judge against human labels.

    Attributes:
        tp: Items that annotators and judge pass.
        fn: Items that annotators pass and the judge fails.
        fp: Items that annotators fail and the judge passes.
        tn: Items that annotators and judge fail.
    """

    tp: int
    fn: int
    fp: int
    tn: int

    @property
    def tpr(self) -> Share:
        """Share of the items that annotators pass which the judge passes: its sensitivity."""
        return Share(self.tp, self.tp + self.fn)

    @property
    def tnr(self) -> Share:
        """Share of the items that annotators fail which the judge fails: its specificity, low for a lenient judge."""
        return Share(self.tn, self.tn + self.fp)


def judge_rates(people: Sequence[bool], judge: Sequence[bool]) -> Rates:
    """Return the confusion counts of a judge.

    Args:
        people: Whether human annotators pass each item.
        judge: Whether the judge passes it, in the same order.

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
