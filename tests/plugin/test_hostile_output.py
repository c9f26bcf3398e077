"""An application's texts are printed in every place that a run has, and no line of it is a command."""

from __future__ import annotations

import json
import re

import pytest
from support.project import Project
from support.sample_run import HOSTILE_OUTPUT, everywhere

from pytest_llmops.measurement import escape_output
from pytest_llmops.reports.ci_formats import junit_properties
from pytest_llmops.reports.terminal import build_section

COMMAND = re.compile(
    r"^\s*::(?!\w+\[)|##\[|##vso\[|##teamcity\[|section_(?:start|end):|[\x00-\x08\x0b-\x1f\x7f-\x9f\u115f\u2028-\u202e\u2060-\u206f]"
    r"|[\ufe01\U000e0000-\U000e0fff]|[\u200c\u200d]{3}",
    re.MULTILINE,
)
TESTS = r"""
import json, logging, pathlib, sys, warnings
import pytest
from pytest_llmops import assert_contains, assert_score, soft

TEXTS = json.loads((pathlib.Path(__file__).parent / "texts.json").read_text(encoding="utf-8"))
ALL = "\n".join(TEXTS)
pytestmark = pytest.mark.llm_cassette

@pytest.fixture
def broken():
    raise LookupError(ALL)

def test_assert():
    answer = ALL
    assert answer == "x"

def test_error():
    raise ValueError(ALL)

def test_chain():
    try:
        raise KeyError(ALL)
    except KeyError as error:
        raise ExceptionGroup(ALL, [ValueError(ALL)]) from error

def test_fail():
    pytest.fail(ALL, pytrace=False)

def test_contains():
    assert_contains(ALL, "a fact that is not there", label=ALL)

def test_expected():
    assert_contains("an answer", ALL)

def test_soft():
    with soft():
        assert_contains(ALL, "a")
        assert_score(lambda actual, expected: 0.0, ALL, ALL, at_least=0.5, name=ALL)

@pytest.mark.xfail(reason=ALL)
def test_xfail():
    raise ValueError(ALL)

def test_skip():
    pytest.skip(ALL)

def test_output():
    print(ALL)
    print(ALL, file=sys.stderr)
    logging.getLogger("app").warning(ALL)
    assert 0

def test_property(record_property):
    record_property("answer", ALL)

def test_setup(broken):
    pass

def test_cut():
    raise ValueError(ALL[:5000])

@pytest.mark.cases("cases.jsonl")
def test_case(case):
    assert_contains(case.input, "nothing of the kind")

@pytest.mark.parametrize("text", TEXTS)
def test_parameter(text):
    assert_contains(text, "nothing of the kind")
"""


def test_nothing_that_a_run_prints_or_writes_is_a_command(project: Project) -> None:
    texts = [text.replace("\ud800", "") for text in HOSTILE_OUTPUT]
    assert len(set(texts)) >= 120
    cases = [
        {"id": f"{number} {' '.join(text.split())}"[:150], "input": text} for number, text in enumerate(texts)
    ]
    cases = [
        {
            **case,
            "id": "".join(char for char in case["id"] if char.isprintable() and char not in "[]/\\:").strip(),
        }
        for case in cases
    ]
    project.write(
        **{
            "texts.json": json.dumps(texts),
            "cases.jsonl": "\n".join(map(json.dumps, cases)),
            "test_hostile.py": TESTS,
        }
    )
    result = project.run(
        "-rA", "-v", "-l", "--junitxml=report.xml", "-o", "junit_logging=all", "--log-file=log.txt", "--log-cli-level=DEBUG", "-W", "ignore",
        "--llm-report=report.json",
    )  # fmt: skip
    assert result.outcomes.get("failed", 0) >= 2 * len(texts) + 9, result.text[-2000:]
    lines = [line for line in result.text.split("\n") if COMMAND.search(line)]
    assert not lines, "\n".join(map(repr, lines[:20]))
    for name in ("report.xml", "log.txt", "report.json"):
        text = (project.path / name).read_text(encoding="utf-8")
        results = [line for line in text.split("\n") if COMMAND.search(line)]
        assert not results, f"{name}: " + "\n".join(map(repr, results[:20]))


@pytest.mark.parametrize("number", range(len(HOSTILE_OUTPUT)))
def test_no_report_of_a_hostile_run_holds_a_command(number: int) -> None:
    run = everywhere(HOSTILE_OUTPUT[number])
    lines = [line.text for line in build_section(run, verbosity=2, ascii=False, width=100).lines]
    lines += [part for record in run.records for pair in junit_properties(record) for part in pair]
    assert not [line for line in lines if COMMAND.search(line)]
    assert not [line for line in run.to_json().split("\n") if COMMAND.search(json.dumps(line))]


def test_an_escaped_text_stays_as_it_is_and_may_be_escaped_again() -> None:
    for text in HOSTILE_OUTPUT:
        once = escape_output(text)
        assert escape_output(once) == once
        assert not COMMAND.search(once.replace("\ud800", ""))
    plain = "E   assert 'a::b' == ' ## [x]'\n\tétape \N{THUMBS UP SIGN}\u200d"
    assert escape_output(plain) == plain
