"""The checks over chunks: coverage, sizes, repetition."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.chunks import chunk_checks, sizes, text_quality
from pytest_llmops.chunks.alignment import Alignment, align_chunks
from pytest_llmops.chunks.pieces import (
    MAX_FAULTS,
    CheckResult,
    Fault,
    Ignore,
    Sources,
    read_chunks,
    read_source,
    worst_faults,
)
from pytest_llmops.chunks.sizes import Limits
from pytest_llmops.errors import UsageError

PARAGRAPHS = """Refunds take thirty days. You need the receipt, please.

Ms. Okafor runs the desk in Leeds. It opens at 8:30 on weekdays.

Parcels over 2,500 grams cost more. Ask first."""


def aligned(chunks: object, source: Sources = PARAGRAPHS, ignore: Ignore = "whitespace") -> Alignment:
    return align_chunks(read_source(source, ignore), read_chunks(chunks), ignore)


def list_faults(check: CheckResult) -> list[tuple[str, str]]:
    return [(fault.place, fault.text) for fault in check.faults]


@dataclass
class Document:
    """As LangChain has them."""

    page_content: str
    metadata: dict[str, Any]
    id: str | None = None


# --- lost, invented, order


def test_a_whole_source_has_lost_and_gained_nothing() -> None:
    alignment = aligned(PARAGRAPHS.split("\n\n"))
    for check in (
        chunk_checks.check_lost_text,
        chunk_checks.check_invented_text,
        chunk_checks.check_chunk_order,
    ):
        assert check(alignment).value == 0.0
        assert check(alignment).faults == ()


def test_what_is_in_no_chunk_is_named_with_its_line() -> None:
    first, second, third = PARAGRAPHS.split("\n\n")
    check = chunk_checks.check_lost_text(aligned([first, third]))
    gone = len("".join(second.split()))
    assert check.value == pytest.approx(gone / len("".join(PARAGRAPHS.split())))
    assert list_faults(check) == [("line 3", second)]
    check_message(check.reason)


def test_a_passage_that_stands_twice_has_to_be_there_twice() -> None:
    source = "Call us. Bring the form.\nCall us. Stay calm."
    assert (
        chunk_checks.check_lost_text(
            aligned(["Call us.", "Bring the form.", "Call us.", "Stay calm."], source)
        ).value
        == 0
    )
    check = chunk_checks.check_lost_text(aligned(["Call us.", "Bring the form.", "Stay calm."], source))
    assert list_faults(check) == [("line 2", "Call us.")]


@pytest.mark.parametrize("overlap", [0, 3, 7])
def test_repeated_lines_are_not_skipped(overlap: int) -> None:
    source = "0 0 0 0\n" * 40 + "1 2 3\n" + "-----\n" * 30
    chunks = [source[at : at + 20] for at in range(0, len(source), 20 - overlap)]
    alignment = aligned(chunks, source)
    assert chunk_checks.check_lost_text(alignment).value == 0
    assert chunk_checks.check_invented_text(alignment).value == 0


def test_a_heading_that_was_added_is_invented() -> None:
    chunks = [f"Handbook, page {number}: {text}" for number, text in enumerate(PARAGRAPHS.split("\n\n"))]
    alignment = aligned(chunks)
    assert chunk_checks.check_lost_text(alignment).value == 0
    check = chunk_checks.check_invented_text(alignment)
    assert list_faults(check)[0] == ("chunk 1", "Handbook, page 0:")
    assert [len(fault.text.split()) for fault in check.faults] == [3, 3, 3]


def test_small_changes_are_found_where_they_are() -> None:
    changed = PARAGRAPHS.replace("thirty", "ninety").replace("8:30", "8.30")
    alignment = aligned([changed[:70], changed[70:]])
    assert list_faults(chunk_checks.check_lost_text(alignment)) == [("line 1", "thir"), ("line 3", ":")]
    assert list_faults(chunk_checks.check_invented_text(alignment)) == [("chunk 1", "nine"), ("chunk 2", ".")]


def test_a_chunk_from_elsewhere_is_invented_as_a_whole() -> None:
    text = "Entirely unrelated words about volcanoes."
    check = chunk_checks.check_invented_text(aligned([PARAGRAPHS, text]))
    assert list_faults(check) == [("chunk 2", text)]


def test_marks_of_markup_may_be_dropped() -> None:
    source = "## Fees\n\n- **Parcels** cost [5 euros](fees.html)\n- Letters: <b>free</b> &amp; fast"
    chunks = ["Fees", "Parcels cost 5 euros", "Letters: free & fast"]
    assert chunk_checks.check_lost_text(aligned(chunks, source)).value > 0.3
    for check in (chunk_checks.check_lost_text, chunk_checks.check_invented_text):
        assert check(aligned(chunks, source, "markup")).value == 0


def test_order_names_the_chunk_in_front() -> None:
    first, second, third = PARAGRAPHS.split("\n\n")
    check = chunk_checks.check_chunk_order(aligned([second, first, third]))
    assert (check.value, check.unit) == (1, "count")
    assert list_faults(check) == [("chunk 2", "begins at line 1, before chunk 1")]
    assert chunk_checks.check_lost_text(aligned([third, second, first])).value == 0


def test_no_chunk_reaches_over_the_end_of_a_document() -> None:
    documents = {"a": "alpha beta gamma delta", "b": "epsilon zeta eta theta"}
    good = aligned(list(documents.values()), documents)
    assert chunk_checks.check_lost_text(good).value == chunk_checks.check_invented_text(good).value == 0
    across = aligned(["alpha beta gamma", "delta epsilon zeta eta theta"], documents)
    assert [run.length for run in across.placed[1].runs] == [len("delta"), len("epsilonzetaetatheta")]
    seam = aligned(["alpha beta gamma delta\0epsilon zeta eta theta"], documents)
    assert len(seam.placed[0].runs) == 2


def test_a_stated_start_is_believed_only_if_the_text_stands_there() -> None:
    source = "same words here. other. same words here. end."
    again = source.rindex("same")
    pieces = [Document("same words here.", {"start_index": again})]
    assert aligned(pieces, source).placed[0].runs[0].source == len("samewordshere.other.")
    check = chunk_checks.check_stated_starts(aligned(pieces, source))
    assert check is not None
    assert check.value == 0
    wrong = chunk_checks.check_stated_starts(
        aligned([Document("same words here.", {"start_index": 3})], source)
    )
    assert wrong is not None
    check_message(list_faults(wrong))
    never = chunk_checks.check_stated_starts(
        aligned([Document("same words here.", {"start_index": -1})], source)
    )
    assert never is not None
    assert never.value == 1
    assert chunk_checks.check_stated_starts(aligned(["same"], source)) is None
    assert chunk_checks.check_stated_starts(aligned(pieces, [source, source])) is None


@pytest.mark.slow
def test_a_long_source_is_compared_character_by_character() -> None:
    words = [f"w{number * 7919 % 100_003}" for number in range(42_000)]
    source = " ".join(words)
    chunks = [f"Part of the list\n{' '.join(words[at : at + 100])}" for at in range(0, len(words), 90)]
    chunks[400] = chunks[400].replace(words[36_050], "replaced")
    alignment = aligned(chunks, source)
    assert list_faults(chunk_checks.check_lost_text(alignment)) == [("line 1", words[36_050])]
    assert chunk_checks.check_invented_text(alignment).value == pytest.approx(
        (len(chunks) * len("Partofthelist") + len("replaced"))
        / sum(len(placed.text.text) for placed in alignment.placed)
    )
    assert chunk_checks.check_chunk_order(alignment).value == 0


@pytest.mark.slow
@pytest.mark.parametrize("length", [600, 7_600])
def test_changed_chunks_of_a_text_that_repeats_itself_are_found_in_turn(length: int) -> None:
    page = " ".join(f"w{number * 7919 % 100_003}" for number in range(length))
    # A sample of the long source begins at every fourth character: no two pages have the same samples.
    page += "." * ((1 - len("".join(page.split()))) % 4)
    source = "\n".join([page] * 5)
    chunks = [f"{PARAGRAPHS[:20]}\n{source[at : at + 500]}" for at in range(0, len(source), 480)]
    alignment = aligned(chunks, source)
    assert chunk_checks.check_lost_text(alignment).value < 0.001
    assert chunk_checks.check_chunk_order(alignment).value == 0


# --- sizes


def test_sizes_in_characters_and_tokens() -> None:
    pieces = read_chunks(["one two three", "x", "four five", "y"])
    limits = Limits(at_least_chars=5, at_most_chars=10)
    check = sizes.check_sizes(pieces, limits, None, last=[4])
    assert (check.value, check.unit) == (2, "count")
    check_message(list_faults(check))
    in_tokens = sizes.check_sizes(pieces, Limits(at_most_tokens=2), str.split)
    check_message(list_faults(in_tokens))
    assert sizes.check_sizes(pieces, Limits(at_most_tokens=10), len).value == 1


@pytest.mark.parametrize("tokenizer", [lambda _: "text", lambda _: None, lambda _: True, lambda _: 1.5])
def test_a_tokenizer_returns_tokens_or_their_number(tokenizer: Callable[[str], Any]) -> None:
    with pytest.raises(UsageError, check=check_message):
        sizes.count_tokens(tokenizer, "a")


def test_overlaps() -> None:
    source = "alpha beta gamma delta epsilon zeta"
    alignment = aligned(["alpha beta gamma", "beta gamma delta", "epsilon zeta"], source)
    most = sizes.check_overlaps(alignment, Limits(at_most_chars=5), None)
    check_message(list_faults(most))
    least = sizes.check_overlaps(alignment, Limits(at_least_tokens=1), str.split)
    check_message(list_faults(least))
    documents = aligned(["alpha", "beta"], ["alpha", "beta"])
    assert sizes.check_overlaps(documents, Limits(at_least_chars=1), None).value == 0


def test_the_last_chunk_of_each_document_may_be_short() -> None:
    documents = ["alpha beta gamma", "delta epsilon"]
    pieces = read_chunks(["alpha beta", "gamma", "delta", "epsilon"])
    assert set(sizes.last_chunk_numbers(pieces, align_chunks(read_source(documents), pieces))) == {2, 4}
    assert sizes.last_chunk_numbers(pieces, None) == [4]
    assert sizes.last_chunk_numbers((), None) == []


def test_empty_chunks_say_nothing() -> None:
    check = sizes.check_empty_chunks(read_chunks(["a", "", " \n", "---", "…", "5", "€", "退"]))
    assert [place for place, _ in list_faults(check)] == ["chunk 2", "chunk 3", "chunk 4", "chunk 5"]


# --- repeats


def test_duplicates() -> None:
    check = text_quality.check_duplicates(read_chunks(["Call us.", "Other", "call  us.", "", ""]))
    assert check.value == pytest.approx(1 / 3)
    assert list_faults(check) == [("chunk 3", "as chunk 1: call  us.")]


def test_near_duplicates_are_few_words_apart() -> None:
    text = " ".join(f"word{number}" for number in range(60))
    almost = text.replace("word30", "other")
    half = " ".join(f"word{number}" for number in range(30, 90))
    check = text_quality.check_near_duplicates(read_chunks([text, half, almost, "too short", text.upper()]))
    # 57 shingles each, of which 4 differ: 53 / 61 are common.
    assert list_faults(check) == [
        ("chunk 5", f"100% as chunk 1: {text.upper()}"),
        ("chunk 3", f"87% as chunk 1: {almost}"),
    ]
    assert check.value == pytest.approx(2 / 4)


def test_near_duplicates_among_long_chunks_are_estimated() -> None:
    text = " ".join(f"word{number}" for number in range(900))
    almost = text.replace("word450", "other").replace("word10 ", "another ")
    check = text_quality.check_near_duplicates(read_chunks([text, almost, text.replace("word", "term")]))
    assert check.value == pytest.approx(1 / 3)
    assert list_faults(check)[0][0] == "chunk 2"


def test_near_duplicates_in_a_script_without_spaces() -> None:
    text = "我们会在三十天之内把您购买商品所支付的全部款项退还给您的银行账户请您耐心等待"
    assert text_quality.check_near_duplicates(read_chunks([text, text.replace("耐心", "安心")])).value == 0.0
    assert text_quality.check_near_duplicates(read_chunks([text, text + "谢谢"])).value == 0.5


# --- what a check keeps


def test_only_the_worst_places_are_kept() -> None:
    faults = [Fault(f"chunk {number}", "", number) for number in range(200)]
    assert [fault.size for fault in worst_faults(faults)] == list(range(199, 199 - MAX_FAULTS, -1))


def test_nothing_is_fine() -> None:
    alignment = aligned([], "text")
    assert chunk_checks.check_lost_text(alignment).value == 1.0
    for check in (
        chunk_checks.check_invented_text(alignment),
        chunk_checks.check_chunk_order(alignment),
        chunk_checks.check_changed_words(alignment),
        chunk_checks.check_cut_words(alignment),
        chunk_checks.check_cut_sentences(alignment),
        chunk_checks.check_cut_tables(alignment),
        chunk_checks.check_cut_code(alignment),
        sizes.check_empty_chunks(()),
        text_quality.check_duplicates(()),
        text_quality.check_near_duplicates(()),
    ):
        assert check.value == 0
        assert re.match(r"0 ", check.reason)
