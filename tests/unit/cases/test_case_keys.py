"""Keys of a case beyond the first: splits, files, outputs with their calls, and types of pydantic."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel
from support.messages import check_message

from pytest_llmops import assert_cost, assert_latency, assert_tokens
from pytest_llmops.cases import Case, load_cases, select_split
from pytest_llmops.errors import CaseError, UnknownName, UsageError

CALL = {
    "model": "m",
    "latency_s": 0.5,
    "cost_usd": 0.25,
    "usage": {"input_tokens": 90, "output_tokens": 10},
}


class Refund(BaseModel):
    id: str
    input: str
    days: int
    fact: str = "45 days"


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_case_is_typed_by_a_model(tmp_path: Path) -> None:
    table = tmp_path / "c.csv"
    table.write_text("id,input,days\na,May I?,45\n", encoding="utf-8")
    (case,) = load_cases(table, model=Refund)
    assert case.typed == Refund(id="a", input="May I?", days=45)
    assert case == load_cases(table)[0]


def test_a_row_that_does_not_fit_the_model_gives_each_key_and_the_line(tmp_path: Path) -> None:
    rows = {"id": "a", "input": "x", "days": 1}, {"id": "b", "input": "x", "days": "soon", "fact": 4}
    with pytest.raises(CaseError, check=check_message) as caught:
        load_cases(write(tmp_path / "c.jsonl", *rows), model=Refund)
    assert caught.value.line == 2
    assert "days: " in str(caught.value)
    assert "fact: " in str(caught.value)


def test_calls_of_an_output_are_held_against_budgets(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", {"id": "a", "input": "x", "output": "Yes.", "calls": [CALL, CALL]})
    (case,) = load_cases(path)
    assert case.output == "Yes."
    assert [measurement.value for measurement in assert_latency(case.calls, at_most_s=1)] == [0.5]
    assert assert_cost(case.calls, at_most_usd=1).value == 0.5
    assert assert_tokens(case.calls, at_most_tokens=500).value == 200
    assert load_cases([{"id": "a", "input": "x"}])[0].output is None


@pytest.mark.parametrize(
    "calls",
    [
        {},
        [1],
        [{"latency": 1}],
        [{"latency_s": -1}],
        [{"latency_s": "1"}],
        [{"cost_usd": True}],
        [{"usage": {"input_tokens": "9"}}],
        [{"messages": [1]}],
        [{"usage": 3}],
    ],
)
def test_calls_that_are_none_are_refused(calls: Any) -> None:
    with pytest.raises(CaseError, match=r"calls: expected .* got ") as caught:
        load_cases([{"id": "a", "input": "x", "output": "y", "calls": calls}])
    assert caught.value.line == 1


def test_a_column_output_may_still_be_the_reference() -> None:
    (case,) = load_cases([{"id": "a", "input": "x", "output": "y"}], fields={"reference": "output"})
    assert (case.reference, case.output, case["output"]) == ("y", None, "y")


def test_parts_hold_the_files_and_the_fingerprint_their_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    contents = {"a.PNG": b"\x89PNG", "b.wav": b"RIFF", "c.pdf": b"%PDF"}
    for name, content in contents.items():
        Path(name).write_bytes(content)
    (case,) = load_cases([{"id": "a", "input": {"q": "What is it?"}, "files": [*contents]}])
    text, image, audio, document = case.parts()
    assert text == {"type": "text", "text": '{"q":"What is it?"}'}
    assert image == {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}
    sound = {"data": base64.b64encode(b"RIFF").decode(), "format": "wav"}
    assert audio == {"type": "input_audio", "input_audio": sound}
    assert document == {
        "type": "file",
        "file": {"filename": "c.pdf", "file_data": "data:application/pdf;base64,JVBERg=="},
    }
    before = case.fingerprint
    Path("a.PNG").write_bytes(b"\x89PNG2")
    assert case.fingerprint != before


def test_a_file_that_is_missing_or_no_part_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.exe").write_bytes(b"MZ")
    for name in ("a.exe", "none.png"):
        with pytest.raises(CaseError, check=check_message):
            Case(id="a", input="x", files=(name,)).parts()


def test_training_data_is_no_test_unless_it_is_meant() -> None:
    cases = load_cases(
        [{"id": "a", "input": "x", "split": "train"}, {"id": "b", "input": "x", "split": "test"}]
    )
    with pytest.raises(UsageError, check=check_message):
        select_split(cases)
    assert [case.id for case in select_split(cases, "train")] == ["a"]
    assert [case.id for case in select_split(cases, "test")] == ["b"]
    with pytest.raises(UnknownName):
        select_split(cases, "tset")
    assert select_split(cases[1:]) == cases[1:]


def test_lines_without_end_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmops._util.text_files.MAX_LINE_CHARS", 100)
    path = write(tmp_path / "c.jsonl", {"id": "a", "input": "x"}, {"id": "b", "input": "x" * 200})
    with pytest.raises(CaseError, match="a line of too many characters") as caught:
        load_cases(path)
    assert caught.value.line == 2


def test_lines_may_end_in_any_way_and_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"id": "a", "input": "x"}\r\n\r{"id": "b", "input": "x"}\r{"id": "b", "input": "x"}'
    )
    with pytest.raises(CaseError, match="first in line 3") as caught:
        load_cases(path)
    assert caught.value.line == 4


SCHEMA = json.loads((Path(load_cases.__code__.co_filename).parent / "case.schema.json").read_text())
ROWS: list[tuple[dict[str, Any], bool]] = [
    ({"id": "a", "input": "x", "tags": ["b"], "split": "test", "files": ["a.png"], "days": 4}, True),
    ({"id": "a", "input": {"q": 1}, "output": "", "calls": [CALL]}, True),
    ({"id": 7, "input": "x"}, True),
    ({"input": "x"}, True),
    ({"id": 1.5, "input": "x"}, False),
    ({"id": "a", "input": None}, False),
    ({"id": "a::b", "input": "x"}, False),
    ({"id": "a[b", "input": "x"}, False),
    ({"id": "a", "input": "x", "reference": 3}, False),
    ({"id": "a", "input": "x", "tags": ["", "a"]}, False),
    ({"id": "a", "input": "x", "calls": [{"latency_s": -1}]}, False),
    ({"id": "a", "turns": ["Hi", {"say": "B-77", "when": {"called": ["get_*"]}, "else": "Bye"}]}, True),
    (
        {
            "id": "a",
            "turns": [{"say": "Hi", "expect": {"calls": ["a", {"b": {"c": 1}}]}, "deny": {"b": "no"}}],
        },
        True,
    ),
    (
        {
            "id": "a",
            "turns": [{"say": "Hi", "expect": {"calls": [{"name": "b", "arguments": {}}, {"name": "c"}]}}],
        },
        True,
    ),
    ({"id": "a", "turns": [{"say": "Hi", "expect": {"calls": [{"name": "b", "arguments": 7}]}}]}, False),
    ({"id": "a", "turns": [{"say": "Hi", "expect": {"calls": [{"name": {}}]}}]}, False),
    ({"id": "a", "turns": []}, False),
    ({"id": "a", "turns": [{"say": "Hi", "expect": {"contain": "x"}}]}, False),
    ({"id": "a", "turns": ["Hi", {"say": "B-77", "else": "Bye"}]}, False),
    ({"id": "a", "turns": ["Hi", {"say": "B-77", "until": {"matches": " "}}]}, False),
]


@pytest.mark.parametrize(("row", "fits"), ROWS)
def test_the_schema_for_editors_and_the_reader_agree(row: dict[str, Any], fits: bool) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert validator.is_valid(row) is fits
    assert validator.is_valid([row]) is fits
    if fits:
        assert len(load_cases([row])) == 1
    else:
        with pytest.raises(CaseError):
            load_cases([row])
