"""What is measured reaches the reports: in every phase, and outside pytest."""

from __future__ import annotations

import re
import subprocess
import sys

from support.messages import check_message
from support.project import Project

from pytest_llmops import assert_contains

PHASES = """
import pytest
from pytest_llmops import Measurement, emit, soft, collect

@pytest.fixture
def resource():
    emit(Measurement(name="setup", value=1))
    yield
    emit(Measurement(name="teardown", value=3))

@pytest.mark.parametrize("n", range(4))
def test_phases(resource, n):
    emit(Measurement(name="call", value=n / 4, label="x", detail={"actual": "text"}))

def test_soft():
    with soft():
        emit(Measurement(name="a", value=0.1, threshold=0.5))
        emit(Measurement(name="b", value=0.2, threshold=0.5))
        emit(Measurement(name="c", value=0.9, threshold=0.5))

def test_collect():
    with collect() as measurements:
        emit(Measurement(name="hidden", value=0.1, threshold=0.5))
    assert measurements[0].status == "failed"

def test_unscored():
    emit(Measurement(name="judge.x", error="no verdict after 2 tries"))

def test_nothing():
    pass
"""


def test_what_every_phase_measures_is_in_the_record(project: Project) -> None:
    project.write(**{"test_a.py": PHASES})
    measurements = project.run().records["test_phases[2]"].measurements
    assert [measurement.name for measurement in measurements] == ["setup", "call", "teardown"]
    assert measurements[1].detail == {"actual": "text"}


def test_soft_lists_all_failures_in_one(project: Project) -> None:
    project.write(**{"test_a.py": PHASES})
    result = project.run("-k", "soft")
    record = result.records["test_soft"]
    assert record.outcome == "failed"
    assert "contextlib" not in result.text
    assert re.search(r"^test_a\.py:\d+: MeasurementFailed", result.text, re.MULTILINE)
    check_message(record.message)
    assert "1. a 0.10 < 0.50" in record.message
    assert "2. b 0.20 < 0.50" in record.message
    assert [m.status for m in record.measurements] == ["failed", "failed", "passed"]


def test_collect_keeps_to_itself(project: Project) -> None:
    project.write(**{"test_a.py": PHASES})
    assert "test_collect" not in project.run("-k", "collect").records


def test_what_could_not_be_scored_is_an_error_not_a_failure(project: Project) -> None:
    project.write(**{"test_a.py": PHASES})
    result = project.run("-k", "unscored")
    assert result.outcomes == {"errors": 1}
    assert result.exit == 1
    record = result.records["test_unscored"]
    assert record.outcome == "errored"
    assert "judge.x" in record.message
    check_message(record.message)
    assert "UNSCORED test_a.py::test_unscored" in result.text


def test_a_test_that_measures_nothing_is_in_no_report(project: Project) -> None:
    project.write(**{"test_a.py": PHASES})
    assert "test_nothing" not in project.run().records


def test_the_failure_is_verdict_evidence_origin_rerun_without_our_frames(project: Project) -> None:
    project.write(
        **{
            "test_a.py": """
from pytest_llmops import assert_contains

def helper(answer):
    assert_contains(answer, "Paris")

def test_a(llm):
    helper(llm.complete("capital of France").text)
"""
        }
    )
    project.record()
    result = project.run()
    lines = result.records["test_a"].message.splitlines()
    assert lines[0] == "MeasurementFailed: text.contains 0.00 < 1.00 [LLM-THRESHOLD]"
    labels = [line.split()[0] for line in lines[1:]]
    assert labels[-2:] == ["from", "rerun"]
    assert "stub-1, 10 tok" in lines[-2]
    assert "(replayed)" in lines[-2]
    assert "cassettes/test_a/test_a.json" in lines[-2]
    assert lines[-1].endswith("pytest test_a.py::test_a")
    assert "test_a.py:5: MeasurementFailed" in result.text
    assert "pytest_llmops/" not in result.text
    assert "__tracebackhide__" not in result.text


def test_hostile_text_cannot_start_a_line_nor_steer_the_terminal(project: Project) -> None:
    project.write(
        **{
            "test_a.py": r"""
from pytest_llmops import assert_exact

def test_a():
    assert_exact("\x1b[31mred\n::error::x\x00\ud800</script>", "other")
"""
        }
    )
    result = project.run("--junitxml=j.xml", "--llm-report=r.html")
    message = result.records["test_a"].message
    assert "\x1b" not in message
    assert "\n::error" not in message
    assert result.exit == 1
    assert (project.path / "j.xml").read_text(encoding="utf-8")
    assert "</script>other" not in (project.path / "r.html").read_text(encoding="utf-8")


ANSWERS = {
    "None": "None",
    "empty": "''",
    "one megabyte": "'x ' * 500_000",
    "NUL": r"'a\x00b'",
    "ANSI": r"'\x1b[1mbold'",
    "lone surrogate": r"'a\ud800b'",
    "script": "'</script><img src=x onerror=alert(1)>'",
    "no JSON": "'I would rather not.'",
}


def test_odd_answers_end_in_a_verdict_or_an_error_in_every_assertion(project: Project) -> None:
    """With workers: what is odd has to pass from one process to the other, too."""
    answers = ", ".join(f"{name!r}: {source}" for name, source in ANSWERS.items())
    project.write(
        **{
            "test_a.py": f"""
import pytest
from pytest_llmops import *
ANSWERS = {{{answers}}}
CHECKS = {{
    "contains": lambda answer: assert_contains(answer, "expected"),
    "exact": lambda answer: assert_exact(answer, "expected"),
    "matches": lambda answer: assert_matches(answer, "expected"),
    "fuzzy": lambda answer: assert_fuzzy(answer[:2000] if answer else answer, "expected words", at_least=0.9),
    # Ten thousand tokens are many windows of the model; of half a million it has too much to compute.
    "semantic": lambda answer: assert_semantic(answer[:20_000] if answer else answer, "expected words", at_least=0.9),
    "schema": lambda answer: assert_schema(answer, {{"type": "object"}}),
}}
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", ANSWERS)
def test_a(name, check):
    CHECKS[check](ANSWERS[name])
"""
        }
    )
    result = project.run("--junitxml=j.xml", "--llm-report=r.html", workers=2)
    assert len(result.run.records) == 6 * len(ANSWERS)
    for name, record in result.records.items():
        assert record.outcome == ("errored" if name.startswith("test_a[None-") else "failed"), name
        assert len(record.message) < 4000
        assert all(char.isprintable() or char == "\n" for char in record.message)
    assert "<img src=x" not in (project.path / "r.html").read_text(encoding="utf-8")


def test_assertions_work_in_a_plain_script(tmp_path: object) -> None:
    script = """
from pytest_llmops import MeasurementFailed, assert_contains, assert_exact, assert_schema, assert_semantic, soft
assert assert_contains("Paris is nice", "Paris").value == 1.0
assert assert_schema('{"a": 1}', {"type": "object", "required": ["a"]}).status == "passed"
assert assert_semantic("the cat sat", "the cat sat", at_least=0.9).value > 0.99
try:
    with soft():
        assert_exact("a", "b")
        assert_contains("a", "c")
except MeasurementFailed as error:
    assert len(error.measurements) == 2
    print("raised once")
import sys
assert "pytest" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "raised once", "")


def test_a_wide_fixture_of_a_foreign_test_starts_nothing_of_ours(project: Project) -> None:
    project.write(
        **{
            "test_a.py": """
import pytest
from pytest_llmops import recorder
@pytest.fixture(scope="session")
def index(): return 1
def test_foreign(index): assert recorder._stack == []
@pytest.mark.llm_cassette
def test_ours(): assert len(recorder._stack) == 1
"""
        }
    )
    assert project.run().outcomes == {"passed": 2}


def test_a_run_within_a_test_that_has_measured_has_records_of_its_own(project: Project) -> None:
    assert_contains("around", "around")
    project.write(
        **{
            "test_a.py": "from pytest_llmops import assert_contains\ndef test_a(): assert_contains('a', 'a')\n"
        }
    )
    assert [measured.name for measured in project.run().records["test_a"].measurements] == ["text.contains"]
