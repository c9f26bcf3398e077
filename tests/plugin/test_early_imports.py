"""What tests need is imported before the first of them: a test may patch whatever an import uses."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from support.project import Project

import pytest_llmops
from pytest_llmops.errors import UsageError
from pytest_llmops.harness import early_imports
from pytest_llmops.harness.early_imports import NEEDS_BY_NAME
from pytest_llmops.harness.markers import cases
from pytest_llmops.providers.model_files import find_installed
from pytest_llmops.settings import Settings

# A finder that refuses imports in a test, and patches of what an import uses. They end before the report, for which pytest itself
# needs the file system.
CONFTEST = """
import builtins, os, pathlib, sys, time

import pytest


class Guard:
    def find_spec(self, name, path=None, target=None):
        if "PYTEST_CURRENT_TEST" in os.environ and name.partition(".")[0] not in sys.stdlib_module_names:
            raise RuntimeError(f"imported in a test: {name}")


def refuse(*args, **kwargs):
    raise RuntimeError("this test has no file system")


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_setup():
    with pytest.MonkeyPatch.context() as patch:
        patch_all(patch)
        return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call():
    with pytest.MonkeyPatch.context() as patch:
        patch_all(patch)
        return (yield)


def patch_all(patch):
    patch.setattr(sys, "meta_path", [Guard(), *sys.meta_path])
    patch.setattr(os, "name", "nt")
    patch.setattr(sys, "platform", "win32")
    patch.setattr(builtins, "open", refuse)
    patch.setattr(pathlib.Path, "exists", refuse)
    patch.setattr(time, "time", lambda: 0.0)
"""

TESTS = """
from unittest import mock

import pytest
import pytest_llmops
from helper import check_meaning


@pytest.mark.llm_cassette
def test_cassette():
    pass


def test_llm(llm):
    assert llm is not None


@pytest.mark.parametrize("number", [1, 2])
def test_helper(number):
    check_meaning("Refunds take thirty days")


def test_personal_data_and_secrets():
    pytest_llmops.assert_no_pii("See 010 000 0000", ignore=["010 000 0000"])
    pytest_llmops.assert_no_secrets("order 4711-0815-4711-0815")


def test_attribute():
    pytest_llmops.assert_schema('{"a": 1}', {"type": "object"})


def test_late():
    from pytest_llmops import assert_fuzzy

    assert_fuzzy("refund", "refunds", at_least=0.5)


class TestDetectors:
    def test_method(self):
        pytest_llmops.assert_no_pii("Ask at the desk.")


@mock.patch("time.monotonic", lambda: 0.0)
def test_patched():
    pytest_llmops.assert_retrieval(["a", "b"], ["a"], metric="ndcg", at_least=0.5)


@pytest.fixture
def score():
    pytest_llmops.assert_score(len, "refund", at_least=1)


def test_fixture(score):
    pass
"""
# What recording and replaying need: only imports are refused, as a cassette is written
RECORDED_CONFTEST = (
    CONFTEST.partition("def refuse")[0]
    + """
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "meta_path", [Guard(), *sys.meta_path])
        return (yield)
"""
)
RECORDED_TESTS = """
import asyncio, json, os, re, subprocess, sys, urllib.request

import httpx2, openai, pytest
from pytest_llmops import assert_contains, assert_judge_score, assert_tool_calls, assert_trajectory, call, use_cassette

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "q"}]}


def test_block():
    with use_cassette("block"):
        httpx2.post(os.environ["OPENAI_BASE_URL"] + "/chat/completions", json=QUESTION)


@pytest.mark.llm_cassette
def test_program(llm_proxy):
    code = "import urllib.request, os, sys; urllib.request.urlopen(urllib.request.Request(os.environ['OPENAI_BASE_URL'] + '/chat/completions', sys.argv[1].encode(), {'content-type': 'application/json'}))"
    subprocess.run([sys.executable, "-S", "-c", code, json.dumps(QUESTION)], check=True)


def test_agent():
    message = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "find", "arguments": '{"word": "lamp"}'}}]}
    tool = {"name": "find", "input_schema": {"type": "object", "properties": {"word": {"type": "string", "format": "uri"}}}}
    expected = [call("find", ..., word=re.compile("la"))]
    assert_tool_calls([message], expected, order="any", tools=[tool])
    assert_trajectory([message], [message], arguments="subset")


@pytest.mark.llm_cassette
def test_sdk():
    with openai.OpenAI(api_key="x") as client:
        client.chat.completions.create(**QUESTION)


@pytest.mark.llm_cassette
def test_async():
    async def ask():
        async with openai.AsyncOpenAI(api_key="x") as client:
            return await client.chat.completions.create(**QUESTION)

    assert asyncio.run(ask())


def test_contains():
    with pytest.raises(AssertionError):
        assert_contains("an answer", "a fact")


def test_judge(judge):
    with pytest.raises(Exception, match="gave no score"):
        assert_judge_score("an answer", at_least=10, judge=judge)
"""
HELPER = """
from pytest_llmops import assert_semantic


def check_meaning(answer):
    assert_semantic(answer, "A refund takes thirty days")
"""
# The time-out strikes while numpy is half imported. Before, numpy remained unusable for the second test.
TIMEOUT = """
import signal, sys

import pytest
from pytest_llmops import assert_retrieval


class Strike:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy.lib":
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGALRM)


def end_test(*args):
    pytest.fail("time-out")


@pytest.mark.parametrize("number", [1, 2])
def test_found(number, monkeypatch):
    signal.signal(signal.SIGALRM, end_test)
    sys.meta_path.insert(0, Strike())
    assert_retrieval(["a", "b"], ["a"], metric="ndcg", at_least=0.5)
"""
FUZZY = """
from pytest_llmops import assert_fuzzy


def check():
    assert_fuzzy("refund", "refunds", at_least=0.5)
"""
LOADED = """
import sys


def test_loaded():
    heavy = ("numpy", "sklearn", "openai", "tokenizers", "jsonschema", "rapidfuzz", "py3langid", "genai_prices", "vcr")
    assert [name for name in heavy if name in sys.modules] == {expected}
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_is_imported_in_a_test(project: Project, workers: int) -> None:
    try:
        find_installed("minilm")
    except UsageError as error:
        pytest.skip(str(error))
    project.write(**{"conftest.py": CONFTEST, "helper.py": HELPER, "test_a.py": TESTS})
    done = project.pytester.runpytest_subprocess("-n", str(workers))
    done.assert_outcomes(passed=10)


# A project of its own for each test, so that none profits from what another imported
@pytest.mark.parametrize(
    ("name", "passed"), [("block or contains", 2), ("program or agent", 2), ("sdk or async", 2), ("judge", 1)]
)
def test_nothing_is_imported_in_a_test_that_is_recorded(
    project: Project, name: str, passed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{project.server.url}/v1")
    project.write(**{"conftest.py": RECORDED_CONFTEST, "test_a.py": RECORDED_TESTS})
    args = [
        "-k",
        name,
        "--llm-judge",
        "--llm-judge-model=stub-1",
        f"--llm-base-url={project.server.url}/v1",
        "-p",
        "no:cacheprovider",
    ]
    modes = ("new", "none") if "block" in name else ("new",)
    for mode in modes:
        done = project.pytester.runpytest_subprocess(f"--llm-record={mode}", *args)
        assert "imported in a test" not in done.stdout.str()
        done.assert_outcomes(passed=passed, deselected=7 - passed)


@pytest.mark.parametrize("trace", [None, Path("cases/traces/fb-1.json")])
def test_what_answers_from_a_trace_is_imported_if_a_case_has_one(
    trace: Path | None, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    places: list[str] = []
    monkeypatch.setattr(early_imports, "_import_place", places.append)
    monkeypatch.setattr(cases, "find_trace", lambda _item: trace)
    early_imports._import_recording([request.node], Settings())
    assert ("pytest_llmops.cassettes.traces.answers" in places) == (trace is not None)


@pytest.mark.skipif("sys.platform == 'win32'", reason="a time-out by a signal: Windows has no SIGALRM")
def test_a_time_out_does_not_break_later_tests(project: Project) -> None:
    project.write(**{"test_a.py": TIMEOUT})
    project.pytester.runpytest_subprocess().assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", []),
        ("import pytest\n\npytestmark = pytest.mark.llm_cassette\n", ["vcr"]),
        (f"{FUZZY}\n\ndef teardown_module():\n    check()\n", ["rapidfuzz"]),
        (f"{FUZZY}\n\ndef test_other():\n    check()\n", []),
    ],
    ids=["unused", "cassettes", "assertion", "not selected"],
)
def test_a_run_imports_what_it_needs_and_no_more(project: Project, more: str, expected: list[str]) -> None:
    project.write(**{"test_a.py": more + LOADED.format(expected=expected)})
    # Other plugins of this environment import some of these themselves.
    done = project.pytester.runpytest_subprocess(
        "-k", "loaded", "-p", "no:hypothesispytest", "-p", "no:anyio"
    )
    done.assert_outcomes(passed=1)


def test_a_missing_package_is_reported_by_the_test_that_needs_it(project: Project) -> None:
    project.write(
        **{
            "conftest.py": "import sys\n\nsys.modules['rapidfuzz'] = None\n",
            "test_a.py": "from pytest_llmops import assert_fuzzy\n\n\ndef test_fuzzy():\n    assert_fuzzy('a', 'ab', at_least=0)\n\n\n"
            "def test_other():\n    pass\n",
        }
    )
    done = project.pytester.runpytest_subprocess()
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["*rapidfuzz*"])


# Files of another kind may have pytest's own functions, whose module then is None.
def test_tests_of_other_files_run(project: Project) -> None:
    conftest = """
    import pytest
    from pytest_llmops import assert_fuzzy


    class Table(pytest.File):
        def collect(self):
            yield pytest.Function.from_parent(self, name="row", callobj=check_row)


    def check_row():
        assert_fuzzy("a", "a", at_least=0.5)


    def pytest_collect_file(file_path, parent):
        if file_path.suffix == ".table":
            return Table.from_parent(parent, path=file_path)
    """
    project.write(**{"conftest.py": textwrap.dedent(conftest), "a.table": ""})
    project.pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_every_assertion_is_in_the_table_or_needs_nothing_more() -> None:
    complete = {
        "assert_clean_text", "assert_cost", "assert_files", "assert_index_fresh", "assert_latency",
        "assert_matches", "assert_not_contains", "assert_not_matches", "assert_recovers", "assert_tokens",
    }  # fmt: skip
    in_table = {name for name in NEEDS_BY_NAME if name.startswith("assert_")}
    assert in_table.isdisjoint(complete)
    assert in_table | complete == {name for name in pytest_llmops.__all__ if name.startswith("assert_")}
