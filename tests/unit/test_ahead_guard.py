"""What the guard of the silent runs allows and refuses beyond plain writes: calls that change nothing, devices, and signals."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pytest_llmops.errors import SilentWriteRefused
from pytest_llmops.harness.ahead.guard import NO_FOLDER, WAKE_SIGNAL, WriteGuard

WRITES = os.O_WRONLY | os.O_CREAT
MKDIR_MODE = 0o777
LIMIT_S = 20  # so that a test fails instead of hanging


@pytest.fixture
def reasons() -> list[str]:
    """The reasons of all refusals."""
    return []


@pytest.fixture
def guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reasons: list[str]) -> WriteGuard:
    """A guard that allows the folder ``own``; the working folder has a folder ``there`` too."""
    for name in ("own", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    return WriteGuard([tmp_path / "own"], reasons.append)


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("os.mkdir", ("there", MKDIR_MODE, NO_FOLDER)),
        ("os.remove", ("missing", NO_FOLDER)),
        ("os.rmdir", ("missing", NO_FOLDER)),
        ("shutil.rmtree", ("missing", None)),
        ("sqlite3.connect", ("file:a.db?mode=ro",)),
        ("sqlite3.connect", ("file:a.db?cache=shared&mode=memory",)),
        ("sqlite3.connect", ("file::memory:?cache=shared",)),
        ("sqlite3.connect", ("file:own/a%20b.db?mode=rwc",)),
        ("os.mkdir", (".hypothesis", MKDIR_MODE, NO_FOLDER)),
        ("open", (".hypothesis/constants/a", "w", WRITES)),
        ("open", ("cassettes/.batches/a.json", "w", WRITES)),
        ("os.chmod", ("own/a", 0o600, NO_FOLDER)),
        ("os.chmod", (7, 0o600, -1)),
    ],
)
def test_a_call_that_changes_nothing_is_allowed(
    guard: WriteGuard, reasons: list[str], event: str, arguments: tuple[Any, ...]
) -> None:
    guard.check_event(event, arguments)
    assert reasons == []


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("os.rmdir", ("there", NO_FOLDER)),
        ("os.mkdir", ("new", MKDIR_MODE, NO_FOLDER)),
        ("sqlite3.connect", ("file:a.db?mode=rw",)),
        ("sqlite3.connect", ("file://localhost/a.db#?mode=ro",)),
        ("open", (".hypothesis/examples/a", "w", WRITES)),
        ("open", ("results/.journal/a", "w", WRITES)),
        ("open", ("/dev/shm/a", "w", WRITES)),
        ("os.chmod", ("there", 0o600, NO_FOLDER)),
        ("os.chown", ("there", 1, 1, NO_FOLDER)),
    ],
)
def test_a_call_that_changes_something_is_refused(
    guard: WriteGuard, reasons: list[str], event: str, arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(SilentWriteRefused) as refused:
        guard.check_event(event, arguments)
    assert reasons == [str(refused.value)]


def test_terminals_and_devices_are_allowed(guard: WriteGuard, reasons: list[str]) -> None:
    for device in ("/dev/null", "/dev/tty", "/dev/pts/0", "/proc/self/comm"):
        guard.check_event("open", (device, "w", WRITES))
    assert reasons == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells who started a process")
def test_only_processes_of_the_silent_run_get_a_signal(guard: WriteGuard, reasons: list[str]) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as own:
        for process_id in (own.pid, os.getpid(), -own.pid):
            guard.check_event("os.kill", (process_id, signal.SIGTERM))
        guard.check_event("os.killpg", (own.pid, signal.SIGTERM))
    guard.check_event("os.kill", (own.pid, signal.SIGTERM))  # it has ended
    guard.check_event("os.kill", (os.getppid(), 0))  # asks whether it exists
    assert reasons == []
    for event, process_id in (("os.kill", os.getppid()), ("os.kill", -1), ("os.killpg", os.getppid())):
        with pytest.raises(SilentWriteRefused, match=r"^it would send signal 15 to process \d+, which"):
            guard.check_event(event, (process_id, signal.SIGTERM))


@pytest.fixture
def wakened(guard: WriteGuard, monkeypatch: pytest.MonkeyPatch) -> Iterator[WriteGuard]:
    """A guard that has started, but sees no events of this process: the tests raise them."""
    if WAKE_SIGNAL is None:
        pytest.skip("the system has no signal that wakes the main thread")
    before = signal.getsignal(WAKE_SIGNAL)
    monkeypatch.setattr(sys, "addaudithook", lambda _: None)
    guard.start()
    yield guard
    signal.signal(WAKE_SIGNAL, before)


def write_file(guard: WriteGuard) -> None:
    """Let a guard see a write that it refuses."""
    guard.check_event("open", ("a", "w", WRITES))


def start_writer(guard: WriteGuard) -> threading.Thread:
    """Start a thread that is refused a write, and dies quietly."""

    def write() -> None:
        with suppress(SilentWriteRefused):
            write_file(guard)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


def test_a_refusal_in_a_thread_ends_a_test_that_waits(wakened: WriteGuard, reasons: list[str]) -> None:
    with pytest.raises(SilentWriteRefused, match="twice"), wakened.watch_test():
        start_writer(wakened)
        queue.Queue[str]().get(timeout=LIMIT_S)
    assert len(reasons) == 1


def test_a_refusal_in_a_thread_raises_nothing_between_tests(wakened: WriteGuard, reasons: list[str]) -> None:
    start_writer(wakened).join()
    with wakened.watch_test():
        assert len(reasons) == 1


@pytest.mark.parametrize("where", ["callback", "task", "thread"])
def test_a_refusal_ends_an_event_loop(wakened: WriteGuard, where: str) -> None:
    async def wait() -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        if where == "callback":
            loop.call_soon(write_file, wakened)
        elif where == "task":
            loop.create_task(write_later()).add_done_callback(lambda task: task.exception())
        else:
            start_writer(wakened)
        await asyncio.wait_for(done, LIMIT_S)

    async def write_later() -> None:
        write_file(wakened)

    with pytest.raises(SilentWriteRefused, match="twice"), wakened.watch_test():
        asyncio.run(wait())
