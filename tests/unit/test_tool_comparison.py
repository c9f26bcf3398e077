"""How the live answer of a tool is compared with the recorded one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_llmops.cassettes.active_tape import use_tape
from pytest_llmops.cassettes.drift import Drift
from pytest_llmops.cassettes.outcome import Outcome
from pytest_llmops.cassettes.request_key import Answer
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.cassettes.tool_questions import MCP, make_tool_answer, read_tool_answer
from pytest_llmops.settings import Settings

CALL = {"name": "refund", "arguments": {"order_id": 43}}
NAME = "refund(order_id=43) of MCP server orders"


def ask(tape: Tape, method: str, params: object, answer: Answer) -> dict[str, Any]:
    """Call a tool that gives an answer; return what the agent gets."""
    with use_tape(tape):
        question = tape.make_tool_question(MCP, "orders", method, params)
        turn = tape.claim_tool(question)
        return read_tool_answer(tape.finish_tool(question, turn, answer))


def compare(
    folder: Path, before: Any, after: Any, method: str = "tools/call", params: object = CALL
) -> tuple[list[Drift], list[str]]:
    """Record an answer and compare another one with it; return the differences and the notes."""
    path = folder / "a.json"
    recording = Tape(path, "new", TapeConfig())
    ask(recording, method, params, make_tool_answer({"result": before}))
    recording.close()
    tape = Tape(path, "none", TapeConfig(settings=Settings(tools="compare")))
    given = ask(tape, method, params, make_tool_answer({"result": after}))
    assert given == {"result": before}
    tape.close()
    assert tape.counts.verified == 1
    assert tape.counts.drifted == bool(tape.report.drifts)
    return tape.report.drifts, tape.report.notes


def lines(drifts: list[Drift]) -> list[tuple[str, str, str, str]]:
    return [(drift.what, drift.place, drift.recorded, drift.now) for drift in drifts]


def make_text(text: str, **more: object) -> dict[str, object]:
    return {"content": [{"type": "text", "text": text}], **more}


def test_a_text_that_is_json_is_compared_as_json(tmp_path: Path) -> None:
    drifts, notes = compare(
        tmp_path, make_text('{"total": 5, "lines": [1]}'), make_text('{"lines": [1, 2], "total": null}')
    )
    assert lines(drifts) == [
        ("result", "$.content[0].text.total", "5 (integer)", "null"),
        ("result", "$.content[0].text.lines[1]", "missing", "2 (integer)"),
    ]
    assert drifts[0].question == NAME
    assert notes == []


def test_the_order_of_members_is_no_difference(tmp_path: Path) -> None:
    assert compare(tmp_path, make_text('{"a": 1, "b": 2}'), make_text('{"b": 2, "a": 1}')) == ([], [])


def test_true_is_not_1(tmp_path: Path) -> None:
    drifts, _ = compare(tmp_path, {"structuredContent": {"ok": True}}, {"structuredContent": {"ok": 1}})
    assert lines(drifts) == [("result", "$.structuredContent.ok", "true (boolean)", "1 (integer)")]


def test_a_result_that_became_an_error_is_one_difference(tmp_path: Path) -> None:
    drifts, _ = compare(tmp_path, make_text("done"), make_text("no such order", isError=True))
    assert lines(drifts) == [("result", "$", "a result", "a result with isError")]


def test_changed_definitions_come_first_and_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.json"

    def tool(name: str, description: str = "", **properties: object) -> dict[str, object]:
        return {"name": name, "description": description, "inputSchema": {"properties": properties}}

    before = [tool("track"), tool("refund", "Pay back.", amount={"type": "number"}), tool("cancel")]
    after = [tool("refund", "Pay money back.", amount={"type": "string"}), tool("cancel"), tool("add")]
    recording = Tape(path, "new", TapeConfig())
    ask(recording, "tools/call", CALL, make_tool_answer({"result": make_text("a")}))
    ask(recording, "tools/list", {}, make_tool_answer({"result": {"tools": before}}))
    recording.close()
    tape = Tape(path, "none", TapeConfig(settings=Settings(tools="compare")))
    ask(tape, "tools/call", CALL, make_tool_answer({"result": make_text("b")}))
    for _ in range(3):  # agents list the tools at every turn
        ask(tape, "tools/list", {}, make_tool_answer({"result": {"tools": after}}))
    assert lines(tape.report.drifts) == [
        ("definition", "add", "missing", "added"),
        ("definition", "refund $.description", '"Pay back."', '"Pay money back."'),
        ("definition", "refund $.inputSchema.properties.amount.type", '"number"', '"string"'),
        ("definition", "track", "offered", "removed"),
        ("result", "$.content[0].text", '"a"', '"b"'),
    ]
    assert tape.report.drifts[0].question == "MCP server orders"


VOLATILE = [
    ("2026-01-02T03:04:05Z", "2027-11-12T13:14:15.123+02:00"),
    ("at 03:04:05", "at 13:14:15"),
    ("id 6a2f41a3-c54c-4fbd-8a3b-0c1d2e3f4a5b", "id 00000000-0000-4000-8000-000000000000"),
    ("wrote /tmp/abc123/out.txt", "wrote /tmp/xyz9/out.txt"),
    ("took 12 ms", "took 1.5 ms"),
]


@pytest.mark.parametrize(("before", "after"), VOLATILE)
def test_a_value_that_differs_in_every_run_is_counted_apart(tmp_path: Path, before: str, after: str) -> None:
    drifts, [note] = compare(tmp_path, make_text(before), make_text(after))
    assert drifts == []
    assert note.startswith("tools: 1 value that differs in every run")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2026-01-02", "2026-01-03"),
        ("due 2026-01-02T03:04:05Z", "paid 2026-01-02T03:04:06Z"),
        ("2026-01-02T03:04:05Z", "never"),
        ("12 apples", "13 apples"),
        ("/srv/a/out.txt", "/srv/b/out.txt"),
    ],
)
def test_data_that_changed_is_no_value_of_every_run(tmp_path: Path, before: str, after: str) -> None:
    drifts, notes = compare(tmp_path, make_text(before), make_text(after))
    assert len(drifts) == 1
    assert notes == []


def test_a_number_named_after_a_duration_is_counted_apart(tmp_path: Path) -> None:
    before = {"structuredContent": {"took_ms": 1, "elapsed": 2.0, "total": 3}}
    after = {"structuredContent": {"took_ms": 9, "elapsed": 8.0, "total": 4}}
    drifts, [note] = compare(tmp_path, before, after)
    assert [drift.place for drift in drifts] == ["$.structuredContent.total"]
    assert note.startswith("tools: 2 values that differ in every run")


def test_long_texts_are_shown_where_they_differ(tmp_path: Path) -> None:
    drifts, _ = compare(tmp_path, make_text("word " * 200 + "old end"), make_text("word " * 200 + "new end"))
    assert "old end" in drifts[0].recorded
    assert "new end" in drifts[0].now
    assert len(drifts[0].now) < 100


def test_differences_are_bounded_and_the_rest_is_counted(tmp_path: Path) -> None:
    before = {str(n): n for n in range(100)}
    drifts, _ = compare(tmp_path, {"structuredContent": before}, {"structuredContent": {}})
    assert len(drifts) == 21
    assert drifts[-1].recorded == "80 more differences"


def test_deep_nesting_is_a_difference_and_no_crash(tmp_path: Path) -> None:
    deep: Any = "x"
    for _ in range(600):
        deep = [deep]
    drifts, _ = compare(tmp_path, {"a": [deep]}, {"a": [[deep]]})
    assert len(drifts) == 1


def test_a_secret_of_the_live_answer_is_masked(tmp_path: Path) -> None:
    drifts, _ = compare(tmp_path, make_text("none"), make_text("key sk-ant-REDACTED"))
    assert "sk-proj" not in drifts[0].now


def test_a_server_that_ended_is_a_difference(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    recording = Tape(path, "new", TapeConfig())
    ask(recording, "tools/call", CALL, make_tool_answer({"result": make_text("a")}))
    recording.close()
    tape = Tape(path, "none", TapeConfig(settings=Settings(tools="compare")))
    ended = make_tool_answer({}, outcome=Outcome("server ended", "the server has ended"))
    assert ask(tape, "tools/call", CALL, ended) == {"result": make_text("a")}
    assert lines(tape.report.drifts) == [("result", "$", "a result", "the server has ended")]


def test_what_a_test_has_just_recorded_of_a_server_does_not_count_as_recorded_before(tmp_path: Path) -> None:
    """The tools are listed before the first call: that must not turn the call into a replay."""
    tape = Tape(tmp_path / "a.json", "new", TapeConfig())
    ask(tape, "initialize", {}, make_tool_answer({"result": {}}))
    ask(tape, "tools/list", {}, make_tool_answer({"result": {"tools": []}}))
    assert ask(tape, "tools/call", CALL, make_tool_answer({"result": 1})) == {"result": 1}
    assert tape.counts.missed == 0
