"""However a stream cuts a secret, it is gone; the rest of the text, and all other bytes, stay."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from support.strategies import any_text, clean_text, json_values

from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import MASK
from pytest_llmops.redaction.streams import MIN_BASE64_RUN
from pytest_llmops.wire.aws_event_stream import Frame, pack_frames, unpack_frames

KNOWN = "correct-horse-battery"
SHAPED = "sk-" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4"
REDACTOR = Redactor(known={KNOWN})
secrets = st.sampled_from([KNOWN, SHAPED])
around = st.text('abc \n"\\äé.', max_size=12).map(lambda text: f" {text} ")


@st.composite
def cut_texts(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A text with a secret in it, and the pieces it is cut into: at least two that differ."""
    secret = draw(secrets)
    text = draw(around) + secret + draw(around)
    places = draw(st.sets(st.integers(1, len(text) - 1), min_size=1, max_size=6))
    ends = [0, *sorted(places), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(ends)]
    assume(len(set(pieces)) > 1)
    return text.replace(secret, MASK), pieces


def event(text: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": text}}]}


@pytest.mark.slow
@given(
    cut_texts(),
    st.booleans(),
    st.sampled_from(["\n\n", "\r\n\r\n"]),
    st.sampled_from(["", ": ping", "data: [DONE]"]),
)
def test_sse(cut: tuple[str, list[str]], ascii_only: bool, end: str, between: str) -> None:
    expected, pieces = cut
    lines = [f"data: {json.dumps(event(piece), ensure_ascii=ascii_only)}{end}" for piece in pieces]
    body = (f"{between}{end}" if between else "").join(lines).encode()
    made = REDACTOR.clean(body).decode()
    result = [json.loads(line[6:]) for line in made.splitlines() if line.startswith("data: {")]
    assert "".join(row["choices"][0]["delta"]["content"] for row in result) == expected
    assert made.count(end) == body.decode().count(end)
    assert not REDACTOR.leaks(made.encode())
    assert REDACTOR.clean(made.encode()) == made.encode()


@pytest.mark.slow
@given(cut_texts())
def test_lines_of_json(cut: tuple[str, list[str]]) -> None:
    expected, pieces = cut
    body = b"".join(
        json.dumps({"message": {"content": piece}, "done": False}).encode() + b"\n" for piece in pieces
    )
    made = REDACTOR.clean(body)
    assert "".join(json.loads(line)["message"]["content"] for line in made.splitlines()) == expected
    assert not REDACTOR.leaks(made)


@pytest.mark.slow
@given(cut_texts(), st.booleans())
def test_frames(cut: tuple[str, list[str]], wrapped: bool) -> None:
    expected, pieces = cut
    payloads = [json.dumps({"delta": {"text": piece}}).encode() for piece in pieces]
    if wrapped:
        payloads = [
            json.dumps({"bytes": base64.b64encode(payload).decode()}).encode() for payload in payloads
        ]
    made = unpack_frames(
        REDACTOR.clean(pack_frames(Frame({":event-type": "chunk"}, payload) for payload in payloads))
    )
    assert made is not None
    result = [json.loads(frame.payload) for frame in made]
    texts = [json.loads(base64.b64decode(row["bytes"])) if wrapped else row for row in result]
    assert "".join(text["delta"]["text"] for text in texts) == expected


@pytest.mark.slow
@given(st.lists(json_values, max_size=6), st.sampled_from(["data: {}\n\n", "{}\n", "data:{}\r\n\r\n"]))
def test_streams_without_a_secret_keep_their_bytes(values: list[Any], line: str) -> None:
    body = "".join(
        line.format(json.dumps({"a": value}).replace("{", "{{").replace("}", "}}")) for value in values
    )
    assume("://" not in body)
    assert REDACTOR.clean(body.encode()) == body.encode()


@given(
    st.binary(max_size=120),
    st.sampled_from([b"data: ", b"data:{", b'{"a":1}\n{', b"event: x\ndata: ", b'{"logprobs":[']),
)
def test_no_stream_breaks_it(rest: bytes, start: bytes) -> None:
    made = REDACTOR.clean(start + rest)
    assert REDACTOR.clean(made) == made


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4))
def test_frames_of_anything_stay_frames(payloads: list[bytes]) -> None:
    body = pack_frames(Frame({}, payload) for payload in payloads)
    assert unpack_frames(REDACTOR.clean(body)) is not None


@given(secrets, around, around, st.data())
def test_json_escapes(secret: str, before: str, after: str, data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.integers(0, len(secret) - 1), min_size=1))
    spelled = "".join(f"\\u{ord(char):04x}" if n in chosen else char for n, char in enumerate(secret))
    body = f'{{"a": {json.dumps(before)[:-1]}{spelled}{json.dumps(after)[1:]}, "b": 1.50}}'
    made = REDACTOR.clean(body.encode())
    assert json.loads(made)["a"] == f"{before}{MASK}{after}"
    assert made.endswith(b', "b": 1.50}')


@given(secrets, around, around, st.data())
def test_percent_spellings(secret: str, before: str, after: str, data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.integers(0, len(secret) - 1), min_size=1))
    spelled = "".join(f"%{ord(char):02x}" if n in chosen else char for n, char in enumerate(secret))
    made = REDACTOR.clean(
        f"?a={quote(before, safe='')}{spelled}{quote(after, safe='')}&b=%31".encode()
    ).decode()
    assert secret not in unquote(made)
    assert unquote(made) == f"?a={before}{MASK}{after}&b=1"


@given(secrets, st.binary(max_size=50), st.binary(max_size=50))
@example(KNOWN, b"\x01\x01", b"\x01\x01\xfc")
def test_base64_of_anything_around_a_secret(secret: str, before: bytes, after: bytes) -> None:
    content = before + b" " + secret.encode() + b" " + after
    made = REDACTOR.clean(base64.b64encode(content))
    decoded = base64.b64decode(made, validate=True)
    assert secret.encode() not in decoded
    # What is too short to be looked into keeps its length.
    kept = len(decoded) == len(content)
    assert (
        MASK.encode() in decoded or b"*" * len(secret) in decoded or (kept and len(content) < MIN_BASE64_RUN)
    )


@given(any_text, clean_text)
def test_what_is_shown_holds_no_secret(before: str, after: str) -> None:
    text = f"{before}{KNOWN}{after} {KNOWN[:12]}...{KNOWN[-9:]}"
    made = REDACTOR.clean_excerpt(text)
    assert KNOWN not in made
    assert f"{KNOWN[:12]}..." not in made
    assert f"...{KNOWN[-9:]}" not in made
