"""The values of promptfoo's assertions about texts, JSON and numbers."""

import re
from collections.abc import Callable, Mapping, Sequence

from pytest_llmops.imports import javascript_regex
from pytest_llmops.imports.javascript_regex import UntranslatableRegex
from pytest_llmops.imports.promptfoo import meaning_values, tool_call_values
from pytest_llmops.imports.promptfoo.line_values import (
    LineValue,
    format_as_javascript,
    format_number,
    format_threshold,
    read_threshold,
    require_pure_text,
    require_text,
)
from pytest_llmops.imports.promptfoo.no_equivalent import NoEquivalent
from pytest_llmops.imports.promptfoo.schema_values import read_schema
from pytest_llmops.imports.suite import SuiteAssertion
from pytest_llmops.measurement import Json

_SPACES = re.compile(r"\s*")
_SEPARATORS = re.compile(r"[\s,]*")
DEFAULT_EDITS = 5  # promptfoo's threshold of `levenshtein`


def split_at_commas(text: str) -> list[str]:
    """Return the parts of a text that promptfoo splits at commas; a part may have quotes around it.

    >>> split_at_commas('a, "b, c" ,, d')
    ['a', 'b, c', 'd']

    Raises:
        NoEquivalent: A quote is not closed, or not followed by a comma.
    """
    parts = []
    position = _skip_separators(text, 0)
    while position < len(text):
        if text[position] == '"':
            part, end = _read_quoted(text, position + 1)
            parts.append(part)
        else:
            end = text.find(",", position)
            if end < 0:
                end = len(text)
            parts.append(text[position:end].strip())
        position = _skip_separators(text, end)
    return parts


def _read_quoted(text: str, position: int) -> tuple[str, int]:
    """Return a part behind its opening quote, and where what follows begins; a quote in it is doubled or escaped."""
    chars: list[str] = []
    while position < len(text):
        pair = text[position : position + 2]
        if pair in {'\\"', "\\\\", '""'}:
            chars.append(pair[1])
            position += 2
        elif text[position] == '"':
            spaces = _SPACES.match(text, position + 1)
            end = spaces.end() if spaces else position + 1
            if text[end : end + 1] not in {"", ","}:
                break
            return "".join(chars), end
        else:
            chars.append(text[position])
            position += 1
    raise NoEquivalent("promptfoo refuses the value: a quote is not closed, or no comma follows it")


def _skip_separators(text: str, position: int) -> int:
    match = _SEPARATORS.match(text, position)
    return match.end() if match else position


def _read_text(assertion: SuiteAssertion) -> LineValue:
    return LineValue(value=require_text(assertion))


def _read_texts(assertion: SuiteAssertion) -> LineValue:
    """Return the texts of the ``-any`` and ``-all`` types; a negated ``-all`` wants at least one of them to be missing."""
    given = assertion.value
    if isinstance(given, str) and given:
        texts = split_at_commas(given)
    elif isinstance(given, Sequence) and not isinstance(given, str):
        texts = [format_as_javascript(item) for item in given]
    else:
        raise NoEquivalent("promptfoo refuses the value: a list or a text is needed")
    is_any = assertion.type.endswith("-any")
    if is_any and "" in texts:
        raise NoEquivalent(
            "an empty text is in every answer, so that it decides nothing: leave the assertion out"
        )
    texts = [text for text in dict.fromkeys(texts) if text]
    if not texts:
        raise NoEquivalent("it has no text to look for, so that it decides nothing: leave the assertion out")
    limit = f"at_least=1 / {len(texts)}"
    if len(texts) == 1:
        limit = "at_least=1"
    return LineValue(value=texts, limits=[limit])


def _read_equal_value(assertion: SuiteAssertion) -> LineValue:
    value = assertion.value
    if isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, str)):
        if assertion.negated:
            raise NoEquivalent("a comparison of JSON has no opposite: assert json.loads(answer) != ...")
        call = "assert_schema(answer, {value}, whole=True{options})"
        return LineValue(value={"const": value}, call=call, form="schema")
    if value is None:
        raise NoEquivalent("it has no value to compare with")
    text = format_as_javascript(value)
    if assertion.negated:
        return LineValue(value=rf"\A{javascript_regex.escape_text(text)}\Z", form="pattern")
    return LineValue(value=text)


def _read_beginning(assertion: SuiteAssertion) -> LineValue:
    text = require_pure_text(assertion)
    return LineValue(value=rf"\A{javascript_regex.escape_text(text)}")


def _read_pattern(assertion: SuiteAssertion) -> LineValue:
    pattern = require_pure_text(assertion)
    try:
        return LineValue(value=javascript_regex.translate(pattern))
    except UntranslatableRegex as problem:
        raise NoEquivalent(f"{problem}; write the pattern for Python's re") from None


def _read_edit_distance(assertion: SuiteAssertion) -> LineValue:
    value = assertion.value
    if not isinstance(value, str):
        raise NoEquivalent("promptfoo refuses the value: a text is needed")
    return LineValue(value=value, limits=[f"at_most={format_threshold(assertion, DEFAULT_EDITS)}"])


def _read_word_count(assertion: SuiteAssertion) -> LineValue:
    value = assertion.value
    if isinstance(value, Mapping):
        lowest = _as_count(value.get("min"))
        highest = _as_count(value.get("max"))
    else:
        lowest = highest = _as_count(value)
    if lowest is None and highest is None:
        raise NoEquivalent("promptfoo refuses the value: a number, or a mapping with min and max, is needed")
    limits = []
    if lowest is not None:
        limits.append(f"at_least={format_number(lowest)}")
    if highest is not None:
        limits.append(f"at_most={format_number(highest)}")
    if assertion.negated:
        if len(limits) > 1:
            raise NoEquivalent("the opposite of a range of words: assert not 10 <= len(answer.split()) <= 20")
        if lowest is not None:
            limits = [f"at_most={format_number(lowest - 1)}"]
        else:
            limits = [f"at_least={format_number((highest or 0) + 1)}"]
    return LineValue(limits=limits)


def _as_count(value: Json) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise NoEquivalent("promptfoo refuses the value: it is not a number") from None
    if isinstance(value, int | float):
        return value
    raise NoEquivalent("promptfoo refuses the value: it is not a number")


def _read_schema_value(assertion: SuiteAssertion) -> LineValue:
    schema, differs = read_schema(assertion.value)
    return LineValue(value=schema, differs=differs)


def _read_latency_limit(assertion: SuiteAssertion) -> LineValue:
    return LineValue(limits=[f"at_most_s={format_number(read_threshold(assertion) / 1000)}"])


def _read_cost_limit(assertion: SuiteAssertion) -> LineValue:
    return LineValue(limits=[f"at_most_usd={format_threshold(assertion)}"])


def _read_nothing(_: SuiteAssertion) -> LineValue:
    return LineValue()


CONVERTERS: Mapping[str, Callable[[SuiteAssertion], LineValue]] = {
    "beginning": _read_beginning,
    "cost_limit": _read_cost_limit,
    "edit_distance": _read_edit_distance,
    "equal_value": _read_equal_value,
    "finish_reason": _read_text,
    "latency_limit": _read_latency_limit,
    "nothing": _read_nothing,
    "pattern": _read_pattern,
    "schema": _read_schema_value,
    "text": _read_text,
    "texts": _read_texts,
    "word_count": _read_word_count,
    **tool_call_values.CONVERTERS,
    **meaning_values.CONVERTERS,
}
