"""From a thumbs-down to a test: the prompt in production answers what users complained about correctly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmops import assert_contains, assert_score
from pytest_llmops.cli import main
from pytest_llmops.errors import CaseError
from pytest_llmops.semantics.textmetrics import closer_to_reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llmops.cases.files import Case
    from pytest_llmops.production.feedback import Feedback
    from pytest_llmops.prompts.registry import Prompt
    from pytest_llmops.protocols import Model

HERE = Path(__file__).parent
POLICY = (
    "Tents can be rented for 2 to 21 days. The deposit is 50 euros, and you get it back if the tent comes back dry and "
    "complete. A late return costs 6 euros a day. Dogs may sleep in the tent if you pay 15 euros for cleaning. A booking "
    "can be cancelled free of charge until 4 days before it starts."
)


# The answers of both versions are recorded, so that the version that users disliked can be run again offline.
@pytest.mark.llm_cassette("answers")
@pytest.mark.prompt("rental/answer")  # the version in production: the alias decides
@pytest.mark.cases("cases/feedback.jsonl")
def test_answer(prompt: Prompt, case: Case, llm: Model) -> None:
    answer = llm.complete(prompt.render(policy=POLICY, question=case.input)).text

    assert_contains(answer, case["fact"])
    # Recorded only: it compares letters, and a right and a wrong answer may differ in one word.
    assert_score(closer_to_reference, answer, [case.reference, case["rejected"]], at_least=None)


def test_the_cases_are_what_the_review_made_of_the_events(tmp_path: Path) -> None:
    shutil.copy(HERE / "events.jsonl", tmp_path)
    queue, cases = tmp_path / "queue.jsonl", tmp_path / "feedback.jsonl"
    assert main(["cases", "from-feedback", str(tmp_path / "events.jsonl"), "--queue", str(queue)]) == 0
    waiting = [json.loads(line) for line in queue.read_text(encoding="utf-8").splitlines()]
    facts = {"wet tent": "No,", "lost parts": "No,"}  # the third topic is not reviewed yet
    for entry in waiting:
        topic = entry["tags"][0]
        if topic in facts and "down" in entry["votes"]:
            decision = ["--accept", entry["id"], "--fact", facts[topic]]
            assert main(["cases", "review", "--queue", str(queue), "--into", str(cases), *decision]) == 0

    assert cases.read_bytes() == (HERE / "cases" / "feedback.jsonl").read_bytes()


def test_five_votes_are_no_trend(llm_feedback: Callable[..., Feedback]) -> None:
    feedback = llm_feedback("events.jsonl")

    assert feedback.votes == {"down": 4, "up": 1}
    with pytest.raises(CaseError, match="on each side"):
        feedback.up_share()
