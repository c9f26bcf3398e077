"""Conversations with scripted users: recorded, replayed, with trials, and all at once."""

from __future__ import annotations

import pytest
from support.ahead import record
from support.project import Project
from support.server import Reply, Seen, chat_answer, json_reply

TESTS = """
import openai, pytest
from pytest_llmops import assert_contains
from pytest_llmops.agents import converse

pytestmark = pytest.mark.llm_cassette
TOOLS = [{"type": "function", "function": {"name": "get_order", "parameters": {"type": "object"}}}]

class Agent:
    def __init__(self): self.messages = [{"role": "system", "content": "You are a clerk."}]

    def __call__(self, text):
        self.messages.append({"role": "user", "content": text})
        with openai.OpenAI(max_retries=0) as client:
            while True:
                answer = client.chat.completions.create(model="m", messages=self.messages, tools=TOOLS)
                message = answer.choices[0].message
                self.messages.append(message.model_dump(exclude_none=True))
                if not message.tool_calls:
                    return answer
                self.messages.append({"role": "tool", "tool_call_id": "c1", "content": "delivered"})

@pytest.mark.cases("talk.yaml")
def test_talk(case):
    conversation = converse(case, Agent())
    for turn in conversation:
        assert_contains(turn.reply, "order", ignore_case=True, label=turn.label)
    roles = [step.role for step in conversation.trajectory.steps]
    assert roles == ["system", "user", "assistant"] + ["user", "assistant", "assistant"] * (len(conversation) - 1)
"""
CASES = """
- id: number
  turns:
    - Refund, please.
    - when: {contains: which order}
      say: It is B-77.
      expect: {calls: [{get_order: {id: B-77}}], contains: delivered}
    - when: {called: get_order}
      say: And C-12?
      expect: {calls: [get_order], not_contains: sorry}
- id: no-number
  turns:
    - Hello.
    - when: {contains: which order}
      say: It is B-77.
"""


def answer_as_clerk(seen: Seen) -> Reply:
    """Look up an order of which the user gives the number, and ask for it otherwise."""
    message = seen.json["messages"][-1]
    if message["role"] == "tool":
        return json_reply(chat_answer(f"Your order was {message['content']}."))
    if "Refund" in message["content"]:
        return json_reply(chat_answer("Which order is it?"))
    if "B-77" not in message["content"] and "C-12" not in message["content"]:
        return json_reply(chat_answer("Hello, have you an order?"))
    call = {"id": "c1", "type": "function", "function": {"name": "get_order", "arguments": '{"id": "B-77"}'}}
    return json_reply(chat_answer("", tool_calls=[call]))


@pytest.fixture
def clerk(project: Project) -> Project:
    project.write(**{"test_a.py": TESTS, "talk.yaml": CASES})

    def answer(seen: Seen) -> Reply:
        project.server.seen.append(seen)
        return answer_as_clerk(seen)

    project.server.answer = answer  # type: ignore[method-assign]
    return project


def test_a_conversation_is_recorded_and_replayed(clerk: Project) -> None:
    assert clerk.record().outcomes == {"passed": 2}
    sent = clerk.server.count
    assert sent == 6
    result = clerk.run()
    assert result.outcomes == {"passed": 2}
    assert clerk.server.count == sent
    measured = {(item.name, item.label) for item in result.records["test_talk[number]"].measurements}
    assert {
        ("tools.calls", "turn 2"),
        ("tools.calls", "turn 3"),
        ("text.contains", "turn 2"),
        ("conversation.completed", ""),
    } <= measured
    [completed] = [
        item
        for item in result.records["test_talk[no-number]"].measurements
        if item.name == "conversation.completed"
    ]
    assert completed.detail["skipped"] == [2]


def test_trials_and_recording_at_once_ask_the_same(clerk: Project) -> None:
    plain = record(clerk, "--llm-trials=2")
    at_once = record(clerk, "--llm-trials=2", "--llm-concurrency=4")
    assert plain.result.outcomes == at_once.result.outcomes == {"passed": 2}
    assert plain.sent == at_once.sent
    assert plain.cassettes == at_once.cassettes
    assert "one after another" not in at_once.result.text


def test_a_missing_recording_is_a_miss_and_a_failing_turn_shows_the_conversation(clerk: Project) -> None:
    assert clerk.record().outcomes == {"passed": 2}
    changed = CASES.replace("It is B-77.\n      expect", "B-78, sorry.\n      expect").replace(
        "not_contains: sorry", "not_contains: delivered"
    )
    clerk.write(**{"talk.yaml": changed})
    result = clerk.run("-k", "[number]")
    assert result.outcomes == {"errors": 1}
    assert "[LLM-MISS]" in result.text
    clerk.write(**{"talk.yaml": CASES.replace("not_contains: sorry", "not_contains: delivered")})
    result = clerk.run("-k", "[number]")
    assert result.line("text.not_contains").startswith(
        "MeasurementFailed: text.not_contains [turn 3] 0.00 < 1.00"
    )
    assert result.line("the conversation up to turn 3:")
    assert "user: It is B-77." in result.text
    assert "called: get_order(id='B-77')" in result.text
