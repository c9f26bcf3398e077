"""JSON Schemas: checked themselves first, then what a value lacks, in words for a person."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from pytest_llmops.errors import SchemaError, closest, listing
from pytest_llmops.measurement import Json, shorten
from pytest_llmops.metrics.jsontext import Parts
from pytest_llmops.schemas.difference import (
    MAX_DIFFERENCES,
    Difference,
    Form,
    got,
    missing,
    nearest_form,
    path,
    short,
    unknown,
)

if TYPE_CHECKING:
    from jsonschema import FormatChecker
    from jsonschema.protocols import Validator

MAX_CHOICES = 8
"""Allowed values that are listed."""
FORMATS = ("date", "email", "idn-email", "ipv4", "ipv6", "regex", "uuid")
"""Formats that are checked, besides "date-time": those that need nothing but the standard library."""

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
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


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """A JSON Schema that is known to be valid."""

    name: str
    where: str
    validator: Validator

    def differences(self, value: Json) -> list[Difference]:
        """See `pytest_llmops.schemas.Schema`."""
        __tracebackhide__ = True
        from referencing.exceptions import Unresolvable

        try:
            found = (one for error in self.validator.iter_errors(value) for one in _differences(error))
            # Branches of allOf say the same thing twice, `required` once for each key that it misses.
            return list(dict.fromkeys(islice(found, 10 * MAX_DIFFERENCES)))[:MAX_DIFFERENCES]
        except Unresolvable as error:
            raise SchemaError(f"{self.where}: {_unresolved(error.ref)}") from None
        except RecursionError:
            raise SchemaError(f"{self.where}: a $ref refers to itself without end") from None


@lru_cache(maxsize=64)
def compiled(text: str, where: str, name: str = "") -> JsonSchema:
    """Return the schema of a JSON text, ready for use; the last 64 are kept.

    Args:
        text: JSON of the schema, an object.
        where: What a message calls it ("schema Order", a file name).
        name: Its name, if it has no title.

    Raises:
        SchemaError: It is no valid schema of its draft, would accept everything, or refers to something
            outside of itself.
    """
    __tracebackhide__ = True
    schema = json.loads(text)
    draft = _draft(schema, where)
    _check(draft, schema, where)
    validator = draft(schema, registry=_registry(), format_checker=_formats())
    title = schema.get("title")
    return JsonSchema(title if isinstance(title, str) and title else name, where, validator)


def _draft(schema: Mapping[str, Any], where: str) -> Any:
    __tracebackhide__ = True
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for

    if "$schema" not in schema:
        return Draft202012Validator
    dialect = schema["$schema"]
    found = validator_for(schema, default=None) if isinstance(dialect, str) else None  # type: ignore[arg-type]
    if found is None:
        raise SchemaError(
            f"{where}: $schema: expected the URI of a draft, like "
            f"{Draft202012Validator.META_SCHEMA['$id']!r} or 'http://json-schema.org/draft-07/schema#', "
            f"got {short(dialect)}"
        )
    return found


def _check(draft: Any, schema: Mapping[str, Any], where: str) -> None:
    __tracebackhide__ = True
    import jsonschema

    try:
        draft.check_schema(schema)
    except jsonschema.SchemaError as error:
        place = path(tuple(error.absolute_path))
        raise SchemaError(f"{where}: no valid JSON Schema at {place}: {_problem(error)}") from None
    except RecursionError:
        raise SchemaError(f"{where}: no JSON Schema: nested too deeply") from None
    if not any(keyword in draft.VALIDATORS for keyword in schema):
        raise SchemaError(
            f"{where}: expected a JSON Schema, got an object without any of its keywords (type, properties ...); "
            f"it would accept everything. Its keys: {listing(shorten(key, 60) for key in schema)}"
        )
    _check_references(draft, schema, where)


def _problem(error: Any) -> str:
    if error.absolute_path and error.absolute_path[-1] == "type" and isinstance(error.instance, str):
        near = closest(error.instance, _TYPES)
        hint = f"; did you mean {near!r}?" if near else ""
        return f"unknown type {short(error.instance)}, known are {', '.join(_TYPES)}{hint}"
    return shorten(error.message)


@cache
def _registry() -> Any:
    # The drafts' own schemas, and no way to fetch anything else.
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    return REGISTRY


def _check_references(draft: Any, schema: Mapping[str, Any], where: str) -> None:
    __tracebackhide__ = True
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import specification_with

    resource = specification_with(draft.META_SCHEMA["$schema"]).create_resource(schema)
    rest = [(resource, _registry().resolver_with_root(resource))]
    while rest:
        part, resolver = rest.pop()
        reference = part.contents.get("$ref") if isinstance(part.contents, Mapping) else None
        try:
            if isinstance(reference, str):
                resolver.lookup(reference)
        except Unresolvable:
            places = ", ".join(path(at) for at in _places(schema, reference))
            raise SchemaError(f"{where}: {_unresolved(reference)} (at {shorten(places)})") from None
        rest += [(child, resolver.in_subresource(child)) for child in part.subresources()]


def _unresolved(reference: str | None) -> str:
    return (
        f"$ref {short(reference)} leads nowhere within the schema; nothing is fetched: put it under $defs and "
        'refer to "#/$defs/<name>"'
    )


def _places(schema: Any, reference: str | None) -> Iterator[Parts]:
    rest: list[tuple[Any, Parts]] = [(schema, ())]
    while rest:
        one, parts = rest.pop()
        if isinstance(one, dict):
            if one.get("$ref") == reference:
                yield (*parts, "$ref")
            rest += [(child, (*parts, key)) for key, child in one.items()]
        elif isinstance(one, list):
            rest += [(child, (*parts, index)) for index, child in enumerate(one)]


@cache
def _formats() -> FormatChecker:
    from jsonschema import FormatChecker

    checker = FormatChecker(formats=FORMATS)
    checker.checks("date-time", raises=ValueError)(_is_date_time)
    return checker


def _is_date_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    return _DATE_TIME.fullmatch(value) is not None and bool(datetime.fromisoformat(value.upper()))


def _differences(error: Any) -> Iterator[Difference]:
    place: Parts = tuple(error.absolute_path)
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    keyword = str(error.validator)
    if keyword == "required":
        yield from _missing(place, error, schema)
    elif keyword == "additionalProperties" and isinstance(error.instance, dict):
        known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for key in error.instance:
            if key not in known and not any(re.search(pattern, key) for pattern in patterns):
                yield unknown((*place, key), known)
    elif keyword in ("anyOf", "oneOf"):
        yield from _forms(place, error)
    else:
        yield Difference(place, _expected(keyword, error, schema), got(error.instance))


def _missing(place: Parts, error: Any, schema: Mapping[str, Any]) -> Iterator[Difference]:
    known = schema.get("properties", {})
    for key in error.validator_value if isinstance(error.validator_value, list) else ():
        if key not in error.instance:
            part = known.get(key)
            words = _words(part) if isinstance(part, Mapping) else ""
            yield missing((*place, key), words, error.instance, known)


def _forms(place: Parts, error: Any) -> list[Difference]:
    branches: dict[int, list[Any]] = {}
    for inner in error.context or ():
        branches.setdefault(int(inner.relative_schema_path[0]), []).append(inner)
    if not branches:
        return [
            Difference(place, "expected exactly one form of oneOf to fit, several do", got(error.instance))
        ]
    forms = [
        Form(
            _form_name(error.validator_value[index], index),
            tuple(dict.fromkeys(d for inner in errors for d in _differences(inner))),
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
        return f"expected {_words(schema)}"
    return f"expected {keyword} {short(error.validator_value)}"


def _words(schema: Mapping[str, Any]) -> str:
    """Return in words what a schema asks of a value itself.

    >>> _words({"type": "integer", "minimum": 1})
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
        words.format(schema[keyword] if isinstance(schema[keyword], str) else short(schema[keyword]))
        for keyword, words in _LIMITS.items()
        if keyword in schema
    ]
    named = types if isinstance(types, str) else " or ".join(types)
    return " ".join([named or "a value", *limits]) if named or limits else ""
