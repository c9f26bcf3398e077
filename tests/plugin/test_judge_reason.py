"""A judge file with ``reason: none`` in a run, and the note on a judge that gives all answers the same score."""

from __future__ import annotations

import json

from support.messages import check_message
from support.project import Project
from support.server import Reply, Seen, chat_answer, json_reply

RUBRIC = "---\nkind: rubric\nreason: none\n---\nDoes the answer name a number of days?"
TESTS = """
import pytest
from pytest_llmops import assert_judge_score

@pytest.mark.judge("brief.md")
@pytest.mark.parametrize("days", range(10))
def test_answer(judge, days):
    verdict = assert_judge_score(f"You have {days} days.", judge=judge)
    assert verdict.value == 1
"""


def test_a_judge_without_a_reason_that_passes_all_answers(project: Project) -> None:
    def pass_all(seen: Seen) -> Reply:
        body = seen.json
        schema = body["response_format"]["json_schema"]["schema"]
        assert list(schema["properties"]) == ["verdict", "nonce"]
        [nonce] = schema["properties"]["nonce"]["enum"]
        return json_reply(chat_answer(json.dumps({"verdict": "pass", "nonce": nonce})))

    project.server.answer = pass_all  # type: ignore[method-assign]
    project.write(**{"test_a.py": TESTS, "brief.md": RUBRIC})
    assert project.record("--llm-judge").outcomes == {"passed": 10}
    replayed = project.run("--llm-judge")
    assert replayed.outcomes == {"passed": 10}
    check_message(replayed.line("the same score"))
