"""Find values in YAML that are not what their author wrote: 12:30 is read as 750, 010 as 8, no as false."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pytest_llmops._util.lazy_module import LazyModule
from pytest_llmops.measurement import shorten_text

if TYPE_CHECKING:
    import yaml
else:
    yaml = LazyModule("yaml")

MAX_SHOWN = 40  # characters of a value in an error
MAX_SHOWN_BITS = 1024  # of a whole number; larger ones are refused as such
_PLAIN_INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
_PLAIN_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)\.(?:0|[0-9]*[1-9])")  # without zeros at the end
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_KINDS = ("int", "float", "bool", "null")
_TAG = "tag:yaml.org,2002:"


def find_changed_value(
    root: yaml.Node, construct: Callable[[yaml.Node], Any], *, numbers_as_written: bool
) -> tuple[int, str] | None:
    """Return the position of the first value that YAML changes, and its error; None without one.

    Values in quotes are as their author wants them. Numbers that no file may hold (infinite, or too large) are left to the caller.

    Args:
        root: The document.
        construct: Returns the Python value of a scalar.
        numbers_as_written: Also find numbers that would be written otherwise, such as 1.10 and 1_000, and ``~``: where a value may be
            meant as text.
    """
    for node in _iterate_values(root, set()):
        kind = node.tag.removeprefix(_TAG)
        is_plain = node.style is None and kind in _KINDS
        if not is_plain or not node.value:
            continue
        is_changed = _is_other_value(kind, node.value)
        if numbers_as_written and not is_changed:
            is_changed = _is_other_spelling(kind, node.value)
        if not is_changed:
            continue
        value = construct(node)
        if not _is_too_large(value):
            return node.start_mark.index, _describe_change(node.value, value)
    return None


def _iterate_values(node: yaml.Node, seen: set[int]) -> Iterator[yaml.ScalarNode]:
    """Yield the scalars of a document but the keys of its mappings, which must be texts; one behind an alias is yielded once."""
    if isinstance(node, yaml.ScalarNode):
        yield node
        return
    if id(node) in seen:
        return
    seen.add(id(node))
    children = node.value
    if isinstance(node, yaml.MappingNode):
        children = [child for _, child in node.value]
    for child in children:
        yield from _iterate_values(child, seen)


def _is_too_large(value: Any) -> bool:
    """Return whether no file may hold a value: a number that is infinite, or a whole one with more than `MAX_SHOWN_BITS`."""
    if isinstance(value, float):
        return math.isinf(value)
    return type(value) is int and value.bit_length() > MAX_SHOWN_BITS


def _is_other_value(kind: str, written: str) -> bool:
    """Return whether a value is another than the written one: a sexagesimal or octal number, or yes, no, on and off."""
    if kind == "bool":
        return written.lower() not in ("true", "false")
    if kind == "int" and _OCTAL.fullmatch(written):
        return True
    return ":" in written


def _is_other_spelling(kind: str, written: str) -> bool:
    """Return whether a value would be written otherwise, in Python and in YAML."""
    if kind == "int":
        return _PLAIN_INT.fullmatch(written) is None
    if kind == "null":
        return written.lower() != "null"
    if kind != "float" or written.lower().lstrip("+-") in (".inf", ".nan"):
        return False
    if "_" in written:
        return True
    number = float(written)
    if written in (repr(number), _format_value(number)):
        return False
    is_same_number = math.isfinite(number) and Decimal(written) == Decimal(repr(number))
    return not (is_same_number and _PLAIN_DECIMAL.fullmatch(written))


def _format_value(value: Any) -> str:
    """Return a value so that YAML reads the same one: 1.0e-05, as 1e-05 is a text in YAML."""
    text = json.dumps(value)
    if isinstance(value, float) and "." not in text:
        return text.replace("e", ".0e")
    return text


def _describe_change(written: str, value: Any) -> str:
    """Return what YAML makes of a value, and both ways to write it."""
    text = shorten_text(written, MAX_SHOWN)
    shown = shorten_text(_format_value(value), MAX_SHOWN)
    return f'YAML reads {text} as {shown}: write "{text}" for the text, or {shown} for the value'
