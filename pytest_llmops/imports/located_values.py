"""JSON values that know their lines in the file, read from JSON text."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import NoReturn

from pytest_llmops._util.text_files import MAX_DEPTH, BadFile, numbered_lines
from pytest_llmops.imports.suite import Place
from pytest_llmops.measurement import Json, shorten_text

# The largest number that JavaScript still distinguishes from its neighbours
MAX_EXACT_INTEGER = 2**53
_MAX_SHOWN = 60  # characters of a key or a value in an error


class LocatedMap(dict[str, Json]):
    """An object of a file.

    Attributes:
        place: Where it begins.
        places: The place of each key.
    """

    __slots__ = ("place", "places")

    def __init__(
        self,
        values: Mapping[str, Json] | None = None,
        *,
        place: Place,
        places: Mapping[str, Place] | None = None,
    ) -> None:
        super().__init__(values or {})
        self.place = place
        self.places: dict[str, Place] = dict(places or {})

    def place_of(self, key: str) -> Place:
        """Return the place of a key; of the object, if it has no such key."""
        return self.places.get(key, self.place)


class LocatedList(list[Json]):
    """A list of a file.

    Attributes:
        place: Where it begins.
        places: Where each item begins.
    """

    __slots__ = ("place", "places")

    def __init__(self, values: Iterable[Json] = (), *, place: Place, places: Iterable[Place] = ()) -> None:
        super().__init__(values)
        self.place = place
        self.places: list[Place] = list(places)

    def place_of(self, index: int) -> Place:
        """Return the place of an item; of the list, if it has no such item."""
        if 0 <= index < len(self.places):
            return self.places[index]
        return self.place


class LineFinder:
    r"""The lines of a text as places, each made once.

    >>> str(LineFinder("a\nb", "config.yaml").place_at(2))
    'config.yaml:2'
    """

    def __init__(self, text: str, file: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._file = file
        self._places: dict[int, Place] = {}

    def line_at(self, index: int) -> int:
        """Return the number of the line, from 1, of a character."""
        return bisect_right(self._starts, index)

    def place_at(self, index: int) -> Place:
        """Return the line of a character as a place."""
        line = self.line_at(index)
        place = self._places.get(line)
        if place is None:
            place = Place(self._file, line)
            self._places[line] = place
        return place


def make_number(written: str) -> float:
    """Return a decimal number as JavaScript has it, where 1.0 and 1 are the same number.

    Raises:
        BadFile: It is larger than any number of JavaScript.

    >>> make_number("1.0"), make_number("-2.50"), make_number("1e3")
    (1, -2.5, 1000)
    """
    value = float(written)
    if not math.isfinite(value):
        raise BadFile(f"expected a number, got {shorten_text(written, _MAX_SHOWN)}: write it in quotes")
    if written.lstrip("+-").isdigit():
        return int(written)
    if value.is_integer() and abs(value) < MAX_EXACT_INTEGER:
        return int(value)
    return value


_SPACE = re.compile(r"[ \t\n\r]*")
_TOKEN = re.compile(
    r"""(?P<mark>[{}\[\]:,])
    | (?P<text>"[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*")
    | (?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)
    | (?P<word>true|false|null)""",
    re.VERBOSE,
)
_WORDS: Mapping[str, Json] = {"true": True, "false": False, "null": None}


def read_located_json(text: str, file: str) -> Json:
    r"""Return the value of a JSON text; its objects and lists know their lines.

    Raises:
        BadFile: It is not JSON, a key is repeated, a number is too large, or it is nested too deeply; with the line.

    >>> read_located_json('{"a": [1,\n 2.0]}', "a.json")["a"].places[1].line
    2
    """
    return _JsonReader(text, file).read()


class _JsonReader:
    """Reads one JSON text."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._lines = LineFinder(text, file)
        self._index = 0

    def read(self) -> Json:
        """Return the value of the whole text."""
        value = self._read_value(self._next_token(), 0)
        self._skip_space()
        if self._index < len(self._text):
            self._fail("text after the value")
        return value

    def _fail(self, what: str) -> NoReturn:
        raise BadFile(f"broken JSON: {what}", self._lines.line_at(self._index))

    def _skip_space(self) -> None:
        space = _SPACE.match(self._text, self._index)
        if space is not None:
            self._index = space.end()

    def _next_token(self) -> re.Match[str]:
        """Return the next token, and stay at its begin: `_index` moves with the value that is made of it."""
        self._skip_space()
        token = _TOKEN.match(self._text, self._index)
        if token is None:
            if self._index >= len(self._text):
                self._fail("the text ends too early")
            shown = shorten_text(self._text[self._index : self._index + 20], 20)
            self._fail(f"expected a value, got {shown!r}")
        return token

    def _take_mark(self, marks: str) -> str:
        """Go behind one of these marks, and return it."""
        token = self._next_token()
        mark = token.group()
        if mark not in marks:
            expected = " or ".join(marks)
            self._fail(f"expected {expected}, got {shorten_text(mark, 20)!r}")
        self._index = token.end()
        return mark

    def _read_value(self, token: re.Match[str], depth: int) -> Json:
        written = token.group()
        if depth > MAX_DEPTH:
            raise BadFile(f"nested deeper than {MAX_DEPTH} levels", self._lines.line_at(self._index))
        if written == "{":
            return self._read_map(token, depth)
        if written == "[":
            return self._read_list(token, depth)
        kind = token.lastgroup
        if kind == "mark":
            self._fail(f"expected a value, got {written!r}")
        if kind == "text":
            return self._read_text(token)
        self._index = token.end()
        if kind == "number":
            return self._read_number(written)
        return _WORDS[written]

    def _read_number(self, written: str) -> float:
        try:
            return make_number(written)
        except BadFile as error:
            raise BadFile(error.what, self._lines.line_at(self._index)) from None

    def _read_text(self, token: re.Match[str]) -> str:
        written = token.group()
        value = written[1:-1]
        if "\\" in written:
            try:
                value = str(json.loads(written))
            except json.JSONDecodeError as error:
                self._fail(error.msg)
            value = self._join_surrogates(value)
        self._index = token.end()
        return value

    def _join_surrogates(self, value: str) -> str:
        if any("\ud800" <= char <= "\udfff" for char in value):
            self._fail("half a surrogate pair, which has no UTF-8 form")
        return value

    def _read_map(self, token: re.Match[str], depth: int) -> LocatedMap:
        result = LocatedMap(place=self._lines.place_at(token.start()))
        self._index = token.end()
        if self._next_token().group() == "}":
            self._take_mark("}")
            return result
        mark = ","
        while mark == ",":
            name = self._next_token()
            start = name.start()
            if name.lastgroup != "text":
                self._fail(f"expected a key in quotes, got {shorten_text(name.group(), 20)!r}")
            key = self._read_text(name)
            if key in result:
                first = result.places[key].line
                what = f"the key {shorten_text(key, _MAX_SHOWN)!r} occurs twice: first in line {first}"
                raise BadFile(what, self._lines.line_at(start))
            self._take_mark(":")
            result[key] = self._read_value(self._next_token(), depth + 1)
            result.places[key] = self._lines.place_at(start)
            mark = self._take_mark(",}")
        return result

    def _read_list(self, token: re.Match[str], depth: int) -> LocatedList:
        result = LocatedList(place=self._lines.place_at(token.start()))
        self._index = token.end()
        if self._next_token().group() == "]":
            self._take_mark("]")
            return result
        mark = ","
        while mark == ",":
            item = self._next_token()
            result.places.append(self._lines.place_at(item.start()))
            result.append(self._read_value(item, depth + 1))
            mark = self._take_mark(",]")
        return result


def read_located_json_lines(text: str, file: str) -> LocatedList:
    r"""Return the value of each line of JSON lines; blank lines are skipped.

    Raises:
        BadFile: As for `read_located_json`.

    >>> read_located_json_lines('{"a": 1}\n\n{"a": 2}', "a.jsonl").places[1].line
    3
    """
    result = LocatedList(place=Place(file, 1))
    for number, line in numbered_lines(text):
        try:
            value = _JsonReader(line, file).read()
        except BadFile as error:
            raise BadFile(error.what, number) from None
        result.append(_move_to_line(value, Place(file, number)))
        result.places.append(Place(file, number))
    return result


def _move_to_line(value: Json, place: Place) -> Json:
    """Return a value that was read from a line of its own, with the place of this line in it."""
    if isinstance(value, LocatedMap):
        value.place = place
        value.places = dict.fromkeys(value.places, place)
        for child in value.values():
            _move_to_line(child, place)
    if isinstance(value, LocatedList):
        value.place = place
        value.places = [place] * len(value)
        for child in value:
            _move_to_line(child, place)
    return value
