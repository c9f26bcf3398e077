"""Is the model sure when it is right? And does it answer alike if a customer mistypes?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import bot
import pytest

from pytest_llmops import assert_confidence, assert_contains
from pytest_llmops.cases import load_cases

if TYPE_CHECKING:
    from pytest_llmops.cases.files import Case

QUESTIONS = Path(__file__).parent / "cases" / "questions.jsonl"
SURE = 0.6


@pytest.mark.llm_cassette("confidence")
def test_confidence() -> None:
    records = []
    for case in load_cases(QUESTIONS):
        reply = bot.answer(str(case.input), case["documents"], rated=True)
        records.append(
            {
                "id": case.id,
                "family": case.family,
                "confidence": reply.confidence,
                "correct": any(str(fact) in reply.text for fact in case["facts"]),
                "outcome": "answered" if reply.confidence >= SURE else "flagged",
            }
        )

    # Twelve answers prove nothing: the lower ends of accuracy and coverage are recorded. That nothing is answered
    # below the threshold, or left without an answer or a person, is asserted.
    assert_confidence(records, at_least_accuracy=None, at_least_coverage=None, threshold=SURE)


@pytest.mark.llm_cassette("robustness")
@pytest.mark.llm_robust("typos", "case", equal="answer")
@pytest.mark.cases("cases/questions.jsonl", sample=4, seed=1)
def test_spelling(case: Case) -> None:
    reply = bot.answer(str(case.input), case["documents"])

    # Recorded: the verdict compares the answers with those to the questions as they are.
    assert_contains(reply.text, case["facts"], any_of=True, at_least=None, label="fact")
