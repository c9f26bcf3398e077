from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmops.errors import CaseError, UnknownName, UsageError
from pytest_llmops.labels import Labels, Opinion, read_labels

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(*lines: object) -> Path:
        path = tmp_path / "labels.jsonl"
        texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
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
    assert not labels.judged
    assert read_labels(labels) is labels
    assert read_labels(str(path)) == labels


def test_labels_in_memory() -> None:
    labels = read_labels({"id": str(n), "human": [n, None, n + 1], "judge": n} for n in range(3))
    assert (labels.kind, labels.raters, labels.path, labels.judged) == ("number", ("1", "3"), "labels", True)
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
    tone = labels.of("tone")
    assert (tone.kind, tone.raters) == ("number", ("1", "2"))
    assert [row.opinion.labels for row in tone.rows] == [[4.0, 5.0], [1.0], []]
    assert [row.opinion.judge for row in tone.rows] == [3.0, None, None]
    with pytest.raises(
        UnknownName, match=r"unknown dimension 'tune' \(dimensions of labels\): known are tone; did you mean"
    ):
        labels.of("tune")


def test_the_fingerprint_is_over_all_that_is_judged_and_said_and_nothing_else() -> None:
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


@pytest.mark.parametrize(
    ("lines", "what", "line"),
    [
        ([], "no answer in the file: expected at least one", None),
        (["{"], "broken JSON", 1),
        ([GOOD, [1]], "expected an object with keys, got a list", 2),
        ([GOOD, {"human": True}], 'missing key "id": every answer has one of its own', 2),
        ([GOOD, {"id": 7, "human": True}], "id: expected a text, got a number 7: write it in quotes", 2),
        ([GOOD, {"id": " ", "human": True}], "id: expected a text of 1 to 200 characters", 2),
        ([{"id": "x" * 201, "human": True}], "id: expected a text of 1 to 200 characters", 1),
        ([GOOD, {"id": "b", "human": True}, GOOD], r"duplicate id 'a' \(first in line 1\)", 3),
        ([{"id": "a"}], r'nobody labelled anything: expected "human" in at least one line', None),
        ([{"id": "a", "human": []}, {"id": "b", "human": {}}], "nobody labelled anything", None),
        ([GOOD, {"id": "b", "human": 4}], "human: expected true or false as in line 1, got 4", 2),
        (
            [{"id": "a", "human": [4, "5"]}],
            'human: expected a number as in line 1, got "5": write it without quotes',
            1,
        ),
        (
            [{"id": "a", "human": "A"}, {"id": "b", "human": True}],
            "human: expected a name as in line 1, got true",
            2,
        ),
        (
            [GOOD, {"id": "b", "human": [[True]]}],
            r"human\[1\]: expected true or false, a number, a name or null, got a list",
            2,
        ),
        (
            [{"id": "a", "human": {"anna": {}}}],
            "human.anna: expected true or false, a number, a name or null",
            1,
        ),
        ([{"id": "a", "human": " "}], "human: expected a name of 1 to 100 characters", 1),
        (['{"id": "a", "human": NaN}'], "NaN is no JSON", 1),
        (['{"id": "a", "human": 1, "human": 2}'], "the key 'human' stands twice", 1),
        (
            [{**GOOD, "judge": "A"}],
            'judge: expected true or false or a number, as people\'s labels are, got "A"',
            1,
        ),
        (
            [{"id": "a", "human": 3, "judge": True}],
            "judge: expected a number, as people's labels are, got true",
            1,
        ),
        ([{**GOOD, "answer": 3}], "answer: expected a text, got a number", 1),
        ([{**GOOD, "contexts": "one"}], "contexts: expected a list of texts", 1),
        (
            [{**GOOD, "answer": "a", "output": "b"}],
            "output: the same as answer, which stands there too: keep one",
            1,
        ),
        ([{**GOOD, "dimensions": []}], "dimensions: expected an object of dimensions, got a list", 1),
        (
            [{**GOOD, "dimensions": {"tone": 4}}],
            "dimensions.tone: expected an object with human, got a number",
            1,
        ),
        (
            [{**GOOD, "dimensions": {"tone": {"human": [[]]}}}],
            r"dimensions.tone.human\[1\]: expected true or false",
            1,
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    write: Write, lines: list[object], what: str, line: int | None
) -> None:
    path = write(*lines)
    with pytest.raises(CaseError, match=what) as caught:
        read_labels(path)
    assert (caught.value.path, caught.value.line) == (str(path), line)


def test_labels_of_a_dimension_are_of_one_kind() -> None:
    rows = [
        {"id": str(n), "human": True, "dimensions": {"tone": {"human": one}}}
        for n, one in enumerate([4, "good"])
    ]
    with pytest.raises(
        CaseError, match=r'dimensions\.tone\.human: expected a number as in line 1, got "good"'
    ):
        read_labels(rows).of("tone")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_values_in_memory_that_no_file_can_hold(value: object) -> None:
    with pytest.raises(CaseError, match="labels:2"):
        read_labels([{"id": "a", "human": 1}, {"id": "b", "human": value}])


@pytest.mark.parametrize("given", [{"id": "a", "human": True}, 7, None])
def test_what_are_no_labels_at_all(given: Any) -> None:
    with pytest.raises(
        UsageError, match="labels: expected the path of a file, or a list of objects with id and human"
    ):
        read_labels(given)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"no such file @ .*none\.jsonl"):
        read_labels(tmp_path / "none.jsonl")


def test_labels_are_values() -> None:
    one, other = (read_labels([{"id": "a", "human": True}]) for _ in range(2))
    assert one == other
    assert isinstance(one, Labels)
