"""Calls of tools in the form that is matched with recordings: those of MCP servers, and of functions of the project.

A call is kept like an HTTP request: its method is that of the protocol (``tools/call``), its address says whose tool it
is (``mcp:python -m orders``), and its body has the arguments. So journals, takes, redaction and pruning are the same.
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
from pytest_llmops.redaction.redactor import Redactor

MCP = "mcp"
FUNCTION = "function"
CALL_METHOD = "tools/call"
LIST_METHOD = "tools/list"
# Ours, not of the protocol: that the process of a server could not be started, and that it ended between two calls
START_METHOD = "start"
END_METHOD = "end"
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
# Members of the parameters that differ between clients and runs, but not in what is asked
_UNMATCHED_PARAMS = frozenset({"_meta", "clientInfo"})


def collect_folders(folders: Mapping[str, str]) -> Identities:
    """Return what placeholders stand for in calls of tools: the folders of the test, of the project and of the user.

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
    """Return the identities of this process. It is asked again only if what they depend on has changed."""
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
        identities: Folders that placeholders stand for.
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
        content: What came: ``result`` or ``error``, and ``before``, the messages of the server until then.
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
