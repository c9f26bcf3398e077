"""What a judge says of the answers that must hold: recorded, as it fails too many right answers (see judge_check)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llmops import assert_judge_score

if TYPE_CHECKING:
    from pytest_llmops.cases.files import Case
    from pytest_llmops.prompts.registry import Prompt
    from pytest_llmops.protocols import Judge, Model


@pytest.mark.llm_cassette("judged")
@pytest.mark.prompt("support/answer")
@pytest.mark.cases("cases/must_hold.jsonl")
@pytest.mark.judge("judge_check/judges/same_fact.md")
def test_judged(prompt: Prompt, case: Case, llm: Model, judge: Judge, policies: dict[str, str]) -> None:
    answer = llm.complete(prompt.render(policy=policies[case.tags[0]], question=case.input)).text

    # Without a threshold. Held against labels, this judge fails wrong answers and more than a third of the right ones: a fail is
    # a reason to look at the answer, and none to stop a release. `case` fills in question and reference.
    verdict = assert_judge_score(answer, judge=judge, case=case, at_least=None)
    assert verdict.value in (0.0, 1.0)
