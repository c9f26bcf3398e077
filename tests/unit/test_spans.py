from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.metrics.lexical import normalise
from pytest_llmops.metrics.spans import apart, chain, origin, places

letters = st.text("ab ", max_size=12)


@given(text=letters, needle=st.text("ab", min_size=1, max_size=3))
def test_all_places_and_as_many_apart_as_python_counts(text: str, needle: str) -> None:
    found = places(text, needle)
    assert found == [at for at in range(len(text)) if text.startswith(needle, at)]
    assert len(apart(found, len(needle))) == text.count(needle)
    assert places(text, needle, most=1) == found[:1]


@given(text=letters, needle=st.text("ab", min_size=1, max_size=2))
def test_whole_words_are_those_that_split_gives(text: str, needle: str) -> None:
    assert len(places(text, needle, whole_words=True)) == text.split().count(needle)


def test_nothing_cannot_be_looked_for() -> None:
    with pytest.raises(ValueError, match="expected a text to look for, got an empty one"):
        places("a", "")


@given(found=st.lists(st.lists(st.integers(0, 8), max_size=3, unique=True).map(sorted), max_size=4))
def test_no_chain_is_longer(found: list[list[int]]) -> None:
    got = chain([(starts, 1) for starts in found])
    kept = [start for start in got if start is not None]
    assert kept == sorted(set(kept))
    assert all(start in starts for start, starts in zip(got, found, strict=True) if start is not None)
    every: Any = product(*([None, *starts] for starts in found))
    longest = max(
        len(some)
        for one in every
        for some in [[start for start in one if start is not None]]
        if all(a < b for a, b in pairwise(some))
    )
    assert len(kept) == longest


def test_a_chain_does_not_overlap() -> None:
    assert chain([(places("abab", "aba"), 3), (places("abab", "ab"), 2)]) in ([0, None], [None, 0])
    assert chain([]) == []


@given(pieces=st.lists(st.sampled_from(["a", "B", " ", "\n", "\u00df", "e\u0301", "\ufb01"]), max_size=10))
def test_a_place_comes_from_where_it_stood(pieces: list[str]) -> None:
    text = "".join(pieces)

    def change(one: str) -> str:
        return normalise(one, case="fold", whitespace="collapse", unicode="NFKC")

    changed = change(text)
    starts = [origin(text, change, at) for at in range(len(changed))]
    assert starts == sorted(starts)
    for at, start in enumerate(starts):
        # Up to there it was not yet written, with the next character it is.
        assert len(change(text[:start])) <= at < len(change(text[: start + 1]))
