"""The line for coding agents: for whom, for which runs, and what it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmops.harness.coding_agents import AGENT_VARIABLES, describe_agent_help
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.verdict import Verdict

NOT_LOADED = Run(meta={"collection_errors": [{"module": "test_a.py"}]})
FAILED = Run(records=(TestRecord(nodeid="t", outcome="failed"),))
RED = Run(verdicts=(Verdict(kind="baseline", status="RED", decides=True),))
UNDECIDED = Run(
    records=(TestRecord(nodeid="t"),), verdicts=(Verdict(kind="baseline", status="AMBER", decides=True),)
)


@pytest.mark.parametrize("variable", AGENT_VARIABLES)
def test_each_agent_gets_the_line_after_a_red_run_only(variable: str) -> None:
    for run in (FAILED, RED, NOT_LOADED):
        assert describe_agent_help(run, {variable: "1"}, (), Path())
        assert not describe_agent_help(run, {variable: ""}, (), Path())
        assert not describe_agent_help(run, {}, (), Path())
    for run in (Run(), UNDECIDED):
        assert not describe_agent_help(run, {variable: "1"}, (), Path())


def test_the_skill_is_named_from_the_folder_of_the_run(tmp_path: Path) -> None:
    skill = "pytest_llmops/.agents/skills/pytest-llmops/SKILL.md"
    root = Path(__file__).parents[2]
    assert f"read {skill} before" in describe_agent_help(RED, {"AI_AGENT": "x"}, (), root)
    assert f"read {root}/{skill} before" in describe_agent_help(RED, {"AI_AGENT": "x"}, (), tmp_path)


def test_the_run_file_is_named_or_how_to_get_it() -> None:
    assert describe_agent_help(RED, {"AI_AGENT": "x"}, ["a.json", "b.json"], Path()).endswith(" a.json")
    assert "--llm-report=run.json" in describe_agent_help(RED, {"AI_AGENT": "x"}, [], Path())
