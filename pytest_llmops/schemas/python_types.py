"""Python types as schemas: pydantic models, and what pydantic's TypeAdapter understands. pydantic decides."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import UnionType
from typing import Any, TypeAlias, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

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
from pytest_llmops.schemas.json_extraction import JsonPath

Steps: TypeAlias = tuple[tuple[str | int, bool], ...]
"""The way to an error of pydantic: a step is a key, or the name of a union's member (True)."""

_SHOULD_BE = "Input should be "


@dataclass(frozen=True, slots=True)
class TypeSchema:
    """A type, asked whether it accepts the JSON of a value, as ``model_validate_json`` does."""

    name: str
    validate: Callable[[str], object]
    json_schema: Callable[[], Mapping[str, Any]]

    def differences(self, value: Json, *, unfinished: Unfinished | None = None) -> list[Difference]:
        """See `pytest_llmops.schemas.Schema`; what a validator of the type raises by mistake goes through."""
        try:
            self.validate(json.dumps(value))
        except ValueError as error:
            listed = getattr(error, "errors", None)
            if not callable(listed):
                raise
            errors_found = cast("list[dict[str, Any]]", listed())
        else:
            return []
        if unfinished is not None:
            errors_found = _drop_undecided_errors(value, errors_found, unfinished)
        known = self._known_keys() if any(issue["type"] in _KEY_ERRORS for issue in errors_found) else ()
        errors = [
            _ValidationIssue(_error_steps(value, issue), _error_difference(issue, known), issue["type"])
            for issue in errors_found
        ]
        return list(dict.fromkeys(_nearest_differences((), errors)))[:MAX_DIFFERENCES]

    def _known_keys(self) -> tuple[str, ...]:
        try:
            schema = self.json_schema()
        except Exception:  # noqa: BLE001 -- not every type has a JSON Schema; then there is no hint
            return ()
        return tuple(_property_names(schema))


def _drop_undecided_errors(
    value: Json, errors: Sequence[dict[str, Any]], unfinished: Unfinished
) -> list[dict[str, Any]]:
    """Return the errors without those that the rest of an unfinished value could still mend.

    Where it could mend all that speaks against one member of a union, nothing is left of the others either.
    """
    left = [error for error in errors if not _may_still_fit(_error_steps(value, error), error, unfinished)]
    members = {step for error in errors for step in _union_members(_error_steps(value, error))}
    against = {step for error in left for step in _union_members(_error_steps(value, error))}
    free = {step[0] for step in members - against}
    return [
        error
        for error in left
        if not free.intersection(step[0] for step in _union_members(_error_steps(value, error)))
    ]


def _union_members(steps: Steps) -> Iterator[tuple[Steps, str | int]]:
    """Yield the members of unions on the way to an error, each with the place of its union."""
    for at, (part, is_member) in enumerate(steps):
        if is_member:
            yield steps[:at], part


def _may_still_fit(steps: Steps, error: Mapping[str, Any], unfinished: Unfinished) -> bool:
    place = tuple(part for part, is_member in steps if not is_member)
    if error["type"] == "missing":
        return unfinished.is_open_at(place[:-1])
    # A wrong kind of value stays one; a limit, a pattern or a validator of the user's may find the rest right.
    kind = str(error["type"]).endswith("_type") or error["type"] in (
        "too_long",
        "string_too_long",
        *_KEY_ERRORS,
    )
    return not kind and (place == unfinished.text or unfinished.is_open_at(place))


def is_model(schema: object) -> bool:
    """Say whether this is a pydantic model's class, without importing pydantic."""
    return isinstance(schema, type) and all(
        callable(getattr(schema, name, None)) for name in ("model_json_schema", "model_validate")
    )


def model_schema(model: Any) -> TypeSchema:
    """Return the schema of a pydantic model's class."""
    validate = getattr(model, "model_validate_json", None)
    if not callable(validate):

        def validate(text: str) -> object:
            return model.model_validate(json.loads(text))

    return TypeSchema(type_name(model), validate, model.model_json_schema)


def type_schema(hint: object) -> TypeSchema:
    """Return the schema of a dataclass, a TypedDict, ``list[Order]`` or another type pydantic understands.

    Raises:
        SchemaError: pydantic does not understand it.
    """
    __tracebackhide__ = True
    try:
        return _adapter_schema(hint)
    except TypeError:  # an annotation that cannot be hashed
        return _adapter_schema.__wrapped__(hint)


@lru_cache(maxsize=64)
def _adapter_schema(hint: Any) -> TypeSchema:
    __tracebackhide__ = True
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(_replace_typed_dicts(hint))
    except (PydanticUserError, NameError) as error:
        first = str(error).partition("\n")[0]
        raise SchemaError(
            f"pydantic cannot check the type {type_name(hint)}: {shorten_text(first)}"
        ) from None
    return TypeSchema(type_name(hint), adapter.validate_json, adapter.json_schema)


def _replace_typed_dicts(given: Any, *outer: Any) -> Any:
    """Put `typing_extensions.TypedDict` in the place of `typing.TypedDict`, which pydantic refuses before Python 3.12."""
    if (
        sys.version_info >= (3, 12) or given in outer
    ):  # one that holds itself is refused by pydantic, with its reason
        return given
    if is_typeddict(given) and type(given).__module__ == "typing":
        from typing import NotRequired, Required

        from typing_extensions import TypedDict

        fields = {}
        for name, hint in get_type_hints(given, include_extras=True).items():
            qualifier = get_origin(hint) if get_origin(hint) in (Required, NotRequired) else None
            # `__required_keys__` does not see what is written in an annotation that is a text.
            is_required = qualifier is Required if qualifier else name in given.__required_keys__
            field = _replace_typed_dicts(get_args(hint)[0] if qualifier else hint, *outer, given)
            fields[name] = field if is_required else NotRequired[field]
        return TypedDict(given.__name__, fields)  # type: ignore[operator]  # made from what is known at run time
    arguments = get_args(given)
    replaced = tuple(_replace_typed_dicts(argument, *outer) for argument in arguments)
    if all(new is old for new, old in zip(replaced, arguments, strict=True)):
        return given
    origin = get_origin(given)
    return Union[replaced] if origin in (Union, UnionType) else origin[replaced]  # noqa: UP007 -- of a tuple


def type_name(hint: object) -> str:
    """Return the name of a type as one writes it.

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
    at = value
    for place, part in enumerate(error["loc"], start=1):
        if isinstance(at, Mapping) and str(part) in at:
            at = at[str(part)]
        elif isinstance(at, Sequence) and not isinstance(at, str) and part in range(len(at)):
            at = at[part]
        elif not (place == len(error["loc"]) and error["type"] == "missing"):
            steps.append((part, True))
            continue
        steps.append((part, False))
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
    """Yield the differences in order; of a union only those of the member that is nearest."""
    unions: dict[JsonPath, dict[str | int, list[_ValidationIssue]]] = {}
    order: list[JsonPath | Difference] = []
    for error in errors:
        keys = _keys_before_union(error)
        if len(keys) == len(error.steps):
            there = (*place, *keys)
            order.append(Difference(there, error.difference.expected, error.difference.got))
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
        else:
            yield from _nearest_member_differences((*place, *entry), unions[entry])


def _keys_before_union(error: _ValidationIssue) -> JsonPath:
    keys: list[str | int] = []
    for part, is_member in error.steps:
        if is_member:
            break
        keys.append(part)
    return tuple(keys)


def _nearest_member_differences(
    place: JsonPath, members: Mapping[str | int, Sequence[_ValidationIssue]]
) -> list[Difference]:
    forms = [
        FormMismatch(
            shorten_text(str(member), 60),
            tuple(_nearest_differences(place, errors)),
            sum(error.kind == "literal_error" for error in errors),
        )
        for member, errors in members.items()
    ]
    return list(forms[0].differences) if len(forms) == 1 else nearest_form_differences(place, forms)


def _property_names(schema: object) -> Iterator[str]:
    """Yield the names of all keys that a JSON Schema knows, anywhere in it."""
    if isinstance(schema, Mapping):
        if isinstance(schema.get("properties"), Mapping):
            yield from schema["properties"]
        for child in schema.values():
            yield from _property_names(child)
    elif isinstance(schema, list):
        for child in schema:
            yield from _property_names(child)
