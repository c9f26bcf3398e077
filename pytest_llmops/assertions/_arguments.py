"""What an assertion over texts is given: checked, and refused with what was expected."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import get_args

from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import as_finite_float, shorten_text
from pytest_llmops.metrics import lexical, text_spans
from pytest_llmops.metrics.lexical import Form, Whitespace


@dataclass(frozen=True, slots=True)
class TextNormalizer:
    r"""What takes out of a text the differences that shall not count: `lexical.normalise` with these options.

    >>> TextNormalizer(case="fold", whitespace="collapse")("Two\n words ")
    'two words'
    """

    case: lexical.Case = "keep"
    whitespace: Whitespace = "keep"
    unicode: Form = "keep"

    def __call__(self, text: str) -> str:
        """Return the text without them; raises a `ValueError` as `lexical.normalise` does."""
        return lexical.normalize_text(text, case=self.case, whitespace=self.whitespace, unicode=self.unicode)

    def origins(self, text: str) -> text_spans.Origins:
        """Return what tells where in a text the places of its changed form are."""
        fold = partial(lexical.normalize_text, case=self.case, unicode=self.unicode)
        return text_spans.Origins(text, fold, self.whitespace)


def why_invalid_answer(actual: object) -> str:
    """Say why an answer cannot be scored, or nothing.

    >>> why_invalid_answer(None), why_invalid_answer("")
    ('the answer is None, expected text', '')
    """
    if isinstance(actual, str):
        return ""
    if actual is None:
        return "the answer is None, expected text"
    hint = "; pass its .text" if isinstance(getattr(actual, "text", None), str) else ""
    return f"the answer is {describe_kind(actual)}, expected text{hint}"


def describe_kind(value: object) -> str:
    """Return what a value is, for a message.

    >>> describe_kind(None), describe_kind(""), describe_kind(3)
    ('None', 'an empty text', 'an object of type int')
    """
    if value is None:
        return "None"
    return "an empty text" if value == "" else f"an object of type {type(value).__name__}"


def parse_share_threshold(where: str, at_least: object) -> float | None:
    """Return a threshold from 0 to 1, or None.

    Raises:
        UsageError: It is neither.
    """
    __tracebackhide__ = True
    if at_least is None:
        return None
    threshold = as_finite_float(at_least)
    if threshold is None or not 0 <= threshold <= 1:
        raise UsageError(f"{where}: expected at_least from 0 to 1, or None to record only, got {at_least!r}")
    return threshold


def parse_wanted_texts(where: str, expected: object) -> tuple[str, ...]:
    """Return one text to look for, or several; none of them empty.

    Raises:
        UsageError: They are none, or one is empty: it would be in every answer.
    """
    __tracebackhide__ = True
    texts = (expected,) if isinstance(expected, str) else expected
    if not isinstance(texts, Sequence) or isinstance(texts, (bytes, bytearray)):
        raise UsageError(f"{where}: expected a text or several to look for, got {describe_kind(expected)}")
    if not texts:
        raise UsageError(f"{where}: expected at least one text to look for, got none")
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str) or not text:
            raise UsageError(
                f"{where}: expected texts to look for, got {describe_kind(text)} as number {number}"
            )
    return tuple(texts)


def parse_references(where: str, expected: object) -> tuple[str, ...]:
    """Return one reference, or several; the empty text is one, too.

    Raises:
        UsageError: They are none.
    """
    __tracebackhide__ = True
    texts = (expected,) if isinstance(expected, str) else expected
    if not isinstance(texts, Sequence) or isinstance(texts, (bytes, bytearray)):
        raise UsageError(f"{where}: expected a text to compare with, got {describe_kind(expected)}")
    if not texts:
        raise UsageError(f"{where}: expected a text to compare with, got an empty list")
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise UsageError(
                f"{where}: expected texts to compare with, got {describe_kind(text)} as number {number}"
            )
    return tuple(texts)


def parse_normalizer(
    where: str, *, ignore_case: bool, whitespace: Whitespace = "keep", unicode: Form = "keep"
) -> TextNormalizer:
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
    return TextNormalizer(case, whitespace, unicode)


def compile_pattern(where: str, pattern: object, *, ignore_case: bool) -> re.Pattern[str]:
    """Return a regular expression, compiled.

    Raises:
        UsageError: It is none; says where it breaks.
    """
    __tracebackhide__ = True
    text = pattern.pattern if isinstance(pattern, re.Pattern) else pattern
    if not isinstance(text, str):
        raise UsageError(f"{where}: expected a pattern of text, got {describe_kind(text)}")
    flags = re.IGNORECASE if ignore_case else re.NOFLAG
    if isinstance(pattern, re.Pattern):
        flags |= re.RegexFlag(pattern.flags) & ~re.DEBUG
    try:
        return re.compile(text, flags)
    except re.error as error:
        problem = f"{error.msg} at position {error.pos}"
    except (OverflowError, RecursionError) as error:
        problem = str(error)
    raise UsageError(f"{where}: '{shorten_text(text)}' is no regular expression: {problem}")


@dataclass(frozen=True, slots=True)
class SearchedText:
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


def search_texts(
    text: str, wanted: Sequence[str], change: TextNormalizer, *, whole_words: bool, most: int, count: bool
) -> list[SearchedText]:
    """Return the first places where each of several texts stands in an answer, and how often, if that is asked.

    Raises:
        ValueError: The answer or a text cannot be changed that way, or nothing is left of a text.
    """
    changed = change(text)
    searched = []
    for wanted_text in wanted:
        needle = change(wanted_text)
        if not needle:
            raise ValueError(f"nothing is left to look for of '{shorten_text(wanted_text)}'")
        starts = text_spans.find_places(changed, needle, whole_words=whole_words, most=most)
        more = count and len(starts) == most
        often = text_spans.count_places(changed, needle, whole_words=whole_words) if more else len(starts)
        searched.append(SearchedText(wanted_text, needle, starts, often))
    return searched


@dataclass(frozen=True, slots=True)
class CountRange:
    """How often something has to be there.

    >>> str(CountRange(2, 2)), str(CountRange(2)), str(CountRange(1, 3))
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


def parse_count_range(
    where: str, times: object, at_least_times: object, at_most_times: object
) -> CountRange | None:
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
        return CountRange(counts["times"], counts["times"])
    count_range = CountRange(counts.get("at_least_times", 1), counts.get("at_most_times"))
    if count_range.most is not None and count_range.least > count_range.most:
        raise UsageError(
            f"{where}: expected at_least_times up to at_most_times, got {count_range.least} and {count_range.most}"
        )
    return count_range
