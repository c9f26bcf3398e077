"""What holds for every value that breaks off."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops import schemas
from pytest_llmops.schemas import parse_partial_json

scalars = (
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9) | st.text(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
containers = values.filter(lambda value: isinstance(value, (dict, list)))
layouts = st.sampled_from([{}, {"indent": 1}, {"ensure_ascii": False}, {"separators": (",", ":")}])


def exactly(value: Any) -> dict[str, Any]:
    """A schema that one value alone fits, said with many keywords."""
    if isinstance(value, dict):
        return {
            "type": "object",
            "properties": {key: exactly(entry) for key, entry in value.items()},
            "required": sorted(value),
            "additionalProperties": False,
            "minProperties": len(value),
            "anyOf": [{"maxProperties": 0, "minProperties": 1}, {"required": sorted(value)}],
            "not": {"maxProperties": len(value) - 1} if value else {"minProperties": 1},
        }
    if isinstance(value, list):
        return {
            "type": "array",
            **({"prefixItems": [exactly(entry) for entry in value]} if value else {}),
            "items": False,
            "minItems": len(value),
            "maxItems": len(value),
        }
    if isinstance(value, str):
        return {"type": "string", "enum": [value], "minLength": len(value), "maxLength": len(value)}
    return {"const": value}


@pytest.mark.slow
@given(value=containers, layout=layouts, cut=st.integers(0))
def test_no_beginning_of_what_fits_is_called_wrong(value: Any, layout: dict[str, Any], cut: int) -> None:
    text = json.dumps(value, **layout)
    partial_json = parse_partial_json(text[: 1 + cut % (len(text) - 1)])
    assert partial_json is not None
    schema = schemas.load(exactly(value))
    assert schema.differences(value) == []
    assert schema.differences(partial_json.value, unfinished=partial_json.unfinished) == []


@given(value=containers, layout=layouts, cut=st.integers(0), more=st.integers(0))
def test_a_beginning_only_grows(value: Any, layout: dict[str, Any], cut: int, more: int) -> None:
    text = json.dumps(value, **layout)
    end = 1 + cut % (len(text) - 1)
    part, longer = (
        parse_partial_json(text[:end]),
        parse_partial_json(text[: min(len(text) - 1, end + more % 20)]),
    )
    assert part is not None
    assert longer is not None
    assert len(json.dumps(part.value)) <= len(json.dumps(longer.value))


SCHEMA = {"properties": {"a": {"type": "integer", "minimum": 0}}, "required": ["a", "b"]}


@pytest.mark.slow
@given(wrong=st.sampled_from([[], "x", None, -1]), rest=containers, cut=st.integers(0))
def test_a_closed_field_that_is_wrong_is_reported_whatever_follows(wrong: Any, rest: Any, cut: int) -> None:
    text = json.dumps({"a": wrong, "b": rest})
    start = text.index('"b"')
    partial_json = parse_partial_json(text[: start + cut % (len(text) - start)])
    assert partial_json is not None
    left = schemas.load(SCHEMA).differences(partial_json.value, unfinished=partial_json.unfinished)
    assert [difference.path for difference in left] == ["$.a"]
