"""What a person who named a judge meant: a sentence, a class, a judge file, a model; and answers that are no text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import check_message

from pytest_llmops import registry
from pytest_llmops._util.judge_names import format_rubric_call, is_sentence
from pytest_llmops.assertions.grounding import assert_grounded
from pytest_llmops.assertions.guardrails import assert_complies, assert_refusal
from pytest_llmops.assertions.judge_score import assert_checklist, assert_judge_score
from pytest_llmops.assertions.preference import assert_preferred
from pytest_llmops.errors import PromptError, UnknownName, UsageError
from pytest_llmops.judges import Checklist, Pairwise, Policy, Rubric, quality
from pytest_llmops.model_names import is_model_name
from pytest_llmops.protocols import Verdict
from pytest_llmops.providers.offline import ScriptedModel

RUBRIC = "---\nkind: rubric\n---\nIs it polite?\n"


class MyJudge:
    """A judge of a user's own."""

    version = "1"

    def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
        return Verdict(score=10.0, reason=f"{answer}{question}{reference}")


@pytest.mark.parametrize(
    "sentence", ["Is the answer polite?", 'Say "please"', "polite？", "Is it kind?\nIs it short?"]
)
def test_a_sentence_leads_to_a_rubric(sentence: str) -> None:
    with pytest.raises(UsageError, check=check_message) as caught:
        registry.load_builtin("judge", sentence)
    line = f"judge={format_rubric_call(sentence)}"
    assert line in str(caught.value)
    judge: Any = eval(line.removeprefix("judge="), {"Rubric": Rubric})
    assert judge.spec.values["criteria"].startswith(" ".join(sentence.split()))


def test_a_sentence_instead_of_a_path_leads_to_criteria() -> None:
    with pytest.raises(UsageError, check=check_message) as caught:
        Rubric("Is it polite?")
    assert 'Rubric(criteria="Is it polite?")' in str(caught.value)
    with pytest.raises(UsageError, match="got a sentence; write Rubric"):
        Rubric("Is it polite? " * 500)  # longer than a file name can be
    with pytest.raises(UsageError, match=r"got a sentence$"):
        Policy("Never promise a refund")


def test_a_path_with_blanks_is_a_path(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="no such file"):
        Rubric("my judges/tone.md")
    path = tmp_path / "is it polite"
    path.write_text(RUBRIC, encoding="utf-8")
    assert Rubric(str(path)).name == "is it polite"


@pytest.mark.slow
@given(st.text(max_size=40))
def test_any_name_is_an_error_of_use_and_its_line_is_one_line(name: str) -> None:
    if registry.is_builtin("judge", name):
        return
    error = registry.unknown_component("judge", name, registry.BUILT_IN["judge"])
    assert isinstance(error, UsageError)
    if is_sentence(name):
        assert len(format_rubric_call(name).splitlines()) == 1


@pytest.mark.parametrize("given_judge", [Rubric, MyJudge, Checklist, quality, ScriptedModel("yes"), None])
def test_what_is_not_a_judge_is_named_with_the_call(given_judge: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_judge_score("Sure.", judge=given_judge, at_least=1)


def test_a_class_of_pairs_is_named_with_the_call() -> None:
    with pytest.raises(UsageError, check=check_message, match=r"judge=Pairwise\(\)"):
        assert_preferred("Sure.", over="No.", judge=Pairwise)  # type: ignore[arg-type]


def test_a_name_without_folder_leads_to_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "judges").mkdir()
    (tmp_path / "judges" / "tone.md").write_text(RUBRIC, encoding="utf-8")
    for name in ("tone", "judges/tone"):
        with pytest.raises(UnknownName, match=r'; name the file by its path: judge="judges/tone\.md"$'):
            registry.load_builtin("judge", name)
    with pytest.raises(UsageError, check=check_message):
        Rubric("tone")
    with pytest.raises(UnknownName, check=check_message):
        registry.load_builtin("judge", "tune")


@pytest.mark.parametrize(
    "name",
    [
        "gpt-5-mini",
        "claude-sonnet-4-5",
        "qwen2.5:1.5b",
        "openai/gpt-4o",
        "meta-llama/Llama-3.1-8B",
        "anthropic:c",
    ],
)
def test_the_name_of_a_model_leads_to_the_option(name: str) -> None:
    with pytest.raises(UnknownName, check=check_message, match="--llm-judge-model="):
        registry.load_builtin("judge", name)


@pytest.mark.parametrize(
    "name", ["quality", "o", "phishing", "tone", "optics", "", "x" * 1_000, "gpt" * 200, "openai/"]
)
def test_other_names_are_not_models(name: str) -> None:
    assert not is_model_name(name)


ANSWER = {"sources": ["a.md"], "answer": "Within 30 days."}


def test_an_answer_that_is_a_dict_is_an_error_of_use(tmp_path: Path) -> None:
    judge = MyJudge()
    policy = tmp_path / "policy.md"
    policy.write_text("- Be kind.\n", encoding="utf-8")
    calls: list[Callable[[], object]] = [
        lambda: assert_judge_score(ANSWER, judge=judge),
        lambda: assert_checklist(ANSWER, ["greets"]),
        lambda: assert_preferred(ANSWER, over="No."),
        lambda: assert_preferred("No.", over=ANSWER),
        lambda: assert_grounded(ANSWER, ["a"], judge=judge),
        lambda: assert_complies(ANSWER, policy=policy),
        lambda: assert_refusal(ANSWER, judge=judge),
        lambda: assert_judge_score({"score": 1}, judge=judge),
        lambda: assert_judge_score({}, judge=judge),
    ]
    for call in calls:
        with pytest.raises(UsageError, check=check_message, match="got a dict with"):
            call()


def test_a_dict_that_is_a_message_is_judged() -> None:
    message = {"role": "assistant", "content": "Within 30 days."}
    assert assert_judge_score(message, judge=MyJudge(), at_least=1).value == 1
