"""The steps of an agent: accepted with a baseline, and how they differ from it in the reports of a later run."""

from __future__ import annotations

import gzip
import json
import shutil

import pytest
from support.git import commit
from support.page import read_data
from support.project import Project
from support.server import chat_answer, json_reply

from pytest_llmops.baselines.stored_answers import outputs_path
from pytest_llmops.cli import main
from pytest_llmops.reports.changed_cases import list_cases

AGENT = """
import json, os, urllib.request
from pytest_llmops import assert_tool_calls, assert_trajectory, call

SYSTEM = "{system}"
TOOLS = {{
    "get_order": lambda order_id: "delivered",
    "search": lambda q: "",
    "refund": lambda order_id, amount: "ok",
}}

def answer(question):
    messages = [{{"role": "system", "content": SYSTEM}}, {{"role": "user", "content": question}}]
    while True:
        body = json.dumps({{"model": "stub-1", "messages": messages}}).encode()
        url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
        request = urllib.request.Request(url, body, {{"content-type": "application/json"}})
        with urllib.request.urlopen(request) as response:
            message = json.loads(response.read())["choices"][0]["message"]
        messages.append(message)
        if not message.get("tool_calls"):
            return message["content"]
        for use in message["tool_calls"]:
            function = use["function"]
            result = TOOLS[function["name"]](**json.loads(function["arguments"]))
            messages.append({{"role": "tool", "tool_call_id": use["id"], "content": result}})

def test_refund(llm_calls):
    answer("Refund my order B-77: 20 euros.")
    assert_tool_calls(llm_calls, ["get_order", call("refund", order_id="B-77", amount=20)])
"""
CAREFUL = (("get_order", {"order_id": "B-77"}), ("refund", {"order_id": "B-77", "amount": 20}))
HASTY = (("search", {"q": "<b>`x`|@all"}), ("refund", {"order_id": "B-77", "amount": 200}))
DIFFERENCE = [
    ["-", "step 1 get_order(order_id='B-77')"],
    ["+", "step 1 search(q='<b>`x`|@all')"],
    ["~", "step 2 refund amount: 20 -> 200"],
]


@pytest.fixture
def agent(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{project.server.url}/v1")
    project.write(**{"test_a.py": AGENT.format(system="Look the order up first.")})
    return project


def answer_with(project: Project, calls: tuple[tuple[str, object], ...], trials: int = 1) -> None:
    """Let the stub server call tools one after another, then answer."""
    for _ in range(trials):
        for number, (name, arguments) in enumerate(calls):
            function = {"name": name, "arguments": json.dumps(arguments)}
            use = {"id": f"call_{number}", "type": "function", "function": function}
            project.server.queue.append(json_reply(chat_answer("", tool_calls=[use])))
        project.server.queue.append(json_reply(chat_answer("Done.")))


def test_all_reports_show_the_steps_that_differ_from_the_baseline(
    agent: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    answer_with(agent, CAREFUL)
    assert agent.record("--llm-accept=first").exit == 0
    commit(agent.path, "first baseline")
    stored = json.loads(gzip.decompress(outputs_path(agent.path / "llmops-baseline.json").read_bytes()))
    (sequence,) = stored["calls"]["test_a.py::test_refund"]
    assert sequence["trials"] == 1
    assert stored["outputs"] == {"test_a.py::test_refund": "Done."}
    assert [call["name"] for call in sequence["calls"]] == ["get_order", "refund"]

    agent.write(**{"test_a.py": AGENT.format(system="Be quick.")})
    answer_with(agent, HASTY)
    result = agent.record("--llm-report=out.md", "--llm-report=out.html", "--llm-report=shard.json")
    assert result.outcomes == {"failed": 1}
    lines = [line.strip() for line in result.text.splitlines()]
    place = lines.index("steps   - step 1 get_order(order_id='B-77')")
    assert lines[place + 1 : place + 3] == [f"{sign} {text}" for sign, text in DIFFERENCE[1:]]
    markdown = (agent.path / "out.md").read_text(encoding="utf-8")
    assert r"<br>``+ step 1 search(q='<b>`x`\|@all')``<br>`~ step 2 refund amount: 20 -> 200` |" in markdown
    page = (agent.path / "out.html").read_text(encoding="utf-8")
    (case,) = read_data(page)["cases"]
    assert case["steps"]["lines"] == DIFFERENCE
    (trajectory,) = case["trajectories"]
    calls = [call for step in trajectory["steps"] for call in step.get("calls", ())]
    assert [(call["name"], call.get("unexpected", False)) for call in calls] == [
        ("search", True),
        ("refund", True),
    ]
    assert "more" not in case["scores"][0]
    assert [label for label, _ in case["scores"][0]["evidence"]] == ["step 2", "step 1"]
    assert "~ step 2 refund amount: 20 -&gt; 200" in page  # for a browser without scripts

    # Without the file beside the baseline, the cassette of its commit has the earlier steps.
    outputs_path(agent.path / "llmops-baseline.json").unlink()
    capsys.readouterr()
    (case,) = agent.run().run.changes.values()
    assert [call.name for call in case.before_calls[0].calls] == ["get_order", "refund"]

    # A job that only merges has no history either: what the shards found is kept.
    shutil.rmtree(agent.path / ".git")
    capsys.readouterr()
    assert main(["merge", "shard.json", "-o", "merged.html"]) == 1
    assert "- step 1 get_order(order_id='B-77')" in capsys.readouterr().out


def test_trials_are_compared_with_the_most_similar_trial_of_the_baseline(
    agent: Project, workers: int
) -> None:
    recording_only = AGENT.replace(
        "amount=20)])", "amount=20)], at_least=None)\n    assert_trajectory(llm_calls)"
    )
    agent.write(**{"test_a.py": recording_only.format(system="Look the order up first.")})
    answer_with(agent, CAREFUL)
    answer_with(agent, HASTY, trials=2)
    assert agent.record("--llm-trials=3", "--llm-accept=first", workers=workers).exit == 0
    agent.write(**{"test_a.py": recording_only.format(system="Be quick.")})
    answer_with(agent, HASTY[1:])
    answer_with(agent, (HASTY[0], CAREFUL[1]), trials=2)
    result = agent.record("--llm-trials=3", workers=workers)
    (case,) = list_cases(result.run)
    assert case.change is not None
    assert [sequence.trials for sequence in case.change.before_calls] == [2, 1]
    # Two steps differ from the first trial of the baseline, and one from the others.
    assert [str(change) for change in case.steps] == ["- step 1 search(q='<b>`x`|@all')"]
    assert case.step_trials == "these steps differ in 1 of 3 trials"
    assert "(these steps differ in 1 of 3 trials)" in result.text
    # The agent made 3 turns in each trial of the baseline, and 2, 3 and 3 now.
    steps = "steps per answer 3.0 → 2.7 (-11 %), too few cases to rule out chance; 1 of 1 case"
    assert f"effort    {steps}" in result.text
