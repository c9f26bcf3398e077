"""Is the judge any good? Twenty answers that we graded ourselves, and how often it agrees with us."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmops import Measurement, assert_judge_score, collect, emit
from pytest_llmops.cases import load_cases
from pytest_llmops.metrics.agreement import accuracy, cohen_kappa

if TYPE_CHECKING:
    from pytest_llmops.protocols import Judge

LABELLED = Path(__file__).parent / "cases" / "labelled.jsonl"
CUT = 7
"""On the judge's scale of 1 to 10: from here on it calls an answer good."""


@pytest.mark.judge("quality")
def test_agreement_with_our_labels(judge: Judge) -> None:
    said, labels, unscored = [], [], 0
    for case in load_cases(LABELLED):
        with collect():  # twenty scores that say nothing of themselves: the report gets what they add up to
            found = assert_judge_score(
                case["answer"], judge=judge, question=case.input, reference=case.reference, at_least=None
            )
        if found.value is None:
            unscored += 1  # could not be scored: neither right nor wrong
            continue
        verdict = found.detail["judge"]
        assert verdict["low"] <= verdict["score"] <= verdict["high"]
        assert verdict["reason"].strip()
        said.append("good" if verdict["score"] >= CUT else "bad")
        labels.append(case["label"])

    kappa = cohen_kappa(said, labels)
    # Recorded, not asserted: what came out is the finding. A judge that you rely on should be held to
    # a bound here, say bound=0.6 for kappa.
    emit(Measurement(name="judge_check.unscored", value=unscored, unit="count", better="lower"))
    emit(Measurement(name="judge_check.accuracy", value=accuracy(said, labels), reason=f"{len(said)} pairs"))
    if kappa is None:
        reason = "the judge said the same of every answer: there is no agreement beyond chance to measure"
        emit(Measurement(name="judge_check.said_good", value=said.count("good"), unit="count", reason=reason))
    else:
        emit(Measurement(name="judge_check.kappa", value=kappa, reason="0 is chance, 1 is full agreement"))

    assert len(said) + unscored == 20
