"""What the reports list of a run with --llm-faults, also where its texts are foreign or its run file is damaged."""

from __future__ import annotations

import pytest
from support.sample_run import HOSTILE

from pytest_llmops.measurement import Json
from pytest_llmops.reports.headline import build_headline
from pytest_llmops.reports.html import build_page, render_html
from pytest_llmops.reports.markdown import render_markdown
from pytest_llmops.reports.terminal import build_section
from pytest_llmops.results.fault_survey import LOST, STATUSES, UNKNOWN, read_survey
from pytest_llmops.results.run import Run, TestRecord


def make_run(*ends: dict[str, Json], nodeid: str = "test_a.py::test_a") -> Run:
    facts: dict[str, Json] = {"faults": {"ends": [*ends]}}
    return Run(records=(TestRecord(nodeid=nodeid, facts=facts),))


def test_only_what_was_judged_counts() -> None:
    ends: list[dict[str, Json]] = [{"kind": status, "status": status} for status in STATUSES]
    run = make_run(*ends)
    survey = read_survey(run.records)
    assert survey is not None
    assert (survey.survived, survey.judged) == (1, 1 + len(LOST))
    assert survey.count(*UNKNOWN) == 3
    assert [kind.counted for kind in survey.kinds] == ["1 of 1", *["0 of 1"] * 3, *["not judged"] * 3]


def test_faults_of_models_come_before_those_of_tools() -> None:
    first: dict[str, Json] = {"kind": "empty", "on": "tool", "status": "hung"}
    second: dict[str, Json] = {"kind": "empty", "status": "survived"}
    survey = read_survey(make_run(first, second).records)
    assert survey is not None
    assert [kind.label for kind in survey.kinds] == ["empty", "empty (tool)"]


def test_an_ordinary_run_has_no_survey() -> None:
    run = Run(records=(TestRecord(nodeid="t"),))
    assert read_survey(run.records) is None
    assert build_page(run)["faults"]["count"] == 0
    assert "Faults" not in render_markdown(run)


def test_the_next_step_records_only_what_is_missing() -> None:
    missing: dict[str, Json] = {
        "kind": "empty",
        "status": "not recorded",
        "record": "pytest t --llm-faults=empty",
    }
    run = make_run({"kind": "cut", "status": "survived"}, missing)
    assert build_headline(run).command == "pytest --llm-faults=empty --llm-record=new"
    nothing = Run(records=(TestRecord(nodeid="t", facts={"faults": {"ends": [], "record": "pytest t"}}),))
    assert build_headline(nothing).command == "pytest --llm-record=new"
    assert build_headline(nothing).sentence.startswith("No fault came: 1 test has no recorded call")
    assert build_headline(make_run({"kind": "cut", "status": "survived"})).command == ""


def test_a_long_list_names_the_first_and_counts_the_rest() -> None:
    facts: dict[str, Json] = {"faults": {"ends": [{"kind": "cut", "status": "gave up"}]}}
    records = tuple(TestRecord(nodeid=f"t.py::test_{place}", facts=facts) for place in range(5))
    survey = read_survey(records)
    assert survey is not None
    (kind,) = survey.kinds
    for width in (60, 200):
        lines = " ".join(
            line.text for line in build_section(Run(records=records), verbosity=0, width=width).lines
        )
        assert all(f"test_{place} (gave up)" in lines for place in range(5)), "the terminal names all"
    short = [line.text.strip() for line in build_section(Run(records=records), verbosity=-1, width=80).lines]
    assert "faults    5 gave up" in short
    assert kind.describe() == "test_0 (gave up), test_1 (gave up), test_2 (gave up), 2 more"


@pytest.mark.slow
@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_texts_do_no_harm(text: str) -> None:
    end: dict[str, Json] = {
        "kind": text,
        "on": text,
        "status": "not recorded",
        "why": text,
        "record": f"--llm-faults={text}",
    }
    run = Run.from_json(make_run(end, nodeid=f"test_a.py::{text}").to_json())
    for verbosity in (0, 1):
        lines = [line.text for line in build_section(run, verbosity=verbosity, width=80).lines]
        assert all(line.isprintable() for line in lines), lines
    assert build_headline(run).command == "pytest --llm-faults=all --llm-record=new"
    (row,) = [line for line in render_markdown(run).splitlines() if line.startswith("| `")]
    assert row.count("|") - row.count("\\|") == 4
    assert text not in render_html(run) or not text.startswith("<")


@pytest.mark.parametrize(
    "damaged", [None, 3, "x", [], {"ends": 3}, {"ends": ["x", 4, None]}, {"ends": [{"kind": 3, "why": []}]}]
)
def test_a_damaged_fact_is_read_as_far_as_it_goes(damaged: Json) -> None:
    run = Run(records=(TestRecord(nodeid="t", facts={"faults": damaged}),))
    assert build_section(run).lines
    assert render_markdown(run)
    assert build_page(run)["faults"]["sentence"]
