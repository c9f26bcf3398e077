"""Panels of judges: how sure, not how right."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops import recorder
from pytest_llmops.assertions.judge_score import assert_judge_score
from pytest_llmops.errors import MeasurementErrored, MeasurementFailed, ModelError, UsageError
from pytest_llmops.judges.panel import Panel, score_confidence
from pytest_llmops.judges.rubric import quality
from pytest_llmops.protocols import Judge, Message, Verdict
from pytest_llmops.providers.offline import ScriptedModel


@dataclass
class Fixed:
    """A judge that gives the same scores in turn; None: no verdict."""

    scores: Sequence[float | None]
    version: str = "1"
    name: str = "fixed"
    low: float = 1.0
    high: float = 10.0
    pass_at: float | None = 7.0
    threads: list[int] = field(default_factory=list)
    purposes: list[int] = field(default_factory=list)
    _turn: Iterator[float | None] | None = None

    def judge(
        self, answer: str, *, question: str = "", reference: str = "", contexts: Sequence[str] = ()
    ) -> Verdict:
        assert isinstance(answer + question + reference, str)
        assert all(isinstance(context, str) for context in contexts)
        self.threads.append(threading.get_ident())
        self.purposes.append(int(recorder.current_take()))
        if self._turn is None:
            self._turn = cycle(self.scores)
        score = next(self._turn)
        if score is None:
            return Verdict(low=self.low, high=self.high, error="no verdict", raw="?")
        return Verdict(
            score=score, low=self.low, high=self.high, reason=f"gave {score:g}", raw=f"raw {score:g}"
        )


def panel(*scores: float | None, **options: Any) -> Panel:
    return Panel([Fixed([score], str(number)) for number, score in enumerate(scores)], **options)


def test_the_score_is_the_mean_and_the_spread_is_reported() -> None:
    judge = panel(6, 8, 10)
    assert isinstance(judge, Judge)
    assert (judge.low, judge.high, judge.pass_at) == (1, 10, 7)
    verdict = judge.judge("x")
    assert (verdict.score, verdict.spread) == (8, 2)
    assert [vote.score for vote in verdict.votes] == [6, 8, 10]
    assert verdict.reason == "gave 6; gave 8; gave 10"
    assert verdict.confidence == pytest.approx(1 - (8 / 3) ** 0.5 / 4.5)


def test_judges_without_a_score_are_named_and_left_out_while_most_have_one() -> None:
    verdict = panel(6, None, 8).judge("x")
    assert (verdict.score, verdict.error) == (7, "")
    assert verdict.reason == "gave 6; gave 8; judge 2: no verdict"
    none = panel(6, None).judge("x")
    assert (none.score, none.confidence) == (None, None)
    check_message(none.error)


def test_a_judge_that_cannot_be_called_is_no_smaller_panel() -> None:
    down = quality(ScriptedModel([ModelError("down", kind="server")]))
    with pytest.raises(ModelError, match="down"):
        Panel([quality(ScriptedModel(saying(7), model="one")), down]).judge("x")


def saying(score: int) -> Any:
    def reply(messages: Sequence[Message]) -> str:
        hits = re.search(r"<data-([0-9a-f]{32})>", messages[1].content)
        assert hits is not None
        scores = dict.fromkeys(("accuracy", "fluency", "relevance"), score)
        return json.dumps({"nonce": hits[1], "reason": f"gave {score}", "dimensions": scores})

    return reply


def test_dimensions_are_means_too() -> None:
    judge = Panel([quality(ScriptedModel(saying(n), model=str(n))) for n in (4, 8)], name="two")
    verdict = judge.judge("x", question="?", contexts=["y"])
    assert verdict.dimensions == {"accuracy": 6, "fluency": 6, "relevance": 6}
    assert judge.model_name == "4, 8"
    assert assert_judge_score("x", judge=judge, at_least=6).value == pytest.approx(5 / 9)


def test_judges_are_called_in_threads_that_see_the_running_trial() -> None:
    first, second = Fixed([5], "a"), Fixed([5], "b")
    with recorder.run_as_trial(3):
        Panel([first, second]).judge("x")
    assert first.purposes == second.purposes == [3]
    assert threading.get_ident() not in first.threads + second.threads


def test_the_version_is_that_of_all_judges() -> None:
    two_judges = panel(1, 2)
    assert two_judges.version == panel(9, 9).version
    assert two_judges.version != panel(1, 2, 3).version


@pytest.mark.parametrize(
    "judges",
    [
        [],
        [Fixed([1])],
        [Fixed([1], "a"), Fixed([1], "b", high=5.0)],
    ],
)
def test_a_panel_that_is_none(judges: list[Judge]) -> None:
    with pytest.raises(UsageError, check=check_message):
        Panel(judges)


def test_the_same_judge_twice_agrees_with_itself() -> None:
    with pytest.raises(UsageError, check=check_message):
        Panel([Fixed([1]), Fixed([1])]).judge("x")


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [([5, 5], 1.0), ([1, 10], 0.0), ([1, 1, 10, 10], 0.0), ([4, 7], 1 - 1.5 / 4.5), ([5], None), ([], None)],
)
def test_confidence(scores: list[float], wanted: float | None) -> None:
    assert score_confidence(scores, 1, 10) == (wanted if wanted is None else pytest.approx(wanted))


def test_below_the_threshold_of_review_a_person_decides(alone: None) -> None:
    torn = panel(1, 9)
    measurement = assert_judge_score("x", judge=torn, at_least=7, review_below=0.5)
    assert (measurement.status, measurement.threshold) == ("recorded", None)
    flag: Any = measurement.detail["review"]
    assert flag == {"confidence": pytest.approx(1 - 4 / 4.5), "least": 0.5, "undecided": 7}
    check_message(measurement.reason)
    sure = panel(2, 3)
    with pytest.raises(MeasurementFailed, match=r"judge panel 2\.5 < 7"):
        assert_judge_score("x", judge=sure, at_least=7, review_below=0.5)
    judge: Any = assert_judge_score("x", judge=sure, at_least=None, review_below=0.5).detail["judge"]
    assert judge["confidence"] == pytest.approx(1 - 0.5 / 4.5)


def test_what_was_scored_without_asking_needs_no_review(alone: None) -> None:
    with pytest.raises(MeasurementFailed, match="judge quality 1 < 7"):
        assert_judge_score("...", judge=quality(ScriptedModel([])), review_below=0.9)


def test_review_needs_a_confidence_and_a_share() -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_judge_score("x", judge=Fixed([5]), review_below=0.5)
    with pytest.raises(UsageError, check=check_message):
        assert_judge_score("x", judge=Fixed([5]), review_below=2)


def test_a_panel_without_a_score_is_an_error(alone: None) -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_judge_score("x", judge=panel(None, None), at_least=None)


def test_contexts_for_a_judge_that_takes_none() -> None:
    class Plain:
        version = "1"

        def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
            return Verdict(score=5, raw=answer + question + reference)

    with pytest.raises(UsageError, check=check_message):
        assert_judge_score("x", judge=Plain(), contexts=["y"], at_least=None)
    with pytest.raises(UsageError, check=check_message):
        assert_judge_score("x", judge=Plain(), contexts="y", at_least=None)
