"""What a judge gets of a trajectory."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from pytest_llmops import assert_judge_score
from pytest_llmops.agents import Step, ToolUse, Trajectory, read_trajectory
from pytest_llmops.agents.trajectory import make_tool_use
from pytest_llmops.judges import goal
from pytest_llmops.judges.conversation import read_conversation
from pytest_llmops.protocols import Message
from pytest_llmops.providers.offline import ScriptedModel

ASK = Step(role="user", text="Refund B-77.")
DONE = Step(role="assistant", text="Refunded.")


def use(name: str, *, result: str | None = None, started: Trajectory | None = None) -> ToolUse:
    return make_tool_use(name, '{"order_id": "B-77"}', result=result, started=started)


def messages(*steps: Step) -> list[Message]:
    conversation = read_conversation(Trajectory(steps=steps))
    assert conversation is not None
    return list(conversation.messages)


def test_calls_and_results_are_readable() -> None:
    step = Step(
        role="assistant", text="One moment.", tool_calls=(use("get_order", result="paid"), use("log"))
    )
    assert messages(ASK, step, DONE) == [
        Message("user", "Refund B-77."),
        Message(
            "assistant",
            'One moment.\n[tool call get_order {"order_id": "B-77"}]\n[tool call log {"order_id": "B-77"}]',
        ),
        Message("tool", "paid"),
        Message("assistant", "Refunded."),
    ]


def test_message_list_and_its_trajectory_give_the_same_text() -> None:
    call = {"id": "c", "function": {"name": "get_order", "arguments": '{"order_id": "B-77"}'}}
    source = [
        {"role": "user", "content": "Refund B-77."},
        {"role": "assistant", "content": "One moment.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "paid"},
        {"role": "assistant", "content": "Refunded."},
    ]
    assert read_conversation(source) == read_conversation(read_trajectory(source))


def test_agent_that_worked_for_a_tool_did_not_talk_with_the_user() -> None:
    inner = (
        Step(role="user", text="B-77"),
        Step(role="assistant", tool_calls=(use("get", result="paid"),)),
        Step(role="assistant", text="Paid."),
    )
    started = Trajectory(agent="finder", steps=inner)
    step = Step(role="assistant", tool_calls=(use("find", result="Paid.", started=started),))
    assert [(message.role, message.content) for message in messages(ASK, step, DONE)][2:] == [
        ("tool", '[agent finder] [tool call get {"order_id": "B-77"}]'),
        ("tool", "[agent finder] paid"),
        ("tool", "[agent finder] Paid."),
        ("tool", "Paid."),
        ("assistant", "Refunded."),
    ]


def test_agent_that_was_handed_over_to_goes_on() -> None:
    step = Step(
        role="assistant", tool_calls=(use("transfer", result="ok", started=Trajectory(steps=(DONE,))),)
    )
    assert [message.content for message in messages(ASK, step)][2:] == ["ok", "Refunded."]


def test_trajectory_is_judged_as_a_whole() -> None:
    asked: list[str] = []

    def reply(prompt: Sequence[Message]) -> str:
        asked.append(prompt[1].content)
        nonce = prompt[1].content.split(">")[0].removeprefix("<data-")
        return json.dumps({"nonce": nonce, "reason": "done", "score": 5})

    step = Step(role="assistant", tool_calls=(use("refund", result="ok"),))
    trajectory = Trajectory(steps=(ASK, step, DONE))
    measurement = assert_judge_score(trajectory, judge=goal(model=ScriptedModel(reply)))
    assert measurement.value == 1.0
    assert "[tool call refund" in asked[0]


def test_trajectory_that_ends_with_a_result_gets_no_score() -> None:
    step = Step(role="assistant", tool_calls=(use("refund", result="ok"),))
    with pytest.raises(ValueError, match="ends with a message of the role tool"):
        read_conversation(Trajectory(steps=(ASK, step)))


def test_spans_are_a_conversation() -> None:
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.output.messages": '[{"role": "assistant", "content": "Hi"}]',
    }
    conversation = read_conversation([{"span_id": "1", "attributes": attributes}])
    assert conversation is not None
    assert conversation.messages == (Message("assistant", "Hi"),)
