"""What an `xfail` must not hide: a missing recording, a spent budget, a result that could not be scored."""

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
    check_message(result.line("xfail expects"))


def test_xfail_without_a_run_stays(project: Project) -> None:
    mark = "@pytest.mark.llm_cassette\n@pytest.mark.xfail(run=False)\n"
    project.write(**{"test_a.py": f"{HEAD}\n{mark}def test_ours():\n    ask('q')\n"})
    assert project.run().outcomes == {"xfailed": 1}
