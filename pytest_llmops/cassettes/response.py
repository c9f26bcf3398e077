"""An answer as the interceptors hand it on, and as a cassette keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pytest_llmops.redaction.redactor import Redactor, mask_params
from pytest_llmops.wire.body import fold_body, unfold_body, unfold_stream

RECORDED_HEADERS = (
    "content-type",
    "content-encoding",
    "retry-after",
    "x-should-retry",
    "location",
    "x-amzn-errortype",
)
"""Of a response; all others say something about an account or a moment. The encoding is there if it was not undone."""

UNRECORDED_STATUSES = frozenset({401, 403, 407, 408, 409, 425, 429})
"""Answers about the caller or the moment, not about the question; 5xx are left out too."""

RETRIED_STATUSES = frozenset({408, 409, 425, 429})
"""Answers after which clients ask again, those of the server (5xx) aside."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: decoded body, kept headers, and the time the real one took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    latency_s: float | None = None
    ttft_s: float | None = None
    pieces: tuple[bytes, ...] = ()
    """The body in the pieces it is replayed in: one an event of a stream."""

    @property
    def is_transient(self) -> bool:
        """Whether it says something about the moment, so that a client asks again."""
        return self.status in RETRIED_STATUSES or self.status >= 500  # noqa: PLR2004 -- server errors

    @property
    def is_reproducible(self) -> bool:
        """Whether another run, with another key at another time, would be answered the same."""
        return self.status not in UNRECORDED_STATUSES and not self.is_transient


@dataclass(slots=True)
class TapeCounts:
    """What happened on a tape; reused: answered by what a judge was answered elsewhere in the run."""

    replayed: int = 0
    recorded: int = 0
    reused: int = 0
    missed: int = 0
    stale: int = 0
    verified: int = 0
    drifted: int = 0

    def add(self, other: TapeCounts) -> None:
        """Add what happened on another tape."""
        for counter in fields(self):
            setattr(self, counter.name, getattr(self, counter.name) + getattr(other, counter.name))


def answer_from_wire(wire: Mapping[str, Any]) -> Answer:
    """Return the answer that a cassette holds.

    Raises:
        CassetteError: Its body cannot be read back.
    """
    body = wire["body"]
    stream_parts = None if "json" in body else unfold_stream(body)
    pieces = tuple(stream_parts) if stream_parts is not None else ()
    answer = Answer(
        wire["status"],
        wire.get("headers", {}),
        b"".join(pieces) if stream_parts is not None else unfold_body(body),
        wire.get("latency_s"),
        wire.get("ttft_s"),
        pieces,
    )
    return _without_wait(answer) if answer.is_transient else answer


def _without_wait(answer: Answer) -> Answer:
    """Tell the client to ask again at once: the wait was for a server that is not there."""
    headers = {**answer.headers, "retry-after": "0", "retry-after-ms": "1"}
    return Answer(answer.status, headers, answer.body, answer.latency_s, answer.ttft_s, answer.pieces)


def answer_to_wire(answer: Answer, redactor: Redactor) -> dict[str, Any]:
    """Return what a cassette keeps of an answer, without secrets."""
    redactor.learn_response_headers(answer.headers)
    headers = {
        name: mask_params(redactor.clean_text(answer.headers[name]).encode("utf-8", "replace")).decode()
        for name in RECORDED_HEADERS
        if name in answer.headers
    }
    wire: dict[str, Any] = {"status": answer.status, "headers": headers}
    for name in ("latency_s", "ttft_s"):
        seconds = getattr(answer, name)
        if seconds is not None:
            wire[name] = round(seconds, 4)
    wire["body"] = fold_body(redactor.clean(answer.body))
    return wire
