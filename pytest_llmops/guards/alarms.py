"""What a guard says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Alarm:
    """One difference of meaning that a guard saw.

    Attributes:
        guard: Its name, to switch it off by.
        message: One sentence for a person; quotes both texts.
        expected: The words of the reference.
        actual: The words of the answer, empty where it leaves something out.
    """

    guard: str
    message: str
    expected: str
    actual: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What all guards said of two texts.

    Attributes:
        alarms: In the order of the reference; none: no guard saw a difference, which is no proof of sameness.
        without: What was *not* looked at, as sentences: guards that do not exist for the language, sentences
            beyond the limit.
    """

    alarms: tuple[Alarm, ...] = ()
    without: tuple[str, ...] = ()
