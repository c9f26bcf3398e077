"""How calls of tools are handled by `--llm-tools` and the mode of the tape, and the values of functions that JSON cannot hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from support.messages import check_message

from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes.functions import values
from pytest_llmops.cassettes.functions.values import Unrecordable
from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.cassettes.tool_questions import make_tool_answer, read_tool_answer
from pytest_llmops.errors import CassetteMiss
from pytest_llmops.settings import Settings


def make_tape(folder: Path, mode: RecordMode, tools: Any = "auto") -> Tape:
    return Tape(folder / "a.json", mode, TapeConfig(settings=Settings(tools=tools)))


def ask(tape: Tape, order: int = 1, method: str = "tools/call") -> Question:
    return tape.make_tool_question("mcp", "orders", method, {"name": "add", "arguments": {"order": order}})


def call(tape: Tape, text: str, order: int = 1, method: str = "tools/call") -> tuple[str, Any]:
    """Handle a call whose tool answers with a text: what is done, and what the agent gets."""
    question = ask(tape, order, method)
    turn = tape.tools.claim(question, "0")
    if turn.action == "replay":
        assert turn.answer is not None
        return turn.action, read_tool_answer(turn.answer)["result"]
    live = make_tool_answer({"result": text})
    return turn.action, read_tool_answer(tape.tools.finish(question, turn, live))["result"]


def record(folder: Path) -> None:
    tape = make_tape(folder, "new")
    assert call(tape, "one") == ("record", "one")
    tape.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "tools", "action", "given"),
    [
        ("none", "auto", "replay", "one"),
        ("new", "auto", "replay", "one"),
        ("all", "auto", "record", "two"),
        ("live", "auto", "pass", "two"),
        ("verify", "auto", "verify", "two"),
        ("none", "off", "pass", "two"),
        ("all", "off", "pass", "two"),
        ("none", "compare", "compare", "one"),
        ("live", "replay", "replay", "one"),
        ("all", "replay", "replay", "one"),
    ],
)
def test_the_mode_and_the_choice_for_tools_decide_who_answers(
    mode: RecordMode, tools: str, action: str, given: str, tmp_path: Path
) -> None:
    record(tmp_path)
    tape = make_tape(tmp_path, mode, tools)
    assert tape.tools.is_recorded(ask(tape), "0") is (action in ("replay", "compare"))
    assert tape.tools.replays(ask(tape), "0") is (action == "replay")
    assert tape.tools.is_off is (tools == "off")
    assert tape.tools.reuses_recordings is (
        mode in ("none", "new", "verify") or tools in ("replay", "compare")
    )
    assert call(tape, "two") == (action, given)
    counts = tape.counts
    assert (counts.replayed, counts.recorded, counts.verified, counts.drifted) == {
        "replay": (1, 0, 0, 0),
        "record": (0, 1, 0, 0),
        "pass": (0, 0, 0, 0),
        "verify": (1, 0, 1, 1),
        "compare": (1, 0, 1, 1),
    }[action]


def test_answers_are_used_up_and_only_of_lists_the_last_is_repeated(tmp_path: Path) -> None:
    tape = make_tape(tmp_path, "new")
    call(tape, "one")
    call(tape, "tools", method="tools/list")
    tape.close()
    tape = make_tape(tmp_path, "none")
    assert [call(tape, "x", method="tools/list") for _ in range(2)] == [("replay", "tools")] * 2
    assert call(tape, "x") == ("replay", "one")
    assert not tape.tools.is_recorded(ask(tape), "0")
    assert tape.tools.is_recorded(ask(tape, method="tools/list"), "0")
    with pytest.raises(CassetteMiss):
        call(tape, "x")
    with pytest.raises(CassetteMiss):
        call(tape, "x", order=2)


def test_a_new_call_of_a_recorded_server_is_a_miss_with_its_own_message(tmp_path: Path) -> None:
    record(tmp_path)
    tape = make_tape(tmp_path, "new")
    with pytest.raises(CassetteMiss, check=check_message):
        call(tape, "x", order=2)
    tape = make_tape(tmp_path, "new")
    tape.tools.note_live_model_call("0")
    assert tape.tools.replays(ask(tape), "0") is False
    assert call(tape, "x", order=2) == ("record", "x")
    assert tape.tools.replays(ask(tape), "0") is False
    assert call(tape, "y") == ("record", "y")


def test_a_compared_or_verified_call_without_a_recording(tmp_path: Path) -> None:
    record(tmp_path)
    tape = make_tape(tmp_path, "verify")
    assert call(tape, "x", order=2) == ("verify", "x")
    assert tape.counts.verified == 0
    check_message(tape.report.notes)
    tape = make_tape(tmp_path, "none", "compare")
    with pytest.raises(CassetteMiss):
        call(tape, "x", order=2)


def test_values_that_differ_in_every_run_are_counted_in_one_note(tmp_path: Path) -> None:
    tape = make_tape(tmp_path, "new")
    for order in (1, 2):
        call(tape, f"2026-01-0{order}T03:04:05Z", order=order)
    tape.close()
    tape = make_tape(tmp_path, "none", "compare")
    for order in (1, 2):
        call(tape, "2026-02-03T04:05:06Z", order=order)
    assert len(tape.report.notes) == 1
    assert tape.report.drifts == []
    check_message(tape.report.notes)


def test_equal_lists_are_recorded_once_until_another_follows(tmp_path: Path) -> None:
    tape = make_tape(tmp_path, "all")
    for text in ("a", "a", "a"):
        call(tape, text, method="tools/list")
    assert tape.counts.recorded == 1
    call(tape, "b", method="tools/list")
    assert tape.counts.recorded == 2
    tape.close()
    tape = make_tape(tmp_path, "none")
    assert [call(tape, "x", method="tools/list")[1] for _ in range(5)] == ["a", "a", "a", "b", "b"]


def test_servers_of_one_label_are_numbered_by_their_first_use(tmp_path: Path) -> None:
    tools = make_tape(tmp_path, "all").tools
    names = [tools.name_server("orders", identity) for identity in ("a", "b", "a", "c", "b")]
    assert names == ["orders", "orders#2", "orders", "orders#3", "orders#2"]
    assert tools.name_server("shop", "b") == "shop"


def test_a_recorded_server_is_known_by_its_address(tmp_path: Path) -> None:
    record(tmp_path)
    tools = make_tape(tmp_path, "none").tools
    assert tools.has_server("mcp:orders")
    assert not tools.has_server("mcp:order")


# Values of functions


class Colour(Enum):
    RED = "red"


@dataclass
class Strict:
    number: int

    def __post_init__(self) -> None:
        if self.number == 1:
            raise ValueError("not again")


@dataclass
class Growing:
    number: int

    def __post_init__(self) -> None:
        self.number += 1


class Changing(Exception):
    def __init__(self, text: str, more: str = "") -> None:
        super().__init__(text)
        self.more = more

    def __str__(self) -> str:
        return f"{id(self)}"


def round_trip(value: Any) -> Any:
    classes = values.find_classes(Colour)
    return values.decode(values.encode_result(value, classes), classes)


def test_values_that_json_does_not_have_come_back() -> None:
    paris = ZoneInfo("Europe/Paris")
    for fold in (0, 1):
        moment = datetime(2026, 10, 25, 2, 30, tzinfo=paris, fold=fold)
        again = round_trip(moment)
        assert (again, again.fold, again.tzinfo.key) == (moment, fold, "Europe/Paris")
    given = [Path("a/b"), {1: "a"}, {"$tuple": [1]}, (1, {2}), Colour.RED, b"\xff", frozenset("a")]
    again = round_trip(given)
    assert again == given
    assert [type(value) for value in again][:1] == [type(Path())]


def test_values_that_do_not_come_back_the_same_are_refused() -> None:
    strict = Strict(2)
    strict.number = 1
    deep: Any = []
    for _ in range(61):
        deep = [deep]
    for value in (strict, Growing(1), deep, Colour.RED):
        classes = values.find_classes(Strict | Growing)
        with pytest.raises(Unrecordable, check=check_message):
            values.encode_result(value, classes)
    deep = deep[0]
    assert values.encode(deep) == deep


def test_errors_that_do_not_come_back_the_same_are_refused() -> None:
    namespace = {"Changing": Changing, "Other": KeyError}
    with pytest.raises(Unrecordable, check=check_message):
        values.encode_error(Changing("a"), namespace)
    error = FileNotFoundError(2, "No such file", "a", None, "b")
    again = values.decode_error(values.encode_error(error, {}), {})
    assert type(again) is FileNotFoundError
    assert (again.filename, again.filename2, str(again)) == ("a", "b", str(error))


def test_annotations_that_cannot_be_evaluated_name_no_class() -> None:
    def missing() -> Missing:  # type: ignore[name-defined]  # noqa: F821
        pass

    def has() -> Colour:
        return Colour.RED

    assert values.read_return_hint(missing) is None
    assert values.read_return_hint(has) is Colour
    assert values.read_hints(missing) == {}
    assert values.read_hints(has) == {"return": Colour}
