"""Calls of tools, of MCP servers and of functions of the project, in the form that is matched with recordings.

A call is kept like an HTTP request: its method comes from the protocol (``tools/call``), its address names the server
(``mcp:python -m orders``), and its body has the arguments. So journals, takes, redaction and pruning are the same.
"""

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pytest_llmops._util.json_values import parse_json
from pytest_llmops.cassettes.clients.identities import (
    Identities,
    collect_identities,
    hide_in_answer,
    hide_in_json,
)
from pytest_llmops.cassettes.outcome import Outcome
from pytest_llmops.cassettes.request_key import Answer, MatchRules, Question, compute_key
from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.body import unfold_body

MCP = "mcp"
FUNCTION = "function"
CALL_METHOD = "tools/call"
FUNCTION_METHOD = "call"
LIST_METHOD = "tools/list"
# Ours, not of the protocol: that the process of a server could not be started, and that it ended between two calls
START_METHOD = "start"
END_METHOD = "end"
UNASKED_METHODS = frozenset({START_METHOD, END_METHOD})
JSON_CONTENT_TYPE = "application/json"
ANSWERED = 200  # the status of a call that was answered, with a result or an error
# Requests of MCP that change nothing: clients make them as often as they like, and each gets the last answer again
REPEATED_METHODS = frozenset(
    {
        "initialize",
        "server/discover",
        "ping",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        START_METHOD,
    }
)
# What `getpass.getuser` and the home depend on
_PERSON_VARIABLES = ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME")
MAX_NAME = 80  # characters of the name of a tool or a server in a message
MAX_ARGUMENTS = 160
# Members of the parameters that differ between clients and runs without changing the request
_UNMATCHED_PARAMS = frozenset({"_meta", "clientInfo"})


def collect_folders(folders: Mapping[str, str]) -> Identities:
    """Return the texts that placeholders replace in calls of tools: the folders of the test, of the project and of the user.

    Args:
        folders: The placeholder of each folder of the test.
    """
    try:
        here = os.getcwd()  # noqa: PTH109 -- for each call of a tool
    except OSError:  # the folder is gone
        here = ""
    people = tuple(os.environ.get(name, "") for name in _PERSON_VARIABLES)
    return _collect_identities(tuple(folders.items()), here, people)


@lru_cache(maxsize=64)
def _collect_identities(
    folders: tuple[tuple[str, str], ...], _here: str, _people: tuple[str, ...]
) -> Identities:
    """Return the identities of this process. They are collected again only if an argument has changed."""
    return collect_identities(dict(folders))


def make_tool_question(
    kind: str,
    server: str,
    method: str,
    params: Any,
    *,
    redactor: Redactor,
    rules: MatchRules,
    identities: Identities,
) -> Question:
    """Return a call of a tool in the form that is matched.

    Args:
        kind: ``mcp`` or ``function``.
        server: The name of the server, or of the function.
        method: The method of the protocol.
        params: The parameters, as JSON.
        redactor: Masks secrets.
        rules: Parts to ignore.
        identities: Folders that placeholders replace.
    """
    kept = params
    if isinstance(params, dict):
        kept = {name: value for name, value in params.items() if name not in _UNMATCHED_PARAMS}
    body = redactor.clean(encode_json(hide_in_json(kept, identities)))
    url = redactor.clean_text(hide_in_json(f"{kind}:{server}", identities))
    return Question(
        method=method,
        url=url,
        body=body,
        content_type=JSON_CONTENT_TYPE,
        key=compute_key(method, url, body, rules),
        json=parse_json(body),
        identities=identities,
        is_tool=True,
    )


def is_repeated(question: Question) -> bool:
    """Return whether a call changes nothing, so that its last answer is given again once all are used up."""
    return question.method in REPEATED_METHODS


def make_tool_answer(
    content: Mapping[str, Any], latency_s: float | None = None, outcome: Outcome | None = None
) -> Answer:
    """Return the answer of a tool.

    Args:
        content: The answer: ``result`` or ``error``, and ``before``, the messages of the server until then.
        latency_s: How long it took.
        outcome: How the call ended, if no answer came.
    """
    status = ANSWERED
    if outcome is not None:
        status = 0
    return Answer(status, {}, encode_json(content), latency_s=latency_s, outcome=outcome)


def read_tool_answer(answer: Answer) -> dict[str, Any]:
    """Return the content of a tool's answer; an empty dict if it has none."""
    content = parse_json(answer.body)
    if isinstance(content, dict):
        return content
    return {}


def hide_in_tool_answer(answer: Answer, question: Question) -> bytes:
    """Return the body of an answer with placeholders for the folders of its call."""
    return hide_in_answer(answer.body, question.identities)


def encode_json(value: Any) -> bytes:
    """Return a value as compact JSON in ASCII, which also holds halves of surrogate pairs."""
    return json.dumps(value, separators=(",", ":")).encode()


def is_tool_request(request: Mapping[str, Any]) -> bool:
    """Return whether a stored request is a call of a tool: its address has the kind in place of a scheme."""
    return str(request.get("url")).startswith((f"{MCP}:", f"{FUNCTION}:"))


def read_tool_params(request: Mapping[str, Any]) -> Any:
    """Return the parameters of a stored call of a tool; None if they are damaged."""
    try:
        return parse_json(unfold_body(request["body"]))
    except (CassetteError, KeyError):
        return None


def name_tool_server(url: str) -> str:
    """Return whose tool an address names, for messages.

    >>> name_tool_server("mcp:orders"), name_tool_server("function:shop.orders.refund")
    ('MCP server orders', 'function shop.orders.refund')
    """
    kind, _, name = url.partition(":")
    if kind == MCP:
        return f"MCP server {shorten_text(name, MAX_NAME)}"
    return f"function {shorten_text(name, MAX_NAME)}"


def describe_tool_call(method: str, url: str, params: Any) -> str:
    """Return a call of a tool in a line.

    >>> describe_tool_call("tools/call", "mcp:orders", {"name": "refund", "arguments": {"order_id": 43}})
    'refund(order_id=43) of MCP server orders'
    >>> describe_tool_call("call", "function:shop.orders.refund", {"order_id": 43})
    'shop.orders.refund(order_id=43)'
    >>> describe_tool_call("tools/list", "mcp:orders", {})
    'tools/list of MCP server orders'
    """
    server = name_tool_server(url)
    if url.startswith(f"{FUNCTION}:"):
        return f"{server.removeprefix('function ')}({_format_arguments(params)})"
    if method != CALL_METHOD or not isinstance(params, dict):
        text = shorten_text(method, MAX_NAME)
        if isinstance(params, dict) and params and method not in REPEATED_METHODS:
            text += f"({_format_arguments(params)})"
        return f"{text} of {server}"
    name = shorten_text(str(params.get("name")), MAX_NAME)
    return f"{name}({_format_arguments(params.get('arguments'))}) of {server}"


def describe_tool_question(question: Question) -> str:
    """Return a call of a tool in a line, see `describe_tool_call`."""
    return describe_tool_call(question.method, question.url, question.json)


def tool_arguments(params: Any) -> Any:
    """Return the arguments in the parameters of a call: for MCP the arguments of the tool, for a function all."""
    if isinstance(params, dict) and isinstance(params.get("arguments"), dict) and "name" in params:
        return params["arguments"]
    return params


def tool_name(method: str, url: str, params: Any) -> str:
    """Return the name of the tool that is called; of another request of MCP its method."""
    if method == CALL_METHOD and isinstance(params, dict):
        return str(params.get("name"))
    if method == FUNCTION_METHOD:
        return url.partition(":")[2]
    return method


def _format_arguments(arguments: Any) -> str:
    """Return arguments as Python writes them."""
    if not isinstance(arguments, dict):
        return ""
    parts = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in arguments.items()]
    return shorten_text(", ".join(parts), MAX_ARGUMENTS)
