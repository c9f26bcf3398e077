from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import BaseModel, model_validator
from support.messages import check_message

from pytest_llmops import Measurement, MeasurementErrored, MeasurementFailed, assert_schema, collect
from pytest_llmops.assertions.schema import MAX_PARSED_CHARS
from pytest_llmops.errors import SchemaError, UsageError

pytestmark = pytest.mark.usefixtures("alone")

Lines = Callable[[BaseException], list[str]]

ITEM = {
    "type": "object",
    "properties": {"sku": {"type": "string"}, "qty": {"type": "integer", "minimum": 1}},
    "required": ["sku", "qty"],
}
ORDER = {
    "title": "Order",
    "type": "object",
    "properties": {
        "items": {"type": "array", "items": ITEM},
        "total": {"type": "number"},
        "currency": {"enum": ["EUR", "USD"]},
    },
    "required": ["items", "total"],
    "additionalProperties": False,
}
GOOD = '{"items": [{"sku": "a", "qty": 2}], "total": 9.5, "currency": "EUR"}'
BAD = '{"items": [{"sku": "a", "qty": "two"}], "currency": "EUR"}'


def failure(actual: object, schema: object = ORDER, **how: Any) -> list[str]:
    with pytest.raises(MeasurementFailed) as caught:
        assert_schema(actual, schema, **how)
    assert caught.value.measurement.value == 0.0
    return str(caught.value).splitlines()


def span(measurement: Measurement) -> tuple[int, int]:
    start, end = cast("list[int]", measurement.detail["span"])
    return start, end


@pytest.mark.parametrize(
    "actual", [GOOD, f"Sure!\n```json\n{GOOD}\n```\nBye", f"It is {GOOD}.", json.loads(GOOD)]
)
def test_an_answer_that_fits(actual: object) -> None:
    measurement = assert_schema(actual, ORDER)
    assert (measurement.name, measurement.label, measurement.status) == ("schema", "Order", "passed")
    assert (measurement.value, measurement.threshold) == (1.0, 1.0)
    assert measurement.detail["parsed"] == json.loads(GOOD)
    assert measurement.detail["schema"] == "Order"
    assert "evidence" not in measurement.detail
    if isinstance(actual, str):
        assert actual[slice(*span(measurement))] == GOOD
        assert measurement.detail["actual"] == actual
    else:
        assert measurement.detail["actual"] == GOOD


def test_a_failure_lists_the_differences() -> None:
    assert failure(f"Here you are: {BAD}") == [
        "schema Order: 2 of 4 fields wrong",
        '  $.items[0].qty   expected integer >= 1 | got "two" (string)',
        "  $.total          missing, expected number",
        '  tail of output   Here you are: {"items": [{"sku": "a", "qty": "two"}], "currency": "EUR"}',
    ]


def test_a_failure_of_a_parsed_answer_has_no_tail() -> None:
    assert failure(json.loads(BAD), label="the order")[0] == "schema the order: 2 of 4 fields wrong"
    assert len(failure(json.loads(BAD))) == 3


def test_the_tail_stands_among_the_lines_that_are_shown() -> None:
    lines = failure('{"items": [' + ", ".join(['{"sku": 1}'] * 10) + "]}")
    assert lines[0] == "schema Order: 21 of 21 fields wrong"
    assert [line.startswith("  tail of output") for line in lines].index(True) == 7
    check_message(lines[-1].strip())


@pytest.mark.slow
def test_many_differences_are_counted_to_an_end() -> None:
    items = [{"sku": "a", "qty": 0}] * 1_000
    assert failure({"items": items, "total": 1})[0] == "schema Order: at least 50 of 2,001 fields wrong"


def test_a_value_of_another_kind_is_reported_in_the_verdict() -> None:
    assert failure("[1]") == ["schema Order: expected object | got array of 1", "  tail of output   [1]"]
    assert failure([1], {"type": "object"}) == ["schema: expected object | got array of 1"]


@pytest.mark.parametrize(
    "actual",
    [
        "",
        "I cannot help.",
        'Here: {"items": [{"sku": "a"',
        '{"items": [], "total": 3,50}',
    ],
)  # fmt: skip
def test_no_json_is_a_wrong_answer(actual: str) -> None:
    check_message(failure(actual))


def test_citations_and_repeated_json_are_no_second_document() -> None:
    assert assert_schema(f"As [1] says, and [2, 3]: {GOOD}", ORDER).value == 1.0
    assert assert_schema(f"It is {GOOD}, I repeat: {GOOD}", ORDER).value == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        '{"items": [], "total": 1}\n{"items": [], "total": 2}',
        '{"items": [], "total": 1}\n{"error": "none"}',
        'It is {"items": [], "total": 1}, or [{"items": []}].',
        '```json\n{"items": [], "total": 1}\n```\n{"items": [], "total": 2}',
        '```json\n{"items": [], "total": 1}\n```\n```json\n{"items": [], "total": 2,,}\n```',
        'Wrong: {"items": [}, right: {"items": [], "total": 1}',
        '[see below] {"items": [], "total": 1}',
        '{"items": [], "total": 1}\nThat is all.',
    ],
)
def test_what_may_be_one_of_several_values_is_not_chosen_by_the_schema(answer: str) -> None:
    lines = failure(answer)
    assert not lines[0].startswith("schema Order: 2 of")
    check_message(lines)


def test_a_key_that_stands_twice_is_wrong() -> None:
    check_message(failure('{"items": [], "total": 1, "total": 2}')[:2])


@pytest.mark.parametrize(
    "actual",
    [
        None,
        float("inf"),
        b"{}",
        SimpleNamespace(text="{}"),
        SimpleNamespace(model_dump=dict),
        {"a": object()},
        [float("nan")],
        {"a": 10**5_000},
    ],
)
def test_what_is_neither_text_nor_json_is_not_scored(actual: object) -> None:
    with pytest.raises(MeasurementErrored, check=check_message) as caught:
        assert_schema(actual, ORDER, at_least=None)
    assert caught.value.measurement.status == "errored"


@pytest.mark.slow
def test_nesting_without_end_is_not_scored() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_schema(endless, ORDER)
    assert "nested deeper than 100 levels" in failure('{"items":' * 100_000)[0]


class Sum(BaseModel):
    parts: list[int]
    total: int

    @model_validator(mode="after")
    def _adds_up(self) -> Sum:
        if self.total == 13:
            raise RuntimeError("unlucky")
        if sum(self.parts) != self.total:
            raise ValueError("total is not the sum of the parts")
        return self


def test_a_pydantic_model_decides() -> None:
    measurement = assert_schema('{"parts": [1, "2"], "total": 3}', Sum)
    assert (measurement.label, measurement.detail["parsed"]) == ("Sum", {"parts": [1, "2"], "total": 3})
    check_message(failure('{"parts": [1], "total": 3}', Sum)[0])
    assert failure('[{"parts": [1], "total": "x"}]', list[Sum])[:2] == [
        "schema list[Sum]: 1 of 2 fields wrong",
        '  $[0].total       expected a valid integer, unable to parse string as an integer | got "x" (string)',
    ]


def test_a_validator_that_breaks_is_no_low_score(shown_frames: Lines) -> None:
    with pytest.raises(MeasurementErrored, check=check_message) as caught:
        assert_schema('{"parts": [], "total": 13}', Sum)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert shown_frames(caught.value) == []
    with collect() as measurements:
        assert_schema('{"parts": [], "total": 13}', Sum)
    assert measurements[0].status == "errored"


def test_the_schema_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("order.yaml").write_text("type: object\nrequired: [id]\n", encoding="utf-8")
    assert assert_schema('{"id": 1}', "order.yaml").label == "order"
    assert failure("{}", Path("order.yaml"))[0] == "schema order: 1 of 2 fields wrong"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "int"},
        {"name": "string"},
        "gone.json",
        None,
        {"$ref": "https://example.org/x"},
        {"$ref": "#"},
    ],
)
def test_a_broken_schema_is_an_error_of_its_own(schema: object, shown_frames: Lines) -> None:
    with pytest.raises(SchemaError) as caught:
        assert_schema("{}", schema)
    assert shown_frames(caught.value) == []


def test_the_threshold() -> None:
    measurement = assert_schema(BAD, ORDER, at_least=None)
    assert (measurement.status, measurement.value) == ("recorded", 0.0)
    assert measurement.detail["evidence"]
    assert assert_schema(BAD, ORDER, at_least=0).status == "passed"
    for threshold in (2, "1", True, float("nan")):
        with pytest.raises(UsageError, check=check_message):
            assert_schema(GOOD, ORDER, at_least=threshold)  # type: ignore[arg-type]


def test_formats_that_nobody_checks_are_listed() -> None:
    schema = {"properties": {"a": {"format": "phone"}, "b": {"format": "date"}}, "items": {"format": "phone"}}
    assert assert_schema('{"a": "x"}', schema).detail["formats_not_checked"] == ["phone"]
    assert "formats_not_checked" not in assert_schema('{"a": "x"}', {"type": "object"}).detail


def test_a_large_value_is_not_kept_but_can_be_found() -> None:
    text = json.dumps({"items": [], "total": 1, "currency": "EUR"} | {"x": "y" * MAX_PARSED_CHARS})
    measurement = assert_schema(f"It is {text}", {"type": "object"})
    assert "parsed" not in measurement.detail
    assert json.loads(f"It is {text}"[slice(*span(measurement))])["currency"] == "EUR"


HOSTILE = [
    "\x00\x1b[31m{",
    "line\n::error::two",
    '{"\\u001b[31m\\n::error::": 1, "items": "</script>\\u0000", "total": "\\ud800"}',
    '{"items": [{"sku": "\u202e", "qty": "\u2028"}]}',
    "\ud800[",
    f'{{"{"k" * 1_000_000}": 1}}',
    "{" * 1_000_000,
    "x" * 1_000_000,
    json.dumps({f"key\n{n}": n for n in range(5_000)}),
]


@pytest.mark.slow
@pytest.mark.parametrize("actual", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("schema", [ORDER, Sum], ids=["schema", "model"])
def test_hostile_text_cannot_break_a_message(
    actual: str, schema: object, well_formed: Lines, shown_frames: Lines
) -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_schema(actual, schema)
    assert len(well_formed(caught.value)) <= 10
    assert len(str(caught.value)) < 2_500
    assert shown_frames(caught.value) == []


def test_the_measurement_can_travel() -> None:
    with collect() as measurements:
        for actual in (GOOD, BAD, *HOSTILE[:5]):
            assert_schema(actual, ORDER)
    for measurement in measurements:
        wire = json.loads(json.dumps(measurement.to_wire()))
        assert Measurement.from_wire(wire) == measurement
