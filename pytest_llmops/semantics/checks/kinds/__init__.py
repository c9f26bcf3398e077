"""The checks, a file for each family, and their alarms."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from pytest_llmops.semantics.checks.alignment import Pair


@dataclass(frozen=True, slots=True)
class Alarm:
    """A difference of meaning that a check found.

    Attributes:
        check: Name of the check, to switch it off by.
        message: A sentence that quotes both texts.
        expected: The words of the reference.
        actual: The words of the answer; empty where the answer leaves something out.
    """

    check: str
    message: str
    expected: str
    actual: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of all checks of two texts.

    Attributes:
        alarms: In the order of the reference. No alarm is no proof that both texts mean the same.
        without: What was *not* compared, as sentences: checks that do not exist for the language, sentences
            beyond the limit.
    """

    alarms: tuple[Alarm, ...] = ()
    without: tuple[str, ...] = ()


MAX_QUOTE_CHARS = 60


class Finding(NamedTuple):
    """An alarm and the number of the change it explains; None if it does not come from a change."""

    alarm: Alarm
    change: int | None = None


# Finds differences of a kind in a pair; its second argument
# are the changes that earlier checks have explained
Check: TypeAlias = "Callable[[Pair, frozenset[int]], Iterator[Finding]]"


def quote_text(text: str, limit: int = MAX_QUOTE_CHARS) -> str:
    """Return a text in quotes, on a single line, truncated."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return f'"{printable[: limit - 3]}..."' if len(printable) > limit else f'"{printable}"'


def build_finding(
    check: str, difference: str, expected: str, actual: str, change: int | None = None
) -> Finding:
    """Return a finding with an alarm that quotes a piece of the reference, of the answer, or of both.

    >>> build_finding("entities", "another name", "Rome", "").alarm.message
    'another name: the reference says "Rome", the answer does not'
    """
    if expected and actual:
        quotes = f"the reference says {quote_text(expected)}, the answer {quote_text(actual)}"
    elif expected:
        quotes = f"the reference says {quote_text(expected)}, the answer does not"
    else:
        quotes = f"the answer says {quote_text(actual)}, the reference does not"
    return Finding(Alarm(check, f"{difference}: {quotes}", expected, actual), change)
