"""What counts as a change between a recorded answer and today's, and the mode that asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.cassettes import files
from support.messages import check_message
from support.server import chat_answer, chat_events, embedding_answer
from support.tapes import ask, call, recorded, says

from pytest_llmops.cassettes.drift import Drift, compare_answers
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.request_key import build_question as question_of
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.settings import Settings

CHAT = "https://api.openai.com/v1/chat/completions"


def question(url: str = CHAT, body: object = None) -> Question:
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} if body is None else body
    return question_of(
        "POST", url, {"content-type": "application/json"}, json.dumps(asked).encode(), Redactor()
    )


def answer(value: object, status: int = 200, kind: str = "application/json") -> Answer:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Answer(status, {"content-type": kind}, body)


def streamed(text: str) -> Answer:
    lines = [event if isinstance(event, str) else json.dumps(event) for event in chat_events(text)]
    return answer("".join(f"data: {line}\n\n" for line in lines).encode(), kind="text/event-stream")


def tool(arguments: str) -> dict[str, Any]:
    entry = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": arguments}}
    return chat_answer("", tool_calls=[entry])


def test_the_same_bytes_are_the_same() -> None:
    assert compare_answers(question(), answer(chat_answer("hi")), answer(chat_answer("hi"))) is None


def test_ids_times_and_token_counts_do_not_count() -> None:
    later = {
        **chat_answer("hi"),
        "id": "chatcmpl-9",
        "created": 99,
        "usage": {"prompt_tokens": 9, "completion_tokens": 9},
    }
    assert compare_answers(question(), answer(chat_answer("hi")), answer(later)) is None
    assert compare_answers(question(), streamed("hi there"), streamed("hi  there")) is None


def test_another_text_is_told_with_its_likeness() -> None:
    answers = compare_answers(
        question(), answer(chat_answer("the sky is blue")), answer(chat_answer("the sky is grey"))
    )
    assert answers is not None
    assert (answers.what, answers.recorded, answers.now) == ("text", "the sky is blue", "the sky is grey")
    assert answers.similarity is not None
    assert 0 < answers.similarity < 1
    assert answers.to_wire()["similarity"] == answers.similarity


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        (answer(chat_answer("a")), answer({"error": {"message": "no"}}, 404), "status"),
        (answer(chat_answer("a")), answer(chat_answer("a", model="m2")), "model"),
        (answer(tool('{"a": 1}')), answer(tool('{"a": 2}')), "tool calls"),
        (streamed("a b"), streamed("a c"), "text"),
        (answer(b"plain"), answer(b"other"), "body"),
    ],
)
def test_what_changed_is_named(before: Answer, after: Answer, what: str) -> None:
    answers = compare_answers(question(), before, after)
    assert answers is not None
    assert answers.what == what


def test_the_spelling_of_tool_arguments_does_not_count() -> None:
    assert (
        compare_answers(question(), answer(tool('{"a": 1, "b": 2}')), answer(tool('{"b":2,"a":1}'))) is None
    )
    assert compare_answers(question(), answer(tool("{broken")), answer(tool("{broken "))) is not None


def test_another_finish_reason_is_a_drift() -> None:
    cut = chat_answer("a")
    cut["choices"][0]["finish_reason"] = "length"
    answers = compare_answers(question(), answer(chat_answer("a")), answer(cut))
    assert answers is not None
    assert (answers.what, answers.recorded, answers.now) == ("finish reason", "stop", "length")


def test_vectors_are_not_compared() -> None:
    asked = {"model": "e", "input": "abc"}
    same, other = embedding_answer(asked), embedding_answer({**asked, "input": "abcd"})
    first = question("https://api.openai.com/v1/embeddings", asked)
    assert compare_answers(first, answer(same), answer(other)) is None


def test_a_drift_without_texts_has_no_likeness() -> None:
    assert "similarity" not in Drift("q", "model", "a", "b").to_wire()


def test_verify_asks_compares_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cassettes" / "a.json"
    recorded(path, ("one", "1"), ("two", "2"), ("two", "2b"))
    before = path.read_bytes()
    tape = Tape(path, "verify")
    assert call(tape, "one", "1") == "1"
    assert call(tape, "two", "2") == "2"
    assert call(tape, "two", "changed") == "changed"
    assert call(tape, "three", "new") == "new"
    counts = tape.close()
    assert (counts.verified, counts.drifted, counts.recorded, counts.replayed) == (3, 1, 0, 0)
    assert [(drift.what, drift.recorded, drift.now) for drift in tape.report.drifts] == [
        ("body", "2b", "changed")
    ]
    check_message(tape.report.notes)
    assert path.read_bytes() == before
    assert files(tmp_path) == ["cassettes", "cassettes/a.json"]


def test_verify_does_not_compare_what_says_something_about_the_moment(tmp_path: Path) -> None:
    path = tmp_path / "cassettes" / "a.json"
    recorded(path, ("one", "1"))
    tape = Tape(path, "verify")
    asked = ask(tape, "one")
    assert tape.claim(asked) is None
    tape.record(asked, says("slow down", 429))
    assert tape.claim(asked) is None
    tape.record(asked, says("1"))
    assert (tape.report.counts.verified, tape.report.counts.drifted) == (1, 0)
    check_message(tape.report.notes)


def test_verify_compares_what_secrets_left(tmp_path: Path) -> None:
    path = tmp_path / "cassettes" / "a.json"
    redactor = Redactor(known={"hunter2hunter2"})
    recorded(path, ("one", "the key is hunter2hunter2"), redactor=redactor)
    tape = Tape(path, "verify", TapeConfig(redactor=redactor))
    call(tape, "one", "the key is hunter2hunter2")
    assert tape.report.drifts == []


@pytest.mark.slow
@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 503])
def test_errors_are_recorded_on_request_and_replayed_without_their_wait(tmp_path: Path, status: int) -> None:
    path = tmp_path / "cassettes" / "a.json"
    tape = Tape(path, "new", TapeConfig(settings=Settings(record_errors=True)))
    for text in (says("busy", status, **{"retry-after": "30"}), says("fine")):
        asked = ask(tape, "q")
        assert tape.claim(asked) is None
        tape.record(asked, text)
    tape.close()
    two = Tape(path)
    busy, fine = two.claim(ask(two, "q")), two.claim(ask(two, "q"))
    assert busy is not None
    assert fine is not None
    assert (busy.status, busy.headers["retry-after"], busy.headers["retry-after-ms"]) == (status, "0", "1")
    assert (fine.status, fine.body) == (200, b"fine")


@pytest.mark.parametrize("status", [401, 403, 407])
def test_answers_about_the_caller_are_never_recorded(tmp_path: Path, status: int) -> None:
    path = tmp_path / "cassettes" / "a.json"
    tape = Tape(path, "new", TapeConfig(settings=Settings(record_errors=True)))
    tape.record(ask(tape, "q"), says("who are you", status))
    tape.close()
    assert not path.exists()
    check_message(tape.report.notes)
