"""Panels of judges, and the noise of one: how sure, not how right."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import numpy as np
import pytest
from support.messages import check_message
from support.shared import rows

from pytest_llmops import recorder
from pytest_llmops.assertions.judge_score import assert_judge_score
from pytest_llmops.errors import MeasurementErrored, MeasurementFailed, ModelError, UsageError
from pytest_llmops.judges import noise
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
        assert all(isinstance(one, str) for one in contexts)
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
    return Panel([Fixed([one], str(number)) for number, one in enumerate(scores)], **options)


def test_the_score_is_the_mean_and_the_spread_is_told() -> None:
    judge = panel(6, 8, 10)
    assert isinstance(judge, Judge)
    assert (judge.low, judge.high, judge.pass_at) == (1, 10, 7)
    found = judge.judge("x")
    assert (found.score, found.spread) == (8, 2)
    assert [one.score for one in found.votes] == [6, 8, 10]
    assert found.reason == "gave 6; gave 8; gave 10"
    assert found.confidence == pytest.approx(1 - (8 / 3) ** 0.5 / 4.5)


def test_judges_without_a_score_are_named_and_left_out_while_most_have_one() -> None:
    found = panel(6, None, 8).judge("x")
    assert (found.score, found.error) == (7, "")
    assert found.reason == "gave 6; gave 8; judge 2: no verdict"
    none = panel(6, None).judge("x")
    assert (none.score, none.confidence) == (None, None)
    check_message(none.error)


def test_a_judge_that_cannot_be_asked_is_no_smaller_panel() -> None:
    down = quality(ScriptedModel([ModelError("down", kind="server")]))
    with pytest.raises(ModelError, match="down"):
        Panel([quality(ScriptedModel(saying(7), model="one")), down]).judge("x")


def saying(score: int) -> Any:
    def reply(messages: Sequence[Message]) -> str:
        found = re.search(r"<data-([0-9a-f]{32})>", messages[1].content)
        assert found is not None
        scores = dict.fromkeys(("accuracy", "fluency", "relevance"), score)
        return json.dumps({"nonce": found[1], "reason": f"gave {score}", "dimensions": scores})

    return reply


def test_dimensions_are_means_too() -> None:
    judge = Panel([quality(ScriptedModel(saying(n), model=str(n))) for n in (4, 8)], name="two")
    found = judge.judge("x", question="?", contexts=["y"])
    assert found.dimensions == {"accuracy": 6, "fluency": 6, "relevance": 6}
    assert judge.model_name == "4, 8"
    assert assert_judge_score("x", judge=judge, at_least=6).value == pytest.approx(5 / 9)


def test_judges_are_asked_in_threads_that_see_the_running_trial() -> None:
    first, second = Fixed([5], "a"), Fixed([5], "b")
    with recorder.run_as_trial(3):
        Panel([first, second]).judge("x")
    assert first.purposes == second.purposes == [3]
    assert threading.get_ident() not in first.threads + second.threads


def test_the_version_is_that_of_all_judges() -> None:
    one = panel(1, 2)
    assert one.version == panel(9, 9).version
    assert one.version != panel(1, 2, 3).version


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
    found = assert_judge_score("x", judge=torn, at_least=7, review_below=0.5)
    assert (found.status, found.threshold) == ("recorded", None)
    flag: Any = found.detail["review"]
    assert flag == {"confidence": pytest.approx(1 - 4 / 4.5), "least": 0.5, "undecided": 7}
    check_message(found.reason)
    sure = panel(2, 3)
    with pytest.raises(MeasurementFailed, match=r"judge panel 2\.5 < 7"):
        assert_judge_score("x", judge=sure, at_least=7, review_below=0.5)
    told: Any = assert_judge_score("x", judge=sure, at_least=None, review_below=0.5).detail["judge"]
    assert told["confidence"] == pytest.approx(1 - 0.5 / 4.5)


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


def test_noise_is_deviation_and_flips_within_the_answers() -> None:
    """By hand: the variances 0, 2 and 0.25 of three answers; 0, 1 and 0 of one pair fall on different sides."""
    judge = Fixed([8, 8, 6, 8, 3.5, 4.2071067811865475])
    found = noise(judge, ["a", "b", {"id": "third", "answer": "c", "question": "?"}], trials=2)
    assert (found.judge, found.version, found.trials, found.threshold) == ("fixed", "1", 2, 7)
    assert found.sd == pytest.approx(((0 + 2 + 0.25) / 3) ** 0.5)
    assert found.flip_rate == pytest.approx(1 / 3)
    assert found.unscored == 0
    assert [one.id for one in found.cases] == ["1", "2", "third"]
    assert min(found.cases, key=lambda case: case.confidence or 0).id == "2"
    assert judge.purposes == [0, 1] * 3


def test_flips_are_unlike_pairs() -> None:
    assert noise(Fixed([6, 8, 8, 8, 8]), ["a"], trials=5).flip_rate == pytest.approx(4 / 10)
    assert noise(Fixed([6, 8], pass_at=None), ["a"], trials=2).flip_rate is None
    assert noise(Fixed([6, 8]), ["a"], trials=2, pass_at=9).flip_rate == 0
    # A hair below the threshold meets it, as in every assertion.
    assert (
        noise(Fixed([0.1 + 0.2, 1, 0.3, 0.3 - 1e-12], low=0.0), ["a"], trials=4, pass_at=0.3).flip_rate == 0
    )


def test_trials_without_a_score_are_counted_and_no_zero() -> None:
    found = noise(Fixed([8, None, 8, None]), ["a", "b"], trials=2)
    assert (found.sd, found.flip_rate, found.unscored) == (None, None, 0.5)
    assert found.cases[0].errors == ("no verdict",)
    assert [case.confidence for case in found.cases] == [None, None]


@pytest.mark.parametrize(
    ("cases", "trials"),
    [
        ([], 2),
        ("one text", 2),
        ({"answer": "x"}, 2),
        ([{"question": "x"}], 2),
        (["x", 7], 2),
        ([{"answer": "x", "question": 7}], 2),
        (["x"], 1),
        (["x"], True),
    ],
)
def test_noise_of_nothing(cases: Any, trials: int) -> None:
    with pytest.raises(UsageError, check=check_message):
        noise(Fixed([5]), cases, trials=trials)


@pytest.mark.shared_data
def test_a_judgement_drawn_three_times_is_rarely_unanimous() -> None:
    """GPT-4 on a scale of 1 to 5, as prometheus-eval publishes it: 141 of 320 answers got the same score three times."""
    drawn = rows("judge", "repeated_judge", "mt_bench_eval.jsonl.gz")
    scores = [score for row in drawn for score in row["gpt4_score"]]
    found = noise(Fixed(scores, high=5.0, pass_at=4), [f"answer {n}" for n in range(len(drawn))], trials=3)
    assert (len(found.cases), found.unscored) == (320, 0)
    assert sum(len(set(case.scores)) == 1 for case in found.cases) == 141
    draws = np.array([row["gpt4_score"] for row in drawn])
    assert found.sd == pytest.approx(np.sqrt(draws.var(axis=1, ddof=1).mean()))
