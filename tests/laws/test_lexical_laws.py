"""What holds for all texts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz import fuzz as rapidfuzz

from pytest_llmops.metrics.lexical import (
    find_nearest_span,
    first_difference,
    format_word_diff,
    fuzzy_ratio,
    normalize_text,
    squad_tokens,
    token_f1,
    word_diff_steps,
)

Metric = Callable[[str, str], float]

anything = st.text(st.characters(exclude_categories=()), max_size=60)
words = st.lists(st.sampled_from(["a", "the", "30", "days", ",", " ", "  ", "\n", "not", "é"]), max_size=30)
texts = anything | words.map("".join)
options = st.fixed_dictionaries(
    {
        "case": st.sampled_from(["keep", "fold"]),
        "whitespace": st.sampled_from(["keep", "strip", "collapse"]),
        "unicode": st.sampled_from(["keep", "NFC", "NFKC"]),
    }
)
every_metric = pytest.mark.parametrize(
    "metric",
    [token_f1, fuzzy_ratio, partial(fuzzy_ratio, partial=True)],
    ids=["token_f1", "fuzzy", "partial"],
)


@pytest.mark.slow
@every_metric
@given(first=texts, second=texts)
def test_the_range_is_0_to_1_and_the_type_float(metric: Metric, first: str, second: str) -> None:
    value = metric(first, second)
    assert type(value) is float
    assert 0.0 <= value <= 1.0


@pytest.mark.slow
@every_metric
@given(text=texts)
def test_a_text_is_like_itself(metric: Metric, text: str) -> None:
    assert metric(text, text) == 1.0


@pytest.mark.slow
@every_metric
@given(first=texts, second=texts)
def test_the_order_does_not_count(metric: Metric, first: str, second: str) -> None:
    assert metric(first, second) == pytest.approx(metric(second, first))


@given(first=texts, second=texts)
def test_fuzzy_is_what_rapidfuzz_says(first: str, second: str) -> None:
    assert fuzzy_ratio(first, second) == pytest.approx(rapidfuzz.ratio(first, second) / 100)


@given(text=texts, how=options)
def test_normalising_twice_changes_nothing(text: str, how: dict[str, str]) -> None:
    once = normalize_text(text, **how)  # type: ignore[arg-type]
    assert normalize_text(once, **how) == once  # type: ignore[arg-type]


@given(text=texts)
def test_tokens_have_no_blanks_and_no_articles(text: str) -> None:
    assert all(token.split() == [token] and token not in ("a", "an", "the") for token in squad_tokens(text))


@given(first=texts, second=texts)
def test_the_first_difference_is_one(first: str, second: str) -> None:
    at = first_difference(first, second)
    if at is None:
        assert first == second
    else:
        assert first[:at] == second[:at]
        assert first[at : at + 1] != second[at : at + 1]


@given(text=texts, needle=texts)
def test_the_nearest_span_is_a_span_of_the_text(text: str, needle: str) -> None:
    nearest_span = find_nearest_span(text, needle)
    if nearest_span is not None:
        assert 0 <= nearest_span.start < nearest_span.end <= len(text)
        assert text[nearest_span.start : nearest_span.end] == nearest_span.text
        assert 0 < nearest_span.score <= 1


@given(before=texts, needle=st.text(min_size=1, max_size=40), after=texts)
def test_what_is_there_is_found(before: str, needle: str, after: str) -> None:
    nearest_span = find_nearest_span(before + needle + after, needle)
    assert nearest_span is not None
    assert nearest_span.score == 1.0


@given(actual=texts, expected=texts)
def test_the_steps_of_a_diff_give_both_texts(actual: str, expected: str) -> None:
    steps = word_diff_steps(actual, expected)
    assert "".join(text for op, text in steps if op != "+") == expected
    assert "".join(text for op, text in steps if op != "-") == actual
    assert all(text for _, text in steps)
    assert all(first[0] != other[0] for first, other in pairwise(steps))


@given(actual=texts, expected=texts)
def test_a_word_diff_is_empty_exactly_between_equal_texts(actual: str, expected: str) -> None:
    assert (format_word_diff(actual, expected) == "") == (actual == expected)
