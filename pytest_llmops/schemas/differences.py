"""Describe how a JSON value differs from its schema."""

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pytest_llmops.errors import format_name_list
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.schemas.json_decoding import JsonPath

MAX_DIFFERENCES = 50  # differences reported for a value
MAX_VALUE_CHARS = 60
MAX_KEY_CHARS = 60  # characters of a key in a message
MAX_KEYS = 100  # keys of an object that are compared with a missing key
MIN_ABBREVIATION = 3  # letters of an abbreviation
_SCALARS = {bool: "boolean", int: "integer", float: "number", str: "string"}

_WORD_EDGE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[-. ]")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


@dataclass(frozen=True, slots=True)
class Difference:
    """A place where a value differs, the expectation of the schema, and the value there.

    A remark explains the differences that follow it and is not counted.

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
        if self.got:
            return f"{self.expected} | got {self.got}"
        return self.expected


@dataclass(frozen=True, slots=True)
class FormMismatch:
    """How a value differs from a branch of ``anyOf`` or ``oneOf``.

    Attributes:
        wrong_constants: Constants of the branch that the value does not have (``"kind": "dog"``).
    """

    name: str
    differences: tuple[Difference, ...]
    wrong_constants: int = 0


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Where a partial value ends.

    Attributes:
        within: The innermost object or array that is not closed; None: no open object or array.
        text: A string that is not closed; None: no open string.
    """

    within: JsonPath | None
    text: JsonPath | None = None

    def is_open_at(self, place: JsonPath) -> bool:
        """Return whether the object or array at a place is not closed."""
        return self.within is not None and self.within[: len(place)] == place

    @property
    def path(self) -> str:
        """The JSON path of the innermost open value."""
        if self.text is not None:
            return format_json_path(self.text)
        return format_json_path(self.within or ())


class Schema(Protocol):
    """The form an answer must have.

    Attributes:
        name: Its title or the name of the type, for messages; may be empty.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 -- described by the class

    def differences(self, value: Json, *, unfinished: Unfinished | None = None) -> list[Difference]:
        """Return how a JSON value differs, at most `MAX_DIFFERENCES`; an empty list if it fits.

        Args:
            value: The value; a partial value is completed with closing quotes and brackets.
            unfinished: Where a partial value ends. A requirement that the missing rest could still satisfy is not a difference.

        Raises:
            SchemaError: The schema itself is broken.
        """


def format_json_path(parts: Iterable[str | int]) -> str:
    r"""Return a JSON path in ASCII without control characters.

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
            ellipsis = "..." if len(part) > MAX_KEY_CHARS else ""
            text += f"[{json.dumps(part[:MAX_KEY_CHARS])}{ellipsis}]"
    return text


def describe_json_value(value: object) -> str:
    """Return a JSON value with its type, in a short line.

    >>> [describe_json_value(value) for value in ("two", 2, None, [1], {"a": 1})]
    ['"two" (string)', '2 (integer)', 'null', 'array of 1', 'object with the keys a']
    """
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"array of {len(value):,}"
    if isinstance(value, dict):
        keys = [shorten_text(str(key), MAX_VALUE_CHARS) for key in value]
        if keys:
            return f"object with the keys {format_name_list(keys)}"
        return "object without keys"
    kind = type(value)
    return f"{short_json(value)} ({_SCALARS.get(kind, kind.__name__)})"


def short_json(value: object) -> str:
    """Return the JSON of a value in a short line.

    >>> short_json({"a": "b"})
    '{"a": "b"}'
    """
    if isinstance(value, str):
        return f'"{shorten_text(value, MAX_VALUE_CHARS)}"'
    return shorten_text(json.dumps(value, ensure_ascii=False, default=str), MAX_VALUE_CHARS)


def missing_key_difference(
    place: JsonPath, expected: str, present: Iterable[str], known: Iterable[str]
) -> Difference:
    """Return the difference for a missing key, with a similar unknown key of the value as a hint.

    Args:
        place: The path of the missing key.
        expected: The expectation of the schema there. May be empty.
        present: The keys of the value.
        known: The keys of the schema.

    >>> missing_key_difference(("total",), "number", ["totl"], ["total"]).text
    'missing, expected number; is it "totl"?'
    """
    names = set(known)
    unknown = [key[:MAX_KEY_CHARS] for key in present if key not in names]
    text = "missing"
    if expected:
        text += f", expected {expected}"
    near = _find_similar_key(str(place[-1]), unknown[:MAX_KEYS])
    if near:
        text += f"; is it {short_json(near)}?"
    return Difference(place, text)


def unknown_key_difference(place: JsonPath, known: Iterable[str]) -> Difference:
    """Return the difference for a key that is not allowed, with the most similar known key as a hint.

    >>> unknown_key_difference(("totl",), ["total", "items"]).text
    'unknown key; did you mean "total"?'
    """
    near = _find_similar_key(str(place[-1]), known)
    text = "unknown key"
    if near:
        text += f"; did you mean {short_json(near)}?"
    return Difference(place, text)


def _find_similar_key(key: str, keys: Iterable[str]) -> str:
    """Return the first of ``keys`` that ``key`` probably misspells or abbreviates; "" if there is none."""
    by_normalized = {}
    # Reversed, so that the first of several keys that are normalized alike is kept.
    for name in reversed(list(keys)):
        by_normalized[_normalize_key(name[:MAX_KEY_CHARS])] = name
    wanted = _normalize_key(key[:MAX_KEY_CHARS])
    # A higher cutoff than for mistyped names of prompts: here it is not certain that any key is a misspelling.
    close = difflib.get_close_matches(wanted, by_normalized, n=1, cutoff=0.65)
    if close:
        return by_normalized[close[0]]
    for name in reversed(by_normalized):
        if _is_abbreviation(wanted, name):
            return by_normalized[name]
    return ""


def _normalize_key(key: str) -> str:
    """Return a key as words in lower case: ``orderId`` and ``order-id`` are ``order_id``."""
    return _WORD_EDGE.sub("_", key).lower()


def _is_abbreviation(left: str, right: str) -> bool:
    """Return whether the shorter key is a word of the longer key or abbreviates it (``qty`` of ``quantity``)."""
    short, long = sorted((left, right), key=len)
    if short in long.split("_"):
        return True
    if len(short) < MIN_ABBREVIATION:
        return False
    if short[0] != long[0] or short[-1] != long[-1]:
        return False
    # ``in`` advances the iterator, so the letters must follow in the same order.
    letters = iter(long)
    return all(letter in letters for letter in short)


def nearest_form_differences(place: JsonPath, forms: Sequence[FormMismatch]) -> list[Difference]:
    """Return how a value that fits no form differs from the nearest form; there is at least one form.

    The nearest form has the fewest wrong constants, then the fewest differences of the whole value, then the fewest
    differences. If every form only expects another type or constant, the result is a single difference.

    >>> here = ("a",)
    >>> nearest_form_differences(here, [FormMismatch("x", (Difference(here, "expected string", "5"),)),
    ...                     FormMismatch("y", (Difference(here, "expected null", "5"),))])[0].text
    'expected string or null | got 5'
    """
    if all(len(form.differences) == _count_whole_value_differences(form, place) == 1 for form in forms):
        only_differences = [form.differences[0] for form in forms]
        texts = [difference.expected.removeprefix("expected ") for difference in only_differences]
        wanted = " or ".join(dict.fromkeys(texts))
        return [Difference(place, f"expected {wanted}", only_differences[0].got)]

    def distance(form: FormMismatch) -> tuple[int, int, int]:
        return form.wrong_constants, _count_whole_value_differences(form, place), len(form.differences)

    nearest = min(forms, key=distance)
    text = f"fits none of {len(forms)} forms; nearest is {nearest.name}"
    remark = Difference(place, text, remark=True)
    return [remark, *nearest.differences]


def _count_whole_value_differences(form: FormMismatch, place: JsonPath) -> int:
    """Return how many differences of a form are about the value at a place itself, not about something in it."""
    return sum(difference.place == place and not difference.remark for difference in form.differences)
