"""Read OpenTelemetry's spans of agents, models and tools: finished spans of the SDK, an OTLP/JSON export, or files of one.

The conventions of OpenTelemetry GenAI, OpenInference, Traceloop and Langfuse are read (see `trace.exported`).
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmops._util.json_values import JsonObject, as_mapping, as_text
from pytest_llmops._util.text_files import BadFile
from pytest_llmops.agents.sources.fields import format_value, get_field
from pytest_llmops.agents.trajectory import MAX_DEPTH, ToolUse, Trajectory, TrajectoryBuilder, make_tool_use
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import format_count
from pytest_llmops.protocols import Message
from pytest_llmops.recorder import shorten_masked
from pytest_llmops.trace import cost_usd, fields
from pytest_llmops.trace.exported.messages import read_messages
from pytest_llmops.trace.exported.records import LISTS, read_records
from pytest_llmops.trace.exported.span_fields import (
    FIELDS,
    MESSAGE_EVENTS,
    MODEL_CALLS,
    NO_CONTENT_HINT,
    read_any_value,
    read_duration,
    read_fields,
    read_seconds,
    read_usage,
    split_names,
)

_TOOLS = ("execute_tool", "tool")
_AGENTS = ("invoke_agent", "create_agent", "agent")
_KINDS = {
    **dict.fromkeys(MODEL_CALLS, "model"),
    **dict.fromkeys(_TOOLS, "tool"),
    **dict.fromkeys(_AGENTS, "agent"),
}
# Names of further fields, as in `span_fields`
_FIELD_NAMES = {
    "parent": "parentSpanId parent_span_id parent_id parentId parentObservationId",
    "kind": "traceloop.span.kind",
    "agent": "gen_ai.agent.name agent.name llm.agent.name",
    "tool": "gen_ai.tool.name tool.name tool_call.function.name traceloop.entity.name",
    "call_id": "gen_ai.tool.call.id tool_call.id tool.call_id",
    "arguments": "gen_ai.tool.call.arguments tool.parameters input.value traceloop.entity.input input",
    "result": "gen_ai.tool.call.result output.value traceloop.entity.output output",
    "error": "error.type exception.message status.message",
    "status": "status.code status.status_code status",
}
_FIELDS = {name: split_names(names) for name, names in _FIELD_NAMES.items()}
_ERROR_STATUS = ("error", "2", "status_code_error", "statuscode.error")
_MAX_LISTS = 12  # nested lists of an export


@dataclass(slots=True)
class _Span:
    """A span of an agent, a model, a tool, or of something else (``kind`` is "").

    Attributes:
        tool: The nearest span above it that is of a tool; None: there is none.
        depth: How many spans of tools are above it.
        agent: Name of the agent that it belongs to.
    """

    id: tuple[str, str]
    parent: tuple[str, str]
    start: float
    kind: str
    values: dict[str, Any]
    tool: "_Span | None" = None
    depth: int = 0
    agent: str = ""


def read(source: object) -> Trajectory | None:
    """Return the trajectory of spans in the order of their start; None if the value has none.

    Calls of models are steps. The span of a tool gives its call a result and a time; what a model or another tool does below it hangs on
    the call. Spans of agents give the steps their names. Of the messages of a call only those are added that the calls before it did not have.

    Raises:
        UsageError: A file cannot be read, or no span is of a model, a tool or an agent.
    """
    problems: list[str] = []
    records = _list_records(source, problems)
    if records is None:
        return None
    spans = _read_spans(records)
    if not any(span.kind for span in spans):
        raise UsageError(
            f"expected spans of models, tools or agents (gen_ai.operation.name is chat, execute_tool or invoke_agent), "
            f"got {format_count(len(spans), 'other span')}: switch on the GenAI instrumentation of the framework"
        )
    _link_spans(spans)
    return _build_tree([span for span in spans if span.kind], problems)


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
        "status": {
            "code": get_field(get_field(status, "status_code"), "name"),
            "message": get_field(status, "description"),
        },
    }


def _read_spans(records: Iterable[JsonObject]) -> list[_Span]:
    """Return the spans in the order of their start, with the messages of their log records; of equal spans the first one."""
    spans: dict[tuple[str, str], _Span] = {}
    events: dict[tuple[str, str], list[tuple[str, JsonObject]]] = {}
    for number, record in enumerate(records):
        values = read_fields(record, FIELDS)
        further = read_fields(record, _FIELDS)
        trace = str(values.get("trace", ""))
        place = (trace, str(values.get("span", f"#{number}")))
        event, role = MESSAGE_EVENTS.get(as_text(values.get("event")), ("", ""))
        if event:
            body = as_mapping(read_any_value(values.get("body"))) or as_mapping(values.get("body"))
            events.setdefault(place, []).append((event, {"role": role, **body}))
            continue
        kind = as_text(values.get("kind")).casefold()
        if kind not in _KINDS:
            kind = as_text(further.get("kind")).casefold()
        parent = (trace, str(further.get("parent", "")))
        start = read_seconds(values.get("start")) or 0.0
        span = _Span(place, parent, start, _KINDS.get(kind, ""), {**further, **values})
        spans.setdefault(place, span)
    for place, messages in events.items():
        if place in spans:
            _add_events(spans[place].values, messages)
    return sorted(spans.values(), key=lambda span: span.start)


def _add_events(values: dict[str, Any], messages: Iterable[tuple[str, JsonObject]]) -> None:
    """Add the messages of log records to the fields of their span, unless it has its own."""
    added: dict[str, list[JsonObject]] = {}
    for name, message in messages:
        added.setdefault(name, []).append(message)
    for name, items in added.items():
        values.setdefault(name, items)


def _link_spans(spans: Sequence[_Span]) -> None:
    """Find for each span the tool and the agent that it belongs to; a circle of parents belongs to none."""
    by_id = {span.id: span for span in spans}
    linked: set[tuple[str, str]] = set()
    for span in spans:
        chain: list[_Span] = []
        below: set[tuple[str, str]] = set()
        item: _Span | None = span
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


def _link_span(span: _Span, above: _Span) -> None:
    """Take over what a span has from the one above it."""
    span.agent = as_text(span.values.get("agent"))
    if above.kind == "tool" and above.depth < MAX_DEPTH:
        span.tool = above
        span.depth = above.depth + 1
        return
    span.tool = above.tool  # also for what is more than MAX_DEPTH agents deep
    span.depth = above.depth
    span.agent = span.agent or above.agent


def _build_tree(spans: Sequence[_Span], problems: list[str]) -> Trajectory:
    """Build the trajectories below the tools, the deepest first, and then the whole."""
    groups: dict[tuple[str, str] | None, list[_Span]] = {None: []}
    for span in spans:
        key = None if span.tool is None else span.tool.id
        groups.setdefault(key, []).append(span)
    tools = [span for span in spans if span.id in groups]
    started: dict[tuple[str, str], Trajectory] = {}
    missing: Counter[str] = Counter()
    for tool in sorted(tools, key=lambda span: -span.depth):
        inner = groups[tool.id]
        if not any(span.kind == "model" for span in inner):
            # With a model, an agent works there, which may call the tool that started it.
            inner = [span for span in inner if not _is_same_call(span, tool)]
        trajectory = _GroupReader(started, missing).read(inner)
        if trajectory.steps or trajectory.problems or trajectory.notes:
            started[tool.id] = trajectory
    trajectory = _GroupReader(started, missing).read(groups[None])
    notes: list[str] = []
    has_tools = any(span.kind == "tool" for span in spans)
    for what, count in missing.items():
        text = f"{format_count(count, 'span')} without {what} ({NO_CONTENT_HINT})"
        if what == "messages" and not has_tools:
            # Only the messages could name the tools that were called.
            problems.append(text)
        else:
            notes.append(text)
    return Trajectory(
        steps=trajectory.steps,
        agent=trajectory.agent,
        problems=(*problems, *trajectory.problems),
        notes=(*notes, *trajectory.notes),
    )


def _is_same_call(span: _Span, tool: _Span) -> bool:
    """Return whether a span below a tool's is of the same call: a client of MCP has spans of its own."""
    if span.kind != "tool" or span.values.get("tool") != tool.values.get("tool"):
        return False
    ids = {span.values.get("call_id"), tool.values.get("call_id")} - {None}
    return len(ids) <= 1


@dataclass(slots=True)
class _GroupReader:
    """Reads the spans that belong to the same tool, or to none.

    Attributes:
        started: The trajectories of agents by the tool that started them.
        missing: Counts spans without content, by what they lack.
        builder: Takes the steps.
        seen: How often each message was added, or known before.
        answered: How often each call id got a result from the span of its tool.
    """

    started: Mapping[tuple[str, str], Trajectory]
    missing: Counter[str]
    builder: TrajectoryBuilder = field(default_factory=TrajectoryBuilder)
    seen: Counter[tuple[str, ...]] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)

    def read(self, spans: Sequence[_Span]) -> Trajectory:
        """Return the trajectory of spans in the order of their start."""
        agents = [span.agent for span in spans if span.kind == "agent" and span.agent]
        if agents:
            self.builder.agent = agents[0]
        has_models = any(span.kind == "model" for span in spans)
        for index, span in enumerate(spans):
            following = spans[index + 1 :]
            if span.kind == "tool":
                self._add_tool(span)
            elif span.kind == "model" or (not has_models and "output" in span.values):
                self._add_model_call(span, following)
        return self.builder.build()

    def _add_model_call(self, span: _Span, following: Sequence[_Span]) -> None:
        problem = ""
        given: list[Message] = []
        answers: list[Message] = []
        try:
            given = _read_turns(span.values, ("system", "system"), ("input", "user"))
            answers = _read_turns(span.values, ("output", "assistant"))
        except (BadFile, RecursionError) as error:
            problem = f"a call of a model could not be read: {error}; its messages are missing"
        if not problem and not answers and _is_failed(span):
            if not any(later.kind == "model" for later in following):
                self.builder.add_note(f"the last call of a model failed: {span.values.get('error', 'error')}")
            return
        if problem:
            self.builder.add_problem(problem)
        elif not answers:
            self.missing["messages"] += 1
        self._add_given(given)
        texts: list[str] = []
        uses: list[ToolUse] = []
        for answer in answers:
            # A text and the calls may be messages of their own.
            if not answer.is_result:
                texts.append(fields.remove_tool_calls(answer))
            for call in answer.tool_calls:
                uses.append(make_tool_use(call.name, call.arguments, id=call.id))
        if not answers:
            uses = self._list_following_tools(following)
        usage = read_usage(span.values)
        model = as_text(span.values.get("model"))
        self.builder.add_answer(
            "\n".join(filter(None, texts)),
            uses,
            agent=span.agent,
            tokens=usage.total_tokens,
            cost_usd=cost_usd(model, usage, provider=as_text(span.values.get("provider"))),
            latency_s=read_duration(span.values),
        )

    def _list_following_tools(self, following: Sequence[_Span]) -> list[ToolUse]:
        """Return the tools that run before the next call of a model: those that a model without content called."""
        uses = []
        for later in following:
            if later.kind == "model":
                break
            if later.kind == "tool":
                uses.append(self._make_use(later))
        return uses

    def _add_given(self, messages: Sequence[Message]) -> None:
        """Add the messages of a request that no request before had. Results in the first one are of calls before the trace."""
        is_first = not self.seen
        counts: Counter[tuple[str, ...]] = Counter()
        for message in messages:
            key: tuple[str, ...] = (message.role, message.content)
            if message.is_result:
                key = ("result", message.call_id, "" if message.call_id else message.content)
            counts[key] += 1
            if counts[key] <= self.seen[key]:
                continue
            self.seen[key] += 1
            if message.is_result:
                is_new = counts[key] > self.answered[message.call_id]
                if is_new and not is_first:
                    self.builder.add_result(message.call_id, message.content, name=message.tool_name)
            elif message.role != "assistant":
                self.builder.add_message(message.role, message.content)

    def _add_tool(self, span: _Span) -> None:
        """Give the call of a tool its result; a call that no model's span has is added."""
        name = as_text(span.values.get("tool"))
        call_id = as_text(span.values.get("call_id"))
        if not self.builder.has_waiting_call(call_id, name):
            self.builder.add_calls([self._make_use(span)])
        trajectory = self.started.get(span.id)
        if trajectory is not None:
            self.builder.start_agent(call_id, trajectory, name=name)
        result = span.values.get("result")
        is_error = _is_failed(span)
        if result is None and is_error:
            result = as_text(span.values.get("error"))
        if result is not None:
            self.answered[call_id] += 1
            self.builder.add_result(
                call_id,
                format_value(result),
                name=name,
                is_error=is_error,
                latency_s=read_duration(span.values),
            )

    def _make_use(self, span: _Span) -> ToolUse:
        name = as_text(span.values.get("tool"))
        call_id = as_text(span.values.get("call_id"))
        arguments = span.values.get("arguments")
        if arguments is None:
            self.missing["arguments"] += 1
            problem = "the span of the tool has no arguments"
            return ToolUse(name=name, id=call_id, problem=problem)
        return make_tool_use(name, arguments, id=call_id)


def _is_failed(span: _Span) -> bool:
    status = str(span.values.get("status", "")).casefold()
    return status in _ERROR_STATUS or "error" in span.values


def _read_turns(values: JsonObject, *names: tuple[str, str]) -> list[Message]:
    """Return the messages of some fields of a span; each field is given with the role of messages without one.

    Raises:
        BadFile: A field is cut, or JSON cannot represent it.
    """
    messages = []
    for name, role in names:
        for turn in read_messages(values.get(name), role):
            messages.append(json.loads(turn.text))
    return list(fields.read_chat_request({"messages": messages}).messages)
