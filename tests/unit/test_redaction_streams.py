"""Secrets that a stream cuts into pieces are masked, and nothing else of the stream changes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message
from support.server import chat_events, responses_events, stream

from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.journal import Journal, JournalEntry
from pytest_llmops.cassettes.store import Interaction
from pytest_llmops.errors import CassetteError
from pytest_llmops.redaction import streams
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import MASK
from pytest_llmops.wire.aws_event_stream import Frame, pack_frames, unpack_frames
from pytest_llmops.wire.body import fold_body

SHAPED = "sk-" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4"
KNOWN = "correct-horse-battery"
REDACTOR = Redactor(known={KNOWN})


def sse(values: Sequence[object], name: str = "") -> bytes:
    return b"".join(f"{name}data: {json.dumps(value)}\n\n".encode() for value in values)


def ndjson(values: Sequence[object]) -> bytes:
    return b"".join(json.dumps(value, separators=(",", ":")).encode() + b"\n" for value in values)


def framed(values: Sequence[object]) -> bytes:
    headers = {":event-type": "contentBlockDelta", ":content-type": "application/json"}
    return pack_frames([Frame(headers, json.dumps(value).encode()) for value in values])


def framed_base64(values: Sequence[object]) -> bytes:
    wrapped = [
        {"bytes": base64.b64encode(json.dumps(value).encode()).decode(), "p": "abc"} for value in values
    ]
    return framed(wrapped)


def chat(delta: Callable[[str], object]) -> Callable[[str], object]:
    return lambda text: {
        "id": "chatcmpl-1",
        "choices": [{"index": 0, "delta": delta(text), "finish_reason": None}],
    }


SHAPES: dict[str, tuple[Callable[[str], object], Callable[[Sequence[object]], bytes]]] = {
    "chat": (chat(lambda text: {"content": text}), sse),
    "chat tool arguments": (
        chat(lambda text: {"tool_calls": [{"index": 1, "function": {"arguments": text}}]}),
        sse,
    ),
    "responses": (
        lambda text: {"type": "response.output_text.delta", "output_index": 0, "item_id": "m", "delta": text},
        lambda values: sse(values, "event: response.output_text.delta\n"),
    ),
    "responses arguments": (
        lambda text: {"type": "response.function_call_arguments.delta", "item_id": "fc", "delta": text},
        sse,
    ),
    "anthropic text": (
        lambda text: {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": text},
        },
        lambda values: sse(values, "event: content_block_delta\n"),
    ),
    "anthropic json": (
        lambda text: {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": text},
        },
        sse,
    ),
    "gemini": (lambda text: {"candidates": [{"content": {"parts": [{"text": text}]}}]}, sse),
    "cohere": (
        lambda text: {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}},
        sse,
    ),
    "ollama chat": (lambda text: {"message": {"role": "assistant", "content": text}, "done": False}, ndjson),
    "ollama generate": (lambda text: {"response": text, "done": False}, ndjson),
    "bedrock converse": (lambda text: {"contentBlockIndex": 0, "delta": {"text": text}, "p": "ab"}, framed),
    "bedrock invoke": (
        lambda text: {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": text},
        },
        framed_base64,
    ),
    "plain text events": (lambda text: text, sse),
    "log-probabilities": (
        lambda text: {"choices": [{"index": 0, "logprobs": {"content": [{"token": text, "logprob": -1.5}]}}]},
        sse,
    ),
}


def cuts(secret: str) -> dict[str, list[str]]:
    return {
        "in two": ["it is ", f"x {secret[:9]}", f"{secret[9:]} y", " end"],
        "behind its prefix": ["it is ", secret[:3], secret[3:], " end"],
        "after sixteen": ["a ", secret[:19], secret[19:], " end"],
        "by character": ["a ", *secret, " end", "x"],
        "twice": ["a ", secret[:5], secret[5:] + " and " + secret[:7], secret[7:], "."],
    }


@pytest.mark.slow
@pytest.mark.parametrize("cut", cuts(SHAPED))
@pytest.mark.parametrize("secret", [SHAPED, KNOWN], ids=["by shape", "known"])
@pytest.mark.parametrize("kind", SHAPES)
def test_a_secret_in_pieces_is_masked(kind: str, secret: str, cut: str) -> None:
    event, together = SHAPES[kind]
    pieces = cuts(secret)[cut]
    body = together([event(piece) for piece in pieces])
    assert REDACTOR.leaks(body)
    made = REDACTOR.clean(body)
    expected = "".join(pieces).replace(secret, MASK)
    assert "".join(read_texts(kind, made)) == expected
    assert not REDACTOR.leaks(made)
    assert REDACTOR.clean(made) == made


def read_texts(kind: str, body: bytes) -> list[str]:
    """The texts of a body, as a client finds them."""
    if kind.startswith("bedrock"):
        frames = unpack_frames(body)
        assert frames is not None
        result = [json.loads(frame.payload) for frame in frames]
        if kind == "bedrock invoke":
            result = [json.loads(base64.b64decode(row["bytes"])) for row in result]
    else:
        lines = body.decode().splitlines()
        result = [
            json.loads(line.removeprefix("data: ")) for line in lines if line.startswith(("data:", "{"))
        ]
    marked = SHAPES[kind][0]("@")
    return [leaf(marked, event) for event in result]


def leaf(marked: Any, value: Any) -> Any:
    """What stands in a value where ``@`` stands in the other."""
    if marked == "@":
        return value
    inner = marked.items() if isinstance(marked, dict) else enumerate(marked)
    for key, entry in inner:
        if "@" in json.dumps(entry):
            return leaf(entry, value[key])
    raise AssertionError(marked)


def test_other_events_and_other_bytes_stay_as_they_are() -> None:
    first, second = SHAPED[:10], SHAPED[10:]
    pieces = [
        b": ping\r\n\r\n",
        b'data: {"a" :1.50,"delta":"\\u0078 ' + first.encode() + b'","z":"\xc3\xa9\\u00e9"}\r\n\r\n',
        b": ping\r\n\r\ndata: [DONE]x\r\n\r\n",
        b'data:{"delta":"' + second.encode() + b' rest"}\r\n\r\n',
    ]
    made = REDACTOR.clean(b"".join(pieces))
    assert made == b"".join(
        [
            pieces[0],
            b'data: {"a" :1.50,"delta":"x [secret]","z":"\xc3\xa9\\u00e9"}\r\n\r\n',
            pieces[2],
            b'data:{"delta":" rest"}\r\n\r\n',
        ]
    )


def test_two_streams_in_one_are_kept_apart() -> None:
    def piece(index: int, text: str) -> dict[str, Any]:
        return {"choices": [{"index": index, "delta": {"content": text}}]}

    mixed = [piece(0, KNOWN[:8]), piece(1, "other "), piece(0, KNOWN[8:]), piece(1, "answer")]
    made = REDACTOR.clean(sse(mixed))
    assert made == sse([piece(0, MASK), piece(1, "other "), piece(0, ""), piece(1, "answer")])
    apart = sse([piece(0, KNOWN[:8]), piece(1, KNOWN[8:])])
    assert REDACTOR.clean(apart) == apart


def test_tools_called_side_by_side_are_kept_apart() -> None:
    def piece(index: int, text: str) -> dict[str, Any]:
        call = {"index": index, "function": {"arguments": text}}
        return {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}

    made = REDACTOR.clean(sse([piece(0, KNOWN[:4]), piece(1, "{}"), piece(0, KNOWN[4:])]))
    assert made == sse([piece(0, MASK), piece(1, "{}"), piece(0, "")])


@pytest.mark.parametrize("inside", ["logprobs", "content"])
def test_log_probabilities_of_a_whole_answer(inside: str) -> None:
    tokens = ["the ", "key ", KNOWN[:7], KNOWN[7:15], KNOWN[15:], "."]
    listed = [
        {"token": token, "bytes": list(token.encode()), "top_logprobs": [{"token": token}, {"token": "x"}]}
        for token in tokens
    ]
    answer = {"logprobs": listed} if inside == "logprobs" else {"logprobs": {"content": listed}}
    made = json.loads(REDACTOR.clean(json.dumps({"choices": [{"index": 0, **answer}]}).encode()))
    choice = made["choices"][0]["logprobs"]
    result = choice if inside == "logprobs" else choice["content"]
    assert "".join(row["token"] for row in result) == f"the key {MASK}."
    assert b"".join(bytes(row["bytes"]) for row in result) == f"the key {MASK}.".encode()
    assert "".join(row["top_logprobs"][0]["token"] for row in result) == f"the key {MASK}."


def test_a_user_s_redactor_sees_the_joined_text_too() -> None:
    redactor = Redactor(extra=(lambda text: text.replace("Jane Doe", "[name]"),))
    event = SHAPES["chat"][0]
    made = redactor.clean(sse([event("ask "), event("Jane"), event(" Do"), event("e, please")]))
    assert "".join(read_texts("chat", made)) == "ask [name], please"


def test_frames_keep_their_bytes_where_nothing_is_found() -> None:
    body = framed([{"delta": {"text": "plain"}}, {"delta": {"text": " words"}}])
    assert REDACTOR.clean(body) is body


def test_frames_have_right_lengths_and_checksums_after_masking() -> None:
    body = framed([{"delta": {"text": f"all at once {KNOWN}"}}, {"delta": {"text": "."}}])
    frames = unpack_frames(REDACTOR.clean(body))
    assert frames is not None
    assert json.loads(frames[0].payload)["delta"]["text"] == f"all at once {MASK}"


def test_headers_of_frames_are_masked_too() -> None:
    body = pack_frames(
        [Frame({":exception-type": "denied", ":error-message": f"not {KNOWN}", "n": {"byte": 1}}, b"{}")]
    )
    frames = unpack_frames(REDACTOR.clean(body))
    assert frames is not None
    assert frames[0].headers == {
        ":exception-type": "denied",
        ":error-message": f"not {MASK}",
        "n": {"byte": 1},
    }


@pytest.mark.parametrize(
    "body",
    [
        b"data: \n\ndata: {\n\ndata: [1\n\n",
        b"data: 5\n\ndata: null\n\ndata: [[]]\n\n",
        b"data: " + b"[" * 5000 + b"\n\ndata: x\n\n",
        b'{"index":[1]}\n{"index":{"a":1}}\n',
        b'{"a":1,"a":"x"}\n{"a":"y"}\n',
        b"data: \xff\xfe\n\ndata: \xff\n\n",
        b'data: {"index": [1], "type": {"a": 1}, "delta": "\\ud800"}\n\ndata: {"delta": "x"}\n\n',
        b'{"logprobs": 5, "bytes": [1, 300], "logprobs2": {"bytes": []}}',
    ],
)
def test_odd_streams_pass(body: bytes) -> None:
    assert REDACTOR.clean(body) == body


def test_ordinary_streams_stay() -> None:
    words = "a secret is a thing that you tell one person at a time sk-learn bearer of news " * 20
    for chunks in (stream(chat_events(words)).chunks, responses_events(words)):
        body = b"".join(chunks)  # type: ignore[arg-type]
        assert Redactor().clean(body) == body


def test_the_text_is_looked_through_once_where_nothing_is_found() -> None:
    searched: list[str] = []

    def find(text: str) -> list[streams.Replacement]:
        searched.append(text)
        return []

    event = SHAPES["chat"][0]
    assert streams.mask_scattered([json.dumps(event(word)) for word in ("a", "b", "c")], find) == {}
    assert searched == ["abc"]


@pytest.mark.parametrize("kind", SHAPES)
def test_a_file_with_a_secret_in_pieces_leaks(kind: str) -> None:
    event, together = SHAPES[kind]
    body = together([event(KNOWN[:8]), event(KNOWN[8:]), event(" end")])
    request = {"method": "POST", "url": "http://h/", "body": fold_body(b"{}")}
    lines = {key: value for key, value in fold_body(body).items() if key != "says"}
    answer = {"status": 200, "headers": {}, "body": lines}
    file = store.format_cassette([Interaction("#001", "k", request, {"0": [answer]})], "2026-01-01").encode()
    assert KNOWN.encode() not in file
    assert REDACTOR.leaks(file)
    assert not Redactor().leaks(file)


def test_a_merge_refuses_a_secret_in_pieces(tmp_path: Path) -> None:
    body = sse([SHAPES["chat"][0](part) for part in (KNOWN[:8], KNOWN[8:], " end")])
    lines = {key: value for key, value in fold_body(body).items() if key != "says"}
    request = {"method": "POST", "url": "http://h/", "body": fold_body(b"{}")}
    journal = Journal(tmp_path / "x.json")
    answer = {"status": 200, "headers": {}, "body": lines}
    journal.append(JournalEntry(by="#001", key="k", take="0", n=0, request=request, answer=answer))
    journal.close()
    with pytest.raises(CassetteError, check=check_message):
        store.merge_journals(tmp_path / "x.json", journal.paths, REDACTOR, replace=False)
    assert not (tmp_path / "x.json").exists()
