"""The set-up is checked once: before the first test of a run, and before the first call that goes out."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.messages import check_message
from support.project import PROGRAM, Project

from pytest_llmops.cli import main

USAGE_ERROR = pytest.ExitCode.USAGE_ERROR
MEANING = """
import pytest
from pytest_llmops import assert_semantic, assert_contains

@pytest.mark.parametrize("n", range(4))
def test_meaning(n):
    answer = "Refunds take thirty days"
    assert_semantic(answer, "A refund takes thirty days")

def test_words():
    assert_contains("a b", "a")
"""
ASKING = """
import pytest

@pytest.mark.parametrize("n", range(4))
def test_ask(llm, n):
    assert llm.complete(f"hello {n}").text

def test_plain():
    pass
"""
JUDGED = """
from pytest_llmops import assert_judge_score

def test_judged(judge):
    assert_judge_score("Take it back.", judge=judge, at_least=1)
"""


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No model of sentence embeddings is installed."""
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "empty"))


def answer_is_missing(project: Project, workers: int, *args: str) -> str:
    """Run a project that lacks something, and return the one message that ends it before its first test."""
    result = project.run(*args, workers=workers)
    assert (result.exit, result.outcomes, result.run.records) == (USAGE_ERROR, {}, ())
    assert result.text.count("[LLM-SETUP]") == 1
    return result.text.partition("ERROR: ")[2]


@pytest.mark.usefixtures("no_models")
def test_a_missing_embedder_is_one_error_before_the_first_test(project: Project, workers: int) -> None:
    project.write(**{"test_a.py": MEANING})
    message = answer_is_missing(project, workers, "--llm-record=new")
    assert "needed by 4 tests, first test_a.py::test_meaning[0]" in message
    assert "llmops semantic install" in message
    check_message(message)


@pytest.mark.usefixtures("no_models")
def test_a_missing_embedder_ends_no_run_that_does_not_need_it(project: Project) -> None:
    project.write(**{"test_a.py": MEANING})
    assert project.run("-k", "words", "--llm-record=new").outcomes == {"passed": 1}
    assert project.run("-o", "llm_embedder=tfidf", "--llm-record=new").outcomes == {"passed": 5}
    assert project.run().outcomes == {"errors": 4, "passed": 1}  # a replay
    assert project.run("--collect-only").exit == 0


SKIPPING_FIXTURE = """
import pytest
@pytest.fixture(autouse=True)
def server(): pytest.skip("no server here")
"""
SKIPPING_HOOK = """
import pytest
def pytest_runtest_setup(item):
    if "words" not in item.name:
        pytest.skip("slow")
"""
UNITTEST = """
import unittest
from pytest_llmops import assert_semantic
class TestMeaning(unittest.TestCase):
    def test_a(self):
        assert_semantic("a", "b")
    @classmethod
    def setUpClass(cls): raise unittest.SkipTest("no")
"""


@pytest.mark.usefixtures("no_models")
@pytest.mark.parametrize(
    ("conftest", "test"),
    [
        (SKIPPING_FIXTURE, MEANING),
        (SKIPPING_HOOK, MEANING),
        ("", UNITTEST),
        ("", MEANING.replace("@pytest.mark.p", "@pytest.mark.skipif(True, reason='no')\n@pytest.mark.p")),
    ],
    ids=["fixture", "hook", "unittest", "skipif"],
)
def test_what_is_not_certain_before_a_test_is_left_to_it(project: Project, conftest: str, test: str) -> None:
    project.write(**{"conftest.py": conftest, "test_a.py": test})
    result = project.run("--llm-record=new")
    assert result.exit == 0
    assert "LLM-" not in result.text


@pytest.mark.usefixtures("no_models")
@pytest.mark.parametrize(
    ("test", "first"),
    [
        ("def test_a(embedder): pass\n", "test_a.py::test_a"),
        (
            "import pytest\n@pytest.mark.retriever('docs', embedder='minilm')\ndef test_a(retriever): pass\n",
            "test_a.py::test_a",
        ),
        ("import pytest_llmops\ndef test_a():\n    pytest_llmops.assert_semantic('a', 'a')\n", ""),
    ],
    ids=["fixture", "retriever", "after-a-dot"],
)
def test_fixtures_and_markers_show_what_a_test_needs(project: Project, test: str, first: str) -> None:
    project.write(**{"test_a.py": test, "test_b.py": "def test_b(llm_calls): pass\n"})
    assert f"needed by {first}" in answer_is_missing(project, 0, "--llm-record=new")


@pytest.mark.usefixtures("no_models")
def test_a_fixture_or_an_embedder_of_the_project_needs_nothing_of_ours(project: Project) -> None:
    project.write(
        **{
            "conftest.py": """
import pytest
from pytest_llmops.providers.offline import HashingEmbedder
@pytest.fixture
def embedder(): return HashingEmbedder()
def pytest_llmops_embedders(config): return {"minilm": HashingEmbedder}
""",
            "test_a.py": MEANING + "\ndef test_own(embedder): pass\n",
        }
    )
    assert project.run("--llm-record=new").outcomes == {"passed": 6}


HIDDEN = """
import pytest
import pytest_llmops
NAME = "assert_semantic"

@pytest.mark.parametrize("n", range(4))
def test_hidden(n):
    getattr(pytest_llmops, NAME)("Refunds take thirty days", "A refund takes thirty days")

def test_words():
    pytest_llmops.assert_contains("a b", "a")
"""


@pytest.mark.usefixtures("no_models")
def test_what_only_a_tests_body_shows_is_reported_once_with_the_number_of_tests(
    project: Project, workers: int
) -> None:
    project.write(**{"test_a.py": HIDDEN})
    result = project.run(workers=workers)
    assert result.outcomes == {"errors": 4, "passed": 1}
    assert result.text.count("is not installed in") == 2  # the failure, and the short list
    assert "3 more tests with the same error" in result.text
    assert "ERROR test_a.py::test_hidden" in result.line("4 tests: the embedder minilm is not installed")
    assert {record.outcome for record in result.run.records} == {"errored", "passed"}
    assert project.run("-vv").text.count("is not installed in") > 4


def test_everything_missing_is_in_one_message_without_secrets(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "sk-proj-" + "a1B2c3D4" * 4
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / secret))
    project.write(**{"test_a.py": MEANING + JUDGED, "llmops-baseline.json": "{"})
    result = answer_is_missing(project, 0, "--llm-judge", "--llm-record=all", "-o", "llm_model=a\nb")
    for text in (
        "judge     no model of the judges is named, and several are under test (a, b)",
        "embedder  the embedder minilm is not installed",
        "baseline  llmops-baseline.json:1: expected a baseline",
    ):
        assert text in result
    assert secret not in result
    check_message(result.splitlines())


@pytest.mark.parametrize("mode", ["all", "live", "verify", "new"])
def test_a_server_that_is_down_is_an_error_of_the_calls_alone(project: Project, mode: str) -> None:
    project.write(**{"test_a.py": ASKING})
    result = project.run(f"--llm-record={mode}")
    assert result.outcomes == {"errors": 4, "passed": 1}
    assert "http://127.0.0.1:1/v1 does not answer" in result.line("4 tests: the call was not made")


def test_a_key_that_the_list_of_models_refuses_stops_no_call(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-proj-" + "a1B2c3D4" * 4)
    project.server.probe_status = 401
    project.write(**{"test_a.py": ASKING})
    assert project.record(mode="all").outcomes == {"passed": 5}


@pytest.mark.usefixtures("no_models")
def test_a_shard_that_the_check_ended_is_missing_in_the_merged_run(
    project: Project, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write(**{"test_a.py": ASKING, "test_b.py": MEANING})
    assert project.record("test_a.py", "--llm-report=ok.json").exit == 0
    assert project.record("test_a.py", "--llm-report=ended.json").exit == 0  # an older run
    ended = project.record("test_b.py", "--llm-report=ended.json", workers=workers)
    assert ended.exit == USAGE_ERROR
    assert not (project.path / "ended.json").exists()
    assert main(["merge", "ok.json", "ended.json", "-o", "merged.json"]) != 0
    assert "ended.json" in capsys.readouterr().err


def test_a_judge_without_a_model_ends_a_replay_too(project: Project) -> None:
    project.write(**{"test_a.py": JUDGED})
    nameless = ("--llm-judge", "-o", "llm_model=")
    assert "needed by test_a.py::test_judged" in answer_is_missing(project, 0, *nameless)
    assert project.run("-o", "llm_model=").outcomes == {"skipped": 1}
    project.write(
        **{
            "test_a.py": 'import pytest\npytestmark = pytest.mark.judge("own.md")\n' + JUDGED,
            "own.md": "---\nkind: rubric\nmodel: judge-1\nlevels:\n  1: no\n  2: yes\n---\nIs it polite?\n",
        }
    )
    assert "LLM-SETUP" not in project.run(*nameless).text


def test_a_run_that_records_sends_one_cheap_request_first(project: Project, workers: int) -> None:
    project.write(**{"test_a.py": ASKING})
    assert project.record(workers=workers).outcomes == {"passed": 5}
    assert [(probe.method, probe.path) for probe in project.server.probes] == [("GET", "/v1/models")]
    assert project.server.count == 4
    assert project.record(workers=workers, mode="all").outcomes == {"passed": 5}
    assert len(project.server.probes) == 2
    assert project.server.count == 8


@pytest.mark.parametrize("workers", [0], indirect=True, ids=["n0"])
def test_a_replay_sends_no_request_at_all(project: Project, workers: int) -> None:
    project.write(**{"test_a.py": ASKING})
    project.record()
    project.server.probes.clear()
    url = f"--llm-base-url={project.server.url}/v1"
    assert project.run(url, workers=workers).outcomes == {"passed": 5}
    assert project.record(workers=workers).outcomes == {"passed": 5}  # new, with nothing missing
    assert (project.server.probes, project.server.count) == ([], 4)
    project.server.close()
    assert project.record(workers=workers).outcomes == {"passed": 5}


def test_without_a_server_what_is_recorded_replays_and_the_rest_is_one_error(
    project: Project, workers: int
) -> None:
    project.write(**{"test_a.py": ASKING.replace("range(4)", "range(1)")})
    project.record()
    project.server.close()
    project.write(**{"test_a.py": ASKING})
    result = project.record(workers=workers)
    assert result.outcomes == {"passed": 2, "errors": 3}
    assert "2 more tests with the same error" in result.text
    line = result.line("3 tests: the call was not made")
    assert "does not answer" in line
    assert line.endswith("[LLM-SETUP]")


def test_calls_that_are_sent_together_are_not_sent_to_a_server_that_is_down(project: Project) -> None:
    project.write(**{"test_a.py": ASKING})
    result = project.run("--llm-record=new", "--llm-concurrency=4")
    assert result.outcomes == {"passed": 1, "errors": 4}
    assert "does not answer" in result.line("4 tests: the call was not made")
    assert project.record("--llm-concurrency=4").outcomes == {"passed": 5}
    assert (len(project.server.probes), project.server.count) == (1, 4)


CATCHING = """
import pytest
def test_ask(llm):
    try:
        llm.complete("hello")
    except Exception:
        pass
"""


def test_a_call_that_was_not_made_cannot_be_caught(project: Project) -> None:
    project.write(**{"test_a.py": CATCHING})
    assert project.run("--llm-record=new").outcomes == {"errors": 1}


def test_the_request_is_not_recorded_below_the_standard_library(project: Project) -> None:
    project.write(
        **{
            "asking.py": PROGRAM,
            "test_a.py": "from asking import ask\ndef test_ask(llm_calls):\n    assert ask('hello')\n",
        }
    )
    assert project.record("-o", "pythonpath=.").outcomes == {"passed": 1}
    assert (len(project.server.probes), project.server.count) == (1, 1)
    (cassette,) = project.cassettes().values()
    assert b"/models" not in cassette


HOOKS = """
from pytest_llmops.protocols import Completion, Verdict
class Own:
    version = "1"
    def complete(self, messages, **params):
        return Completion(text="own answer")
    def judge(self, answer, **more):
        return Verdict(score=1, reason="fine")
def pytest_llmops_models(config): return {"stub-1": Own}
def pytest_llmops_judges(config): return {"quality": Own}
def pytest_llmops_retrievers(config): return {"docs": lambda: None}
"""


def test_models_and_judges_of_hooks_need_no_server(project: Project) -> None:
    project.write(**{"conftest.py": HOOKS, "test_a.py": ASKING + JUDGED})
    assert project.run("--llm-record=all", "--llm-judge").outcomes == {"passed": 6}
    assert project.run("--llm-record=all", "--llm-judge", "--llm-judge-model=stub-1").outcomes == {
        "passed": 6
    }
    project.write(
        **{
            "test_a.py": 'import pytest\npytestmark = pytest.mark.judge("other")\n' + JUDGED,
            "conftest.py": HOOKS.replace('"quality"', '"another"'),
        }
    )
    assert "unknown judge 'other'" in project.run("--llm-judge").text  # said by the test
