"""From an exported trace to a test that replays the run: the command, the review, and pytest without any model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.project import Project
from support.traces import says, span, user, write_spans

from pytest_llmops import cli
from pytest_llmops.results.fork import ForkResult

AGENT = """
import json
from openai import OpenAI

TOOL = {"name": "find_order", "description": "Looks an order up.", "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}}}
TOOLS = [{"type": "function", "function": TOOL}]
RULES = "Help the customer."

def find_order(order_id, shop="main"):
    raise RuntimeError("no database here")

def answer(question, **given):
    messages = [{"role": "system", "content": RULES}, {"role": "user", "content": question}]
    while True:
        stream = OpenAI(max_retries=0).chat.completions.stream(
            model="gpt-4.1-mini", messages=messages, tools=TOOLS, temperature=0, **given)
        with stream as events:
            message = events.get_final_completion().choices[0].message
        if not message.tool_calls:
            return message.content
        calls = [{"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}} for c in message.tool_calls]
        messages.append({"role": "assistant", "content": message.content, "tool_calls": calls})
        for call in message.tool_calls:
            found = find_order(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(found)})
"""
TEST = """
import pytest
from agent import answer

@pytest.mark.cases("cases/feedback.jsonl")
def test_answer(case):
    assert answer(case.input) == case["rejected"]
"""
TOOL: dict[str, Any] = {
    "type": "function",
    "name": "find_order",
    "description": "Looks an order up.",
    "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}},
}
QUESTION = "Where are my orders A-17 and B-4? I am ann@example.com"
FOUND = {"A-17": {"state": "sent", "mail": "ann@example.com"}, "B-4": {"state": "lost"}}
ANSWER = "A-17 was sent to ann@example.com. I do not know about B-4."


def write_run(path: Path, *, with_bodies: bool = True) -> None:
    """Write the run of the agent: two calls of the model, the first of which calls a tool twice."""
    parts = [
        {"type": "tool_call", "id": f"call_{name}", "name": "find_order", "arguments": {"order_id": name}}
        for name in FOUND
    ]
    calling = {"role": "assistant", "parts": parts, "finish_reason": "tool_call"}
    found = [
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": f"call_{name}", "response": result}]}
        for name, result in FOUND.items()
    ]
    first = [user(QUESTION)]
    if not with_bodies:
        write_spans(path, span(0, None, None), span(1, None, None))
        return
    attributes = {
        "gen_ai.response.model": "gpt-4.1-mini-2025-04-14",
        "gen_ai.request.temperature": 0,
        "gen_ai.system_instructions": [{"type": "text", "content": "Help the customer."}],
        "gen_ai.tool.definitions": [TOOL],
    }
    steps = [(first, calling), ([*first, calling, *found], says(ANSWER))]
    spans = [
        span(number, given, answer, attributes=attributes) for number, (given, answer) in enumerate(steps)
    ]
    write_spans(path, *spans)


def make_case(project: Project, capsys: pytest.CaptureFixture[str]) -> Path:
    """Write agent and test, import the trace and accept its case; return the trace tape."""
    project.write(**{"agent.py": AGENT, "test_agent.py": TEST})
    with (project.path / "pytest.ini").open("a") as ini:
        ini.write("llm_tool_functions = agent.find_order\n")
    write_run(project.path / "traces.json")
    assert cli.main(["cases", "from-traces", "traces.json", "--cassette", "--json"]) == 0
    ((place, facts),) = json.loads(capsys.readouterr().out)["traces"].items()
    assert facts == {"calls": 2, "missing": []}
    entry = Path(place).stem
    accept = ["cases", "review", "--accept", entry, "--reference", "A-17 was sent, B-4 is lost."]
    assert cli.main(accept) == 0
    return Path(project.path / "cases" / place)


def test_a_trace_replays_as_a_test_without_a_model(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = make_case(project, capsys)
    row = json.loads((project.path / "cases/feedback.jsonl").read_text())
    assert row["trace"] == f"traces/{tape.name}"
    assert "ann@example.com" not in tape.read_text() + (project.path / "cases/queue.jsonl").read_text()
    result = project.run("--llm-record=none")
    assert result.outcomes == {"passed": 1}, result.text
    (record,) = result.records.values()
    facts: Any = record.facts["cassette"]
    assert facts["replayed"] == 4
    (note,) = facts["notes"]
    assert (
        note
        == f"replayed from a trace: 2 answers and 2 results of tools, rebuilt from cases/traces/{tape.name}"
    )
    assert not (project.path / "cassettes").exists()  # and nothing of it is written into a cassette
    # A mode that records replays it as well, and each trial gets the answers from the start: nothing is asked.
    done = project.run("--llm-record=new", "--llm-trials=2", workers=2)
    assert done.outcomes == {"passed": 1}
    (record,) = done.records.values()
    facts = record.facts["cassette"]
    assert (facts["replayed"], facts["recorded"]) == (8, 0)
    assert not project.server.count


def test_a_change_is_a_miss_that_names_the_nearest_call_of_the_trace(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    make_case(project, capsys)
    changed = AGENT.replace("Help the customer.", "Help the customer. Name each order.")
    project.write(**{"agent.py": changed})
    result = project.run("--llm-record=none")
    assert result.outcomes == {"errors": 1}
    assert "nothing is recorded here" not in result.text
    assert "nearest   call 1 of the trace" in result.text
    assert "- system: Help the customer." in result.text
    assert "+ system: Help the customer. Name each order." in result.text


def test_a_damaged_tape_is_an_error(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    tape = make_case(project, capsys)
    tape.write_text(tape.read_text()[:400])
    result = project.run("--llm-record=none")
    assert result.outcomes == {"errors": 1}
    assert "from-traces --cassette" in result.text


def test_a_trace_without_bodies_gives_no_tape(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(project.path / "traces.json", with_bodies=False)
    assert cli.main(["cases", "from-traces", "traces.json", "--cassette"]) == 2
    assert "calls without messages or answer" in capsys.readouterr().err
    assert not (project.path / "cases").exists()


RESPONSES = """
import os
from openai import OpenAI
import pytest

@pytest.mark.cases("cases/feedback.jsonl")
def test_answer(case):
    client = OpenAI(max_retries=0)
    first = client.responses.create(model="gpt-4.1-mini", input="Where is A-17?")
    client.responses.create(model="gpt-4.1-mini", input=LAST, previous_response_id=first.id)
"""


def test_a_fork_does_not_send_the_id_of_an_answer_that_was_rebuilt(project: Project) -> None:
    project.write(**{"test_agent.py": RESPONSES.replace("LAST", "'And now, please?'")})
    write_spans(
        project.path / "traces.json",
        span(0, [user("Where is A-17?")], says("Sent.")),
        span(1, [user("Where is A-17?"), says("Sent."), user("And now?")], says("Lost.")),
    )
    assert cli.main(["cases", "from-traces", "traces.json", "--cassette"]) == 0
    entry = json.loads((project.path / "cases/queue.jsonl").read_text())["id"]
    assert cli.main(["cases", "review", "--accept", entry, "--reference", "It is lost."]) == 0
    result = project.run("--llm-record=fork", "--llm-trials=3")
    assert "its previous_response_id is of an answer that was rebuilt from a trace" in result.text
    assert not project.server.count
    (record,) = result.records.values()
    sentence = ForkResult.from_wire(record.fact("fork")).sentence
    assert sentence.startswith("none of 3 runs from step 2 on has a verdict")
