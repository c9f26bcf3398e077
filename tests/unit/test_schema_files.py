"""A schema in a file, and what it may refer to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops import schemas
from pytest_llmops.errors import SchemaError
from pytest_llmops.schemas.json_schema import DRAFTS

Write = Callable[[str, Any], Path]

ITEM = {"type": "object", "properties": {"qty": {"type": "integer"}}, "required": ["qty"]}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, content: Any) -> Path:
        path = tmp_path / "schemas" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return written


def texts(schema: object, value: Any, **how: Any) -> list[tuple[str, str]]:
    return [
        (difference.path, difference.text) for difference in schemas.load(schema, **how).differences(value)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "root",
    [
        {},
        {"$id": "https://example.org/schemas/order.json"},
        {"$id": "https://example.org"},
        {"$id": "order.json"},
        {"$id": "schemas/order.json"},
        {"$id": "/schemas/order.json"},
    ],
    ids=lambda root: root.get("$id", "none"),
)
def test_a_schema_refers_to_files_beside_it(write: Write, root: dict[str, str]) -> None:
    write("parts/item.json", ITEM | {"properties": {"qty": {"$ref": "amounts.yaml#/$defs/amount"}}})
    write("parts/amounts.yaml", "$defs:\n  amount: {type: integer, minimum: 1}\n")
    order = write("order.json", root | {"properties": {"items": {"items": {"$ref": "parts/item.json"}}}})
    assert texts(order, {"items": [{"qty": 1}]}) == []
    assert texts(order, {"items": [{"qty": 1}, {"qty": 0}, {}]}) == [
        ("$.items[1].qty", "expected integer >= 1 | got 0 (integer)"),
        ("$.items[2].qty", "missing"),
    ]


def test_files_that_refer_to_each_other(write: Write) -> None:
    write("b.json", {"properties": {"a": {"$ref": "a.json"}}, "required": ["b"]})
    a = write("a.json", {"properties": {"b": {"$ref": "b.json"}}})
    assert texts(a, {"b": {"b": 1, "a": {"b": {}}}}) == [("$.b.a.b.b", "missing")]


def test_a_changed_file_is_read_again(write: Write) -> None:
    item = write("item.json", ITEM)
    order = write("order.json", {"items": {"$ref": "item.json"}})
    assert len(texts(order, [{}])) == 1
    item.write_text(json.dumps({"type": ["object", "null"]}), encoding="utf-8")
    assert texts(order, [{}]) == []
    item.unlink()
    with pytest.raises(SchemaError, check=check_message):
        schemas.load(order)


@pytest.mark.slow
@pytest.mark.parametrize(
    "reference",
    [
        "../secret.json",
        "parts/../../secret.json",
        "%2e%2e/secret.json",
        "linked.json",
        "gone.json",
        "parts/gone.json",
        "order.txt",
        "parts",
        "broken.json",
        "list.json",
        "wrong.json",
        "item.json#/$defs/gone",
        "item.json#gone",
        "/etc/passwd",
        "file:///etc/passwd",
        "//example.org/a.json",
        "https://example.org/a.json",
        "..\\secret.json",
    ],
)  # fmt: skip
def test_nothing_else_can_be_referred_to(
    write: Write, tmp_path: Path, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket.connect", None)
    (tmp_path / "secret.json").write_text("{}", encoding="utf-8")
    write("item.json", ITEM)
    write("parts/any.json", ITEM)
    write("order.txt", "{}")
    write("broken.json", "{")
    write("list.json", [])
    write("wrong.json", {"type": "int"})
    (tmp_path / "schemas" / "linked.json").symlink_to(tmp_path / "secret.json")
    order = write("order.json", {"properties": {"a": {"$ref": reference}}})
    with pytest.raises(SchemaError) as caught:
        schemas.load(order)
    check_message(caught.value)
    assert str(caught.value).isprintable()
    assert str(tmp_path) not in str(caught.value).replace(str(order), "")


def test_the_files_have_an_end(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmops.schemas.schema_files.MAX_FILES", 3)
    for number in range(5):
        write(f"part{number}.json", {"items": {"$ref": f"part{number + 1}.json"}})
    with pytest.raises(SchemaError, check=check_message):
        schemas.load(write("order.json", {"items": {"$ref": "part0.json"}}))


def test_a_fault_in_a_file_is_reported_with_the_file(write: Write) -> None:
    write("item.json", {"properties": {"qty": {"$ref": "#/$defs/gone"}}})
    order = write("order.json", {"items": {"$ref": "item.json"}})
    with pytest.raises(
        SchemaError,
        check=check_message,
    ):
        schemas.load(order)


def test_a_dictionary_has_no_folder(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write("item.json", ITEM).parent)
    with pytest.raises(SchemaError, check=check_message):
        schemas.load({"items": {"$ref": "item.json"}})


@pytest.mark.parametrize(("draft", "uri"), DRAFTS.items())
def test_every_draft_has_its_own_keywords(draft: str, uri: str) -> None:
    old = {"minimum": 0, "exclusiveMinimum": True}
    new = {"exclusiveMinimum": 0}
    limits = old if draft == "Draft4Validator" else new
    schema = {
        "$schema": uri,
        "type": "object",
        "properties": {"a": {"type": "number", **limits}},
        "required": ["a"],
    }
    assert texts(schema, {"a": 0.5}) == []
    assert texts(schema, {"a": 0}) == [("$.a", "expected number > 0 | got 0 (integer)")]
    assert texts(schema, {}) == [("$.a", "missing, expected number > 0")]
    with pytest.raises(SchemaError, match="exclusiveMinimum"):
        schemas.load({**schema, "properties": {"a": new if limits is old else old}})


def test_draft_3_is_too_old() -> None:
    with pytest.raises(SchemaError, check=check_message):
        schemas.load({"$schema": "http://json-schema.org/draft-03/schema#", "type": "object"})


def test_keys_that_depend_on_others() -> None:
    schema = {"type": "object", "dependentRequired": {"card": ["address", "name"]}}
    assert texts(schema, {"card": 1, "name": 2}) == [("$.address", 'missing, needed together with "card"')]
    draft_7 = {
        "$schema": DRAFTS["Draft7Validator"],
        "dependencies": {"card": ["address"], "x": {"required": ["y"]}},
    }
    assert texts(draft_7, {"card": 1, "x": 1}) == [
        ("$.address", 'missing, needed together with "card"'),
        ("$.y", "missing"),
    ]


def test_keys_that_no_part_of_the_schema_knows() -> None:
    schema = {"allOf": [{"properties": {"a": True}}], "unevaluatedProperties": False}
    ((place, text),) = texts(schema, {"a": 1, "b": 2})
    assert (place, text) == ("$", "Unevaluated properties are not allowed ('b' was unexpected)")


def test_forms_that_nothing_fits() -> None:
    assert texts({"anyOf": [False, False]}, 1) == [("$", "expected nothing here | got 1 (integer)")]
    assert texts({"oneOf": [False, {"type": "string"}]}, 1) == [("$", "expected string | got 1 (integer)")]
