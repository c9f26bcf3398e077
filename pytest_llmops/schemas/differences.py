"""One difference between a JSON value and its schema, in words for a person."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pytest_llmops.errors import format_name_list
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.schemas.json_extraction import JsonPath

MAX_DIFFERENCES = 50
"""Differences of one value that are listed."""
MAX_VALUE_CHARS = 60
MAX_KEY_CHARS = 60
"""Characters of a key that are shown."""
MAX_KEYS = 100
"""Keys of an object among which a likely misspelling is looked for."""

MIN_ABBREVIATION = 3
"""Letters of an abbreviation that is taken for one."""

_WORD_EDGE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[-. ]")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a value differs, what the schema expects there, and what was got.

    A remark explains the differences that follow it and counts as none.

    >>> Difference(("items", 0), "expected integer", "null").text
    'expected integer | got null'
    """

    place: JsonPath
    expected: str
    got: str = ""
    remark: bool = False

    @property
    def path(self) -> str:
        """The place as a JSON path: ``$.items[0].qty``."""
        return format_json_path(self.place)

    @property
    def text(self) -> str:
        """Expected and got in one sentence."""
        return f"{self.expected} | got {self.got}" if self.got else self.expected


@dataclass(frozen=True, slots=True)
class FormMismatch:
    """One of the forms a value may have, and how it differs from it.

    Attributes:
        told_apart: How many constants say that this form was not meant (``"kind": "dog"``).
    """

    name: str
    differences: tuple[Difference, ...]
    wrong_constants: int = 0


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Where a value breaks off, when the rest of it is still to come.

    Attributes:
        within: The innermost object or array that is not closed, as all around it are not; None: there is none.
        text: A string whose end is missing; None: there is none.
    """

    within: JsonPath | None
    text: JsonPath | None = None

    def is_open_at(self, place: JsonPath) -> bool:
        """Say whether the object or array at a place is not closed."""
        return self.within is not None and self.within[: len(place)] == place

    @property
    def path(self) -> str:
        """The innermost thing that is not closed, as a JSON path."""
        return format_json_path(self.text if self.text is not None else self.within or ())


class Schema(Protocol):
    """What an answer must look like.

    Attributes:
        name: For a message: a title, or the name of a type; may be empty.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 -- described by the class

    def differences(self, value: Json, *, unfinished: Unfinished | None = None) -> list[Difference]:
        """Return how a JSON value differs, at most `MAX_DIFFERENCES`; an empty list if it fits.

        Args:
            value: The value; an unfinished one with all closed that is open.
            unfinished: Where it breaks off: what the rest could still mend is no difference.

        Raises:
            SchemaError: The schema itself turns out to be broken.
        """
        ...


def format_json_path(parts: Iterable[str | int]) -> str:
    r"""Return a path into a JSON value, in ASCII without control characters.

    >>> format_json_path(("items", 0, "qty")), format_json_path(()), format_json_path(("odd key\n",))
    ('$.items[0].qty', '$', '$["odd key\\n"]')
    """
    text = "$"
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.match(part) and len(part) <= MAX_KEY_CHARS:
            text += f".{part}"
        else:
            text += f"[{json.dumps(part[:MAX_KEY_CHARS])}{'...' if len(part) > MAX_KEY_CHARS else ''}]"
    return text


def json_type_name(value: object) -> str:
    """Return the type of a JSON value as JSON Schema calls it.

    >>> json_type_name(True), json_type_name(1), json_type_name(1.5), json_type_name([])
    ('boolean', 'integer', 'number', 'array')
    """
    if value is None:
        return "null"
    names = {bool: "boolean", int: "integer", float: "number", str: "string", dict: "object", list: "array"}
    return names.get(type(value), type(value).__name__)


def describe_json_value(value: object) -> str:
    """Return a JSON value with its type, in one short line.

    >>> describe_json_value("two"), describe_json_value(2), describe_json_value(None), describe_json_value([1]), describe_json_value({"a": 1})
    ('"two" (string)', '2 (integer)', 'null', 'array of 1', 'object with the keys a')
    """
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"array of {len(value):,}"
    if isinstance(value, dict):
        keys = [shorten_text(str(key), MAX_VALUE_CHARS) for key in value]
        return f"object with the keys {format_name_list(keys)}" if keys else "object without keys"
    return f"{short_json(value)} ({json_type_name(value)})"


def short_json(value: object) -> str:
    """Return the JSON of a value in one short line.

    >>> short_json({"a": "b"})
    '{"a": "b"}'
    """
    if isinstance(value, str):
        return f'"{shorten_text(value, MAX_VALUE_CHARS)}"'
    return shorten_text(json.dumps(value, ensure_ascii=False, default=str), MAX_VALUE_CHARS)


def missing_key_difference(
    place: JsonPath, expected: str, present: Iterable[str], known: Iterable[str]
) -> Difference:
    """Return the difference of a key that is not there; names a key that may be meant for it.

    >>> missing_key_difference(("total",), "number", ["totl"], ["total"]).text
    'missing, expected number; is it "totl"?'
    """
    names = set(known)
    strangers = [key[:MAX_KEY_CHARS] for key in present if key not in names][:MAX_KEYS]
    near = _find_similar_key(str(place[-1]), strangers)
    text = f"missing, expected {expected}" if expected else "missing"
    return Difference(place, f"{text}; is it {short_json(near)}?" if near else text)


def unknown_key_difference(place: JsonPath, known: Iterable[str]) -> Difference:
    """Return the difference of a key that must not be there; names the known key most like it.

    >>> unknown_key_difference(("totl",), ["total", "items"]).text
    'unknown key; did you mean "total"?'
    """
    near = _find_similar_key(str(place[-1]), known)
    return Difference(place, f"unknown key; did you mean {short_json(near)}?" if near else "unknown key")


def _find_similar_key(key: str, keys: Iterable[str]) -> str:
    # Stricter than the hint for a mistyped name of a prompt: here nobody is sure that one of them is meant.
    known = list(keys)
    spelled = {_normalize_key(candidate[:MAX_KEY_CHARS]): candidate for candidate in reversed(known)}
    wanted = _normalize_key(key[:MAX_KEY_CHARS])
    matches = difflib.get_close_matches(wanted, spelled, n=1, cutoff=0.65)
    if matches:
        return spelled[matches[0]]
    return next(
        (candidate for name, candidate in reversed(spelled.items()) if _is_abbreviation(wanted, name)), ""
    )


def _normalize_key(key: str) -> str:
    """Return a key as words in lower case: ``orderId`` and ``order-id`` are ``order_id``."""
    return _WORD_EDGE.sub("_", key).lower()


def _is_abbreviation(left: str, right: str) -> bool:
    """Say whether one of two keys is a word of the other, or its letters in their order: ``qty`` of ``quantity``."""
    short, long = sorted((left, right), key=len)
    if short in long.split("_"):
        return True
    letters = iter(long)
    ends = len(short) >= MIN_ABBREVIATION and short[0] == long[0] and short[-1] == long[-1]
    return ends and all(letter in letters for letter in short)


def nearest_form_differences(place: JsonPath, forms: Sequence[FormMismatch]) -> list[Difference]:
    """Return how a value that fits none of several forms differs from the nearest of them.

    Nearest is the form that no constant and no wrong type of the whole value rules out, then the one with the
    fewest differences. Where each form only asks for another kind of value, they become one difference.

    >>> here = ("a",)
    >>> nearest_form_differences(here, [FormMismatch("x", (Difference(here, "expected string", "5"),)),
    ...                     FormMismatch("y", (Difference(here, "expected null", "5"),))])[0].text
    'expected string or null | got 5'
    """
    whole = [[d for d in form.differences if d.place == place and not d.remark] for form in forms]
    if all(len(form.differences) == len(at_place) == 1 for form, at_place in zip(forms, whole, strict=True)):
        wanted = dict.fromkeys(at_place[0].expected.removeprefix("expected ") for at_place in whole)
        return [Difference(place, f"expected {' or '.join(wanted)}", whole[0][0].got)]
    ranked = sorted(zip(forms, whole, strict=True), key=lambda pair: _distance(*pair))
    best = ranked[0][0]
    remark = Difference(place, f"fits none of {len(forms)} forms; nearest is {best.name}", remark=True)
    return [remark, *best.differences]


def _distance(form: FormMismatch, whole: Sequence[Difference]) -> tuple[int, int, int]:
    return form.wrong_constants, len(whole), len(form.differences)
