"""Did it get worse? Three trials of each question, compared with the committed baseline of prompt version 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llmops import assert_contains, assert_semantic

if TYPE_CHECKING:
    from pytest_llmops.cases.files import Case
    from pytest_llmops.prompts.registry import Prompt
    from pytest_llmops.protocols import Model


# All trials of both versions lie in one cassette: the baseline can be made anew, offline, with the old version.
@pytest.mark.llm_cassette("since_baseline")
@pytest.mark.llm_trials(3)
@pytest.mark.prompt("support/answer")
@pytest.mark.cases("cases/questions.jsonl")
def test_since_baseline(prompt: Prompt, case: Case, llm: Model, policies: dict[str, str]) -> None:
    messages = prompt.render(policy=policies[case.tags[0]], question=case.input)
    answer = llm.complete(messages, temperature=0.7).text  # as in production: trials differ

    # Recorded, not asserted: the gate decides over the whole suite.
    assert_contains(answer, case["fact"], any_of=True, ignore_case=True, at_least=None, label="fact")
    assert_semantic(answer, case.reference, at_least=None)
