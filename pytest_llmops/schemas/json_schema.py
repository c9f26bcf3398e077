"""Compile and cache JSON Schemas, also of Python types, and list how a value differs from its schema.

`jsonschema` decides, except over ``multipleOf``, which `jsonschema` computes with rounded floats,
and ``uniqueItems``, for which it takes quadratic time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, lru_cache
from itertools import islice, takewhile
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeAlias, Union, cast, get_args, get_origin

from pytest_llmops.errors import SchemaError, find_closest_name, format_name_list
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.schemas.differences import (
    MAX_DIFFERENCES,
    Difference,
    FormMismatch,
    SchemaFiles,
    Unfinished,
    build_registry,
    describe_json_value,
    describe_unresolved,
    format_json_path,
    missing_key_difference,
    nearest_form_differences,
    short_json,
    unknown_key_difference,
)
from pytest_llmops.schemas.error_messages import error_differences, may_still_fit
from pytest_llmops.schemas.formats import format_checks
from pytest_llmops.schemas.json_extraction import JsonPath, iterate_nodes

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
    # The shortest text of a float is what the JSON had; an integer may be too long for Python to write.
    exact, step = (Fraction(repr(part)) if type(part) is float else Fraction(part) for part in (number, of))
    return exact % step == 0


def are_unique(items: list[Json]) -> bool:
    """Return whether no two JSON values are equal, in linear time: 1 equals 1.0, and true does not equal 1.

    >>> are_unique([{"a": 1, "b": 2}, {"b": 2.0, "a": 1}]), are_unique([1, True, "1", [1]])
    (False, True)
    """
    # Texts, as their hashes cannot be predicted: nobody can make many items share a hash.
    return len({json.dumps(_with_whole_integers(item), sort_keys=True) for item in items}) == len(items)


def _with_whole_integers(value: Json) -> Json:
    if isinstance(value, float):
        if value.is_integer():
            return int(value)
        return value
    if isinstance(value, Mapping):
        return {key: _with_whole_integers(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_with_whole_integers(child) for child in value]
    return value


@cache
def _extend_draft(draft: Any) -> Any:
    """Return the `jsonschema` validator class of a draft with an exact ``multipleOf`` and a linear ``uniqueItems``."""
    from jsonschema import ValidationError
    from jsonschema.validators import extend

    def check_multiple_of(validator: Any, of: Any, value: Any, _: Any) -> Iterator[Any]:
        if validator.is_type(value, "number") and not is_multiple(value, of):
            yield ValidationError("not a multiple")

    def check_unique_items(validator: Any, wanted: Any, value: Any, _: Any) -> Iterator[Any]:
        if wanted and validator.is_type(value, "array") and not are_unique(value):
            yield ValidationError("equal items")

    extended: Any = extend(  # type: ignore[no-untyped-call]
        draft, {"multipleOf": check_multiple_of, "uniqueItems": check_unique_items}
    )
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
            return unfinished is None or not may_still_fit(error, unfinished)

        differences = (
            difference
            for error in filter(counts, self.validator.iter_errors(value))
            for difference in error_differences(error, counts)
        )
        try:
            collected = list(islice(differences, 10 * MAX_DIFFERENCES))
        except Unresolvable as error:
            raise SchemaError(f"{self.where}: {describe_unresolved(error.ref, error)}") from None
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
    # A file may have changed.
    if has_files:
        return _compile.__wrapped__(text, where, name, folder)[0]
    return compiled


@lru_cache(maxsize=MAX_CACHED_SCHEMAS)
def _compile(text: str, where: str, name: str, folder: Path | None) -> tuple[JsonSchema, bool]:
    schema = json.loads(text)
    draft = _find_draft(schema, where)
    _check_valid_schema(draft, schema, where)
    if schema and not any(keyword in draft.VALIDATORS for keyword in schema):
        raise SchemaError(
            f"{where}: expected a JSON Schema, got an object without any of its keywords (type, properties ...); "
            f"it would accept everything. Its keys: {format_name_list(shorten_text(key, 60) for key in schema)}"
        )
    base = schema.get("id" if draft.META_SCHEMA.get("id") else "$id", "")
    files = SchemaFiles(folder, base if isinstance(base, str) else "")
    return _build_schema(draft, schema, where, files, name=name), bool(files.read)


def _build_schema(
    draft: Any, schema: Mapping[str, Any], where: str, files: SchemaFiles, *, name: str
) -> JsonSchema:
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
        validator=_extend_draft(draft)(schema, registry=registry, format_checker=_format_checker()),
        unchecked=tuple(sorted(named - set(format_checks()))),
    )


def _find_draft(schema: Mapping[str, Any], where: str, default: Any = None) -> Any:
    import jsonschema
    from jsonschema.validators import validator_for

    if "$schema" not in schema:
        return default or jsonschema.Draft202012Validator
    dialect = schema["$schema"]
    if isinstance(dialect, str):  # type: ignore[arg-type]
        draft = validator_for(schema, default=None)
    else:
        draft = None
    if draft is None or draft.__name__ not in DRAFTS:
        raise SchemaError(
            f"{where}: $schema: expected the URI of a draft from 4 to 2020-12, like "
            f"{DRAFTS['Draft202012Validator']!r} or {DRAFTS['Draft7Validator']!r}, got {short_json(dialect)}"
        )
    return draft


def _check_valid_schema(draft: Any, schema: Mapping[str, Any], where: str) -> None:
    import jsonschema

    try:
        draft.check_schema(schema)
    except jsonschema.SchemaError as error:
        place = tuple(error.absolute_path)
        problem = shorten_text(error.message)
        if place[-1:] == ("type",) and isinstance(error.instance, str):
            near = find_closest_name(error.instance, _TYPES)
            if near:
                hint = f"; did you mean {near!r}?"
            else:
                hint = ""
            problem = f"unknown type {short_json(error.instance)}, known are {', '.join(_TYPES)}{hint}"
        raise SchemaError(f"{where}: no valid JSON Schema at {format_json_path(place)}: {problem}") from None
    except RecursionError:
        raise SchemaError(f"{where}: no JSON Schema: nested too deeply") from None


def _named_formats(schema: object) -> Iterator[str]:
    for parts, node in iterate_nodes(schema):
        is_named = parts[-1:] == ("format",) and isinstance(node, str)
        if is_named and {"const", "enum", "default", "examples"}.isdisjoint(parts):
            yield node


@cache
def _format_checker() -> FormatChecker:
    from jsonschema import FormatChecker

    checker = FormatChecker(formats=())
    for name, check in format_checks().items():
        checker.checks(name)(lambda value, check=check: not isinstance(value, str) or check(value))
    return checker


# Where a pydantic error is: each step is a key or index, or (with True) the name of a member of a union
Steps: TypeAlias = tuple[tuple[str | int, bool], ...]

_SHOULD_BE = "Input should be "


@dataclass(frozen=True, slots=True)
class TypeSchema:
    """A type that validates the JSON of a value, as ``model_validate_json`` does."""

    name: str
    validate: Callable[[str], object]
    json_schema: Callable[[], Mapping[str, Any]]

    def differences(self, value: Json, *, unfinished: Unfinished | None = None) -> list[Difference]:
        """See `pytest_llmops.schemas.Schema`; an unexpected error in a validator of the type is not caught."""
        from pydantic import ValidationError

        try:
            self.validate(json.dumps(value))
        except ValidationError as error:
            errors = cast("list[dict[str, Any]]", error.errors())
        else:
            return []
        if unfinished is not None:
            errors = _drop_undecided_errors(value, errors, unfinished)
        if any(error["type"] in _KEY_ERRORS for error in errors):
            known = self._known_keys()
        else:
            known = ()
        issues = [
            _ValidationIssue(_error_steps(value, error), _error_difference(error, known), error["type"])
            for error in errors
        ]
        return list(dict.fromkeys(_nearest_differences((), issues)))[:MAX_DIFFERENCES]

    def _known_keys(self) -> tuple[str, ...]:
        try:
            nodes = [node for _, node in iterate_nodes(self.json_schema()) if isinstance(node, Mapping)]
            return tuple(
                name
                for node in nodes
                if isinstance(node.get("properties"), Mapping)
                for name in node["properties"]
            )
        except Exception:  # noqa: BLE001 -- not every type has a JSON Schema; then there is no hint
            return ()


def _drop_undecided_errors(
    value: Json, errors: Sequence[dict[str, Any]], unfinished: Unfinished
) -> list[dict[str, Any]]:
    # Return the errors that the rest of a partial value could not fix.
    #
    # If it could fix all errors of a member of a union, the errors of the other members are dropped as well.

    def union_members(error: dict[str, Any]) -> set[tuple[Steps, str | int]]:
        steps = _error_steps(value, error)
        return {(steps[:index], part) for index, (part, is_member) in enumerate(steps) if is_member}

    left = [error for error in errors if not _may_still_fit(_error_steps(value, error), error, unfinished)]
    refused_members = set().union(*map(union_members, left))
    undecided_unions = {union for union, _ in set().union(*map(union_members, errors)) - refused_members}
    return [
        error for error in left if undecided_unions.isdisjoint(union for union, _ in union_members(error))
    ]


def _may_still_fit(steps: Steps, error: Mapping[str, Any], unfinished: Unfinished) -> bool:
    place = tuple(part for part, is_member in steps if not is_member)
    if error["type"] == "missing":
        return unfinished.is_open_at(place[:-1])
    # The type of a value stays wrong; a limit, a pattern or a validator of the user may accept the complete value.
    kind = str(error["type"])
    if kind.endswith("_type") or kind in ("too_long", "string_too_long", *_KEY_ERRORS):
        return False
    return place == unfinished.text or unfinished.is_open_at(place)


def type_schema(hint: object) -> TypeSchema:
    """Return the schema of a pydantic model, a dataclass, a TypedDict, ``list[Order]`` or another type pydantic understands.

    Raises:
        SchemaError: pydantic does not understand it.
    """
    try:
        return _adapter_schema(hint)
    except TypeError:  # an annotation that cannot be hashed
        return _adapter_schema.__wrapped__(hint)


@lru_cache(maxsize=64)
def _adapter_schema(hint: Any) -> TypeSchema:
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint)
    except (PydanticUserError, NameError) as error:
        first_line = shorten_text(str(error).partition("\n")[0])
        raise SchemaError(f"pydantic cannot check the type {type_name(hint)}: {first_line}") from None
    return TypeSchema(type_name(hint), adapter.validate_json, adapter.json_schema)


def type_name(hint: object) -> str:
    """Return the name of a type as written in code.

    >>> type_name(dict[str, list[int]]), type_name(int | None)
    ('dict[str, list[int]]', 'int | None')
    """
    if hint is type(None):
        return "None"
    names = [type_name(argument) for argument in get_args(hint)]
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(names)
    name = str(getattr(hint, "__name__", None) or hint)
    if names:
        return f"{name}[{', '.join(names)}]"
    return name


_KEY_ERRORS = ("missing", "extra_forbidden", "unexpected_keyword_argument")


@dataclass(frozen=True, slots=True)
class _ValidationIssue:
    steps: Steps
    difference: Difference
    kind: str


def _error_steps(value: object, error: Mapping[str, Any]) -> Steps:
    steps: list[tuple[str | int, bool]] = []
    node = value
    for depth, part in enumerate(error["loc"], start=1):
        is_member = False
        if isinstance(node, Mapping) and str(part) in node:
            node = node[str(part)]
        elif isinstance(node, Sequence) and not isinstance(node, str) and part in range(len(node)):
            node = node[part]
        else:
            is_member = depth < len(error["loc"]) or error["type"] != "missing"
        steps.append((part, is_member))
    return tuple(steps)


def _error_difference(error: Mapping[str, Any], known: Sequence[str]) -> Difference:
    place: JsonPath = tuple(error["loc"])
    present = error["input"]
    if error["type"] == "missing" and place:
        return missing_key_difference(place, "", present if isinstance(present, Mapping) else (), known)
    if error["type"] in _KEY_ERRORS and place:
        return unknown_key_difference(place, known)
    text = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return Difference(
        place,
        f"expected {text.removeprefix(_SHOULD_BE)}" if text.startswith(_SHOULD_BE) else text,
        describe_json_value(present),
    )


def _nearest_differences(place: JsonPath, errors: Sequence[_ValidationIssue]) -> Iterator[Difference]:
    """Yield the differences in order; for a union only those of the nearest member."""
    unions: dict[JsonPath, dict[str | int, list[_ValidationIssue]]] = {}
    order: list[JsonPath | Difference] = []
    for error in errors:
        keys = tuple(part for part, _ in takewhile(lambda step: not step[1], error.steps))
        if len(keys) == len(error.steps):
            order.append(replace(error.difference, place=(*place, *keys)))
            continue
        member = error.steps[len(keys)][0]
        rest = error.steps[len(keys) + 1 :]
        if keys not in unions:
            order.append(keys)
        unions.setdefault(keys, {}).setdefault(member, []).append(
            _ValidationIssue(rest, error.difference, error.kind)
        )
    for entry in order:
        if isinstance(entry, Difference):
            yield entry
            continue
        union_place = (*place, *entry)
        forms = [
            FormMismatch(
                shorten_text(str(member), 60),
                tuple(_nearest_differences(union_place, member_errors)),
                sum(error.kind == "literal_error" for error in member_errors),
            )
            for member, member_errors in unions[entry].items()
        ]
        yield from forms[0].differences if len(forms) == 1 else nearest_form_differences(union_place, forms)
