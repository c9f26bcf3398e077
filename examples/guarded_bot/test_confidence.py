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


@pytest.mark.llm_cassette("confidence")
def test_confidence() -> None:
    records = []
    for case in load_cases(QUESTIONS):
        reply = bot.answer(str(case.input), case["notes"], rated=True)
        records.append(
            {
                "id": case.id,
                "input": case.input,
                "output": reply.text,
                "confidence": reply.confidence,
                "correct": any(str(fact).casefold() in reply.text.casefold() for fact in case["facts"]),
            }
        )

    assert_confidence(records, at_least_accuracy=None, at_least_coverage=None)


@pytest.mark.llm_cassette("robustness")
@pytest.mark.llm_robust("typos", "case")
@pytest.mark.cases("cases/questions.jsonl", tags=["plain"])
def test_spelling(case: Case) -> None:
    reply = bot.answer(str(case.input), case["notes"])

    assert_contains(reply.text, case["facts"], any_of=True)
