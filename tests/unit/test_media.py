"""Images and sounds: which are recognized in messages and answers, what a run keeps of them, and what a page shows."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.page import read_data

from pytest_llmops._util.media_types import MAX_MEDIA_BYTES, decode_base64, detect_media_type
from pytest_llmops.baselines.requests import list_requests
from pytest_llmops.protocols import Call, Media, Message, format_size
from pytest_llmops.recorder import Exchange
from pytest_llmops.reports.html import render_html
from pytest_llmops.reports.html_media import PageMedia
from pytest_llmops.results.kept_media import MediaBudget, limit_media
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.trace import read_call
from pytest_llmops.trace.media_parts import label_files, list_media, make_media, read_media, restore_files

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
OPENAI = "https://api.openai.com/v1/chat/completions"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/models/gemini-3:generateContent"


def encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def media_of(content: bytes, kind: str, type_: str = "") -> Media:
    data = encode(content) if type_ else ""
    digest = hashlib.sha256(content).hexdigest()
    return Media(kind=kind, type=type_, size=len(content), sha256=digest, data=data)


def read(url: str, request: Any, reply: Any) -> Call:
    return read_call(
        Exchange(
            method="POST",
            url=url,
            request=request,
            status=200,
            content_type="application/json",
            body=json.dumps(reply).encode(),
            latency_s=0.1,
            ttft_s=None,
            replayed=True,
            purpose="app",
        )
    )


def run_of(*calls: Call) -> Run:
    return Run(records=(TestRecord(nodeid="t.py::a", calls=calls),))


@pytest.mark.parametrize(
    ("content", "mime"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (WAV, "audio/wav"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90", "audio/mpeg"),
        (b"OggS\x00", "audio/ogg"),
        (SVG, ""),
        (b"<!doctype html><script>", ""),
        (b"RIFF\x00\x00\x00\x00AVI ", ""),
        (b"\xff\xf1aac", ""),
        (b"%PDF-1.7", ""),
        (b"", ""),
    ],
)
def test_types_are_those_of_the_first_bytes(content: bytes, mime: str) -> None:
    media_type = detect_media_type(content)
    assert (media_type.mime if media_type else "") == mime


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encode(PNG)}"}},
        {"type": "image_url", "image_url": f"data:image/svg+xml;charset=utf-8;base64,{encode(PNG)}"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{encode(PNG)}"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": encode(PNG)}},
        {"inlineData": {"mimeType": "image/png", "data": encode(PNG)}},
        {"inline_data": {"mime_type": "image/png", "data": base64.urlsafe_b64encode(PNG).decode()}},
        {"image": {"format": "png", "source": {"bytes": encode(PNG)}}},
        {"type": "tool_result", "content": [{"type": "image", "source": {"type": "base64", "data": encode(PNG)}}]},
    ],
)  # fmt: skip
def test_an_image_is_read_in_the_form_of_each_vendor(part: dict[str, Any]) -> None:
    assert list_media(part) == (media_of(PNG, "image", "png"),)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,***"}},
        {"type": "image_url", "image_url": {"url": "data:image/png," + encode(PNG)}},
        {"type": "image_url", "image_url": {"url": "data:" + "a" * 300 + ";base64," + encode(PNG)}},
        {"type": "image_url", "image_url": 3},
        {"type": "input_audio", "input_audio": {"data": None, "format": []}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"inlineData": {"mimeType": "application/pdf", "data": encode(b"%PDF-1.7")}},
        {"inlineData": {"mimeType": "text/html", "data": encode(b"<script>")}},
        {"type": "text", "text": "a"},
        {},
    ],
)
def test_a_part_without_content_of_its_own_is_none(part: dict[str, Any]) -> None:
    assert read_media(part) is None


@given(st.text(max_size=80))
def test_any_text_is_base64_or_not(text: str) -> None:
    content = decode_base64(text)
    assert content is None or decode_base64(encode(content)) in (content, None)
    media = make_media("image/png", text)
    assert media is None or media.kind == "image"


def test_an_unknown_or_large_content_is_named_and_not_kept() -> None:
    svg = make_media("image/svg+xml", encode(SVG))
    large = make_media("image/png", encode(PNG + b"x" * MAX_MEDIA_BYTES))
    assert svg == media_of(SVG, "image")
    assert svg.label == f"[image: unknown type, {len(SVG)} bytes]"
    assert large is not None
    assert (large.label, large.data) == ("[image: png, 200 KB]", "")
    assert len(large.sha256) == 64


def test_a_call_has_labels_in_its_texts_and_the_contents_beside_them() -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encode(PNG)}"}},
        {"type": "input_audio", "input_audio": {"data": encode(WAV), "format": "wav"}},
    ]
    request = {"model": "m", "messages": [{"role": "user", "content": parts}]}
    answer = {"role": "assistant", "content": None, "audio": {"data": encode(WAV), "transcript": "A cat."}}
    call = read(OPENAI, request, {"choices": [{"message": answer}]})
    label = "What is this?\n[image: png, 14 bytes]\n[audio: wav, 16 bytes]"
    assert [message.content for message in call.messages] == [label]
    assert call.messages[0].media == (media_of(PNG, "image", "png"), media_of(WAV, "audio", "wav"))
    assert (call.output, call.media) == ("A cat.", (media_of(WAV, "audio", "wav"),))
    assert Call.from_wire(call.to_wire()).messages[0].media == call.messages[0].media
    assert Run.from_json(run_of(call).to_json()).records[0].calls[0].media == call.media


def test_a_file_in_base64_has_a_label_wherever_it_is() -> None:
    content = b"%PDF-1.7 " * 200
    encoded = base64.b64encode(content).decode()
    label = f"[file: {format_size(len(content))}, SHA-256 {hashlib.sha256(content).hexdigest()[:12]}]"
    given = {
        "a": [encoded, f"data:application/pdf;base64,{encoded}", 5],
        "b": "short",
        "c": "long text, " * 200,
    }
    assert label_files(given) == {**given, "a": [label, label, 5]}


def test_an_answer_that_is_an_image_has_its_label_as_output() -> None:
    parts = [{"text": "Here: "}, {"inlineData": {"mimeType": "image/png", "data": encode(PNG)}}]
    call = read(GEMINI, {"contents": []}, {"candidates": [{"content": {"parts": parts}}]})
    assert (call.output, call.media) == ("Here: [image: png, 14 bytes]", (media_of(PNG, "image", "png"),))
    item = {"type": "image_generation_call", "result": encode(PNG)}
    call = read("https://api.openai.com/v1/responses", {"model": "m", "input": "a cat"}, {"output": [item]})
    assert (call.output, len(call.media)) == ("[image: png, 14 bytes]", 1)


def test_a_message_without_media_is_stored_as_before() -> None:
    assert Call(messages=(Message("user", "a"),)).to_wire() == {
        "messages": [{"role": "user", "content": "a"}]
    }


@pytest.mark.parametrize(
    ("wire", "error"),
    [
        ({"kind": 1}, TypeError),
        ({"kind": "image", "size": "x"}, TypeError),
        ({"kind": "image", "size": -1}, TypeError),
        ("a", AttributeError),
    ],
)
def test_media_of_a_wrong_form_are_refused(wire: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Call.from_wire({"media": [wire]})


def test_the_file_of_a_case_takes_the_place_of_its_digest() -> None:
    digest = hashlib.sha256(PNG).hexdigest()
    media = make_media("image/png", f"sha256:{digest}")
    assert media is not None
    call = Call(messages=(Message("user", media.label, (media,)),))
    files = {encode(PNG).encode(): f"sha256:{digest}".encode()}
    assert restore_files(call, files).messages[0].media == (media_of(PNG, "image", "png"),)
    assert restore_files(call, {b"QUJD": b"sha256:0"}).messages[0].media == (media,)


def test_another_image_of_the_same_size_is_another_request_and_another_answer() -> None:
    first, second = (media_of(PNG + end, "image", "png") for end in (b"1", b"2"))
    calls = [
        Call(
            model="m", messages=(Message("user", media.label, (media,)),), output=media.label, media=(media,)
        )
        for media in (first, second)
    ]
    one, two = list_requests(calls)
    assert one.parts["messages[0]"] == two.parts["messages[0]"]
    place = "messages[0], images and sounds"
    assert [request.parts[place] for request in (one, two)] == [
        f"[image: png, 15 bytes] {media.sha256[:12]}" for media in (first, second)
    ]
    assert one.answers != two.answers


def test_a_run_keeps_each_content_once_and_those_of_failed_tests_first() -> None:
    small = media_of(PNG, "image", "png")
    other = media_of(PNG + b"2", "image", "png")
    passed = TestRecord(nodeid="a", calls=(Call(messages=(Message("user", "", (small,)),)),))
    failed = TestRecord(nodeid="b", outcome="failed", calls=(Call(media=(other, other)),))
    first, second = limit_media([passed, failed], len(other.data))
    assert first.calls[0].messages[0].media == (replace(small, data=""),)
    assert second.calls[0].media == (other, replace(other, data=""))
    plain = TestRecord(nodeid="c", calls=(Call(output="x"),))
    assert limit_media([plain])[0] is plain
    assert MediaBudget(0).keep(small).data == ""


def test_a_page_shows_what_is_safe_and_says_why_it_does_not_show_the_rest() -> None:
    shown = media_of(PNG, "image", "png")
    svg = replace(shown, sha256=hashlib.sha256(SVG).hexdigest(), data=encode(SVG))
    masked = replace(shown, data=encode(PNG + b"***"))
    html = replace(shown, data='"><script>alert(1)</script>')
    large = replace(shown, size=MAX_MEDIA_BYTES + 1, sha256="ab", data="")
    unknown = media_of(SVG, "image")
    page = PageMedia()
    assert page.put([shown, shown]) == [0, 0]
    assert page.stored[0]["address"] == f"data:image/png;base64,{encode(PNG)}"
    for media, why in (
        (svg, "its content is not in the run file"),
        (large, "larger than 200 KB, SHA-256 ab"),
        (unknown, "not PNG, JPEG, GIF, WebP, WAV, MP3 or Ogg"),
    ):
        (place,) = page.put([media])
        assert "address" not in page.stored[place]
        assert why in page.stored[place]["why"]
    for media in (masked, html):
        other = PageMedia()
        other.put([media])
        assert "address" not in other.stored[0]
    full = PageMedia(max_chars=3)
    full.put([shown])
    assert "address" not in full.stored[0]


def test_a_page_stores_a_content_once_for_all_calls_that_have_it() -> None:
    image = media_of(PNG, "image", "png")
    bare = replace(image, data="")
    messages = (Message("user", image.label, (bare,)),)
    run = run_of(Call(messages=messages), Call(messages=messages, media=(image,)))
    page = read_data(render_html(run))
    assert [view["kind"] for view in page["media"]] == ["image"]
    (case,) = page["cases"]
    assert case["media"] == {"input": [0], "output": [0]}
    assert [part[2:] for call in case["calls"] for part in call["parts"]] == [[[0]], [], [[0]], [[0]]]
