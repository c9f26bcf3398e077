"""What was edited since the baseline: from the file beside it, from the cassettes of its commit, or only counted."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from support.git import commit
from support.project import Project
from support.reports import gate_of

RULES = "Be brief.\nAnswer from the policy."
KIND_RULES = "Be brief.\nAnswer kindly."
ACCEPT = "--llm-accept=first"
ANSWERS = "llmops-baseline-outputs.json.gz"
EDITED = ("- Answer from the policy.", "+ Answer kindly.")

PROMPTED = """
import pytest
from pytest_llmops import assert_contains

@pytest.mark.prompt("support/answer")
@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_answer(case, llm, prompt):
    assert_contains(llm.complete(prompt.render(case=case)).text, f"case {case}")
"""
PROMPT = """---
variables: [case]
---
system:
{rules}
user:
case {{{{ case }}}}
"""

AGENT = """
import pytest
from pytest_llmops import assert_contains
from pytest_llmops.protocols import Message

@pytest.mark.parametrize("case", ["a", "b"])
def test_answer(case, llm):
    llm.complete(f"find {{case}}", temperature={temperature})
    messages = [Message("system", {rules!r}), Message("user", f"write {{case}}")]
    assert_contains(llm.complete(messages, temperature={temperature}).text, f"write {{case}}")
"""


def write_agent(project: Project, rules: str = RULES, temperature: float = 0) -> None:
    project.write(**{"test_a.py": AGENT.format(rules=rules, temperature=temperature)})


def read_stored(project: Project) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(gzip.decompress((project.path / ANSWERS).read_bytes()))
    return stored


@pytest.mark.parametrize("workers", [0], indirect=True, ids=["n0"])
def test_another_version_of_a_prompt_is_named_with_its_lines(project: Project, workers: int) -> None:
    project.write(
        **{
            "test_a.py": PROMPTED,
            "prompts/support/answer/v1.md": PROMPT.format(rules=RULES),
            "prompts/support/answer/aliases.toml": 'production = "v1"\n',
        }
    )
    assert project.record(ACCEPT, workers=workers).outcomes == {"passed": 3}
    project.write(
        **{
            "prompts/support/answer/v2.md": PROMPT.format(rules=KIND_RULES),
            "prompts/support/answer/aliases.toml": 'production = "v2"\n',
        }
    )
    gate = gate_of(project.record(workers=workers).run)
    (edit,) = gate.edits
    assert edit.words == "prompt support/answer v1 → v2, in 3 of 3 requests"
    assert edit.lines == EDITED
    assert (gate.answers, gate.changed_answers) == (3, 0)


def test_lines_come_from_the_file_beside_the_baseline_else_from_its_commit_else_none_are_shown(
    project: Project, tmp_path: Path
) -> None:
    write_agent(project)
    project.record(ACCEPT)
    stored = (project.path / ANSWERS).read_bytes()
    (project.path / ANSWERS).unlink()
    commit(project.path, "the recordings and their baseline")
    write_agent(project, KIND_RULES)
    assert project.record().outcomes == {"passed": 2}

    def read_edit() -> tuple[str, tuple[str, ...]]:
        (edit,) = gate_of(project.run().run).edits
        return edit.words, edit.lines

    assert read_edit() == (
        "messages[0], in 2 of 2 tests",
        EDITED,
    )  # the second request of each test, from git
    (project.path / ".git").rename(tmp_path / "git")
    assert read_edit() == ("the text of the request, in 2 of 2 tests", ())
    (project.path / ANSWERS).write_bytes(stored)
    assert read_edit() == ("messages[0], in 2 of 2 tests", EDITED)
    (project.path / ANSWERS).write_bytes(b"damaged")
    assert read_edit() == ("the text of the request, in 2 of 2 tests", ())


def test_another_temperature_is_an_edit_and_the_same_run_again_is_none(project: Project) -> None:
    write_agent(project)
    project.record(ACCEPT)
    assert gate_of(project.run().run).edits == ()
    write_agent(project, temperature=0.7)
    (edit,) = gate_of(project.record().run).edits
    assert edit.words == "temperature 0 → 0.7, in 2 of 2 tests"


def test_a_partial_acceptance_keeps_the_other_requests(project: Project) -> None:
    write_agent(project)
    project.record(ACCEPT)
    before = read_stored(project)
    write_agent(project, KIND_RULES)
    result = project.record("-k", "a]", "--llm-accept=anyway: only a")
    assert "1 test accepted" in result.text
    after = read_stored(project)
    assert set(before["requests"]) & set(after["requests"])
    texts = [request.get("messages[0]") for request in after["requests"].values()]
    assert texts.count(KIND_RULES) == 1
    (edit,) = gate_of(project.record().run).edits
    assert edit.words == "messages[0], in 1 of 2 tests"  # of b, whose older request is still there
    assert edit.lines == EDITED


def test_a_secret_in_a_request_reaches_no_file(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    shaped = "sk-proj-" + "a1B2c3D4" * 4
    named = "correct horse battery 77"
    monkeypatch.setenv("SHOP_API_KEY", named)
    write_agent(project, f"Sign with {shaped} or {named}.")
    assert project.record(ACCEPT).outcomes == {"passed": 2}
    stored = read_stored(project)
    texts = [request.get("messages[0]", "") for request in stored["requests"].values()]
    assert any(text.startswith("Sign with ") for text in texts)
    for secret in (shaped, named):
        assert secret not in json.dumps(stored)
        assert secret not in (project.path / "llmops-baseline.json").read_text()
    assert gate_of(project.run().run).edits == ()  # the fingerprints are those of the masked texts
    monkeypatch.delenv("SHOP_API_KEY")
    write_agent(project, "Sign with [masked].")
    run = project.record().run
    for secret in (shaped, named):
        assert secret not in run.to_json()


def test_a_baseline_of_an_older_version_is_read_and_gets_fingerprints_when_it_is_accepted_again(
    project: Project,
) -> None:
    write_agent(project)
    project.record(ACCEPT)
    path = project.path / "llmops-baseline.json"
    older = json.loads(path.read_text())
    for test in older["tests"].values():
        assert len(test.pop("calls")) == 2
    path.write_text(json.dumps(older))
    write_agent(project, KIND_RULES)
    gate = gate_of(project.record().run)
    assert (gate.answers, [edit.kind for edit in gate.edits]) == (0, [])  # no score moved
    assert project.run("--llm-accept=again").exit == 0
    assert all(len(test["calls"]) == 2 for test in json.loads(path.read_text())["tests"].values())
    assert gate_of(project.run().run).answers == 2
