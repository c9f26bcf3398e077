"""What an assertion over texts is given: checked, and refused with what was expected."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import get_args

from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import finite, shorten
from pytest_llmops.metrics import lexical, text_spans
from pytest_llmops.metrics.lexical import Form, Whitespace


@dataclass(frozen=True, slots=True)
class Change:
    r"""What takes out of a text the differences that shall not count: `lexical.normalise` with these options.

    >>> Change(case="fold", whitespace="collapse")("Two\n words ")
    'two words'
    """

    case: lexical.Case = "keep"
    whitespace: Whitespace = "keep"
    unicode: Form = "keep"

    def __call__(self, text: str) -> str:
        """Return the text without them; raises a `ValueError` as `lexical.normalise` does."""
        return lexical.normalise(text, case=self.case, whitespace=self.whitespace, unicode=self.unicode)

    def origins(self, text: str) -> text_spans.Origins:
        """Return what tells where in a text the places of its changed form are."""
        fold = partial(lexical.normalise, case=self.case, unicode=self.unicode)
        return text_spans.Origins(text, fold, self.whitespace)


def unfit(actual: object) -> str:
    """Say why an answer cannot be scored, or nothing.

    >>> unfit(None), unfit("")
    ('the answer is None, expected text', '')
    """
    if isinstance(actual, str):
        return ""
    if actual is None:
        return "the answer is None, expected text"
    hint = "; pass its .text" if isinstance(getattr(actual, "text", None), str) else ""
    return f"the answer is {kind(actual)}, expected text{hint}"


def kind(value: object) -> str:
    """Return what a value is, for a message.

    >>> kind(None), kind(""), kind(3)
    ('None', 'an empty text', 'an object of type int')
    """
    if value is None:
        return "None"
    return "an empty text" if value == "" else f"an object of type {type(value).__name__}"


def threshold_of(where: str, at_least: object) -> float | None:
    """Return a threshold from 0 to 1, or None.

    Raises:
        UsageError: It is neither.
    """
    __tracebackhide__ = True
    if at_least is None:
        return None
    threshold = finite(at_least)
    if threshold is None or not 0 <= threshold <= 1:
        raise UsageError(f"{where}: expected at_least from 0 to 1, or None to record only, got {at_least!r}")
    return threshold


def wanted_of(where: str, expected: object) -> tuple[str, ...]:
    """Return one text to look for, or several; none of them empty.

    Raises:
        UsageError: They are none, or one is empty: it would be in every answer.
    """
    __tracebackhide__ = True
    found = (expected,) if isinstance(expected, str) else expected
    if not isinstance(found, Sequence) or isinstance(found, (bytes, bytearray)):
        raise UsageError(f"{where}: expected a text or several to look for, got {kind(expected)}")
    if not found:
        raise UsageError(f"{where}: expected at least one text to look for, got none")
    for number, one in enumerate(found, start=1):
        if not isinstance(one, str) or not one:
            raise UsageError(f"{where}: expected texts to look for, got {kind(one)} as number {number}")
    return tuple(found)


def references_of(where: str, expected: object) -> tuple[str, ...]:
    """Return one reference, or several; the empty text is one, too.

    Raises:
        UsageError: They are none.
    """
    __tracebackhide__ = True
    found = (expected,) if isinstance(expected, str) else expected
    if not isinstance(found, Sequence) or isinstance(found, (bytes, bytearray)):
        raise UsageError(f"{where}: expected a text to compare with, got {kind(expected)}")
    if not found:
        raise UsageError(f"{where}: expected a text to compare with, got an empty list")
    for number, one in enumerate(found, start=1):
        if not isinstance(one, str):
            raise UsageError(f"{where}: expected texts to compare with, got {kind(one)} as number {number}")
    return tuple(found)


def change_of(
    where: str, *, ignore_case: bool, whitespace: Whitespace = "keep", unicode: Form = "keep"
) -> Change:
    """Return what takes out of a text the differences that shall not count.

    Raises:
        UsageError: An option has another value.
    """
    __tracebackhide__ = True
    for name, value, allowed in (("whitespace", whitespace, Whitespace), ("unicode", unicode, Form)):
        if value not in get_args(allowed):
            names = ", ".join(map(repr, get_args(allowed)))
            raise UsageError(f"{where}: expected {name} to be one of {names}, got {value!r}")
    case: lexical.Case = "fold" if ignore_case else "keep"
    return Change(case, whitespace, unicode)


def pattern_of(where: str, pattern: object, *, ignore_case: bool) -> re.Pattern[str]:
    """Return a regular expression, compiled.

    Raises:
        UsageError: It is none; says where it breaks.
    """
    __tracebackhide__ = True
    text = pattern.pattern if isinstance(pattern, re.Pattern) else pattern
    if not isinstance(text, str):
        raise UsageError(f"{where}: expected a pattern of text, got {kind(text)}")
    flags = re.IGNORECASE if ignore_case else re.NOFLAG
    if isinstance(pattern, re.Pattern):
        flags |= re.RegexFlag(pattern.flags) & ~re.DEBUG
    try:
        return re.compile(text, flags)
    except re.error as error:
        problem = f"{error.msg} at position {error.pos}"
    except (OverflowError, RecursionError) as error:
        problem = str(error)
    raise UsageError(f"{where}: '{shorten(text)}' is no regular expression: {problem}")


@dataclass(frozen=True, slots=True)
class Looked:
    """A text that was looked for in an answer.

    Attributes:
        wanted: The text as it was given.
        changed: As it was looked for.
        starts: The first places where it stands in the changed answer; places that overlap count once.
        count: How many there are in all; if that was not asked for, how many of them are known.
    """

    wanted: str
    changed: str
    starts: Sequence[int]
    count: int

    def places(self, origins: text_spans.Origins) -> list[text_spans.Span]:
        """Return these places as they are in the answer itself."""
        return [origins.span(start, start + len(self.changed)) for start in self.starts]


def looked_for(
    text: str, wanted: Sequence[str], change: Change, *, whole_words: bool, most: int, count: bool
) -> list[Looked]:
    """Return the first places where each of several texts stands in an answer, and how often, if that is asked.

    Raises:
        ValueError: The answer or a text cannot be changed that way, or nothing is left of a text.
    """
    changed = change(text)
    found = []
    for one in wanted:
        needle = change(one)
        if not needle:
            raise ValueError(f"nothing is left to look for of '{shorten(one)}'")
        starts = text_spans.places(changed, needle, whole_words=whole_words, most=most)
        more = count and len(starts) == most
        often = text_spans.count(changed, needle, whole_words=whole_words) if more else len(starts)
        found.append(Looked(one, needle, starts, often))
    return found


@dataclass(frozen=True, slots=True)
class Times:
    """How often something has to be there.

    >>> str(Times(2, 2)), str(Times(2)), str(Times(1, 3))
    ('exactly 2 times', 'at least 2 times', '1 to 3 times')
    """

    least: int = 1
    most: int | None = None

    def fits(self, count: int) -> bool:
        """Say whether a count is within."""
        return self.least <= count and (self.most is None or count <= self.most)

    def __str__(self) -> str:
        if self.most is None:
            return f"at least {self.least:,} time{'s' * (self.least != 1)}"
        if self.least == self.most:
            return f"exactly {self.least:,} time{'s' * (self.least != 1)}"
        return f"{self.least:,} to {self.most:,} times"


def times_of(where: str, times: object, at_least_times: object, at_most_times: object) -> Times | None:
    """Return how often something has to be there, or None if nothing was asked.

    Raises:
        UsageError: A count is no whole number of at least 1, or they contradict each other.
    """
    __tracebackhide__ = True
    given = {"times": times, "at_least_times": at_least_times, "at_most_times": at_most_times}
    counts: dict[str, int] = {}
    for name, count in given.items():
        if count is None:
            continue
        if isinstance(count, bool) or not isinstance(count, Integral) or int(count) < 1:
            absent = where.replace("assert_", "assert_not_")
            hint = f"; for a text that must not be there use {absent}" if count == 0 else ""
            raise UsageError(
                f"{where}: expected {name} to be a whole number of at least 1, got {count!r}{hint}"
            )
        counts[name] = int(count)
    if not counts:
        return None
    if "times" in counts:
        if len(counts) > 1:
            raise UsageError(
                f"{where}: expected either times or at_least_times and at_most_times, got {', '.join(counts)}"
            )
        return Times(counts["times"], counts["times"])
    found = Times(counts.get("at_least_times", 1), counts.get("at_most_times"))
    if found.most is not None and found.least > found.most:
        raise UsageError(
            f"{where}: expected at_least_times up to at_most_times, got {found.least} and {found.most}"
        )
    return found
