"""`skill_arms`: agents without a skill, with its older version and with the present one; compared, recorded and gated."""

from __future__ import annotations

import json

import pytest
from support.git import commit, git
from support.project import INI, Project, Result

from pytest_llmops.results.verdict import Verdict

TEST = """
import pytest
from pytest_llmops import assert_contains
from pytest_llmops.agents import skill_arms

@pytest.mark.llm_cassette("skill")
@pytest.mark.llm_compare("skill")
@pytest.mark.parametrize("skill", skill_arms("skills/refunds", old="main"))
@pytest.mark.cases("skills/refunds/evals/evals.json")
def test_skill(case, skill, llm):
    text = llm.complete(f"{skill.text} {case.input}").text
    assert_contains(text, case.reference, at_least=None)
"""
HEAD = "---\nname: refunds\ndescription: Refunds.\n---\n"
FACTS = [f"fact-{number}" for number in range(10)]
TRIALS = "--llm-trials=3"


def write_skill(facts: int, rest: str = "") -> dict[str, str]:
    """Return the file of a skill that states the first facts."""
    return {"skills/refunds/SKILL.md": f"{HEAD}{rest}{' '.join(FACTS[:facts])}\n"}


def write_evals(project: Project, count: int = len(FACTS)) -> None:
    evals = [
        {"id": number, "prompt": f"Question {number}?", "expected_output": fact, "files": ["evals/order.csv"]}
        for number, fact in enumerate(FACTS[:count])
    ]
    text = json.dumps({"skill_name": "refunds", "evals": evals})
    project.write(
        **{"skills/refunds/evals/evals.json": text, "skills/refunds/evals/order.csv": "order,state\n"}
    )


def compared(result: Result) -> dict[str, str]:
    """Return the verdict on each arm against the one without the skill."""
    verdicts: list[Verdict] = [verdict for verdict in result.run.verdicts if verdict.kind == "comparison"]
    assert {verdict.baseline for verdict in verdicts} == {"without"}
    return {verdict.subject: verdict.status for verdict in verdicts}


def test_a_changed_skill_is_asked_alone_compared_with_none_and_gated_by_the_accepted_one(
    project: Project,
) -> None:
    write_evals(project)
    project.write(**{"test_a.py": TEST})
    commit(project.path, "first", **write_skill(5))
    commit(project.path, "second", **write_skill(10))
    first = project.record(TRIALS, "--llm-accept=first")
    assert first.outcomes == {"passed": 30}
    assert first.line(" accepted;").startswith("baseline  llmops-baseline.json: 10 tests accepted")
    assert compared(first) == {"skill old": "better", "skill new": "better"}
    git(project.path, "add", "-A")
    git(project.path, "commit", "-q", "-m", "recordings")
    git(project.path, "checkout", "-q", "-b", "shorter")
    project.write(**write_skill(7, "short: "))
    count = project.server.count
    server = f"--llm-base-url={project.server.url}/v1"
    shorter = project.run("--llm-record=changed", server, TRIALS)
    # The older version is now what was the present one: its answers are recorded.
    assert project.server.count - count == 30
    assert "10 of 30 tests with a new request" in shorter.run.notes[0]
    assert compared(shorter) == {"skill old": "better", "skill new": "better"}
    [gate] = [verdict for verdict in shorter.run.verdicts if verdict.kind == "baseline"]
    assert (gate.status, gate.compared, shorter.exit) == ("RED", 10, 1)
    assert (
        "3 cases broke, none mended (test_skill[7-new], test_skill[8-new], test_skill[9-new])" in shorter.text
    )
    git(project.path, "commit", "-q", "-a", "-m", "shorter")
    git(project.path, "checkout", "-q", "main")
    git(project.path, "merge", "-q", "shorter")
    merged = project.run(TRIALS)
    assert project.server.count - count == 30
    assert compared(merged) == compared(shorter)


def test_a_skill_that_is_new_on_its_branch_has_no_older_arm(project: Project, workers: int) -> None:
    write_evals(project, 1)
    commit(project.path, "nothing", **{"README.md": "shop\n"})
    project.write(**{"test_a.py": TEST}, **write_skill(3))
    assert set(project.record(workers=workers).records) == {"test_skill[0-without]", "test_skill[0-new]"}


def test_a_skill_outside_of_git_is_an_error_of_the_collection(project: Project) -> None:
    project.write(**{"test_a.py": TEST}, **write_skill(3))
    assert "main: git cannot read" in project.bare().text


AGENT = """
import json, os, sys, time, urllib.request
from pathlib import Path

def remind(text):
    return {"type": "text", "text": f"<system-reminder>\\n{text}\\n</system-reminder>"}

skills = [path.read_text() for path in sorted(Path.cwd().glob(".claude/skills/*/SKILL.md"))]
files = [path.read_text() for path in sorted(Path.cwd().rglob("*.csv"))]
ids = {"device_id": f"device-{time.time_ns()}", "session_id": f"session-{time.time_ns()}"}
body = {
    "model": "m",
    "system": [
        {"type": "text", "text": f"x-anthropic-billing-header: cc_version={time.time_ns()};"},
        {"type": "text", "text": " ".join(["Help.", *skills, *files])}],
    "messages": [{"role": "user", "content": [
        remind(f"# Environment\\n - Primary working directory: {Path.cwd()}"),
        {"type": "text", "text": sys.argv[1]}]}],
    "metadata": {"user_id": json.dumps(ids)},
}
headers = {"content-type": "application/json", "user-agent": "claude-cli/2.1.332 (external, cli)"}
url = os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages?beta=true"
with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as response:
    print(response.read().decode())
"""
AGENT_TEST = """
import subprocess, sys
from pathlib import Path
import pytest
from pytest_llmops import assert_contains
from pytest_llmops.agents import skill_arms
from pytest_llmops.cases import copy_files

AGENT = Path(__file__).with_name("agent.py")

@pytest.mark.llm_compare("skill")
@pytest.mark.parametrize("skill", skill_arms("skills/refunds", old="main"))
@pytest.mark.cases("skills/refunds/evals/evals.json")
def test_skill(case, skill, llm_proxy, tmp_path):
    skill.install(tmp_path)
    copy_files(case, tmp_path)
    command = [sys.executable, str(AGENT), case.input]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert_contains(done.stdout, case.reference, at_least=None)
    assert_contains(done.stdout, "order,state")
"""


def test_an_agent_in_its_own_process_finds_the_skill_of_its_arm(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", project.server.url)
    write_evals(project, 1)
    project.write(
        **{"pytest.ini": INI + "llm_clients = claude-agent\n", "agent.py": AGENT, "test_a.py": AGENT_TEST}
    )
    commit(project.path, "first", **write_skill(0))
    project.write(**write_skill(1))
    recorded = project.record("--basetemp=first")
    assert recorded.outcomes == {"passed": 3}, recorded.text
    scores = {name: record.measurements[0].value for name, record in recorded.records.items()}
    assert scores == {"test_skill[0-without]": 0.0, "test_skill[0-old]": 0.0, "test_skill[0-new]": 1.0}
    project.write(**write_skill(1, "Be short. "))
    changed = project.run("--basetemp=second")
    assert (changed.outcomes, project.server.count) == ({"passed": 2, "errors": 1}, 3)
    assert "Be short." in changed.text
