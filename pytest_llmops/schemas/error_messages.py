"""Turn errors of `jsonschema` into differences, without errors that the rest of a partial value could still fix."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from pytest_llmops._util.timed_search import matches_in_time
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
from pytest_llmops.schemas.json_decoding import JsonPath

MAX_CHOICES = 8  # allowed values in a message

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

# Whether an error within a branch of ``anyOf`` or ``oneOf`` counts
ErrorFilter: TypeAlias = Callable[[Any], bool]


def error_differences(error: Any, counts: ErrorFilter = lambda _: True) -> list[Difference]:
    """Return the differences in an error of a validator, at least one.

    Args:
        error: A ``ValidationError`` of `jsonschema`.
        counts: Which errors within a branch of ``anyOf`` or ``oneOf`` count.
    """
    place: JsonPath = tuple(error.absolute_path)
    differences = list(_differences_by_keyword(place, error, counts))
    if differences:
        return differences
    # We have no wording of our own for this keyword.
    return [Difference(place, shorten_text(error.message))]


def _differences_by_keyword(place: JsonPath, error: Any, counts: ErrorFilter) -> Iterator[Difference]:
    """Yield the differences in our own words; nothing for a keyword that has none."""
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    keyword = str(error.validator)
    if keyword == "required":
        yield from _missing_key_differences(place, error, schema)
    elif keyword in ("dependentRequired", "dependencies") and isinstance(error.instance, dict):
        yield from _dependent_key_differences(place, error)
    elif keyword == "additionalProperties" and isinstance(error.instance, dict):
        yield from _unknown_key_differences(place, error, schema)
    elif keyword in ("anyOf", "oneOf"):
        yield from _form_differences(place, error, counts)
    elif not keyword.startswith("unevaluated"):
        expected = f"expected {keyword} {short_json(error.validator_value)}"
        if error.validator is None:  # the schema is ``false``
            expected = "expected nothing here"
        elif keyword in ("type", "const", "enum") or keyword in _LIMITS:
            expected = f"expected {describe_schema(schema)}"
        yield Difference(place, expected, describe_json_value(error.instance))


def _unknown_key_differences(place: JsonPath, error: Any, schema: Mapping[str, Any]) -> Iterator[Difference]:
    known = schema.get("properties", {})
    for key in list_additional_keys(error.instance, schema):
        yield unknown_key_difference((*place, key), known)


def list_additional_keys(value: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Return the keys of an object to which ``additionalProperties`` of its schema applies.

    Raises:
        TimeoutError: A search for a key exceeds its time limit.
    """
    known = schema.get("properties", {})
    patterns = [re.compile(pattern) for pattern in schema.get("patternProperties", {})]
    return [
        key
        for key in value
        if key not in known and not any(matches_in_time(pattern, key) for pattern in patterns)
    ]


def _missing_key_differences(place: JsonPath, error: Any, schema: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield all keys that are missing, although `jsonschema` reports an error for each of them."""
    required = error.validator_value
    if not isinstance(required, list):
        return
    known = schema.get("properties", {})
    for key in required:
        if key not in error.instance:
            part = known.get(key)
            expected = describe_schema(part) if isinstance(part, Mapping) else ""
            yield missing_key_difference((*place, key), expected, error.instance, known)


def _dependent_key_differences(place: JsonPath, error: Any) -> Iterator[Difference]:
    for key, needed in error.validator_value.items():
        if isinstance(needed, list) and key in error.instance:
            for name in needed:
                if name not in error.instance:
                    yield Difference((*place, name), f"missing, needed together with {short_json(key)}")


def _errors_by_branch(error: Any) -> dict[int, list[Any]]:
    """Return the errors of each branch of ``anyOf`` or ``oneOf``, by the branch's index.

    Branches that are ``false`` are left out. It is empty if several forms of ``oneOf`` fit.
    """
    branches: dict[int, list[Any]] = {}
    for inner in error.context or ():
        # The error of a branch ``false`` has no path.
        if inner.relative_schema_path:
            branches.setdefault(int(inner.relative_schema_path[0]), []).append(inner)
    return branches


def _form_differences(place: JsonPath, error: Any, counts: ErrorFilter) -> list[Difference]:
    """Return the differences from the nearest form of ``anyOf`` or ``oneOf``, or that several forms fit."""
    branches = _errors_by_branch(error)
    if not branches:
        expected = "expected exactly one form of oneOf to fit, several do"
        if error.context:
            expected = "expected nothing here"
        return [Difference(place, expected, describe_json_value(error.instance))]
    forms = []
    for index, errors in branches.items():
        differences: dict[Difference, None] = {}
        for inner in filter(counts, errors):
            differences.update(dict.fromkeys(error_differences(inner, counts)))
        wrong_constants = sum(inner.validator in ("const", "enum") for inner in errors)
        name = _form_name(error.validator_value[index], index)
        forms.append(FormMismatch(name, tuple(differences), wrong_constants))
    return nearest_form_differences(place, forms)


def _form_name(schema: object, index: int) -> str:
    if isinstance(schema, Mapping):
        reference = str(schema.get("$ref", ""))
        name = schema.get("title") or reference.rpartition("/")[2]
        if name:
            return shorten_text(str(name), 60)
    return f"number {index + 1}"


def describe_schema(schema: Mapping[str, Any]) -> str:
    """Return the expectations of a schema on a value itself, without its keys or items.

    >>> describe_schema({"type": "integer", "minimum": 1})
    'integer >= 1'
    """
    if "const" in schema:
        return short_json(schema["const"])
    if isinstance(schema.get("enum"), list):
        return _describe_choices(schema["enum"])
    types = schema.get("type", "")
    if not isinstance(types, str):
        types = " or ".join(map(str, types))
    limits = []
    for keyword, value in _schema_limits(schema).items():
        if keyword in _LIMITS:
            text = value if isinstance(value, str) else short_json(value)
            limits.append(_LIMITS[keyword].format(text))
    if types or limits:
        return " ".join([types or "a value", *limits])
    return ""


def _describe_choices(choices: list[object]) -> str:
    values = ", ".join(map(short_json, choices[:MAX_CHOICES]))
    rest = len(choices) - MAX_CHOICES
    if rest > 0:
        return f"one of {values} and {rest} more"
    return f"one of {values}"


def _schema_limits(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the limits of a schema in the order of `_LIMITS`.

    Draft 4 has ``"minimum": 1, "exclusiveMinimum": true``; that is returned as ``"exclusiveMinimum": 1``, as in later
    drafts.
    """
    limits = {keyword: schema[keyword] for keyword in _LIMITS if keyword in schema}
    for keyword, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if not isinstance(limits.get(exclusive), bool):
            continue
        is_exclusive = limits.pop(exclusive)
        if is_exclusive and keyword in limits:
            limits = _rename_key(limits, keyword, exclusive)
    return limits


def _rename_key(values: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    """Return a copy of a mapping with a key renamed; the order stays."""
    renamed = {}
    for key, value in values.items():
        renamed[new if key == old else key] = value
    return renamed


# Keywords that an object or array may still satisfy when keys or items are added
_FIXED_BY_ADDITIONS = {
    "not",
    "required", "minItems", "minProperties", "contains", "minContains", "dependentRequired", "dependencies",
    "unevaluatedProperties", "unevaluatedItems",
}  # fmt: skip
# Keywords that an array may still satisfy when its last item is completed
_FIXED_BY_INNER_CHANGES = {"uniqueItems", "maxContains"}
# Keywords that a string may still satisfy when it continues
_FIXED_BY_CONTINUATION = {"not", "minLength", "pattern", "format"}
_NAMED_SCHEMA_KEYWORDS = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}


def may_still_fit(error: Any, unfinished: Unfinished) -> bool:
    """Return whether the rest of a partial value could fix an error of `jsonschema`.

    In doubt it returns True: a difference is only reported if no continuation could remove it.
    """
    if _is_conditional(list(error.absolute_schema_path)):
        return True
    place: JsonPath = tuple(error.absolute_path)
    is_open_text = place == unfinished.text
    if not is_open_text and not unfinished.is_open_at(place):
        return False
    keyword = error.validator
    if keyword in ("anyOf", "oneOf"):
        return _may_fit_a_form(error, unfinished)
    if keyword == "const":
        return _may_become(error.instance, [error.validator_value])
    if keyword == "enum":
        return _may_become(error.instance, error.validator_value)
    if is_open_text:
        return keyword in _FIXED_BY_CONTINUATION
    if keyword in _FIXED_BY_ADDITIONS:
        return True
    has_open_item = unfinished.within != place or unfinished.text is not None
    return has_open_item and keyword in _FIXED_BY_INNER_CHANGES


def _is_conditional(schema_path: list[object]) -> bool:
    """Return whether a path in a schema leads through the keyword "then" or "else".

    The rest of a partial value may change the result of "if", so that the other branch applies.
    """
    before: object = ""
    for step in schema_path:
        # A property may also have these names.
        if step in ("then", "else") and before not in _NAMED_SCHEMA_KEYWORDS:
            return True
        before = step
    return False


def _may_fit_a_form(error: Any, unfinished: Unfinished) -> bool:
    """Return whether the rest of a value could fix an error of ``anyOf`` or ``oneOf``."""
    if not error.context:  # several forms of oneOf fit; the rest may rule out all but one
        return True
    for errors in _errors_by_branch(error).values():
        if all(may_still_fit(inner, unfinished) for inner in errors):
            return True
    return False


def _may_become(value: object, allowed: Iterable[object]) -> bool:
    """Return whether a partial value may become one of the allowed values, once it is complete."""
    for choice in allowed:
        if type(choice) is not type(value):
            continue
        if not isinstance(choice, str) or choice.startswith(str(value)):
            return True
    return False
