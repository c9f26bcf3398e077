"""Tests that a plugin runs several times: each run plays its own take, and a replay never ends in misses.

The plugins themselves are tried in tests/clients; here their hooks are written down in a conftest.
"""

from __future__ import annotations

import json

import pytest
from support.project import Project
from support.reruns import REPEAT, make_rerun_conftest

ASK = """
import pytest
from openai import OpenAI

def ask(text):
    message = {"role": "user", "content": text}
    return OpenAI().chat.completions.create(model="stub-1", messages=[message]).choices[0].message.content
"""
RERUN = make_rerun_conftest(3)
SECOND_PASSES = f"""{ASK}
@pytest.mark.llm_cassette
def test_a():
    assert ask("hello") == "echo of hello (2)"
"""
CASES = f"""{ASK}
@pytest.mark.llm_cassette
@pytest.mark.parametrize("word", ["a", "b"])
def test_a(word):
    assert ask(word).startswith(f"echo of {{word}}")
"""


def takes(project: Project, name: str) -> list[dict[str, int]]:
    """Of each interaction the number of answers by take."""
    interactions = json.loads(project.cassettes()[name])["interactions"]
    return [
        {take: len(answers) for take, answers in interaction["answers"].items()}
        for interaction in interactions
    ]


@pytest.mark.parametrize("mode", ["new", "all"])
def test_a_rerun_asks_again_and_replays_what_it_got(project: Project, mode: str) -> None:
    project.write(**{"conftest.py": RERUN, "test_a.py": SECOND_PASSES})
    assert project.record(mode=mode).outcomes.get("passed") == 1
    assert project.server.count == 2
    assert takes(project, "cassettes/test_a/test_a.json") == [{"0": 1, "1": 1}]
    result = project.run()
    assert result.outcomes.get("passed") == 1
    assert project.server.count == 2


def test_a_rerun_that_is_not_recorded_shows_the_failure_and_no_miss(project: Project) -> None:
    project.write(**{"test_a.py": SECOND_PASSES})
    project.record()
    project.write(**{"conftest.py": RERUN})
    result = project.run("-v")
    assert result.outcomes.get("failed") == 1
    assert "AssertionError" in result.text
    assert "no recording" not in result.text
    assert "--llm-record=new records more" in result.line("test_a.py::test_a: run again")


@pytest.mark.parametrize("workers", [0], indirect=True, ids=["n0"])
def test_a_repeated_test_has_one_cassette_with_a_take_for_each_run(project: Project, workers: int) -> None:
    project.write(**{"conftest.py": REPEAT, "test_a.py": CASES})
    assert project.record("--times=3", workers=workers).outcomes == {"passed": 6}
    assert project.server.count == 6
    assert sorted(project.cassettes()) == ["cassettes/test_a/test_a/a.json", "cassettes/test_a/test_a/b.json"]
    assert takes(project, "cassettes/test_a/test_a/a.json") == [{"0": 1, "1": 1, "2": 1}]
    for times in (1, 2, 3):
        assert project.run(f"--times={times}", workers=workers).outcomes == {"passed": 2 * times}
    assert project.server.count == 6


def test_more_repetitions_than_were_recorded_replay_the_last_with_one_note(project: Project) -> None:
    project.write(**{"conftest.py": REPEAT, "test_a.py": CASES})
    project.record()
    result = project.run("--times=5", "-v")
    assert result.outcomes == {"passed": 10}
    notes = [line for line in result.text.splitlines() if "run again" in line]
    assert len(notes) == 1
    assert "and 7 more tests" in notes[0]


@pytest.mark.parametrize("workers", [2], indirect=True, ids=["n2"])
def test_recording_all_again_keeps_what_the_other_repetitions_requested(
    project: Project, workers: int
) -> None:
    asks = f"""{ASK}
@pytest.mark.llm_cassette
def test_a(request):
    ask(request.node.name)
"""
    project.write(**{"conftest.py": REPEAT, "test_a.py": asks})
    project.record("--times=3", mode="all", workers=workers)
    assert len(takes(project, "cassettes/test_a/test_a.json")) == 3
    assert project.run("--times=3").outcomes == {"passed": 3}
