"""One line of a system prompt, measured over all questions and nailed down for some."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmops import assert_contains, assert_fuzzy, assert_semantic
from pytest_llmops.cases.files import load_cases

if TYPE_CHECKING:
    from pytest_llmops.cases.files import Case
    from pytest_llmops.prompts.registry import Prompt, Prompts
    from pytest_llmops.protocols import Model

MUST_HOLD = Path(__file__).parent / "cases" / "must_hold.jsonl"
# Both tests of these cases share a cassette. It holds the answers of both versions, so that the alias can
# be moved back to v1, offline, and the run turns red for what v1 says, not for a missing recording.
shared = pytest.mark.llm_cassette("must_hold")


@pytest.mark.llm_compare("prompt")  # is v2 better than v1? The verdict is in the summary
@pytest.mark.prompt("support/answer", versions=["v1", "v2"])
@pytest.mark.cases("cases/questions.jsonl")
def test_answer(prompt: Prompt, case: Case, llm: Model, policies: dict[str, str]) -> None:
    answer = llm.complete(prompt.render(policy=policies[case.tags[0]], question=case.input)).text

    assert answer.strip(), "the model said nothing"
    # Recorded, not asserted: no model is right everywhere. The summary shows both versions as numbers,
    # and the cases below say what must not break.
    assert_contains(answer, case["fact"], any_of=True, ignore_case=True, at_least=None, label="fact")
    assert_semantic(answer, case.reference, at_least=None)


@shared
@pytest.mark.prompt("support/answer")  # the version in production: the alias decides
@pytest.mark.cases("cases/must_hold.jsonl")
def test_what_must_hold(prompt: Prompt, case: Case, llm: Model, policies: dict[str, str]) -> None:
    answer = llm.complete(prompt.render(policy=policies[case.tags[0]], question=case.input)).text

    assert_contains(answer, case["fact"], ignore_case=True)
    assert_fuzzy(answer, case.reference, partial=True, ignore_case=True, at_least=0.65)
    # Version 2 scored 0.46 and more on these cases, the wrong answers of version 1 scored 0.28 and less.
    assert_semantic(answer, case.reference)


@shared
def test_one_line_turns_wrong_answers_right(prompts: Prompts, llm: Model, policies: dict[str, str]) -> None:
    cases = load_cases(MUST_HOLD)
    right = {}
    for version in ("v1", "v2"):
        prompt = prompts.get("support/answer", version)
        found = [
            assert_contains(
                llm.complete(prompt.render(policy=policies[case.tags[0]], question=case.input)).text,
                case["fact"],
                ignore_case=True,
                at_least=None,
                label=f"{version} {case.id}",
            )
            for case in cases
        ]
        right[version] = sum(one.value == 1.0 for one in found)

    # A strong model answers right without the line as well: then there is nothing left to turn.
    assert right["v2"] > right["v1"] or right["v1"] == len(cases), right
