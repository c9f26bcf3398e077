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
    is_folded_json,
    is_folded_text,
    unfold_json,
    unfold_text,
    unfold_value,
)

Stored = Mapping[str, Any]
Blobs = Mapping[str, str]
_EVENT_ENDS = (stream_events.EVENT_END, "\n")


def fold_body(body: bytes) -> dict[str, Json]:
    """Return the readable form of a body.

    >>> fold_body(b'{"a":1}')
    {'json': {'a': 1}, 'style': 'compact'}
    >>> fold_body(b"plain")
    {'text': 'plain'}
    """
    if not body:
        return {"text": ""}
    for folded in _fold_candidates(body):
        if folded is not None and _is_lossless(folded, body):
            return folded
    return {"base64": base64.b64encode(body).decode()}


def _fold_candidates(body: bytes) -> Iterator[dict[str, Json] | None]:
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


def _is_lossless(folded: dict[str, Json], body: bytes) -> bool:
    """The proof: what is not the very same when it is read back is not stored in this form."""
    try:
        json.dumps(folded, ensure_ascii=False).encode("utf-8")
        return unfold_body(folded) == body
    except (CassetteError, ValueError, RecursionError):
        return False


def _fold_document(text: str) -> dict[str, Json] | None:
    return fold_json(text) if text.lstrip(" \t\r\n")[:1] in ("{", "[") else None


def _fold_stream(text: str) -> dict[str, Json] | None:
    stream = stream_events.split_stream(text)
    if stream is None:
        return None
    affixes = stream_events.find_shared_affixes(stream.events)
    events = stream.events if affixes is None else stream_events.strip_shared_affixes(stream.events, *affixes)
    folded: dict[str, Json] = {} if affixes is None else {"shared": list(affixes)}
    folded["events"] = [event if isinstance(event, list) else _fold_event(event) for event in events]
    if stream.newline != "\n":
        folded["newline"] = stream.newline
    if stream.end != stream_events.EVENT_END:
        folded["end"] = stream.end
    if stream.last != stream.end:
        folded["last"] = stream.last
    return {**_preview_entry(stream.events), **folded}


MAX_INLINE_LINES = 4
"""An event of more than these is a list of them; one of fewer is one line of the file."""


def _fold_event(event: str) -> Any:
    folded = fold_text(event)
    return (
        event if folded == {"$lines": event.split("\n")} and event.count("\n") < MAX_INLINE_LINES else folded
    )


def _preview_entry(events: list[str]) -> dict[str, Json]:
    # For the reviewer's eye only: replay never reads it.
    preview = stream_events.stream_text(events)
    return {"says": fold_text(preview)} if preview else {}


def _fold_frames(body: bytes) -> dict[str, Json] | None:
    frames = stream_events.unpack_aws_frames(body)
    if not frames:
        return None
    try:
        payloads = [frame.payload.decode("utf-8") for frame in frames]
        folded: list[Json] = [
            {"headers": dict(frame.headers), "payload": fold_text(text)}
            for frame, text in zip(frames, payloads, strict=True)
        ]
        json.dumps(folded, allow_nan=False)
    except (ValueError, TypeError):
        return None
    return {**_preview_entry(payloads), "frames": folded}


def _fold_parts(body: bytes) -> dict[str, Json] | None:
    """A form with files in it: its headers and texts readable, each file a text of base64."""
    boundary, line_end, _ = body.partition(b"\r\n")
    if not boundary.startswith(b"--") or not line_end:
        return None
    first, *sections = body.split(line_end + boundary)
    parts: list[Json] = []
    for section in (first, *(line_end + boundary + rest for rest in sections)):
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


def unfold_body(stored: Stored) -> bytes:
    """Return the bytes that `fold_body` was given.

    Raises:
        CassetteError: It is no body, or what it refers to is not there.
    """
    check_body(stored)
    form = next(key for key in _UNFOLDERS if key in stored)
    body: bytes = _unfold_form(form, stored, _UNFOLDERS[form])
    return body


def unfold_json_body(stored: Stored) -> Json:
    """Return the value of a body that is kept parsed, as reading its bytes would give it.

    Raises:
        CassetteError: It is no such body.
    """
    value: Json = _unfold_form("json", stored, lambda one, blobs: unfold_value(one["json"], blobs))
    return value


def _unfold_form(form: str, stored: Stored, unfolder: Callable[[Stored, Blobs], Any]) -> Any:
    try:
        return unfolder(stored, getattr(stored, "blobs", {}))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise CassetteError(f"a body stored as {form}: cannot be read back: {error}") from None


def check_body(stored: object) -> None:
    """Look at the shape of a stored body, without reading it back.

    Raises:
        CassetteError: It is none.
    """
    if not isinstance(stored, dict):
        raise CassetteError(f"a body: expected an object, got {type(stored).__name__}")
    form = next((key for key in _UNFOLDERS if key in stored), None)
    if form is None:
        raise CassetteError(
            f"a body: expected one of {', '.join(_UNFOLDERS)}, got the keys {', '.join(stored) or '(none)'}"
        )
    if not _SHAPE_CHECKS[form](stored):
        raise CassetteError(f"a body stored as {form}: expected {_EXPECTED_SHAPES[form]}")


def check_request(stored: object) -> None:
    """Look at the shape of a stored request.

    Raises:
        CassetteError: It is none.
    """
    if not isinstance(stored, dict) or not all(isinstance(stored.get(key), str) for key in ("method", "url")):
        raise CassetteError("a request: expected an object with method, url and body")
    check_body(stored.get("body"))


def check_answer(stored: object) -> None:
    """Look at the shape of a stored answer.

    Raises:
        CassetteError: It is none.
    """
    if not isinstance(stored, dict) or not _is_number(stored.get("status"), int):
        raise CassetteError("an answer: expected an object with status, headers and body")
    headers = stored.get("headers", {})
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise CassetteError("the headers of an answer: expected an object of texts")
    for name in ("latency_s", "ttft_s"):
        if name in stored and not _is_number(stored[name], int, float):
            raise CassetteError(f"{name} of an answer: expected a number")
    check_body(stored.get("body"))


def _is_number(value: object, *kinds: type) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def unfold_stream(stored: Stored) -> list[bytes] | None:
    """Return the events of a stored stream, each with its end, or None if it is no stream.

    Raises:
        CassetteError: It is no body, or what it refers to is not there.
    """
    check_body(stored)
    form = next(key for key in _UNFOLDERS if key in stored)
    unfolder = {"events": _unfold_events, "frames": _unfold_frames}.get(form)
    return None if unfolder is None else _unfold_form(form, stored, unfolder)


def _unfold_events(stored: Stored, blobs: Blobs) -> list[bytes]:
    end = stored.get("end", stream_events.EVENT_END)
    start, last = stored.get("shared", ("", ""))
    texts = [
        f"{start}{text[1:]}{last}"
        if start and folded is text and text.startswith(stream_events.SHORTENED_MARK)
        else text
        for folded in stored["events"]
        for text in (unfold_text(folded, blobs),)
    ]
    pieces = stream_events.SplitStream(
        texts, stored.get("newline", "\n"), end, stored.get("last", end)
    ).pieces()
    for folded in pieces:
        folded.decode("utf-8")  # as it was when it was folded
    return pieces


def _unfold_frames(stored: Stored, blobs: Blobs) -> list[bytes]:
    from pytest_llmops.wire.aws_event_stream import Frame, pack_frames

    return [
        pack_frames([Frame(frame["headers"], unfold_text(frame["payload"], blobs).encode("utf-8"))])
        for frame in stored["frames"]
    ]


def _unfold_parts(stored: Stored, blobs: Blobs) -> bytes:
    return b"".join(
        _unfold_base64(part, blobs)
        if "base64" in part and isinstance(part, dict)
        else unfold_text(part, blobs).encode("utf-8")
        for part in stored["parts"]
    )


def _unfold_base64(stored: Stored, blobs: Blobs) -> bytes:
    return base64.b64decode(unfold_text(stored["base64"], blobs), validate=True)


def _has_valid_events(stored: Stored) -> bool:
    events = stored["events"]
    return (
        isinstance(events, list)
        and all(map(is_folded_text, events))
        and _is_pair(stored.get("shared", ["", ""]))
        and stored.get("newline", "\n") in ("\n", stream_events.CRLF)
        and stored.get("end", stream_events.EVENT_END) in _EVENT_ENDS
        and stored.get("last", "") in ("", *_EVENT_ENDS)
    )


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and [type(element) for element in value] == [str, str]


def _has_valid_frames(stored: Stored) -> bool:
    frames = stored["frames"]
    return isinstance(frames, list) and all(
        isinstance(frame, dict)
        and isinstance(frame.get("headers"), dict)
        and is_folded_text(frame.get("payload"))
        for frame in frames
    )


_UNFOLDERS: dict[str, Callable[[Stored, Blobs], bytes]] = {
    "json": lambda stored, blobs: unfold_json(stored, blobs).encode("utf-8"),
    "events": lambda stored, blobs: b"".join(_unfold_events(stored, blobs)),
    "frames": lambda stored, blobs: b"".join(_unfold_frames(stored, blobs)),
    "parts": _unfold_parts,
    "text": lambda stored, blobs: unfold_text(stored["text"], blobs).encode("utf-8"),
    "base64": _unfold_base64,
}
_SHAPE_CHECKS: dict[str, Callable[[Stored], bool]] = {
    "json": is_folded_json,
    "events": _has_valid_events,
    "frames": _has_valid_frames,
    "parts": lambda stored: isinstance(stored["parts"], list),
    "text": lambda stored: is_folded_text(stored["text"]),
    "base64": lambda stored: is_folded_text(stored["base64"]),
}
_EXPECTED_SHAPES = {
    "json": f"a style out of {', '.join(SPELLINGS)}",
    "events": "a list of texts",
    "frames": "a list of frames, each with headers and a payload",
    "parts": "a list of texts and files",
    "text": "a text or a list of lines",
    "base64": "a text",
}

__all__ = [
    "MAX_DEPTH",
    "SPELLINGS",
    "check_answer",
    "check_body",
    "check_request",
    "fold_body",
    "unfold_body",
    "unfold_stream",
]
