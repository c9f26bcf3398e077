"""Verdicts on variants: better, worse, equal, undecided or not compared, from records alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from support.shared import shared

from benchmarks.ab import compare, real_pairs, simulate, single_judgements
from pytest_llmops.baselines.side_by_side import judge_comparisons
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Call, Usage
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.verdict import Verdict

NOISE = (-0.05, 0.0, 0.05)


def scores(mean: float, trials: int = 3) -> list[float]:
    return [mean + NOISE[trial % 3] for trial in range(trials)]


def suite(changes: Mapping[str, float], cases: int = 20, trials: int = 3) -> tuple[Verdict, ...]:
    """Compare variants whose scores differ from those of v1 by so much in each case."""
    return compare(
        {
            "v1": {str(case): scores(0.5 + case % 4 / 20, trials) for case in range(cases)},
            **{
                value: {str(case): scores(0.5 + change + case % 4 / 20, trials) for case in range(cases)}
                for value, change in changes.items()
            },
        }
    )


def record(value: str, case: str, *measurements: Measurement, **more: Any) -> TestRecord:
    compared = {
        "argument": "version",
        "value": value,
        "place": int(value[1:]) - 1,
        "base": "v1",
        "case": [case],
    }
    facts = {"compare": {**compared, **more.pop("compare", {})}, **more.pop("facts", {})}
    return TestRecord(
        nodeid=f"test_a.py::test_a[{value}-{case}]", measurements=measurements, facts=facts, **more
    )


def quality(mean: float, name: str = "judge.quality") -> Measurement:
    return Measurement(name=name, value=mean, samples=tuple(scores(mean)))


@pytest.mark.parametrize(
    ("change", "status"),
    [(0.1, "better"), (-0.1, "worse"), (0.0, "equivalent"), (0.015, "equivalent"), (-0.03, "worse")],
)
def test_a_difference_decides(change: float, status: str) -> None:
    (verdict,) = suite({"v2": change})
    assert verdict.status == status
    assert verdict.metrics[0].change == pytest.approx(change)
    assert verdict.headline.startswith(f"{verdict.word.upper()}  version v2 against v1: judge.quality ")
    assert ("a difference of 5 points or more is ruled out" in verdict.sentence) == (status == "equivalent")
    lower, upper = verdict.metrics[0].lower, verdict.metrics[0].upper
    assert lower is not None
    assert upper is not None
    assert lower < change < upper
    assert (lower > 0 or upper < 0) == (status in ("better", "worse"))


def test_the_interval_holds_the_change_and_the_margin_excludes_it() -> None:
    metric = suite({"v2": 0.0})[0].metrics[0]
    assert metric.lower is not None
    assert metric.upper is not None
    assert -0.05 < metric.lower < metric.change < metric.upper < 0.05


@pytest.mark.parametrize(
    ("cases", "trials", "status"), [(12, 3, "undecided"), (20, 1, "undecided"), (40, 3, "equivalent")]
)
def test_few_trials_that_all_pass_exclude_no_rare_failures(cases: int, trials: int, status: str) -> None:
    side = {str(case): [1.0] * trials for case in range(cases)}
    (verdict,) = compare({"v1": side, "v2": side})
    assert verdict.status == status
    assert (verdict.status == "undecided") == bool(verdict.next_step)


def test_what_is_undecided_says_what_would_settle_it() -> None:
    generator = [((case * 7 + trial * 5) % 11 - 5) / 11 for case in range(20) for trial in range(6)]
    sides = {
        value: {
            str(case): [0.5 + change + generator[case * 6 + trial + start] * 0.9 for trial in range(3)]
            for case in range(20)
        }
        for value, change, start in (("v1", 0.0, 0), ("v2", 0.03, 3))
    }
    (verdict,) = compare(sides)
    assert verdict.status == "undecided"
    assert verdict.next_step == verdict.metrics[0].next_step != ""


def test_checks_that_all_pass_take_as_many_trials_as_are_advised_and_no_fewer() -> None:
    def passing(cases: int, trials: int) -> Verdict:
        side = {str(case): [1.0] * trials for case in range(cases)}
        return compare({"v1": side, "v2": side})[0]

    cases, trials = map(int, re.findall(r"(\d+) (?:trials|cases)", passing(10, 3).next_step))
    assert [passing(10, trials - less).status for less in (1, 0)] == ["undecided", "equivalent"]
    assert [passing(10 + cases - less, 3).status for less in (3, 0)] == ["undecided", "equivalent"]


def test_a_large_difference_that_is_nearly_proved_takes_few_further_trials() -> None:
    def fail(cases: int, trials: int = 1) -> dict[str, list[float]]:
        return {str(case): [float(case >= cases)] * trials for case in range(20)}

    verdict = compare({"v1": fail(0), "v2": fail(6), "v3": fail(0)})[0]
    assert verdict.status == "undecided"
    assert verdict.metrics[0].change == pytest.approx(-0.3)
    (trials,) = map(int, re.findall(r"(\d+) trials", verdict.next_step))
    assert trials <= 10
    assert compare({"v1": fail(0, trials), "v2": fail(6, trials), "v3": fail(0, trials)})[0].status == "worse"


def test_what_got_worse_is_named_the_worst_first_unless_the_variant_is_as_good() -> None:
    before = {case: scores(0.8) for case in "abcdefghijkl"}
    after = {
        **before,
        "f": scores(0.1),
        "b": scores(0.3),
        "k": scores(0.2),
        "c": scores(0.5),
        "d": scores(0.4),
    }
    verdicts = compare({"v1": before, "v2": after, "v3": {case: scores(0.9) for case in before}})
    assert [verdict.status for verdict in verdicts] == ["worse", "better"]
    assert verdicts[0].sentence == "judge.quality worse by 20.8 points (0.80 → 0.59)"
    assert verdicts[0].advice[0] == "worse: f, k, b, d, c"
    assert not any(text.startswith("worse:") for text in verdicts[1].advice)


def test_a_small_suite_says_what_a_verdict_takes() -> None:
    (verdict,) = suite({"v2": 0.3}, cases=5)
    assert verdict.status == "undecided"
    assert "10 with 3 trials" in verdict.next_step
    assert (verdict.metrics[0].p_value, verdict.metrics[0].lower) == (None, None)


def test_several_variants_are_corrected_for_their_number() -> None:
    alone = suite({"v2": 0.02})[0].metrics[0]
    beside = suite({"v2": 0.02, "v3": 0.0, "v4": 0.0})[0].metrics[0]
    assert alone.p_value is not None
    assert beside.p_value is not None
    assert beside.p_value == pytest.approx(min(3 * alone.p_value, 1.0))
    assert beside.lower is not None
    assert alone.lower is not None
    assert beside.lower < alone.lower


def test_the_primary_metric_decides_and_a_guard_rail_can_only_spoil() -> None:
    def records(other: float) -> list[TestRecord]:
        return [
            record(
                value, str(case), quality(0.5 + gain), quality(0.5 + loss, "text.contains"),
                compare={"primary": "judge.quality"},
            )
            for case in range(20)
            for value, gain, loss in (("v1", 0.0, 0.0), ("v2", 0.1, other))
        ]  # fmt: skip

    good, bad = judge_comparisons(records(0.1))[0], judge_comparisons(records(-0.2))[0]
    assert (good.status, bad.status) == ("better", "worse")
    assert [metric.role for metric in good.metrics] == ["primary", "guard-rail", "guard-rail"]
    assert bad.sentence.startswith("text.contains worse by 20.0 points (0.50 → 0.30)")
    assert any(text.startswith("judge.quality better by 10.0 points") for text in bad.advice)


def test_a_primary_metric_may_have_spaces_in_its_name() -> None:
    records = [
        record(value, str(case), quality(score, "answer quality"), compare={"primary": "answer quality"})
        for case in range(20)
        for value, score in (("v1", 0.5), ("v2", 0.7))
    ]
    (verdict,) = judge_comparisons(records)
    assert verdict.status == "better", verdict.sentence
    assert [metric.name for metric in verdict.metrics if metric.role == "primary"] == ["answer quality"]


def test_of_several_primary_metrics_those_that_the_tests_measured_decide() -> None:
    records = [
        record(value, str(case), quality(score), compare={"primary": "text.contains judge.quality"})
        for value, score in (("v1", 0.5), ("v2", 0.7))
        for case in range(20)
    ]
    (verdict,) = judge_comparisons(records)
    assert verdict.status == "better"
    assert [metric.name for metric in verdict.metrics if metric.role == "primary"] == ["judge.quality"]


def test_a_primary_metric_that_was_not_measured_is_an_error() -> None:
    records = [
        record(value, str(case), quality(0.5), compare={"primary": "judge.other"})
        for case in range(20)
        for value in ("v1", "v2")
    ]
    assert judge_comparisons(records)[0].status == "error"
    assert "judge.other" in judge_comparisons(records)[0].sentence


def test_a_metric_whose_lower_values_are_better() -> None:
    def made(value: float) -> Measurement:
        return Measurement(name="judge.errors", value=value, samples=tuple(scores(value)), better="lower")

    records = [
        record(value, str(case), made(level))
        for case in range(20)
        for value, level in (("v1", 0.4), ("v2", 0.2))
    ]
    assert judge_comparisons(records)[0].status == "better"


def test_unscored_trials_are_no_low_scores() -> None:
    missing = Measurement(name="judge.quality", error="no verdict")
    records = [
        record(
            value,
            str(case),
            missing if (value, case) == ("v2", 3) else quality(0.5 + (value == "v2") / 10),
            outcome="errored" if (value, case) == ("v2", 3) else "passed",
        )
        for case in range(40)
        for value in ("v1", "v2")
    ]
    (verdict,) = judge_comparisons(records)
    assert (verdict.status, verdict.metrics[0].cases) == ("better", 39)
    many = [
        record(
            value,
            str(case),
            *(() if value == "v1" and case < 6 else (quality(0.5),)),
            outcome="errored" if value == "v1" and case < 6 else "passed",
        )
        for case in range(40)
        for value in ("v1", "v2")
    ]
    (verdict,) = judge_comparisons(many)
    assert verdict.status == "error"
    assert verdict.sentence == "not compared: no score for 6 of 80 trials"


def test_families_are_listed_and_stand_for_unseen_cases() -> None:
    def records(families: int) -> list[TestRecord]:
        return [
            record(
                value,
                str(case),
                quality(0.5 + (value == "v2") * (0.3 if case % families == 0 else 0.0)),
                facts={"case": {"id": str(case), "family": f"f{case % families}"}},
            )
            for case in range(60)
            for value in ("v1", "v2")
        ]

    (verdict,) = judge_comparisons(records(2))
    by_family = {metric.family: metric.status for metric in verdict.metrics if metric.family}
    assert by_family == {"f0": "better", "f1": "equivalent"}
    assert any("+30.0 points f0 (better)" in text for text in verdict.advice)
    assert any("only these cases, not for unseen ones (2 families)" in text for text in verdict.advice)
    assert any(
        "for unseen cases like these as well (20 cases)" in text for text in suite({"v2": 0.1})[0].advice
    )


def test_cost_latency_and_length_stand_beside_the_quality() -> None:
    def call(usd: float | None, seconds: float, text: str) -> Call:
        return Call(model="m", output=text, usage=Usage(), cost_usd=usd, latency_s=seconds)

    records = [
        record(value, str(case), quality(0.5), calls=calls)
        for case in range(20)
        for value, calls in (
            ("v1", (call(0.001, 0.5, "x" * 10), call(0.003, 0.5, "x" * 20))),
            ("v2", (call(0.004, 1.0, "x" * 40), call(None, 1.0, ""))),
        )
    ]
    text = judge_comparisons(records)[0].advice[-1]
    assert (
        text
        == "an answer: cost $0.002 → $0.004, median latency 0.50 s → 1.00 s, 95th percentile 0.50 s → 1.00 s, characters 15 → 40"
    )


def test_the_same_answers_on_both_sides_are_equivalent_without_any_doubt() -> None:
    records = [
        record(value, str(case), quality(0.5), facts={"recordings": ["a", "b", "c"]})
        for case in range(3)
        for value in ("v1", "v2")
    ]
    (verdict,) = judge_comparisons(records)
    assert (verdict.status, verdict.metrics[0].unchanged) == ("equivalent", 3)


def test_comparisons_of_other_arguments_and_prompts_are_apart() -> None:
    def named(argument: str, prompt: str) -> Iterable[TestRecord]:
        return [
            TestRecord(
                nodeid=f"test_{argument}.py::test_{prompt}[{value}-{case}]",
                measurements=(quality(0.5),),
                facts={
                    "compare": {"argument": argument, "value": value, "place": place, "base": "v1", "case": [str(case)]},
                    "prompt": {"name": prompt, "version": value},
                },
            )
            for case in range(10)
            for place, value in enumerate(("v1", "v2"))
        ]  # fmt: skip

    comparisons = judge_comparisons(
        [*named("prompt", "answer"), *named("prompt", "ticket"), *named("size", "answer")]
    )
    assert [verdict.subject for verdict in comparisons] == ["prompt answer v2", "prompt ticket v2", "size v2"]


def test_questions_whose_tool_a_smaller_catalogue_lacks_are_no_missing_cases() -> None:
    every, few = ["refund", "track"], ["refund"]
    records = []
    for number in range(20):
        tool = every[number % 2]
        for value, tools in (("v1", every), ("v2", few)):
            facts = {"tools": {"catalogue": value, "tools": tools, "expected": [tool]}}
            if tool in tools:
                records.append(record(value, str(number), quality(0.5), facts=facts))
    (verdict,) = judge_comparisons(records)
    assert (verdict.metrics[0].cases, verdict.status) == (10, "undecided")
    assert "10 questions left out, whose tool only one of the catalogues has" in verdict.advice
    lost = [test for test in records if test.nodeid != "test_a.py::test_a[v2-0]"]
    lost = [test for test in lost if test.nodeid != "test_a.py::test_a[v2-2]"]
    (verdict,) = judge_comparisons(lost)
    assert verdict.sentence == "not compared: 2 of 10 cases did not run on both sides"


def test_two_functions_with_the_same_case_ids_are_two_cases() -> None:
    records = [
        TestRecord(
            nodeid=f"test_a.py::test_{name}[{value}-{case}]",
            measurements=(quality(0.5 + (value == "v2") * change),),
            facts={
                "compare": {
                    "argument": "version",
                    "value": value,
                    "place": place,
                    "base": "v1",
                    "case": [str(case)],
                }
            },
        )
        for name, change in (("a", 0.2), ("b", 0.0))
        for case in range(10)
        for place, value in enumerate(("v1", "v2"))
    ]
    (verdict,) = judge_comparisons(records)
    assert verdict.metrics[0].cases == 20
    assert verdict.metrics[0].change == pytest.approx(0.1)


def test_a_run_file_keeps_the_verdicts() -> None:
    run = Run(verdicts=suite({"v2": 0.1, "v3": 0.0}))
    assert Run.from_json(run.to_json()).verdicts == run.verdicts


def test_a_suite_without_comparisons_says_nothing_of_them() -> None:
    assert '"verdicts": []' in Run().to_json()


@pytest.mark.slow
def test_the_published_error_rates_hold() -> None:
    same, drop = (simulate(name, 50, 5, 40).split("/") for name in ("A/A", "-5 in 20 %"))
    assert float(same[1]) <= 2
    assert float(drop[1]) >= 65


@pytest.mark.slow
def test_real_pairs_of_models_have_no_wrong_sign() -> None:
    shared("judge", "repeated_judge", "mt_bench_eval.jsonl.gz")
    result = [*real_pairs(), *single_judgements()]
    assert len(result) == 7
    for name, truth, verdict in result:
        wrong = "worse" if truth > 0 else "better"
        assert verdict.status not in (wrong, "error"), name
        assert math.copysign(1, verdict.metrics[0].change) == math.copysign(1, truth), name
    decided: Sequence[str] = [
        verdict.status for _, _, verdict in result if verdict.status in ("better", "worse")
    ]
    assert len(decided) >= 4


def test_scores_that_are_not_from_0_to_1_are_not_compared() -> None:
    (verdict,) = judge_comparisons(
        [
            record(value, str(case), quality(4.0 + (value == "v2") * 0.3))
            for value in ("v1", "v2")
            for case in range(20)
        ]
    )
    assert verdict.status == "error"
    assert verdict.sentence.startswith("not compared: judge.quality has scores that are not from 0 to 1 (")
