"""Values of other packages' objects and mappings, by kind: a value that is missing or of another kind counts as not there."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any


def get_field(entry: object, key: str) -> Any:
    """Return a value of a mapping, or an attribute of an object; None if there is none, or reading it fails.

    >>> get_field({"name": "refund"}, "name"), get_field(None, "name")
    ('refund', None)
    """
    if isinstance(entry, (dict, Mapping)):  # a dict is found out faster
        return entry.get(key)
    try:
        return getattr(entry, key, None)
    except Exception:  # noqa: BLE001 -- whatever a property of another package raises
        return None


def get_text(entry: object, key: str) -> str:
    """Return a text; "" if the value is anything else."""
    value = get_field(entry, key)
    if isinstance(value, str):
        return value
    return ""


def get_items(entry: object, key: str) -> Sequence[Any]:
    """Return a list or tuple; () if the value is anything else."""
    value = get_field(entry, key)
    if isinstance(value, (list, tuple)):
        return value
    return ()


def get_number(entry: object, key: str) -> float | None:
    """Return a number of at least 0; None if the value is anything else."""
    value = get_field(entry, key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    if not math.isfinite(number) or number < 0:
        return None
    return number


def get_count(entry: object, key: str) -> int | None:
    """Return a whole number of at least 0; None if the value is anything else."""
    number = get_number(entry, key)
    if number is None or not number.is_integer():
        return None
    return int(number)


def sum_counts(entry: object, *keys: str) -> int | None:
    """Return the sum of the counts that are known; None if none is, or all are 0: a model that reports no usage.

    >>> sum_counts({"input_tokens": 10, "output_tokens": 5}, "input_tokens", "output_tokens", "cached_tokens")
    15
    """
    counts = [get_count(entry, key) for key in keys]
    known = [count for count in counts if count is not None]
    if not any(known):
        return None
    return sum(known)


def get_class_name(entry: object) -> str:
    """Return the name of an object's class, without its type parameters."""
    return type(entry).__name__.partition("[")[0]


def format_value(value: object) -> str:
    """Return a result as text: a text as it is, "" for None, anything else as JSON.

    >>> format_value("delivered"), format_value({"state": "delivered"}), format_value(None)
    ('delivered', '{"state": "delivered"}', '')
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=_make_plain)
    except Exception:  # noqa: BLE001 -- whatever an object of another package raises
        return f"<{get_class_name(value)}>"


def _make_plain(value: object) -> object:
    """Return a pydantic model or a dataclass as a mapping, and any other object as text."""
    dump = get_field(value, "model_dump")
    if callable(dump) and not isinstance(value, type):
        return dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)
