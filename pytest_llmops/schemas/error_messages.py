"""The errors of `jsonschema`, as differences in words for a person.

Which errors of an unfinished value the rest of it could still mend: those are not told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from pytest_llmops.measurement import shorten_text
from pytest_llmops.schemas.differences import (
    Difference,
    FormMismatch,
    Unfinished,
    describe_json_value,
    missing_key_difference,
    nearest_form_differences,
    short_json,
    unknown_key_difference,
)
from pytest_llmops.schemas.json_extraction import JsonPath

MAX_CHOICES = 8
"""Allowed values that are listed."""

_LIMITS = {
    "minimum": ">= {}",
    "exclusiveMinimum": "> {}",
    "maximum": "<= {}",
    "exclusiveMaximum": "< {}",
    "multipleOf": "that is a multiple of {}",
    "minLength": "of at least {} characters",
    "maxLength": "of at most {} characters",
    "pattern": "matching {}",
    "format": "in the format {}",
    "minItems": "of at least {} items",
    "maxItems": "of at most {} items",
    "uniqueItems": "of different items",
    "minProperties": "with at least {} keys",
    "maxProperties": "with at most {} keys",
}


ErrorFilter: TypeAlias = Callable[[Any], bool]
"""Says whether an error within one of several forms counts."""


def error_differences(error: Any, counts: ErrorFilter = lambda _: True) -> list[Difference]:
    """Return what an error of a validator says; never nothing."""
    place: JsonPath = tuple(error.absolute_path)
    explained = list(_differences_by_keyword(place, error, counts))
    # A keyword that is told in other words than its own must not turn an error into none.
    return explained or [Difference(place, shorten_text(error.message))]


def _differences_by_keyword(place: JsonPath, error: Any, counts: ErrorFilter) -> Iterator[Difference]:
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    keyword = str(error.validator)
    if keyword == "required":
        yield from _missing_key_differences(place, error, schema)
    elif keyword in ("dependentRequired", "dependencies") and isinstance(error.instance, dict):
        yield from _dependent_key_differences(place, error)
    elif keyword == "additionalProperties" and isinstance(error.instance, dict):
        known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for key in error.instance:
            if key not in known and not any(re.search(pattern, key) for pattern in patterns):
                yield unknown_key_difference((*place, key), known)
    elif keyword in ("anyOf", "oneOf"):
        yield from _form_differences(place, error, counts)
    elif not keyword.startswith("unevaluated"):
        yield Difference(
            place, _describe_expectation(keyword, error, schema), describe_json_value(error.instance)
        )


def _missing_key_differences(place: JsonPath, error: Any, schema: Mapping[str, Any]) -> Iterator[Difference]:
    known = schema.get("properties", {})
    for key in error.validator_value if isinstance(error.validator_value, list) else ():
        if key not in error.instance:
            part = known.get(key)
            words = describe_schema(part) if isinstance(part, Mapping) else ""
            yield missing_key_difference((*place, key), words, error.instance, known)


def _dependent_key_differences(place: JsonPath, error: Any) -> Iterator[Difference]:
    for key, needed in error.validator_value.items():
        for needed_key in needed if isinstance(needed, list) and key in error.instance else ():
            if needed_key not in error.instance:
                yield Difference((*place, needed_key), f"missing, needed beside {short_json(key)}")


def errors_by_branch(error: Any) -> dict[int, list[Any]]:
    """Return the errors of each branch of anyOf or oneOf; a branch ``false``, which nothing fits, is left out."""
    branches: dict[int, list[Any]] = {}
    for inner in error.context or ():
        # Such a branch has an error without a way to it.
        if inner.relative_schema_path:
            branches.setdefault(int(inner.relative_schema_path[0]), []).append(inner)
    return branches


def _form_differences(place: JsonPath, error: Any, counts: ErrorFilter) -> list[Difference]:
    branches = errors_by_branch(error)
    if not error.context:
        return [
            Difference(
                place,
                "expected exactly one form of oneOf to fit, several do",
                describe_json_value(error.instance),
            )
        ]
    if not branches:
        return [Difference(place, "expected nothing here", describe_json_value(error.instance))]
    forms = [
        FormMismatch(
            _form_name(error.validator_value[index], index),
            tuple(
                dict.fromkeys(
                    d for inner in errors if counts(inner) for d in error_differences(inner, counts)
                )
            ),
            sum(inner.validator in ("const", "enum") for inner in errors),
        )
        for index, errors in branches.items()
    ]
    return nearest_form_differences(place, forms)


def _form_name(schema: object, index: int) -> str:
    named = schema if isinstance(schema, Mapping) else {}
    name = named.get("title") or str(named.get("$ref", "")).rpartition("/")[2]
    return shorten_text(str(name), 60) if name else f"number {index + 1}"


def _describe_expectation(keyword: str, error: Any, schema: Mapping[str, Any]) -> str:
    if error.validator is None:
        return "expected nothing here"
    if keyword in ("type", "const", "enum") or keyword in _LIMITS:
        return f"expected {describe_schema(schema)}"
    return f"expected {keyword} {short_json(error.validator_value)}"


def describe_schema(schema: Mapping[str, Any]) -> str:
    """Return in words what a schema asks of a value itself.

    >>> describe_schema({"type": "integer", "minimum": 1})
    'integer >= 1'
    """
    if "const" in schema:
        return short_json(schema["const"])
    if isinstance(schema.get("enum"), list):
        values = [short_json(choice) for choice in schema["enum"]]
        rest = len(values) - MAX_CHOICES
        return f"one of {', '.join(values[:MAX_CHOICES])}" + (f" and {rest} more" if rest > 0 else "")
    types = schema.get("type", "")
    limits = [
        _LIMITS[keyword].format(value if isinstance(value, str) else short_json(value))
        for keyword, value in _schema_limits(schema).items()
        if keyword in _LIMITS
    ]
    named = types if isinstance(types, str) else " or ".join(map(str, types))
    return " ".join([named or "a value", *limits]) if named or limits else ""


def _schema_limits(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the limits in the order of `_LIMITS`; those of draft 4 as the later drafts write them."""
    limits = {keyword: schema[keyword] for keyword in _LIMITS if keyword in schema}
    for keyword, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(limits.get(exclusive), bool) and limits.pop(exclusive) and keyword in limits:
            limits = {exclusive if key == keyword else key: value for key, value in limits.items()}
    return limits


_FIXED_BY_ADDITIONS = {
    "not",
    "required", "minItems", "minProperties", "contains", "minContains", "dependentRequired", "dependencies",
    "unevaluatedProperties", "unevaluatedItems",
}  # fmt: skip
"""Keywords that an object or array can still satisfy by what is added to it."""
_FIXED_BY_INNER_CHANGES = {"uniqueItems", "maxContains"}
"""Keywords that change with an item that is itself unfinished."""
_FIXED_BY_CONTINUATION = {"not", "minLength", "pattern", "format"}
"""Keywords that a string can still satisfy by how it goes on."""
_NAMED_SCHEMA_KEYWORDS = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}


def may_still_fit(error: Any, unfinished: Unfinished) -> bool:
    """Say whether the rest of a value could make an error of `jsonschema` go away.

    In doubt it could: what is told about an unfinished value is wrong however it goes on.
    """
    if _is_conditional(error):
        return True
    place: JsonPath = tuple(error.absolute_path)
    open_text = place == unfinished.text
    if not open_text and not unfinished.is_open_at(place):
        return False
    keyword = error.validator
    if keyword in ("anyOf", "oneOf"):
        return _may_fit_some_form(error, unfinished)
    if keyword in ("const", "enum"):
        allowed = error.validator_value if keyword == "enum" else [error.validator_value]
        return any(_may_become(error.instance, choice) for choice in allowed)
    mends = _FIXED_BY_CONTINUATION if open_text else _FIXED_BY_ADDITIONS
    inner = not open_text and (unfinished.within != place or unfinished.text is not None)
    return keyword in mends or (inner and keyword in _FIXED_BY_INNER_CHANGES)


def _is_conditional(error: Any) -> bool:
    """Say whether an error stands under "then" or "else": which of them counts may change with the rest."""
    steps = list(error.absolute_schema_path)
    return any(
        step in ("then", "else") and (at == 0 or steps[at - 1] not in _NAMED_SCHEMA_KEYWORDS)
        for at, step in enumerate(steps)
    )


def _may_fit_some_form(error: Any, unfinished: Unfinished) -> bool:
    # Without a context several forms of oneOf fit; the rest may tell them apart.
    return not error.context or any(
        all(may_still_fit(inner, unfinished) for inner in errors)
        for errors in errors_by_branch(error).values()
    )


def _may_become(begun: object, allowed: object) -> bool:
    if isinstance(begun, str):
        return isinstance(allowed, str) and allowed.startswith(begun)
    return type(begun) is type(allowed)
