"""Dates, weekdays and times of day: 3 March is not 3 May."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmops.guards.pairing import Pair
from pytest_llmops.guards.saying import Found
from pytest_llmops.guards.values import differing


def find(pair: Pair, claimed: frozenset[int]) -> Iterator[Found]:  # noqa: ARG001 -- all guards are called alike
    """Yield moments that differ in what both of them say: "3 March" and "March 3rd, 2025" do not."""
    yield from differing(pair, "dates")
