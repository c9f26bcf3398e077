"""Recordings of one server, replayed for another: README's steps, with the address left out of the second run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.messages import check_message
from support.project import Project

from pytest_llmops.cassettes import recordings

INI = """
[pytest]
llm_model = stub-1
addopts = --strict-markers --strict-config -p no:hypothesispytest -p no:platformdirs -p no:anyio
filterwarnings = error
"""
LLM = """
def test_capital(llm):
    assert llm.complete("capital of {country}?").text == "echo of capital of {country}?"
"""
BOTH = """
import httpx2, pytest
def ask(server):
    body = {{"model": "m", "messages": [{{"role": "user", "content": "q"}}]}}
    return httpx2.post(server + "/chat/completions", json=body).json()["choices"][0]["message"]["content"]
@pytest.mark.llm_cassette
def test_ours():
    {body}
"""


def test_a_recording_of_another_server_answers_with_a_note(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(**{"pytest.ini": INI, "test_a.py": LLM.replace("{country}", "France")})
    assert project.record().outcomes == {"passed": 1}
    before = project.cassettes()
    replayed = project.run("-v")
    assert replayed.outcomes == {"passed": 1}
    (note,) = replayed.run.notes
    assert "recorded from a server on this machine" in note
    assert "now calls api.openai.com" in note
    assert "1 replayed" in replayed.text
    assert "0 stale" in replayed.text
    # Also where a new recording is allowed: nothing is asked that is recorded.
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")
    assert project.run("--llm-record=new").outcomes == {"passed": 1}
    assert project.cassettes() == before
    assert project.server.count == 1


def test_the_command_of_a_miss_names_the_server_of_the_recording(project: Project) -> None:
    project.write(**{"pytest.ini": INI, "test_a.py": LLM.replace("{country}", "France")})
    project.record()
    project.write(**{"test_a.py": LLM.replace("{country}", "Spain")})
    missed = project.run()
    assert missed.outcomes == {"errors": 1}
    assert missed.line("record  ").endswith("--llm-record=new --llm-base-url=http://localhost:PORT/v1")
    check_message(missed.line("no recording answers"))


def test_the_command_of_a_miss_carries_an_address_of_the_environment(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(**{"pytest.ini": INI, "test_a.py": LLM.replace("{country}", "Spain")})
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:secret-word@models.example.com/v1")
    line = project.run().line("record  ")
    assert "--llm-base-url=http://[secret]@models.example.com/v1" in line.replace("'", "")


@pytest.mark.parametrize(
    ("recorded", "replayed"),
    [
        # Two servers are compared: the second has no recording.
        ('ask("SERVER/v1")', 'assert ask("SERVER/v1")\n    ask("https://b.example.com/v1")'),
        # More is asked than was recorded.
        (
            'ask("SERVER/v1")',
            'ask("https://b.example.com/v1")\n    ask("https://c.example.com/v1")\n    ask("SERVER/v1")',
        ),
    ],
    ids=["compares two", "asks more than recorded"],
)
def test_a_test_that_compares_servers_gets_no_answer_of_the_other(
    project: Project, recorded: str, replayed: str
) -> None:
    project.write(**{"test_a.py": BOTH.format(body=recorded.replace("SERVER", project.server.url))})
    assert project.record().outcomes == {"passed": 1}
    project.write(**{"test_a.py": BOTH.format(body=replayed.replace("SERVER", project.server.url))})
    missed = project.run()
    assert missed.outcomes == {"errors": 1}
    assert project.server.count == 1


@pytest.mark.parametrize(
    ("server", "outcome"), [("https://a.example.com", "passed"), ("https://b.example.com", "errors")]
)
def test_only_a_recording_that_is_unambiguous_answers(project: Project, server: str, outcome: str) -> None:
    project.write(**{"test_a.py": BOTH.format(body=f'ask("{project.server.url}/v1")')})
    project.record()
    (name, data), *_ = project.cassettes().items()
    document = json.loads(data)
    first = document["interactions"][0]
    for n, other in enumerate(["https://a.example.com", "https://z.example.com"]):
        url = f"{other}/v1/chat/completions"
        more = {**first, "key": f"{n}" * 20, "request": {**first["request"], "url": url}}
        document["interactions"].append(more)
    (project.path / name).write_text(json.dumps(document))
    project.write(**{"test_a.py": BOTH.format(body=f'ask("{server}/v1")')})
    assert project.run().outcomes == {outcome: 1}


def test_a_renamed_test_is_answered_by_the_recording_of_another_server(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = 'assert ask("SERVER/v1") == "echo of q"'
    recorded = BOTH.format(body=body.replace("SERVER", project.server.url))
    project.write(**{"test_a.py": recorded})
    assert project.record().outcomes == {"passed": 1}
    elsewhere = BOTH.format(body=body.replace("SERVER", "https://b.example.com"))
    # The test that recorded it is still there: its recording is its own.
    project.write(**{"test_b.py": elsewhere.replace("test_ours", "test_new")})
    assert project.run("test_b.py").outcomes == {"errors": 1}
    (project.path / "test_a.py").unlink()
    walks = []
    real = recordings.walk_folders

    def count_walks(root: Path) -> object:
        walks.append(root)
        return real(root)

    monkeypatch.setattr(recordings, "walk_folders", count_walks)
    two = elsewhere + elsewhere[elsewhere.index("@pytest.mark") :].replace("test_ours", "test_other")
    project.write(**{"test_b.py": two})
    replayed = project.run("-v")
    assert replayed.outcomes == {"passed": 2}, replayed.text
    assert len(walks) == 1
    assert "recorded from a server on this machine" in replayed.text
    assert "renamed tests replay" in replayed.text
    assert project.server.count == 1


def test_renamed_recordings_of_two_servers_are_not_guessed(project: Project) -> None:
    both = "".join(f'\n    ask("{project.server.url}{base}")' for base in ("/v1", "/v2"))
    project.write(**{"test_a.py": BOTH.format(body=both.strip())})
    assert project.record().outcomes == {"passed": 1}
    (project.path / "test_a.py").unlink()
    project.write(**{"test_b.py": BOTH.format(body='ask("https://b.example.com/v1")')})
    missed = project.run()
    assert missed.outcomes == {"errors": 1}
    assert "no recording answers" in missed.text
