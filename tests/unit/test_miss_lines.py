"""Each line of the message for a request, or a message over a WebSocket, that no recording answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.cassettes import miss
from pytest_llmops.cassettes.miss import describe_missing_request, describe_other_take
from pytest_llmops.cassettes.request_key import Question, build_question
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.body import fold_body

URL = "https://api.example.com/v1/chat/completions"
WHERE: Any = {
    "place": "tests/cassettes/test_a/test_x.json",
    "command": "pytest tests/test_a.py::test_x --llm-record=new",
}


def chat(prompt: str, **more: object) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}], **more}


def asked(body: object, url: str = URL, method: str = "POST") -> Question:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return build_question(method, url, {"content-type": "application/json"}, data, Redactor())


def request(body: object, url: str = URL, method: str = "POST") -> Mapping[str, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return {"method": method, "url": url, "body": fold_body(data)}


def said(body: object, *recorded: Mapping[str, Any], **how: str) -> str:
    listed = [(f"#{number:03d}", entry) for number, entry in enumerate(recorded, start=1)]
    return describe_missing_request(asked(body, **how), listed, **WHERE)


def test_more_differing_lines_than_are_shown_are_counted() -> None:
    old = {"prompt": [f"old {number}" for number in range(20)]}
    new = {"prompt": [f"new {number}" for number in range(20)]}
    lines = said(new, request(old)).splitlines()
    assert len([line for line in lines if line.startswith(("    -", "    +"))]) == miss.MAX_DIFF
    assert lines[-2] == "    and 26 more lines differ"


def changed_message(recorded: bytes, sent: bytes, *, what: str = "") -> list[str]:
    question = build_question("WEBSOCKET", "wss://api.openai.com/v1/realtime", {}, b"", Redactor())
    return miss.describe_changed_message(question, 3, recorded, sent, what=what, **WHERE).splitlines()


def test_a_changed_message_over_a_websocket_is_shown_with_its_difference() -> None:
    lines = changed_message(b'{"a":1,"b":"x"}', b'{"a":1,"b":"y"}')
    assert lines == [
        "message 3 over the WebSocket wss://api.openai.com/v1/realtime is not the recorded one",
        f"  cassette  {WHERE['place']}",
        "    - b: x",
        "    + b: y",
        f"  record    {WHERE['command']}",
    ]
    lines = changed_message(b"", b'{"a":1}')
    assert len(lines) == 5
    check_message(lines[2])
    assert lines[3] == "    + a: 1"
    lines = changed_message(b"", b"", what="the sound differs")
    assert lines[2:-1] == ["  reason    the sound differs"]
    old = json.dumps([f"old {number}" for number in range(20)]).encode()
    lines = changed_message(old, old.replace(b"old", b"new"))
    assert len(lines) == miss.MAX_DIFF + 4
    assert lines[-2] == "    and 26 more lines differ"
    at = "2026-01-01T10:00:0"
    lines = changed_message(f'{{"at":"{at}1Z"}}'.encode(), f'{{"at":"{at}2Z"}}'.encode())
    assert lines[2:4] == [f"    - at: {at}1Z", f"    + at: {at}2Z"]
    check_message(lines[4])
    assert len(lines) == 6


def test_a_client_that_stays_silent_is_shown_what_was_recorded() -> None:
    question = build_question("WEBSOCKET", "wss://api.openai.com/v1/realtime", {}, b"", Redactor())
    expected = json.dumps([f"line {number}" for number in range(20)]).encode()
    lines = miss.describe_silent_client(question, expected, seconds=62.5, **WHERE).splitlines()
    check_message(lines[0])
    assert lines[2:-1] == [f"    - [{number}]: line {number}" for number in range(miss.MAX_DIFF)]
    lines = miss.describe_silent_client(question, b"", seconds=62.5, **WHERE).splitlines()
    check_message([lines[0], lines[2]])
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("command", "url", "recorded", "added"),
    [
        ("pytest a.py", "https://api.openai.com/v1/responses", ["http://loopback/v1/embeddings"], "http://localhost:PORT/v1"),
        ("pytest a.py", "https://api.openai.com/v1/responses?x=1", ["https://b/v1/responses"] * 2, "https://b/v1"),
        ("pytest a.py", "https://b/v1/embeddings", ["https://b/v1/responses"], ""),
        ("pytest a.py", "https://a/v1/responses", ["https://b/v1/responses", "https://c/v1/responses"], ""),
        ("pytest a.py", "https://a/v1/responses", ["https://b/v1/messages"], ""),
        ("pytest a.py", "https://a/v1/messages", ["https://b/v1/responses"], ""),
        ("pytest a.py", "https://a/v1/responses", [], ""),
        ("pytest --llm-base-url=x", "https://a/v1/responses", ["https://b/v1/responses"], ""),
        ("import a", "https://a/v1/responses", ["https://b/v1/responses"], ""),
    ],
)  # fmt: skip
def test_the_command_names_the_only_server_of_the_recordings(
    command: str, url: str, recorded: list[str], added: str
) -> None:
    option = f" --llm-base-url={added}" if added else ""
    assert miss.add_base_url(command, url, recorded) == command + option


@pytest.mark.parametrize(
    ("take", "name"),
    [(0, "1"), (9, "10"), (1000, "1 of --llm-again (session 1)"), (2003, "4 of --llm-again (session 2)")],
)
def test_a_take_is_named_by_its_trial(take: int, name: str) -> None:
    assert miss.name_trial(take) == name


def test_the_takes_of_faults_are_named_after_those_of_trials() -> None:
    fault = "1000001"
    one = describe_other_take(asked(chat("a")), fault, [fault, "1"], **WHERE).splitlines()
    other = describe_other_take(asked(chat("a")), "0", [fault], **WHERE).splitlines()
    none = describe_other_take(asked(chat("a")), "0", [], **WHERE).splitlines()
    assert one[2] == "  recorded  for trial 2, the fault rate_limit of a model"
    assert other[2] == "  recorded  for the fault rate_limit of a model"
    assert none[2] == "  recorded  for trial (none)"
    assert one[0].endswith("is not recorded for the fault rate_limit of a model")
    assert other[0].endswith("is not recorded for trial 1")


def test_an_old_recording_of_a_request_is_named_with_its_age() -> None:
    lines = miss.describe_old_recording(asked(chat("a")), "of 1999", "a.json", "pytest").splitlines()
    assert lines == [
        f"the recording of POST {URL} is too old: of 1999",
        "  cassette  a.json",
        "  record    pytest",
    ]


def test_what_explains_a_miss_follows_the_nearest_request() -> None:
    question = asked(chat("a"))
    question = replace(question, unreadable="broken gzip", client_note="an unknown form")
    places = ["a", "b", "c", "d"]
    text = describe_missing_request(question, [], **WHERE, elsewhere=places, traced=["  traced    no"])
    lines = text.splitlines()
    assert lines[2:5] == ["  traced    no", "  body      broken gzip", "  client    an unknown form"]
    assert lines[5].endswith("answers: a, b, c, ...")
    assert lines[6].endswith(f" OLD {WHERE['place']}")
    assert len(lines) == 8
    text = describe_missing_request(question, [], **WHERE, elsewhere=places[:3])
    assert text.splitlines()[-3].endswith("answers: a, b, c")


@pytest.mark.parametrize(
    ("new", "url", "change"),
    [
        ({**chat("b"), "model": "x"}, URL, "messages[0], model"),
        (chat("a"), "https://other.example/v2/else", "address"),
        (chat("a", a=1, b=1, c=1), URL, "a, b, c"),
        (chat("a", a=1, b=1, c=1, d=1, e=1), URL, "a, b, c and 2 more"),
        (b"text", URL, "body"),
    ],
)
def test_a_change_is_named_by_the_members_that_differ(new: Any, url: str, change: str) -> None:
    listed = [("#001", request(chat("a")))]
    assert miss.describe_change(asked(new, url=url), listed) == change
    assert miss.describe_change(asked(new, url=url), []) == "nothing is recorded"
