"""Agents of real frameworks with the tools of real MCP servers: recorded, then replayed without a server, a process or a connection."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from clients.mcp_agents import kit, page, project
from clients.mcp_agents.model import make_answer

pytestmark = pytest.mark.slow


def skip_if_missing(client: project.Client) -> None:
    reason, required = project.explain_missing(), "LLMOPS_REQUIRE_CLIENTS"
    if not reason and not client.python.exists():
        reason, required = f"not there: {client.python} (make agents sets it up)", "LLMOPS_REQUIRE_AGENTS"
    if reason and os.environ.get(required):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.mark.parametrize("client", project.CLIENTS)
def test_an_agent_is_replayed_without_servers(client: str, tmp_path: Path) -> None:
    skip_if_missing(project.CLIENTS[client])
    servers = {name: script for name, script in kit.SCRIPTS.items() if not project.explain_missing(script)}
    result = project.record_and_replay(project.CLIENTS[client], tmp_path, servers)
    texts = f"{result.recorded.text[-6000:]}\n{result.replayed.text[-6000:]}"
    recorded = {name for name, cell in result.cells.items() if cell != project.NOT_RECORDED}
    assert set(result.recorded.outcomes) == recorded, texts
    for name, outcome in result.recorded.outcomes.items():
        assert bool(outcome["commands"]) is not servers[name].is_http, texts
        assert outcome["ports"], texts
    row = page.make_cells(client, result.versions, result.cells)
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        page.write_rows({client: row})
        pytest.skip(f"{page.PAGE.name} was written: read its difference")
    stored = page.read_rows()[client]
    compared = [cell if row[place] != page.UNKNOWN else page.UNKNOWN for place, cell in enumerate(stored)]
    assert row == compared, texts


def test_servers_of_a_client_in_another_process_are_replayed_in_another_folder(tmp_path: Path) -> None:
    client = project.CLIENTS["claude-agent"]
    skip_if_missing(client)
    servers = {name: project.make_connection(kit.SCRIPTS[name]) for name in ("git", "sqlite")}
    gone = {
        name: replace(server, command=f"/no/such/{Path(server.command).name}")
        for name, server in servers.items()
    }
    first, other = tmp_path / "first", tmp_path / "other" / "deeper"
    for folder in (first, other):
        folder.mkdir(parents=True)
    recording = project.Project(client, first)
    with client.server() as model:
        recorded = recording.run("new", servers, model.url)
    assert recorded.problems == {}, recorded.text
    cassettes = recording.folder / "cassettes"
    for path in cassettes.rglob("*.json"):
        assert str(tmp_path) not in path.read_text(encoding="utf-8")
    replaying = project.Project(client, other)
    shutil.copytree(cassettes, replaying.folder / "cassettes")
    replayed = replaying.run("none", gone, model.url)
    assert replayed.problems == {}, replayed.text


def test_the_page_has_all_clients_and_is_written_as_the_tests_write_it() -> None:
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        page.write_rows({})
        pytest.skip(f"{page.PAGE.name} was written: read its difference")
    rows = page.read_rows()
    assert list(rows) == list(project.CLIENTS)
    assert page.PAGE.read_text(encoding="utf-8") == page.make_page(rows)


@pytest.mark.parametrize("server", kit.SCRIPTS)
def test_the_model_calls_what_the_script_says_with_new_ids(server: str) -> None:
    messages: list[dict[str, object]] = [{"role": "user", "content": kit.make_question(server, "/shop")}]
    ids: list[str] = []
    for turn in kit.SCRIPTS[server].turns:
        message = make_answer(messages)["choices"][0]["message"]
        messages.append(message)
        functions = [call["function"] for call in message["tool_calls"]]
        assert [function["name"] for function in functions] == [call.name for call in turn.calls]
        assert not any(kit.FOLDER in function["arguments"] for function in functions)
        for call in message["tool_calls"]:
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": f"result {len(ids)}"})
            ids.append(call["id"])
    assert len(set(ids)) == len(ids)
    quoted = " | ".join(f"result {number}" for number in range(len(ids)))
    assert make_answer(messages)["choices"][0]["message"]["content"] == f"{len(ids)} results: {quoted}"
