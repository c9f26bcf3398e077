from __future__ import annotations

from functools import partial
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import check_message

from pytest_llmops.metrics.lexical import Whitespace, normalize_text
from pytest_llmops.metrics.text_spans import Origins, find_longest_chain, find_places, origin_position

letters = st.text("ab ", max_size=12)


@given(text=letters, needle=st.text("ab", min_size=1, max_size=3))
def test_the_places_that_python_counts(text: str, needle: str) -> None:
    places = find_places(text, needle)
    assert len(places) == text.count(needle)
    assert all(text.startswith(needle, at) for at in places)
    assert all(first + len(needle) <= other for first, other in pairwise(places))
    assert find_places(text, needle, most=1) == places[:1]


@given(text=letters, needle=st.text("ab", min_size=1, max_size=2))
def test_whole_words_are_those_that_split_gives(text: str, needle: str) -> None:
    assert len(find_places(text, needle, whole_words=True)) == text.split().count(needle)


def test_nothing_cannot_be_looked_for() -> None:
    with pytest.raises(ValueError, check=check_message):
        find_places("a", "")


@given(
    text=letters,
    needles=st.lists(st.text("ab", min_size=1, max_size=2), max_size=4),
    whole_words=st.booleans(),
)
def test_no_chain_is_longer(text: str, needles: list[str], whole_words: bool) -> None:
    def at(needle: str, start: int) -> bool:
        around = (text[start - 1 : start] if start else "") + text[start + len(needle) :][:1]
        return text.startswith(needle, start) and not (whole_words and around.strip())

    got = find_longest_chain(text, needles, whole_words=whole_words)
    kept = [
        (start, start + len(needle)) for start, needle in zip(got, needles, strict=True) if start is not None
    ]
    assert all(at(text[start:end], start) for start, end in kept)
    assert all(
        start is None or text.startswith(first, start) for start, first in zip(got, needles, strict=True)
    )
    assert all(first[1] <= other[0] for first, other in pairwise(kept))
    every = [
        [None, *((start, start + len(first)) for start in range(len(text)) if at(first, start))]
        for first in needles
    ]
    longest = max(
        len(some)
        for first in product(*every)
        for some in [[span for span in first if span is not None]]
        if all(a[1] <= b[0] for a, b in pairwise(some))
    )
    assert len(kept) == longest


def test_a_chain_does_not_overlap() -> None:
    assert find_longest_chain("abab", ["aba", "ab"]) == [None, 0]
    assert find_longest_chain("abab", []) == []


def test_an_early_place_of_a_late_text_still_counts() -> None:
    assert find_longest_chain("c d a b", ["a", "b", "c", "d"]) == [None, None, 0, 2]
    assert find_longest_chain("c d e a b", ["a", "b", "c", "d", "e"]) == [None, None, 0, 2, 4]


@given(pieces=st.lists(st.sampled_from(["a", "B", " ", "\n", "\u00df", "e\u0301", "\ufb01"]), max_size=10))
def test_a_place_comes_from_where_it_stood(pieces: list[str]) -> None:
    text = "".join(pieces)

    def change(part: str) -> str:
        return normalize_text(part, case="fold", whitespace="collapse", unicode="NFKC")

    changed = change(text)
    starts = [origin_position(text, change, at) for at in range(len(changed))]
    assert starts == sorted(starts)
    for at, start in enumerate(starts):
        # Up to there it was not yet written, with the next character it is.
        assert len(change(text[:start])) <= at < len(change(text[: start + 1]))


MIXED = st.sampled_from(
    [
        "a",
        "B",
        " ",
        "\n",
        "\u00df",
        "e\u0301",
        "\ufb01",
        "\u65e5\u672c",
        "\uff76\uff9e",
        "\u1112\u1161",
        "\u00b4",
        "\u0130",
    ]
)


@given(pieces=st.lists(MIXED, max_size=300))
def test_places_of_a_long_text_come_from_where_they_stood(pieces: list[str]) -> None:
    text = "".join(pieces)

    def change(part: str) -> str:
        return normalize_text(part, case="fold", whitespace="collapse", unicode="NFKC")

    changed = change(text)
    origins = Origins(text, partial(normalize_text, case="fold", unicode="NFKC"), "collapse")
    for at in range(0, len(changed), 7):
        if changed[at] != " ":
            assert origins.original_position(at) == origin_position(text, change, at)
        else:
            # Of several blanks the first: what follows them is not part of the piece.
            assert (
                normalize_text(text[origins.original_position(at)], unicode="NFKC")[0] == " "
                or text[origins.original_position(at)].isspace()
            )


@pytest.mark.slow
@pytest.mark.parametrize("whitespace", ["keep", "strip", "collapse"])
def test_a_piece_is_found_again_in_the_text_it_comes_from(whitespace: Whitespace) -> None:
    text = "  Caf\u00e9\u0327  \uff26\uff4f\uff58 " * 40 + "\n A  Fox! "
    fold = partial(normalize_text, case="fold", unicode="NFKC")
    changed = normalize_text(text, case="fold", whitespace=whitespace, unicode="NFKC")
    origins = Origins(text, fold, whitespace)
    for needle, stood in (
        ("fox", ["\uff26\uff4f\uff58"] * 40 + ["Fox"]),
        ("caf\u0229\u0301", ["Caf\u00e9\u0327"] * 40),
        ("fox!", ["Fox!"]),
    ):
        spans = [origins.span(at, at + len(needle)) for at in find_places(changed, needle)]
        assert [text[start:end] for start, end in spans] == stood
