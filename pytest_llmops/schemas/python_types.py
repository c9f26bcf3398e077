"""Use Python types as schemas: pydantic models, and whatever pydantic's TypeAdapter understands."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import takewhile
from types import UnionType
from typing import Any, TypeAlias, Union, cast, get_args, get_origin

from pytest_llmops.errors import SchemaError
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.schemas.differences import (
    MAX_DIFFERENCES,
    Difference,
    FormMismatch,
    Unfinished,
    describe_json_value,
    missing_key_difference,
    nearest_form_differences,
    unknown_key_difference,
)
from pytest_llmops.schemas.json_extraction import JsonPath, iterate_nodes

__tracebackhide__ = True

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
        known = self._known_keys() if any(error["type"] in _KEY_ERRORS for error in errors) else ()
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
    """Return the errors that the rest of a partial value could not fix.

    If it could fix all errors of a member of a union, the errors of the other members are dropped as well.
    """

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
    return f"{name}[{', '.join(names)}]" if names else name


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
    expected = f"expected {text.removeprefix(_SHOULD_BE)}" if text.startswith(_SHOULD_BE) else text
    return Difference(place, expected, describe_json_value(present))


def _nearest_differences(place: JsonPath, errors: Sequence[_ValidationIssue]) -> Iterator[Difference]:
    # Yield the differences in order; for a union only those of the nearest member.
    unions: dict[JsonPath, dict[str | int, list[_ValidationIssue]]] = {}
    order: list[JsonPath | Difference] = []
    for error in errors:
        keys = tuple(part for part, _ in takewhile(lambda step: not step[1], error.steps))
        if len(keys) == len(error.steps):
            order.append(replace(error.difference, place=(*place, *keys)))
            continue
        member, rest = error.steps[len(keys)][0], error.steps[len(keys) + 1 :]
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
