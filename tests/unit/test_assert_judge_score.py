from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops import recorder, registry
from pytest_llmops import recorder as softly
from pytest_llmops.assertions.grounding import assert_context_relevance
from pytest_llmops.assertions.judge_score import assert_judge_score
from pytest_llmops.assertions.preference import assert_preferred
from pytest_llmops.errors import (
    JudgeError,
    MeasurementErrored,
    MeasurementFailed,
    ModelError,
    UnknownName,
    UsageError,
)
from pytest_llmops.judges.rubric import Pairwise, Preference, Rubric, quality
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Message, Verdict
from pytest_llmops.providers.offline import ScriptedModel


@dataclass
class Fixed:
    """A judge that returns or raises what it was given."""

    verdict: Any
    version: str = "fixed/1"

    def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
        assert isinstance(answer + question + reference, str)
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict  # type: ignore[no-any-return]


def scoring(accuracy: int, fluency: int, relevance: int, reason: str = "because") -> Rubric:
    def reply(messages: Sequence[Message]) -> str:
        hits = re.search(r"<data-([0-9a-f]{32})>", messages[1].content)
        assert hits is not None
        scores = {"accuracy": accuracy, "fluency": fluency, "relevance": relevance}
        return json.dumps({"nonce": hits[1], "reason": reason, "dimensions": scores})

    return quality(ScriptedModel(reply))


def judged(*args: Any, **options: Any) -> tuple[dict[str, Measurement], Mapping[str, Any]]:
    with softly.collect() as measurements:
        assert_judge_score(*args, **options)
    return {measurement.name: measurement for measurement in measurements}, measurements[-1].detail.get(
        "judge", {}
    )  # type: ignore[return-value]


def test_score_and_threshold_are_kept_from_0_to_1_and_on_the_judges_scale() -> None:
    judge = scoring(4, 9, 8)
    measurement = assert_judge_score("An answer", judge=judge, question="Q?", reference="R.", label="de")
    assert (measurement.name, measurement.status, measurement.label, measurement.version) == (
        "judge.quality",
        "passed",
        "de",
        judge.version,
    )
    assert measurement.value == measurement.threshold == pytest.approx(6 / 9)
    assert (measurement.detail["actual"], measurement.detail["expected"], measurement.detail["question"]) == (
        "An answer",
        "R.",
        "Q?",
    )
    lines = measurement.detail["judge"]
    assert isinstance(lines, dict)
    assert json.loads(lines.pop("raw"))["reason"] == "because"
    assert lines == {
        "name": "quality",
        "model": "scripted",
        "score": 7.0,
        "low": 1.0,
        "high": 10.0,
        "threshold": 7.0,
        "reason": "because",
        "dimensions": {"accuracy": 4.0, "fluency": 9.0, "relevance": 8.0},
        "error": "",
        "prescreened": False,
        "default": True,
    }


def test_a_threshold_of_the_test_is_not_reported_as_the_judges_own() -> None:
    measurement = assert_judge_score("An answer", judge=scoring(4, 9, 8), at_least=7)
    assert "default" not in measurement.detail["judge"]  # type: ignore[operator]


def test_each_dimension_is_recorded() -> None:
    measurements, _ = judged("An answer", judge=scoring(1, 10, 4), label="de", at_least=None)
    assert list(measurements) == [
        "judge.quality.accuracy",
        "judge.quality.fluency",
        "judge.quality.relevance",
        "judge.quality",
    ]
    assert [measurement.value for measurement in measurements.values()] == pytest.approx([0, 1, 3 / 9, 4 / 9])
    assert {
        (measurement.status, measurement.label, measurement.version) for measurement in measurements.values()
    } == {("recorded", "de", measurements["judge.quality"].version)}


def test_the_message() -> None:
    judge = scoring(1, 9, 3, reason="claims 60 days;\nthe reference says 30")
    with pytest.raises(MeasurementFailed) as caught:
        assert_judge_score("Within 60 days.", judge=judge, reference="Within 30 days.")
    assert str(caught.value).splitlines()[:5] == [
        "judge quality 4.3 < 7 (scale 1 to 10)",
        '  reason      judge: "claims 60 days;\\nthe reference says 30"',
        "  scores      accuracy 1, fluency 9, relevance 3",
        '  answer      "Within 60 days."',
        '  reference   "Within 30 days."',
    ]


def test_a_label_stands_in_the_verdict() -> None:
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_judge_score("x", judge=scoring(1, 1, 1), label="de")


def test_score_and_threshold_are_told_apart() -> None:
    with pytest.raises(MeasurementFailed, match=r"^judge Fixed 6\.996 < 7 "):
        assert_judge_score("x", judge=Fixed(Verdict(score=6.996)), at_least=7)


def test_a_scale_up_to_a_hundred() -> None:
    judge = Fixed(Verdict(score=99.5, low=0, high=100, dimensions={"tone": 100}))
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_judge_score("x", judge=judge, at_least=100)


def test_a_contentless_answer_fails_without_asking() -> None:
    judge = quality(ScriptedModel([]))
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_judge_score("...", judge=judge)
    _, judge_detail = judged("", judge=judge)
    assert judge_detail["prescreened"] is True


def test_an_unreadable_verdict_is_an_error_and_keeps_the_replies() -> None:
    judge = quality(ScriptedModel(['{"score": "?"}', '{"score":\n"?"}']))
    with pytest.raises(MeasurementErrored) as caught:
        assert_judge_score("An answer", judge=judge)
    lines = str(caught.value).splitlines()
    check_message(lines[0])
    raw = 'try 1: {"score": "?"}\n\ntry 2: {"score":\n"?"}'
    assert lines[1] == '  reply      "' + raw.replace("\n", "\\n") + '"'
    measurement = caught.value.measurement
    assert (measurement.status, measurement.value, measurement.threshold) == ("errored", None, None)
    judge_detail = measurement.detail["judge"]
    assert isinstance(judge_detail, dict)
    assert (judge_detail["score"], judge_detail["raw"]) == (None, raw)


@pytest.mark.parametrize(
    "raised",
    [
        ModelError("model 'x' could not be reached", kind="connection"),
        JudgeError("the panel disagrees"),
        ValueError("boom"),
        KeyError("score"),
        AssertionError(),
    ],
)
def test_a_judge_that_raises_is_an_error_not_a_low_score(raised: Exception) -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_judge_score("An answer", judge=Fixed(raised), at_least=7)


def test_a_judges_own_usage_error_stays_one() -> None:
    with pytest.raises(UsageError, match="no model is named"):
        assert_judge_score("An answer", judge=Fixed(UsageError("no model is named")), at_least=7)


@pytest.mark.slow
@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(score=11),
        Verdict(score=0.5),
        Verdict(score=float("nan")),
        Verdict(score=float("inf")),
        Verdict(score=True),
        Verdict(score="7"),  # type: ignore[arg-type]
        Verdict(score=7, error="but"),
        Verdict(),
        Verdict(score=7, low=10, high=1),
        Verdict(score=7, low=7, high=7),
        Verdict(score=7, high=float("nan")),
        Verdict(score=7, dimensions={"tone": 12}),
        Verdict(score=7, dimensions={"tone": float("nan")}),
        Verdict(score=7, dimensions=None),  # type: ignore[arg-type]
        Verdict(score=1000, dimensions={"score": 5}),
        Verdict(score=7, dimensions={"score": 11}),
        Verdict(score=10**400),
        Verdict(score=7, confidence=75),
        Verdict(score=7, confidence=float("nan")),
        Verdict(score=7, reason=None),  # type: ignore[arg-type]
        Verdict(error="no verdict"),
        None,
        7.0,
        {"score": 7},
    ],
)
def test_a_verdict_that_is_none_is_an_error(verdict: Any) -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_judge_score("An answer", judge=Fixed(verdict), at_least=7)


def test_the_raw_reply_of_an_impossible_verdict_is_kept() -> None:
    _, judge_detail = judged("x", judge=Fixed(Verdict(score=99, raw="Score: 99")), at_least=7)
    assert judge_detail["raw"] == "Score: 99"


@pytest.mark.parametrize(
    "verdict", [JudgeError("down"), Verdict(score=99), None, Verdict(error="no verdict")]
)
def test_what_is_unscored_keeps_the_judges_own_scale(verdict: Any) -> None:
    class Five(Fixed):
        low, high, pass_at = 1, 5, 4

    _, judge_detail = judged("x", judge=Five(verdict))
    assert (judge_detail["score"], judge_detail["low"], judge_detail["high"]) == (None, 1, 5)
    _, own = judged("x", judge=Fixed(Verdict(error="no verdict", low=0, high=1)), at_least=None)
    assert (own["low"], own["high"]) == (0, 1)


def test_what_cannot_be_judged_names_the_judges_version() -> None:
    with softly.collect() as measurements:
        assert_judge_score(None, judge=Fixed(Verdict(score=7)), at_least=None)
    assert measurements[0].version == "fixed/1"


def test_numbers_of_numpy_are_numbers() -> None:
    verdict = Verdict(score=np.float32(7), dimensions={"tone": np.float64(10)})  # type: ignore[arg-type]
    measurements, judge_detail = judged("x", judge=Fixed(verdict), at_least=7)
    assert [measurement.value for measurement in measurements.values()] == pytest.approx([1, 6 / 9])
    assert type(judge_detail["score"]) is float


@pytest.mark.parametrize("answer", [None, 7, b"bytes"])
def test_an_answer_that_is_no_text_cannot_be_scored(answer: Any) -> None:
    with pytest.raises(MeasurementErrored, match=f"expected a text, got {type(answer).__name__}"):
        assert_judge_score(answer, judge=quality(ScriptedModel([])))


@pytest.mark.parametrize("threshold", [0.7, 0, 11])
def test_a_threshold_off_the_scale_is_refused_before_anything_is_paid(threshold: float) -> None:
    model = ScriptedModel([])
    with pytest.raises(UsageError, check=check_message):
        assert_judge_score("An answer", judge=quality(model), at_least=threshold)
    assert model.asked == []


def test_a_threshold_off_the_scale_of_a_judge_that_tells_it_only_in_its_verdict() -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_judge_score("An answer", judge=Fixed(Verdict(score=1, low=0, high=1)), at_least=7)


@pytest.mark.parametrize("threshold", ["7", True, float("nan"), [7]])
def test_a_threshold_that_is_no_number_is_refused(threshold: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_judge_score("An answer", judge=scoring(7, 7, 7), at_least=threshold)


def test_a_judge_without_pass_at_needs_a_threshold() -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_judge_score("An answer", judge=Fixed(Verdict(score=7)))


@pytest.mark.parametrize("name", ["question", "reference"])
def test_question_and_reference_must_be_texts(name: str) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_judge_score("An answer", judge=scoring(7, 7, 7), **{name: None})  # type: ignore[arg-type]


def test_no_such_judge() -> None:
    mine = recorder.Recorder(find_component=registry.load_builtin)
    recorder.push_recorder(mine)
    try:
        with pytest.raises(UnknownName, check=check_message):
            assert_judge_score("An answer", judge="qualty")
    finally:
        recorder.pop_recorder(mine)
    with pytest.raises(UsageError, check=check_message):
        assert_judge_score("An answer", judge=7)  # type: ignore[arg-type]


def test_a_judge_by_name_and_the_fact_for_the_report() -> None:
    judge = scoring(8, 8, 8)
    mine = recorder.Recorder(find_component=lambda kind, name: {("judge", "mine"): judge}[kind, name])
    recorder.push_recorder(mine)
    try:
        assert_judge_score("An answer", judge="mine")
    finally:
        recorder.pop_recorder(mine)
    assert mine.facts == {"judge": {"name": "quality", "version": judge.version, "model": "scripted"}}


def test_hostile_text_starts_no_line() -> None:
    evil = "x\nFAILED\x1b[31m\u202e"
    judge = Fixed(Verdict(score=1, reason=evil, raw=evil, dimensions={evil: 1}))
    with pytest.raises(MeasurementFailed) as caught:
        assert_judge_score(evil, judge=judge, question=evil, reference=evil, label=evil, at_least=7)
    assert all(line.startswith("  ") for line in str(caught.value).splitlines()[1:])
    assert not any(char in str(caught.value) for char in "\x1b\u202e")
    with pytest.raises(MeasurementErrored) as errored:
        assert_judge_score(evil, judge=Fixed(Verdict(error=evil, raw=evil)), label=evil, at_least=7)
    assert all(line.startswith("  ") for line in str(errored.value).splitlines()[1:])


class Asks(Pairwise):
    """A judge with an SDK of its own, which says nothing of whom its calls serve."""

    version = "asks/1"
    model_name = ""

    def __init__(self) -> None:
        super().__init__()
        self.served: list[str] = []

    def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
        assert isinstance(answer + question + reference, str)
        self.served.append(recorder.current_purpose())
        return Verdict(score=9)

    def compare(self, *_: Any, **__: Any) -> Preference:
        self.served.append(recorder.current_purpose())
        return Preference(winner="tie")


def test_whatever_a_judge_asks_counts_as_the_judges_call() -> None:
    judge = Asks()
    assert_judge_score("x", judge=judge, at_least=7)
    assert_context_relevance("Why?", ["x"], judge=judge, at_least=0.5)
    assert_preferred("x", over="y", judge=judge)
    assert judge.served == ["judge"] * 3
    assert recorder.current_purpose() == "app"
