"""`skill_arms`: agents without a skill, with its older version and with the present one; compared, recorded and gated."""

from __future__ import annotations

import json

import pytest
from support.git import commit, git
from support.messages import check_message
from support.project import INI, PROGRAM, Project, Result

TEST = """
import pytest
from pytest_llmops import assert_contains
from pytest_llmops.agents import skill_arms

@pytest.mark.llm_cassette("skill")
@pytest.mark.llm_compare("skill")
@pytest.mark.parametrize("skill", skill_arms("skills/refunds", old="main"), ids=str)
@pytest.mark.cases("skills/refunds/evals/evals.json")
def test_skill(case, skill, llm):
    text = llm.complete(f"{skill.text} {case.input}").text
    assert_contains(text, case.reference, at_least=None)
"""
HEAD = "---\nname: refunds\ndescription: Refunds.\n---\n"
FACTS = [f"fact-{number}" for number in range(12)]


def write_skill(facts: int, rest: str = "") -> dict[str, str]:
    """Return the file of a skill that states the first facts."""
    return {"skills/refunds/SKILL.md": f"{HEAD}{rest}{' '.join(FACTS[:facts])}\n"}


def ask_changed(project: Project, *args: str, workers: int = 0) -> Result:
    return project.run("--llm-changed", f"--llm-base-url={project.server.url}/v1", *args, workers=workers)


@pytest.fixture
def shop(project: Project) -> Project:
    """A checkout whose branch main has a skill with six of twelve facts."""
    evals = [{"id": n, "prompt": f"Question {n}?", "expected_output": fact} for n, fact in enumerate(FACTS)]
    project.write(
        **{
            "test_a.py": TEST,
            "skills/refunds/evals/evals.json": json.dumps({"skill_name": "refunds", "evals": evals}),
        }
    )
    commit(project.path, "skill", **write_skill(6))
    return project


def test_x(shop):
    t = "--llm-trials=3"
    r = shop.record(t)
    print(r.text)
    print(shop.run(t, "--llm-accept=first").text)
    git(shop.path, "add", "-A"); git(shop.path, "commit", "-qm", "rec")
    git(shop.path, "checkout", "-qb", "better")
    shop.write(**write_skill(12))
    n = shop.server.count
    print("BETTER", ask_changed(shop, t).text, shop.server.count - n)
    n = shop.server.count
    git(shop.path, "commit", "-qam", "better")
    print("REPLAY", shop.run(t, "--llm-accept=why").text)
    git(shop.path, "add", "-A"); git(shop.path, "commit", "-qm", "rec")
    git(shop.path, "checkout", "-q", "main"); git(shop.path, "merge", "-q", "better")
    print("MERGED", shop.run(t).text)
    git(shop.path, "checkout", "-qb", "worse")
    shop.write(**write_skill(9, "short "))
    n = shop.server.count
    print("WORSE", ask_changed(shop, t).text, shop.server.count - n)
    assert 0
