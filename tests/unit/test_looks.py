"""The looks of --llm-trials=auto: which one follows, where none may be taken, and how the next pytest is started and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from support.messages import check_message
from support.reports import Config

from pytest_llmops import cassettes
from pytest_llmops._util.option_modes import LOOKS
from pytest_llmops.baselines.metric_data import GateRules
from pytest_llmops.cassettes.run_folder import RUN_FOLDER_VARIABLE
from pytest_llmops.errors import UsageError
from pytest_llmops.harness import baseline_gate
from pytest_llmops.harness.baseline_gate import (
    add_look_option,
    check_looks,
    divide_rules,
    plan_next_look,
    run_looks,
)
from pytest_llmops.settings import Settings

FIRST, LAST = LOOKS.values()


# Which look follows.


@pytest.mark.parametrize("trials", LOOKS.values())
@pytest.mark.parametrize("status", ["RED", "GREEN", "ERROR", "NONE"])
def test_only_an_undecided_verdict_leads_to_another_look(status: str, trials: int) -> None:
    option, sentence = plan_next_look(Settings(trials=trials), status, None)
    assert option == ""
    check_message(sentence)


def test_an_undecided_verdict_buys_more_trials_until_none_are_planned() -> None:
    option, sentence = plan_next_look(Settings(trials=FIRST), "AMBER", None)
    assert option == "auto:5"
    check_message(sentence)
    option, sentence = plan_next_look(Settings(trials=LAST), "AMBER", None)
    assert option == ""
    check_message(sentence)


@pytest.mark.parametrize("failed", [1, 2])
def test_a_test_that_failed_is_not_hidden_by_a_further_look(failed: int) -> None:
    option, sentence = plan_next_look(Settings(trials=FIRST), "AMBER", None, failed)
    assert option == ""
    check_message(sentence)


@pytest.mark.parametrize(("chance", "option"), [(None, "auto:5"), (0.2, "auto:5"), (0.19, "")])
def test_a_look_that_would_hardly_decide_is_not_taken(chance: float | None, option: str) -> None:
    planned, sentence = plan_next_look(Settings(trials=FIRST), "AMBER", None, chance=chance)
    assert planned == option
    check_message(sentence)


@pytest.mark.parametrize(
    ("record", "takes", "option"),
    [("none", 5, "auto:5"), ("none", 4, ""), ("none", None, "auto:5"), ("new", 3, "auto:5")],
)
def test_a_replay_buys_no_trials_that_are_not_recorded(record: Any, takes: int | None, option: str) -> None:
    planned, sentence = plan_next_look(Settings(trials=FIRST, record=record), "AMBER", takes)
    assert planned == option
    check_message(sentence)


def test_the_looks_share_the_level_of_a_single_look() -> None:
    whole = GateRules()
    part = divide_rules(whole, FIRST)
    for name in ("alpha", "mean_level", "guard_level", "broken_level"):
        assert getattr(part, name) * len(LOOKS) == pytest.approx(getattr(whole, name))
    assert (part.planned, part.next_trials) == ((3, 5), 5)
    assert divide_rules(whole, LAST).next_trials == 0
    assert divide_rules(whole, 3) is whole


# Where no looks can be taken.


def looking(root: Path, *, plugins: object = None, line: str | None = "auto") -> Config:
    config = Config(root, options={"llm_trials": line})
    config.invocation_params = SimpleNamespace(dir=root, args=(), plugins=plugins)
    (root / "llmops-baseline.json").touch()
    return config


def test_looks_are_taken_with_a_baseline_in_a_replay_or_a_recording(tmp_path: Path) -> None:
    config = looking(tmp_path)
    check_looks(config, Settings(trials=FIRST))
    check_looks(config, Settings(trials=FIRST, record="new"))


@pytest.mark.parametrize(
    ("how", "settings"),
    [
        ({"line": None}, {}),
        ({}, {"record": "live"}),
        ({}, {"record": "all"}),
        ({}, {"changed": True}),
        ({}, {"accept": "first"}),
        ({"plugins": [object()]}, {}),
    ],
)
def test_where_looks_cannot_be_taken_the_reason_is_given(tmp_path: Path, how: Any, settings: Any) -> None:
    with pytest.raises(UsageError) as caught:
        check_looks(looking(tmp_path, **how), Settings(trials=FIRST, **settings))
    check_message(caught.value)


def test_looks_need_a_baseline(tmp_path: Path) -> None:
    config = looking(tmp_path)
    (tmp_path / "llmops-baseline.json").unlink()
    with pytest.raises(UsageError) as caught:
        check_looks(config, Settings(trials=FIRST))
    check_message(caught.value)


def test_a_worker_leaves_the_check_to_its_controller(tmp_path: Path) -> None:
    config: Any = looking(tmp_path, line=None)
    config.workerinput = {}
    check_looks(config, Settings(trials=FIRST))


# The next look is another run of the same command.


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        (["-q", "tests"], ["-q", "tests", "--llm-trials=auto:5"]),
        (["--", "tests", "--"], ["--llm-trials=auto:5", "--", "tests", "--"]),
        ([], ["--llm-trials=auto:5"]),
    ],
)
def test_the_trials_of_the_next_look_are_the_last_option(arguments: list[str], changed: list[str]) -> None:
    before = list(arguments)
    assert add_look_option(arguments, "auto:5") == changed
    assert arguments == before


class Looks:
    """Runs of pytest in other processes, and the folders that looks share."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[tuple[list[str], Path]] = []
        self.folders: list[str] = []
        monkeypatch.setattr(baseline_gate, "_run_look", self._run)
        monkeypatch.setattr(cassettes, "open_run_folder", self._open)

    def _run(self, arguments: list[str], folder: Path) -> int:
        self.ran.append((arguments, folder))
        self.folders.append("look")
        return 7

    @contextmanager
    def _open(self) -> Any:
        self.folders.append("open")
        yield
        self.folders.append("close")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    monkeypatch.delenv(RUN_FOLDER_VARIABLE, raising=False)
    return Looks(monkeypatch)


def end_look(config: Any, status: int) -> int:
    """Run looks, of which this process runs the first, and return the exit status."""
    running = run_looks(config)
    next(running)
    with pytest.raises(StopIteration) as ended:
        running.send(status)
    returned: int = ended.value.value
    return returned


def config_of(root: Path, trials: str, listener: object) -> Any:
    return SimpleNamespace(
        getoption={"llm_trials": trials}.get,
        pluginmanager=SimpleNamespace(get_plugin={"llmops_listener": listener}.get),
        invocation_params=SimpleNamespace(args=("-q",), dir=root),
    )


def listener_of(option: str) -> object:
    return SimpleNamespace(controller=SimpleNamespace(next_look=option))


@pytest.mark.parametrize("listener", [None, SimpleNamespace(controller=None), listener_of("")])
def test_a_run_without_a_next_look_keeps_its_status(tmp_path: Path, looks: Looks, listener: object) -> None:
    assert end_look(config_of(tmp_path, "auto", listener), 1) == 1
    assert (looks.ran, looks.folders) == ([], ["open", "close"])


def test_the_next_look_decides_the_status_and_shares_the_folder_of_the_run(
    tmp_path: Path, looks: Looks
) -> None:
    assert end_look(config_of(tmp_path, "auto", listener_of("auto:5")), 0) == 7
    assert looks.ran == [(["-q", "--llm-trials=auto:5"], tmp_path)]
    assert looks.folders == ["open", "look", "close"]


@pytest.mark.parametrize(
    ("trials", "is_set", "opened"), [("auto", True, True), ("auto:5", True, False), ("auto:5", False, True)]
)
def test_only_a_look_that_started_alone_opens_a_folder(
    tmp_path: Path, looks: Looks, monkeypatch: pytest.MonkeyPatch, *, trials: str, is_set: bool, opened: bool
) -> None:
    if is_set:
        monkeypatch.setenv(RUN_FOLDER_VARIABLE, "of an earlier look")
    end_look(config_of(tmp_path, trials, None), 0)
    assert bool(looks.folders) is opened


class StubLook:
    """The process of a look, with what happens at each wait for it."""

    def __init__(self, *waits: int | type[KeyboardInterrupt] | Callable[[], int]) -> None:
        self.waits = iter(waits)
        self.is_terminated = False
        self.command: list[str] = []

    def start(self, command: list[str], cwd: Path) -> Self:
        self.command, self.folder = command, cwd
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def wait(self) -> int:
        ended = next(self.waits)
        if ended is KeyboardInterrupt:
            raise KeyboardInterrupt
        if isinstance(ended, int):
            return ended
        return ended()  # type: ignore[return-value]

    def terminate(self) -> None:
        self.is_terminated = True


def run_stub(look: StubLook, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(subprocess, "Popen", look.start)
    return baseline_gate._run_look(list(arguments), Path("project"))


@pytest.mark.parametrize(("ended", "status"), [(0, 0), (1, 1), (-9, 137), (-15, 143)])
def test_the_status_of_a_look_that_a_signal_ended_is_the_shells(
    monkeypatch: pytest.MonkeyPatch, ended: int, status: int
) -> None:
    assert run_stub(StubLook(ended), monkeypatch) == status


def test_a_look_runs_with_the_python_the_arguments_and_the_folder_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look = StubLook(0)
    run_stub(look, monkeypatch, "-q", "tests")
    assert look.command[0] == sys.executable
    assert look.command[-4:] == ["-m", "pytest", "-q", "tests"]
    assert look.folder == Path("project")


@pytest.mark.parametrize(("path", "is_kept_out"), [(["", "x"], False), (["project"], False), (["x"], True)])
def test_a_look_imports_from_the_working_folder_only_if_the_first_did(
    monkeypatch: pytest.MonkeyPatch, path: list[str], *, is_kept_out: bool
) -> None:
    look = StubLook(0)
    monkeypatch.setattr(subprocess, "_args_from_interpreter_flags", lambda: ["-X", "dev"])
    monkeypatch.setattr(sys, "path", path)
    run_stub(look, monkeypatch)
    assert look.command[1:3] == ["-X", "dev"]
    assert ("-P" in look.command) is is_kept_out


def test_a_look_that_is_interrupted_ends_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    look = StubLook(KeyboardInterrupt, pytest.ExitCode.INTERRUPTED)
    assert run_stub(look, monkeypatch) == pytest.ExitCode.INTERRUPTED


def test_a_second_interrupt_ends_a_look_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    look = StubLook(KeyboardInterrupt, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run_stub(look, monkeypatch)
    assert look.is_terminated


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a program could handle")
def test_a_look_is_terminated_with_the_first_and_the_handler_is_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def terminate() -> int:
        signal.raise_signal(signal.SIGTERM)
        return -signal.SIGTERM

    look = StubLook(terminate)
    assert run_stub(look, monkeypatch) == 128 + signal.SIGTERM
    assert look.is_terminated
    assert signal.getsignal(signal.SIGTERM) == before
