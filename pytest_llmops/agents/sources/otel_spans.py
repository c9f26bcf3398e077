"""Read a trajectory from OpenTelemetry's spans of agents, models and tools (see `agent_spans`)."""

import ast
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice

from pytest_llmops._util.json_values import JsonObject, as_text
from pytest_llmops._util.text_files import BadFile
from pytest_llmops.agents.sources.agent_spans import Span, is_failed, read_agent_spans
from pytest_llmops.agents.sources.fields import format_value
from pytest_llmops.agents.trajectory import ToolUse, Trajectory, TrajectoryBuilder, make_tool_use
from pytest_llmops.measurement import format_count
from pytest_llmops.protocols import Message
from pytest_llmops.trace import cost_usd, fields
from pytest_llmops.trace.exported.messages import MAX_KEPT, parse_text, read_messages
from pytest_llmops.trace.exported.span_fields import NO_CONTENT_HINT, read_duration, read_usage

_MAX_PYTHON = 20_000  # characters of arguments in Python's spelling
_MAX_VALUES = 10_000  # of an answer, searched for calls
_CONTENT = ("arguments", "result")  # of the span of a tool
_CALL_KINDS = ("tool_use", "tool_call", "function_call", "mcp_call", "tool-call")
_CALL_KEYS = ("tool_calls", "toolCalls", "function_call", "functionCall", "toolUse")


def read(source: object) -> Trajectory | None:
    """Return the trajectory of spans in the order of their start; None if the value has none.

    Calls of models are steps. The span of a tool gives its call a result and a time; the work of a model or another tool below it hangs on
    the call. Spans of agents give the steps their names. Of the messages of a call only those are added that the calls before it did not have.

    Raises:
        UsageError: A file cannot be read, or no span is of a model, a tool or an agent.
    """
    problems: list[str] = []
    spans = read_agent_spans(source, problems)
    if spans is None:
        return None
    return _build_tree(spans, problems)


def _build_tree(spans: Sequence[Span], problems: list[str]) -> Trajectory:
    """Build the trajectories below the tools, the deepest first, and then the whole."""
    groups: dict[tuple[str, str] | None, list[Span]] = {None: []}
    for span in spans:
        key = None if span.tool is None else span.tool.id
        groups.setdefault(key, []).append(span)
    tools = sorted((span for span in spans if span.id in groups), key=lambda span: -span.depth)
    for tool in tools:
        _join_same_calls(groups, tool)
    started: dict[tuple[str, str], Trajectory] = {}
    missing: Counter[str] = Counter()
    for tool in tools:
        trajectory = _GroupReader(started, missing).read(groups.get(tool.id, ()))
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


def _join_same_calls(groups: dict[tuple[str, str] | None, list[Span]], tool: Span) -> None:
    """Join the spans below a tool's that are of the same call to it: spans below them are directly below the tool."""
    below = groups[tool.id]
    if any(span.kind == "model" for span in below):
        return  # an agent works there, which may call the tool that started it
    joined = []
    for span in below:
        if _is_same_call(span, tool):
            joined += groups.pop(span.id, [])
            known = {name: span.values[name] for name in _CONTENT if name in span.values}
            tool.values = {**known, **tool.values}
        else:
            joined.append(span)
    groups[tool.id] = joined


def _is_same_call(span: Span, tool: Span) -> bool:
    """Return whether a span below a tool's is of the same call: a client of MCP has spans of its own."""
    if span.kind != "tool" or span.values.get("tool") != tool.values.get("tool"):
        return False
    ids = {as_text(span.values.get("call_id")), as_text(tool.values.get("call_id"))} - {""}
    return len(ids) <= 1


@dataclass(slots=True)
class _GroupReader:
    """Reads the spans that belong to the same tool, or to none.

    Attributes:
        started: The trajectories of agents by the tool that started them.
        missing: Counts spans without content, by the missing part.
        builder: Gets the steps.
        seen: How often each message was added, or known before.
        answered: How often each call id got a result from the span of its tool.
    """

    started: Mapping[tuple[str, str], Trajectory]
    missing: Counter[str]
    builder: TrajectoryBuilder = field(default_factory=TrajectoryBuilder)
    seen: Counter[tuple[str, ...]] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)

    def read(self, spans: Sequence[Span]) -> Trajectory:
        """Return the trajectory of spans in their order."""
        agents = [span.agent for span in spans if span.kind == "agent" and span.agent]
        if agents:
            self.builder.agent = agents[0]
        models = [place for place, span in enumerate(spans) if span.kind == "model"]
        for place, span in enumerate(spans):
            if span.kind == "tool":
                self._add_tool(span)
            elif span.kind == "model":
                self._add_model_call(span, islice(spans, place + 1, None), is_last=place == models[-1])
            elif not models and "output" in span.values:
                self._add_model_call(span, (), is_last=True)
        return self.builder.build()

    def _add_model_call(self, span: Span, following: Iterable[Span], *, is_last: bool) -> None:
        problem = ""
        given: list[Message] = []
        answers: list[Message] = []
        try:
            given = _read_turns(span.values, ("system", "system"), ("input", "user"))
            answers = _read_turns(span.values, ("output", "assistant"))
        except (BadFile, RecursionError) as error:
            problem = f"a call of a model could not be read: {error}; its messages are missing"
        if not problem and not answers and is_failed(span):
            if is_last:
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
        ends_with_calls = not uses and _ends_with_calls(span.values)
        if not answers or ends_with_calls:
            uses = self._list_following_tools(following)
        if answers and not uses and (ends_with_calls or _has_calls(span.values.get("output"))):
            self.builder.add_problem("a call of a model has tool calls in a form that cannot be read")
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

    def _list_following_tools(self, following: Iterable[Span]) -> list[ToolUse]:
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

    def _add_tool(self, span: Span) -> None:
        """Give the call of a tool its result; a call that no model's span has is added."""
        name = as_text(span.values.get("tool"))
        call_id = as_text(span.values.get("call_id"))
        if not name:
            self.builder.add_problem("the span of a tool does not name it")
        if not self.builder.start_tool(call_id, name):
            self.builder.add_calls([self._make_use(span)])
            self.builder.start_tool(call_id, name)
        trajectory = self.started.get(span.id)
        if trajectory is not None:
            self.builder.start_agent(call_id, trajectory, name=name)
        result = span.values.get("result")
        is_error = is_failed(span)
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

    def _make_use(self, span: Span) -> ToolUse:
        name = as_text(span.values.get("tool"))
        call_id = as_text(span.values.get("call_id"))
        arguments = span.values.get("arguments")
        if arguments is None or _is_schema(arguments):
            self.missing["arguments"] += 1
            problem = "the span of the tool has no arguments"
            return ToolUse(name=name, id=call_id, problem=problem)
        return make_tool_use(name, _open_arguments(arguments), id=call_id)


def _is_schema(value: object) -> bool:
    """Return whether a value describes arguments instead: some instrumentations of OpenInference have both as tool.parameters."""
    parsed = parse_text(value)
    return (
        isinstance(parsed, dict)
        and parsed.get("type") == "object"
        and isinstance(parsed.get("properties"), dict)
    )


def _open_arguments(value: object) -> object:
    """Return the arguments of a tool without what Traceloop and LangChain put around them."""
    parsed = parse_text(value)
    if not isinstance(parsed, dict):
        return _read_python(value)
    if parsed.keys() == {"args", "kwargs"} and not parsed["args"]:
        return parsed["kwargs"]  # of Traceloop's decorators
    if {"input_str", "inputs"} <= parsed.keys():
        return parsed["inputs"] or _read_python(parsed["input_str"])
    if parsed.keys() == {"input"} and isinstance(_read_python(parsed["input"]), dict):
        return _read_python(parsed["input"])
    return value


def _read_python(value: object) -> object:
    """Return the mapping that a text holds in Python's spelling, as LangChain's tracers have it; anything else as it is."""
    if not isinstance(value, str) or not value.startswith("{") or len(value) > _MAX_PYTHON:
        return value
    try:
        mapping = ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value
    return mapping if isinstance(mapping, dict) else value


def _ends_with_calls(values: JsonObject) -> bool:
    """Return whether an answer ended for calls of tools, whatever it holds: LiteLLM writes them to attributes of its own."""
    reason = str(values.get("finish_reason")).casefold()
    return "tool" in reason or "function_call" in reason


def _has_calls(value: object) -> bool:
    """Return whether an answer holds what looks like a call of a tool, however deep."""
    values = [value]
    for _ in range(_MAX_VALUES):
        if not values:
            break
        item = values.pop()
        if isinstance(item, str) and item.startswith(("[", "{")):
            item = parse_text(item)
        if isinstance(item, list):
            values += item
        elif isinstance(item, dict):
            kind = as_text(item.get("type"))
            if kind.endswith(_CALL_KINDS) or any(item.get(key) for key in _CALL_KEYS):
                return True
            values += item.values()
    return False


def _read_turns(values: JsonObject, *names: tuple[str, str]) -> list[Message]:
    """Return the messages of some fields of a span; each field is given with the role of messages without one.

    Raises:
        BadFile: A field is cut, or JSON cannot represent it.
    """
    messages: list[Message] = []
    for name, role in names:
        for turn in read_messages(values.get(name), role):
            if len(turn.text) < MAX_KEPT:
                messages += _parse_turn(turn.text)
            else:
                messages += _parse_turn.__wrapped__(turn.text)  # without the cache
    return messages


@lru_cache(maxsize=4096)  # each call of a conversation repeats its messages
def _parse_turn(text: str) -> Sequence[Message]:
    return fields.read_chat_request({"messages": [json.loads(text)]}).messages
