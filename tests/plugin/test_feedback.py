"""A thumbs-down becomes a case: a test with it fails on the bad answer, and passes on the right one."""

from __future__ import annotations

import json

import pytest
from support.project import Project

from pytest_llmops import cli

EVENTS = [
    {"id": "e1", "question": "Can I return it?", "answer": "No, never.", "thumb": "down", "corrected": "Yes, in 45 days."},
    {"id": "e2", "question": "Is it open?", "answer": "Yes, until 8.", "thumb": "up"},
]  # fmt: skip
TESTS = """
import pytest
from pytest_llmops import assert_score
from pytest_llmops.semantics.textmetrics import closer_to_reference

ANSWERS = {answers}

@pytest.mark.cases("cases/feedback.jsonl")
def test_answer(case):
    texts = [case.reference, case.data.get("rejected", "")]
    assert_score(closer_to_reference, ANSWERS[case.input], texts, at_least=0.5)

def test_votes(llm_feedback):
    assert llm_feedback("events.jsonl").votes == {{"up": 1, "down": 1}}
"""


def test_a_reviewed_case_turns_the_suite_red_until_the_answer_is_right(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path)
    monkeypatch.setattr("pytest_llmops.cli.command_line.GROUPS", ("cases",))
    right = {"Can I return it?": "Yes, in 45 days.", "Is it open?": "Yes, until 8."}
    given = {"Can I return it?": "No, never.", "Is it open?": "Yes, until 8."}
    project.write(
        **{
            "test_a.py": TESTS.format(answers=given),
            "events.jsonl": "".join(f"{json.dumps(event)}\n" for event in EVENTS),
        }
    )
    assert cli.main(["cases", "from-feedback", "events.jsonl"]) == 0
    for line in (project.path / "cases" / "queue.jsonl").read_text(encoding="utf-8").splitlines():
        assert cli.main(["cases", "review", "--accept", json.loads(line)["id"]]) == 0
    result = project.run()
    assert result.outcomes == {"failed": 1, "passed": 2}
    assert "No, never." in result.line("answer ")
    project.write(**{"test_a.py": TESTS.format(answers=right)})
    assert project.run().outcomes == {"passed": 3}


def queue_entry(number: int, topic: str, votes: int, status: str = "open") -> str:
    item = {
        "id": f"fb-{number}", "kind": "case", "status": status, "input": f"Question {number}?", "output": "No.",
        "votes": {"down": votes}, "tags": [topic],
    }  # fmt: skip
    return f"{json.dumps(item)}\n"


def test_a_complete_run_says_which_topics_of_the_feedback_have_no_case(project: Project) -> None:
    lines = [
        queue_entry(1, "returns", 3, "accepted"),
        *(queue_entry(n, f"topic-{n}", n) for n in range(2, 9)),
    ]
    project.write(
        **{
            "test_a.py": """
import pytest
@pytest.mark.cases("cases/feedback.jsonl")
def test_a(case): assert case.input
""",
            "cases/feedback.jsonl": '{"id": "fb-1", "input": "Question 1?", "tags": []}\n',
            "cases/queue.jsonl": "".join(lines),
        }
    )
    assert (
        "note      cases/queue.jsonl: 3 of 38 votes against answers are on topics that a case of this run covers; without one: topic-8, "
        "topic-7, topic-6, topic-5, topic-4 and 2 more (llmops cases review)"
    ) in project.run("-v").text
    assert "against answers" not in project.run("-k", "test_a", "-v").text
    project.write(**{"cases/queue.jsonl": lines[0]})
    assert "against answers" not in project.run("-v").text
    project.write(**{"cases/queue.jsonl": "{}\n"})
    assert "missing key 'id'" in project.run("-v").text
