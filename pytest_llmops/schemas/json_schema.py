"""JSON Schemas: checked themselves first, then what a value lacks, in words for a person.

Keywords of JSON Schema that we decide ourselves: `jsonschema` rounds one, and takes quadratic time for another.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pytest_llmops.errors import MissingExtra, SchemaError, UsageError, find_closest_name, format_name_list
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.schemas.differences import (
    MAX_DIFFERENCES,
    Difference,
    Unfinished,
    format_json_path,
    short_json,
)
from pytest_llmops.schemas.error_messages import error_differences, may_still_fit
from pytest_llmops.schemas.formats import format_checks
from pytest_llmops.schemas.references import SchemaFiles, build_registry, describe_unresolved, draft_registry

if TYPE_CHECKING:
    from jsonschema import FormatChecker
    from jsonschema.protocols import Validator


def is_multiple(number: float, of: float) -> bool:
    """Say whether a number is a whole multiple of another, both taken as JSON writes them: exactly, in decimals.

    ``jsonschema`` divides floats, and finds 19.99 to be no multiple of 0.01.

    Args:
        number: A finite number.
        of: A finite number above 0.

    >>> is_multiple(19.99, 0.01), is_multiple(19.995, 0.01), is_multiple(10**400, 0.01)
    (True, False, True)
    """
    (above, below), (of_above, of_below) = _exact_ratio(number), _exact_ratio(of)
    return above * of_below % (below * of_above) == 0


def _exact_ratio(number: float) -> tuple[int, int]:
    # The shortest text of a float is what stood in the JSON; an integer may be longer than Python writes.
    exact = Decimal(repr(number)) if type(number) is float else number
    return exact.as_integer_ratio()


def all_different(items: list[Any]) -> bool:
    """Say whether no two of some JSON values are equal: 1 and 1.0 are, true and 1 are not. Linear in their size.

    >>> all_different([{"a": 1, "b": 2}, {"b": 2.0, "a": 1}]), all_different([1, True, "1", [1]])
    (False, True)
    """
    seen: set[str] = set()
    for item in items:
        # A text: its hash cannot be foreseen, so that nobody can make many items share one.
        text = json.dumps(_canonical_value(item), sort_keys=True)
        if text in seen:
            return False
        seen.add(text)
    return True


def _canonical_value(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, dict):
        return {key: _canonical_value(child) for key, child in value.items()}
    return [_canonical_value(child) for child in value] if isinstance(value, list) else value


def _check_multiple_of(validator: Any, of: Any, value: Any, _: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(value, "number") and not is_multiple(value, of):
        yield ValidationError("no multiple")


def _check_unique_items(validator: Any, required: Any, value: Any, _: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if required and validator.is_type(value, "array") and not all_different(value):
        yield ValidationError("items that are equal")


@cache
def extend_draft(draft: Any) -> Any:
    """Return a draft's validator class of ``jsonschema`` with these keywords decided here."""
    from jsonschema.validators import extend

    extended: Any = extend(  # type: ignore[no-untyped-call]
        draft, {"multipleOf": _check_multiple_of, "uniqueItems": _check_unique_items}
    )
    evolve = extended.evolve

    def evolved(self: Any, **changes: Any) -> Any:
        # A part with a ``$schema`` of its own would be given the class of that draft, without our keywords.
        validator = evolve(self, **changes)
        validator_class: Any = type(validator)
        if validator_class is extended:
            return validator
        return extend_draft(validator_class)(
            validator.schema,
            format_checker=validator.format_checker,
            _resolver=validator._resolver,  # noqa: SLF001 -- has what is referred to; there is no other way to it
        )

    extended.evolve = evolved
    return extended


Engine: TypeAlias = Literal["jsonschema", "jsonschema-rs"]

ENGINES = ("jsonschema", "jsonschema-rs")
MAX_CACHED_SCHEMAS = 64
"""Schemas that are kept, ready for use."""
RUST_ROOT = "json-schema:///"
"""Where jsonschema-rs takes relative references from."""
DRAFTS = {
    "Draft4Validator": "http://json-schema.org/draft-04/schema#",
    "Draft6Validator": "http://json-schema.org/draft-06/schema#",
    "Draft7Validator": "http://json-schema.org/draft-07/schema#",
    "Draft201909Validator": "https://json-schema.org/draft/2019-09/schema",
    "Draft202012Validator": "https://json-schema.org/draft/2020-12/schema",
}
"""The drafts, by the names that both engines give them."""

_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """A JSON Schema that is known to be valid.

    Attributes:
        unchecked: Formats it names that nobody checks: unknown ones, and those whose package is missing.
        fits: What decides instead of ``validator`` if another engine was asked for; the words are still those of
            ``validator``.
    """

    name: str
    where: str
    validator: Validator
    unchecked: tuple[str, ...] = ()
    fits: Callable[[Json], bool] | None = None

    def differences(self, value: Json, *, unfinished: Unfinished | None = None) -> list[Difference]:
        """See `pytest_llmops.schemas.Schema`."""
        __tracebackhide__ = True
        from referencing.exceptions import Unresolvable

        if self.fits is not None and self.fits(value):
            return []
        try:
            collected = list(islice(self._found(value, unfinished), 10 * MAX_DIFFERENCES))
        except Unresolvable as error:
            raise SchemaError(f"{self.where}: {describe_unresolved(error.ref, error)}") from None
        except RecursionError:
            raise SchemaError(f"{self.where}: a $ref refers to itself without end") from None
        if not collected and self.fits is not None and unfinished is None:
            return [
                Difference((), "jsonschema-rs does not accept it, jsonschema does: the engines differ here")
            ]
        # Branches of allOf say the same thing twice, `required` once for each key that it misses.
        return list(dict.fromkeys(collected))[:MAX_DIFFERENCES]

    def _found(self, value: Json, unfinished: Unfinished | None) -> Iterator[Difference]:
        def counts(error: Any) -> bool:
            return unfinished is None or not may_still_fit(error, unfinished)

        for error in filter(counts, self.validator.iter_errors(value)):
            yield from error_differences(error, counts)


_schema_cache: dict[tuple[str, ...], tuple[JsonSchema, SchemaFiles]] = {}
_cache_lock = threading.Lock()


def compile_schema(
    text: str, where: str, name: str = "", *, engine: str = "jsonschema", folder: Path | None = None
) -> JsonSchema:
    """Return the schema of a JSON text, ready for use; the last 64 are kept until a file they refer to changes.

    Args:
        text: JSON of the schema, an object.
        where: What a message calls it ("schema Order", a file name).
        name: Its name, if it has no title.
        engine: Who decides: "jsonschema", or "jsonschema-rs", which is faster on large values.
        folder: Where files lie that it may refer to; None: there are none.

    Raises:
        SchemaError: It is no valid schema of its draft, would accept everything, or refers to something
            outside of itself and that folder.
        UsageError: There is no such engine, or its package is not installed.
    """
    __tracebackhide__ = True
    key = (text, where, name, engine, str(folder))
    cached = _schema_cache.get(key)
    if cached is not None and not cached[1].changed():
        return cached[0]
    schema = json.loads(text)
    draft = _find_draft(schema, where)
    _check_valid_schema(draft, schema, where)
    _check_has_keywords(draft, schema, where)
    base = schema.get("id" if draft.META_SCHEMA.get("id") else "$id", "")
    files = SchemaFiles(folder, base if isinstance(base, str) else "")
    compiled_schema = _build_schema(draft, schema, where, files, name=name, engine=engine)
    with _cache_lock:
        while len(_schema_cache) >= MAX_CACHED_SCHEMAS:
            del _schema_cache[next(iter(_schema_cache))]
        _schema_cache[key] = compiled_schema, files
    return compiled_schema


def _build_schema(
    draft: Any, schema: Mapping[str, Any], where: str, files: SchemaFiles, *, name: str, engine: str
) -> JsonSchema:
    __tracebackhide__ = True
    from referencing.jsonschema import specification_with

    registry = build_registry(specification_with(draft.META_SCHEMA["$schema"]), schema, where, files)
    for uri, content in files.read.items():
        _check_valid_schema(_find_draft(content, uri, draft), content, f"{where}: {shorten_text(uri)}")
    title = schema.get("title")
    named = {
        format_name for content in (schema, *files.read.values()) for format_name in _named_formats(content)
    }
    return JsonSchema(
        name=title if isinstance(title, str) and title else name,
        where=where,
        validator=extend_draft(draft)(schema, registry=registry, format_checker=_format_checker()),
        unchecked=tuple(sorted(named - set(format_checks()))),
        fits=_load_engine(draft, schema, where, files, engine),
    )


def _load_engine(
    draft: Any, schema: Mapping[str, Any], where: str, files: SchemaFiles, engine: str
) -> Callable[[Json], bool] | None:
    __tracebackhide__ = True
    if engine not in ENGINES:
        raise UsageError(f"assert_schema: expected engine to be one of {', '.join(ENGINES)}, got {engine!r}")
    if engine == "jsonschema":
        return None
    try:
        rust = import_module("jsonschema_rs")
    except ImportError:
        raise MissingExtra("the engine jsonschema-rs", "schema", "jsonschema-rs") from None
    try:
        # It knows only the draft it is made for; a $ref may lead to the schema of another.
        pairs = [*((uri, draft_registry().contents(uri)) for uri in draft_registry()), *files.read.items()]
        rust_validator = getattr(rust, draft.__name__)(
            schema,
            formats=format_checks(),
            validate_formats=True,
            registry=rust.Registry(pairs),
            base_uri=RUST_ROOT,
            offline=True,
        )
    except ValueError as error:
        first = str(error).partition("\n")[0]
        raise SchemaError(f"{where}: jsonschema-rs cannot use it: {shorten_text(first)}") from None
    decide: Callable[[Json], bool] = rust_validator.is_valid
    return decide


def _find_draft(schema: Mapping[str, Any], where: str, default: Any = None) -> Any:
    __tracebackhide__ = True
    import jsonschema
    from jsonschema.validators import validator_for

    if "$schema" not in schema:
        return default or jsonschema.Draft202012Validator
    dialect = schema["$schema"]
    draft = validator_for(schema, default=None) if isinstance(dialect, str) else None  # type: ignore[arg-type]
    if draft is None or draft.__name__ not in DRAFTS:
        raise SchemaError(
            f"{where}: $schema: expected the URI of a draft from 4 to 2020-12, like "
            f"{DRAFTS['Draft202012Validator']!r} or {DRAFTS['Draft7Validator']!r}, got {short_json(dialect)}"
        )
    return draft


def _check_valid_schema(draft: Any, schema: Mapping[str, Any], where: str) -> None:
    __tracebackhide__ = True
    import jsonschema

    try:
        draft.check_schema(schema)
    except jsonschema.SchemaError as error:
        place = format_json_path(tuple(error.absolute_path))
        raise SchemaError(
            f"{where}: no valid JSON Schema at {place}: {_describe_schema_error(error)}"
        ) from None
    except RecursionError:
        raise SchemaError(f"{where}: no JSON Schema: nested too deeply") from None


def _check_has_keywords(draft: Any, schema: Mapping[str, Any], where: str) -> None:
    __tracebackhide__ = True
    if not any(keyword in draft.VALIDATORS for keyword in schema):
        raise SchemaError(
            f"{where}: expected a JSON Schema, got an object without any of its keywords (type, properties ...); "
            f"it would accept everything. Its keys: {format_name_list(shorten_text(key, 60) for key in schema)}"
        )


def _describe_schema_error(error: Any) -> str:
    if error.absolute_path and error.absolute_path[-1] == "type" and isinstance(error.instance, str):
        near = find_closest_name(error.instance, _TYPES)
        hint = f"; did you mean {near!r}?" if near else ""
        return f"unknown type {short_json(error.instance)}, known are {', '.join(_TYPES)}{hint}"
    return shorten_text(error.message)


def _named_formats(schema: object) -> Iterator[str]:
    rest = [schema]
    while rest:
        node = rest.pop()
        if isinstance(node, Mapping):
            if isinstance(node.get("format"), str):
                yield node["format"]
            rest += [
                child for key, child in node.items() if key not in ("const", "enum", "default", "examples")
            ]
        elif isinstance(node, list):
            rest += node


@cache
def _format_checker() -> FormatChecker:
    from jsonschema import FormatChecker

    checker = FormatChecker(formats=())
    for name, check in format_checks().items():
        checker.checks(name)(_of_texts(check))
    return checker


def _of_texts(check: Callable[[str], bool]) -> Callable[[object], bool]:
    return lambda value: not isinstance(value, str) or check(value)
