"""The relay between a client and a server of MCP, without processes: the server is a stand-in, its output a pipe."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message
from support.tapes import taped

from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.http import child_processes
from pytest_llmops.cassettes.mcp import session as session_module
from pytest_llmops.cassettes.mcp.messages import Message, to_line
from pytest_llmops.cassettes.mcp_relay.relay import Relay, drop_ticket, join
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.errors import CassetteMiss
from pytest_llmops.settings import Settings

program: Any = importlib.import_module("pytest_llmops.cassettes.mcp_relay.__main__")
relay_module: Any = importlib.import_module("pytest_llmops.cassettes.mcp_relay.relay")

HELLO: Message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"capabilities": {}}}
READY: Message = {"jsonrpc": "2.0", "method": "notifications/initialized"}
WELCOME: Message = {"jsonrpc": "2.0", "id": 0, "result": {"serverInfo": {}}}


def make_call(number: int, name: str = "add") -> Message:
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": name, "arguments": {}}}


def make_answer(number: int, text: str = "done") -> Message:
    return {"jsonrpc": "2.0", "id": number, "result": {"text": text}}


class Server:
    """Stands in for the process of a server."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.returncode: int | None = None
        self.ends_with: list[int | None] = [0]  # what `wait` returns, in turn; None: it takes too long
        self.stdin: Any = SimpleNamespace(
            write=lambda line: self.heard.append(line.decode()),
            flush=lambda: self.heard.append("flush"),
            close=lambda: self.heard.append("close"),
        )
        self.stdout: Any = None

    def take(self) -> list[str]:
        """What it has heard since; each line has to be flushed."""
        heard, self.heard = self.heard, []
        lines = [line for line in heard if line != "flush"]
        assert heard.count("flush") == len([line for line in lines if line.endswith("\n")])
        return lines

    def wait(self, timeout: float | None = None) -> int:
        status = self.ends_with.pop(0)
        if status is None:
            raise subprocess.TimeoutExpired("orders", timeout or 0.0)
        return status

    def kill(self) -> None:
        self.heard.append("kill")

    def terminate(self) -> None:
        self.heard.append("terminate")


class Link:
    """A relay, its server and what its client has got."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = Server()
        self.started: list[tuple[list[str], dict[str, Any]]] = []
        self.problem: OSError | None = None
        self.read_from: list[tuple[int, str]] = []
        self._output, given = os.pipe()
        os.set_blocking(self._output, False)
        monkeypatch.setattr(relay_module, "OUTPUT", given)
        processes = SimpleNamespace(**{**vars(subprocess), "Popen": self._start})
        monkeypatch.setattr(relay_module, "subprocess", processes)
        self.given = given
        self.relay = Relay(["orders", "--fast"])

    def _start(self, command: list[str], **how: Any) -> Server:
        self.started.append((command, how))
        if self.problem is not None:
            raise self.problem
        return self.server

    def read_status(self) -> int | None:
        """The exit status with which the relay ends; None: it goes on."""
        return self.relay._status

    def take(self) -> list[str]:
        """The lines that the client has got since."""
        try:
            return os.read(self._output, 100_000).decode().splitlines(keepends=True)
        except BlockingIOError:
            return []

    def client(self, message: Message) -> list[str]:
        """Let the client send a message; what it gets at once."""
        self.relay._hear_client(to_line(message).removesuffix(b"\n"))
        return self.take()

    def answer(self, message: Message) -> list[str]:
        """Let the server send a message; what the client gets."""
        self.relay._hear_server(to_line(message).removesuffix(b"\n"))
        return self.take()

    def close(self) -> None:
        os.close(self._output)
        os.close(self.given)


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Link]]:
    made: list[Link] = []

    def make() -> Link:
        made.append(Link(monkeypatch))
        return made[-1]

    yield make
    for each in made:
        each.close()


def line(message: Message) -> str:
    return to_line(message).decode()


def use(folder: Path, mode: RecordMode, **settings: Any) -> Any:
    return taped(folder / "a.json", mode, settings=Settings(**settings))


def record(link: Link) -> None:
    """A session with a call, recorded."""
    assert link.client(HELLO) == []
    assert link.server.take() == [line(HELLO)]
    assert link.answer(WELCOME) == [line(WELCOME)]
    assert link.client(READY) == []
    assert link.server.take() == [line(READY)]
    assert link.client(make_call(1)) == []
    assert link.server.take() == [line(make_call(1))]
    assert link.answer(make_answer(1)) == [line(make_answer(1))]


def test_a_session_is_recorded_and_replayed_without_a_server(
    link: Callable[[], Link], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with use(tmp_path, "all") as tape:
        live = link()
        record(live)
    assert tape.counts.recorded == 2
    ((command, how),) = live.started
    assert command == ["orders", "--fast"]
    assert (how.pop("stdin"), how.pop("stdout")) == (subprocess.PIPE, subprocess.PIPE)
    assert how == {"env": drop_ticket(os.environ)}
    with use(tmp_path, "none") as tape:
        replay = link()
        assert replay.client(HELLO) == [line(WELCOME)]
        assert replay.client(READY) == []
        assert replay.client(make_call(7)) == [line(make_answer(7))]
        assert replay.read_status() is None
        replay.relay._hear_client(None)
        assert replay.read_status() == 0
    assert tape.counts.replayed == 2
    assert replay.started == []


def test_lines_that_are_no_messages_are_passed_on_to_a_server_that_runs(
    link: Callable[[], Link], tmp_path: Path
) -> None:
    with use(tmp_path, "all"):
        one = link()
        one.relay._hear_client(b"hello")
        assert one.started == []
        one.client(HELLO)
        one.server.take()
        one.relay._hear_client(b"hello")
        assert one.server.take() == ["hello\n"]
        one.relay._hear_server(b"Welcome!")
        assert one.take() == ["Welcome!\n"]


def test_a_server_that_starts_late_gets_the_greeting_first(link: Callable[[], Link], tmp_path: Path) -> None:
    with use(tmp_path, "all"):
        record(link())
    with use(tmp_path, "new") as tape:
        one = link()
        assert one.client(HELLO) == [line(WELCOME)]
        assert one.client(READY) == []
        tape.tools.note_live_model_call("0")
        assert one.client(make_call(1, "new")) == []
        assert one.client(make_call(2, "other")) == []
        assert one.server.take() == [line(HELLO)]
        assert one.answer({"jsonrpc": "2.0", "method": "notifications/message"}) == []
        assert one.answer(make_answer(5)) == []
        assert one.server.take() == []
        assert one.answer(WELCOME) == []
        assert one.server.take() == [line(READY), line(make_call(1, "new")), line(make_call(2, "other"))]
        assert one.answer(make_answer(1)) == [line(make_answer(1))]
        assert one.answer(make_answer(2)) == [line(make_answer(2))]
    assert len(one.started) == 1


def test_a_server_that_cannot_be_started_late_is_an_error_of_the_call(
    link: Callable[[], Link], tmp_path: Path
) -> None:
    with use(tmp_path, "all") as tape:
        one = link()
        one.problem = FileNotFoundError(2, "No such file", "orders")
        (text,) = one.client(HELLO)
        assert json.loads(text)["id"] == 0
        check_message(json.loads(text)["error"]["message"])
        assert one.server.take() == []
    assert len(tape.report.misses) == 1


def test_the_end_of_the_server_ends_the_relay_with_its_status(
    link: Callable[[], Link], tmp_path: Path
) -> None:
    cases: list[tuple[list[int | None], int, list[str]]] = [
        ([3], 3, ["close"]),
        ([-9], 137, ["close"]),
        ([None, 1], 1, ["close", "kill"]),
    ]
    for ends_with, status, heard in cases:
        with use(tmp_path, "all"):
            one = link()
            one.client(HELLO)
            one.server.take()
            one.server.ends_with = list(ends_with)
            one.relay._hear_server(None)
            assert one.read_status() == status
            assert one.server.take() == heard


def test_a_server_that_ends_while_it_is_compared_leaves_its_client_the_recording(
    link: Callable[[], Link], tmp_path: Path
) -> None:
    with use(tmp_path, "all"):
        record(link())
    with use(tmp_path, "none", tools="compare") as tape:
        one = link()
        assert one.client(HELLO) == []
        assert one.answer({**WELCOME, "result": {"serverInfo": {"name": "new"}}}) == [line(WELCOME)]
        assert one.client(make_call(4)) == []
        one.server.ends_with = [3]
        one.relay._hear_server(None)
        assert one.take() == [line(make_answer(4))]
        assert one.read_status() is None
    assert tape.counts.drifted == 2


def test_a_call_whose_server_ended_when_it_was_recorded_ends_the_relay(
    link: Callable[[], Link], tmp_path: Path
) -> None:
    with use(tmp_path, "all"):
        one = link()
        one.client(make_call(1))
        one.relay._hear_server(None)
    with use(tmp_path, "none"):
        one = link()
        assert one.client(make_call(1)) == []
        assert one.read_status() == 1
        assert one.started == []


def test_a_late_answer_comes_when_it_is_due(
    link: Callable[[], Link], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(relay_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(session_module, "COMPARE_GRACE_S", 4.0)
    monkeypatch.setattr(Tape, "claim_tool", without_latency(Tape.claim_tool))
    with use(tmp_path, "all"):
        record(link())
    with use(tmp_path, "none", tools="compare"):
        one = link()
        one.client(make_call(1))
        assert [due for due, _ in one.relay._late] == [104.0]
        now[0] = 103.5
        one.relay._release_late()
        assert one.take() == []
        now[0] = 104.0
        one.relay._release_late()
        assert one.take() == [line(make_answer(1))]
        assert one.relay._late == []
        one.relay._release_late()
        assert one.take() == []
        assert one.answer(make_answer(1)) == []


def without_latency(claim: Callable[..., Any]) -> Callable[..., Any]:
    """Let recorded answers have taken no time."""
    from dataclasses import replace

    def claim_tool(*given: Any) -> Any:
        turn = claim(*given)
        if turn.answer is None:
            return turn
        return replace(turn, answer=replace(turn.answer, latency_s=0.0))

    return claim_tool


def test_waiting_for_an_event_ends_at_the_next_late_answer(
    link: Callable[[], Link], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del tmp_path
    now = [10.0]
    limits: list[float | None] = []
    done: list[str] = []
    monkeypatch.setattr(relay_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    relay = link().relay

    def get(timeout: float | None = None) -> Any:
        limits.append(timeout)
        if timeout is None:
            return ("client", b"a")
        now[0] += timeout
        raise relay_module.Empty

    relay._events = SimpleNamespace(get=get)  # type: ignore[assignment]
    relay._late = [
        (9.0, lambda: done.append("past")),
        (15.0, lambda: done.append("b")),
        (12.0, lambda: done.append("a")),
    ]
    assert relay._wait() == ("client", b"a")
    assert limits == [0.0, 2.0, 3.0, None]
    assert done == ["past", "a", "b"]


def test_a_message_that_has_to_wait_goes_to_the_server_later(
    link: Callable[[], Link], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "time", SimpleNamespace(monotonic=lambda: 100.0))
    with use(tmp_path, "all"):
        one = link()
        turn = session_module.Turn(to_server=[HELLO], lines=[b"text"], wait_s=5.0)
        monkeypatch.setattr(one.relay._session, "receive_from_client", lambda _: turn)
        assert one.client(HELLO) == ["text\n"]
        assert one.started == []
        ((due, act),) = one.relay._late
        assert due == 105.0
        act()
        assert one.server.take() == [line(HELLO)]


def test_a_signal_ends_the_server_and_the_second_one_kills_it(
    link: Callable[[], Link], tmp_path: Path
) -> None:
    with use(tmp_path, "all"):
        one = link()
        one.relay._stop(15)
        assert one.read_status() == 143
        one = link()
        one.client(HELLO)
        one.server.take()
        one.relay._stop(2)
        assert one.server.take() == ["close", "terminate"]
        assert one.read_status() is None
        one.relay._stop(2)
        assert one.server.take() == ["close", "kill"]
        one.server.returncode = 0
        one.relay._hear_client(None)
        assert one.read_status() == 0


def test_a_client_that_ends_lets_a_running_server_end_by_itself(
    link: Callable[[], Link], tmp_path: Path
) -> None:
    with use(tmp_path, "all"):
        one = link()
        one.client(HELLO)
        one.server.take()
        one.relay._hear_client(None)
        assert one.server.take() == ["close"]
        assert one.read_status() is None


def test_after_the_end_of_its_test_a_request_gets_an_error_and_a_notification_nothing(
    link: Callable[[], Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Message) -> Any:
        raise CassetteMiss("the test has ended")

    one = link()
    monkeypatch.setattr(one.relay._session, "receive_from_client", refuse)
    assert one.client(READY) == []
    (text,) = one.client(make_call(3))
    answer = json.loads(text)
    assert (answer["id"], answer["error"]["code"]) == (3, -32603)
    check_message(answer["error"]["message"])
    assert one.started == []


def test_a_closed_pipe_is_no_error(
    link: Callable[[], Link], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise BrokenPipeError

    with use(tmp_path, "all"):
        one = link()
        one.client(HELLO)
        one.server.stdin = SimpleNamespace(write=fail, flush=fail, close=fail)
        assert one.client(READY) == []
        one.relay._hear_client(None)
        monkeypatch.setattr(relay_module, "os", SimpleNamespace(write=fail))
        one.relay._hear_server(b"hello")


def test_a_long_line_is_written_in_parts(link: Callable[[], Link], monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []

    def write(_: int, data: memoryview) -> int:
        written.append(bytes(data[:3]))
        return 3

    one = link()
    monkeypatch.setattr(relay_module, "os", SimpleNamespace(write=write))
    one.relay._send_client(b"abcdefg\n")
    assert written == [b"abc", b"def", b"g\n"]


def test_the_relay_serves_its_input_to_the_end(
    link: Callable[[], Link], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers: dict[int, Any] = {}
    monkeypatch.setattr(relay_module, "signal", SimpleNamespace(signal=handlers.__setitem__))
    with use(tmp_path, "all"):
        record(link())
    with use(tmp_path, "none"):
        one = link()
        read, write = os.pipe()
        monkeypatch.setattr(relay_module, "INPUT", read)
        os.write(write, to_line(HELLO) + to_line(make_call(2)))
        os.close(write)
        assert one.relay.run() == 0
        assert one.take() == [line(WELCOME), line(make_answer(2))]
        os.close(read)
    assert list(handlers) == [2, 15]
    handlers[15](15, None)
    assert one.relay._events.get_nowait() == ("signal", 15)


def test_the_relay_ends_with_the_status_of_a_live_server(
    link: Callable[[], Link], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "signal", SimpleNamespace(signal=lambda *_: None))
    read, write = os.pipe()
    output, server_writes = os.pipe()
    monkeypatch.setattr(relay_module, "INPUT", read)
    with use(tmp_path, "all"):
        one = link()
        one.server.stdout = SimpleNamespace(fileno=lambda: output)
        one.server.ends_with = [4]

        def hear(given: bytes) -> None:
            os.write(server_writes, b"Welcome!\n" + to_line(WELCOME))
            os.close(server_writes)
            one.server.heard.append(given.decode())

        one.server.stdin.write = hear
        os.write(write, to_line(HELLO))
        assert one.relay.run() == 4
        assert one.take() == ["Welcome!\n", line(WELCOME)]
    for number in (read, write, output):
        os.close(number)


def test_a_server_that_cannot_be_started_at_once_ends_the_relay(
    link: Callable[[], Link],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(relay_module, "signal", SimpleNamespace(signal=lambda *_: None))
    with use(tmp_path, "all"):
        one = link()
        one.problem = FileNotFoundError(2, "No such file", "orders")
        assert one.relay.run() == 127
    check_message(capsys.readouterr().err)


def test_the_environment_of_the_server_has_no_ticket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_processes, "START_FOLDER", "/start")
    ticket = {child_processes.TICKET_VARIABLE: "a"}
    assert drop_ticket({**ticket, "A": "1", "PYTHONPATH": "/start"}) == {"A": "1"}
    assert drop_ticket({"PYTHONPATH": os.pathsep.join(["/a", "/start", "/b"])}) == {
        "PYTHONPATH": os.pathsep.join(["/a", "/b"])
    }
    assert drop_ticket({"PYTHONPATH": "/a"}) == {"PYTHONPATH": "/a"}
    assert drop_ticket({}) == {}


def test_a_process_joins_the_test_of_its_ticket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []
    monkeypatch.setattr(child_processes, "use_ticket", used.append)
    monkeypatch.setattr(child_processes, "joined", None)
    with use(tmp_path, "all"):
        assert join("a") is True
    with use(tmp_path, "all", tools="off"):
        assert join("b") is False
    assert join("c") is False
    monkeypatch.setattr(child_processes, "joined", object())
    assert join("d") is False
    assert used == ["a", "b", "c"]

    def refuse() -> Any:
        raise CassetteMiss("the test has ended")

    monkeypatch.setattr(active_tape, "current_tape", refuse)
    assert join("e") is True


def test_the_program_relays_only_in_a_process_of_a_recorded_test(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    became: list[Any] = []

    def become(status: int, *what: Any) -> int:
        became.append(what)
        return status

    joins = {"recorded": True, "other": False}
    monkeypatch.delenv(program.TICKET_VARIABLE, raising=False)
    monkeypatch.setattr(relay_module, "join", joins.__getitem__)
    monkeypatch.setattr(
        relay_module,
        "Relay",
        lambda command: SimpleNamespace(run=lambda: become(5, "relay", command)),
    )
    system = SimpleNamespace(
        name="posix", environ=os.environ, execv=lambda path, command: became.append((path, command))
    )
    monkeypatch.setattr(program, "os", system)
    processes = SimpleNamespace(call=lambda command: become(6, "call", command))
    monkeypatch.setattr(program, "subprocess", processes)
    monkeypatch.setattr(program, "shutil", SimpleNamespace(which={"orders": "/bin/orders"}.get))

    assert program.main([]) == 2
    assert program.main(["--"]) == 2
    assert capsys.readouterr().err == program.USAGE * 2
    program.main(["--", "orders", "--", "a"])
    program.main(["./other"])
    monkeypatch.setattr(sys, "argv", ["relay", "orders"])
    program.main()
    monkeypatch.setenv(program.TICKET_VARIABLE, "other")
    program.main(["orders"])
    monkeypatch.setenv(program.TICKET_VARIABLE, "recorded")
    assert program.main(["--", "orders", "a"]) == 5
    monkeypatch.delenv(program.TICKET_VARIABLE)
    system.name, system.execv = "nt", None
    assert program.main(["orders", "a"]) == 6
    assert became == [
        ("/bin/orders", ["orders", "--", "a"]),
        ("call", ["/bin/orders", "--", "a"]),
        ("./other", ["./other"]),
        ("call", ["./other"]),
        ("/bin/orders", ["orders"]),
        ("call", ["/bin/orders"]),
        ("/bin/orders", ["orders"]),
        ("call", ["/bin/orders"]),
        ("relay", ["orders", "a"]),
        ("call", ["/bin/orders", "a"]),
    ]

    def fail(_: Any) -> Any:
        raise FileNotFoundError(2, "No such file", "orders")

    processes.call = fail
    assert program.main(["orders"]) == 127
    check_message(capsys.readouterr().err)


def test_the_program_has_the_variable_of_the_tickets() -> None:
    assert program.TICKET_VARIABLE == child_processes.TICKET_VARIABLE
