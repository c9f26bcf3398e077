"""What deepeval, langsmith, openevals and pydantic-evals report, with stand-ins that have the calls of the real tool; `tests/clients` has the same with the real one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from support.adopted_scores import KeptScores
from support.messages import check_message
from support.stand_in_modules import use_module

from pytest_llmops import recorder
from pytest_llmops.adopted import load_tool
from pytest_llmops.adopted.scoring_calls import identify_inputs
from pytest_llmops.adopted.tool import HookMoved


def purpose() -> str:
    return recorder.current_purpose()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of a tool is set."""
    for name in list(os.environ):
        if name.startswith(("PHOENIX_", "MLFLOW_", "RAGAS_", "LANGSMITH_", "LANGCHAIN_")):
            monkeypatch.delenv(name)


def deepeval_metric(base: type, **members: Any) -> Any:
    class Mine(base):  # type: ignore[misc]
        def measure(self, test_case: Any, fails: Exception | None = None) -> str:
            if fails:
                raise fails
            return f"measured {test_case.input}"

        async def a_measure(self, test_case: Any) -> str:
            return self.measure(test_case)

    made: Any = Mine()
    vars(made).update(members)
    return made


def test_deepeval_reports_a_metric_that_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    class BaseMetric:
        pass

    class BaseConversationalMetric:
        pass

    use_module(
        monkeypatch,
        "deepeval.metrics",
        BaseMetric=BaseMetric,
        BaseConversationalMetric=BaseConversationalMetric,
    )
    case = SimpleNamespace(name="", input="Where?", actual_output="There.")
    tool = load_tool("deepeval")
    kept = KeptScores()
    with tool.read_scores(kept):
        named = deepeval_metric(
            BaseMetric,
            __name__="Fact",
            score=0.75,
            threshold=0.5,
            success=True,
            reason="it is there",
            evaluation_model="gpt-5",
            error=None,
        )
        assert named.measure(case) == "measured Where?"
        assert asyncio.run(deepeval_metric(BaseConversationalMetric, error="judge down").a_measure(case))
        for error in (ValueError("down"), type("MissingTestCaseParamsError", (Exception,), {})("no output")):
            with pytest.raises(type(error)):
                named.measure(test_case=case, fails=error)
    shared = {"label": "Where?", "output": "There.", "subject": identify_inputs(case)}
    first, second, third = kept.take()
    fact = {"metric": "Fact", "value": 0.75, "threshold": 0.5, "passed": True, "reason": "it is there"}
    assert first == {**fact, "version": "gpt-5", **shared}
    assert second == {"metric": "Mine", "error": "judge down", **shared}
    assert "down" in third.pop("error")
    assert third == {**fact, "version": "gpt-5", **shared, "reached_test": True}
    assert "api.confident-ai.com" in tool.service_hosts({})


def test_a_tool_without_the_class_of_its_metrics_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    use_module(monkeypatch, "deepeval.metrics")
    use_module(monkeypatch, "mlflow.genai.scorers", Scorer=type("Scorer", (), {}))
    monkeypatch.setattr("importlib.metadata.version", lambda _: "9.9")
    for name in ("deepeval", "mlflow"):
        with pytest.raises(HookMoved, check=check_message), load_tool(name).read_scores(KeptScores()):
            pass


class Matcher:
    def __init__(self, key: str, value: float) -> None:
        self.key = key
        self.value = value


class Expect:
    def score(self, value: float, *, key: str = "score", comment: str | None = None) -> Matcher:
        del comment
        return Matcher(key, value)

    def edit_distance(self, text: str) -> Matcher:
        return Matcher("edit_distance", len(text))

    def embedding_distance(self, text: str) -> Matcher:
        return Matcher("embedding_distance", len(text) / 2)


def test_langsmith_reports_feedback_and_expectations(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[Any] = []

    def log_feedback(feedback: Any = None, /, **kwargs: Any) -> str:
        logged.append((feedback, kwargs))
        return "logged"

    @contextmanager
    def trace_feedback(*, name: str) -> Iterator[tuple[str, str]]:
        yield name, purpose()

    module = use_module(
        monkeypatch, "langsmith.testing", log_feedback=log_feedback, trace_feedback=trace_feedback
    )
    expect = Expect()
    use_module(monkeypatch, "langsmith", expect=expect)
    kept = KeptScores()
    originals = dict(vars(Expect))
    entries = [{"key": "a", "score": 0.5}, {"key": "b", "score": None}, {"score": 0, "comment": "none"}]
    with load_tool("langsmith").read_scores(kept):
        assert module.log_feedback(key="k", score=1, comment="fine") == "logged"
        assert module.log_feedback({"key": "one", "score": True}, comment="shared") == "logged"
        assert module.log_feedback(entries) == "logged"
        assert module.log_feedback(key="k", value="text") == "logged"
        with module.trace_feedback(name="judge") as run:
            assert run == ("judge", "judge")
        assert expect.score(0.25, key="mine", comment="low").value == 0.25
        assert expect.edit_distance("abc").value == 3
        assert expect.embedding_distance("abc").value == 1.5
    assert logged == [
        (None, {"key": "k", "score": 1, "comment": "fine"}),
        ({"key": "one", "score": True}, {"comment": "shared"}),
        (entries, {}),
        (None, {"key": "k", "value": "text"}),
    ]
    assert kept.take() == [
        {"metric": "k", "value": 1, "reason": "fine"},
        {"metric": "one", "value": True, "reason": "shared"},
        {"metric": "a", "value": 0.5},
        {"value": 0, "reason": "none"},
        {"metric": "mine", "value": 0.25, "reason": "low"},
        {"metric": "edit_distance", "value": 3, "better": "lower", "reason": None},
        {"metric": "embedding_distance", "value": 1.5, "better": "lower", "reason": None},
    ]
    assert kept.problems == []
    assert dict(vars(Expect)) == originals
    assert module.log_feedback is log_feedback
    assert module.trace_feedback is trace_feedback


def test_langsmith_needs_its_service_unless_it_is_switched_off() -> None:
    tool = load_tool("langsmith")
    (advice,) = tool.iter_advice({"LANGSMITH_TEST_TRACKING": "true"})
    check_message(advice)
    for name in ("LANGSMITH_TEST_TRACKING", "LANGCHAIN_TEST_TRACKING"):
        assert list(tool.iter_advice({name: "false"})) == []
    environ = {
        "LANGSMITH_ENDPOINT": "https://Smith.Example.com/api",
        "LANGCHAIN_ENDPOINT": "http://localhost:1984",
    }
    own = ["api.smith.langchain.com", "eu.api.smith.langchain.com", "beta.api.smith.langchain.com"]
    assert list(tool.service_hosts(environ)) == [*own, "smith.example.com"]
    assert list(tool.service_hosts({})) == own


def test_openevals_reports_the_results_of_its_evaluators(monkeypatch: pytest.MonkeyPatch) -> None:
    purposes: list[str] = []

    def run(result: Any, *, key: str = "") -> Any:
        purposes.append(f"{purpose()}{key}")
        return result

    async def run_async(result: Any) -> Any:
        await asyncio.sleep(0)
        return run(result)

    module = use_module(
        monkeypatch,
        "openevals.utils",
        _run_evaluator_untyped=run,
        _arun_evaluator_untyped=run_async,
    )
    one = {"key": "a", "score": 0.5, "comment": "half"}
    several = ["text", {"key": "b"}, {"score": 1}, {"key": 2, "score": True}]
    kept = KeptScores()
    with load_tool("openevals").read_scores(kept):
        assert module._run_evaluator_untyped(one, key="k") is one
        assert asyncio.run(module._arun_evaluator_untyped(several)) is several
    assert (module._run_evaluator_untyped, module._arun_evaluator_untyped) == (run, run_async)
    assert purposes == ["judgek", "judge"]
    assert kept.take() == [
        {"metric": "a", "value": 0.5, "passed": 0.5, "reason": "half"},
        {"metric": "2", "value": True, "passed": True, "reason": None},
    ]
    assert kept.problems == []


def evaluated(name: str, value: Any, **members: Any) -> SimpleNamespace:
    return SimpleNamespace(name=name, value=value, reason="so", **members)


def test_pydantic_evals_reports_the_cases_of_a_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    source = SimpleNamespace(arguments={"model": "gpt-5"})
    case = SimpleNamespace(
        name="one",
        output="There.",
        scores={"a": evaluated("accuracy", 0.5, source=source, evaluator_version="2")},
        assertions={"b": evaluated("short", True, source=SimpleNamespace(arguments=["x"]))},
        evaluator_failures=[SimpleNamespace(name="judge", error_message="no key", source=source)],
    )
    failed = SimpleNamespace(name="two", error_message="no answer")
    result = SimpleNamespace(cases=[case], failures=[failed])

    class Evaluator:
        async def evaluate_async(self, text: str) -> str:
            return f"{text} {purpose()}"

    class Dataset:
        async def evaluate(self, task: str, *, name: str) -> Any:
            asked.append((task, name, await Evaluator().evaluate_async("scored by"), purpose()))
            return result

    asked: list[tuple[str, ...]] = []
    originals = (vars(Dataset)["evaluate"], vars(Evaluator)["evaluate_async"])
    use_module(monkeypatch, "pydantic_evals", Dataset=Dataset)
    use_module(monkeypatch, "pydantic_evals.evaluators", Evaluator=Evaluator)
    kept = KeptScores()
    tool = load_tool("pydantic-evals")
    with tool.read_scores(kept):
        assert asyncio.run(Dataset().evaluate("task", name="n")) is result
    assert asked == [("task", "n", "scored by judge", "app")]
    assert (vars(Dataset)["evaluate"], vars(Evaluator)["evaluate_async"]) == originals
    of_case = {"reason": "so", "case": "one", "output": "There."}
    assert kept.take() == [
        {"metric": "accuracy", "value": 0.5, "passed": 0.5, "version": "2, gpt-5", **of_case},
        {"metric": "short", "value": True, "passed": True, **of_case},
        {"metric": "judge", "error": "the evaluator failed: no key", "version": "gpt-5", "case": "one"},
        {"metric": "task", "error": "the task failed: no answer", "case": "two"},
    ]
    assert kept.problems == []
    assert "logfire-api.pydantic.dev" in tool.service_hosts({})
