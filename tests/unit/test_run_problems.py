"""The notes on a run, and the order of its problems."""

from __future__ import annotations

from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Call
from pytest_llmops.results.problems import (
    describe_kind,
    describe_unrecorded,
    iter_changed_notes,
    iter_concurrency_notes,
    iter_given_up_judge_notes,
    iter_scoreless_notes,
    iter_single_trial_notes,
    iter_trial_notes,
    iter_unchecked_notes,
    list_failed_measurements,
    list_problems,
    merge_record_commands,
)
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.verdict import CaseChange, Verdict

SCORED = Measurement(name="text.exact", value=1.0)
RECORD = "pytest a.py::t --llm-record=new"


def miss(name: str, value: float | None, threshold: float, **more: Any) -> Measurement:
    return Measurement(name=name, value=value, threshold=threshold, **more)


def test_what_misses_its_threshold_by_the_largest_share_is_first() -> None:
    measurements = (
        miss("small", 0.8, 0.9),
        miss("passes", 0.9, 0.9),
        miss("zero", 0.0, 0.5),
        miss("negative", -1.0, 0.5),
        miss("large", 0.3, 0.9),
        miss("amount", 200.0, 100.0, unit="s", better="lower"),
    )
    record = TestRecord(nodeid="t", measurements=measurements)
    names = [measurement.name for measurement in list_failed_measurements(record)]
    assert names == ["negative", "zero", "large", "amount", "small"]


def test_problems_are_listed_once_the_losses_first() -> None:
    failed, near, errored = (
        TestRecord(nodeid="far", outcome="failed", measurements=(miss("m", 0.1, 0.9), miss("n", 0.8, 0.9))),
        TestRecord(nodeid="near", outcome="failed", measurements=(miss("m", 0.8, 0.9),)),
        TestRecord(nodeid="errored", outcome="errored", measurements=(miss("m", 0.0, 0.9),)),
    )
    passed, lost = TestRecord(nodeid="ok"), TestRecord(nodeid="lost", outcome="failed")
    changes = tuple(CaseChange(nodeid=nodeid, kind="regressed") for nodeid in ("lost", "gone"))
    other = CaseChange(nodeid="ok", kind="improved")
    verdict = Verdict(kind="baseline", status="GREEN", changes=(*changes, other))
    run = Run(records=(errored, near, passed, failed, lost), verdicts=(verdict,))
    problems = [(problem.kind, problem.record) for problem in list_problems(run)]
    rest = [("failed", failed), ("failed", near), ("errored", errored)]
    assert problems == [("worse", lost), ("worse", TestRecord(nodeid="gone")), *rest]
    fewer = [(problem.kind, problem.record) for problem in list_problems(run, all_worse=False)]
    assert fewer == [*rest[:2], ("failed", lost), rest[2]]
    amber = Run(records=(), verdicts=(Verdict(kind="baseline", status="AMBER", changes=changes),))
    assert [problem.record.nodeid for problem in list_problems(amber, all_worse=False)] == ["lost", "gone"]


def test_a_comparison_that_was_left_out_is_a_note_with_its_tests() -> None:
    both = Measurement(name="m", value=1.0, detail={"without": ["no names", "no dates"]})
    one = Measurement(name="n", value=1.0, detail={"without": ["no names"]})
    records = [
        TestRecord(nodeid="t1", measurements=(both, both)),
        TestRecord(nodeid="t2", measurements=(both, SCORED)),
        TestRecord(nodeid="t3", measurements=(one,)),
    ]
    assert list(iter_unchecked_notes(records)) == [
        "2 tests: m: no names",
        "2 tests: m: no dates",
        "t3: n: no names",
    ]


def test_judges_that_were_given_up_are_counted_by_model() -> None:
    records = [
        TestRecord(nodeid="t1", facts={"given_up_judges": {"polite": "m"}}),
        TestRecord(nodeid="t2", facts={"given_up_judges": {"polite": "m", "short": "m"}}),
        TestRecord(nodeid="t3", facts={"given_up_judges": {"polite": "n"}}),
        TestRecord(nodeid="t4"),
    ]
    notes = list(iter_given_up_judge_notes(records))
    assert [(note.split(" ")[1], note.split("(model ")[1][0], note.split(": ")[1][0]) for note in notes] == [
        ("polite", "m", "2"),
        ("short", "m", "1"),
        ("polite", "n", "1"),
    ]
    check_message(notes)


@pytest.mark.parametrize(("misses", "unreadable"), [(0, 0), (1, 0), (2, 3), (0, 1)])
def test_tests_with_something_to_record_are_counted(misses: int, unreadable: int) -> None:
    missing = TestRecord(nodeid="m", raised=("CassetteMiss",), facts={"record": [RECORD]})
    damaged = TestRecord(nodeid="u", raised=("ValueError",), facts={"record": [RECORD]})
    records = [missing] * misses + [damaged] * unreadable
    text = describe_unrecorded([*records, TestRecord(nodeid="x")])
    numbers = [part.split(" ")[0] for part in text.split(", ")]
    assert numbers == ([str(number) for number in (misses, unreadable) if number] or [""])
    check_message([text, "."])


def test_passed_tests_without_a_score_are_named_if_others_have_one() -> None:
    app = (Call(),)
    judged = (Call(purpose="judge"),)
    silent = [
        TestRecord(nodeid="t1", calls=app),
        TestRecord(nodeid="t2", calls=(*judged, *app)),
        TestRecord(nodeid="failed", calls=app, outcome="failed"),
        TestRecord(nodeid="judged", calls=judged),
        TestRecord(nodeid="plain"),
    ]
    scored = TestRecord(nodeid="scored", calls=app, measurements=(SCORED,))
    assert list(iter_scoreless_notes(silent)) == []
    assert list(iter_scoreless_notes([scored])) == []
    (note,) = iter_scoreless_notes([*silent, scored])
    assert note.startswith("2 tests ")
    assert note.endswith(": t1, t2")
    check_message(note)


def trials(nodeid: str, n: int, passed: int, *, asserts: bool = True, **more: Any) -> TestRecord:
    measurements = (miss("m", 1.0, 0.5),) if asserts else (SCORED,)
    facts = {"trials": {"n": n, "passed": passed, "failed": n - passed, **more}}
    return TestRecord(nodeid=nodeid, measurements=measurements, facts=facts)


def test_trials_are_summarized_by_their_number() -> None:
    records = [
        trials("t1", 4, 4),
        trials("t2", 4, 1),
        trials("t3", 4, 0, undecided="is it?"),
        trials("t4", 4, 4, asserts=False),
        trials("t5", 2, 1, asserts=False, has_reruns=True),
        trials("t6", 3, 3, has_reruns=True, asserts=False),
        TestRecord(nodeid="t7", measurements=(miss("m", 1.0, 0.5),)),
    ]
    notes = list(iter_trial_notes(records))
    assert notes[0] == "t3: is it?"
    assert notes[1].startswith("trials: 2 tests ")
    assert [note.split("; ")[1] for note in notes[2:]] == [
        "pass@2 1.00 (any trial), pass^2 0.00 (all trials)",
        "pass@4 0.67 (any trial), pass^4 0.33 (all trials)",
    ]
    assert [note.split(", ")[1].split(" ")[0] for note in notes[2:]] == ["50", "42"]
    check_message(notes)
    assert list(iter_trial_notes(records[-1:])) == []


def test_changes_are_listed_with_their_tests_and_fixtures() -> None:
    def changed(nodeid: str, *changes: str, **more: Any) -> TestRecord:
        calls = (Call(replayed=True), Call(replayed=True), Call())
        facts = {"cassette": {"changes": list(changes), **more}}
        return TestRecord(nodeid=nodeid, calls=calls, facts=facts)

    records = [
        changed("t1", "model", "messages[0]"),
        changed("t2", "messages[0]", fixture_changes=["model", "tools"]),
        changed("t3", "model", header_notes=["header x differs"]),
        changed("t4", header_notes=["header x differs"]),
    ]
    first, *rest = iter_changed_notes(records)
    assert rest == [
        "changed, model: (a fixture), t1, t3",
        "changed, messages[0]: t2",
        "changed, tools: (a fixture)",
        "header x differs: t3, t4",
    ]
    assert "3 of 4 tests" in first
    assert first.endswith("4 live calls, 8 saved")
    check_message(first)


def test_tests_that_ran_once_despite_several_trials_are_counted() -> None:
    records = [
        TestRecord(nodeid="t1", measurements=(SCORED,)),
        TestRecord(nodeid="t2", measurements=(SCORED,)),
        TestRecord(nodeid="failed", measurements=(SCORED,), outcome="failed"),
        TestRecord(nodeid="plain"),
        trials("t3", 3, 3),
    ]
    (note,) = iter_single_trial_notes(records, 3)
    assert ": 2 tests " in note
    check_message(note)
    assert list(iter_single_trial_notes(records, 1)) == []
    assert len(list(iter_single_trial_notes(records, 2))) == 1
    assert list(iter_single_trial_notes(records[2:], 2)) == []


def test_the_hint_at_concurrency_needs_ten_seconds_in_two_tests() -> None:
    def called(*seconds: float | None) -> TestRecord:
        return TestRecord(nodeid="t", calls=tuple(Call(latency_s=number) for number in seconds))

    replayed = TestRecord(nodeid="r", calls=(Call(latency_s=90.0, replayed=True),))
    (note,) = iter_concurrency_notes([called(4.0, None), called(6.0), replayed])
    assert note.startswith("3 calls took 10 s ")
    assert " 6 s and run each test up to 4 times" in note
    check_message(note)
    assert list(iter_concurrency_notes([called(4.0), called(5.9)])) == []
    assert list(iter_concurrency_notes([called(4.0, 16.0)])) == []
    assert list(iter_concurrency_notes([called(400.0), replayed])) == []


def test_the_kind_of_a_miss_keeps_that_nothing_is_near() -> None:
    near = "no recording\n  nearest   a.json\n    + new"
    assert describe_kind(near) == "no recording\n\n    + new"
    alone = "no recording\n  cassette  a.json\n  nearest   none"
    assert describe_kind(alone) == "no recording\n\n  nearest   none"
    assert describe_kind(alone.replace("a.json", "b.json")) == describe_kind(alone)


def test_commands_that_record_are_as_few_as_possible() -> None:
    new = "--llm-record=new"
    commands = [f"pytest {file}.py::t{n} {new}" for file in "ab" for n in (1, 2)]
    assert merge_record_commands(commands[:3]) == [f"pytest a.py::t1 a.py::t2 b.py::t1 {new}"]
    assert merge_record_commands(commands) == [f"pytest a.py b.py {new}"]
    several = [f"pytest tests/x/{file}.py::t {new}" for file in "abcde"]
    assert merge_record_commands(several) == [
        f"pytest tests/x/a.py tests/x/b.py tests/x/c.py tests/x/d.py tests/x/e.py {new}"
    ]
    assert merge_record_commands([*several, f"pytest tests/y.py::t {new}"]) == [f"pytest tests {new}"]
    assert merge_record_commands([*several, f"pytest other.py::t {new}"]) == [f"pytest . {new}"]
    one_by_one = [f"pytest a.py::t{n} --llm-record=all" for n in range(4)]
    assert merge_record_commands(one_by_one) == [
        "pytest a.py::t0 a.py::t1 a.py::t2 a.py::t3 --llm-record=all"
    ]
    odd = ["rm -r x", "pytest 'a", "pytest a --x", "pytest b"]
    assert merge_record_commands(odd) == ["pytest a --x", "pytest b"]
