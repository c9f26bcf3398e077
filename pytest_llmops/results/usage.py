"""Add up the tokens, cost and latency of model calls.

A call without a price adds nothing to the cost, and is counted separately.

Percentiles are nearest-rank: the p-th percentile of n numbers is the smallest of them that
at least p percent of all numbers do not exceed: always a measured number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pytest_llmops.measurement import format_amount, format_count
from pytest_llmops.protocols import Call

N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Calls of models and what they used.

    Attributes:
        input_tokens: Sum over the calls that report it; None if no call does. ``output_tokens`` alike.
        uncounted: Calls without any token count.
        spent_usd: Known cost of the live calls; None if none of them has a price.
        saved_usd: Known cost of the replayed calls: what they would have cost.
        unpriced: Calls without a price.
    """

    live: int = 0
    replayed: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    uncounted: int = 0
    spent_usd: float | None = None
    saved_usd: float | None = None
    unpriced: int = 0

    @property
    def calls(self) -> int:
        """Live and replayed calls."""
        return self.live + self.replayed

    @property
    def known_usd(self) -> float | None:
        """What the calls with a price cost, live or not; None if no call has one."""
        return _sum_known((self.spent_usd, self.saved_usd))


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Recorded latencies of the application's calls, in seconds; None if there is none."""

    n: int = 0
    p50: float | None = None
    p95: float | None = None


def count_traffic(calls: Sequence[Call]) -> Traffic:
    """Add up calls of models."""
    return Traffic(
        live=sum(not call.replayed for call in calls),
        replayed=sum(call.replayed for call in calls),
        input_tokens=_sum_known(call.usage.input_tokens for call in calls),
        output_tokens=_sum_known(call.usage.output_tokens for call in calls),
        uncounted=sum(call.usage.total_tokens is None for call in calls),
        spent_usd=_sum_known(call.cost_usd for call in calls if not call.replayed),
        saved_usd=_sum_known(call.cost_usd for call in calls if call.replayed),
        unpriced=sum(call.cost_usd is None for call in calls),
    )


def format_cost(used: Traffic) -> str:
    """Return the cost in words; an unknown cost is "unknown", never $0.00.

    >>> format_cost(Traffic(live=3, unpriced=3))
    'unknown, 3 calls without a price'
    >>> format_cost(Traffic(live=2, replayed=1, spent_usd=0.03, saved_usd=0.01, unpriced=1))
    '$0.04 known ($0.01 of it saved by replay), 1 call without a price'
    """
    words = "unknown" if used.known_usd is None else f"{format_amount(used.known_usd, 'USD')} known"
    if used.saved_usd is not None:
        part = f"{format_amount(used.saved_usd, 'USD')} of it" if used.live else "all of it"
        words += f" ({part} saved by replay)"
    return f"{words}, {format_count(used.unpriced, 'call')} without a price" if used.unpriced else words


def summarize_latency(calls: Iterable[Call]) -> Latency:
    """Return the percentiles of the application's calls; calls of judges and embedders do not count."""
    times = [call.latency_s for call in calls if call.purpose == "app" and call.latency_s is not None]
    return Latency(n=len(times), p50=percentile(times, 50), p95=percentile(times, 95))


def percentile(values: Iterable[float], p: float) -> float | None:
    """Return the p-th percentile (nearest rank) for ``0 < p <= 100``, or None of nothing.

    >>> percentile([15, 20, 35, 40, 50], 40)
    20
    """
    ordered = sorted(values)
    if not ordered:
        return None
    # The product of two floats may lie a hair above the whole number it stands for.
    rank = math.ceil(round(p * len(ordered) / 100, 9))
    return ordered[max(rank, 1) - 1]


def _sum_known(numbers: Iterable[N | None]) -> N | None:
    known = [number for number in numbers if number is not None]
    return sum(known[1:], start=known[0]) if known else None
