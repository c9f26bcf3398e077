"""Error rates and power of the gate, each with its nominal level: simulated suites through the shipped functions.

The cut-offs of the gate were chosen on other simulated suites than these (`benchmarks.suites`). A cell above its limit is drawn
again with other numbers and four times the builds, and if that may still be chance with sixteen times, and that figure counts: of two
hundred cells at 5 % some are above 6 by chance.
``LLMOPS_BUILDS`` (1,000) is the number of builds of a cell with 20 cases. ``python -m benchmarks.verdicts``
"""

from __future__ import annotations

import math
import multiprocessing
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from benchmarks import verdict_cost, verdicts_of_metrics, verdicts_on_alpaca
from benchmarks.builds import BETA, draw_trials
from benchmarks.figures import line
from benchmarks.suites import (
    KINDS,
    METRIC,
    Scenario,
    Suite,
    draw_suite,
    judge_build,
    judge_trials,
    make_data,
)
from benchmarks.verdict_advice import advice_lines, list_plans, plan_suite
from pytest_llmops.baselines.broken import find_broken
from pytest_llmops.baselines.metric_data import GateRules
from pytest_llmops.metrics.change.bounds import lower_bound
from pytest_llmops.metrics.change.broken_cases import confirm_broken_cases, find_broken_cases
from pytest_llmops.metrics.change.p_values import ROUNDING, compare_cases, drop_p_value, exchange_trials
from pytest_llmops.metrics.change.trials import mean_change

__all__ = ["lines", "list_plans", "plan_suite"]

BUILDS = int(os.environ.get("LLMOPS_BUILDS", "1000"))
SHARES = {20: 1.0, 50: 0.6, 200: 0.4}
"""Builds of a cell by its number of cases, as a share of `BUILDS`."""
AGAIN = 4
"""So many times the builds for a cell that is drawn again."""
LEVEL = 0.05
MEAN_LIMIT = 6.0
WHOLE_LIMIT = 8.0
FOUND_LIMIT = 75.0
LIKENESS = (0.0, 0.25, 0.5)
SHAPES = ((1, 1), (3, 3), (5, 5), (10, 3))
THRESHOLD = 0.7
RULES = GateRules()
CHECKS = [name for name, kind in KINDS.items() if kind.is_check]
Counts = Counter[str]


@dataclass(frozen=True)
class Cell:
    """A cell of a table: the scenario, and in how many of the builds something happened."""

    scenario: Scenario
    builds: int
    counts: Counts

    def share(self, what: str) -> float:
        """Return in how many builds it happened, in %."""
        return 100 * self.counts[what] / self.builds

    def error(self, what: str) -> float:
        """Return the standard error of `share`."""
        share = self.counts[what] / self.builds
        return 100 * math.sqrt(share * (1 - share) / self.builds)


Count = Callable[[Scenario, int, int], Counts]


def builds_of(scenario: Scenario, factor: float = 1.0) -> int:
    return max(1, round(BUILDS * SHARES[scenario.cases] * factor))


def draw_suites(scenario: Scenario, builds: int, seed: int) -> Iterator[tuple[Suite, np.random.Generator]]:
    """Yield suites of a scenario, which depend on its words and the seed."""
    generator = np.random.default_rng([zlib.crc32(repr(scenario).encode()), seed])
    for _ in range(builds):
        yield draw_suite(scenario, generator), generator


def measure(
    pool: Executor, count: Count, scenarios: Sequence[Scenario], factor: float = 1.0, seed: int = 0
) -> list[Cell]:
    """Return the cells of scenarios, counted on all processors."""
    builds = [builds_of(scenario, factor) for scenario in scenarios]
    counts = pool.map(count, scenarios, builds, [seed] * len(builds))
    return [Cell(*values) for values in zip(scenarios, builds, counts, strict=True)]


def draw_again(pool: Executor, count: Count, cells: Sequence[Cell], limits: dict[str, float]) -> list[Cell]:
    """Return the cells, those above a limit drawn again with more builds; once more, if that may still be chance."""
    factor = cells[0].builds / builds_of(cells[0].scenario)
    current = {cell.scenario: cell for cell in cells}
    for seed in (1, 2):
        high = [
            cell for cell in current.values() if any(may_be_chance(cell, *item) for item in limits.items())
        ]
        factor *= AGAIN
        drawn = measure(pool, count, [cell.scenario for cell in high], factor, seed)
        current |= {cell.scenario: cell for cell in drawn}
    return list(current.values())


def may_be_chance(cell: Cell, what: str, limit: float) -> bool:
    """Return whether a share is above its limit, but by no more than two standard errors, or only drawn once."""
    is_first = cell.builds <= builds_of(cell.scenario, 1.5)
    is_near = cell.share(what) - 2 * cell.error(what) <= limit
    return cell.share(what) > limit and (is_first or is_near)


def limit_lines(cells: Sequence[Cell], what: str, text: str, limit: float) -> Iterator[str]:
    """Yield the worst cell beside the limit, and every other one that misses it."""
    ordered = sorted(cells, key=lambda cell: -cell.share(what))
    for place, cell in enumerate(ordered):
        share = cell.share(what)
        which = "also" if place else f"worst of {len(cells)} cells"
        if place and share <= limit:
            return
        facts = f"{cell.builds:,} builds, standard error {cell.error(what):.1f}"
        name = f"{text}, {which} ({cell.scenario.describe()}; {facts})"
        yield line("verdicts", name, round(share, 1), limit, " %")


# --- RED ---------------------------------------------------------------------------------------------------------------


def count_red(scenario: Scenario, builds: int, seed: int) -> Counts:
    """Count what calls the suites worse: both tests at 5 %, each of them, and the whole verdict as it is shipped."""
    counts: Counts = Counter()
    for suite, _ in draw_suites(scenario, builds, seed):
        trials = suite.trials
        has_fallen = mean_change(trials) <= -RULES.floor + ROUNDING
        is_broken = find_broken([make_data(trials)], (), [METRIC], RULES).is_red
        if not has_fallen and not is_broken:
            continue
        by_trials = exchange_trials(trials)
        by_cases = compare_cases(trials)
        both = max(by_trials, by_cases)
        counts["trials"] += has_fallen and by_trials <= LEVEL + ROUNDING
        counts["cases"] += has_fallen and by_cases <= LEVEL + ROUNDING
        counts["mean"] += has_fallen and both <= LEVEL + ROUNDING
        counts["whole"] += is_broken or both <= RULES.mean_level + ROUNDING
    return counts


def red_lines(pool: Executor) -> Iterator[str]:
    """Yield how often unchanged suites are RED."""
    scenarios = []
    for cases in SHARES:
        for before, after in SHAPES:
            if (cases, before) == (200, 5):
                continue  # takes a quarter of the time, and is between its neighbours
            likeness = (
                LIKENESS if after > 1 else LIKENESS[:1]
            )  # a single trial has nothing in common with itself
            scenarios += [
                Scenario(kind=kind, cases=cases, before=before, after=after, alike=alike)
                for kind in KINDS
                for alike in likeness
            ]
    cells = measure(pool, count_red, scenarios)
    cells = draw_again(pool, count_red, cells, {"mean": MEAN_LIMIT, "whole": WHOLE_LIMIT})
    yield ""
    yield f"unchanged suites that are RED, %: the worst of {len(KINDS)} kinds of scores, trials alike by 0 / 1/4 / 1/2; nominal 5 (whole verdict: 4 + what broke)"
    yield "| cases x trials | mean, both tests | whole verdict | paired t only | trials' test only |"
    yield "|---|---|---|---|---|"
    for cases in SHARES:
        for before, after in SHAPES:
            row = [cell for cell in cells if size_of(cell) == (cases, before, after)]
            if row:
                parts = [join_worst(row, what) for what in ("mean", "whole", "cases", "trials")]
                yield f"| {cases} x {before}+{after} | {' | '.join(parts)} |"
    yield from limit_lines(cells, "mean", "false RED, mean by both tests", MEAN_LIMIT)
    yield from limit_lines(cells, "whole", "false RED, whole verdict", WHOLE_LIMIT)


def size_of(cell: Cell) -> tuple[int, int, int]:
    return cell.scenario.cases, cell.scenario.before, cell.scenario.after


def join_worst(row: Sequence[Cell], what: str) -> str:
    """Return the largest share of the kinds for each likeness."""
    worst: dict[float, float] = {}
    for cell in row:
        alike = cell.scenario.alike
        worst[alike] = max(worst.get(alike, 0.0), cell.share(what))
    return " / ".join(f"{share:.1f}" for share in worst.values())


# --- the whole verdict: power and GREEN ----------------------------------------------------------------------------------

CHANGES: dict[str, tuple[float, float, float]] = {
    "unchanged": (0.0, 1.0, 0.0),
    "alike 1/2": (0.0, 1.0, 0.5),
    "-5 in all": (0.05, 1.0, 0.0),
    "-5 in a fifth": (0.05, 0.2, 0.0),
    "-10 in a fifth": (0.10, 0.2, 0.0),
    "-5, alike 1/2": (0.05, 1.0, 0.5),
}
"""Drop of the mean, share of the cases that carry it, and what trials share."""
SIZES = ((20, 3, 3), (20, 10, 3), (50, 3, 3), (50, 10, 3))


def count_verdicts(scenario: Scenario, builds: int, seed: int) -> Counts:
    """Count the verdicts, and what the two tests would say at 5 %, each without the other."""
    counts: Counts = Counter()
    for suite, _ in draw_suites(scenario, builds, seed):
        counts[judge_trials(suite.trials).status] += 1
        if scenario.drop and mean_change(suite.trials) <= -RULES.floor + ROUNDING:
            counts["trials"] += exchange_trials(suite.trials) <= LEVEL + ROUNDING
            counts["cases"] += compare_cases(suite.trials) <= LEVEL + ROUNDING
    return counts


def power_lines(pool: Executor) -> Iterator[str]:
    """Yield the verdicts on unchanged suites and on those that got worse."""
    rows = [(kind, size) for kind in KINDS for size in SIZES]
    scenarios = [
        Scenario(kind=kind, cases=cases, before=before, after=after, drop=drop, share=share, alike=alike)
        for kind, (cases, before, after) in rows
        for drop, share, alike in CHANGES.values()
    ]
    cells = measure(pool, count_verdicts, scenarios, factor=0.4)
    yield ""
    yield f"the whole verdict, RED/GREEN %; in brackets RED by the trials' test only, paired t only at 5 % (standard error at most {50 / math.sqrt(0.4 * BUILDS):.1f} at 20 cases, {50 / math.sqrt(0.24 * BUILDS):.1f} at 50)"
    yield f"| scores | cases x trials | {' | '.join(CHANGES)} |"
    yield f"|---|---|{'---|' * len(CHANGES)}"
    for place, (kind, (cases, before, after)) in enumerate(rows):
        row = cells[place * len(CHANGES) :][: len(CHANGES)]
        parts = []
        for cell in row:
            text = f"{cell.share('RED'):.0f}/{cell.share('GREEN'):.0f}"
            if cell.scenario.drop:
                text += f" ({cell.share('trials'):.0f}, {cell.share('cases'):.0f})"
            parts.append(text)
        yield f"| {kind} | {cases} x {before}+{after} | {' | '.join(parts)} |"


def count_green(scenario: Scenario, builds: int, seed: int) -> Counts:
    """Count the suites that are GREEN; only those whose lower end excludes the margin are judged as a whole."""
    counts: Counts = Counter()
    for suite, _ in draw_suites(scenario, builds, seed):
        lower = lower_bound(suite.trials, RULES.alpha)
        if lower is not None and lower > -RULES.margin:
            counts["GREEN"] += judge_trials(suite.trials).status == "GREEN"
    return counts


def green_lines(pool: Executor) -> Iterator[str]:
    """Yield how often suites that lost exactly 5 points are GREEN, and unchanged ones."""
    sizes = (*SIZES, (200, 1, 1))
    changes = (
        (RULES.margin, 1.0, 0.0, 1.5),
        (RULES.margin, 0.2, 0.0, 1.5),
        (RULES.margin, 1.0, 0.5, 1.0),
        (0.0, 1.0, 0.0, 0.3),
    )
    columns = []
    for drop, share, alike, factor in changes:
        scenarios = [
            Scenario(kind=kind, cases=cases, before=before, after=after, drop=drop, share=share, alike=alike)
            for kind in KINDS
            for cases, before, after in sizes
        ]
        cells = measure(pool, count_green, scenarios, factor)
        if drop and not alike:
            cells = draw_again(pool, count_green, cells, {"GREEN": MEAN_LIMIT})
        columns.append(cells)
    yield ""
    yield "GREEN in %: false at exactly -5 points in all / in a fifth / in all with trials alike by 1/2 (nominal 5); then of unchanged suites"
    yield f"| scores | {' | '.join(f'{cases} x {before}+{after}' for cases, before, after in sizes)} |"
    yield f"|---|{'---|' * len(sizes)}"
    for place, kind in enumerate(KINDS):
        parts = []
        for size in range(len(sizes)):
            shares = [cells[place * len(sizes) + size].share("GREEN") for cells in columns]
            parts.append(f"{shares[0]:.1f} / {shares[1]:.1f} / {shares[2]:.1f}; {shares[3]:.0f}")
        yield f"| {kind} | {' | '.join(parts)} |"
    yield from limit_lines([*columns[0], *columns[1]], "GREEN", "false GREEN at -5 points", MEAN_LIMIT)


# --- what broke --------------------------------------------------------------------------------------------------------


def count_broken(scenario: Scenario, builds: int, seed: int) -> Counts:
    """Count the suites that list what broke, are RED at once by it, and are RED in the end: at once, or after another session."""
    counts: Counts = Counter()
    for suite, generator in draw_suites(scenario, builds, seed):
        judged = judge_trials(suite.trials)
        broken = judged.broken
        counts["mean"] += judged.mean_status == "RED"
        counts["listed"] += bool(broken.cases)
        counts["broken RED"] += broken.is_red
        counts["RED"] += judged.status == "RED"
        is_confirmed = False
        if judged.status != "RED" and broken.trials_again:
            is_confirmed = confirm(suite, generator, broken.trials_again)
        counts["confirmed"] += is_confirmed
        counts["end"] += is_confirmed or judged.status == "RED"
    return counts


def confirm(suite: Suite, generator: np.random.Generator, trials: int) -> bool:
    """Return whether the broken cases fail again in another session, as ``--llm-again`` finds out."""
    found = find_broken_cases(suite.trials)
    again = dict(zip(suite.trials, map(tuple, suite.draw_again(generator, trials).tolist()), strict=True))
    earlier = {case: suite.trials[case] for case in found.broke}
    result = confirm_broken_cases(earlier, {case: again[case] for case in earlier}, found.possible)
    return bool(result.broke) and result.chance <= RULES.broken_level + ROUNDING


def broken_lines(pool: Executor) -> Iterator[str]:
    """Yield what is found of checks that broke."""
    sizes = [(cases, before, after) for cases in (20, 50) for before, after in SHAPES[1:]]
    columns = [(1, 0.0), (2, 0.0), (3, 0.0), (3, 0.5), (0, 0.0), (0, 0.5)]
    scenarios = [
        Scenario(kind=kind, cases=cases, before=before, after=after, broken=broken, alike=alike)
        for kind in CHECKS
        for cases, before, after in sizes
        for broken, alike in columns
    ]
    cells = measure(pool, count_broken, scenarios, factor=0.4)
    yield ""
    yield "checks that broke (passed always, now fail in 98 %), in % of the suites: listed; RED at once; RED after another session"
    yield "| scores | cases x trials | 1 of them | 2 | 3 | 3, alike 1/2 | unchanged | unchanged, alike 1/2 |"
    yield f"|---|---|{'---|' * len(columns)}"
    for place in range(0, len(cells), len(columns)):
        row = cells[place : place + len(columns)]
        parts = [
            f"{cell.share('listed'):.0f}; {cell.share('RED'):.0f}; {cell.share('end'):.0f}" for cell in row
        ]
        cases, before, after = size_of(row[0])
        yield f"| {row[0].scenario.kind} | {cases} x {before}+{after} | {' | '.join(parts)} |"
    three = [cell for cell in cells if cell.scenario.broken == 3 and not cell.scenario.alike]
    for cell in three:
        share = cell.share("RED")
        if share < FOUND_LIMIT or cell is min(three, key=lambda cell: cell.share("RED")):
            text = f"three broken checks RED at once ({cell.scenario.describe()}; standard error {cell.error('RED'):.1f})"
            yield line("verdicts", text, round(share, 1), FOUND_LIMIT, " %", at_least=True)
    unchanged = [cell for cell in cells if not cell.scenario.broken]
    unchanged = draw_again(pool, count_broken, unchanged, {"end": WHOLE_LIMIT})
    yield from limit_lines(
        unchanged, "confirmed", "false RED by what broke and failed again in another session", MEAN_LIMIT
    )
    yield from limit_lines(unchanged, "end", "false RED, whole verdict and another session", WHOLE_LIMIT)


# --- sessions ----------------------------------------------------------------------------------------------------------


def count_session_red(scenario: Scenario, builds: int, seed: int) -> Counts:
    """Count the suites whose mean is RED at 5 %, as the gate tests it."""
    counts: Counts = Counter()
    for suite, _ in draw_suites(scenario, builds, seed):
        has_fallen = mean_change(suite.trials) <= -RULES.floor + ROUNDING
        counts["RED"] += has_fallen and drop_p_value(suite.trials) <= LEVEL + ROUNDING
    return counts


def session_lines(pool: Executor) -> Iterator[str]:
    """Yield what a baseline of several sessions gains."""
    changes = [(0.0, 1.0, alike) for alike in LIKENESS] + [
        (0.05, 1.0, 0.0),
        (0.05, 0.2, 0.0),
        (0.1, 0.2, 0.0),
    ]
    rows = [(kind, sessions) for kind in KINDS for sessions in (1, 2, 3)]
    scenarios = [
        Scenario(kind=kind, cases=20, sessions=sessions, drop=drop, share=share, alike=alike)
        for kind, sessions in rows
        for drop, share, alike in changes
    ]
    cells = measure(pool, count_session_red, scenarios, factor=0.8)
    unchanged = [cell for cell in cells if not cell.scenario.drop and cell.scenario.sessions > 1]
    unchanged = draw_again(pool, count_session_red, unchanged, {"RED": MEAN_LIMIT})
    redrawn = {cell.scenario: cell for cell in unchanged}
    yield ""
    yield "20 cases, 3 trials in each session of the baseline and in the run, RED in % (mean at 5 %)"
    yield "| scores | sessions | unchanged, alike 0 / 1/4 / 1/2 | -5 in all | -5 in a fifth | -10 in a fifth |"
    yield "|---|---|---|---|---|---|"
    for place, (kind, sessions) in enumerate(rows):
        row = cells[place * len(changes) :][: len(changes)]
        shares = [redrawn.get(cell.scenario, cell).share("RED") for cell in row]
        same = " / ".join(f"{share:.1f}" for share in shares[:3])
        yield f"| {kind} | {sessions} | {same} | {' | '.join(f'{share:.0f}' for share in shares[3:])} |"
    yield from limit_lines(unchanged, "RED", "false RED, whole sessions exchanged", MEAN_LIMIT)


def shift_lines(pool: Executor) -> Iterator[str]:
    """Yield what no test of one run against one baseline can see: a whole run that is a little better or worse."""
    shifts = (0.0, 0.01, 0.02)
    scenarios = [
        Scenario(kind="similarity", cases=cases, shift=shift) for cases in SHARES for shift in shifts
    ]
    cells = measure(pool, count_red, scenarios, factor=0.5)
    yield ""
    yield "unchanged suites of similarities, 3+3, of which each run as a whole moves by a standard deviation, RED in %"
    yield f"| cases | {' | '.join(f'{100 * shift:.0f} points' for shift in shifts)} |"
    yield f"|---|{'---|' * len(shifts)}"
    for place, cases in enumerate(SHARES):
        shares = [cell.share("whole") for cell in cells[place * len(shifts) :][: len(shifts)]]
        yield f"| {cases} | {' | '.join(f'{share:.0f}' for share in shares)} |"


def threshold_line(cases: int = 20, builds: int = 4000) -> str:
    """Return how often a threshold in each case turns an unchanged suite red that was green before."""
    generator = np.random.default_rng(cases)
    red = 0
    for _ in range(builds):
        latent = generator.beta(*BETA, cases)
        before, after = (draw_trials(generator, latent, 1)[:, 0] for _ in range(2))
        red += bool((after[before >= THRESHOLD] < THRESHOLD).any())
    return f"a threshold of {THRESHOLD} in each of {cases} cases, nothing changed: {100 * red / builds:.0f} % of the builds are red"


# --- do the parts say what the gate says? --------------------------------------------------------------------------------


def check_parts(suites: int = 2) -> str:
    """Return in how many suites `judge_suite` says the same as its parts, which the tables call."""
    same = total = 0
    for kind in KINDS:
        for drop, broken in ((0.0, 0), (0.05, 0), (0.0, 3 if KINDS[kind].is_check else 0)):
            scenario = Scenario(kind=kind, cases=20, drop=drop, broken=broken)
            for suite, _ in draw_suites(scenario, suites, 2):
                same += judge_build(suite.before, suite.after) == judge_trials(suite.trials).status
                total += 1
    return line(
        "verdicts", f"suites of {total} on which judge_suite says the same", same, total, at_least=True
    )


def lines() -> Iterator[str]:
    """Yield all tables, and the limits."""
    yield check_parts()
    yield from verdict_cost.lines()
    yield threshold_line()
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from red_lines(pool)
        yield from power_lines(pool)
        yield from green_lines(pool)
        yield from broken_lines(pool)
        yield from session_lines(pool)
        yield from shift_lines(pool)
        yield from verdicts_of_metrics.lines(pool, BUILDS)
    yield from advice_lines(max(1, BUILDS // 20))
    yield from verdicts_on_alpaca.lines()


if __name__ == "__main__":
    for text in lines():
        print(text, flush=True)
