"""Merge JSON Schemas, so that what fits the result fits all of them."""

from collections.abc import Mapping, Sequence

from pytest_llmops.measurement import Json

_LARGEST = frozenset({"minItems", "minLength", "minProperties", "minimum", "exclusiveMinimum"})
_SMALLEST = frozenset({"maxItems", "maxLength", "maxProperties", "maximum", "exclusiveMaximum"})


def merge_schemas(left: Mapping[str, Json], right: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return a schema that JSON fits if it fits both.

    >>> merge_schemas({"type": "array", "minItems": 1}, {"type": ["array", "string"], "minItems": 2})
    {'type': 'array', 'minItems': 2}
    """
    merged = dict(left)
    if {"items", "prefixItems"} <= {*left, *right}:  # the first is about the rest that the second leaves
        return {"allOf": _list_parts("allOf", left, right)}
    for key, value in right.items():
        if key not in merged or merged[key] == value:
            merged[key] = value
            continue
        both = _merge_keyword(key, merged[key], value)
        if both is None:
            return {"allOf": _list_parts("allOf", left, right)}
        merged[key] = both
    return merged


def _list_parts(keyword: str, *schemas: Json) -> list[Json]:
    """Return schemas for a list of ``allOf`` or ``anyOf``; schemas that are only such a list are taken apart."""
    parts: list[Json] = []
    for schema in schemas:
        inner = schema.get(keyword) if isinstance(schema, Mapping) and set(schema) == {keyword} else None
        if isinstance(inner, Sequence):
            parts += inner
        else:
            parts.append(schema)
    return parts


def _merge_keyword(key: str, left: Json, right: Json) -> Json:
    """Return the value of a keyword that requires both; None: no value is certain to."""
    if key == "type":
        return _merge_types(left, right)
    if key == "not":
        return {"anyOf": _list_parts("anyOf", left, right)}
    if key == "allOf" and isinstance(left, Sequence) and isinstance(right, Sequence):
        return [*left, *right]
    if key == "required" and isinstance(left, Sequence) and isinstance(right, Sequence):
        return list(dict.fromkeys([*left, *right]))
    if key == "properties" and isinstance(left, Mapping) and isinstance(right, Mapping):
        properties = dict(left)
        for name, schema in right.items():
            properties[name] = _merge_values(properties.get(name, {}), schema)
        return properties
    if key == "prefixItems" and isinstance(left, Sequence) and isinstance(right, Sequence):
        size = max(len(left), len(right))
        padded = [[*items, *[{}] * (size - len(items))] for items in (left, right)]
        return [_merge_values(one, other) for one, other in zip(*padded, strict=True)]
    if isinstance(left, int | float) and isinstance(right, int | float):
        if key in _LARGEST:
            return max(left, right)
        if key in _SMALLEST:
            return min(left, right)
    return None


def _merge_values(left: Json, right: Json) -> Json:
    """Return a schema for both, where a schema may also be true or false."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return merge_schemas(left, right)
    return left is not False and right is not False and {"allOf": _list_parts("allOf", left, right)}


def _merge_types(left: Json, right: Json) -> Json:
    """Return the types that are in both lists; a number may be an integer."""
    lefts = [left] if isinstance(left, str) else left
    rights = [right] if isinstance(right, str) else right
    if not isinstance(lefts, Sequence) or not isinstance(rights, Sequence):
        return None
    both = [name for name in lefts if name in rights]
    if not both or "integer" in (*lefts, *rights):
        return None
    if len(both) == 1:
        return both[0]
    return both
