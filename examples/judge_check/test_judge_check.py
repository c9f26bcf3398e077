"""Is the judge any good? How often it agrees with us on twenty answers, and whether it can be talked to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmops import assert_judge_agrees
from pytest_llmops.cases.files import load_cases

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llmops import Measurement
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
    # Recorded, not asserted: what came out is the finding. A judge that you rely on is held to its two thresholds
    # by leaving them at their defaults, with 100 labels instead of 20.
    assert_judge_agrees(judge, labels, at_least_kappa=None, at_least_kappa_lower=None, at_least_labels=20)


@pytest.mark.judge("quality")
def test_whether_it_can_be_talked_to(judge: Judge, judge_canaries: Callable[..., Measurement]) -> None:
    # Likewise: left out, `at_least` asks that no canary passes, and this judge would fail it.
    assert judge_canaries(judge, at_least=None).value is not None
