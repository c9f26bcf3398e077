"""What tests need is imported before the first of them: a test may patch whatever an import uses."""

from __future__ import annotations

import pytest
from support.project import Project

from pytest_llmops.errors import UsageError
from pytest_llmops.providers.model_files import find_installed

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


def test_attribute():
    pytest_llmops.assert_schema('{"a": 1}', {"type": "object"})


def test_late():
    from pytest_llmops import assert_fuzzy

    assert_fuzzy("refund", "refunds", at_least=0.5)


class TestDetectors:
    def test_method(self):
        pytest_llmops.assert_no_pii("Ask at the desk.")
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
LOADED = """
import sys


def test_loaded():
    heavy = ("numpy", "sklearn", "openai", "tokenizers", "jsonschema", "rapidfuzz", "py3langid", "genai_prices", "vcr")
    assert [name for name in heavy if name in sys.modules] == {expected}
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_is_imported_in_a_test(project: Project, workers: int) -> None:
    try:
        find_installed("minilm")
    except UsageError as error:
        pytest.skip(str(error))
    project.write(**{"conftest.py": CONFTEST, "helper.py": HELPER, "test_a.py": TESTS})
    done = project.pytester.runpytest_subprocess("-n", str(workers))
    done.assert_outcomes(passed=7)


@pytest.mark.skipif("sys.platform == 'win32'", reason="a time-out by a signal: Windows has no SIGALRM")
def test_a_time_out_does_not_break_later_tests(project: Project) -> None:
    project.write(**{"test_a.py": TIMEOUT})
    project.pytester.runpytest_subprocess().assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", []),
        ("import pytest\n\npytestmark = pytest.mark.llm_cassette\n", ["vcr"]),
        ("from pytest_llmops import assert_contains, assert_fuzzy\n", ["rapidfuzz"]),
    ],
    ids=["unused", "cassettes", "assertion"],
)
def test_a_run_imports_what_it_needs_and_no_more(project: Project, more: str, expected: list[str]) -> None:
    project.write(**{"test_a.py": more + LOADED.format(expected=expected)})
    # Other plugins of this environment import some of these themselves.
    done = project.pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:anyio")
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
