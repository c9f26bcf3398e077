"""`assert_semantic` with a judge in a run: recorded and replayed, by argument and by ini key."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from support.messages import check_message
from support.project import Project
from support.server import Reply, Seen, chat_answer, json_reply

TESTS = """
import pytest
from pytest_llmops import assert_semantic

@pytest.mark.parametrize("days", ["thirty", "60"])
def test_answer(llm_cassette, days):
    assert_semantic(f"You have {days} days.", "Within 30 days.", question="When?", judge=JUDGE)
"""


def token(text: str, *alternatives: tuple[str, float]) -> dict[str, Any]:
    """Return a token as OpenAI's API describes it."""
    top = [{"token": name, "logprob": number, "bytes": None} for name, number in alternatives]
    return {"token": text, "logprob": -0.1, "bytes": None, "top_logprobs": top}


def judging(seen: Seen, asked: list[Seen]) -> Reply:
    """Judge by the number in the answer; with log-probabilities, as they were requested."""
    asked.append(seen)
    body = seen.json
    assert (body["logprobs"], body["top_logprobs"]) == (True, 10)
    answer = json.loads(body["messages"][-1]["content"])["answer"]
    word = "same" if "thirty" in answer else "different"
    reply = chat_answer(json.dumps({"verdict": word}))
    other = "different" if word == "same" else "same"
    tokens = [token('{"verdict": "'), token(word, (word, -0.1), (other, -2.4)), token('"}')]
    reply["choices"][0]["logprobs"] = {"content": tokens}
    return json_reply(reply)


def test_a_judged_answer_is_recorded_and_replayed(project: Project) -> None:
    asked: list[Seen] = []
    project.server.answer = partial(judging, asked=asked)  # type: ignore[method-assign]
    project.write(**{"test_a.py": TESTS.replace("JUDGE", "True")})
    recorded = project.record("--llm-judge")
    assert recorded.outcomes == {"passed": 1, "failed": 1}
    assert len(asked) == 2
    replayed = project.run("--llm-judge")
    assert replayed.outcomes == {"passed": 1, "failed": 1}
    assert len(asked) == 2
    [measured] = [
        measurement
        for measurement in replayed.records["test_answer[thirty]"].measurements
        if measurement.name == "judge.equivalence"
    ]
    assert measured.value == pytest.approx(0.909, abs=0.001)
    check_message(replayed.line("judge.equivalence 0.09"))


def test_the_ini_key_asks_the_judge_where_the_test_does_not_say_otherwise(project: Project) -> None:
    asked: list[Seen] = []
    project.server.answer = partial(judging, asked=asked)  # type: ignore[method-assign]
    key = ("-o", "llm_semantic_judge=true")
    project.write(**{"test_a.py": TESTS.replace(", judge=JUDGE", "")})
    assert project.record(*key).outcomes == {"passed": 1, "failed": 1}
    assert len(asked) == 2
    project.write(**{"test_a.py": TESTS.replace("JUDGE", "False")})
    assert project.run(*key).outcomes == {"passed": 1, "failed": 1}
    assert len(asked) == 2
