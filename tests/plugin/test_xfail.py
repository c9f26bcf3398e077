"""What an `xfail` or a skip must not hide: a missing recording, a spent budget, a result that could not be scored."""

from __future__ import annotations

import pytest
from support.messages import check_message
from support.project import Project

HEAD = """
import httpx2, os, pytest
from pytest_llmops import Measurement, assert_contains, emit, soft
def ask(text):
    body = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": text}]}
    return httpx2.post(f"{os.environ['OPENAI_BASE_URL']}/chat/completions", json=body).json()
@pytest.fixture
def reply():
    return ask("in a fixture")
def unscored():
    emit(Measurement(name="m", error="the judge gave no score"))
"""
STRICT = pytest.mark.parametrize("strict", [False, True], ids=["loose", "strict"])
MISSES = {
    "raised": ("", 'ask("q")'),
    "caught, then failed": ("", "try: ask('q')\n    except BaseException: pass\n    assert False"),
    "caught, then passed": ("", "try: ask('q')\n    except BaseException: pass"),
    "in a group": (
        "",
        "try: ask('q')\n    except BaseException as e: raise BaseExceptionGroup('tasks', [e])",
    ),
    "in a fixture": ("reply", "pass"),
    "called": ("", "try: ask('q')\n    except BaseException: pytest.xfail('known')"),
    "unscored": ("", "unscored()"),
    "unscored beside a low score": (
        "",
        "with soft():\n        assert_contains('a', 'b')\n        unscored()",
    ),
}


@STRICT
@pytest.mark.parametrize("case", MISSES)
def test_xfail_does_not_hide_what_is_missing(project: Project, case: str, strict: bool) -> None:
    argument, body = MISSES[case]
    mark = f"@pytest.mark.llm_cassette\n@pytest.mark.xfail(strict={strict})\n"
    project.write(**{"test_a.py": f"{HEAD}\n{mark}def test_ours({argument}):\n    {body}\n"})
    result = project.run()
    assert result.exit == 1
    assert result.records["test_ours"].outcome == ("failed" if "beside" in case else "errored")


def test_a_low_score_stays_an_expected_failure(project: Project) -> None:
    mark = "@pytest.mark.llm_cassette\n@pytest.mark.xfail\n"
    project.write(**{"test_a.py": f"{HEAD}\n{mark}def test_ours():\n    assert_contains('a', 'b')\n"})
    result = project.run()
    assert (result.exit, result.outcomes) == (0, {"xfailed": 1})


def test_xfail_does_not_hide_a_spent_budget(project: Project) -> None:
    mark = "@pytest.mark.llm_cassette\n@pytest.mark.xfail(strict=True)\n"
    caught = "ask('1')\n    try: ask('2')\n    except BaseException: pass\n    assert False"
    project.write(**{"test_a.py": f"{HEAD}\n{mark}def test_ours():\n    {caught}\n"})
    result = project.record("--llm-max-calls=1")
    assert result.exit == 1
    assert result.records["test_ours"].outcome == "errored"
    check_message(result.line("the test went on"))


def test_xfail_without_a_run_stays(project: Project) -> None:
    mark = "@pytest.mark.llm_cassette\n@pytest.mark.xfail(run=False)\n"
    project.write(**{"test_a.py": f"{HEAD}\n{mark}def test_ours():\n    ask('q')\n"})
    assert project.run().outcomes == {"xfailed": 1}


SKIPS = """
import asyncio, subprocess, sys, unittest

@pytest.mark.llm_cassette
def test_gathered():
    async def main():
        return await asyncio.gather(asyncio.to_thread(ask, "q"), return_exceptions=True)
    if isinstance(asyncio.run(main())[0], BaseException):
        pytest.skip("no model")

@pytest.mark.llm_cassette
@pytest.mark.llm_trials(2)
def test_trials():
    try: ask("q")
    except BaseException: raise unittest.SkipTest("no model")

@pytest.mark.llm_cassette
class TestOfUnittest(unittest.TestCase):
    def test_case(self):
        try: ask("q")
        except BaseException: self.skipTest("no model")

@pytest.mark.llm_cassette
def test_process():
    subprocess.run([sys.executable, "-c", "from test_a import ask; ask('q')"], stderr=-1)
    pytest.importorskip("no_such_module")

@pytest.fixture
def optional():
    try: ask("q")
    except BaseException: pytest.skip("no model")

@pytest.mark.llm_cassette
def test_fixture(optional): pass

@pytest.fixture(scope="module")
def shared():
    try: ask("q")
    except BaseException: pytest.skip("no model")

@pytest.mark.llm_cassette
def test_shared_fixture(shared): pass

@pytest.mark.llm_cassette
def test_unscored():
    try: unscored()
    except BaseException: pytest.skip("no score")

@pytest.mark.llm_cassette
def test_unscored_in_unittest():
    try: unscored()
    except BaseException: raise unittest.SkipTest("no score")

def test_plain():
    try: httpx2.get("http://api.openai.com/v1/models")
    except BaseException: pytest.skip("no model")

@pytest.mark.llm_cassette
def test_really_skipped():
    pytest.skip("not today")
"""


def test_a_skip_does_not_hide_what_is_missing(project: Project) -> None:
    project.write(**{"test_a.py": HEAD + SKIPS})
    result = project.run()
    assert result.exit == 1
    errored = {name for name, record in result.records.items() if record.outcome == "errored"}
    assert set(result.records) - errored == {"test_really_skipped"}, result.text
    check_message(result.line("the test was skipped although a request"))
    check_message(result.line("the test was skipped although a result"))


def test_a_skip_does_not_hide_a_spent_budget(project: Project) -> None:
    caught = "ask('1')\n    try: ask('2')\n    except BaseException: pytest.skip('no model')"
    project.write(**{"test_a.py": f"{HEAD}\n@pytest.mark.llm_cassette\ndef test_ours():\n    {caught}\n"})
    result = project.record("--llm-max-calls=1")
    assert result.records["test_ours"].outcome == "errored"
    check_message(result.line("although a request was refused"))
