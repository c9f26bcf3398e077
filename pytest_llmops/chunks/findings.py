"""Hold the result of a check of chunks: a value, and the places where something is wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Unit = Literal["1", "count"]

MAX_FAULTS = 50  # faults in a result, the worst; all are counted


@dataclass(frozen=True, slots=True)
class Fault:
    """A place where something is wrong.

    Attributes:
        place: The place in a message: ``chunk 3``, ``line 12``.
        text: The untrusted text there, in full: reports shorten it.
        size: Its severity in characters; faults are sorted by it.
    """

    place: str
    text: str
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The result of a check of all chunks.

    Attributes:
        name: ``lost``, ``cut_words`` ...
        value: A share from 0 to 1 (unit "1") or a count; lower is better.
        reason: A sentence that explains the value.
        faults: The worst `MAX_FAULTS`, the worst first.
        error: Why there is no value; "" otherwise.
    """

    name: str
    value: float = 0.0
    unit: Unit = "1"
    reason: str = ""
    faults: tuple[Fault, ...] = ()
    error: str = ""


def worst_faults(faults: Sequence[Fault]) -> tuple[Fault, ...]:
    """Return the `MAX_FAULTS` largest faults; faults of equal size keep their order.

    >>> [fault.place for fault in worst_faults([Fault("a", "", 1), Fault("b", "", 2), Fault("c", "", 1)])]
    ['b', 'a', 'c']
    """
    return tuple(sorted(faults, key=lambda fault: -fault.size)[:MAX_FAULTS])


def count_result(name: str, reason: str, faults: Sequence[Fault]) -> CheckResult:
    """Return a result whose value is the number of faults.

    >>> count_result("empty", "1 of 2 chunks is empty", [Fault("chunk 2", "")]).value
    1
    """
    return CheckResult(name=name, value=len(faults), unit="count", reason=reason, faults=worst_faults(faults))


def share_result(name: str, part: float, whole: float, reason: str, faults: Sequence[Fault]) -> CheckResult:
    """Return a result whose value is a share, 0.0 if there is nothing to measure.

    >>> share_result("lost", 1, 4, "", []).value, share_result("lost", 0, 0, "", []).value
    (0.25, 0.0)
    """
    return CheckResult(
        name=name, value=part / whole if whole else 0.0, reason=reason, faults=worst_faults(faults)
    )
