from __future__ import annotations

import json
from typing import Any

import pytest
from support.server import chat_answer, chat_events, responses_events, stream

from pytest_llmops.cassettes.wire import (
    MAX_DEPTH,
    SPELLINGS,
    check,
    check_answer,
    check_request,
    events,
    fold,
    says,
    unfold,
)
from pytest_llmops.errors import CassetteError

VALUE: dict[str, Any] = {
    "a": "ä 𝄞",
    "b": [1, 1.5, None, True, {}, []],
    "text": "one\ntwo\n",
    "": {"$lines": ["x"], "$": 1},
}


def there_and_back(body: bytes) -> Any:
    """Fold, write as a file does, read, unfold; returns the folded form as a file holds it."""
    folded = json.loads(json.dumps(fold(body), ensure_ascii=False, indent=1).encode())
    assert unfold(folded) == body
    return folded


@pytest.mark.parametrize("tail", ["", "\n"])
@pytest.mark.parametrize("style", SPELLINGS)
def test_json_is_stored_parsed_in_every_spelling(style: str, tail: str) -> None:
    body = (json.dumps(VALUE, **SPELLINGS[style]) + tail).encode()
    folded = there_and_back(body)
    assert folded["style"] == style
    assert folded["json"]["text"] == {"$lines": ["one", "two", ""]}
    assert folded["json"][""] == {"$$lines": ["x"], "$$": 1}


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}',
        '{"a": 1.00}',
        '{"a": 1e5}',
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a":  1}',
        '{"a": "\\u00e4", "b": "ä"}',
        '{"a": "\\/"}',
        '{"a": "\\ud800"}',
        '{"a": 1}\r\n',
        '{"a": 1}\n\n',
        ' {"a": 1}',
        "{broken",
        "[" * 10_000,
        '{"n": 1' + "0" * 5000 + "}",
    ],
)
def test_json_that_would_not_come_back_is_stored_as_text(text: str) -> None:
    assert "text" in there_and_back(text.encode())


@pytest.mark.parametrize("depth", [MAX_DEPTH // 2, MAX_DEPTH, MAX_DEPTH + 2, 400])
def test_deep_json(depth: int) -> None:
    body = ("[" * depth + "]" * depth).encode()
    assert ("json" in there_and_back(body)) == (depth <= MAX_DEPTH)


@pytest.mark.parametrize("body", [b"", b"plain", b"\n", b"a\r\nb", b"data", b"data: x", "ä\u2028b".encode()])
def test_text(body: bytes) -> None:
    assert "text" in there_and_back(body)


@pytest.mark.parametrize("body", [b"\xff", b"\x1f\x8b\x08", b"\xed\xa0\x80", bytes(range(256))])
def test_what_is_no_text_is_base64(body: bytes) -> None:
    assert "base64" in there_and_back(body)


def test_streams_are_one_line_an_event() -> None:
    body = b"".join(stream(chat_events("one two")).chunks)
    folded = there_and_back(body)
    assert folded["says"] == "one two "
    assert len(folded["events"]) == 6
    assert folded["events"][-1] == "data: [DONE]"
    assert events(folded) == list(stream(chat_events("one two")).chunks)


def test_streams_of_responses_say_their_text() -> None:
    folded = there_and_back(b"".join(responses_events("one two")))  # type: ignore[arg-type]
    assert folded["says"] == "one two "
    assert isinstance(folded["events"][0], list)


def test_streams_with_other_line_ends() -> None:
    chunks = stream(chat_events("one two"), end="\r\n\r\n").chunks
    folded = there_and_back(b"".join(chunks))
    assert folded["newline"] == "\r\n"
    assert "\r" not in json.dumps(folded["events"])
    assert events(folded) == list(chunks)


@pytest.mark.parametrize(
    "body",
    [
        b"data: a\n\n\n\n",
        b"data: a\n\n\n",
        b": comment\n\ndata: b\n\n",
        b"data: a\n\ndata: b",
        b"data: a\r\n\r\ndata: b\n\n",
        b"data: a\r\r",
        b"data: \r\n\n\n",
        b"event: x\ndata: a\n\n",
        b"retry: 5\n\n",
        b"data:\n\n",
        b"\n\n",
    ],
)
def test_odd_streams_come_back(body: bytes) -> None:
    there_and_back(body)


def test_long_prompts_are_lines() -> None:
    body = json.dumps({"messages": [{"content": "rule 1\nrule 2"}]}).encode()
    assert there_and_back(body)["json"]["messages"][0]["content"] == {"$lines": ["rule 1", "rule 2"]}


def test_says_takes_the_first_answer_only_and_no_harm() -> None:
    assert says(['data: {"choices": [{"delta": {"content": "a"}}]}', "data: 5", "data: [", "x"]) == "a"
    assert says(['data: {"choices": [1], "type": 3}', 'data: {"choices": {"a": 1}}']) == ""


def test_no_body_is_no_stream() -> None:
    assert events({"text": "x"}) is None


WRONG: list[Any] = [
    None,
    [],
    "text",
    5,
    {},
    {"other": 1},
    {"text": 5},
    {"text": {"a": 1}},
    {"text": [1]},
    {"text": None},
    {"base64": 5},
    {"base64": "!"},
    {"base64": "ä"},
    {"events": "x"},
    {"events": [1]},
    {"events": [["a", 1]]},
    {"events": None},
    {"events": ["a"], "newline": "x"},
    {"events": ["\ud800"]},
    {"json": {}, "style": "other"},
    {"json": {}, "style": []},
    {"json": {}},
    {"json": {}, "style": "compact", "tail": 5},
    {"json": {"$lines": 5}, "style": "compact"},
    {"json": {"$lines": [5]}, "style": "compact"},
    {"json": {"a": "\ud800"}, "style": "compact"},
]


@pytest.mark.parametrize("stored", WRONG, ids=repr)
def test_what_is_no_body_is_a_cassette_error(stored: Any) -> None:
    with pytest.raises(CassetteError, match=r"^a body"):
        unfold(stored)
    try:
        assert events(stored) is None
    except CassetteError as error:
        assert str(error).startswith("a body")  # noqa: PT017


def test_check_looks_at_the_shape_only() -> None:
    check({"base64": "!"})
    with pytest.raises(CassetteError, match="got the keys other"):
        check({"other": 1})


ANSWER = {"status": 200, "headers": {"content-type": "x"}, "latency_s": 0.1, "body": fold(b"{}")}
REQUEST = {"method": "POST", "url": "http://h/", "body": fold(b"{}")}


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("status", "200"),
        ("status", None),
        ("status", True),
        ("headers", []),
        ("headers", {"a": 1}),
        ("latency_s", "1"),
        ("ttft_s", True),
        ("body", None),
        ("body", {"text": 1}),
    ],
)
def test_check_answer(key: str, wrong: Any) -> None:
    check_answer(ANSWER)
    with pytest.raises(CassetteError):
        check_answer({**ANSWER, key: wrong})


@pytest.mark.parametrize(("key", "wrong"), [("method", None), ("url", 5), ("body", {"json": 1}), ("body", 3)])
def test_check_request(key: str, wrong: Any) -> None:
    check_request(REQUEST)
    with pytest.raises(CassetteError):
        check_request({**REQUEST, key: wrong})


@pytest.mark.parametrize("wrong", [None, [], "x", 5])
def test_check_wants_objects(wrong: Any) -> None:
    for checked in (check_answer, check_request):
        with pytest.raises(CassetteError, match="expected an object"):
            checked(wrong)


def test_a_real_answer_is_readable() -> None:
    body = json.dumps(chat_answer("hello")).encode()
    assert there_and_back(body)["json"]["choices"][0]["message"]["content"] == "hello"
