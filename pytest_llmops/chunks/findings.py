"""What a check finds: one value, and the places it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Unit = Literal["1", "count"]

MAX_FAULTS = 50
"""Places that a check keeps, the worst; it counts the others."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One place where something is wrong.

    Attributes:
        place: Where, for a person: ``chunk 3``, ``line 12``.
        text: What stands there; foreign text, whole: whoever shows it shortens it.
        size: How bad it is, in characters; orders the faults of a check.
    """

    place: str
    text: str
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The outcome of one check over all chunks.

    Attributes:
        name: ``lost``, ``cut_words`` ...
        value: A share from 0 to 1 (unit "1") or a count; lower is better.
        reason: One sentence for a person.
        faults: The worst `MAX_FAULTS`, the worst first; empty where nothing is wrong.
        error: Why there is no value; ``value`` means nothing then.
    """

    name: str
    value: float = 0.0
    unit: Unit = "1"
    reason: str = ""
    faults: tuple[Fault, ...] = ()
    error: str = ""


def worst_faults(faults: Sequence[Fault]) -> tuple[Fault, ...]:
    """Return the largest `MAX_FAULTS`; equal ones stay in their order.

    >>> [one.place for one in worst_faults([Fault("a", "", 1), Fault("b", "", 2), Fault("c", "", 1)])]
    ['b', 'a', 'c']
    """
    return tuple(sorted(faults, key=lambda fault: -fault.size)[:MAX_FAULTS])


def ratio_or_zero(part: float, whole: float) -> float:
    """Return part / whole, and 0.0 of nothing.

    >>> ratio_or_zero(1, 4), ratio_or_zero(0, 0)
    (0.25, 0.0)
    """
    return part / whole if whole else 0.0
