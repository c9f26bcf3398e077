"""What becomes of undecided suites that follow the gate's advice: the planned trials, or cases, are drawn, and judged again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.suites import KINDS, METRIC, find_strength, judge_build, make_suite
from pytest_llmops.baselines.changes import compare_tests
from pytest_llmops.baselines.gate import judge_suite
from pytest_llmops.baselines.metric_data import MAX_PLANNED_TRIALS, GateRules, MetricData, NextStep

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Array = NDArray[float64]

MAX_CASES = 400
"""No more are drawn, whatever is advised."""
SHAPES = ((20, 3, 3), (50, 3, 3))
ADVISED_KINDS = ("checks, 97 % pass", "judge, 1 to 5")
DROPS = (0.0, 0.03, 0.05)


def plan_suite(before: Array, after: Array, rules: GateRules | None = None) -> NextStep:
    """Return what would decide a build that is AMBER."""
    rules = rules or GateRules()
    data = MetricData(METRIC, compare_tests(*make_suite(before, after)))
    return data.plan_next_step(rules, (rules.mean_level, rules.alpha))


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


def draw_large_suites(name: str, drop: float, builds: int) -> Iterator[tuple[Array, Array]]:
    """Yield the scores before and after of more cases and trials than any advice asks for."""
    kind = KINDS[name]
    generator = np.random.default_rng([len(name), round(drop * 1000)])
    reference = kind.draw_cases(generator, 20_000)
    everywhere = np.ones(len(reference), bool)
    strength = find_strength(kind, reference, everywhere, drop) if drop else 0.0
    for _ in range(builds):
        levels = kind.draw_cases(generator, MAX_CASES)
        before = kind.draw(generator, levels, MAX_PLANNED_TRIALS, 0.0)
        now = kind.worsen(levels, strength) if drop else levels
        yield before, kind.draw(generator, now, MAX_PLANNED_TRIALS, 0.0)


def follow_advice(name: str, drop: float, shape: tuple[int, int, int], builds: int) -> str:
    """Return how many suites are AMBER in %, and of those how many are not once the advised trials, or cases, are taken.

    In brackets: how many of them are advised trials at all, in %.
    """
    cases, before, after = shape
    settled: dict[str, list[bool]] = {"trials": [], "cases": []}
    amber = 0
    for old, new in draw_large_suites(name, drop, builds):
        small = old[:cases, :before], new[:cases, :after]
        if judge_suite(*make_suite(*small)).status != "AMBER":
            continue
        amber += 1
        plans = list_plans(plan_suite(*small), cases, before, after)
        for kind, (planned_cases, trials_before, trials_after) in plans.items():
            count = min(planned_cases, MAX_CASES)
            later = judge_build(old[:count, :trials_before], new[:count, :trials_after])
            settled[kind].append(later != "AMBER")
    shares = {kind: 100 * sum(answers) / max(len(answers), 1) for kind, answers in settled.items()}
    advised = 100 * len(settled["trials"]) / max(amber, 1)
    return f"{100 * amber / builds:.0f}: {shares['trials']:.0f} ({advised:.0f}), {shares['cases']:.0f}"


def advice_lines(builds: int) -> Iterator[str]:
    """Yield the table of what becomes of undecided suites that follow the advice."""
    yield ""
    yield f"undecided of {builds} suites in %: decided in % by the advised trials (advised to so many %), by the advised cases"
    yield f"| scores | cases x trials | {' | '.join(f'{-100 * drop:.0f} in all' if drop else 'unchanged' for drop in DROPS)} |"
    yield f"|---|---|{'---|' * len(DROPS)}"
    for name in ADVISED_KINDS:
        for shape in SHAPES:
            cases, before, after = shape
            cells = [follow_advice(name, drop, shape, builds) for drop in DROPS]
            yield f"| {name} | {cases} x {before}+{after} | {' | '.join(cells)} |"
