"""``llmops tools list``: the tools of a server, checked and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops import cli
from pytest_llmops.agents.mcp_servers import McpServer
from pytest_llmops.cli import tools_list

TOOLS = [{"name": "refund", "description": "Refunds <x>.", "inputSchema": {"type": "object"}}]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[McpServer, float]]:
    """The servers that are asked, with the time limit; each has the tools."""
    found: list[tuple[McpServer, float]] = []

    def list_server_tools(server: McpServer, where: str, folder: Path, timeout: float) -> list[Any]:
        assert (where, folder) == ("llmops tools list", tmp_path)
        found.append((server, timeout))
        return TOOLS

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tools_list, "list_server_tools", list_server_tools)
    return found


def test_tools_are_printed_as_the_server_lists_them(
    asked: list[tuple[McpServer, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["tools", "list", "python -m orders", "--timeout", "7"]) == 0
    assert json.loads(capsys.readouterr().out) == {"tools": TOOLS}
    assert asked == [(McpServer(command=("python", "-m", "orders")), 7.0)]


def test_tools_are_written_to_a_file(
    asked: list[tuple[McpServer, float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--header", "Authorization: Bearer a:b ", "--header", "x:1"]
    assert cli.main(["tools", "list", "https://orders.example/mcp", *words, "--output", "tools.json"]) == 0
    text = (tmp_path / "tools.json").read_text()
    assert json.loads(text) == {"tools": TOOLS}
    assert text.endswith("}\n")
    check_message(capsys.readouterr().out)
    ((server, _),) = asked
    assert server == McpServer(
        url="https://orders.example/mcp", headers={"Authorization": "Bearer a:b", "x": "1"}
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["python -m orders", "--header", "x: 1"],
        ["https://orders.example", "--header", "none"],
        ["https://orders.example", "--header", ": value"],
        ["https://orders.example", "--header", "name: "],
        ["https://orders.example", "--output", "nosuch/tools.json"],
    ],
)
def test_wrong_arguments_ask_no_server(
    asked: list[tuple[McpServer, float]], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["tools", "list", *words]) == 2
    check_message(capsys.readouterr().err)
    assert asked == []


def test_a_wrong_tool_is_an_error_and_nothing_is_written(
    asked: list[tuple[McpServer, float]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tools_list, "list_server_tools", lambda *_: [{"name": 3}])
    assert cli.main(["tools", "list", "orders", "--output", "tools.json"]) == 2
    check_message(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []
