"""Which tools were reached and which confused, out of the records of a run."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmops.measurement import Measurement
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.summary import summarize_run
from pytest_llmops.results.tool_choices import (
    CatalogueUse,
    iter_refused_name_notes,
    keep_calls_of_trials,
    list_tool_facts,
    summarize_tool_choices,
)

TOOLS = ["refund", "cancel_order", "track"]


def make_record(*detail: dict[str, Any], catalogue: str = "all", **facts: Any) -> TestRecord:
    measurements = [Measurement(name="tools.calls", value=1.0, detail=entry) for entry in detail]
    tools = {"catalogue": catalogue, "tools": TOOLS, "decoys": ["ping"]}
    return TestRecord(
        nodeid=f"t.py::test[{catalogue}]", measurements=tuple(measurements), facts={"tools": tools, **facts}
    )


def summarize(*detail: dict[str, Any]) -> CatalogueUse:
    (use,) = summarize_tool_choices([make_record(*detail)])
    return use


@pytest.mark.parametrize(
    ("expected", "made", "confusions"),
    [
        (["refund"], ["refund"], []),
        (["refund"], ["track", "refund"], []),  # looked something up on the way
        (["refund"], ["track"], ["track for refund once"]),
        (["refund"], [], ["no tool for refund once"]),
        ([], ["refund", "refund"], ["refund for no tool once"]),
        ([], [], []),
        (["refund", "track"], ["refund", "ping"], ["ping for track once"]),
        (["refund(order_id='B-77')"], ["track"], ["track for refund once"]),
        (["ref*"], ["refund"], []),
        (["refund", "refund"], ["refund", "track"], ["track for refund 1 time of 2"]),
    ],
)
def test_a_confusion_is_what_was_called_in_place(
    expected: list[str], made: list[str], confusions: list[str]
) -> None:
    use = summarize({"expected": expected, "made": made})
    assert [str(pair) for pair in use.confusions] == confusions


def test_coverage_tells_gaps_of_questions_from_gaps_of_answers() -> None:
    use = summarize(
        {"expected": ["refund"], "made": ["refund"]},
        {"expected": ["cancel_order"], "made": ["refund", "ping"]},
    )
    assert (use.unexpected, use.never_called, use.reached, use.questions) == (
        ("track",),
        ("cancel_order",),
        1,
        2,
    )
    assert use.decoys_called == {"ping": 1}
    assert summarize({"made": ["refund"]}).questions == 0
    assert list_tool_facts([use], 1) == [
        ("tools", "all: 1 of 3 tools reached; no question for track; never called: cancel_order"),
        ("confused", "all: refund for cancel_order once"),
    ]


def test_a_question_without_a_score_is_no_gap() -> None:
    facts = {"catalogue": "all", "tools": TOOLS, "expected": ["track"]}
    failed = Measurement(name="tools.calls", error="no reply", detail={"expected": ["track"], "made": []})
    records = [
        make_record({"expected": ["refund"], "made": ["refund"]}),
        TestRecord(nodeid="t.py::test[all-server-down]", facts={"tools": facts}),
        TestRecord(nodeid="t.py::test[all-no-reply]", facts={"tools": facts}, measurements=(failed,)),
    ]
    (use,) = summarize_tool_choices(records)
    assert (use.reached, use.unexpected, use.without_score) == (1, ("cancel_order",), ("track",))
    assert use.coverage == "1 of 3 tools reached; no question for cancel_order; no score for track"


def test_trials_are_kept_and_counted() -> None:
    trials = [
        Measurement(name="tools.calls", value=0.0, detail={"made": made})
        for made in (["track"], ["refund"], [])
    ]
    detail = {"expected": ["refund"], "made": [], "unscored_trials": 1, **keep_calls_of_trials(trials)}
    use = summarize(detail)
    assert (use.questions, use.unscored, use.never_called) == (3, 1, ())
    assert {str(pair) for pair in use.confusions} == {
        "track for refund 1 time of 3", "no tool for refund 1 time of 3",
    }  # fmt: skip
    assert keep_calls_of_trials([Measurement(name="judge.quality", value=1.0)]) == {}


def test_catalogues_tests_and_models_are_told_apart() -> None:
    records = [
        make_record({"expected": [], "made": []}, model={"name": name}, catalogue=catalogue)
        for name in ("small", "large")
        for catalogue in ("all", "few")
    ]
    run = Run.from_json(Run(records=tuple(records)).to_json())
    uses = summarize_run(run).tools
    assert [(use.catalogue, use.model) for use in uses] == [
        ("all", "small"), ("few", "small"), ("all", "large"), ("few", "large"),
    ]  # fmt: skip
    assert list_tool_facts(uses, 1)[0][1].startswith("all, small: 0 of 3 tools reached")
    other = CatalogueUse(test="a.py::test_other", catalogue="all", tools=3)
    assert [text.partition(":")[0] for _, text in list_tool_facts([uses[0], other], 0)] == [
        "test, all, small",
        "test_other, all",
    ]
    many = CatalogueUse(test="t.py::test", catalogue="all", tools=7, unexpected=tuple("abcdefg"))
    assert "no question for a, b, c, d, e, f and 1 more" in list_tool_facts([many], 0)[0][1]


def test_damaged_facts_of_other_programs_are_read_as_far_as_possible() -> None:
    record = TestRecord(nodeid="t.py::test", facts={"tools": 3})
    odd = make_record({"expected": "refund", "made": [3, ["x"]], "made_in_trials": [3]})
    assert [use.questions for use in summarize_tool_choices([record, odd])] == [0, 1]


@pytest.mark.parametrize(
    ("name", "is_refused"), [("a-b_c1", False), ("a.b", True), ("x" * 65, True), ("a b", True)]
)
def test_names_that_models_refuse_are_a_note(name: str, is_refused: bool) -> None:
    record = TestRecord(nodeid="t", facts={"tools": {"catalogue": "all", "tools": [name]}})
    assert bool(list(iter_refused_name_notes([record]))) is is_refused
