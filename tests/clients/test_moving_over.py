"""What fellow recorders recorded is imported, and replayed by ours with the server gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from clients.beside import NEIGHBOURS, OURS, Neighbour, Runner, Shelf
from support.server import StubServer

from pytest_llmops.cli import main

RECORDERS = [
    measurement for measurement in NEIGHBOURS if measurement.name in ("pytest-recording", "pytest-vcr")
]
TESTS = """
import json, os, httpx, httpx2, pytest, requests

CLIENTS = {"httpx": httpx, "httpx2": httpx2, "requests": requests}

def ask(module, text, **more):
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    return module.post(os.environ["STUB"] + "/v1/chat/completions", json=body, headers={"authorization": "Bearer credential-of-mine"})

@pytest.mark.vcr
@pytest.mark.parametrize("name", CLIENTS)
def test_plain(name):
    answer = ask(CLIENTS[name], f"é by {name}")
    assert answer.json()["choices"][0]["message"]["content"] == f"echo of é by {name}"

@pytest.mark.vcr
def test_repeats():
    numbers = [httpx.get(os.environ["STUB"] + "/again").json()["n"] for _ in range(3)]
    assert numbers == [1, 2, 3]

class TestStreams:
    @pytest.mark.vcr
    def test_stream(self):
        lines = [line for line in ask(httpx2, "a b c", stream=True).text.split("\\n\\n") if line]
        assert lines[-1] == "data: [DONE]"
        deltas = [choice["delta"] for line in lines[:-1] for choice in json.loads(line[6:])["choices"]]
        texts = [delta.get("content") or "" for delta in deltas]
        assert "".join(texts).strip() == "echo of a b c"
"""


@pytest.mark.parametrize("neighbour", RECORDERS, ids=lambda neighbour: neighbour.name)
def test_a_project_moves_over(
    neighbour: Neighbour, runner: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with StubServer() as server:
        shelf = Shelf(tmp_path, server.url, runner)
        shelf.write(**{"test_moved.py": TESTS})
        ran = shelf.run(*neighbour.recording, "test_moved.py", plugins=(neighbour.plugin,))
    assert ran.exit == 0, ran.text
    theirs = sorted((tmp_path / "cassettes").rglob("*.yaml"))
    assert len(theirs) == 5
    assert main(["cassettes", "import", str(tmp_path)]) == 0, capsys.readouterr().err
    for path in theirs:
        path.unlink()
    ours = sorted(
        path.relative_to(tmp_path / "cassettes").as_posix()
        for path in (tmp_path / "cassettes").rglob("*.json")
    )
    assert len(ours) == 5
    assert all(name.startswith("test_moved/") for name in ours)
    assert not any(
        "credential-of-mine" in path.read_text() for path in (tmp_path / "cassettes").rglob("*.json")
    )
    shelf.write(**{"test_moved.py": TESTS.replace("mark.vcr", "mark.llm_cassette")})
    ran = shelf.run("test_moved.py", plugins=(OURS,))
    assert ran.exit == 0, ran.text
    assert len(ran.outcomes) == 5
    assert set(ran.outcomes.values()) == {"passed"}
    assert main(["cassettes", "check", str(tmp_path)]) == 0
