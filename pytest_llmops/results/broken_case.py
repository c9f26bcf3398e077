"""A case that broke since the baseline, as a run stores it."""

from __future__ import annotations  # `StoredFacts` reads the types of fields as texts

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from pytest_llmops.measurement import as_finite_float, shorten_text
from pytest_llmops.results.details import StoredFacts, as_list, as_mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenCase(StoredFacts):
    """A case of which all trials are below all of the baseline, by 25 points or more on average.

    Attributes:
        metric: The metric by which it broke.
        before: Scores of its trials in the baseline, higher is better; ``after``: in this run.
        same_answer: A recorded answer of the baseline has another score now.
        breakable: Of each case of the metric that could have broken by chance, its numbers of trials: "3+3".
    """

    nodeid: str = ""
    metric: str = ""
    before: tuple[float, ...] = ()
    after: tuple[float, ...] = ()
    same_answer: bool = False
    breakable: tuple[str, ...] = ()

    @classmethod
    def from_wire(cls, wire: object, **given: Any) -> Self:
        """Return the stored value."""
        stored = as_mapping(wire)
        sides = {}
        for side in ("before", "after"):
            numbers = map(as_finite_float, as_list(stored.get(side)))
            sides[side] = tuple(number for number in numbers if number is not None)
        return super(BrokenCase, cls).from_wire(wire, **sides, **given)

    @property
    def name(self) -> str:
        """The name of the test without its file.

        >>> BrokenCase(nodeid="tests/test_a.py::test_a[late]").name
        'test_a[late]'
        """
        return shorten_text(self.nodeid.partition("::")[2] or self.nodeid, 80)

    def describe(self, *, plural: bool = False) -> str:
        """Return how the trials of both sides scored.

        >>> BrokenCase(before=(1.0, 1.0), after=(0.0,)).describe(), BrokenCase(before=(0.9, 0.8), after=(0.2,)).describe()
        ('passed 2 of 2, fails 1 of 1', 'fell from 0.85 to 0.20')
        """
        is_check = set(self.before) == {1.0} and set(self.after) == {0.0}
        if is_check:
            verb = "fail" if plural else "fails"
            return f"passed {len(self.before)} of {len(self.before)}, {verb} {len(self.after)} of {len(self.after)}"
        return f"fell from {_mean(self.before):.2f} to {_mean(self.after):.2f}"

    def list_breakable(self) -> list[tuple[int, int]]:
        """Return `breakable` as numbers; entries that are damaged are left out."""
        shapes = []
        for text in self.breakable:
            before, _, after = text.partition("+")
            if before.isdecimal() and after.isdecimal():
                shapes.append((int(before), int(after)))
        return shapes


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores) if scores else 0.0
