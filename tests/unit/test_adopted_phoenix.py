"""What Phoenix reports, with stand-ins that have the calls of the real tool; `tests/clients` has the same with the real one."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from support.adopted_scores import KeptScores, item
from support.messages import check_message
from support.stand_in_modules import use_module

from pytest_llmops import recorder
from pytest_llmops.adopted import load_tool


def purpose() -> str:
    return recorder.current_purpose()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of a tool is set."""
    for name in list(os.environ):
        if name.startswith(("PHOENIX_", "MLFLOW_", "RAGAS_", "LANGSMITH_", "LANGCHAIN_")):
            monkeypatch.delenv(name)


class PhoenixEvaluator:
    """As an evaluator of ``phoenix.evals``."""

    name = "relevance"
    direction = "maximize"

    def __init__(self, *returned: Any) -> None:
        self.returned = returned

    def evaluate(self, eval_input: Any) -> Any:
        del eval_input
        if self.returned and isinstance(self.returned[0], Exception):
            raise self.returned[0]
        return list(self.returned) or None

    async def async_evaluate(self, eval_input: Any) -> Any:
        return self.evaluate(eval_input)


class Phoenix:
    """As Phoenix's client: the functions for tests, and the record of the running test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run: Any = None
        self.purposes: list[str] = []
        self.kept = KeptScores()
        evaluators: list[Any] = []
        self.evaluators = evaluators

        def log_evaluation(**evaluation: Any) -> str:
            self.purposes.append(purpose())
            return f"logged {evaluation['name']}"

        def evaluate(evaluator: Any, /, **fields: Any) -> Any:
            self.purposes.append(purpose())
            return evaluator(self.run, **fields)

        def create_evaluator() -> Any:
            return lambda evaluator: evaluator

        self.client: ModuleType = use_module(
            monkeypatch, "phoenix.client.pytest", log_evaluation=log_evaluation, evaluate=evaluate
        )
        use_module(monkeypatch, "phoenix.client.pytest.context", current_run=lambda: self.run)
        use_module(
            monkeypatch,
            "phoenix.client.pytest.marker",
            REPETITION_PARAM="repetition",
            resolve_evaluators=lambda _: evaluators,
        )
        use_module(monkeypatch, "phoenix.client.experiments", create_evaluator=create_evaluator)
        use_module(monkeypatch, "phoenix.evals", Evaluator=PhoenixEvaluator)
        self.originals = (log_evaluation, evaluate)


@pytest.fixture
def phoenix(monkeypatch: pytest.MonkeyPatch) -> Iterator[Phoenix]:
    made = Phoenix(monkeypatch)
    with load_tool("phoenix").read_scores(made.kept):
        assert made.client.log_evaluation is not made.originals[0]
        yield made
    assert (made.client.log_evaluation, made.client.evaluate) == made.originals
    assert made.kept.problems == []


def test_phoenix_reports_an_evaluation_that_a_test_logs(phoenix: Phoenix) -> None:
    facts = {"metadata": {"model": "gpt-5"}, "explanation": "harmless"}
    assert phoenix.client.log_evaluation(name="safe", label="yes", **facts) == "logged safe"
    phoenix.client.log_evaluation(name="tone", label="cheerful")
    phoenix.client.log_evaluation(name="", score=0.5, label="good")
    phoenix.client.log_evaluation(name="down", error="no key", metadata={"model": None})
    assert phoenix.kept.take() == [
        {
            "metric": "safe",
            "value": True,
            "reason": "harmless",
            "version": "gpt-5",
            "detail": {"category": "yes"},
        },
        {"metric": "evaluation", "value": 0.5, "detail": {"category": "good"}},
        {"metric": "down", "error": "no key"},
    ]
    assert phoenix.purposes == ["app"] * 4


def test_phoenix_reports_what_an_evaluator_adds_to_the_run_of_a_test(phoenix: Phoenix) -> None:
    old, same = {"name": "b", "score": 0.25}, {"name": "c", "score": 0.75}
    phoenix.run = SimpleNamespace(evaluations={"b": old, "c": same})

    def add(run: Any, *, output: str) -> str:
        run.evaluations |= {"a": {"name": "a", "score": 1}, "b": {"name": "b", "score": 0.25}}
        return f"added for {output}"

    def fail(run: Any) -> None:
        run.evaluations["d"] = {"name": "d", "error": "down"}
        raise KeyError("d")

    fail.direction = "minimize"  # type: ignore[attr-defined]
    assert phoenix.client.evaluate(add, output="There.") == "added for There."
    assert phoenix.kept.take() == [
        {"metric": "b", "value": 0.25, "reached_test": True},
        {"metric": "a", "value": 1, "reached_test": True},
    ]
    with pytest.raises(KeyError):
        phoenix.client.evaluate(fail)
    assert phoenix.kept.take() == [{"metric": "d", "error": "down", "better": "lower", "reached_test": True}]
    assert phoenix.purposes == ["judge", "judge"]
    phoenix.run = None
    assert phoenix.client.evaluate(lambda run: run) is None
    assert phoenix.kept.take() == []


def phoenix_score(name: str, score: float | None, **members: Any) -> SimpleNamespace:
    fields = {"label": None, "explanation": None, "metadata": None, **members}
    return SimpleNamespace(name=name, score=score, **fields)


def test_phoenix_reports_evaluators_outside_of_its_own_tests(phoenix: Phoenix) -> None:
    found = [
        phoenix_score("a", 0.5, explanation="half", metadata={"model": "gpt-5"}, direction="minimize"),
        phoenix_score("b", None, label="cheerful"),
    ]
    evaluator = PhoenixEvaluator(*found)
    assert evaluator.evaluate({"other": "x", "question": "Where?"}) == found
    half = {"metric": "a", "value": 0.5, "reason": "half", "version": "gpt-5", "better": "lower"}
    assert phoenix.kept.take() == [{**half, "label": "Where?"}]
    asyncio.run(evaluator.async_evaluate("text"))
    assert phoenix.kept.take() == [half]
    PhoenixEvaluator().evaluate({})
    assert phoenix.kept.take() == []
    with pytest.raises(KeyError):
        PhoenixEvaluator(KeyError("verdict")).evaluate({"query": "Why?"})
    (failed,) = phoenix.kept.take()
    assert "verdict" in failed.pop("error")
    assert failed == {"metric": "relevance", "label": "Why?", "reached_test": True}
    phoenix.run = SimpleNamespace(evaluations={})
    evaluator.evaluate({"input": "Where?"})
    assert phoenix.kept.take() == []


def test_the_evaluators_of_a_phoenix_marker_are_called_when_the_test_ends(phoenix: Phoenix) -> None:
    seen: list[dict[str, Any]] = []

    def add(run: Any, **fields: Any) -> None:
        seen.append(fields)
        run.evaluations["a"] = {"name": "a", "score": 0.5}

    def fail(run: Any, **_: Any) -> None:
        raise KeyError("verdict")

    tool = load_tool("phoenix")
    marker = SimpleNamespace(name="phoenix", kwargs={"evaluators": ["a"]})
    test = item(marker, callspec=SimpleNamespace(params={"city": "Rome", "repetition": 2}))
    phoenix.evaluators.extend([fail, PhoenixEvaluator, add])
    tool.finish_test(test, phoenix.kept)
    assert (seen, phoenix.purposes) == ([], [])
    phoenix.run = SimpleNamespace(evaluations={}, output="There.")
    phoenix.evaluators[1] = SimpleNamespace()
    for other in (item(), item(SimpleNamespace(name="phoenix", kwargs={}))):
        tool.finish_test(other, phoenix.kept)
    assert seen == []
    tool.finish_test(test, phoenix.kept)
    assert seen == [{"input": {"city": "Rome"}, "city": "Rome", "output": "There."}]
    failed, broken, scored = phoenix.kept.take()
    assert ("verdict" in failed["error"], failed["metric"], broken["metric"]) == (True, "fail", "evaluation")
    assert scored == {"metric": "a", "value": 0.5}
    assert phoenix.purposes == ["judge"] * 3
    seen.clear()
    tool.finish_test(item(marker), phoenix.kept)
    assert seen == [{"input": {}, "output": "There."}]


def test_phoenix_without_its_package_of_evaluators_is_still_read(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Phoenix(monkeypatch)
    monkeypatch.setitem(sys.modules, "phoenix.evals", None)
    with load_tool("phoenix").read_scores(made.kept):
        made.client.log_evaluation(name="a", score=1)
    assert made.kept.take() == [{"metric": "a", "value": 1}]


def test_phoenix_stays_offline_unless_the_environment_says_otherwise() -> None:
    tool = load_tool("phoenix")
    with tool.stay_offline():
        assert os.environ["PHOENIX_TEST_TRACKING"] == "false"
    assert "PHOENIX_TEST_TRACKING" not in os.environ
    with mock.patch.dict(os.environ, PHOENIX_TEST_TRACKING="true"), tool.stay_offline():
        assert os.environ["PHOENIX_TEST_TRACKING"] == "true"
    for value in ("", " False ", "0", "no", "off"):
        assert list(tool.iter_advice({"PHOENIX_TEST_TRACKING": value})) == []
    assert list(tool.iter_advice({})) == []
    (advice,) = tool.iter_advice({"PHOENIX_TEST_TRACKING": " TRUE "})
    check_message(advice)
    environ = {"PHOENIX_HOST": "https://b.example.com", "PHOENIX_ENDPOINT": "https://a.example.com"}
    local = ["localhost:6006", "127.0.0.1:6006"]
    assert list(tool.service_hosts(environ)) == ["a.example.com", "b.example.com", *local]
