from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from support.messages import check_message

from pytest_llmops import schemas
from pytest_llmops.errors import SchemaError
from pytest_llmops.measurement import Json
from pytest_llmops.schemas.differences import (
    MAX_DIFFERENCES,
    Difference,
    FormMismatch,
    describe_json_value,
    format_json_path,
    missing_key_difference,
    nearest_form_differences,
    short_json,
    unknown_key_difference,
)
from pytest_llmops.schemas.json_schema import compile_schema


def texts(schema: object, value: Json) -> list[tuple[str, str]]:
    return [(difference.path, difference.text) for difference in schemas.load(schema).differences(value)]


INTEGER = {"type": "integer", "minimum": 1}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (INTEGER, "two"),
        (INTEGER, 0),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, 2.5),
        ({"type": ["string", "null"]}, True),
        ({"type": "string", "minLength": 2, "pattern": "^a"}, "b"),
        ({"enum": ["a", 1, None]}, "b"),
        ({"enum": list(range(10))}, 11),
        ({"const": {"a": 1}}, []),
        ({"type": "object"}, None),
        ({"type": "array", "minItems": 1}, {}),
        ({"minProperties": 2}, {"a": 1}),
        ({"uniqueItems": True}, [1, 1]),
        ({"multipleOf": 5}, 3),
        ({"not": {"type": "null"}}, None),
        ({"properties": {"a": False}}, {"a": 1}),
        ({"contains": {"const": 1}}, [2]),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 1),
        ({"format": "date-time"}, "tomorrow"),
    ],
)  # fmt: skip
def test_one_difference_in_words(schema: dict[str, Any], value: Json) -> None:
    ((_, text),) = texts(schema, value)
    check_message(text)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date", "2026-02-28", "2026-02-30"),
        ("date-time", "2026-02-28T12:00:00.5Z", "2026-02-28T25:00:00Z"),
        ("date-time", "2026-02-28t12:00:00+01:00", "2026-02-28T12:00:00"),
        ("email", "a@example.org", "a"),
        ("ipv4", "127.0.0.1", "127.0.0.256"),
        ("ipv6", "::1", "::g"),
        ("regex", "a+", "a("),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
    ],
)
def test_formats_are_checked(name: str, good: str, bad: str) -> None:
    schema = {"format": name}
    assert texts(schema, good) == texts(schema, 5) == []
    assert len(texts(schema, bad)) == 1


def test_differences_come_with_their_paths_in_the_order_of_the_schema() -> None:
    item = {"type": "object", "properties": {"qty": INTEGER}, "required": ["qty", "sku"]}
    schema = {
        "properties": {"items": {"items": item}, "an odd key": INTEGER},
        "required": ["total", "items"],
        "additionalProperties": False,
        "patternProperties": {"^x-": {}},
    }
    check_message(texts(schema, {"items": [{"qty": "two"}], "an odd key": 0, "itmes": 1, "x-any": 1}))


def test_a_missing_key_names_what_may_be_meant_for_it() -> None:
    schema = {"properties": {"total": INTEGER, "id": INTEGER}, "required": ["total"]}
    assert texts(schema, {"totl": 1, "id": 2}) == [
        ("$.total", 'missing, expected integer >= 1; is it "totl"?')
    ]


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        ("qty", "quantity"),
        ("quantity", "qty"),
        ("order_id", "orderId"),
        ("total", "total_price"),
        ("sku", "product-sku"),
        ("firstName", "first_name"),
        ("adress", "address"),
    ],
)
def test_the_nearest_key_is_named_however_it_is_shortened(wanted: str, there: str) -> None:
    schema = {"properties": {wanted: INTEGER, "id": INTEGER}, "required": [wanted]}
    ((place, text),) = texts(schema, {there: 1, "id": 2})
    assert (place, f'"{there}"' in text) == (format_json_path((wanted,)), True)
    check_message(text)
    closed = {"properties": {wanted: INTEGER}, "additionalProperties": False}
    ((place, text),) = texts(closed, {there: 1})
    assert (place, f'"{wanted}"' in text) == (format_json_path((there,)), True)


@pytest.mark.parametrize(
    ("wanted", "there"), [("id", "invalid"), ("price", "name"), ("qty", "city"), ("", "a"), ("tel", "total")]
)
def test_a_key_that_is_not_near_is_not_named(wanted: str, there: str) -> None:
    assert texts({"required": [wanted]}, {there: 1}) == [(format_json_path((wanted,)), "missing")]


CAT = {"properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}}, "required": ["kind", "lives"]}
DOG = {
    "title": "Dog",
    "properties": {"kind": {"const": "dog"}, "age": {"type": "integer"}, "name": {"type": "string"}},
    "required": ["kind"],
}


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
@pytest.mark.parametrize(
    "value",
    [
        {"kind": "cat"},
        {"kind": "dog", "age": "x", "name": 1},
    ],
)  # fmt: skip
def test_of_several_forms_the_nearest_is_reported(keyword: str, value: Json) -> None:
    schema = {keyword: [{"$ref": "#/$defs/Cat"}, DOG, {"type": "null"}], "$defs": {"Cat": CAT}}
    check_message(texts(schema, value))


def test_forms_that_only_ask_for_another_kind_become_one_line() -> None:
    schema = {"properties": {"a": {"anyOf": [INTEGER, {"type": "null"}]}}}
    assert texts(schema, {"a": "x"}) == [("$.a", 'expected integer >= 1 or null | got "x" (string)')]


def test_the_same_difference_is_reported_once() -> None:
    assert len(texts({"allOf": [{"required": ["a"]}, {"required": ["a", "b"]}]}, {})) == 2


@pytest.mark.slow
def test_the_list_of_differences_has_an_end() -> None:
    schema = {"items": INTEGER, "additionalProperties": False}
    assert len(texts(schema, ["x"] * 10_000)) == MAX_DIFFERENCES
    assert len(texts(schema, {f"key {n}": n for n in range(10_000)})) == MAX_DIFFERENCES


def test_the_draft_goes_by_schema_and_is_2020_12_without_one() -> None:
    pair = [{"type": "integer"}, {"type": "string"}]
    draft_7 = {"$schema": "http://json-schema.org/draft-07/schema#", "items": pair}
    assert texts(draft_7, ["x", "y"]) == [("$[0]", 'expected integer | got "x" (string)')]
    assert texts({"prefixItems": pair}, ["x", "y"]) == [("$[0]", 'expected integer | got "x" (string)')]
    with pytest.raises(SchemaError, match=r"\$\.items"):
        schemas.load({"items": pair})


@pytest.mark.slow
@pytest.mark.parametrize(
    "schema",
    [
        {"type": "int"},
        {"title": "Order", "properties": {"a": {"minimum": "1"}}},
        {"properties": {"a": {"pattern": "("}}},
        {"typ": "object"},
        {"name": "string"},
        {"$schema": "https://json-schema.org/draft-07/schema", "type": "object"},
        {"$schema": 7, "type": "object"},
        {"properties": {"a": {"$ref": "https://example.org/a.json"}}},
        {"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {}},
        {"allOf": [{"$ref": "other.json"}]},
        {"minimum": 1, "required": ["a"], "anyOf": [{"$ref": "#x"}, {"$ref": "#x"}]},
        json.loads('{"properties": {"a":' * 120 + "{}" + "}}" * 120),
        json.loads('{"properties": {"a":' * 400 + "{}" + "}}" * 400),
        {"type": str},
        {"minimum": float("nan")},
        None,
        7,
        '{"type": "object"}',
        "order.toml",
        type("Plain", (), {}),
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_used_says_what_and_where(schema: object) -> None:
    with pytest.raises(SchemaError) as caught:
        schemas.load(schema)
    check_message(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [None, 1, {"a": [1]}])
def test_a_schema_may_accept_everything_or_nothing(value: Any, tmp_path: Path) -> None:
    for name, text in (("true.json", "true"), ("false.yaml", "false"), ("empty.json", "{}")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    accepting: tuple[object, ...] = (True, {}, tmp_path / "true.json", tmp_path / "empty.json")
    for schema in accepting:
        assert schemas.load(schema).differences(value) == []
    for schema in (False, tmp_path / "false.yaml"):
        (difference,) = schemas.load(schema).differences(value)
        assert difference.path == "$"


def test_nothing_is_ever_fetched() -> None:
    with patch("urllib.request.urlopen") as opened, pytest.raises(SchemaError):
        schemas.load({"$ref": "https://example.org/a.json"})
    opened.assert_not_called()


def test_references_within_the_schema_are_followed() -> None:
    schema = {
        "$id": "https://example.org/order",
        "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "item"}, "$ref": {"const": 1}},
        "$defs": {"A": {"type": "null"}, "item": {"$id": "item", "type": "integer"}},
    }
    assert texts(schema, {"a": None, "b": 1, "$ref": 1}) == []
    assert texts({"$ref": "https://json-schema.org/draft/2020-12/schema"}, {"type": "object"}) == []
    tree = {"properties": {"left": {"$ref": "#"}, "value": INTEGER}}
    assert texts(tree, {"left": {"left": {"value": 0}}})[0][0] == "$.left.left.value"


def test_what_only_turns_up_while_checking_is_a_schema_error_too() -> None:
    with pytest.raises(SchemaError, check=check_message):
        texts({"title": "Loop", "$ref": "#"}, 1)
    with pytest.raises(SchemaError, check=check_message):
        texts({"$dynamicRef": "https://example.org/x"}, 1)


def test_compiled_schemas_are_kept() -> None:
    text = '{"type": "object"}'
    assert compile_schema(text, "schema") is compile_schema(text, "schema")


def test_a_file_of_a_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "order.json").write_text(json.dumps({"type": "integer"}), encoding="utf-8")
    (tmp_path / "titled.yaml").write_text("title: Order\ntype: integer\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for given in ("order.json", Path("order.json"), tmp_path / "order.json", str(tmp_path / "order.json")):
        schema = schemas.load(given)
        assert (schema.name, len(schema.differences("x"))) == ("order", 1)
    assert schemas.load("titled.yaml").name == "Order"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gone.json", None),
        ("bad.json", '{"type":\n"object"'),
        ("bad.json", "[1]"),
        ("bad.yaml", "type: ["),
        ("bad.yml", "a: 2026-01-01"),
        ("bad.json", '{"type": "int"}'),
        ("bad.json", b"\xff"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used(
    name: str, content: str | bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SchemaError) as caught:
        schemas.load(name)
    check_message(caught.value)
    assert name in str(caught.value)


def test_words_for_values() -> None:
    values: list[object] = [None, True, 1, 1.0, "", [], {}]
    assert [describe_json_value(value) for value in values] == [
        "null", "true (boolean)", "1 (integer)", "1.0 (number)", '"" (string)', "array of 0", "object without keys",
    ]  # fmt: skip
    assert describe_json_value("x" * 100) == f'"{"x" * 60}... (+40 chars)" (string)'
    assert describe_json_value("\x1b[31m\n") == '"\\x1b[31m\\n" (string)'
    assert describe_json_value({str(n): 1 for n in range(20)}).endswith("and 8 more")
    assert short_json([1, "ä"]) == '[1, "ä"]'


def test_paths_are_ascii_without_control_characters() -> None:
    assert (
        format_json_path(("a", 0, "b-c", "ä", "\x00\u202e", ""))
        == '$.a[0].b-c["\\u00e4"]["\\u0000\\u202e"][""]'
    )
    assert format_json_path(("x" * 100,)) == f'$["{"x" * 60}"...]'


def test_differences_are_reported_in_words() -> None:
    assert (
        missing_key_difference(("a", "total"), "", ["tottal", "amount"], ["amount"]).text
        == 'missing; is it "tottal"?'
    )
    assert missing_key_difference(("total",), "number", [], []).text == "missing, expected number"
    assert unknown_key_difference(("zzz",), ["total"]).text == "unknown key"
    assert Difference((), "x").path == "$"


def test_the_nearest_form_is_not_ruled_out_by_a_constant() -> None:
    here = ("pet",)
    many = tuple(Difference((*here, f"key {n}"), "missing") for n in range(5))
    cat = FormMismatch("cat", many)
    dog = FormMismatch("dog", (Difference((*here, "kind"), 'expected "dog"'),), wrong_constants=1)
    result = nearest_form_differences(here, [dog, cat])
    assert result[0] == Difference(here, result[0].text, remark=True)
    check_message(result[0].text)
    assert tuple(result[1:]) == many
