"""What changed between a recorded answer and the one that the same question gets today."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.cassettes.response import Answer
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import Call
from pytest_llmops.recorder import Exchange
from pytest_llmops.trace import read_call

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


def compare_answers(question: Question, recorded: Answer, now: Answer) -> Drift | None:
    """Return how two answers to a question differ in what an application reads, or None.

    Ids, times and token counts differ from call to call and do not count; of an answer that is no
    model's, the whole body does.
    """
    if recorded.status == now.status and recorded.body == now.body:
        return None
    request_line = _asked(question)
    if recorded.status != now.status:
        return Drift(request_line, "status", str(recorded.status), str(now.status))
    before, after = _read_call(question, recorded), _read_call(question, now)
    if not before.output and not before.tool_calls and not after.output and not after.tool_calls:
        return _of_bodies(request_line, recorded.body, now.body)
    for what, old, new in _facets(before, after):
        if old != new:
            similarity = _text_similarity(old, new) if what == "text" else None
            return Drift(request_line, what, old[:MAX_TEXT], new[:MAX_TEXT], similarity)
    return _compare_vectors(request_line, recorded, now) if before.endpoint == "embeddings" else None


def is_model_request(question: Question) -> bool:
    """Say whether a request asks a model, as far as its address and body tell; others cost nothing we know of."""
    return _read_call(question, Answer(0, {}, b"")).provider != "unknown"


def _facets(before: Call, after: Call) -> list[tuple[str, str, str]]:
    return [
        ("tool calls", _format_tool_calls(before), _format_tool_calls(after)),
        ("text", before.output, after.output),
        ("finish reason", before.finish_reason, after.finish_reason),
        ("model", before.model, after.model),
    ]


def _format_tool_calls(call: Call) -> str:
    return "\n".join(
        f"{tool_call.name}({_canonical_arguments(tool_call.arguments)})" for tool_call in call.tool_calls
    )


def _canonical_arguments(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments


def _read_call(question: Question, answer: Answer) -> Call:
    return read_call(
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


def _compare_vectors(request_line: str, recorded: Answer, now: Answer) -> Drift | None:
    old, new = _parse_embeddings(recorded.body), _parse_embeddings(now.body)
    if old is None or old == new:
        return None
    return Drift(request_line, "vectors", f"{len(recorded.body):,} bytes", f"{len(now.body):,} bytes")


_VECTOR_KEYS = ("embeddings", "embedding", "predictions")
"""Where vendors other than OpenAI put their vectors."""


def _parse_embeddings(body: bytes) -> list[object] | None:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(parsed, Mapping):
        return None
    data = parsed.get("data")
    if isinstance(data, list):
        return [row.get("embedding") for row in data if isinstance(row, Mapping)]
    vectors: list[object] = [parsed[key] for key in _VECTOR_KEYS if key in parsed]
    return vectors or None


def _of_bodies(request_line: str, old: bytes, new: bytes) -> Drift:
    texts = (old.decode("utf-8", "replace"), new.decode("utf-8", "replace"))
    return Drift(request_line, "body", texts[0][:MAX_TEXT], texts[1][:MAX_TEXT], _text_similarity(*texts))


def _text_similarity(old: str, new: str) -> float:
    from rapidfuzz.fuzz import token_sort_ratio

    return round(token_sort_ratio(old[:MAX_TEXT], new[:MAX_TEXT]) / 100, 2)


def _asked(question: Question) -> str:
    return f"{question.method} {shorten_text(question.url, 120)}"
