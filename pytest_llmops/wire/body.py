"""Fold bodies into readable JSON, and unfold them to the same bytes.

A body is stored parsed if unfolding gives exactly the same bytes: as JSON, as a stream with one event a line, or as the
parts of a form. If not, it is stored as lines of text; if that is not possible either, as base64. `folding` folds the
long texts in it.
"""

import base64
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import Json
from pytest_llmops.wire import stream_events
from pytest_llmops.wire.aws_event_stream import Frame, pack_frames
from pytest_llmops.wire.folding import (
    LINES,
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
TIMINGS = ("latency_s", "ttft_s", "gap_s", "started_s")  # seconds that an answer may have
MAX_INLINE_BREAKS = 4  # an event with as many line breaks or more is stored as a list of lines


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
        with contextlib.suppress(CassetteError, ValueError, RecursionError):
            json.dumps(folded, ensure_ascii=False).encode("utf-8")
            if folded is not None and unfold_body(folded) == body:
                return folded
    return {"base64": base64.b64encode(body).decode()}


def _fold_candidates(body: bytes) -> Iterator[dict[str, Json] | None]:
    """Yield the possible stored forms of a body, the most readable first; None for a form that does not fit.

    The forms are not checked: the caller uses the first that unfolds to the same bytes.
    """
    yield _fold_frames(body)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        yield _fold_parts(body)
        yield _fold_base64(body)
        return
    if text.lstrip(" \t\r\n")[:1] in ("{", "["):
        yield fold_json(text)
    yield _fold_stream(text)
    folded = fold_text(text)
    lines = text.split("\n")
    if folded == {LINES: lines}:
        yield {"text": lines}
    else:
        yield {"text": folded}
    yield {"text": text}


def _fold_stream(text: str) -> dict[str, Json] | None:
    """Return a stream of text events in stored form; None for any other text."""
    stream = stream_events.split_stream(text)
    if stream is None:
        return None
    folded: dict[str, Json] = _preview_entry(stream.events)
    events: Sequence[str | list[str]] = stream.events
    affixes = stream_events.find_shared_affixes(stream.events)
    if affixes is not None:
        folded["shared"] = list(affixes)
        events = stream_events.strip_shared_affixes(stream.events, *affixes)
    folded["events"] = list(map(_fold_event, events))
    if stream.newline != "\n":
        folded["newline"] = stream.newline
    if stream.end != stream_events.EVENT_END:
        folded["end"] = stream.end
    if stream.last != stream.end:
        folded["last"] = stream.last
    return folded


def _fold_event(event: str | list[str]) -> Any:
    """Return an event as a text if it is short, else folded into lines; events in lists stay as they are."""
    if isinstance(event, list):
        return event
    folded = fold_text(event)
    is_short = event.count("\n") < MAX_INLINE_BREAKS
    if is_short and folded == {LINES: event.split("\n")}:
        return event
    return folded


def _preview_entry(events: list[str]) -> dict[str, Json]:
    """Return ``{"says": ...}`` with the answer's text in a stream, or an empty dict without one."""
    # For reviewers only: replay never reads it.
    preview = stream_events.stream_text(events)
    if preview:
        return {"says": fold_text(preview)}
    return {}


def _fold_frames(body: bytes) -> dict[str, Json] | None:
    """Return an AWS event stream in stored form; None for any other body."""
    frames = stream_events.unpack_aws_frames(body)
    if not frames:
        return None
    try:
        payloads = [frame.payload.decode("utf-8") for frame in frames]
        folded: list[Json] = []
        for frame, text in zip(frames, payloads, strict=True):
            folded.append({"headers": dict(frame.headers), "payload": fold_text(text)})
        json.dumps(folded, allow_nan=False)
    except (ValueError, TypeError):
        return None
    return {**_preview_entry(payloads), "frames": folded}


def _fold_parts(body: bytes) -> dict[str, Json] | None:
    """Return a form with files in stored form: headers and texts readable, files as base64.

    None if the body does not begin with a boundary line.
    """
    boundary, line_end, _ = body.partition(b"\r\n")
    if not boundary.startswith(b"--") or not line_end:
        return None
    first, *rests = body.split(line_end + boundary)
    sections = [first, *(line_end + boundary + rest for rest in rests)]
    parts: list[Json] = []
    for section in sections:
        head, blank, content = section.partition(b"\r\n\r\n")
        try:
            parts.append(fold_text(section.decode("utf-8")))
        except UnicodeDecodeError:
            parts += [fold_text((head + blank).decode("utf-8", "replace")), _fold_base64(content)]
    return {"parts": parts}


def _fold_base64(body: bytes) -> dict[str, Json]:
    return {"base64": fold_text(base64.b64encode(body).decode())}


def unfold_body(stored: Stored) -> bytes:
    """Return the bytes that `fold_body` was given.

    Raises:
        CassetteError: It is not a stored body, or a blob that it refers to is missing.
    """
    form = check_body(stored)
    body: bytes = _unfold_form(form, stored, _FORMS[form].unfold)
    return body


def unfold_json_body(stored: Stored) -> Json:
    """Return the value of a body stored as JSON, as parsing its bytes would give it.

    Raises:
        CassetteError: It is not such a body.
    """
    value: Json = _unfold_form("json", stored, lambda body, blobs: unfold_value(body["json"], blobs))
    return value


def _unfold_form(form: str, stored: Stored, unfold: Callable[[Stored, Blobs], Any]) -> Any:
    """Call a function that unfolds a body, and turn its errors into a `CassetteError`."""
    try:
        return unfold(stored, getattr(stored, "blobs", {}))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise CassetteError(f"a body stored as {form}: cannot be read back: {error}") from None


def check_body(stored: object) -> str:
    """Return the form of a stored body (``json``, ``events`` ...). Only its shape is checked, no text is read.

    Raises:
        CassetteError: It is not a stored body.
    """
    if not isinstance(stored, dict):
        raise CassetteError(f"a body: expected an object, got {type(stored).__name__}")
    form = next((key for key in _FORMS if key in stored), None)
    if form is None:
        keys = ", ".join(stored) or "(none)"
        raise CassetteError(f"a body: expected one of {', '.join(_FORMS)}, got the keys {keys}")
    if not _FORMS[form].is_valid(stored):
        raise CassetteError(f"a body stored as {form}: expected {_FORMS[form].expected}")
    return form


def check_request(stored: object) -> None:
    """Check the shape of a stored request.

    Raises:
        CassetteError: It is not a stored request.
    """
    if not _is_object_of_texts(stored, "method", "url"):
        raise CassetteError("a request: expected an object with method, url and body")
    check_body(stored.get("body"))


def check_answer(stored: object) -> None:
    """Check the shape of a stored answer.

    Raises:
        CassetteError: It is not a stored answer.
    """
    if not isinstance(stored, dict) or not _is_number(stored.get("status"), int):
        raise CassetteError("an answer: expected an object with status, headers and body")
    headers = stored.get("headers", {})
    if not isinstance(headers, dict) or not _are_texts(*headers.values()):
        raise CassetteError("the headers of an answer: expected an object of texts")
    request_headers = stored.get("request_headers", {})
    if not isinstance(request_headers, dict) or not _are_texts(*request_headers.values()):
        raise CassetteError("the headers of the request of an answer: expected an object of texts")
    for name in TIMINGS:
        if name in stored and not _is_number(stored[name], int, float):
            raise CassetteError(f"{name} of an answer: expected a number")
    outcome = stored.get("outcome", {"error": "", "text": ""})
    if not _is_object_of_texts(outcome, "error", "text"):
        raise CassetteError("the outcome of a call: expected an object with error and text")
    check_body(stored.get("body"))


def _is_object_of_texts(value: object, *keys: str) -> TypeGuard[dict[str, Any]]:
    """Return whether a value is a dict with a text under each of the keys."""
    return isinstance(value, dict) and _are_texts(*map(value.get, keys))


def _are_texts(*values: object) -> bool:
    return all(isinstance(value, str) for value in values)


def _is_number(value: object, *kinds: type) -> bool:
    """Return whether a value is of one of the types, and not a boolean (which is an int in Python)."""
    return isinstance(value, kinds) and not isinstance(value, bool)


def unfold_stream(stored: Stored) -> list[bytes] | None:
    """Return the events of a stored stream as bytes, including their line ends; None for any other body.

    Raises:
        CassetteError: It is not a stored body, or a blob that it refers to is missing.
    """
    form = check_body(stored)
    unfold = {"events": _unfold_events, "frames": _unfold_frames}.get(form)
    if unfold is None:
        return None
    events: list[bytes] = _unfold_form(form, stored, unfold)
    return events


def _unfold_events(stored: Stored, blobs: Blobs) -> list[bytes]:
    """Return the events of a stored text stream as bytes, including their line ends."""
    end = stored.get("end", stream_events.EVENT_END)
    prefix, suffix = stored.get("shared", ("", ""))
    texts = []
    for folded in stored["events"]:
        text = unfold_text(folded, blobs)
        if prefix and isinstance(folded, str) and text.startswith(stream_events.SHORTENED_MARK):
            text = f"{prefix}{text[1:]}{suffix}"
        texts.append(text)
    newline = stored.get("newline", "\n")
    last = stored.get("last", end)
    events = stream_events.SplitStream(texts, newline, end, last).encode_events()
    for event in events:
        event.decode("utf-8")  # raises if a text holds half a surrogate pair, which no body does
    return events


def _unfold_frames(stored: Stored, blobs: Blobs) -> list[bytes]:
    frames = []
    for frame in stored["frames"]:
        payload = unfold_text(frame["payload"], blobs).encode("utf-8")
        frames.append(pack_frames([Frame(frame["headers"], payload)]))
    return frames


def _unfold_base64(stored: Stored, blobs: Blobs) -> bytes:
    return base64.b64decode(unfold_text(stored["base64"], blobs), validate=True)


def _unfold_parts(stored: Stored, blobs: Blobs) -> bytes:
    """Return the bytes of a stored form with files."""
    parts = []
    for part in stored["parts"]:
        if isinstance(part, dict) and "base64" in part:
            parts.append(_unfold_base64(part, blobs))
        else:
            parts.append(unfold_text(part, blobs).encode("utf-8"))
    return b"".join(parts)


def _has_valid_events(stored: Stored) -> bool:
    """Return whether the stored ``events`` and the keys next to it have the form that `_fold_stream` gives them."""
    events = stored["events"]
    if not isinstance(events, list) or not all(map(is_folded_text, events)):
        return False
    shared = stored.get("shared", ["", ""])
    if not isinstance(shared, list) or list(map(type, shared)) != [str, str]:
        return False
    if stored.get("newline", "\n") not in ("\n", stream_events.CRLF):
        return False
    if stored.get("end", _EVENT_ENDS[0]) not in _EVENT_ENDS:
        return False
    return stored.get("last", "") in ("", *_EVENT_ENDS)


def _has_valid_frames(stored: Stored) -> bool:
    frames = stored["frames"]
    return isinstance(frames, list) and all(map(_is_valid_frame, frames))


def _is_valid_frame(frame: object) -> bool:
    if not isinstance(frame, dict) or not isinstance(frame.get("headers"), dict):
        return False
    return is_folded_text(frame.get("payload"))


@dataclass(frozen=True, slots=True)
class _Form:
    """A form in which a body is stored, under its key."""

    unfold: Callable[[Stored, Blobs], bytes]
    is_valid: Callable[[Stored], bool]
    expected: str  # the content of a body in this form, for the error about any other


_FORMS = {
    "json": _Form(
        lambda stored, blobs: unfold_json(stored, blobs).encode("utf-8"),
        is_folded_json,
        f"a style out of {', '.join(SPELLINGS)}",
    ),
    "events": _Form(
        lambda stored, blobs: b"".join(_unfold_events(stored, blobs)),
        _has_valid_events,
        "a list of texts",
    ),
    "frames": _Form(
        lambda stored, blobs: b"".join(_unfold_frames(stored, blobs)),
        _has_valid_frames,
        "a list of frames, each with headers and a payload",
    ),
    "parts": _Form(
        _unfold_parts,
        lambda stored: isinstance(stored["parts"], list),
        "a list of texts and files",
    ),
    "text": _Form(
        lambda stored, blobs: unfold_text(stored["text"], blobs).encode("utf-8"),
        lambda stored: is_folded_text(stored["text"]),
        "a text or a list of lines",
    ),
    "base64": _Form(_unfold_base64, lambda stored: is_folded_text(stored["base64"]), "a text"),
}
