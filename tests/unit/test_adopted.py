"""Scores from elsewhere: `record_score`, scores of adopted tools, and which tests use a tool."""

from __future__ import annotations

import itertools
import math
import sys
import types
from typing import Any
from unittest import mock

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops import collect, record_score
from pytest_llmops._util.option_modes import ADOPTED_TOOLS
from pytest_llmops.adopted import TOOLS, load_tool
from pytest_llmops.adopted.deepeval_suite import (
    _describe_version,
    _find_better,
    _has_left_deepeval,
    _label_case,
)
from pytest_llmops.adopted.recognition import ProjectImports
from pytest_llmops.adopted.scores import make_measurement
from pytest_llmops.adopted.scoring_calls import ScoringCall, identify_inputs, report_methods
from pytest_llmops.adopted.tool import ToolScore
from pytest_llmops.errors import UsageError
from pytest_llmops.harness.adoption import ScoreKeeper
from pytest_llmops.measurement import Measurement
from pytest_llmops.results.dataset_cases import split_dataset_cases
from pytest_llmops.results.problems import iter_single_trial_notes
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.summary import summarize_run


@pytest.mark.parametrize(
    ("value", "measured"),
    [(0, 0.0), (0.25, 0.25), (True, 1.0), (np.float32(0.5), 0.5), (np.bool_(True), 1.0)],
)
def test_record_score_takes_numbers_and_booleans(value: Any, measured: float) -> None:
    with collect() as measurements:
        score = record_score("mine", value, reason=None, better="lower", version="2", label="a")
    assert measurements == [score]
    assert (score.value, score.status, score.reason, score.better) == (measured, "recorded", "", "lower")
    assert (score.version, score.label) == ("2", "a")


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "0.5", [0.5], 1.01, -0.1, 10**400])
def test_record_score_refuses_what_is_not_a_score(value: Any) -> None:
    with collect() as measurements, pytest.raises(UsageError, check=check_message):
        record_score("mine", value)
    assert measurements == []


@pytest.mark.parametrize("wrong", [{"name": " "}, {"better": "up"}, {"unit": "ms"}])
def test_record_score_refuses_other_names_directions_and_units(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, check=check_message):
        record_score(**{"name": "mine", "value": 0.5, **wrong})


def test_record_score_keeps_a_number_that_is_not_compared() -> None:
    score = record_score("steps", 12, unit="count", better="lower")
    assert (score.value, score.unit) == (12.0, "count")


@pytest.mark.parametrize(
    ("value", "unit"), [(0.5, "1"), (True, "1"), (np.float64(1), "1"), (4.5, "count"), (-1, "count")]
)
def test_a_tools_score_outside_of_0_to_1_is_a_count(value: object, unit: str) -> None:
    score = make_measurement("deepeval", ToolScore(metric="Faithfulness", value=value))
    assert (score.name, score.value, score.unit, score.status) == (
        "deepeval.faithfulness",
        value,
        unit,
        "recorded",
    )


@pytest.mark.parametrize(
    ("scale", "value", "unit"),
    [((1, 5), 0.75, "1"), ((5, 1), 0.75, "1"), ((4, 4), 4, "count"), ((0, math.inf), 4, "count")],
)
def test_a_tools_scale_is_mapped_to_0_to_1(scale: tuple[float, float], value: float, unit: str) -> None:
    score = make_measurement("ragas", ToolScore(metric="Rubric", value=4, scale=scale))
    assert (score.value, score.unit) == (value, unit)


@pytest.mark.parametrize("value", [None, math.nan, -math.inf, "0.5", np.array([1.0, 2.0])])
def test_a_tools_value_that_is_no_number_is_an_error(value: object) -> None:
    score = make_measurement("deepeval", ToolScore(metric="Faithfulness", value=value))
    assert (score.value, score.status) == (None, "errored")
    check_message(score.error)


def test_a_tools_texts_are_cut_and_its_verdict_is_kept() -> None:
    score = make_measurement(
        "langsmith",
        ToolScore(
            metric="x" * 9000, value=1, reason="y" * 9000, threshold=0.5, passed=True, output="z" * 90_000
        ),
    )
    assert len(score.name) < 300
    assert len(score.reason) == 2000
    assert len(str(score.detail["actual"])) == 20_000
    assert (score.detail["tool_threshold"], score.detail["tool_passed"]) == (0.5, True)


def test_a_tools_threshold_and_its_failures_are_in_the_table_of_metrics() -> None:
    scores = [
        make_measurement("deepeval", ToolScore(metric="Fact", value=value, threshold=0.5, passed=value > 0.5))
        for value in (0.2, 0.9)
    ]
    records = tuple(
        TestRecord(nodeid=f"t{number}", measurements=(score,)) for number, score in enumerate(scores)
    )
    (metric,) = summarize_run(Run(records=records)).metrics
    assert (metric.threshold, metric.passed, metric.failed, metric.recorded) == (0.5, 1, 1, 0)
    bare = make_measurement("deepeval", ToolScore(metric="Fact", value=0.2, passed=False))
    (metric,) = summarize_run(Run(records=(TestRecord(nodeid="t", measurements=(bare,)),))).metrics
    assert (metric.threshold, metric.failed, metric.recorded) == (None, 0, 1)


def test_an_error_that_a_passing_test_expects_is_no_error_of_the_test() -> None:
    keeper = ScoreKeeper()
    tool = load_tool("deepeval")

    def keep() -> None:
        keeper.add(tool, ToolScore(metric="Expected", error="raised", reached_test=lambda: True))
        keeper.add(tool, ToolScore(metric="Ignored", error="swallowed by the tool"))

    keep()
    assert [score.name for score in keeper.take_errors(passed=True)] == ["deepeval.ignored"]
    keep()
    assert [score.name for score in keeper.take_errors()] == ["deepeval.expected", "deepeval.ignored"]
    assert keeper.take_errors() == []


def test_an_error_is_forgotten_only_if_the_same_is_scored_again() -> None:
    keeper = ScoreKeeper()
    tool = load_tool("deepeval")

    def keep(error: str, **scored: Any) -> None:
        keeper.add(tool, ToolScore(metric="m", value=1, error=error, **scored))

    with collect():
        for subject in ("bad", "tried again"):
            keep(f"{subject}: judge down", subject=subject)
        keep("", subject="good")
        keep("", subject="tried again")
        keep("nobody knows of what", label="a")
        keep("", label="a")
    assert [score.error for score in keeper.take_errors()] == ["bad: judge down", "nobody knows of what"]


def test_an_exception_that_deepeval_caught_did_not_reach_the_test() -> None:
    error = KeyError("verdict")

    def measure() -> None:
        raise error

    code = "def evaluate(measure):\n try: measure()\n except KeyError: pass\n"
    deepeval: dict[str, Any] = {"__name__": "deepeval.evaluate.execute"}
    exec(code, deepeval)
    deepeval["evaluate"](measure)
    assert not _has_left_deepeval(error)
    with pytest.raises(KeyError):
        measure()
    assert _has_left_deepeval(error)


@pytest.mark.parametrize(
    ("label", "fields"),
    [
        ("tent", {"name": "tent", "input": "Can I return it?"}),
        ("Can I return it?", {"name": None, "input": "Can I return it?"}),
        ("a return", {"name": None, "scenario": "a return", "turns": []}),
        ("Hello", {"name": None, "scenario": None, "turns": [types.SimpleNamespace(content="Hello")]}),
        ("", {}),
    ],
)
def test_a_deepeval_case_without_a_name_is_told_by_its_input(label: str, fields: dict[str, Any]) -> None:
    assert _label_case(types.SimpleNamespace(**fields)) == label


def test_a_call_with_an_argument_that_the_method_does_not_take_is_of_the_same_inputs() -> None:
    """deepeval tries metrics of an older form again, without its own arguments."""

    class Older:
        def measure(self, test_case: str) -> str:
            return test_case

    calls: list[ScoringCall] = []

    def read(call: ScoringCall) -> tuple[ToolScore, ...]:
        calls.append(call)
        return ()

    with report_methods(Older, ["measure"], read, mock.Mock()):
        with pytest.raises(TypeError):
            Older().measure("a", _show_indicator=False)  # type: ignore[call-arg]
        Older().measure("a")
    assert [next(iter(call.arguments.values())) for call in calls] == ["a", "a"]


@pytest.mark.parametrize("subject", ["bad", object()])
def test_what_a_call_scores_is_told_by_its_inputs(subject: object) -> None:
    assert identify_inputs([subject]) == identify_inputs([subject])
    assert identify_inputs([subject]) != identify_inputs(["good"])


def test_every_tool_is_a_module_with_its_name() -> None:
    assert sorted(TOOLS) == sorted(ADOPTED_TOOLS)
    for name, module in TOOLS.items():
        tool = load_tool(name)
        assert tool.name == name
        assert type(tool).__module__ == f"pytest_llmops.adopted.{module}"
        assert len(tool.tested) == 2


@pytest.mark.parametrize("tool", ["phoenix", "mlflow"])
def test_a_service_of_this_machine_is_let_through_under_both_of_its_names(tool: str) -> None:
    environ = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:6006", "PHOENIX_ENDPOINT": "http://[::1]:6006"}
    hosts = set(load_tool(tool).service_hosts(environ))
    assert {"localhost:6006", "127.0.0.1:6006"} <= hosts
    assert "127.0.0.1" not in hosts


class Metric:
    """A metric of deepeval's form."""

    threshold = 0.9
    error: str | None = "left"
    score: float | None = 0.2
    evaluation_model = "gpt-5"

    def __init__(self, *, lower: bool = False, criteria: str | None = None) -> None:
        self.lower = lower
        self.criteria = criteria

    def is_successful(self) -> bool:
        if self.error or self.score is None:
            return False
        if self.lower:
            return self.score <= self.threshold
        return self.score >= self.threshold


class Raising(Metric):
    """A metric that cannot say whether it was successful."""

    def is_successful(self) -> bool:
        raise ValueError


def test_the_better_scores_of_a_deepeval_metric_are_those_that_it_calls_successful() -> None:
    low = Metric(lower=True)
    assert [_find_better(metric) for metric in (low, Metric(), Raising())] == ["lower", "higher", "higher"]
    assert (low.score, low.error, low.threshold) == (0.2, "left", 0.9)


def test_other_criteria_are_another_version_of_a_deepeval_metric() -> None:
    versions = [_describe_version(Metric(criteria=text)) for text in ("Is it right?", "Is it kind?", None)]
    assert len(set(versions)) == 3
    assert versions[2] == "gpt-5"


class Item:
    """A test as pytest has it, as far as it is read."""

    def __init__(self, module: types.ModuleType, function: object = None) -> None:
        self.module = module
        self.function = function


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, types.ModuleType]:
    """A project: a test that imports a helper that imports a tool, and one that does not."""
    made = {}
    for name in ("atool", "atool.metrics", "helper", "user_of_helper", "installed_user", "plain"):
        module = types.ModuleType(name)
        module.__file__ = f"/project/{name}.py"
        monkeypatch.setitem(sys.modules, name, module)
        made[name] = module
    metric = type("AMetric", (), {"__module__": "atool.metrics"})
    made["helper"].__dict__["metric"] = metric()
    made["user_of_helper"].__dict__["helper"] = made["helper"]
    made["helper"].__dict__["back"] = made["user_of_helper"]
    made["installed_user"].__file__ = "/usr/lib/python3/site-packages/installed_user.py"
    made["installed_user"].__dict__["metric"] = metric
    made["plain"].__dict__["installed_user"] = made["installed_user"]
    return made


def test_a_test_uses_a_tool_by_the_modules_of_its_project(modules: dict[str, types.ModuleType]) -> None:
    imports = ProjectImports()
    used = {
        name for name in ("helper", "user_of_helper", "plain") if imports.uses(Item(modules[name]), "atool")
    }
    assert used == {"helper", "user_of_helper"}


def test_each_module_is_searched_once_for_a_tool(
    modules: dict[str, types.ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = []
    for number in range(20):
        module = types.ModuleType(f"link{number}")
        module.__file__ = f"/project/link{number}.py"
        monkeypatch.setitem(sys.modules, module.__name__, module)
        chain.append(module)
    for module, imported in itertools.pairwise(chain):
        module.__dict__["imported"] = imported
    imports = ProjectImports()
    read_owners = mock.Mock(wraps=imports._read_owners)
    monkeypatch.setattr(imports, "_read_owners", read_owners)
    items = [Item(module) for module in (*chain, *chain, modules["helper"], modules["user_of_helper"])]
    assert [imports.uses(item, "atool") for item in items] == [False] * 40 + [True] * 2
    assert read_owners.call_count <= 22


def test_a_test_uses_a_tool_that_its_function_imports(modules: dict[str, types.ModuleType]) -> None:
    def in_body() -> None:
        def inner() -> None:
            import atool.metrics  # type: ignore[import-not-found]  # noqa: F401

        inner()

    assert ProjectImports().uses(Item(modules["plain"], in_body), "atool")


def test_the_cases_of_a_dataset_are_records_of_their_own() -> None:
    def score(case: str, name: str = "m") -> Measurement:
        return Measurement(name=name, value=1.0, label=case, detail={"dataset_case": case})

    plain = Measurement(name="own", value=0.5)
    test = TestRecord(
        nodeid="a.py::test_a",
        outcome="failed",
        measurements=(plain, score("one"), score("two"), score("one", "n")),
        facts={"recordings": ["r"], "cassette": {"path": "c"}},
    )
    other = TestRecord(nodeid="a.py::test_b", measurements=(plain,))
    parent, one, two, same = split_dataset_cases([test, other])
    assert same is other
    assert (parent.outcome, parent.measurements) == ("failed", (plain,))
    assert (one.nodeid, one.outcome, dict(one.facts)) == (
        "a.py::test_a[one]",
        "passed",
        {"recordings": ["r"], "evaluated_by": "a.py::test_a"},
    )
    assert [(score.name, score.label) for score in one.measurements] == [("m", ""), ("n", "")]
    assert [score.name for score in two.measurements] == ["m"]


def test_cases_are_counted_apart_from_tests_and_may_be_errors() -> None:
    scored = Measurement(name="m", value=1.0, detail={"dataset_case": "one"})
    unscored = Measurement(name="m", error="not a number", detail={"dataset_case": "two"})
    test = TestRecord(
        nodeid="a.py::test_a", measurements=(scored, unscored), facts={"trials": {"n": 3, "passed": 3}}
    )
    records = tuple(split_dataset_cases([test]))
    assert [(record.outcome, record.message) for record in records] == [
        ("passed", ""),
        ("passed", ""),
        ("errored", "not a number"),
    ]
    assert summarize_run(Run(records=records)).outcome_words == "1 passed (2 cases)"
    assert list(iter_single_trial_notes(records, 3)) == []
