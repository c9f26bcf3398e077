"""What holds of a changed input, whatever the text and the seed."""

from __future__ import annotations

import re
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.cases.files import Case
from pytest_llmops.cases.robustness import _misspell, add_changed_cases, change_words

words = st.sampled_from(
    [*["return", "shipping", "tent", "cancel", "days", "Berlin", "4512", "3.90", "I", "a", "to", "don't", "B2B", "Mark", "Tents.", "Where", "заказ", "Анна", "https://a.example/return", "anna@shop.example"],
     '"keep this text"', "`code here`", "{template name}", "'quoted words'", "<order number>", "«quoted text»", "über", "NASA"]
)  # fmt: skip
texts = st.lists(words, max_size=25).map(" ".join)
PROTECTED = re.compile(
    r"\"[^\"]*\"|`[^`]*`|\{[^}]*\}|(?<!\w)'[^']*'|<[^>]*>|«[^»]*»|\S*[\d@/]\S*|(?!W)\S*[A-ZА-Я]\S*"
)


@given(text=texts, seed=st.integers(0, 10**6))
def test_numbers_names_addresses_quotes_code_and_variables_stay(text: str, seed: int) -> None:
    changed, _ = change_words(text, Random(seed), _misspell)
    assert PROTECTED.findall(changed) == PROTECTED.findall(text)


@given(text=st.one_of(texts, st.text(max_size=60)), seed=st.integers(0, 10**6))
def test_each_word_has_one_change_at_most_and_all_are_listed(text: str, seed: int) -> None:
    changed, listed = change_words(text, Random(seed), _misspell)
    pairs = zip(re.split(r"(\s)", text), re.split(r"(\s)", changed), strict=True)
    differing = [(old, new) for old, new in pairs if old != new]
    assert len(differing) == len(listed)
    assert all(old[0] == new[0] and len(old) >= 4 and 0 <= len(old) - len(new) <= 1 for old, new in differing)
    assert (changed == text) == (not listed)


@given(text=texts, seed=st.integers(0, 10**6))
def test_a_seed_and_an_id_give_the_same_changes(text: str, seed: int) -> None:
    case = Case(id="a", input={"question": text, "options": ["one", "two", "three"]})
    names = ["order"] if add_changed_cases([case], ["order"], seed=seed) else []
    assert add_changed_cases([case], names, seed=seed) == add_changed_cases([case], names, seed=seed)
