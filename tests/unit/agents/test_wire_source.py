"""Trajectories from recorded calls: bodies of the vendors, and several dialogs in one test."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from support.exchanges import SSE, exchange, sse

from pytest_llmops.agents import Trajectory, read_trajectory
from pytest_llmops.protocols import Call, Message, ToolCall, ToolDefinition, Usage
from pytest_llmops.trace import CallLog
from pytest_llmops.trace.streams import CUT_STREAM

OPENAI = "https://api.openai.com/v1"
ARGUMENTS = {"order_id": "B-77"}
TEXT = json.dumps(ARGUMENTS)


def chat(message: dict[str, Any]) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", **message}, "finish_reason": "stop"}]}


def chat_vendor(url: str, **result: Any) -> tuple[str, dict[str, Any], Any, Any, Any]:
    call = {"id": "c1", "type": "function", "function": {"name": "get_order", "arguments": TEXT}}
    first = {"model": "m", "messages": [{"role": "user", "content": "Where is B-77?"}]}
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    second = {**first, "messages": [*first["messages"], said, {"role": "tool", "content": "sent", **result}]}
    return url, first, {"tool_calls": [call], "content": None}, second, {"content": "On its way."}


def openai_chat() -> list[Any]:
    url, first, called, second, answered = chat_vendor(f"{OPENAI}/chat/completions", tool_call_id="c1")
    return [exchange(url, first, chat(called)), exchange(url, second, chat(answered))]


def legacy_functions() -> list[Any]:
    url = f"{OPENAI}/chat/completions"
    user = {"role": "user", "content": "Where is B-77?"}
    called = {"role": "assistant", "content": None, "function_call": {"name": "get_order", "arguments": TEXT}}
    result = {"role": "function", "name": "get_order", "content": "sent"}
    first = {"model": "m", "messages": [user]}
    second = {"model": "m", "messages": [user, called, result]}
    return [exchange(url, first, chat(called)), exchange(url, second, chat({"content": "On its way."}))]


def ollama() -> list[Any]:
    url = "http://localhost:11434/api/chat"
    user = {"role": "user", "content": "Where is B-77?"}
    called = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "get_order", "arguments": ARGUMENTS}}],
    }
    result = {"role": "tool", "tool_name": "get_order", "content": "sent"}
    first = {"model": "m", "messages": [user], "stream": False}
    second = {"model": "m", "messages": [user, called, result], "stream": False}
    return [
        exchange(url, first, {"model": "m", "message": called, "done": True}),
        exchange(url, second, {"model": "m", "message": {"content": "On its way."}, "done": True}),
    ]


def cohere() -> list[Any]:
    url = "https://api.cohere.com/v2/chat"
    _, first, called, second, _ = chat_vendor(url, tool_call_id="c1")
    answer = {"role": "assistant", "content": [{"type": "text", "text": "On its way."}]}
    return [
        exchange(
            url, first, {"message": {**called, "tool_plan": "Look it up."}, "finish_reason": "TOOL_CALL"}
        ),
        exchange(url, second, {"message": answer, "finish_reason": "COMPLETE"}),
    ]


def responses_bodies() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    call = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "get_order", "arguments": TEXT}
    result = {"type": "function_call_output", "call_id": "c1", "output": "sent"}
    message = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "On its way."}],
    }
    return call, result, message


def responses() -> list[Any]:
    call, result, message = responses_bodies()
    url = f"{OPENAI}/responses"
    user = {"role": "user", "content": "Where is B-77?"}
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    return [
        exchange(url, {"model": "m", "input": [user]}, {"output": [thought, call]}),
        exchange(url, {"model": "m", "input": [user, thought, call, result]}, {"output": [message]}),
    ]


def responses_by_id() -> list[Any]:
    call, result, message = responses_bodies()
    url = f"{OPENAI}/responses"
    second = {"model": "m", "previous_response_id": "resp_1", "input": [result]}
    return [
        exchange(url, {"model": "m", "input": "Where is B-77?"}, {"id": "resp_1", "output": [call]}),
        exchange(url, second, {"output": [message]}),
    ]


def anthropic_bodies() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]:
    user = {"role": "user", "content": "Where is B-77?"}
    use = {"type": "tool_use", "id": "c1", "name": "get_order", "input": ARGUMENTS}
    result = {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "sent"}]}
    thought = {"type": "thinking", "thinking": "Look it up.", "signature": "s"}
    first = {"model": "m", "system": "Be kind.", "messages": [user]}
    called = {"type": "message", "role": "assistant", "content": [thought, use], "stop_reason": "tool_use"}
    said = {"role": "assistant", "content": [thought, use]}
    second = {
        **first,
        "system": "Be kind. It is late.",
        "messages": [user, said, {"role": "user", "content": [result]}],
    }
    answered = {"type": "message", "content": [{"type": "text", "text": "On its way."}]}
    return first, called, second, answered


def anthropic() -> list[Any]:
    url = "https://api.anthropic.com/v1/messages"
    first, called, second, answered = anthropic_bodies()
    return [exchange(url, first, called), exchange(url, second, answered)]


def anthropic_streamed() -> list[Any]:
    url = "https://api.anthropic.com/v1/messages"
    first, called, second, answered = anthropic_bodies()
    events: list[Any] = [
        {"type": "message_start", "message": {**called, "content": []}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": "c1", "name": "get_order"},
        },
    ]
    for piece in ('{"order_id":', '"B-77"}'):
        delta = {"type": "input_json_delta", "partial_json": piece}
        events.append({"type": "content_block_delta", "index": 0, "delta": delta})
    events.append({"type": "message_stop"})
    return [exchange(url, first, sse(events), kind=SSE), exchange(url, second, answered)]


def gemini() -> list[Any]:
    url = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent"
    user = {"role": "user", "parts": [{"text": "Where is B-77?"}]}
    called = {"role": "model", "parts": [{"functionCall": {"name": "get_order", "args": ARGUMENTS}}]}
    response = {"id": "x", "name": "get_order", "response": {"result": "sent"}}
    result = {"role": "user", "parts": [{"functionResponse": response}]}
    answered = {"role": "model", "parts": [{"text": "On its way."}]}
    return [
        exchange(url, {"contents": [user]}, {"candidates": [{"content": called}]}),
        exchange(url, {"contents": [user, called, result]}, {"candidates": [{"content": answered}]}),
    ]


def bedrock() -> list[Any]:
    url = "https://bedrock-runtime.us-east-1.amazonaws.com/model/m/converse"
    user = {"role": "user", "content": [{"text": "Where is B-77?"}]}
    use = {"toolUse": {"toolUseId": "c1", "name": "get_order", "input": ARGUMENTS}}
    called = {"role": "assistant", "content": [{"text": "One moment."}, use]}
    result = {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "sent"}]}}]}
    answered = {"role": "assistant", "content": [{"text": "On its way."}]}
    return [
        exchange(url, {"messages": [user]}, {"output": {"message": called}, "stopReason": "tool_use"}),
        exchange(url, {"messages": [user, called, result]}, {"output": {"message": answered}}),
    ]


VENDORS = [
    openai_chat,
    legacy_functions,
    ollama,
    cohere,
    responses,
    responses_by_id,
    anthropic,
    anthropic_streamed,
    gemini,
    bedrock,
]


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.__name__)
def test_result_reaches_its_call(vendor: Any) -> None:
    trajectory = read_trajectory(CallLog(vendor()))
    (call,) = trajectory.tool_calls
    assert (call.name, call.arguments) == ("get_order", ARGUMENTS)
    assert "sent" in str(call.result)
    assert not call.is_error
    spoken = [step for step in trajectory.steps if step.role != "system"]
    assert [step.role for step in spoken] == ["user", "assistant", "assistant"]
    assert trajectory.answer == "On its way."
    assert trajectory.problems == ()


@pytest.mark.parametrize(
    ("url", "messages"),
    [
        (
            "https://api.anthropic.com/v1/messages",
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "c", "is_error": True, "content": "no"}
                    ],
                }
            ],
        ),
        (
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/m/converse",
            [
                {
                    "role": "user",
                    "content": [
                        {"toolResult": {"toolUseId": "c", "status": "error", "content": [{"text": "no"}]}}
                    ],
                }
            ],
        ),
    ],
)
def test_error_mark_of_the_wire(url: str, messages: list[Any]) -> None:
    (call,) = CallLog([exchange(url, {"messages": messages}, {})])
    (message,) = call.messages
    assert message.is_error
    assert message.call_id == "c"
    assert Message.from_wire(message.to_wire()).is_error
    assert message == Message("tool", "no")  # messages are compared by role and content


def say(
    messages: list[Message], output: str = "", *calls: ToolCall, tokens: int | None = 10, **fields: Any
) -> Call:
    usage = Usage(input_tokens=tokens)
    return Call(
        endpoint="chat",
        messages=tuple(messages),
        output=output,
        tool_calls=calls,
        usage=usage,
        status=200,
        **fields,
    )


def use(name: str, call_id: str, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, id=call_id, arguments=json.dumps(arguments))


def repeat(*calls: ToolCall, text: str = "") -> Message:
    """The message of the assistant that later requests have for a reply."""
    lines = [text, *(f"[tool call {call.name} {call.arguments}]" for call in calls)]
    return Message("assistant", "\n".join(filter(None, lines)), tool_calls=calls)


def result(call_id: str, text: str) -> Message:
    return Message("tool", text, call_id=call_id)


def tree(trajectory: Trajectory) -> list[Any]:
    """Each text and each call with what it started."""
    lines: list[Any] = []
    for step in trajectory.steps:
        if step.role != "assistant":
            continue
        if step.text:
            lines.append(step.text)
        for call in step.tool_calls:
            line: Any = f"{call.name}={call.result}"
            if call.started is not None:
                line = [line, tree(call.started)]
            lines.append(line)
    return lines


SYSTEM = Message("system", "You are the boss.")
ASK = Message("user", "Plan my trip to Rome.")


def test_parallel_agents_hang_on_the_calls_that_started_them() -> None:
    rome = use("research", "r1", task="Hotels in Rome")
    train = use("research", "r2", task="Trains to Rome")
    boss = [SYSTEM, ASK]
    hotels = [Message("system", "Research."), Message("user", "Task: Hotels in Rome")]
    trains = [Message("system", "Research."), Message("user", "Task: Trains to Rome")]
    search = use("search", "s1", q="hotel")
    calls = [
        say(boss, "", rome, train),
        say(trains, "By night."),
        say(hotels, "", search),
        say([*hotels, repeat(search), result("s1", "Hotel Roma")], "Hotel Roma."),
        say([*boss, repeat(rome, train), result("r2", "By night."), result("r1", "Hotel Roma.")], "Done."),
    ]
    trajectory = read_trajectory(calls)
    assert tree(trajectory) == [
        ["research=Hotel Roma.", ["search=Hotel Roma", "Hotel Roma."]],
        ["research=By night.", ["By night."]],
        "Done.",
    ]
    assert trajectory.turns == 5
    assert trajectory.tokens == 50
    assert trajectory.problems == ()


def test_agent_whose_task_is_not_an_argument_hangs_on_the_waiting_call() -> None:
    research = use("research", "r1", number=3)
    calls = [
        say([ASK], "", research),
        say([Message("user", "Third task")], "Found."),
        say([ASK, repeat(research), result("r1", "Found.")], "Done."),
    ]
    assert tree(read_trajectory(calls)) == [["research=Found.", ["Found."]], "Done."]


def test_dialog_after_a_call_without_a_result_is_one_of_its_own() -> None:
    calls = [say([ASK], "", use("book", "b1", city="Rome")), say([Message("user", "Hello")], "Hi.")]
    assert tree(read_trajectory(calls)) == ["book=None", "Hi."]


def test_second_attempt_of_the_application_is_a_dialog_of_its_own() -> None:
    ask = Message("user", "Where is order B-77? I ordered it last week.")
    order = use("get_order", "b1", order_id="B-77")
    failed = replace(say([ask, repeat(order), result("b1", "?")], "overloaded"), status=500)
    again = use("get_order", "b2", order_id="B-77")
    calls = [
        say([ask], "", order),
        failed,
        say([ask], "", again),
        say([ask, repeat(again), result("b2", "sent")], "Sent."),
    ]
    trajectory = read_trajectory(calls)
    assert tree(trajectory) == ["get_order=None", "get_order=sent", "Sent."]
    assert (len(trajectory.notes), trajectory.problems) == (1, ())


def test_agent_that_a_call_without_a_result_started() -> None:
    calls = [
        say([ASK], "", use("transfer", "t1", task="Refund order B-77")),
        say([Message("user", "Refund order B-77")], "Refunded."),
    ]
    assert tree(read_trajectory(calls)) == [["transfer=None", ["Refunded."]]]


def test_request_that_is_sent_again_is_a_dialog_of_its_own_even_if_all_ids_are_equal() -> None:
    search = use("search", "__fake_id__", q="Rome")
    history = [ASK, repeat(search), result("__fake_id__", "one")]
    again = [*history, repeat(search), result("__fake_id__", "two")]
    calls = [say([ASK], "", search), say(history, "", search), say(history, "", search), say(again, "Done.")]
    trajectory = read_trajectory(calls)
    assert tree(trajectory) == ["search=one", "search=None", "search=two", "Done."]
    assert trajectory.problems == ()


def test_call_of_a_question_that_is_asked_again_is_seen() -> None:
    calls = [
        say([ASK], "", use("delete_order", "d1")),
        say([ASK], "Rome it is."),
        say([ASK], "Rome it is."),
    ]
    trajectory = read_trajectory(calls)
    assert tree(trajectory) == ["delete_order=None", "Rome it is.", "Rome it is."]
    assert trajectory.turns == 3
    assert trajectory.tokens == 30


def test_reply_that_broke_off_is_left_out_if_the_request_succeeds_later() -> None:
    book = use("book", "b1")
    cut = say([ASK], "", ToolCall(name="book", id="b0", arguments='{"ci'), unread=CUT_STREAM)
    calls = [cut, say([ASK], "", book), say([ASK, repeat(book), result("b1", "ok")], "Done.")]
    trajectory = read_trajectory(calls)
    assert tree(trajectory) == ["book=ok", "Done."]
    assert trajectory.problems == ()
    assert trajectory.notes == ("call 1 broke off; call 2 repeats its request, so its reply is left out",)
    (problem,) = read_trajectory([calls[1], cut]).problems
    assert problem == f"call 2 was not read completely: {CUT_STREAM}"


def test_failure_after_an_equal_request_succeeded_is_a_note() -> None:
    failed = replace(say([ASK], "overloaded"), status=529)
    (problem,) = read_trajectory([say([ASK], "Rome."), failed]).notes
    assert problem == "call 2 failed (status 529: overloaded), and was not repeated"


def test_parallel_agents_are_the_same_in_a_recording_and_its_replay() -> None:
    """Live calls are listed as they end, replayed ones as they begin."""
    both = (use("research", "r1", task="Hotels in Rome"), use("research", "r2", task="Hotels in Rome"))
    sub = Message("user", "Task: Hotels in Rome")
    search = use("search", "s1")
    last = [ASK, repeat(*both), result("r1", "A"), result("r2", "B")]
    replayed = [
        say([ASK], "", *both, started_s=0.0, latency_s=1.0),
        say([Message("system", "1"), sub], "", search, started_s=1.1, latency_s=3.0),
        say([Message("system", "2"), sub], "B", started_s=1.1, latency_s=4.0),
        say([Message("system", "1"), sub, repeat(search)], "A", started_s=4.2, latency_s=2.0),
        say(last, "Done.", started_s=6.3, latency_s=1.0),
    ]
    live = [replayed[0], replayed[1], replayed[2], replayed[3], replayed[4]]
    live[2:4] = reversed(live[2:4])
    trajectory = read_trajectory(replayed)
    assert tree(trajectory) == [["research=A", ["search=None", "A"]], ["research=B", ["B"]], "Done."]
    assert read_trajectory(live) == trajectory
    assert read_trajectory([replayed[0], replayed[2], replayed[1], *replayed[3:]]) == trajectory


def test_equal_messages_after_those_that_the_server_keeps_are_not_retries() -> None:
    note = "messages kept by the server (previous_response_id)"
    more = [Message("user", "Go on.")]
    calls = [say([ASK], "One."), say(more, "Two.", unread=note), say(more, "Three.", unread=note)]
    trajectory = read_trajectory(calls)
    assert tree(trajectory) == ["One.", "Two.", "Three."]
    assert trajectory.problems == ()


def test_counting_tokens_is_not_a_step() -> None:
    url = "https://api.anthropic.com/v1/messages/count_tokens"
    log = CallLog([exchange(url, {"model": "m", "messages": []}, {"input_tokens": 5})])
    assert read_trajectory(log) == Trajectory()


def test_dialog_that_began_before_the_reply_was_not_started_by_it() -> None:
    book = use("book", "b1", city="Rome")
    title = say([Message("user", "Write a title")], "Trip", started_s=0.1, latency_s=5.0)
    calls = [
        say([ASK], "", book, started_s=0.0, latency_s=1.0),
        title,
        say([ASK, repeat(book), result("b1", "ok")], "Done.", started_s=1.2, latency_s=1.0),
    ]
    assert tree(read_trajectory(calls)) == ["Trip", "book=ok", "Done."]
    started_later = replace(title, started_s=1.1)
    assert tree(read_trajectory([calls[0], started_later, calls[2]])) == [["book=ok", ["Trip"]], "Done."]


def test_title_of_the_same_message_is_a_dialog_of_its_own() -> None:
    book = use("book", "b1", city="Rome")
    calls = [
        say([Message("system", "Write a title."), ASK], "Trip to Rome"),
        say([SYSTEM, ASK], "", book),
        say([SYSTEM, ASK, repeat(book), result("b1", "ok")], "Done."),
    ]
    assert tree(read_trajectory(calls)) == ["Trip to Rome", "book=ok", "Done."]
    assert read_trajectory(calls).answer == "Done."


@pytest.mark.parametrize("text", ["", "I will book."])
def test_equal_ids_do_not_mix_dialogs(text: str) -> None:
    fake = "__fake_id__"
    calls = []
    histories = [[Message("user", f"Book {city}.")] for city in ("Rome", "Oslo")]
    for step in range(3):
        for number, history in enumerate(histories):
            book = use("book", fake)
            calls.append(say(history, text, book))
            histories[number] = [*history, repeat(book, text=text), result(fake, f"{number}.{step}")]
    calls += [say(history, f"Done {number}.") for number, history in enumerate(histories)]
    trajectory = read_trajectory(calls)
    assert [call.result for call in trajectory.tool_calls] == ["0.0", "0.1", "0.2", "1.0", "1.1", "1.2"]
    assert trajectory.problems == ()
    assert len([step for step in trajectory.steps if step.role == "user"]) == 2


def test_changed_reminders_and_system_prompts_continue_a_dialog() -> None:
    book = use("book", "b1")
    later = Message("user", "Plan my trip to Rome.")
    calls = [
        say(
            [Message("system", "It is 12:00."), Message("user", "<reminder/> Plan my trip to Rome.")],
            "Where to?",
        ),
        say(
            [Message("system", "It is 12:01."), later, repeat(text="Where to?"), Message("user", "Oslo")],
            "",
            book,
        ),
        say(
            [
                Message("system", "It is 12:02."),
                later,
                repeat(text="Where to?"),
                Message("user", "Oslo"),
                repeat(book),
                Message("developer", "Be brief."),
                result("b1", "ok"),
            ],
            "Done.",
        ),
    ]
    trajectory = read_trajectory(calls)
    assert tree(trajectory) == ["Where to?", "book=ok", "Done."]
    roles = [step.role for step in trajectory.steps]
    assert roles == ["system", "user", "assistant", "user", "assistant", "developer", "assistant"]


def test_compacted_history_continues_its_dialog() -> None:
    book = use("book", "b1")
    history = [SYSTEM, ASK, repeat(book), result("b1", "ok")]
    summary = "The user wants to go to Rome; a hotel is booked."
    calls = [
        say([SYSTEM, ASK], "", book),
        say(history, "Booked."),
        say([SYSTEM, *history[1:], repeat(text="Booked."), Message("user", "Summarize.")], summary),
        say([SYSTEM, Message("user", f"Summary so far: {summary}\nGo on.")], "Done."),
    ]
    trajectory = read_trajectory(calls)
    assert tree(trajectory) == ["book=ok", "Booked.", summary, "Done."]
    users = [step.text for step in trajectory.steps if step.role == "user"]
    assert users == [ASK.content, "Summarize.", f"Summary so far: {summary}\nGo on."]


def test_examples_with_the_same_answer_do_not_join_calls() -> None:
    example = [Message("user", "Great!"), repeat(text="positive")]
    calls = [say([*example, Message("user", text)], "positive") for text in ("Fine.", "Bad.", "Good.")]
    trajectory = read_trajectory(calls)
    assert len([step for step in trajectory.steps if step.role == "user"]) == 6
    assert trajectory.turns == 3


def test_failed_and_other_calls_are_left_out() -> None:
    book = use("book", "b1")
    calls = [
        say([ASK], "overloaded", tokens=None),
        say([ASK], "", book),
        say([ASK], "", use("book", "b2")),
        say([ASK], "Good.", purpose="judge"),
        replace(say([ASK], "3 vectors"), endpoint="embeddings"),
        say([ASK, repeat(book), result("b1", "ok")], "Done."),
    ]
    calls[0] = replace(calls[0], status=529)
    trajectory = read_trajectory(calls)
    assert tree(trajectory) == ["book=None", "book=ok", "Done."]
    assert trajectory.problems == ()


def test_failure_without_a_retry_is_a_note_unless_it_had_an_answer() -> None:
    trajectory = read_trajectory([replace(say([ASK], "overloaded"), status=529)])
    assert trajectory.notes == ("call 1 failed (status 529: overloaded), and was not repeated",)
    trajectory = read_trajectory([replace(say([ASK]), status=None, unread="no answer came")])
    assert trajectory.notes == ("call 1 failed (no answer came), and was not repeated",)
    assert trajectory.problems == ()
    trajectory = read_trajectory([replace(say([ASK]), status=None, unread="the answer broke off")])
    assert trajectory.problems == ("call 1 failed (the answer broke off), and was not repeated",)


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/files", ""),
        ("/v1/vector_stores/s/file_batches", ""),
        ("/v1/images/generations", "m"),
        ("/v1/audio/speech", "m"),
    ],
)
def test_call_of_something_else_than_an_agent_is_a_note(path: str, model: str) -> None:
    log = CallLog([exchange(f"https://api.openai.com{path}", {"model": model}, {"id": "v"})])
    trajectory = read_trajectory(log)
    assert trajectory.notes == (
        f"call 1 was left out: the endpoint {path} is not an endpoint of an agent's model",
    )
    assert trajectory.problems == ()


@pytest.mark.parametrize(
    "part", ["a prompt kept by the server (promptVariables)", "a request that is not JSON"]
)
def test_request_that_was_not_read_hides_no_call(part: str) -> None:
    assert read_trajectory([say([ASK], "Done.", unread=part)]).problems == ()


def test_reply_that_could_not_be_read_is_taken_from_the_next_request() -> None:
    book = use("book", "b1")
    calls = [
        say([ASK], unread="a reply of unknown shape"),
        say([ASK, repeat(book, text="One moment."), result("b1", "ok")], "Done."),
    ]
    trajectory = read_trajectory(calls)
    assert tree(trajectory) == ["One moment.", "book=ok", "Done."]
    assert trajectory.problems == ()
    assert trajectory.notes == (
        "call 1 could not be read: a reply of unknown shape; its reply is the one to the next request",
    )
    assert read_trajectory(calls[:1]).problems == (
        "call 1 could not be read: a reply of unknown shape; its step is missing",
    )


def test_reply_that_was_cut_is_a_problem() -> None:
    (problem,) = read_trajectory([say([ASK], "Rome is", unread="the stream was cut")]).problems
    assert problem == "call 1 was not read completely: the stream was cut"


def test_call_to_an_unknown_endpoint_is_a_problem() -> None:
    log = CallLog([exchange("https://api.openai.com/v1/threads/t/runs", {"model": "m"}, {"id": "v"})])
    trajectory = read_trajectory(log)
    assert trajectory.steps == ()
    assert "could not be read: the endpoint" in trajectory.problems[0]


@pytest.mark.parametrize(
    "url",
    [
        "https://api.anthropic.com/v1/messages/batches",
        "https://api.openai.com/v1/threads/t/runs/r/submit_tool_outputs",
        "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:batchGenerateContent",
        "https://api.mistral.ai/v1/conversations/c",
        "https://bedrock-agent-runtime.us-east-1.amazonaws.com/agents/A/agentAliases/B/sessions/C/text",
    ],
)
def test_call_whose_answer_comes_by_another_request_is_a_problem(url: str) -> None:
    (problem,) = read_trajectory(CallLog([exchange(url, {}, {"id": "v"})])).problems
    assert "could not be read: the endpoint" in problem
    assert read_trajectory(CallLog([exchange("https://example.com/v1/batch", {}, {})])).problems == ()


def test_result_of_a_call_that_does_not_exist_is_a_note() -> None:
    book = use("book", "b1")
    calls = [say([ASK], "", book), say([ASK, repeat(book), result("b1", "ok"), result("b2", "?")], "Done.")]
    (note,) = read_trajectory(calls).notes
    assert "'b2'" in note


def test_messages_kept_by_the_server_without_a_first_call_are_a_note() -> None:
    call = say(
        [Message("user", "And now?")], "Done.", unread="messages kept by the server (previous_response_id)"
    )
    assert read_trajectory([call]).notes == ("the messages before call 1 are kept by the server",)
    first = say([ASK], "Where to?")
    trajectory = read_trajectory([first, call])
    assert (trajectory.problems, trajectory.notes) == ((), ())
    assert [step.text for step in trajectory.steps] == [ASK.content, "Where to?", "And now?", "Done."]


def test_answers_that_a_dialog_begins_with_are_not_the_agents() -> None:
    book = use("book", "b1")
    calls = [say([ASK, repeat(book), result("b1", "ok"), Message("user", "Thanks.")], "Bye.")]
    trajectory = read_trajectory(calls)
    assert trajectory.tool_calls == []
    assert [step.text for step in trajectory.steps] == [ASK.content, "Thanks.", "Bye."]
    assert trajectory.problems == ()


def test_result_of_a_tool_that_the_server_ran() -> None:
    url = "https://api.anthropic.com/v1/messages"
    user = {"role": "user", "content": "Rome?"}
    search = {"type": "server_tool_use", "id": "srv1", "name": "web_search", "input": {"query": "Rome"}}
    results = {
        "type": "web_search_tool_result",
        "tool_use_id": "srv1",
        "content": [{"type": "web_search_result", "url": "u"}],
    }
    content = [search, results, {"type": "text", "text": "A city."}]
    messages = [user, {"role": "assistant", "content": content}, {"role": "user", "content": "Thanks"}]
    log = CallLog(
        [
            exchange(url, {"model": "m", "messages": [user]}, {"content": content}),
            exchange(
                url, {"model": "m", "messages": messages}, {"content": [{"type": "text", "text": "Bye."}]}
            ),
        ]
    )
    trajectory = read_trajectory(log)
    (call,) = trajectory.tool_calls
    assert "web_search_result" in str(call.result)
    assert [step.text for step in trajectory.steps] == ["Rome?", "A city.", "Thanks", "Bye."]


@pytest.mark.parametrize("answer", ["Hotel Roma found.", "<name>x</name> Hotel Roma found."])
def test_answers_of_other_agents_in_the_request_of_a_supervisor_count_once(answer: str) -> None:
    """LangGraph's supervisor has the messages of its agents in its own history, with other texts."""
    ask = use("ask_both", "b1")
    search = use("search", "s1", q="hotel")
    trains = use("trains", "")
    worker = [Message("system", "You search."), Message("user", "Find a hotel.")]
    other = [Message("system", "You know trains."), Message("user", "Find a train.")]
    searched = [repeat(search), result("s1", "Roma")]
    found = [repeat(trains), Message("tool", "At nine.", tool_name="trains")]
    answers = [
        *searched,
        repeat(text=answer),
        *found,
        repeat(text="By night."),
        result("b1", "Both are done."),
    ]
    calls = [
        say([SYSTEM, ASK], "", ask),
        say(worker, "", search),
        say(other, "", trains),
        say([*worker, *searched], "Hotel Roma found."),
        say([*other, *found], "By night."),
        say([SYSTEM, ASK, repeat(ask), *answers], "Done."),
    ]
    trajectory = read_trajectory(calls)
    assert [(call.name, call.result) for call in trajectory.tool_calls] == [
        ("ask_both", "Both are done."),
        ("search", "Roma"),
        ("trains", "At nine."),
    ]
    assert (trajectory.problems, trajectory.notes) == ((), ())


def test_a_call_with_another_id_than_a_recorded_one_is_a_call_of_its_own() -> None:
    ask = use("ask", "b1")
    search = use("search", "s1", q="hotel")
    unrecorded = use("search", "s2", q="hotel")
    worker = [Message("system", "You search."), Message("user", "Find a hotel.")]
    answers = [repeat(unrecorded), result("s2", "Lazio"), result("b1", "Lazio")]
    calls = [
        say([SYSTEM, ASK], "", ask),
        say(worker, "", search),
        say([*worker, repeat(search), result("s1", "Roma")], "Roma."),
        say([SYSTEM, ASK, repeat(ask), *answers], "Done."),
    ]
    results = {call.id: call.result for call in read_trajectory(calls).tool_calls}
    assert results == {"b1": "Lazio", "s1": "Roma", "s2": "Lazio"}


def test_a_reply_that_could_not_be_read_may_be_equal_to_one_of_another_dialog() -> None:
    other = [Message("system", "You wait."), Message("user", "Is it done?")]
    calls = [
        say(other, "Done."),
        say([SYSTEM, ASK], unread="a reply of unknown shape"),
        say([SYSTEM, ASK, repeat(text="Done."), Message("user", "Thanks.")], "Bye."),
    ]
    assert tree(read_trajectory(calls)) == ["Done.", "Done.", "Bye."]


def test_sub_agent_of_a_sub_agent() -> None:
    outer = use("plan", "p1", task="Plan Rome")
    inner = use("search", "s1", query="Hotels near the station")
    sub = [Message("user", "Plan Rome")]
    calls = [
        say([ASK], "", outer),
        say(sub, "", inner),
        say([Message("user", "Hotels near the station")], "Hotel Roma"),
        say([*sub, repeat(inner), result("s1", "Hotel Roma")], "Take Hotel Roma"),
        say([ASK, repeat(outer), result("p1", "Take Hotel Roma")], "Done."),
    ]
    assert tree(read_trajectory(calls)) == [
        ["plan=Take Hotel Roma", [["search=Hotel Roma", ["Hotel Roma"]], "Take Hotel Roma"]],
        "Done.",
    ]


def test_reply_that_the_application_rewrote_is_not_added_again() -> None:
    calls = [
        say([SYSTEM, ASK], "<answer>Rome</answer>"),
        say([SYSTEM, ASK, repeat(text="Rome"), Message("user", "And?")], "Done."),
    ]
    trajectory = read_trajectory(calls)
    assert [step.text for step in trajectory.steps] == [
        SYSTEM.content,
        ASK.content,
        "<answer>Rome</answer>",
        "And?",
        "Done.",
    ]


@pytest.mark.slow
def test_thousand_steps_and_dialogs_are_read() -> None:
    history = [ASK]
    calls = []
    for number in range(300):
        book = use("book", f"b{number}")
        calls.append(say(history, "", book))
        history = [*history, repeat(book), result(book.id, str(number))]
    trajectory = read_trajectory(calls)
    assert [call.result for call in trajectory.tool_calls[:-1]] == [str(number) for number in range(299)]
    tools = (ToolDefinition(name="book"),)
    lone = [say([Message("user", f"Question {number}")], "yes", tools=tools) for number in range(1_000)]
    assert read_trajectory(lone).turns == 1_000
