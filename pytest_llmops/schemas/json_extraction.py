r"""Find the JSON in an answer of a model: alone, in a fenced block, or within prose. Broken JSON is not repaired.

The first of these places with JSON is used:

1. the whole text without a byte order mark and surrounding whitespace: any JSON value;
2. fenced blocks labelled ``json``, and blocks without a label that begin like JSON; there may be prose around them.
   If such blocks exist and none can be read, the answer has no JSON: the model marked its place, and there it is broken;
3. blocks with other labels that hold an object or array;
4. objects and arrays in prose; a block without a label is searched like prose. The inside of a broken value is not
   searched, nor the text after a value that is followed by the rest of a document (``{"a": 1}, "b": 2}``): a piece of
   a damaged document is not the answer.

It is an error, not JSON, if it is not certain which value is meant:

- The text begins with a bracket, but is not JSON as a whole: any JSON inside is a piece of a damaged document. Only a
  block that is marked as JSON is used, behind a bracket that never began JSON (``[note]``).
- There are two documents: different values in blocks or in prose, or a value in a block and another one on a line of its own
  outside. Equal values count once. A list of whole numbers within a sentence (``[1]``) is a citation next to other JSON.
- A broken document comes with a good one: in blocks, in prose, or on a line of its own outside of the blocks.

Strict as RFC 8259: NaN, Infinity, comments, single quotes and trailing commas are errors. Duplicate keys are
reported. Safe for hostile text: linear in its length, and too deep nesting is an error with its reason.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeAlias

from pytest_llmops.schemas.json_decoding import (
    BLANK,
    NOT_JSON,
    STRING,
    TOO_DEEP,
    JsonError,
    JsonPath,
    JsonValue,
    StrictDecoder,
    describe_json_error,
)

Place: TypeAlias = Literal["text", "fence", "prose"]

MAX_VALUES = 100  # different values in a text that are counted
MAX_BRACKETS = 20_000  # brackets in prose that are tried; a text with more is given up
MAX_FAILURES = 2_000  # brackets at which the decoder fails; a text with more is given up
MAX_SEARCH = 1_000_000  # characters searched in total for the ends of brackets that never close
MAX_LINE_CHARS = 200  # characters of a line that are read before and behind a value
MAX_FENCE_LINES = 2_000  # lines that open or close a fenced block; the text behind them counts as prose

NO_PROSE = "the answer must be only JSON, or hold it in a ```json block"
ONE_VALUE = "the answer must hold a single one, or pass the value parsed"

_BRACKET = re.compile(rf"{STRING}|(?P<open>[{{\[])|(?P<close>[}}\]])", re.DOTALL)
_OPENING = re.compile(r"[{\[]")
_OPENING_OF = {"}": "{", "]": "["}
# Behind a value: a closing bracket or a further key, so the value is only a part of a damaged document
_GOES_ON = re.compile(rf'[{BLANK}]*+(?:(?P<close>[}}\]])|,[{BLANK}]*+"(?:[^"\\\n]+|\\.)*+"[{BLANK}]*+:)')
_KEY = re.compile(r"""[\[\s]{,99}+\{\s{,99}+(?:"|'[^'\n]{,200}'\s{,9}:|\w{1,200}+\s{,9}:)""")
_LIST = re.compile(r'\[\s*["{\[]')
_FENCE = re.compile(r"^[ \t]*(?P<mark>`{3,}|~{3,})[ \t]*(?P<label>[^\n]*)$", re.MULTILINE)
_JSON_LABELS = ("json", "jsonc", "json5")


@dataclass(frozen=True, slots=True)
class JsonMatch:
    """A JSON value and its position: ``text[start:end]`` is its JSON.

    Attributes:
        place: ``text`` (the value is the whole text), ``fence`` or ``prose``.
        duplicates: Paths of keys that an object has twice; ``value`` has the last of them.
    """

    value: JsonValue
    start: int
    end: int
    place: Place
    duplicates: tuple[JsonPath, ...] = ()


@dataclass(frozen=True, slots=True)
class NoJson:
    """Why no JSON was found: a sentence, and the position (in characters, from 0) that it is about."""

    reason: str
    position: int


def find_json(text: str) -> JsonMatch | NoJson:
    r"""Return the only JSON value of a text, or why it has none or more than one; equal values count once.

    >>> find_json('Sure!\n```json\n{"qty": 2}\n```').value
    {'qty': 2}
    >>> find_json('{"qty": 2,').reason
    'broken JSON at line 1, column 11: expected a key in double quotes, got the end'
    """
    search = _JsonSearch(text)
    matches = search.find_matches()
    if isinstance(matches, NoJson):
        return matches
    documents = _list_documents(text, matches)
    if len(documents) > 1:
        first = format_position(text, documents[0].start)
        second = format_position(text, documents[1].start)
        count = str(len(documents))
        if len(documents) > MAX_VALUES:
            count = f"more than {MAX_VALUES}"
        return NoJson(
            f"expected one JSON value, got {count} different ones, at {first} and at {second}; {ONE_VALUE}",
            documents[1].start,
        )
    return search.why_not_whole(documents[0]) or documents[0]


def begins_before(text: str, position: int) -> bool:
    """Return whether a text begins with a bracket that is in front of a position.

    >>> begins_before('[1] {"a": 1}', 4), begins_before(' {"a": 1}', 1)
    (True, False)
    """
    start = _skip_to_content(text)
    return start < position and text[start] in _OPENING_OF.values()


def _skip_to_content(text: str) -> int:
    """Return the position behind a byte order mark and whitespace at the start of a text."""
    return len(text) - len(text.lstrip("\ufeff" + BLANK))


def _list_documents(text: str, matches: list[JsonMatch]) -> list[JsonMatch]:
    """Return the different values, in text order, at most `MAX_VALUES` + 1; without citations if there is other JSON."""
    different: dict[str, JsonMatch] = {}
    for match in matches:
        # Compared as JSON: in Python 1 == 1.0 == True.
        text_of_value = json.dumps(match.value, sort_keys=True)
        different.setdefault(f"{match.duplicates}{text_of_value}", match)
        if len(different) > MAX_VALUES:
            break
    documents = list(different.values())
    return [match for match in documents if not _is_citation(text, match)] or documents


def _is_citation(text: str, match: JsonMatch) -> bool:
    """Return whether a value is a list of whole numbers within a sentence, such as ``[1]`` or ``[2, 3]``."""
    if match.place != "prose" or not isinstance(match.value, list) or not match.value:
        return False
    if any(type(number) is not int for number in match.value):
        return False
    behind = text[match.end : match.end + MAX_LINE_CHARS].partition("\n")[0]
    return not _starts_line(text, match.start) or bool(behind.strip())


def _starts_line(text: str, position: int) -> bool:
    """Return whether nothing but blanks is in front of a position in its line."""
    before = text[max(0, position - MAX_LINE_CHARS) : position]
    return not before.rpartition("\n")[2].strip()


def format_position(text: str, position: int) -> str:
    r"""Return the line and column of a position in a text, counted from 1.

    >>> format_position("a\nbc", 3)
    'line 2, column 2'
    """
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return f"line {line:,}, column {column:,}"


@dataclass(frozen=True, slots=True)
class _BrokenPiece:
    """A piece of text that could not be read, to explain it if nothing else can be read.

    Attributes:
        what: The error.
        start: Where the piece starts in the whole text.
        position: The position of the problem there.
        weight: The length of the piece if it was meant to be JSON, else 0. The heaviest piece is explained.
    """

    what: str
    start: int
    position: int
    weight: int


@dataclass(frozen=True, slots=True)
class _Fence:
    """A fenced block. ``start`` and ``end`` are around its content, the outer positions around its marks as well."""

    label: str
    outer_start: int
    start: int
    end: int
    outer_end: int


def iterate_fences(
    text: str, start: int = 0, max_lines: int | None = None
) -> Iterator[tuple[re.Match[str], re.Match[str] | None]]:
    r"""Yield the opening and closing line of each fenced block, as in CommonMark; None if it is not closed.

    >>> [(opening["label"], closing is None) for opening, closing in iterate_fences("```json\n{}\n```\n~~~\n{}")]
    [('json', False), ('', True)]
    """
    opening: re.Match[str] | None = None
    for line in islice(_FENCE.finditer(text, start), max_lines):
        mark = line["mark"]
        label = line["label"].strip()
        if opening is None:
            is_inline_code = mark[0] == "`" and "`" in label
            if not is_inline_code:
                opening = line
        elif mark.startswith(opening["mark"]) and not label:
            yield opening, line
            opening = None
    if opening is not None:
        yield opening, None


def _find_fences(text: str, start: int) -> list[_Fence]:
    """Return the fenced blocks from a position on; JSON on the opening line itself is content and not a label."""
    fences = []
    for opening, closing in iterate_fences(text, start, MAX_FENCE_LINES):
        end = outer_end = len(text)
        if closing is not None:
            end, outer_end = closing.span()
        label = opening["label"].strip().lower().partition(" ")[0]
        content_start = min(opening.end() + 1, end)
        if _OPENING.match(label) and not NOT_JSON.match(text, opening.start("label")):
            label = ""
            content_start = opening.start("label")
        fences.append(_Fence(label, opening.start(), content_start, end, outer_end))
    return fences


class _JsonSearch:
    """A search through a text.

    Attributes:
        budget: Characters that may still be searched for the ends of brackets.
        broken: The pieces that could not be read so far.
        document: Why the whole text is not JSON; None: not tried, or it is.
        brackets: How many brackets in prose were tried.
        decoder: Decodes the values, and counts the brackets in prose at which it failed.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.budget = MAX_SEARCH
        self.broken: list[_BrokenPiece] = []
        self.document: _BrokenPiece | None = None
        self.brackets = 0
        self.decoder = StrictDecoder()

    def find_matches(self) -> list[JsonMatch] | NoJson:
        """Return the values of the first place that has any, or why there is none."""
        text = self.text
        start = _skip_to_content(text)
        end = len(text.rstrip(BLANK))
        if start >= end:
            return NoJson("the output is empty", 0)
        match = self.read_whole(start, end, "text")
        if match:
            return [match]
        document = self.broken[-1]  # `read_whole` has just recorded why it failed
        self.document = document
        fences_start = 0
        if document.weight:
            fences_start = self.resume_position(text, start, document.position)
        fences = _find_fences(text, fences_start)
        matches = self.search_fences(fences)
        if matches:
            return matches
        self.broken = [document]
        return self.search_prose(fences)

    def why_not_whole(self, match: JsonMatch) -> NoJson | None:
        """Return an error if the text begins with a bracket, but the value is only a part of it; None: it may be used."""
        document = self.document
        if document is None or not begins_before(self.text, len(self.text)):
            return None
        if match.place == "fence" and not document.weight:
            return None
        where = format_position(self.text, document.position)
        return NoJson(
            f"broken JSON at {where}: {document.what}; as the text begins with a bracket, all of it has to be JSON: {NO_PROSE}",
            document.position,
        )

    def search_fences(self, fences: list[_Fence]) -> list[JsonMatch] | NoJson:
        """Return the values in fenced blocks; an empty list if prose should be searched as well."""
        marked = [fence for fence in fences if self.is_marked(fence)]
        self.broken = []
        matches = self.read_fences(marked)
        if matches:
            matches += self.find_documents_outside(fences)
            matches.sort(key=lambda match: match.start)
            return self.refuse_broken(matches, self.broken)
        if not marked:
            return [match for match in self.read_fences(fences) if isinstance(match.value, (dict, list))]
        failed = len(self.broken)
        for fence in marked:
            if not fence.label:
                matches += self.scan_brackets(fence.start, fence.end)
        if matches:
            return self.refuse_broken(matches, self.broken[failed:])
        return self.explain_failure()

    def find_documents_outside(self, fences: list[_Fence]) -> list[JsonMatch]:
        """Return the objects and arrays outside of all blocks that begin a line; the broken ones of these are added to ``broken``.

        Others are parts of sentences ("In the text {...} it is."), which the marked block outranks.
        """
        in_fences = self.broken
        self.broken = []
        matches = [match for match in self.scan_outside(fences) if _starts_line(self.text, match.start)]
        broken = [piece for piece in self.broken if _starts_line(self.text, piece.start)]
        self.broken = in_fences + broken
        return matches

    def refuse_broken(self, matches: list[JsonMatch], broken: list[_BrokenPiece]) -> list[JsonMatch] | NoJson:
        """Return the matches, or an error if a broken document comes with them."""
        damaged = [piece for piece in broken if piece.weight]
        if not damaged:
            return matches
        good = format_position(self.text, matches[0].start)
        bad = format_position(self.text, damaged[0].position)
        return NoJson(
            f"expected one JSON value, got one at {good} and broken JSON at {bad}: {damaged[0].what}; {ONE_VALUE}",
            damaged[0].position,
        )

    def is_marked(self, fence: _Fence) -> bool:
        """Return whether a fenced block is marked as JSON: by its label, or without a label by its beginning."""
        return fence.label in _JSON_LABELS or (not fence.label and self.looks_like_json(fence))

    def looks_like_json(self, fence: _Fence) -> bool:
        match = self.read_whole(fence.start, fence.end, "fence")
        if match is not None and isinstance(match.value, (dict, list)):
            return True
        return _KEY.match(self.text[fence.start : fence.end]) is not None

    def read_fences(self, fences: list[_Fence]) -> list[JsonMatch]:
        matches = [self.read_whole(fence.start, fence.end, "fence") for fence in fences]
        return [match for match in matches if match is not None]

    def search_prose(self, fences: list[_Fence]) -> list[JsonMatch] | NoJson:
        """Return the objects and arrays outside of blocks with a label, or why there are none."""
        whole = len(self.broken)
        matches = self.scan_outside([fence for fence in fences if fence.label])
        if self.is_given_up:
            return NoJson("too many brackets to tell which of them are JSON", 0)
        if matches:
            return self.refuse_broken(matches, self.broken[whole:])
        return self.explain_failure()

    def scan_outside(self, fences: list[_Fence]) -> list[JsonMatch]:
        """Return the objects and arrays outside of these blocks."""
        starts = [fence.outer_end for fence in fences]
        ends = [fence.outer_start for fence in fences]
        self.decoder.failures = 0
        matches: list[JsonMatch] = []
        for start, end in zip([0, *starts], [*ends, len(self.text)], strict=True):
            matches += self.scan_brackets(start, end)
            if self.is_given_up:
                break
        return matches

    @property
    def is_given_up(self) -> bool:
        """Whether there are too many brackets to go on."""
        return self.brackets > MAX_BRACKETS or self.decoder.failures > MAX_FAILURES

    def explain_failure(self) -> NoJson:
        """Return the error in the longest piece that was meant to be JSON."""
        heaviest = max(self.broken, key=lambda piece: piece.weight, default=None)
        if heaviest is None or not heaviest.weight:
            return NoJson("no JSON object or array in the output", 0)
        where = format_position(self.text, heaviest.position)
        return NoJson(f"broken JSON at {where}: {heaviest.what}", heaviest.position)

    def read_whole(self, start: int, end: int, place: Place) -> JsonMatch | None:
        """Return the value that is all of ``text[start:end]``; else None, and ``broken`` has the error."""
        piece = self.text[start:end].rstrip(BLANK)
        start += _skip_blanks(piece, 0)
        piece = piece.lstrip(BLANK)
        is_fence = place == "fence"
        try:
            value, stop, duplicates = self.decoder.decode_value(piece, 0)
        except JsonError as bad:
            is_bracketed = piece.startswith(("[", "{")) and piece.endswith(("]", "}"))
            was_meant = is_fence or is_bracketed or _was_meant_as_json(piece, 0, bad.position)
            weight = len(piece) if was_meant else 0
            self.broken.append(_BrokenPiece(bad.what, start, start + bad.position, weight))
            return None
        if stop == len(piece):
            return JsonMatch(value, start, start + stop, place, duplicates)
        stop = _skip_blanks(piece, stop)
        weight = len(piece) if is_fence or piece[0] in _OPENING_OF.values() else 0
        what = describe_json_error("Extra data", piece, stop)
        self.broken.append(_BrokenPiece(what, start, start + stop, weight))
        return None

    def scan_brackets(self, start: int, end: int) -> Iterator[JsonMatch]:
        """Yield the objects and arrays of ``text[start:end]``, without searching inside broken documents.

        A broken document is added to ``broken``.
        """
        piece = self.text[start:end]
        at = 0
        # Brackets of prose: their closing partner behind a value does not mean that the value is damaged.
        opened_in_prose: set[str] = set()
        while opening := _OPENING.search(piece, at):
            at = opening.start()
            self.brackets += 1
            if self.is_given_up:
                return
            try:
                value, stop, duplicates = self.decoder.decode_value(piece, at)
            except JsonError as bad:
                too_deep = bad.what == TOO_DEEP
                if too_deep:
                    stop = len(piece)
                else:
                    stop = self.resume_position(piece, at, bad.position)
                if too_deep or _was_meant_as_json(piece, at, bad.position):
                    self.broken.append(_BrokenPiece(bad.what, start + at, start + bad.position, stop - at))
                elif piece[stop - 1] not in _OPENING_OF:
                    opened_in_prose.add(piece[at])
            else:
                behind = _GOES_ON.match(piece, stop)
                if behind and _OPENING_OF.get(behind["close"]) not in opened_in_prose:
                    place = _skip_blanks(piece, stop)
                    what = describe_json_error("Extra data", piece, place)
                    self.broken.append(_BrokenPiece(what, start + at, start + place, len(piece) - at))
                    return
                yield JsonMatch(value, start + at, start + stop, "prose", duplicates)
            at = stop

    def resume_position(self, piece: str, at: int, failed: int) -> int:
        """Return where to continue after the bracket at ``at``, whose decoding failed at ``failed``.

        That is behind its closing bracket. Without one, broken JSON is skipped up to the end of the piece, and prose
        up to the failure.
        """
        begun = _was_meant_as_json(piece, at, failed)
        if begun or piece[at] == "{" or _has_content(piece[at:failed]):
            end = self.find_closing_bracket(piece, at, begun=begun)
            if end:
                return end
        if begun:
            return len(piece)
        return max(failed, at + 1)

    def find_closing_bracket(self, piece: str, at: int, *, begun: bool) -> int:
        """Return the position behind the bracket that closes the bracket at ``at``; 0 if it is not closed.

        A bracket that did not begin JSON (``begun``) is only searched within the budget, which is then reduced.
        """
        if begun:
            limit = len(piece)
        else:
            limit = min(len(piece), at + self.budget)
        # Never empty in the loop: the first token is the bracket at ``at``.
        opened: list[str] = []
        for token in _BRACKET.finditer(piece, at, limit):
            if token["open"]:
                opened.append(token["open"])
            # A bracket of the wrong kind closes nothing: what follows it still belongs to the broken value.
            elif token["close"] and opened[-1] == _OPENING_OF[token["close"]]:
                opened.pop()
                if not opened:
                    return token.end()
        if not begun:
            self.budget -= limit - at
        return 0


def _skip_blanks(text: str, start: int) -> int:
    """Return the position of the first character that is not blank, or the length of the text."""
    rest = text[start:]
    return start + len(rest) - len(rest.lstrip(BLANK))


def _was_meant_as_json(piece: str, at: int, failed: int) -> bool:
    """Return whether the text at ``at``, whose decoding failed at ``failed``, was meant as JSON and not as prose."""
    if _KEY.match(piece, at):
        return True
    return _LIST.match(piece, at) is not None and _has_content(piece[at:failed])


def _has_content(text: str) -> bool:
    """Return whether a text has more than opening brackets and blanks."""
    return bool(text.strip("[{" + BLANK))
