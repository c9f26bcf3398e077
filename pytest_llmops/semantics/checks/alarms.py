"""What a check says.

How checks word what they found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pytest_llmops.semantics.checks.alignment import Pair
from pytest_llmops.semantics.checks.sentence import Sentence, Token


@dataclass(frozen=True, slots=True)
class Alarm:
    """One difference of meaning that a check saw.

    Attributes:
        check: Its name, to switch it off by.
        message: One sentence for a person; quotes both texts.
        expected: The words of the reference.
        actual: The words of the answer, empty where it leaves something out.
    """

    check: str
    message: str
    expected: str
    actual: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What all checks said of two texts.

    Attributes:
        alarms: In the order of the reference; none: no check saw a difference, which is no proof of sameness.
        without: What was *not* looked at, as sentences: checks that do not exist for the language, sentences
            beyond the limit.
    """

    alarms: tuple[Alarm, ...] = ()
    without: tuple[str, ...] = ()


MAX_QUOTE_CHARS = 60


class Finding(NamedTuple):
    """An alarm, and the change it explains; None: it was found beside the alignment."""

    alarm: Alarm
    change: int | None = None


class Check(Protocol):
    """Finds one kind of difference in a pair; ``claimed`` are changes that a check before it has explained."""

    def __call__(self, pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
        """Yield what it found."""


def quote_text(text: str, limit: int = MAX_QUOTE_CHARS) -> str:
    """Return a text in quotes, in one line, cut."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return f'"{printable[: limit - 3]}..."' if len(printable) > limit else f'"{printable}"'


def span_text(sentence: Sentence, tokens: Sequence[Token]) -> str:
    """Return the piece of a sentence that tokens cover, as written."""
    return sentence.text[tokens[0].start : tokens[-1].end] if tokens else ""


def build_alarm(check: str, difference: str, expected: str, actual: str) -> Alarm:
    """Return an alarm about two pieces of text."""
    if expected and actual:
        message = f"{difference}: the reference says {quote_text(expected)}, the answer {quote_text(actual)}"
    elif expected:
        message = f"{difference}: the reference says {quote_text(expected)}, the answer does not"
    else:
        message = f"{difference}: the answer says {quote_text(actual)}, the reference does not"
    return Alarm(check, message, expected, actual)
