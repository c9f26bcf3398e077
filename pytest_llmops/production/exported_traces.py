"""Read conversations of production from exported traces.

OpenTelemetry GenAI (attributes, events and the older log records), OpenInference, Traceloop, Langfuse, Phoenix and
LangSmith: OTLP JSON, with keys in either spelling, or rows of a store; JSON lines, or one document of any size.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from pytest_llmops._util.json_values import JsonObject, as_mapping, as_text, as_texts
from pytest_llmops._util.text_files import BadFile
from pytest_llmops.errors import UsageError
from pytest_llmops.production.review_queue import QueueEntry
from pytest_llmops.protocols import ToolCall
from pytest_llmops.trace import cost_usd, fields
from pytest_llmops.trace.exported.messages import (
    CUT,
    Turn,
    join_answers,
    parse_text,
    read_messages,
    read_tools,
)
from pytest_llmops.trace.exported.records import read_records
from pytest_llmops.trace.exported.span_fields import (
    FIELDS,
    MESSAGE_EVENTS,
    MODEL_CALLS,
    NO_CONTENT_HINT,
    Paths,
    read_any_value,
    read_duration,
    read_fields,
    read_usage,
)

# Why a call is left out
NO_CONTENT = f"calls without messages or answer ({NO_CONTENT_HINT}; give the files of logs together with the files of traces)"
REPEATED = "calls with the id of another"
CUT_TOOLS = "tool definitions, cut by a limit of attributes: their conversations were imported without them"
UNREADABLE = "calls with values that are not UTF-8, not finite or nested too deeply"


class StoredCall(NamedTuple):
    """A call as JSON (one text burdens the garbage collector less than many objects), the ends of the calls that it continues, and where it was read.

    The "end" of a call is the hash of all messages up to and including its answer; see `_store_call`.
    """

    text: str
    earlier: tuple[int, ...]
    origins: list[JsonObject]


class Conversation(NamedTuple):
    """A conversation as an entry of the review queue, and the origins of its calls, the last one at the end."""

    entry: QueueEntry
    origins: list[JsonObject]


def read_conversations(paths: Iterable[Path], counts: Counter[str]) -> Iterator[Conversation]:
    """Yield each conversation in exported files once, in the order of the files.

    A call continues another one if its messages begin with the other's messages and answer, even in another trace or an earlier line.

    Args:
        paths: Files of traces, and of the log records of their messages.
        counts: Is increased, by reason, for calls and broken lines that are left out.

    Raises:
        UsageError: A file cannot be read, or is a document that is broken or cut, with its place.
    """
    calls: dict[int, StoredCall] = {}
    # End of a call -> its tools and messages as JSON; an empty tuple if another call continues it
    contents: dict[int, tuple[str, ...]] = {}
    for values in join_records(paths, counts):
        try:
            tools = _read_tools(values, counts)
            _store_call(values, tools, calls, contents)
        except (BadFile, RecursionError) as error:
            reason = str(error)
            if reason not in (CUT, NO_CONTENT):
                reason = UNREADABLE
            counts[reason] += 1
    for end, texts in contents.items():
        if texts:
            yield _build_conversation(end, texts, calls)


def _read_tools(values: JsonObject, counts: Counter[str]) -> str:
    """Return the tools of a call as JSON; of tools that were cut, none, which is counted."""
    try:
        return read_tools(json.dumps(values.get("tools")))
    except BadFile as error:
        if str(error) != CUT:
            raise
    counts[CUT_TOOLS] += 1
    return "[]"


def _store_call(
    values: JsonObject, tools: str, calls: dict[int, StoredCall], contents: dict[int, tuple[str, ...]]
) -> None:
    """Store a call in ``calls`` and its messages in ``contents``, both under its end; mark the calls that it continues.

    The hash of a text differs between processes, so nobody can craft two conversations with the same end.
    """
    turns = _read_call_turns(values)
    end = 0
    ends = []
    for turn in turns:
        end = hash((end, turn.spelling))
        if turn.role == "assistant":
            ends.append(end)
    earlier = tuple(ends[:-1])  # the last turn is the answer
    if end not in calls:
        answer = json.loads(turns[-1].text)
        call = json.dumps(read_call_facts(values, answer))
        calls[end] = StoredCall(call, earlier, [])
    calls[end].origins.append(values["origin"])
    contents.update(dict.fromkeys(earlier, ()))
    texts = [turn.text for turn in turns[:-1]]
    contents.setdefault(end, (tools, *texts))


def _load_values(texts: Sequence[str]) -> list[Any]:
    """Return the values of several texts of JSON."""
    values: list[Any] = json.loads(f"[{','.join(texts)}]")
    return values


def _build_conversation(end: int, texts: Sequence[str], calls: Mapping[int, StoredCall]) -> Conversation:
    """Return the conversation whose last call has this end; ``texts`` are its tools and messages as JSON."""
    tools, *messages = _load_values(texts)
    last = calls[end]
    places = [place for place in (*last.earlier, end) if place in calls]
    conversation = _load_values([calls[place].text for place in places])
    origins = [_choose_origin(calls[place].origins, last.origins[0]) for place in places]
    questions = [message["content"] for message in messages if message["role"] == "user"]
    data = {}
    if tools:
        data["tools"] = tools
    question: Any = messages
    sent_messages = None
    if len(questions) == 1:
        question = questions[0]
        sent_messages = messages
    entry = QueueEntry(
        input=question,
        output=_format_answer(conversation[-1]),
        reason="trace",
        messages=sent_messages,
        calls=conversation,
        origin=tuple(last.origins),
        data=data,
    )
    return Conversation(entry, origins)


def _choose_origin(origins: Sequence[JsonObject], last: JsonObject) -> JsonObject:
    """Return which of several equal calls belongs to a conversation: the one in the trace of its last call, else the first."""
    for origin in origins:
        if origin["trace"] == last["trace"]:
            return origin
    return origins[0]


def _format_answer(call: JsonObject) -> str:
    """Return the text of the answer of a call; without text, its tool calls, one on a line."""
    if call.get("output"):
        return str(call["output"])
    tool_calls = [ToolCall(**given) for given in call.get("tool_calls", ())]
    return "\n".join(map(fields.format_tool_call, tool_calls))


def _read_file(path: Path, counts: Counter[str]) -> Iterator[JsonObject]:
    """Yield the records of a file; an error adds that nothing was written."""
    try:
        yield from read_records(path, counts)
    except UsageError as error:
        raise UsageError(f"{error}; nothing was written") from None


def join_records(
    paths: Iterable[Path],
    counts: Counter[str],
    field_names: Mapping[str, Paths] = FIELDS,
    note_other: Callable[[JsonObject], object] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the fields of each call from its span and log records, as soon as it is complete; incomplete calls come at the end.

    Args:
        paths: Files of traces and logs.
        counts: Is increased, by reason, for each part left out.
        field_names: The names of the fields.
        note_other: Called with the fields of each record that is not of a model call; None: such records are skipped.
    """
    waiting: dict[
        tuple[str, str], dict[str, Any]
    ] = {}  # by trace and span; an empty call was yielded already
    for path in paths:
        for number, record in enumerate(_read_file(path, counts)):
            values = read_fields(record, field_names)
            event = as_text(values.get("event"))
            field, role = MESSAGE_EVENTS.get(event, ("", ""))
            if not field and as_text(values.get("kind")).casefold() not in MODEL_CALLS:
                if note_other is not None:
                    note_other(values)
                continue
            trace = str(values.get("trace", ""))
            place = f"{path.name}#{number}"
            span = str(values.get("span", place))
            origin = {"source": path.name, "trace": trace, "id": span}
            call = waiting.setdefault((trace, span), {"origin": origin})
            if not call:
                if "start" in values:  # another span, not a further log record
                    counts[REPEATED] += 1
            elif field:
                if not isinstance(call.get(field), list):
                    call[field] = []
                body = as_mapping(read_any_value(values.get("body")))
                call[field].append({"role": role, **body})
            else:
                for name, value in values.items():
                    call.setdefault(name, value)
            if call.keys() >= {"start", "input", "output"}:
                waiting[trace, span] = {}
                yield call
    yield from filter(None, waiting.values())


def _read_call_turns(values: JsonObject) -> list[Turn]:
    """Return the messages of a call and, as the last one, its answer, in the format of OpenAI's chat completions."""
    system = read_messages(values.get("system"), "system")
    messages = read_messages(values.get("input"), "user")
    answers = read_messages(values.get("output"), "assistant")
    if not messages or not answers:
        raise BadFile(NO_CONTENT)
    new_system = [turn for turn in system if turn not in messages]  # OpenInference has it in both places
    return [*new_system, *join_answers(messages), choose_answer(values, answers)]


def choose_answer(values: JsonObject, turns: Sequence[Turn]) -> Turn:
    """Return the answer of a call as one turn of the assistant.

    Several turns are the items of one answer (of OpenAI's Responses). If the request wanted several answers, the first turn is the answer.

    Args:
        values: The fields of the call.
        turns: The answer in the trace, at least one turn.
    """
    answers = [turn._replace(role="assistant") for turn in turns]
    if fields.as_token_count(parse_text(values.get("choices"))) in (None, 1):
        answers = join_answers(answers)
    return answers[0]


def read_call_facts(values: JsonObject, answer: JsonObject) -> dict[str, Any]:
    """Return a call as `Call.to_wire` writes it, but without messages: the entry has them."""
    usage = read_usage(values)
    model = as_text(values.get("model"))
    provider = as_text(values.get("provider"))
    finish_reasons = as_texts(values.get("finish_reason"))
    tool_calls = fields.read_chat_tool_calls(answer.get("tool_calls"))
    finish_reason = "".join(finish_reasons[:1])
    known_counts = {name: tokens for name, tokens in asdict(usage).items() if tokens is not None}
    call = {
        "provider": provider,
        "endpoint": "chat",
        "model": model,
        "output": fields.content_text(answer["content"]),
        "tool_calls": [asdict(tool_call) for tool_call in tool_calls],
        "finish_reason": finish_reason.strip('"'),
        "usage": known_counts,
        "cost_usd": cost_usd(model, usage, provider=provider),
        "latency_s": read_duration(values),
    }
    return {name: value for name, value in call.items() if value not in (None, "", [], {})}
