"""Numbers, percentages, ordinals and prices: 30 days are not 60 days."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmops.guards.pairing import Pair
from pytest_llmops.guards.saying import Found
from pytest_llmops.guards.values import differing


def find(pair: Pair, claimed: frozenset[int]) -> Iterator[Found]:  # noqa: ARG001 -- all guards are called alike
    """Yield values with another number, whatever their spelling: "thirty days", "30 days", "720 h" are one."""
    yield from differing(pair, "numbers")
