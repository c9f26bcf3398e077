"""The end of the process of the silent runs: its time limits, its exit functions, and the journals that are handed over."""

from __future__ import annotations

import atexit
import os
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

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
