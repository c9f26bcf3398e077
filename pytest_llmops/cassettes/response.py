"""Recorded HTTP responses, and their form in a cassette."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pytest_llmops.cassettes.outcome import Outcome
from pytest_llmops.recorder import Exchange
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import is_secret_name, mask_params
from pytest_llmops.wire.body import TIMINGS, fold_body, unfold_body, unfold_stream

if TYPE_CHECKING:
    from pytest_llmops.cassettes.request_key import Question

# Recorded headers of a response; all others describe the account or the moment. The encoding: if the body
# is encoded.
RECORDED_HEADERS = (
    "content-type",
    "content-encoding",
    "retry-after",
    "x-should-retry",
    "location",
    "x-amzn-errortype",
)

# Headers that `llm_record_headers` does not add, as credentials: accounts, the framing, and those that are
# recorded anyway
UNRECORDED_HEADERS = frozenset(
    {
        "set-cookie",
        "content-length",
        "transfer-encoding",
        "connection",
        "openai-organization",
        "openai-project",
        *RECORDED_HEADERS,
    }
)

# Statuses that depend on the caller or the moment; they are not recorded, nor are 5xx
UNRECORDED_STATUSES = frozenset({401, 403, 407, 408, 409, 425, 429})

RETRIED_STATUSES = frozenset({408, 409, 425, 429})  # statuses after which clients retry, in addition to 5xx


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: decoded body, recorded headers, and the duration of the live call.

    Attributes:
        pieces: The body in the pieces it is replayed in: the events of a stream.
        outcome: How the call ended without a whole answer; with status 0 nothing of the answer had come.
        is_batched: Whether a batch API gave it, at a lower price and without a latency.
        amend: Of an answer that was asked live in this run, before its request: records another one in its place.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    latency_s: float | None = None
    ttft_s: float | None = None
    pieces: tuple[bytes, ...] = ()
    outcome: Outcome | None = None
    gap_s: float | None = None
    is_batched: bool = False
    amend: Callable[[Answer], object] | None = None

    @property
    def asked_ahead(self) -> bool:
        """Return whether it was asked live in this run, before the request that it answers."""
        return self.amend is not None

    @property
    def is_transient(self) -> bool:
        """Return whether clients retry after this response."""
        return self.status in RETRIED_STATUSES or self.status >= 500  # noqa: PLR2004 -- server errors

    @property
    def is_reproducible(self) -> bool:
        """Return whether another run, with another key at another time, would get the same response."""
        return self.status not in UNRECORDED_STATUSES and not self.is_transient


@dataclass(slots=True)
class TapeCounts:
    """Counts of what happened on a tape; reused: answered with a judge's answer from elsewhere in the run."""

    replayed: int = 0
    recorded: int = 0
    reused: int = 0
    missed: int = 0
    stale: int = 0
    verified: int = 0
    drifted: int = 0

    def add(self, other: TapeCounts) -> None:
        """Add the counts of another tape."""
        for counter in fields(self):
            setattr(self, counter.name, getattr(self, counter.name) + getattr(other, counter.name))


def make_exchange(question: Question, answer: Answer, purpose: str, *, replayed: bool) -> Exchange:
    """Return a request and its answer as the trace reads them."""
    return Exchange(
        method=question.method,
        url=question.url,
        request=question.json,
        status=answer.status or None,
        content_type=answer.headers.get("content-type", ""),
        body=answer.body,
        latency_s=answer.latency_s,
        ttft_s=answer.ttft_s,
        gap_s=answer.gap_s,
        replayed=replayed and not answer.asked_ahead,
        purpose=purpose,
        is_batched=answer.is_batched,
    )


def answer_from_wire(wire: Mapping[str, Any]) -> Answer:
    """Return a recorded answer; a status that clients retry is replayed without a waiting time.

    Raises:
        CassetteError: The body or the outcome is damaged.
    """
    body = wire["body"]
    stream_parts = None if "json" in body else unfold_stream(body)
    answer = Answer(
        wire["status"],
        wire.get("headers", {}),
        b"".join(stream_parts) if stream_parts is not None else unfold_body(body),
        wire.get("latency_s"),
        wire.get("ttft_s"),
        tuple(stream_parts or ()),
        Outcome.from_wire(wire["outcome"]) if "outcome" in wire else None,
        wire.get("gap_s"),
        is_batched=wire.get("batch") is True,
    )
    if answer.is_transient:
        return replace(answer, headers={**answer.headers, "retry-after": "0", "retry-after-ms": "1"})
    return answer


def answer_to_wire(answer: Answer, redactor: Redactor, more_headers: Sequence[str] = ()) -> dict[str, Any]:
    """Return an answer as it is recorded, without secrets.

    Args:
        answer: The answer.
        redactor: Masks secrets; learns those of the answer.
        more_headers: Names of further headers to record, in lower case; ``*`` stands for any text.
    """
    redactor.learn_response_headers(answer.headers)
    further = {
        name
        for pattern in more_headers
        for name in answer.headers
        if fnmatchcase(name, pattern) and name not in UNRECORDED_HEADERS and not is_secret_name(name)
    }
    headers = {
        name: mask_params(redactor.clean_text(answer.headers[name]).encode("utf-8", "replace")).decode()
        for name in (*RECORDED_HEADERS, *sorted(further))
        if name in answer.headers
    }
    wire: dict[str, Any] = {
        "status": answer.status,
        "headers": headers,
        **({"batch": True} if answer.is_batched else {}),
    }
    for name in TIMINGS:
        seconds = getattr(answer, name)
        if seconds is not None:
            wire[name] = round(seconds, 4)
    if answer.outcome is not None:
        wire["outcome"] = {"error": answer.outcome.error, "text": redactor.clean_text(answer.outcome.text)}
    wire["body"] = fold_body(
        redactor.clean(answer.body if answer.outcome is None else redactor.cut_tail(answer.body))
    )
    return wire


def describe_age(wire: Mapping[str, Any], max_age: int | None) -> str:
    """Return since when an answer is too old, or "" if it is not; the answer of an unknown day is too old.

    Args:
        wire: The answer, with the day of its recording.
        max_age: The number of days for which an answer is good; None: for ever.
    """
    if max_age is None:
        return ""
    day = str(wire.get("recorded") or "")
    is_young = day >= (datetime.now(UTC).date() - timedelta(days=max_age)).isoformat()
    return "" if is_young else f"recorded on {day or 'an unknown day'}, over llm_max_age = {max_age}d"
