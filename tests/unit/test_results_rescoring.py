"""What a run stored, what another verdict changes in it, and how that is told. No judge is asked here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.judged_runs import make_call, record, run_of, verdict
from support.messages import check_message

from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.protocols import Call
from pytest_llmops.results.rescoring.judged_outputs import (
    AGREEMENT,
    CHECKLIST,
    COMPARISON,
    DAMAGED,
    NO_ANSWER,
    NO_TEXT,
    PASSAGES,
    Output,
    collect_outputs,
)
from pytest_llmops.results.rescoring.rescored_run import (
    RescoredOutput,
    RescoreStamp,
    carry_over_threshold,
    replace_threshold,
    replace_verdicts,
)
from pytest_llmops.results.rescoring.score_changes import (
    Change,
    compare_scores,
    format_changes,
    score_from_measurement,
)
from pytest_llmops.results.run import Outcome, Run, TestRecord

STAMP = RescoreStamp(
    day="2026-05-02", asked=True, judge="tone", version="2", model="stub-2", source="run.json"
)


def child(name: str, value: float = 0.5, label: str = "") -> Measurement:
    return Measurement(name=name, value=value, label=label, version="1")


def new(score: float | None, **how: Any) -> Measurement:
    return verdict(score, name="tone", low=1.0, high=5.0, **{"threshold": 4.0, **how})


def again(run: Run, *measurements: tuple[Measurement, ...], judged: bool = True) -> Run:
    outputs = collect_outputs(run, unjudged=True).outputs
    pairs = zip(outputs, measurements, strict=True)
    stamp = STAMP if judged else RescoreStamp(day="2026-05-02", asked=False, at_least=3.0)
    return replace_verdicts(
        run, [RescoredOutput(output=output, measurements=made) for output, made in pairs], stamp
    )


def first_of(run: Run) -> TestRecord:
    return run.records[0]


# What is stored


def test_an_output_is_what_the_judge_was_given() -> None:
    last = verdict(5.0, answer="please", expected="30 days", contexts=["a", "b"], label="de")
    collected = collect_outputs(run_of(record("test_a", child("judge.quality.tone"), last)))
    (output,) = collected.outputs
    assert (output.answer, output.question, output.reference, output.contexts) == (
        "please",
        "how long?",
        "30 days",
        ("a", "b"),
    )
    assert (output.place, output.label, output.judge, output.verdict.model) == (1, "de", "quality", "stub-1")
    assert (output.scale, output.threshold) == ((1.0, 10.0), 7.0)
    assert collected.judges == ("quality",)
    assert collected.passed_over == {}


def test_what_no_score_judge_can_judge_again_is_passed_over_with_its_reason() -> None:
    kappa: dict[str, Json] = {"judge": {"name": "quality"}, "agreement": {}}
    collected = collect_outputs(
        run_of(
            record("test_pair", verdict(1.0, name="pairwise", fields={"winner": "tie"})),
            record("test_list", verdict(1.0, name="checklist", low=0.0, high=1.0, threshold=None)),
            record("test_kappa", Measurement(name="judge.quality.kappa", value=0.7, detail=kappa), child("judge.quality.tnr")),
            record("test_lost", Measurement(name="judge.quality.kappa", error="no", detail={"errors": {}})),
            record("test_passages", Measurement(name="retrieval.context_relevance", value=1, detail={"judge": {"name": "j"}})),
            record("test_gone", Measurement(name="judge.quality", value=1, detail={"judge": {"name": "quality", "score": 9}})),
            record("test_number", verdict(3.0, actual=5)),
            record("test_damaged", verdict(3.0, contexts="one text")),
            record("test_odd", verdict(3.0, question=["list"])),
            record("test_fine", verdict(3.0)),
        )
    )  # fmt: skip
    assert [output.nodeid for output in collected.outputs] == ["test_a.py::test_fine"]
    assert collected.passed_over == {
        COMPARISON: 1, CHECKLIST: 1, AGREEMENT: 2, PASSAGES: 1, NO_ANSWER: 2, DAMAGED: 2,
    }  # fmt: skip


def test_an_answer_of_none_is_an_output() -> None:
    (output,) = collect_outputs(run_of(record("test_a", verdict(None, answer=None)))).outputs
    assert output.answer is None


def test_only_one_judge_and_only_some_tests() -> None:
    run = run_of(
        record("test_a", verdict(3.0), verdict(3.0, name="tone")), record("test_b", verdict(3.0, name="tone"))
    )
    assert [output.judge for output in collect_outputs(run, only="tone").outputs] == ["tone", "tone"]
    assert collect_outputs(run, only="quality").judges == ("quality", "tone")
    assert [output.nodeid for output in collect_outputs(run, text="test_b").outputs] == ["test_a.py::test_b"]
    assert (
        collect_outputs(run, only="tone", unjudged=True).outputs == collect_outputs(run, only="tone").outputs
    )


def test_the_last_answer_of_a_test_without_a_judge() -> None:
    case: Json = {"id": "x", "input": {"q": "ü"}, "reference": "30 days"}
    run = run_of(
        record(
            "test_case",
            calls=[
                make_call("first"),
                make_call("last"),
                make_call("7", purpose="judge"),
                Call(endpoint="embeddings", output="3 vectors"),
                Call(endpoint="/weather"),
            ],
            facts={"case": case},
        ),
        record("test_plain", calls=[make_call("an answer"), make_call("down", status=500)]),
        record("test_tools", calls=[make_call("")]),
        record("test_nothing"),
        record("test_judged", verdict(3.0), calls=[make_call("x")]),
    )
    assert len(collect_outputs(run).outputs) == 1
    assert collect_outputs(run).unjudged == 2
    collected = collect_outputs(run, unjudged=True)
    facts = [
        (output.answer, output.question, output.reference, output.place) for output in collected.outputs[:2]
    ]
    assert facts == [("last", '{"q": "ü"}', "30 days", None), ("an answer", "how long?", "", None)]
    assert collected.outputs[0].threshold is None
    assert collected.passed_over == {NO_TEXT: 1}


# Thresholds


def output_of(measurement: Measurement | None) -> Output:
    return Output(record=0, nodeid="t", answer="x", old=measurement, place=None if measurement is None else 0)


@pytest.mark.parametrize(
    ("old", "how", "expected"),
    [
        (verdict(5.0), {"at_least": 3.0}, 3.0),
        (verdict(5.0, threshold=None), {"at_least": 3.0}, 3.0),
        (verdict(5.0, threshold=None), {}, None),
        (verdict(5.0), {"scale": (1.0, 10.0)}, 7.0),
        (verdict(5.0), {"scale": None}, 7.0),
        (verdict(5.0), {"pass_at": None}, 7.0),
        (verdict(5.0), {"scale": (1.0, 5.0)}, "default"),
        (verdict(5.0, fields={"default": True}), {"scale": (1.0, 10.0)}, "default"),
        (verdict(5.0, fields={"default": True}), {"scale": (1.0, 10.0), "pass_at": None}, 7.0),
        (verdict(5.0, threshold=None, review={"confidence": 0.2, "least": 0.8, "undecided": 6.0}), {"scale": (1.0, 10.0)}, 6.0),
        (verdict(None), {"scale": (1.0, 10.0)}, "default"),
        (verdict(None), {"scale": None}, "default"),
        (verdict(None), {"usual": (1.0, 10.0)}, 7.0),
        (verdict(None), {"usual": (1.0, 5.0)}, "default"),
        (verdict(None), {"judge": "quality", "version": "1", "pass_at": None, "scale": None}, 7.0),
        (None, {}, "default"),
        (None, {"pass_at": None}, None),
        (None, {"at_least": 2.0}, 2.0),
    ],
)  # fmt: skip
def test_which_threshold_a_new_score_has_to_reach(
    old: Measurement | None, how: dict[str, Any], expected: object
) -> None:
    given = {"at_least": None, "pass_at": 4.0, "scale": (1.0, 10.0), **how}
    output = replace(output_of(old), usual=given.pop("usual", None))
    assert carry_over_threshold(output, **given) == expected


def test_a_threshold_of_another_scale_needs_a_new_one() -> None:
    with pytest.raises(
        UsageError,
        check=check_message,
    ):
        carry_over_threshold(
            output_of(verdict(5.0)), at_least=None, pass_at=None, scale=(1.0, 5.0), judge="tone"
        )


@pytest.mark.parametrize("scale", [(1.0, 10.0), None])
def test_a_threshold_of_what_was_never_scored_is_on_no_known_scale(scale: tuple[float, float] | None) -> None:
    old = output_of(verdict(None, threshold=4.0))
    with pytest.raises(UsageError, check=check_message):
        carry_over_threshold(old, at_least=None, pass_at=None, scale=scale, judge="tone", version="1")


def test_what_was_never_scored_has_the_scale_of_its_judges_other_scores() -> None:
    run = run_of(
        record("test_a", verdict(None, name="five"), verdict(4.0, name="five", high=5.0, answer="x")),
        record("test_b", verdict(None), verdict(3.0, name="odd"), verdict(3.0, name="odd", low=2.0)),
        record("test_c", verdict(None, name="odd"), replace(verdict(None, name="five"), version="2")),
    )
    scales = [
        (output.judge, output.scale)
        for output in collect_outputs(run, text="test_").outputs
        if output.old and output.old.error
    ]
    assert scales == [("five", (1.0, 5.0)), ("quality", None), ("odd", None), ("five", None)]
    assert collect_outputs(run, text="test_a").outputs[0].scale == (1.0, 5.0)


def test_another_threshold_changes_the_verdict_alone() -> None:
    old = verdict(6.0, fields={"default": True}, evidence=[["answer", "x"]])
    made = replace_threshold(output_of(old), 6.0)
    assert [old.status, made.status] == ["failed", "passed"]
    assert made.value == old.value
    assert made.threshold == pytest.approx(5 / 9)
    judge_detail = made.detail["judge"]
    assert isinstance(judge_detail, dict)
    assert (judge_detail["threshold"], "default" in judge_detail) == (6.0, False)
    assert replace_threshold(output_of(verdict(None)), 6.0) == verdict(None)
    lost = replace_threshold(replace(output_of(verdict(None)), usual=(1.0, 10.0)), 6.0)
    assert (lost.status, lost.threshold, lost.detail["judge"]["threshold"]) == ("errored", None, 6.0)  # type: ignore[index, call-overload]
    flagged = verdict(6.0, threshold=None, review={"confidence": 0.2, "least": 0.8, "undecided": 7.0})
    kept = replace_threshold(output_of(flagged), 6.0)
    assert (kept.status, kept.detail["review"]) == (
        "recorded",
        {"confidence": 0.2, "least": 0.8, "undecided": 6.0},
    )


@pytest.mark.parametrize(
    "old",
    [
        verdict(6.0, fields={"low": None}),
        verdict(6.0, fields={"high": "10"}),
        verdict(0.5, low=0.0, high=1.0),
    ],
)
def test_a_threshold_that_is_not_on_the_stored_scale_is_refused(old: Measurement) -> None:
    with pytest.raises(UsageError, check=check_message):
        replace_threshold(output_of(old), 6.0)


# Changes


def change(old: Measurement | None, now: Measurement, number: int = 0) -> Change:
    output = Output(record=number, nodeid=f"t{number}", answer="x", old=old, place=None if old is None else 0)
    return Change(output=output, old=score_from_measurement(old), new=score_from_measurement(now))


@pytest.mark.parametrize(
    ("old", "now", "status", "changed", "worse"),
    [
        (verdict(9.0), new(2.0), ("pass", "fail"), True, True),
        (verdict(3.0), new(5.0), ("fail", "pass"), True, False),
        (verdict(3.0), new(None), ("fail", "unscored"), True, True),
        (verdict(None), new(None), ("unscored", "unscored"), False, True),
        (verdict(None), new(5.0), ("unscored", "pass"), True, False),
        (verdict(3.0), new(2.0), ("fail", "fail"), True, False),
        (verdict(10.0), new(5.0), ("pass", "pass"), False, False),
        (verdict(3.0, threshold=None), new(2.0), ("recorded", "fail"), True, True),
        (verdict(3.0, threshold=None), new(1.0, threshold=None), ("recorded", "recorded"), True, False),
        (verdict(3.0, threshold=None, review={"least": 0.8}), new(5.0), ("undecided", "pass"), True, False),
        (None, new(2.0), ("new", "fail"), True, True),
        (None, new(5.0), ("new", "pass"), True, False),
    ],
)  # fmt: skip
def test_what_changed_and_what_got_worse(
    old: Measurement | None, now: Measurement, status: tuple[str, str], changed: bool, worse: bool
) -> None:
    judged_change = change(old, now)
    assert (judged_change.old.status, judged_change.new.status) == status
    assert (judged_change.changed, judged_change.worse) == (changed, worse)


def test_the_worst_change_comes_first_and_equal_ones_keep_their_order() -> None:
    pairs = [(None, new(1.0)), (verdict(3.0), new(5.0)), (verdict(9.0), new(None)), (verdict(9.0), new(2.0)),
        (verdict(9.0), new(1.0)), (verdict(9.0), new(2.0)), (verdict(5.0), new(1.0))]  # fmt: skip
    given = [
        (Output(record=number, nodeid="t", answer="x", old=old), now)
        for number, (old, now) in enumerate(pairs)
    ]
    assert [judged_change.output.record for judged_change in compare_scores(given)] == [4, 3, 5, 2, 6, 1, 0]


def test_the_summary_counts_only_what_both_scored() -> None:
    changes = [change(verdict(10.0), new(1.0), 0), change(verdict(1.0), new(3.0), 1), change(verdict(None, error="broken"), new(5.0), 2),
        change(verdict(9.0), new(None, error="no"), 2), change(None, new(5.0), 3)]  # fmt: skip
    rows = dict(line.split("  ", 1) for line in format_lines(*changes)[6:])
    assert {label: text.strip() for label, text in rows.items()} == {
        "outputs": "5 of 4 tests: 4 changed, 1 that no judge saw before",
        "judge": "quality, version 1, model stub-1 -> tone, version 1, model stub-1",
        "model": "the same",
        "mean": "0.5000 -> 0.2500 (0 to 1, of 2 scored by both); the scales are unlike (1 to 5, 1 to 10): all are taken from 0 to 1",
        "verdicts": "1 pass -> fail, 0 fail -> pass, 1 pass -> unscored, 1 unscored -> pass",
        "unscored before": "1: broken",
        "unscored now": "1: no",
    }


SAME = "the same judge, version and answers"


@pytest.mark.parametrize(
    ("pairs", "same", "model"),
    [
        ([(verdict(3.0), verdict(4.0))], True, "the same"),
        ([(verdict(3.0), verdict(4.0)), (None, verdict(4.0))], False, "the same"),
        ([(verdict(3.0), verdict(4.0, fields={"model": "other"}))], False, "another"),
        ([(verdict(3.0), verdict(4.0, fields={"model": ""}))], False, None),
        # A judge that got no answer was not called: its model is not known.
        ([(verdict(3.0), verdict(4.0)), (verdict(None, answer=None, fields={"model": ""}),) * 2], True, None),
    ],
)  # fmt: skip
def test_the_same_judge_and_another_model(
    pairs: list[tuple[Measurement | None, Measurement]], same: bool, model: str | None
) -> None:
    lines = format_lines(*(change(old, now, number) for number, (old, now) in enumerate(pairs)))
    assert lines[-1].startswith(SAME) == same
    assert [line.split("  ", 1)[1].strip() for line in lines if line.startswith("model ")] == [
        known_model for known_model in [model] if known_model
    ]


# The run


def test_a_run_with_new_verdicts_keeps_all_else() -> None:
    text = Measurement(name="text.exact", value=1.0, threshold=1.0)
    old = verdict(9.0, fields={"dimensions": {"tone": 9}})
    before = record("test_a", text, child("judge.quality.tone"), old, child("judge.quality.tone", label="de"),
        calls=[make_call("x"), make_call("9", purpose="judge")], facts={"case": {"id": "a"}, "judge": {"name": "quality"}}, duration_s=2.0)  # fmt: skip
    run = run_of(before, record("test_b"))
    made = again(run, (child("judge.tone.warm"), new(5.0)))
    after = first_of(made)
    assert [(measurement.name, measurement.label) for measurement in after.measurements] == [
        ("text.exact", ""), ("judge.tone.warm", ""), ("judge.tone", ""), ("judge.quality.tone", "de"),
    ]  # fmt: skip
    assert (after.outcome, after.message, after.duration_s) == ("passed", "", 2.0)
    assert [call.purpose for call in after.calls] == ["app"]
    assert after.facts == {"case": {"id": "a"}, "judge": {"name": "tone", "version": "1", "model": "stub-1"}}
    assert made.records[1] == run.records[1]
    check_message(made.notes)
    assert made.meta["rescored"]["version"] == "2"  # type: ignore[index, call-overload]
    assert Run.from_json(made.to_json()) == made


def test_a_run_with_another_threshold_keeps_dimensions_calls_and_judge() -> None:
    old = verdict(3.0, fields={"dimensions": {"tone": 9}})
    run = run_of(
        record(
            "test_a",
            child("judge.quality.tone"),
            old,
            calls=[make_call("3", purpose="judge")],
            message="judge quality 3 < 7",
        )
    )
    made = again(run, (replace_threshold(output_of(old), 3.0),), judged=False)
    after = first_of(made)
    assert [measurement.name for measurement in after.measurements] == ["judge.quality.tone", "judge.quality"]
    assert (after.outcome, after.message, len(after.calls), after.facts) == ("passed", "", 1, {})
    check_message(made.notes[-1])


def test_calls_of_a_judge_that_is_still_heard_stay() -> None:
    run = run_of(
        record(
            "test_a", verdict(1.0, name="checklist"), verdict(9.0), calls=[make_call("9", purpose="judge")]
        )
    )
    assert len(first_of(again(run, (new(5.0),))).calls) == 1


PASSED, FAILED, LOST = new(5.0), new(2.0), new(None)


@pytest.mark.parametrize(
    ("was", "old", "now", "outcome"),
    [
        ("passed", verdict(9.0), FAILED, "failed"),
        ("passed", verdict(9.0), LOST, "errored"),
        ("failed", verdict(3.0), PASSED, "passed"),
        ("failed", verdict(3.0), LOST, "errored"),
        ("errored", verdict(None), PASSED, "passed"),
        ("errored", verdict(None), FAILED, "failed"),
        # A fixture, a miss, a plain assert or pytest.raises decided:
        ("errored", verdict(9.0), PASSED, "errored"),
        ("errored", verdict(9.0), FAILED, "errored"),
        ("errored", verdict(3.0), PASSED, "errored"),
        ("failed", verdict(9.0), PASSED, "failed"),
        ("failed", verdict(9.0), LOST, "errored"),
        ("passed", verdict(3.0), FAILED, "passed"),
        ("passed", verdict(3.0), LOST, "errored"),
        ("skipped", verdict(9.0), FAILED, "skipped"),
        ("xfailed", verdict(3.0), PASSED, "xpassed"),
        ("xfailed", verdict(3.0), FAILED, "xfailed"),
        ("xfailed", verdict(9.0), FAILED, "xfailed"),
        ("xpassed", verdict(9.0), FAILED, "xfailed"),
        ("xpassed", verdict(9.0), PASSED, "xpassed"),
        ("xpassed", verdict(3.0), PASSED, "xpassed"),
    ],
)
def test_the_outcome_follows_where_measurements_decided_it(
    was: Outcome, old: Measurement, now: Measurement, outcome: Outcome
) -> None:
    assert first_of(again(run_of(record("test_a", old, outcome=was)), (now,))).outcome == outcome


def test_another_failed_measurement_keeps_a_test_failed() -> None:
    exact = Measurement(
        name="text.exact", value=0.0, threshold=1.0, detail={"evidence": [["nearest", "a\nb"]]}
    )
    after = first_of(
        again(run_of(record("test_a", exact, verdict(3.0), message="MeasurementFailed: both")), (PASSED,))
    )
    assert (after.outcome, after.message) == ("failed", "text.exact 0.00 < 1.00\n  nearest   a\\nb")


def test_the_message_says_what_failed_now() -> None:
    failing = new(2.0, label="de", evidence=[["answer", '"x"']])
    after = first_of(again(run_of(record("test_a", verdict(9.0), message="")), (failing,)))
    assert after.message == 'judge tone [de] 2 < 4 (scale 1 to 5)\n  answer   "x"'
    after = first_of(again(run_of(record("test_a", verdict(9.0))), (new(None, error="two verdicts"),)))
    check_message(after.message)
    broken = record("test_a", verdict(9.0), outcome="errored", message="fixture broke")
    assert first_of(again(run_of(broken), (FAILED,))).message == "fixture broke"


BOTH = "MeasurementErrored: judge quality gave no score: down\n  rerun   pytest"


def ended(outcome: Outcome, old: Measurement, raised: tuple[str, ...], message: str) -> TestRecord:
    return record("test_a", old, outcome=outcome, raised=raised, message=message)


@pytest.mark.parametrize(
    ("before", "now", "expected", "message"),
    [
        # A fixture broke too:
        (ended("errored", verdict(None), ("MeasurementErrored", "RuntimeError"), f"{BOTH}\n\nRuntimeError: full"), PASSED,
            ("errored", ("RuntimeError",)), "RuntimeError: full"),
        (ended("errored", verdict(None), ("MeasurementErrored", "RuntimeError"), f"{BOTH}\n\nRuntimeError: full"), FAILED,
            ("errored", ("RuntimeError",)), "judge tone 2 < 4 (scale 1 to 5)\n\nRuntimeError: full"),
        # Something else ended a block or a test, after a judgement that had failed:
        (ended("failed", verdict(3.0), ("ValueError",), "ValueError: no number\nbefore this, 1. judge"), PASSED,
            ("failed", ("ValueError",)), "ValueError: no number\nbefore this, 1. judge"),
        (ended("failed", verdict(3.0), ("AssertionError",), "MeasurementFailed: so it says"), LOST,
            ("errored", ("MeasurementErrored", "AssertionError")), "judge.tone gave no score: no verdict"),
        (ended("xfailed", verdict(3.0), ("AssertionError",), "known"), PASSED, ("xfailed", ("AssertionError",)), "known"),
        (ended("xfailed", verdict(3.0), ("MeasurementFailed",), "known"), PASSED, ("xpassed", ()), "known"),
        # Nothing else did:
        (ended("failed", verdict(3.0), ("MeasurementFailed",), "MeasurementFailed: 3 < 7"), PASSED, ("passed", ()), ""),
        (ended("errored", verdict(None), ("MeasurementErrored",), BOTH), FAILED,
            ("failed", ("MeasurementFailed",)), "judge tone 2 < 4 (scale 1 to 5)"),
        (ended("passed", verdict(9.0), (), ""), FAILED, ("failed", ("MeasurementFailed",)), "judge tone 2 < 4 (scale 1 to 5)"),
        # Of an older version, which did not say:
        (ended("errored", verdict(None), (), f"{BOTH}\n\nRuntimeError: full"), PASSED, ("errored", ()), "RuntimeError: full"),
        (ended("failed", verdict(3.0), (), "ValueError: no number"), PASSED, ("failed", ()), "ValueError: no number"),
        (ended("failed", verdict(3.0), (), "judge quality 3 < 7"), PASSED, ("passed", ()), ""),
        (ended("errored", verdict(None), (), "judge.quality gave no score: x"), PASSED, ("passed", ()), ""),
        (ended("errored", verdict(None), (), BOTH), PASSED, ("passed", ()), ""),
    ],
)  # fmt: skip
def test_what_else_ended_a_test_is_not_undone_by_a_verdict(
    before: TestRecord, now: Measurement, expected: tuple[Outcome, tuple[str, ...]], message: str
) -> None:
    once = again(run_of(before), (now,))
    after = first_of(once)
    assert (after.outcome, after.raised) == expected
    if now.error:  # the sentence on what could not be scored
        check_message(after.message)
    else:
        assert after.message == message
    if expected[0] in ("failed", "errored"):  # it is not undone by the next one either
        assert first_of(again(once, (now,))) == after


def test_two_judges_that_became_one_say_it_once() -> None:
    run = run_of(record("test_a", verdict(9.0), verdict(4.0, name="other"), verdict(8.0, answer="second")))
    made = first_of(again(run, (new(5.0),), (new(5.0),), (new(3.0, answer="second"),)))
    assert [measurement.detail["judge"]["score"] for measurement in made.measurements] == [5.0, 3.0]  # type: ignore[index, call-overload]


def test_what_no_judge_saw_is_added() -> None:
    made = first_of(
        again(run_of(record("test_a", calls=[make_call("x")])), (child("judge.tone.warm"), FAILED))
    )
    assert [measurement.name for measurement in made.measurements] == ["judge.tone.warm", "judge.tone"]
    assert (made.outcome, len(made.calls)) == ("failed", 1)


# Words


def format_lines(*changes: Change, judge_called: bool = True, **over: int) -> list[str]:
    return list(format_changes(changes, judge_called=judge_called, passed_over=over))


def test_a_line_for_each_output_that_changed_and_then_the_summary() -> None:
    changes = [
        change(verdict(9.0), new(2.0), 0),
        change(verdict(10.0), new(5.0), 1),
        change(verdict(3.0, label="de"), new(None, error="a\nb"), 2),
    ]
    check_message(format_lines(*changes, other=2))


def test_it_is_printed_where_nothing_could_have_changed() -> None:
    check_message(format_lines(change(verdict(9.0), verdict(9.0)))[-1])
    check_message(format_lines(change(verdict(9.0), verdict(8.0)))[-1])
    assert format_lines(change(verdict(9.0), new(5.0)))[-1].startswith("verdicts")


def test_another_threshold_alone_is_reported_as_that() -> None:
    old = verdict(6.0)
    check_message(format_lines(change(old, replace_threshold(output_of(old), 6.0)), judge_called=False))


def test_foreign_text_cannot_start_a_line_nor_run_on() -> None:
    hostile = "\x1b[31m" + "x\n" * 500
    output = Output(
        record=0, nodeid=hostile, answer="x", old=verdict(9.0, fields={"name": hostile}, label=hostile)
    )
    now = verdict(2.0, fields={"reason": hostile, "model": hostile})
    changes = [
        Change(output=output, old=score_from_measurement(output.old), new=score_from_measurement(now)),
        change(verdict(9.0), new(None, error=hostile), 1),
    ]
    for line in format_lines(*changes):
        assert line.isprintable()
        assert len(line) < 1_500


def test_many_reasons_are_counted() -> None:
    changes = [change(verdict(9.0), new(None, error=f"error {number % 8}"), number) for number in range(9)]
    line = next(line for line in format_lines(*changes) if line.startswith("unscored now"))
    assert line.startswith("unscored now  2: error 0; 1: error 1")
    assert line.endswith("; 3 for other reasons")


def test_a_new_threshold_alone_keeps_the_verdicts_of_two_judges_of_an_answer() -> None:
    """A judge's damaged name makes it another judge; nobody was called, so neither verdict replaces the other."""
    first = child("judge.quality")
    verdict: dict[str, Json] = {"name": "quality", "score": 5.5, "low": 1, "high": 10}
    first = replace(first, detail={"actual": "x", "judge": verdict})
    second = replace(first, detail={"actual": "x", "judge": {**verdict, "name": False}})
    run = Run(records=(TestRecord(nodeid="t", measurements=(first, second)),))
    outputs = collect_outputs(run).outputs
    rescored = [
        RescoredOutput(output=output, measurements=(replace_threshold(output, 3.0),)) for output in outputs
    ]
    stamp = RescoreStamp(day="2026-05-02", asked=False, at_least=3.0)
    assert len(replace_verdicts(run, rescored, stamp).records[0].measurements) == 2
