"""Turns of scripted users in case files: what is read, and what is refused with its place."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import check_message

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.cases import load_cases
from pytest_llmops.cases.turns import MAX_MESSAGES, ScriptedTurn, parse_turns
from pytest_llmops.cli.command_line import main
from pytest_llmops.errors import CaseError

TALK = """
- id: refund
  turns:
    - I want my money back.
    - when: {contains: order number}
      say: It is B-77.
      expect: {calls: [get_order, {refund: {order_id: B-77}}], not_contains: sorry}
    - say: Go on.
      until: {matches: "refunded|declined"}
      deny: {refund: It is too late.}
"""


def test_a_case_with_turns_needs_no_input(tmp_path: Path) -> None:
    path = tmp_path / "talk.yaml"
    path.write_text(TALK, encoding="utf-8")
    [case] = load_cases(path)
    assert case.input == "I want my money back.\nIt is B-77.\nGo on."
    first, second, third = parse_turns(case["turns"])
    assert first == ScriptedTurn(say="I want my money back.")
    assert second.expect is not None
    assert str(second.expect.calls) == "(call('get_order'), call('refund', order_id='B-77'))"
    assert (third.at_most, third.deny) == (5, {"refund": "It is too late."})


def test_an_input_that_a_case_has_stays() -> None:
    [case] = load_cases([{"id": "a", "input": "the refund", "turns": ["Hi"]}])
    assert case.input == "the refund"


WRONG: list[tuple[Any, str]] = [
    ([], "turns: expected at least one turn, got an empty list"),
    ("Hi", "turns: expected a list of turns, got a text; write the cases as YAML or JSON Lines, as CSV has no lists"),
    (7, "turns: expected a list of turns (each with `say:`), got a number"),
    ([True], "turn 1: expected a text, or an object with `say:`, got true or false: write it in quotes"),
    ([["Hi"]], "turn 1: expected an object with keys, got a list"),
    ([{}], "turn 1: expected at least one of the keys say, when, else"),
    ([{"sya": "Hi"}], "turn 1: unknown key of a turn 'sya': known are approve, at_most"),
    ([{"expect": {"calls": []}}], "turn 1: missing 'say': the message of the user"),
    ([{"say": True}], "turn 1: say: expected a text, got true or false: write it in quotes"),
    ([" "], "turn 1: say: expected a text, got an empty one"),
    ([{"say": "Hi", "when": {"contains": "x"}}], "turn 1: when: the first turn has no reply before it"),
    (["Hi", {"say": "B", "when": {"contain": "x"}}], "turn 2: when: unknown condition 'contain'"),
    (["Hi", {"say": "B", "when": {"calls": "x"}}], "turn 2: when: unknown condition 'calls'"),
    (["Hi", {"say": "B", "when": {}}], "turn 2: when: expected at least one of the keys contains"),
    (["Hi", {"say": "B", "when": "yes"}], "turn 2: when: expected an object with keys, got a text"),
    (["Hi", {"say": "B", "when": {"contains": []}}], "when.contains: expected a text or a list of texts, got an empty list"),
    (["Hi", {"say": "B", "when": {"contains": 7}}], "when.contains: expected a text or a list of texts, got a number"),
    (["Hi", {"say": "B", "when": {"matches": "(a"}}], "when.matches: invalid regular expression '(a': missing )"),
    (["Hi", {"say": "B", "when": {"matches": "[[:digit:]]"}}], "when.matches: invalid regular expression '[[:digit:]]': Possible nested set"),
    (["Hi", {"say": "B", "when": {"matches": "a" * 501}}], "when.matches: expected a pattern of at most 500"),
    (["Hi", {"say": "B", "else": "C"}], "turn 2: else: expected only together with `when`"),
    ([{"say": "B", "at_most": 3}], "at_most: expected only together with `until`"),
    ([{"say": "B", "until": {"contains": "x"}, "at_most": 0}], "at_most: expected a whole number from 1 to 50, got 0"),
    ([{"say": "B", "until": {"contains": "x"}, "at_most": True}], "at_most: expected a whole number"),
    ([{"say": "B", "expect": {"calls": [{"a": {}, "b": {}}]}}], "expect.calls: expected the name of a tool"),
    ([{"say": "B", "expect": {"calls": [{"a": 1}]}}], "expect.calls: a: expected `arguments` (or `args`) to be a mapping, got 1"),
    ([{"say": "B", "expect": {"calls": [{"name": "a", "arguements": {}}]}}], 'expect.calls: expected a call as {"name": "refund", "arguments": {...}}, got'),
    ([{"say": "B", "expect": {"calls": {"a": {}}}}], "expect.calls: expected a list of calls, got an object"),
    ([{"say": "B", "deny": {"refund": 7}}], "turn 1: deny.refund: expected a text, got a number"),
    ([{"say": "B", "deny": {}}], "turn 1: deny: expected a text or a list of texts, got an object"),
    ([{"say": "B", "approve": "refund", "deny": "*"}], "turn 1: approve: 'refund' is also denied by '*'; leave one of them out"),
    ([{"say": "B", "approve": "re*", "deny": "re*"}], "turn 1: approve: 're*' is also denied by 're*'"),
    (["Hi"] * 101, "turns: expected at most 100 turns, got 101"),
    (
        [{"say": "B", "until": {"contains": "x"}, "at_most": 50}] * 5,
        f"turns: expected at most {MAX_MESSAGES} messages of the user, got up to 250",
    ),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("turns", "message"), WRONG)
def test_wrong_turns_are_refused_with_their_place(turns: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    path.write_text(
        f"{json.dumps({'id': 'a', 'input': 'x'})}\n{json.dumps({'id': 'b', 'turns': turns})}\n",
        encoding="utf-8",
    )
    with pytest.raises(CaseError) as caught:
        load_cases(path)
    assert message in str(caught.value)
    check_message(caught.value)
    assert caught.value.line == 2


def test_the_check_of_case_files_reports_each_wrong_turn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("talk.yaml").write_text(
        "- id: a\n  turns: []\n- id: b\n  turns:\n    - sya: Hi\n- id: c\n  turns: [Hi]\n", encoding="utf-8"
    )
    assert main(["cases", "check", "talk.yaml"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "talk.yaml:1: turns: expected at least one turn, got an empty list"
    assert lines[1].startswith("talk.yaml:3: turn 1: unknown key of a turn 'sya'")
    assert lines[1].endswith("did you mean 'say'?")
    assert "2 problems" in lines[2]


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["(", "a+", "x" * 600]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["say", "when", "else", "expect", "until", "at_most", "approve", "deny", "contains", "matches", "calls", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.slow
@given(value=_values | st.lists(_values, max_size=3))
def test_any_value_is_read_or_refused(value: Any) -> None:
    try:
        turns = parse_turns(value)
    except BadFile:
        return
    assert turns
    assert all(turn.say.strip() for turn in turns)
    assert turns[0].when is None
