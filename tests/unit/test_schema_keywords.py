"""`multipleOf`, `uniqueItems` and patterns, which are computed here."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import check_message

from pytest_llmops import MeasurementErrored, assert_schema, schemas
from pytest_llmops.errors import SchemaError
from pytest_llmops.schemas.json_schema import DRAFTS, are_unique, is_multiple

AMOUNT = {"type": "object", "properties": {"p": {"multipleOf": 0.01}}}


def texts(schema: object, value: Any) -> list[str]:
    return [difference.text for difference in schemas.load(schema).differences(value)]


@pytest.mark.parametrize(
    ("number", "of", "fits"),
    [
        (19.99, 0.01, True), (1.15, 0.01, True), (4.35, 0.01, True), (0.3, 0.1, True), (-0.3, 0.1, True), (0, 0.1, True),
        (19.995, 0.01, False), (0.35, 0.1, False), (1, 1.5, False), (1e-8, 1e-9, True),
        (10**400, 0.01, True), (10**400 + 1, 2, False), (10**400 + 1, 0.5, True), (1e308, 0.123456789, False),
        (2**53 + 1, 2, False), (7.0, 7, True),
    ],
)  # fmt: skip
def test_a_multiple_is_one_in_decimals(number: float, of: float, fits: bool) -> None:
    schema = {"type": "object", "properties": {"p": {"multipleOf": of}}}
    assert is_multiple(number, of) is fits
    assert (texts(schema, {"p": number}) == []) is fits


def test_prices_are_multiples_of_a_cent() -> None:
    assert assert_schema('{"p": 19.99}', AMOUNT).value == 1.0
    check_message(texts(AMOUNT, {"p": 19.999}))
    assert texts(AMOUNT, {"p": "19.999"}) == []


@given(cents=st.integers(-(10**12), 10**12), places=st.integers(0, 4), off=st.booleans())
def test_every_decimal_that_floats_hold_is_a_multiple_of_its_last_place(
    cents: int, places: int, off: bool
) -> None:
    step = Decimal(1).scaleb(-places)
    number = float(cents * step + (step / 2 if off else 0))
    assert is_multiple(number, float(step)) is not off
    assert (texts({"multipleOf": float(step)}, number) == []) is not off


json_values = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 1.0, -0.0, 0.5, 2**53, 2.0**53, "", "1", "true", "\ud800"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@given(items=st.lists(json_values, max_size=6))
def test_items_are_equal_where_jsonschema_says_so(items: list[Any]) -> None:
    assert are_unique(items) is jsonschema.Draft202012Validator({"uniqueItems": True}).is_valid(items)


@pytest.mark.slow
def test_equal_objects_are_found_in_linear_time() -> None:
    # jsonschema itself compares each pair of objects: 20,000 would take minutes.
    items: list[Any] = [{"id": number, "tags": [{"n": number}]} for number in range(20_000)]
    assert texts({"uniqueItems": True}, items) == []
    repeated = [*items, {"tags": [{"n": 7.0}], "id": 7}]
    assert texts({"uniqueItems": True}, repeated) == [
        "expected a value of different items | got array of 20,001"
    ]
    assert texts({"uniqueItems": False, "type": "array"}, repeated) == []


@pytest.mark.parametrize("inner", DRAFTS.values())
def test_a_part_in_another_draft_keeps_them(inner: str) -> None:
    part = {"$schema": inner, "multipleOf": 0.01, "not": {"multipleOf": 0.1}}
    part["id" if "draft-04" in inner else "$id"] = "https://example.org/part"
    schema = {"$defs": {"part": part}, "properties": {"p": {"$ref": "https://example.org/part"}}}
    if "draft-04" in inner:
        # An `id` is none in the outer draft, so nothing could refer to it.
        schema = {"properties": {"p": part}}
    assert texts(schema, {"p": 19.99}) == []
    assert len(texts(schema, {"p": 19.999})) == 1
    assert len(texts(schema, {"p": 0.3})) == 1


@pytest.mark.parametrize("uri", DRAFTS.values())
def test_the_schema_of_every_draft_can_be_referred_to(uri: str) -> None:
    schema = {"properties": {"s": {"$ref": uri}}}
    assert texts(schema, {"s": {"type": "object"}}) == []
    assert len(texts(schema, {"s": {"type": 1}})) == 1


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({"pattern": r"^\d$"}, "\u0663", True),
        ({"pattern": r"^\D$"}, "\u0663", False),
        ({"pattern": "^a$"}, "a\n", True),
        ({"pattern": "a.b"}, "a\u2028b", True),
        ({"type": "object", "dependencies": {"a": ["b"]}}, {"a": 1}, True),
        ({"$schema": DRAFTS["Draft7Validator"], "type": "string", "contentEncoding": "base64"}, "!!", True),
    ],
)  # fmt: skip
def test_patterns_are_pythons_and_encodings_are_not_looked_at(
    schema: dict[str, Any], value: Any, fits: bool
) -> None:
    assert (texts(schema, value) == []) is fits


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    "value",
    [
        {1: 2},
        {"a": [{None: 1}]},
        {"a": {1, 2}},
        {"a": ({"b": frozenset()},)},
    ],
)
def test_what_only_python_can_hold_is_no_json(value: Any) -> None:
    with pytest.raises(MeasurementErrored) as caught:
        assert_schema(value, {"type": "object"})
    check_message(caught.value.measurement.error)
    assert assert_schema({"a": (1, 2)}, {"type": "object"}).detail["parsed"] == {"a": [1, 2]}


SLOW = "^(a|a)+$"  # takes both engines a time that doubles with each letter
FAST = "^(a+)+$"  # takes only `re` such a time
LETTERS = "a" * 60 + "!"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": SLOW}, LETTERS),
        ({"patternProperties": {SLOW: {}}}, {LETTERS: 1}),
        ({"patternProperties": {SLOW: {}}, "additionalProperties": False}, {LETTERS: 1}),
        ({"additionalProperties": False, "patternProperties": {SLOW: {}}}, {LETTERS: 1}),
        ({"properties": {"a": {"anyOf": [{"type": "null"}, {"pattern": SLOW}]}}}, {"a": LETTERS}),
    ],
)
def test_a_pattern_that_takes_too_long_is_an_error(
    schema: dict[str, Any], value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmops._util.timed_search.MAX_SECONDS", 0.01)
    with pytest.raises(
        SchemaError, match=r"^schema: the pattern '.*' searches for more than 0.01 s in a text of 61"
    ):
        texts(schema, value)


def test_patterns_that_only_re_finds_slow_are_searched() -> None:
    (text,) = texts({"pattern": FAST}, LETTERS)
    assert text.startswith("expected a value matching ^(a+)+$ | got")
    assert texts({"patternProperties": {FAST: False}}, {LETTERS: 1, "aa": 2}) == [
        "expected nothing here | got 2 (integer)"
    ]
    closed = {"properties": {"b": {}}, "patternProperties": {FAST: {}}, "additionalProperties": False}
    assert texts(closed, {LETTERS: 1, "aa": 2, "b": 3}) == ["unknown key"]
    typed = {"patternProperties": {FAST: {}}, "additionalProperties": {"type": "string"}}
    assert texts(typed, {LETTERS: 1, "aa": 2}) == ["expected string | got 1 (integer)"]
