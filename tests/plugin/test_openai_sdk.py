"""Recording needs no openai SDK; what does is an error that says so, and no low score."""

from __future__ import annotations

import pytest
from support.project import PROGRAM, Project

TESTS = """
import pytest, subprocess, sys
from pytest_llmops import assert_judge_score, assert_semantic

@pytest.mark.llm_cassette
def test_http(OPENAI_URL):
    import requests
    body = {"model": "stub-1", "messages": [{"role": "user", "content": "hi"}]}
    reply = requests.post(OPENAI_URL + "/chat/completions", json=body).json()
    assert reply["choices"][0]["message"]["content"] == "echo of hi"

def test_program(llm_proxy):
    done = subprocess.run([sys.executable, "program.py"], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "echo of a program"

def test_model(llm):
    llm.complete("hi")

def test_judge(judge):
    assert_judge_score("Paris", judge=judge, question="capital?", at_least=7)

def test_embedder(llm_cassette):
    assert_semantic("a", "b", embedder="openai:e", at_least=0.5)
"""
CONFTEST = """
import os, sys, types, pytest
old = types.ModuleType("openai")
old.__version__ = "0.28.1"
sys.modules["openai"] = REPLACEMENT
sys.modules["httpx2"] = None

@pytest.fixture
def OPENAI_URL():
    return os.environ["OPENAI_BASE_URL"]
"""


@pytest.mark.parametrize(
    ("replacement", "workers", "text"),
    [("None", 0, "the openai SDK is not installed"), ("old", 0, "the openai SDK is too old")],
)
def test_what_needs_the_sdk_is_an_error_and_the_rest_is_recorded(
    project: Project, monkeypatch: pytest.MonkeyPatch, replacement: str, workers: int, text: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{project.server.url}/v1")
    project.write(
        **{
            "conftest.py": CONFTEST.replace("REPLACEMENT", replacement),
            "test_a.py": TESTS,
            "program.py": f"{PROGRAM}\nprint(ask('a program'))\n",
        }
    )
    recorded = project.record("--llm-judge", workers=workers)
    assert recorded.outcomes == {"passed": 2, "errors": 3}
    assert project.server.count == 2
    for name in ("test_model", "test_judge", "test_embedder"):
        assert text in recorded.records[name].message
    project.server.close()
    replayed = project.run("--llm-judge", workers=workers)
    assert replayed.outcomes == {"passed": 2, "errors": 3}
    assert all(call.replayed for record in replayed.run.records for call in record.calls)
