"""A judge's scores: kept and looked at in form, until the judge itself has been checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llmops import assert_judge_score

if TYPE_CHECKING:
    from pytest_llmops.cases.files import Case
    from pytest_llmops.prompts.registry import Prompt
    from pytest_llmops.protocols import Judge, Model


@pytest.mark.prompt("support/answer")
@pytest.mark.cases("cases/must_hold.jsonl")
@pytest.mark.judge("quality")
def test_judged(prompt: Prompt, case: Case, llm: Model, judge: Judge, policies: dict[str, str]) -> None:
    answer = llm.complete(prompt.render(policy=policies[case.tags[0]], question=case.input)).text

    # Recorded only. The small model that was recorded here judges at chance level (see judge_check): its
    # score cannot be relied on, and a threshold on it would be a coin toss. With a judge that you have checked,
    # write at_least=7.
    found = assert_judge_score(
        answer, judge=judge, question=case.input, reference=case.reference, at_least=None
    )

    # What can be asserted of any judge: that it gave a score on its scale, and a reason. A judge that gives
    # none ends the test as an error ("could not be scored"), which is something else than a low score.
    verdict = found.detail["judge"]
    assert 0.0 <= found.value <= 1.0
    assert verdict["low"] <= verdict["score"] <= verdict["high"]
    assert set(verdict["dimensions"]) == {"accuracy", "fluency", "relevance"}
    assert verdict["reason"].strip()
