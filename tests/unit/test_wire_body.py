from __future__ import annotations

import json
from typing import Any

import pytest
from support.messages import check_message
from support.server import chat_answer, chat_events, responses_events, stream

from pytest_llmops.errors import CassetteError
from pytest_llmops.wire.aws_event_stream import Frame, pack_frames
from pytest_llmops.wire.body import (
    check_answer,
    check_body,
    check_request,
    fold_body,
    unfold_body,
    unfold_stream,
)
from pytest_llmops.wire.folding import MAX_DEPTH, SPELLINGS
from pytest_llmops.wire.stream_events import stream_text

VALUE: dict[str, Any] = {
    "a": "ä 𝄞",
    "b": [1, 1.5, None, True, {}, []],
    "text": "one\ntwo\n",
    "": {"$lines": ["x"], "$": 1},
}


def there_and_back(body: bytes) -> Any:
    """Fold, write as a file does, read, unfold; returns the folded form as a file holds it."""
    folded = json.loads(json.dumps(fold_body(body), ensure_ascii=False, indent=1).encode())
    assert unfold_body(folded) == body
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
        '{"a": "\\ud800"}',
        '{"a": "\\u003c", "b": "<"}',
        '{"a": "\\u003c", "b": "\\u003C"}',
        '{"a": "\\u0009"}',
        '{"a": "\\u0074rue", "b": true}',
        "{broken",
        "[" * 10_000,
        '{"n": 1' + "0" * 5000 + "}",
    ],
)
def test_json_that_would_not_come_back_is_stored_as_text(text: str) -> None:
    assert "text" in there_and_back(text.encode())


@pytest.mark.parametrize(
    ("text", "beside"),
    [
        ('{"a": "\\/"}', {"style": "spaced", "escapes": ["\\/"]}),
        ('{"a":"\\u003cb\\u003e","ä":1}', {"style": "compact", "escapes": ["\\u003c", "\\u003e"]}),
        ('{"a":"\\u003Cä"}', {"style": "compact", "escapes": ["\\u003C"]}),
        ('{"a":"\\u00E4"}', {"style": "compact", "escapes": ["\\u00E4"]}),
        ('{"a":"\\u0027\\u003d\\\\u0026"}', {"style": "compact", "escapes": ["\\u0027", "\\u003d"]}),
        ('{"a": 1}\r\n', {"style": "spaced", "tail": "\r\n"}),
        ('{"a": 1}\n\n', {"style": "spaced", "tail": "\n\n"}),
        ('\n         \n {"a": 1}', {"style": "spaced", "head": "\n         \n "}),
    ],
)
def test_spellings_of_other_languages_and_white_space_around(text: str, beside: dict[str, Any]) -> None:
    folded = there_and_back(text.encode())
    assert folded["json"] == json.loads(text)
    assert {key: value for key, value in folded.items() if key != "json"} == beside


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
    assert unfold_stream(folded) == list(stream(chat_events("one two")).chunks)


def test_streams_of_responses_say_their_text() -> None:
    folded = there_and_back(b"".join(responses_events("one two")))  # type: ignore[arg-type]
    assert folded["says"] == "one two "
    assert folded["events"][0].startswith('event: response.created\ndata: {"type": "response.created"')


def test_an_event_of_many_lines_is_a_list_of_them() -> None:
    few, many = "event: a\ndata: 1\ndata: 2", "event: a\ndata: 1\ndata: 2\ndata: 3\ndata: 4"
    folded = there_and_back(f"{few}\n\n{many}\n\n".encode())
    assert folded["events"] == [few, {"$lines": many.split("\n")}]


def test_what_many_events_share_is_written_once() -> None:
    body = b"".join(stream(chat_events("one two three four five six")).chunks)
    folded = there_and_back(body)
    start, end = folded["shared"]
    assert start.startswith("data: {")
    assert start.endswith('"delta": {"content": "')
    assert end == '"}, "finish_reason": null}]}'
    assert folded["events"][1:4] == ["…one ", "…two ", "…three "]
    assert len(folded["events"]) == 10


def test_an_event_that_looks_shortened_is_not_taken_for_one() -> None:
    pieces = [f'data: {{"a long enough beginning": "{word}"}}\n\n' for word in ("a", "b", "c")]
    body = "".join([": x\n\n", *pieces, "…d\n\n"]).encode()
    folded = there_and_back(body)
    assert folded["events"] == [": x", "…a", "…b", "…c", ["…d"]]


@pytest.mark.parametrize("last", [b"", b"\n"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_lines_of_json_are_a_stream(newline: bytes, last: bytes) -> None:
    lines = [
        json.dumps({"message": {"content": word}, "done": False}).encode() for word in ("hi", " you", "")
    ]
    body = newline.join(lines) + (newline if last else b"")
    folded = there_and_back(body)
    assert folded["says"] == "hi you"
    assert folded["end"] == "\n"
    assert b"".join(unfold_stream(folded) or ()) == body
    assert [piece.strip() for piece in unfold_stream(folded) or ()] == lines


@pytest.mark.parametrize(
    "body", [b'{"a":1}\n', b'{"a":1}\nb\n', b'{"a":1}\n\n{"b":2}', b'{"a":\n1}\n{"b":2}']
)
def test_other_lines_are_no_stream(body: bytes) -> None:
    assert unfold_stream(there_and_back(body)) is None


FRAMES = [
    Frame(
        {
            ":event-type": "contentBlockDelta",
            ":content-type": "application/json",
            ":message-type": "event",
        },
        json.dumps({"contentBlockIndex": 0, "delta": {"text": word}}, ensure_ascii=False).encode(),
    )
    for word in ("one ", "zwö")
]


def test_event_streams_of_aws_are_one_line_a_frame() -> None:
    folded = there_and_back(pack_frames(FRAMES))
    assert folded["says"] == "one zwö"
    assert folded["frames"][0]["headers"][":event-type"] == "contentBlockDelta"
    assert folded["frames"][0]["payload"] == '{"contentBlockIndex": 0, "delta": {"text": "one "}}'
    assert unfold_stream(folded) == [pack_frames([frame]) for frame in FRAMES]


@pytest.mark.parametrize(
    "frames",
    [
        [Frame({}, b"")],
        [Frame({"n": {"integer": 5}, "yes": True, "when": {"timestamp": 1}}, b"plain")],
        [Frame({"raw": {"bytes": "AAEC"}}, b"a\nb")],
    ],
)
def test_event_streams_with_other_headers(frames: list[Frame]) -> None:
    assert "frames" in there_and_back(pack_frames(frames))


@pytest.mark.parametrize("change", [0, 9, 20, -1])
def test_a_damaged_event_stream_is_base64(change: int) -> None:
    body = bytearray(pack_frames(FRAMES))
    body[change] ^= 1
    assert "frames" not in there_and_back(bytes(body))


def test_frames_with_binary_in_them_are_base64() -> None:
    assert "base64" in there_and_back(pack_frames([Frame({":event-type": "x"}, b"\xff")]))


PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 2


def test_of_a_form_the_texts_are_readable_and_the_files_are_not() -> None:
    head = b'--boundary\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1'
    file = b'\r\n--boundary\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    body = head + file + PNG + b"\r\n--boundary--\r\n"
    folded = there_and_back(body)
    text = json.dumps(folded["parts"])
    assert "whisper-1" in text
    assert "a.png" in text
    assert folded["parts"][2]["base64"]["$blob"] == "image/png, 520 bytes"


@pytest.mark.parametrize(
    "body",
    [
        b"--\xff",
        b"--b\r\n\xff",
        b"--b\xff\r\n\r\na",
        b"--b\r\nh: \xff\r\n\r\n\xfe\r\n--b--",
        b"--b\r\n\r\n\xfe\r\n--b",
    ],
)
def test_odd_forms_come_back(body: bytes) -> None:
    there_and_back(body)


def test_streams_with_other_line_ends() -> None:
    chunks = stream(chat_events("one two"), end="\r\n\r\n").chunks
    folded = there_and_back(b"".join(chunks))
    assert folded["newline"] == "\r\n"
    assert "\r" not in json.dumps(folded["events"])
    assert unfold_stream(folded) == list(chunks)


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
    assert stream_text(['data: {"choices": [{"delta": {"content": "a"}}]}', "data: 5", "data: [", "x"]) == "a"
    assert stream_text(['data: {"choices": [1], "type": 3}', 'data: {"choices": {"a": 1}}']) == ""


def test_no_body_is_no_stream() -> None:
    assert unfold_stream({"text": "x"}) is None


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
    {"json": {}, "style": "compact", "head": "x"},
    {"json": {}, "style": "compact", "escapes": "\\/"},
    {"json": {}, "style": "compact", "escapes": ["x"]},
    {"json": {"$blob": "image/png, 12 bytes"}, "style": "compact"},
    {"json": {"$blob": "image/png, 12 bytes, 0123456789abcdef0123"}, "style": "compact"},
    {"json": {"$blob": 5, "text": 5}, "style": "compact"},
    {"json": {"$numbers": "2 numbers", "text": "{}"}, "style": "compact"},
    {"json": {"$numbers": "2 numbers", "text": "[null]"}, "style": "compact"},
    {"json": {"$joined": 5}, "style": "compact"},
    {"json": {"$joined": [5]}, "style": "compact"},
    {"text": {"$other": "x"}},
    {"text": {"$joined": ["a", {"$blob": None}]}},
    {"base64": {"$blob": "x", "text": "!"}},
    {"events": [{"$blob": "x"}]},
    {"events": ["a"], "shared": "xx"},
    {"events": ["a"], "shared": ["x"]},
    {"events": ["a"], "end": "x"},
    {"events": ["a"], "last": "x"},
    {"frames": "x"},
    {"frames": [{}]},
    {"frames": [{"headers": {"a": None}, "payload": "x"}]},
    {"frames": [{"headers": {"a": "x" * 70_000}, "payload": "x"}]},
    {"parts": "x"},
    {"parts": [5]},
    {"parts": [{"base64": "!"}]},
]


@pytest.mark.slow
@pytest.mark.parametrize("stored", WRONG, ids=lambda stored_body: repr(stored_body)[:60])
def test_what_is_no_body_is_a_cassette_error(stored: Any) -> None:
    with pytest.raises(CassetteError, check=check_message):
        unfold_body(stored)
    try:
        assert unfold_stream(stored) is None
    except CassetteError as error:
        check_message(error)


def test_check_looks_at_the_shape_only() -> None:
    check_body({"base64": "!"})
    with pytest.raises(CassetteError, check=check_message):
        check_body({"other": 1})


ANSWER = {"status": 200, "headers": {"content-type": "x"}, "latency_s": 0.1, "body": fold_body(b"{}")}
REQUEST = {"method": "POST", "url": "http://h/", "body": fold_body(b"{}")}


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
        ("gap_s", "1"),
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
        with pytest.raises(CassetteError, check=check_message):
            checked(wrong)


def test_a_real_answer_is_readable() -> None:
    body = json.dumps(chat_answer("hello")).encode()
    assert there_and_back(body)["json"]["choices"][0]["message"]["content"] == "hello"
