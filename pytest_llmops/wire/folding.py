"""JSON values and texts in a form for reviewers, and back.

Strings with line ends become lists of lines (``{"$lines": [...]}``), so that a changed prompt is a changed line in
a pull request; long base64 and long arrays of numbers become markers (see `blobs`). A key of the body's own that starts
with ``$`` gets one more, so that it is never taken for one of these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pytest_llmops.measurement import Json
from pytest_llmops.wire.blobs import BLOB, NUMBERS, marker, text_of

LINES = "$lines"
JOINED = "$joined"
"""Of texts and markers: the text they make one after the other."""
OURS = frozenset({LINES, JOINED, BLOB, NUMBERS})
LONG_TEXT = 256
LONG_LIST = 32
MAX_DEPTH = 100
"""Of JSON that is stored parsed: what is deeper might be read back on a fuller stack than it was written from."""
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
_ENCODERS = {style: json.JSONEncoder(allow_nan=False, **how) for style, how in SPELLINGS.items()}
_BLANK = " \t\r\n"
_ESCAPE = re.compile(r"\\(?:/|u[0-9a-fA-F]{4}|.)", re.DOTALL)
_OPTIONAL = re.compile(r"\\(?:/|u[0-9a-fA-F]{4})")
MAX_ESCAPES = 100
PLAIN = 2
"""Keys of JSON that needs nothing beside its value and its style."""
_RUN = re.compile(
    r"(?:data:(?P<media>[\w.+-]{1,60}/[\w.+-]{1,80})(?:;[\w.=+-]{1,60}){0,4};base64,)?"
    rf"(?P<run>[A-Za-z0-9+/_-]{{{LONG_TEXT},}}={{0,2}})"
)
_KINDS = (
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
    """Return JSON parsed, with what its bytes need besides; None if no spelling gives them back."""
    core = text.strip(_BLANK)
    head, tail = text[: text.index(core)], text[text.index(core) + len(core) :]
    try:
        value = json.loads(core)
        spelled = _spelled(value, core)
        if spelled is None:
            return None
        around: dict[str, Json] = {name: one for name, one in (("head", head), ("tail", tail)) if one}
        folded: dict[str, Json] = {"json": fold_value(value), **spelled, **around}
        json.dumps(folded, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return None
    return folded


def _spelled(value: Any, text: str) -> dict[str, Json] | None:
    for style, encoder in _ENCODERS.items():
        if encoder.encode(value) == text:
            return {"style": style}
    # Characters that need no escape and have one: "/" of PHP, "<" and ">" of Go, "=" and "'" of Google, "ä" of .NET.
    found = {one for one in _ESCAPE.findall(text) if _OPTIONAL.fullmatch(one)}
    listed = sorted(one for one in found if _char(one) >= " " and not "\ud800" <= _char(one) <= "\udfff")
    for chosen in ([one for one in listed if _char(one).isascii()], listed):
        if not 0 < len(chosen) <= MAX_ESCAPES:
            continue
        for style, encoder in _ENCODERS.items():
            if escaped(encoder.encode(value), chosen) == text:
                return {"style": style, "escapes": list(chosen)}
    return None


def _char(escape: str) -> str:
    one: str = json.loads(f'"{escape}"')
    return one


def escaped(text: str, escapes: list[str]) -> str:
    """Return JSON with these characters escaped: none of them stands outside of a string."""
    for one in escapes:
        text = text.replace(_char(one), one)
    return text


def unfold_json(stored: Mapping[str, Any], blobs: Mapping[str, str]) -> str:
    """Return the text that `fold_json` was given."""
    text = _ENCODERS[stored["style"]].encode(unfold_value(stored["json"], blobs))
    if "escapes" in stored:
        text = escaped(text, stored["escapes"])
    return f"{stored.get('head', '')}{text}{stored.get('tail', '')}"


def is_json(stored: Mapping[str, Any]) -> bool:
    """Say whether what stands beside the value of stored JSON is what `fold_json` puts there."""
    style = stored.get("style")
    if not isinstance(style, str) or style not in SPELLINGS:
        return False
    escapes = stored.get("escapes", [])
    return (
        len(stored) == PLAIN  # most: this is asked of every body when a file is read
        or (all(_is_blank(stored.get(name, "")) for name in ("head", "tail")) and isinstance(escapes, list))
    ) and all(isinstance(one, str) and _OPTIONAL.fullmatch(one) for one in escapes)


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip(_BLANK)


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
        if len(value) >= LONG_LIST and all(type(one) in (int, float) for one in value):
            text = json.dumps(value, separators=(",", ":"), allow_nan=False)
            return marker(NUMBERS, f"{len(value):,} numbers", text)
        return [fold_value(one, depth + 1) for one in value]
    if isinstance(value, dict):
        return {
            f"${key}" if key.startswith("$") else key: fold_value(one, depth + 1)
            for key, one in value.items()
        }
    return value


def unfold_value(value: Any, blobs: Mapping[str, str]) -> Any:
    """Return the value that `fold_value` was given.

    Raises:
        CassetteError: The text of a marker is not there.
        ValueError: It is no folded value; also TypeError.
    """
    if isinstance(value, list):
        return [unfold_value(one, blobs) for one in value]
    if isinstance(value, dict):
        if OURS.isdisjoint(value):
            # Most values are texts: a call for each would cost more than all the rest.
            return {
                key[1:] if key[:2] == "$$" else key: one if type(one) is str else unfold_value(one, blobs)
                for key, one in value.items()
            }
        if NUMBERS in value:
            return _numbers(text_of(value, NUMBERS, blobs))
        return unfold_text(value, blobs)
    return value


def _numbers(text: str) -> list[Any]:
    found = json.loads(text)
    if not isinstance(found, list) or not all(type(one) in (int, float) for one in found):
        raise ValueError("a marker of numbers stands for something else")
    return found


def fold_text(text: str) -> Any:
    r"""Return a text folded: as it is, as lines, as a marker, or as several of these joined.

    >>> fold_text("a\nb")
    {'$lines': ['a', 'b']}
    """
    if len(text) < LONG_TEXT:
        return {LINES: text.split("\n")} if "\n" in text else text
    parts: list[Any] = []
    done = 0
    for found in _RUN.finditer(text):
        if found["media"] or _looks_encoded(found["run"]):
            parts += [text[done : found.start()], marker(BLOB, _label(found), found[0])]
            done = found.end()
    parts.append(text[done:])
    kept = [{LINES: one.split("\n")} if isinstance(one, str) and "\n" in one else one for one in parts if one]
    return kept[0] if len(kept) == 1 else {JOINED: kept}


def _looks_encoded(run: str) -> bool:
    kinds = (str.isupper, str.islower, str.isdigit)
    return all(any(map(kind, run[:LONG_TEXT])) for kind in kinds)


def _label(found: re.Match[str]) -> str:
    run = found["run"]
    kind = found["media"] or next((name for start, name in _KINDS if run.startswith(start)), "base64")
    return f"{kind}, {len(run.rstrip('=')) * 3 // 4:,} bytes"


def unfold_text(value: Any, blobs: Mapping[str, str]) -> str:
    """Return the text that `fold_text` was given; a list is one of lines.

    Raises:
        CassetteError: The text of a marker is not there.
        ValueError: It is no folded text; also TypeError.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(value)
    if isinstance(value, dict):
        if LINES in value:
            lines = value[LINES]
            return lines if isinstance(lines, str) else "\n".join(lines)
        if JOINED in value and isinstance(value[JOINED], list):
            return "".join(unfold_text(one, blobs) for one in value[JOINED])
        if BLOB in value:
            return text_of(value, BLOB, blobs)
    raise ValueError("expected a text, its lines, or a marker")


def is_text(value: object) -> bool:
    """Say whether a value looks like a folded text, without reading it back."""
    if isinstance(value, list):
        return all(isinstance(line, str) for line in value)
    return isinstance(value, str) or (isinstance(value, dict) and not OURS.isdisjoint(value))
