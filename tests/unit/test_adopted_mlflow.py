"""What MLflow reports, with stand-ins that have the calls of the real tool; `tests/clients` has the same with the real one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.adopted_scores import KeptScores
from support.messages import check_message
from support.stand_in_modules import use_module

from pytest_llmops._util.text_files import fingerprint_parts
from pytest_llmops.adopted import load_tool
from pytest_llmops.adopted.scoring_calls import identify_inputs


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of a tool is set."""
    for name in list(os.environ):
        if name.startswith(("PHOENIX_", "MLFLOW_", "RAGAS_", "LANGSMITH_", "LANGCHAIN_")):
            monkeypatch.delenv(name)


class Scorer:
    """As a scorer of MLflow: returns what it was given."""

    def __init__(self, returned: Any, **members: Any) -> None:
        self.returned = returned
        vars(self).update(members)

    def run(self, *, inputs: Any = None, outputs: Any = None) -> Any:
        return self(inputs=inputs, outputs=outputs)

    def __call__(self, *, inputs: Any = None, outputs: Any = None) -> Any:
        del inputs, outputs
        if isinstance(self.returned, Exception):
            raise self.returned
        return self.returned


def feedback(value: Any, **members: Any) -> SimpleNamespace:
    return SimpleNamespace(value=value, **members)


INPUTS = {"question": "Where?"}
ROW = {
    "label": "Where?",
    "output": "There.",
    "subject": identify_inputs({"inputs": INPUTS, "outputs": "There."}),
}


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[KeptScores]:
    use_module(monkeypatch, "mlflow.genai.scorers", Scorer=Scorer)
    kept = KeptScores()
    with load_tool("mlflow").read_scores(kept):
        yield kept
    assert "MLFLOW_DISABLE_TELEMETRY" not in os.environ


def test_mlflow_reports_a_scorer_that_ran(mlflow: KeptScores) -> None:
    assert (os.environ["MLFLOW_DISABLE_TELEMETRY"], os.environ["MLFLOW_MODEL_CATALOG_URI"]) == ("true", "")
    judge = SimpleNamespace(source_type="LLM_JUDGE", source_id="openai:/gpt-5")
    code = SimpleNamespace(source_type="CODE", source_id="a function")
    several = [
        feedback("yes", name="safety", rationale="harmless", source=judge),
        feedback(0.5, name="feedback", source=code),
        None,
        feedback("cheerful", name="tone"),
    ]
    scorer = Scorer(several, name="mine", guidelines=["be kind"], instructions="unused")
    assert scorer.run(inputs=INPUTS, outputs="There.") is several
    guidelines = f"guidelines {fingerprint_parts(str(['be kind']))[:8]}"
    assert mlflow.take() == [
        {
            "metric": "safety",
            "value": True,
            "reason": "harmless",
            "version": f"openai:/gpt-5, {guidelines}",
            "case": "Where?",
            **ROW,
        },
        {"metric": "mine", "value": 0.5, "version": guidelines, "case": "Where?", **ROW},
    ]
    Scorer(None).run(inputs=INPUTS)
    assert mlflow.take() == []
    instructed = Scorer(True, guidelines=[], instructions="Is it kind?")
    instructed(inputs=INPUTS, outputs="There.")
    version = f"instructions {fingerprint_parts('Is it kind?')[:8]}"
    assert mlflow.take() == [{"metric": "Scorer", "value": True, "version": version, **ROW}]
    assert mlflow.problems == []


def test_mlflows_own_condition_decides_over_a_category(mlflow: KeptScores) -> None:
    for returned, condition in (("a", "a".__eq__), ("b", "a".__eq__), ("a", "not callable"), ("a", int)):
        Scorer(returned, pass_if=condition)(inputs=INPUTS, outputs="There.")
    passed = {"metric": "Scorer", "value": True, "passed": True, **ROW}
    failed = {"metric": "Scorer", "value": False, "passed": False, **ROW}
    assert mlflow.take() == [passed, failed]
    Scorer(0.75, pass_if=lambda value: value > 0.5)(inputs=INPUTS, outputs="There.")
    assert mlflow.take() == [{"metric": "Scorer", "value": 0.75, "passed": True, **ROW}]


def test_mlflow_reports_why_a_scorer_gave_no_score(mlflow: KeptScores) -> None:
    errors = [
        SimpleNamespace(error_message="no key", error_code="E1"),
        SimpleNamespace(error_message="", error_code="E1"),
        "plain",
    ]
    results = [feedback(None, name="m", error=error) for error in errors]
    Scorer(tuple(results))(inputs=INPUTS, outputs="There.")
    assert [score["error"] for score in mlflow.take()] == ["no key", "E1", "plain"]
    Scorer("unknown")(inputs=INPUTS, outputs="There.")
    (unknown,) = mlflow.take()
    check_message(unknown["error"])
    scorer = Scorer(KeyError("verdict"))
    with pytest.raises(KeyError):
        scorer(inputs=INPUTS, outputs="There.")
    with pytest.raises(KeyError):
        scorer.run(inputs=INPUTS, outputs="There.")
    called, ran = mlflow.take()
    assert (called["reached_test"], "case" in called) == (True, False)
    assert ("reached_test" in ran, ran["case"]) == (False, "Where?")
    assert called["error"] == ran["error"]


def test_mlflow_keeps_its_runs_in_a_folder_in_place_of_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    address = ["HTTPS://mlflow.example.com"]

    def set_tracking_uri(uri: str) -> None:
        address[0] = uri

    module = use_module(
        monkeypatch, "mlflow", set_tracking_uri=set_tracking_uri, get_tracking_uri=lambda: address[0]
    )
    tool = load_tool("mlflow")
    with tool.stay_offline():
        assert os.environ["MLFLOW_ALLOW_FILE_STORE"] == "true"
        folder = address[0]
        place = Path(folder.removeprefix("file://"))
        assert (place.name, place.parent.is_dir()) == ("mlruns", True)
        assert place.parent.name.startswith("llmops-mlflow-")
        module.set_tracking_uri("databricks")
        assert address == [folder]
        module.set_tracking_uri("sqlite:///a.db")
        assert address == ["sqlite:///a.db"]
    assert address == ["HTTPS://mlflow.example.com"]
    assert not place.parent.exists()
    assert "MLFLOW_ALLOW_FILE_STORE" not in os.environ
    assert module.set_tracking_uri is set_tracking_uri
    address[0] = "file:///project/mlruns"
    with tool.stay_offline():
        assert address == ["file:///project/mlruns"]
        module.set_tracking_uri("file:///other")
    assert address == ["file:///other"]
    hosts = ["config.mlflow-telemetry.io", "api.mlflow-telemetry.io"]
    environ = {"MLFLOW_TRACKING_URI": "https://mlflow.example.com"}
    assert list(tool.service_hosts(environ)) == [*hosts, "mlflow.example.com"]
    assert list(tool.service_hosts({})) == hosts
