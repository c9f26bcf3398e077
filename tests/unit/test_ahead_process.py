"""The process of the silent runs: how it is started, what it may write, and the messages that it sends."""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmops.errors import SilentWriteRefused
from pytest_llmops.harness import early_imports
from pytest_llmops.harness.ahead import child, link
from pytest_llmops.harness.ahead.guard import NO_FOLDER, OUR_THREADS, WriteGuard
from pytest_llmops.settings import Settings

READS, WRITES = os.O_RDONLY, os.O_WRONLY | os.O_CREAT


def make_config(*, plugins: Any = None, inis: Any = None, arguments: Any = (), **options: Any) -> Any:
    return SimpleNamespace(
        getoption=lambda name, default=None: options.get(name, default),
        getini=(inis or {}).get,
        invocation_params=SimpleNamespace(args=arguments, plugins=plugins, dir="."),
        pluginmanager=SimpleNamespace(has_plugin=lambda name: name in options, get_plugin=options.get),
    )


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A process on Linux without other threads, connections, and a debugger."""
    monkeypatch.delenv(child.KIND_VARIABLE, raising=False)
    monkeypatch.setattr(child, "_has_connections", lambda _: False)
    monkeypatch.setattr(child, "_count_threads", lambda: 1)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in child.DEBUGGERS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    return monkeypatch


def test_a_process_without_threads_is_forked(alone: pytest.MonkeyPatch) -> None:
    assert child.find_process_kind(make_config(plugins=[object()])) == "fork"


@pytest.mark.parametrize("problem", ["threads", "macOS", "xdist", "connections"])
def test_a_fresh_pytest_is_started_where_a_fork_is_not_safe(alone: pytest.MonkeyPatch, problem: str) -> None:
    options = {}
    if problem == "threads":
        alone.setattr(child, "_count_threads", lambda: 2)
    elif problem == "macOS":
        alone.setattr(sys, "platform", "darwin")
    elif problem == "connections":
        alone.setattr(child, "_has_connections", lambda _: True)
    else:
        options["dist"] = "load"
    assert child.find_process_kind(make_config(**options)) == "fresh"
    with pytest.raises(child.NoSilentProcessError, match="plugins as objects"):
        child.find_process_kind(make_config(plugins=[object()], **options))


@pytest.mark.parametrize(
    ("link", "is_connection"),
    [
        ("socket:[7]", True),
        ("anon_inode:[eventpoll]", True),
        ("socket:[1]", False),  # a copy of the input
        ("socket:[3]", False),  # a copy of the input that pytest keeps
        ("/tmp/socket:[7]", False),
        ("pipe:[8]", False),
        ("anon_inode:[eventfd]", False),
    ],
)
def test_sockets_and_event_loops_are_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str, is_connection: bool
) -> None:
    monkeypatch.setattr(child, "DESCRIPTORS", tmp_path)
    links = ("socket:[1]", "socket:[1]", "/dev/null", "socket:[3]", link)
    for descriptor, target in enumerate(links):
        (tmp_path / str(descriptor)).symlink_to(target)
    capturing = SimpleNamespace(_global_capturing=SimpleNamespace(in_=SimpleNamespace(targetfd_save=3)))
    assert child._has_connections(make_config(capturemanager=capturing)) is is_connection


def test_a_forced_kind_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("fork", "fresh"):
        monkeypatch.setenv(child.KIND_VARIABLE, kind)
        assert child.find_process_kind(make_config()) == kind
    monkeypatch.setenv(child.KIND_VARIABLE, "Fork")
    with pytest.raises(child.NoSilentProcessError, match=r"is 'Fork', expected one of fork, fresh$"):
        child.find_process_kind(make_config())


def test_the_threads_of_numpy_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    for number in range(4):
        (tmp_path / str(number)).mkdir()
    monkeypatch.setattr(child, "TASKS", tmp_path)
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.setitem(sys.modules, "numpy", SimpleNamespace())
    pools = [{"internal_api": "openblas", "num_threads": 3}, {"internal_api": "openmp", "num_threads": 9}]
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: pools)
    assert child._count_threads() == 2
    monkeypatch.delitem(sys.modules, "numpy")
    assert child._count_threads() == 4
    monkeypatch.setattr(child, "TASKS", tmp_path / "nowhere")
    assert child._count_threads() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")
def test_a_fork_has_no_input_and_freezes_nothing_in_this_process() -> None:
    kept_input = os.dup(0)
    from_user, to_fork = os.pipe()
    os.write(to_fork, b"Ada")
    os.dup2(from_user, 0)

    def report(parent: link.ParentLink) -> None:
        parent.send("facts", [os.read(0, 3).decode(), gc.get_freeze_count() > 0, random.random()])

    frozen = gc.get_freeze_count()
    gc.freeze()  # as a project may do
    try:
        process = child.fork_process(make_config(), report)
        assert process.end(None) == [("facts", ["", True, random.random()])]
        assert gc.get_freeze_count() > frozen
        assert os.read(0, 3) == b"Ada"
    finally:
        gc.unfreeze()
        os.dup2(kept_input, 0)
        for descriptor in (kept_input, from_user, to_fork):
            os.close(descriptor)


def test_under_a_debugger_there_is_no_other_process(alone: pytest.MonkeyPatch) -> None:
    alone.setitem(sys.modules, "debugpy", SimpleNamespace())
    with pytest.raises(child.NoSilentProcessError, match=r"^a debugger is running \(debugpy\)$"):
        child.find_process_kind(make_config())


def test_a_fresh_pytest_writes_no_file_of_the_run_and_has_its_seed() -> None:
    config = make_config(
        dist="load", numprocesses=2, log_file="a.log", report_log="b", randomly_seed=7, _cov=True
    )
    assert child._list_own_arguments(config) == [
        "-n0",
        f"--log-file={os.devnull}",
        f"--report-log={os.devnull}",
        "--no-cov",
        "--randomly-seed=7",
    ]
    assert child._list_own_arguments(make_config()) == []


@pytest.fixture
def guard(tmp_path: Path) -> WriteGuard:
    (tmp_path / "own").mkdir()
    return WriteGuard([tmp_path / "own"], lambda _: None)


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("open", ("{}/a", "w", WRITES)),
        ("open", (b"{}/a", None, WRITES)),
        ("open", ("{}/own/../a", "a", WRITES)),
        ("open", ("{}/own-a", "a", WRITES)),
        ("open", ("{}/own/to_outside", "a", WRITES)),
        ("os.mkdir", ("{}/a", 0o777, NO_FOLDER)),
        ("os.rename", ("{}/a", "{}/own/a", NO_FOLDER, NO_FOLDER)),
        ("os.rename", ("{}/own/a", "{}/a", NO_FOLDER, NO_FOLDER)),
        ("os.link", ("{}/own/a", "{}/a", NO_FOLDER, NO_FOLDER)),
        ("shutil.rmtree", ("{}/own/..", None)),
        ("sqlite3.connect", ("{}/a.db",)),
    ],
)
def test_a_write_elsewhere_is_refused(
    tmp_path: Path, guard: WriteGuard, event: str, arguments: tuple[Any, ...]
) -> None:
    (tmp_path / "own" / "to_outside").symlink_to(tmp_path / "outside")
    with pytest.raises(SilentWriteRefused, match=r"^it would write .* twice$"):
        guard.check_event(event, place(tmp_path, arguments))


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("open", ("{}/a", "r", READS)),
        ("open", ("{}/own/a", "w", WRITES)),
        ("open", (7, "w", WRITES)),
        ("open", ("/dev/null", "w", WRITES)),
        ("open", ("{}", "w+b", WRITES)),  # a folder: `tempfile` makes a file in it
        ("open", ("{}/cassettes/.journal/a", "w", WRITES)),
        ("os.remove", ("{}/own/to_outside", NO_FOLDER)),
        ("os.link", ("{}/a", "{}/own/a", NO_FOLDER, NO_FOLDER)),
        ("sqlite3.connect", (":memory:",)),
        ("import", ("os", None, None, None, None)),
    ],
)
def test_reading_and_own_folders_are_allowed(
    tmp_path: Path, guard: WriteGuard, event: str, arguments: tuple[Any, ...]
) -> None:
    guard.check_event(event, place(tmp_path, arguments))


def place(folder: Path, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return arguments with paths in a folder."""
    placed: list[Any] = []
    for argument in arguments:
        if isinstance(argument, str):
            placed.append(argument.replace("{}", str(folder)))
        elif isinstance(argument, bytes):
            placed.append(argument.replace(b"{}", os.fsencode(folder)))
        else:
            placed.append(argument)
    return tuple(placed)


def test_what_tempfile_and_our_threads_make_is_allowed(tmp_path: Path, guard: WriteGuard) -> None:
    guard.check_event("tempfile.mkdtemp", (str(tmp_path / "new"),))
    guard.check_event("os.mkdir", (tmp_path / "new" / "a", 0o777, NO_FOLDER))
    guard.allow(tmp_path / "made" / "cassettes")
    guard.check_event("os.mkdir", (tmp_path / "made", 0o777, NO_FOLDER))
    problems: list[BaseException] = []

    def write() -> None:
        try:
            guard.check_event("open", (tmp_path / "a", "w", WRITES))
        except SilentWriteRefused as error:
            problems.append(error)

    thread = threading.Thread(target=write, name=f"{OUR_THREADS} 1")
    thread.start()
    thread.join()
    assert problems == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells the path of an open folder")
def test_a_path_in_an_open_folder_is_found(tmp_path: Path, guard: WriteGuard) -> None:
    outside, own = (os.open(folder, os.O_RDONLY) for folder in (tmp_path, tmp_path / "own"))
    guard.check_event("os.remove", ("a", own))
    with pytest.raises(SilentWriteRefused, match=str(tmp_path / "a")):
        guard.check_event("os.mkdir", ("a", 0o777, outside))
    os.close(outside)
    os.close(own)


def test_messages_cross_the_pipes_and_a_cut_one_is_left_out() -> None:
    from_child, to_parent = os.pipe()
    from_parent, to_child = os.pipe()
    ended: list[str] = []
    process = link.SilentProcess(from_child, to_child, lambda: ended.append("ended"))
    parent = link.ParentLink(from_parent, to_parent)
    parent.send("answer", ["\n\ud800", {"body": None}])
    os.write(to_parent, b'["answer", "cu')
    os.close(to_parent)
    process.send({"is_over": True})
    assert parent.wait_for_order() == {"is_over": True}
    assert process.end(None) == [("answer", ["\n\ud800", {"body": None}])]
    assert parent.wait_for_order() is None
    assert (process.end(None), ended) == ([], ["ended"])
    link._private_descriptors.clear()
    os.close(from_parent)


@pytest.mark.parametrize(
    "line", [b"printed\n", b"\xff\n", b"7\n", b'{"a": 1}\n', b'["answer"]\n', b"[1, 2]\n", b"\n"]
)
def test_what_is_no_message_ends_the_messages(line: bytes) -> None:
    from_child, to_parent = os.pipe()
    from_parent, to_child = os.pipe()
    process = link.SilentProcess(from_child, to_child, lambda: os.close(to_parent))
    os.write(to_parent, b'["progress", "a"]\n' + line + b'["progress", "b"]\n')
    received = process.receive()
    assert next(received) == ("progress", "a")
    assert next(received, None) is None
    os.write(to_parent, line)
    process.end(None)
    os.close(from_parent)


def test_sdk_parts_are_imported_before_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[str] = []
    monkeypatch.setattr(early_imports, "_import_place", places.append)
    monkeypatch.setattr("pytest_llmops.cassettes.http.interception.install_patches", lambda: None)
    for name in ("openai", "anthropic"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    early_imports._import_recording([], Settings(record="new"))
    assert not set(early_imports.LAZY_SDK_PARTS.values()) & set(places)
    early_imports._import_recording([], Settings(record="new", concurrency=2))
    assert set(early_imports.LAZY_SDK_PARTS.values()) <= set(places)
