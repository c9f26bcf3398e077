"""The errors of `jsonschema`, as differences in words for a person.

Which errors of an unfinished value the rest of it could still mend: those are not told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from pytest_llmops.measurement import shorten
from pytest_llmops.schemas.differences import (
    Difference,
    Form,
    Unfinished,
    got,
    missing,
    nearest_form,
    short,
    unknown,
)
from pytest_llmops.schemas.json_extraction import Parts

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


Counts: TypeAlias = Callable[[Any], bool]
"""Says whether an error within one of several forms counts."""


def differences(error: Any, counts: Counts = lambda _: True) -> list[Difference]:
    """Return what an error of a validator says; never nothing."""
    place: Parts = tuple(error.absolute_path)
    found = list(_differences(place, error, counts))
    # A keyword that is told in other words than its own must not turn an error into none.
    return found or [Difference(place, shorten(error.message))]


def _differences(place: Parts, error: Any, counts: Counts) -> Iterator[Difference]:
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    keyword = str(error.validator)
    if keyword == "required":
        yield from _missing(place, error, schema)
    elif keyword in ("dependentRequired", "dependencies") and isinstance(error.instance, dict):
        yield from _dependent(place, error)
    elif keyword == "additionalProperties" and isinstance(error.instance, dict):
        known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for key in error.instance:
            if key not in known and not any(re.search(pattern, key) for pattern in patterns):
                yield unknown((*place, key), known)
    elif keyword in ("anyOf", "oneOf"):
        yield from _forms(place, error, counts)
    elif not keyword.startswith("unevaluated"):
        yield Difference(place, _expected(keyword, error, schema), got(error.instance))


def _missing(place: Parts, error: Any, schema: Mapping[str, Any]) -> Iterator[Difference]:
    known = schema.get("properties", {})
    for key in error.validator_value if isinstance(error.validator_value, list) else ():
        if key not in error.instance:
            part = known.get(key)
            words = in_words(part) if isinstance(part, Mapping) else ""
            yield missing((*place, key), words, error.instance, known)


def _dependent(place: Parts, error: Any) -> Iterator[Difference]:
    for key, needed in error.validator_value.items():
        for one in needed if isinstance(needed, list) and key in error.instance else ():
            if one not in error.instance:
                yield Difference((*place, one), f"missing, needed beside {short(key)}")


def by_branch(error: Any) -> dict[int, list[Any]]:
    """Return the errors of each branch of anyOf or oneOf; a branch ``false``, which nothing fits, is left out."""
    branches: dict[int, list[Any]] = {}
    for inner in error.context or ():
        # Such a branch has an error without a way to it.
        if inner.relative_schema_path:
            branches.setdefault(int(inner.relative_schema_path[0]), []).append(inner)
    return branches


def _forms(place: Parts, error: Any, counts: Counts) -> list[Difference]:
    branches = by_branch(error)
    if not error.context:
        return [
            Difference(place, "expected exactly one form of oneOf to fit, several do", got(error.instance))
        ]
    if not branches:
        return [Difference(place, "expected nothing here", got(error.instance))]
    forms = [
        Form(
            _form_name(error.validator_value[index], index),
            tuple(dict.fromkeys(d for inner in errors if counts(inner) for d in differences(inner, counts))),
            sum(inner.validator in ("const", "enum") for inner in errors),
        )
        for index, errors in branches.items()
    ]
    return nearest_form(place, forms)


def _form_name(schema: object, index: int) -> str:
    named = schema if isinstance(schema, Mapping) else {}
    name = named.get("title") or str(named.get("$ref", "")).rpartition("/")[2]
    return shorten(str(name), 60) if name else f"number {index + 1}"


def _expected(keyword: str, error: Any, schema: Mapping[str, Any]) -> str:
    if error.validator is None:
        return "expected nothing here"
    if keyword in ("type", "const", "enum") or keyword in _LIMITS:
        return f"expected {in_words(schema)}"
    return f"expected {keyword} {short(error.validator_value)}"


def in_words(schema: Mapping[str, Any]) -> str:
    """Return in words what a schema asks of a value itself.

    >>> in_words({"type": "integer", "minimum": 1})
    'integer >= 1'
    """
    if "const" in schema:
        return short(schema["const"])
    if isinstance(schema.get("enum"), list):
        values = [short(one) for one in schema["enum"]]
        rest = len(values) - MAX_CHOICES
        return f"one of {', '.join(values[:MAX_CHOICES])}" + (f" and {rest} more" if rest > 0 else "")
    types = schema.get("type", "")
    limits = [
        _LIMITS[keyword].format(value if isinstance(value, str) else short(value))
        for keyword, value in _limits(schema).items()
        if keyword in _LIMITS
    ]
    named = types if isinstance(types, str) else " or ".join(map(str, types))
    return " ".join([named or "a value", *limits]) if named or limits else ""


def _limits(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the limits in the order of `_LIMITS`; those of draft 4 as the later drafts write them."""
    found = {keyword: schema[keyword] for keyword in _LIMITS if keyword in schema}
    for keyword, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(found.get(exclusive), bool) and found.pop(exclusive) and keyword in found:
            found = {exclusive if key == keyword else key: value for key, value in found.items()}
    return found


_MORE_MENDS = {
    "not",
    "required", "minItems", "minProperties", "contains", "minContains", "dependentRequired", "dependencies",
    "unevaluatedProperties", "unevaluatedItems",
}  # fmt: skip
"""Keywords that an object or array can still satisfy by what is added to it."""
_INNER_MENDS = {"uniqueItems", "maxContains"}
"""Keywords that change with an item that is itself unfinished."""
_ENDING_MENDS = {"not", "minLength", "pattern", "format"}
"""Keywords that a string can still satisfy by how it goes on."""
_NAMES = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}


def may_still_fit(error: Any, unfinished: Unfinished) -> bool:
    """Say whether the rest of a value could make an error of `jsonschema` go away.

    In doubt it could: what is told about an unfinished value is wrong however it goes on.
    """
    if _conditional(error):
        return True
    place: Parts = tuple(error.absolute_path)
    open_text = place == unfinished.text
    if not open_text and not unfinished.grows(place):
        return False
    keyword = error.validator
    if keyword in ("anyOf", "oneOf"):
        return _some_form(error, unfinished)
    if keyword in ("const", "enum"):
        allowed = error.validator_value if keyword == "enum" else [error.validator_value]
        return any(_leads_to(error.instance, one) for one in allowed)
    mends = _ENDING_MENDS if open_text else _MORE_MENDS
    inner = not open_text and (unfinished.within != place or unfinished.text is not None)
    return keyword in mends or (inner and keyword in _INNER_MENDS)


def _conditional(error: Any) -> bool:
    """Say whether an error stands under "then" or "else": which of them counts may change with the rest."""
    steps = list(error.absolute_schema_path)
    return any(
        step in ("then", "else") and (at == 0 or steps[at - 1] not in _NAMES) for at, step in enumerate(steps)
    )


def _some_form(error: Any, unfinished: Unfinished) -> bool:
    # Without a context several forms of oneOf fit; the rest may tell them apart.
    return not error.context or any(
        all(may_still_fit(inner, unfinished) for inner in errors) for errors in by_branch(error).values()
    )


def _leads_to(begun: object, allowed: object) -> bool:
    if isinstance(begun, str):
        return isinstance(allowed, str) and allowed.startswith(begun)
    return type(begun) is type(allowed)
