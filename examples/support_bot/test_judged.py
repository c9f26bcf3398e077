"""A judge with a threshold: it has been held against labels first (see judge_check)."""

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
@pytest.mark.judge("judge_check/judges/same_fact.md")
def test_judged(prompt: Prompt, case: Case, llm: Model, judge: Judge, policies: dict[str, str]) -> None:
    answer = llm.complete(prompt.render(policy=policies[case.tags[0]], question=case.input)).text

    # The rubric's own threshold: pass. `case` fills in the question and the reference.
    assert_judge_score(answer, judge=judge, case=case)
