"""Bodies as readable JSON, and back to the very same bytes.

A body is stored parsed only if that gives back its exact bytes; else as lines of text,
else as base64. Long strings with line ends become lists of lines (``{"$lines": [...]}``),
so that a changed prompt is a changed line in a pull request.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import Json

LINES = "$lines"
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
_EVENT_END = "\n\n"


def fold(body: bytes) -> dict[str, Json]:
    """Return the readable form of a body.

    >>> fold(b'{"a":1}')
    {'json': {'a': 1}, 'style': 'compact'}
    >>> fold(b"plain")
    {'text': 'plain'}
    """
    if not body:
        return {"text": ""}
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}
    if text[0] in "{[":
        parsed = _fold_json(text)
        if parsed is not None:
            return parsed
    if text.startswith(("data:", "event:", "id:", ":")) and text.endswith(_EVENT_END):
        return _fold_events(text)
    return {"text": _lines(text) if "\n" in text else text}


def unfold(stored: Mapping[str, Json]) -> bytes:
    """Return the bytes that `fold` was given.

    Raises:
        CassetteError: It is no body.
    """
    form = next((key for key in _UNFOLD if key in stored), None)
    if form is None:
        raise CassetteError(
            f"a body: expected one of {', '.join(_UNFOLD)}, got the keys {', '.join(stored) or '(none)'}"
        )
    try:
        return _UNFOLD[form](stored)
    except (ValueError, TypeError, KeyError) as error:
        raise CassetteError(f"a body stored as {form}: cannot be read back: {error}") from None


def events(stored: Mapping[str, Json]) -> list[bytes] | None:
    """Return the events of a stored stream, each with its end, or None if it is no stream."""
    if "events" not in stored:
        return None
    listed = stored["events"]
    if not isinstance(listed, list):
        raise CassetteError("a body stored as events: expected a list")
    return [(str(_join(one)) + _EVENT_END).encode() for one in listed]


def _fold_json(text: str) -> dict[str, Json] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    tail = "\n" if text.endswith("\n") else ""
    for style, how in SPELLINGS.items():
        try:
            if json.dumps(value, allow_nan=False, **how) + tail == text:
                folded: dict[str, Json] = {"json": _fold_value(value), "style": style}
                if tail:
                    folded["tail"] = tail
                json.dumps(folded, ensure_ascii=False).encode("utf-8")
                return folded
        except (ValueError, RecursionError):
            return None
    return None


def _fold_value(value: Any) -> Any:
    if isinstance(value, str):
        return {LINES: _lines(value)} if "\n" in value else value
    if isinstance(value, list):
        return [_fold_value(one) for one in value]
    if isinstance(value, dict):
        # A key of the body's own that starts with "$" gets one more, so that it is never taken for ours.
        return {f"${key}" if key.startswith("$") else key: _fold_value(one) for key, one in value.items()}
    return value


def _unfold_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_unfold_value(one) for one in value]
    if isinstance(value, dict):
        if LINES in value:
            return _join(value[LINES])
        return {key[1:] if key.startswith("$$") else key: _unfold_value(one) for key, one in value.items()}
    return value


def _unfold_json(stored: Mapping[str, Any]) -> bytes:
    text = json.dumps(_unfold_value(stored["json"]), **SPELLINGS[stored["style"]])
    return f"{text}{stored.get('tail', '')}".encode()


def _fold_events(text: str) -> dict[str, Json]:
    listed = text[: -len(_EVENT_END)].split(_EVENT_END)
    folded: dict[str, Json] = {"events": [_lines(one) if "\n" in one else one for one in listed]}
    said = says(listed)
    # For the reviewer's eye only: replay never reads it.
    return {"says": {LINES: _lines(said)} if "\n" in said else said, **folded} if said else folded


def _unfold_events(stored: Mapping[str, Any]) -> bytes:
    found = events(stored)
    return b"".join(found or [])


def says(listed: list[str]) -> str:
    """Return the text that a stream of chat or Responses events adds up to.

    >>> says(['data: {"choices":[{"delta":{"content":"hi"}}]}', "data: [DONE]"])
    'hi'
    """
    return "".join(piece for one in listed for piece in _pieces(one))


def _pieces(event: str) -> list[str]:
    found = []
    for line in event.split("\n"):
        if not line.startswith("data:"):
            continue
        try:
            data = json.loads(line[5:])
        except (ValueError, RecursionError):
            continue
        if not isinstance(data, dict):
            continue
        if data.get("type") == "response.output_text.delta" and isinstance(data.get("delta"), str):
            found.append(data["delta"])
        choices = data.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            delta = choices[0].get("delta")
            if isinstance(delta, dict) and isinstance(delta.get("content"), str):
                found.append(delta["content"])
    return found


def _lines(text: str) -> Json:
    return list(text.split("\n"))


def _join(lines: Any) -> str:
    return lines if isinstance(lines, str) else "\n".join(lines)


_UNFOLD: dict[str, Callable[[Mapping[str, Any]], bytes]] = {
    "json": _unfold_json,
    "events": _unfold_events,
    "text": lambda stored: _join(stored["text"]).encode("utf-8"),
    "base64": lambda stored: base64.b64decode(stored["base64"], validate=True),
}
