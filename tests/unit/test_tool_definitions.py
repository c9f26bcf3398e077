"""Definitions of tools: all formats give the same tools, and what is wrong is named with the tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import check_message

from pytest_llmops import cli
from pytest_llmops.agents.mcp_servers import McpServer, list_server_tools, parse_command
from pytest_llmops.agents.tool_catalogue import build_catalogues, list_expected_tools
from pytest_llmops.agents.tool_definitions import read_tool_file, read_tools
from pytest_llmops.errors import UsageError
from pytest_llmops.protocols import ToolDefinition

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"order_id": {"type": "string"}}}
REFUND = ToolDefinition(name="refund", description="Pay back.", parameters=SCHEMA)
FORMATS = {
    "MCP": {"name": "refund", "description": "Pay back.", "inputSchema": SCHEMA},
    "Anthropic": {"name": "refund", "description": "Pay back.", "input_schema": SCHEMA},
    "OpenAI": {
        "type": "function",
        "function": {"name": "refund", "description": "Pay back.", "parameters": SCHEMA},
    },
    "Responses": {"type": "function", "name": "refund", "description": "Pay back.", "parameters": SCHEMA},
}


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_is_read_and_written(form: str) -> None:
    for document in ([FORMATS[form]], {"tools": [FORMATS[form]]}, {"result": {"tools": [FORMATS[form]]}}):
        assert read_tools(document, "here") == (REFUND,)
    (catalogue,) = build_catalogues([REFUND], {"all": ["*"]}, [], "here")
    written = {
        "MCP": catalogue.for_mcp(),
        "Anthropic": catalogue.for_anthropic(),
        "OpenAI": catalogue.for_openai(),
        "Responses": catalogue.for_responses(),
    }
    (tool,) = written[form]
    assert {key: value for key, value in tool.items() if key != "strict"} == FORMATS[form]
    assert read_tools(written[form], "here") == (REFUND,)


def test_a_catalogue_is_a_sequence_of_tools() -> None:
    plain, crowded = build_catalogues([REFUND], {"all": ["*"]}, [ToolDefinition(name="ping")], "here")
    assert (plain[0], len(crowded), crowded.names, crowded[1:][0].name) == (
        REFUND,
        2,
        ["refund", "ping"],
        "ping",
    )
    assert (str(crowded), repr(crowded)) == ("all+decoys", "<2 tools of 'all+decoys'>")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("refund", "got a text"),
        ({"items": []}, "got an object with the keys items"),
        ({"result": 3}, "expected an MCP `tools/list` result"),
        ({"tools": [{"name": "a"}], "nextCursor": "2"}, r"got the first page of its list \(nextCursor\)"),
        ([], "expected at least one tool, got none"),
        ([3], "tool 1: expected an object with a name, got a number"),
        ([{"function": "x"}], "tool 1: function: expected an object with a name"),
        ([{"name": ""}], "tool 1: name: expected a text, got an empty one"),
        ([{"name": 3}], "tool 1: name: expected a text, got a number"),
        ([{"name": "a", "description": 3}], r"tool 1 \(a\): description: expected a text"),
        ([{"name": "a"}, {"name": "a"}], "expected each name once, got two tools 'a'"),
        (
            [{"name": "a", "inputSchema": []}],
            r"tool 1 \(a\): inputSchema: expected a JSON Schema as an object",
        ),
        (
            [{"name": "a", "parameters": {"type": "text"}}],
            "expected a schema of the type 'object', got 'text'",
        ),
        (
            [{"name": "ok"}, {"name": "a", "inputSchema": {"properties": {"x": {"type": "strng"}}}}],
            r"tool 2 \(a\): inputSchema: .*did you mean 'string'",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_tool(document: object, message: str) -> None:
    with pytest.raises(UsageError, match=message, check=check_message):
        read_tools(document, "tools.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["tools", "result", "name", "function", "inputSchema", "parameters", "type", "$ref"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_document_gives_tools_or_an_error_of_ours(document: object) -> None:
    try:
        tools = read_tools(document, "here")
    except UsageError:
        return
    assert all(tool.name for tool in tools)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"tools.json: broken JSON: .* \(line 1\)"),
        ("[" * 100_000, "nested deeper than 100 levels"),
        ('{"tools": [{"name": "a"}], "tools": [{"name": "b"}]}', "the key 'tools' occurs twice"),
        ('[{"name": "a", "inputSchema": {"maxProperties": NaN}}]', "NaN is not JSON"),
        ('[{"name": "a", "inputSchema": {"maxProperties": 1e999}}]', "finite"),
    ],
)
def test_a_file_that_is_no_json_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "tools.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message, check=check_message):
        read_tool_file(path, "tools.json")


def test_names_of_catalogues_and_patterns_with_brackets() -> None:
    tools = [ToolDefinition(name="a[1]"), ToolDefinition(name="b")]
    (catalogue,) = build_catalogues(tools, {"x": ["a[1]"]}, [], "here")
    assert catalogue.names == ["a[1]"]
    decoys = [ToolDefinition(name="ping")]
    with pytest.raises(UsageError, match=r"got two 'x\+decoys'", check=check_message):
        build_catalogues(tools, {"x": ["b"], "x+decoys": ["b"]}, decoys, "here")


@pytest.mark.slow
def test_a_thousand_tools_are_read() -> None:
    tools = read_tools([{"name": f"tool_{n}", "inputSchema": SCHEMA} for n in range(1_000)], "here")
    some, rest = build_catalogues(tools, {"some": ["tool_9*"], "rest": ["tool_1?"]}, [], "here")
    assert (len(some), len(some.left_out), len(rest)) == (111, 889, 10)


@pytest.mark.parametrize("expected", [[], "", [""], ["a", 3], {"name": "a"}, True])
def test_expected_tools_have_names(expected: object) -> None:
    with pytest.raises(UsageError, match="tool: expected the name of a tool", check=check_message):
        list_expected_tools({"tool": expected}, "case a")  # type: ignore[dict-item]


def test_a_missing_sdk_is_named_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mcp.py").write_text("raise ModuleNotFoundError('mcp')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UsageError, match="python -m pip install mcp", check=check_message):
        list_server_tools(McpServer(command=("serve",)), "here", tmp_path)


@pytest.mark.parametrize("command", ["", "'", ()])
def test_a_command_has_a_program(command: str) -> None:
    with pytest.raises(UsageError, match="expected a command that starts an MCP server", check=check_message):
        parse_command(command, "here")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--header", "X-Key: 1"], "expected a URL as the server, got a command"),
        (["http://127.0.0.1:1/mcp", "--header", "sesame"], "expected 'NAME: VALUE'"),
        (["serve", "--timeout", "0"], "expected a number of seconds above 0"),
        (["serve", "--output", "no/such/folder.json"], "cannot be written"),
    ],
)
def test_a_wrong_command_line_is_an_error(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["tools", "list", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "sesame" not in error
