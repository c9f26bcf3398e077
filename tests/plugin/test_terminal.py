"""What a user reads in pytest's output: headlines, scores, equal misses, hints, and silence where it is asked for."""

from __future__ import annotations

import re
from textwrap import dedent

import pytest
from support.messages import check_message
from support.project import INI, Project

TESTS = """
import pytest
from pytest_llmops import assert_contains, assert_fuzzy, soft

def test_good(llm):
    assert_contains(llm.complete("a").text, "warm", at_least=None)

def test_words(llm):
    assert_contains(llm.complete("b").text, "Paris")

def test_soft(llm):
    reply = llm.complete("c").text
    with soft():
        assert_fuzzy(reply, "Returns are accepted", at_least=0.9)
        check(reply)

def check(reply):
    assert_contains(reply, "refund")

def test_judged(judge): ...

def test_plain():
    assert 1 == 2
"""


@pytest.fixture
def mixed(project: Project) -> Project:
    project.write(**{"test_a.py": TESTS})
    project.record()
    return project


def test_failures_are_listed_with_assertion_and_score(mixed: Project) -> None:
    result = mixed.run()
    assert (
        result.line("FAILED test_a.py::test_words")
        .partition(" - ")[2]
        .startswith('assert_contains: missing "Paris"')
    )
    soft = result.line("FAILED test_a.py::test_soft").partition(" - ")[2]
    assert re.match(r"2 assertions failed: assert_fuzzy 0\.\d+ < 0\.90; assert_contains: missing ", soft)
    assert result.line("FAILED test_a.py::test_plain").endswith(" - assert 1 == 2")
    # Counts as pytest's, and how to run what was skipped.
    assert result.outcomes == {"failed": 3, "passed": 1, "skipped": 1}
    assert "FAIL      3 of 4 tests failed." in result.text
    check_message(result.line("skipped   "))
    latency = mixed.run("-v").line("latency ")
    assert latency.endswith("(3 calls of the application, as recorded)")


def test_the_arrow_of_soft_points_at_the_assertion_and_shared_lines_come_once(mixed: Project) -> None:
    text = mixed.run("-k", "soft").text
    assert ">           assert_fuzzy(reply" in text
    assert ">       with soft" not in text
    assert [text.count(f"E             {label} ") for label in ("answer", "from", "rerun")] == [1, 1, 1]
    assert "pytest_llmops/" not in text


def test_verbose_output_shows_scores(mixed: Project) -> None:
    text = mixed.run("-v").text
    assert "PASSED (text.contains 0.00)" in text
    assert "FAILED (text.contains 0.00 < 1.00)" in text
    assert re.search(r"^FAILED test_a.py::test_words - ", text, re.MULTILINE)


MISSES = """
import pytest

@pytest.mark.parametrize("n", range(4))
def test_new(n, llm):
    assert llm.complete(f"question {n}").text

def test_known(llm):
    assert llm.complete("{system} and the question").text
"""


def test_equal_misses_are_shown_once_with_a_command_that_records_all(project: Project, workers: int) -> None:
    project.write(**{"test_b.py": MISSES.replace("{system}", "old")})
    project.record("-k", "known")
    project.write(**{"test_b.py": MISSES.replace("{system}", "new")})
    result = project.run(workers=workers)
    assert result.outcomes == {"errors": 5}
    assert (
        result.text.count("ERROR at call of test_new")
        == result.text.count("ERROR at call of test_known")
        == 1
    )
    assert (
        len(re.findall(r"^MISSED test_b.py::test_\S+ - no recording answers", result.text, re.MULTILINE)) == 5
    )
    check_message(
        [
            result.line("3 more tests").strip("- "),
            result.line("record all: "),
            *result.text.partition("LLM regression: ERROR")[2].splitlines()[1:-1],
        ]
    )
    assert project.run("-vv").text.count("ERROR at call of test_new") == 4
    assert project.run("-q").text.splitlines()[-4:-1] == [
        "ERROR     5 of 5 tests have no recording.",
        "next      Record the missing answers:",
        "          pytest test_b.py --llm-record=new",
    ]


IDLE = """
from pytest_llmops import assert_contains

class TestIdle:
    def test_idle(self, llm):
        print(llm.complete("q").text)

def test_plain_assert(llm):
    assert llm.complete("q").text

def test_measured(llm):
    assert_contains(llm.complete("q").text, "q")

def test_calls(llm, llm_calls):
    llm.complete("q")
    assert len(llm_calls) == 1

def test_without_a_model(llm): ...

def test_failing(llm):
    llm.complete("q").text[10 ** 9]
"""


def test_only_a_new_baseline_names_the_tests_without_a_score(project: Project) -> None:
    """A plain assert is an assertion: an ordinary run does not speak of it."""
    project.write(**{"test_c.py": IDLE})
    assert project.record().run.notes == ()
    check_message(*[project.record("--llm-accept", "first baseline").run.notes])


def test_keys_that_pytest_does_not_read_are_named(project: Project) -> None:
    other = """\
    [tool.pytest.ini_options]
    llm_model = "gpt"
    [tool.llmops]
    llm_budget=2
    [tool.mine]
    llm_model = "no business of ours"
    """
    project.write(
        **{
            "pyproject.toml": dedent(other),
            "pytest.ini": INI + "[llmops]\nllm_max_calls = 3\n",
            "sub/pytest.ini": "[pytest]\nllm_strict = true\nllm_strange = 1\n",
            "sub/test_d.py": "def test_d(llm):\n    assert llm.complete('q').text\n",
        }
    )
    check_message(project.record().run.notes)


def test_a_misspelt_key_is_reported_with_the_near_name(project: Project) -> None:
    test = "def test_f(llm):\n    assert llm.complete('q').text\n"
    ini = INI.replace("--strict-config", "")
    project.write(**{"test_f.py": test, "pytest.ini": f"{ini}llm_trails = 3\nllm_strange = 1\n"})
    check_message(project.record("-W", "ignore::pytest.PytestConfigWarning").run.notes)


def test_the_head_of_the_output_says_how_models_are_called(project: Project) -> None:
    project.write(**{"test_e.py": "def test_e(): pass\n"})
    result = project.run("--llm-record=new", "--llm-max-calls=3", "--llm-budget=2")
    check_message(result.line("llm: "))
    for quiet in ("-q", "--no-header"):
        assert "llm: recordings" not in project.run("--llm-record=new", quiet).text
    (project.path / "pytest.ini").unlink()
    assert "llm: " not in project.bare("-p", "no:hypothesispytest").text


@pytest.mark.parametrize("flags", [("-qq",), ("--no-summary",), ("-p", "no:terminal")])
def test_silence_where_it_is_asked_for(mixed: Project, flags: tuple[str, ...]) -> None:
    done = mixed.bare("--llm-record=live", f"--llm-base-url={mixed.server.url}/v1", *flags)
    assert done.exit == 1
    assert "LLM regression" not in done.text
    assert "\nFAIL  " not in done.text
