"""Units: 30 days are not 30 hours, 5 km are not 5 miles."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmops.guards.pairing import Pair
from pytest_llmops.guards.saying import Found
from pytest_llmops.guards.values import differing


def find(pair: Pair, claimed: frozenset[int]) -> Iterator[Found]:  # noqa: ARG001 -- all guards are called alike
    """Yield values with the same numeral and another unit."""
    yield from differing(pair, "units")
