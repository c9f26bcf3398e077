"""Comparison of a recorded answer with today's answer to the same request."""

import contextlib
import json
from dataclasses import asdict, dataclass

from pytest_llmops._util.json_values import as_mapping, as_mappings, parse_json
from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.cassettes.response import Answer, make_exchange
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import Call
from pytest_llmops.trace import read_call

MAX_TEXT = 2000


@dataclass(frozen=True, slots=True)
class Drift:
    """A request whose answer differs from the recorded answer.

    Attributes:
        what: ``status``, ``tool calls``, ``finish reason``, ``text``, ``body`` or ``model``.
        similarity: Similarity of two texts, from 0 (nothing in common) to 1; None for anything else.
    """

    question: str
    what: str
    recorded: str
    now: str
    similarity: float | None = None

    def to_wire(self) -> dict[str, Json]:
        """Return the difference as it is reported."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def compare_answers(question: Question, recorded: Answer, now: Answer) -> Drift | None:
    """Return how two answers to a request differ in what an application reads, or None.

    Ids, times and token counts differ from call to call and are ignored. If neither is a model's answer, the whole
    bodies are compared.
    """
    if recorded.status == now.status and recorded.body == now.body:
        return None
    request_line = f"{question.method} {shorten_text(question.url, 120)}"
    if recorded.status != now.status:
        return Drift(request_line, "status", str(recorded.status), str(now.status))
    before, after = _read_call(question, recorded), _read_call(question, now)
    if before.output or before.tool_calls or after.output or after.tool_calls:
        facets = [
            ("tool calls", _format_tool_calls(before), _format_tool_calls(after)),
            ("text", before.output, after.output),
            ("finish reason", before.finish_reason, after.finish_reason),
            ("model", before.model, after.model),
        ]
    else:
        facets = [("body", recorded.body.decode("utf-8", "replace"), now.body.decode("utf-8", "replace"))]
    for what, old, new in facets:
        if old != new:
            old, new = old[:MAX_TEXT], new[:MAX_TEXT]  # noqa: PLW2901
            similarity = None
            if what in ("text", "body"):
                from rapidfuzz.fuzz import token_sort_ratio

                similarity = round(token_sort_ratio(old, new) / 100, 2)
            return Drift(request_line, what, old, new, similarity)
    if before.endpoint == "embeddings":
        vectors = _parse_embeddings(recorded.body)
        if vectors is not None and vectors != _parse_embeddings(now.body):
            return Drift(request_line, "vectors", f"{len(recorded.body):,} bytes", f"{len(now.body):,} bytes")
    return None


def is_model_request(question: Question) -> bool:
    """Return whether a request looks like a model call by its address and body; other requests have no known cost."""
    return _read_call(question, Answer(0, {}, b"")).provider != "unknown"


def _format_tool_calls(call: Call) -> str:
    lines = []
    for tool_call in call.tool_calls:
        arguments = tool_call.arguments
        with contextlib.suppress(ValueError, RecursionError):
            arguments = json.dumps(json.loads(arguments), sort_keys=True)
        lines.append(f"{tool_call.name}({arguments})")
    return "\n".join(lines)


def _read_call(question: Question, answer: Answer) -> Call:
    return read_call(make_exchange(question, answer, "app", replayed=False))


# Keys with the vectors in answers of vendors other than OpenAI
_VECTOR_KEYS = ("embeddings", "embedding", "predictions")


def _parse_embeddings(body: bytes) -> list[object] | None:
    parsed = as_mapping(parse_json(body))
    data = parsed.get("data")
    if isinstance(data, list):
        return [row.get("embedding") for row in as_mappings(data)]
    vectors: list[object] = [parsed[key] for key in _VECTOR_KEYS if key in parsed]
    return vectors or None
