"""A project that uses the openai SDK in every way, recorded and replayed: ``python -m clients.openai_versions FOLDER [VERSION]``.

It runs with whatever openai the interpreter finds: that of a nox session, or the one in a folder first on the path.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from support.project import PROGRAM
from support.server import Reply, Seen, StubServer, chat_answer, json_reply

from pytest_llmops.results.run import Run

INI = """
[pytest]
llm_model = app-1
llm_judge_model = judge-1
addopts = --strict-markers --strict-config -p no:cacheprovider -p no:anyio
filterwarnings = error
"""
TESTS = """
import asyncio, subprocess, sys
import openai, pytest
from pytest_llmops import assert_judge_score, assert_semantic
from pytest_llmops.errors import UsageError
from pytest_llmops.providers.openai import OpenAIEmbedder, OpenAIModel
from pytest_llmops.providers.openai_sdk import RESPONSES_VERSION, find_version

HAS_RESPONSES = find_version(openai) >= RESPONSES_VERSION

def question(text):
    return {"model": "app-1", "messages": [{"role": "user", "content": text}]}

@pytest.mark.llm_cassette
def test_call():
    with openai.OpenAI(api_key="k", max_retries=0) as client:
        for answer in ("echo of plain", "echo of plain (2)"):
            assert client.chat.completions.create(**question("plain")).choices[0].message.content == answer

@pytest.mark.llm_cassette
def test_stream():
    with openai.OpenAI(api_key="k") as client:
        events = client.chat.completions.create(**question("three words here"), stream=True)
        pieces = [event.choices[0].delta.content for event in events if event.choices]
    assert [piece for piece in pieces if piece] == ["echo ", "of ", "three ", "words ", "here "]

@pytest.mark.llm_cassette
def test_calls_at_once():
    async def ask_all():
        async with openai.AsyncOpenAI(api_key="k") as client:
            create = client.chat.completions.create
            return await asyncio.gather(*(create(**question(f"number {n}")) for n in range(3)))
    answers = [answer.choices[0].message.content for answer in asyncio.run(ask_all())]
    assert answers == [f"echo of number {n}" for n in range(3)]

@pytest.mark.llm_cassette
def test_stream_at_once():
    async def ask():
        async with openai.AsyncOpenAI(api_key="k") as client:
            events = await client.chat.completions.create(**question("async words"), stream=True)
            return [event.choices[0].delta.content async for event in events if event.choices]
    assert [piece for piece in asyncio.run(ask()) if piece] == ["echo ", "of ", "async ", "words "]

@pytest.mark.llm_cassette
def test_refused_call():
    with openai.OpenAI(api_key="k", max_retries=0) as client, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**question("refuse this"))
    assert caught.value.body["message"] == "no such thing"

def test_judged(llm, judge):
    answer = llm.complete("of Paris", max_completion_tokens=9, temperature=0)
    assert answer.usage.output_tokens == 3
    assert_judge_score(answer.text, judge=judge, question="Which city?", reference="Paris", at_least=7)

@pytest.mark.llm_cassette
def test_embedder():
    assert_semantic("a text", "a text", embedder=OpenAIEmbedder(dimensions=3), at_least=0.9, checks=())

@pytest.mark.llm_cassette
def test_responses():
    model = OpenAIModel("app-1", api="responses")
    if HAS_RESPONSES:
        assert model.complete("words").text == "echo of words"
        return
    with pytest.raises(UsageError, match="the Responses API: expected the openai SDK 1.66 or newer"):
        model.complete("words")

def test_program(llm_proxy):
    done = subprocess.run([sys.executable, "program.py"], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "echo of a program"
"""
COUNT = TESTS.count("\ndef test_")
TIMEOUT_S = 240
BASE_URL = "OPENAI_BASE_URL"


class Server(StubServer):
    """Refuses one question, and answers those of a judge with a verdict."""

    def answer(self, seen: Seen) -> Reply:
        reply = super().answer(seen)
        if b"refuse this" in seen.body:
            return json_reply({"error": {"message": "no such thing", "type": "x"}}, status=400)
        nonce = re.search(rb"<data-([0-9a-f]{32})>", seen.body)
        if nonce is None:
            return reply
        scores = {"accuracy": 9, "fluency": 9, "relevance": 9}
        verdict = {"nonce": nonce[1].decode(), "reason": "right", "dimensions": scores}
        return json_reply(chat_answer(json.dumps(verdict)))


def main(folder: Path, expected: str = "") -> None:
    """Record, then replay without a server.

    Args:
        folder: An empty folder for the project.
        expected: The version of openai that must be installed; empty: any.
    """
    folder = folder.resolve()  # pytest runs in there
    installed = version("openai")
    assert expected in ("", installed), f"openai: expected {expected}, got {installed}"
    (folder / "pytest.ini").write_text(INI, encoding="utf-8")
    loaded = f"\nassert openai.__version__ == {installed!r}\n"
    (folder / "test_sdk.py").write_text(TESTS + loaded, encoding="utf-8")
    (folder / "program.py").write_text(f"{PROGRAM}\nprint(ask('a program'))\n", encoding="utf-8")
    with Server() as server:
        address = f"{server.url}/v1"
        _run_pytest(folder, address, "--llm-record=new")
        assert server.count > COUNT
        paths = {seen.path for seen in server.seen}
        assert {"/v1/chat/completions", "/v1/embeddings"} <= paths
    run = _run_pytest(folder, address)
    assert len(run.records) == COUNT
    assert all(call.replayed for record in run.records for call in record.calls)
    print(f"openai {installed}: {COUNT} tests recorded and replayed")


def _run_pytest(folder: Path, address: str, *args: str) -> Run:
    """Run the tests of the project, which must all pass, and return the run."""
    report = folder / "run.json"
    options = ("-p", "xdist.plugin", "-p", "pytest_llmops.plugin", "--llm-judge", f"--llm-report={report}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *args],
        cwd=folder,
        env={**os.environ, BASE_URL: address, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    assert f"{COUNT} passed" in done.stdout
    return Run.from_json(report.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
