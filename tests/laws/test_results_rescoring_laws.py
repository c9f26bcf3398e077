"""Judging again, whatever a run holds: a valid run comes of it, and the same verdicts change nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.judged_runs import run_of, verdict
from support.strategies import any_text, json_objects, scale_examples

from pytest_llmops.measurement import Measurement
from pytest_llmops.metrics.agreement import cohen_kappa
from pytest_llmops.protocols import Call, Message
from pytest_llmops.results.rescoring.judged_outputs import collect_outputs
from pytest_llmops.results.rescoring.rescored_run import (
    RescoredOutput,
    RescoreStamp,
    replace_verdicts,
)
from pytest_llmops.results.rescoring.score_changes import compare_scores, format_changes
from pytest_llmops.results.rescoring.threshold_shifts import find_threshold_shifts, format_threshold_shifts
from pytest_llmops.results.run import OUTCOMES, Run, TestRecord

STAMP = RescoreStamp(day="2026-05-02", asked=True, judge="tone", version="2", source="run.json")
names = st.one_of(st.sampled_from(["quality", "tone", "checklist"]), any_text.filter(bool))
thresholds = st.one_of(st.none(), st.integers(1, 10).map(float))
scores = st.one_of(st.none(), st.integers(1, 10).map(float))
judge_details: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["name", "model", "low", "high", "threshold", "reason", "dimensions", "winner", "default"]),
    st.one_of(st.none(), st.booleans(), st.integers(-2, 12), any_text, st.dictionaries(any_text, st.integers(), max_size=2)),
    max_size=2,
)  # fmt: skip
details: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["actual", "question", "expected", "contexts", "review", "evidence"]),
    st.one_of(st.none(), any_text, st.lists(any_text, max_size=2), st.dictionaries(st.just("undecided"), st.integers(1, 10))),
    max_size=2,
)  # fmt: skip


@st.composite
def verdicts(draw: st.DrawFn) -> Measurement:
    more = draw(details)
    answer = draw(st.one_of(st.none(), any_text))
    made = verdict(
        draw(scores),
        threshold=draw(thresholds),
        name=draw(names),
        answer=answer,
        label=draw(st.sampled_from(["", "de"])),
        fields=draw(judge_details),
    )
    return Measurement(**{**{key: getattr(made, key) for key in ("name", "value", "error", "threshold", "label", "version")},
        "detail": {**made.detail, **more}})  # fmt: skip


@st.composite
def runs(draw: st.DrawFn) -> Run:
    others = st.sampled_from(
        [
            Measurement(name="judge.quality.tone", value=0.5),
            Measurement(name="text.exact", value=0.0, threshold=1.0),
        ]
    )
    calls = st.builds(
        Call,
        output=any_text,
        purpose=st.sampled_from(["app", "judge"]),
        messages=st.just((Message("user", "q"),)),
    )
    records = [
        TestRecord(
            nodeid=f"{draw(any_text)}{number}",
            outcome=draw(st.sampled_from(OUTCOMES)),
            raised=tuple(
                draw(
                    st.lists(
                        st.sampled_from(["MeasurementFailed", "MeasurementErrored", "OSError"]), max_size=2
                    )
                )
            ),
            message=draw(any_text),
            measurements=tuple(draw(st.lists(st.one_of(verdicts(), others), max_size=3))),
            calls=tuple(draw(st.lists(calls, max_size=2))),
            facts=draw(json_objects),
        )
        for number in range(draw(st.integers(0, 3)))
    ]
    return run_of(*records)


@pytest.mark.slow
@scale_examples(0.5)
@given(runs(), st.lists(verdicts(), min_size=1, max_size=4))
def test_new_verdicts_make_a_run_that_can_be_read_and_judged_again(
    run: Run, given_: list[Measurement]
) -> None:
    outputs = collect_outputs(run, unjudged=True).outputs
    judged = [
        RescoredOutput(output=output, measurements=(given_[number % len(given_)],))
        for number, output in enumerate(outputs)
    ]
    made = replace_verdicts(run, judged, STAMP)
    written = made.to_json()
    assert Run.from_json(written).to_json() == written
    assert replace_verdicts(made, [], STAMP).records == made.records
    assert {output.judge for output in collect_outputs(made).outputs} <= set(collect_outputs(made).judges)
    assert [record.nodeid for record in made.records] == [record.nodeid for record in run.records]
    untouched = set(range(len(run.records))) - {output.record for output in outputs}
    assert all(made.records[number] == run.records[number] for number in untouched)


@pytest.mark.slow
@scale_examples(0.5)
@given(runs())
def test_the_same_verdicts_change_no_outcome_and_no_message(run: Run) -> None:
    outputs = [output for output in collect_outputs(run).outputs if output.old is not None]
    again = [
        RescoredOutput(output=output, measurements=(output.old,))
        for output in outputs
        if output.old is not None
    ]
    made = replace_verdicts(run, again, RescoreStamp(day="2026-05-02", asked=False, at_least=3.0))
    assert [
        (record.outcome, record.message, record.raised, record.measurements) for record in made.records
    ] == [(record.outcome, record.message, record.raised, record.measurements) for record in run.records]
    assert not any(
        change.changed for change in compare_scores((rescored.output, rescored.top) for rescored in again)
    )


@pytest.mark.slow
@scale_examples(0.5)
@given(runs(), st.lists(verdicts(), min_size=1, max_size=4))
def test_every_text_is_printed_on_lines_of_its_own(run: Run, given_: list[Measurement]) -> None:
    outputs = collect_outputs(run, unjudged=True).outputs
    changed = compare_scores((output, given_[number % len(given_)]) for number, output in enumerate(outputs))
    lines = list(format_changes(changed, judge_called=True, passed_over={}))
    assert any(line.startswith("outputs ") and f" {len(outputs):,} of " in line for line in lines)
    for line in lines:
        assert line.isprintable()


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.integers(1, 10), st.integers(-6, 6)), min_size=18, max_size=60),
    st.integers(3, 8),
    st.integers(1, 10),
)
def test_no_threshold_of_the_new_judge_decides_more_alike(
    drawn: list[tuple[int, int]], old: int, present: int
) -> None:
    pairs = [(score, min(max(score + moved, 1), 10)) for score, moved in drawn]
    records = [TestRecord(nodeid=str(n), measurements=(verdict(float(pair[0]), threshold=float(old)),)) for n, pair in enumerate(pairs)]  # fmt: skip
    changes = compare_scores(
        (output, verdict(float(pairs[output.record][1]), name="newer", threshold=float(present)))
        for output in collect_outputs(run_of(*records)).outputs
    )
    shifts = find_threshold_shifts(changes, {})
    assert len(list(format_threshold_shifts(shifts))) == len(shifts) == 1
    decisions = [before >= old for before, _ in pairs]

    def kappa(cut: float) -> float:
        return cohen_kappa(decisions, [after >= cut for _, after in pairs]) or 0.0

    best = max(map(kappa, range(1, 11)), default=0.0)
    for shift in shifts:
        enough = len(pairs) >= 20 and min(sum(decisions), len(pairs) - sum(decisions)) >= 5
        assert ("equivalent" in shift) == (enough and best >= 0.4)
        if "equivalent" in shift:
            assert abs(kappa(shift["equivalent"]) - best) < 1e-9
            assert shift["passes"] == sum(after >= shift["equivalent"] for _, after in pairs)
