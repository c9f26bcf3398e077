"""Is the judge any good? Twenty answers that we graded ourselves, and how often it agrees with us."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmops import assert_judge_agrees
from pytest_llmops.cases import load_cases

if TYPE_CHECKING:
    from pytest_llmops.protocols import Judge

LABELLED = Path(__file__).parent / "cases" / "labelled.jsonl"


@pytest.mark.judge("quality")
def test_agreement_with_our_labels(judge: Judge) -> None:
    labels = [
        {
            "id": case.id,
            "question": case.input,
            "reference": case.reference,
            "answer": case["answer"],
            "human": case["label"] == "good",
        }
        for case in load_cases(LABELLED)
    ]
    # Recorded, not asserted: what came out is the finding. A judge that you rely on is held to its two bars
    # by leaving them at their defaults, with 100 labels instead of 20.
    assert_judge_agrees(judge, labels, kappa=None, kappa_floor=None, min_labels=20)
