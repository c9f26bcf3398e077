from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.errors import CaseError, UnknownName, UsageError
from pytest_llmops.judges.calibration.labels import Labels, Opinion, read_labels

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(*lines: object) -> Path:
        path = tmp_path / "labels.jsonl"
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        return path

    return written


def test_a_file_as_people_write_it(write: Write) -> None:
    path = write(
        {
            "id": "late-return",
            "question": "May I?",
            "answer": "Within 30 days.",
            "reference": "30 days",
            "contexts": ["Returns: 30 days"],
            "family": "returns",
            "human": {"anna": "Pass", "ben": False},
            "judge": 8,
            "note": "other keys are yours",
        },
        "",
        {"id": "two", "input": "Where?", "output": "There.", "human": {"ben": True, "cleo": None}},
        {"id": "three", "answer": "Nobody has looked.", "human": None, "judge": None},
    )
    labels = read_labels(path)
    assert (labels.kind, labels.raters, labels.path) == ("pass or fail", ("anna", "ben"), str(path))
    first, second, third = labels.rows
    assert (first.question, first.answer, first.reference) == ("May I?", "Within 30 days.", "30 days")
    assert (first.contexts, first.family, first.line) == (("Returns: 30 days",), "returns", 1)
    assert first.opinion == Opinion({"anna": True, "ben": False}, 8.0, judged=True)
    assert (second.question, second.answer, second.line) == ("Where?", "There.", 3)
    assert second.opinion == Opinion({"ben": True})
    assert third.opinion == Opinion({}, None, judged=True)
    assert [row.id for row in labels.labelled] == ["late-return", "two"]
    assert not all(row.opinion.judged for row in labels.labelled)
    assert read_labels(labels) is labels
    assert read_labels(str(path)) == labels


def test_labels_in_memory() -> None:
    labels = read_labels({"id": str(n), "human": [n, None, n + 1], "judge": n} for n in range(3))
    assert (labels.kind, labels.raters, labels.path) == ("number", ("1", "3"), "labels")
    assert labels.rows[2].opinion.labels == [2.0, 3.0]
    assert read_labels([{"id": "a", "human": "tie"}, {"id": "b", "human": " 1 "}]).kind == "name"


def test_labels_by_dimension() -> None:
    labels = read_labels(
        [
            {
                "id": "a",
                "human": True,
                "dimensions": {"tone": {"human": [4, 5], "judge": 3}, "help": {"judge": 2}},
            },
            {"id": "b", "human": False, "dimensions": {"tone": {"human": 1}}},
            {"id": "c", "human": False},
        ]
    )
    assert labels.dimensions == ("tone",)
    tone = labels.for_dimension("tone")
    assert (tone.kind, tone.raters) == ("number", ("1", "2"))
    assert [row.opinion.labels for row in tone.rows] == [[4.0, 5.0], [1.0], []]
    assert [row.opinion.judge for row in tone.rows] == [3.0, None, None]
    with pytest.raises(UnknownName, check=check_message):
        labels.for_dimension("tune")


def test_the_fingerprint_is_over_all_answers_and_labels_and_nothing_else() -> None:
    rows: list[dict[str, Any]] = [
        {"id": "a", "answer": "x", "human": [1, 2]},
        {"id": "b", "answer": "y", "human": [3]},
    ]
    known = read_labels(rows).fingerprint
    assert read_labels(rows[::-1]).fingerprint == known
    assert read_labels([{**row, "judge": 5} for row in rows]).fingerprint == known
    for change in (
        {"answer": "z"},
        {"human": [1, 3]},
        {"question": "?"},
        {"reference": "r"},
        {"contexts": ["c"]},
    ):
        assert read_labels([{**rows[0], **change}, rows[1]]).fingerprint != known


GOOD = {"id": "a", "human": True}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ([], None),
        (["{"], 1),
        ([GOOD, [1]], 2),
        ([GOOD, {"human": True}], 2),
        ([GOOD, {"id": 7, "human": True}], 2),
        ([GOOD, {"id": " ", "human": True}], 2),
        ([{"id": "x" * 201, "human": True}], 1),
        ([GOOD, {"id": "b", "human": True}, GOOD], 3),
        ([{"id": "a"}], None),
        ([{"id": "a", "human": []}, {"id": "b", "human": {}}], None),
        ([GOOD, {"id": "b", "human": 4}], 2),
        ([{"id": "a", "human": [4, "5"]}], 1),
        ([{"id": "a", "human": "A"}, {"id": "b", "human": True}], 2),
        ([GOOD, {"id": "b", "human": [[True]]}], 2),
        ([{"id": "a", "human": {"anna": {}}}], 1),
        ([{"id": "a", "human": " "}], 1),
        (['{"id": "a", "human": NaN}'], 1),
        (['{"id": "a", "human": 1, "human": 2}'], 1),
        ([{**GOOD, "judge": "A"}], 1),
        ([{"id": "a", "human": 3, "judge": True}], 1),
        ([{**GOOD, "answer": 3}], 1),
        ([{**GOOD, "contexts": "one"}], 1),
        ([{**GOOD, "answer": "a", "output": "b"}], 1),
        ([{**GOOD, "dimensions": []}], 1),
        ([{**GOOD, "dimensions": {"tone": 4}}], 1),
        ([{**GOOD, "dimensions": {"tone": {"human": [[]]}}}], 1),
    ],
)
def test_what_is_wrong_is_reported_with_its_line(write: Write, lines: list[object], line: int | None) -> None:
    path = write(*lines)
    with pytest.raises(CaseError, check=check_message) as caught:
        read_labels(path)
    assert (caught.value.path, caught.value.line) == (str(path), line)


def test_labels_of_a_dimension_are_of_one_kind() -> None:
    rows = [
        {"id": str(n), "human": True, "dimensions": {"tone": {"human": entry}}}
        for n, entry in enumerate([4, "good"])
    ]
    with pytest.raises(CaseError, check=check_message):
        read_labels(rows).for_dimension("tone")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_values_in_memory_that_no_file_can_hold(value: object) -> None:
    with pytest.raises(CaseError, match="labels:2"):
        read_labels([{"id": "a", "human": 1}, {"id": "b", "human": value}])


@pytest.mark.parametrize("given", [{"id": "a", "human": True}, 7, None])
def test_what_are_no_labels_at_all(given: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        read_labels(given)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"no such file @ .*none\.jsonl"):
        read_labels(tmp_path / "none.jsonl")


def test_labels_are_values() -> None:
    first, other = (read_labels([{"id": "a", "human": True}]) for _ in range(2))
    assert first == other
    assert isinstance(first, Labels)


def test_true_as_a_text_is_a_label_and_a_table_is_refused_with_the_way_out(tmp_path: Path) -> None:
    labels = read_labels([{"id": "a", "human": "True", "judge": True}, {"id": "b", "human": "FALSE"}])
    assert (labels.kind, labels.rows[1].opinion.labels) == ("pass or fail", [False])
    table = tmp_path / "answers.csv"
    table.write_text("answer,human\nNo.,true\n")
    with pytest.raises(CaseError, match=r"expected JSON lines, got a table: llmops docs calibration"):
        read_labels(table)
