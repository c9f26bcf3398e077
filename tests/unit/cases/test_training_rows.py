"""Fine-tuning rows: each fault has its place, and cases survive the way there and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.messages import check_message
from support.shared import rows, shared

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.cases import Case, load_cases
from pytest_llmops.cases.chat_messages import question_text
from pytest_llmops.cases.files import parse_case
from pytest_llmops.cases.training_rows import CHECKS, case_to_row, row_to_case

SYSTEM = {"role": "system", "content": "Be kind."}
USER = {"role": "user", "content": "May I?"}
ASSISTANT = {"role": "assistant", "content": "Yes."}
TOOLS = [{"type": "function", "function": {"name": "look"}}]


def call(arguments: object = "{}", name: str = "look", call_id: str = "c1") -> dict[str, Any]:
    return {
        "role": "assistant",
        "tool_calls": [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        ],
    }


ANSWER = {"role": "tool", "tool_call_id": "c1", "content": "found"}
GOOD: list[list[dict[str, Any]]] = [
    [USER, ASSISTANT],
    [SYSTEM, {"role": "developer", "content": "d"}, USER, ASSISTANT],
    [USER, {**ASSISTANT, "weight": 0}, USER, {**ASSISTANT, "weight": 1}],
    [USER, call(), ANSWER, ASSISTANT],
    [USER, call()],
]
BAD: dict[str, tuple[list[Any], str]] = {
    "system in the middle": ([USER, SYSTEM, ASSISTANT], "messages[1]: a system message in the middle"),
    "no answer": ([SYSTEM, USER], "messages: the last one is not the assistant's"),
    "assistant first": ([ASSISTANT, USER, ASSISTANT], "messages[0]: the assistant speaks before"),
    "role": ([{"role": "bot", "content": "x"}, ASSISTANT], "messages[0]: role: "),
    "empty": ([USER, {"role": "assistant", "content": ""}], "messages[1]: no content"),
    "content": ([{"role": "user", "content": 3}, ASSISTANT], "messages[0]: content: "),
    "weight": ([USER, {**ASSISTANT, "weight": 2}], "messages[1]: weight: "),
    "weight of the user": ([{**USER, "weight": 1}, ASSISTANT], "messages[0]: weight: "),
    "no answer of the tool": ([USER, call(), ASSISTANT], "messages[2]: the calls ['c1'] before it"),
    "another call": ([USER, call(call_id="c2"), ANSWER, ASSISTANT], "messages[2]: answers the call 'c1'"),
    "answered twice": ([USER, call(), ANSWER, ANSWER, ASSISTANT], "messages[3]: answers the call 'c1'"),
    "unknown tool": ([USER, call(name="find")], "messages[1]: tool_calls: 'find' is not among the tools"),
    "no JSON": ([USER, call("{")], "messages[1]: tool_calls: the arguments of 'look'"),
    "twice": ([USER, call('"{}"')], "(encoded twice)"),
    "an object": ([USER, call({})], "JSON text of an object, got an object"),
    "no arguments": ([USER, call(None)], "JSON text of an object, got null"),
    "calls of the user": ([{**USER, "tool_calls": []}, ASSISTANT], "messages[0]: tool_calls: "),
    "no message": (["hello", ASSISTANT], "messages[0]: role: "),
    "weights": (
        [USER, {**ASSISTANT, "weight": 0}, USER, {**ASSISTANT, "weight": 0}],
        "messages: all of the assistant's have the weight 0",
    ),
    "none": ([], "messages: expected a list of messages, got none"),
}


@pytest.mark.parametrize("messages", GOOD)
def test_rows_that_are_right(messages: list[Any]) -> None:
    assert [*CHECKS["tools"]({"messages": messages, "tools": TOOLS})] == []


@pytest.mark.parametrize("fault", BAD)
def test_a_fault_has_its_place(fault: str) -> None:
    messages, expected = BAD[fault]
    problems = [*CHECKS["openai-chat"]({"messages": messages, "tools": TOOLS})]
    assert any(expected in problem for problem in problems), problems
    check_message("\n".join(problems))


def test_rows_of_tools_need_tools_and_preferences_differ() -> None:
    assert [*CHECKS["tools"]({"messages": [USER, ASSISTANT]})] == [
        "tools: expected a list of tools, got null"
    ]
    row = {
        "input": {"messages": [USER]},
        "preferred_output": [ASSISTANT],
        "non_preferred_output": [ASSISTANT],
    }
    (problem,) = CHECKS["dpo"](row)
    assert problem.startswith("both outputs are equal")
    assert [*CHECKS["dpo"](row | {"non_preferred_output": [{"role": "assistant", "content": "No."}]})] == []
    assert any("role" in problem for problem in CHECKS["dpo"](row | {"preferred_output": [USER]}))


@pytest.mark.parametrize("form", ["openai-chat", "tools", "dpo"])
@pytest.mark.parametrize(
    "tool", [{"function": {}}, {"function": {"name": ""}}, {"function": {"name": "a b"}}, "look"]
)
def test_a_tool_needs_a_name(form: str, tool: object) -> None:
    tools = [*TOOLS, tool]
    row: dict[str, Any] = {"messages": [USER, ASSISTANT], "tools": tools}
    place = "tools"
    if form == "dpo":
        other = {"role": "assistant", "content": "No."}
        row = {"input": row, "preferred_output": [ASSISTANT], "non_preferred_output": [other]}
        row["input"]["messages"] = [USER]
        place = "input.tools"
    (problem,) = CHECKS[form](row)
    assert problem.startswith(f"{place}[1].function.name: expected 1 to 64 letters, digits, _ and -, got ")


def test_a_call_without_a_name_is_a_problem_beside_a_tool_without_one() -> None:
    nameless = {"id": "c1", "function": {"arguments": "{}"}}
    messages = [USER, {"role": "assistant", "tool_calls": [nameless]}]
    problems = [*CHECKS["tools"]({"messages": messages, "tools": [{"function": {}}]})]
    assert "messages[1]: tool_calls: None is not among the tools of the row" in problems


def test_samples_of_others_are_right_but_for_their_planted_faults() -> None:
    for name, form, bad in (
        ("openai_cookbook_toy_chat", "openai-chat", {3}),
        ("openai_cookbook_drone_tools_abridged", "tools", {2}),
        ("dpo_own", "dpo", set()),
    ):
        result = rows("imports", "finetuning", f"{name}.jsonl")
        assert {number for number, row in enumerate(result) if [*CHECKS[form](row)]} == bad
    lines = shared("imports", "finetuning", "bad_own.jsonl").read_text().splitlines()
    chats = [json.loads(line) for line in lines if line.startswith('{"messages"') and line.endswith("}]}")]
    assert [bool([*CHECKS["openai-chat"](row)]) for row in chats] == [True, True, True, False, True]


@pytest.mark.parametrize(
    ("form", "row"),
    [
        ("openai-chat", {"messages": [USER, ASSISTANT]}),
        ("openai-chat", {"messages": [SYSTEM, USER, ASSISTANT, USER, ASSISTANT]}),
        ("openai-chat", {"messages": [USER, call()], "tools": TOOLS}),
        (
            "dpo",
            {
                "input": {"messages": [SYSTEM, USER], "tools": TOOLS},
                "preferred_output": [ASSISTANT],
                "non_preferred_output": [{"role": "assistant", "content": "No."}],
            },
        ),
    ],
)
def test_a_row_becomes_a_case_and_the_same_row_again(form: str, row: dict[str, Any]) -> None:
    made = row_to_case(Case(id="t-1", input="", typed=row), "t.jsonl:1")
    assert (made["id"], made["split"], made["origin"]) == ("t-1", "train", "t.jsonl:1")
    case = parse_case(made)
    assert case_to_row(case, form=form) == row
    assert question_text(case.input) == "May I?"


@pytest.mark.parametrize(
    "row",
    [
        {"reference": "Yes.", "split": "test"},
        {"output": "No."},
        {"reference": "Yes.", "output": "Yes."},
        {"reference": "Yes."},
        {"reference": "Yes.", "output": "No.", "turns": ["May I?", "Really?"]},
    ],
)
def test_a_case_that_teaches_nothing_is_refused(row: dict[str, Any]) -> None:
    (case,) = load_cases([{"id": "a", "input": "May I?", **row}])
    with pytest.raises(BadFile, check=check_message):
        case_to_row(case, form="dpo")
