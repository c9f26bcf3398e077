"""The faulty answer to a call of a tool: `ToolFault`, for MCP as a message, for functions as a value or an exception."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_llmops._util.json_values import JsonObject, as_mapping, get_mapping, get_mappings, get_text
from pytest_llmops.cassettes.faults.kinds import FAULT_KINDS, Fault
from pytest_llmops.cassettes.faults.model_answers import make_long_text
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.tool_questions import (
    CALL_METHOD,
    FUNCTION,
    LIST_METHOD,
    make_tool_answer,
    read_tool_answer,
)

# Codes of errors that the SDKs use themselves
TIMED_OUT = -32001
CLOSED = -32000
INTERNAL = -32603
HALF_A_LINE = b'{"jsonrpc": "2.0", "result": {"content": [{"type": "te'
MAX_DEPTH = 5  # of the objects in a schema that are filled
_EMPTY_VALUES: Mapping[str, object] = {"object": {}, "array": [], "integer": 0, "number": 0, "boolean": False}
_ERRORS: Mapping[str, tuple[int, str]] = {
    "timeout": (TIMED_OUT, "Request timed out"),
    "server_error": (INTERNAL, "Internal error"),
    "connection_reset": (CLOSED, "Connection closed"),
}
# The error of a function: an exception of Python, and its text
_FUNCTION_ERRORS: Mapping[str, tuple[str, str]] = {
    "timeout": ("TimeoutError", "timed out"),
    "connection_reset": ("ConnectionResetError", "connection reset by peer"),
    "server_died": ("ConnectionResetError", "connection reset by peer"),
    "rate_limit": ("RuntimeError", "429 Too Many Requests"),
    "server_error": ("RuntimeError", "500 Internal Server Error"),
}


@dataclass(frozen=True, slots=True)
class ToolFault:
    """The faulty answer to a call of a tool.

    Attributes:
        fault: The fault.
        content: ``result`` or ``error`` of the answer; empty: there is none.
        line: A line that is not a message.
        pause_s: How long it waits: for its own answer with ``slow``, otherwise for an error.
        ends: Whether the connection ends.
        answer: The answer of a function of the project; None for a tool of MCP.
    """

    fault: Fault
    content: Mapping[str, Any]
    line: bytes = b""
    pause_s: float = 0.0
    ends: bool = False
    answer: Answer | None = None

    @property
    def is_late_answer(self) -> bool:
        """Whether the call gets its own answer, late."""
        return self.fault.kind == "slow"


def is_tool_call(question: Question) -> bool:
    """Return whether a request calls a tool, or a function of the project: others only list the tools."""
    return question.method == CALL_METHOD or is_function(question)


def is_function(question: Question) -> bool:
    """Return whether a request calls a function of the project."""
    return question.url.startswith(f"{FUNCTION}:")


def list_tool_names(question: Question) -> list[str]:
    """Return the names of a tool, by any of which a fault may name it: alone, and with its server.

    A function has its dotted path, and the last part of it.
    """
    kind, _, server = question.url.partition(":")
    if kind == FUNCTION:
        return [server.rpartition(".")[2], server]
    name = get_text(as_mapping(question.json), "name")
    return [name, f"{server}/{name}"]


def read_output_schemas(question: Question, answer: Answer) -> dict[str, JsonObject]:
    """Return the schemas of results that an answer lists, by all names of each tool; empty for other answers."""
    if question.method != LIST_METHOD:
        return {}
    server = question.url.partition(":")[2]
    tools = get_mappings(get_mapping(read_tool_answer(answer), "result"), "tools")
    schemas = {}
    for tool in tools:
        schema = get_mapping(tool, "outputSchema")
        if schema:
            schemas[f"{server}/{get_text(tool, 'name')}"] = schema
    return schemas


def make_tool_fault(fault: Fault, previous: Answer | None, schema: JsonObject | None = None) -> ToolFault:
    """Return the faulty answer to a call of a tool.

    Args:
        fault: The fault.
        previous: The answer of the tool before, for ``stale``.
        schema: The schema of its results; None: it has none, or it is not known.
    """
    if fault.kind == "slow":
        return ToolFault(fault, {}, pause_s=fault.seconds)
    if fault.kind == "never_returns":
        return ToolFault(fault, {}, pause_s=fault.at_most_s)
    if fault.kind == "malformed_json":
        return ToolFault(fault, {}, line=HALF_A_LINE, pause_s=fault.at_most_s)
    if fault.kind == "server_died":
        return ToolFault(fault, {}, ends=True)
    return ToolFault(fault, _make_content(fault, previous, schema))


def make_function_fault(fault: Fault, previous: Answer | None) -> ToolFault | None:
    """Return the faulty answer to a call of a function of the project, in the form of its recorded answers; None: it cannot wait.

    Args:
        fault: The fault.
        previous: The answer of the function before, for ``stale``.
    """
    if not FAULT_KINDS[fault.kind].can_hit_functions:
        return None
    if fault.kind == "stale":
        return ToolFault(fault, {}, answer=previous)
    if fault.kind in _FUNCTION_ERRORS:
        name, text = _FUNCTION_ERRORS[fault.kind]
        text += " (a fault of the test)"
        error = {"type": name, "args": [text], "message": text}
        return ToolFault(fault, {}, answer=make_tool_answer({"error": error}))
    result: object = _make_text(fault)
    if fault.kind == "malformed_json":
        result = HALF_A_LINE.decode()
    elif fault.kind == "wrong_type":
        result = 42
    return ToolFault(fault, {}, answer=make_tool_answer({"result": result}))


def _make_content(fault: Fault, previous: Answer | None, schema: JsonObject | None) -> dict[str, Any]:
    """Return the result or the error of an answer."""
    if fault.kind in _ERRORS:
        code, text = _ERRORS[fault.kind]
        return {"error": {"code": code, "message": f"{text} (a fault of the test)"}}
    if fault.kind == "stale" and previous is not None:
        before = read_tool_answer(previous)
        return {name: before[name] for name in ("result", "error") if name in before}
    if fault.kind == "wrong_type":
        return {"result": {"content": 42, "isError": False}}
    text = _make_text(fault)
    content = [{"type": "text", "text": text}]
    if fault.kind == "empty":
        content = []
    if fault.kind == "rate_limit":
        return {"result": {"content": content, "isError": True}}
    result: dict[str, Any] = {"content": content, "isError": False}
    if schema:  # clients refuse a result that does not fit it
        result["structuredContent"] = _fill_schema(schema, text, MAX_DEPTH)
    return {"result": result}


def _fill_schema(schema: JsonObject, text: str, depth: int) -> object:
    """Return a value for a simple schema, in which each text is the given one."""
    kind = schema.get("type")
    properties = get_mapping(schema, "properties")
    if kind == "object" and depth:
        return {name: _fill_schema(as_mapping(part), text, depth - 1) for name, part in properties.items()}
    if kind == "string":
        return text
    return _EMPTY_VALUES.get(str(kind))


def _make_text(fault: Fault) -> str:
    """Return the text of a result."""
    if fault.kind == "rate_limit":
        return "Error: 429 Too Many Requests, try again (a fault of the test)"
    if fault.kind == "too_long":
        return make_long_text(fault.size)
    if fault.kind == "hostile":
        return fault.text
    return ""
