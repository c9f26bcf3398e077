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
_ENCODERS = {style: json.JSONEncoder(allow_nan=False, **how) for style, how in SPELLINGS.items()}
MAX_DEPTH = 100
"""Of JSON that is stored parsed: what is deeper might be read back on a fuller stack than it was written from."""
_EVENT_END = "\n\n"
_CRLF = "\r\n"
_STREAM_STARTS = ("data:", "event:", "id:", "retry:", ":")


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
    if text.startswith(_STREAM_STARTS):
        newline = _CRLF if _has_only_crlf(text) else ""
        plain = text.replace(_CRLF, "\n") if newline else text
        if plain.endswith(_EVENT_END):
            return {**_fold_events(plain), **({"newline": newline} if newline else {})}
    return {"text": _lines(text) if "\n" in text else text}


def unfold(stored: Mapping[str, Json]) -> bytes:
    """Return the bytes that `fold` was given.

    Raises:
        CassetteError: It is no body.
    """
    check(stored)
    form = next(key for key in _UNFOLD if key in stored)
    try:
        return _UNFOLD[form](stored)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CassetteError(f"a body stored as {form}: cannot be read back: {error}") from None


def check(stored: object) -> None:
    """Look at the shape of a stored body, without reading it back.

    Raises:
        CassetteError: It is none.
    """
    if not isinstance(stored, dict):
        raise CassetteError(f"a body: expected an object, got {type(stored).__name__}")
    form = next((key for key in _UNFOLD if key in stored), None)
    if form is None:
        raise CassetteError(
            f"a body: expected one of {', '.join(_UNFOLD)}, got the keys {', '.join(stored) or '(none)'}"
        )
    if not _CHECKS[form](stored):
        raise CassetteError(f"a body stored as {form}: expected {_EXPECTED[form]}")


def check_request(stored: object) -> None:
    """Look at the shape of a stored request.

    Raises:
        CassetteError: It is none.
    """
    if not isinstance(stored, dict) or not all(isinstance(stored.get(key), str) for key in ("method", "url")):
        raise CassetteError("a request: expected an object with method, url and body")
    check(stored.get("body"))


def check_answer(stored: object) -> None:
    """Look at the shape of a stored answer.

    Raises:
        CassetteError: It is none.
    """
    if not isinstance(stored, dict) or not _is_number(stored.get("status"), int):
        raise CassetteError("an answer: expected an object with status, headers and body")
    headers = stored.get("headers", {})
    if not isinstance(headers, dict) or not all(isinstance(one, str) for one in headers.values()):
        raise CassetteError("the headers of an answer: expected an object of texts")
    for name in ("latency_s", "ttft_s"):
        if name in stored and not _is_number(stored[name], int, float):
            raise CassetteError(f"{name} of an answer: expected a number")
    check(stored.get("body"))


def _is_number(value: object, *kinds: type) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def events(stored: Mapping[str, Json]) -> list[bytes] | None:
    """Return the events of a stored stream, each with its end, or None if it is no stream.

    Raises:
        CassetteError: It is no body.
    """
    check(stored)
    if "events" not in stored:
        return None
    try:
        return _events(stored)
    except ValueError as error:
        raise CassetteError(f"a body stored as events: cannot be read back: {error}") from None


def _events(stored: Mapping[str, Any]) -> list[bytes]:
    newline = stored.get("newline", "\n")
    texts = (_join(one) + _EVENT_END for one in stored["events"])
    return [(text.replace("\n", newline) if newline != "\n" else text).encode() for text in texts]


def _has_only_crlf(text: str) -> bool:
    return 0 < text.count(_CRLF) == text.count("\n") == text.count("\r")


def _fold_json(text: str) -> dict[str, Json] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    tail = "\n" if text.endswith("\n") else ""
    for style, encoder in _ENCODERS.items():
        try:
            if encoder.encode(value) + tail == text:
                folded: dict[str, Json] = {"json": _fold_value(value), "style": style}
                if tail:
                    folded["tail"] = tail
                json.dumps(folded, ensure_ascii=False).encode("utf-8")
                return folded
        except (ValueError, RecursionError):
            return None
    return None


def _fold_value(value: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, str):
        return {LINES: _lines(value)} if "\n" in value else value
    if isinstance(value, list):
        return [_fold_value(one, depth + 1) for one in value]
    if isinstance(value, dict):
        # A key of the body's own that starts with "$" gets one more, so that it is never taken for ours.
        return {
            f"${key}" if key.startswith("$") else key: _fold_value(one, depth + 1)
            for key, one in value.items()
        }
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
    text = _ENCODERS[stored["style"]].encode(_unfold_value(stored["json"]))
    return f"{text}{stored.get('tail', '')}".encode()


def _fold_events(text: str) -> dict[str, Json]:
    listed = text[: -len(_EVENT_END)].split(_EVENT_END)
    folded: dict[str, Json] = {"events": [_lines(one) if "\n" in one else one for one in listed]}
    said = says(listed)
    # For the reviewer's eye only: replay never reads it.
    return {"says": {LINES: _lines(said)} if "\n" in said else said, **folded} if said else folded


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


def _is_text(value: object) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(line, str) for line in value)
    )


def _is_events(stored: Mapping[str, Any]) -> bool:
    listed = stored["events"]
    return (
        isinstance(listed, list)
        and all(map(_is_text, listed))
        and stored.get("newline", "\n") in ("\n", _CRLF)
    )


def _is_json(stored: Mapping[str, Any]) -> bool:
    style = stored.get("style")
    return isinstance(style, str) and style in SPELLINGS and stored.get("tail", "") in ("", "\n")


_UNFOLD: dict[str, Callable[[Mapping[str, Any]], bytes]] = {
    "json": _unfold_json,
    "events": lambda stored: b"".join(_events(stored)),
    "text": lambda stored: _join(stored["text"]).encode("utf-8"),
    "base64": lambda stored: base64.b64decode(stored["base64"], validate=True),
}
_CHECKS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "json": _is_json,
    "events": _is_events,
    "text": lambda stored: _is_text(stored["text"]),
    "base64": lambda stored: isinstance(stored["base64"], str),
}
_EXPECTED = {
    "json": f"a style out of {', '.join(SPELLINGS)}",
    "events": "a list of texts",
    "text": "a text or a list of lines",
    "base64": "a text",
}
