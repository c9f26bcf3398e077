"""What holds of altered answers and of the texts that a pattern matches, whatever the answer."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import json_texts, scale_examples

from pytest_llmops.harness.lint.alterations import (
    LENGTHENED,
    OTHER_ANSWER,
    OTHER_TEXT,
    REFUSAL,
    iter_alterations,
)
from pytest_llmops.harness.lint.forbidden_texts import list_matching_texts, list_mentioned

words = st.sampled_from(
    ["30", "4,512.75", "2025-03-03", "May", "April", "not", "never", "isn't", "is", "Anna", "in", "Berlin", "NASA", "東京", "\n", "٣", "{", "[1]", "```"]
)  # fmt: skip
answers = st.one_of(st.lists(words, max_size=12).map(" ".join), st.text(max_size=60), json_texts())
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-99, 99), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(answer=st.one_of(answers, values))
def test_alterations_differ_from_the_answer_and_from_each_other_and_are_the_same_each_time(
    answer: Any,
) -> None:
    first = list(iter_alterations(answer))
    assert first == list(iter_alterations(answer))
    seen = [json.dumps(answer)]
    for alteration in first:
        seen.append(json.dumps(alteration.answer))
        assert alteration.kind
    assert len(set(seen)) == len(seen)
    if isinstance(answer, str):
        assert all(isinstance(alteration.answer, str) for alteration in first)
        assert len(first) >= 4


@pytest.mark.slow
@given(value=st.dictionaries(st.text(max_size=3), values, max_size=4))
def test_json_whose_keys_are_dropped_or_retyped_stays_json(value: dict[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False)
    kinds = []
    for alteration in iter_alterations(text):
        if alteration.kind.startswith(("key", "JSON")):
            kinds.append(alteration.kind)
            changed = json.loads(str(alteration.answer))
            assert changed != value or json.dumps(changed) != json.dumps(value)
    assert len(kinds) >= min(len(value), 3)


def test_each_kind_of_alteration_is_made() -> None:
    def altered(answer: object) -> list[tuple[str, object]]:
        return [(alteration.kind, alteration.answer) for alteration in iter_alterations(answer)]

    value = {"qty": 2, "open": True}
    assert ("values changed", {"name": OTHER_TEXT, "qty": None}) in altered({"name": "Anna", "qty": None})
    assert {
        ("key qty dropped", '{"open": true}'),
        ("key open retyped", '{"qty": 2, "open": "true"}'),
        ("values changed", '{"qty": -2007, "open": false}'),
        ("JSON emptied", "{}"),
        ("JSON emptied", "[]"),
    } <= {(kind, json.dumps(answer)) for kind, answer in altered(value)}
    assert ("key qty dropped", 'So: {"open": true}.') in altered('So: {"qty": 2, "open": true}.')
    assert ("items retyped", ["1", ["a"]]) in altered([1, "a"])
    assert ("items retyped", 'So: ["1"].') in altered("So: [1].")
    assert [answer[:2] for kind, answer in altered([1, 2]) if kind == "items added"] == [[1, 2]]  # type: ignore[index]
    assert [answer for _, answer in altered(3)] == [0, -3, 3001]
    assert altered(2.5)[-1] == ("number changed", 2501.0)
    assert altered(True) == []
    text = "In March Anna is in Oslo for 3 days"
    assert {
        ("emptied", ""),
        ("refused", REFUSAL),
        ("replaced", OTHER_TEXT),
        ("replaced", OTHER_ANSWER),
        ("negation changed", "In March Anna is not in Oslo for 3 days"),
        ("date changed", "In April Anna is in Oslo for 3 days"),
        ("number changed", "In March Anna is in Oslo for 0 days"),
        ("cut", text[:11]),
        ("cut", text[:17]),
        ("repeated", "\n".join([text] * LENGTHENED)),
    } <= set(altered(text))
    assert ("negation changed", "It is open, not shut.") in altered("It is not open, not shut.")
    (renamed,) = [str(answer) for kind, answer in altered(text) if kind == "name changed"]
    assert not {"Anna", "Oslo"} & set(renamed.split())


@pytest.mark.slow
def test_a_long_answer_is_not_repeated_often() -> None:
    answer = "On 3 March 2025 Anna is not in Berlin, 4,512.75 {[" * 8_000
    assert max(len(str(alteration.answer)) for alteration in iter_alterations(answer)) < 3 * len(answer)


PATTERNS = st.recursive(
    st.sampled_from(["a", "\\d", "\\w", "[b-d]", "[^a-z]", ".", "\\.", "\\b", "x{2,3}", "é"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        inner.map(lambda text: f"({text})+"),
        inner.map(lambda text: f"(?:{text})?"),
    ),
    max_leaves=6,
)


@scale_examples(0.5)
@given(pattern=PATTERNS)
def test_a_text_for_a_pattern_is_matched_by_it(pattern: str) -> None:
    for text in list_matching_texts(pattern):
        assert re.search(pattern, text)


def test_a_pattern_has_a_text_for_each_of_its_branches() -> None:
    texts = {
        "(?:ab|cd)e?": ["abe", "cde"],
        r"(a)\1": ["aa"],
        "[^a-z]x": ["5x"],
        "[b-d]": ["b"],
        "x{2,3}": ["xx"],
        r"\bx\b": ["x"],
    }
    assert {pattern: list(list_matching_texts(pattern)) for pattern in texts} == texts


@given(pattern=st.text(max_size=20))
def test_no_text_crashes_the_reader_of_patterns(pattern: str) -> None:
    for text in list_matching_texts(pattern, ignore_case=True):
        assert re.search(pattern, text, re.IGNORECASE)


BANNED = ["acme", "initech"]
PRICE = re.compile(r"USD \d+")


def uses_globals(answer: str) -> bool:
    """Say whether nobody of this sentence is named."""
    return not any(name in answer for name in BANNED) and not PRICE.search(answer)


def test_a_metric_mentions_what_its_code_and_what_it_uses_hold() -> None:
    mentioned = list_mentioned(uses_globals)
    assert {"acme", "initech", "USD 55"} <= set(mentioned)
    assert not any("sentence" in text for text in mentioned)
    assert list_mentioned(len) == []
