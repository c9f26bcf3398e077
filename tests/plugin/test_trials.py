"""@pytest.mark.llm_trials and --llm-trials: one report for all trials of a test."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from support.project import INI, Project

from pytest_llmops.results.details import TrialFacts

COUNTING = """
import pytest
from pytest_llmops import assert_contains, assert_score

seen = []

@pytest.fixture(scope="module")
def wide():
    seen.append("wide up")
    yield
    print("set up:", seen)

@pytest.fixture
def number(wide):
    seen.append("fresh")
    return seen.count("fresh")
"""
ALTERNATING = (
    COUNTING
    + """
@pytest.mark.llm_trials({arguments})
def test_a(number):
    assert_contains("yes" if number % 2 else "no", "yes")
"""
)


def trials_of(project: Project, *args: str, name: str = "test_a", workers: int = 0) -> TrialFacts:
    result = project.run(*args, workers=workers)
    return TrialFacts.from_wire(result.records[name].fact("trials"))


def test_enough_trials_must_pass(project: Project) -> None:
    project.write(**{"test_a.py": ALTERNATING.format(arguments="5, pass_at_least=3")})
    result = project.run()
    assert result.outcomes == {"passed": 1}
    assert len(result.records) == 1


def test_a_failure_says_how_many_passed_and_shows_a_failed_trial(project: Project) -> None:
    project.write(**{"test_a.py": ALTERNATING.format(arguments="4, pass_at_least=3")})
    result = project.run("--llm-accept=x")  # a baseline needs all trials
    assert "2 of 4 trials passed: 3 must pass; trial 2: MeasurementFailed" in result.text
    assert 'missing   "yes"' in result.text
    (measurement,) = result.records["test_a"].measurements
    assert measurement.samples == (1.0, 0.0, 1.0, 0.0)
    assert measurement.value == 0.5


def test_function_fixtures_are_fresh_and_wider_ones_stay(project: Project) -> None:
    project.write(**{"test_a.py": ALTERNATING.format(arguments="3, pass_at_least=3")})
    result = project.run("-s", "--llm-accept=x")
    assert "set up: ['wide up', 'fresh', 'fresh', 'fresh']" in result.text


def test_the_next_module_starts_with_fixtures_of_its_own(project: Project) -> None:
    text = ALTERNATING.format(arguments="2, pass_at_least=1")
    project.write(**{"test_a.py": text, "test_b.py": text})
    assert project.run().outcomes == {"passed": 2}


def test_trials_end_once_the_verdict_stands(project: Project) -> None:
    project.write(**{"test_a.py": ALTERNATING.format(arguments="9, pass_at_least=1")})
    assert trials_of(project).n == 1


def test_all_trials_run_for_a_baseline(project: Project) -> None:
    project.write(**{"test_a.py": ALTERNATING.format(arguments="9, pass_at_least=1")})
    assert trials_of(project, "--llm-accept=x").n == 9
    assert trials_of(project).n == 9


RATE = (
    COUNTING
    + """
@pytest.mark.llm_trials({arguments})
def test_a(number):
    assert_contains("no" if number in {bad} else "yes", "yes")
"""
)


def test_an_undecided_rate_passes_with_a_note_and_fails_if_strict(project: Project) -> None:
    project.write(**{"test_a.py": RATE.format(arguments="12, at_least=0.8", bad=[3])})
    result = project.run()
    assert result.outcomes == {"passed": 1}
    note = "test_a.py::test_a: 11 of 12 trials passed: a rate of 0.8 must be proved (95% confidence): neither proved nor excluded, "
    assert note in "\n".join(result.run.notes)
    assert "more would decide it at this rate" in "\n".join(result.run.notes)
    assert project.run("--llm-strict").outcomes == {"failed": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("5, at_least=0.8", "5 of 5 proves a rate of 0.65; 0.8 needs 11 trials"),
        ("0", "expected n, the number of trials from 1 to 1,000"),
        ("", "expected n, the number of trials"),
        ("3, pass_at_least=4", "expected pass_at_least from 1 to 3"),
        ("3, pass_at_least=1, at_least=0.5", "expected either pass_at_least or at_least"),
        ("3, at_least=1.5", "as shares between 0 and 1"),
        ("3, confidence=0.9", "expected at_least=RATE with confidence"),
        ("3, often=2", "unknown argument 'often'"),
    ],
)
def test_trials_that_can_never_pass_are_an_error_at_collection(
    project: Project, arguments: str, message: str
) -> None:
    project.write(**{"test_a.py": ALTERNATING.format(arguments=arguments)})
    result = project.run()
    assert result.outcomes == {"errors": 1}
    assert message in result.text


ASK = """
def test_ask(llm):
    assert llm.complete("say hello").text
"""


def test_each_trial_has_its_own_recorded_take(project: Project, workers: int) -> None:
    project.write(**{"test_a.py": ASK})
    recorded = project.record("--llm-trials=3", workers=workers)
    assert recorded.outcomes == {"passed": 1}
    assert project.server.count == 3
    project.server.close()
    replayed = project.run("--llm-trials=3", workers=workers)
    assert replayed.outcomes == {"passed": 1}
    record = replayed.records["test_ask"]
    assert [call.replayed for call in record.calls] == [True] * 3
    assert record.fact("trials")["calls"] == [0, 1, 2]
    assert project.run("--llm-trials=2").outcomes == {"passed": 1}
    missing = project.run("--llm-trials=4")
    assert missing.outcomes == {"errors": 1}
    assert "not recorded for trial 4" in missing.text


def test_recording_again_keeps_the_requests_of_every_trial(project: Project) -> None:
    """As a judge's: what a trial asks depends on what it was answered."""
    asks = ASK.replace('"say hello").text', '"{word} " + llm.complete("say {word}").text).text')
    project.write(**{"test_a.py": asks.format(word="hello")})
    project.record("--llm-trials=3")
    project.write(**{"test_a.py": asks.format(word="bye")})
    again = project.record("--llm-trials=3", mode="all")
    assert again.records["test_ask"].fact("cassette")["recorded"] == 6
    replayed = project.run("--llm-trials=3")
    assert replayed.outcomes == {"passed": 1}
    facts = replayed.records["test_ask"].fact("cassette")
    assert (facts["replayed"], facts["stale"]) == (6, 0)
    assert b"hello" not in b"".join(project.cassettes().values())


def test_a_wide_fixture_is_recorded_once_for_all_trials(project: Project) -> None:
    text = """
import pytest

@pytest.fixture(scope="module")
def answer():
    import openai
    client = openai.OpenAI()
    reply = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    return reply.choices[0].message.content

@pytest.mark.llm_trials(3)
def test_a(answer):
    assert answer
"""
    project.write(**{"test_a.py": text})
    assert project.record("--llm-accept=anyway: x").outcomes == {"passed": 1}
    assert project.server.count == 1
    assert project.run().outcomes == {"passed": 1}


def test_a_skip_a_broken_fixture_and_an_xfail_end_as_they_do_once(project: Project) -> None:
    text = """
import pytest
from pytest_llmops import assert_contains

@pytest.fixture
def broken():
    raise RuntimeError("no database")

@pytest.mark.llm_trials(3)
def test_skip():
    pytest.skip("not today")

@pytest.mark.llm_trials(3)
def test_broken(broken):
    pass

@pytest.mark.llm_trials(3)
@pytest.mark.xfail
def test_xfail():
    assert_contains("a", "b")

@pytest.mark.llm_trials(3)
@pytest.mark.xfail(run=False)
def test_not_run():
    assert 0

@pytest.fixture
def expected():
    pytest.xfail("known")

@pytest.mark.llm_trials(3)
def test_xfail_in_fixture(expected):
    assert 0
"""
    project.write(**{"test_a.py": text})
    assert project.run().outcomes == {"skipped": 1, "errors": 1, "xfailed": 3}
    assert "INTERNALERROR" not in project.bare("--setup-only").text


SURROUNDINGS = """
import unittest
import pytest
from pytest_llmops import assert_contains

seen = []

class TestUnit(unittest.TestCase):
    def setUp(self):
        seen.append("unit")

    @pytest.mark.llm_trials(3)
    def test_a(self):
        assert_contains("yes", "yes")

    def test_z(self):
        assert seen.count("unit") == 4

@pytest.fixture(scope="class")
def wide():
    seen.append("class")

class TestClass:
    @pytest.mark.llm_trials(3)
    @pytest.mark.parametrize("text", ["a[b]::c", "ünï", "\x1b[31m"])
    def test_a(self, tmp_path, wide, text):
        (tmp_path / "x").touch(exist_ok=False)
        assert_contains("yes", "yes")

    def test_z(self):
        assert seen.count("class") == 1
"""


def test_classes_and_unittest_repeat_as_functions_do(project: Project) -> None:
    project.write(**{"test_a.py": SURROUNDINGS})
    result = project.run("--dist=loadfile")
    assert result.outcomes == {"passed": 6}
    assert {record.outcome for record in result.records.values()} == {"passed"}


def test_what_cannot_be_scored_is_an_error_not_a_failed_trial(project: Project) -> None:
    text = (
        COUNTING
        + """
def metric(actual, expected=None):
    return float("nan") if actual == "2" else 1.0

@pytest.mark.llm_trials(3)
def test_a(number):
    assert_score(metric, str(number), at_least=0.5)

@pytest.mark.llm_trials(3, pass_at_least=2)
def test_b(number):
    assert_score(metric, str(number - 3), at_least=0.5)
"""
    )
    project.write(**{"test_a.py": text})
    result = project.run()
    assert result.records["test_a"].outcome == "errored"
    assert "2 of 3 trials passed, 1 without a score: all must pass" in result.text
    assert result.records["test_b"].outcome == "passed"


def test_x_and_junit_see_one_test(project: Project) -> None:
    project.write(**{"test_a.py": ALTERNATING.format(arguments="4") + "\n\ndef test_z(number):\n    pass\n"})
    result = project.run("-x", "--junitxml=out.xml")
    assert result.outcomes == {"failed": 1}
    cases = list(ET.parse(project.path / "out.xml").iter("testcase"))
    assert [case.get("name") for case in cases] == ["test_a"]
    properties = {item.get("name"): item.get("value") for item in cases[0].iter("property")}
    assert properties["llm.metric.text.contains.score"] == "0.5"


def test_the_summary_gives_pass_at_k(project: Project) -> None:
    project.write(**{"test_a.py": ALTERNATING.format(arguments="4, pass_at_least=2")})
    result = project.run("--llm-accept=x", "-v")
    assert (
        "trials: 1 test with 4 trials, 50 % of the trials passed; pass@4 1.00 (any trial), pass^4 0.00 (all trials)"
        in result.text
    )


def test_a_teardown_that_fails_after_the_trials_is_reported(project: Project) -> None:
    text = """
import pytest

@pytest.fixture(scope="module")
def wide():
    yield
    raise RuntimeError("cannot close")

@pytest.mark.llm_trials(2)
def test_a(wide):
    pass
"""
    project.write(**{"test_a.py": text})
    result = project.run()
    assert result.outcomes == {"passed": 1, "errors": 1}
    assert "cannot close" in result.text


def test_a_test_without_trials_is_left_to_other_plugins(project: Project) -> None:
    """A plugin that repeats failed tests implements this hook."""
    text = """
import pytest
from pytest_llmops import assert_contains

@pytest.mark.llm_trials(2)
def test_trials():
    pass

def test_once(llm_calls):
    assert_contains("yes", "yes")
"""
    hook = "def pytest_runtest_protocol(item):\n    print('left to others:', item.name)\n"
    project.write(**{"test_a.py": text, "conftest.py": hook})
    result = project.run("-s")
    assert "left to others: test_once" in result.text
    assert "left to others: test_trials" not in result.text
    assert result.records["test_once"].measurements


def test_reruns_of_a_test_with_trials_are_reported_as_ignored(project: Project) -> None:
    flaky = "import pytest\n" + ASK.replace("def test", "@pytest.mark.flaky\ndef test")
    project.write(**{"test_a.py": flaky, "pytest.ini": f"{INI}markers = flaky\n"})
    result = project.record("--llm-trials=2")
    assert "trials: 1 test with trials run without --reruns and @flaky" in "\n".join(result.run.notes)
    assert "--reruns" not in "\n".join(project.record().run.notes)


def test_the_command_of_a_miss_has_the_trials(project: Project) -> None:
    project.write(**{"test_a.py": ASK})
    project.record("--llm-trials=2")
    missing = project.run("--llm-trials=3")
    assert "is not recorded for trial 3" in missing.text
    assert "recorded  for trial 1, 2" in missing.text
    assert "--llm-trials=3 --llm-record=new" in missing.text
