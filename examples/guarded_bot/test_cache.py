"""Would a semantic cache in front of this bot answer the right question? It would not, so the bot has none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from semantic_cache import SemanticCache

from pytest_llmops import assert_cache
from pytest_llmops.testing.semantic_cache import cache_probe

if TYPE_CHECKING:
    from pytest_llmops.protocols import Embedder

PAIRS = Path(__file__).parent / "cases" / "cache_pairs.jsonl"
THRESHOLDS = (0.7, 0.8, 0.85, 0.9, 0.95)
LEAST_HIT_RATE = 0.3  # what a cache has to answer to be worth its trouble


class Clock:
    """Seconds that the test moves on."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def read(self) -> float:
        return self.seconds

    def skip_an_hour(self, _query: object) -> None:
        self.seconds += 3600.0


def test_no_threshold_makes_the_cache_safe_and_useful(embedder: Embedder) -> None:
    sweep = {}
    for threshold in THRESHOLDS:
        clock = Clock()
        cache = SemanticCache(embedder.embed, threshold, ttl_s=3600.0, clock=clock.read)
        sweep[threshold] = cache_probe(cache, PAIRS, expire=clock.skip_an_hour, roll_back=cache.roll_back)

    # The rules (no tenant reads another's answers, nothing outlives its time) are asserted. The shares are recorded: 23 pairs are too
    # few to prove a small share of false hits, and enough to see a large one.
    assert_cache(
        sweep[0.9], sweep=sweep, at_most_false_hits=None, at_least_hit_rate=None, at_least_saving=None
    )
    good_thresholds = [
        threshold
        for threshold, result in sweep.items()
        if result.pairs and not result.pairs.false_hits and result.pairs.hit_rate >= LEAST_HIT_RATE
    ]
    assert not good_thresholds, (
        "no false hit at these thresholds: a cache may be worth a trial with real traffic"
    )
