"""Drift: how today's answer to a request differs from the recorded one."""

import contextlib
import json
from dataclasses import asdict, dataclass

from pytest_llmops.cassettes.conversation import OPENED, decode_conversation
from pytest_llmops.cassettes.request_key import Answer, Question, make_exchange
from pytest_llmops.cassettes.socket_responses import is_websocket, list_responses
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import Call
from pytest_llmops.trace import read_call

MAX_TEXT = 2000
# Differences that have a similarity
_TEXT_FACETS = ("text", "body")
_ALWAYS = ("question", "what", "recorded", "now")


@dataclass(frozen=True, slots=True)
class Drift:
    """A request whose answer differs from the recorded answer.

    Attributes:
        what: ``status``, ``tool calls``, ``finish reason``, ``text``, ``body`` or ``model``; of a tool ``definition``, ``result``,
            ``error``, ``outcome`` or ``server``.
        similarity: Similarity of two texts, from 0 (nothing in common) to 1; None for anything else.
        place: Of a tool, where its answer or its definition has changed; "" for the answer of a model.
    """

    question: str
    what: str
    recorded: str
    now: str
    similarity: float | None = None
    place: str = ""

    def to_wire(self) -> dict[str, Json]:
        """Return the difference as it is reported."""
        return {
            name: value for name, value in asdict(self).items() if value not in (None, "") or name in _ALWAYS
        }


def compare_answers(question: Question, recorded: Answer, now: Answer) -> Drift | None:
    """Return the first difference between two answers in the parts that an application reads; None if there is none.

    Ids, times and token counts differ from call to call and are ignored. If neither answer comes from a model, the
    whole bodies are compared.
    """
    if recorded.status == now.status and recorded.body == now.body:
        return None
    request_line = f"{question.method} {shorten_text(question.url, 120)}"
    if recorded.status != now.status:
        return Drift(request_line, "status", str(recorded.status), str(now.status))
    for what, old, new in _list_facets(question, recorded, now):
        if old != new:
            return _describe_drift(request_line, what, old[:MAX_TEXT], new[:MAX_TEXT])
    return None


def _list_facets(question: Question, recorded: Answer, now: Answer) -> list[tuple[str, str, str]]:
    """Return the compared parts: triples of a name, the recorded text and the new text, the most important first."""
    if is_websocket(question.method) and recorded.status == OPENED:
        return [("text", _read_responses(question, recorded), _read_responses(question, now))]
    before = _read_call(question, recorded)
    after = _read_call(question, now)
    if before.output or before.tool_calls or after.output or after.tool_calls:
        return [
            ("tool calls", _format_tool_calls(before), _format_tool_calls(after)),
            ("text", before.output, after.output),
            ("finish reason", before.finish_reason, after.finish_reason),
            ("model", before.model, after.model),
        ]
    return [("body", recorded.body.decode("utf-8", "replace"), now.body.decode("utf-8", "replace"))]


def _read_responses(question: Question, answer: Answer) -> str:
    """Return the texts and tool calls of all responses over a WebSocket; all that the server sent if it has no responses."""
    conversation = decode_conversation(answer.body)
    ends = list_responses(question.url, conversation)
    if not ends:
        sent = [
            message.data.decode("utf-8", "replace")
            for message in conversation.messages
            if message.sender == "server"
        ]
        return "\n".join(sent)
    calls = [read_call(end.make_exchange(end.start.request, "app", replayed=False)) for end in ends]
    return "\n".join("\n".join(filter(None, (call.output, _format_tool_calls(call)))) for call in calls)


def _describe_drift(request_line: str, what: str, old: str, new: str) -> Drift:
    """Return the difference, with the similarity of texts."""
    similarity = None
    if what in _TEXT_FACETS:
        from rapidfuzz.fuzz import token_sort_ratio

        similarity = round(token_sort_ratio(old, new) / 100, 2)
    return Drift(request_line, what, old, new, similarity)


def is_model_request(question: Question) -> bool:
    """Return whether a request looks like a call of a model, by its address and body. Only such calls have a price."""
    return not question.is_tool and _read_call(question, Answer(0, {}, b"")).provider != "unknown"


def _format_tool_calls(call: Call) -> str:
    """Return a line for each tool call: its name and arguments, with sorted keys if they are JSON."""
    lines = []
    for tool_call in call.tool_calls:
        arguments = tool_call.arguments
        with contextlib.suppress(ValueError, RecursionError):
            arguments = json.dumps(json.loads(arguments), sort_keys=True)
        lines.append(f"{tool_call.name}({arguments})")
    return "\n".join(lines)


def _read_call(question: Question, answer: Answer) -> Call:
    return read_call(make_exchange(question, answer, "app", replayed=False))
