"""What ragas reports, with stand-ins that have the calls of the real tool; `tests/clients` has the same with the real one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from support.adopted_scores import KeptScores
from support.messages import check_message
from support.stand_in_modules import use_module

from pytest_llmops.adopted import load_tool
from pytest_llmops.adopted.scoring_calls import identify_inputs


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of a tool is set."""
    for name in list(os.environ):
        if name.startswith(("PHOENIX_", "MLFLOW_", "RAGAS_", "LANGSMITH_", "LANGCHAIN_")):
            monkeypatch.delenv(name)


class SimpleBaseMetric:
    """As a metric of ragas: returns what it was given."""

    def __init__(self, returned: Any, **members: Any) -> None:
        self.returned = returned
        vars(self).update(members)

    def score(self, **fields: Any) -> Any:
        del fields
        if isinstance(self.returned, Exception):
            raise self.returned
        return self.returned

    async def ascore(self, **fields: Any) -> Any:
        return self.score(**fields)

    async def abatch_score(self, rows: list[dict[str, Any]]) -> list[Any]:
        return [await self.ascore(**row) for row in rows]


class SingleTurnMetric:
    def single_turn_score(self, sample: Any, callbacks: Any = None) -> Any:
        del callbacks
        return sample.returned

    async def single_turn_ascore(self, sample: Any, callbacks: Any = None) -> Any:
        return self.single_turn_score(sample, callbacks)


class NoiseSensitivity(SingleTurnMetric):
    name = "noise_sensitivity"
    mode = "relevant"


class MultiTurnMetric:
    llm = SimpleNamespace(langchain_llm=SimpleNamespace(model="", model_name="gpt-5"))

    def multi_turn_score(self, sample: Any) -> Any:
        return sample.returned

    async def multi_turn_ascore(self, sample: Any) -> Any:
        return self.multi_turn_score(sample)


class ExperimentWrapper:
    async def __call__(self, metric: SimpleBaseMetric, **fields: Any) -> Any:
        return await metric.ascore(**fields)


@pytest.fixture
def ragas(monkeypatch: pytest.MonkeyPatch) -> Iterator[KeptScores]:
    use_module(monkeypatch, "ragas.metrics.collections")
    use_module(
        monkeypatch,
        "ragas.metrics.base",
        SimpleBaseMetric=SimpleBaseMetric,
        SingleTurnMetric=SingleTurnMetric,
        MultiTurnMetric=MultiTurnMetric,
    )
    use_module(monkeypatch, "ragas.experiment", ExperimentWrapper=ExperimentWrapper)
    kept = KeptScores()
    with load_tool("ragas").read_scores(kept):
        assert os.environ["RAGAS_DO_NOT_TRACK"] == "true"
        yield kept
    assert "RAGAS_DO_NOT_TRACK" not in os.environ
    assert kept.problems == []
    assert list(load_tool("ragas").service_hosts({})) == ["t.explodinggradients.com"]


FIELDS = {"user_input": "Where?", "response": "There."}
SCORED = {"label": "Where?", "output": "There.", "subject": identify_inputs(FIELDS)}


def test_ragas_reports_a_metric_that_scored_its_fields(ragas: KeptScores) -> None:
    result = SimpleNamespace(value=0.5, reason="half")
    metric = SimpleBaseMetric(result, name="mine", mode="f1", llm=SimpleNamespace(model="gpt-5"))
    assert metric.score(**FIELDS) is result
    half = {"metric": "mine f1", "value": 0.5, "reason": "half", "version": "gpt-5", **SCORED}
    # The wrapper gets the fields of a metric with ``**kwargs`` under their names
    (score,) = ragas.take()
    assert {**score, "subject": half["subject"]} == half
    assert asyncio.run(metric.abatch_score([FIELDS])) == [result]
    assert asyncio.run(ExperimentWrapper()(metric, **FIELDS)) is result
    batch, experiment = ragas.take()
    assert batch == experiment == {**score, "case": "Where?"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [("yes", {"value": True}), ("fail", {"value": False}), (0, {"value": 0}), (1.5, {"value": 1.5})],
)
def test_verdicts_and_numbers_of_ragas_are_scores(
    value: object, expected: dict[str, Any], ragas: KeptScores
) -> None:
    SimpleBaseMetric(value).score(question="Why?")
    (score,) = ragas.take()
    del score["subject"]
    assert score == {"metric": "SimpleBaseMetric", "label": "Why?", **expected}


@pytest.mark.parametrize("value", ["cheerful", ["b", "a"], ("b", "a")])
def test_a_category_or_a_ranking_of_ragas_is_not_a_score(value: object, ragas: KeptScores) -> None:
    SimpleBaseMetric(value).score(**FIELDS)
    assert ragas.take() == []


@pytest.mark.parametrize("reason", [None, "no statements"])
@pytest.mark.parametrize("value", [None, float("nan")])
def test_ragas_without_a_value_is_an_error(value: object, reason: Any, ragas: KeptScores) -> None:
    SimpleBaseMetric(SimpleNamespace(value=value, reason=reason)).score(**FIELDS)
    (score,) = ragas.take()
    check_message(score["error"])
    assert "reached_test" not in score


def test_an_exception_of_ragas_reaches_the_test_unless_a_row_is_scored(ragas: KeptScores) -> None:
    metric = SimpleBaseMetric(KeyError("verdict"))
    with pytest.raises(KeyError):
        metric.score(**FIELDS)
    with pytest.raises(KeyError):
        asyncio.run(metric.abatch_score([FIELDS]))
    alone, row = ragas.take()
    assert "verdict" in alone["error"]
    assert (alone["reached_test"], "case" in alone) == (True, False)
    assert ("reached_test" in row, row["case"]) == (False, "Where?")


def test_ragas_reports_older_metrics_of_samples(ragas: KeptScores) -> None:
    messages = [SimpleNamespace(content="Where?"), "There"]
    sample = SimpleNamespace(returned=0.25, user_input=messages, response="There.")
    assert NoiseSensitivity().single_turn_score(sample) == 0.25
    shared = {"output": "There.", "subject": identify_inputs(sample)}
    label = '["Where?", "There"]'
    noise = {
        "metric": "noise_sensitivity relevant",
        "value": 0.25,
        "better": "lower",
        "label": label,
        **shared,
    }
    assert ragas.take() == [noise]
    asyncio.run(NoiseSensitivity().single_turn_ascore(sample, callbacks=[]))
    assert ragas.take() == [{**noise, "case": label}]
    other = SimpleNamespace(returned=1.0, user_input="", reference="There")
    MultiTurnMetric().multi_turn_score(other)
    asyncio.run(MultiTurnMetric().multi_turn_ascore(other))
    multi = {"metric": "MultiTurnMetric", "value": 1.0, "version": "gpt-5", "label": "There"}
    assert ragas.take() == [{**multi, "subject": identify_inputs(other)}] * 2


@pytest.mark.parametrize(
    ("members", "scale"),
    [
        ({"allowed_values": range(1, 6)}, (1, 5)),
        ({"allowed_values": range(0)}, (0, 1)),
        ({"allowed_values": (0.0, 10.0)}, (0.0, 10.0)),
        ({"allowed_values": ("a", "b", "c")}, (0, 1)),
        ({"output_type": SimpleNamespace(value="discrete")}, None),
        ({"output_type": SimpleNamespace(value="ranking"), "rubrics": {"1": "bad"}}, None),
        ({"output_type": SimpleNamespace(value="discrete"), "rubrics": {"1": "bad", "2": "good"}}, (1, 2)),
        ({"output_type": SimpleNamespace(value="continuous"), "rubrics": {"1": "", "2": ""}}, (0, 1)),
    ],
)
def test_the_scale_of_a_ragas_metric(
    members: dict[str, Any], scale: tuple[float, float] | None, ragas: KeptScores
) -> None:
    SimpleBaseMetric(1, **members).score()
    assert [score.scale for score in ragas.scores] == [scale]
