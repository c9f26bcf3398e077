"""The schema that a condition about parsed JSON becomes, and the schema of its opposite."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.imported_checks import carry
from support.messages import check_message

from pytest_llmops.imports.code_tree import Literal, UnknownCode
from pytest_llmops.imports.javascript_syntax import read_javascript
from pytest_llmops.imports.json_conditions import write_schema
from pytest_llmops.imports.schema_merge import merge_schemas
from pytest_llmops.measurement import Json

ROWS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "support" / "data" / "schemas_of_conditions.json").read_text(
        encoding="utf-8"
    )
)


def write(code: str, *, positive: bool) -> Json:
    """The schema of a condition about ``d``; None: it is refused."""
    try:
        return write_schema(read_javascript(code), "d", positive=positive)
    except UnknownCode as error:
        check_message(str(error))
        return None


def test_each_condition_and_its_opposite_have_their_schema() -> None:
    written = [
        {
            "code": row["code"],
            "holds": write(row["code"], positive=True),
            "fails": write(row["code"], positive=False),
        }
        for row in ROWS
    ]
    assert written == ROWS


def test_numbers_in_the_schemas_are_whole_where_they_can_be() -> None:
    schema = write("d.n >= 2 && d.m === 3 && d.l.length > 1", positive=True)
    assert json.dumps(schema) == (
        '{"type": "object", "properties": {"n": {"type": "number", "minimum": 2}, "m": {"const": 3}, '
        '"l": {"type": ["array", "string"], "minItems": 2, "minLength": 2}}, "required": ["n", "m", "l"]}'
    )


def test_a_length_counts_as_true_unless_it_is_0() -> None:
    (check,) = carry("javascript", "JSON.parse(output).a.length && JSON.parse(output).b === 1")
    assert check.value == {
        "type": "object",
        "properties": {
            "a": {"type": ["array", "string"], "minItems": 1, "minLength": 1},
            "b": {"const": 1},
        },
        "required": ["a", "b"],
    }


@pytest.mark.parametrize("operator", ["==", "==="])
def test_null_is_not_undefined_to_typeof(operator: str) -> None:
    schema = write(f"typeof d.a {operator} 'undefined'", positive=True)
    assert schema == {"type": "object", "properties": {"a": False}}


@pytest.mark.parametrize(
    ("left", "right", "merged"),
    [
        ({"items": {}}, {"prefixItems": []}, {"allOf": [{"items": {}}, {"prefixItems": []}]}),
        ({"allOf": [{"a": 1}]}, {"allOf": [{"a": 2}]}, {"allOf": [{"a": 1}, {"a": 2}]}),
        ({"pattern": "a"}, {"pattern": "b"}, {"allOf": [{"pattern": "a"}, {"pattern": "b"}]}),
        (
            {"allOf": [{"items": 1}]},
            {"items": {}, "prefixItems": []},
            {"allOf": [{"items": 1}, {"items": {}, "prefixItems": []}]},
        ),
        ({"minimum": 1, "maximum": 9}, {"minimum": 2, "maximum": 8}, {"minimum": 2, "maximum": 8}),
        ({"minimum": 2, "maximum": 8}, {"minimum": 1, "maximum": 9}, {"minimum": 2, "maximum": 8}),
        ({"const": 1}, {"const": 2}, {"allOf": [{"const": 1}, {"const": 2}]}),
        ({"type": 5}, {"type": "string"}, {"allOf": [{"type": 5}, {"type": "string"}]}),
        ({"type": "string"}, {"type": 5}, {"allOf": [{"type": "string"}, {"type": 5}]}),
        (
            {"type": ["array", "string", "null"]},
            {"type": ["null", "object", "array"]},
            {"type": ["array", "null"]},
        ),
        (
            {"type": ["integer", "string"]},
            {"type": ["string", "null"]},
            {"allOf": [{"type": ["integer", "string"]}, {"type": ["string", "null"]}]},
        ),
        ({"properties": {"a": {}}}, {"properties": {"a": False}}, {"properties": {"a": False}}),
        ({"properties": {"a": False}}, {"properties": {"a": {}}}, {"properties": {"a": False}}),
        (
            {"properties": {"a": True}},
            {"properties": {"a": {"type": "null"}}},
            {"properties": {"a": {"allOf": [True, {"type": "null"}]}}},
        ),
        (
            {"prefixItems": [{"const": 1}]},
            {"prefixItems": [{}, {"const": 2}]},
            {"prefixItems": [{"const": 1}, {"const": 2}]},
        ),
        ({"required": ["a", "b"]}, {"required": ["b", "c"]}, {"required": ["a", "b", "c"]}),
        ({"not": {"anyOf": [1, 2]}}, {"not": {"const": 3}}, {"not": {"anyOf": [1, 2, {"const": 3}]}}),
        ({"required": 5}, {"required": []}, {"allOf": [{"required": 5}, {"required": []}]}),
    ],
)
def test_what_fits_the_merged_schema_fits_both(
    left: dict[str, Json], right: dict[str, Json], merged: dict[str, Json]
) -> None:
    before = json.dumps([left, right])
    assert merge_schemas(left, right) == merged
    assert json.dumps([left, right]) == before


def test_a_constant_has_no_schema() -> None:
    with pytest.raises(UnknownCode):
        write_schema(Literal(value=True), "d")
