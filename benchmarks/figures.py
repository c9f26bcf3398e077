"""A measured figure beside its limit, and how pairs are measured on a machine that does other things too."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

Work = Callable[[], object]


def line(part: str, text: str, value: float, limit: float, unit: str = "", *, at_least: bool = False) -> str:
    """One line: what was measured, and whether the limit is met."""
    met = value >= limit if at_least else value <= limit
    threshold = "at least" if at_least else "limit"
    return f"{part:<10}{text}: {format_value(value)}{unit} ({threshold} {format_value(limit)}{unit}) {'met' if met else 'NOT met'}"


def format_value(value: float) -> str:
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def cpu_s(work: Work) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def wall_s(work: Work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turns(
    *works: Work, rounds: int, clock: Callable[[Work], float] = cpu_s
) -> tuple[list[float], list[float]]:
    """Medians of each, and of each one's ratio to the first of its round; a first round warms up."""
    taken = [[clock(work) for work in works] for _ in range(rounds + 1)][1:]
    times = [statistics.median(seconds) for seconds in zip(*taken, strict=True)]
    ratios = [statistics.median(seconds[n] / seconds[0] for seconds in taken) for n in range(len(works))]
    return times, ratios


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.3g} ms" if seconds < 10 else f"{seconds:,.1f} s"
