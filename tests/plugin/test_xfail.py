"""What an `xfail` or a skip must not hide: a missing recording, a spent budget, a result that could not be scored."""

from __future__ import annotations

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


def expect_failure(name: str, body: str, *, strict: bool, argument: str = "") -> str:
    """A test that its `xfail` expects to fail."""
    marks = f"@pytest.mark.llm_cassette\n@pytest.mark.xfail(strict={strict})"
    return f"\n{marks}\ndef {name}({argument}):\n    {body}\n"


def test_xfail_does_not_hide_what_is_missing(project: Project) -> None:
    outcomes, tests = {}, []
    for number, (case, (argument, body)) in enumerate(MISSES.items()):
        for strict in (False, True):
            name = f"test_{number}_{strict}"
            outcomes[name] = "failed" if "beside" in case else "errored"
            tests.append(expect_failure(name, body, strict=strict, argument=argument))
    project.write(**{"test_a.py": HEAD + "".join(tests)})
    result = project.run()
    assert result.exit == 1
    assert {name: record.outcome for name, record in result.records.items()} == outcomes, result.text


def test_a_low_score_and_an_xfail_without_a_run_stay_as_expected(project: Project) -> None:
    low = expect_failure("test_low", "assert_contains('a', 'b')", strict=True)
    not_run = (
        "\n@pytest.mark.llm_cassette\n@pytest.mark.xfail(run=False)\ndef test_not_run():\n    ask('q')\n"
    )
    project.write(**{"test_a.py": HEAD + low + not_run})
    result = project.run()
    assert (result.exit, result.outcomes) == (0, {"xfailed": 2})


def test_neither_an_xfail_nor_a_skip_hides_a_spent_budget(project: Project) -> None:
    ask_again = "ask('1')\n    try: ask('2')\n    except BaseException: pass\n    assert False"
    skip = "try: ask('3')\n    except BaseException: pytest.skip('no model')"
    skipped = f"\n@pytest.mark.llm_cassette\ndef test_skipped():\n    {skip}\n"
    project.write(**{"test_a.py": HEAD + expect_failure("test_expected", ask_again, strict=True) + skipped})
    result = project.record("--llm-max-calls=1")
    assert result.exit == 1
    assert {record.outcome for record in result.records.values()} == {"errored"}
    check_message(result.line("the test went on"))
    check_message(result.line("the test was skipped although a request was refused"))


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
