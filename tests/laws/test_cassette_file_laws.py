"""Every body comes back to the byte through a whole cassette file, which is always UTF-8 and JSON."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.strategies import any_text, clean_text, json_texts, json_values

from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.store import Interaction, format_json
from pytest_llmops.errors import CassetteError
from pytest_llmops.wire.aws_event_stream import Frame, pack_frames
from pytest_llmops.wire.blobs import extract_texts, marker_text, read_blobs
from pytest_llmops.wire.body import fold_body, unfold_body, unfold_stream
from pytest_llmops.wire.folding import LONG_TEXT, fold_text, fold_value, unfold_text, unfold_value
from pytest_llmops.wire.stream_events import find_shared_affixes, split_stream, strip_shared_affixes

binary = st.one_of(st.binary(max_size=60), st.binary(min_size=200, max_size=900))
encoded = binary.map(lambda data: base64.b64encode(data).decode())
urls = st.builds(
    "data:{};base64,{}".format, st.sampled_from(["image/png", "audio/wav", "text/plain"]), encoded
)
long_texts = st.one_of(
    encoded,
    urls,
    encoded.map(lambda text: text.replace("+", "-").replace("/", "_").rstrip("=")),
    st.text("Aa0", min_size=LONG_TEXT - 2, max_size=LONG_TEXT + 2),
    st.lists(st.one_of(encoded, urls, clean_text, st.just("\n")), max_size=5).map("".join),
)
ours = st.sampled_from(["$lines", "$blob", "$numbers", "$joined", "$base64", "$$blob", "$", "text", "blobs"])
numbers = st.one_of(
    st.integers(-(10**30), 10**30), st.floats(allow_nan=False, allow_infinity=False), st.just(-0.0)
)
values = st.recursive(
    st.one_of(json_values, long_texts, st.lists(numbers, min_size=30, max_size=40)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(ours, clean_text), inner, max_size=3)
    ),
    max_leaves=6,
)
spellings = st.sampled_from([{}, {"separators": (",", ":")}, {"indent": 2}, {"ensure_ascii": False}])
line_ends = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def sse(draw: st.DrawFn) -> bytes:
    carried = draw(st.lists(st.one_of(values.map(json.dumps), clean_text, st.just("[DONE]")), max_size=6))
    name = draw(st.sampled_from(["", "event: delta\n", "id: 1\nevent: x\n", ": ping\n\n"]))
    text = "".join(f"{name}data: {entry}\n\n" for entry in carried) + draw(
        st.sampled_from(["", "data: x", "\n", "x\n\n"])
    )
    return ("data: first\n\n" + text).replace("\n", draw(line_ends)).encode()


@st.composite
def ndjson(draw: st.DrawFn) -> bytes:
    lines = draw(
        st.lists(st.dictionaries(clean_text, values, max_size=3).map(json.dumps), min_size=1, max_size=5)
    )
    end = draw(line_ends)
    return (end.join(lines) + draw(st.sampled_from(["", end, end * 2]))).encode()


headers = st.dictionaries(
    st.text("abc:-", min_size=1, max_size=8),
    st.one_of(
        clean_text,
        st.booleans(),
        st.integers(-(2**31), 2**31 - 1).map(lambda number: {"integer": number}),
        st.binary(max_size=8).map(lambda raw: {"bytes": base64.b64encode(raw).decode()}),
    ),
    max_size=3,
)
payloads = st.one_of(values.map(lambda value: json.dumps(value).encode()), st.binary(max_size=40))
frames = st.lists(st.builds(Frame, headers, payloads), min_size=1, max_size=4).map(pack_frames)
forms = st.lists(st.one_of(st.binary(max_size=30), clean_text.map(str.encode)), min_size=1, max_size=4).map(
    lambda parts: b"".join(b"--b\r\nname: x\r\n\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
)
bodies = st.one_of(
    st.binary(max_size=100),
    any_text.map(lambda text: text.encode("utf-8", "surrogatepass")),
    json_texts().map(str.encode),
    st.builds(lambda value, how: json.dumps(value, **how).encode(), values, spellings),
    sse(),
    ndjson(),
    frames,
    forms,
    long_texts.map(str.encode),
    st.sampled_from(
        [b'{"a":1,"a":2}', b"[1e400]", b"[-0.0,-0]", b'["\\ud800"]', b'["\\udc00\\ud83d"]', b"\x00", b"[" * 5000,
         b"[" * 90 + b"]" * 90, b'{"$blob":"x, 00000000000000000000","text":"y"}', b'{"a":"\\u003c\\/"}', b'["\\u0000"]']
    ),
)  # fmt: skip


def through_a_file(request: bytes, *answers: bytes) -> list[bytes]:
    request_fields = {"method": "POST", "url": "http://h/", "body": fold_body(request)}
    lines = [{"status": 200, "headers": {}, "body": fold_body(answer)} for answer in answers]
    text = store.format_cassette(
        [Interaction("#001", "key", request_fields, {"0": lines})], "2026-01-01"
    ).encode("utf-8")
    json.loads(text)
    (result,) = store.parse_cassette(text, Path("x.json")).values()
    for row, expected in zip(result.answers["0"], answers, strict=True):
        pieces = unfold_stream(row["body"])
        assert pieces is None or b"".join(pieces) == expected
    return [
        unfold_body(result.request["body"]),
        *(unfold_body(answer["body"]) for answer in result.answers["0"]),
    ]


@pytest.mark.slow
@given(bodies, bodies, bodies)
def test_all_bodies_of_a_file_come_back(request: bytes, first: bytes, second: bytes) -> None:
    assert through_a_file(request, first, second) == [request, first, second]


@pytest.mark.slow
@given(bodies)
def test_what_is_folded_unfolds_also_without_a_file(body: bytes) -> None:
    assert unfold_body(fold_body(body)) == body


@pytest.mark.slow
@given(frames)
def test_frames_are_replayed_frame_by_frame(body: bytes) -> None:
    folded = fold_body(body)
    pieces = unfold_stream(folded)
    assert "base64" in folded or b"".join(pieces or ()) == body


@pytest.mark.slow
@given(values)
def test_values_come_back(value: Any) -> None:
    folded = fold_value(value)
    assert json.dumps(unfold_value(json.loads(format_json(folded)), {})) == json.dumps(value)
    result: dict[str, str] = {}
    assert json.dumps(unfold_value(extract_texts({"json": folded}, result)["json"], result)) == json.dumps(
        value
    )


@given(long_texts)
@example("A" * 300)
def test_texts_come_back(text: str) -> None:
    assert unfold_text(fold_text(text), {}) == text


@given(
    st.lists(st.one_of(clean_text, st.sampled_from(['data: {"a": {"text": "', "…", "data: {"])), max_size=8)
)
def test_what_is_shared_is_put_back(listed: list[str]) -> None:
    shared_affixes = find_shared_affixes(
        [f'data: {{"type": "delta", "delta": "{entry}"}}' for entry in listed] + listed
    )
    if shared_affixes is None:
        return
    start, end = shared_affixes
    made = strip_shared_affixes(listed, start, end)
    assert [
        f"{start}{text[1:]}{end}"
        if isinstance(text, str) and text.startswith("…")
        else "".join(text)
        if isinstance(text, str)
        else "\n".join(text)
        for text in made
    ] == listed


@pytest.mark.slow
@given(st.one_of(any_text, sse().map(bytes.decode), ndjson().map(bytes.decode)))
def test_a_stream_is_cut_without_a_loss(text: str) -> None:
    stream = split_stream(text)
    assert stream is None or b"".join(stream.encode_events()) == text.encode("utf-8", "surrogatepass")


@given(json_values)
def test_a_layout_is_json_of_the_same(value: Any) -> None:
    assert json.dumps(json.loads(format_json(value))) == json.dumps(value)


@given(json_values, st.sampled_from(["$blob", "$numbers"]), st.dictionaries(st.just("text"), json_values))
def test_hostile_markers_are_cassette_errors(label: Any, kind: str, more: dict[str, Any]) -> None:
    stored = {kind: label, **more}
    try:
        assert marker_text(stored, kind, {}) == more["text"]
    except CassetteError as error:
        assert str(error)  # noqa: PT017


@given(json_values)
def test_hostile_tables_are_cassette_errors(table: Any) -> None:
    try:
        blobs = read_blobs({"blobs": table})
    except CassetteError as error:
        assert "blobs" in str(error)  # noqa: PT017 -- the key of the file
    else:
        assert blobs is None or all(isinstance(entry, str) for entry in blobs.values())
