"""The option `llm_clients`, with a program that asks as Claude Code does; `tests/clients/test_agents.py` runs the real one."""

from __future__ import annotations

import pytest
from support.project import INI, Project

CLIENTS_INI = INI + "llm_clients = claude-agent codex\n"
AGENT = """
import json, os, socket, time, urllib.error, urllib.request
from pathlib import Path
from urllib.parse import urlsplit

def remind(text):
    return {"type": "text", "text": f"<system-reminder>\\n{text}\\n</system-reminder>"}

def request(method, path, body=None, agent="claude-cli/2.1.332 (external, cli)"):
    headers = {"content-type": "application/json", "user-agent": agent}
    url = os.environ["ANTHROPIC_BASE_URL"] + path
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method)) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        error.add_note(error.read().decode())
        error.close()  # else its socket is open until it is collected, in another test
        raise

def ask(question, folder, **how):
    moment = time.time_ns()
    ids = {"device_id": f"device-{moment}", "session_id": f"session-{moment}"}
    body = {
        "model": "m",
        "system": [{"type": "text", "text": f"x-anthropic-billing-header: cc_version={moment};"}],
        "messages": [{"role": "user", "content": [
            remind(f"# Environment\\n - Primary working directory: {folder}"), remind(f"Token usage: {moment}"),
            {"type": "text", "text": f"{question} See {folder}/order.txt"}]}],
        "metadata": {"user_id": json.dumps(ids)},
    }
    _, answer = request("POST", "/v1/messages?beta=true", body, **how)
    return json.loads(answer)
"""
TEST = f"""{AGENT}
def test_a(llm_proxy, tmp_path):
    folder = tmp_path / "work"
    answer = ask("Where is order 42?", folder)
    assert f"{{folder}}/order.txt" in answer["body"]
    Path("folder.txt").write_text(str(folder))
"""


@pytest.fixture
def clients(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", project.server.url)
    project.write(**{"pytest.ini": CLIENTS_INI})
    return project


def test_an_agent_is_replayed_in_another_folder_and_leaves_no_trace(clients: Project, workers: int) -> None:
    """The server repeats the request in its answer, with the folder and the ids."""
    clients.write(**{"test_a.py": TEST})
    recorded = clients.record("--basetemp=first", workers=workers)
    assert recorded.outcomes == {"passed": 1}, recorded.text
    folder = (clients.path / "folder.txt").read_text()
    (cassette,) = clients.cassettes().values()
    for identity in (folder, "device-1", "session-1"):
        assert identity.encode() not in cassette, identity
    replayed = clients.run("--basetemp=second", workers=workers)
    assert replayed.outcomes == {"passed": 1}, replayed.text
    assert (clients.path / "folder.txt").read_text() != folder
    assert clients.server.count == 1


def test_without_the_option_the_same_agent_misses(clients: Project) -> None:
    clients.write(**{"pytest.ini": INI, "test_a.py": TEST})
    assert clients.record("--basetemp=first").outcomes == {"passed": 1}
    assert "no recording answers POST" in clients.run("--basetemp=second").text


def test_other_calls_are_replayed_as_without_the_option(clients: Project) -> None:
    test = """
def test_a(llm):
    assert llm.complete("hello there").text == "echo of hello there"
"""
    clients.write(**{"test_a.py": test, "pytest.ini": INI})
    assert clients.record().outcomes == {"passed": 1}
    before = clients.cassettes()
    clients.write(**{"pytest.ini": CLIENTS_INI})
    replayed = clients.run(f"--llm-base-url={clients.server.url}/v1")
    assert replayed.outcomes == {"passed": 1}, replayed.text
    assert clients.cassettes() == before


def test_an_unknown_client_is_refused(project: Project) -> None:
    project.write(**{"pytest.ini": INI + "llm_clients = codex claude\n", "test_a.py": "def test_a(): pass"})
    result = project.bare()
    assert result.exit == 4
    assert (
        "ini llm_clients: expected one of claude-agent, codex, gemini-cli, opencode, got 'claude'"
        in result.text
    )


def test_requests_that_ask_no_model_are_answered_by_the_proxy(clients: Project) -> None:
    test = f"""{AGENT}
def test_a(llm_proxy, llm_calls):
    assert request("HEAD", "/api/hello", agent="Bun/1") == (200, b"")
    assert request("POST", "/api/event_logging/batch", {{"events": []}}) == (200, b"{{}}")
    assert os.environ["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] == "1"
    assert len(llm_calls) == 0

def test_b():
    assert "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC" not in os.environ
"""
    clients.write(**{"test_a.py": test})
    result = clients.record()
    assert result.outcomes == {"passed": 2}, result.text
    assert (clients.server.count, clients.cassettes()) == (0, {})


def test_a_web_socket_is_refused_at_once_so_that_the_client_goes_on_over_http(project: Project) -> None:
    """Codex, for one, tries no longer after this status; any other costs it five tries and seconds."""
    test = f"""{AGENT}
def test_a(llm_proxy):
    parts = urlsplit(llm_proxy.url)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(b"GET /openai/v1/responses HTTP/1.1\\r\\nhost: x\\r\\nConnection: Upgrade\\r\\nUpgrade: WebSocket\\r\\n\\r\\n")
        assert connection.recv(99).startswith(b"HTTP/1.1 426 ")
"""
    project.write(**{"test_a.py": test})
    result = project.record()
    assert result.outcomes == {"passed": 1}, result.text
    assert project.server.count == 0


def test_a_miss_has_the_status_after_which_a_client_does_not_ask_again(clients: Project) -> None:
    test = f"""{AGENT}
import pytest
@pytest.mark.parametrize(("agent", "status"), [("codex_exec/0.171.0 (Linux)", 400), ("claude-cli/2.1.332 (x)", 424), ("curl/8", 424)])
def test_a(llm_proxy, agent, status):
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask("Where is order 42?", "/srv/x", agent=agent)
    assert caught.value.code == status
    assert "no recording answers POST" in caught.value.__notes__[0]
"""
    clients.write(**{"test_a.py": test})
    result = clients.run()
    assert result.outcomes == {"passed": 3, "errors": 3}, result.text


def test_a_client_whose_requests_look_otherwise_is_told(clients: Project) -> None:
    test = f"""{AGENT}
def test_a(llm_proxy):
    request("POST", "/v1/messages", {{"model": "m", "messages": []}}, agent="claude-cli/9.0.0 (external)")
"""
    clients.write(**{"test_a.py": test})
    result = clients.record()
    assert result.outcomes == {"passed": 1}, result.text
    assert "claude-cli 9.0.0 sent a request that is not in the form of 2.1.332" in result.text
