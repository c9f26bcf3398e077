"""Fold JSON values and texts into a form that reviewers can read, and unfold them.

Strings with line ends become lists of lines (``{"$lines": [...]}``), so that a changed prompt is a changed line in
a pull request; long base64 and long arrays of numbers become markers (see `blobs`). A key of the body that starts
with ``$`` gets a second ``$``, so that it is not mistaken for these.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from pytest_llmops.measurement import Json
from pytest_llmops.wire.blobs import BLOB, NUMBERS, make_marker, marker_text

LINES = "$lines"
JOINED = "$joined"  # key of a list of texts and markers that are joined to a text
FOLDING_KEYS = frozenset({LINES, JOINED, BLOB, NUMBERS})
LONG_TEXT = 256
LONG_LIST = 32
MAX_DEPTH = 100  # deepest JSON that is stored parsed: when it is read back, less of the stack may be left
SPELLINGS: dict[str, dict[str, Any]] = {
    "compact": {"separators": (",", ":"), "ensure_ascii": False},
    "compact-ascii": {"separators": (",", ":")},
    "spaced": {"ensure_ascii": False},
    "spaced-ascii": {},
    "indent2": {"indent": 2, "ensure_ascii": False},
    "indent2-ascii": {"indent": 2},
    "indent4": {"indent": 4, "ensure_ascii": False},
    "indent4-ascii": {"indent": 4},
}
_ENCODERS = {style: json.JSONEncoder(allow_nan=False, **options) for style, options in SPELLINGS.items()}
_JSON_WHITESPACE = " \t\r\n"
_ESCAPE = re.compile(r"\\(?:/|u[0-9a-fA-F]{4}|.)", re.DOTALL)
_OPTIONAL_ESCAPE = re.compile(r"\\(?:/|u[0-9a-fA-F]{4})")
MAX_ESCAPES = 100
_NO_TEXT = "expected a text, its lines, or a marker"
_BASE64_RUN = re.compile(
    r"(?:data:(?P<media>[\w.+-]{1,60}/[\w.+-]{1,80})(?:;[\w.=+-]{1,60}){0,4};base64,)?"
    rf"(?P<run>[A-Za-z0-9+/_-]{{{LONG_TEXT},}}={{0,2}})"
)
# Kinds of characters that a long text in base64 has all of
_CHARACTER_KINDS = (str.isupper, str.islower, str.isdigit)
_MEDIA_TYPES = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "a RIFF file"),
    ("JVBERi", "application/pdf"),
    ("SUQz", "audio/mpeg"),
    ("T2dnU", "audio/ogg"),
    ("ZkxhQ", "audio/flac"),
)


def fold_json(text: str) -> dict[str, Json] | None:
    """Return parsed JSON with the style that encodes it to the same text; None if no style does."""
    core = text.strip(_JSON_WHITESPACE)
    start = text.index(core)  # never fails: core is a part of the text
    end = start + len(core)
    blanks = {"head": text[:start], "tail": text[end:]}
    try:
        value = json.loads(core)
        spelling = _find_spelling(value, core)
        if spelling is None:
            return None
        folded: dict[str, Json] = {"json": fold_value(value), **spelling}
        folded |= {name: blank for name, blank in blanks.items() if blank}
        json.dumps(folded, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return None
    return folded


def _find_spelling(value: Any, text: str) -> dict[str, Json] | None:
    r"""Return the keys of stored JSON that say how it was written; None if no combination gives the same text.

    These are ``style``, and ``escapes`` for characters that were escaped without need (``\/`` for a slash).
    """
    for style, encoder in _ENCODERS.items():
        if encoder.encode(value) == text:
            return {"style": style}
    # PHP escapes "/", Go "<" and ">", Google "=" and "'", .NET "ä".
    escapes = sorted(filter(_is_needless_escape, set(_ESCAPE.findall(text))))
    ascii_escapes = [escape for escape in escapes if _unescape(escape).isascii()]
    for chosen in (ascii_escapes, escapes):
        if not 0 < len(chosen) <= MAX_ESCAPES:
            continue
        for style, encoder in _ENCODERS.items():
            if _apply_escapes(encoder.encode(value), chosen) == text:
                return {"style": style, "escapes": list(chosen)}
    return None


def _is_needless_escape(escape: str) -> bool:
    r"""Return whether JSON allows the escaped character unescaped too, as for ``\/`` or ``\u00e4``."""
    if not _OPTIONAL_ESCAPE.fullmatch(escape):
        return False
    char = _unescape(escape)
    return char >= " " and not "\ud800" <= char <= "\udfff"


def _unescape(escape: str) -> str:
    return str(json.loads(f'"{escape}"'))


def _apply_escapes(text: str, escapes: list[str]) -> str:
    """Return JSON with further characters escaped.

    These may occur in strings only, so that each can simply be replaced everywhere.
    """
    for escape in escapes:
        text = text.replace(_unescape(escape), escape)
    return text


def unfold_json(stored: Mapping[str, Any], blobs: Mapping[str, str]) -> str:
    """Return the text that `fold_json` was given."""
    text = _ENCODERS[stored["style"]].encode(unfold_value(stored["json"], blobs))
    if "escapes" in stored:
        text = _apply_escapes(text, stored["escapes"])
    head = stored.get("head", "")
    tail = stored.get("tail", "")
    return f"{head}{text}{tail}"


def is_folded_json(stored: Mapping[str, Any]) -> bool:
    """Return whether the keys next to the value of stored JSON (``style``, ``escapes`` ...) are valid."""
    style = stored.get("style")
    if not isinstance(style, str) or style not in SPELLINGS:
        return False
    escapes = stored.get("escapes", [])
    if not isinstance(escapes, list):
        return False
    blanks = (stored.get("head", ""), stored.get("tail", ""))
    return all(map(_is_escape, escapes)) and all(map(_is_blank, blanks))


def _is_escape(value: object) -> bool:
    """Return whether a value is an escape that `_find_spelling` may return."""
    return isinstance(value, str) and _OPTIONAL_ESCAPE.fullmatch(value) is not None


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip(_JSON_WHITESPACE)


def fold_value(value: Any, depth: int = 0) -> Any:
    """Return a value of JSON with its long parts folded.

    Raises:
        RecursionError: It is deeper than `MAX_DEPTH`.
    """
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, str):
        return fold_text(value)
    if isinstance(value, list):
        if len(value) >= LONG_LIST and _are_numbers(value):
            text = json.dumps(value, separators=(",", ":"), allow_nan=False)
            return make_marker(NUMBERS, f"{len(value):,} numbers", text)
        return [fold_value(element, depth + 1) for element in value]
    if isinstance(value, dict):
        folded = {}
        for key, element in value.items():
            name = f"${key}" if key.startswith("$") else key
            folded[name] = fold_value(element, depth + 1)
        return folded
    return value


def _are_numbers(values: list[Any]) -> bool:
    return all(type(value) in (int, float) for value in values)


_PLAIN_TYPES = frozenset({str, int, float, bool, type(None)})


def unfold_value(value: Any, blobs: Mapping[str, str]) -> Any:
    """Return the value that `fold_value` was given.

    Raises:
        CassetteError: The text of a marker is missing.
        ValueError, TypeError: It is not a folded value.
    """
    if isinstance(value, list):
        return [unfold_value(element, blobs) for element in value]
    if not isinstance(value, dict):
        return value
    if FOLDING_KEYS.isdisjoint(value):
        unfolded = {}
        for key, element in value.items():
            # Most values are plain: calling the function for each of them would be slow.
            if type(element) not in _PLAIN_TYPES:
                element = unfold_value(element, blobs)  # noqa: PLW2901
            if key[:2] == "$$":
                unfolded[key[1:]] = element
            else:
                unfolded[key] = element
        return unfolded
    if NUMBERS in value:
        numbers = json.loads(marker_text(value, NUMBERS, blobs))
        if not isinstance(numbers, list) or not _are_numbers(numbers):
            raise ValueError("a marker of numbers marks something else")
        return numbers
    return unfold_text(value, blobs)


def fold_text(text: str) -> Any:
    r"""Return a text as it is, as lines, as a marker for base64, or as a list of these to join.

    >>> fold_text("a\nb")
    {'$lines': ['a', 'b']}
    """
    if len(text) < LONG_TEXT:
        return _fold_lines(text)
    folded: list[Any] = []
    folded_end = 0  # position in the text up to which it is folded
    for match in _BASE64_RUN.finditer(text):
        if match["media"] or _has_all_character_kinds(match["run"][:LONG_TEXT]):
            if folded_end < match.start():
                folded.append(_fold_lines(text[folded_end : match.start()]))
            folded.append(make_marker(BLOB, _describe_run(match), match[0]))
            folded_end = match.end()
    if folded_end < len(text):
        folded.append(_fold_lines(text[folded_end:]))
    if len(folded) == 1:
        return folded[0]
    return {JOINED: folded}


def _fold_lines(text: str) -> Any:
    if "\n" in text:
        return {LINES: text.split("\n")}
    return text


def _has_all_character_kinds(text: str) -> bool:
    """Return whether a text has capitals, small letters and digits."""
    return all(any(map(is_kind, text)) for is_kind in _CHARACTER_KINDS)


def _describe_run(match: re.Match[str]) -> str:
    """Return the label of a long text in base64: its media type and size, as in ``image/png, 12,345 bytes``."""
    run = match["run"]
    size = len(run.rstrip("=")) * 3 // 4
    kind = match["media"] or _guess_media_type(run)
    return f"{kind}, {size:,} bytes"


def _guess_media_type(run: str) -> str:
    """Return the media type of base64 by its first characters; ``base64`` if it is unknown."""
    for start, name in _MEDIA_TYPES:
        if run.startswith(start):
            return name
    return "base64"


def unfold_text(value: Any, blobs: Mapping[str, str]) -> str:
    """Return the text that `fold_text` was given. A plain list is also read, as its lines.

    Raises:
        CassetteError: The text of a marker is missing.
        ValueError, TypeError: It is not a folded text.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(value)
    if not isinstance(value, dict):
        raise ValueError(_NO_TEXT)
    if LINES in value:
        lines = value[LINES]
        if isinstance(lines, str):
            return lines
        return "\n".join(lines)
    if JOINED in value and isinstance(value[JOINED], list):
        return "".join(unfold_text(part, blobs) for part in value[JOINED])
    if BLOB in value:
        return marker_text(value, BLOB, blobs)
    raise ValueError(_NO_TEXT)


def is_folded_text(value: object) -> bool:
    """Return whether a value has the shape of a folded text; the text itself is not read."""
    if isinstance(value, list):
        return all(isinstance(line, str) for line in value)
    if isinstance(value, dict):
        return not FOLDING_KEYS.isdisjoint(value)
    return isinstance(value, str)
