"""What vcrpy takes for a cassette: it forwards to the current tape; and requests in vcrpy's form as questions."""

from __future__ import annotations

import http
import time
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_llmops.cassettes.http.live_response import LiveAnswer, report_replay
from pytest_llmops.cassettes.rate_limit import CallSlot
from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.cassettes.tape import Answer, Tape, current_tape
from pytest_llmops.errors import CassetteMiss
from pytest_llmops.wire.content_encoding import decode_body
from pytest_llmops.wire.untrusted_documents import DocumentError

_QUESTION_ATTRIBUTE, _ANSWER_ATTRIBUTE, _STARTED_ATTRIBUTE = (
    "_llmops_question",
    "_llmops_answer",
    "_llmops_started",
)
"""On a request of vcrpy: the question it is (its body may be gone once it was sent), the answer, and when it came."""


class VcrCassette:
    """What vcrpy takes for a cassette.

    The stubs of aiohttp and tornado call the methods below; those of connections are ours in all but
    name (`connections`), and httpx and httpx2 get our own hooks (`transports`).
    """

    _path = "pytest-llmops"
    write_protected = False
    skip_patchers = ("httpx", "httpx2")
    custom_patches = ()

    def filter_request(self, request: Any) -> Any:
        """Return the request: nothing is left out."""
        return request

    def can_play_response_for(self, request: Any) -> bool:
        """Say whether a recording answers, and take its answer; miss if it must and none does."""
        tape = tape_for(request)
        return tape is not None and claim_answer(tape, request) is not None

    def play_response(self, request: Any) -> dict[str, Any]:
        """Return the recorded answer in vcrpy's form."""
        if not self.can_play_response_for(request):  # the target of a redirect is played unasked
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
        """Keep a live answer; whoever calls this has unpacked it, and left the header as it was."""
        tape = tape_for(request)
        if tape is None:
            return
        headers = {name.lower(): header_text(value) for name, value in response["headers"].items()}
        body = response["body"].get("string") or b""
        finish_answer(begin_answer(tape, request), response["status"]["code"], headers, body, certain=False)

    def find_requests_with_most_matches(self, request: Any) -> list[Any]:
        """Return nothing: a miss is described by the tape."""
        del request
        return []


def tape_for(request: Any) -> Tape | None:
    """Return the tape in use, unless the request's host passes it."""
    tape = current_tape()
    return None if tape is None or tape.passes(request.host or "") else tape


def claim_answer(tape: Tape, request: Any) -> Answer | None:
    """Return the recorded answer to a request, or None if it is to be asked live.

    It is taken now, and once: until it is played, another thread could have taken the last one.

    Raises:
        CassetteMiss: It must be recorded, and is not.
    """
    answer: Answer | None = getattr(request, _ANSWER_ATTRIBUTE, None)
    if answer is None:
        setattr(request, _STARTED_ATTRIBUTE, time.perf_counter())
        answer = tape.claim(question_for(tape, request))
        if answer is not None:
            setattr(request, _ANSWER_ATTRIBUTE, answer)
    return answer


def begin_answer(tape: Tape, request: Any, slot: CallSlot | None = None) -> LiveAnswer:
    """Return the answer that is coming to a request; with a place, it goes out now."""
    started = None if slot is not None else getattr(request, _STARTED_ATTRIBUTE, None)
    return LiveAnswer(tape, question_for(tape, request), started or time.perf_counter(), slot)


def finish_answer(
    live: LiveAnswer, status: int, headers: Mapping[str, str], body: bytes, *, certain: bool
) -> None:
    """Keep a whole answer without its compression; with it, and its header, where nobody here can undo it.

    Args:
        live: The answer.
        status: Its status.
        headers: Its headers, in small letters.
        body: As it came.
        certain: It is as it came over the wire, so that it is packed as the header says.
    """
    kept = dict(headers)
    encoding = kept.pop("content-encoding", "")
    try:
        body = decode_body(body, encoding, certain=certain)
    except DocumentError:
        if certain:
            kept["content-encoding"] = encoding
    live.finish(status, kept, body)


def question_for(tape: Tape, request: Any) -> Question:
    """Return the question that a request of vcrpy is."""
    known: Question | None = getattr(request, _QUESTION_ATTRIBUTE, None)
    if known is not None:
        return known
    headers = {name.lower(): header_text(value) for name, value in request.headers.items()}
    question = tape.make_question(request.method, request.uri, headers, read_request_body(request))
    setattr(request, _QUESTION_ATTRIBUTE, question)
    return question


def header_text(value: Any) -> str:
    """Return a header's value, which may be bytes or a list of one."""
    value = value[0] if isinstance(value, (list, tuple)) and value else value
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def read_request_body(request: Any) -> bytes:
    """Return the body as bytes; of aiohttp, which hands over what the caller gave, as JSON of it."""
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
    except (TypeError, ValueError):  # keys that JSON does not have, or a value that holds itself
        return repr(body).encode()


def _to_bytes(part: Any) -> bytes:
    if isinstance(part, str):
        return part.encode("utf-8", "surrogatepass")
    return bytes(part) if isinstance(part, (bytes, bytearray, memoryview)) else repr(part).encode()


def _to_json_value(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("latin-1")
    # aiohttp's FormData: (options, headers, value) of each field.
    fields = getattr(value, "_fields", None)
    if isinstance(fields, list):
        return [[dict(options), content] for options, _, content in fields]
    if hasattr(value, "read") and hasattr(value, "seek"):
        content = value.read()
        value.seek(0)
        return content
    return repr(value)


def reason_phrase(status: int) -> str:
    """Return the phrase of a status, or nothing if it has none.

    >>> reason_phrase(404)
    'Not Found'
    """
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""
