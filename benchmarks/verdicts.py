"""Error rates of the gate: simulated suites through the shipped functions."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from pytest_llmops.baselines.baseline import Baseline, BaselineTest
from pytest_llmops.baselines.changes import compare_tests
from pytest_llmops.baselines.gate import LOOK_LEVELS, judge_suite
from pytest_llmops.baselines.metric_data import MAX_PLANNED_TRIALS, GateRules, MetricData, NextStep
from pytest_llmops.measurement import Measurement
from pytest_llmops.metrics.change.trials import TrialPair, draw_null_changes
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import Verdict

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

BUILDS = int(os.environ.get("LLMOPS_BUILDS", "400"))
LEVELS = 4
"""Steps of a scale with five levels."""
NOISE = float(np.hypot(0.10, 0.08))
"""Of the application and the judge, a trial."""
CHURN = 0.08
BETA = 5.3, 1.1
"""Quality of the cases: mean .82 (after rounding to levels), SD .14."""
SCENARIOS = {
    "A/A": (0.0, 1.0, 0.0),
    "A/A'": (0.0, 1.0, CHURN),
    "-3 spread": (0.03, 1.0, CHURN),
    "-5 spread": (0.05, 1.0, CHURN),
    "-5 in 20 %": (0.05, 0.2, CHURN),
    "-10 in 20 %": (0.10, 0.2, CHURN),
}
"""Drop of the mean, share of the cases that carry it, and SD of shifts without a net effect."""
SIZES = ((20, 3), (20, 5), (50, 3), (50, 5), (200, 3))
LOOKED_AT = (20, 50, 200)
"""Cases of the suites that are simulated with ``--llm-trials=auto``."""
BASELINE_TRIALS = 10
THRESHOLD = 0.7
CHECK_RATE = 0.97
"""Share of trials that pass in the builds that follow the gate's advice."""
MAX_CASES = 500
"""No more are drawn, whatever is advised."""


def expected_scores(latent: NDArray[float64]) -> NDArray[float64]:
    """Return the mean score of cases of a latent quality: rounded to levels, clipped to 0..1."""
    edges = (np.arange(LEVELS) + 0.5) / LEVELS
    means: NDArray[float64] = ndtr((latent[..., None] - edges) / NOISE).mean(axis=-1)
    return means


def find_shift(reference: NDArray[float64], moved: NDArray[float64], drop: float) -> float:
    """Return how far the latent quality of the moved cases has to fall for the mean score to drop."""
    before = expected_scores(reference).mean()
    low, high = -0.5, 1.5
    for _ in range(50):
        middle = (low + high) / 2
        enough = before - expected_scores(reference - middle * moved).mean() >= drop
        low, high = (low, middle) if enough else (middle, high)
    return (low + high) / 2


def draw_trials(generator: np.random.Generator, latent: NDArray[float64], trials: int) -> NDArray[float64]:
    """Return scores of trials, cases by trials."""
    noisy = latent[:, None] + generator.normal(0, NOISE, (len(latent), trials))
    scores: NDArray[float64] = np.round(np.clip(noisy, 0, 1) * LEVELS) / LEVELS
    return scores


def judge_looks(before: NDArray[float64], after: NDArray[float64]) -> tuple[str, int]:
    """Return the verdict of ``--llm-trials=auto``, and the trials of each case that it took."""
    status = ""
    for trials, alpha in LOOK_LEVELS.items():
        status = judge_build(before, after[:, :trials], GateRules(alpha=alpha))
        if status != "AMBER":
            return status, trials
    return status, max(LOOK_LEVELS)


def judge_build(before: NDArray[float64], after: NDArray[float64], rules: GateRules | None = None) -> str:
    """Return the verdict of the shipped gate on a build."""
    return judge_suite_of(before, after, rules).status


def judge_suite_of(
    before: NDArray[float64], after: NDArray[float64], rules: GateRules | None = None
) -> Verdict:
    """Return the verdict of the shipped gate on a build, with its advice."""
    baseline, records = make_suite(before, after)
    return judge_suite(baseline, records, rules=rules)


def make_suite(before: NDArray[float64], after: NDArray[float64]) -> tuple[Baseline, list[TestRecord]]:
    """Return scores of cases by trials as a baseline and the tests of a run."""
    tests, records = {}, []
    for case, (old, new) in enumerate(zip(before.tolist(), after.tolist(), strict=True)):
        nodeid = f"test_suite.py::test_case[{case}]"
        tests[nodeid] = BaselineTest(
            outcome="passed", scores={"judge.quality": tuple(old)}, metrics={"judge.quality": ("1", "higher")}
        )
        measurement = Measurement(
            name="judge.quality", value=sum(new) / len(new), samples=tuple(new), version="1"
        )
        records.append(TestRecord(nodeid=nodeid, measurements=(measurement,)))
    return Baseline(tests=tests), records


def draw_builds(
    name: str, cases: int, trials: int, builds: int, baseline_trials: int = BASELINE_TRIALS
) -> Iterator[tuple[NDArray[float64], NDArray[float64], float]]:
    """Yield the scores before and after, cases by trials, and the true change of the suite's mean, of each build."""
    drop, share, churn = SCENARIOS[name]
    generator = np.random.default_rng([cases, trials, list(SCENARIOS).index(name)])
    reference = generator.beta(*BETA, 40_000)
    shaken = reference + generator.normal(0, churn, reference.size) if churn else reference
    # Rounding makes shifts without an effect on the mean quality move the mean score: they are centred.
    centre = find_shift(
        shaken,
        np.ones_like(shaken),
        float(expected_scores(shaken).mean() - expected_scores(reference).mean()),
    )
    hit = generator.random(reference.size) < share
    shift = find_shift(shaken - centre, hit.astype(float), drop) if drop else 0.0
    for _ in range(builds):
        latent = generator.beta(*BETA, cases)
        moved = latent + (generator.normal(0, churn, cases) - centre if churn else 0)
        moved = moved - shift * (generator.random(cases) < share)
        before = draw_trials(generator, latent, baseline_trials)
        change = float(expected_scores(moved).mean() - expected_scores(latent).mean())
        yield before, draw_trials(generator, moved, trials), change


def simulate(name: str, cases: int, trials: int, builds: int) -> str:
    """Return the share of each verdict over simulated builds in %; with 0 trials by looks, and the mean number of trials."""
    verdicts, taken = [], []
    for before, after, _ in draw_builds(name, cases, trials or max(LOOK_LEVELS), builds):
        verdict, count = (judge_build(before, after), trials) if trials else judge_looks(before, after)
        verdicts.append(verdict)
        taken.append(count)
    cell = "/".join(f"{100 * verdicts.count(status) / builds:.0f}" for status in ("RED", "GREEN", "AMBER"))
    return cell if trials else f"{cell}, {sum(taken) / builds:.1f}"


def simulate_checks(rate: float, cases: int, trials: tuple[int, int], drop: float, builds: int) -> str:
    """Return the share of each verdict in % where a check that passes at a rate fails more often by a drop in all cases."""
    generator = np.random.default_rng([cases, *trials, round(rate * 1000), round(drop * 1000)])
    verdicts = []
    for _ in range(builds):
        before, after = (
            (generator.random((cases, count)) < passing).astype(np.float64)
            for count, passing in zip(trials, (rate, rate - drop), strict=True)
        )
        verdicts.append(judge_build(before, after))
    return "/".join(f"{100 * verdicts.count(status) / builds:.0f}" for status in ("RED", "GREEN", "AMBER"))


def draw_checks(drop: float, builds: int) -> Iterator[tuple[NDArray[float64], NDArray[float64]]]:
    """Yield the trials before and after of cases that all pass at one rate, as many as any advice asks for."""
    generator = np.random.default_rng([round(drop * 1000)])
    for _ in range(builds):
        sides = (generator.random((MAX_CASES, MAX_PLANNED_TRIALS)) for _ in range(2))
        yield tuple(
            (side < CHECK_RATE - lost).astype(float) for side, lost in zip(sides, (0, drop), strict=True)
        )  # type: ignore[misc]


def plan_suite(before: NDArray[float64], after: NDArray[float64], rules: GateRules | None = None) -> NextStep:
    """Return what would decide a build that is AMBER."""
    rules = rules or GateRules()
    baseline, records = make_suite(before, after)
    data = MetricData("judge.quality", compare_tests(baseline, records))
    return data.plan_next_step(rules, (rules.alpha, rules.alpha))


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


def follow_advice(
    builds: Iterable[tuple[NDArray[float64], NDArray[float64]]], cases: int, before: int, after: int
) -> str:
    """Return how many builds are AMBER in %, and of those how many are not once the advised trials, or cases, are taken.

    In brackets: how many of them are advised trials at all, in %.
    """
    settled: dict[str, list[bool]] = {"trials": [], "cases": []}
    amber = total = 0
    for old, new in builds:
        total += 1
        verdict = judge_suite_of(old[:cases, :before], new[:cases, :after])
        if verdict.status != "AMBER":
            continue
        amber += 1
        step = plan_suite(old[:cases, :before], new[:cases, :after])
        for kind, (planned_cases, trials_before, trials_after) in list_plans(
            step, cases, before, after
        ).items():
            count = min(planned_cases, MAX_CASES)
            later = judge_build(old[:count, :trials_before], new[:count, :trials_after])
            settled[kind].append(later != "AMBER")
    shares = {kind: 100 * sum(answers) / max(len(answers), 1) for kind, answers in settled.items()}
    advised = 100 * len(settled["trials"]) / max(amber, 1)
    return f"{100 * amber / total:.0f}: {shares['trials']:.0f} ({advised:.0f}), {shares['cases']:.0f}"


def advice_lines(builds: int) -> Iterator[str]:
    """Yield the table of what becomes of undecided builds that follow the advice."""
    yield "undecided builds in %: settled in % by the advised trials (advised to so many %), by the advised cases"
    for cases, before, after in ((20, 3, 3), (20, 10, 3), (20, 3, 1), (50, 3, 3)):
        cells = [follow_advice(draw_checks(drop, builds), cases, before, after) for drop in (0.0, 0.03, 0.05)]
        yield f"| checks, {CHECK_RATE:.0%} pass | {cases} | {before}, {after} | {' | '.join(cells)} |"
    for cases, before, after in ((20, 3, 3), (20, 10, 1)):
        cells = [
            follow_advice(
                (
                    (old, new)
                    for old, new, _ in draw_builds(
                        name, MAX_CASES, MAX_PLANNED_TRIALS, builds, MAX_PLANNED_TRIALS
                    )
                ),
                cases,
                before,
                after,
            )
            for name in ("A/A'", "-3 spread", "-5 spread")
        ]
        yield f"| five levels | {cases} | {before}, {after} | {' | '.join(cells)} |"


def threshold_line(cases: int = 20, builds: int = 4000) -> str:
    """Return how often a threshold in each case turns an unchanged suite red that was green before."""
    generator = np.random.default_rng(cases)
    red = 0
    for _ in range(builds):
        latent = generator.beta(*BETA, cases)
        before, after = (draw_trials(generator, latent, 1)[:, 0] for _ in range(2))
        red += bool((after[before >= THRESHOLD] < THRESHOLD).any())
    return f"a threshold of {THRESHOLD} in each of {cases} cases, nothing changed: {100 * red / builds:.0f} % of the builds are red"


def speed_line(cases: int = 1000) -> str:
    """Return what 9,999 permutations of single trials cost here, against scipy's on the same numbers."""
    from scipy import stats

    generator = np.random.default_rng(0)
    before, after = generator.random((2, cases))
    trials = {
        str(case): TrialPair((old,), (new,))
        for case, (old, new) in enumerate(zip(before, after, strict=True))
    }
    times = []
    start = time.process_time()
    draw_null_changes([trials])
    times.append(time.process_time() - start)
    start = time.process_time()
    stats.permutation_test(
        (after, before),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        alternative="less",
        vectorized=True,
        batch=500,
    )
    times.append(time.process_time() - start)
    return f"9,999 permutations of {cases:,} cases: {times[0]:.2f} s CPU, scipy {times[1] / times[0]:.1f} times that"


def lines(builds: int = BUILDS) -> Iterator[str]:
    """Yield the table, a row for each size of a suite."""
    yield speed_line()
    yield threshold_line()
    yield f"verdicts of {builds} simulated builds each, {BASELINE_TRIALS} trials in the baseline, RED/GREEN/AMBER %"
    yield f"| cases x trials | {' | '.join(SCENARIOS)} |"
    yield f"|---|{'---|' * len(SCENARIOS)}"
    for cases, trials in SIZES:
        cells = [simulate(name, cases, trials, builds) for name in SCENARIOS]
        yield f"| {cases} x {trials} | {' | '.join(cells)} |"
    yield "checks that pass or fail, by the rate at which they pass: A/A, and with a drop of 3 and 5 points"
    for rate in (1.0, 0.98, 0.95):
        for cases, *counts in (
            (20, 1, 1),
            (20, 3, 3),
            (20, 10, 3),
            (50, 1, 1),
            (50, 3, 3),
            (100, 3, 1),
            (200, 3, 3),
        ):
            size = f"{rate:.2f}, {cases} x {counts[0]} and {counts[1]}"
            cells = [
                simulate_checks(rate, cases, (counts[0], counts[1]), drop, builds)
                for drop in (0.0, 0.03, 0.05)
            ]
            yield f"| {size} | {' | '.join(cells)} |"
    yield "--llm-trials=auto, with the mean number of trials of a case"
    for cases in LOOKED_AT:
        cells = [simulate(name, cases, 0, builds) for name in SCENARIOS]
        yield f"| {cases} | {' | '.join(cells)} |"
    yield from advice_lines(builds)


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
