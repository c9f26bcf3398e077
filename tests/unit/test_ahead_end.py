"""The end of the process of the silent runs: its time limits, its exit functions, and the journals that are handed over."""

from __future__ import annotations

import atexit
import os
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.cassettes import AdoptedJournals, run_journals
from pytest_llmops.cassettes.journal import find_abandoned_journals
from pytest_llmops.harness.ahead import exits, link, watch


def make_item(*marks: pytest.Mark, option: object = None, ini: object = None) -> Any:
    config = SimpleNamespace(
        getoption=lambda _, default: option or default, getini={"timeout": ini}.__getitem__
    )
    return SimpleNamespace(config=config, get_closest_marker=lambda _: next(iter(marks), None))


def mark(*args: Any, **more: Any) -> pytest.Mark:
    return pytest.Mark("timeout", args, more, _ispytest=True)


@pytest.mark.parametrize(
    ("item", "limit_s"),
    [
        (make_item(), watch.LIMIT_S),
        (make_item(option=5.0, ini="7"), 5),
        (make_item(ini="7"), 7),
        (make_item(ini=""), watch.LIMIT_S),
        (make_item(mark(2), option=5.0), 2),
        (make_item(mark(timeout=300, method="thread")), 300),
        (make_item(mark(0), option=5.0), watch.LIMIT_S),
        (make_item(mark("soon"), option=5.0), 5),
    ],
)
def test_the_time_limit_of_a_silent_test_is_that_of_pytest_timeout(item: Any, limit_s: float) -> None:
    assert watch.find_time_limit(item) == limit_s


def test_a_process_that_does_not_end_when_it_is_told_to_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "END_LIMIT_S", 0.01)
    monkeypatch.setattr(watch, "count_live_calls", lambda: (1, 1))
    from_child, to_parent = os.pipe()
    from_parent, to_child = os.pipe()
    process = link.SilentProcess(from_child, to_child, lambda: None)
    monkeypatch.setattr(process, "kill", lambda: os.close(to_parent))
    with watch.SilenceWatch(process, "test_a", 0.01) as silence:
        assert list(process.receive()) == []  # until it is killed
    assert silence.problem.startswith("test_a has run for 0.01 s without a call")
    assert os.read(from_parent, 1) == b""  # it was told before
    process.end(None)
    os.close(from_parent)


def test_inherited_exit_functions_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atexit, "_clear", lambda: None)  # those of this process are kept
    monkeypatch.setattr(weakref.finalize, "_registered_with_atexit", True)
    registry: dict[Any, Any] = {}
    monkeypatch.setattr(weakref.finalize, "_registry", registry)
    finalizer = weakref.finalize(exits, print)
    exits.drop_inherited_exit_functions()
    assert not finalizer.atexit
    registered: list[Any] = []
    monkeypatch.setattr(atexit, "register", registered.append)
    assert weakref.finalize(exits, print).atexit
    assert len(registered) == 1


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal that another process has written and closed."""
    folder = tmp_path / ".journal"
    folder.mkdir()
    path = folder / "run.000000-1-00000000.journal"
    path.write_bytes(b"{}\n")
    return path


@pytest.mark.parametrize("has_locks", [True, False])
def test_an_adopted_journal_is_not_abandoned_until_it_is_released(
    journal: Path, monkeypatch: pytest.MonkeyPatch, has_locks: bool
) -> None:
    if not has_locks:
        monkeypatch.setattr(run_journals, "lock_file", lambda *_, **__: None)
        monkeypatch.setattr("pytest_llmops.cassettes.journal.lock_file", lambda *_, **__: None)
    run = journal.parent.parent / "run"
    adopted = AdoptedJournals([journal, journal.with_name("gone.journal")])
    assert find_abandoned_journals(run) == []
    assert journal.exists() == has_locks  # without locks the name tells which process uses it
    adopted.release(is_recorded=False)
    if has_locks:
        assert find_abandoned_journals(run) == [journal]
    AdoptedJournals(journal.parent.iterdir()).release(is_recorded=True)
    assert not journal.parent.exists()


def test_a_journal_that_another_process_holds_is_left_to_it(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_journals, "ADOPTION_LIMIT_S", 0.01)
    holder = AdoptedJournals([journal])
    AdoptedJournals([journal]).release(is_recorded=True)
    assert journal.exists()
    holder.release(is_recorded=True)
    assert not journal.exists()


class Clock:
    """A time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class EndedProcess:
    """Notes how it was ended."""

    def __init__(self) -> None:
        self.ends: list[str] = []

    def stop(self) -> None:
        self.ends.append("stop")

    def kill(self) -> None:
        self.ends.append("kill")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def process() -> Any:
    return EndedProcess()


def look_after(silence: watch.SilenceWatch, clock: Clock, seconds: float, calls: tuple[int, int]) -> bool:
    clock.now += seconds
    return silence.look(*calls)


def test_a_process_in_which_nothing_happens_is_told_to_end_and_then_killed(
    clock: Clock, process: Any
) -> None:
    silence = watch.SilenceWatch(process, clock=clock)
    silence.note_message("running", ["test_a.py::test_b", 5.0])
    assert not look_after(silence, clock, 5.0, (1, 1))
    assert process.ends == []
    assert not look_after(silence, clock, 0.5, (1, 1))
    assert process.ends == ["stop"]
    assert silence.problem.startswith("test_a.py::test_b ")
    check_message(silence.problem)
    assert silence.running != "test_a.py::test_b"
    assert not look_after(silence, clock, watch.END_LIMIT_S, (1, 1))
    assert look_after(silence, clock, 0.5, (1, 1))
    assert process.ends == ["stop", "kill"]


@pytest.mark.parametrize("how", ["message", "call", "nothing runs"])
def test_a_process_in_which_something_happens_goes_on(clock: Clock, process: Any, how: str) -> None:
    silence = watch.SilenceWatch(process, "test_a", 5.0, clock=clock)
    look_after(silence, clock, 4.0, (1, 1))
    if how == "message":
        silence.note_message("answer", None)
    elif how == "call":  # one is under way
        silence.look(2, 1)
    else:
        silence.note_message("running", ["", 5.0])
        clock.now += 99
        silence.look(2, 2)
        silence.note_message("running", ["test_b", 5.0])
    assert not look_after(silence, clock, 4.0, (2, 2))
    assert process.ends == []
    look_after(silence, clock, 1.5, (2, 2))
    assert process.ends == ["stop"]


def test_messages_do_not_put_off_the_end_of_a_process_that_was_told_to_end(
    clock: Clock, process: Any
) -> None:
    silence = watch.SilenceWatch(process, "test_a", 5.0, clock=clock)
    look_after(silence, clock, 6.0, (0, 0))
    for kind, value in (("running", ["test_b", 99.0]), ("progress", "a line"), ("answer", None)):
        clock.now += 6
        silence.note_message(kind, value)
    assert silence.look(0, 0)
    assert process.ends == ["stop", "kill"]


def test_a_process_that_begins_to_close_gets_time_to_tear_down(clock: Clock, process: Any) -> None:
    silence = watch.SilenceWatch(process, "test_a", 5.0, clock=clock)
    look_after(silence, clock, 6.0, (0, 0))
    clock.now += watch.END_LIMIT_S
    silence.note_message("closing", ["the end", 20.0])
    assert not look_after(silence, clock, 20.0, (0, 0))
    assert (process.ends, silence.running) == (["stop"], "the end")
    assert look_after(silence, clock, 0.5, (0, 0))


def test_nothing_watches_the_tests_of_the_run_that_counts(process: Any) -> None:
    with watch.SilenceWatch(process) as silence:
        assert silence._thread.is_alive()
    assert not silence._thread.is_alive()
    assert process.ends == []


@pytest.mark.parametrize("is_fork", [True, False])
def test_plugins_are_unconfigured_in_a_fresh_process_only(
    monkeypatch: pytest.MonkeyPatch, *, is_fork: bool
) -> None:
    steps: list[str] = []

    def unconfigure() -> None:
        steps.append("plugins")
        raise OSError("a plugin cannot write its file")

    def run_exit_functions() -> None:
        steps.append("exit functions")
        raise SystemExit(1)

    monkeypatch.setattr(atexit, "_run_exitfuncs", run_exit_functions)
    exits.run_exit_functions(SimpleNamespace(_ensure_unconfigure=unconfigure), is_fork=is_fork)
    assert steps == ["plugins", "exit functions"][is_fork:]
