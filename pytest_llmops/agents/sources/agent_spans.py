"""Spans of models, tools and agents in any convention, from finished spans of the SDK, an OTLP/JSON export, or files of one.

The conventions of OpenTelemetry GenAI, OpenInference, Traceloop, Langfuse, LangSmith and Vercel's AI SDK are read (see `trace.exported`).
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmops._util.json_values import JsonObject, as_mapping, as_mappings, as_text
from pytest_llmops.agents.sources.fields import get_field
from pytest_llmops.agents.trajectory import MAX_DEPTH
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import format_count
from pytest_llmops.recorder import shorten_masked
from pytest_llmops.trace.exported.messages import parse_text
from pytest_llmops.trace.exported.records import LISTS, read_records
from pytest_llmops.trace.exported.span_fields import (
    FIELDS,
    MESSAGE_EVENTS,
    MODEL_CALLS,
    read_any_value,
    read_fields,
    read_pairs,
    read_seconds,
    split_names,
)

_TOOLS = ("execute_tool", "tool")
_AGENTS = ("invoke_agent", "create_agent", "agent")
# Of Vercel's AI SDK
_VERCEL_MODELS = (
    "ai.generatetext.dogenerate",
    "ai.streamtext.dostream",
    "ai.generateobject.dogenerate",
    "ai.streamobject.dostream",
)
_KINDS = {
    **dict.fromkeys((*MODEL_CALLS, *_VERCEL_MODELS), "model"),
    **dict.fromkeys((*_TOOLS, "ai.toolcall"), "tool"),
    **dict.fromkeys(_AGENTS, "agent"),
}
# Names of further fields, as in `span_fields`
_FIELD_NAMES = {
    "parent": "parentSpanId parent_span_id parent_id parentId parentObservationId",
    "kind": "traceloop.span.kind ai.operationId",
    "events": "events",
    "agent": "gen_ai.agent.name agent.name llm.agent.name",
    "named_tool": "gen_ai.tool.name ai.toolCall.name",
    "tool": "gen_ai.tool.name tool.name tool_call.function.name traceloop.entity.name ai.toolCall.name name",
    "call_id": "gen_ai.tool.call.id tool_call.id tool.call_id ai.toolCall.id",
    "arguments": """
        gen_ai.tool.call.arguments
        tool_call.function.arguments
        input.value
        traceloop.entity.input
        langfuse.observation.input
        ai.toolCall.args
        tool_arguments
        input
        inputs
        tool.parameters
    """,
    "result": """
        gen_ai.tool.call.result
        output.value
        traceloop.entity.output
        langfuse.observation.output
        ai.toolCall.result
        tool_response
        output
        outputs
    """,
    "vercel_input": "ai.prompt.messages",
    "vercel_text": "ai.response.text",
    "vercel_calls": "ai.response.toolCalls",
    "error": "error.type exception.message status.message error",
    "status": "status.code status.status_code status langfuse.observation.level level",
}
_FIELDS = {name: split_names(names) for name, names in _FIELD_NAMES.items()}
_ERROR_STATUS = ("error", "2", "status_code_error", "statuscode.error")
_OK_STATUS = ("ok", "1", "status_code_ok", "statuscode.ok")
_MAX_LISTS = 12  # nested lists of an export


@dataclass(slots=True)
class Span:
    """A span of an agent, a model, a tool, or of something else (``kind`` is "").

    Attributes:
        tool: The nearest span above it that is of a tool; None: there is none.
        model: The nearest span of a model above it, below that tool: both may be of the same call; None: there is none.
        model_depth: How many such spans of models are above it.
        depth: How many spans of tools are above it.
        agent: Name of the agent that it belongs to.
    """

    id: tuple[str, str]
    parent: tuple[str, str]
    start: float
    kind: str
    values: dict[str, Any]
    tool: "Span | None" = None
    model: "Span | None" = None
    model_depth: int = 0
    depth: int = 0
    agent: str = ""


def read_agent_spans(source: object, problems: list[str]) -> list[Span] | None:
    """Return the spans of models, tools and agents in order, each with those that it belongs to; None if the value has no span.

    Args:
        source: Spans, an export, or the `Path` of one.
        problems: Gets a sentence for each part that could not be read.

    Raises:
        UsageError: A file cannot be read, or no span is of a model, a tool or an agent.
    """
    records = _list_records(source, problems)
    if records is None:
        return None
    spans = _read_spans(records)
    if not any(span.kind for span in spans):
        raise UsageError(
            f"expected spans of models, tools or agents (gen_ai.operation.name is chat, execute_tool or invoke_agent; also the spans of "
            f"OpenInference, Traceloop, Langfuse, LangSmith and Vercel's AI SDK), "
            f"got {format_count(len(spans), 'other span')}: switch on the GenAI instrumentation of the framework"
        )
    _link_spans(spans)
    return _sort_traces(_merge_model_calls([span for span in spans if span.kind]))


def _list_records(source: object, problems: list[str]) -> list[JsonObject] | None:
    """Return spans and log records as mappings; None if the value has none."""
    sources: Sequence[object] = [source]
    if isinstance(source, (list, tuple)):
        sources = source
    records: list[JsonObject] = []
    for number, item in enumerate(sources, start=1):
        if isinstance(item, Path):
            left_out: Counter[str] = Counter()
            records += read_records(item, left_out)
            problems += [f"{item.name}: {reason}" for reason in left_out]
        elif isinstance(item, Mapping):
            records += _flatten(_make_plain(item, number), _MAX_LISTS)
        elif get_field(item, "get_span_context") is not None:
            records.append(_dump_span(item))
        else:
            return None
    return records


def _make_plain(item: object, number: int) -> JsonObject:
    """Return a span or an export as JSON has it; values that JSON does not have become texts.

    Raises:
        UsageError: JSON cannot represent it.
    """
    try:
        plain: JsonObject = json.loads(json.dumps(item, default=str))
    except Exception as error:
        problem = shorten_masked(f"{type(error).__name__}: {error}", 200)
        raise UsageError(
            f"span {number}: expected a mapping that JSON can represent, got {problem}"
        ) from error
    return plain


def _flatten(value: Mapping[str, Any], levels: int) -> Iterator[JsonObject]:
    """Yield the spans and log records in the lists of an export."""
    inner = [value[name] for name in LISTS if isinstance(value.get(name), (list, tuple))]
    if not inner:
        yield dict(value)
    if levels:
        for items in inner:
            for item in items:
                if isinstance(item, Mapping):
                    yield from _flatten(item, levels - 1)


def _dump_span(span: object) -> JsonObject:
    """Return a finished span of the SDK as a mapping."""
    context = get_field(span, "context")
    attributes = {}
    for name, value in dict(get_field(span, "attributes") or {}).items():
        attributes[name] = list(value) if isinstance(value, tuple) else value
    status = get_field(span, "status")
    return {
        "name": get_field(span, "name"),
        "trace_id": str(get_field(context, "trace_id")),
        "span_id": str(get_field(context, "span_id")),
        "parent_span_id": str(get_field(get_field(span, "parent"), "span_id") or ""),
        "start_time_unix_nano": get_field(span, "start_time"),
        "end_time_unix_nano": get_field(span, "end_time"),
        "attributes": attributes,
        "events": [
            {"name": get_field(event, "name"), "attributes": dict(get_field(event, "attributes") or {})}
            for event in get_field(span, "events") or ()
        ],
        "status": {
            "code": get_field(get_field(status, "status_code"), "name"),
            "message": get_field(status, "description"),
        },
    }


def _read_spans(records: Iterable[JsonObject]) -> list[Span]:
    """Return the spans in the order of their start, with the messages of their events; of equal spans the first one."""
    spans: dict[tuple[str, str], Span] = {}
    events: list[tuple[tuple[str, str], JsonObject, dict[str, Any]]] = []
    for number, record in enumerate(records):
        values = read_fields(record, FIELDS)
        further = read_fields(record, _FIELDS)
        trace = str(values.get("trace", ""))
        place = (trace, str(values.get("span", f"#{number}")))
        if values.get("event"):
            events.append((place, record, values))
            continue
        for event in as_mappings(further.get("events")):
            values_of_event = read_fields({**event, "eventName": event.get("name")}, FIELDS)
            events.append((place, event, values_of_event))
        further["tool"] = as_text(further.get("tool")).removeprefix("execute_tool").strip()
        kind = _find_kind(values, further)
        if kind == "model":
            _add_vercel_messages(values, further)
        parent = (trace, str(further.get("parent", "")))
        start = read_seconds(values.get("start")) or 0.0
        span = Span(place, parent, start, kind, {**further, **values})
        known = spans.get(place)
        if known is None or (kind and not known.kind):  # a log record may have the id of its span
            spans[place] = span
    _add_events(spans, events)
    return sorted(spans.values(), key=lambda span: span.start)


def _find_kind(values: JsonObject, further: JsonObject) -> str:
    """Return "model", "tool" or "agent"; "" for a span of something else."""
    for names in (values, further):
        kind = _KINDS.get(as_text(names.get("kind")).casefold())
        if kind:
            return kind
    if further.get("named_tool"):
        return "tool"
    return ""


def _add_vercel_messages(values: dict[str, Any], further: JsonObject) -> None:
    """Add the messages of a span of Vercel's AI SDK under the names of the others."""
    if "vercel_input" in further:
        values.setdefault("input", further["vercel_input"])
    if "vercel_text" in further or "vercel_calls" in further:
        answer = {
            "role": "assistant",
            "content": as_text(further.get("vercel_text")),
            "tool_calls": further.get("vercel_calls"),
        }
        values.setdefault("output", [answer])


def _add_events(
    spans: Mapping[tuple[str, str], Span],
    events: Iterable[tuple[tuple[str, str], JsonObject, dict[str, Any]]],
) -> None:
    """Add the messages of events and log records to the fields of their spans, unless these have their own."""
    added: dict[tuple[str, str], dict[str, list[JsonObject]]] = {}
    for place, record, values in events:
        if place not in spans:
            continue
        name, role = MESSAGE_EVENTS.get(as_text(values.get("event")), ("", ""))
        if name:
            message = {"role": role, **_read_event_body(record, values)}
            added.setdefault(place, {}).setdefault(name, []).append(message)
            continue
        for name in ("system", "input", "output"):  # gen_ai.client.inference.operation.details has all
            if name in values:
                spans[place].values.setdefault(name, values[name])
    for place, fields_of_span in added.items():
        for name, items in fields_of_span.items():
            spans[place].values.setdefault(name, items)


def _read_event_body(record: JsonObject, values: JsonObject) -> JsonObject:
    """Return the body of a log record, or the attributes of a span's event; lists and objects in these are JSON texts."""
    body = as_mapping(read_any_value(values.get("body"))) or as_mapping(values.get("body"))
    if body:
        return body
    attributes = as_mapping(record.get("attributes")) or read_pairs(record.get("attributes"))
    return {key: parse_text(value) or value for key, value in attributes.items()}


def _link_spans(spans: Sequence[Span]) -> None:
    """Find for each span the tool and the agent that it belongs to; a circle of parents belongs to none."""
    by_id = {span.id: span for span in spans}
    linked: set[tuple[str, str]] = set()
    for span in spans:
        chain: list[Span] = []
        below: set[tuple[str, str]] = set()
        item: Span | None = span
        while item is not None and item.id not in linked and item.id not in below:
            chain.append(item)
            below.add(item.id)
            item = by_id.get(item.parent)
        for item in reversed(chain):
            above = by_id.get(item.parent)
            if above is not None and above.id in linked:
                _link_span(item, above)
            else:
                item.agent = as_text(item.values.get("agent"))
            linked.add(item.id)


def _link_span(span: Span, above: Span) -> None:
    """Copy values to a span from the one above it."""
    span.agent = as_text(span.values.get("agent"))
    if above.kind == "model":
        span.model = above
        span.model_depth = above.model_depth + 1
    elif above.kind != "tool":
        span.model = above.model
        span.model_depth = above.model_depth
    if above.kind == "tool" and above.depth < MAX_DEPTH:
        span.tool = above
        span.depth = above.depth + 1
        return
    span.tool = above.tool  # also for spans more than MAX_DEPTH agents deep
    span.depth = above.depth
    span.agent = span.agent or above.agent


def _merge_model_calls(spans: Sequence[Span]) -> list[Span]:
    """Return the spans with each call of a model once: an instrumentation of the framework and one of the client have a span each.

    A span of a model with several calls below it does not belong to a call, but to a step of the framework with several calls.
    """
    models = [span for span in spans if span.kind == "model"]
    calls_below: dict[tuple[str, str], list[Span]] = {}
    dropped: set[tuple[str, str]] = set()
    for span in sorted(models, key=lambda span: -span.model_depth):
        calls = calls_below.get(span.id, [])
        if len(calls) > 1:
            dropped.add(span.id)
        elif calls:
            dropped.add(calls[0].id)
            span.values = {**calls[0].values, **span.values}
            calls = [span]
        elif span.model is not None and is_failed(span) and "output" not in span.values:
            dropped.add(span.id)  # an attempt that was repeated
        else:
            calls = [span]
        if span.model is not None:
            calls_below.setdefault(span.model.id, []).extend(calls)
    return [span for span in spans if span.id not in dropped]


def _sort_traces(spans: Sequence[Span]) -> list[Span]:
    """Return the spans in the order of their start, but spans of one trace together if it has calls of models: ids of calls may repeat."""
    starts: dict[str, float] = {}
    for span in spans:
        if span.kind == "model":
            starts.setdefault(span.id[0], span.start)
    return sorted(spans, key=lambda span: (starts.get(span.id[0], span.start), span.start))


def is_failed(span: Span) -> bool:
    """Return whether a span reports that its call failed."""
    status = str(span.values.get("status", "")).casefold()
    if status in _OK_STATUS:
        return False
    return status in _ERROR_STATUS or bool(span.values.get("error"))
