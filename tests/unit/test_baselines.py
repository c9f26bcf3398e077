"""Baseline files, what changed since one, and the verdict on it."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops.baselines import stored_answers
from pytest_llmops.baselines.baseline import SCHEMA, Acceptance, Baseline, summarize_test
from pytest_llmops.baselines.changes import compare_tests, list_changes, metric_trials
from pytest_llmops.baselines.gate import judge_suite
from pytest_llmops.baselines.metric_data import GateRules, MetricData, NextStep
from pytest_llmops.baselines.power import estimate_power
from pytest_llmops.baselines.stored_answers import StoredAnswers
from pytest_llmops.errors import UsageError
from pytest_llmops.harness.trials import merge_measurements
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Call, Message
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import Verdict
from pytest_llmops.wire import untrusted_documents

NO_OUTPUTS: dict[str, str] = {}
RNG = np.random.default_rng(0)


def record(case: str, *scores: float, name: str = "judge.tone", **more: Any) -> TestRecord:
    mean = sum(scores) / len(scores)
    measurement = Measurement(
        name=name, value=mean, samples=scores if len(scores) > 1 else (), version=more.pop("version", "1")
    )
    return TestRecord(nodeid=f"test_a.py::test_a[{case}]", measurements=(measurement,), **more)


def accept(*records: TestRecord) -> Baseline:
    latest = Acceptance(on="2026-11-02T10:00:00+00:00", reason="first", tests=len(records))
    return Baseline(tests={item.nodeid: summarize_test(item) for item in records}, history=(latest,))


def suite(cases: int, trials: int, level: float, seed: int = 0) -> list[TestRecord]:
    rng = np.random.default_rng(seed)
    scores = np.clip(np.round((level + rng.normal(0, 0.12, (cases, trials))) * 4) / 4, 0, 1)
    return [record(str(case), *map(float, row)) for case, row in enumerate(scores)]


def test_a_file_comes_back_as_it_was_written() -> None:
    facts = {
        "prompt": {"name": "answer", "version": "v1"},
        "recordings": ["ab12"],
        "case": {"id": "x", "input": "Hi?"},
    }
    baseline = accept(record("x", 0.5, 1.0, facts=facts), record("y", 0.25, version="2"))
    text = baseline.to_text()
    again = Baseline.from_bytes(text.encode(), where="b.json")
    assert again == baseline
    assert again.to_text() == text
    assert again.tests["test_a.py::test_a[x]"].fingerprints["prompt"] == "answer v1"


def test_the_file_has_a_line_for_each_metric_of_a_test() -> None:
    others = [record(case, 0.5, 0.75) for case in "abcd"]
    before, after = accept(*others, record("e", 1.0, 0.5)), accept(*others, record("e", 0.0, 0.0))
    lines = [set(side.to_text().splitlines()) for side in (before, after)]
    assert lines[0] ^ lines[1] == {'    "judge.tone": [1, 0.5]', '    "judge.tone": [0, 0]'}


@pytest.mark.slow
def test_a_thousand_cases_are_below_a_megabyte() -> None:
    names = ["judge.quality", "judge.quality.accuracy", "semantic.cosine", "semantic.checks", "text.contains"]
    facts: dict[str, Any] = {
        "recordings": [f"{i:016x}" for i in range(10)],
        "prompt": {"name": "support/answer", "version": "v12"},
    }
    records = []
    for case in range(1000):
        measured = tuple(
            Measurement(
                name=name, value=float(row.mean()), samples=tuple(map(float, row)), version="0123456789abcdef"
            )
            for name, row in zip(names, np.round(RNG.random((5, 10)), 2), strict=True)
        )
        records.append(
            TestRecord(
                nodeid=f"tests/test_support.py::test_answers[case-{case}]", measurements=measured, facts=facts
            )
        )
    assert len(accept(*records).to_text()) < 1_000_000


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected a baseline, got broken JSON"),
        (
            b'{"schema": "pytest-llmops/baseline/2"}',
            "expected a baseline of schema 'pytest-llmops/baseline/1'",
        ),
        (b"[]", "got a list without a schema"),
        (
            b'{"schema": "pytest-llmops/baseline/1", "tests": []}',
            "damaged: $.tests: expected an object, got a list",
        ),
        (
            b'{"schema": "pytest-llmops/baseline/1", "tests": {"t": {"scores": {"m": [1]}}}}',
            "no version of 'm' in $.metrics",
        ),
        (
            b'{"schema": "pytest-llmops/baseline/1", "metrics": {"m": ["", "up"]}}',
            'expected a version and "higher" or "lower"',
        ),
        (
            b'{"schema": "pytest-llmops/baseline/1", "metrics": {"m": ["", "higher"]}, "tests": {"t": {"scores": {"m": ["x"]}}}}',
            "expected a finite number or null",
        ),
        (
            b'{"schema": "pytest-llmops/baseline/1", "metrics": {"m": ["", "higher"]}, "tests": {"t": {"scores": {"m": []}}}}',
            "expected a list of scores",
        ),
        (b'{"schema": 1e999}', "finite"),
    ],
)
def test_a_file_that_is_no_baseline_is_refused_with_its_place(data: bytes, message: str) -> None:
    with pytest.raises(UsageError) as error:
        Baseline.from_bytes(data, where="llmops-baseline.json")
    assert str(error.value).startswith("llmops-baseline.json")
    assert message in str(error.value)


def test_a_partial_acceptance_keeps_the_other_tests() -> None:
    first = accept(record("a", 1.0), record("b", 1.0))
    part = Baseline(
        tests={"test_a.py::test_a[a]": summarize_test(record("a", 0.5))},
        history=(Acceptance(on="2026-11-03", reason="a only", partial=True),),
    )
    merged = first.accept(part)
    assert set(merged.tests) == set(first.tests)
    assert merged.tests["test_a.py::test_a[a]"].scores["judge.tone"] == (0.5,)
    assert [acceptance.reason for acceptance in merged.history] == ["first", "a only"]
    whole = first.accept(accept(record("a", 0.5)))
    assert set(whole.tests) == {"test_a.py::test_a[a]"}


def test_what_changed_is_listed_the_worst_first() -> None:
    baseline = accept(
        record("a", 1.0), record("b", 1.0), record("c", 0.5), record("d", 1.0), record("gone", 1.0)
    )
    now = [
        record("a", 0.75),
        record("b", 0.25, facts={}),
        record("c", 1.0),
        record("d", 1.0, version="2"),
        record("new", 0.5),
    ]
    outputs: dict[str, str] = {f"test_a.py::test_a[{name}]": f"old {name}" for name in "abcd"}
    changes = list_changes(compare_tests(baseline, now), outputs.get, partial=False)
    listed = [(change.nodeid.partition("[")[2][:-1], change.kind, change.words) for change in changes]
    assert listed == [
        ("b", "regressed", "judge.tone 1.00 -> 0.25"),
        ("a", "regressed", "judge.tone 1.00 -> 0.75"),
        ("c", "improved", "judge.tone 0.50 -> 1.00"),
        ("d", "not comparable", "another version of judge.tone"),
        ("gone", "removed", ""),
        ("new", "new", "judge.tone 0.50"),
    ]
    assert changes[0].before_output == "old b"


def test_a_test_that_broke_comes_before_one_that_scores_less() -> None:
    baseline = accept(record("a", 1.0), record("b", 1.0))
    changes = list_changes(
        compare_tests(baseline, [record("a", 0.0), record("b", 0.9, outcome="failed")]),
        NO_OUTPUTS.get,
        partial=False,
    )
    assert [change.nodeid[-2] for change in changes] == ["b", "a"]
    assert changes[0].words == "passed -> failed; judge.tone 1.00 -> 0.90"


def test_another_input_is_not_compared() -> None:
    baseline = accept(record("a", 1.0, facts={"case": {"id": "a", "input": "old?"}}))
    (change,) = list_changes(
        compare_tests(baseline, [record("a", 0.0, facts={"case": {"id": "a", "input": "new?"}})]),
        NO_OUTPUTS.get,
        partial=False,
    )
    assert (change.kind, change.why) == ("not comparable", "the case has another input or reference now")


def test_lower_is_better_turns_a_rise_into_a_loss() -> None:
    def hallucinated(share: float) -> TestRecord:
        measurement = Measurement(name="judge.hallucinations", value=share, better="lower")
        return TestRecord(nodeid="t", measurements=(measurement,))

    comparison = compare_tests(accept(hallucinated(0.25)), [hallucinated(0.5)])
    (change,) = list_changes(comparison, NO_OUTPUTS.get, partial=False)
    assert (change.kind, change.gain) == ("regressed", -0.25)
    (test,) = comparison.compared
    assert metric_trials(test.after, "judge.hallucinations", test.series) == (0.5,)


def test_the_same_measurement_twice_in_a_test_is_no_second_trial() -> None:
    twice = TestRecord(
        nodeid="t", measurements=tuple(Measurement(name="m", value=value) for value in (0.5, 1.0))
    )
    kept = summarize_test(twice)
    assert dict(kept.scores) == {"m": (0.5,), "m #2": (1.0,)}
    assert metric_trials(kept, "m", tuple(kept.scores)) == (0.75,)


def test_a_measurement_in_another_unit_hides_no_score_behind_it() -> None:
    scores = [Measurement(name="a", value=0.5), Measurement(name="b", value=1.0)]
    seconds = Measurement(name="llm.duration", value=3.0, unit="s")
    test = summarize_test(TestRecord(nodeid="t", measurements=(scores[0], seconds, scores[1])))
    assert test.scores == {"a": (0.5,), "b": (1.0,)}
    assert test.amounts == {}


def test_a_clear_drop_is_red_and_says_how_large_it_is() -> None:
    verdict = judge_suite(accept(*suite(30, 10, 0.85)), suite(30, 3, 0.7, seed=1), name="b.json")
    assert verdict.status == "RED"
    assert re.fullmatch(r"The suite got worse by 1\d\.\d points", verdict.sentence)
    assert verdict.advice == ()  # the cases of a proved drop differ because of it
    assert verdict.baseline == "b.json, accepted 2026-11-02 (first)"
    (metric,) = verdict.metrics
    assert metric.role == "primary"
    assert (metric.cases, metric.trials_before, metric.trials_after) == (30, 10, 3)
    assert metric.p_value is not None
    assert metric.p_value < 0.01
    assert metric.lower is not None
    assert metric.upper is not None
    assert metric.lower < metric.change < metric.upper < 0
    assert (metric.scored, metric.unscored) == (90, 0)
    assert Verdict.from_wire(json.loads(json.dumps(verdict.to_wire()))) == verdict


def test_the_same_scores_again_are_green() -> None:
    verdict = judge_suite(accept(*suite(50, 10, 0.85)), suite(50, 5, 0.85, seed=1))
    assert verdict.status == "GREEN"
    assert verdict.sentence == "On average, a drop of 5 points or more is ruled out"


def test_too_few_trials_to_tell_are_amber_and_say_what_would_decide_it() -> None:
    verdict = judge_suite(accept(*suite(60, 1, 0.6)), suite(60, 1, 0.57, seed=6))
    assert verdict.status == "AMBER"
    assert verdict.fails(strict=True)
    assert not verdict.fails(strict=False)
    assert verdict.sentence == "Not decided: a drop of 5 points or more is still possible (judge.tone)"
    measured = (
        r"Measured: -\d\.\d points; with 60 cases the true change may be anything from -\d+\.\d to \+\d\.\d"
    )
    assert re.fullmatch(measured, verdict.why)
    assert verdict.next_step.startswith("To decide, ")
    assert "--llm-trials" not in " ".join(verdict.advice)


@pytest.mark.parametrize(("cases", "trials"), [(9, 10), (19, 1), (19, 2)])
def test_a_small_suite_gets_no_statistical_verdict_on_its_mean(cases: int, trials: int) -> None:
    before = [record(str(case), *[0.8] * trials) for case in range(cases)]
    verdict = judge_suite(accept(*before), [record(str(case), 0.6) for case in range(cases)])
    assert verdict.status == "NONE"
    assert verdict.sentence == "Too few cases for a verdict: 20 are needed, or 10 with 3 trials"
    assert verdict.next_step == "For a verdict, add 1 case"
    assert len(verdict.of_kind("regressed")) > cases // 2


def test_replayed_recordings_of_the_baseline_are_no_evidence() -> None:
    facts = {"recordings": ["aa", "bb"]}
    baseline = accept(*(record(str(case), 1.0, 0.5, facts=facts) for case in range(25)))
    same = judge_suite(baseline, [record(str(case), 1.0, facts={"recordings": ["aa"]}) for case in range(25)])
    assert same.status == "GREEN"
    assert same.sentence == "Nothing changed: all 25 answers are the recordings of the baseline"
    assert same.unchanged == 25
    assert same.changes == ()
    mixed = judge_suite(
        baseline,
        [
            record(str(case), 1.0 if case else 0.0, facts={"recordings": ["aa" if case else "cc"]})
            for case in range(25)
        ],
    )
    (metric,) = mixed.metrics
    assert metric.unchanged == 24
    assert metric.change == pytest.approx(-0.75 / 25)


def test_other_scores_of_the_same_recordings_are_evidence() -> None:
    """The model answered as in the baseline, but the code made something else of it."""
    facts = {"recordings": ["aa", "bb"]}
    baseline = accept(*(record(str(case), 1.0, 0.5, facts=facts) for case in range(25)))
    swapped = [record(str(case), 0.5, facts={"recordings": ["aa"]}) for case in range(25)]
    verdict = judge_suite(baseline, swapped)
    assert verdict.status == "RED"
    assert len(verdict.of_kind("regressed")) == 25
    nearly = [record(str(case), 0.998, facts={"recordings": ["aa"]}) for case in range(25)]
    assert judge_suite(baseline, nearly).unchanged == 25


def test_changed_inputs_and_lost_metrics_are_not_nothing_changed() -> None:
    def make_record(case: int, text: str) -> TestRecord:
        facts = {"case": {"id": str(case), "input": text}, "recordings": ["aa"]}
        return record(str(case), 1.0, facts=facts)

    baseline = accept(*(make_record(case, "old?") for case in range(25)))
    verdict = judge_suite(baseline, [make_record(case, "new?") for case in range(25)])
    assert verdict.status == "NONE"
    assert len(verdict.of_kind("not comparable")) == 25

    lost = judge_suite(baseline, [record(str(case), 1.0, name="judge.other") for case in range(25)])
    assert lost.status == "NONE"  # other inputs as well
    both = [
        TestRecord(
            nodeid=f"t[{case}]", measurements=(Measurement(name="a", value=1), Measurement(name="b", value=1))
        )
        for case in range(25)
    ]
    fewer = [replace(test, measurements=test.measurements[:1]) for test in both]
    verdict = judge_suite(accept(*both), fewer)
    assert verdict.status == "ERROR"
    assert verdict.sentence == "Not compared: b is no longer measured in 25 of 25 tests (limit: 2)"
    assert verdict.next_step == "If that is intended, accept a new baseline:"
    assert verdict.of_kind("not comparable")[0].why == "not measured now: b"
    missed = [replace(test, raised=("CassetteMiss",), outcome="errored") for test in fewer]
    unreachable = [replace(test, raised=("ConnectError",), outcome="failed") for test in fewer]
    for broken in (missed, unreachable):
        verdict = judge_suite(accept(*both), broken)
        assert verdict.next_step == "Fix the 25 tests with an error first, then run again:"
        assert verdict.next_command == "pytest --llm-record=new"
    assert judge_suite(accept(*both), [*fewer[:2], *both[2:]]).status == "AMBER"  # 25 passes prove little


def test_what_could_not_be_scored_is_not_better() -> None:
    unscored = TestRecord(
        nodeid="t", measurements=(Measurement(name="m", error="no verdict"),), outcome="errored"
    )
    before = TestRecord(nodeid="t", measurements=(Measurement(name="m", value=0.5),), outcome="failed")
    (change,) = list_changes(compare_tests(accept(before), [unscored]), NO_OUTPUTS.get, partial=False)
    assert (change.kind, change.words) == ("not comparable", "failed -> errored; m 0.50 -> not scored")


def test_a_judge_that_was_not_called_is_unscored_and_no_other_version() -> None:
    scored = Measurement(name="judge.tone", value=1.0, version="7")
    not_asked = Measurement(name="judge.tone", error="not called: text.contains failed before it")
    merged = merge_measurements([[not_asked.to_wire()], [scored.to_wire()], [scored.to_wire()]])
    kept = summarize_test(TestRecord(nodeid="t", measurements=tuple(map(Measurement.from_wire, merged))))
    assert (dict(kept.scores), dict(kept.metrics)) == (
        {"judge.tone": (1.0, 1.0, None)},
        {"judge.tone": ("7", "higher")},
    )
    baseline = accept(*(record(str(case), 1.0, version="7") for case in range(25)))
    now = [replace(record(str(case), 1.0), measurements=(not_asked,), outcome="failed") for case in range(25)]
    verdict = judge_suite(baseline, now)
    assert verdict.sentence == "Not decided: the judge gave no score for 25 of 25 trials (judge.tone)"
    assert verdict.edits == ()  # a missing score does not show that anything was edited


def test_a_measurement_that_some_trials_left_out_costs_no_trial() -> None:
    measured = (
        Measurement(name="m", value=0.75, samples=(0.5, 0.5, 1.0, 1.0)),
        Measurement(name="m", value=1.0, label="again"),
    )
    kept = summarize_test(TestRecord(nodeid="t", measurements=measured))
    assert metric_trials(kept, "m", tuple(kept.scores)) == (0.75, 0.5, 1.0, 1.0)


def test_a_label_that_looks_like_a_number_loses_no_score() -> None:
    measured = tuple(Measurement(name="m", value=value, label="case #2") for value in (0.25, 0.5, 0.75))
    kept = summarize_test(TestRecord(nodeid="t", measurements=measured))
    assert list(kept.scores.values()) == [(0.25,), (0.5,), (0.75,)]


def test_a_single_repeated_case_does_not_tell_the_noise_of_the_others() -> None:
    rng = np.random.default_rng(3)
    before = [record(str(case), float(score)) for case, score in enumerate(rng.uniform(0.5, 1, 25))]
    after = [record(str(case), float(score)) for case, score in enumerate(rng.uniform(0.5, 1, 25) - 0.02)]
    repeated = record("again", 1.0, 1.0, 1.0)
    (alone,) = judge_suite(accept(*before), after).metrics
    (metric,) = judge_suite(accept(*before, repeated), [*after, repeated]).metrics
    assert alone.detectable is not None
    assert metric.detectable == pytest.approx(alone.detectable, rel=0.1)
    (power,) = estimate_power(accept(*before, repeated))
    assert (power.noise, power.detectable) == (None, ())


def test_trials_that_never_differ_promise_no_drop_that_is_noticed() -> None:
    steady = [record(str(case), 1.0, 1.0, 1.0) for case in range(12)]
    (power,) = estimate_power(accept(*steady))
    assert (power.noise, power.detectable) == (0.0, ())


def test_a_small_suite_is_never_an_error_that_fails_the_run() -> None:
    before = [record(str(case), 1.0) for case in range(5)]
    verdict = judge_suite(accept(*before), before[:3])
    assert (verdict.status, len(verdict.of_kind("removed"))) == ("NONE", 2)
    assert "2 of 5 tests of the baseline did not run" in verdict.sentence


def test_a_single_test_without_requests_beside_recorded_ones_is_not_undecided() -> None:
    records = [record(str(case), 1.0, facts={"recordings": ["aa"]}) for case in range(24)]
    records.append(record("plain", 0.75))
    assert judge_suite(accept(*records), records).status == "GREEN"


def test_another_version_of_the_judge_is_not_compared_but_an_error() -> None:
    now = [record(str(case), 0.1, version="2") for case in range(25)]
    verdict = judge_suite(accept(*(record(str(case), 1.0) for case in range(25))), now)
    assert verdict.status == "ERROR"
    assert verdict.sentence == "Not compared: judge.tone has another version than in the baseline"
    assert verdict.why == "In 25 of 25 tests"
    assert verdict.next_command == "llmops judge rescore"


def test_too_many_unscored_trials_are_an_error_not_a_drop() -> None:
    def unscored(case: int) -> TestRecord:
        measurement = Measurement(name="judge.tone", error="no verdict", version="1")
        return TestRecord(nodeid=f"test_a.py::test_a[{case}]", measurements=(measurement,), outcome="errored")

    baseline = accept(*(record(str(case), 1.0) for case in range(25)))
    now = [unscored(0), unscored(1), *(record(str(case), 1.0) for case in range(2, 25))]
    verdict = judge_suite(baseline, now)
    assert verdict.status == "ERROR"
    assert verdict.sentence == "Not decided: the judge gave no score for 2 of 25 trials (judge.tone)"
    assert verdict.why == "At most 1 of 25 may have none (5 %)"
    assert verdict.next_command == "pytest --llm-record=new"
    assert judge_suite(baseline, now[1:]).status != "ERROR"


@pytest.mark.parametrize("caught", [True, False], ids=["caught", "raised"])
def test_a_score_of_a_test_that_missed_a_request_is_no_low_score(caught: bool) -> None:
    def miss(case: int) -> TestRecord:
        low = record(str(case), 0.0, 0.0, 0.0)
        if caught:  # in a thread: the test failed by what it made of no answer
            return replace(low, outcome="failed", facts={**low.facts, "cassette": {"missed": 1}})
        return replace(low, outcome="errored", raised=("CassetteMiss",))

    before = [record(str(case), 1.0, 1.0, 1.0) for case in range(40)]
    verdict = judge_suite(accept(*before), [*map(miss, range(20)), *before[20:]])
    assert verdict.status == "ERROR"
    assert verdict.sentence == "Not decided: the judge gave no score for 60 of 120 trials (judge.tone)"
    assert verdict.broken == ()
    allowed = judge_suite(accept(*before), [miss(0), *before[1:]])
    assert allowed.metrics[0].after == allowed.metrics[0].before == 1


def test_missing_tests_are_an_error_and_a_partial_run_is_none() -> None:
    baseline, now = accept(*suite(30, 3, 0.9)), suite(30, 3, 0.9)[:20]
    verdict = judge_suite(baseline, now)
    assert verdict.status == "ERROR"
    assert verdict.sentence == "Not compared: 10 of 30 tests of the baseline did not run (limit: 3)"
    assert verdict.next_step == "If they were removed or renamed on purpose, accept a new baseline:"
    assert verdict.next_command.startswith("pytest --llm-accept ")
    broken = TestRecord(nodeid="test_a.py::test_a", outcome="errored", message="unknown prompt 'suport'")
    all_gone = judge_suite(baseline, [broken])
    assert all_gone.sentence == "Not compared: 30 of 30 tests of the baseline did not run (limit: 3)"
    assert all_gone.next_step == "Fix the 1 test with an error first, then run again:"
    assert all_gone.next_command == "pytest"
    partial = judge_suite(baseline, now, partial=True)
    assert partial.status == "NONE"
    assert partial.sentence == "No verdict: 20 of 30 tests of the baseline ran"
    assert (partial.next_step, partial.next_command) == ("For a verdict, run all tests:", "pytest")
    assert partial.of_kind("removed") == []
    assert len(verdict.of_kind("removed")) == 10


def test_a_declared_metric_decides_and_the_others_only_alarm() -> None:
    def both(case: int, tone: float, facts: float) -> TestRecord:
        measured = tuple(
            Measurement(name=name, value=value)
            for name, value in (("judge.tone", tone), ("judge.facts", facts))
        )
        return TestRecord(nodeid=f"t[{case}]", measurements=measured)

    rng = np.random.default_rng(2)
    noise = rng.normal(0, 0.01, (60, 2))
    before = [both(case, 0.8 + float(a), 0.8) for case, (a, _) in enumerate(noise)]
    after = [both(case, 0.8 + float(b), 0.6) for case, (_, b) in enumerate(noise)]
    rules = GateRules(primary="judge.tone")
    verdict = judge_suite(accept(*before), after, rules=rules)
    assert [(metric.name, metric.role, metric.status) for metric in verdict.metrics] == [
        ("judge.tone", "primary", "GREEN"),
        ("judge.facts", "guard-rail", "RED"),
    ]
    assert verdict.status == "RED"
    assert verdict.sentence == "The suite got worse by 20.0 points (judge.facts)"
    unknown = judge_suite(accept(*before), after, rules=GateRules(primary="judge.x"))
    assert unknown.status == "ERROR"
    assert unknown.sentence.endswith("names 'judge.x', which no test measured")
    assert unknown.why == "Measured: judge.facts, judge.tone"


def test_the_likely_range_stays_within_the_scale() -> None:
    before, after = ([record(str(case), float(case != failed)) for case in range(20)] for failed in (0, 1))
    (metric,) = judge_suite(accept(*before), after).metrics
    assert metric.upper == pytest.approx(0.05)  # the spread alone reaches above 1


def test_equal_scores_everywhere_are_green_without_a_division_by_zero() -> None:
    verdict = judge_suite(
        accept(*(record(str(case), 0.9) for case in range(59))),
        [record(str(case), 0.9) for case in range(59)],
    )
    assert verdict.status == "GREEN"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cases", "before", "after", "failed", "status"),
    [
        (58, 1, 1, 0, "AMBER"),
        (59, 1, 1, 0, "GREEN"),
        (20, 3, 3, 0, "GREEN"),
        (20, 10, 3, 1, "AMBER"),
        (50, 10, 3, 1, "GREEN"),
        (100, 3, 1, 2, "AMBER"),
        (100, 3, 1, 1, "GREEN"),
    ],
)
def test_checks_that_pass_exclude_rare_failures_only_when_there_are_enough_of_them(
    cases: int, before: int, after: int, failed: int, status: str
) -> None:
    # One in 20 failing now: 59 trials all pass in 5 % of the runs, and at most one of 60 fails in 19 %. Of 100 at
    # most one fails in 4 %, at most two in 12 %; that all trials of the baseline passed, and have no spread, says nothing of those.
    accepted = accept(*(record(str(case), *[1.0] * before) for case in range(cases)))
    run = [record(str(case), *[float(case >= failed), *[1.0] * (after - 1)]) for case in range(cases)]
    verdict = judge_suite(accepted, run)
    assert verdict.status == status
    if before < 3 and status == "AMBER":
        assert verdict.next_step == "To decide, record 2 trials per case, if the scores stay as they are:"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cases", "looks", "status"), [(58, 1, "AMBER"), (59, 1, "GREEN"), (71, 2, "AMBER"), (72, 2, "GREEN")]
)
def test_a_quiet_baseline_does_not_spare_the_run_its_trials(cases: int, looks: int, status: str) -> None:
    accepted = accept(*(record(str(case), *[1.0] * 10) for case in range(cases)))
    run = [record(str(case), 1.0) for case in range(cases)]
    assert judge_suite(accepted, run, rules=GateRules().divide(looks)).status == status


def test_a_score_that_is_lower_makes_no_suite_green_that_was_not() -> None:
    perfect = [record(str(case), 1.0, 1.0, 1.0) for case in range(12)]
    for lower in (0.75, 0.5, 0.0):
        worse = [record("0", lower, 1.0, 1.0), *perfect[1:]]
        assert judge_suite(accept(*perfect), worse).status == "AMBER"
    assert judge_suite(accept(*perfect), perfect[:]).status == "AMBER"


def judge_passes(before: np.ndarray, after: np.ndarray, rules: GateRules | None = None) -> Verdict:
    """Judge checks that pass (1) or fail (0), cases by trials."""
    baseline, run = make_passes(before, after)
    return judge_suite(baseline, run, rules=rules)


def make_passes(before: np.ndarray, after: np.ndarray) -> tuple[Baseline, list[TestRecord]]:
    """Return such checks as a baseline and a run."""
    accepted, run = (
        [record(str(case), *map(float, row)) for case, row in enumerate(side)] for side in (before, after)
    )
    return accept(*accepted), run


def read_plans(
    before: np.ndarray, after: np.ndarray, verdict: Verdict, rules: GateRules | None = None
) -> dict[str, tuple[int, int, int]]:
    """Return what the next step of a verdict on such checks needs: cases, trials in the baseline, and trials of the run."""
    rules = rules or GateRules()
    baseline, run = make_passes(before, after)
    data = MetricData("judge.tone", compare_tests(baseline, run))
    step = data.plan_next_step(rules, (rules.mean_level, rules.alpha))
    assert verdict.next_step.startswith(step.words)
    return list_plans(step, len(before), before.shape[1], after.shape[1])


def list_plans(step: NextStep, cases: int, before: int, after: int) -> dict[str, tuple[int, int, int]]:
    """Return the cases, and the trials of each in the baseline and in the run, that a next step plans."""
    plans = {}
    if step.run_only:
        plans["trials"] = cases, before, step.run_only
    elif step.both:
        here = after if step.has_enough_trials else step.both
        plans["trials"] = cases, step.both, here
    if step.cases:
        plans["cases"] = cases + step.cases, before, after
    return plans


@pytest.mark.slow
def test_what_is_advised_settles_most_suites_whose_baseline_has_few_trials() -> None:
    settled: dict[str, list[bool]] = {"trials": [], "cases": []}
    for seed in range(14):
        draws = np.random.default_rng(seed).random((2, 400, 30)) < 0.97
        verdict = judge_passes(draws[0, :20, :3], draws[1, :20, :3])
        if verdict.status == "AMBER":
            plans = read_plans(draws[0, :20, :3], draws[1, :20, :3], verdict)
            for kind, (cases, before, after) in plans.items():
                status = judge_passes(draws[0, :cases, :before], draws[1, :cases, :after]).status
                settled[kind].append(status != "AMBER")
    assert min(map(len, settled.values())) >= 7
    assert {
        kind: sum(outcomes) / len(outcomes) >= 0.8 for kind, outcomes in settled.items()
    } == dict.fromkeys(settled, True)


AUTO = replace(GateRules().divide(2), planned=(3, 5))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cases", "before", "after", "rules", "kinds"),
    [
        (10, 3, 3, GateRules(), ["trials", "cases"]),
        (12, 3, 3, GateRules(), ["trials", "cases"]),
        (10, 3, 20, GateRules(), ["trials", "cases"]),
        (15, 5, 3, AUTO, ["trials", "cases"]),
        (10, 3, 5, AUTO, ["cases"]),
        (20, 1, 1, GateRules(), ["trials", "cases"]),
    ],
)
def test_where_all_pass_as_many_trials_or_cases_as_are_advised_settle_it_and_fewer_do_not(
    cases: int, before: int, after: int, rules: GateRules, kinds: list[str]
) -> None:
    present = np.ones((cases, before)), np.ones((cases, after))
    verdict = judge_passes(*present, rules)
    assert verdict.status == "AMBER"
    plans = read_plans(*present, verdict, rules)
    assert list(plans) == kinds
    for kind, plan in plans.items():
        for less, status in ((0, "GREEN"), (3 if kind == "cases" else 1, "AMBER")):  # about so many cases
            now = (cases, before, after)
            fewer = [max(number - less, least) for number, least in zip(plan, now, strict=True)]
            old, new = (np.ones((fewer[0], trials)) for trials in fewer[1:])
            assert (kind, judge_passes(old, new, rules).status) == (kind, status)


def test_an_undecided_run_of_single_trials_has_one_hint() -> None:
    single = np.ones((2, 24, 1))
    single[0, :2] = single[1, 1:3] = 0
    verdict = judge_passes(*single)
    assert verdict.status == "AMBER"
    assert "trials per case" in verdict.next_step
    assert "--llm-trials" not in " ".join(verdict.advice)


def test_a_further_trial_that_makes_no_drop_finer_is_not_named() -> None:
    many, few = (
        judge_suite(accept(*suite(cases, 3, 0.85)), suite(cases, 3, 0.85, seed=1)) for cases in (250, 40)
    )
    assert ["--llm-trials" in text for text in (*many.advice, *few.advice)] == [False, True]


@pytest.mark.slow
def test_the_drop_of_rare_failures_that_is_said_to_be_noticed_is_noticed_in_eight_of_ten_runs() -> None:
    # Checks that fail more often vary more: today's spread alone names a drop of 8.3 points, noticed in 5 of 10 runs.
    draws = np.random.default_rng(4).random((80, 2, 20, 3))
    named = [judge_passes(before < 0.97, after < 0.97).metrics[0].detectable for before, after in draws[:20]]
    drop = sorted(filter(None, named))[len(named) // 2]
    noticed = [
        judge_passes(before < 0.97, after < 0.97 - drop).status == "RED" for before, after in draws[20:]
    ]
    assert 0.7 < sum(noticed) / len(noticed) < 0.93


def test_metrics_that_are_undecided_alike_are_reported_once() -> None:
    def passing(case: int) -> TestRecord:
        checks = ("text.contains", "text.exact")
        return TestRecord(
            nodeid=f"t[{case}]", measurements=tuple(Measurement(name=name, value=1.0) for name in checks)
        )

    records = [passing(case) for case in range(24)]
    verdict = judge_suite(accept(*records), records)
    assert verdict.status == "AMBER"
    assert verdict.sentence.endswith("is still possible (text.contains and 1 more)")


def test_outputs_belong_to_one_acceptance(tmp_path: Path) -> None:
    path = stored_answers.outputs_path(tmp_path / "llmops-baseline.json")
    answers = StoredAnswers({"t": "Hello"}, {"ab12": {"model": "m", "messages[0]": "Hi?"}})
    path.write_bytes(stored_answers.encode_answers(answers, "2026-11-02"))
    assert stored_answers.read_answers(path, "2026-11-02") == answers
    assert stored_answers.read_answers(path, "2026-11-03") == StoredAnswers()
    for other in (b"", gzip.compress(b"[1]"), gzip.compress(b'{"accepted": "2026-11-02"}')):
        path.write_bytes(other)
        assert stored_answers.read_answers(path, "2026-11-02") == StoredAnswers()
    assert stored_answers.read_answers(tmp_path / "none.json.gz", "2026-11-02") == StoredAnswers()


@pytest.mark.parametrize("end", [20, -4])
def test_outputs_that_are_damaged_or_cut_count_as_absent(tmp_path: Path, end: int) -> None:
    whole = stored_answers.encode_answers(StoredAnswers({"t": "Hello"}), "2026-11-02")
    path = tmp_path / "outputs.json.gz"
    for damaged in (whole[:end], whole[:20] + b"\xff\xff\xff\xff" + whole[24:]):
        path.write_bytes(damaged)
        assert stored_answers.read_answers(path, "2026-11-02") == StoredAnswers()


def test_outputs_that_unfold_to_too_much_count_as_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = StoredAnswers({"t": "x" * 2_000})
    path = tmp_path / "outputs.json.gz"
    path.write_bytes(stored_answers.encode_answers(answers, "2026-11-02"))
    assert stored_answers.read_answers(path, "2026-11-02") == answers
    monkeypatch.setattr(untrusted_documents, "MAX_BYTES", 2_000)
    assert stored_answers.read_answers(path, "2026-11-02") == StoredAnswers()


def test_an_error_shortens_the_name_of_a_measurement() -> None:
    name = "x" * 5_000
    data = json.dumps({"schema": SCHEMA, "metrics": {}, "tests": {"t": {"scores": {name: [1.0]}}}}).encode()
    with pytest.raises(UsageError, check=check_message):
        Baseline.from_bytes(data, where="baseline.json")


def test_a_primary_metric_that_cannot_be_decided_leaves_no_verdict() -> None:
    def with_more(case: int, level: float) -> TestRecord:
        extra = (Measurement(name="judge.tone", value=level),) if case < 6 else ()
        return TestRecord(
            nodeid=f"t[{case}]", measurements=(Measurement(name="text.exact", value=1.0), *extra)
        )

    before, after = ([with_more(case, level) for case in range(25)] for level in (0.9, 0.2))
    verdict = judge_suite(accept(*before), after, rules=GateRules(primary="judge.tone"))
    assert verdict.status == "NONE"
    assert verdict.sentence.startswith("Too few cases for a verdict on judge.tone: ")
    assert verdict.next_step == "For a verdict, add 14 cases"


def test_the_cases_that_a_verdict_lacks_are_those_of_the_metric_that_is_nearest() -> None:
    def make(case: int, level: float) -> TestRecord:
        repeated: tuple[Measurement, ...] = ()
        if case < 5:
            repeated = (Measurement(name="b", value=level, samples=(level,) * 3),)
        return TestRecord(nodeid=f"t[{case}]", measurements=(Measurement(name="a", value=level), *repeated))

    before, after = ([make(case, level) for case in range(12)] for level in (0.9, 0.7))
    verdict = judge_suite(accept(*before), after)
    assert verdict.status == "NONE"
    assert verdict.next_step == "For a verdict, add 5 cases"  # of b; a lacks 8


def test_a_suite_that_cannot_decide_asks_to_read_the_changed_answers() -> None:
    def answered(case: int, score: float, text: str) -> TestRecord:
        call = Call(messages=(Message("user", f"question {case}"),), output=text)
        return replace(record(str(case), score), calls=(call,))

    before = [answered(case, case % 4 / 4, "yes") for case in range(20)]
    after = [answered(case, (case * 7 + 3) % 4 / 4, "no") for case in range(20)]
    verdict = judge_suite(accept(*before), after)
    assert verdict.status == "AMBER"
    assert verdict.next_step == "This suite cannot decide so small a change. Read the 20 changed answers"


@pytest.mark.parametrize(
    ("step", "words", "command"),
    [
        (NextStep(cases=1, present_cases=12), "To decide, add about 1 case; more trials would not help", ""),
        (NextStep(both=4, present_cases=12), "To decide, record 4 trials per case in the baseline and on this branch", ""),
        (NextStep(both=4, has_enough_trials=True, present_cases=12), "To decide, record 4 trials per case in the baseline", ""),
        (NextStep(both=4, two_sided=True, present_cases=12), "To decide, record 4 trials per case", ""),
        (NextStep(run_only=5, is_fixed=False), "To decide, record 5 trials per case:", "pytest --llm-record=new"),
        (NextStep(run_only=5), "To decide, record 5 trials per case:", "pytest --llm-record=new --llm-trials=5"),
        (NextStep(cases=101, present_cases=20), "This suite cannot decide so small a change", ""),
        (NextStep(cases=501, present_cases=400), "This suite cannot decide so small a change", ""),
    ],
)  # fmt: skip
def test_a_next_step_is_said_in_words(step: NextStep, words: str, command: str) -> None:
    assert (step.words, step.command) == (words, command)


def test_a_test_that_broke_before_it_measured_is_unscored() -> None:
    baseline = accept(*(record(str(case), 1.0) for case in range(30)))
    broken = [
        TestRecord(nodeid=f"test_a.py::test_a[{case}]", outcome="errored", measurements=())
        for case in range(2)
    ]
    verdict = judge_suite(baseline, [*broken, *(record(str(case), 1.0) for case in range(2, 30))])
    assert verdict.status == "ERROR"
    assert verdict.sentence == "Not decided: the judge gave no score for 2 of 30 trials (judge.tone)"


def test_fewer_trials_that_pass_are_a_change() -> None:
    def tried(case: int, passed: int) -> TestRecord:
        facts = {"trials": {"n": 5, "passed": passed, "failed": 5 - passed, "unscored": 0}}
        return record(str(case), 1.0, 1.0, 1.0, 1.0, 1.0, facts=facts)

    before, after = ([tried(case, passed) for case in range(20)] for passed in (5, 3))
    verdict = judge_suite(accept(*before), after)
    assert verdict.status == "RED"
    assert verdict.sentence == "The suite got worse by 40.0 points (trials.passed)"
