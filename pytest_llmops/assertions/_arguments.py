"""Parse the arguments of assertions; errors name the assertion, the expected and the given value."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import get_args

from pytest_llmops import recorder
from pytest_llmops._util.framework_objects import read_answer, read_hits
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import as_finite_float, format_count, shorten_text
from pytest_llmops.metrics import lexical, text_spans
from pytest_llmops.metrics.lexical import Form, Whitespace
from pytest_llmops.protocols import Hit

__tracebackhide__ = True


@dataclass(frozen=True, slots=True)
class TextNormalizer:
    r"""Remove differences between texts that do not count: `lexical.normalize_text` with these options.

    >>> TextNormalizer(case="fold", whitespace="collapse")("Two\n words ")
    'two words'
    """

    case: lexical.Case = "keep"
    whitespace: Whitespace = "keep"
    unicode: Form = "keep"

    def __call__(self, text: str) -> str:
        """Return the normalized text; raises a `ValueError` as `lexical.normalize_text` does."""
        return lexical.normalize_text(text, case=self.case, whitespace=self.whitespace, unicode=self.unicode)

    def normalize_answer(self, actual: object) -> str:
        """Return the normalized text of an answer, which may be an SDK's object; raise a `ValueError` if it has no text.

        >>> TextNormalizer().normalize_answer(None)
        Traceback (most recent call last):
        ValueError: the answer is None, expected text
        """
        text = read_answer(actual)
        if isinstance(text, str):
            watch = recorder.find_test_recorder().watch_answer
            if watch is not None:
                watch(text)
            return self(text)
        if text is None:
            raise ValueError("the answer is None, expected text")
        hint = ""
        if isinstance(getattr(text, "text", None), str):
            hint = "; pass its .text"
        raise ValueError(f"the answer is {describe_kind(text)}, expected text{hint}")

    def map_to_original(self, text: str) -> text_spans.Origins:
        """Return a map from positions in the normalized text to positions in the text itself."""
        normalize = partial(lexical.normalize_text, case=self.case, unicode=self.unicode)
        return text_spans.Origins(text, normalize, self.whitespace)


def describe_kind(value: object) -> str:
    """Return the kind of a value, for a message.

    >>> describe_kind(None), describe_kind(""), describe_kind(3)
    ('None', 'an empty text', 'an object of type int')
    """
    if value is None:
        return "None"
    if isinstance(value, str) and not value:
        return "an empty text"
    return f"an object of type {type(value).__name__}"


def describe_value(value: object) -> str:
    """Return the type and the beginning of a value, for a message.

    >>> describe_value(None), describe_value(3)
    ('nothing', 'int 3')
    """
    if value is None:
        return "nothing"
    text = shorten_text(repr(value), 60)
    return f"{type(value).__name__} {text}"


def parse_contexts(where: str, contexts: object) -> list[str]:
    """Return the texts of contexts, which are texts, chunks, hits, LangChain documents or LlamaIndex nodes.

    A hit without a text becomes "".

    Raises:
        UsageError: They are not a list of these.
    """
    if isinstance(contexts, (str, bytes)) or not isinstance(contexts, Sequence):
        raise UsageError(
            f"{where}: expected a list of contexts (texts, chunks or hits), got {describe_value(contexts)}"
        )
    texts = []
    for number, context in enumerate(read_hits(contexts), start=1):
        if isinstance(context, Hit):
            texts.append(context.text or "")
        elif isinstance(context, str):
            texts.append(context)
        else:
            given_context = describe_value(context)
            raise UsageError(
                f"{where}: expected contexts that are texts, got {given_context} as number {number}"
            )
    return texts


def parse_share_threshold(where: str, at_least: object, name: str = "at_least") -> float | None:
    """Return a threshold from 0 to 1, or None.

    Raises:
        UsageError: It is something else.
    """
    if at_least is None:
        return None
    threshold = as_finite_float(at_least)
    if threshold is None or not 0 <= threshold <= 1:
        none = "None"
        if name.startswith("at_least"):
            none = "None to record only"
        value = shorten_text(repr(at_least), 80)
        raise UsageError(f"{where}: expected {name} from 0 to 1, or {none}, got {value}")
    return threshold


def parse_threshold(
    where: str, name: str, value: object, what: str = "a number", *, whole: bool = False
) -> float | None:
    """Return a threshold of at least 0, or None.

    Raises:
        UsageError: It is something else.
    """
    if value is None:
        return None
    threshold = as_finite_float(value)
    if threshold is None or threshold < 0 or (whole and not threshold.is_integer()):
        expected = f"{what} of at least 0, or None to record only"
        given = shorten_text(repr(value), 80)
        raise UsageError(f"{where}: expected {name} to be {expected}, got {given}")
    return threshold


def parse_wanted_texts(where: str, expected: object) -> tuple[str, ...]:
    """Return the texts to search for as a tuple: at least one, and none of them empty.

    Raises:
        UsageError: There are none, or a text is empty: it would be in every answer.
    """
    texts = _parse_texts(where, expected, "to look for", "expected at least one text to look for, got none")
    if "" in texts:
        number = texts.index("") + 1
        kind = describe_kind("")
        raise UsageError(f"{where}: expected texts to look for, got {kind} as number {number}")
    return texts


def parse_references(where: str, expected: object) -> tuple[str, ...]:
    """Return the references as a tuple: at least one, which may be empty.

    Raises:
        UsageError: None are given, or they are not texts.
    """
    return _parse_texts(
        where, expected, "to compare with", "expected a text to compare with, got an empty list"
    )


def _parse_texts(where: str, given: object, purpose: str, none_given: str) -> tuple[str, ...]:
    """Return a text or several as a tuple; raise a `UsageError` for anything else.

    Args:
        where: The assertion, for the message.
        given: The argument.
        purpose: The purpose of the texts, for the message.
        none_given: The message for an empty list.
    """
    texts = given
    if isinstance(given, str):
        texts = (given,)
    if not isinstance(texts, Sequence) or isinstance(texts, (bytes, bytearray)):
        several = "a text"
        if purpose == "to look for":
            several = "a text or several"
        kind = describe_kind(given)
        raise UsageError(f"{where}: expected {several} {purpose}, got {kind}")
    if not texts:
        raise UsageError(f"{where}: {none_given}")
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            kind = describe_kind(text)
            raise UsageError(f"{where}: expected texts {purpose}, got {kind} as number {number}")
    return tuple(texts)


def parse_normalizer(
    where: str, *, ignore_case: bool, whitespace: Whitespace = "keep", unicode: Form = "keep"
) -> TextNormalizer:
    """Return the normalizer for the options of an assertion.

    Raises:
        UsageError: An option has no allowed value.
    """
    options = (("whitespace", whitespace, Whitespace), ("unicode", unicode, Form))
    for name, value, allowed in options:
        if value not in get_args(allowed):
            names = ", ".join(map(repr, get_args(allowed)))
            raise UsageError(f"{where}: expected {name} to be one of {names}, got {value!r}")
    if ignore_case:
        case: lexical.Case = "fold"
    else:
        case = "keep"
    return TextNormalizer(case, whitespace, unicode)


def compile_pattern(where: str, pattern: object, *, ignore_case: bool) -> re.Pattern[str]:
    """Return a compiled regular expression; a pattern that is compiled already keeps its flags, except DEBUG.

    Raises:
        UsageError: It is invalid; gives the position of the error.
    """
    if isinstance(pattern, re.Pattern):
        text = pattern.pattern
    else:
        text = pattern
    if not isinstance(text, str):
        raise UsageError(f"{where}: expected a pattern of text, got {describe_kind(text)}")
    if ignore_case:
        flags = re.IGNORECASE
    else:
        flags = re.NOFLAG
    if isinstance(pattern, re.Pattern):
        flags |= re.RegexFlag(pattern.flags) & ~re.DEBUG
    try:
        return re.compile(text, flags)
    except re.error as error:
        problem = f"{error.msg} at position {error.pos}"
    except (OverflowError, RecursionError) as error:
        problem = str(error)
    short_pattern = shorten_text(text)
    raise UsageError(f"{where}: invalid regular expression '{short_pattern}': {problem}")


@dataclass(frozen=True, slots=True)
class SearchedText:
    """The result of a search for a text in an answer.

    Attributes:
        wanted: The text as it was given.
        normalized: The text as it was searched for.
        starts: The first positions in the normalized answer; overlapping places count once.
        count: The number of places; if they were not counted, the length of ``starts``.
    """

    wanted: str
    normalized: str
    starts: Sequence[int]
    count: int

    def find_spans(self, origins: text_spans.Origins) -> list[text_spans.Span]:
        """Return the places as spans of the answer itself, before it was normalized."""
        length = len(self.normalized)
        return [origins.span(start, start + length) for start in self.starts]


def search_texts(
    actual: object,
    wanted: Sequence[str],
    normalizer: TextNormalizer,
    *,
    whole_words: bool,
    most: int,
    count: bool,
) -> list[SearchedText]:
    """Search for several texts in an answer, and return a result for each, in the same order.

    Args:
        actual: The answer.
        wanted: The texts.
        normalizer: Applied to the answer and to the texts.
        whole_words: Whether a place within a longer word or number does not count.
        most: How many places of a text are listed.
        count: Whether all places are counted.

    Raises:
        ValueError: The answer is not a text, or the answer or a text cannot be normalized or is empty afterwards.
    """
    answer = normalizer.normalize_answer(actual)
    results = []
    for text in wanted:
        needle = normalizer(text)
        if not needle:
            raise ValueError(f"nothing is left to look for of '{shorten_text(text)}'")
        starts = text_spans.find_places(answer, needle, whole_words=whole_words, most=most)
        number = len(starts)
        if count and number == most:
            number = len(text_spans.find_places(answer, needle, whole_words=whole_words))
        results.append(SearchedText(text, needle, starts, number))
    return results


@dataclass(frozen=True, slots=True)
class CountRange:
    """A required number of occurrences.

    >>> str(CountRange(2, 2)), str(CountRange(2)), str(CountRange(1, 3))
    ('exactly 2 times', 'at least 2 times', '1 to 3 times')
    """

    least: int = 1
    most: int | None = None

    def includes(self, count: int) -> bool:
        """Return whether a count is within the range."""
        return self.least <= count and (self.most is None or count <= self.most)

    def __str__(self) -> str:
        if self.most is None:
            return f"at least {format_count(self.least, 'time')}"
        if self.least == self.most:
            return f"exactly {format_count(self.least, 'time')}"
        return f"{self.least:,} to {format_count(self.most, 'time')}"


def parse_count_range(
    where: str, times: object, at_least_times: object, at_most_times: object
) -> CountRange | None:
    """Return the required number of occurrences; None without a requirement.

    Raises:
        UsageError: A count is not a whole number of at least 1, or the counts contradict each other.
    """
    given = {"times": times, "at_least_times": at_least_times, "at_most_times": at_most_times}
    counts: dict[str, int] = {}
    for name, count in given.items():
        if count is None:
            continue
        number = 0
        if not isinstance(count, bool) and isinstance(count, Integral):
            number = int(count)
        if number < 1:
            hint = ""
            if count == 0:
                opposite = where.replace("assert_", "assert_not_")
                hint = f"; for a text that must not be there use {opposite}"
            raise UsageError(
                f"{where}: expected {name} to be a whole number of at least 1, got {count!r}{hint}"
            )
        counts[name] = number
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


def check_texts(who: str, **given: object) -> None:
    """Raise `UsageError` for a question or reference that is not a text.

    >>> check_texts("assert_judge_score", question="Why?")
    """
    for what, text in given.items():
        if not isinstance(text, str):
            raise UsageError(f"{who}: expected {what} to be a text, got {type(text).__name__}")
