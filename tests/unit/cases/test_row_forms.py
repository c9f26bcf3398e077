"""Rows of other tools: which column is the input, the reference and the id, and ids from the content."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message
from support.shared import shared

from pytest_llmops.cases import Case, load_cases
from pytest_llmops.cases.case_ids import parse_id
from pytest_llmops.errors import CaseError

USER = {"role": "user", "content": "May I return it?"}
SYSTEM = {"role": "system", "content": "Be kind."}
ANSWER = {"role": "assistant", "content": "Yes, within 45 days."}


def read(*given: dict[str, Any], **options: Any) -> tuple[Case, ...]:
    return load_cases(given, **options)


def test_a_file_of_questions_and_answers_is_read_in_each_format(tmp_path: Path) -> None:
    row = {"question": "May I return it?", "ground_truth": "Yes."}
    texts = {
        "c.jsonl": json.dumps(row),
        "c.yaml": f"- {json.dumps(row)}",
        "c.csv": "question,ground_truth\nMay I return it?,Yes.\n",
        "c.tsv": "question\tground_truth\nMay I return it?\tYes.\n",
        "list.json": json.dumps([row]),
        "object.json": json.dumps({"version": 1, "data": [row], "tags": ["a"]}),
        "lines.json": f"{json.dumps(row)}\n{json.dumps({**row, 'question': 'Really?'})}\n",
    }
    first = set()
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        first.add(load_cases(tmp_path / name)[0])
    [case] = first
    assert (case.id, case.input, case.reference) == (
        "may-i-return-it-37df973ab504",
        "May I return it?",
        "Yes.",
    )
    assert (case["question"], case["ground_truth"], case.has_content_id) == (case.input, case.reference, True)


@pytest.mark.parametrize(
    ("row", "reference", "references"),
    [
        ({"answer": "a"}, "a", None),
        ({"Expected Output": "a"}, "a", None),
        ({"expectedOutput": "a"}, "a", None),
        ({"answers": {"text": ["a", "b"], "answer_start": [1, 2]}}, "a", ["a", "b"]),
        ({"answers": [{"text": "a", "answer_start": 1}, {"text": "b"}]}, "a", ["a", "b"]),
        ({"answers.text": ["a"]}, "a", ["a"]),
        ({"ideal": ["a", "b"], "references": ["mine"]}, "a", ["mine"]),
        ({"target": 42}, "42", None),
        ({"target": True, "answer": {"value": "a"}, "ideal": [1], "expected": None, "gold": "a"}, "", None),
        ({"answer": "", "ground_truth": "a"}, "a", None),
        ({"reference": "mine", "answer": "a"}, "mine", None),
        ({"completion": "a", "response": "a", "label": "a"}, "", None),
        ({"answer": "given", "ground_truth": "a"}, "a", None),
        ({"answer": 1, "choices": ["a", "b"]}, "", None),
    ],
)  # fmt: skip
def test_what_is_known_as_the_reference(
    row: dict[str, Any], reference: str, references: list[str] | None
) -> None:
    [case] = read({"id": "a", "question": "x", **row})
    assert (case.reference, case.data.get("references")) == (reference, references)
    assert {key: case.data.get(key) for key in row.keys() - {"reference"}} == {
        key: row[key] for key in row.keys() - {"reference"}
    }


def test_fields_come_first_and_our_own_names_before_those_of_others() -> None:
    row = {"id": 7, "input": "x", "question": "y", "target": "z", "note": "n"}
    assert [(case.id, case.input, case.reference) for case in read(row)] == [("7", "x", "z")]
    fields = {"input": "question", "reference": "note", "id": "target"}
    assert [(case.id, case.input, case.reference) for case in read(row, fields=fields)] == [("z", "y", "n")]
    [case] = read(row, default_fields={"input": "note"})
    assert (case.input, case.reference) == ("n", "z")
    # A column that is taken for another key is not known any more.
    [case] = read({"question": "y", "text": "t"}, fields={"family": "question"})
    assert (case.input, case.family) == ("t", "y")


def test_an_answer_that_may_be_given_is_no_reference() -> None:
    # Ragas has the answer of the application next to the right one, which a row may lack.
    rows = [{"question": "x", "answer": "given", "ground_truth": right} for right in ("right", "")]
    assert [case.reference for case in read(*rows)] == ["right", ""]
    for own in ({"id": "a"}, {}):
        assert read({**own, "input": "x", "answer": "given"})[0].reference == ""
        assert read({**own, "input": "x", "answer": "given", "ideal": "right"})[0].reference == "right"
    assert read({"id": "a", "question": "x", "answer": "right"})[0].reference == "right"
    assert read({"id": "a", "question": "x", "answer": "given", "human": True})[0].reference == ""


def test_what_another_tool_has_under_our_names_stays_readable(tmp_path: Path) -> None:
    row = {
        "question": "x",
        "reference": ["a", "b"],
        "tags": "t",
        "output": {"b": 1},
        "calls": 3,
        "family": 7,
        "files": None,
    }
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps(row))
    [case] = load_cases(path)
    assert (case.reference, case.data) == (
        "a",
        {"question": "x", "references": ["a", "b"], "tags": "t", "output": {"b": 1}, "calls": 3, "family": 7},
    )
    assert (case.tags, case.output, case.files) == ((), None, ())
    assert [case.reference for case in read({**row, "reference": 42})] == ["42"]
    # Under the name that `fields` gives, and in files of our own form, it is an error as ever.
    for wrong, fields in (({**row, "note": 3}, {"family": "note"}), ({"input": "x", "tags": "t"}, {})):
        with pytest.raises(CaseError, check=check_message):
            read(wrong, fields=fields)


def test_files_of_ones_own_that_were_readable_stay_so() -> None:
    row = {"id": "a", "input": "x", "ideal": "y", "target": "z"}
    assert read(row)[0].reference == ""
    with pytest.raises(CaseError, check=check_message):
        read({**row, "id": None})
    alpaca = {"id": "a", "instruction": "Name a color.", "input": "", "output": "Red."}
    with pytest.raises(CaseError, check=lambda error: "'instruction' and 'input'" in str(error)):
        read(alpaca)
    assert read(alpaca, fields={"input": "input"})[0].input == ""
    assert read({**alpaca, "instruction": " "})[0].input == ""
    assert read({" User Input ": "x"})[0].input == "x"


def test_a_conversation_is_the_input_and_its_end_the_reference() -> None:
    first, second, third = read(
        {"messages": [USER, ANSWER]},
        {"messages": [SYSTEM, USER]},
        {"messages": [SYSTEM, USER, {"role": "assistant", "tool_calls": []}], "answer": "Yes."},
    )
    assert (first.input, first.reference) == ("May I return it?", "Yes, within 45 days.")
    assert (second.input, second.reference) == ([SYSTEM, USER], "")
    assert (third.input, third.reference) == ([SYSTEM, USER], "Yes.")
    assert (first["messages"], second.id[:-13]) == ([USER, ANSWER], "may-i-return-it")
    [own] = read({"id": "a", "input": "x", "messages": [USER, ANSWER]})
    assert (own.input, own.reference) == ("x", "")


def test_an_id_of_another_name_counts_if_each_row_has_another_one() -> None:
    [first, second] = read({"qid": 1, "question": "x"}, {"qid": "b", "question": "x"})
    assert (first.id, second.id, first["qid"], first.has_content_id) == ("1", "b", 1, False)
    for values in ([1, 1], [1, None], ["a[1]", "b"], [True, False]):
        given = [{"qid": value, "question": f"x {number}"} for number, value in enumerate(values)]
        assert all(case.has_content_id for case in read(*given))


def test_articles_of_squad_are_a_case_for_each_question(tmp_path: Path) -> None:
    path = tmp_path / "squad.json"
    questions = [
        {"id": "1", "question": "Where?", "answers": [{"text": "here", "answer_start": 1}]},
        {"id": "2", "question": "When?", "answers": [], "is_impossible": True},
    ]
    articles: list[Any] = [{"title": "A", "paragraphs": [{"context": "It is here.", "qas": questions}]}]
    path.write_text(json.dumps({"version": "1.1", "data": articles}))
    first, second = load_cases(path)
    assert (first.id, first.input, first.reference, first["context"]) == (
        "1",
        "Where?",
        "here",
        "It is here.",
    )
    assert (second.reference, second["title"], second["is_impossible"]) == ("", "A", True)
    faults: list[dict[str, Any]] = [{"paragraphs": {}}, {"paragraphs": [{"qas": 1}]}, {"paragraphs": [1]}]
    for broken in faults:
        path.write_text(json.dumps([broken]))
        with pytest.raises(CaseError, check=check_message):
            load_cases(path)


def test_an_id_that_is_null_in_all_rows_is_none(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"id": null, "input": "x"}\n{"id": null, "input": "y"}\n')
    assert all(case.has_content_id for case in load_cases(path))
    path.write_text('{"id": null, "input": "x"}\n{"id": "b", "input": "y"}\n')
    with pytest.raises(CaseError) as caught:
        load_cases(path)
    assert caught.value.line == 1


def test_only_rows_with_the_same_input_have_ids_of_the_whole_row() -> None:
    alone = read({"question": "May I?", "answer": "Yes."})
    corrected = read({"question": "May I?", "answer": "No.", "tags": ["late"]})
    assert alone[0].id == corrected[0].id
    twins = read(
        {"question": "May I?", "answer": "Yes."},
        {"question": "May I?", "answer": "No."},
        {"question": "May I not?"},
    )
    assert len({case.id for case in (*twins, *alone)}) == 4
    assert twins[2].id == read({"question": "May I not?"})[0].id
    # In another split, or with another file, an input is another one.
    others: list[dict[str, Any]] = [
        {"input": "May I?", "split": "dev"},
        {"input": "May I?", "files": ["a.png"]},
        {"input": "May I?"},
    ]
    for number, row in enumerate(others):
        assert read(row)[0].id == read(*others)[number].id
    turns = read({"turns": ["Hi", "Bye"]}, {"turns": ["Hi", {"say": "Bye", "when": {"called": ["a"]}}]})
    assert len({case.id for case in turns}) == 2


def test_rows_that_are_the_same_are_read_once_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("question,answer\nMay I?,Yes.\nMay I?,No.\nMay I?,Yes.\nMay I?,Yes.\n")
    assert [(case.reference, case.copies, case.line) for case in load_cases(path)] == [
        ("Yes.", 3, 2),
        ("No.", 1, 3),
    ]
    with pytest.raises(CaseError, check=check_message) as caught:
        read({"id": "a", "question": "x"}, {"id": "a", "question": "x"})
    assert caught.value.line == 2


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("Écrivez-nous à Zoë’s Straße!", "ecrivez-nous-a-zoes-strasse"),
        ("退货可以吗?", "case"),
        ("Tea退货 or caf\u0435", "or"),
        ("Mail jo@example.org or sk-abcdefghijklmnop1234 of order 20260711, 45 days", "mail-or-of-order-45-days"),
        ("", "case"),
        ({"b": [1]}, "case"),
        ("a" * 30 + " is long", "is-long"),
    ],
)  # fmt: skip
def test_the_words_of_an_id_are_plain_ones(text: Any, prefix: str) -> None:
    [case] = read({"input": text})
    assert case.id.rpartition("-")[0] == prefix
    assert parse_id(case.id) == case.id
    assert case.id.isascii()


@pytest.mark.slow
@pytest.mark.shared_data
def test_datasets_of_others_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "banking77.csv"
    path.write_bytes(gzip.decompress(shared("suites", "banking77", "test.csv.gz").read_bytes()))
    cases = load_cases(path)
    assert len({case.id for case in cases}) == len(cases) == 3080
    squad = tmp_path / "xquad.json"
    squad.write_bytes(gzip.decompress(shared("retrieval", "xquad", "xquad.de.json.gz").read_bytes()))
    assert [case.reference for case in load_cases(squad)[:1]] == ["308"]
    prompts = load_cases(shared("guardrails", "xstest", "xstest_prompts.csv"))
    assert (len(prompts), prompts[0].id) == (450, "1")
    chat = load_cases(shared("imports", "finetuning", "openai_cookbook_toy_chat.jsonl"))
    assert all(case.reference and case.reference not in json.dumps(case.input) for case in chat)
    fuzzy = load_cases(shared("imports", "openai_evals", "data", "test_fuzzy_match.jsonl"))
    assert all(case.reference and case.has_content_id for case in fuzzy)
    mail = load_cases(shared("guardrails", "indirect_injection", "bipia_email_train.jsonl"))
    assert (len(mail), all(case.reference for case in mail)) == (50, True)
    movements = load_cases(shared("imports", "openai_evals", "data", "2d_movement_first10.jsonl"))
    assert (len(movements) < 10, sum(case.copies for case in movements)) == (True, 10)
