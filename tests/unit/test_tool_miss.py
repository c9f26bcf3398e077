"""Messages for calls of tools that no recording answers, and for other tools in a request of a model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.cassettes.clients.identities import collect_identities
from pytest_llmops.cassettes.mcp.server_names import describe_process, name_command, name_url
from pytest_llmops.cassettes.request_key import MatchRules, Question
from pytest_llmops.cassettes.tool_miss import (
    describe_call,
    list_changed_tools,
    list_missing_call,
    without_tools,
)
from pytest_llmops.cassettes.tool_questions import make_tool_question
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.body import fold_body


def ask(kind: str, server: str, method: str, params: Any) -> Question:
    return make_tool_question(
        kind,
        server,
        method,
        params,
        redactor=Redactor(set()),
        rules=MatchRules(),
        identities=collect_identities({}),
    )


def call(name: str, server: str = "orders", /, **arguments: Any) -> Question:
    return ask("mcp", server, "tools/call", {"name": name, "arguments": arguments})


def store(*questions: Question) -> list[tuple[str, dict[str, Any]]]:
    """Recorded calls, each with the name of its recording."""
    return [
        (f"a.json {number}", {"method": each.method, "url": each.url, "body": fold_body(each.body)})
        for number, each in enumerate(questions)
    ]


def test_a_missing_call_is_shown_with_the_nearest_call_of_the_same_tool() -> None:
    recorded = store(
        call("refund", order=1, note="a", why="late"),
        call("refund", order=2, note="b", why="late"),
        call("find", order=2, note="b", why="x"),
        call("refund", "other", order=2, note="c", why="broken"),
    )
    lines = list_missing_call(call("refund", order=2, note="c", why="late"), recorded)
    check_message(lines)
    assert lines[0].startswith("  nearest   a.json 1: ")
    assert lines[1:3] == ["    - note: b", "    + note: c"]
    assert len(lines) == 4
    assert "refund (2 different calls), find" in lines[3]


def test_the_same_call_again_and_one_recorded_call_have_their_own_lines() -> None:
    same = call("refund", order=1)
    lines = list_missing_call(same, store(same))
    check_message(lines)
    assert len(lines) == 2


def test_many_differences_are_cut() -> None:
    names = [f"name_{number:02}" for number in range(20)]
    old = call("refund", "orders", **dict.fromkeys(names, 1))
    new = call("refund", "orders", **dict.fromkeys(names[7:], 1))
    lines = list_missing_call(new, store(old))
    assert len([line for line in lines if line.startswith("    -")]) == 7
    lines = list_missing_call(call("refund", "orders", **dict.fromkeys(names, 2)), store(old))
    changed = [line for line in lines if line.startswith(("    - ", "    + "))]
    assert len(changed) == 14
    check_message(lines[15:])


def test_a_value_that_differs_in_every_run_has_a_hint() -> None:
    first, second = "2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z"
    check_message(list_missing_call(call("refund", at=second), store(call("refund", at=first))))
    function = ask("function", "shop.refund", "call", {"at": second})
    recorded = store(ask("function", "shop.refund", "call", {"at": first}))
    lines = list_missing_call(function, recorded)
    check_message(lines)
    assert "ignore=" in lines[-1]
    lines = list_missing_call(call("refund", order=1), store(call("refund", order=2)))
    assert len(lines) == 3


def test_a_tool_that_is_not_recorded_is_named_with_the_recorded_ones() -> None:
    recorded = store(*[call(f"tool_{number}") for number in range(8)], ask("mcp", "orders", "tools/list", {}))
    lines = list_missing_call(call("refund"), recorded)
    check_message(lines)
    assert len(lines) == 2
    assert lines[1].endswith("tool_5, and 3 more")


def test_a_server_that_is_not_recorded_is_named_with_the_recorded_ones() -> None:
    new = call("refund", "new")
    lines = list_missing_call(new, [])
    check_message(lines)
    assert len(lines) == 1
    recorded = store(*[call("refund", f"server_{number}") for number in range(6)])
    lines = list_missing_call(new, recorded)
    check_message(lines)
    assert len(lines) == 3
    assert lines[1].endswith("MCP server server_5")
    more = store(*[call("refund", f"server_{number}") for number in range(8)])
    assert list_missing_call(new, more)[1].endswith("MCP server server_5 and 2 more")
    function = ask("function", "shop.refund", "call", {})
    lines = list_missing_call(function, recorded)
    check_message(lines)
    assert len(lines) == 2


def test_a_request_that_changes_nothing_is_not_named_a_call() -> None:
    check_message([describe_call(call("refund", order=1)), describe_call(ask("mcp", "a", "tools/list", {}))])


def tool(name: str, kind: str = "string") -> dict[str, Any]:
    return {"name": name, "description": "d", "parameters": {"a": {"type": kind}}}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tools: {"tools": tools},
        lambda tools: {"functions": tools},
        lambda tools: {"tools": [{"type": "function", "function": each} for each in tools]},
        lambda tools: {"toolConfig": {"tools": [{"toolSpec": each} for each in tools]}},
        lambda tools: {"tools": [{"functionDeclarations": tools}]},
        lambda tools: {"tools": [{"function_declarations": tools}]},
    ],
)
def test_changed_tools_are_found_in_the_formats_of_all_vendors(wrap: Any) -> None:
    old = wrap([tool("find"), tool("refund"), tool("list")])
    new = wrap([tool("refund", "integer"), tool("list"), tool("add"), {"name": 3}])
    lines = list_changed_tools(old, new)
    assert len(lines) == 3
    check_message(lines)
    assert list_changed_tools(old, json.loads(json.dumps(old))) == []


def test_many_changed_tools_are_cut() -> None:
    lines = list_changed_tools({"tools": [tool(f"tool_{number}") for number in range(8)]}, {})
    assert len(lines) == 7
    check_message(lines)
    assert len(list_changed_tools({"tools": [tool(f"tool_{number}") for number in range(6)]}, {})) == 6


def test_requests_that_are_no_objects_offer_no_tools() -> None:
    assert list_changed_tools(None, [1]) == []
    assert list_changed_tools({"tools": "a", "toolConfig": 1}, {"tools": [1, {"function": 2}]}) == []
    assert without_tools([1]) == [1]
    assert without_tools({"tools": 1, "functions": 2, "toolConfig": 3, "model": "m"}) == {"model": "m"}


# The names of servers


@pytest.mark.parametrize(
    ("command", "args", "name"),
    [
        ("/usr/bin/python3.11", ["-m", "orders"], "python -m orders"),
        ("python", [], "python"),
        ("python3x", [], "python3x"),
        ("C:\\bin\\npx.CMD", ["orders"], "npx orders"),
        ("C:\\bin\\Python3.EXE", [], "python"),
        ("run.sh", [], "run.sh"),
        ("a/b", ["--api-key", "X", "--out", "Y"], "b --api-key [secret] --out Y"),
        ("a", ["--api-key=X", "--api-key=", "b"], "a --api-key=[secret] --api-key= b"),
        (
            "a",
            ["--env=API_KEY:X", "--env=PLACE:X", "API_KEY: X"],
            "a --env=API_KEY:[secret] --env=PLACE:X API_KEY:[secret]",
        ),
        ("a", ["api_key:", "http://b/c?api_key=X&d=1"], "a api_key: http://b/c?api_key=[secret]&d=1"),
        ("a", ["api-key", "X"], "a api-key X"),
    ],
)
def test_a_started_server_is_named_by_its_command_without_secrets(
    command: str, args: list[str], name: str
) -> None:
    assert name_command(command, args, {}) == name


def test_a_pattern_names_a_server() -> None:
    names = {"shop": "nothing", "orders": "python -m orders*", "late": "*"}
    assert name_command("/usr/bin/python3.11", ["-m", "orders", "-v"], names) == "orders"
    assert name_command("/usr/bin/python3.11", ["-m"], {"a": "/usr/bin/python3.11 -m"}) == "a"
    assert name_command("other", [], names) == "late"
    assert name_url("http://a:1/mcp", {"b": "a:1/mcp"}) == "b"
    assert name_url("http://a:1/mcp", {"b": "http://a:1/*"}) == "b"
    assert name_url("http://a:x/mcp", {"b": "http://*"}) == "b"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://127.0.0.1:8931/mcp?key=1", "localhost/mcp"),
        ("http://localhost/mcp", "localhost/mcp"),
        ("https://Orders.example/mcp", "orders.example/mcp"),
        ("https://orders.example:8443/mcp", "orders.example:8443/mcp"),
        ("http://a:x/mcp", "?"),
        ("http://[a/mcp", "?"),
    ],
)
def test_a_server_at_an_address_is_named_by_its_host_and_path(url: str, name: str) -> None:
    assert name_url(url, {}) == name


def test_servers_of_one_name_are_distinguished_by_arguments_and_folder() -> None:
    assert describe_process("a", ["b", "c"], "/d") == "a\nb\nc\n/d"
    assert describe_process("a", [], None) == "a\n"
