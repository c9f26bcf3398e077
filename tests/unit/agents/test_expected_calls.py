"""How expected calls are written, what their arguments accept, and which are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any
from unittest import mock

import numpy as np
import pytest
from pydantic import BaseModel, field_validator

from pytest_llmops.agents import ToolUse, call, matches_schema, started
from pytest_llmops.agents.argument_values import compare_value
from pytest_llmops.agents.expected_calls import ExpectedCall
from pytest_llmops.errors import SchemaError, UsageError


class Colour(StrEnum):
    RED = "red"


class Plain(Enum):
    RED = "red"


@dataclass
class Point:
    x: int


class Order(BaseModel):
    id: str


def is_even(value: int) -> bool:
    return value % 2 == 0


def fail(_: object) -> bool:
    raise ZeroDivisionError("no")


class Broken(BaseModel):
    id: int

    @field_validator("id")
    @classmethod
    def check(cls, _: int) -> int:
        raise ZeroDivisionError("no")


class WithoutRepr:
    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        raise ZeroDivisionError("no")


def nest(depth: int) -> dict[str, object]:
    value: dict[str, object] = {}
    for _ in range(depth):
        value = {"x": value}
    return value


def accepts(expected: object, got: object) -> bool:
    return not compare_value(expected, got)


def test_a_call_is_shown_as_it_is_written() -> None:
    calls = {
        "call('refund')": call("refund"),
        "call('ping', {})": call("ping", {}),
        "call('refund', order_id='B-77', amount=20)": call("refund", order_id="B-77", amount=20),
        "call('refund', ..., order_id=str)": call("refund", ..., order_id=str),
        "call('refund', {'order-id': 'B-77'})": call("refund", {"order-id": "B-77"}),
        "call('refund', ..., {'order-id': 'B-77'})": call("refund", ..., {"order-id": "B-77"}),
        "call('refund', matches_schema({'type': 'object'}))": call(
            "refund", matches_schema({"type": "object"})
        ),
        "call('refund', note=re.compile('late'), n=is_even)": call(
            "refund", note=re.compile("late"), n=is_even
        ),
        "started('billing', [call('refund'), call('ping')])": started("billing", ["refund", call("ping")]),
        "started('billing')": started("billing"),
    }
    assert {text: repr(expected) for text, expected in calls.items()} == {text: text for text in calls}
    assert str(call("refund", order_id="B-77")) == "refund(order_id='B-77')"
    assert str(call("refund")) == "refund"
    assert len(repr(call("refund", note="x" * 5_000_000))) < 250


def test_arguments_are_compared_by_value_with_the_types_of_json() -> None:
    equal: list[tuple[object, object]] = [
        (1, 1.0),
        (None, None),
        ("a", "a"),
        (Colour.RED, "red"),
        (Decimal(20), 20),
        (pytest.approx(20), 20.000001),
        (pytest.approx([1.0, 2.0]), [1, 2]),
        ({"a": [1, {"b": True}]}, {"a": [1, {"b": True}]}),
        ((1, 2), [1, 2]),
        (10**400, 10**400),
    ]
    different: list[tuple[object, object]] = [
        (True, 1),
        (1, True),
        (0, False),
        (1.0, True),
        ("1", 1),
        (None, False),
        ("", None),
        ([1, 2], [2, 1]),
        ([1], [1, 1]),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1}, [1]),
        ([], {}),
        (pytest.approx(20), "x"),
        (pytest.approx(20), None),
        (pytest.approx([1, 2]), [True, 2]),
        (pytest.approx({"a": 1}), {"a": True}),
        (pytest.approx([True]), [1]),
    ]
    assert [pair for pair in equal if not accepts(*pair)] == []
    assert [pair for pair in different if accepts(*pair)] == []


def test_matchers_also_within_lists_and_mappings() -> None:
    equal: list[tuple[object, object]] = [
        (str, "x"),
        (int, 1),
        (float, 1),
        (float, 1.5),
        (bool, False),
        (list, []),
        (dict, {}),
        (type(None), None),
        (object, True),
        (re.compile("^b", re.IGNORECASE | re.MULTILINE), "a\nB"),
        (is_even, 4),
        (matches_schema({"minimum": 3}), 3),
        (matches_schema(Order), {"id": "x"}),
        (matches_schema(list[int]), [1]),
        (np.int64(1), 1),
        (np.bool_(True), True),
        ([pytest.approx(1)], [1.0000001]),
        (mock.ANY, True),
        ({"a": [str, {"b": is_even}]}, {"a": ["x", {"b": 2}]}),
    ]
    different: list[tuple[object, object]] = [
        (int, True),
        (int, 1.5),
        (float, True),
        (str, 1),
        (bool, 1),
        (Decimal(1), True),
        (pytest.approx(1), True),
        (np.int64(1), True),
        (np.bool_(True), 1),
        (re.compile("a"), 1),
        (re.compile(r"\w", re.ASCII), "é"),
        (is_even, 3),
        (is_even, "x"),
        (matches_schema({"minimum": 3}), 2),
        ({"a": [str]}, {"a": [1]}),
    ]
    assert [pair for pair in equal if not accepts(*pair)] == []
    assert [pair for pair in different if accepts(*pair)] == []


def test_each_difference_names_its_argument() -> None:
    expected = call(
        "refund",
        order={"id": "B-77", "items": [{"price": pytest.approx(20)}]},
        note=re.compile("late"),
        check=fail,
        shape=matches_schema({"type": "object", "properties": {"n": {"type": "integer"}}}),
        lack=1,
    )
    arguments: dict[str, Any] = {
        "order": {"id": "B-77", "items": [{"price": 200}]},
        "note": "early",
        "check": 1,
        "shape": {"n": "x"},
        "more": True,
    }
    differences = expected.compare_arguments(ToolUse(name="refund", arguments=arguments))
    lines = [str(difference).partition(" (test_")[0] for difference in differences]
    assert lines == [
        f"order.items[0].price: expected {pytest.approx(20)!r}, got 200",
        "note: expected re.compile('late'), got 'early'",
        "check: expected fail, got 1: the comparison raised ZeroDivisionError: no",
        'shape.n: expected integer, got "x" (string)',
        "lack: expected 1, got nothing",
        "more: not expected, got True",
    ]


def test_other_arguments_and_no_arguments() -> None:
    use = ToolUse(name="refund", arguments={"order_id": "B-77", "amount": 20})
    assert call("refund", ..., order_id="B-77").matches(use)
    assert call("refund", ..., order_id="B-77", lack=object).compare_arguments(use)[0].path == "lack"
    assert call("refund").matches(use)
    assert not call("refund", {}).matches(use)
    assert call("re*").matches(use)
    assert call("refund", lambda arguments: arguments["amount"] < 50).matches(use)
    assert not call("refund", lambda arguments: arguments["nothing"]).matches(use)
    assert not call("refund_all").matches(use)


def test_arguments_that_are_not_json_match_only_a_call_without_arguments() -> None:
    use = ToolUse(
        name="refund", text="{broken", problem="the arguments are not JSON: Expecting property name"
    )
    assert call("refund").matches(use)
    (difference,) = call("refund", ..., order_id="B-77").compare_arguments(use)
    assert str(difference).startswith(
        "expected ..., order_id='B-77', got '{broken': the arguments are not JSON"
    )


@pytest.mark.slow
def test_a_pattern_that_takes_too_long_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmops._util.timed_search.MAX_SECONDS", 0.05)
    (difference,) = compare_value(re.compile("(?:a|a?)+$(?#slow)"), "a" * 5_000 + "b", "note")
    assert "searches for more than 0.05 s in a text of 5,001 characters: nested repetitions" in str(
        difference
    )
    assert len(str(difference)) < 300


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (lambda: call(""), "call: expected the name of a tool or agent as its first argument, got ''"),
        (lambda: call(1), "call: expected the name of a tool or agent as its first argument, got 1"),  # type: ignore[arg-type]
        (lambda: call("a[b"), r"call('a[b'): it has a [ without a ]: write [[] for a literal bracket"),
        (lambda: call("a", "B-77"), "got 'B-77'; name each argument: call('a', order_id='B-77')"),
        (lambda: call("a", {"x": 1}, x=2), "argument 'x' is given twice"),
        (lambda: call("a", {1: 2}), "expected names of arguments that are texts, got 1"),
        (lambda: call("a", matches_schema({}), x=1), "is for all arguments; expected nothing else with it"),
        (lambda: call("a", x=float("nan")), "call('a'): x: expected a value, got NaN"),
        (lambda: call("a", x=[{"y": Order}]), "call('a'): x[0].y: expected one of the types str, int, float"),
        (
            lambda: call("a", x=list[int]),
            "call('a'): x: expected a value or a plain type, got list[int]; write matches_schema",
        ),
        (lambda: call("a", x={1: 2}), "call('a'): x: expected keys that are texts, as in JSON, got 1"),
        (lambda: call("a", x=nest(101)), "expected at most 100 levels of lists and mappings, got more"),
        (lambda: call("a", x=Decimal("20.1")), "got Decimal('20.1'), which no float is equal to; write 20.1"),
        (lambda: call("a", x=re.compile(b"x")), "expected a regular expression for text, got one for bytes"),
        (lambda: started("a", "refund"), "started('a'): expected a list of calls, got 'refund'"),
        (lambda: started("a", [1]), "started('a'): expected call('name', ...) or the name of a tool, got 1"),  # type: ignore[list-item]
    ],
)
def test_what_no_call_can_be_is_refused(write: Callable[[], object], problem: str) -> None:
    with pytest.raises(UsageError) as error:
        write()
    assert problem in str(error.value)


@pytest.mark.parametrize(
    "value",
    [date(2026, 1, 1), Plain.RED, {"a"}, b"a", range(2), Order(id="x"), Point(1), np.array([1, 2]), object()],
    ids=lambda value: type(value).__name__,  # without addresses, which differ between the workers of xdist
)
def test_a_value_that_is_equal_to_nothing_in_json_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match=r"call\('a'\): x\[0\]: .*, which is not equal to any value of JSON"):
        call("a", x=[value])


def test_a_number_as_a_text_is_named() -> None:
    assert str(compare_value(20, "20", "n")[0]) == "n: expected 20, got '20', which is a text"
    assert str(compare_value("20", 20, "n")[0]) == "n: expected '20', got 20, which is not a text"
    (difference,) = compare_value("caf\u00e9", "cafe\u0301")
    assert difference.got.endswith("which only looks the same: its Unicode form differs (NFC, NFD)")


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (matches_schema(Broken), "the comparison raised ZeroDivisionError: no"),
        (lambda _: None, "the function returned None; expected it to return true or false"),
        (fail, "the comparison raised ZeroDivisionError: no"),
    ],
)
def test_code_of_a_test_that_gives_no_answer_is_an_uncertain_difference(expected: object, text: str) -> None:
    (difference,) = compare_value(expected, {"id": 1})
    assert not difference.is_certain
    assert text in difference.got


def test_an_object_whose_repr_raises_is_shown_by_its_type() -> None:
    assert str(compare_value(WithoutRepr(), 1, "x")[0]) == "x: expected <WithoutRepr>, got 1"


def test_deep_arguments_of_a_reference_are_an_uncertain_difference() -> None:
    deep, other = nest(2_000), nest(2_000)
    expected = ExpectedCall(name="a", mode="exact", arguments={"x": deep})
    (difference,) = expected.compare_arguments(ToolUse(name="a", arguments={"x": other}))  # type: ignore[dict-item]
    assert (difference.is_certain, difference.got) == (False, "the arguments are nested too deeply")


def test_an_invalid_schema_names_its_fault() -> None:
    with pytest.raises(
        SchemaError, match=r"matches_schema: schema: no valid JSON Schema at \$.type: unknown type \"txt\""
    ):
        matches_schema({"type": "txt"})
