"""Readers of JSON values that never raise: each returns a value of its type, empty if the value has another type."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

JsonObject: TypeAlias = Mapping[str, Any]


def parse_json(text: bytes | str) -> object:
    """Return the value of a JSON text, or None."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def as_mapping(value: object) -> JsonObject:
    """Return a JSON object, or an empty object for any other value."""
    if isinstance(value, dict):
        return value
    return {}


def get_mapping(value: JsonObject, key: str) -> JsonObject:
    """Return the JSON object under a key, or an empty object."""
    field = value.get(key)
    if isinstance(field, dict):
        return field
    return {}


def as_mappings(value: object) -> list[JsonObject]:
    """Return the objects in a list."""
    if isinstance(value, list):
        return [element for element in value if isinstance(element, dict)]
    return []


def get_mappings(value: JsonObject, key: str) -> list[JsonObject]:
    """Return the objects in the list under a key."""
    return as_mappings(value.get(key))


def first_mapping(value: object) -> JsonObject:
    """Return the first object in a list, or an empty object."""
    mappings = as_mappings(value)
    if mappings:
        return mappings[0]
    return {}


def as_text(value: object) -> str:
    """Return a text, or "" for any other value."""
    if isinstance(value, str):
        return value
    return ""


def get_text(value: JsonObject, key: str) -> str:
    """Return the text under a key, or ""."""
    field = value.get(key)
    if isinstance(field, str):
        return field
    return ""


def as_texts(value: object) -> list[str]:
    """Return the texts in a list, or a single text as a list."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [element for element in value if isinstance(element, str)]
    return []


def join_texts(objects: Iterable[JsonObject], key: str = "text", separator: str = "") -> str:
    """Return the texts that objects have under a key, joined."""
    return separator.join(as_text(item.get(key)) for item in objects)
