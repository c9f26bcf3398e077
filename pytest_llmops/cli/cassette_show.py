"""Format a cassette for reading: each request with its answers.

A request has a list of answers for each take, that is for each trial of the test: "0", "1" ... In a list are several answers if
a trial sent the same request several times.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.conversation import OPENED, decode_conversation
from pytest_llmops.cassettes.faults.takes import is_fault_take, name_fault_take
from pytest_llmops.cassettes.request_key import Answer, answer_from_wire
from pytest_llmops.cassettes.socket_responses import is_websocket
from pytest_llmops.cassettes.tool_questions import (
    CALL_METHOD,
    is_tool_request,
    name_tool_server,
    read_tool_answer,
    read_tool_params,
    tool_arguments,
    tool_name,
)
from pytest_llmops.errors import CassetteError, UsageError, format_name_list
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.protocols import Call
from pytest_llmops.trace import read_call
from pytest_llmops.wire.body import unfold_body

_SENDERS = {"client": "sent", "server": "got"}
_ENDS = {
    "client": "closed by the client",
    "server": "closed by the server",
    "lost": "cut without a closing frame",
    "open": "open at the end of the test",
}
# Characters of a message that are printed: if all interactions are listed, and if a key selects some
SHORT_LIMIT, LONG_LIMIT = 200, 20_000


def format_cassette(path: Path, key: str = "") -> Iterator[str]:
    """Yield the lines that show a cassette.

    Args:
        path: The file.
        key: Print only interactions whose key starts with this, with longer texts. "": all.

    Raises:
        CassetteError: The cassette cannot be read.
        UsageError: It is a cassette of another recorder, or no interaction has such a key.
    """
    if path.suffix != ".json":
        raise UsageError(
            f"{path}: expected a cassette of pytest-llmops (.json); llmops cassettes import converts cassettes of other recorders"
        )
    interactions = sorted(store.load_cassette(path).values(), key=lambda interaction: interaction.by)
    day = store.read_recording_day(path)
    chosen = [interaction for interaction in interactions if interaction.key.startswith(key)]
    if not chosen and key:
        known = format_name_list(shorten_text(interaction.key, 40) for interaction in interactions)
        raise UsageError(f"{path}: no interaction has a key that starts with {key!r}; known are {known}")
    day_text = shorten_text(day, 20) or "on an unknown day"
    count = format_count(len(interactions), "interaction")
    path_text = shorten_text(str(path), 500)
    yield f"{path_text}: {count}, recorded {day_text}"
    limit = SHORT_LIMIT
    if key:
        limit = LONG_LIMIT
    for interaction in chosen:
        yield ""
        yield from _format_interaction(interaction, limit)


def _format_interaction(interaction: store.Interaction, limit: int) -> Iterator[str]:
    """Yield the lines of a request and its answers; the request is read together with the first answer that is not damaged."""
    request = interaction.request
    if is_tool_request(request):
        yield from _format_tool_interaction(interaction, limit)
        return
    method = shorten_text(request["method"], 20)
    url = shorten_text(request["url"], 300)
    caller = shorten_text(interaction.by, 200)
    key = shorten_text(interaction.key, 40)
    yield f"{caller}  {method} {url}  key {key}"
    is_request_printed = False
    for take, answers in interaction.answers.items():
        for number, answer in enumerate(answers, 1):
            try:
                call = read_call(store.make_stored_exchange(request, answer))
            except CassetteError as error:
                yield _format_field("damaged", shorten_text(str(error), 300))
                continue
            if not is_request_printed:
                is_request_printed = True
                if not is_websocket(request["method"]):
                    yield from _format_request(call, request, limit)
            if len(answers) > 1 or len(interaction.answers) > 1:
                take_text = shorten_text(take, 20)
                if take.isdecimal() and is_fault_take(int(take)):
                    take_text += f" ({name_fault_take(int(take))})"
                yield f"  take {take_text}, answer {number} of {len(answers)}"
            if is_websocket(request["method"]) and answer["status"] == OPENED:
                yield from _format_conversation(answer, limit)
            else:
                yield from _format_answer(call, answer, limit)


def _format_tool_interaction(interaction: store.Interaction, limit: int) -> Iterator[str]:
    """Yield the lines of a call of a tool and its answers."""
    request = interaction.request
    caller = shorten_text(interaction.by, 200)
    key = shorten_text(interaction.key, 40)
    params = read_tool_params(request)
    method, url = request["method"], request["url"]
    name = shorten_text(tool_name(method, url, params), 80)
    if name == method or method != CALL_METHOD:
        name = ""
    parts = [shorten_text(method, 40), name, "of", name_tool_server(url)]
    yield f"{caller}  {' '.join(part for part in parts if part)}  key {key}"
    asked = json.dumps(tool_arguments(params), ensure_ascii=False)
    yield _format_field("asked", shorten_text(asked, limit))
    for take, answers in interaction.answers.items():
        for number, answer in enumerate(answers, 1):
            if len(answers) > 1 or len(interaction.answers) > 1:
                yield f"  take {shorten_text(take, 20)}, answer {number} of {len(answers)}"
            try:
                yield from _format_tool_answer(answer_from_wire(answer), limit)
            except CassetteError as error:
                yield _format_field("damaged", shorten_text(str(error), 300))


def _format_tool_answer(answer: Answer, limit: int) -> Iterator[str]:
    """Yield the answer of a tool, and its time."""
    content = read_tool_answer(answer)
    facts = []
    if answer.outcome is not None:
        facts.append(f"ended in {shorten_text(answer.outcome.error, 60)}")
    for label, member in (("answers", "result"), ("fails", "error")):
        if member in content:
            text = json.dumps(content[member], ensure_ascii=False)
            yield _format_field(label, shorten_text(text, limit))
    if answer.latency_s is not None:
        facts.append(f"{answer.latency_s:g} s")
    if facts:
        yield _format_field("status", ", ".join(facts))


def _format_request(call: Call, request: dict[str, Any], limit: int) -> Iterator[str]:
    """Yield the model and the last message of a request; without messages its body."""
    model = shorten_text(call.model or "(none)", 100)
    provider = shorten_text(call.provider, 40)
    endpoint = shorten_text(call.endpoint, 100)
    api = f"{provider}, {endpoint}"
    yield _format_field("model", f"{model} ({api})")
    if call.messages:
        last = call.messages[-1]
        role = shorten_text(last.role, 40)
        text = f"{role}: {shorten_text(last.content, limit)}"
        earlier = len(call.messages) - 1
        if earlier:
            text += f"  (+{format_count(earlier, 'earlier message')})"
        yield _format_field("asked", text)
        return
    body = unfold_body(request["body"]).decode("utf-8", "backslashreplace")
    if body:
        yield _format_field("asked", shorten_text(body, limit))


def _format_answer(call: Call, answer: dict[str, Any], limit: int) -> Iterator[str]:
    """Yield text, tool calls, status and tokens of an answer; its body if it has neither text nor tool calls."""
    if call.output:
        yield _format_field("says", shorten_text(call.output, limit))
    for tool in call.tool_calls:
        name = shorten_text(tool.name, 100)
        arguments = shorten_text(tool.arguments, limit)
        yield _format_field("calls", f"{name} {arguments}")
    if not call.output and not call.tool_calls:
        text = unfold_body(answer["body"]).decode("utf-8", "backslashreplace")
        yield _format_field("answers", shorten_text(text or "nothing", limit))
    yield _format_field("status", ", ".join(_list_facts(call, answer)))
    tokens = ", ".join(_list_token_counts(call))
    if tokens:
        yield _format_field("tokens", tokens)


def _format_conversation(answer: dict[str, Any], limit: int) -> Iterator[str]:
    """Yield a line for each message over a WebSocket, and one for its end."""
    try:
        conversation = decode_conversation(unfold_body(answer["body"]))
    except CassetteError as error:
        yield _format_field("damaged", shorten_text(str(error), 300))
        return
    for message in conversation.messages:
        text = message.data.decode("utf-8", "backslashreplace")
        if message.digest:
            text = f"{message.size:,} bytes, SHA-256 {message.digest}"
        elif not message.is_text:
            text = f"{len(message.data):,} bytes"
        yield _format_field(_SENDERS[message.sender], shorten_text(text, limit))
    end = conversation.end
    text = _ENDS[end.by]
    if end.by == "server":
        text += f" with code {end.code} {shorten_text(end.reason, 100)}".rstrip()
    yield _format_field("ended", f"{text}, {answer.get('latency_s', 0):g} s")


def _list_facts(call: Call, answer: dict[str, Any]) -> Iterator[str]:
    """Yield status, error, finish reason, duration and cost of an answer, as far as they are known."""
    yield str(call.status or "none")
    if "outcome" in answer:
        yield f"ended in {shorten_text(answer['outcome']['error'], 60)}"
    if call.finish_reason:
        yield f"finished: {shorten_text(call.finish_reason, 60)}"
    if call.streamed:
        yield "streamed"
    if call.latency_s is not None:
        duration = f"{call.latency_s:g} s"
        if call.ttft_s is not None:
            duration += f" (first token after {call.ttft_s:g} s)"
        yield duration
    if call.cost_usd is not None:
        yield f"{call.cost_usd:.6f} USD"


def _list_token_counts(call: Call) -> Iterator[str]:
    """Yield the token counts that the answer reports."""
    usage = call.usage
    counts = {
        "in": usage.input_tokens,
        "out": usage.output_tokens,
        "cached": usage.cached_tokens,
        "reasoning": usage.reasoning_tokens,
    }
    for name, count in counts.items():
        if count is not None:
            yield f"{count:,} {name}"


def _format_field(label: str, text: str) -> str:
    return f"  {label:<8}{text}"
