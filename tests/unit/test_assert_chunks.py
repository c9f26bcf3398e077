from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops import MeasurementErrored, MeasurementFailed, collect
from pytest_llmops.assertions.chunks import assert_chunks, assert_clean_text, assert_span_recall
from pytest_llmops.cases.files import Case
from pytest_llmops.errors import CaseError, UnknownName, UsageError

pytestmark = pytest.mark.usefixtures("alone")

SOURCE = """# Refunds

You get your money back within thirty days. Bring the receipt.

# Fees

Parcels cost 5 euros. Letters are free of charge."""
CHUNKS = SOURCE.split("\n\n")
Lines = Callable[[BaseException], list[str]]


def values(measurements: tuple[Any, ...]) -> dict[str, float]:
    return {measurement.name.removeprefix("chunks."): measurement.value for measurement in measurements}


# --- assert_chunks


def test_good_chunks_pass_and_everything_is_recorded() -> None:
    measurements = assert_chunks(CHUNKS, source=SOURCE, at_most_chars=100, at_most_overlap_chars=0, label="L")
    assert values(measurements) == dict.fromkeys(
        [
            "lost",
            "invented",
            "out_of_order",
            "changed_words",
            "cut_words",
            "cut_sentences",
            "cut_tables",
            "cut_code",
            "empty",
            "duplicates",
            "near_duplicates",
            "size",
            "overlap",
        ],
        0.0,
    )
    assert {measurement.label for measurement in measurements} == {"L"}
    assert {measurement.better for measurement in measurements} == {"lower"}
    assert {measurement.version for measurement in measurements} == {"1"}
    recorded = {
        measurement.name.removeprefix("chunks.")
        for measurement in measurements
        if measurement.status == "recorded"
    }
    assert recorded == {"cut_sentences", "near_duplicates"}
    assert all(
        measurement.status == "passed"
        for measurement in measurements
        if measurement.name.removeprefix("chunks.") not in recorded
    )


def test_one_failure_names_every_threshold_that_is_missed() -> None:
    chunks = [CHUNKS[0], CHUNKS[1][:20], CHUNKS[3], CHUNKS[3] + " See page 9"]
    with pytest.raises(MeasurementFailed) as caught:
        assert_chunks(chunks, source=SOURCE)
    assert [measurement.name for measurement in caught.value.measurements] == [
        "chunks.lost",
        "chunks.invented",
        "chunks.cut_words",
    ]
    text = str(caught.value)
    assert text.startswith("3 of 11 checks failed\n1. chunks.lost 0.")
    assert "\n  line 3   ack within thirty days. Bring the receipt.\\n\\n# Fees\n" in text
    assert "\n2. chunks.invented 0." in text
    assert "\n  chunk 4   See page 9\n" in text
    assert "\n3. chunks.cut_words 0." in text
    assert "\n  chunk 2   Refunds\\n\\nYou get your money b|ack within" in text


def test_a_single_failure_has_a_text_of_its_own(
    well_formed: Lines, shown_frames: Callable[[BaseException], list[str]]
) -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_chunks(CHUNKS[:-1], source=SOURCE)
    lines = well_formed(caught.value)
    check_message(lines)
    assert shown_frames(caught.value) == []
    assert caught.value.measurement.detail["faults"] == [
        ["line 7", "Parcels cost 5 euros. Letters are free of charge."]
    ]


def test_thresholds_allow_and_none_only_records() -> None:
    assert values(assert_chunks(CHUNKS[:-1], source=SOURCE, at_most_lost=0.4))["lost"] > 0.3
    row = {chunk.name: chunk for chunk in assert_chunks([], source=SOURCE, at_most_lost=None)}
    assert (row["chunks.lost"].value, row["chunks.lost"].status) == (1.0, "recorded")
    with pytest.raises(MeasurementFailed, match=r"chunks\.cut_sentences 0\.50 > 0\.10"):
        assert_chunks(
            [SOURCE[:50], SOURCE[50:]], source=SOURCE, at_most_cut_sentences=0.1, at_most_cut_words=1
        )


def test_no_chunks_have_lost_everything() -> None:
    with pytest.raises(MeasurementFailed, match=r"chunks\.lost 1\.00 > 0\.00"):
        assert_chunks([], source=SOURCE)


def test_without_a_source_only_the_chunks_are_looked_at() -> None:
    measurements = assert_chunks(["a b", "c d"], source=None, at_most_chars=5)
    assert list(values(measurements)) == ["empty", "duplicates", "near_duplicates", "size"]
    with pytest.raises(MeasurementFailed, match=r"chunks\.duplicates 0\.50 > 0\.00"):
        assert_chunks(["a b", "A  B"], source=None)


def test_sizes_are_judged_if_they_are_requested() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_chunks(CHUNKS, source=SOURCE, at_most_tokens=5, tokenizer=str.split)
    check_message(str(caught.value).splitlines()[:3])


def test_a_long_chunk_does_not_flood_the_failure(well_formed: Lines) -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_chunks(["x\n\x1b[2J" + "y " * 50_000], source=None, at_most_chars=10)
    assert max(map(len, well_formed(caught.value))) < 300
    assert len(json.dumps(caught.value.measurement.to_wire())) < 2_000


def test_a_blank_source_is_an_error_and_the_rest_is_still_measured() -> None:
    with collect() as measurements:
        assert_chunks(["a b"], source=" \n")
    assert (measurements[0].name, measurements[0].status) == ("chunks.lost", "errored")
    assert len(measurements) == 4
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_chunks(["a b"], source=["", "\t"])


def test_a_tokenizer_that_breaks_is_an_error() -> None:
    def broken(text: str) -> int:
        raise ValueError(f"no vocabulary for {text[:3]}")

    with pytest.raises(MeasurementErrored, check=check_message):
        assert_chunks(["abc"], source=None, at_most_tokens=5, tokenizer=broken)
    with pytest.raises(UsageError, check=check_message):
        assert_chunks(["abc"], source=None, at_most_tokens=5, tokenizer=lambda text: text.upper())
    with collect() as measurements:
        assert_chunks(CHUNKS, source=SOURCE, at_most_overlap_tokens=5, tokenizer=broken)
    assert (measurements[-1].name, measurements[-1].status) == ("chunks.overlap", "errored")


def test_a_tokenizer_that_breaks_at_the_overlaps_is_an_error_of_the_overlaps() -> None:
    texts: list[str] = []

    def break_later(text: str) -> list[str]:
        texts.append(text)
        if len(texts) > len(CHUNKS):
            raise RuntimeError("out of memory")
        return text.split()

    with pytest.raises(MeasurementErrored) as raised:
        assert_chunks(
            CHUNKS,
            source=SOURCE,
            at_most_tokens=500,
            at_most_overlap_tokens=500,
            at_least_overlap_tokens=0,
            tokenizer=break_later,
        )
    assert [measurement.name for measurement in raised.value.measurements] == ["chunks.overlap"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"at_most_lost": 1.5},
        {"at_most_lost": True},
        {"at_most_lost": float("nan")},
        {"at_most_empty": -1},
        {"at_most_chars": 2.5},
        {"at_most_chars": True},
        {"at_least_chars": 9, "at_most_chars": 5},
        {"at_most_tokens": 9},
        {"at_most_overlap_tokens": 9, "tokenizer": "cl100k"},
        {"at_most_misplaced": 0},
        {"ignore": "case"},
        {"source": 5},
        {"source": None, "at_most_lost": 0.1},
        {"source": None, "at_least_overlap_chars": 1},
    ],
)
def test_arguments_that_cannot_be_meant(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_chunks(CHUNKS, **{"source": SOURCE, **arguments})


def test_a_misspelt_threshold_is_named() -> None:
    with pytest.raises(UnknownName, check=check_message):
        assert_chunks(CHUNKS, source=SOURCE, at_most_losst=0)  # type: ignore[call-arg]


def test_nothing_to_check_is_a_mistake() -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_chunks([], source=None)
    with pytest.raises(UsageError, check=check_message):
        assert_chunks("text", source=SOURCE)


# --- assert_span_recall

TEXT = "Refunds take thirty days. The fee is 5 euros. In 2014 it was 4 euros."


def at(answer: str, start: int | None = None) -> dict[str, str | int]:
    return {"text": answer, "start": TEXT.index(answer) if start is None else start}


@pytest.mark.parametrize(
    ("answer", "text", "whole"),
    [
        ("500 euros", "The fee is 1,500 euros.", 0),
        ("5 euros", "It costs 2.5 euros.", 0),
        ("1", "It costs 1,500 euros.", 0),
        ("2", "It costs 2.5 euros.", 0),
        ("500", "1\u2019500 francs", 0),
        ("5 °C", "Store it at -5 °C.", 0),
        ("5 °C", "Store it at (\u22125 °C).", 0),
        ("5 °C", "-5 °C", 0),
        ("-5 °C", "Store it at -5 °C.", 1),
        ("1,500 euros", "The fee is 1,500 euros.", 1),
        ("2014", "It was in 2014, or 2015.", 1),
        ("5 days", "It takes 3-5 days.", 1),
        ("320", "An A-320 flies.", 1),
        ("5 euros", "The price:5 euros", 1),
        ("5 euros", "Parcels - 5 euros", 1),
        ("5 euros", "In 2014,5 euros were enough. Now 5 euros.", 1),
    ],
)
def test_numbers_are_whole_numbers(answer: str, text: str, whole: int) -> None:
    assert assert_span_recall(["Other text.", text], {"q": answer}, at_least=None).value == whole


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("thirty days", 1),
        ("THIRTY\ndays", 1),
        ("hirty days", 0),
        ("4", 1),
        ("201", 0),
        ("days. The", 0),
        (["days. The", "5 euros"], 1),
        (at("thirty days"), 1),
        ({"text": "The fee", "answer_start": TEXT.index("The fee")}, 1),
        ({"text": ["days. The", "2014"], "answer_start": [20, TEXT.index("2014")]}, 1),
        ({"text": ["nothing of it"]}, 0),
        ([at("days. The"), at("days. The fee")], 0),
    ],
)
def test_an_answer_stands_whole_in_one_chunk(answer: object, value: float) -> None:
    chunks = [TEXT[:25], TEXT[26:]]
    measurement = assert_span_recall(chunks, {"q": answer}, at_least=None, source=TEXT)
    assert (measurement.name, measurement.value, measurement.better) == (
        "chunks.span_recall",
        value,
        "higher",
    )


def test_an_answer_counts_at_its_place() -> None:
    source = "4 euros for letters. Parcels cost 4 eu" + "ros too."
    chunks = ["4 euros for letters. Parcels cost 4", "euros too."]
    chunks_of = {"q": {"text": "4 euros", "start": source.rindex("4 euros")}}
    assert assert_span_recall(chunks, {"q": "4 euros"}, at_least=1, source=source).value == 1
    with pytest.raises(MeasurementFailed) as caught:
        assert_span_recall(chunks, chunks_of, at_least=1, source=source)
    check_message(caught.value)


def test_cases_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    rows: list[Mapping[str, object]] = [
        {"id": "a", "input": "How long?", "reference": "5 euros", "answer": "thirty days", "source": "faq"},
        {"id": "b", "input": "Which year?", "reference": "2014", "answer": [at("2014")], "source": "faq"},
        {"id": "c", "input": "Who?", "answer": []},
        {"id": "d", "input": "Why?", "answer": None},
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    documents = {"other": "Something else.", "faq": TEXT}
    chunks = ["Something else.", TEXT[:25], TEXT[26:]]
    measurement = assert_span_recall(chunks, path, at_least=1, source=documents, label="L")
    assert measurement.label == "L"
    check_message(measurement.reason)
    by_reference = assert_span_recall(chunks, str(path), at_least=1, key="reference")
    check_message(by_reference.reason)


def test_no_answer_at_all_cannot_be_scored() -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_span_recall(["a"], {"q": None, "r": []}, at_least=0.5)


@pytest.mark.parametrize(
    ("cases", "error"),
    [
        ({"q": 5}, UsageError),
        ({"q": " "}, UsageError),
        ({"q": {"start": 3}}, UsageError),
        ({"q": {"text": "a", "start": -1}}, UsageError),
        ({"q": {"text": ["a"], "answer_start": []}}, UsageError),
        ({"q": at("2014", 3)}, UsageError),
        ([Case(id="c", input="?", data={"answers": "a"})], UnknownName),
        ([Case(id="c", input="?", data={"answer": at("2014"), "source": "b"})], UsageError),
        (["not a case"], UsageError),
        (7, UsageError),
        ("missing.jsonl", CaseError),
    ],
)
def test_cases_that_cannot_be_used(cases: Any, error: type[Exception]) -> None:
    with pytest.raises(error, check=check_message):
        assert_span_recall(["a"], cases, at_least=1, source=TEXT)


@pytest.mark.parametrize("threshold", [1.5, -0.1, True, "1", float("nan")])
def test_a_threshold_of_the_recall_is_a_share(threshold: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_span_recall(["a"], {"q": "a"}, at_least=threshold)


# --- assert_clean_text


def test_clean_texts_pass() -> None:
    measurements = assert_clean_text(["für 5 €", "„gut“"], label="L")
    assert [measurement.name for measurement in measurements] == [
        f"chunks.clean.{kind}" for kind in ("mojibake", "replacement", "html", "control", "invisible")
    ]
    assert {
        (measurement.value, measurement.status, measurement.unit, measurement.label)
        for measurement in measurements
    } == {(0, "passed", "count", "L")}


def test_dirt_is_shown_where_it_is(well_formed: Lines) -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_clean_text(["fine", "gÃ¼ltig bis MÃ¤rz"])
    check_message(well_formed(caught.value))
    measurements = assert_clean_text("gÃ¼ltig <b>bis</b>", at_most_mojibake=1, at_most_html=None)
    assert [(measurement.value, measurement.status) for measurement in measurements[:3]] == [
        (1, "passed"),
        (0, "passed"),
        (2, "recorded"),
    ]


def test_several_kinds_of_dirt_are_one_failure() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_clean_text("<i>x\x00y</i>")
    assert str(caught.value).startswith("2 of 5 checks failed\n1. chunks.clean.html 2 > 0\n")


@pytest.mark.parametrize(
    ("texts", "thresholds"),
    [
        ([], {}),
        (5, {}),
        (["a"], {"at_most_html": -1}),
        (["a"], {"at_most_html": "0"}),
        (["a"], {"at_most_htm": 0}),
    ],
)
def test_arguments_of_clean_that_cannot_be_meant(texts: Any, thresholds: dict[str, Any]) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_clean_text(texts, **thresholds)


def test_thresholds_may_be_numbers_of_numpy() -> None:
    share: Any = np.float32(0.25)
    most: Any = np.int64(10)
    row = {
        chunk.name: chunk
        for chunk in assert_chunks(
            ["One. ", "Two."], source="One. Two.", at_most_lost=share, at_most_chars=most
        )
    }
    assert (row["chunks.lost"].threshold, row["chunks.size"].value) == (0.25, 0)
    assert assert_span_recall(["a"], {"q": "a"}, at_least=share).threshold == 0.25
    with pytest.raises(UsageError, check=check_message):
        assert_chunks(["a"], source="a", at_most_chars=cast("Any", np.float64(2.5)))
