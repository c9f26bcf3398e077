"""Bodies as readable JSON, and back to the very same bytes.

A body is stored parsed only if that gives back its exact bytes: JSON, a stream with one line an event, or the parts
of a form; else as lines of text, else as base64. How long texts are folded is told in `folding`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import Json
from pytest_llmops.wire import stream_events
from pytest_llmops.wire.folding import (
    MAX_DEPTH,
    SPELLINGS,
    fold_json,
    fold_text,
    is_json,
    is_text,
    unfold_json,
    unfold_text,
    unfold_value,
)

Stored = Mapping[str, Any]
Blobs = Mapping[str, str]
_ENDS = (stream_events.EVENT_END, "\n")


def fold(body: bytes) -> dict[str, Json]:
    """Return the readable form of a body.

    >>> fold(b'{"a":1}')
    {'json': {'a': 1}, 'style': 'compact'}
    >>> fold(b"plain")
    {'text': 'plain'}
    """
    if not body:
        return {"text": ""}
    for made in _candidates(body):
        if made is not None and _comes_back(made, body):
            return made
    return {"base64": base64.b64encode(body).decode()}


def _candidates(body: bytes) -> Iterator[dict[str, Json] | None]:
    yield _fold_frames(body)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        yield _fold_parts(body)
        yield _fold_base64(body)
        return
    yield _fold_document(text)
    yield _fold_stream(text)
    yield _fold_plain(text)
    yield {"text": text}


def _comes_back(folded: dict[str, Json], body: bytes) -> bool:
    """The proof: what is not the very same when it is read back is not stored in this form."""
    try:
        json.dumps(folded, ensure_ascii=False).encode("utf-8")
        return unfold(folded) == body
    except (CassetteError, ValueError, RecursionError):
        return False


def _fold_document(text: str) -> dict[str, Json] | None:
    return fold_json(text) if text.lstrip(" \t\r\n")[:1] in ("{", "[") else None


def _fold_stream(text: str) -> dict[str, Json] | None:
    cut = stream_events.cut(text)
    if cut is None:
        return None
    alike = stream_events.shared(cut.events)
    listed = cut.events if alike is None else stream_events.shortened(cut.events, *alike)
    folded: dict[str, Json] = {} if alike is None else {"shared": list(alike)}
    folded["events"] = [one if isinstance(one, list) else _fold_event(one) for one in listed]
    if cut.newline != "\n":
        folded["newline"] = cut.newline
    if cut.end != stream_events.EVENT_END:
        folded["end"] = cut.end
    if cut.last != cut.end:
        folded["last"] = cut.last
    return {**_said(cut.events), **folded}


MANY_LINES = 4
"""An event of more than these is a list of them; one of fewer is one line of the file."""


def _fold_event(event: str) -> Any:
    folded = fold_text(event)
    return event if folded == {"$lines": event.split("\n")} and event.count("\n") < MANY_LINES else folded


def _said(events: list[str]) -> dict[str, Json]:
    # For the reviewer's eye only: replay never reads it.
    said = stream_events.says(events)
    return {"says": fold_text(said)} if said else {}


def _fold_frames(body: bytes) -> dict[str, Json] | None:
    found = stream_events.frames(body)
    if not found:
        return None
    try:
        payloads = [one.payload.decode("utf-8") for one in found]
        listed: list[Json] = [
            {"headers": dict(one.headers), "payload": fold_text(text)}
            for one, text in zip(found, payloads, strict=True)
        ]
        json.dumps(listed, allow_nan=False)
    except (ValueError, TypeError):
        return None
    return {**_said(payloads), "frames": listed}


def _fold_parts(body: bytes) -> dict[str, Json] | None:
    """A form with files in it: its headers and texts readable, each file a text of base64."""
    boundary, line_end, _ = body.partition(b"\r\n")
    if not boundary.startswith(b"--") or not line_end:
        return None
    first, *sections = body.split(line_end + boundary)
    parts: list[Json] = []
    for section in (first, *(line_end + boundary + one for one in sections)):
        head, blank, content = section.partition(b"\r\n\r\n")
        try:
            parts.append(fold_text(section.decode("utf-8")))
        except UnicodeDecodeError:
            parts += [fold_text((head + blank).decode("utf-8", "replace")), _fold_base64(content)]
    return {"parts": parts}


def _fold_base64(body: bytes) -> dict[str, Json]:
    return {"base64": fold_text(base64.b64encode(body).decode())}


def _fold_plain(text: str) -> dict[str, Json]:
    folded = fold_text(text)
    return {"text": text.split("\n") if folded == {"$lines": text.split("\n")} else folded}


def unfold(stored: Stored) -> bytes:
    """Return the bytes that `fold` was given.

    Raises:
        CassetteError: It is no body, or what it refers to is not there.
    """
    check(stored)
    form = next(key for key in _UNFOLD if key in stored)
    body: bytes = _read(form, stored, _UNFOLD[form])
    return body


def value_of(stored: Stored) -> Json:
    """Return the value of a body that is kept parsed, as reading its bytes would give it.

    Raises:
        CassetteError: It is no such body.
    """
    value: Json = _read("json", stored, lambda one, blobs: unfold_value(one["json"], blobs))
    return value


def _read(form: str, stored: Stored, how: Callable[[Stored, Blobs], Any]) -> Any:
    try:
        return how(stored, getattr(stored, "blobs", {}))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
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


def events(stored: Stored) -> list[bytes] | None:
    """Return the events of a stored stream, each with its end, or None if it is no stream.

    Raises:
        CassetteError: It is no body, or what it refers to is not there.
    """
    check(stored)
    form = next(key for key in _UNFOLD if key in stored)
    how = {"events": _events, "frames": _frames}.get(form)
    return None if how is None else _read(form, stored, how)


def _events(stored: Stored, blobs: Blobs) -> list[bytes]:
    end = stored.get("end", stream_events.EVENT_END)
    start, last = stored.get("shared", ("", ""))
    texts = [
        f"{start}{text[1:]}{last}" if start and one is text and text.startswith(stream_events.MARK) else text
        for one in stored["events"]
        for text in (unfold_text(one, blobs),)
    ]
    pieces = stream_events.Cut(texts, stored.get("newline", "\n"), end, stored.get("last", end)).pieces()
    for one in pieces:
        one.decode("utf-8")  # as it was when it was folded
    return pieces


def _frames(stored: Stored, blobs: Blobs) -> list[bytes]:
    from pytest_llmops.wire.aws_event_stream import Frame, pack

    return [
        pack([Frame(one["headers"], unfold_text(one["payload"], blobs).encode("utf-8"))])
        for one in stored["frames"]
    ]


def _unfold_parts(stored: Stored, blobs: Blobs) -> bytes:
    return b"".join(
        _unfold_base64(one, blobs)
        if "base64" in one and isinstance(one, dict)
        else unfold_text(one, blobs).encode("utf-8")
        for one in stored["parts"]
    )


def _unfold_base64(stored: Stored, blobs: Blobs) -> bytes:
    return base64.b64decode(unfold_text(stored["base64"], blobs), validate=True)


def _is_events(stored: Stored) -> bool:
    listed = stored["events"]
    return (
        isinstance(listed, list)
        and all(map(is_text, listed))
        and _is_pair(stored.get("shared", ["", ""]))
        and stored.get("newline", "\n") in ("\n", stream_events.CRLF)
        and stored.get("end", stream_events.EVENT_END) in _ENDS
        and stored.get("last", "") in ("", *_ENDS)
    )


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and [type(one) for one in value] == [str, str]


def _is_frames(stored: Stored) -> bool:
    listed = stored["frames"]
    return isinstance(listed, list) and all(
        isinstance(one, dict) and isinstance(one.get("headers"), dict) and is_text(one.get("payload"))
        for one in listed
    )


_UNFOLD: dict[str, Callable[[Stored, Blobs], bytes]] = {
    "json": lambda stored, blobs: unfold_json(stored, blobs).encode("utf-8"),
    "events": lambda stored, blobs: b"".join(_events(stored, blobs)),
    "frames": lambda stored, blobs: b"".join(_frames(stored, blobs)),
    "parts": _unfold_parts,
    "text": lambda stored, blobs: unfold_text(stored["text"], blobs).encode("utf-8"),
    "base64": _unfold_base64,
}
_CHECKS: dict[str, Callable[[Stored], bool]] = {
    "json": is_json,
    "events": _is_events,
    "frames": _is_frames,
    "parts": lambda stored: isinstance(stored["parts"], list),
    "text": lambda stored: is_text(stored["text"]),
    "base64": lambda stored: is_text(stored["base64"]),
}
_EXPECTED = {
    "json": f"a style out of {', '.join(SPELLINGS)}",
    "events": "a list of texts",
    "frames": "a list of frames, each with headers and a payload",
    "parts": "a list of texts and files",
    "text": "a text or a list of lines",
    "base64": "a text",
}

__all__ = ["MAX_DEPTH", "SPELLINGS", "check", "check_answer", "check_request", "events", "fold", "unfold"]
