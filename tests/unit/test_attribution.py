"""Which half did badly, and where the reports say so."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from support.page import read_data

from pytest_llmops.measurement import Measurement
from pytest_llmops.reports import ci_formats, html, terminal
from pytest_llmops.results.run import Outcome, Run, TestRecord, attribute_failure
from pytest_llmops.results.summary import summarize_run


def measured(name: str, status: str) -> Measurement:
    given: dict[str, dict[str, Any]] = {
        "passed": {"value": 0.9, "threshold": 0.8},
        "failed": {"value": 0.2, "threshold": 0.8},
        "recorded": {"value": 0.2},
        "errored": {"error": "could not be asked"},
    }
    return Measurement(name=name, **given[status])


def attribute_statuses(**statuses: str) -> str | None:
    result = attribute_failure(measured(name.replace("__", "."), status) for name, status in statuses.items())
    return None if result is None else result.status_words


@pytest.mark.parametrize(
    ("statuses", "sentence"),
    [
        ({"retrieval__recall@5": "passed", "semantic": "failed"}, "retrieval good, generation bad"),
        (
            {"retrieval__context_relevance": "failed", "text__contains": "passed"},
            "retrieval bad, generation good",
        ),
        ({"retrieval__mrr": "failed", "judge__quality": "failed"}, "retrieval bad, generation bad"),
        ({"retrieval__mrr": "passed", "schema": "passed"}, "retrieval good, generation good"),
        # The worst of each half speaks for it.
        (
            {
                "retrieval__mrr": "passed",
                "retrieval__recall": "failed",
                "grounding__supported": "passed",
                "semantic__checks": "failed",
            },
            "retrieval bad, generation bad",
        ),
        # A test that ends with its retrieval has no answer.
        ({"retrieval__mrr": "failed"}, "retrieval bad, generation not judged"),
        (
            {"retrieval__mrr": "passed", "grounding__supported": "errored"},
            "retrieval good, generation not judged",
        ),
        ({"retrieval__mrr": "recorded", "score__words": "failed"}, "retrieval not judged, generation bad"),
        # No retrieval, or no verdict at all: nothing to tell apart.
        ({"retrieval__mrr": "passed"}, None),
        ({"semantic": "failed"}, None),
        ({"retrieval__latency": "failed", "semantic": "failed"}, None),
        ({"retrieval__mrr": "recorded", "semantic": "recorded"}, None),
        ({"retrieval__mrr": "passed", "chunks__lost": "failed", "index__age": "failed"}, None),
        ({}, None),
    ],
)
def test_both_halves(statuses: dict[str, str], sentence: str | None) -> None:
    assert attribute_statuses(**statuses) == sentence


def record(name: str, outcome: Outcome, *measurements: Measurement) -> TestRecord:
    return TestRecord(nodeid=f"test_rag.py::{name}", outcome=outcome, measurements=measurements)


@pytest.fixture
def run() -> Run:
    good, bad = measured("retrieval.recall@5", "passed"), measured("retrieval.recall@5", "failed")
    wrong, right = measured("grounding.supported", "failed"), measured("grounding.supported", "passed")
    return Run(
        records=(
            record("test_<b>one", "failed", good, wrong),
            record("test_two", "failed", good, wrong),
            record("test_three", "failed", bad),
            record("test_four", "passed", good, right),
            record("test_five", "failed", measured("semantic", "failed")),
        )
    )


def test_the_run_counts_what_did_badly(run: Run) -> None:
    assert summarize_run(run).blamed == {
        "retrieval good, generation bad": 2,
        "retrieval bad, generation not judged": 1,
    }


def test_the_terminal_says_where_to_look_first(run: Run) -> None:
    lines = [line for line in terminal.build_section(run).lines if line.text.startswith("blame")]
    assert [line.style for line in lines] == ["red"]
    assert lines[0].text == "blame     2 tests: retrieval good, generation bad; 1 test: retrieval bad,"
    fine = Run(records=run.records[3:])
    assert not [line for line in terminal.build_section(fine).lines if "blame" in line.text]


def test_the_page_says_it_of_the_run_and_of_each_test(run: Run) -> None:
    page = read_data(html.render_html(run))
    assert {"text": "retrieval good, generation bad", "note": "in 2 tests", "lines": []} in page["causes"][
        "items"
    ]
    assert Counter(case.get("blame") for case in page["cases"]) == {
        "retrieval good, generation bad": 2,
        "retrieval bad, generation not judged": 1,
        None: len(run.records) - 3,
    }


def test_it_is_a_property_of_the_junit_file(run: Run) -> None:
    result = [dict(ci_formats.junit_properties(record)).get("llm.blame") for record in run.records]
    sentence = "retrieval good, generation bad"
    assert result == [sentence, sentence, "retrieval bad, generation not judged", None, None]
