"""llm_adopt: tests of other tools are recorded as they are, and their scores are measured.

The tool here is a stand-in for pydantic-evals, with the few names that are read; tests/clients has the real tools.
"""

from __future__ import annotations

import pytest
from support.messages import check_message
from support.project import INI, PROGRAM, Project, Result

TOOL = """
from dataclasses import dataclass, field
from pydantic_evals.evaluators import Evaluator

@dataclass
class Result:
    name: str
    value: object
    reason: str | None = None
    evaluator_version: str | None = None

@dataclass
class Failure:
    name: str
    error_message: str
    evaluator_version: str | None = None

@dataclass
class Case:
    name: str
    output: object = "an answer"
    scores: dict = field(default_factory=dict)
    assertions: dict = field(default_factory=dict)
    evaluator_failures: list = field(default_factory=list)

@dataclass
class Report:
    cases: list
    failures: list = field(default_factory=list)

class Dataset:
    def __init__(self, *scores, failed=()):
        self.scores, self.failed = scores, failed
    async def evaluate(self, task):
        answer = task("question")
        await Evaluator().evaluate_async(answer)
        case = Case("a case", scores={score.name: score for score in self.scores})
        case.evaluator_failures = list(self.failed)
        return Report([case])
    def evaluate_sync(self, task):
        import asyncio
        return asyncio.run(self.evaluate(task))
"""
EVALUATORS = f"""
{PROGRAM}
class Evaluator:
    async def evaluate_async(self, answer):
        return ask("judge " + answer)
"""
METADATA = "Metadata-Version: 2.1\nName: pydantic-evals\nVersion: {version}\n"
SUITE = """
from pydantic_evals import Dataset, Failure, Result
from pydantic_evals.evaluators import ask
from pytest_llmops import recorder

def test_scores():
    report = Dataset(Result("Exact Match", 0.75, "three of four"), Result("polite", True)).evaluate_sync(ask)
    assert report.cases[0].scores["polite"].value

def test_purposes():
    Dataset().evaluate_sync(ask)
    assert [exchange.purpose for exchange in recorder.list_exchanges()] == ["app", "judge"]
"""
ADOPTING = f"{INI}llm_adopt = pydantic-evals\n"


@pytest.fixture
def adopted(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose folder has the stand-in, installed in a version that was tested."""
    monkeypatch.syspath_prepend(project.path)
    install(project, "2.62.0")
    project.write(
        **{
            "pytest.ini": ADOPTING,
            "pydantic_evals/__init__.py": TOOL,
            "pydantic_evals/evaluators.py": EVALUATORS,
        }
    )
    return project


def install(project: Project, version: str) -> None:
    project.write(**{"pydantic_evals-0.dist-info/METADATA": METADATA.format(version=version)})


def notes(result: Result) -> str:
    return "\n".join(result.run.notes)


def test_a_tools_tests_are_recorded_and_its_scores_are_measured(adopted: Project, workers: int) -> None:
    adopted.write(**{"test_a.py": SUITE, "test_b.py": "def test_other(): pass\n"})
    assert adopted.record(workers=workers).exit == 0
    adopted.server.close()
    replayed = adopted.run(workers=workers)
    assert replayed.outcomes == {"passed": 3}
    assert sorted(adopted.cassettes()) == [
        "cassettes/test_a/test_purposes.json",
        "cassettes/test_a/test_scores.json",
    ]
    match, polite = replayed.records["test_scores[a case]"].measurements
    assert (match.name, match.label, match.value) == ("pydantic_evals.exact_match", "", 0.75)
    assert (match.reason, match.status) == ("three of four", "recorded")
    assert (polite.value, polite.detail["tool_passed"]) == (1.0, True)
    assert "pydantic" not in notes(replayed)
    assert "test_other" not in replayed.records


def test_what_a_tool_could_not_score_is_an_error_also_if_the_test_passed(adopted: Project) -> None:
    adopted.write(
        **{
            "test_a.py": """
import pytest
from pydantic_evals import Dataset, Failure, Result
from pydantic_evals.evaluators import ask

@pytest.mark.parametrize("value", [float("nan"), None, "7"])
def test_no_number(value): Dataset(Result("Match", value)).evaluate_sync(ask)
def test_raised(): Dataset(failed=[Failure("Match", "KeyError: 'a'\\x1b[31m")]).evaluate_sync(ask)
def test_tried_again():
    Dataset(failed=[Failure("Match", "no connection")]).evaluate_sync(ask)
    Dataset(Result("Match", 1)).evaluate_sync(ask)
def test_failed():
    Dataset(failed=[Failure("Match", "no connection")]).evaluate_sync(ask)
    assert 0
"""
        }
    )
    result = adopted.record()
    cases = {name: record for name, record in result.records.items() if name.endswith("[a case]")}
    outcomes = {name: record.outcome for name, record in result.records.items() if name not in cases}
    assert outcomes.pop("test_tried_again") == "passed"
    assert outcomes.pop("test_failed") == "failed"
    assert set(outcomes.values()) == {"errored"}
    errors = [score.error for record in cases.values() for score in record.measurements if score.error]
    assert len(errors) == 5
    assert "\x1b" not in result.text
    check_message(errors)
    assert [score.value for score in result.records["test_tried_again[a case]"].measurements] == [1.0]


def test_scores_outside_of_0_to_1_are_shown_and_not_compared(adopted: Project) -> None:
    adopted.write(
        **{
            "test_a.py": """
from pydantic_evals import Dataset, Result
from pydantic_evals.evaluators import ask
def test_scale(): Dataset(Result("Help", 4.5)).evaluate_sync(ask)
"""
        }
    )
    result = adopted.record("--llm-accept=first")
    assert result.exit == 0
    assert [(score.value, score.unit) for score in result.records["test_scale[a case]"].measurements] == [
        (4.5, "count")
    ]
    assert "pydantic_evals.help" in notes(result)
    assert "pydantic_evals.help" not in (adopted.path / "llmops-baseline.json").read_text(encoding="utf-8")
    check_message(result.run.notes)


def test_an_untested_version_is_named_and_its_scores_are_read(adopted: Project) -> None:
    install(adopted, "3.1.0")
    adopted.write(**{"test_a.py": SUITE})
    result = adopted.record()
    assert result.outcomes == {"passed": 2}
    assert "3.1.0" in notes(result)
    assert len(result.records["test_scores[a case]"].measurements) == 2
    check_message(result.run.notes)


def test_a_hook_that_moved_is_named_and_the_tests_run(adopted: Project) -> None:
    adopted.write(
        **{
            "test_a.py": SUITE,
            "pydantic_evals/__init__.py": TOOL.replace("async def evaluate(", "async def run(").replace(
                "self.evaluate(", "self.run("
            ),
        }
    )
    result = adopted.record("-k", "scores")
    assert result.outcomes == {"passed": 1}
    assert "Dataset.evaluate" in notes(result)
    assert result.records["test_scores"].measurements == ()
    check_message(result.run.notes[:1])


def test_a_tool_that_cannot_be_imported_is_named_and_the_other_tests_run(adopted: Project) -> None:
    adopted.write(
        **{
            "pydantic_evals/__init__.py": "raise RuntimeError('sqlite is too old')\n",
            "test_a.py": "def test_a():\n  try: import pydantic_evals\n  except RuntimeError: pass\n",
        }
    )
    result = adopted.run()
    assert result.outcomes == {"passed": 1}
    assert "cannot be imported (RuntimeError: sqlite is too old" in notes(result)


def test_a_report_in_another_form_is_named_and_the_tests_run(adopted: Project) -> None:
    adopted.write(
        **{"test_a.py": SUITE, "pydantic_evals/__init__.py": TOOL.replace("evaluator_failures", "failed")}
    )
    result = adopted.record("-k", "scores")
    assert result.outcomes == {"passed": 1}
    assert "evaluator_failures" in notes(result)
    check_message(result.run.notes[:1])


def test_a_tool_that_is_not_installed_is_named_and_the_tests_run(project: Project) -> None:
    project.write(**{"pytest.ini": ADOPTING, "test_a.py": "def test_a(): pass\n"})
    result = project.bare("-v")
    assert result.exit == 0
    assert "not installed" in result.line("note  ")
    check_message(project.run().run.notes)


def test_an_unknown_tool_ends_the_run_at_its_start(project: Project) -> None:
    project.write(
        **{"pytest.ini": f"{INI}llm_adopt = deepeval, ragass\n", "test_a.py": "def test_a(): pass\n"}
    )
    result = project.bare()
    assert result.exit == pytest.ExitCode.USAGE_ERROR
    check_message(result.line("ragass"))


def test_a_test_with_a_recorder_of_its_own_is_left_alone(adopted: Project) -> None:
    adopted.write(
        **{
            "conftest.py": "import pytest\n@pytest.fixture(autouse=True)\ndef vcr(): pass\n",
            "test_a.py": "import pytest, pydantic_evals\n@pytest.mark.vcr\ndef test_a(): pass\n",
            "pytest.ini": f"{ADOPTING}markers = vcr\n",
        }
    )
    assert adopted.run().outcomes == {"passed": 1}
    assert adopted.cassettes() == {}
