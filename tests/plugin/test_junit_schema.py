"""JUnit files of a run against Jenkins' schema, and what breaks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from support.project import Project

from pytest_llmops.cli import main

TESTS = """
import pytest
from pytest_llmops import assert_contains, assert_score

@pytest.mark.llm_cassette
def test_passes():
    assert_contains("a b", "a")

def test_fails():
    assert_contains("a \\x1b[31m b ::error::", "c")

def test_cannot_be_scored():
    assert_score(lambda actual, expected: float("nan"), "a", "b", at_least=0.5, name="own.score")

def test_raises():
    raise ValueError("<![CDATA[ ]]> \\x00")

@pytest.mark.judge
def test_skipped():
    pass

@pytest.mark.xfail(reason="known")
def test_xfail():
    assert_contains("a", "b")
"""
pytestmark = pytest.mark.shared_data


def schema(shared_data: Path) -> Any:
    etree = pytest.importorskip("lxml.etree")
    return etree.XMLSchema(etree.parse(str(shared_data / "junit" / "jenkins-junit-10.xsd")))


def test_without_properties_the_file_is_valid(project: Project, shared_data: Path) -> None:
    etree = pytest.importorskip("lxml.etree")
    project.write(**{"test_own.py": TESTS})
    result = project.run(
        "--junitxml=report.xml",
        "-o",
        "llm_junit_properties=false",
        "-o",
        "junit_logging=all",
    )
    assert result.outcomes["failed"] == 2, result.text
    document = etree.parse(str(project.path / "report.xml"))
    checked = schema(shared_data)
    assert checked.validate(document), checked.error_log
    assert len(document.findall(".//testcase")) == 6


def test_a_file_made_of_the_run_counts_as_pytest_does(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "@pytest.fixture\ndef broken():\n    raise ValueError('b')\n\ndef test_setup(broken, llm):\n    pass\n"
    project.write(**{"test_own.py": f"{TESTS}\n{broken}"})
    project.run("--junitxml=report.xml", "--llm-report=run.json")
    monkeypatch.chdir(project.path)
    assert main(["report", "run.json", "-o", "made.xml"]) == 0
    (own,), (made,) = (ET.parse(project.path / name).getroot() for name in ("report.xml", "made.xml"))
    outcomes = {case.get("name"): [part.tag for part in case if part.tag != "properties"] for case in own}
    assert [outcomes[name] for name in ("test_cannot_be_scored", "test_setup")] == [["failure"], ["error"]]
    for case in made:  # tests without anything of ours are in pytest's alone
        assert outcomes[case.get("name")] == [part.tag for part in case if part.tag != "properties"]
    assert {"test_cannot_be_scored", "test_setup"} <= {case.get("name") for case in made}


def test_with_properties_it_is_not(project: Project, shared_data: Path) -> None:
    etree = pytest.importorskip("lxml.etree")
    project.write(**{"test_own.py": TESTS})
    project.run("--junitxml=report.xml")
    checked = schema(shared_data)
    assert not checked.validate(etree.parse(str(project.path / "report.xml")))
    assert {error.message.partition(":")[0] for error in checked.error_log} == {"Element 'properties'"}
