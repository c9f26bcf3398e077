"""A real model of 135 million parameters as a judge on the Responses API, and a model that knows what is right.

Asked for a reason, the small model copies the answer, which is no verdict. What real models say as judges in chat
completions is in the example judge_check.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from support import knowing_judge
from support.knowing_judge import KnowingJudge
from support.local_judge import LABELS, NOWHERE, RUBRIC, local_judge, packed
from support.tapes import taped

from pytest_llmops import recorder
from pytest_llmops.assertions.judge_agreement import assert_judge_agrees
from pytest_llmops.errors import MeasurementErrored
from pytest_llmops.judges import Rubric
from pytest_llmops.judges.rubric import Pairwise, Preference, quality
from pytest_llmops.protocols import Model
from pytest_llmops.providers.openai import OpenAIModel

pytestmark = pytest.mark.usefixtures("alone")
Lines = Callable[[BaseException], list[str]]
ROWS: list[dict[str, Any]] = [json.loads(line) for line in LABELS.read_text(encoding="utf-8").splitlines()]
HUMAN = [bool(row["human"]) for row in ROWS]
PAIRS = list(zip(ROWS[::2], ROWS[1::2], strict=True))
"""A right and a wrong answer to the same question."""
JUDGES: dict[str, Callable[[Model], Rubric]] = {
    "quality": quality,
    "right": lambda model: Rubric(RUBRIC, model),
}
SHOWN = {"quality": "`quality`, from 7 of 10", "right": "a rubric file, pass/fail"}
both = pytest.mark.parametrize("name", JUDGES)


def test_the_labels_are_pairs_of_a_right_and_a_wrong_answer() -> None:
    assert len(PAIRS) == 32
    assert all((right["human"], wrong["human"]) == (True, False) for right, wrong in PAIRS)
    assert all(right["question"] == wrong["question"] for right, wrong in PAIRS)
    assert len({row["answer"] for row in ROWS}) == len(ROWS)


def _listed(value: object) -> list[dict[str, Any]]:
    assert isinstance(value, list)
    return value


def preferences(model: Model) -> list[Preference]:
    judge = Pairwise(model=model)
    return [
        judge.compare(
            right["answer"], wrong["answer"], question=right["question"], reference=right["reference"]
        )
        for right, wrong in PAIRS
    ]


@pytest.mark.slow
def test_a_server_that_does_not_hold_the_responses_api_to_a_form_gives_no_score() -> None:
    """It takes `text.format` and tools, and answers in prose: it is asked in each form, and gives a verdict in none."""
    with local_judge("responses", "responses") as model:
        judge = quality(model)
        verdicts = [
            judge.judge(row["answer"], question=row["question"], reference=row["reference"])
            for row in ROWS[:3]
        ]
    for verdict in verdicts:
        assert verdict.score is None
        assert verdict.error.startswith("no verdict after 5 tries: ")
        assert verdict.raw.startswith("try 1: ")
        assert "\n\ntry 5: " in verdict.raw
    bodies = [interaction["request"]["body"]["json"] for interaction in interactions("responses")]
    formats = [body.get("text", {}).get("format", {}).get("type", "text") for body in bodies]
    assert Counter(
        "tool" if "tools" in body else kind for body, kind in zip(bodies, formats, strict=True)
    ) == {
        "json_schema": 3,
        "tool": 3,
        "json_object": 3,
        "text": 6,
    }
    for interaction in interactions("responses"):
        (answer,) = interaction["answers"]["0"]
        assert interaction["request"]["url"].endswith("/responses")
        assert answer["status"] == 200
        assert "seed" not in interaction["request"]["body"]["json"]


def test_unscored_answers_of_the_responses_api_are_an_error_and_no_kappa() -> None:
    with local_judge("responses", "responses") as model:
        judge = quality(model)
        with pytest.raises(MeasurementErrored) as caught:
            assert_judge_agrees(judge, ROWS[:3], at_least_labels=3)
        for row in ROWS[1:3]:  # after the first nothing more was asked
            judge.judge(row["answer"], question=row["question"], reference=row["reference"])
    assert "1 of 3 answers got no score, more than 5%" in str(caught.value)


def interactions(cassette: str) -> list[dict[str, Any]]:
    stored = json.loads(gzip.decompress(packed(cassette).read_bytes()))["interactions"]
    return _listed(stored)


@both
@pytest.mark.slow
def test_a_model_that_knows_what_is_right_passes(name: str, tmp_path: Path) -> None:
    path = tmp_path / "knowing.json"
    with KnowingJudge(right["answer"] for right, _ in PAIRS) as server:
        live = agreement(name, path, "new", f"{server.url}/v1")
        assert server.count == len(ROWS)
    again = agreement(name, path, "none", NOWHERE)
    assert live == again
    assert again["kappa"] == again["tnr"] == again["tpr"] == 1
    assert again["kappa_lower"] == 1


@pytest.mark.slow
def test_such_a_model_prefers_the_right_answer_in_both_orders(tmp_path: Path) -> None:
    path = tmp_path / "knowing.json"
    with KnowingJudge(right["answer"] for right, _ in PAIRS) as server, taped(path, "new"):
        live = preferences(OpenAIModel(knowing_judge.MODEL, base_url=f"{server.url}/v1"))
    with taped(path):
        again = preferences(OpenAIModel(knowing_judge.MODEL, base_url=NOWHERE))
    assert again == live
    assert [(pair.winner, pair.consistent) for pair in again] == [("first", True)] * 32


def agreement(name: str, path: Path, mode: Literal["new", "none"], address: str) -> dict[str, float | None]:
    model = OpenAIModel(knowing_judge.MODEL, base_url=address, purpose="judge")
    with taped(path, mode), recorder.collect() as measurements:
        assert_judge_agrees(JUDGES[name](model), LABELS, at_least_tnr=0.7, at_least_tpr=0.7)
    return {
        measurement.name.removeprefix(f"judge.{name}."): measurement.value for measurement in measurements
    }
