"""Dirt in texts: what is found, and what is meant and left alone."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from support.messages import check_message

from pytest_llmops.chunks.pieces import read_chunks
from pytest_llmops.chunks.text_quality import check_clean_text, find_mojibake

KINDS = ("mojibake", "replacement", "html", "control", "invisible")


def dirt(*texts: str) -> dict[str, float]:
    return {name: check.value for name, check in check_clean_text(read_chunks(texts)).items() if check.value}


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
@pytest.mark.parametrize(
    "honest",
    [
        "für",
        "déjà vu",
        "don’t",
        "5 €",
        "naïve façade",
        "“quoted” – text…",
        "Łódź",
        "smile 😀",
        "日本語",
        "±5 °C",
        "Übung",
    ],
)
def test_utf_8_that_was_read_as_western(honest: str, encoding: str) -> None:
    # Bytes that cp1252 leaves undefined stay as they are, as lenient decoders do it.
    broken = "".join(_byte(byte, encoding) for byte in honest.encode())
    assert list(find_mojibake(honest)) == []
    result = list(find_mojibake(f"x {broken} y"))
    assert result
    assert all(was in honest for _, _, was in result)


def _byte(byte: int, encoding: str) -> str:
    try:
        return bytes([byte]).decode(encoding)
    except UnicodeDecodeError:
        return chr(byte)


def test_text_that_was_broken_twice_and_in_other_tables() -> None:
    twice = "für".encode().decode("cp1252").encode().decode("cp1252")
    assert [was for _, _, was in find_mojibake(twice)] == ["Ã¼"]
    russian = "Привет".encode().decode("cp1251", "replace")
    assert dirt(russian)["mojibake"] >= 1
    assert dirt("锟斤拷")["mojibake"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "Il dit « CAFÉ».",
        "CAFÉ–BAR",
        "MANHÃ” ele disse",
        "in São Paulo, Ünal",
        "„STRAẞE“ und „MENÜ“",
        "un “café”…",
        "Сёстры и РСФСР, СССР",
        "Â la carte",
        "x² ± 3 µm",
        "ÀÉÎÕÜ",
        "Ðuro, Ísland, ÞÓR",
        "à€€ is no character in UTF-8",
    ],
)
def test_honest_letters_are_no_mojibake(text: str) -> None:
    assert list(find_mojibake(text)) == []


@pytest.mark.parametrize(
    ("text", "kind", "count"),
    [
        ("caf\ufffd and \ufffd\ufffd", "replacement", 2),
        ("<p>text</p>", "html", 2),
        ("a<br/>b &nbsp; &#8217; <!-- x -->", "html", 4),
        ("<SCRIPT src='x'>", "html", 1),
        ("a\x00b\x1b[0m\x7f", "control", 3),
        ("a\x85b\x9fc", "control", 1),
        ("half \ud800 pair", "control", 1),
        ("zero\u200bwidth", "invisible", 1),
        ("\ufeffbegin", "invisible", 1),
        ("soft\u00adhyphen", "invisible", 1),
        ("user\u202enimda", "invisible", 1),
        ("plain\u200djoiner", "invisible", 1),
        ("tagged \U000e0041\U000e0042", "invisible", 2),
    ],
)
def test_dirt_is_counted(text: str, kind: str, count: int) -> None:
    assert dirt(text) == {kind: count}


@pytest.mark.parametrize(
    "text",
    [
        "1 < 2 and 3 > 2, List<String> x, a <thinking> tag, AT&T; R&D",
        "Use `<br>` here.\n```html\n<p>kept &amp; meant</p>\n```\n",
        "tabs\tand\r\nlines\fpages",
        "👨\u200d👩\u200d👧 and \U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "می\u200cخواهم, क्\u200dष",
        "نص \u200fعربي\u200e 5",
        "A well-known\nfact - and\nmore, 2019-\n2020, Vor- und Nachteile",
        "- item\n- item",
        "",
    ],
)
def test_what_is_meant_is_left_alone(text: str) -> None:
    assert dirt(text) == {}


def test_the_place_shows_what_it_is_and_what_stands_around() -> None:
    check = check_clean_text(read_chunks(["fine", "so a zero\u200bwidth space"]))["invisible"]
    assert [(fault.place, fault.text) for fault in check.faults] == [
        ("chunk 2", "U+200B ZERO WIDTH SPACE: so a zero\u200bwidth space")
    ]
    check_message(check.reason)


def test_every_kind_is_counted_and_nothing_is_clean() -> None:
    checks = check_clean_text(())
    assert tuple(checks) == KINDS
    assert all(check.value == 0 and check.unit == "count" and not check.faults for check in checks.values())


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", {}),
        ("de", {"invisible": 8}),
        ("es", {"invisible": 4}),
        ("ru", {"invisible": 7}),
        ("zh", {"invisible": 6}),
        # Foreign names and dashes in 13 paragraphs were decoded wrongly before they were published.
        ("ar", {"invisible": 15, "mojibake": 27, "replacement": 4}),
    ],
)
def test_paragraphs_of_xquad_have_only_dirt_of_their_own(
    language: str, expected: dict[str, int], shared_data: Path
) -> None:
    """All of it looked at: byte order marks, zero-width spaces, mojibake. There is no false alarm."""
    with gzip.open(shared_data / "retrieval" / "xquad" / f"xquad.{language}.json.gz") as file:
        articles = json.load(file)["data"]
    paragraphs = [row["context"] for article in articles for row in article["paragraphs"]]
    assert len(paragraphs) == 240
    assert dirt(*paragraphs) == expected
    checks = check_clean_text(read_chunks(paragraphs))
    was = {fault.text.split(":")[0] for fault in checks["mojibake"].faults}
    assert was <= set("京ạệầ大制ü–—·é−") | {"樞密院"}
    signs = {fault.text.split(":")[0] for fault in checks["invisible"].faults}
    assert signs <= {"U+FEFF ZERO WIDTH NO-BREAK SPACE", "U+200B ZERO WIDTH SPACE", "U+00AD SOFT HYPHEN"}


@pytest.mark.slow
@pytest.mark.shared_data
def test_real_answers_of_models_raise_no_false_alarm(shared_data: Path) -> None:
    with gzip.open(shared_data / "llm_outputs" / "outputs.jsonl.gz", "rt", encoding="utf-8") as file:
        outputs = [json.loads(line)["text"] for line in file]
    assert len(outputs) == 1_817
    assert dirt(*outputs) == {}


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("language", "encoding"), [("es", "latin-1"), ("de", "cp1252"), ("ru", "cp1251"), ("zh", "cp1252")]
)
def test_real_paragraphs_that_are_broken_are_found(language: str, encoding: str, shared_data: Path) -> None:
    """As ftfy 6.3 finds them (its ``badness`` is above 0 for each), and for the 1,440 honest ones as well."""
    with gzip.open(shared_data / "retrieval" / "xquad" / f"xquad.{language}.json.gz") as file:
        articles = json.load(file)["data"]
    paragraphs = [row["context"] for article in articles[:16] for row in article["paragraphs"]]
    assert len(paragraphs) >= 80
    broken = ["".join(_byte(byte, encoding) for byte in text.encode()) for text in paragraphs]
    assert [text[:40] for text in broken if not any(find_mojibake(text))] == []
