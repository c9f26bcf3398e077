"""What trivial code needs of parsed JSON so that it does not raise. An alternative that raises stops the ones after it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

from pytest_llmops.imports.code_tree import (
    Binary,
    Call,
    Choice,
    Expression,
    Function,
    Items,
    Member,
    Name,
    Not,
    TypeOf,
    map_parts,
    match_method,
)
from pytest_llmops.measurement import Json

Keys: TypeAlias = tuple[str | int, ...]
Kind: TypeAlias = Literal["value", "text", "list", "text or list", "object"]
_TYPES: Mapping[Kind, Mapping[str, Json]] = {
    "value": {"not": {"type": "null"}},
    "text": {"type": "string"},
    "list": {"type": "array"},
    "text or list": {"type": ["array", "string"]},
    "object": {"type": ["array", "object"]},
}
_METHODS: Mapping[str, Kind] = {
    "toLowerCase": "text",
    "trim": "text",
    "split": "text",
    "startsWith": "text",
    "endsWith": "text",
    "includes": "text or list",
    "some": "list",
    "every": "list",
}


def list_needs(condition: Expression, root: str) -> set[tuple[Keys, Kind]]:
    """Return the places below a root that have to be there, and of which kind, for a condition not to raise.

    >>> needs = list_needs(Member(Member(Name("data"), "a"), "b"), "data")
    >>> sorted(needs)
    [((), 'value'), (('a',), 'value')]
    """
    return set(_find_needs(condition, root))


def _find_needs(condition: Expression, root: str) -> Iterator[tuple[Keys, Kind]]:
    if isinstance(condition, Member):
        keys = _find_keys(condition.target, root)
        if keys is not None:
            yield keys, "value"
        yield from _find_needs(condition.target, root)
        return
    if isinstance(condition, Call) and isinstance(condition.function, Member):
        keys = _find_keys(condition.function.target, root)
        kind = _METHODS.get(str(condition.function.key))
        if keys is not None and kind is not None:
            yield keys, kind
    if isinstance(condition, Binary) and condition.operator == "in":
        keys = _find_keys(condition.right, root)
        if keys is not None:
            yield keys, "object"
    for part in _list_parts(condition):
        yield from _find_needs(part, root)


def _find_keys(expression: Expression, root: str) -> Keys | None:
    """Return the keys that lead to a value below a root; None: it is something else, or an empty value if it is missing."""
    if expression == Name(root):
        return ()
    if isinstance(expression, Member):
        keys = _find_keys(expression.target, root)
        return None if keys is None else (*keys, expression.key)
    for method in ("toLowerCase", "trim"):
        match = match_method(expression, method)
        if match is not None:
            return _find_keys(match[0], root)
    return None


def _list_parts(expression: Expression) -> Sequence[Expression]:
    """Return the parts that are always computed."""
    if isinstance(expression, Call):
        return [
            expression.function,
            *(part for part in expression.arguments if not isinstance(part, Function)),
        ]
    if isinstance(expression, Not | TypeOf):
        return [expression.operand]
    if isinstance(expression, Binary):
        return [expression.left, expression.right]
    if isinstance(expression, Choice):
        return [expression.test]
    if isinstance(expression, Items):
        return expression.items
    return []


def has_function(expression: Expression) -> bool:
    """Return whether there is a function in an expression."""
    if isinstance(expression, Function):
        return True
    found = False

    def look(part: Expression) -> Expression:
        nonlocal found
        found = found or has_function(part)
        return part

    map_parts(expression, look)
    return found


def write_need(kind: Kind) -> Mapping[str, Json]:
    """Return the schema of a value of a kind."""
    return _TYPES[kind]
