"""Images and sounds on the page of a report, in a real browser."""

from __future__ import annotations

import base64
import hashlib
import io
import struct
import wave
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chromium import BROWSER, Tab, open_tab

from pytest_llmops.protocols import Call, Media, Message
from pytest_llmops.reports.html import render_html
from pytest_llmops.results.run import Run, TestRecord

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH"),
]

WIDTHS = "[...document.querySelectorAll('.media img')].map((one) => one.naturalWidth)"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with open_tab(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def make_png(width: int, height: int) -> bytes:
    """A grey image."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = (b"\0" + b"\x80" * width) * height
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def make_wav() -> bytes:
    """A tenth of a second of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8_000)
        sound.writeframes(b"\0\0" * 800)
    return file.getvalue()


def media_of(kind: str, type_: str, content: bytes) -> Media:
    digest = hashlib.sha256(content).hexdigest()
    data = base64.b64encode(content).decode()
    return Media(kind=kind, type=type_, size=len(content), sha256=digest, data=data)


def test_an_image_and_a_player_are_in_the_case_and_in_its_call(tab: Tab, tmp_path: Path) -> None:
    image = media_of("image", "png", make_png(40, 30))
    sound = media_of("audio", "wav", make_wav())
    svg = media_of("image", "png", b"<svg onload='document.title = 1'/>")
    message = Message("user", f"What is this?\n{image.label}\n{svg.label}", (image, svg))
    record = TestRecord(
        nodeid="t.py::test_a",
        outcome="failed",
        message="no",
        calls=(Call(model="m", messages=(message,), output="A cat.", media=(sound,)),),
        facts={"case": {"id": "a", "input": "What is this?"}},
    )
    page = tmp_path / "page.html"
    page.write_text(render_html(Run(records=(record,))), encoding="utf-8", newline="\n")
    tab.open(page.as_uri())
    assert tab.run(WIDTHS) == [40]
    tab.run(
        "[...document.querySelectorAll('.more button')].find((one) => one.innerText.startsWith('Calls')).click()"
    )
    tab.run("document.querySelector('details.call').open = true")
    tab.wait("document.querySelectorAll('.call img').length === 1")
    tab.wait("[...document.querySelectorAll('audio')].every((one) => one.readyState > 0)")
    assert tab.run(WIDTHS) == [40, 40]
    assert tab.run("[...document.querySelectorAll('audio')].map((one) => one.duration)") == [0.1, 0.1]
    shown = tab.run("document.querySelector('.call').innerText")
    assert f"not shown: its content is not in the run file, SHA-256 {svg.sha256[:12]}" in shown
    assert tab.console == []
    assert tab.requests == []
