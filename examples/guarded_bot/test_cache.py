"""Would a semantic cache in front of this bot answer the right question?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from semantic_cache import SemanticCache

from pytest_llmops import assert_cache
from pytest_llmops.cases import load_cases
from pytest_llmops.testing.semantic_cache import cache_probe, make_pairs

if TYPE_CHECKING:
    from pytest_llmops.protocols import Embedder

QUESTIONS = Path(__file__).parent / "cases" / "questions.jsonl"


def test_the_cache_keeps_its_rules(embedder: Embedder) -> None:
    pairs = make_pairs(load_cases(QUESTIONS))
    sweep, vectors = {}, {}
    for threshold in (0.6, 0.75, 0.9):
        cache = SemanticCache(embedder.embed, threshold)
        cache.vectors = vectors  # each question is embedded once
        cache.prepare(sorted({text for pair in pairs for text in (pair.text, pair.other)}))
        sweep[threshold] = cache_probe(cache, pairs, roll_back=cache.roll_back)

    # No tenant reads another's answers: that needs no statistics. The other figures are recorded; so few hits prove
    # no share of false ones (1 % takes 299 hits without one).
    assert_cache(
        sweep[0.75], sweep=sweep, at_most_false_hits=None, at_least_hit_rate=None, at_least_saving=None
    )
