"""Images and sounds of recorded and replayed calls, in the run file and on the HTML page."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from support.page import read_data
from support.project import Project
from support.server import chat_answer, json_reply

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(400)
SEEING = """
import base64
import openai
import pytest

@pytest.mark.parametrize("name", ["a", "b"])
def test_a(name, llm_calls):
    image = "data:image/png;base64," + base64.b64encode(IMAGE).decode()
    parts = [{"type": "text", "text": name}, {"type": "image_url", "image_url": {"url": image}}]
    client = openai.OpenAI(api_key="k", max_retries=0)
    client.chat.completions.create(model="stub-1", messages=[{"role": "user", "content": parts}])
"""


def speak() -> Any:
    sound = {"id": "s", "data": base64.b64encode(WAV).decode(), "transcript": "A cat.", "expires_at": 1}
    return json_reply(chat_answer("", audio=sound))


@pytest.mark.parametrize("workers", [0], indirect=True, ids=["n0"])
def test_an_image_and_a_sound_are_on_the_page_live_and_replayed(project: Project, workers: int) -> None:
    project.write(**{"test_a.py": f"IMAGE = {PNG!r}\n{SEEING}"})
    project.server.queue += [speak(), speak()]
    runs = [
        project.record("--llm-report=r.html", workers=workers),
        project.run("--llm-report=r.html", workers=workers),
    ]
    assert project.server.count == 2
    for result in runs:
        assert result.outcomes == {"passed": 2}
        calls = [call for record in result.run.records for call in record.calls]
        assert calls[0].messages[0].content == "a\n[image: png, 1 KB]"
        kept = [bool(media.data) for call in calls for media in (*call.messages[0].media, *call.media)]
        assert kept == [True, True, False, False]
    page = read_data((project.path / "r.html").read_text(encoding="utf-8"))
    assert [view["address"].partition(",")[0] for view in page["media"]] == [
        "data:image/png;base64",
        "data:audio/wav;base64",
    ]
    assert [case["media"] for case in page["cases"]] == [{"input": [0], "output": [1]}] * 2


def test_a_secret_in_an_image_reaches_no_file(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "sk-proj-" + "Zq7Xw3Lm" * 5
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    forms = [base64.b64encode(b"x" * pad + secret.encode())[4:40] for pad in range(3)]
    source = f"import os\nIMAGE = {PNG!r} + os.environ['OPENAI_API_KEY'].encode() + b'end'\n{SEEING}"
    project.write(**{"test_a.py": source})
    assert project.record("--llm-report=r.html").outcomes == {"passed": 2}
    assert any(form in project.server.seen[0].body for form in forms)
    assert project.run("--llm-report=r.html").outcomes == {"passed": 2}
    page = read_data((project.path / "r.html").read_text(encoding="utf-8"))
    (view,) = page["media"]
    run_file = (project.path / "run-file.json").read_bytes()
    for stored in (view["address"].encode(), run_file, *project.cassettes().values()):
        assert secret.encode() not in stored
        assert not any(form in stored for form in forms)
