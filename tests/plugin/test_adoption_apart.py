"""Phoenix, MLflow and ragas as adopted tools, with stand-ins that have the few names that are read; tests/clients has the real ones."""

from __future__ import annotations

import pytest
from support.messages import check_message
from support.project import INI, Project, Result

from pytest_llmops.measurement import Measurement

METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
RAGAS_BASE = """
class Score:
    def __init__(self, value, reason=None): self.value, self.reason = value, reason

class SimpleBaseMetric:
    name, allowed_values = "", (0.0, 1.0)
    def score(self, **kwargs): ...
    async def ascore(self, **kwargs): ...
    async def abatch_score(self, inputs): return [await self.ascore(**row) for row in inputs]

class SingleTurnMetric:
    def single_turn_score(self, sample, callbacks=None): return self.value
    async def single_turn_ascore(self, sample, callbacks=None, timeout=None): return self.value

class MultiTurnMetric:
    def multi_turn_score(self, sample, callbacks=None): ...
    async def multi_turn_ascore(self, sample, callbacks=None): ...
"""
RAGAS_COLLECTIONS = """
from ragas.metrics.base import Score, SimpleBaseMetric

class Given(SimpleBaseMetric):
    def __init__(self, name, value, allowed=(0.0, 1.0), reason=None):
        self.name, self.value, self.allowed_values, self.reason = name, value, allowed, reason
    async def ascore(self, **fields):
        if isinstance(self.value, Exception): raise self.value
        return Score(self.value, self.reason)
    def score(self, **fields):
        import asyncio
        return asyncio.run(self.ascore(**fields))

class NoiseSensitivity(Given): ...
"""
MLFLOW_SCORERS = """
class Scorer:
    name, pass_if = "", None
    def run(self, *, inputs=None, outputs=None): return self(inputs=inputs, outputs=outputs)
    def __call__(self, *, inputs=None, outputs=None): raise NotImplementedError

class Feedback:
    def __init__(self, value=None, error=None, name="feedback", rationale=None):
        self.value, self.error, self.name, self.rationale = value, error, name, rationale

class Given(Scorer):
    def __init__(self, name, value, pass_if=None):
        self.name, self.value, self.pass_if = name, value, pass_if
    def __call__(self, *, inputs=None, outputs=None): return self.value
"""
MLFLOW = """
_address = ""
def set_tracking_uri(uri):
    global _address
    _address = uri
def get_tracking_uri(): return _address
"""
PHOENIX_CONTEXT = """
class Run:
    def __init__(self): self.output, self.evaluations = None, {}
run = None
def current_run(): return run
def log_output(output): run.output = output
def log_evaluation(*, name, score=None, label=None, explanation=None):
    run.evaluations[name] = {"name": name, "score": score, "label": label, "explanation": explanation}
def evaluate(evaluator, /, **fields):
    try:
        result = evaluator.evaluate(fields)
    except Exception as error:
        run.evaluations[evaluator.name] = {"name": evaluator.name, "error": repr(error)}
        raise
    for score in result:
        run.evaluations[score.name] = dict(vars(score))
    return result
"""
PHOENIX_EVALS = """
class Score:
    def __init__(self, name, score=None, label=None, direction="maximize"):
        self.name, self.score, self.label, self.direction = name, score, label, direction
        self.explanation, self.metadata = "because", {"model": "judge-1"}

class Evaluator:
    def __init__(self, name, value, direction="maximize"):
        self.name, self.value, self.direction = name, value, direction
    def evaluate(self, eval_input, input_mapping=None):
        if isinstance(self.value, Exception): raise self.value
        return [Score(self.name, self.value, direction=self.direction)]
    async def async_evaluate(self, eval_input, input_mapping=None): return self.evaluate(eval_input)
"""
PHOENIX_MARKER = """
REPETITION_PARAM = "repetition"
def resolve_evaluators(item): return item.get_closest_marker("phoenix").kwargs["evaluators"]
"""
PHOENIX_HOOKS = """
import pytest
from phoenix.client.pytest import context

@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    if item.get_closest_marker("phoenix"): context.run = context.Run()
    try:
        return (yield)
    finally:
        context.run = None
"""
TOOLS = {
    "phoenix": (
        "arize-phoenix-client", "3.5.0",
        {"__init__": "", "evals": PHOENIX_EVALS, "client/__init__": "", "client/pytest/marker": PHOENIX_MARKER,
         "client/pytest/__init__": "from .context import evaluate, log_evaluation, log_output\n",
         "client/pytest/context": PHOENIX_CONTEXT,
         "client/experiments": "def create_evaluator(): return lambda evaluator: evaluator\n"},
    ),
    "ragas": (
        "ragas", "0.4.3",
        {"__init__": "", "metrics/__init__": "", "metrics/base": RAGAS_BASE, "metrics/collections": RAGAS_COLLECTIONS,
         "experiment": "class ExperimentWrapper:\n    async def __call__(self, *args): ...\n"},
    ),
    "mlflow": ("mlflow-skinny", "3.17.2", {"__init__": MLFLOW, "genai/__init__": "", "genai/scorers": MLFLOW_SCORERS}),
}  # fmt: skip


@pytest.fixture
def suite(project: Project, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Project:
    """A project that adopts a tool, whose stand-in is in its folder."""
    tool = str(request.param)
    monkeypatch.syspath_prepend(project.path)
    distribution, version, modules = TOOLS[tool]
    files = {f"{tool}/{name}.py": source for name, source in modules.items()}
    project.write(
        **files,
        **{
            f"{distribution.replace('-', '_')}-0.dist-info/METADATA": METADATA.format(
                name=distribution, version=version
            ),
            "pytest.ini": f"{INI}llm_adopt = {tool}\n",
        },
    )
    return project


def scores(result: Result, test: str) -> list[tuple[str, float | None, str]]:
    """The scores of a test as (name, value, label), or those of one of its cases."""
    return [(score.name, score.value, score.label) for score in result.records[test].measurements]


@pytest.mark.parametrize("suite", ["ragas"], indirect=True)
def test_ragas_scores_have_scale_direction_and_case(suite: Project, workers: int) -> None:
    suite.write(
        **{
            "test_a.py": """
import asyncio
import pytest
from types import SimpleNamespace
from ragas.metrics.base import SingleTurnMetric
from ragas.metrics.collections import Given, NoiseSensitivity

class Older(SingleTurnMetric):
    name, value = "older", 0.5

def test_newer():
    Given("faithfulness", 0.75, reason="3 of 4").score(user_input="Can I return it?")
    NoiseSensitivity("noise", 0.25).score(reference="Yes")
    Given("rubric", 4, (1.0, 5.0)).score()
    Given("tone", "warm", ["warm", "cold"]).score()
    Given("polite", "pass", ["pass", "fail"]).score()
    Given("ranking", ["a", "b"], 2).score()

def test_of_a_scale_that_is_not_known():
    older = Older()
    older.output_type = SimpleNamespace(value="discrete")
    older.single_turn_score(SimpleNamespace(user_input=""))

def test_class_made_in_the_test():
    class Made(Given):
        async def ascore(self, **fields): return await super().ascore(**fields)
    Made("made", 1).score()

def test_expected_error():
    with pytest.raises(ValueError):
        Given("faithfulness", ValueError("response is missing")).score()

def test_rows():
    asyncio.run(Given("match", 1).abatch_score([{"user_input": "a"}, {"user_input": "b"}]))
    row = SimpleNamespace(user_input="c", response="yes")
    asyncio.run(Older().single_turn_ascore(row, callbacks=[]))
"""
        }
    )
    result = suite.run(workers=workers)
    assert result.exit == 0, result.text
    assert scores(result, "test_newer") == [
        ("ragas.faithfulness", 0.75, "Can I return it?"),
        ("ragas.noise", 0.25, "Yes"),
        ("ragas.rubric", 0.75, ""),
        ("ragas.polite", 1.0, ""),
    ]
    assert [score.better for score in result.records["test_newer"].measurements[:2]] == ["higher", "lower"]
    (unknown,) = result.records["test_of_a_scale_that_is_not_known"].measurements
    assert (unknown.value, unknown.unit) == (0.5, "count")
    assert scores(result, "test_class_made_in_the_test") == [("ragas.made", 1.0, "")]
    rows = {name: scores(result, f"test_rows[{name}]") for name in "abc"}
    assert rows == {
        "a": [("ragas.match", 1.0, "")],
        "b": [("ragas.match", 1.0, "")],
        "c": [("ragas.older", 0.5, "")],
    }


@pytest.mark.parametrize("suite", ["ragas"], indirect=True)
def test_what_ragas_could_not_score_is_never_a_score(suite: Project) -> None:
    suite.write(
        **{
            "test_a.py": """
import pytest
from ragas.metrics.collections import Given

def test_nan(): Given("faithfulness", float("nan")).score()
def test_no_value(): Given("faithfulness", None, reason="Error executing metric").score()
def test_raised():
    Given("faithfulness", KeyError("statements")).score()
"""
        }
    )
    result = suite.run()
    outcomes = {name: record.outcome for name, record in result.records.items()}
    assert outcomes == {"test_nan": "errored", "test_no_value": "errored", "test_raised": "failed"}
    check_message([record.measurements[0].error for record in result.records.values()])


@pytest.mark.parametrize("suite", ["ragas"], indirect=True)
def test_ragas_sends_no_statistics(suite: Project) -> None:
    suite.write(
        **{
            "test_a.py": "import os, ragas\ndef test_a(): assert os.environ['RAGAS_DO_NOT_TRACK'] == 'true'\n",
        }
    )
    assert suite.run().outcomes == {"passed": 1}


@pytest.mark.parametrize("suite", ["mlflow"], indirect=True)
def test_mlflow_rows_are_cases_and_verdicts_are_scores(suite: Project) -> None:
    suite.write(
        **{
            "test_a.py": """
from mlflow.genai.scorers import Feedback, Given

def test_rows():
    for question in ("a", "b"):
        Given("polite", "yes").run(inputs={"question": question})
    Given("tone", "warm", pass_if=lambda tone: tone == "cold").run(inputs={"question": "b"})

def test_by_hand():
    Given("category", "warm")()
    Given("nothing", None)()
    Given("several", [Feedback(0.25, name="first", rationale="a quarter"), Feedback(True)])()

def test_undecided(): Given("polite", "unknown").run(inputs="a")
def test_failed(): Given("polite", Feedback(error="no connection")).run()
"""
        }
    )
    result = suite.run()
    assert scores(result, "test_rows[a]") == [("mlflow.polite", 1.0, "")]
    assert scores(result, "test_rows[b]") == [("mlflow.polite", 1.0, ""), ("mlflow.tone", 0.0, "")]
    assert scores(result, "test_by_hand") == [("mlflow.first", 0.25, ""), ("mlflow.several", 1.0, "")]
    assert result.records["test_by_hand"].measurements[0].reason == "a quarter"
    errored = [record.runnable_nodeid for record in result.records.values() if record.outcome == "errored"]
    assert set(errored) == {"test_a.py::test_undecided", "test_a.py::test_failed"}
    check_message(
        [score.error for name in ("test_undecided", "test_failed") for score in find_scores(result, name)]
    )


def find_scores(result: Result, test: str) -> list[Measurement]:
    """The measurements of a test and of its cases."""
    return [
        score
        for name, record in result.records.items()
        if name.startswith(test)
        for score in record.measurements
    ]


@pytest.mark.parametrize("suite", ["mlflow"], indirect=True)
def test_a_replay_needs_no_tracking_server(suite: Project) -> None:
    suite.write(
        **{
            "conftest.py": """
import mlflow
from mlflow import set_tracking_uri
mlflow.set_tracking_uri("http://mlflow.example.com")
""",
            "test_a.py": """
import mlflow, mlflow.genai
from conftest import set_tracking_uri

def test_address(pytestconfig):
    set_tracking_uri("databricks")
    mlflow.set_tracking_uri("http://mlflow.example.com")
    assert mlflow.get_tracking_uri().startswith("file:") is (pytestconfig.getoption("--llm-record") is None)
    mlflow.set_tracking_uri("sqlite:///mine.db")
    assert mlflow.get_tracking_uri() == "sqlite:///mine.db"
""",
        }
    )
    assert suite.run().outcomes == {"passed": 1}
    assert suite.record().outcomes == {"passed": 1}


@pytest.mark.parametrize("suite", ["mlflow"], indirect=True)
def test_the_tracking_server_on_this_machine_is_neither_recorded_nor_blocked(
    suite: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its port is let through; another port of this machine, which may be that of a model, is not."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{suite.server.url}/api")
    suite.write(
        **{
            "test_a.py": f"""
import urllib.request, mlflow.genai
def test_upload():
    request = urllib.request.Request("{suite.server.url}/v1/chat/completions", b'{{"model": "m", "messages": [{{"role": "user", "content": "a"}}]}}')
    with urllib.request.urlopen(request) as response:
        response.read()
"""
        }
    )
    assert suite.record().outcomes == {"passed": 1}
    assert suite.run().outcomes == {"passed": 1}
    assert suite.cassettes() == {}
    assert suite.server.count == 2


@pytest.mark.parametrize(
    ("suite", "moved"), [("ragas", "SingleTurnMetric"), ("mlflow", "Scorer")], indirect=["suite"]
)
def test_a_class_that_moved_is_named_and_the_tests_run(suite: Project, moved: str) -> None:
    for path in suite.path.rglob("*.py"):
        path.write_text(path.read_text(encoding="utf-8").replace(moved, "Moved"), encoding="utf-8")
    suite.write(
        **{
            "test_a.py": "import ragas\ndef test_a(): pass\n"
            if moved != "Scorer"
            else "import mlflow.genai\ndef test_a(): pass\n"
        }
    )
    result = suite.run()
    assert result.outcomes == {"passed": 1}
    check_message(result.run.notes)


@pytest.mark.parametrize("suite", ["phoenix"], indirect=True)
def test_phoenix_reads_what_is_logged_and_calls_the_evaluators_of_the_marker(suite: Project) -> None:
    suite.write(
        **{
            "conftest.py": PHOENIX_HOOKS,
            "test_a.py": """
import os, pytest
from phoenix.client.pytest import evaluate, log_evaluation, log_output
from phoenix.evals import Evaluator

invented = Evaluator("invented", 0.25, "minimize")
broken = Evaluator("broken", KeyError("label"))

@pytest.mark.phoenix(evaluators=[invented])
def test_logged():
    assert os.environ["PHOENIX_TEST_TRACKING"] == "false"
    log_output("yes")
    log_evaluation(name="exact", score=1.0, explanation="the same")
    log_evaluation(name="tone", label="warm")
    log_evaluation(name="polite", label="yes")
    evaluate(Evaluator("correct", 0.5), output="yes")

@pytest.mark.phoenix
def test_expected_error():
    with pytest.raises(KeyError):
        evaluate(broken, output="yes")

@pytest.mark.phoenix(evaluators=[broken])
def test_broken_evaluator(): pass

def test_unmarked(): invented.evaluate({"input": "Can I return it?"})
""",
            "pytest.ini": f"{INI}llm_adopt = phoenix\nmarkers = phoenix\n",
        }
    )
    result = suite.run()
    assert scores(result, "test_logged") == [
        ("phoenix.exact", 1.0, ""),
        ("phoenix.polite", 1.0, ""),
        ("phoenix.correct", 0.5, ""),
        ("phoenix.invented", 0.25, ""),
    ]
    directions = [(score.better, score.version) for score in result.records["test_logged"].measurements[2:]]
    assert directions == [("higher", "judge-1"), ("lower", "judge-1")]
    assert scores(result, "test_unmarked") == [("phoenix.invented", 0.25, "Can I return it?")]
    assert result.records["test_expected_error"].outcome == "passed"
    broken = result.records["test_broken_evaluator"]
    assert broken.outcome == "errored"
    check_message([score.error for score in broken.measurements])


@pytest.mark.parametrize("suite", ["phoenix"], indirect=True)
def test_a_phoenix_whose_marker_moved_is_named_and_the_tests_run(suite: Project) -> None:
    suite.write(
        **{
            "phoenix/client/pytest/marker.py": "",
            "conftest.py": PHOENIX_HOOKS,
            "test_a.py": "import pytest\n@pytest.mark.phoenix(evaluators=[len])\ndef test_a(): pass\n",
            "pytest.ini": f"{INI}llm_adopt = phoenix\nmarkers = phoenix\n",
        }
    )
    result = suite.run()
    assert result.outcomes == {"passed": 1}
    assert any("REPETITION_PARAM" in note for note in result.run.notes)


@pytest.mark.parametrize("suite", ["mlflow"], indirect=True)
def test_an_mlflow_that_fails_at_the_start_is_named_and_the_tests_run(suite: Project) -> None:
    suite.write(
        **{
            "mlflow/__init__.py": "raise ValueError('the database is newer')\n",
            "test_a.py": "import pytest\n@pytest.mark.llm_cassette\ndef test_a(): pass\n",
        }
    )
    result = suite.run()
    assert result.outcomes == {"passed": 1}
    assert any("the database is newer" in note for note in result.run.notes)


@pytest.mark.parametrize("suite", ["phoenix"], indirect=True)
def test_a_replay_that_phoenix_tracks_is_named(suite: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOENIX_TEST_TRACKING", "1")
    suite.write(
        **{
            "test_a.py": "import os, phoenix.evals\ndef test_a(): assert os.environ['PHOENIX_TEST_TRACKING'] == '1'\n",
        }
    )
    result = suite.run()
    assert result.outcomes == {"passed": 1}
    check_message(result.run.notes)
