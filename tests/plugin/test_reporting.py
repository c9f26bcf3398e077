"""Terminal, HTML, JSON and JUnit, as a user gets them from one run; and silence where nothing is ours."""

from __future__ import annotations

import gzip
import json
import os
from xml.etree import ElementTree as ET

import pytest
from junitparser import JUnitXml
from support.messages import check_message
from support.page import read_texts
from support.project import INI, Project

from pytest_llmops.semantics.checks import CHECKS

FILES = {
    "prompts/greet/v1.md": "---\nvariables: [name]\n---\nSay hello to {{ name }}.",
    "prompts/greet/v2.md": "---\nvariables: [name]\n---\nSay a warm hello to {{ name }}.",
    "cases.jsonl": '{"id": "ann", "input": "Ann"}\n{"id": "bob", "input": "Bob"}\n',
    "test_a.py": """
import pytest
from pytest_llmops import assert_contains

@pytest.mark.prompt("greet", versions=["v1", "v2"])
@pytest.mark.cases("cases.jsonl")
def test_greet(prompt, case, llm):
    answer = llm.complete(prompt.render(name=case.input)).text
    assert_contains(answer, "warm", at_least=None)
    assert_contains(answer, "Ann", label="name")
""",
}


@pytest.fixture
def recorded(project: Project) -> Project:
    project.write(**FILES)
    project.record()
    return project


def test_with_v_the_section_shows_scores_versions_tokens_and_cassettes(recorded: Project) -> None:
    result = recorded.run("-v")
    text = result.text
    assert "= LLM regression: FAIL =" in text
    assert "2 failed, 2 passed" in text
    assert "prompt greet" in text
    assert "4 replayed" in text
    assert "28 in, 12 out" in text
    check_message(result.line("cassettes "))
    assert "$0.00" not in text
    plain = recorded.run().text
    for words in ("prompt greet", "4 replayed", "28 in, 12 out", "\ntokens ", "\ncassettes "):
        assert words in text
        assert words not in plain


def test_quiet_keeps_the_verdict_and_the_next_step_and_very_quiet_nothing(recorded: Project) -> None:
    quiet = recorded.run("-q", "--llm-report=r.json").text
    assert "LLM regression" not in quiet
    assert quiet.splitlines()[-4:-1] == [
        "FAIL      2 of 4 tests failed.",
        "next      Fix them and run them again:",
        "          pytest 'test_a.py::test_greet[v1-bob]' 'test_a.py::test_greet[v2-bob]'",
    ]
    assert "FAIL  " not in recorded.run("-qq").text
    assert "LLM regression" not in recorded.run("--no-summary").text


def test_the_summary_in_ascii_where_the_terminal_speaks_no_more(
    recorded: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    monkeypatch.setenv("PYTHONUTF8", "0")
    done = recorded.pytester.runpytest_subprocess("-v")
    summary = done.stdout.str().partition("LLM regression")[2]
    assert summary.isascii()
    assert "metric" in summary


def test_reports_are_written_and_their_paths_printed(recorded: Project) -> None:
    result = recorded.run(
        "--llm-report=out/r.html", "--llm-report=out/r.html", "--llm-report=out/r.json", "--junitxml=j.xml"
    )
    for name in ("out/r.html", "out/r.json", "j.xml"):
        assert name in result.text
        assert (recorded.path / name).stat().st_size > 0
    assert "Content-Security-Policy" in (recorded.path / "out/r.html").read_text(encoding="utf-8")
    document = json.loads((recorded.path / "out/r.json").read_text(encoding="utf-8"))
    assert document["schema"] == "pytest-llmops/run/2"
    assert document["meta"]["settings"]["record"] == "none"


def test_a_compressed_run_file_holds_the_run(recorded: Project) -> None:
    result = recorded.run("--llm-report=r.json.gz")
    assert "r.json.gz" in result.text
    document = json.loads(gzip.decompress((recorded.path / "r.json.gz").read_bytes()))
    assert len(document["records"]) == len(result.run.records)


def test_a_report_that_cannot_be_written_is_named(recorded: Project) -> None:
    recorded.write(blocked="a file")
    result = recorded.run("--llm-report=blocked/r.html", "-k", "ann")
    assert result.exit == 1
    check_message(result.line("blocked/r.html: "))


def test_junit_carries_scores_once_and_without_warnings(recorded: Project) -> None:
    recorded.run("--junitxml=j.xml")
    suites = JUnitXml.fromfile(str(recorded.path / "j.xml"))
    assert sum(len(list(suite)) for suite in suites) == 4
    tree = ET.parse(recorded.path / "j.xml")
    pairs = [
        (item.attrib["name"], item.attrib["value"])
        for item in tree.findall(".//testcase[@name='test_greet[v2-bob]']/properties/property")
    ]
    names, values = [name for name, _ in pairs], dict(pairs)
    assert len(names) == len(set(names))
    assert values["llm.outcome"] == "failed"
    assert values["llm.prompt"] == "greet"
    assert values["llm.prompt_version"] == "v2"
    assert float(values["llm.metric.text.contains[name].score"]) == 0.0
    assert values["llm.tokens_in"] == "7"


def test_junit_failure_message_starts_with_the_verdict(recorded: Project) -> None:
    recorded.run("--junitxml=j.xml", "-k", "v2-bob")
    failure = ET.parse(recorded.path / "j.xml").find(".//failure")
    assert failure is not None
    message = failure.attrib["message"]
    assert message.startswith("MeasurementFailed: text.contains")
    assert len(message) <= 500


def test_junit_properties_can_be_switched_off(recorded: Project) -> None:
    recorded.run("--junitxml=j.xml", "-o", "llm_junit_properties=false")
    assert "llm." not in (recorded.path / "j.xml").read_text(encoding="utf-8").partition("<failure")[0]


def test_run_finished_hook_gets_the_run(recorded: Project) -> None:
    recorded.write(
        **{
            "conftest.py": """
def pytest_llmops_run_finished(config, run):
    print("HOOK", len(run.records), run.count("failed"))
"""
        }
    )
    assert "HOOK 4 2" in recorded.run("-s").text


def test_a_run_that_uses_nothing_of_ours_says_and_leaves_nothing(project: Project, workers: int) -> None:
    ini = "".join(line for line in INI.splitlines(keepends=True) if not line.startswith("llm_"))
    project.write(**{"test_plain.py": "def test_plain():\n    assert True\n", "pytest.ini": ini})
    more = ["-n", str(workers)] if workers else []
    done = project.pytester.runpytest_inprocess("-p", "no:cacheprovider", *more)
    assert done.parseoutcomes() == {"passed": 1}
    assert "llm" not in done.stdout.str().lower().replace("plugins: ", "").replace("llmops-", "")
    left = {path.name for path in project.path.iterdir()}
    assert left - {"__pycache__"} == {"pytest.ini", "test_plain.py"}


def test_an_empty_run_still_writes_its_reports(project: Project) -> None:
    project.write(**{"test_plain.py": "def test_plain():\n    assert True\n"})
    result = project.run("--llm-report=r.html")
    assert result.exit == 0
    assert (project.path / "r.html").exists()


def test_the_command_in_the_report_holds_no_secret(
    recorded: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_KEY", "very-secret-value-123")
    result = recorded.run("-k", "very-secret-value-123 or ann")
    assert "very-secret" not in str(result.run.meta["command"])
    assert os.environ["MY_API_KEY"]


def test_checks_that_did_not_run_are_reported_on_passing_tests(project: Project) -> None:
    project.write(
        **{
            "test_a.py": """
import pytest
from pytest_llmops import assert_semantic

@pytest.mark.parametrize("number", [1, 2])
def test_german(number):
    assert_semantic("Der Betrag wird immer erstattet.", "Der Betrag wird erstattet.", embedder="tfidf", at_least=0.1)
"""
        }
    )
    result = project.run("--llm-report=run.html", "--llm-report=run.json")
    of_any_language = (
        "numbers",
        "units",
        "dates",
        "identifiers",
        "polarity",
    )  # the last one needs a question
    missing = ", ".join(("number words", *(check for check in CHECKS if check not in of_any_language)))
    note = f"no check for {missing} in this language (looks like German)"
    assert result.run.notes == (f"2 tests: semantic.checks: {note}",)
    assert f"2 tests: semantic.checks: {note[:20]}" in result.text
    assert f"2 tests: semantic.checks: {note}" in read_texts(
        (project.path / "run.html").read_text(encoding="utf-8")
    )
    assert note in json.loads((project.path / "run.json").read_text(encoding="utf-8"))["notes"][0]
