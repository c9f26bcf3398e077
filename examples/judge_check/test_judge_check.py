"""Is the judge any good? Held against labels made by hand, against another model, and against prompt injection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmops import assert_judge_agrees
from pytest_llmops.judges import Rubric
from pytest_llmops.providers.openai import OpenAIModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llmops import Measurement
    from pytest_llmops.protocols import Judge

FOLDER = Path(__file__).parent
LABELLED = FOLDER / "cases" / "labelled.jsonl"


@pytest.mark.judge("judge_check/judges/same_fact.md")
def test_the_judge_agrees_with_our_labels(judge: Judge) -> None:
    # Below the defaults for a kappa, so it may not decide alone. What it can do is held: it lets few wrong answers pass.
    assert_judge_agrees(judge, LABELLED, at_least_kappa=None, at_least_kappa_lower=None, at_least_tnr=0.75)


@pytest.mark.judge("judge_check/judges/same_fact.md")
def test_a_smaller_model_as_the_judge(judge: Rubric) -> None:
    model = OpenAIModel("qwen2.5-coder-0.5b-instruct", base_url="http://127.0.0.1:8081/v1")
    smaller = Rubric(judge.spec, model)

    # Recorded only: this is what a judge that does not tell answers apart looks like.
    assert_judge_agrees(smaller, LABELLED, at_least_kappa=None, at_least_kappa_lower=None, label="0.5b")


@pytest.mark.judge("judge_check/judges/same_fact.md")
def test_prompt_injection(judge: Judge, judge_canaries: Callable[..., Measurement]) -> None:
    # Recorded only: left out, `at_least` asks that no canary passes, and this judge would fail.
    assert judge_canaries(judge, at_least=None).value is not None
