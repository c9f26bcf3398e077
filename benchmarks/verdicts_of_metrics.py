"""Several metrics in one verdict, and ``--llm-trials=auto``: error rates and power."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.figures import line
from benchmarks.suites import KINDS, JudgeScale, Scenario, draw_suite, judge_trials, make_data, pair_scores
from pytest_llmops._util.option_modes import LOOKS
from pytest_llmops.baselines.broken import find_broken
from pytest_llmops.baselines.metric_data import GateRules
from pytest_llmops.baselines.metric_verdicts import judge_metrics
from pytest_llmops.harness.baseline_gate import LEAST_CHANCE

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

CASES = 50
TRIALS = 3
COUNTS = (2, 5, 10)
COMMON = (0.0, 0.7)
"""What the metrics of an answer have in common: the correlation of their cases and of their trials."""
DROP = 0.05
LIMIT = 6.0
AGAIN = 4
Counts = Counter[str]


def draw_metrics(
    generator: np.random.Generator, count: int, common: float, fallen: int | None
) -> list[tuple[NDArray[float64], NDArray[float64]]]:
    """Return both sides of several metrics of a judge, cases by trials; ``fallen`` got worse by 5 points."""
    judge = JudgeScale()

    def mix(*shape: int) -> NDArray[float64]:
        """Return normal numbers of each metric, which correlate by ``common``."""
        shared = generator.normal(size=shape)
        own = generator.normal(size=(count, *shape))
        mixed: NDArray[float64] = np.sqrt(common) * shared + np.sqrt(1 - common) * own
        return mixed

    levels = 0.9 + 0.8 * mix(CASES)
    sides = []
    noise_before, noise_after = (judge.NOISE * mix(CASES, TRIALS) for _ in range(2))
    for number in range(count):
        now = levels[number]
        if number == fallen:
            now = now - find_drop(judge, now)
        before = judge.cut(levels[number][:, None] + noise_before[number])
        sides.append((before, judge.cut(now[:, None] + noise_after[number])))
    return sides


def find_drop(judge: JudgeScale, levels: NDArray[float64]) -> float:
    """Return how far the judge's opinion has to fall for the mean score to fall by 5 points."""
    low, high = 0.0, 4.0
    for _ in range(30):
        middle = (low + high) / 2
        is_enough = judge.mean(levels).mean() - judge.mean(levels - middle).mean() >= DROP
        low, high = (low, middle) if is_enough else (middle, high)
    return high


def count_metrics(count: int, common: float, fallen: int | None, builds: int, seed: int = 0) -> Counts:
    """Count the suites that are RED, and those that are GREEN by the first metric, by the first three and by all."""
    generator = np.random.default_rng([count, round(10 * common), 8 if fallen is None else fallen, seed])
    rules = GateRules(primary="judge.metric0")
    counts: Counts = Counter()
    for _ in range(builds):
        measured = [
            make_data(pair_scores(before, after), f"judge.metric{number}")
            for number, (before, after) in enumerate(draw_metrics(generator, count, common, fallen))
        ]
        verdicts = judge_metrics(measured, rules.named, rules)
        broken = find_broken(measured, (), rules.named, rules)
        is_red = broken.is_red or any(metric.status == "RED" for metric in verdicts)
        counts["RED"] += is_red
        green = [metric.status == "GREEN" and not is_red for metric in verdicts]
        counts["first"] += green[0]
        counts["three"] += all(green[:3])
        counts["all"] += all(green)
    return counts


def draw_unchanged(row: tuple[int, float], builds: int) -> Counts:
    """Return the counts of other unchanged suites of a row."""
    return count_metrics(*row, None, builds, seed=1)


def metric_lines(pool: Executor, builds: int) -> Iterator[str]:
    """Yield the table of several metrics."""
    rows = [(count, common) for count in COUNTS for common in COMMON]
    columns = [None, 0, 1]
    cells = [(count, common, fallen) for count, common in rows for fallen in columns]
    results = list(
        pool.map(
            count_metrics,
            *zip(*cells, strict=True),
            [builds if cell[2] is None else builds // 2 for cell in cells],
        )
    )
    yield ""
    yield f"several metrics of a judge, {CASES} x {TRIALS}+{TRIALS}, %: RED of {builds} unchanged suites (nominal 5), RED where one fell by 5 points, GREEN of unchanged ones"
    yield "| metrics | correlated by | false RED | -5 in the primary | -5 in a guard-rail | GREEN by the primary | by three | by all |"
    yield "|---|---|---|---|---|---|---|---|"
    worst = 0.0
    # As in `benchmarks.verdicts`: a cell above the limit is drawn again with more builds, and that figure counts
    high = [row for place, row in enumerate(rows) if 100 * results[place * 3]["RED"] / builds > LIMIT]
    again = dict(zip(high, pool.map(draw_unchanged, high, [AGAIN * builds] * len(high)), strict=True))
    for place, (count, common) in enumerate(rows):
        same, primary, guard = results[place * 3 :][:3]
        shares = [100 * same[what] / builds for what in ("RED", "first", "three", "all")]
        found = [100 * counts["RED"] / (builds // 2) for counts in (primary, guard)]
        if (count, common) in again:
            shares[0] = 100 * again[count, common]["RED"] / (AGAIN * builds)
        worst = max(worst, shares[0])
        three = f"{shares[2]:.0f}" if count > 3 else ""
        yield f"| {count} | {common:g} | {shares[0]:.1f} | {found[0]:.0f} | {found[1]:.0f} | {shares[1]:.0f} | {three} | {shares[3]:.0f} |"
    yield line("verdicts", "false RED with several metrics, worst of 6 cells", round(worst, 1), LIMIT, " %")


def count_looks(scenario: Scenario, builds: int) -> Counts:
    """Count the verdicts of ``auto`` and its trials, beside the verdicts of three trials."""
    looks = tuple(LOOKS.values())
    rules = replace(GateRules().divide(len(looks)), planned=looks, next_trials=looks[-1])
    generator = np.random.default_rng([len(scenario.kind), scenario.cases, round(100 * scenario.drop)])
    counts: Counts = Counter()
    for _ in range(builds):
        suite = draw_suite(scenario, generator)
        first = pair_scores(suite.before, suite.after[:, : looks[0]])
        counts[f"three {judge_trials(first).status}"] += 1
        judged = judge_trials(first, rules)
        taken = looks[0]
        if judged.status == "AMBER":
            chance = judged.data.chance_of_verdict(rules, (rules.mean_level, rules.alpha), looks[1])
            if chance >= LEAST_CHANCE:
                judged = judge_trials(suite.trials, rules)
                taken = looks[1]
        counts[judged.status] += 1
        counts["trials"] += taken
    return counts


def look_lines(pool: Executor, builds: int) -> Iterator[str]:
    """Yield the table of ``auto``."""
    rows = [
        (kind, cases, before)
        for kind in ("checks, 97 % pass", "checks, 90 % pass", "judge, 1 to 5")
        for cases, before in ((20, 3), (20, 10), (50, 3))
    ]
    scenarios = [
        Scenario(kind=kind, cases=cases, before=before, after=max(LOOKS.values()), drop=drop)
        for kind, cases, before in rows
        for drop in (0.0, DROP)
    ]
    assert all(scenario.kind in KINDS for scenario in scenarios)
    results = list(pool.map(count_looks, scenarios, [builds] * len(scenarios)))
    yield ""
    yield f"--llm-trials=auto, RED/GREEN % and mean trials of a case, {builds} builds; with three trials"
    yield "| scores | cases, trials of the baseline | unchanged: auto | three | -5 in all: auto | three |"
    yield "|---|---|---|---|---|---|"
    worst = 0.0
    for place, (kind, cases, before) in enumerate(rows):
        parts = []
        for counts in results[2 * place :][:2]:
            shares = {what: 100 * count / builds for what, count in counts.items()}
            parts.append(
                f"{shares.get('RED', 0):.1f}/{shares.get('GREEN', 0):.0f}, {counts['trials'] / builds:.1f}"
            )
            parts.append(f"{shares.get('three RED', 0):.1f}/{shares.get('three GREEN', 0):.0f}")
        worst = max(worst, 100 * results[2 * place]["RED"] / builds)
        yield f"| {kind} | {cases}, {before} | {' | '.join(parts)} |"
    yield line("verdicts", f"false RED with auto, worst of {len(rows)} cells", round(worst, 1), LIMIT, " %")


def lines(pool: Executor, builds: int) -> Iterator[str]:
    """Yield both tables."""
    yield from metric_lines(pool, max(2, builds // 4))
    yield from look_lines(pool, max(2, 2 * builds // 5))
