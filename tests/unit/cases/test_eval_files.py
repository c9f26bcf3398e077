"""evals.json of the Agent Skills guide and evalset.json of ADK, read as cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import check_message

from pytest_llmops import assert_tool_calls
from pytest_llmops.agents import Step, ToolUse, Trajectory
from pytest_llmops.cases import Case, copy_files, load_cases
from pytest_llmops.errors import CaseError, UsageError

EVAL = {
    "id": 1,
    "name": "late",
    "prompt": "Refund evals/files/order.csv, please.",
    "expected_output": "It says no.",
    "files": ["evals/files/order.csv"],
    "assertions": ["Names the 30 days"],
}


def write_evals(folder: Path, *entries: Any, **files: str) -> Path:
    """Write an evals.json with these entries in the folder of a skill."""
    path = folder / "refunds/evals/evals.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"skill_name": "refunds", "evals": list(entries)}), encoding="utf-8")
    for name, text in files.items():
        file = folder / "refunds" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return path


def load_evals(folder: Path, *entries: Any, **files: str) -> tuple[Case, ...]:
    return load_cases(write_evals(folder, *entries, **files))


def write_evalset(folder: Path, *cases: Any) -> Path:
    path = folder / "shop.evalset.json"
    path.write_text(json.dumps({"eval_set_id": "shop", "eval_cases": list(cases)}), encoding="utf-8")
    return path


def say(text: str, **more: Any) -> dict[str, Any]:
    return {"user_content": {"role": "user", "parts": [{"text": text}]}, **more}


def test_an_eval_becomes_a_case_with_its_files_and_a_checklist(tmp_path: Path) -> None:
    [case] = load_evals(tmp_path, EVAL, **{"evals/files/order.csv": "42\n"})
    assert (case.id, case.input, case.reference) == ("1", EVAL["prompt"], "It says no.")
    assert (case["checklist"], case["name"]) == (["Names the 30 days"], "late")
    agent = tmp_path / "agent"
    [copy] = copy_files(case, agent)
    assert copy == agent / "evals/files/order.csv"
    assert copy.read_text() == "42\n"
    with pytest.raises(UsageError) as error:
        copy_files(case, agent)
    check_message(str(error.value).replace(str(tmp_path), "FOLDER"))


def test_files_are_searched_in_the_skill_and_beside_the_evals_and_folders_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    entry = {"id": "a", "prompt": "Go", "files": ["SKILL.md", "order.csv", "evals/shop"]}
    files = {"SKILL.md": "", "evals/order.csv": "", "evals/shop/a.txt": "a", "evals/shop/b/c.txt": "c"}
    [case] = load_evals(Path(), entry, **files)
    assert case.files == (
        "refunds/SKILL.md",
        "refunds/evals/order.csv",
        "refunds/evals/shop/a.txt",
        "refunds/evals/shop/b/c.txt",
    )
    names = [path.as_posix() for path in copy_files(case, "agent")]
    assert names == [
        "agent/SKILL.md",
        "agent/order.csv",
        "agent/evals/shop/a.txt",
        "agent/evals/shop/b/c.txt",
    ]


def test_files_of_other_cases_are_copied_by_their_name(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    (tmp_path / "img/a.png").write_bytes(b"x")
    case = Case(id="a", input="", files=(str(tmp_path / "img/a.png"),))
    assert copy_files(case, tmp_path / "agent") == [tmp_path / "agent/a.png"]
    assert copy_files(Case(id="b", input=""), tmp_path / "agent") == []
    with pytest.raises(UsageError, match="no such file"):
        copy_files(Case(id="c", input="", files=("nowhere.txt",)), tmp_path / "agent")


@pytest.mark.parametrize(
    ("assertion", "text"),
    [
        ("Says no", "Says no"),
        ({"type": "human", "text": "Says no"}, "Says no"),
        ({"name": "says_no", "type": "contains", "value": "30 days"}, "says_no (contains: 30 days)"),
        ({"description": "Says no", "value": 3}, "Says no"),
    ],
)
def test_assertions_of_all_forms_are_texts_of_a_checklist(tmp_path: Path, assertion: Any, text: str) -> None:
    entry = {"id": 1, "prompt": "Go", "assertions": [assertion], "expectations": ["Is short"]}
    [case] = load_evals(tmp_path, entry)
    assert case["checklist"] == [text, "Is short"]


def test_what_is_null_or_left_out_is_empty(tmp_path: Path) -> None:
    [case] = load_evals(tmp_path, {"id": 0, "prompt": "Go", "expected_output": None, "files": None})
    assert (case.id, case.reference, case.files, dict(case.data)) == ("0", "", (), {})


@pytest.mark.parametrize(
    "entry",
    [
        {"id": 1},
        {"id": 1, "prompt": " "},
        {"id": 1, "prompt": ["Go"]},
        {"prompt": "Go"},
        {"id": True, "prompt": "Go"},
        {"id": 1, "prompt": "Go", "expected_output": {"a": 1}},
        {"id": 1, "prompt": "Go", "files": "order.csv"},
        {"id": 1, "prompt": "Go", "files": ["order.csv"]},
        {"id": 1, "prompt": "Go", "files": ["../../secret"]},
        {"id": 1, "prompt": "Go", "files": [{"path": "order.csv"}]},
        {"id": 1, "prompt": "Go", "assertions": "Says no"},
        {"id": 1, "prompt": "Go", "reference": "Gone"},
        {"id": 1, "prompt": "Go", "assertions": [""]},
        {"id": 1, "prompt": "Go", "expectations": [{"weight": 2}]},
        "Go",
    ],
    ids=lambda entry: json.dumps(entry)[:40].translate(str.maketrans('[]{}":', "      ")),
)
def test_a_bad_eval_is_an_error_with_its_place(tmp_path: Path, entry: Any) -> None:
    good = {"id": "good", "prompt": "Go"}
    with pytest.raises(CaseError) as error:
        load_evals(tmp_path, good, entry)
    check_message(str(error.value).replace(str(tmp_path), "FOLDER"))


@pytest.mark.parametrize(
    "text",
    [
        '{"evals": []}',
        '{"evals": {}}',
        "{}",
        '{"cases": []}',
        "[]",
        "3",
        '{"evals": [',
        '{"eval_cases": []}',
        "",
    ],
)
def test_a_file_that_is_neither_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "evals.json"
    path.write_text(text)
    with pytest.raises(CaseError) as error:
        load_cases(path)
    check_message(str(error.value).replace(str(tmp_path), "FOLDER"))


def test_two_evals_with_one_id_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="duplicate id '1'"):
        load_evals(tmp_path, {"id": 1, "prompt": "Go"}, {"id": "1", "prompt": "Stop"})


def test_a_case_of_adk_has_the_calls_that_assert_tool_calls_takes(tmp_path: Path) -> None:
    turn = say(
        "Where is order 42?",
        final_response={"parts": [{"text": "thinking", "thought": True}, {"text": "Shipped."}]},
        intermediate_data={
            "tool_uses": [{"id": "1", "name": "get_order", "args": {"id": 42}}, {"name": "log", "args": None}]
        },
        rubrics=[{"rubric_id": "r", "rubric_content": {"text_property": "Is short"}}],
    )
    session = {"app_name": "shop", "user_id": "u", "state": {"day": 1}}
    [case] = load_cases(
        write_evalset(tmp_path, {"eval_id": "late", "conversation": [turn], "session_input": session})
    )
    assert (case.id, case.input, case.reference) == ("late", "Where is order 42?", "Shipped.")
    assert (case["session_input"], case["checklist"]) == (session, ["Is short"])
    made = [ToolUse(name="get_order", arguments={"id": 42}), ToolUse(name="log", arguments={})]
    trajectory = Trajectory(steps=(Step(role="assistant", tool_calls=tuple(made)),))
    expected: Any = case["tool_calls"]
    assert assert_tool_calls(trajectory, expected).value == 1.0
    with pytest.raises(AssertionError, match="get_order"):
        assert_tool_calls(trajectory, [{"name": "get_order", "args": {"id": 43}}, "log"])
    with pytest.raises(UsageError) as error:
        assert_tool_calls(trajectory, [{"name": "get_order", "args": "43"}])
    check_message(str(error.value))


def test_a_conversation_of_adk_is_the_script_of_a_user(tmp_path: Path) -> None:
    events = [
        {"author": "shop", "content": {"parts": [{"functionCall": {"name": "refund", "args": {"id": 42}}}]}},
        {"author": "shop", "content": None},
    ]
    turns = [
        {"userContent": {"parts": [{"text": "Hello"}]}, "intermediateData": {"toolUses": []}},
        say(
            "Refund 42",
            intermediate_data={"invocation_events": events},
            final_response={"parts": [{"text": "Done"}]},
        ),
        say("Thanks"),
    ]
    [case] = load_cases(write_evalset(tmp_path, {"evalId": "talk", "conversation": turns}))
    assert case.input == "Hello\nRefund 42\nThanks"
    assert case["turns"] == [
        {"say": "Hello", "expect": {"calls": []}},
        {"say": "Refund 42", "expect": {"calls": [{"name": "refund", "arguments": {"id": 42}}]}},
        {"say": "Thanks"},
    ]
    assert (case["references"], case["tool_calls"]) == (
        ["", "Done", ""],
        [{"name": "refund", "arguments": {"id": 42}}],
    )


def test_a_scenario_of_adk_has_its_plan(tmp_path: Path) -> None:
    scenario = {"starting_prompt": "Hello", "conversation_plan": "Ask for a refund"}
    [case] = load_cases(write_evalset(tmp_path, {"eval_id": "plan", "conversation_scenario": scenario}))
    assert (case.input, case["conversation_plan"]) == ("Hello", "Ask for a refund")


@pytest.mark.parametrize(
    "case",
    [
        {"conversation": [say("Hi")]},
        {"eval_id": "a"},
        {"eval_id": "a", "conversation": []},
        {"eval_id": "a", "conversation": [{}]},
        {"eval_id": "a", "conversation": [say("Hi", intermediate_data={"tool_uses": [{"args": {}}]})]},
        {
            "eval_id": "a",
            "conversation": [say("Hi", intermediate_data={"tool_uses": [{"name": "f", "args": []}]})],
        },
        {
            "eval_id": "a",
            "conversation": [
                say("Hi", intermediate_data={"tool_uses": [{"name": "f", "arguments": {"id": 1}}]})
            ],
        },
        {"eval_id": "a", "conversation": [say("Hi", rubrics=[{"rubric_content": {}}])]},
        {"eval_id": "a", "conversation_scenario": {}},
        {"eval_id": "a", "conversation": [say("Hi")], "session_input": "shop"},
        3,
    ],
)
def test_a_bad_case_of_adk_is_an_error_with_its_place(tmp_path: Path, case: Any) -> None:
    with pytest.raises(CaseError) as error:
        load_cases(write_evalset(tmp_path, case))
    check_message(str(error.value).replace(str(tmp_path), "FOLDER"))


KEYS = "id prompt files assertions expected_output eval_id conversation user_content parts text intermediate_data tool_uses name args rubrics"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS.split()), inner, max_size=5)
    ),
    max_leaves=20,
)


@pytest.mark.slow
@given(st.sampled_from(["evals", "eval_cases"]), JSON)
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, key: str, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.evals.json"
    path.write_text(json.dumps({key: value}))
    try:
        cases = load_cases(path)
    except CaseError:
        return
    assert all(case.id and case.input for case in cases)
