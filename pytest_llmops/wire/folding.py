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
    """Return the parsed value of JSON, with the spelling that gives the same text; None without such a spelling."""
    core = text.strip(_JSON_WHITESPACE)
    head = text[: text.index(core)]
    tail = text[text.index(core) + len(core) :]
    try:
        value = json.loads(core)
        spelling = _find_spelling(value, core)
        if spelling is None:
            return None
        folded: dict[str, Json] = {"json": fold_value(value), **spelling}
        folded |= {name: blank for name, blank in (("head", head), ("tail", tail)) if blank}
        json.dumps(folded, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return None
    return folded


def _find_spelling(value: Any, text: str) -> dict[str, Json] | None:
    for style, encoder in _ENCODERS.items():
        if encoder.encode(value) == text:
            return {"style": style}
    # Escapes of characters that need none: "/" of PHP, "<" and ">" of Go, "=" and "'" of Google, "ä" of .NET.
    printable = sorted(
        escape
        for escape in {escape for escape in _ESCAPE.findall(text) if _OPTIONAL_ESCAPE.fullmatch(escape)}
        if _unescape(escape) >= " " and not "\ud800" <= _unescape(escape) <= "\udfff"
    )
    for chosen in ([escape for escape in printable if _unescape(escape).isascii()], printable):
        if not 0 < len(chosen) <= MAX_ESCAPES:
            continue
        for style, encoder in _ENCODERS.items():
            if _apply_escapes(encoder.encode(value), chosen) == text:
                return {"style": style, "escapes": list(chosen)}
    return None


def _unescape(escape: str) -> str:
    return str(json.loads(f'"{escape}"'))


def _apply_escapes(text: str, escapes: list[str]) -> str:
    """Return JSON with more characters escaped, all of which occur only in strings."""
    for escape in escapes:
        text = text.replace(_unescape(escape), escape)
    return text


def unfold_json(stored: Mapping[str, Any], blobs: Mapping[str, str]) -> str:
    """Return the text that `fold_json` was given."""
    text = _ENCODERS[stored["style"]].encode(unfold_value(stored["json"], blobs))
    if "escapes" in stored:
        text = _apply_escapes(text, stored["escapes"])
    return f"{stored.get('head', '')}{text}{stored.get('tail', '')}"


def is_folded_json(stored: Mapping[str, Any]) -> bool:
    """Say whether the keys beside the value of stored JSON have the form that `fold_json` gives them."""
    style = stored.get("style")
    escapes = stored.get("escapes", [])
    blanks = (stored.get("head", ""), stored.get("tail", ""))
    return (
        isinstance(style, str)
        and style in SPELLINGS
        and isinstance(escapes, list)
        and all(isinstance(escape, str) and _OPTIONAL_ESCAPE.fullmatch(escape) for escape in escapes)
        and all(isinstance(blank, str) and not blank.strip(_JSON_WHITESPACE) for blank in blanks)
    )


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
        if len(value) >= LONG_LIST and all(type(element) in (int, float) for element in value):
            return make_marker(
                NUMBERS, f"{len(value):,} numbers", json.dumps(value, separators=(",", ":"), allow_nan=False)
            )
        return [fold_value(element, depth + 1) for element in value]
    if isinstance(value, dict):
        return {
            f"${key}" if key.startswith("$") else key: fold_value(element, depth + 1)
            for key, element in value.items()
        }
    return value


_PLAIN_TYPES = frozenset({str, int, float, bool, type(None)})


def unfold_value(value: Any, blobs: Mapping[str, str]) -> Any:
    """Return the value that `fold_value` was given.

    Raises:
        CassetteError: The text of a marker is missing.
        ValueError, TypeError: It is not a folded value.
    """
    if isinstance(value, list):
        return [unfold_value(element, blobs) for element in value]
    if isinstance(value, dict):
        if FOLDING_KEYS.isdisjoint(value):
            # Most values are plain, for which a call each would be slow.
            return {
                key[1:] if key[:2] == "$$" else key: element
                if type(element) in _PLAIN_TYPES
                else unfold_value(element, blobs)
                for key, element in value.items()
            }
        if NUMBERS in value:
            numbers = json.loads(marker_text(value, NUMBERS, blobs))
            if not isinstance(numbers, list) or not all(type(number) in (int, float) for number in numbers):
                raise ValueError("a marker of numbers stands for something else")
            return numbers
        return unfold_text(value, blobs)
    return value


def fold_text(text: str) -> Any:
    r"""Return a text as it is, as lines, as a marker, or as a list of these to join.

    >>> fold_text("a\nb")
    {'$lines': ['a', 'b']}
    """
    if len(text) < LONG_TEXT:
        if "\n" in text:
            return {LINES: text.split("\n")}
        return text
    parts: list[Any] = []
    end = 0
    for match in _BASE64_RUN.finditer(text):
        head = match["run"][:LONG_TEXT]
        if match["media"] or all(any(map(is_kind, head)) for is_kind in _CHARACTER_KINDS):
            run = match["run"]
            kind = match["media"] or next(
                (name for start, name in _MEDIA_TYPES if run.startswith(start)), "base64"
            )
            parts += [
                text[end : match.start()],
                make_marker(BLOB, f"{kind}, {len(run.rstrip('=')) * 3 // 4:,} bytes", match[0]),
            ]
            end = match.end()
    parts.append(text[end:])
    folded = [
        {LINES: part.split("\n")} if isinstance(part, str) and "\n" in part else part
        for part in parts
        if part
    ]
    if len(folded) == 1:
        return folded[0]
    return {JOINED: folded}


def unfold_text(value: Any, blobs: Mapping[str, str]) -> str:
    """Return the text that `fold_text` was given; a list holds its lines.

    Raises:
        CassetteError: The text of a marker is missing.
        ValueError, TypeError: It is not a folded text.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(value)
    if isinstance(value, dict):
        if LINES in value:
            lines = value[LINES]
            if isinstance(lines, str):
                return lines
            return "\n".join(lines)
        if JOINED in value and isinstance(value[JOINED], list):
            return "".join(unfold_text(part, blobs) for part in value[JOINED])
        if BLOB in value:
            return marker_text(value, BLOB, blobs)
    raise ValueError("expected a text, its lines, or a marker")


def is_folded_text(value: object) -> bool:
    """Say whether a value looks like a folded text, without reading it back."""
    if isinstance(value, list):
        return all(isinstance(line, str) for line in value)
    return isinstance(value, str) or (isinstance(value, dict) and not FOLDING_KEYS.isdisjoint(value))
