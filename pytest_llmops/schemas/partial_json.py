r"""Parse JSON that is cut off, as in an answer that reached the token limit or lost its connection.

The text must end within strict JSON: in an unclosed fenced block, or else from the first bracket outside of complete
values. The completion adds closing quotes and brackets only; text without a value yet (a key, a comma, ``tru``, a number
that may continue) is dropped.
"""

import json
import re
from dataclasses import dataclass
from typing import Literal

from pytest_llmops.schemas import json_extraction
from pytest_llmops.schemas.differences import Unfinished
from pytest_llmops.schemas.json_decoding import MAX_DEPTH, JsonPath, JsonValue
from pytest_llmops.schemas.json_extraction import JsonMatch

MAX_STARTS = 2_000  # brackets from which partial JSON is tried
MAX_SEARCH = 1_000_000  # characters read in total, not counting the value itself

_OPENING = re.compile(r"[{\[]")
_BLANK = r"[ \t\r\n]*+"
_ESCAPE_BEGUN = r"(?:\\(?:u[0-9A-Fa-f]{0,3})?)?"
# The first half of a surrogate pair at the end of the text, which is dropped
_HALF_PAIR = rf"\\u[dD][89abAB][0-9A-Fa-f]{{2}}{_ESCAPE_BEGUN}\Z"
_STRING = rf'"(?:[^"\\\x00-\x1f]|(?!{_HALF_PAIR})\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{{4}}))*+'
_NUMBER = r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
_NUMBER_BEGUN = r"-?(?:(?:0|[1-9][0-9]*)(?:\.(?:[0-9]+(?:[eE][+-]?[0-9]*)?)?|[eE][+-]?[0-9]*)?)?"
# A whole token; a number at the end of the text may go on
_WHOLE_TOKEN = re.compile(
    rf"{_BLANK}(?:(?P<string>{_STRING}\")|true|false|null|{_NUMBER}(?![0-9.eE+-]|\Z)|(?P<mark>[{{}}\[\],:]))"
)
_BEGUN_TOKEN = re.compile(
    rf"{_BLANK}(?P<begun>(?P<string>{_STRING})(?:{_HALF_PAIR}|{_ESCAPE_BEGUN})|t(?:ru?)?|f(?:a(?:ls?)?)?|n(?:ul?)?|{_NUMBER_BEGUN})\Z"
)


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
    position = 0
    is_json_fence = False
    fence = _find_open_fence(text)
    if fence is not None:
        label = fence["label"].strip()
        if label.lower() in ("", "json", "jsonc", "json5"):
            is_json_fence = True
            position = fence.end()
    budget = MAX_SEARCH
    for _ in range(MAX_STARTS):
        opening = _OPENING.search(text, position)
        if opening is None or budget <= 0:
            return None
        start = opening.start()
        reader = _PartialReader(text, start)
        state = reader.read_value()
        if state == "open":
            return reader.to_partial(start)
        if state == "broken" and is_json_fence:
            return None
        budget -= reader.position - start + 1
        if state == "closed":
            position = reader.position
        else:
            position = start + 1
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
    if last != opened["mark"] and opened["mark"].startswith(last):
        return text[:start]
    return text


def _find_open_fence(text: str) -> re.Match[str] | None:
    """Return the line that opens a fenced block which is never closed, or None."""
    for opening, closing in json_extraction.iterate_fences(text):
        if closing is None:
            return opening
    return None


class _PartialReader:
    """Reads an object or array up to its end or the end of the text; the text has a bracket at the start.

    Attributes:
        position: How far the text was read.
        kept: End of the text that the completion keeps.
        keys: For each open bracket the key or index reached in it: a text in an object, a number in an array.
        quote: The quote that closes the string open at ``kept``; "" if no string is open.
        before: The last token: a mark, "key" or "value"; "" at the start.
        key: The key that was read last.
    """

    def __init__(self, text: str, start: int) -> None:
        self.text = text
        self.position = start
        self.kept = start
        self.keys: list[str | int] = []
        self.quote = ""
        self.before = ""
        self.key = ""

    @property
    def wants_key(self) -> bool:
        """Whether a key comes next."""
        if not self.keys or not isinstance(self.keys[-1], str):
            return False
        return self.before in ("{", ",")

    def read_value(self) -> Literal["open", "closed", "broken"]:
        """Read the value; return whether it is cut off by the end of the text ("open"), "closed", or no JSON ("broken")."""
        while token := _WHOLE_TOKEN.match(self.text, self.position):
            if not self.read_token(token["mark"] or "", token["string"]):
                return "broken"
            self.position = token.end()
            if self.before in ("value", "{", "["):
                self.kept = self.position
            if not self.keys:
                return "closed"
        tail = _BEGUN_TOKEN.match(self.text, self.position)
        if tail is None:
            return "broken"
        has_string = tail["string"] is not None
        if tail["begun"]:
            if self.before in ("key", "value"):
                return "broken"
            if self.wants_key and not has_string:
                return "broken"
        if has_string and not self.wants_key:
            self.kept = tail.end("string")
            self.quote = '"'
        return "open"

    def read_token(self, mark: str, string: str | None) -> bool:
        """Update the state for the next token; return False if JSON does not allow the token there.

        A bracket is open whenever a closing bracket, colon or comma comes: the first token is an opening bracket, and
        `read_value` stops when the last bracket is closed.

        Args:
            mark: A bracket, colon or comma; "" for a value or key.
            string: The token if it is a string, with its quotes.
        """
        before = self.before
        wants_key = self.wants_key
        if mark:
            self.before = mark
        elif wants_key:
            self.before = "key"
        else:
            self.before = "value"
        if mark in ("}", "]"):
            self.before = "value"
            is_object = isinstance(self.keys.pop(), str)
            return (mark == "}") == is_object and before not in (",", ":", "key")
        if mark == ":":
            self.keys[-1:] = [self.key]
            return before == "key"
        if mark == ",":
            last = self.keys[-1]
            if isinstance(last, int):
                self.keys[-1] = last + 1
            return before == "value"
        if mark:
            self.keys.append("" if mark == "{" else 0)
        elif wants_key and string:
            self.key = json.loads(string)
        if before in ("key", "value") or len(self.keys) > MAX_DEPTH:
            return False
        return not wants_key or bool(string)

    def to_partial(self, start: int) -> Partial | None:
        """Return the completed value, or None if its text is not JSON (a number too large, for example)."""
        brackets = ["}" if isinstance(key, str) else "]" for key in reversed(self.keys)]
        complete = self.text[start : self.kept]
        completed = complete + self.quote + "".join(brackets)
        match = json_extraction.find_json(completed)
        if not isinstance(match, JsonMatch) or match.place != "text":
            return None
        # The last key is within the innermost open object or array.
        place = tuple(self.keys)
        open_text = place if self.quote else None
        unfinished = Unfinished(place[:-1], open_text)
        return Partial(match.value, start, match.duplicates, unfinished)
