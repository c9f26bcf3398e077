"""Near-duplicates are those that comparing each pair by itself finds; quoted texts are found in documents."""

from __future__ import annotations

import csv
import gzip
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz import fuzz, utils
from support.shared import shared

from pytest_llmops.cases.similar_texts import find_quoted, find_similar_pairs


def plain(texts: list[str], at_least: float) -> set[tuple[int, int]]:
    """Each pair of distinct texts by itself; a text that equals an earlier one is paired with the first."""
    keys = [utils.default_process(text) or text for text in texts]
    repeats = {(keys.index(key), n) for n, key in enumerate(keys) if keys.index(key) != n}
    firsts = [n for n, key in enumerate(keys) if keys.index(key) == n]
    return repeats | {(a, b) for a, b in combinations(firsts, 2) if fuzz.ratio(keys[a], keys[b]) >= at_least}


@given(st.lists(st.text("ab c", max_size=12), max_size=12), st.sampled_from([60, 80, 90, 100]))
def test_the_pairs_are_those_of_a_plain_loop(texts: list[str], at_least: float) -> None:
    assert {(a, b) for a, b, _ in find_similar_pairs(texts, at_least)} == plain(texts, at_least)


@pytest.mark.slow
@given(st.text("abcdefgh ä€", min_size=30, max_size=90), st.data())
def test_a_text_with_edits_is_found_as_a_plain_loop_finds_it(text: str, data: st.DataObject) -> None:
    place = st.integers(0, len(text))
    edits = data.draw(st.lists(st.tuples(place, st.text("xy ä", max_size=2)), max_size=8))
    changed = text
    for at, new in edits:
        changed = changed[:at] + new + changed[at + 1 :]
    texts = [text, "another text, of much the same length as the other", changed]
    assert {(a, b) for a, b, _ in find_similar_pairs(texts)} == plain(texts, 90)


@pytest.mark.slow
def test_real_questions_have_the_pairs_of_a_plain_loop() -> None:
    with gzip.open(shared("suites", "banking77", "test.csv.gz"), "rt", encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)][:600]
    pairs = {(a, b) for a, b, _ in find_similar_pairs(texts)}
    assert pairs == plain(texts, 90)
    assert len(pairs) > 5


def test_a_text_is_found_in_a_longer_document() -> None:
    document = "Answer kindly.\nQ: For how many days can I return my tent?\nA: 45 days."
    texts = ["For how many days can I return my TENT", "Kindly", "for how many days can I keep the change?"]
    assert list(find_quoted(texts, ["return", document])) == [(0, 1)]
    assert list(find_quoted(["return my tent for how many days can I"], ["how many days can I return"])) == []
