"""What a process may do that has outlived its test, which connections are checked, and what is left of a stopped run."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.cassettes import active_tape, run_folder
from pytest_llmops.cassettes.answer_player import _describe_server, describe_age
from pytest_llmops.cassettes.http import connection_checks, late_calls
from pytest_llmops.cassettes.http.late_calls import NoTape, check_late_call
from pytest_llmops.errors import CassetteMiss

OPENAI = "api.openai.com"
URL = f"https://{OPENAI}/v1/chat/completions"


class Process:
    """The process of the test, which is asked for refusals."""

    def __init__(
        self, *, refusal: CassetteMiss | None = None, has_ended: bool = False, **ticket: Any
    ) -> None:
        facts = {"mode": "none", "base_url": "", "allow_hosts": (), "calls_outside_tests": "refuse", **ticket}
        self.ticket = SimpleNamespace(**facts)
        self.refusal = refusal
        self.has_ended = has_ended
        self.asked: list[tuple[Any, ...]] = []

    def ask(self, *question: Any) -> CassetteMiss | None:
        self.asked.append(question)
        if self.has_ended:
            raise ConnectionError
        return self.refusal


def make_tape(process: Any) -> NoTape:
    return NoTape(process)


@pytest.mark.parametrize(
    ("host", "port", "ticket"),
    [
        ("localhost", None, {}),
        ("example.com", 443, {}),
        (OPENAI, 443, {"mode": "new"}),
        (OPENAI.upper(), 443, {"allow_hosts": (OPENAI,)}),
        (OPENAI, 8443, {"allow_hosts": (f"{OPENAI}:8443",)}),
    ],
)
def test_a_connection_that_is_allowed_passes(host: str, port: int | None, ticket: dict[str, Any]) -> None:
    process = Process(**ticket)
    assert make_tape(process).passes(host, port) is True
    assert process.asked == []


@pytest.mark.parametrize(("host", "port"), [(OPENAI, 443), (OPENAI, None), ("localhost", 11434)])
def test_a_connection_to_a_model_is_refused_by_the_run(host: str, port: int | None) -> None:
    refusal = CassetteMiss("refused")
    process = Process(refusal=refusal, allow_hosts=(f"{OPENAI}:80",), base_url="http://localhost:11434/v1")
    with pytest.raises(CassetteMiss) as raised:
        make_tape(process).passes(host, port)
    assert raised.value is refusal
    assert process.asked == [(0, "refuse_late_call", host)]


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_connection_to_a_model_is_refused_without_a_run_too(has_ended: bool) -> None:
    tape = make_tape(Process(has_ended=has_ended))
    with pytest.raises(CassetteMiss, match=f"pid {os.getpid()}.*{OPENAI}"):
        tape.allows_connection(OPENAI)
    assert tape.allows_connection("localhost") is True


def test_tools_after_the_test_are_refused_only_in_a_replay() -> None:
    assert make_tape(Process(mode="new")).uses_tools() is False
    assert make_tape(Process(calls_outside_tests="allow")).uses_tools() is False
    with pytest.raises(CassetteMiss, match=f"pid {os.getpid()}"):
        make_tape(Process()).uses_tools()


def no_body() -> bytes:
    return b""


@pytest.mark.parametrize(
    ("url", "ticket", "asked"),
    [
        (URL, {}, 1),
        (URL, {"mode": "new"}, 0),
        (URL, {"calls_outside_tests": "allow"}, 0),
        (URL, {"allow_hosts": (OPENAI,)}, 0),
        ("https://example.com/other", {}, 0),
    ],
)
def test_a_request_after_the_test_is_checked_if_it_calls_a_model(
    url: str, ticket: dict[str, Any], asked: int
) -> None:
    process = Process(**ticket)
    make_tape(process).check_request(url, no_body)
    assert process.asked == [(0, "refuse_late_call", OPENAI)] * asked


def test_only_posts_of_a_process_without_a_test_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = CassetteMiss("refused")
    process = Process(refusal=refusal)
    tape = make_tape(process)
    monkeypatch.setattr(active_tape, "current_tape", lambda: tape)
    monkeypatch.setattr(active_tape, "find_remote_tape", None)
    late_calls.check_late_call("POST", URL, no_body)
    monkeypatch.setattr(active_tape, "find_remote_tape", lambda _: tape)
    check_late_call("GET", URL, no_body)
    assert process.asked == []
    with pytest.raises(CassetteMiss) as raised:
        check_late_call("post", URL, no_body)
    assert raised.value is refusal
    monkeypatch.setattr(active_tape, "current_tape", lambda: "another tape")
    check_late_call("POST", URL, no_body)
    assert len(process.asked) == 1


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any, Any]]:
    """The addresses that are checked, each with its check."""
    seen: list[tuple[Any, Any, Any]] = []
    monkeypatch.setattr(connection_checks, "check_address", lambda *parts: seen.append(parts))
    return seen


@pytest.mark.parametrize(
    ("event", "args", "address"),
    [
        ("socket.getaddrinfo", ("a", 1, 2), ("a", 1)),
        ("socket.gethostbyname", ("a",), ("a", None)),
        ("socket.connect", (0, ("a", 1, 2, 3)), ("a", 1)),
        ("socket.sendto", (0, ("a", 1)), ("a", 1)),
        ("socket.sendmsg", (0, ("a",)), (None, None)),
        ("socket.connect", (0, "/a/path"), (None, None)),
        ("socket.bind", (0, ("a", 1)), (None, None)),
    ],
)
def test_the_address_of_an_event_is_checked(
    checked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    event: str,
    args: tuple[Any, ...],
    address: tuple[Any, Any],
) -> None:
    checks: list[Any] = []
    monkeypatch.setattr(connection_checks, "_checks", checks)
    connection_checks._check_event(event, args)
    assert checked == []
    checks += ["one", "two"]
    connection_checks._check_event("open", args)
    assert checked == []
    connection_checks._check_event(event, args)
    assert checked == [("one", *address), ("two", *address)]


class Loop:
    """A loop of uvloop."""

    async def create_connection(self, factory: Any, host: Any = None, port: Any = None, **more: Any) -> Any:
        return factory, host, port, more

    async def getaddrinfo(self, host: Any, port: Any, **more: Any) -> Any:
        return host, port, more

    async def create_datagram_endpoint(self, *args: Any, **more: Any) -> Any:
        return args, more


def test_connections_of_uvloop_are_checked_before_they_are_made(checked: list[Any]) -> None:
    check: Any = "check"
    module: Any = SimpleNamespace(Loop=Loop)
    patches = connection_checks._patch_uvloop(check, module)
    made: dict[str, Callable[..., Any]] = {
        patch.name: patch.make(getattr(Loop, patch.name)) for patch in patches
    }
    assert all(patch.target is Loop for patch in patches)

    async def run() -> None:
        connect, find, send = (
            made[name] for name in ("create_connection", "getaddrinfo", "create_datagram_endpoint")
        )
        assert await connect(Loop(), "p", "a", 1, x=2) == ("p", "a", 1, {"x": 2})
        assert await connect(Loop(), "p", host="b", port=2) == ("p", "b", 2, {})
        assert await connect(Loop(), "p", sock=3) == ("p", None, None, {"sock": 3})
        assert await find(Loop(), "c", 3, type=4) == ("c", 3, {"type": 4})
        assert await send(Loop(), "p", ("l", 1), ("d", 4, 5), x=6) == (("p", ("l", 1), ("d", 4, 5)), {"x": 6})
        assert await send(Loop(), "p", remote_addr="/path") == (("p", None, "/path"), {})
        assert await send(Loop(), "p", remote_addr=("one",)) == (("p", None, ("one",)), {})

    asyncio.run(run())
    own = [
        entry for entry in checked if entry[0] == check
    ]  # the run of this test checks the connections of its loop too
    assert own == [
        ("check", "a", 1),
        ("check", "b", 2),
        ("check", None, None),
        ("check", "c", 3),
        ("check", "d", 4),
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv(run_folder.RUN_FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def test_a_stopped_run_has_no_more_live_calls_and_names_what_was_rescued(folder: Path) -> None:
    run_folder.stop_live_calls()  # without its file, nothing can be stopped
    assert not run_folder.are_live_calls_stopped()
    (folder / run_folder.ROOM_FILE).touch()
    run_folder.stop_live_calls()
    assert [path.name for path in folder.iterdir()] == [run_folder.STOPPED_FILE]
    assert run_folder.are_live_calls_stopped()
    assert run_folder.describe_stop() == run_folder.STOPPED_TEXT
    run_folder.note_rescue(["one", "two"])
    (folder / ".rescue-0").write_text("zero")
    assert run_folder.describe_stop() == f"{run_folder.STOPPED_TEXT}\nzero\none\ntwo"
    check_message(run_folder.STOPPED_TEXT)


def test_a_script_has_no_run_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(run_folder.RUN_FOLDER_VARIABLE, raising=False)
    run_folder.stop_live_calls()
    run_folder.note_rescue(["one"])
    run_folder.note_live_call("+")
    assert not run_folder.are_live_calls_stopped()
    assert run_folder.describe_stop() == run_folder.STOPPED_TEXT
    assert run_folder.count_live_calls() == (0, 0)


def test_live_calls_are_counted_by_their_signs(folder: Path) -> None:
    for sign in "++-+":
        run_folder.note_live_call(sign)
    assert (folder / run_folder.CALLS_FILE).read_bytes() == b"++-+"
    assert run_folder.count_live_calls() == (3, 1)


def test_only_the_process_itself_removes_its_folder(folder: Path) -> None:
    own = folder / "own"
    own.mkdir()
    run_folder._remove_own_folder(own, os.getpid() + 1)
    assert own.is_dir()
    run_folder._remove_own_folder(own, os.getpid())
    assert not own.exists()


def test_a_run_that_belongs_to_another_keeps_its_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(run_folder.SILENT_LINK_VARIABLE, "1")
    with run_folder.open_run_folder():
        assert run_folder.current_folder() == folder
    assert folder.is_dir()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("wire", "max_age", "text"),
    [
        ({}, None, ""),
        ({"recorded": "9999-01-01"}, 3, ""),
        ({"recorded": "1999-12-31"}, 3, "recorded on 1999-12-31, over llm_max_age = 3d"),
        ({"recorded": None}, 0, "recorded on an unknown day, over llm_max_age = 0d"),
    ],
)
def test_an_answer_is_too_old_after_its_days(wire: dict[str, Any], max_age: int | None, text: str) -> None:
    assert describe_age(wire, max_age) == text


@pytest.mark.parametrize(
    ("url", "name"),
    [(URL, OPENAI), ("http://loopback/v1", "a server on this machine"), ("no url", "")],
)
def test_a_server_is_named_by_its_host(url: str, name: str) -> None:
    assert _describe_server(url) == name
