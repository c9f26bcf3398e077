"""The process of the silent runs: how it is started, and what it may write."""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryFile
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmops.cassettes import SILENT_LINK_VARIABLE
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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["tests"], ["tests", "-n0", "--no-cov"]),
        (["tests", "--", "-odd.py"], ["tests", "-n0", "--no-cov", "--", "-odd.py"]),
        (["--", "--"], ["-n0", "--no-cov", "--", "--"]),
    ],
)
def test_options_are_added_before_the_end_of_options(arguments: list[str], expected: list[str]) -> None:
    assert child.add_options(arguments, ["-n0", "--no-cov"]) == expected


def test_a_seed_that_is_not_a_number_is_left_to_the_plugin() -> None:
    assert child._list_own_arguments(make_config(randomly_seed="last", dist="no")) == []
    log_file = {"log_file": "a.log"}
    assert child._list_own_arguments(make_config(inis=log_file)) == [f"--log-file={os.devnull}"]


def look_up(name: str) -> str:
    return {"a": "b"}[name]


@pytest.mark.parametrize(("size", "is_cut"), [(1, False), (9999, True)])
def test_an_error_is_described_with_its_place_in_one_line(size: int, *, is_cut: bool) -> None:
    with pytest.raises(KeyError) as raised:
        look_up("x" * size)
    text = child.describe_error(raised.value)
    assert text.startswith("KeyError: 'x")
    place = f"(test_ahead_process.py:{look_up.__code__.co_firstlineno + 1})"
    assert text.endswith(f"x' {place}") is not is_cut
    assert len(text) < link.MAX_ERROR + 30


class Started:
    """In place of `subprocess.Popen`; reads the first line of its input, as the fresh pytest does."""

    def __init__(self, command: list[str], *, stdin: int, **options: Any) -> None:
        self.command = command
        self.options = options
        self.input = os.dup(stdin)

    def wait(self) -> int:
        return 0


@pytest.mark.skipif(sys.platform == "win32", reason="a handle has another number")
def test_a_fresh_pytest_gets_the_arguments_and_the_search_path(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Started] = []

    def start(*arguments: Any, **options: Any) -> Started:
        started.append(Started(*arguments, **options))
        return started[0]

    monkeypatch.setattr("subprocess.Popen", start)
    process = child.start_fresh_process(make_config(arguments=(Path("tests"), "-v"), randomly_seed=7))
    (one,) = started
    order = json.loads(os.read(one.input, 2**16))
    os.close(one.input)
    assert order == {
        "path": sys.path,
        "arguments": ["tests", "-v", "--randomly-seed=7"],
        "link_variable": SILENT_LINK_VARIABLE,
    }
    assert one.command[0] == sys.executable
    assert Path(one.command[-2]).name == "fresh.py"
    assert one.options["pass_fds"] == (int(one.command[-1]),)
    assert (one.options["cwd"], one.options["stdout"]) == (".", subprocess.DEVNULL)
    one.options["stderr"].write(b"no such option\n")
    process.end(None)
    assert process.last_error == "no such option"


def test_a_fresh_pytest_finds_its_pipes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SILENT_LINK_VARIABLE, raising=False)
    assert child.find_parent_link() is None
    receiver, to_receiver = os.pipe()
    from_sender, sender = os.pipe()
    monkeypatch.setenv(SILENT_LINK_VARIABLE, f"{receiver} {sender}")
    parent = child.find_parent_link()
    assert parent is not None
    parent.send("process", 7)
    os.write(to_receiver, b'{"is_over": false}\n')
    assert parent.wait_for_order() == {"is_over": False}
    assert os.read(from_sender, 99) == b'["process", 7]\n'
    assert child.find_parent_link() is None
    link._private_descriptors.difference_update((receiver, sender))
    for descriptor in (receiver, to_receiver, from_sender, sender):
        os.close(descriptor)


def test_coverage_is_not_measured_in_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    stops: list[str] = []
    running = SimpleNamespace(stop=lambda: stops.append("stop"))
    coverage = SimpleNamespace(Coverage=SimpleNamespace(current=lambda: running))
    monkeypatch.setitem(sys.modules, "coverage", coverage)
    child._leave_coverage()
    assert stops == ["stop"]
    monkeypatch.setattr(coverage.Coverage, "current", lambda: None)
    child._leave_coverage()
    monkeypatch.delitem(sys.modules, "coverage")
    child._leave_coverage()
    assert stops == ["stop"]


class Capture:
    """pytest's capture of the output; after a fork there is none."""

    def __init__(self, **parts: Any) -> None:
        self.parts = parts


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")
def test_a_fork_writes_nothing_to_the_output_and_captures_nothing() -> None:
    from_fork, output = os.pipe()
    kept = os.dup(1)
    os.dup2(output, 1)
    captures = SimpleNamespace(_global_capturing=Capture(in_="in", out="out", err="err"))

    def write(parent: link.ParentLink) -> None:
        for descriptor in (1, output):  # any copy of it
            os.write(descriptor, b"written")
        print("printed", flush=True)
        print("printed", file=sys.stderr, flush=True)
        parent.send("facts", captures._global_capturing.parts)

    try:
        process = child.fork_process(make_config(capturemanager=captures), write)
        assert process.end(None) == [("facts", {"in_": None, "out": None, "err": None})]
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(output)
    assert os.read(from_fork, 99) == b""  # no process has it open any more
    os.close(from_fork)
    assert captures._global_capturing.parts == {"in_": "in", "out": "out", "err": "err"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")
def test_an_error_in_a_fork_is_sent_with_its_place() -> None:
    def fail(_: link.ParentLink) -> None:
        raise KeyError("missing")

    ((kind, text),) = child.fork_process(make_config(), fail).end(None)
    assert kind == "failed"
    assert text.startswith("KeyError: 'missing' (test_ahead_process.py:")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")
def test_a_fork_has_its_own_place_in_open_files_and_writes_none_of_them(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("one\ntwo\nthree\n")
    lines, log = path.open("rb", buffering=0), (tmp_path / "log").open("ab", buffering=0)
    notes = TemporaryFile()  # noqa: SIM115 -- closed below
    lines.readline()
    notes.write(b"a note")
    notes.seek(2)

    def use_files(parent: link.ParentLink) -> None:
        log.write(b"of the fork")
        read = lines.read().decode(), notes.read().decode()
        notes.write(b"of the fork")
        notes.flush()
        parent.send("facts", read)

    process = child.fork_process(make_config(), use_files)
    assert process.end(None) == [("facts", ["two\nthree\n", "note"])]
    assert lines.readline() == b"two\n"
    assert notes.read() == b"note"
    assert (tmp_path / "log").read_bytes() == b""
    for file in (lines, log, notes):
        file.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")
@pytest.mark.parametrize("is_inheritable", [True, False])
def test_a_replaced_file_stays_as_open_as_it_was(tmp_path: Path, *, is_inheritable: bool) -> None:
    """Otherwise a program that the test starts would get it, or would not."""
    from pytest_llmops.harness.ahead import inherited_files

    (tmp_path / "read").write_bytes(b"text")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for name, flags in (("read", os.O_RDONLY), ("written", os.O_WRONLY | os.O_CREAT)):
        descriptor = os.open(tmp_path / name, flags)
        os.set_inheritable(descriptor, is_inheritable)
        inherited_files._replace_file(descriptor, os.fstat(descriptor), nowhere)
        assert os.get_inheritable(descriptor) is is_inheritable
        os.close(descriptor)
    both = os.open(tmp_path / "read", os.O_RDWR)  # with a name: the file itself, but only read
    inherited_files._replace_file(both, os.fstat(both), nowhere)
    assert os.read(both, 9) == b"text"
    with pytest.raises(OSError, match="descriptor"):
        os.write(both, b"x")
    os.close(both)
    os.close(nowhere)


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
