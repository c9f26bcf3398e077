"""A cassette for vcrpy that forwards to the current tape, and conversion of vcrpy's requests."""

import http
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from pytest_llmops.cassettes.active_tape import current_tape
from pytest_llmops.cassettes.http.live_response import LiveAnswer, report_replay
from pytest_llmops.cassettes.http.websockets import note_unrecorded
from pytest_llmops.cassettes.rate_limit import CallSlot
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.errors import CassetteMiss
from pytest_llmops.wire.content_encoding import decode_body
from pytest_llmops.wire.untrusted_documents import DocumentError

# Attributes that we set on vcrpy's request: its matched form (the body may be gone once it is sent), its recorded
# answer, and the time at which it was claimed
_QUESTION_ATTRIBUTE = "_llmops_question"
_ANSWER_ATTRIBUTE = "_llmops_answer"
_STARTED_ATTRIBUTE = "_llmops_started"


class Call(NamedTuple):
    """A request of aiohttp or tornado that was looked up on the tape; ``answer`` is None if it goes out live."""

    tape: Tape
    request: Any
    answer: Answer | None


# The last request of this task; None once its live answer has come
current_call: ContextVar[Call | None] = ContextVar("pytest_llmops_call", default=None)


# Whether the requests of this task have waited for an answer that is late on purpose
_after_fault: ContextVar[bool] = ContextVar("pytest_llmops_after_fault", default=False)


@contextmanager
def claim_late_answers() -> Iterator[None]:
    """Let requests of a block get their own answers: the client has waited for one that is late on purpose."""
    token = _after_fault.set(True)
    try:
        yield
    finally:
        _after_fault.reset(token)


class VcrCassette:
    """A cassette for vcrpy that forwards to the current tape.

    vcrpy's stubs of aiohttp and tornado call these methods; connections are patched by `http_client`, and httpx and
    httpx2 by `httpx`.
    """

    _path = "pytest-llmops"
    write_protected = False
    skip_patchers = ("httpx", "httpx2")
    custom_patches = ()

    def filter_request(self, request: Any) -> Any:
        """Return the request unchanged."""
        return request

    def can_play_response_for(self, request: Any) -> bool:
        """Return whether a recording answers a request, and claim the recorded answer.

        In mode ``none`` a missing recording is an error.
        """
        tape = tape_for(request)
        if tape is None:
            return False
        answer = claim_answer(tape, request)
        current_call.set(Call(tape, request, answer))
        return answer is not None

    def play_response(self, request: Any) -> dict[str, Any]:
        """Return the recorded answer in vcrpy's form."""
        # Called again here, as vcrpy does not call it for a redirect; an answer is claimed only once.
        if not self.can_play_response_for(request):
            raise CassetteMiss(
                f"{request.method} {request.host} was redirected to while a recording was replayed, and is not"
                " recorded: record all again with --llm-record=all"
            )
        answer: Answer = getattr(request, _ANSWER_ATTRIBUTE)
        report_replay(getattr(request, _QUESTION_ATTRIBUTE), answer)
        return {
            "status": {"code": answer.status, "message": reason_phrase(answer.status)},
            "headers": {name: [value] for name, value in answer.headers.items()},
            "body": {"string": answer.body},
        }

    def append(self, request: Any, response: dict[str, Any]) -> None:
        """Record a live answer. vcrpy has decompressed the body, but left the header as it was."""
        tape = tape_for(request)
        if tape is None:
            return
        headers = {name.lower(): _header_text(value) for name, value in response["headers"].items()}
        body = response["body"].get("string") or b""
        finish_answer(begin_answer(tape, request), response["status"]["code"], headers, body, certain=False)

    def find_requests_with_most_matches(self, _request: Any) -> list[Any]:
        """Return an empty list: the tape describes a miss."""
        return []


def tape_for(request: Any) -> Tape | None:
    """Return the tape in use, unless the request passes through: by its host, as one of a tracing SDK, or as it opens a WebSocket.

    Raises:
        CassetteMiss: It opens a WebSocket, and the tape only replays.
    """
    tape = current_tape()
    if tape is None or tape.passes(request.host or "", request.port):
        return None
    if str(request.headers.get("upgrade", "")).lower() == "websocket":
        note_unrecorded(tape, request.host, "aiohttp")
        return None
    if question_for(tape, request).is_telemetry and tape.mode != "none":
        return None
    return tape


def claim_answer(tape: Tape, request: Any, *, after_fault: bool = False) -> Answer | None:
    """Return the recorded answer to a request, or None if the call has to go out live.

    The answer is claimed on the first call and kept on the request, so that no other thread gets it before it is
    played.

    Args:
        tape: The tape.
        request: The request.
        after_fault: Whether the client has waited for an answer that is late on purpose.

    Raises:
        CassetteMiss: No recording in mode none.
    """
    answer: Answer | None = getattr(request, _ANSWER_ATTRIBUTE, None)
    if answer is None or after_fault:
        setattr(request, _STARTED_ATTRIBUTE, time.perf_counter())
        answer = tape.claim(question_for(tape, request), after_fault or _after_fault.get())
        if answer is not None or after_fault:
            setattr(request, _ANSWER_ATTRIBUTE, answer)
    return answer


def begin_answer(tape: Tape, request: Any, slot: CallSlot | None = None) -> LiveAnswer:
    """Return the live answer to a request.

    It is timed from now on if the call waited for a slot, otherwise from when the request was claimed.
    """
    started = None
    if slot is None:
        started = getattr(request, _STARTED_ATTRIBUTE, None)
    return LiveAnswer(tape, question_for(tape, request), started or time.perf_counter(), slot)


def finish_answer(
    live: LiveAnswer, status: int, headers: Mapping[str, str], body: bytes, *, certain: bool
) -> None:
    """Record a complete answer, decompressed if possible; if not, with its encoding header.

    Args:
        live: The live answer.
        status: The status.
        headers: The headers, with lower-case names.
        body: The body.
        certain: Whether the body is as it came over the wire; otherwise the client may have decompressed it.
    """
    recorded_headers = dict(headers)
    encoding = recorded_headers.pop("content-encoding", "")
    try:
        body = decode_body(body, encoding, certain=certain)
    except DocumentError:
        if certain:
            recorded_headers["content-encoding"] = encoding
    live.finish(status, recorded_headers, body)


def question_for(tape: Tape, request: Any) -> Question:
    """Return vcrpy's request in the form that is matched; it is kept on the request."""
    known: Question | None = getattr(request, _QUESTION_ATTRIBUTE, None)
    if known is not None:
        return known
    question = tape.make_question(
        request.method,
        request.uri,
        {name.lower(): _header_text(value) for name, value in request.headers.items()},
        read_request_body(request),
    )
    setattr(request, _QUESTION_ATTRIBUTE, question)
    return question


def _header_text(value: Any) -> str:
    """Return the value of a header as a text; clients also give bytes, or a list with a single value."""
    if isinstance(value, (list, tuple)) and value:
        value = value[0]
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return str(value)


def read_request_body(request: Any) -> bytes:
    """Return the body of a request as bytes. aiohttp passes the caller's own object, which is encoded as JSON."""
    body = request.body
    if body is None:
        return b""
    if hasattr(body, "read"):
        return _to_bytes(body.read())
    if isinstance(body, Iterator):
        return b"".join(map(_to_bytes, body))
    if isinstance(body, (str, bytes, bytearray, memoryview)):
        return _to_bytes(body)
    import json

    try:
        return json.dumps(body, default=_to_json_value).encode()
    except (TypeError, ValueError):  # keys that JSON does not support, or a circular value
        return repr(body).encode()


def _to_bytes(part: Any) -> bytes:
    if isinstance(part, str):
        return part.encode("utf-8", "surrogatepass")
    if isinstance(part, (bytes, bytearray, memoryview)):
        return bytes(part)
    return repr(part).encode()


def _to_json_value(value: Any) -> Any:
    """Return a value that JSON supports for one that it does not: for bytes, aiohttp's forms, and files.

    A file is read, and set back to its start for the client.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("latin-1")
    # aiohttp's FormData has fields of (options, headers, value). The name is kept: it shows which value is a secret.
    fields = getattr(value, "_fields", None)
    if isinstance(fields, list):
        return [
            {options["name"]: content} if len(options) == 1 else [dict(options), content]
            for options, _, content in fields
        ]
    if hasattr(value, "read") and hasattr(value, "seek"):
        content = value.read()
        value.seek(0)
        return content
    return repr(value)


def reason_phrase(status: int) -> str:
    """Return the phrase of a status, or "".

    >>> reason_phrase(404)
    'Not Found'
    """
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""
