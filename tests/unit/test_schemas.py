from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from pytest_llmops import schemas
from pytest_llmops.errors import SchemaError
from pytest_llmops.measurement import Json
from pytest_llmops.schemas.difference import (
    MAX_DIFFERENCES,
    Difference,
    Form,
    got,
    kind,
    missing,
    nearest_form,
    path,
    short,
    unknown,
)
from pytest_llmops.schemas.documents import compiled


def texts(schema: object, value: Json) -> list[tuple[str, str]]:
    return [(one.path, one.text) for one in schemas.load(schema).differences(value)]


INTEGER = {"type": "integer", "minimum": 1}


@pytest.mark.parametrize(
    ("schema", "value", "text"),
    [
        (INTEGER, "two", 'expected integer >= 1 | got "two" (string)'),
        (INTEGER, 0, "expected integer >= 1 | got 0 (integer)"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, 2.5, "expected number > 0 <= 1 | got 2.5 (number)"),
        ({"type": ["string", "null"]}, True, "expected string or null | got true (boolean)"),
        ({"type": "string", "minLength": 2, "pattern": "^a"}, "b", 'expected string of at least 2 characters matching ^a | got "b" (string)'),
        ({"enum": ["a", 1, None]}, "b", 'expected one of "a", 1, null | got "b" (string)'),
        ({"enum": list(range(10))}, 11, "expected one of 0, 1, 2, 3, 4, 5, 6, 7 and 2 more | got 11 (integer)"),
        ({"const": {"a": 1}}, [], 'expected {"a": 1} | got array of 0'),
        ({"type": "object"}, None, "expected object | got null"),
        ({"type": "array", "minItems": 1}, {}, "expected array of at least 1 items | got object without keys"),
        ({"minProperties": 2}, {"a": 1}, "expected a value with at least 2 keys | got object with the keys a"),
        ({"uniqueItems": True}, [1, 1], "expected a value of different items | got array of 2"),
        ({"multipleOf": 5}, 3, "expected a value that is a multiple of 5 | got 3 (integer)"),
        ({"not": {"type": "null"}}, None, 'expected not {"type": "null"} | got null'),
        ({"properties": {"a": False}}, {"a": 1}, "expected nothing here | got 1 (integer)"),
        ({"contains": {"const": 1}}, [2], 'expected contains {"const": 1} | got array of 1'),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 1, "expected exactly one form of oneOf to fit, several do | got 1 (integer)"),
        ({"format": "date-time"}, "tomorrow", 'expected a value in the format date-time | got "tomorrow" (string)'),
    ],
)  # fmt: skip
def test_one_difference_in_words(schema: dict[str, Any], value: Json, text: str) -> None:
    assert [one for _, one in texts(schema, value)] == [text]


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
    assert texts(schema, {"items": [{"qty": "two"}], "an odd key": 0, "itmes": 1, "x-any": 1}) == [
        ("$.items[0].qty", 'expected integer >= 1 | got "two" (string)'),
        ("$.items[0].sku", "missing"),
        ('$["an odd key"]', "expected integer >= 1 | got 0 (integer)"),
        ("$.total", "missing"),
        ("$.itmes", 'unknown key; did you mean "items"?'),
    ]


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
    assert texts(schema, {there: 1, "id": 2}) == [
        (path((wanted,)), f'missing, expected integer >= 1; is it "{there}"?')
    ]
    closed = {"properties": {wanted: INTEGER}, "additionalProperties": False}
    assert texts(closed, {there: 1}) == [(path((there,)), f'unknown key; did you mean "{wanted}"?')]


@pytest.mark.parametrize(
    ("wanted", "there"), [("id", "invalid"), ("price", "name"), ("qty", "city"), ("", "a"), ("tel", "total")]
)
def test_a_key_that_is_not_near_is_not_named(wanted: str, there: str) -> None:
    assert texts({"required": [wanted]}, {there: 1}) == [(path((wanted,)), "missing")]


CAT = {"properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}}, "required": ["kind", "lives"]}
DOG = {
    "title": "Dog",
    "properties": {"kind": {"const": "dog"}, "age": {"type": "integer"}, "name": {"type": "string"}},
    "required": ["kind"],
}


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ({"kind": "cat"}, [("$", "fits none of 3 forms; nearest is Cat"), ("$.lives", "missing, expected integer")]),
        (
            {"kind": "dog", "age": "x", "name": 1},
            [
                ("$", "fits none of 3 forms; nearest is Dog"),
                ("$.age", 'expected integer | got "x" (string)'),
                ("$.name", "expected string | got 1 (integer)"),
            ],
        ),
    ],
)  # fmt: skip
def test_of_several_forms_the_nearest_is_told(
    keyword: str, value: Json, lines: list[tuple[str, str]]
) -> None:
    schema = {keyword: [{"$ref": "#/$defs/Cat"}, DOG, {"type": "null"}], "$defs": {"Cat": CAT}}
    assert texts(schema, value) == lines


def test_forms_that_only_ask_for_another_kind_become_one_line() -> None:
    schema = {"properties": {"a": {"anyOf": [INTEGER, {"type": "null"}]}}}
    assert texts(schema, {"a": "x"}) == [("$.a", 'expected integer >= 1 or null | got "x" (string)')]


def test_the_same_difference_is_told_once() -> None:
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


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "int"}, "schema: no valid JSON Schema at $.type: unknown type \"int\", known are array, boolean, integer, null, number, object, string; did you mean 'integer'?"),
        ({"title": "Order", "properties": {"a": {"minimum": "1"}}}, "schema Order: no valid JSON Schema at $.properties.a.minimum: '1' is not of type 'number'"),
        ({"properties": {"a": {"pattern": "("}}}, "at $.properties.a.pattern: '(' is not a 'regex'"),
        ({}, "it would accept everything. Its keys: (none)"),
        ({"name": "string"}, "expected a JSON Schema, got an object without any of its keywords"),
        ({"$schema": "https://json-schema.org/draft-07/schema", "type": "object"}, "$schema: expected the URI of a draft"),
        ({"$schema": 7, "type": "object"}, "$schema: expected the URI of a draft"),
        ({"properties": {"a": {"$ref": "https://example.org/a.json"}}}, '$ref "https://example.org/a.json" leads nowhere within the schema; nothing is fetched'),
        ({"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {}}, '$ref "#/$defs/A" leads nowhere within the schema'),
        ({"allOf": [{"$ref": "other.json"}]}, '(at $.allOf[0]["$ref"])'),
        ({"minimum": 1, "required": ["a"], "anyOf": [{"$ref": "#x"}, {"$ref": "#x"}]}, "(at $.anyOf[1]"),
        (json.loads('{"properties": {"a":' * 120 + "{}" + "}}" * 120), "schema: no JSON Schema: nested too deeply"),
        (json.loads('{"properties": {"a":' * 400 + "{}" + "}}" * 400), "schema: no JSON at $: nested too deeply"),
        ({"type": str}, "schema: no JSON at $.type: expected None, bool, int, float, str, a list or a mapping of those, got builtins.type"),
        ({"minimum": float("nan")}, "schema: no JSON at $.minimum: expected a finite number, got nan"),
        (None, "got an object of type NoneType"),
        (True, "got an object of type bool"),
        (7, "expected a JSON Schema (a dictionary), the path of one, a pydantic model's class, a TypedDict or a dataclass"),
        ('{"type": "object"}', 'expected the path of a JSON Schema, got JSON text ({"type": "object"}); pass the dictionary: json.loads(...)'),
        ("order.toml", "expected the path of a JSON Schema that ends in .json, .yaml, .yml, got 'order.toml'"),
        (type("Plain", (), {}), "pydantic cannot check the type Plain: "),
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_used_says_what_and_where(schema: object, text: str) -> None:
    with pytest.raises(SchemaError) as caught:
        schemas.load(schema)
    assert text in str(caught.value)
    assert str(caught.value).isprintable()


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
    with pytest.raises(SchemaError, match=r"schema Loop: a \$ref refers to itself without end"):
        texts({"title": "Loop", "$ref": "#"}, 1)
    with pytest.raises(SchemaError, match=r"schema: \$ref .*nowhere"):
        texts({"$dynamicRef": "https://example.org/x"}, 1)


def test_compiled_schemas_are_kept() -> None:
    text = '{"type": "object"}'
    assert compiled(text, "schema") is compiled(text, "schema")


def test_a_file_of_a_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "order.json").write_text(json.dumps({"type": "integer"}), encoding="utf-8")
    (tmp_path / "titled.yaml").write_text("title: Order\ntype: integer\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for given in ("order.json", Path("order.json"), tmp_path / "order.json", str(tmp_path / "order.json")):
        schema = schemas.load(given)
        assert (schema.name, len(schema.differences("x"))) == ("order", 1)
    assert schemas.load("titled.yaml").name == "Order"


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("gone.json", None, "schema: no such file @ gone.json (looked for in "),
        ("bad.json", '{"type":\n"object",}', "schema: broken JSON: "),
        ("bad.json", "[1]", "schema: expected an object with keys, got a list @ bad.json"),
        ("bad.yaml", "type: [", "schema: broken YAML: "),
        ("bad.yml", "a: 2026-01-01", "schema: 2026-01-01 is a date: write it in quotes to have a text @ bad.yml:1"),
        ("bad.json", '{"type": "int"}', 'bad.json: no valid JSON Schema at $.type: unknown type "int"'),
        ("bad.json", b"\xff", "schema: not UTF-8: byte 0xff; save the file as UTF-8 @ bad.json:1"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used(
    name: str, content: str | bytes | None, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SchemaError) as caught:
        schemas.load(name)
    assert text in str(caught.value)
    assert name in str(caught.value)


def test_words_for_values() -> None:
    values: list[object] = [None, True, 1, 1.0, "", [], {}]
    assert [kind(one) for one in values] == [
        "null", "boolean", "integer", "number", "string", "array", "object",
    ]  # fmt: skip
    assert got("x" * 100) == f'"{"x" * 60}... (+40 chars)" (string)'
    assert got("\x1b[31m\n") == '"\\x1b[31m\\n" (string)'
    assert got({str(n): 1 for n in range(20)}).endswith("and 8 more")
    assert short([1, "ä"]) == '[1, "ä"]'


def test_paths_are_ascii_without_control_characters() -> None:
    assert path(("a", 0, "b-c", "ä", "\x00\u202e", "")) == '$.a[0].b-c["\\u00e4"]["\\u0000\\u202e"][""]'
    assert path(("x" * 100,)) == f'$["{"x" * 60}"...]'


def test_differences_are_told_in_words() -> None:
    assert missing(("a", "total"), "", ["tottal", "amount"], ["amount"]).text == 'missing; is it "tottal"?'
    assert missing(("total",), "number", [], []).text == "missing, expected number"
    assert unknown(("zzz",), ["total"]).text == "unknown key"
    assert Difference((), "x").path == "$"


def test_the_nearest_form_is_not_ruled_out_by_a_constant() -> None:
    here = ("pet",)
    many = tuple(Difference((*here, f"key {n}"), "missing") for n in range(5))
    cat = Form("cat", many)
    dog = Form("dog", (Difference((*here, "kind"), 'expected "dog"'),), told_apart=1)
    found = nearest_form(here, [dog, cat])
    assert found[0] == Difference(here, "fits none of 2 forms; nearest is cat", remark=True)
    assert tuple(found[1:]) == many
