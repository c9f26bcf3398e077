"""Read conversations of production from exported traces; `FIELD_NAMES` lists the names of each field in all conventions.

OpenTelemetry GenAI (attributes, events and the older log records), OpenInference, Traceloop, Langfuse, Phoenix and
LangSmith: OTLP JSON, with keys in either spelling, or rows of a store; JSON lines, or one document of any size.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from pytest_llmops._util.json_values import JsonObject, as_mapping, as_mappings, as_text, as_texts
from pytest_llmops._util.text_files import BadFile
from pytest_llmops.production.export_records import read_records
from pytest_llmops.production.exported_messages import (
    CUT,
    Turn,
    is_message,
    nest_keys,
    parse_text,
    read_messages,
    read_tools,
)
from pytest_llmops.production.review_queue import QueueEntry
from pytest_llmops.protocols import ToolCall, Usage
from pytest_llmops.trace import cost_usd, fields

# The names of each field, the current convention first. A dot may lead into a JSON text: the key input.value may hold {"tools": ...}
FIELD_NAMES = {
    "trace": "traceId trace_id context.trace_id",
    "span": "spanId span_id context.span_id id",
    "start": "startTimeUnixNano start_time_unix_nano start_time startTime",
    "end": "endTimeUnixNano end_time_unix_nano end_time endTime",
    "event": "eventName event_name event.name",
    "body": "body",
    "kind": """
        gen_ai.operation.name
        openinference.span.kind
        llm.request.type
        langfuse.observation.type
        span_kind
        type
        run_type
    """,
    "provider": "gen_ai.provider.name gen_ai.system llm.provider llm.system",
    "model": """
        gen_ai.response.model
        llm.model_name
        gen_ai.request.model
        langfuse.observation.model.name
        provided_model_name
        providedModelName
        model
        outputs.model
        inputs.model
    """,
    "system": """
        gen_ai.system_instructions
        langfuse.observation.input.system
        input.value.system
        input.system
    """,
    "input": """
        gen_ai.input.messages
        llm.input_messages
        gen_ai.prompt
        langfuse.observation.input.messages
        langfuse.observation.input
        input.value.messages
        input.value
        input.messages
        input
        inputs.messages
    """,
    "output": """
        gen_ai.output.messages
        llm.output_messages
        gen_ai.completion
        langfuse.observation.output
        output.value.choices
        output.value
        output
        outputs.choices
    """,
    "message": "outputs",
    "tools": """
        gen_ai.tool.definitions
        llm.tools
        llm.request.functions
        langfuse.observation.input.tools
        input.value.tools
        input.tools
        inputs.tools
    """,
    "finish_reason": """
        llm.finish_reason
        gen_ai.completion.0.finish_reason
        langfuse.observation.metadata.finish_reason
        gen_ai.response.finish_reasons
    """,
    "input_tokens": """
        gen_ai.usage.input_tokens
        gen_ai.usage.prompt_tokens
        llm.token_count.prompt
        langfuse.observation.usage_details.prompt_tokens
        langfuse.observation.usage_details.input
        usage_details.input
        usageDetails.input
        prompt_tokens
    """,
    "output_tokens": """
        gen_ai.usage.output_tokens
        gen_ai.usage.completion_tokens
        llm.token_count.completion
        langfuse.observation.usage_details.completion_tokens
        langfuse.observation.usage_details.output
        usage_details.output
        usageDetails.output
        completion_tokens
    """,
    "cached_tokens": """
        gen_ai.usage.cache_read.input_tokens
        gen_ai.usage.cache_read_input_tokens
        llm.token_count.prompt_details.cache_read
        langfuse.observation.usage_details.prompt_tokens_details.cached_tokens
        usage_details.input_cached_tokens
        usageDetails.input_cached_tokens
        outputs.usage.prompt_tokens_details.cached_tokens
    """,
    "cache_write_tokens": """
        gen_ai.usage.cache_creation.input_tokens
        llm.token_count.prompt_details.cache_write
    """,
    "reasoning_tokens": """
        gen_ai.usage.reasoning.output_tokens
        gen_ai.usage.reasoning_tokens
        llm.token_count.completion_details.reasoning
    """,
    "total_tokens": "usage_details.total usageDetails.total",
}


def _split_names(names: str) -> tuple[tuple[str, ...], ...]:
    """Return the steps of each name: its parts between dots."""
    paths = [tuple(name.split(".")) for name in names.split()]
    return tuple(paths)


FIELDS = {field: _split_names(names) for field, names in FIELD_NAMES.items()}
MODEL_CALLS = ("chat", "text_completion", "generate_content", "completion", "llm", "generation")
# Log records of one message each: where it belongs, and its role
MESSAGE_EVENTS = {
    "gen_ai.system.message": ("input", "system"),
    "gen_ai.user.message": ("input", "user"),
    "gen_ai.assistant.message": ("input", "assistant"),
    "gen_ai.tool.message": ("input", "tool"),
    "gen_ai.choice": ("output", "assistant"),
}
# Why a call is left out
NO_CONTENT = (
    "calls without messages or answer (OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=span_only records them; give the files of "
    "logs with those of traces)"
)
REPEATED = "calls with the id of another"
UNREADABLE = "calls with values that are not UTF-8, not finite or nested too deeply"


class StoredCall(NamedTuple):
    """A call as JSON (one text burdens the garbage collector less than many objects), the ends of the calls that it continues, and where it was read.

    The "end" of a call is the hash of all messages up to and including its answer; see `_store_call`.
    """

    text: str
    earlier: tuple[int, ...]
    origins: list[JsonObject]


def read_conversations(paths: Iterable[Path], counts: Counter[str]) -> Iterator[QueueEntry]:
    """Yield each conversation in exported files once, as an entry of the review queue, in the order of the files.

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
    for values in _join_records(paths, counts):
        try:
            _store_call(values, calls, contents)
        except (BadFile, RecursionError) as error:
            reason = str(error)
            if reason not in (CUT, NO_CONTENT):
                reason = UNREADABLE
            counts[reason] += 1
    for end, texts in contents.items():
        if texts:
            yield _build_entry(end, texts, calls)


def _store_call(
    values: JsonObject, calls: dict[int, StoredCall], contents: dict[int, tuple[str, ...]]
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
        call = json.dumps(_read_call(values, answer))
        calls[end] = StoredCall(call, earlier, [])
    calls[end].origins.append(values["origin"])
    contents.update(dict.fromkeys(earlier, ()))
    tools = read_tools(json.dumps(values.get("tools")))
    texts = [turn.text for turn in turns[:-1]]
    contents.setdefault(end, (tools, *texts))


def _load_values(texts: Sequence[str]) -> list[Any]:
    """Return the values of several texts of JSON."""
    values: list[Any] = json.loads(f"[{','.join(texts)}]")
    return values


def _build_entry(end: int, texts: Sequence[str], calls: Mapping[int, StoredCall]) -> QueueEntry:
    """Return the conversation whose last call has this end; ``texts`` are its tools and messages as JSON."""
    tools, *messages = _load_values(texts)
    last = calls[end]
    places = (*last.earlier, end)
    stored = [calls[place].text for place in places if place in calls]
    conversation = _load_values(stored)
    questions = [message["content"] for message in messages if message["role"] == "user"]
    data = {}
    if tools:
        data["tools"] = tools
    question: Any = messages
    sent_messages = None
    if len(questions) == 1:
        question = questions[0]
        sent_messages = messages
    return QueueEntry(
        input=question,
        output=_format_answer(conversation[-1]),
        reason="trace",
        messages=sent_messages,
        calls=conversation,
        origin=tuple(last.origins),
        data=data,
    )


def _format_answer(call: JsonObject) -> str:
    """Return the text of the answer of a call; without text, its tool calls, one on a line."""
    if call.get("output"):
        return str(call["output"])
    tool_calls = [ToolCall(**given) for given in call.get("tool_calls", ())]
    return "\n".join(map(fields.format_tool_call, tool_calls))


def _join_records(paths: Iterable[Path], counts: Counter[str]) -> Iterator[dict[str, Any]]:
    """Yield the fields of each call from its span and log records, as soon as it is complete; incomplete calls come at the end."""
    waiting: dict[
        tuple[str, str], dict[str, Any]
    ] = {}  # by trace and span; an empty call was yielded already
    for path in paths:
        for number, record in enumerate(read_records(path, counts)):
            values = _read_fields(record)
            event = as_text(values.get("event"))
            field, role = MESSAGE_EVENTS.get(event, ("", ""))
            if not field and as_text(values.get("kind")).casefold() not in MODEL_CALLS:
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
                body = as_mapping(_read_any_value(values.get("body")))
                call[field].append({"role": role, **body})
            else:
                for name, value in values.items():
                    call.setdefault(name, value)
            if call.keys() >= {"start", "input", "output"}:
                waiting[trace, span] = {}
                yield call
    yield from filter(None, waiting.values())


def _read_fields(record: JsonObject) -> dict[str, Any]:
    """Return the values of a span, log record or row, by our field names."""
    attributes = record.get("attributes")
    plain = {**record, **as_mapping(attributes), **_read_pairs(attributes)}
    unprefixed = {key.removeprefix("attributes."): value for key, value in plain.items()}
    tree = nest_keys(unprefixed)
    values = {}
    for field, names in FIELDS.items():
        value = _find_first_value(tree, names)
        if value is not None:
            values[field] = value
    answer = values.pop("message", None)
    if is_message(answer):
        values.setdefault("output", answer)
    return values


def _read_pairs(value: object) -> dict[str, Any]:
    """Return the values of OTLP's KeyValue list by key."""
    pairs = as_mappings(value)
    values = {}
    for pair in pairs:
        if "key" in pair:
            name = as_text(pair["key"])
            values[name] = _read_any_value(pair.get("value"))
    return values


def _read_any_value(value: object) -> Any:
    """Return the value of OTLP's AnyValue: {"stringValue": ...}, {"array_value": {"values": [...]}} ..."""
    values = as_mapping(value).values()
    inner = next((item for item in values if item is not None), None)
    if not isinstance(inner, dict):
        return inner
    items = inner.get("values")
    pairs = _read_pairs(items)
    return pairs or [_read_any_value(item) for item in as_mappings(items)]


def _find_first_value(tree: JsonObject, names: Iterable[Sequence[str]]) -> Any:
    """Return the first value that is not empty, or None. A name is a list of steps into objects, or texts that hold them as JSON."""
    for name in names:
        if name[0] not in tree:
            continue
        node: Any = tree
        for step in name:
            if not node:
                node = None
                break
            if not isinstance(node, dict):
                node = as_mapping(parse_text(node))
            node = node.get(step)
        if node not in (None, "", [], {}):
            return node
    return None


def _read_call_turns(values: JsonObject) -> list[Turn]:
    """Return the messages of a call and, as the last one, its answer, in the format of OpenAI's chat completions."""
    system = read_messages(values.get("system"), "system")
    messages = read_messages(values.get("input"), "user")
    answers = read_messages(values.get("output"), "assistant")
    if not messages or not answers:
        raise BadFile(NO_CONTENT)
    new_system = [turn for turn in system if turn not in messages]  # OpenInference has it in both places
    return [*new_system, *messages, answers[0]._replace(role="assistant")]


def _read_call(values: JsonObject, answer: JsonObject) -> dict[str, Any]:
    """Return a call as `Call.to_wire` writes it, but without messages: the entry has them."""
    counts = {}
    for name in Usage.__dataclass_fields__:
        count = parse_text(values.get(name))
        counts[name] = fields.as_token_count(count)
    cached_tokens = counts["cached_tokens"]
    total = fields.sum_known_counts(counts["input_tokens"], counts["output_tokens"], cached_tokens)
    if cached_tokens and parse_text(values.get("total_tokens")) == total:
        # The total shows that input_tokens does not include the cached tokens; ours does.
        counts["input_tokens"] = fields.sum_known_counts(counts["input_tokens"], cached_tokens)
    model = as_text(values.get("model"))
    provider = as_text(values.get("provider"))
    finish_reasons = as_texts(values.get("finish_reason"))
    tool_calls = fields.read_chat_tool_calls(answer.get("tool_calls"))
    finish_reason = "".join(finish_reasons[:1])
    known_counts = {name: tokens for name, tokens in counts.items() if tokens is not None}
    call = {
        "provider": provider,
        "endpoint": "chat",
        "model": model,
        "output": fields.content_text(answer["content"]),
        "tool_calls": [asdict(tool_call) for tool_call in tool_calls],
        "finish_reason": finish_reason.strip('"'),
        "usage": known_counts,
        "cost_usd": cost_usd(model, Usage(**counts), provider=provider),
        "latency_s": _read_duration(values),
    }
    return {name: value for name, value in call.items() if value not in (None, "", [], {})}


def _read_duration(values: JsonObject) -> float | None:
    start = _read_seconds(values.get("start"))
    end = _read_seconds(values.get("end"))
    if not start or not end or end < start:
        return None
    return round(end - start, 6)


def _read_seconds(value: object) -> float | None:
    """Return seconds since 1970 for a time in nanoseconds or ISO 8601; None for anything else."""
    text = str(value)
    with suppress(ValueError, OverflowError):
        if text.isdecimal():
            return int(text) / 1e9
        return datetime.fromisoformat(text).timestamp()
    return None
