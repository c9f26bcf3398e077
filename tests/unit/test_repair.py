"""Ask a model again until its answer fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest
from support.messages import check_message

from pytest_llmops import assert_schema, repair
from pytest_llmops.errors import MeasurementFailed, ModelError, SchemaError, UsageError
from pytest_llmops.prompts.registry import Prompt, read_prompt

SCHEMA = {"title": "Order", "type": "object", "properties": {"qty": {"type": "integer"}}, "required": ["qty"]}


class Order(pydantic.BaseModel):
    qty: int


def scripted(*answers: object) -> tuple[Any, list[tuple[object, str]]]:
    """A model that gives these answers, and what it was asked."""
    left, requests = list(answers), list[tuple[object, str]]()

    def ask(answer: object, request: str) -> object:
        requests.append((answer, request))
        return left.pop(0)

    return ask, requests


def prompt_with(tmp_path: Path, head: str) -> Prompt:
    path = tmp_path / "v1.md"
    path.write_text(f"---\n{head}\n---\nHi", encoding="utf-8")
    return read_prompt(path, name="order", version="v1")


def test_an_answer_that_fits_is_not_requested_again() -> None:
    ask, requests = scripted()
    assert repair(ask, 'Here: {"qty": 2}', schema=SCHEMA) == {"qty": 2}
    assert requests == []


def test_the_model_reads_what_is_wrong(tmp_path: Path) -> None:
    prompt = prompt_with(
        tmp_path,
        "output_schema: {title: Order, type: object, properties: {qty: {type: integer}}, required: [qty]}",
    )
    for schema in (SCHEMA, Order, prompt):
        ask, requests = scripted("no JSON at all", '{"qty": 2}')
        assert repair(ask, '{"qty": "two"}', schema=schema) == {"qty": 2}
        assert [answer for answer, _ in requests] == ['{"qty": "two"}', "no JSON at all"]
        check_message([request for _, request in requests])


@pytest.mark.parametrize(
    "answer", [None, "", 3, "{", '{"qty": 1, "qty": 2}', '{"qty": 1} or {"qty": 2}', "[1]"], ids=repr
)
def test_what_never_fits_is_an_error_after_so_many_requests(answer: object) -> None:
    ask, requests = scripted(*[answer] * 9)
    with pytest.raises(ModelError, check=check_message) as caught:
        repair(ask, answer, schema=SCHEMA, at_most=3)
    assert caught.value.kind == "reply"
    assert len(requests) == 3
    with pytest.raises(ModelError):
        repair(ask, answer, schema=SCHEMA, at_most=0)
    assert len(requests) == 3


@pytest.mark.parametrize("at_most", [-1, 1.5, True, None, "2"])
def test_a_count_that_is_none(at_most: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        repair(scripted()[0], "{}", schema=SCHEMA, at_most=at_most)


def test_a_schema_that_is_broken_is_no_reason_to_ask() -> None:
    ask, requests = scripted("x")
    with pytest.raises(SchemaError):
        repair(ask, "{}", schema={"type": "objekt"})
    assert requests == []


def test_assert_schema_takes_a_prompt(tmp_path: Path) -> None:
    prompt = prompt_with(tmp_path, "output_schema: {title: Order, required: [qty]}")
    assert assert_schema('{"qty": 1}', prompt).label == "Order"
    with pytest.raises(MeasurementFailed):
        assert_schema("{}", prompt)
    for use in (assert_schema, lambda answer, schema: repair(scripted()[0], answer, schema=schema)):
        with pytest.raises(UsageError, check=check_message):
            use("{}", prompt_with(tmp_path, "model: m"))
