r"""Parse JSON that is cut off, as in an answer that reached the token limit or lost its connection.

The text must end within strict JSON: in an unclosed fenced block, or else from the first bracket outside of complete
values. The completion adds closing quotes and brackets only; what has no value yet (a key, a comma, ``tru``, a number
that may continue) is dropped.
"""

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

MAX_STARTS = 2_000  # brackets from which partial JSON is tried
MAX_SEARCH = 1_000_000  # characters read in total, not counting the value itself

_OPENING = re.compile(r"[{\[]")
_BLANK = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*+')
_ESCAPE_BEGUN = re.compile(r"\\(?:u[0-9A-Fa-f]{0,3})?\Z")
_HALF_SURROGATE_PAIR = re.compile(r"\\u[dD][89abAB][0-9A-Fa-f]{2}")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NUMBER_BEGUN = re.compile(
    r"-?(?:(?:0|[1-9][0-9]*)(?:\.(?:[0-9]+(?:[eE][+-]?[0-9]*)?)?|[eE][+-]?[0-9]*)?)?\Z"
)
_LITERALS = ("true", "false", "null")
_LITERAL = re.compile("|".join(_LITERALS))


@dataclass(frozen=True, slots=True)
class Partial:
    """A value that is cut off.

    Attributes:
        value: The completed value.
        start: Where it starts; it ends with the text.
        duplicates: Paths of keys that an object has twice.
        unfinished: The open string, object or array.
    """

    value: JsonValue
    start: int
    duplicates: tuple[JsonPath, ...]
    unfinished: Unfinished


def parse_partial_json(text: str) -> Partial | None:
    """Return the JSON value in which a text is cut off, or None.

    >>> parse_partial_json('Here: {"id": 7, "tags": ["a", "b').value
    {'id': 7, 'tags': ['a', 'b']}
    >>> parse_partial_json('{"id": 7}') is None
    True
    """
    fence = _find_open_fence(text)
    json_fence = fence is not None and fence["label"].strip().lower() in ("", "json", "jsonc", "json5")
    position, budget = fence.end() if fence and json_fence else 0, MAX_SEARCH
    for _ in range(MAX_STARTS):
        opening = _OPENING.search(text, position)
        if opening is None or budget <= 0:
            return None
        start = opening.start()
        reader = _PartialReader(text, start)
        reader.read_value()
        if reader.state == "open":
            return reader.to_partial(start)
        if reader.state == "broken" and json_fence:
            return None
        budget -= reader.position - start + 1
        position = reader.position if reader.state == "closed" else start + 1
    return None


def strip_partial_fence(text: str) -> str:
    r"""Return a text without the incomplete last line that would close its fenced block.

    >>> strip_partial_fence('```json\n{"id": 7}\n``')
    '```json\n{"id": 7}\n'
    """
    opened = _find_open_fence(text)
    start = text.rfind("\n") + 1
    last = text[start:].strip(" \t")
    if opened is None or start <= opened.end() or not last:
        return text
    return text[:start] if last != opened["mark"] and opened["mark"].startswith(last) else text


def _find_open_fence(text: str) -> re.Match[str] | None:
    # Return the line that opens a fenced block which is never closed.
    fences = json_extraction.iterate_fences(text)
    return next((opening for opening, closing in fences if closing is None), None)


class _PartialReader:
    """Reads an object or array up to its end or the end of the text.

    Attributes:
        position: How far the text was read.
        state: What is expected there; finally "closed", "open" (the text ended within it) or "broken".
        kept: End of the text that the completion keeps.
        quote: The closing quote of a string that is open there.
        kept_keys: For each bracket open there, the key or index reached in it.
    """

    def __init__(self, text: str, start: int) -> None:
        self.text, self.position = text, start
        self.state: State = "value"
        self.kept, self.quote = start, ""
        self.kept_keys: list[str | int] = []
        self.keys: list[str | int] = []

    def read_value(self) -> None:
        """Read as far as the value goes."""
        while self.state not in ("open", "closed", "broken"):
            if blank := _BLANK.match(self.text, self.position):
                self.position = blank.end()
            char = self.text[self.position : self.position + 1]
            self.state = self.read_token(char) if char else "open"

    def to_partial(self, start: int) -> Partial | None:
        """Return the completed value, or None if its text is not JSON (too deep, for example)."""
        closers = "".join("}" if isinstance(key, str) else "]" for key in reversed(self.kept_keys))
        match = json_extraction.find_json(self.text[start : self.kept] + self.quote + closers)
        if not isinstance(match, JsonMatch) or match.place != "text":
            return None
        string = tuple(self.kept_keys) if self.quote else None
        return Partial(match.value, start, match.duplicates, Unfinished(tuple(self.kept_keys[:-1]), string))

    def read_token(self, char: str) -> State:
        """Read the token that begins with ``char``, and return what is expected behind it."""
        closer = "}" if self.keys and isinstance(self.keys[-1], str) else "]"
        if char == closer and self.state in ("behind", "key or }", "value or ]") and self.keys:
            self.keys.pop()
            self.position += 1
            return self.mark_kept() if self.keys else "closed"
        if self.state == "behind":
            return self.read_comma(char)
        if self.state == "colon":
            self.position += 1
            return "value" if char == ":" else "broken"
        if self.state in ("key", "key or }"):
            return self.read_string(key=True) if char == '"' else "broken"
        if char in "{[":
            return self.open_bracket(char)
        return self.read_string(key=False) if char == '"' else self.read_scalar()

    def read_comma(self, char: str) -> State:
        last = self.keys[-1]
        if char != ",":
            return "broken"
        self.position += 1
        if isinstance(last, str):
            return "key"
        self.keys[-1] = last + 1
        return "value"

    def open_bracket(self, char: str) -> State:
        if len(self.keys) >= MAX_DEPTH:
            return "broken"
        self.keys.append("" if char == "{" else 0)
        self.position += 1
        self.mark_kept()
        return "key or }" if char == "{" else "value or ]"

    def read_scalar(self) -> State:
        rest = self.text[self.position : self.position + 5]
        literal_begun = any(literal.startswith(rest) and literal != rest for literal in _LITERALS)
        if literal_begun or _NUMBER_BEGUN.match(self.text, self.position):
            return "open"
        scalar = _LITERAL.match(self.text, self.position) or _NUMBER.match(self.text, self.position)
        if not scalar:
            return "broken"
        self.position = scalar.end()
        return self.mark_kept()

    def read_string(self, *, key: bool) -> State:
        match = _STRING.match(self.text, self.position)
        start, end = self.position, match.end() if match else self.position
        if self.text[end : end + 1] == '"':
            self.position = end + 1
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
        """Return the end of a string without the first half of a surrogate pair of escapes."""
        half = end - len(r"\ud83d")
        if half <= start or not _HALF_SURROGATE_PAIR.match(self.text, half):
            return end
        slashes = half - len(self.text[start:half].rstrip("\\")) - start
        return end if slashes % 2 else half

    def mark_kept(self) -> State:
        """Keep everything read so far in the completion."""
        self.kept, self.quote, self.kept_keys = self.position, "", list(self.keys)
        return "behind"
