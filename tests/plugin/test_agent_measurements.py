"""What is recorded of an agent's calls is compared over the suite, though no test of it has a threshold."""

from __future__ import annotations

import pytest
from support.project import Project
from support.reports import gate_of

SUITE = """
import json, os
import pytest
from pytest_llmops import assert_tool_calls, assert_trajectory, call

def run_agent(case):
    names = ["get_order", "refund"]
    if os.environ.get("WORSE") and case % 2:
        names = ["get_order", "get_order", "send_mail"]
    messages = [{"role": "user", "content": f"Refund {case}"}]
    for name in names:
        function = {"name": name, "arguments": json.dumps({"order_id": case})}
        messages.append({"role": "assistant", "tool_calls": [{"function": function}]})
    return messages

@pytest.mark.parametrize("case", range(40))
def test_agent(case):
    messages = run_agent(case)
    expected = [call("get_order", order_id=case), call("refund", order_id=case)]
    assert_tool_calls(messages, expected, at_least=None, tools=[{"name": "get_order"}, {"name": "refund"}])
    assert_trajectory(messages)
"""


def test_recorded_shares_and_steps_are_compared_over_the_suite(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(**{"test_a.py": SUITE})
    monkeypatch.delenv("WORSE", raising=False)
    assert project.run("--llm-accept", "first").exit == 0
    monkeypatch.setenv("WORSE", "1")
    result = project.run()
    assert result.outcomes == {"passed": 40}
    assert result.exit == 1
    assert gate_of(result.run).status == "RED"
    rows = [line.split()[:3] for line in result.text.splitlines() if line.startswith("tools.")]
    assert rows == [
        ["tools.calls", "1.000", "0.500"],
        ["tools.precision", "1.000", "0.667"],
        ["tools.recall", "1.000", "0.750"],
        ["tools.valid_arguments", "1.000", "0.833"],
    ]
    # Scores from 0 to 1 are compared; counts, tokens and prices are in the reports.
    names = [measurement.name for measurement in result.run.records[1].measurements]
    assert names[-2:] == ["trajectory.steps", "trajectory.repeats"]
