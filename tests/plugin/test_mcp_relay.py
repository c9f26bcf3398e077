"""MCP servers of a client in another process: the relay, which the client starts instead, records and replays with the test."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from support.mcp_client import AGENT, CLIENT, SERVER, STARTS
from support.project import PROGRAM, Project, Result

from pytest_llmops.cassettes.http import child_processes
from pytest_llmops.cassettes.mcp_relay import __main__

SECRET = "tok-9f8e7d6c5b4a39281706f5e4d3c2b1a0"
USED = "['add', 'count'] {'orders': ['42']} {'count': 1} {'count': 1}"
TEST = f"""{STARTS}
@pytest.mark.llm_cassette
def test_a():
    text = start()
    assert text.startswith({USED!r}), text
    assert "['notifications/progress', 'notifications/progress']" in text.replace("'Welcome to the orders server!', ", "")
"""
Write = Callable[..., None]


@pytest.fixture
def write(project: Project) -> Write:
    """Write the server, the client and a test; `agent` is what the client does with `server`."""

    def write_files(test: str = TEST, agent: str = AGENT, **files: str) -> None:
        project.write(
            **{"server.py": SERVER, "client.py": CLIENT, "agent.py": agent, "test_a.py": test, **files}
        )

    return write_files


def make_test(body: str, more: str = "") -> str:
    return f"{STARTS}\n@pytest.mark.llm_cassette\ndef test_a({more}):\n{body}"


def make_agent(*lines: str) -> str:
    return "\n".join(("from client import open_server", "server = open_server()", *lines))


def read_cassettes(project: Project) -> str:
    return "".join(content.decode() for content in project.cassettes().values())


def count_starts(project: Project) -> int:
    path = project.path / "starts.txt"
    return len(path.read_text().split()) if path.exists() else 0


def replay(project: Project, *args: str, workers: int = 0) -> Result:
    """Run the tests on the recordings alone; no server may start."""
    before = count_starts(project)
    result = project.run(*args, workers=workers)
    assert count_starts(project) == before, result.text
    return result


def test_the_calls_of_a_client_are_replayed_without_its_server(project: Project, write: Write) -> None:
    write()
    assert project.record().outcomes == {"passed": 1}
    assert count_starts(project) == 1
    entries = json.loads(read_cassettes(project))["interactions"]
    assert {entry["request"]["url"] for entry in entries} == {"mcp:python server.py"}
    (project.path / "server.py").unlink()
    replayed = replay(project)
    assert replayed.outcomes == {"passed": 1}, replayed.text


def test_workers_have_servers_of_their_own(project: Project, write: Write) -> None:
    write(TEST.replace("def test_a():", "@pytest.mark.parametrize('n', range(3))\ndef test_a(n):"))
    assert project.record(workers=2).outcomes == {"passed": 3}
    assert count_starts(project) == 3
    assert replay(project, workers=2).outcomes == {"passed": 3}


def test_a_call_that_is_not_recorded_fails_the_test_though_the_client_goes_on(
    project: Project, write: Write
) -> None:
    agent = 'print(server.call("add", order="42")); print(server.call("count"))'
    write(make_test("    print(start())\n"), make_agent(agent))
    assert project.record().outcomes == {"passed": 1}
    write(make_test("    print(start())\n"), make_agent(agent.replace("42", "43")))
    result = replay(project, "-rP")
    assert result.outcomes == {"passed": 1, "errors": 1}, result.text
    message = result.records["test_a"].message
    assert 'no recording answers the call add(order="43") of MCP server python server.py' in message
    assert 'nearest   #002: add(order="42")' in message
    assert "'message': 'CassetteMiss: no recording answers" in result.text
    assert "{'count': 1}" in result.text


def test_a_server_that_dies_is_replayed_as_one_that_ends(project: Project, write: Write) -> None:
    agent = make_agent(
        'print(server.call("add", order="42"))', 'print(server.call("die"))', "print(server.close())"
    )
    write(make_test("    assert 'ended with' in start()\n"), agent)
    recorded = project.record()
    assert recorded.outcomes == {"passed": 1}, recorded.text
    assert '"server ended"' in read_cassettes(project)
    replayed = replay(project)
    assert replayed.outcomes == {"passed": 1}, replayed.text


def test_a_client_that_leaves_does_not_wait_for_an_answer(project: Project, write: Write) -> None:
    ask = 'server.send({"id": 7, "method": "tools/call", "params": {"name": "silent", "arguments": {}}})'
    write(make_test("    assert start() == '0'\n"), make_agent(ask, "print(server.close())"))
    recorded = project.record()
    assert recorded.outcomes == {"passed": 1}, recorded.text
    assert '"no answer"' in read_cassettes(project)
    replayed = replay(project)
    assert replayed.outcomes == {"passed": 1}, replayed.text


def test_a_client_that_kills_its_server_leaves_none_behind(project: Project, write: Write) -> None:
    ask = 'server.send({"id": 7, "method": "tools/call", "params": {"name": "silent", "arguments": {}}})'
    agent = make_agent(
        'pid = server.call("pid")["pid"]',
        ask,
        "server.process.terminate()",
        "server.process.wait()",
        "try:",
        "    os.kill(pid, 0)",
        "    print('left behind')",
        "except ProcessLookupError:",
        "    print('gone')",
    )
    write(make_test("    assert start() == 'gone'\n"), f"import os\n{agent}")
    recorded = project.record()
    assert recorded.outcomes == {"passed": 1}, recorded.text


def test_large_answers_arrive_whole(project: Project, write: Write) -> None:
    write(
        make_test("    assert start() == '5000000'\n"), make_agent('print(len(server.call("large")["text"]))')
    )
    recorded = project.record()
    assert recorded.outcomes == {"passed": 1}, recorded.text
    assert replay(project).outcomes == {"passed": 1}


def test_secrets_and_the_way_to_the_tape_are_not_recorded(
    project: Project, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERS_API_KEY", SECRET)
    test = make_test(
        f"    config = {{'mcpServers': {{'orders': {{'command': sys.executable, 'args': ['server.py', '--token', {SECRET!r}]}}}}}}\n"
        "    environ = json.loads(start(config=json.dumps(config)))\n"
        "    assert 'LLMOPS_TEST_PROCESS' not in environ\n"
        "    assert 'child_start' not in environ.get('PYTHONPATH', '')\n"
        "    assert 'ORDERS_API_KEY' in environ\n"
    )
    write(test, "import json\n" + make_agent('print(json.dumps(server.call("env")))'))
    recorded = project.record()
    assert recorded.outcomes == {"passed": 1}, recorded.text
    text = read_cassettes(project)
    assert '"mcp:python server.py --token [secret]"' in text
    assert SECRET not in text
    assert "authkey" not in text
    assert replay(project).outcomes == {"passed": 1}


LATE = f"""{STARTS}
child = None

@pytest.mark.llm_cassette
def test_a():
    global child
    servers = {{"mcpServers": {{"orders": {{"command": sys.executable, "args": ["server.py"]}}}}}}
    command = [sys.executable, "agent.py", "--mcp-config", json.dumps(servers)]
    child = subprocess.Popen(command, stdin=-1, stdout=-1, text=True)
    assert child.stdout.readline() == "{{'count': 0}}\\n"

def test_b():
    text, _ = child.communicate("go on\\n")
    print("LATE", text)
"""


def test_a_client_that_outlives_its_test_gets_no_answer_in_a_replay(project: Project, write: Write) -> None:
    count = 'print(server.call("count"), flush=True)'
    write(LATE, make_agent(count, "input()", count))
    recorded = project.record("-rP")
    assert recorded.outcomes == {"passed": 2}, recorded.text
    assert "LATE {'count': 0}" in recorded.text  # by the server, which still runs
    replayed = replay(project, "-rP")
    assert replayed.outcomes == {"passed": 2}, replayed.text
    assert "uses an MCP server after the test that started it has ended" in replayed.text


def test_each_trial_has_its_own_take(project: Project, write: Write) -> None:
    agent = make_agent('print("PID", server.call("pid")["pid"])')
    write(make_test("    print(start())\n"), agent)

    def read_pids(result: Result) -> list[str]:
        return re.findall(r"PID (\d+)", result.text)

    recorded = project.record("--llm-trials=3", "-s")
    assert recorded.exit == 0, recorded.text
    pids = read_pids(recorded)
    assert len(set(pids)) == 3
    assert read_pids(replay(project, "--llm-trials=3", "-s")) == pids


def test_tools_are_compared_and_the_client_gets_the_recorded_result(project: Project, write: Write) -> None:
    agent = make_agent('print(server.call("add", order="42"))')
    write(make_test("    assert start() == \"{'orders': ['42']}\"\n"), agent)
    assert project.record().outcomes == {"passed": 1}
    write(
        make_test("    assert start() == \"{'orders': ['42']}\"\n"), agent,
        **{"server.py": SERVER.replace("orders = []", "orders = ['41']")},
    )  # fmt: skip
    result = project.run("--llm-tools=compare")
    assert result.outcomes.get("passed") == 1, result.text
    assert count_starts(project) == 2
    assert 'recorded "42", now "41"' in result.text, result.text
    # A server that dies in the call
    dying = SERVER.replace('if name == "add":', 'if name == "add":\n        sys.exit(3)')
    write(make_test("    assert start() == \"{'orders': ['42']}\"\n"), agent, **{"server.py": dying})
    result = project.run("--llm-tools=compare")
    assert result.outcomes.get("passed") == 1, result.text
    assert "recorded a result, now the server has ended with exit status 3" in " ".join(result.run.notes)


def test_nothing_is_put_in_the_place_of_servers_with_tools_off(project: Project, write: Write) -> None:
    write()
    assert project.record("--llm-tools=off").outcomes == {"passed": 1}
    assert project.cassettes() == {}
    assert count_starts(project) == 1
    assert project.run("--llm-tools=off").outcomes == {"passed": 1}
    assert count_starts(project) == 2


def test_the_name_of_the_settings_is_used(project: Project, write: Write) -> None:
    write()
    ini = (project.path / "pytest.ini").read_text(encoding="utf-8")
    project.write(**{"pytest.ini": f"{ini}llm_mcp_servers = orders=python server.py*\n"})
    assert project.record().outcomes == {"passed": 1}
    assert '"mcp:orders"' in read_cassettes(project)
    assert replay(project).outcomes == {"passed": 1}


FORMS = (
    "start(config='servers.json')",
    "start(config='../servers.json', program='../agent.py', cwd='inner')",
    "asyncio.run(start_async())",
    "subprocess.run([sys.executable, 'starter.py'], capture_output=True, text=True, check=True).stdout",
)
FORM_TEST = """
import asyncio
CONFIG = json.dumps({"mcpServers": {"orders": {"type": "stdio", "command": sys.executable, "args": ["server.py"]}}})

async def start_async():
    command = (sys.executable, "agent.py", f"--mcp-config={CONFIG}")
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    return (await child.communicate())[0].decode()
"""


def test_the_servers_are_found_however_the_client_is_started(project: Project, write: Write) -> None:
    client = CLIENT.replace("def open_server", "import argparse\n\ndef open_server").replace(
        '    values = argv[argv.index("--mcp-config") + 1 :]\n    text = values[0]\n',
        "    parser = argparse.ArgumentParser()\n    parser.add_argument('--mcp-config')\n"
        "    text = parser.parse_known_args(argv)[0].mcp_config\n",
    )
    starts = str(project.path / "starts.txt")
    server = {"command": sys.executable, "args": [str(project.path / "server.py")], "env": {"STARTS": starts}}
    config = json.dumps({"mcpServers": {"orders": server}})
    tests = [
        f"@pytest.mark.llm_cassette\ndef test_{number}():\n    assert 'count' in {form}\n"
        for number, form in enumerate(FORMS)
    ]
    write(
        "\n".join((STARTS, FORM_TEST, *tests)),
        **{
            "client.py": client,
            "servers.json": config,
            "inner/note.txt": "",
            "starter.py": f"{STARTS}\nprint(start())\n",
        },
    )
    recorded = project.record()
    assert recorded.outcomes == {"passed": len(FORMS)}, recorded.text
    assert count_starts(project) == len(FORMS)
    (project.path / "server.py").unlink()
    replayed = replay(project)
    assert replayed.outcomes == {"passed": len(FORMS)}, replayed.text


def test_a_server_that_cannot_be_started_is_recorded_as_such(project: Project, write: Write) -> None:
    config = json.dumps({"mcpServers": {"orders": {"command": "no-such-server"}}})
    write(
        make_test(f"    assert start(config={config!r}) == 'ended with 127'\n"),
        make_agent('print(server.call("count"))'),
    )
    recorded = project.record()
    assert recorded.outcomes == {"passed": 1}, recorded.text
    assert "No such file or directory" in read_cassettes(project)
    assert replay(project).outcomes == {"passed": 1}


def test_a_server_at_an_address_is_not_recorded_and_a_note_says_so(project: Project, write: Write) -> None:
    config = json.dumps({"mcpServers": {"shop": {"type": "http", "url": "http://127.0.0.1:1/mcp"}}})
    write(make_test(f"    start(config={config!r})\n"), "print('never connects')")
    result = project.record()
    assert (
        "the MCP server 'shop' is at an address that a client in another process connects to" in result.text
    )
    assert result.outcomes == {"passed": 1}


def test_a_server_that_is_started_late_hears_what_the_client_has_said(project: Project, write: Write) -> None:
    agent = f"{PROGRAM}\n" + make_agent(
        'server.ask("tools/list")', "print(ask('PROMPT'))", 'print(server.call("add", order="42"))'
    )
    strict = (
        SERVER.replace(
            '    if method == "initialize":', '    if method == "initialize":\n        known = True'
        )
        .replace("orders = []", "orders = []\nknown = False")
        .replace('    if method == "tools/call":', '    if method == "tools/call":\n        assert known')
    )
    test = make_test("    assert \"{'orders': ['42']}\" in start()\n")
    write(test, agent.replace("PROMPT", "one"), **{"server.py": strict})
    assert project.record().outcomes == {"passed": 1}
    write(test, agent.replace("PROMPT", "two"), **{"server.py": strict})
    result = project.record()
    assert result.outcomes == {"passed": 1}, result.text
    assert count_starts(project) == 2
    assert replay(project, f"--llm-base-url={project.server.url}/v1").outcomes == {"passed": 1}
    # The renamed test gets the start of the old one's recording, and calls the server, which has been started at once
    write(
        test.replace("test_a", "test_b").replace("42", "43"),
        agent.replace("PROMPT", "two").replace("42", "43"),
        **{"server.py": strict},
    )
    result = project.record()
    assert result.outcomes == {"passed": 1}, result.text
    assert count_starts(project) == 3


FAULTS = """
FAULTS = {
    "slow": "{'orders': ['42']} {'count': 1}", "never_returns": "no answer came within 0.1 s",
    "malformed_json": "no answer came within 0.1 s", "server_died": "{'orders': ['42']} ended with 1",
}

@pytest.mark.llm_cassette
@pytest.mark.parametrize("kind", [
    pytest.param(kind, marks=pytest.mark.llm_fault(kind, tool="count", **{"seconds": 0.1} if kind == "slow" else more))
    for kind, more in (
        ("slow", {}), ("never_returns", {"at_most_s": 0.1}), ("malformed_json", {"at_most_s": 0.1}), ("server_died", {}),
    )
])
def test_a(kind):
    assert FAULTS[kind] in start()
"""


def test_a_call_through_the_relay_gets_its_fault(project: Project, write: Write) -> None:
    write(f"{STARTS}{FAULTS}", make_agent('print(server.call("add", order="42"), server.call("count"))'))
    for result in (project.record(), replay(project)):
        hung = sorted(name for name, record in result.records.items() if "hung: tool" in record.message)
        assert hung == ["test_a[malformed_json]", "test_a[never_returns]"], result.text
        assert result.outcomes == {"passed": 2, "failed": 2}
        assert "AssertionError" not in result.text
    entries = [entry for text in project.cassettes().values() for entry in json.loads(text)["interactions"]]
    called = [entry["request"]["body"]["json"].get("name") for entry in entries]
    assert sorted(filter(None, called)) == ["add"] * 4 + ["count"]  # only the slow one was called


def test_a_server_that_has_changed_is_compared(project: Project, write: Write) -> None:
    write()
    assert project.record().outcomes == {"passed": 1}
    changed = SERVER.replace('"inputSchema": {}', '"inputSchema": {"type": "object"}')
    changed = changed.replace('{"count": len(orders)}}', '{"count": 7}}').replace(
        '"version": "1"', '"version": "2"'
    )
    failing = changed.replace('return {"structuredContent": {"orders": orders}}', 'return {"isError": True}')
    write(**{"server.py": failing})
    before = project.cassettes()
    result = project.run("--llm-tools=compare")
    assert result.outcomes == {"passed": 1}, result.text  # the client got what is recorded
    assert project.cassettes() == before
    notes = "\n".join(result.run.notes)
    assert 'definition add $.inputSchema.type: recorded missing, now "object"' in notes
    assert "result $.structuredContent.count: recorded 1 (integer), now 7 (integer)" in notes
    assert "result $: recorded a result, now a result with isError" in notes
    assert count_starts(project) == 2


@pytest.mark.parametrize(
    ("command", "status", "error"),
    [
        ([], 2, "usage: python -m pytest_llmops.cassettes.mcp_relay -- COMMAND ARGS..."),
        (["--", "no-such-server"], 127, "the MCP server cannot be started: no-such-server"),
        (["--", sys.executable, "-c", "import sys; sys.exit(5)"], 5, ""),
    ],
)
def test_without_a_test_the_relay_is_the_server(command: list[str], status: int, error: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest_llmops.cassettes.mcp_relay", *command],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (status, "")
    assert error in done.stderr


def test_the_relay_knows_the_ticket_of_the_test() -> None:
    assert __main__.TICKET_VARIABLE == child_processes.TICKET_VARIABLE


def test_the_relay_in_a_configuration_by_hand_is_recorded(project: Project, write: Write) -> None:
    args: list[Any] = ["-m", "pytest_llmops.cassettes.mcp_relay", "--", sys.executable, "server.py"]
    config = {"mcpServers": {"orders": {"command": sys.executable, "args": args}}}
    program = f"import sys\nsys.argv += ['--mcp-config', {json.dumps(config)!r}]\n{AGENT}"
    test = make_test(
        "    done = subprocess.run([sys.executable, 'agent.py'], capture_output=True, text=True, check=True)\n"
        f"    assert done.stdout.startswith({USED!r})\n"
    )
    write(test, program)
    recorded = project.record()
    assert recorded.outcomes == {"passed": 1}, recorded.text
    assert '"mcp:python server.py"' in read_cassettes(project)
    assert replay(project).outcomes == {"passed": 1}
