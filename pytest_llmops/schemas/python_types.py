"""Validate a value by a Python type that pydantic understands, and list how it differs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import takewhile
from types import UnionType
from typing import Any, TypeAlias, TypeGuard, Union, cast, get_args, get_origin

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
from pytest_llmops.schemas.json_decoding import JsonPath, iterate_nodes

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
        except ValidationError as invalid:
            errors = cast("list[dict[str, Any]]", invalid.errors())
        else:
            return []
        if unfinished is not None:
            errors = _drop_undecided_errors(value, errors, unfinished)
        known: tuple[str, ...] = ()
        if any(error["type"] in _KEY_ERRORS for error in errors):
            known = self._known_keys()
        issues = []
        for error in errors:
            steps = _error_steps(value, error)
            issues.append(_ValidationIssue(steps, _error_difference(error, known), error["type"]))
        differences = dict.fromkeys(_nearest_differences((), issues))
        return list(differences)[:MAX_DIFFERENCES]

    def _known_keys(self) -> tuple[str, ...]:
        """Return the keys of all objects in the type, for hints at misspelt keys; none if it has no JSON Schema."""
        names: list[str] = []
        try:
            for _, node in iterate_nodes(self.json_schema()):
                if isinstance(node, Mapping) and isinstance(node.get("properties"), Mapping):
                    names += node["properties"]
        except Exception:  # noqa: BLE001 -- not every type has a JSON Schema, and then no hint is given
            return ()
        return tuple(names)


def _drop_undecided_errors(
    value: Json, errors: Sequence[dict[str, Any]], unfinished: Unfinished
) -> list[dict[str, Any]]:
    """Return the errors that the rest of a partial value could not fix.

    If it could fix all errors of a member of a union, the errors of the other members are dropped as well.
    """
    remaining = []
    all_members: set[_Member] = set()
    refused_members: set[_Member] = set()
    for error in errors:
        steps = _error_steps(value, error)
        members = _list_members(steps)
        all_members |= members
        if not _may_still_fit(steps, error, unfinished):
            remaining.append((error, members))
            refused_members |= members
    undecided_unions = {union for union, _ in all_members - refused_members}
    decided = []
    for error, members in remaining:
        unions = {union for union, _ in members}
        if undecided_unions.isdisjoint(unions):
            decided.append(error)
    return decided


# A member of a union: where the union is, and the name of the member
_Member: TypeAlias = tuple[Steps, str | int]


def _list_members(steps: Steps) -> set[_Member]:
    """Return the members of unions that the path of an error leads through."""
    members = set()
    for index, (part, is_member) in enumerate(steps):
        if is_member:
            members.add((steps[:index], part))
    return members


def _may_still_fit(steps: Steps, error: Mapping[str, Any], unfinished: Unfinished) -> bool:
    """Return whether the rest of a partial value could fix an error of pydantic."""
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
    """Return the schema of a type by pydantic's ``TypeAdapter``; cached, as building one is slow."""
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
    arguments = [type_name(argument) for argument in get_args(hint)]
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(arguments)
    name = str(getattr(hint, "__name__", None) or hint)
    if arguments:
        return f"{name}[{', '.join(arguments)}]"
    return name


_KEY_ERRORS = ("missing", "extra_forbidden", "unexpected_keyword_argument")


@dataclass(frozen=True, slots=True)
class _ValidationIssue:
    """An error of pydantic: its path, its difference, and its type in pydantic's words (``literal_error``)."""

    steps: Steps
    difference: Difference
    kind: str


def _error_steps(value: object, error: Mapping[str, Any]) -> Steps:
    """Return the path of an error, with each step marked as a key of the value or a member of a union.

    pydantic mixes both in ``loc``: ``("pet", "Dog", "name")``. A step that the value does not have is a member, except
    the last step of a missing key.
    """
    steps: list[tuple[str | int, bool]] = []
    node = value
    for depth, part in enumerate(error["loc"], start=1):
        is_member = False
        if isinstance(node, Mapping) and str(part) in node:
            node = node[str(part)]
        elif _has_item(node, part):
            node = node[part]
        else:
            is_member = depth < len(error["loc"]) or error["type"] != "missing"
        steps.append((part, is_member))
    return tuple(steps)


def _has_item(node: object, index: object) -> TypeGuard[Sequence[Any]]:
    """Return whether a value is a list with this index."""
    if not isinstance(node, Sequence) or isinstance(node, str):
        return False
    return index in range(len(node))


def _error_difference(error: Mapping[str, Any], known: Sequence[str]) -> Difference:
    """Return an error of pydantic as a difference; ``known`` are the keys of the type, for hints."""
    place: JsonPath = tuple(error["loc"])
    present = error["input"]
    if error["type"] == "missing" and place:
        keys = present if isinstance(present, Mapping) else ()
        return missing_key_difference(place, "", keys, known)
    if error["type"] in _KEY_ERRORS and place:
        return unknown_key_difference(place, known)
    text = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if text.startswith(_SHOULD_BE):
        text = f"expected {text.removeprefix(_SHOULD_BE)}"
    return Difference(place, text, describe_json_value(present))


def _is_key(step: tuple[str | int, bool]) -> bool:
    _, is_member = step
    return not is_member


def _nearest_differences(place: JsonPath, errors: Sequence[_ValidationIssue]) -> Iterator[Difference]:
    """Yield the differences in the order of the errors; for a union only the differences of its nearest member.

    Args:
        place: The path of the value that the errors are about.
        errors: The errors; their steps start at this value.
    """
    unions: dict[JsonPath, dict[str | int, list[_ValidationIssue]]] = {}
    # A difference outside of unions, or the path of a union, at the first of its errors
    order: list[JsonPath | Difference] = []
    for error in errors:
        before_union = takewhile(_is_key, error.steps)
        keys = tuple(part for part, _ in before_union)
        is_outside_unions = len(keys) == len(error.steps)
        if is_outside_unions:
            order.append(replace(error.difference, place=(*place, *keys)))
            continue
        member, _ = error.steps[len(keys)]
        rest = error.steps[len(keys) + 1 :]
        if keys not in unions:
            order.append(keys)
            unions[keys] = {}
        unions[keys].setdefault(member, []).append(replace(error, steps=rest))
    for entry in order:
        if isinstance(entry, Difference):
            yield entry
        else:
            yield from _nearest_member_differences((*place, *entry), unions[entry])


def _nearest_member_differences(
    place: JsonPath, members: Mapping[str | int, Sequence[_ValidationIssue]]
) -> list[Difference]:
    """Return how a value differs from the nearest member of a union."""
    forms = []
    for member, errors in members.items():
        differences = tuple(_nearest_differences(place, errors))
        wrong_constants = sum(error.kind == "literal_error" for error in errors)
        forms.append(FormMismatch(shorten_text(str(member), 60), differences, wrong_constants))
    if len(forms) == 1:
        return list(forms[0].differences)
    return nearest_form_differences(place, forms)
