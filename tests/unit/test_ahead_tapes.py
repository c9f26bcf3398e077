"""Tapes of a run that sends requests ahead: which calls are put off, which answers are kept, and who gets them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from support.silent import URL, answer_of, make_asker
from support.tapes import ask as ask_tape
from support.tapes import make_tape, recorded, stored

from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes import JUDGE_PURPOSE, deferred_calls, outgoing_request, store
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.shared_answers import SharedAnswers
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.errors import CallDeferred, CassetteError, CassetteMiss, SilentWriteRefused
from pytest_llmops.harness.ahead.answers import AnswerStore, Place
from pytest_llmops.harness.ahead.tapes import (
    MAX_DEFERRALS,
    ClaimingTape,
    CollectingTape,
    PendingRequest,
    PhaseState,
    SilentRun,
    find_place,
)


@pytest.fixture
def state() -> Iterator[PhaseState]:
    state = PhaseState(AnswerStore())
    yield state
    state.store.journals.close()


def new_tape(
    state: PhaseState, path: Path, mode: RecordMode = "new", kind: Any = CollectingTape, **config: Any
) -> Any:
    return state.make_tape(kind, path / "a.json", mode, TapeConfig(**config))


def make_question(tape: Any, text: str) -> Question:
    body = json.dumps({"ask": text}).encode()
    question: Question = tape.make_question("POST", URL, {"content-type": "application/json"}, body)
    return question


def put_off(tape: Any, text: str, outgoing: tuple[Any, ...] | None = (None, "transport", "request")) -> Place:
    """Let a test ask, and return the place of its call, which is put off."""
    token = outgoing_request.set(outgoing)
    try:
        with pytest.raises(CallDeferred) as deferred:
            tape.claim(make_question(tape, text))
    finally:
        outgoing_request.reset(token)
    return cast("Place", deferred.value.place)


def test_a_call_is_put_off_with_all_that_is_needed_to_send_it(tmp_path: Path, state: PhaseState) -> None:
    tape = new_tape(state, tmp_path)
    deferred_calls.clear()
    place = put_off(tape, "x")
    pending = state.run.requests[place]
    assert place == Place(str(tape.path), make_question(tape, "x").key, "0", 0)
    assert (pending.tape, pending.purpose) == (tape, "app")
    assert (pending.module, pending.transport, pending.request) == (None, "transport", "request")
    assert pending.question.body == b'{"ask": "x"}'
    assert (state.run.waits, state.run.in_line, deferred_calls) == (set(), "", [place])


def test_only_the_first_call_of_a_job_counts(tmp_path: Path, state: PhaseState) -> None:
    tape = new_tape(state, tmp_path)
    first = put_off(tape, "first")
    put_off(tape, "of its tear-down")
    assert list(state.run.requests) == [first]
    of_thread: list[Place] = []
    thread = threading.Thread(target=lambda: of_thread.append(put_off(tape, "of a thread")))
    thread.start()
    thread.join()
    assert list(state.run.requests) == [first, *of_thread]


def test_a_job_that_goes_on_all_the_same_makes_its_calls_at_once(tmp_path: Path, state: PhaseState) -> None:
    tape = new_tape(state, tmp_path)
    for number in range(MAX_DEFERRALS):
        put_off(tape, f"{number}")
    assert state.run.in_line == ""
    question = make_question(tape, "at once")
    assert tape.claim(question) is None
    assert state.run.in_line
    tape.record(question, answer_of(question.body))
    place = find_place(tape, question, "0", 0)
    assert place in state.sent
    assert place in state.store.answers
    again = new_tape(state, tmp_path)
    assert again.claim(question).status == 200
    assert state.used == {place}


def test_an_answer_of_another_run_is_waited_for(tmp_path: Path, state: PhaseState) -> None:
    place = put_off(new_tape(state, tmp_path), "x")
    state.sent.add(place)
    state.run = SilentRun()
    put_off(new_tape(state, tmp_path), "x")
    assert (state.run.requests, state.run.waits, state.run.in_line) == ({}, {place}, "")


def test_a_call_that_failed_or_has_another_client_is_in_line(tmp_path: Path, state: PhaseState) -> None:
    place = put_off(new_tape(state, tmp_path), "x", None)
    assert state.run.requests == {}
    assert state.run.in_line
    state.failed[place] = "status 401"
    state.run = SilentRun()
    put_off(new_tape(state, tmp_path), "x")
    assert (state.run.requests, state.run.in_line) == ({}, "status 401")


def test_a_call_whose_server_cannot_be_used_is_refused_at_once(tmp_path: Path, state: PhaseState) -> None:
    tape = new_tape(state, tmp_path, why_not_called=lambda _: "the server has no such model")
    with pytest.raises(CassetteMiss, match="no such model"):
        tape.claim(make_question(tape, "x"))
    assert state.run.requests == {}


def test_equal_requests_and_other_takes_have_their_own_answers(tmp_path: Path, state: PhaseState) -> None:
    tape = new_tape(state, tmp_path)
    question = make_question(tape, "same")
    places = [find_place(tape, question, take, n) for take, n in (("0", 0), ("0", 1), ("1", 0))]
    for number, place in enumerate(places):
        body = json.dumps({"text": f"answer {number}"}).encode()
        pending = PendingRequest(place, question, tape, "app")
        tape.keep_ahead(pending, Answer(200, {"content-type": "application/json"}, body))
    reader = new_tape(state, tmp_path, kind=ClaimingTape)
    assert [json.loads(reader.claim(question).body)["text"] for _ in range(2)] == ["answer 0", "answer 1"]
    assert list(state.store.answers) == [places[2]]


def test_only_judges_share_answers_among_tests(
    tmp_path: Path, state: PhaseState, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = new_tape(state, tmp_path, shared_answers=SharedAnswers())
    alone = new_tape(state, tmp_path)
    question = make_question(shared, "x")
    assert find_place(shared, question, "0", 0).cassette == str(shared.path)
    monkeypatch.setattr("pytest_llmops.harness.ahead.tapes.current_purpose", lambda: JUDGE_PURPOSE)
    assert find_place(alone, question, "0", 0).cassette == str(alone.path)
    place = find_place(shared, question, "2", 1)
    assert (place.cassette, place.take, place.n) == ("", "2", 1)


def test_a_recorded_answer_is_replayed_and_not_asked_again(tmp_path: Path, state: PhaseState) -> None:
    recorded(tmp_path / "a.json", ("x", "1"))
    tape = new_tape(state, tmp_path)
    question = ask_tape(tape, "x")
    assert tape.claim(question).body == b"1"
    assert tape.close().recorded == 0


@pytest.mark.parametrize(("status", "is_kept"), [(200, True), (400, True), (429, False), (500, False)])
def test_only_an_answer_that_a_recording_would_hold_is_kept(
    tmp_path: Path, state: PhaseState, status: int, *, is_kept: bool
) -> None:
    tape = new_tape(state, tmp_path)
    place = put_off(tape, "x")
    answer = Answer(status, {"content-type": "application/json"}, b"{}")
    assert tape.keep_ahead(state.run.requests[place], answer) is is_kept
    assert (place in state.store.answers) is is_kept
    assert bool(state.store.journals.paths) is is_kept


@pytest.mark.parametrize(("mode", "batched"), [("live", False), ("verify", False), ("new", True)])
def test_an_answer_that_no_cassette_holds_or_the_vendor_keeps_is_in_no_journal(
    tmp_path: Path, state: PhaseState, mode: RecordMode, *, batched: bool
) -> None:
    tape = new_tape(state, tmp_path, mode)
    place = put_off(tape, "x")
    pending = state.run.requests[place]
    tape.prepare_call(pending.question)
    prepared = len(state.store.journals.paths)
    assert tape.keep_ahead(pending, replace(answer_of(pending.question.body), is_batched=batched))
    assert place in state.store.answers
    assert prepared == (mode == "new")
    assert [path.stat().st_size for path in state.store.journals.paths] == [0] * prepared


@pytest.mark.parametrize("mode", ["new", "all"])
def test_an_answer_is_on_disk_before_it_is_claimed(
    tmp_path: Path, state: PhaseState, mode: RecordMode
) -> None:
    tape = new_tape(state, tmp_path, mode, owner="test_a.py::test_b")
    place = put_off(tape, "x")
    tape.keep_ahead(state.run.requests[place], answer_of(b'{"ask": "x"}'))
    state.store.journals.close()
    loaded = store.load_with_journals(tmp_path / "a.json")  # as the next run does after a kill
    assert [entry.answers["0"][0]["body"]["json"] for entry in loaded.values()] == [{"text": "echo of x"}]


@pytest.mark.parametrize(("mode", "again"), [("new", False), ("all", True)])
def test_an_answer_replaces_a_recorded_one_only_where_everything_is_recorded_anew(
    tmp_path: Path, state: PhaseState, mode: RecordMode, *, again: bool
) -> None:
    tape = new_tape(state, tmp_path, mode)
    place = put_off(tape, "x")
    pending = state.run.requests[place]
    entry = tape._make_entry(pending, {"status": 200})
    assert (entry.again, entry.key, entry.take, entry.n) == (again, place.key, "0", 0)
    assert (entry.request["method"], entry.request["url"]) == ("POST", URL)
    assert entry.request["body"]["json"] == {"ask": "x"}
    assert entry.answer == {"status": 200}


def test_an_answer_that_could_not_be_written_stops_the_call_before(
    tmp_path: Path, state: PhaseState, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise CassetteError("no space left")

    tape = new_tape(state, tmp_path)
    place = put_off(tape, "x")
    noted: list[object] = []
    monkeypatch.setattr(type(tape.recorder), "note_failed_write", lambda _, error: noted.append(error))
    monkeypatch.setattr(state.store.journals, "write", fail)
    with pytest.raises(CassetteError, match="no space left"):
        tape.keep_ahead(state.run.requests[place], answer_of(b'{"ask": "x"}'))
    assert (len(noted), state.store.answers) == (1, {})


def test_tools_are_called_by_the_reported_test_only(tmp_path: Path, state: PhaseState) -> None:
    tape = new_tape(state, tmp_path)
    question = replace(make_question(tape, "x"), method="TOOL", url="mcp://shop/buy")
    with pytest.raises(SilentWriteRefused, match="mcp://shop/buy"):
        tape.claim_tool(question)


def test_a_server_of_tools_is_started_by_the_reported_test_only(
    tmp_path: Path, state: PhaseState, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = new_tape(state, tmp_path)
    question = make_question(tape, "x")
    monkeypatch.setattr(Tape, "starts_tools", lambda *_: False)
    assert tape.starts_tools(question, "0") is False
    monkeypatch.setattr(Tape, "starts_tools", lambda *_: True)
    with pytest.raises(SilentWriteRefused, match=r"model\.example"):
        tape.starts_tools(question, "0")


def choose_always(tape: Any, monkeypatch: pytest.MonkeyPatch, action: str) -> list[str]:
    """Let all calls of tools be handled in one way, and return the takes in which they were made."""
    takes: list[str] = []

    def choose_action(_: object, _question: object, take: str) -> str:
        takes.append(take)
        return action

    monkeypatch.setattr(type(tape.tools), "choose_action", choose_action)
    monkeypatch.setattr(Tape, "claim_tool", lambda *_: "recorded")
    return takes


def test_a_recorded_answer_of_a_tool_is_given_silently(
    tmp_path: Path, state: PhaseState, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = new_tape(state, tmp_path)
    takes = choose_always(tape, monkeypatch, "replay")
    assert tape.claim_tool(make_question(tape, "x")) == "recorded"
    assert tape.claim_tool(make_question(tape, "x"), "2") == "recorded"
    assert takes == ["0", "2"]


@pytest.mark.parametrize("action", ["record", "verify", "compare", "pass"])
def test_a_tool_that_would_be_called_ends_the_silent_run(
    tmp_path: Path, state: PhaseState, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    tape = new_tape(state, tmp_path)
    choose_always(tape, monkeypatch, action)
    with pytest.raises(SilentWriteRefused):
        tape.claim_tool(make_question(tape, "x"))


def ask_ahead(state: PhaseState, path: Path, *texts: str, mode: RecordMode = "new", **config: Any) -> None:
    """Let the answers to requests come before their test runs."""
    tape = new_tape(state, path, mode, **config)
    for text in texts:
        state.run = SilentRun()
        place = put_off(tape, text)
        tape.keep_ahead(state.run.requests[place], answer_of(json.dumps({"ask": text}).encode()))


def test_a_reported_test_records_the_answers_that_came_before(tmp_path: Path, state: PhaseState) -> None:
    ask_ahead(state, tmp_path, "a", "b")
    tape = new_tape(state, tmp_path, kind=ClaimingTape)
    state.test = "test_a.py::test_b"
    live: list[str] = []
    ask = make_asker(tape, live=live)
    assert [ask(text) for text in "ab"] == ["echo of a", "echo of b"]
    assert (live, state.not_ahead, state.closed) == ([], set(), set())
    assert ask("c") == "echo of c"
    assert (live, state.not_ahead) == (["c"], {"test_a.py::test_b"})
    assert tape.close().recorded == 3
    assert state.closed == {str(tape.path)}
    assert len(stored(tape.path)) == 3
    replay = make_tape(tape.path)
    assert make_asker(replay)("a") == "echo of a"


def test_an_answer_is_recorded_as_the_test_has_read_it(tmp_path: Path, state: PhaseState) -> None:
    """A stream that a test leaves is recorded as far as it was read."""
    ask_ahead(state, tmp_path, "a")
    tape = new_tape(state, tmp_path, kind=ClaimingTape)
    question = make_question(tape, "a")
    answer = tape.claim(question)
    answer.amend(replace(answer, body=b'{"text": "cut"}'))
    tape.close()
    assert make_asker(make_tape(tape.path))("a") == "cut"


def test_with_verify_a_claimed_answer_is_compared_and_not_recorded(tmp_path: Path, state: PhaseState) -> None:
    first = make_tape(tmp_path / "a.json", "new")
    make_asker(first)("a")
    first.close()
    before = first.path.read_bytes()
    ask_ahead(state, tmp_path, "a", mode="verify")
    tape = new_tape(state, tmp_path, "verify", ClaimingTape)
    assert make_asker(tape)("a") == "echo of a"
    assert tape.close().recorded == 0
    assert first.path.read_bytes() == before
    assert state.store.claimed == 1


def test_the_answer_of_a_judge_serves_all_tests_and_is_recorded_by_each(
    tmp_path: Path, state: PhaseState, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    shared = SharedAnswers(lambda: folder)
    monkeypatch.setattr("pytest_llmops.harness.ahead.tapes.current_purpose", lambda: JUDGE_PURPOSE)
    ask_ahead(state, tmp_path, "verdict", shared_answers=shared)
    (place,) = state.store.answers
    assert place.cassette == ""
    kept: list[bool] = []
    keep = Tape.keep_answer

    def note(*arguments: Any, is_shared: bool, in_run_journal: bool) -> None:
        kept.append(is_shared)
        keep(*arguments, is_shared=is_shared, in_run_journal=in_run_journal)

    monkeypatch.setattr(Tape, "keep_answer", note)
    tape = new_tape(state, tmp_path, kind=ClaimingTape, shared_answers=shared)
    assert make_asker(tape)("verdict") == "echo of verdict"
    tape.close()
    assert kept == [True]
    ask_ahead(state, tmp_path, "own")
    monkeypatch.setattr("pytest_llmops.harness.ahead.tapes.current_purpose", lambda: "app")
    reader = new_tape(state, tmp_path, kind=ClaimingTape)
    assert make_asker(reader)("own") == "echo of own"
    reader.close()
    assert kept == [True, False]
