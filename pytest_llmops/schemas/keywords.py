"""Keywords of JSON Schema that we decide ourselves: `jsonschema` rounds one, and takes quadratic time for another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from typing import Any


def is_multiple(number: float, of: float) -> bool:
    """Say whether a number is a whole multiple of another, both taken as JSON writes them: exactly, in decimals.

    ``jsonschema`` divides floats, and finds 19.99 to be no multiple of 0.01.

    Args:
        number: A finite number.
        of: A finite number above 0.

    >>> is_multiple(19.99, 0.01), is_multiple(19.995, 0.01), is_multiple(10**400, 0.01)
    (True, False, True)
    """
    (above, below), (of_above, of_below) = _ratio(number), _ratio(of)
    return above * of_below % (below * of_above) == 0


def _ratio(number: float) -> tuple[int, int]:
    # The shortest text of a float is what stood in the JSON; an integer may be longer than Python writes.
    exact = Decimal(repr(number)) if type(number) is float else number
    return exact.as_integer_ratio()


def all_different(items: list[Any]) -> bool:
    """Say whether no two of some JSON values are equal: 1 and 1.0 are, true and 1 are not. Linear in their size.

    >>> all_different([{"a": 1, "b": 2}, {"b": 2.0, "a": 1}]), all_different([1, True, "1", [1]])
    (False, True)
    """
    seen: set[str] = set()
    for one in items:
        # A text: its hash cannot be foreseen, so that nobody can make many items share one.
        text = json.dumps(_canonical(one), sort_keys=True)
        if text in seen:
            return False
        seen.add(text)
    return True


def _canonical(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, dict):
        return {key: _canonical(one) for key, one in value.items()}
    return [_canonical(one) for one in value] if isinstance(value, list) else value


def _multiple_of(validator: Any, of: Any, value: Any, _: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(value, "number") and not is_multiple(value, of):
        yield ValidationError("no multiple")


def _unique_items(validator: Any, asked: Any, value: Any, _: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if asked and validator.is_type(value, "array") and not all_different(value):
        yield ValidationError("items that are equal")


@cache
def with_own(draft: Any) -> Any:
    """Return a draft's validator class of ``jsonschema`` with these keywords decided here."""
    from jsonschema.validators import extend

    made: Any = extend(  # type: ignore[no-untyped-call]
        draft, {"multipleOf": _multiple_of, "uniqueItems": _unique_items}
    )
    evolve = made.evolve

    def evolved(self: Any, **changes: Any) -> Any:
        # A part with a ``$schema`` of its own would be given the class of that draft, without our keywords.
        found = evolve(self, **changes)
        other: Any = type(found)
        if other is made:
            return found
        return with_own(other)(
            found.schema,
            format_checker=found.format_checker,
            _resolver=found._resolver,  # noqa: SLF001 -- has what is referred to; there is no other way to it
        )

    made.evolve = evolved
    return made
