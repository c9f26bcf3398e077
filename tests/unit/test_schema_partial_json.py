from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator
from support.messages import check_message
from typing_extensions import TypedDict

from pytest_llmops import MeasurementFailed, assert_schema
from pytest_llmops.errors import SchemaError
from pytest_llmops.schemas import Unfinished, load, parse_partial_json
from pytest_llmops.schemas.json_decoding import MAX_DEPTH
from pytest_llmops.schemas.json_extraction import JsonMatch, find_json

pytestmark = pytest.mark.usefixtures("alone")

ORDER = {
    "title": "Order",
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^A-[0-9]{4}$", "maxLength": 6},
        "status": {"enum": ["open", "closed"]},
        "items": {
            "type": "array",
            "minItems": 2,
            "maxItems": 3,
            "items": {
                "type": "object",
                "properties": {"sku": {"type": "string"}, "qty": {"type": "integer", "minimum": 1}},
                "required": ["sku", "qty"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["id", "items"],
}
WHOLE = '{"id": "A-4711", "status": "open", "items": [{"sku": "a", "qty": 2}, {"sku": "b", "qty": 10}]}'


class Item(BaseModel):
    sku: str = Field(min_length=1)
    qty: int = Field(ge=1)


class Order(BaseModel):
    id: str = Field(pattern="^A-[0-9]{4}$", max_length=6)
    status: Literal["open", "closed"] = "open"
    items: list[Item] = Field(min_length=2, max_length=3)

    @model_validator(mode="after")
    def _skus_differ(self) -> Order:
        if len({item.sku for item in self.items}) < len(self.items):
            raise ValueError("a sku stands twice")
        return self


class Row(TypedDict):
    id: int
    tags: list[str]


def failure(text: str, schema: object = ORDER) -> list[str]:
    with pytest.raises(MeasurementFailed) as caught:
        assert_schema(text, schema, partial=True)
    return str(caught.value).splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("schema", [ORDER, Order], ids=["schema", "model"])
@pytest.mark.parametrize(
    "before", ["", "Here you are:\n```json\n", "It is "], ids=["alone", "fence", "prose"]
)
def test_every_beginning_of_a_good_answer_fits(schema: object, before: str) -> None:
    places = set()
    for end in range(1, len(WHOLE)):
        measurement = assert_schema(before + WHOLE[:end], schema, partial=True)
        place = re.search(r" line (\d+), column (\d+), within \$", measurement.reason)
        assert place, measurement.reason
        places.add(tuple(map(int, place.groups())))
        assert measurement.version == "partial"
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    assert places == {(line, column + end) for end in range(1, len(WHOLE))}
    check_message(measurement.reason)
    assert assert_schema(before + WHOLE, schema, partial=True).reason == ""


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1)


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str = Field(min_length=2, pattern="^[A-Z]")


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    a: int


class Point(NamedTuple):
    x: int
    y: str


class Everything(BaseModel):
    when: datetime
    amount: Decimal = Field(gt=0)
    uid: UUID
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    pets: list[Cat | Dog] = Field(min_length=2)
    strict: Strict | None
    point: Point
    counts: dict[str, int] = Field(min_length=2)
    ids: set[int] = Field(min_length=2)
    pair: tuple[int, str, bool]
    mixed: int | str | list[int]
    rows: list[Row]
    again: Everything | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Everything:
        if len(self.rows) != len(self.pets):
            raise ValueError("a row for each pet")
        return self


@pytest.mark.slow
def test_every_beginning_of_a_model_with_everything_fits() -> None:
    dog, cat = {"kind": "dog", "name": "Rex"}, {"kind": "cat", "lives": 7}
    inner = {
        "when": "2026-01-01T10:00:00Z",
        "amount": "12.50",
        "uid": "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "pet": dog,
        "pets": [cat, dog],
        "strict": {"a": 1},
        "point": [1, "x"],
        "counts": {"a": 1, "b": 2},
        "ids": [1, 2],
        "pair": [1, "a", True],
        "mixed": "text",
        "rows": [{"id": 1, "tags": ["x"]}, {"id": 2, "tags": []}],
    }
    text = json.dumps({**inner, "mixed": [1, 2], "again": inner})
    schema = load(Everything)
    assert schema.differences(json.loads(text)) == []
    for end in range(1, len(text)):
        partial_json = parse_partial_json(text[:end])
        assert partial_json is not None
        assert schema.differences(partial_json.value, unfinished=partial_json.unfinished) == [], text[:end]


@pytest.mark.parametrize("schema", [ORDER, Order], ids=["schema", "model"])
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"id": "A-4711", "items": [{"sku": "a", "qty": 0}', "$.items[0].qty"),
        ('{"id": "A-4711", "items": [{"sku": "a", "qty": 0,', "$.items[0].qty"),
        ('{"id": "A-4711", "items": [{"sku": "a"}, {"sk', "$.items[0].qty"),
        ('{"id": "A-4711", "items": [{"sku": "a", "qty": 1}], ', "$.items"),
        ('{"id": "A-47", "items": [', "$.id"),
        ('{"id": "A-471123', "$.id"),
        ('{"items": ["a', "$.items[0]"),
        ('{"items": {', "$.items"),
        ('{"id": 4711, "it', "$.id"),
        ('{"status": "closed", "status": "o', "$.status"),
        ('{"status": "opened"', "$.status"),
        ('{"items": [{"sku": "a", "qty": 1}, {"sku": "b", "qty": 1}, {"sku": "c", "qty": 1}, {"', "$.items"),
    ],
)
def test_what_no_rest_can_mend_fails(schema: object, text: str, place: str) -> None:
    lines = failure(text, schema)
    assert any(line.split()[0] == place for line in lines[1:])
    check_message(next(line for line in lines if line.split()[0] == "reason"))


def test_an_open_string_is_compared_as_far_as_it_goes() -> None:
    assert failure('{"status": "ope nope')[1].split()[0] == "reason"
    assert assert_schema('{"status": "clo', ORDER, partial=True).status == "passed"
    constant = {"properties": {"kind": {"const": "order"}}}
    assert assert_schema('{"kind": "ord', constant, partial=True).status == "passed"
    assert failure('{"kind": "ort', constant)[2].split()[:3] == ["$.kind", "expected", '"order"']


def test_a_failure_says_where_it_breaks_off() -> None:
    check_message(failure('{"id": "A-4711", "items": [{"sku": 1, "qty": 2}, {"sku": "b'))


def test_what_is_kept_is_the_completed_value() -> None:
    text = '{"id": "A-4711", "items": [{"sku": "a", "qty": 12'
    measurement = assert_schema(text, ORDER, partial=True)
    assert measurement.detail["parsed"] == {"id": "A-4711", "items": [{"sku": "a"}]}
    assert measurement.detail["breaks_off"] == len(text)
    assert "span" not in measurement.detail


@pytest.mark.parametrize(
    "text", ["", "Sure, here", "```json\n", "I cannot help.", '{"id": oops, "items', "{'id': 1", '{"id": 1]', "[01"]
)  # fmt: skip
def test_something_must_have_begun(text: str) -> None:
    assert failure(text)[0].startswith("schema Order: ")


def test_a_whole_answer_is_checked_as_a_whole() -> None:
    assert failure('{"id": "A-4711"}')[1].split()[:2] == ["$.items", "missing,"]
    assert failure('Here: {"id": "A-4711"} and more [')[1].split()[:2] == ["$.items", "missing,"]
    assert failure('```json\n{"id": "A-4711"}\n```\nSee [{"')[1].split()[:2] == ["$.items", "missing,"]
    with pytest.raises(MeasurementFailed):
        assert_schema({"id": "A-4711"}, ORDER, partial=True)


@pytest.mark.parametrize(
    "answer",
    [
        '```json\n{"id": "a"}\n```\nThat is it.',
        '~~~~\n{"id": "a"}\n   ~~~~\n',
        'It is {"id": "a"}, or [1, 2], or [3].',
        'Not [1], rather {"id": "a"}',
    ],
)
def test_every_beginning_with_the_whole_value_fits(answer: str) -> None:
    schema = {"type": "object", "required": ["id"], "additionalProperties": {"type": "string"}}
    assert assert_schema(answer, schema).value == 1.0
    for end in range(answer.index("}") + 1, len(answer) + 1):
        measurement = assert_schema(answer[:end], schema, partial=True)
        assert (measurement.status, measurement.detail["parsed"]) == ("passed", {"id": "a"}), answer[:end]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ('```json\n{"id": 1}\n``', "expected string | got 1"),
        ('```json\n{"id":\n``', "broken JSON at line 3, column 1"),
        ('```json\n{"id": "a"}\n`` x', "broken JSON at line 3, column 1"),
        ('```json\n{"id": "a"}\n~~', "broken JSON at line 3, column 1"),
        ('It is {"id": "a"}, or {"id": 5,', "expected string | got 5"),
        ('It is {"id": 1}, or [1,', "expected object | got array of 1"),
        ('{"id": "a"}\n{"id": "b"', "got one at line 1, column 1 and broken JSON at line 2, column 11"),
        ('[note] {"id": "b"', "broken JSON at line 1, column 18"),
    ],
)
def test_a_beginning_beside_or_behind_a_whole_value_that_nothing_mends(answer: str, text: str) -> None:
    schema = {"type": "object", "properties": {"id": {"type": "string"}}}
    with pytest.raises(MeasurementFailed, match=re.escape(text)):
        assert_schema(answer, schema, partial=True)


def test_without_partial_a_broken_answer_is_broken() -> None:
    with pytest.raises(MeasurementFailed, match="broken JSON"):
        assert_schema('{"id": "A-4711", "items": [', ORDER)


CAT = {
    "type": "object",
    "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}},
    "required": ["kind", "lives"],
}
DOG = {
    "type": "object",
    "properties": {"kind": {"const": "dog"}, "age": {"type": "integer"}},
    "required": ["kind", "age"],
}


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
def test_one_of_several_forms_may_still_come(keyword: str) -> None:
    schema = {keyword: [CAT, DOG]}
    for text in ("{", '{"kind": "d', '{"kind": "dog", ', '{"kind": "dog", "age": 1'):
        assert assert_schema(text, schema, partial=True).status == "passed"
    assert failure('{"kind": "dog", "age": "x", ', schema)[-2].split()[0] == "$.age"
    assert failure('{"kind": "cow', schema)[-2].split()[:3] == ["$.kind", "expected", '"cat"']


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"if": {"required": ["card"]}, "then": {"required": ["name"]}, "else": {"required": ["iban"]}}, '{"a": 1, '),
        ({"if": {"properties": {"a": {"const": "xy"}}}, "then": {"properties": {"b": {"const": 2}}}}, '{"b": 1, "a": "x'),
        ({"not": {"required": ["a"], "maxProperties": 1}}, '{"a": 1, '),
        ({"contains": {"const": 3}}, "[1, 2, "),
        ({"contains": {"required": ["a"]}, "maxContains": 0}, '[{"a": {}'),
        ({"uniqueItems": True}, '[{"a": 1}, {"a": 1, '),
        ({"minProperties": 3}, '{"a": 1, '),
        ({"dependentRequired": {"a": ["b"]}}, '{"a": 1, '),
        ({"anyOf": [{"required": ["a"], "properties": {"x": True}}, {"required": ["b"]}], "unevaluatedProperties": False}, '{"x": 1, '),
        ({"properties": {"then": {"const": "x"}}}, '{"then": "'),
        ({"enum": [[1, 2], [3]]}, "[1, "),
        ({"oneOf": [{"maxProperties": 1}, {"required": ["a"]}]}, '{"a": 1, '),
        ({"$defs": {"node": {"required": ["v"], "properties": {"next": {"$ref": "#/$defs/node"}}}}, "$ref": "#/$defs/node"}, '{"next": {"next": {'),
        (list[int] | dict[str, int], '{"a": 1, '),
        (Row, '{"id": 1, "tags": ["a", "b'),
        (list[Order | Item], '[{"sku": "a"'),
    ],
)  # fmt: skip
def test_what_the_rest_could_mend_is_not_reported(schema: object, text: str) -> None:
    assert assert_schema(text, schema, partial=True).status == "passed"


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"uniqueItems": True}, "[1, 1, "),
        ({"maxProperties": 1}, '{"a": 1, "b": 2, '),
        ({"properties": {"then": {"const": "x"}}}, '{"then": "y'),
        ({"enum": [[1, 2], [3]]}, '{"a": 1, '),
        ({"additionalProperties": False}, '{"a": 1, '),
        (list[int] | dict[str, int], '{"a": "x", '),
        (Row, '{"id": 1, "tags": {"a": '),
        (list[Order | Item], '[{"sku": 5, "id": 5, '),
    ],
)
def test_what_it_could_not_is(schema: object, text: str) -> None:
    failure(text, schema)


def test_a_broken_schema_is_still_one() -> None:
    with pytest.raises(SchemaError, check=check_message):
        assert_schema("[", {"title": "Loop", "$ref": "#"}, partial=True)


@pytest.mark.parametrize(
    ("text", "value", "within", "string"),
    [
        ("[", [], (), None),
        ('[{"a": {"b": [1, 2', {"a": {"b": [1]}}, (0, "a", "b"), None),
        ('["\\ud83d', [""], (), (0,)),
        ('["a\\ud83d\\ude0', ["a"], (), (0,)),
        ('["a\\ud83d\\ude00', ["a\U0001f600"], (), (0,)),
        ('["a\\\\ud83d', ["a\\ud83d"], (), (0,)),
        ('["a\\', ["a"], (), (0,)),
        ('["a\\u00', ["a"], (), (0,)),
        ("[true, fal", [True], (), None),
        ("[null", [None], (), None),
        ("[1, -", [1], (), None),
        ("[1.5e", [], (), None),
        ('x [1] y {"a": [2], "b"', {"a": [2]}, (), None),
    ],
)
def test_where_it_breaks_off(text: str, value: Any, within: Any, string: Any) -> None:
    partial_json = parse_partial_json(text)
    assert partial_json is not None
    assert (partial_json.value if within[:1] != (0,) else partial_json.value[0]) == value  # type: ignore[index]
    assert partial_json.unfinished == Unfinished(within, string)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('```python\nx = [1\n```\nIt is {"a": [2', {"a": []}),
        ('Use ```json {"b": 1}``` here:\n```json\n{"a": [2, ', {"a": [2]}),
        ('[1] and ~~~json\n~~~json\n{"a": [2, ', {"a": [2]}),
        ('```\n[{"a": 1}, {"a', [{"a": 1}, {}]),
        ('```yaml\na: 1\n{"a": [2, ', {"a": [2]}),
    ],
)
def test_where_a_beginning_is_looked_for(text: str, value: Any) -> None:
    partial_json = parse_partial_json(text)
    assert partial_json is not None
    assert partial_json.value == value


@pytest.mark.parametrize(
    "text", ["```json\n{oops and [1, ", "[1e999, ", f"[{'9' * 2_000}, ", "[1]", "{}", "no", "[1 2", '{"a" 1', '{"a": 1,, ', '["\n', '["\\x', "[nul1", "[1.e", "[-a", "[+1", "{1: ", '{"a": }']
)  # fmt: skip
def test_what_is_no_beginning(text: str) -> None:
    assert parse_partial_json(text) is None


@pytest.mark.parametrize(
    "piece", ["[", "{", '{"a":', '["', "[1 ", '[{"a": 1}, ', "[1, ", "\\", '"', "```json\n", "```\n[", "[]", "{x", " ", "[tru"]
)  # fmt: skip
@pytest.mark.slow
def test_a_long_text_of_anything_ends_soon(piece: str) -> None:
    partial_json = parse_partial_json("x" + piece * (200_000 // len(piece)))
    assert partial_json is None or isinstance(partial_json.value, (dict, list))


def test_too_deep_a_beginning_is_none() -> None:
    assert parse_partial_json("[" * MAX_DEPTH) is not None
    assert parse_partial_json("[" * (MAX_DEPTH + 1)) is not None  # the innermost hundred of them
    assert parse_partial_json('{"a": ' * (MAX_DEPTH + 1) + "]") is None


def _is_beginning(part: object, whole: object) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and _is_beginning(value, whole[key]) for key, value in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(map(_is_beginning, part, whole))
    return part == whole or (isinstance(part, str) and isinstance(whole, str) and whole.startswith(part))


@pytest.mark.slow
@pytest.mark.shared_data
def test_real_answers_cut_anywhere(shared_data: Path) -> None:
    with gzip.open(shared_data / "llm_outputs" / "outputs.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    seen: Counter[str] = Counter()
    for text in texts:
        match = find_json(text)
        if (
            not isinstance(match, JsonMatch)
            or not isinstance(match.value, (dict, list))
            or match.place == "prose"
        ):
            continue
        seen[match.place] += 1
        for tenth in range(1, 10):
            end = match.start + 1 + (match.end - match.start - 1) * tenth // 10
            if end >= match.end:
                continue
            partial_json = parse_partial_json(text[:end])
            assert partial_json is not None, text[:end]
            assert partial_json.start == match.start
            assert _is_beginning(partial_json.value, match.value)
    assert seen["text"] > 300
    assert seen["fence"] == 13
