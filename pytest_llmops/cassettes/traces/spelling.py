"""Requests of a trace and of a test in one form, in which they are compared by meaning, whatever vendor they are for.

White space around texts does not count, nor the ids of tool calls, nor whether a system text is a message or apart. Messages of one
role in a row are one message, as vendors differ in that.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from pytest_llmops._util.json_values import JsonObject, as_mapping, get_mapping, get_text, parse_json
from pytest_llmops._util.text_files import canonical_json
from pytest_llmops.cassettes.traces.tape_file import TracedCall
from pytest_llmops.measurement import Json, to_builtins
from pytest_llmops.protocols import Call, Message, ToolCall
from pytest_llmops.trace import fields

# Parameters that are compared, with the value that a request without them has; None: vendors differ
COMPARED: Mapping[str, Json] = {
    "temperature": 1,
    "top_p": 1,
    "top_k": None,
    "max_tokens": None,
    "stop": None,
    "seed": None,
    "n": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
}
# Those that every instrumentation records that records parameters at all
ALWAYS_RECORDED = ("temperature", "top_p")
_OTHER_NAMES = {
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "maxOutputTokens": "max_tokens",
    "maxTokens": "max_tokens",
    "num_predict": "max_tokens",
    "stop_sequences": "stop",
    "stopSequences": "stop",
    "topP": "top_p",
    "topK": "top_k",
    "candidateCount": "n",
    "candidate_count": "n",
    "choice.count": "n",
    "frequencyPenalty": "frequency_penalty",
    "presencePenalty": "presence_penalty",
}
# Members of a request that hold its parameters: of Gemini, Bedrock and Ollama
_GROUPS = ("generationConfig", "generation_config", "inferenceConfig", "options", "choice")
_VERSION = re.compile(r"[-@:](?:\d|preview|exp|latest)")  # how the version of a model begins
# The mark that readers put into a text for a thought
_THOUGHTS = ("[thinking]", "[reasoning]", "[redacted_thinking]")


@dataclass(frozen=True, slots=True)
class Spelling:
    """A request as it is compared.

    Attributes:
        model: The model; empty: not known.
        is_answering: Whether the model is the one that answered, as the trace does not hold the model of the request.
        messages: A line for each message, tool call and result.
        tools: The definitions of the offered tools by name: description and parameters.
        parameters: The parameters of `COMPARED`, as far as they are given.
    """

    model: str = ""
    is_answering: bool = False
    messages: Sequence[str] = ()
    tools: Mapping[str, tuple[str, Json]] = field(default_factory=dict)
    parameters: Mapping[str, Json] = field(default_factory=dict)

    def list_lines(self) -> list[str]:
        """Return the request as lines, for the difference of two."""
        lines = []
        if self.model:
            lines.append(f"model: {self.model}")
        for name, value in sorted(self.parameters.items()):
            lines.append(f"{name}: {json.dumps(value)}")
        for name, (description, parameters) in sorted(self.tools.items()):
            lines.append(f"tool {name}: {description} {canonical_json(parameters)}")
        return [*lines, *self.messages]


def spell_traced_call(call: TracedCall) -> Spelling:
    """Return a call of a trace as it is compared."""
    return Spelling(
        model=call.request_model or call.model,
        is_answering=not call.request_model,
        messages=spell_messages(call.messages),
        tools=_spell_tools(call.tools),
        parameters=spell_parameters(call.parameters),
    )


def write_chat_request(call: Call) -> dict[str, Json]:
    """Return a request of a test as it was read, with messages and tools in the format of OpenAI's chat completions.

    So secrets in it are found by the same keys as in a trace tape.
    """
    return {
        "model": call.model,
        "messages": [_write_message(message) for message in call.messages],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": to_builtins(tool.parameters),
                },
            }
            for tool in call.tools
        ],
        "parameters": as_mapping(parse_json(call.parameters)),
    }


def _write_message(message: Message) -> dict[str, Json]:
    written: dict[str, Json] = {"role": message.role, "content": fields.remove_tool_calls(message)}
    if message.is_result:
        written["role"] = "tool"
        written["tool_call_id"] = message.call_id
    if message.tool_calls:
        written["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    return written


def spell_request(request: JsonObject) -> Spelling:
    """Return a request of `write_chat_request` as it is compared."""
    return Spelling(
        model=get_text(request, "model"),
        messages=spell_messages(request["messages"]),
        tools=_spell_tools(request["tools"]),
        parameters=spell_parameters(request["parameters"]),
    )


def spell_value(text: str) -> str:
    """Return a text as it is compared: JSON in canonical form, other texts without white space around.

    >>> spell_value('{"b": 1,  "a": 2}'), spell_value(" 9 degrees ")
    ('{"a":2,"b":1}', '9 degrees')
    """
    value = parse_json(text)
    if isinstance(value, (dict, list)):
        return canonical_json(to_builtins(value))
    return text.strip()


def spell_messages(messages: Sequence[JsonObject]) -> list[str]:
    """Return a line for each message, tool call and result. A tool call has a number, and its result the same.

    >>> spell_messages([{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi "}])
    ['system: Be brief.', 'user: Hi']
    """
    numbers = _CallNumbers()
    lines = []
    for role, group in groupby(messages, key=_role_of):
        if role == "tool":
            lines += numbers.spell_results(list(group))
            continue
        texts = []
        calls: list[ToolCall] = []
        for message in group:
            texts.append(_spell_text(message, role))
            calls += fields.read_chat_tool_calls(message.get("tool_calls"))
        text = "\n".join(filter(None, texts))
        if text:
            lines.append(f"{role}: {text}")
        lines += map(numbers.spell_call, calls)
    return lines


def _role_of(message: JsonObject) -> str:
    role = get_text(message, "role")
    return "system" if role == "developer" else role


def _spell_text(message: JsonObject, role: str) -> str:
    """Return the text of a message; images are labels in it, and thoughts of a model are left out."""
    text = fields.content_text(message.get("content"))
    if role == "assistant":
        text = "\n".join(line for line in text.split("\n") if line not in _THOUGHTS)
    return text.strip()


class _CallNumbers:
    """Numbers for the tool calls of a conversation, by which a result names its call, as ids differ from run to run."""

    def __init__(self) -> None:
        self._count = 0
        self._by_id: dict[str, int] = {}
        self._open: list[int] = []  # without a result so far

    def spell_call(self, call: ToolCall) -> str:
        """Return the line of the next call."""
        self._count += 1
        self._open.append(self._count)
        if call.id:
            self._by_id[call.id] = self._count
        return f"call {self._count}: {call.name}({spell_value(call.arguments or '{}')})"

    def spell_results(self, results: Sequence[JsonObject]) -> list[str]:
        """Return the lines of results in a row, in the order of their calls."""
        lines = []
        for number, result in self.pair_results(results):
            lines.append(f"result {number}: {spell_value(fields.content_text(result.get('content')))}")
        return lines

    def pair_results(self, results: Sequence[JsonObject]) -> list[tuple[int, JsonObject]]:
        """Return results with the number of their call: by its id, else the number of the first call without a result."""
        pairs = []
        for result in results:
            number = self._by_id.get(get_text(result, "tool_call_id"), 0)
            if number not in self._open:
                number = self._open[0] if self._open else 0
            if number:
                self._open.remove(number)
            pairs.append((number, result))
        return sorted(pairs, key=lambda pair: pair[0])


def list_tool_results(messages: Sequence[JsonObject]) -> Iterator[tuple[ToolCall, str]]:
    """Yield the tool calls of a conversation that have a result in it, with the text of the result."""
    numbers = _CallNumbers()
    calls: list[ToolCall] = []
    for role, group in groupby(messages, key=_role_of):
        if role == "tool":
            for number, result in numbers.pair_results(list(group)):
                if number:
                    yield calls[number - 1], fields.content_text(result.get("content"))
            continue
        for message in group:
            for call in fields.read_chat_tool_calls(message.get("tool_calls")):
                calls.append(call)
                numbers.spell_call(call)


def _spell_tools(tools: Sequence[JsonObject]) -> dict[str, tuple[str, Json]]:
    """Return description and parameters of tools by name; hosted tools, which a trace may hold without a name, are left out."""
    spelled = {}
    for tool in tools:
        function = get_mapping(tool, "function")
        name = get_text(function, "name")
        if name:
            spelled[name] = (get_text(function, "description").strip(), function.get("parameters"))
    return spelled


def spell_parameters(given: JsonObject) -> dict[str, Json]:
    """Return the parameters that are compared, under the names of OpenAI.

    >>> spell_parameters({"generationConfig": {"maxOutputTokens": 20}, "stop_sequences": "END"})
    {'max_tokens': 20, 'stop': ['END']}
    >>> spell_parameters({"temperature": 1, "max_tokens": "Infinity"})
    {'temperature': 1}
    """
    flat: dict[str, Any] = {}
    for name, value in given.items():
        if name in _GROUPS:
            prefix = "choice." if name == "choice" else ""
            flat.update({f"{prefix}{inner}": item for inner, item in as_mapping(value).items()})
        else:
            flat[name] = value
    spelled: dict[str, Json] = {}
    for name, value in flat.items():
        own_name = _OTHER_NAMES.get(name, name)
        spelled_value = _spell_parameter(own_name, value)
        if spelled_value is not None:
            spelled[own_name] = spelled_value
    return spelled


def _spell_parameter(name: str, value: object) -> Json:
    """Return the value of a parameter as it is compared; None: it is not."""
    if name not in COMPARED:
        return None
    if name == "stop":
        texts = [value] if isinstance(value, str) else value
        return to_builtins(texts) if isinstance(texts, list) and texts else None
    if isinstance(value, str):
        value = parse_json(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None  # such as "Infinity", which Langfuse writes for a limit that was not given
    return value


def fits(held: Spelling, asked: Spelling, *, has_parameters: bool = False) -> bool:
    """Return whether a request of a test is a call of a trace, as far as the trace holds the call.

    Args:
        held: The call of the trace.
        asked: The request of the test.
        has_parameters: Whether the trace holds parameters, so that one that it lacks was not given.
    """
    if list(held.messages) != list(asked.messages) or not fits_model(held, asked.model):
        return False
    return _fits_tools(held, asked) and not list_other_parameters(held, asked, has_parameters=has_parameters)


def fits_model(held: Spelling, asked: str) -> bool:
    """Return whether a model fits the model of a call; if either is not known, it does.

    The name of a model that answered may have a version that the request leaves open.

    >>> fits_model(Spelling(model="gpt-4o-2024-08-06", is_answering=True), "gpt-4o")
    True
    """
    held_name = _base_name(held.model)
    asked_name = _base_name(asked)
    if not held_name or not asked_name or held_name == asked_name:
        return True
    version = held_name.removeprefix(asked_name.removesuffix("-latest"))
    return held.is_answering and version != held_name and bool(_VERSION.match(version))


def _base_name(model: str) -> str:
    """Return the name of a model without the path and the provider before it."""
    return model.rpartition("/")[2]


def _fits_tools(held: Spelling, asked: Spelling) -> bool:
    """Return whether a request offers the tools of a call; a call without tools fits any request."""
    if not held.tools:
        return True
    if held.tools.keys() != asked.tools.keys():
        return False
    for name, (description, parameters) in held.tools.items():
        asked_description, asked_parameters = asked.tools[name]
        if description and description != asked_description:
            return False
        if parameters and parameters != asked_parameters:
            return False
    return True


def list_other_parameters(held: Spelling, asked: Spelling, *, has_parameters: bool) -> list[str]:
    """Return the names of the parameters in which a request differs from a call, as far as the trace holds them."""
    names = set(held.parameters)
    if has_parameters:
        names.update(name for name in ALWAYS_RECORDED if name in asked.parameters)
    other = []
    for name in sorted(names):
        default = COMPARED[name]
        if held.parameters.get(name, default) != asked.parameters.get(name, default):
            other.append(name)
    return other


def keep_compared(asked: Spelling, held: Spelling, *, has_parameters: bool = False) -> Spelling:
    """Return a request without the parts that are not compared because the call of the trace lacks them; for the difference of the two."""
    names = {*held.parameters, *list_other_parameters(held, asked, has_parameters=has_parameters)}
    tools = {}
    for name, (description, parameters) in asked.tools.items():
        held_description, held_parameters = held.tools.get(name, (description, parameters))
        tools[name] = (description if held_description else "", parameters if held_parameters else None)
    return Spelling(
        model=held.model if fits_model(held, asked.model) else asked.model,
        messages=asked.messages,
        tools=tools if held.tools else {},
        parameters={name: value for name, value in asked.parameters.items() if name in names},
    )
