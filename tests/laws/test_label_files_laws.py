"""Whatever an answer is, a file to label gives it back, and whatever stands in a labels file stays there."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from pytest_llmops.cli.label_files import LabelFile, append_rows, decode_cell, encode_cell, read_label_file
from pytest_llmops.measurement import Json

# All that UTF-8 holds; a NUL is no text.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
tricky = st.text(st.sampled_from("=+-@'\"\t\r\n,; 01é[]{}\u2028\x85\ufeff"), max_size=8)
any_text = texts | tricky


@given(any_text)
@example("'=1")
@example("''")
@example("'007")
def test_a_cell_gives_its_text_back_and_starts_no_formula(text: str) -> None:
    cell = encode_cell(text)
    assert decode_cell(cell) == text
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


@given(st.lists(any_text, min_size=1, max_size=4), st.sampled_from([".csv", ".jsonl"]))
def test_answers_are_read_as_they_were_written(answers: list[str], suffix: str) -> None:
    rows: list[dict[str, Json]] = [
        {
            "id": f"a{n}",
            "question": one or "?",
            "answer": one,
            "contexts": [one],
            "scale": [1, 10],
            "human": None,
        }
        for n, one in enumerate(answers)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        path.write_bytes(append_rows(LabelFile(path=path), rows[:1]).encode())
        path.write_bytes(append_rows(read_label_file(path), rows[1:]).encode())
        found = read_label_file(path)
    assert [dict(row.value) for row in found.rows] == rows
    assert [row.answer.answer for row in found.rows] == answers


@given(any_text, any_text)
def test_a_table_is_one_that_every_reader_divides_alike(question: str, answer: str) -> None:
    path = Path("a.csv")
    rows: list[dict[str, Json]] = [{"id": "a", "question": question, "answer": answer, "human": None}]
    text = append_rows(LabelFile(path=path), rows).removeprefix("\ufeff")
    (_, cells) = csv.reader(io.StringIO(text, newline=""))
    assert [decode_cell(cell) for cell in cells[:3]] == ["a", question, answer]
