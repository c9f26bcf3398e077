"""What changed between a recorded answer and the one that the same question gets today."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.cassettes.response import Answer
from pytest_llmops.measurement import Json, shorten
from pytest_llmops.protocols import Call
from pytest_llmops.recorder import Exchange
from pytest_llmops.trace import read

MAX_TEXT = 2000


@dataclass(frozen=True, slots=True)
class Drift:
    """One question that is answered otherwise than it was recorded.

    Attributes:
        what: ``status``, ``tool calls``, ``finish reason``, ``text``, ``body`` or ``model``.
        similarity: Of the two texts, from 0 (nothing in common) to 1; None where they are no texts.
    """

    question: str
    what: str
    recorded: str
    now: str
    similarity: float | None = None

    def to_wire(self) -> dict[str, Json]:
        """Return what the report carries."""
        wire: dict[str, Json] = {
            "question": self.question,
            "what": self.what,
            "recorded": self.recorded,
            "now": self.now,
        }
        return wire if self.similarity is None else {**wire, "similarity": self.similarity}


def compare(question: Question, recorded: Answer, now: Answer) -> Drift | None:
    """Return how two answers to a question differ in what an application reads, or None.

    Ids, times and token counts differ from call to call and do not count; of an answer that is no
    model's, the whole body does.
    """
    if recorded.status == now.status and recorded.body == now.body:
        return None
    asked = _asked(question)
    if recorded.status != now.status:
        return Drift(asked, "status", str(recorded.status), str(now.status))
    before, after = _call(question, recorded), _call(question, now)
    if not before.output and not before.tool_calls and not after.output and not after.tool_calls:
        return _of_bodies(asked, recorded.body, now.body)
    for what, old, new in _facets(before, after):
        if old != new:
            similarity = _similarity(old, new) if what == "text" else None
            return Drift(asked, what, old[:MAX_TEXT], new[:MAX_TEXT], similarity)
    return _vectors(asked, recorded, now) if before.endpoint == "embeddings" else None


def is_of_a_model(question: Question) -> bool:
    """Say whether a request asks a model, as far as its address and body tell; others cost nothing we know of."""
    return _call(question, Answer(0, {}, b"")).provider != "unknown"


def _facets(before: Call, after: Call) -> list[tuple[str, str, str]]:
    return [
        ("tool calls", _tools(before), _tools(after)),
        ("text", before.output, after.output),
        ("finish reason", before.finish_reason, after.finish_reason),
        ("model", before.model, after.model),
    ]


def _tools(call: Call) -> str:
    return "\n".join(f"{one.name}({_canonical(one.arguments)})" for one in call.tool_calls)


def _canonical(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments


def _call(question: Question, answer: Answer) -> Call:
    return read(
        Exchange(
            method=question.method,
            url=question.url,
            request=question.json,
            status=answer.status,
            content_type=answer.headers.get("content-type", ""),
            body=answer.body,
            latency_s=None,
            ttft_s=None,
            replayed=False,
            purpose="app",
        )
    )


def _vectors(asked: str, recorded: Answer, now: Answer) -> Drift | None:
    old, new = _embeddings(recorded.body), _embeddings(now.body)
    if old is None or old == new:
        return None
    return Drift(asked, "vectors", f"{len(recorded.body):,} bytes", f"{len(now.body):,} bytes")


_VECTORS = ("embeddings", "embedding", "predictions")
"""Where vendors other than OpenAI put their vectors."""


def _embeddings(body: bytes) -> list[object] | None:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(parsed, Mapping):
        return None
    listed = parsed.get("data")
    if isinstance(listed, list):
        return [one.get("embedding") for one in listed if isinstance(one, Mapping)]
    found: list[object] = [parsed[key] for key in _VECTORS if key in parsed]
    return found or None


def _of_bodies(asked: str, old: bytes, new: bytes) -> Drift:
    texts = (old.decode("utf-8", "replace"), new.decode("utf-8", "replace"))
    return Drift(asked, "body", texts[0][:MAX_TEXT], texts[1][:MAX_TEXT], _similarity(*texts))


def _similarity(old: str, new: str) -> float:
    from rapidfuzz.fuzz import token_sort_ratio

    return round(token_sort_ratio(old[:MAX_TEXT], new[:MAX_TEXT]) / 100, 2)


def _asked(question: Question) -> str:
    return f"{question.method} {shorten(question.url, 120)}"
