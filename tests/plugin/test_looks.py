"""--llm-trials=auto: further trials are bought while the gate is undecided, and a replay ends as the live run did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
from support.project import Project
from support.reports import gate_of

from pytest_llmops._util.option_modes import LOOKS
from pytest_llmops.baselines.baseline import Baseline
from pytest_llmops.cassettes.run_folder import RUN_FOLDER_VARIABLE
from pytest_llmops.results.run import Run

CASES = 10  # with fewer cases, three trials give no verdict
SUITE = """
import pytest
from pytest_llmops import assert_score

def quality(answer, expected=None):
    take = int(answer.rpartition("(")[2].rstrip(")")) if "(" in answer else 1
    case = int(answer.split()[4])
    worse = {worse}
    return 0.8 + (case + 2 * take) % 5 / 100 - worse

@pytest.mark.parametrize("case", range({cases}))
def test_answer(llm, case):
    assert_score(quality, llm.complete(f"{word} {{case}} now").text, at_least=None)
"""
BEFORE = SUITE.format(word="say it", worse="0", cases=CASES)
# Four cases are worse in the last trial of the first look, which is no proof yet, and all of them in the second look.
WORSE = SUITE.format(word="say that", worse="0.5 * (take > 2 + (case >= 4))", cases=CASES)
AUTO = "--llm-trials=auto"
NAME = "llmops-baseline.json"
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


def test_trials_are_bought_while_undecided_and_a_replay_ends_alike(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(**{"test_a.py": BEFORE})
    assert project.record("--llm-trials=3", "--llm-accept=first").exit == 0
    project.write(**{"test_a.py": WORSE})
    request_count = project.server.count
    needed = CASES * LOOKS["auto:5"]  # what a look has paid for, the next replays
    live = ["--llm-record=new", f"--llm-base-url={project.server.url}/v1", f"--llm-max-calls={needed}"]
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "summary.md"))
    printed, ended, run = run_looks(project, AUTO, "--llm-strict", *live, "--")
    assert (project.path / "summary.md").read_text(encoding="utf-8").count("\n## ") == 1
    assert project.server.count - request_count == needed
    assert (gate_of(run).status, ended) == ("RED", 1)
    assert printed.count("undecided, so the suite runs again") == 1
    first, _, second = printed.partition("look 1 of 2: ")
    assert ("the build fails" in first, "the build fails" in second) == (False, True)
    assert "To decide, " not in printed  # the next look decides, or does not
    assert "look 2 of 2: decided" in printed
    replayed, ended_again, again = run_looks(project, AUTO, "--llm-strict")
    assert (again.verdicts, ended_again) == (run.verdicts, ended)
    assert printed.count("of 2: ") == replayed.count("of 2: ") == 2


def test_the_workers_of_a_later_look_alone_share_a_budget(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RUN_FOLDER_VARIABLE, raising=False)
    project.write(**{"test_a.py": WORSE, NAME: Baseline().to_text()})
    live = ["--llm-record=new", f"--llm-base-url={project.server.url}/v1", "--llm-max-calls=4", "-n2"]
    run_looks(project, "--llm-trials=auto:5", *live)
    assert project.server.count == 4


def test_where_looks_cannot_be_taken_the_run_ends_before_its_first_test(project: Project) -> None:
    project.write(**{"test_a.py": BEFORE})
    done = project.bare(AUTO)
    assert done.exit == pytest.ExitCode.USAGE_ERROR
    assert "expected a baseline, got none: accept one first" in done.text
    assert "expected a whole number" in project.bare("--llm-trials=auto:7").text
    project.write(**{NAME: Baseline().to_text()})
    assert "plugin objects" in project.bare(AUTO).text
    project.write(**{"pytest.ini": (project.path / "pytest.ini").read_text() + "llm_trials = auto\n"})
    assert "expected it on the command line, got it in the ini" in project.bare().text


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
