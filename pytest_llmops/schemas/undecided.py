"""Which errors of an unfinished value the rest of it could still mend: those are not told."""

from __future__ import annotations

from typing import Any

from pytest_llmops.metrics.jsontext import Parts
from pytest_llmops.schemas.difference import Unfinished
from pytest_llmops.schemas.telling import by_branch

_MORE_MENDS = {
    "not",
    "required", "minItems", "minProperties", "contains", "minContains", "dependentRequired", "dependencies",
    "unevaluatedProperties", "unevaluatedItems",
}  # fmt: skip
"""Keywords that an object or array can still satisfy by what is added to it."""
_INNER_MENDS = {"uniqueItems", "maxContains"}
"""Keywords that change with an item that is itself unfinished."""
_ENDING_MENDS = {"not", "minLength", "pattern", "format"}
"""Keywords that a string can still satisfy by how it goes on."""
_NAMES = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}


def may_still_fit(error: Any, unfinished: Unfinished) -> bool:
    """Say whether the rest of a value could make an error of `jsonschema` go away.

    In doubt it could: what is told about an unfinished value is wrong however it goes on.
    """
    if _conditional(error):
        return True
    place: Parts = tuple(error.absolute_path)
    open_text = place == unfinished.text
    if not open_text and not unfinished.grows(place):
        return False
    keyword = error.validator
    if keyword in ("anyOf", "oneOf"):
        return _some_form(error, unfinished)
    if keyword in ("const", "enum"):
        allowed = error.validator_value if keyword == "enum" else [error.validator_value]
        return any(_leads_to(error.instance, one) for one in allowed)
    mends = _ENDING_MENDS if open_text else _MORE_MENDS
    inner = not open_text and (unfinished.within != place or unfinished.text is not None)
    return keyword in mends or (inner and keyword in _INNER_MENDS)


def _conditional(error: Any) -> bool:
    """Say whether an error stands under "then" or "else": which of them counts may change with the rest."""
    steps = list(error.absolute_schema_path)
    return any(
        step in ("then", "else") and (at == 0 or steps[at - 1] not in _NAMES) for at, step in enumerate(steps)
    )


def _some_form(error: Any, unfinished: Unfinished) -> bool:
    # Without a context several forms of oneOf fit; the rest may tell them apart.
    return not error.context or any(
        all(may_still_fit(inner, unfinished) for inner in errors) for errors in by_branch(error).values()
    )


def _leads_to(begun: object, allowed: object) -> bool:
    if isinstance(begun, str):
        return isinstance(allowed, str) and allowed.startswith(begun)
    return type(begun) is type(allowed)
