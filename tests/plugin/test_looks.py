"""--llm-trials=auto: further trials are bought while the gate is undecided, and a replay ends as the live run did."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from typing import Self

import pytest
from support.project import Project
from support.reports import gate_of

from pytest_llmops._util.option_modes import LOOKS
from pytest_llmops.baselines.metric_data import GateRules
from pytest_llmops.cassettes.run_folder import RUN_FOLDER_VARIABLE
from pytest_llmops.harness import baseline_gate
from pytest_llmops.harness.baseline_gate import plan_next_look
from pytest_llmops.results.run import Run
from pytest_llmops.settings import Settings

SUITE = """
import pytest
from pytest_llmops import assert_score

def quality(answer, expected=None):
    take = int(answer.rpartition("(")[2].rstrip(")")) if "(" in answer else 1
    case = int(answer.split()[4])
    worse = {worse}
    return 0.8 + (case + 2 * take) % 5 / 100 - worse

@pytest.mark.parametrize("case", range(15))
def test_answer(llm, case):
    assert_score(quality, llm.complete(f"{word} {{case}} now").text, at_least=None)
"""
BEFORE = SUITE.format(word="say it", worse="0")
# 15 cases are never GREEN with 3 trials: half of the level takes 72 new answers
SAME_LATER = SUITE.format(word="say that", worse="0")
WORSE = SUITE.format(word="say that", worse="0.5 * (take > 3)")
WAVERING = SUITE.format(word="say that", worse="0.8 * (case * take % 3 == 0)")
AUTO = "--llm-trials=auto"
# A first look that another one follows; here it runs no test itself.
FIRST_LOOK = """
import sys
from pathlib import Path
from types import SimpleNamespace
from pytest_llmops.cassettes.run_folder import RUN_FOLDER_VARIABLE
from pytest_llmops.harness import baseline_gate

listener = SimpleNamespace(controller=SimpleNamespace(next_look="auto:5"))
config = SimpleNamespace(
    getoption={"llm_trials": "auto"}.get,
    pluginmanager=SimpleNamespace(get_plugin={"llmops_listener": listener}.get),
    invocation_params=SimpleNamespace(args=["-s", "--import-mode=importlib"], dir=Path.cwd()),
)
looking = baseline_gate.run_looks(config)
next(looking)
try:
    looking.send(0)
except StopIteration as ended:
    sys.exit(ended.value)
"""
WAITING = """
import sys, threading
from pathlib import Path

def test_waits():
    print("as:", sys.flags.dev_mode, sys.warnoptions[-1:], str(Path.cwd()) in sys.path, flush=True)
    threading.Event().wait()
"""


def run_looks(project: Project, *args: str) -> tuple[str, int, Run]:
    """Run pytest in another process, which may start further ones."""
    report = project.path / "looks.json"
    done = project.pytester.runpytest_subprocess(f"--llm-report={report}", *args)
    run = Run.from_json(report.read_text(encoding="utf-8"))
    return "\n".join([*done.outlines, *done.errlines]), int(done.ret), run


@pytest.fixture
def suite(project: Project) -> Project:
    project.write(**{"test_a.py": BEFORE})
    assert project.record("--llm-trials=3", "--llm-accept=first").exit == 0
    return project


def test_trials_are_bought_while_undecided_and_a_replay_ends_alike(
    suite: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite.write(**{"test_a.py": WORSE})
    request_count = suite.server.count
    live = ["--llm-record=new", f"--llm-base-url={suite.server.url}/v1", "--llm-max-calls=75"]
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(suite.path / "summary.md"))
    printed, ended, run = run_looks(suite, AUTO, *live, "-n1", "--")
    assert (suite.path / "summary.md").read_text(encoding="utf-8").count("\n## ") == 1
    assert suite.server.count - request_count == 75  # what a look has paid for, the next replays
    assert (gate_of(run).status, ended) == ("RED", 1)
    assert printed.count("undecided, so the suite runs again") == 1
    assert "To decide, " not in printed  # the next look decides, or does not
    assert "look 2 of 2: decided" in printed
    replayed, ended_again, again = run_looks(suite, AUTO)
    assert (again.verdicts, ended_again) == (run.verdicts, ended)
    assert printed.count("of 2: ") == replayed.count("of 2: ") == 2


def test_a_replay_judges_by_the_takes_that_are_recorded(suite: Project) -> None:
    suite.write(**{"test_a.py": SAME_LATER})
    suite.record("--llm-trials=3")
    printed, ended, run = run_looks(suite, AUTO)
    assert "look 1 of 2: undecided, and the recordings end here" in printed
    assert (gate_of(run).status, ended) == ("AMBER", 0)


def test_looks_end_early_where_five_trials_would_hardly_decide_and_strict_fails_that(suite: Project) -> None:
    suite.write(**{"test_a.py": WAVERING.replace("say that", "say it")})
    suite.record("--llm-trials=3", "--llm-accept=anyway: wavering", mode="all")
    suite.write(**{"test_a.py": WAVERING})
    suite.record("--llm-trials=5")
    printed, ended, run = run_looks(suite, AUTO, "--llm-strict")
    assert "look 1 of 2: undecided, and 5 trials would probably not decide it" in printed
    assert (gate_of(run).status, ended) == ("AMBER", 1)
    assert "(--llm-strict)" in printed


def test_a_test_that_failed_is_not_hidden_by_a_further_look(suite: Project) -> None:
    fails_once = """
        from pathlib import Path

        def test_plain():
            seen = Path("seen")
            was_there = seen.exists()
            seen.touch()
            assert was_there
    """
    suite.write(**{"test_a.py": SAME_LATER, "test_b.py": dedent(fails_once)})
    suite.record("--llm-trials=3")
    (suite.path / "seen").unlink()
    printed, ended, _ = run_looks(suite, AUTO)
    assert "look 1 of 2: undecided, and 1 test failed, so no further trials run" in printed
    assert ended == pytest.ExitCode.TESTS_FAILED


def test_a_part_of_the_suite_buys_nothing(suite: Project) -> None:
    printed, _, run = run_looks(suite, AUTO, "-k", "1")
    assert "look 1 of 2: no verdict, so no further trials run" in printed
    assert gate_of(run).status == "NONE"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--llm-record=live"], "expected a replay or --llm-record=new, got --llm-record=live"),
        (["--llm-accept=x"], "expected no --llm-accept: a baseline needs a fixed number"),
        ([], "expected a baseline, got none: accept one first"),
        (["--llm-trials=auto:7"], "expected a whole number"),
    ],
)
def test_where_looks_cannot_be_taken_the_reason_is_given(
    project: Project, options: list[str], message: str
) -> None:
    project.write(**{"test_a.py": BEFORE})
    done = project.pytester.runpytest_subprocess(AUTO, *options)
    assert int(done.ret) == pytest.ExitCode.USAGE_ERROR
    assert message in "\n".join(done.errlines)


def test_the_workers_of_a_later_look_alone_share_a_budget(
    suite: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RUN_FOLDER_VARIABLE, raising=False)
    suite.write(**{"test_a.py": WORSE})
    request_count = suite.server.count
    live = ["--llm-record=new", f"--llm-base-url={suite.server.url}/v1", "--llm-max-calls=4", "-n2"]
    run_looks(suite, "--llm-trials=auto:5", *live)
    assert suite.server.count - request_count == 4


def test_neither_the_ini_nor_plugin_objects_take_looks(suite: Project) -> None:
    assert "plugin objects" in suite.bare(AUTO).text
    suite.write(**{"pytest.ini": (suite.path / "pytest.ini").read_text() + "llm_trials = auto\n"})
    assert "expected it on the command line, got it in the ini" in suite.bare().text


@pytest.mark.parametrize("status", ["RED", "GREEN", "AMBER", "ERROR", "NONE"])
def test_only_an_undecided_verdict_leads_to_another_look(status: str) -> None:
    options = [plan_next_look(Settings(trials=trials), status, None)[0] for trials in LOOKS.values()]
    assert options == (["auto:5", ""] if status == "AMBER" else ["", ""])


@pytest.mark.parametrize(("chance", "option"), [(None, "auto:5"), (0.2, "auto:5"), (0.19, "")])
def test_a_look_that_would_hardly_decide_is_not_taken(chance: float | None, option: str) -> None:
    first = LOOKS["auto"]
    assert plan_next_look(Settings(trials=first), "AMBER", None, chance=chance)[0] == option


def test_the_looks_share_the_level_of_a_single_look() -> None:
    whole, part = GateRules(), GateRules().divide(len(LOOKS))
    for name in ("alpha", "mean_level", "guard_level", "broken_level"):
        assert getattr(part, name) * len(LOOKS) == pytest.approx(getattr(whole, name))
    assert json.dumps(list(LOOKS.values())) == "[3, 5]"  # as run files store them


class StubLook:
    """A look during which Ctrl-C is pressed."""

    def __init__(self, *waits: int | type[KeyboardInterrupt]) -> None:
        self.waits = iter(waits)
        self.is_terminated = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def wait(self) -> int:
        ended = next(self.waits)
        if isinstance(ended, int):
            return ended
        raise ended

    def terminate(self) -> None:
        self.is_terminated = True


def test_a_look_that_is_interrupted_ends_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    look = StubLook(KeyboardInterrupt, pytest.ExitCode.INTERRUPTED)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: look)
    assert baseline_gate._run_look([], Path()) == pytest.ExitCode.INTERRUPTED
    look = StubLook(KeyboardInterrupt, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        baseline_gate._run_look([], Path())
    assert look.is_terminated


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a program could handle")
def test_a_look_is_as_the_first_and_ends_with_it(project: Project) -> None:
    files = {"bin/first.py": FIRST_LOOK, "test_a.py": WAITING, "llmops-baseline.json": "{}"}
    project.write(**files)
    command = [sys.executable, "-X", "dev", "-W", "ignore::ImportWarning", "bin/first.py"]
    with subprocess.Popen(
        command, cwd=project.path, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as first:
        assert first.stdout is not None
        try:
            announced = next((line for line in first.stdout if "as: " in line), "")
            os.kill(first.pid, signal.SIGTERM)
            first.communicate(timeout=20)  # the look too has closed its output
        finally:
            with suppress(ProcessLookupError):
                os.killpg(first.pid, signal.SIGKILL)
    assert announced.strip().endswith("as: True ['ignore::ImportWarning'] False")
    assert first.returncode == 128 + signal.SIGTERM
