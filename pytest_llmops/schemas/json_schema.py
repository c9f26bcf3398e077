"""Compile and cache JSON Schemas, and list how a value differs from its schema.

`jsonschema` decides, except over ``multipleOf``, which `jsonschema` computes with rounded floats,
``uniqueItems``, for which it needs quadratic time, and patterns, which it searches without a time limit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops._util.timed_search import matches_in_time
from pytest_llmops.errors import SchemaError, find_closest_name, format_name_list
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.schemas.differences import (
    MAX_DIFFERENCES,
    Difference,
    Unfinished,
    format_json_path,
    short_json,
)
from pytest_llmops.schemas.error_messages import error_differences, list_additional_keys, may_still_fit
from pytest_llmops.schemas.formats import FormatCheck, format_checks
from pytest_llmops.schemas.json_decoding import iterate_nodes
from pytest_llmops.schemas.schema_files import SchemaFiles, build_registry, describe_unresolved

if TYPE_CHECKING:
    from jsonschema import FormatChecker
    from jsonschema.protocols import Validator


__tracebackhide__ = True


def is_multiple(number: float, of: float) -> bool:
    """Return whether a number is a whole multiple of another, computed exactly with the decimals of the JSON text.

    ``jsonschema`` divides floats and does not accept 19.99 as a multiple of 0.01.

    Args:
        number: A finite number.
        of: A finite number above 0.

    >>> is_multiple(19.99, 0.01), is_multiple(19.995, 0.01), is_multiple(10**400, 0.01)
    (True, False, True)
    """
    return _as_fraction(number) % _as_fraction(of) == 0


def _as_fraction(number: float) -> Fraction:
    """Return the number that the JSON text had: 0.01 is 1/100, and not the nearest binary float."""
    # The shortest text of a float is the text of the JSON; an integer may be too long for Python to write.
    if type(number) is float:
        return Fraction(repr(number))
    return Fraction(number)


def are_unique(items: list[Json]) -> bool:
    """Return whether no two JSON values are equal, in linear time: 1 equals 1.0, and true does not equal 1.

    >>> are_unique([{"a": 1, "b": 2}, {"b": 2.0, "a": 1}]), are_unique([1, True, "1", [1]])
    (False, True)
    """
    # Texts, as their hashes cannot be predicted: nobody can make many items share a hash.
    texts = {json.dumps(_with_whole_integers(item), sort_keys=True) for item in items}
    return len(texts) == len(items)


def _with_whole_integers(value: Json) -> Json:
    """Return a JSON value with an integer for each float without decimals: JSON does not tell 1 and 1.0 apart."""
    if isinstance(value, float):
        if value.is_integer():
            return int(value)
        return value
    if isinstance(value, Mapping):
        return {key: _with_whole_integers(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_with_whole_integers(child) for child in value]
    return value


def _make_pattern_keywords() -> dict[str, Any]:
    """Return the functions of the keywords with patterns, as `jsonschema` has them, but with a time limit for a search.

    Only ``unevaluatedProperties`` still searches the keys of ``patternProperties`` without one.
    """
    from jsonschema import ValidationError

    def check_pattern(validator: Any, pattern: Any, value: Any, _: Any) -> Iterator[Any]:
        if validator.is_type(value, "string") and not matches_in_time(re.compile(pattern), value):
            yield ValidationError("no match")

    def check_pattern_properties(validator: Any, patterns: Any, value: Any, _: Any) -> Iterator[Any]:
        if not validator.is_type(value, "object"):
            return
        for pattern, subschema in patterns.items():
            for key, child in value.items():
                if matches_in_time(re.compile(pattern), key):
                    yield from validator.descend(child, subschema, path=key, schema_path=pattern)

    def check_additional_properties(validator: Any, allowed: Any, value: Any, schema: Any) -> Iterator[Any]:
        if not validator.is_type(value, "object"):
            return
        keys = list_additional_keys(value, schema)
        if validator.is_type(allowed, "object"):
            for key in keys:
                yield from validator.descend(value[key], allowed, path=key)
        elif not allowed and keys:
            yield ValidationError("additional keys")

    return {
        "pattern": check_pattern,
        "patternProperties": check_pattern_properties,
        "additionalProperties": check_additional_properties,
    }


@cache
def _extend_draft(draft: Any) -> Any:
    """Return the `jsonschema` validator class of a draft with exact ``multipleOf``, linear ``uniqueItems`` and timed patterns."""
    from jsonschema import ValidationError
    from jsonschema.validators import extend

    def check_multiple_of(validator: Any, of: Any, value: Any, _: Any) -> Iterator[Any]:
        if validator.is_type(value, "number") and not is_multiple(value, of):
            yield ValidationError("not a multiple")

    def check_unique_items(validator: Any, wanted: Any, value: Any, _: Any) -> Iterator[Any]:
        if wanted and validator.is_type(value, "array") and not are_unique(value):
            yield ValidationError("equal items")

    own_keywords = {
        "multipleOf": check_multiple_of,
        "uniqueItems": check_unique_items,
        **_make_pattern_keywords(),
    }
    extended: Any = extend(draft, own_keywords)  # type: ignore[no-untyped-call]
    evolve = extended.evolve

    def evolve_keeping_keywords(self: Any, **changes: Any) -> Any:
        # For a subschema with its own ``$schema``, `jsonschema` would use that draft's class without our keywords.
        validator = evolve(self, **changes)
        validator_class: Any = type(validator)
        if validator_class is extended:
            return validator
        return _extend_draft(validator_class)(
            validator.schema,
            format_checker=validator.format_checker,
            _resolver=validator._resolver,  # noqa: SLF001 -- holds the references; jsonschema has no public way
        )

    extended.evolve = evolve_keeping_keywords
    return extended


MAX_CACHED_SCHEMAS = 64  # compiled schemas in the cache
# The supported drafts by the name of their class in `jsonschema`
DRAFTS = {
    "Draft4Validator": "http://json-schema.org/draft-04/schema#",
    "Draft6Validator": "http://json-schema.org/draft-06/schema#",
    "Draft7Validator": "http://json-schema.org/draft-07/schema#",
    "Draft201909Validator": "https://json-schema.org/draft/2019-09/schema",
    "Draft202012Validator": "https://json-schema.org/draft/2020-12/schema",
}

_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """A valid JSON Schema, compiled.

    Attributes:
        unchecked: Formats in the schema that are not checked: unknown, or their package is not installed.
    """

    name: str
    where: str
    validator: Validator
    unchecked: tuple[str, ...] = ()

    def differences(self, value: Json, *, unfinished: Unfinished | None = None) -> list[Difference]:
        """See `pytest_llmops.schemas.Schema`."""
        from referencing.exceptions import Unresolvable

        def counts(error: Any) -> bool:
            # An error of a partial value counts only if the rest cannot fix it.
            return unfinished is None or not may_still_fit(error, unfinished)

        errors = filter(counts, self.validator.iter_errors(value))
        differences = chain.from_iterable(error_differences(error, counts) for error in errors)
        try:
            collected = list(islice(differences, 10 * MAX_DIFFERENCES))
        except Unresolvable as error:
            raise SchemaError(f"{self.where}: {describe_unresolved(error.ref, error)}") from None
        except TimeoutError as error:
            raise SchemaError(f"{self.where}: {error}") from None
        except RecursionError:
            raise SchemaError(f"{self.where}: a $ref refers to itself without end") from None
        # Branches of allOf repeat each other, and `required` reports all missing keys once for each of them.
        return list(dict.fromkeys(collected))[:MAX_DIFFERENCES]


def compile_schema(text: str, where: str, name: str = "", *, folder: Path | None = None) -> JsonSchema:
    """Compile the schema in a JSON text; the last 64 that refer to no other file are cached.

    Args:
        text: JSON of the schema, an object.
        where: The name of the schema in messages ("schema Order", a file name).
        name: Name for a schema without a title.
        folder: Folder of the files that the schema may refer to; None: no files.

    Raises:
        SchemaError: The schema is invalid in its draft, has keys but no keyword, or refers to something outside of
            itself and that folder.
    """
    compiled, has_files = _compile(text, where, name, folder)
    # A file may have changed since: compiled again, past the cache.
    if has_files:
        return _compile.__wrapped__(text, where, name, folder)[0]
    return compiled


@lru_cache(maxsize=MAX_CACHED_SCHEMAS)
def _compile(text: str, where: str, name: str, folder: Path | None) -> tuple[JsonSchema, bool]:
    """Return the compiled schema, and whether it refers to files; for the arguments see `compile_schema`."""
    schema = json.loads(text)
    draft = _find_draft(schema, where)
    _check_valid_schema(draft, schema, where)
    if schema and not any(keyword in draft.VALIDATORS for keyword in schema):
        keys = format_name_list(shorten_text(key, 60) for key in schema)
        raise SchemaError(
            f"{where}: expected a JSON Schema, got an object without any of its keywords (type, properties ...); "
            f"it would accept everything. Its keys: {keys}"
        )
    id_key = "id" if draft.META_SCHEMA.get("id") else "$id"
    base = schema.get(id_key)
    if not isinstance(base, str):
        base = ""
    files = SchemaFiles(folder, base)
    return _build_schema(draft, schema, where, files, name=name), bool(files.read)


def _build_schema(
    draft: Any, schema: Mapping[str, Any], where: str, files: SchemaFiles, *, name: str
) -> JsonSchema:
    """Resolve the references of a valid schema, check the files that it refers to, and return its validator."""
    from referencing.jsonschema import specification_with

    registry = build_registry(specification_with(draft.META_SCHEMA["$schema"]), schema, where, files)
    # `build_registry` has read all files.
    for uri, content in files.read.items():
        its_draft = _find_draft(content, uri, draft)
        _check_valid_schema(its_draft, content, f"{where}: {shorten_text(uri)}")
    formats = set(_named_formats(schema))
    for content in files.read.values():
        formats.update(_named_formats(content))
    title = schema.get("title")
    if isinstance(title, str) and title:
        name = title
    validator_class = _extend_draft(draft)
    validator = validator_class(schema, registry=registry, format_checker=_format_checker())
    unchecked = formats.difference(format_checks())
    return JsonSchema(name=name, where=where, validator=validator, unchecked=tuple(sorted(unchecked)))


def _find_draft(schema: Mapping[str, Any], where: str, default: Any = None) -> Any:
    """Return the `jsonschema` class for the ``$schema`` of a schema; without it the default, or draft 2020-12."""
    import jsonschema
    from jsonschema.validators import validator_for

    if "$schema" not in schema:
        return default or jsonschema.Draft202012Validator
    dialect = schema["$schema"]
    draft = None
    if isinstance(dialect, str):
        draft = validator_for(schema, default=None)  # type: ignore[arg-type]
    if draft is None or draft.__name__ not in DRAFTS:
        raise SchemaError(
            f"{where}: $schema: expected the URI of a draft from 4 to 2020-12, like "
            f"{DRAFTS['Draft202012Validator']!r} or {DRAFTS['Draft7Validator']!r}, got {short_json(dialect)}"
        )
    return draft


def _check_valid_schema(draft: Any, schema: Mapping[str, Any], where: str) -> None:
    """Raise a `SchemaError` if a schema is not valid in its draft."""
    import jsonschema

    try:
        draft.check_schema(schema)
    except jsonschema.SchemaError as error:
        place = tuple(error.absolute_path)
        problem = shorten_text(error.message)
        if place[-1:] == ("type",) and isinstance(error.instance, str):
            problem = f"unknown type {short_json(error.instance)}, known are {', '.join(_TYPES)}"
            near = find_closest_name(error.instance, _TYPES)
            if near:
                problem += f"; did you mean {near!r}?"
        raise SchemaError(f"{where}: no valid JSON Schema at {format_json_path(place)}: {problem}") from None
    except RecursionError:
        raise SchemaError(f"{where}: no JSON Schema: nested too deeply") from None


# Keywords whose values are not schemas
_VALUE_KEYWORDS = frozenset({"const", "enum", "default", "examples"})


def _named_formats(schema: object) -> Iterator[str]:
    """Yield the formats that a schema requires, but not the texts under "format" in its constants and examples."""
    for parts, node in iterate_nodes(schema):
        is_format = parts[-1:] == ("format",) and _VALUE_KEYWORDS.isdisjoint(parts)
        if is_format and isinstance(node, str):
            yield node


@cache
def _format_checker() -> FormatChecker:
    """Return a checker of exactly the formats in `format_checks`, whatever packages are installed."""
    from jsonschema import FormatChecker

    checker = FormatChecker(formats=())
    for name, check in format_checks().items():
        checker.checks(name)(partial(_fits_format, check))
    return checker


def _fits_format(check: FormatCheck, value: object) -> bool:
    """Return whether a value fits a format; formats apply to texts only, so any other value does."""
    return not isinstance(value, str) or check(value)
