"""What holds for all texts and all ways to cut them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.chunks import chunk_checks, sizes, text_quality
from pytest_llmops.chunks.alignment import Alignment, align_chunks, gaps_between
from pytest_llmops.chunks.pieces import SEAM, Ignore, compact_text, read_chunks, read_source
from pytest_llmops.chunks.text_quality import check_clean_text

SHARES = (
    chunk_checks.check_lost_text,
    chunk_checks.check_invented_text,
    chunk_checks.check_cut_words,
    chunk_checks.check_cut_sentences,
)
COUNTS = (
    chunk_checks.check_chunk_order,
    chunk_checks.check_changed_words,
    chunk_checks.check_cut_tables,
    chunk_checks.check_cut_code,
)
ALONE = (
    sizes.check_empty_chunks,
    text_quality.check_duplicates,
    text_quality.check_near_duplicates,
)

anything = st.text(st.characters(exclude_categories=()), max_size=80)
marks = [
    "| a | b |\n",
    "|---|---|\n",
    "```\n",
    "# T\n",
    "<table><tr>",
    "</tr></table>",
    "&amp;",
    "-\n",
    "\u200b",
]
words = [
    "Refunds take 30 days. ",
    "No! ",
    "x = 1\n",
    "\n\n",
    "  ",
    "退款。",
    "e\u0301",
    "0 0 0 0\n",
    "same line\n",
]
pieces_of_text = st.lists(st.sampled_from(marks) | st.sampled_from(words), max_size=40)
texts = anything | pieces_of_text.map("".join)
cuts = st.lists(st.integers(0, 700), max_size=12)
ignored = st.sampled_from(["whitespace", "markup"])


def cut_up(text: str, at: list[int], overlap: int = 0) -> list[str]:
    places = sorted({0, len(text), *(place for place in at if place < len(text))})
    return [text[max(0, start - overlap) : end] for start, end in pairwise(places) if end > start]


def aligned(chunks: list[str], text: str, ignore: Ignore = "whitespace") -> Alignment:
    return align_chunks(read_source(text, ignore), read_chunks(chunks), ignore)


@given(text=texts, ignore=ignored)
def test_squeezing_keeps_order_and_twice_changes_nothing(text: str, ignore: Ignore) -> None:
    once = compact_text(text, ignore)
    assert len(once.places) == len(once.text)
    assert list(once.places) == sorted(once.places)
    assert not any(char.isspace() for char in once.text)
    plain = compact_text(text)
    assert compact_text(plain.text).text == plain.text
    assert [text[place] for place in plain.places] == list(plain.text)


@given(text=texts, at=cuts)
def test_a_text_that_is_cut_anywhere_is_whole(text: str, at: list[int]) -> None:
    alignment = aligned(cut_up(text, at), text)
    assert chunk_checks.check_lost_text(alignment).value == 0
    assert chunk_checks.check_invented_text(alignment).value == 0
    assert chunk_checks.check_chunk_order(alignment).value == 0


@given(text=texts, at=cuts, overlap=st.integers(0, 30))
def test_nothing_of_a_text_is_invented_however_its_pieces_overlap(
    text: str, at: list[int], overlap: int
) -> None:
    assert chunk_checks.check_invented_text(aligned(cut_up(text, at, overlap), text)).value == 0


@given(text=texts, at=cuts)
def test_white_space_does_not_count(text: str, at: list[int]) -> None:
    chunks = [" ".join(chunk.split()) + "\n" for chunk in cut_up(text, at)]
    alignment = aligned(chunks, text)
    assert chunk_checks.check_lost_text(alignment).value == 0
    assert chunk_checks.check_invented_text(alignment).value == 0
    assert chunk_checks.check_changed_words(alignment).value == 0


@given(text=texts, chunks=st.lists(texts, max_size=6), ignore=ignored)
def test_every_check_has_a_value_in_its_range(text: str, chunks: list[str], ignore: Ignore) -> None:
    alignment = aligned(chunks, text, ignore)
    pieces = read_chunks(chunks)
    for share in SHARES:
        assert 0 <= share(alignment).value <= 1
    for count in COUNTS:
        assert count(alignment).value >= 0
    for alone in ALONE:
        check = alone(pieces)
        assert 0 <= check.value <= (len(pieces) if check.unit == "count" else 1)
        assert bool(check.value) == bool(check.faults)


@pytest.mark.slow
@given(text=texts, chunks=st.lists(texts, max_size=6), ignore=ignored)
def test_a_run_is_the_same_text_on_both_sides(text: str, chunks: list[str], ignore: Ignore) -> None:
    alignment = aligned(chunks, text, ignore)
    source = alignment.source.compact.text
    for placed in alignment.placed:
        kept = placed.text.text
        done = 0
        for run in placed.runs:
            assert run.length > 0
            assert run.chunk >= done
            done = run.chunk + run.length
            assert kept[run.chunk : done] == source[run.source : run.source + run.length]
        assert sum(
            end - start
            for start, end in gaps_between([(run.chunk, run.chunk_end) for run in placed.runs], len(kept))
        ) == len(kept) - sum(run.length for run in placed.runs)


@given(text=texts)
def test_a_single_chunk_cuts_nothing(text: str) -> None:
    alignment = aligned([text], text)
    for check in (*SHARES, *COUNTS):
        assert check(alignment).value == 0


@given(text=texts, at=cuts)
def test_the_second_half_of_a_repetition_is_all_duplicates(text: str, at: list[int]) -> None:
    chunks = [f"{number} {chunk}" for number, chunk in enumerate(cut_up(text, at))]
    once = text_quality.check_duplicates(read_chunks(chunks))
    twice = text_quality.check_duplicates(read_chunks([*chunks, *chunks]))
    assert once.value == 0
    assert twice.value == (0.5 if chunks else 0.0)


@given(chunks=st.lists(texts, max_size=6))
def test_dirt_is_counted_in_any_text(chunks: list[str]) -> None:
    whole = check_clean_text(read_chunks(chunks))
    parts = [check_clean_text(read_chunks([chunk])) for chunk in chunks]
    for kind, check in whole.items():
        assert check.value >= 0
        if kind != "repeated":
            assert check.value == sum(part[kind].value for part in parts)


@given(texts=st.lists(texts.filter(lambda text: SEAM not in text), min_size=1, max_size=5))
def test_documents_are_whole_one_by_one(texts: list[str]) -> None:
    source = read_source(texts)
    alignment = align_chunks(source, read_chunks(texts))
    assert chunk_checks.check_lost_text(alignment).value == 0
    assert chunk_checks.check_invented_text(alignment).value == 0
    assert source.size == sum(len(compact_text(text).text) for text in texts)
