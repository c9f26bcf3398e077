"""One line of a system prompt: measured over all questions, compared with the version before, and nailed down for some."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llmops import assert_contains, assert_fuzzy, assert_semantic

if TYPE_CHECKING:
    from pytest_llmops.cases.files import Case
    from pytest_llmops.prompts.registry import Prompt
    from pytest_llmops.protocols import Model

# One cassette holds the answers of all versions: whichever is in production, its answers are replayed, and the run
# turns red for what it says, not for a missing recording.
pytestmark = pytest.mark.llm_cassette("answers")


@pytest.mark.llm_trials(3)  # as in production the answers vary: three to each question
@pytest.mark.prompt("support/answer")  # the version in production: the alias decides
@pytest.mark.cases("cases/questions.jsonl")
def test_answer(prompt: Prompt, case: Case, llm: Model, policies: dict[str, str]) -> None:
    answer = llm.complete(prompt.render(policy=policies[case.tags[0]], question=case.input)).text

    # Recorded, not asserted: no model is right everywhere. The gate compares all cases with the baseline of version 1.
    assert_contains(answer, case["fact"], any_of=True, ignore_case=True, at_least=None, label="fact")


@pytest.mark.llm_compare("prompt")  # is version 2 better than version 1? The verdict is in the summary
@pytest.mark.llm_trials(3)
@pytest.mark.prompt("support/answer", versions=["v1", "v2"])
@pytest.mark.cases("cases/questions.jsonl", sample=10, seed=1)  # ten of the same questions
def test_compared(prompt: Prompt, case: Case, llm: Model, policies: dict[str, str]) -> None:
    answer = llm.complete(prompt.render(policy=policies[case.tags[0]], question=case.input)).text

    assert_contains(answer, case["fact"], any_of=True, ignore_case=True, at_least=None, label="fact")


@pytest.mark.prompt("support/answer")
@pytest.mark.cases("cases/must_hold.jsonl")
def test_what_must_hold(prompt: Prompt, case: Case, llm: Model, policies: dict[str, str]) -> None:
    answer = llm.complete(prompt.render(policy=policies[case.tags[0]], question=case.input)).text

    assert_contains(answer, case["fact"], any_of=True, ignore_case=True)
    assert_fuzzy(answer, case.reference, partial=True, ignore_case=True, at_least=0.65)
    assert_semantic(answer, case=case)
