"""A judge whose replies cannot be read: called again, given up after three in a row, and shown in the failure text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.messages import check_message

from pytest_llmops import recorder
from pytest_llmops.cassettes import judge_calls
from pytest_llmops.cassettes.judge_calls import Source, check_may_go_out, note_call
from pytest_llmops.errors import BudgetReached, CassetteMiss, ModelError
from pytest_llmops.judges.protocol import unreadable_replies
from pytest_llmops.judges.protocol.reply_form import Reply
from pytest_llmops.judges.protocol.unreadable_replies import (
    MAX_IN_A_ROW,
    MAX_QUOTED_CHARS,
    AskedJudge,
    ask_judge,
    without_limit,
)
from pytest_llmops.settings import Settings

JUDGE = AskedJudge("tone", "judge-model", "f1")
GOOD = Reply(score=1.0, raw="good")
BAD = Reply(error="no verdict", raw="bad", is_unreadable=True)
NO_REPLY = Reply(error="no reply")


@pytest.fixture
def running() -> Iterator[recorder.Recorder]:
    """A running test of a run of its own."""
    mine = recorder.Recorder(settings=Settings())
    recorder.push_recorder(mine)
    yield mine
    recorder.pop_recorder(mine)


class Tape:
    """A tape with recordings, and the requests that went out live."""

    def __init__(self) -> None:
        self.mode = "new"
        self.forgotten: list[BaseException] = []
        self.dropped: list[str] = []
        self.taken_back: list[str] = []
        given = SimpleNamespace(count=lambda *_: 1, take_back=lambda key, _take: self.taken_back.append(key))
        self.player = SimpleNamespace(given=given)
        self.sharing = SimpleNamespace(find_answer=lambda *_: None)
        self.recorder = SimpleNamespace(
            drop_unless_requested=lambda key, _take: self.dropped.append(key),
        )
        self.config = SimpleNamespace(
            settings=SimpleNamespace(changed=False),
            attempt=0,
            owner="t",
            command="pytest --llm-record=new t",
        )
        self.forget_refusal = self.forgotten.append


@pytest.fixture
def tape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tape:
    tape = Tape()
    monkeypatch.setattr(judge_calls, "current_folder", lambda: tmp_path)
    monkeypatch.setattr(unreadable_replies, "current_tape", lambda: tape)
    return tape


class Asks:
    """The replies to a question, one after the other, each from a source; an error is raised instead."""

    def __init__(self, tape: Tape, key: str, *replies: tuple[Source, Reply | BaseException]) -> None:
        self._tape, self._key, self._replies = cast("Any", tape), key, list(replies)

    def __call__(self) -> Reply:
        source, reply = self._replies.pop(0)
        if source == "live":
            check_may_go_out()
        note_call(self._tape, cast("Any", SimpleNamespace(key=self._key)), "0", None, source)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    @property
    def left(self) -> int:
        return len(self._replies)


def ask_live(tape: Tape, *keys: str, reply: Reply = BAD, judge: AskedJudge = JUDGE) -> list[Reply]:
    return [ask_judge(judge, Asks(tape, key, ("live", reply)), "a number") for key in keys]


def test_a_readable_reply_is_returned_and_leaves_nothing(running: recorder.Recorder, tape: Tape) -> None:
    ask = Asks(tape, "a", ("recorded", GOOD), ("live", BAD))
    assert ask_judge(JUDGE, ask, "a number") == GOOD
    assert (ask.left, running.unreadable, running.facts) == (1, [], {})


def test_a_recorded_unreadable_reply_is_requested_again(running: recorder.Recorder, tape: Tape) -> None:
    ask = Asks(tape, "a", ("recorded", BAD), ("live", GOOD))
    assert ask_judge(JUDGE, ask, "a number") == GOOD
    assert (tape.taken_back, tape.dropped, running.unreadable) == (["a"], ["a"], [])


def test_a_live_unreadable_reply_is_not_requested_again(running: recorder.Recorder, tape: Tape) -> None:
    ask = Asks(tape, "a", ("live", BAD), ("live", GOOD))
    assert ask_judge(JUDGE, ask, "a number") == BAD
    assert ask.left == 1
    (verdict,) = running.unreadable
    check_message(verdict.lines)
    assert [label for label, _ in verdict.lines] == ["model", "reply", "expected", "ask again"]
    assert verdict.command == ""


def test_a_question_that_is_asked_again_in_vain_is_asked_once_a_run(
    running: recorder.Recorder, tape: Tape
) -> None:
    first = Asks(tape, "a", ("recorded", BAD), ("live", BAD))
    assert ask_judge(JUDGE, first, "a number") == BAD
    assert first.left == 0
    tape.config.owner = "another test"
    second = Asks(tape, "a", ("recorded", BAD), ("live", GOOD))
    assert ask_judge(JUDGE, second, "a number") == BAD
    assert second.left == 1
    assert [verdict.command for verdict in running.unreadable] == ["", tape.config.command]


def test_without_new_recordings_a_recorded_reply_stays_and_the_failure_shows_how_to_ask_again(
    running: recorder.Recorder, tape: Tape
) -> None:
    tape.mode = "none"
    long = Reply(error="no verdict", raw="x" * 500, is_unreadable=True)
    ask = Asks(tape, "a", ("recorded", long), ("live", GOOD))
    assert ask_judge(JUDGE, ask, "a number") == long
    (verdict,) = running.unreadable
    assert verdict.command == "pytest --llm-record=new t"
    lines = dict(verdict.lines)
    assert (lines["expected"], lines["ask again"]) == ("a number", "pytest --llm-record=new t")
    assert lines["reply"].startswith('"' + "x" * MAX_QUOTED_CHARS + "... (+")
    check_message(lines["model"])


def test_a_run_that_replays_nothing_shows_no_command(running: recorder.Recorder, tape: Tape) -> None:
    tape.mode = "live"
    ask_live(tape, "a")
    (verdict,) = running.unreadable
    assert [label for label, _ in verdict.lines] == ["model", "reply", "expected"]


@pytest.mark.parametrize(
    "error", [ModelError("down\nmore", kind="server"), CassetteMiss("no [LLM-MISS]"), BudgetReached("spent")]
)
def test_if_the_new_call_fails_the_recorded_reply_stays_with_the_reason(
    running: recorder.Recorder, tape: Tape, error: BaseException
) -> None:
    ask = Asks(tape, "a", ("recorded", BAD), ("live", error))
    reply = ask_judge(JUDGE, ask, "a number")
    check_message(reply.error)
    assert (reply.raw, reply.is_unreadable, tape.dropped) == ("bad", True, [])
    assert tape.forgotten == ([] if isinstance(error, ModelError) else [error])
    (verdict,) = running.unreadable
    assert verdict.command == tape.config.command


def test_after_three_questions_in_a_row_a_judge_is_not_called_again(
    running: recorder.Recorder, tape: Tape
) -> None:
    assert ask_live(tape, "a", "b", "c") == [BAD] * MAX_IN_A_ROW
    running.unreadable.clear()
    (given_up,) = ask_live(tape, "d", reply=GOOD)
    check_message(given_up.error)
    assert given_up == Reply(error=JUDGE.why_given_up)
    assert running.facts == {"given_up_judges": {"tone": "judge-model"}}
    (verdict,) = running.unreadable
    check_message(verdict.lines)
    assert (verdict.lines[1], verdict.command) == (("ask again", tape.config.command), "")


def test_a_judge_that_was_given_up_still_reads_its_recordings(running: recorder.Recorder, tape: Tape) -> None:
    ask_live(tape, "a", "b", "c")
    assert ask_judge(JUDGE, Asks(tape, "d", ("recorded", GOOD)), "a number") == GOOD
    recorded = ask_judge(JUDGE, Asks(tape, "e", ("recorded", BAD), ("live", GOOD)), "a number")
    assert (recorded.error, recorded.raw) == (JUDGE.why_given_up, "bad")
    assert running.facts == {"given_up_judges": {"tone": "judge-model"}}


def test_each_judge_of_a_run_is_given_up_by_itself(running: recorder.Recorder, tape: Tape) -> None:
    other = AskedJudge("order", "judge-model", "f2")
    ask_live(tape, "a", "b", "c")
    assert ask_live(tape, "a", reply=GOOD, judge=other) == [GOOD]
    ask_live(tape, "a", "b", "c", judge=other)
    ask_live(tape, "d")
    ask_live(tape, "d", judge=other)
    assert running.facts == {"given_up_judges": {"tone": "judge-model", "order": "judge-model"}}


def test_another_run_begins_anew(running: recorder.Recorder, tape: Tape) -> None:
    ask_live(tape, "a", "b", "c")
    running.settings = Settings()
    assert ask_live(tape, "d", reply=GOOD) == [GOOD]


@pytest.mark.parametrize(
    ("keys", "between", "is_given_up"),
    [
        (["a", "a", "b", "b"], [], False),  # trials ask the same question
        (["a", "b"], [("c", "live", GOOD)], False),
        (["a", "b"], [("c", "live", NO_REPLY)], True),
        (["a", "b"], [("c", "recorded", GOOD)], True),
        (["a", "b"], [("c", "shared", GOOD)], True),
    ],
)
def test_only_different_questions_in_a_row_that_were_answered_now_count(
    running: recorder.Recorder,
    tape: Tape,
    keys: list[str],
    between: list[tuple[str, Source, Reply]],
    is_given_up: bool,
) -> None:
    ask_live(tape, *keys)
    for key, source, reply in between:
        ask_judge(JUDGE, Asks(tape, key, (source, reply)), "a number")
    ask_live(tape, keys[0] if not between else "z")
    (last,) = ask_live(tape, "last", reply=GOOD)
    assert (last != GOOD) is is_given_up
    assert bool(running.facts) is is_given_up


def test_a_block_without_the_limit_neither_counts_nor_gives_up(
    running: recorder.Recorder, tape: Tape
) -> None:
    with without_limit():
        ask_live(tape, "a", "b", "c", "d")
    assert ask_live(tape, "e") == [BAD]
    ask_live(tape, "f", "g")
    with without_limit():
        assert ask_live(tape, "h", reply=GOOD) == [GOOD]
    assert ask_live(tape, "i", reply=GOOD) == [Reply(error=JUDGE.why_given_up)]


def test_without_a_tape_there_is_no_command_and_no_limit(
    running: recorder.Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unreadable_replies, "current_tape", lambda: None)
    replies = [ask_judge(JUDGE, lambda: BAD, "a number") for _ in range(5)]
    assert replies == [BAD] * 5
    assert [len(verdict.lines) for verdict in running.unreadable] == [3] * 5
