"""What the assertions with a judge share: inputs of a case, answer objects, findings, thresholds of dimensions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops import (
    assert_checklist,
    assert_contains,
    assert_exact,
    assert_fuzzy,
    assert_judge_canaries,
    assert_judge_score,
    assert_matches,
    assert_not_contains,
    assert_not_matches,
    assert_preferred,
    recorder,
)
from pytest_llmops.cases import Case
from pytest_llmops.errors import MeasurementErrored, MeasurementFailed, UsageError
from pytest_llmops.judges import Grounding, Pairwise, Panel, Policy, Rubric
from pytest_llmops.protocols import Chunk, Completion, Hit, Hits, Message, Verdict
from pytest_llmops.providers.offline import ScriptedModel

CASE = Case(id="late", input="How long?", reference="30 days", data={"contexts": ["Refunds take 30 days."]})
GIVEN = {"question": "How long?", "reference": "30 days", "contexts": ["Refunds take 30 days."]}


class Asked(ScriptedModel):
    """A judge model that replies with these fields, and keeps the data of each request."""

    def __init__(self, **fields: Any) -> None:
        self.data: list[dict[str, Any]] = []

        def reply(messages: Sequence[Message]) -> str:
            tag, line, _ = messages[-1].content.split("\n")
            self.data.append(json.loads(line))
            return json.dumps({"nonce": tag[6:-1], "reason": "seen", **fields})

        super().__init__(reply)


def tone(model: Any) -> Rubric:
    return Rubric(model=model, criteria="Is it kind?", name="tone")


def test_a_case_fills_what_an_assertion_leaves_out() -> None:
    scored, listed, paired = Asked(verdict="pass"), Asked(items={"1": "yes"}), Asked(winner="tie")
    assert_judge_score("Thirty.", judge=tone(scored), case=CASE)
    assert_checklist("Thirty.", ["names days"], model=listed, case=CASE)
    assert_preferred("Thirty.", "Sixty.", judge=Pairwise(model=paired), case=CASE)
    for model in (scored, listed, paired):
        assert {key: value for key, value in model.data[0].items() if key in GIVEN} == GIVEN


def test_what_an_assertion_names_wins_over_the_case() -> None:
    model = Asked(verdict="pass")
    measurement = assert_judge_score(
        "Thirty.", judge=tone(model), case=CASE, question="", reference="a month", contexts=["x"]
    )
    assert model.data == [{"reference": "a month", "contexts": ["x"], "answer": "Thirty."}]
    assert (
        measurement.detail["question"],
        measurement.detail["expected"],
        measurement.detail["contexts"],
    ) == (
        "",
        "a month",
        ["x"],
    )


def test_an_input_that_is_no_text_and_a_judge_without_contexts() -> None:
    class Plain:
        version = "1"

        def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
            assert (answer, question, reference) == ("x", '{"city":"Rome"}', "")
            return Verdict(score=10)

    case = Case(id="c", input={"city": "Rome"}, data={"contexts": ["x"]})
    assert_judge_score("x", judge=Plain(), case=case, at_least=5)


@pytest.mark.parametrize(
    "given",
    [
        {"case": "late"},
        {"case": {"input": "x"}},
        {"case": Case(id="c", input="x", data={"contexts": "a text"})},
        {"case": Case(id="c", input="x", data={"contexts": [1]})},
        {"contexts": "a text"},
        {"contexts": [None]},
    ],
)
def test_inputs_that_are_none(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_judge_score("x", judge=tone(Asked()), **given)
    with pytest.raises(UsageError, check=check_message):
        assert_checklist("x", ["is y"], model=Asked(), **given)
    with pytest.raises(UsageError, check=check_message):
        assert_preferred("x", "y", **given)


def test_contexts_may_be_hits_and_documents_of_other_frameworks() -> None:
    documents: list[Any] = [
        Hits((Hit(id="a", text="Refunds.", score=1.0),)),
        [Chunk(id="a", text="Refunds.")],
        [SimpleNamespace(page_content="Refunds.", metadata={})],
        ("Refunds.",),
    ]
    for contexts in documents:
        model = Asked(verdict="pass")
        assert_judge_score("x", judge=tone(model), contexts=contexts)
        assert model.data[0]["contexts"] == ["Refunds."]


ANSWERS: list[Any] = [
    "Thirty days.",
    Completion(text="Thirty days."),
    SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content="Thirty days."))]),
    SimpleNamespace(role="assistant", content=[SimpleNamespace(type="text", text="Thirty days.")]),
    SimpleNamespace(type="ai", content="Thirty days."),
    SimpleNamespace(output=[], output_text="Thirty days."),
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_answer_objects_of_frameworks(answer: Any) -> None:
    model = Asked(verdict="pass")
    for measurement in (
        assert_judge_score(answer, judge=tone(model)),
        assert_preferred(
            answer, SimpleNamespace(type="ai", content="Thirty days."), judge=Pairwise(model=model)
        ),
        assert_contains(answer, "Thirty"),
        assert_not_contains(answer, "Sixty"),
        assert_matches(answer, r"days\."),
        assert_not_matches(answer, r"\d"),
        assert_fuzzy(answer, "Thirty days!", at_least=0.8),
        assert_exact(answer, "Thirty days."),
    ):
        assert measurement.detail["actual"] == "Thirty days."
    with pytest.raises(MeasurementFailed) as caught:
        assert_not_contains(answer, "days")
    assert caught.value.measurement.detail["spans"] == [[[7, 11]]]
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_contains(answer, "sixty")


@pytest.mark.parametrize("answer", [None, Completion(text=None), 7])  # type: ignore[arg-type]
def test_no_answer_is_no_low_score(answer: Any) -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_contains(answer, "x")
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_judge_score(answer, judge=tone(Asked()))


def test_a_failure_lists_broken_rules(tmp_path: Path) -> None:
    policy = tmp_path / "policy.md"
    policy.write_text("- Promise nothing.\n- Name the form.\n- Be brief.\n", "utf-8")
    judge = Policy(policy, Asked(items={"1": "broken", "2": "kept", "3": "irrelevant"}))
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_judge_score("We promise.", judge=judge)


def test_a_failure_lists_unsupported_claims() -> None:
    claims = [
        {"claim": "It takes 30 days.", "passages": [1], "finding": "supported"},
        {"claim": "It is free.", "passages": [1], "finding": "contradicted"},
        {"claim": "We pay the post.", "passages": [], "finding": "absent"},
    ]
    answer = "It takes 30 days. It is free. We pay the post."
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_judge_score(answer, judge=Grounding(Asked(claims=claims)), contexts=["30 days, for a fee."])


def test_a_failure_lists_the_votes_of_a_panel() -> None:
    class Voter:
        low, high, pass_at = 1.0, 5.0, 4.0

        def __init__(self, name: str, verdict: Verdict) -> None:
            self.version = self.model_name = name
            self.verdict = verdict

        def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
            assert (answer, question, reference) == ("x", "", "")
            return self.verdict

    verdicts = {
        "model-a": Verdict(score=5, low=1, high=5),
        "model-b": Verdict(score=2, low=1, high=5),
        "": Verdict(error="refused", low=1, high=5),
    }
    panel = Panel([Voter(name, verdict) for name, verdict in verdicts.items()])
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_judge_score("x", judge=panel)


LEVELS = {1: "Bad.", 2: "Poor.", 3: "Fair.", 4: "Good.", 5: "Best."}


def two_dimensions(**scores: int) -> Rubric:
    return Rubric(
        model=Asked(dimensions=scores),
        criteria="Is it kind and of use?",
        levels=LEVELS,
        dimensions={"tone": 0.5, "help": 0.5},
        pass_at={"tone": 4, "help": 3},
        name="two",
    )


def test_each_dimension_has_its_threshold() -> None:
    with pytest.raises(MeasurementFailed, check=check_message) as caught:
        assert_judge_score("x", judge=two_dimensions(tone=5, help=2))
    assert [measurement.name for measurement in caught.value.measurements] == ["judge.two.help"]
    with recorder.collect() as measured:
        assert_judge_score("x", judge=two_dimensions(tone=4, help=3))
    assert [
        (measurement.name, measurement.value, measurement.threshold, measurement.status)
        for measurement in measured
    ] == [
        ("judge.two.tone", 0.75, 0.75, "passed"),
        ("judge.two.help", 0.5, 0.5, "passed"),
        ("judge.two", 0.625, 0.625, "passed"),
    ]
    assert {tuple(measurement.detail["scale"]) for measurement in measured[:2]} == {(1.0, 5.0)}  # type: ignore[arg-type]


@pytest.mark.parametrize(("at_least", "status"), [(None, "recorded"), (1, "passed")])
def test_a_threshold_of_the_test_replaces_those_of_the_dimensions(
    at_least: float | None, status: str
) -> None:
    with recorder.collect() as measured:
        assert_judge_score("x", judge=two_dimensions(tone=5, help=1), at_least=at_least)
    assert [measurement.status for measurement in measured] == ["recorded", "recorded", status]


def test_canaries_fit_a_rubric_of_tone() -> None:
    examples = [
        {"answer": "Please do come in!", "question": "May I?", "label": "pass"},
        {"answer": "No.", "question": "May I?", "label": "fail"},
    ]

    def reply(messages: Sequence[Message]) -> str:
        tag, line, _ = messages[1].content.split("\n")
        data = json.loads(line)
        assert [example["answer"] for example in data["examples"]] == ["Please do come in!", "No."]
        verdict = "pass" if data["answer"].startswith("Please do come") else "fail"
        return json.dumps({"nonce": tag[6:-1], "reason": "seen", "verdict": verdict})

    judge = Rubric(model=ScriptedModel(reply), criteria="Is it kind?", examples=examples, name="tone")
    measurement = assert_judge_canaries(judge)
    assert measurement.value == 1
    assert measurement.detail["canaries"]["right answers"] == 1  # type: ignore[index, call-overload]
