r"""JSON that breaks off: what a model had written when its tokens, or the connection, ended.

The text has to be the beginning of strict JSON, from a bracket to its very end: that of an unclosed fenced block, or
else the first that is, outside of closed values. It is completed by as little as possible: an open string gets its
quote, open brackets are closed, and what has no value yet (a key, a comma, ``tru``, a number that may go on) is left
out.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_llmops.schemas import json_extraction
from pytest_llmops.schemas.differences import Unfinished
from pytest_llmops.schemas.json_extraction import MAX_DEPTH, JsonMatch, JsonPath, JsonValue

State: TypeAlias = Literal[
    "value", "value or ]", "key", "key or }", "colon", "behind", "open", "closed", "broken"
]

MAX_STARTS = 2_000
"""Brackets from which a beginning of JSON is looked for."""
MAX_SEARCH = 1_000_000
"""Characters that are read in all, apart from the value itself."""

_OPENING = re.compile(r"[{\[]")
_FENCE = re.compile(r"^[ \t]*(?P<mark>`{3,}|~{3,})[ \t]*(?P<label>[^\n]*)$", re.MULTILINE)
_BLANK = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*+')
_ESCAPE_BEGUN = re.compile(r"\\(?:u[0-9A-Fa-f]{0,3})?\Z")
_HALF_SURROGATE_PAIR = re.compile(r"\\u[dD][89abAB][0-9A-Fa-f]{2}")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NUMBER_BEGUN = re.compile(
    r"-?(?:(?:0|[1-9][0-9]*)(?:\.(?:[0-9]+(?:[eE][+-]?[0-9]*)?)?|[eE][+-]?[0-9]*)?)?\Z"
)
_LITERALS = ("true", "false", "null")


@dataclass(frozen=True, slots=True)
class Partial:
    """A value that breaks off.

    Attributes:
        value: The value, completed.
        start: Where it starts; it reaches to the end of the text.
        duplicates: Paths of keys that stand twice in one object.
        unfinished: What of it is open.
    """

    value: JsonValue
    start: int
    duplicates: tuple[JsonPath, ...]
    unfinished: Unfinished


def parse_partial_json(text: str) -> Partial | None:
    """Return the JSON that a text breaks off in, or None if it breaks off in none.

    >>> parse_partial_json('Here: {"id": 7, "tags": ["a", "b').value
    {'id': 7, 'tags': ['a', 'b']}
    >>> parse_partial_json('{"id": 7}') is None
    True
    """
    fence = _find_open_fence_body(text)
    at, budget = fence or 0, MAX_SEARCH
    for _ in range(MAX_STARTS):
        opening = _OPENING.search(text, at)
        if opening is None or budget <= 0:
            return None
        start = opening.start()
        reader = _PartialReader(text, start)
        reader.read()
        if reader.state == "open":
            return _complete_partial(reader, start)
        if reader.state == "broken" and fence is not None:
            return None
        budget -= reader.at - start + 1
        at = reader.at if reader.state == "closed" else start + 1
    return None


def strip_partial_fence(text: str) -> str:
    r"""Return a text without the beginning of the line that would close its fenced block.

    >>> strip_partial_fence('```json\n{"id": 7}\n``')
    '```json\n{"id": 7}\n'
    """
    opened = _find_open_fence(text)
    start = text.rfind("\n") + 1
    last = text[start:].strip(" \t")
    if opened is None or start <= opened.end() or not last:
        return text
    return text[:start] if last != opened["mark"] and opened["mark"].startswith(last) else text


def _find_open_fence_body(text: str) -> int | None:
    """Return where the body of a fenced block begins that is never closed, if JSON may stand in it."""
    opened = _find_open_fence(text)
    known = opened is not None and opened["label"].strip().lower() in ("", "json", "jsonc", "json5")
    return opened.end() if opened is not None and known else None


def _find_open_fence(text: str) -> re.Match[str] | None:
    """Return the line that opens a fenced block which is never closed."""
    opened: re.Match[str] | None = None
    for line in _FENCE.finditer(text):
        if opened is None:
            # With a backtick behind it, it is code within a line.
            opened = None if line["mark"][0] == "`" and "`" in line["label"] else line
        elif line["mark"].startswith(opened["mark"]) and not line["label"].strip():
            opened = None
    return opened


def _complete_partial(reader: _PartialReader, start: int) -> Partial | None:
    closers = "".join("}" if isinstance(key, str) else "]" for key in reversed(reader.kept_keys))
    match = json_extraction.find_json(reader.text[start : reader.kept] + reader.quote + closers)
    if not isinstance(match, JsonMatch) or match.place != "text":
        return None
    string = tuple(reader.kept_keys) if reader.quote else None
    return Partial(match.value, start, match.duplicates, Unfinished(tuple(reader.kept_keys[:-1]), string))


class _PartialReader:
    """Reads the object or array that starts at a place, as far as it goes.

    Attributes:
        at: How far it was read.
        state: What is expected there; in the end "closed", "open" (the text ended within it) or "broken".
        kept: Up to where the text stays when it is completed.
        quote: What a string that is open there needs.
        kept_keys: For each bracket open there, the key or index reached in it.
    """

    def __init__(self, text: str, start: int) -> None:
        self.text, self.at = text, start
        self.state: State = "value"
        self.kept, self.quote = start, ""
        self.kept_keys: list[str | int] = []
        self.keys: list[str | int] = []

    def read(self) -> None:
        """Read it."""
        while self.state not in ("open", "closed", "broken"):
            blank = _BLANK.match(self.text, self.at)
            self.at = blank.end() if blank else self.at
            char = self.text[self.at : self.at + 1]
            self.state = self.step(char) if char else "open"

    def step(self, char: str) -> State:
        """Read what stands at the place, and return what is expected behind it."""
        inside = "}" if self.keys and isinstance(self.keys[-1], str) else "]"
        if char == inside and self.state in ("behind", "key or }", "value or ]") and self.keys:
            self.keys.pop()
            self.at += 1
            return self.mark_kept() if self.keys else "closed"
        if self.state == "behind":
            return self.read_comma(char)
        if self.state == "colon":
            self.at += 1
            return "value" if char == ":" else "broken"
        if self.state in ("key", "key or }"):
            return self.string(key=True) if char == '"' else "broken"
        return self.string(key=False) if char == '"' else self.value(char)

    def read_comma(self, char: str) -> State:
        last = self.keys[-1]
        if char != ",":
            return "broken"
        self.at += 1
        if isinstance(last, str):
            return "key"
        self.keys[-1] = last + 1
        return "value"

    def value(self, char: str) -> State:
        if char in "{[":
            if len(self.keys) >= MAX_DEPTH:
                return "broken"
            self.keys.append("" if char == "{" else 0)
            self.at += 1
            self.mark_kept()
            return "key or }" if char == "{" else "value or ]"
        return self.read_scalar()

    def read_scalar(self) -> State:
        rest = self.text[self.at : self.at + 5]
        if any(
            literal_name.startswith(rest) and literal_name != rest for literal_name in _LITERALS
        ) or _NUMBER_BEGUN.match(self.text, self.at):
            return "open"
        literal = next((literal_name for literal_name in _LITERALS if rest.startswith(literal_name)), "")
        number = _NUMBER.match(self.text, self.at)
        if not literal and not number:
            return "broken"
        self.at = number.end() if number else self.at + len(literal)
        return self.mark_kept()

    def string(self, *, key: bool) -> State:
        match = _STRING.match(self.text, self.at)
        start, end = self.at, match.end() if match else self.at
        if self.text[end : end + 1] == '"':
            self.at = end + 1
            if not key:
                return self.mark_kept()
            self.keys[-1] = str(json.loads(self.text[start : end + 1]))
            return "colon"
        if end < len(self.text) and not _ESCAPE_BEGUN.match(self.text, end):
            return "broken"
        if not key:
            self.mark_kept()
            self.kept, self.quote = self.end_before_half_pair(start, end), '"'
        return "open"

    def end_before_half_pair(self, start: int, end: int) -> int:
        """Return the end of a string without the first half of a character that is written as two escapes."""
        half = end - len(r"\ud83d")
        if half <= start or not _HALF_SURROGATE_PAIR.match(self.text, half):
            return end
        slashes = half - len(self.text[start:half].rstrip("\\")) - start
        return end if slashes % 2 else half

    def mark_kept(self) -> State:
        """Keep all that was read so far."""
        self.kept, self.quote, self.kept_keys = self.at, "", list(self.keys)
        return "behind"
