"""`converse`: what a scripted user says, what is read of the replies, and how a conversation fails."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from support.exchanges import exchange
from support.messages import check_message

from pytest_llmops import MeasurementErrored, MeasurementFailed, collect
from pytest_llmops.agents import (
    ScriptedConversation,
    ScriptedUser,
    Step,
    ToolUse,
    Trajectory,
    call,
    converse,
    converse_async,
    read_trajectory,
)
from pytest_llmops.cases import load_cases
from pytest_llmops.cases.turn_conditions import search_reply
from pytest_llmops.errors import CassetteMiss, ModelError, UsageError
from pytest_llmops.judges.conversation import read_conversation
from pytest_llmops.recorder import Recorder, pop_recorder, push_recorder, record_exchange
from pytest_llmops.settings import Settings


def check(caught: pytest.ExceptionInfo[BaseException], message: str) -> None:
    """Look for a part of a message, and compare the whole with the stored ones."""
    assert message in str(caught.value)
    check_message(caught.value)


def scripted_agent(*replies: Any) -> Callable[[object], Any]:
    """Return an agent that gives these replies in order."""
    left = iter(replies)
    return lambda _: next(left)


def call_message(*names: str) -> dict[str, Any]:
    """Return a message of the assistant that calls tools."""
    calls = [
        {"id": f"c{number}", "function": {"name": name, "arguments": "{}"}}
        for number, name in enumerate(names)
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def answer(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def users(conversation: ScriptedConversation) -> list[str]:
    return [turn.user for turn in conversation]


def test_a_conversation_has_turns_and_a_trajectory() -> None:
    [case] = load_cases([{"id": "a", "turns": ["Refund, please.", "B-77."]}])
    conversation = converse(case, scripted_agent("Which order?", "Done."))
    assert [(turn.label, turn.user, turn.reply) for turn in conversation] == [
        ("turn 1", "Refund, please.", "Which order?"),
        ("turn 2", "B-77.", "Done."),
    ]
    assert [step.role for step in conversation.trajectory.steps] == ["user", "assistant", "user", "assistant"]
    assert read_trajectory(conversation) == conversation.trajectory
    assert conversation[-1].tool_calls == []


def test_a_judge_reads_a_whole_conversation_or_a_turn() -> None:
    replies = [[call_message("refund"), answer("Refunded.")], [answer("Bye.")]]
    conversation = converse(["Refund, please.", "Thanks."], scripted_agent(*replies))
    talk = read_conversation(conversation)
    assert talk is not None
    assert [message.role for message in talk.messages] == [
        "user",
        "assistant",
        "assistant",
        "user",
        "assistant",
    ]
    assert "refund" in talk.messages[1].content
    turn = read_conversation(conversation[1])
    assert turn is not None
    assert [message.content for message in turn.messages] == ["Thanks.", "Bye."]


CONDITIONS: list[tuple[Any, bool]] = [
    ({"contains": "ORDER\nnumber"}, True),
    ({"contains": ["order", "invoice"]}, False),
    ({"not_contains": "invoice"}, True),
    ({"not_contains": ["invoice", "Order"]}, False),
    ({"matches": r"^your order"}, False),
    ({"matches": r"^Your order"}, True),
    ({"not_matches": r"\d"}, True),
    ({"matches": "number{e}"}, False),
    ({"called": "get_*"}, True),
    ({"called": ["get_order", "refund"]}, False),
    ({"not_called": "refund"}, True),
    ({"contains": "order", "called": "refund"}, False),
    (lambda turn: turn.reply.endswith("?"), True),
    (lambda turn: turn.tool_calls == [], False),
]


@pytest.mark.parametrize(("condition", "holds"), CONDITIONS)
def test_a_turn_is_said_if_its_condition_holds(condition: Any, holds: bool) -> None:
    replies = [[call_message("get_order"), answer("Your order number?")], [answer("Ok.")]]
    conversation = converse(["Hi", {"say": "B-77.", "when": condition}], scripted_agent(*replies))
    assert users(conversation) == ["Hi", "B-77."][: 1 + holds]
    assert conversation.skipped == () if holds else (2,)


def test_a_turn_that_is_not_said_may_have_other_words() -> None:
    script = ["Hi", {"say": "B-77.", "when": {"contains": "number"}, "else": "Bye."}]
    assert users(converse(script, scripted_agent("Hello!", "Bye."))) == ["Hi", "Bye."]


def test_a_turn_is_repeated_until_its_reply_is_as_wanted() -> None:
    script = [
        {"say": "And?", "until": {"contains": "done"}, "at_most": 3, "expect": {"contains": "all done"}}
    ]
    conversation = converse(script, scripted_agent("Wait.", "All done."))
    assert [turn.label for turn in conversation] == ["turn 1", "turn 1.2"]


def test_an_agent_that_never_stops_asking_fails_the_conversation() -> None:
    script = [{"say": "Yes.", "until": {"contains": "done"}}]
    with pytest.raises(MeasurementFailed) as caught:
        converse(script, lambda _: "Are you sure?")
    check(caught, "turn 1: `until` did not hold after the user said it 5 times")
    assert caught.value.measurement.name == "conversation.completed"
    assert caught.value.measurement.value == 0.0


def test_an_agent_gets_all_messages_if_it_is_stateless() -> None:
    seen: list[Any] = []

    def agent(messages: list[dict[str, str]]) -> str:
        seen.append([message["content"] for message in messages])
        return f"reply {len(seen)}"

    converse(["a", "b"], agent, send="messages")
    assert seen == [["a"], ["a", "reply 1", "b"]]


def test_tokens_and_prices_are_those_of_all_turns_if_all_are_known() -> None:
    step = Step(role="assistant", text="Hi", tokens=7, cost_usd=0.5)
    known = Trajectory(steps=(step,))
    whole = Trajectory(steps=(replace(step, text="Bye"),), total_tokens=3, total_cost_usd=0.25)
    conversation = converse(["a", "b"], scripted_agent(known, whole))
    assert (conversation.trajectory.tokens, conversation.trajectory.cost_usd) == (10, 0.75)
    conversation = converse(["a", "b"], scripted_agent(known, "Bye"))
    assert (conversation.trajectory.tokens, conversation.trajectory.cost_usd) == (None, None)


def test_totals_of_a_whole_conversation_are_not_those_of_a_turn() -> None:
    first = Step(role="assistant", text="Hi")
    second = replace(first, text="Bye")
    results = [Trajectory(steps=(first,), total_tokens=3), Trajectory(steps=(first, second), total_tokens=9)]
    conversation = converse(["a", "b"], scripted_agent(*results))
    assert [turn.trajectory.tokens for turn in conversation] == [3, None]


def test_calls_of_a_turn_are_those_that_are_new_in_the_whole_history() -> None:
    first = [{"role": "user", "content": "Hi"}, call_message("get_order"), answer("Which?")]
    second = [*first, {"role": "user", "content": "B-77"}, call_message("refund"), answer("Done.")]
    conversation = converse(["Hi", "B-77"], scripted_agent({"messages": first}, {"messages": second}))
    assert [[call.name for call in turn.tool_calls] for turn in conversation] == [["get_order"], ["refund"]]
    assert [step.role for step in conversation.trajectory.steps].count("user") == 2
    apart = converse(["Hi", "B-77"], scripted_agent(first, second[3:]))
    assert apart.trajectory == conversation.trajectory
    shortened = converse(["Hi", "B-77"], scripted_agent(first, second[2:]))
    assert shortened.trajectory == conversation.trajectory


def test_an_agent_that_was_handed_over_to_does_not_repeat_its_earlier_turn() -> None:
    question = Step(role="user", text="Refund B-77.")
    done = Step(role="assistant", text="Done.")
    new = (
        Step(role="user", text="And C-12?"),
        Step(role="assistant", tool_calls=(ToolUse(name="refund"),)),
        done,
    )
    transfer = ToolUse(name="transfer_to_billing")

    def hand_over(*steps: Step) -> Trajectory:
        use = replace(transfer, started=Trajectory(agent="billing", steps=steps))
        return Trajectory(steps=(question, Step(role="assistant", tool_calls=(use,))))

    # The history of openai-agents is flat, that of LangGraph goes on in the tree.
    flat = Trajectory(steps=(question, Step(role="assistant", tool_calls=(transfer,)), done, *new))
    for whole in (flat, hand_over(done, *new)):
        conversation = converse(["Refund B-77.", "And C-12?"], scripted_agent(hand_over(done), whole))
        assert [[use.name for use in turn.tool_calls] for turn in conversation] == [
            ["transfer_to_billing"],
            ["refund"],
        ]
        assert conversation.trajectory.turns == 4


def test_a_problem_of_an_earlier_turn_is_none_of_this_turn() -> None:
    first = Trajectory(steps=(Step(role="assistant", text="Which?"),), problems=("a",), notes=("b",))
    whole = Trajectory(
        steps=(*first.steps, Step(role="assistant", text="Done.")), problems=("a", "c"), notes=("b", "d")
    )
    conversation = converse(["Hi", "B-77"], scripted_agent(first, whole))
    assert [(turn.trajectory.problems, turn.trajectory.notes) for turn in conversation] == [
        (("a",), ("b",)),
        (("c",), ("d",)),
    ]
    assert conversation.trajectory.problems == ("a", "c")


def test_a_repeated_message_with_the_same_reply_is_a_new_turn() -> None:
    messages = [{"role": "user", "content": "Hi"}, answer("Wait.")]
    conversation = converse(["Hi", "Hi"], scripted_agent(messages, list(messages)))
    assert [turn.reply for turn in conversation] == ["Wait.", "Wait."]


def test_expectations_are_measured_with_the_label_of_the_turn() -> None:
    script = [
        {"say": "Hi", "expect": {"contains": "hello", "not_contains": "sorry", "matches": ["H", "o"]}},
        {"say": "Bye", "expect": {"not_matches": "later"}},
    ]
    with collect() as measurements:
        converse(script, scripted_agent("Hello", "Bye."), label="first")
    assert [(item.name, item.label, item.status) for item in measurements] == [
        ("text.contains", "first turn 1", "passed"),
        ("text.not_contains", "first turn 1", "passed"),
        ("text.matches", "first turn 1", "passed"),
        ("text.matches", "first turn 1, pattern 2", "passed"),
        ("text.not_matches", "first turn 2", "passed"),
        ("conversation.completed", "first", "passed"),
    ]
    assert measurements[-1].detail["turns"] == [
        {"label": "turn 1", "user": "Hi", "reply": "Hello"},
        {"label": "turn 2", "user": "Bye", "reply": "Bye."},
    ]


@pytest.mark.parametrize(
    ("expected", "status"),
    [
        ({"calls": ["get_order", {"refund": {}}]}, "passed"),
        ({"calls": "get_order"}, "failed"),
        ({"calls": ["get_order", {"refund": {"order_id": "B-77"}}]}, "failed"),
        ({"calls": ["get_order", {"name": "refund", "arguments": {"order_id": "B-77"}}]}, "failed"),
        ({"calls": [{"name": "get_order"}, {"name": "refund", "args": {}}]}, "passed"),
        ({"calls": [call("get_order", {}), call("refund")]}, "passed"),
        ({"calls": []}, "failed"),
        ({"never": "delete_*"}, "passed"),
        ({"never": ["re*"]}, "failed"),
        ({"never": [{"refund": {"order_id": "B-77"}}]}, "passed"),
        ({"never": [{"name": "refund", "arguments": {}}]}, "failed"),
        ({"calls": ["get_order", "refund"], "never": "delete_*"}, "passed"),
    ],
)
def test_expected_calls_are_checked_by_their_assertion(expected: Any, status: str) -> None:
    with collect() as measurements:
        converse(
            [{"say": "Hi", "expect": expected}],
            lambda _: [call_message("get_order", "refund"), answer("Ok.")],
        )
    assert [item.status for item in measurements if item.name == "tools.calls"] == [status]


def test_a_failed_expectation_shows_the_conversation_so_far() -> None:
    script = ["Hi", {"say": "B-77.", "expect": {"contains": "delivered", "not_contains": "sorry"}}, "Bye"]
    with pytest.raises(MeasurementFailed) as caught:
        converse(script, scripted_agent("Which order?", "Sorry, no."))
    assert [item.label for item in caught.value.measurements] == ["turn 2", "turn 2"]
    [note] = caught.value.__notes__
    assert note.splitlines() == [
        "the conversation up to turn 2:",
        "  turn 1    user: Hi",
        "            agent: Which order?",
        "  turn 2    user: B-77.",
        "            agent: Sorry, no.",
    ]


def test_a_conversation_whose_expectations_were_all_skipped_fails() -> None:
    script = ["Hi", {"say": "B-77.", "when": {"contains": "number"}, "expect": {"contains": "x"}}]
    with pytest.raises(MeasurementFailed, match="all turns with `expect` were skipped"):
        converse(script, lambda _: "Hello!")


class _Output:
    interruptions = ("refund",)


BROKEN: list[tuple[Any, str]] = [
    (None, "turn 2: the agent gave no reply"),
    ([call_message("refund")], "turn 2: the agent gave no reply"),
    ({"messages": [], "__interrupt__": ["Refund B-77?"]}, "turn 2: the agent waits for a person: ['Refund B-77?']"),
    (_Output(), "turn 2: the agent waits for a person: ('refund',)"),
]  # fmt: skip


@pytest.mark.parametrize(("result", "message"), BROKEN)
def test_a_conversation_that_cannot_go_on_is_an_error(result: Any, message: str) -> None:
    with pytest.raises(MeasurementErrored) as caught:
        converse(["Hi", "B-77."], scripted_agent("Which order?", result))
    check(caught, message)
    assert "turn 2   user: B-77." in str(caught.value)
    assert caught.value.measurement.status == "errored"


def test_an_agent_that_raises_is_an_error_with_its_turn() -> None:
    with pytest.raises(MeasurementErrored, match=r"turn 2: the agent raised ZeroDivisionError") as caught:
        converse(["Hi", "B-77."], lambda text: "x" if text == "Hi" else str(1 / 0))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_failure_shows_no_exception_of_ours_as_its_cause() -> None:
    with pytest.raises(MeasurementErrored) as caught:
        converse(["Hi"], lambda _: None)
    assert caught.value.__context__ is None
    with pytest.raises(MeasurementFailed) as failed:
        converse([{"say": "Yes.", "until": {"contains": "done"}}], lambda _: "Sure?")
    assert failed.value.__context__ is None


def test_a_long_error_of_the_agent_is_shortened() -> None:
    def agent(text: str) -> str:
        raise ValueError("x" * 5_000)

    with pytest.raises(MeasurementErrored) as caught:
        converse(["Hi"], agent)
    assert len(str(caught.value)) < 1_500


def test_an_agent_without_further_replies_is_an_error_too() -> None:
    with pytest.raises(MeasurementErrored, match="turn 2: the agent raised StopIteration"):
        converse(["Hi", "B-77."], scripted_agent("Hello."))


def test_other_errors_pass_with_the_conversation() -> None:
    def agent(text: str) -> str:
        raise ModelError("401", kind="auth")

    with pytest.raises(ModelError) as caught:
        converse(["Hi"], agent)
    assert caught.value.__notes__ == ["the conversation up to turn 1:\n  turn 1    user: Hi"]

    def missing(text: str) -> str:
        raise CassetteMiss("no recording")

    with pytest.raises(CassetteMiss, match="no recording"):
        converse(["Hi"], missing)


async def async_condition(turn: object) -> bool:
    return False


USAGE: list[tuple[Any, Any, str]] = [
    ([], "x", "converse: turns: expected at least one turn"),
    ("Hi", "x", "converse: turns: expected a list of turns"),
    (["Hi"], 7, "converse: turn 1: the agent function returned neither a text nor"),
    ([{"say": "Hi", "expect": {"calls": ["refund"]}}], "x", "converse: turn 1: expect: the tools that the agent called are not"),
    (["Hi", {"say": "B", "when": {"not_called": "refund"}}], "x", "converse: turn 2: when: the tools that the agent called are"),
    (["Hi", {"say": "B", "when": {"matches": "(a|aa)+$"}}], "a" * 60 + "!", "the pattern '(a|aa)+$' searches for more than 0.01 s"),
    ([{"say": "Hi", "expect": {"matches": "(a|aa)+$"}}], "a" * 60 + "!", "turn 1: expect: the pattern '(a|aa)+$' searches for more"),
    ([{"say": "Hi", "expect": {"not_matches": "(a|aa)+$"}}], "a" * 60 + "!", "turn 1: expect: the pattern '(a|aa)+$' searches for"),
    (["Hi", {"say": "B", "when": async_condition}], "x", "converse: turn 2: when: expected a function that is not async"),
]  # fmt: skip


@pytest.mark.parametrize(("script", "reply", "message"), USAGE)
def test_wrong_use_is_refused_with_its_place(
    script: Any, reply: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmops._util.timed_search.MAX_SECONDS", 0.01)
    with pytest.raises(UsageError) as caught:
        converse(script, lambda _: reply)
    check(caught, message)


def test_a_pattern_that_only_re_finds_slow_is_searched() -> None:
    assert not search_reply("(a+)+$", "a" * 60 + "!", "turn 2")


def record_call(url: str, reply: object, **request: object) -> Callable[[object], str]:
    """Return an agent that makes a recorded request for each turn."""

    def agent(_: object) -> str:
        record_exchange(exchange(url, request, reply))
        return "Hello."

    return agent


def test_a_recorded_request_to_something_else_than_a_model_does_not_show_the_tools() -> None:
    script = [{"say": "Hi", "expect": {"calls": []}}]
    reply = {"choices": [{"message": {"role": "assistant", "content": "Hello."}}]}
    test_recorder = Recorder(settings=Settings())
    push_recorder(test_recorder)
    try:
        with pytest.raises(UsageError, match="the tools that the agent called are not known"):
            converse(script, record_call("https://shop.example/orders/7", {"order": 7}))
        url = "https://api.openai.com/v1/chat/completions"
        request = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
        converse(script, record_call(url, reply, **request))
        with pytest.raises(
            MeasurementErrored, match="calls of the agent may be missing: call 1 could not be read"
        ):
            converse(script, record_call(url, b"<html>", **request))
        turn = {"say": "Bye", "when": {"not_called": "refund"}}
        with pytest.raises(
            MeasurementErrored, match="turn 2: when: calls of the agent may be missing: call 1"
        ):
            converse(["Hi", turn], record_call(url, b"<html>", **request))
    finally:
        pop_recorder(test_recorder)


def test_a_case_without_turns_is_refused() -> None:
    [case] = load_cases([{"id": "a", "input": "x"}])
    with pytest.raises(UsageError, match="converse: case a has no `turns`"):
        converse(case, lambda _: "x")
    with pytest.raises(UsageError, match="expected send to be one of text, messages, got 'all'"):
        converse(["Hi"], lambda _: "x", send="all")  # type: ignore[arg-type]


def decide_all(user: ScriptedUser, *tools: str) -> Callable[[object], str]:
    return lambda _: "; ".join(f"{bool(user.decide(tool))} {user.decide(tool).reason}" for tool in tools)


def test_a_user_approves_and_denies_tools() -> None:
    user = ScriptedUser([{"say": "Hi", "approve": ["get_*", "refund"], "deny": {"delete_*": "Keep it."}}])
    conversation = converse(user, decide_all(user, "get_order", "refund", "delete_all"))
    assert conversation[0].reply == "True ; True ; False Keep it."


def test_what_is_denied_is_not_approved_by_a_wildcard() -> None:
    user = ScriptedUser([{"say": "Hi", "approve": "*", "deny": "refund"}])
    assert converse(user, decide_all(user, "refund"))[0].reply == "False "


def test_a_name_is_used_although_a_wildcard_before_it_decides() -> None:
    user = ScriptedUser([{"say": "Hi", "deny": ["*", "refund"]}, {"say": "Hi", "approve": ["*", "refund"]}])
    assert len(converse(user, decide_all(user, "refund"))) == 2


@pytest.mark.parametrize("pattern", ["re*", "refun?", "[rR]efund"])
def test_a_name_with_wildcards_need_not_be_used(pattern: str) -> None:
    converse([{"say": "Hi", "approve": pattern}], lambda _: "x")


def test_an_approval_may_come_in_any_repetition_of_a_turn() -> None:
    turn = {"say": "Refund, please.", "until": {"contains": "True"}, "approve": "refund"}
    user = ScriptedUser([turn])
    agents = iter([lambda _: "Which order?", decide_all(user, "refund")])

    def agent(text: str) -> str:
        return next(agents)(text)

    assert len(converse(user, agent)) == 2
    with pytest.raises(MeasurementFailed, match="turn 1: the agent did not ask to approve 'refund'"):
        converse(user, lambda _: "True")


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        (
            ["refund", "close"],
            "turn 1: the agent wants an approval for 'close', which the script did not expect",
        ),
        ([], "turn 1: the agent did not ask to approve 'refund'"),
    ],
)
def test_an_unexpected_or_missing_question_fails_the_conversation(tools: Sequence[str], message: str) -> None:
    user = ScriptedUser([{"say": "Hi", "approve": "refund"}])
    with pytest.raises(MeasurementFailed) as caught:
        converse(user, decide_all(user, *tools))
    check(caught, message)


def test_a_user_decides_only_in_a_conversation() -> None:
    user = ScriptedUser(["Hi"])
    with pytest.raises(
        UsageError, match="decide: expected a conversation that is going on, got the tool 'refund'"
    ):
        user.decide("refund")
    with pytest.raises(UsageError, match="decide: expected the name of a tool, got a dict"):
        converse(user, lambda _: str(user.decide({"name": "refund"})))  # type: ignore[arg-type]


def test_a_user_is_in_one_conversation_at_a_time() -> None:
    user = ScriptedUser([{"say": "Hi", "approve": "refund"}])
    with pytest.raises(UsageError, match="turn 1: this ScriptedUser is in another conversation"):
        converse(user, lambda _: converse(user, lambda _: "x")[0].reply)

    def miss(text: str) -> str:
        raise CassetteMiss("no recording")

    with pytest.raises(CassetteMiss):
        converse(user, miss)
    assert user.decisions is None


def test_an_async_agent_keeps_its_event_loop() -> None:
    loops: list[object] = []

    async def agent(text: str) -> str:
        loops.append(asyncio.get_running_loop())
        return text

    assert users(converse(["a", "b"], agent)) == ["a", "b"]
    assert loops[0] is loops[1]

    async def hold_both() -> None:
        with pytest.raises(UsageError, match="use `await converse_async"):
            converse(["a"], agent)
        assert users(await converse_async(["a", "b"], agent)) == ["a", "b"]
        assert users(await converse_async(["a"], lambda text: text)) == ["a"]
        with pytest.raises(MeasurementErrored, match="turn 1: the agent raised KeyError"):
            await converse_async(["a"], lambda text: {"b": "x"}[text])

    asyncio.run(hold_both())


def test_in_a_block_that_collects_the_conversation_so_far_is_returned() -> None:
    with collect() as measurements:
        conversation = converse(["a", "b", "c"], scripted_agent("x", None))
    assert users(conversation) == ["a"]
    assert measurements[-1].status == "errored"
    assert isinstance(conversation.trajectory, Trajectory)
