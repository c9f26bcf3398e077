"""Make trace tapes of exported traces: all model calls of the run that a conversation belongs to, as far as the trace holds them.

Parts that the trace does not hold are named, never invented.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from pytest_llmops._util.json_values import JsonObject, as_mapping, as_mappings, as_text
from pytest_llmops._util.text_files import (
    BadFile,
    canonical_json,
    check_json_value,
    read_bytes,
    write_atomically,
)
from pytest_llmops.cassettes.traces.spelling import list_tool_results, spell_value
from pytest_llmops.cassettes.traces.tape_file import TracedCall, TracedTool, TraceTape, format_tape
from pytest_llmops.errors import CaseError
from pytest_llmops.measurement import Json, format_count
from pytest_llmops.production.exported_traces import (
    Conversation,
    choose_answer,
    join_records,
    read_call_facts,
)
from pytest_llmops.protocols import ToolCall, Usage
from pytest_llmops.redaction.json_texts import clean_json_text
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.trace import fields
from pytest_llmops.trace.answers import TracedAnswer
from pytest_llmops.trace.exported.messages import CUT, Turn, parse_text, read_messages, read_tools
from pytest_llmops.trace.exported.span_fields import (
    FIELD_NAMES,
    NO_CONTENT_HINT,
    read_seconds,
    split_names,
)

MIN_LIMIT = 128  # characters of an attribute: a common limit
FOLDER = "traces"  # for the tapes, in the folder of the queue
_MORE_FIELDS = {
    "request_model": """
        gen_ai.request.model
        llm.invocation_parameters.model
        inputs.model
        input.value.model
    """,
    "request": "gen_ai.request",
    "invocation": """
        llm.invocation_parameters
        langfuse.observation.model.parameters
        model_parameters
        modelParameters
        inputs
    """,
    "parent": "parentSpanId parent_span_id parent_id parentId parentObservationId parent_observation_id parent_run_id",
    "dropped": "droppedAttributesCount dropped_attributes_count",
    "error": "error.type exception.message status.message error",
}
# Of the span of a tool
_TOOL_FIELDS = {
    "tool": "gen_ai.tool.name tool.name tool_call.function.name name",
    "arguments": """
        gen_ai.tool.call.arguments
        tool_call.function.arguments
        langfuse.observation.input
        input.value
        input
        inputs
    """,
    "result": """
        gen_ai.tool.call.result
        langfuse.observation.output
        output.value
        output
        outputs
    """,
}
_TOOLS = ("execute_tool", "tool")
TAPE_FIELDS = {
    name: split_names(names) for name, names in (FIELD_NAMES | _MORE_FIELDS | _TOOL_FIELDS).items()
}
# Members of the invocation that are not parameters
_NOT_PARAMETERS = frozenset(
    ("model", "messages", "input", "instructions", "system", "tools", "functions", "stream", "stream_options")
)
Key: TypeAlias = tuple[str, str]  # trace and id of a call


class _ToolSpan(NamedTuple):
    """The span of a tool, when it began, and its place in the files."""

    start: float
    number: int
    tool: TracedTool


class _PlacedCall(NamedTuple):
    """A call and its place among the calls of its run."""

    start: float
    number: int  # in the files
    call: TracedCall
    parent: str  # the id of the span that it is in


def read_tapes(paths: Iterable[Path], conversations: Sequence[Conversation]) -> Iterator[TraceTape | None]:
    """Yield the trace tape of each conversation: all calls in the trace of its last call, and those before it in other traces.

    None: no call of the run has messages and an answer, so that nothing could be replayed.

    Args:
        paths: The files of `read_conversations`.
        conversations: The part that was read.

    Raises:
        UsageError: A file cannot be read any more.
    """
    keys = [_list_keys(conversation) for conversation in conversations]
    wanted = set[Key]().union(*keys)
    by_key: dict[Key, list[_PlacedCall]] = defaultdict(list)
    tool_spans: dict[str, list[_ToolSpan]] = defaultdict(list)  # by trace

    def note_other(values: JsonObject) -> None:
        tool = _read_tool_span(values)
        trace = str(values.get("trace", ""))
        if tool is not None and (trace, "") in wanted:
            start = read_seconds(values.get("start")) or 0.0
            tool_spans[trace].append(_ToolSpan(start, len(tool_spans[trace]), tool))

    for number, values in enumerate(join_records(paths, Counter(), TAPE_FIELDS, note_other)):
        origin = values["origin"]
        own_keys = [(origin["trace"], origin["id"]), (origin["trace"], "")]
        placed = None
        for key in wanted.intersection(own_keys):
            if placed is None:
                start = read_seconds(values.get("start")) or 0.0
                placed = _PlacedCall(start, number, _read_call(values), as_text(values.get("parent")))
            by_key[key].append(placed)
    for conversation, own in zip(conversations, keys, strict=True):
        calls = {placed.number: placed for key in own for placed in by_key[key]}
        sources = dict.fromkeys(origin["source"] for origin in conversation.origins)
        spans = sorted(tool_spans[conversation.origins[-1]["trace"]], key=lambda span: span[:2])
        placed_calls = sorted(calls.values(), key=lambda placed: placed[:2])
        yield _build_tape(placed_calls, [span.tool for span in spans], list(sources))


def _list_keys(conversation: Conversation) -> set[Key]:
    """Return the keys of the calls of a conversation; "" for the id is any call of the trace."""
    trace = conversation.origins[-1]["trace"]
    keys = {(origin["trace"], origin["id"]) for origin in conversation.origins}
    if trace:
        keys.add((trace, ""))
    return keys


def _read_tool_span(values: JsonObject) -> TracedTool | None:
    """Return the call of a tool from the fields of its span; None if it is not such a span, or has no result."""
    name = as_text(values.get("tool")).removeprefix("execute_tool").strip()
    if as_text(values.get("kind")).casefold() not in _TOOLS or not name or "result" not in values:
        return None
    arguments = fields.arguments_json(values.get("arguments"))
    return TracedTool(name=name, arguments=arguments, result=fields.arguments_json(values["result"]))


def _build_tape(
    placed: Sequence[_PlacedCall], tool_spans: Sequence[TracedTool], sources: Sequence[str]
) -> TraceTape | None:
    """Return the tape of calls in their order; None if none can be replayed."""
    calls = _drop_nested(placed)
    if not any(map(_is_complete, calls)):
        return None
    tools = _list_tools(calls)
    tools += _list_further(tools, tool_spans)
    return TraceTape(sources=sources, calls=calls, tools=tools, missing=_list_missing(calls, tools))


def _drop_nested(placed: Sequence[_PlacedCall]) -> list[TracedCall]:
    """Return the calls, each once: where two instrumentations have recorded one call, a span is within the other, and the inner one stays if it is complete."""
    by_parent: dict[str, list[_PlacedCall]] = defaultdict(list)
    for each in placed:
        by_parent[each.parent].append(each)
    left_out: set[int] = set()
    for outer in placed:
        inner = [each for each in by_parent.get(outer.call.span, ()) if each is not outer]
        if any(_is_complete(each.call) for each in inner):
            left_out.add(outer.number)
        else:
            left_out.update(each.number for each in inner)
    return [each.call for each in placed if each.number not in left_out]


def _is_complete(call: TracedCall) -> bool:
    """Return whether a call can be replayed."""
    return bool(call.messages) and call.answer is not None


def _read_call(values: JsonObject) -> TracedCall:
    """Return a call from the fields of its span; parts that cannot be read are named in ``missing``."""
    missing: list[str] = []
    system = _read_turns(values.get("system"), "system", "the system text", missing)
    given = _read_turns(values.get("input"), "user", "messages", missing)
    messages = [turn for turn in system if turn not in given] + given
    answer_turns = _read_turns(values.get("output"), "assistant", "the answer", missing)
    if not messages and not missing:
        missing.append(f"messages ({NO_CONTENT_HINT})")
    parameters = _read_parameters(values)
    message: dict[str, Any] = {"content": ""}
    if answer_turns:
        message = json.loads(choose_answer(values, answer_turns).text)
    facts = read_call_facts(values, message)
    answer = None
    if not answer_turns:
        error = as_text(values.get("error")).strip().partition("\n")[0]
        missing.append(f"an answer (error: {error})" if error else "an answer")
    elif isinstance(message["content"], list):
        missing.append("an answer in text: it has images or other parts")
    else:
        reason = as_text(facts.get("finish_reason")) or _find_finish_reason(values.get("output"))
        answer = _make_answer({**facts, "finish_reason": reason})
    missing += _list_cut_texts(messages + answer_turns)
    if parse_text(values.get("dropped")):
        missing.append("attributes that the limit of the SDK left out")
    tools: list[JsonObject] = []
    try:
        tools = as_mappings(json.loads(read_tools(json.dumps(values.get("tools")))))
    except (BadFile, RecursionError, ValueError):
        missing.append("tool definitions that can be read")
    return TracedCall(
        span=str(values["origin"]["id"]),
        provider=as_text(facts.get("provider")),
        messages=[_load_message(turn.text) for turn in messages],
        tools=tools,
        request_model=as_text(values.get("request_model")),
        model=as_text(facts.get("model")),
        parameters=parameters,
        answer=answer,
        latency_s=facts.get("latency_s"),
        missing=missing,
    )


@lru_cache(maxsize=4096)
def _load_message(text: str) -> JsonObject:
    """Return a message from its JSON: the same object for each call of a conversation that repeats it, which nothing changes."""
    return as_mapping(json.loads(text))


def _read_turns(value: Any, role: str, what: str, missing: list[str]) -> list[Turn]:
    """Return the messages of a field; if they cannot be read, ``what`` becomes missing."""
    try:
        return read_messages(value, role)
    except BadFile as error:
        reason = "cut by a limit of attributes" if error.what == CUT else error.what
        missing.append(f"{what} ({reason})")
    except RecursionError:
        missing.append(f"{what} (nested too deeply)")
    return []


def _list_cut_texts(turns: Sequence[Turn]) -> Iterator[str]:
    """Yield a note if the longest text is as long as limits of attributes are: instrumentations with an attribute for each text cut it silently."""
    texts = [fields.content_text(json.loads(turn.text)["content"]) for turn in turns]
    size = max(map(len, texts), default=0)
    if size >= MIN_LIMIT and (size % 1_000 == 0 or size.bit_count() == 1):
        yield f"perhaps the end of a text: it has exactly {size:,} characters, as a limit of attributes leaves"


def _find_finish_reason(output: object) -> str:
    """Return the finish reason that the answer itself has; "": it has none."""
    messages = as_mappings(parse_text(output))
    return as_text(messages[0].get("finish_reason")) if messages else ""


def _make_answer(facts: JsonObject) -> TracedAnswer:
    """Return the answer of the facts of a call."""
    calls = [ToolCall(**call) for call in facts.get("tool_calls", ())]
    return TracedAnswer(
        text=as_text(facts.get("output")),
        tool_calls=tuple(calls),
        finish_reason=as_text(facts.get("finish_reason")),
        usage=Usage(**facts.get("usage", {})),
        model=as_text(facts.get("model")),
    )


def _read_parameters(values: JsonObject) -> dict[str, Json]:
    """Return the parameters of a call, as far as JSON can represent them."""
    given: dict[str, Any] = {}
    for name in ("invocation", "request"):
        given |= as_mapping(parse_text(values.get(name)))
    parameters: dict[str, Json] = {}
    for name, value in given.items():
        if name in _NOT_PARAMETERS or value is None:
            continue
        try:
            parameters[name] = check_json_value(value)
        except (BadFile, RecursionError):
            continue
    return parameters


def _list_tools(calls: Sequence[TracedCall]) -> list[TracedTool]:
    """Return the calls of tools whose results the model got, from the conversations that no other call continues."""
    tools = []
    for number, call in enumerate(calls):
        is_continued = any(_continues(later, call) for later in calls[number + 1 :])
        if is_continued:
            continue
        for tool, result in list_tool_results(call.messages):
            tools.append(TracedTool(name=tool.name, arguments=tool.arguments, result=result))
    return tools


def _list_further(tools: Sequence[TracedTool], spans: Sequence[TracedTool]) -> list[TracedTool]:
    """Return the calls of tools that have a span, but whose result no model got."""
    known = Counter(map(_tool_key, tools))
    further = []
    for tool in spans:
        key = _tool_key(tool)
        if known[key]:
            known[key] -= 1
        else:
            further.append(tool)
    return further


def _tool_key(tool: TracedTool) -> str:
    """Return a text that is the same for calls with equal arguments."""
    return f"{tool.name} {spell_value(tool.arguments or '{}')}"


def _continues(later: TracedCall, call: TracedCall) -> bool:
    """Return whether the messages of a later call begin with the messages of a call."""
    size = len(call.messages)
    return len(later.messages) > size and list(later.messages[:size]) == list(call.messages)


def _list_missing(calls: Sequence[TracedCall], tools: Sequence[TracedTool]) -> list[str]:
    """Return in words the parts that the trace does not hold."""
    missing = []
    called = [tool for call in calls if call.answer is not None for tool in call.answer.tool_calls]
    if called and not any(call.tools for call in calls):
        missing.append("tool definitions")
    if not any(call.parameters for call in calls):
        missing.append("parameters")
    if not any(call.request_model or call.model for call in calls):
        missing.append("models")
    missing += _list_missing_results(called, tools)
    if any(_has_images(message) for call in calls for message in call.messages):
        missing.append("images, unless the messages have them whole")
    for number, call in enumerate(calls, start=1):
        if call.missing:
            missing.append(f"call {number}: {', '.join(call.missing)}")
    return missing


def _list_missing_results(called: Sequence[ToolCall], tools: Sequence[TracedTool]) -> list[str]:
    """Return for each tool how many of its results the trace does not hold."""
    results = Counter(tool.name for tool in tools)
    missing = []
    for name, count in Counter(tool.name for tool in called).items():
        if results[name] < count:
            missing.append(f"{format_count(count - results[name], 'result')} of the tool {name}")
    return missing


def _has_images(message: JsonObject) -> bool:
    """Return whether a message has parts that are not text."""
    content = message.get("content")
    return isinstance(content, list) and any(isinstance(part, dict) for part in content)


def write_tape(path: Path, tape: TraceTape, redactor: Redactor) -> bool:
    """Write a tape without secrets and personal data; return whether this changed the file.

    Raises:
        CaseError: It cannot be written.
    """
    document = canonical_json(check_json_value(format_tape(tape)))
    cleaned = json.loads(clean_json_text(document, redactor))
    text = json.dumps(cleaned, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    data = text.encode("utf-8", "replace")
    try:
        if path.exists() and read_bytes(path) == data:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except (BadFile, OSError) as error:
        raise CaseError(f"cannot be written: {error}", path) from None
    return True
