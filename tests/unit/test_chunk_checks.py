"""What a cut parts: words, sentences, tables, code."""

from __future__ import annotations

import pytest
from support.messages import check_message

from pytest_llmops.chunks import chunk_checks
from pytest_llmops.chunks.alignment import Alignment, align_chunks
from pytest_llmops.chunks.pieces import CheckResult, Ignore, Sources, read_chunks, read_source

PARAGRAPHS = """Refunds take thirty days. You need the receipt, please.

Ms. Okafor runs the desk in Leeds. It opens at 8:30 on weekdays.

Parcels over 2,500 grams cost more. Ask first."""


def aligned(chunks: object, source: Sources = PARAGRAPHS, ignore: Ignore = "whitespace") -> Alignment:
    return align_chunks(read_source(source, ignore), read_chunks(chunks), ignore)


def list_faults(check: CheckResult) -> list[tuple[str, str]]:
    return [(fault.place, fault.text) for fault in check.faults]


@pytest.mark.parametrize(
    ("source", "at", "cut"),
    [
        ("under standing", 3, True),
        ("under standing", 5, False),
        ("costs 1,000 euros", 8, True),
        ("costs 1,000 euros", 7, True),
        ("at 10:30 sharp", 5, True),
        ("well-known fact", 5, False),
        ("end. Next", 4, False),
        ("cafe\u0301 bar", 4, True),
        ("退款需要三十天", 3, False),
        ("ราคาสินค้า", 4, False),
        ("환불은 삼십일", 1, True),
        ("возврат денег", 4, True),
    ],
)
def test_words_and_numbers_that_are_cut(source: str, at: int, cut: bool) -> None:
    check = chunk_checks.check_cut_words(aligned([source[:at], source[at:]], source))
    assert check.value == (0.5 if cut else 0.0)
    if cut:
        assert list_faults(check)[0] == ("chunk 1", f"{source[:at]}|{source[at:]}")


@pytest.mark.parametrize(
    ("chunk", "faults"),
    [
        ("the  end\n\nof it (all) 退款 天 .", []),
        ("the endof it(all)退款天.", ["the endof it(all)退款天."]),
        ("the end of i t (all) 退 款天.", ["the end of i t (all) 退 款天."]),
        ("<b>the</b> end of it (all)退款天.", []),
    ],
)
@pytest.mark.parametrize("ignore", ["whitespace", "markup"])
def test_words_that_are_written_as_one(chunk: str, faults: list[str], ignore: Ignore) -> None:
    source = "the end\nof it (all) 退款天."
    check = chunk_checks.check_changed_words(aligned([chunk], source, ignore))
    assert [text for _, text in list_faults(check)] == faults
    assert check.value == len(faults)


def test_sentences_that_are_cut() -> None:
    whole = chunk_checks.check_cut_sentences(aligned(PARAGRAPHS.split("\n\n")))
    assert whole.value == 0.0
    check_message(whole.reason)
    at = PARAGRAPHS.index("please.")
    check = chunk_checks.check_cut_sentences(aligned([PARAGRAPHS[:at], PARAGRAPHS[at:]]))
    assert check.value == 0.5
    assert list_faults(check) == [
        ("chunk 1", "ty days. You need the receipt, | please.\n\nMs. Okafor runs the d"),
        ("chunk 2", "ty days. You need the receipt, | please.\n\nMs. Okafor runs the d"),
    ]


def test_an_end_of_invented_text_is_no_cut() -> None:
    check = chunk_checks.check_cut_sentences(aligned(["(p. 3) " + PARAGRAPHS + " (more on p. 4)"]))
    check_message(check.reason)
    assert check.value == 0


TABLE = """Prices:

| size | price |
|------|------:|
| S    | 5     |
| M    | 7     |

The end."""


@pytest.mark.parametrize(
    ("chunks", "places"),
    [
        ([TABLE], []),
        ([TABLE[:9], TABLE[9:-8], TABLE[-8:]], []),
        ([TABLE[: TABLE.index("| M")], TABLE[TABLE.index("| M") :]], ["chunk 2"]),
        ([TABLE[: TABLE.index("| M")], "| size | price |\n" + TABLE[TABLE.index("| M") :]], []),
        (
            [TABLE[: TABLE.index("7")], "| size | price |\n" + TABLE[TABLE.index("7") :]],
            ["chunk 1", "chunk 2"],
        ),
        ([TABLE[: TABLE.index("|---")]], []),
    ],
)
def test_tables_that_are_torn(chunks: list[str], places: list[str]) -> None:
    faults = list_faults(chunk_checks.check_cut_tables(aligned(chunks, TABLE)))
    assert [place for place, _ in faults] == places
    if faults:
        check_message(faults)


def test_tables_in_html() -> None:
    rows = [
        "<tr><th>size</th></tr>",
        "<tr><td>S</td></tr>",
        "<tr><td><table><tr><td>x</td></tr></table></td></tr>",
    ]
    source = (
        "Prices <table class='x'>" + "".join(rows) + "</table> end <table><tr><td>one row</td></tr></table>"
    )
    assert [len(table) for table in chunk_checks.find_tables(source)] == [3]
    assert chunk_checks.find_tables("<table><tr><td>stays open\0</td></tr><tr></tr></table>") == []
    assert [len(table) for table in chunk_checks.find_tables("<table></tr><tr></tr><tr></tr></table>")] == [2]
    assert chunk_checks.check_cut_tables(aligned([source], source)).value == 0
    at = source.index("<tr><td>S")
    check = chunk_checks.check_cut_tables(aligned([source[:at], source[at:]], source))
    assert list_faults(check) == [("chunk 2", f"2 rows without their header {rows[0]}")]


@pytest.mark.parametrize(
    "text",
    [
        "a | b\nno table",
        "|---|---|",
        "\n|---|\n",
        "text\n---\nmore | text",
        "| a |\n|---|",
        "<table><tr><td>x",
        "</tr></table>",
    ],
)
def test_what_is_no_table(text: str) -> None:
    assert chunk_checks.find_tables(text) == []


def test_code_that_is_torn() -> None:
    source = (
        "Run this:\n\n```python\nx = 1\nprint(x)\n```\n\nDone.\n~~~\nraw ``` text\n~~~\nInline ``` code ```."
    )
    assert [source[slice(*span)] for span in chunk_checks.find_code_blocks(source)] == [
        "```python\nx = 1\nprint(x)\n```",
        "~~~\nraw ``` text\n~~~",
    ]
    assert chunk_checks.check_cut_code(aligned([source], source)).value == 0
    at = source.index("print")
    check = chunk_checks.check_cut_code(aligned([source[:at], source[at:]], source))
    assert [place for place, _ in list_faults(check)] == ["chunk 1", "chunk 2"]
    check_message(list_faults(check)[0][1])


def test_a_fence_that_stays_open_ends_with_its_document() -> None:
    assert chunk_checks.find_code_blocks("a\n```\nb\nc") == [(2, 9)]
    assert chunk_checks.find_code_blocks("```\na\n~~~\nb\n```") == [(0, 15)]
    assert chunk_checks.find_code_blocks("``` code ``` within a line\nb") == []
    documents = ["a\n```\nb", "c\n\nd"]
    assert chunk_checks.check_cut_code(aligned(["a\n```\nb", "c", "d"], documents)).value == 0


# --- repeated headers

HEADER = "| Country | Days |\n|---|---|\n"
LONG_ROWS = [f"| Employee number {n} of the company | gets {n * 7} days of leave |" for n in range(20)]
COUNTRIES = [
    "France",
    "Spain",
    "Italy",
    "Portugal",
    "Germany",
    "Poland",
    "Finland",
    "Sweden",
    "Norway",
    "Denmark",
    "Greece",
    "Malta",
]
SHORT_ROWS = [f"| {name} | {5 + n % 4} |" for n, name in enumerate(COUNTRIES)]
NUMBERS = [f"| {n} | {n * n % 13} |" for n in range(60)]


def alarms(chunks: list[str], source: str) -> dict[str, float]:
    alignment = aligned(chunks, source)
    checks = [
        chunk_checks.check_lost_text(alignment),
        chunk_checks.check_invented_text(alignment),
        chunk_checks.check_chunk_order(alignment),
        chunk_checks.check_cut_tables(alignment),
    ]
    return {check.name: check.value for check in checks if check.value}


@pytest.mark.parametrize("rows", [LONG_ROWS, SHORT_ROWS, NUMBERS], ids=["long", "short", "numbers"])
@pytest.mark.parametrize(("size", "overlap"), [(1, 0), (3, 0), (3, 1), (2, 1)])
def test_a_repeated_header_before_rows_that_begin_alike(rows: list[str], size: int, overlap: int) -> None:
    groups = [rows[at : at + size] for at in range(0, len(rows) - overlap, size - overlap)]
    chunks = [HEADER + "\n".join(group) for group in groups]
    assert alarms(chunks, HEADER + "\n".join(rows)) == {}


@pytest.mark.parametrize("heading", ["# Fees", "## Refund policy of the shop"])
def test_a_repeated_heading_before_prose_that_begins_alike(heading: str) -> None:
    texts = [
        "Refunds take five days.",
        "Returns are free.",
        "Returns from abroad cost five euros.",
        "Repairs.",
    ]
    source = "\n\n".join([heading, *texts])
    assert alarms([f"{heading}\n{text}" for text in texts], source) == {}


def test_faults_behind_a_repeated_header_are_reported_as_they_are() -> None:
    source = HEADER + "\n".join(LONG_ROWS)
    without = [HEADER + row for n, row in enumerate(LONG_ROWS) if n != 7]
    alignment = aligned(without, source)
    assert list_faults(chunk_checks.check_lost_text(alignment)) == [("line 10", LONG_ROWS[7])]
    assert chunk_checks.check_cut_tables(alignment).value == 0
    swapped = [HEADER + LONG_ROWS[n] for n in (0, 1, 2, 4, 3, 5)]
    check = chunk_checks.check_chunk_order(aligned(swapped, HEADER + "\n".join(LONG_ROWS[:6])))
    assert list_faults(check) == [("chunk 5", "begins at line 6, before chunk 4")]
    bare = [HEADER + LONG_ROWS[0], *LONG_ROWS[1:]]
    assert chunk_checks.check_cut_tables(aligned(bare, source)).value == 19
