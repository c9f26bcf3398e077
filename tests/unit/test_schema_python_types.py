from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import BaseModel, ConfigDict, Field
from support.messages import check_message
from typing_extensions import TypedDict

from pytest_llmops import schemas
from pytest_llmops.measurement import Json
from pytest_llmops.schemas.python_types import type_name


def texts(schema: object, value: Json) -> list[tuple[str, str]]:
    return [(difference.path, difference.text) for difference in schemas.load(schema).differences(value)]


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid")
    sku: str
    qty: int = Field(ge=1)


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    age: int
    name: str = ""


class Order(BaseModel):
    items: list[Item]
    total: float
    pet: Cat | Dog | None = None
    note: int | list[int] | None = None
    tagged: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None


def test_a_pydantic_model() -> None:
    schema = schemas.load(Order)
    assert schema.name == "Order"
    assert schema.differences({"items": [{"sku": "a", "qty": "2"}], "total": 1}) == []
    check_message(texts(Order, {"items": [{"sku": 1, "qty": 0, "qyt": 1}], "totl": 3}))


@pytest.mark.parametrize(
    "extra",
    [
        {"pet": {"kind": "cat"}},
        {"pet": {"kind": "dog", "age": [], "name": 1}},
        {"note": {}},
        {"tagged": {"kind": "cat"}},
    ],
)  # fmt: skip
def test_a_union_of_models(extra: dict[str, Any]) -> None:
    check_message(texts(Order, {"items": [], "total": 1, **extra}))


def test_strict_models_are_strict() -> None:
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)
        qty: int

    assert texts(Strict, {"qty": "2"}) == [("$.qty", 'expected a valid integer | got "2" (string)')]


@dataclass
class Point:
    x: int
    y: int = 0


class Row(TypedDict):
    id: int


@pytest.mark.parametrize(
    ("schema", "name", "good", "bad", "line"),
    [
        (Point, "Point", {"x": 1}, {}, ("$.x", "missing")),
        (Row, "Row", {"id": 1}, {"id": "x"}, ("$.id", 'expected a valid integer, unable to parse string as an integer | got "x" (string)')),
        (list[Item], "list[Item]", [], [{"sku": "a"}], ("$[0].qty", "missing")),
        (dict[str, int], "dict[str, int]", {"a": 1}, {"a": None}, ("$.a", "expected a valid integer | got null")),
        (Cat | None, "Cat | None", None, {"kind": "cat"}, ("$.lives", "missing")),
        (int, "int", 1, [], ("$", "expected a valid integer | got array of 0")),
        (Annotated[int, Field(ge=1), ["unhashable"]], None, 1, 0, ("$", "expected greater than or equal to 1 | got 0 (integer)")),
    ],
)  # fmt: skip
def test_other_types(schema: object, name: str | None, good: Json, bad: Json, line: tuple[str, str]) -> None:
    loaded = schemas.load(schema)
    assert name is None or loaded.name == name
    assert loaded.differences(good) == []
    assert texts(schema, bad) == [line]


def test_names_of_types() -> None:
    assert type_name(dict[str, list[Order]]) == "dict[str, list[Order]]"
    assert type_name(Order | None) == type_name(Optional[Order]) == "Order | None"  # noqa: UP045
