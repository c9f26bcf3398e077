"""The kit for retrievers: it passes a good one, and names each broken promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops.protocols import Chunk, Hit, Hits, Verdict
from pytest_llmops.retrievers.bm25 import InMemoryRetriever
from pytest_llmops.testing import check_retriever
from pytest_llmops.testing.conformance import _check_vectors_close, _judge_checked

CORPUS = [
    Chunk(id="refunds", text="Refunds take thirty days."),
    Chunk(id="parcels", text="Parcels take two days."),
    Chunk(id="shops", text="All shops are open on Sunday."),
]


class Broken:
    """A retriever whose answer goes through a function on its way out."""

    def __init__(self, change: Callable[[list[Hit], int], object]) -> None:
        self.change = change
        self.inner = InMemoryRetriever(CORPUS)
        self.calls = 0

    def search(self, query: str, k: int | None = None) -> Hits:
        self.calls += 1
        changed = self.change(list(self.inner.search(query, k)), self.calls)
        return Hits(tuple(changed), query=query) if isinstance(changed, list) else changed  # type: ignore[return-value]


def renamed(hits: list[Hit], id_: str) -> list[Hit]:
    return [Hit(id=id_, text=hit.text, score=hit.score) for hit in hits]


def scored(hits: list[Hit], score: float) -> list[Hit]:
    return [Hit(id=hit.id, text=hit.text, score=score) for hit in hits]


def test_a_good_one_passes() -> None:
    check_retriever(InMemoryRetriever(CORPUS), ["how long do refunds take", "open on Sunday"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda hits, _: tuple(hits), r"search\('refunds take days', k=5\): expected Hits, got tuple"),
        (lambda _hits, _: [], r"expected a hit, got none"),
        (lambda hits, _: hits * 2, r"expected each id once, got \['refunds', 'parcels'"),
        (lambda hits, _: renamed(hits[:1], ""), r"expected ids that are texts, got \[''\]"),
        (lambda hits, _: scored(hits, float("nan")), r"expected scores that are numbers, got \[nan"),
        (lambda hits, _: hits[::-1], r"expected the best hit first"),
        (lambda hits, limit: hits[limit - 1 :], r"again: expected the same hits, got others"),
    ],
)
def test_a_broken_promise_is_named(change: Callable[[list[Hit], int], object], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_retriever(Broken(change), ["refunds take days"])


def test_more_hits_than_requested_are_reported() -> None:
    class Greedy(Broken):
        def search(self, query: str, k: int | None = None) -> Hits:
            return self.inner.search(query, (k or 1) + 4)

    with pytest.raises(AssertionError, check=check_message):
        check_retriever(Greedy(lambda hits, _: hits), ["take days"])


def test_it_needs_a_question() -> None:
    with pytest.raises(AssertionError, check=check_message):
        check_retriever(InMemoryRetriever(CORPUS), [])


def test_a_single_hit_must_be_the_best_of_several() -> None:
    class Odd(Broken):
        def search(self, query: str, k: int | None = None) -> Hits:
            hits = self.inner.search(query, 5)
            return Hits(tuple(hits[1:2] if k == 1 else hits), query=query)

    with pytest.raises(AssertionError, check=check_message):
        check_retriever(Odd(lambda hits, _: hits), ["refunds take days"])


def test_a_search_takes_no_negative_time() -> None:
    class Early(Broken):
        def search(self, query: str, k: int | None = None) -> Hits:
            return Hits(tuple(self.inner.search(query, k)), query=query, latency_s=-1.0)

    with pytest.raises(AssertionError, check=check_message):
        check_retriever(Early(lambda hits, _: hits), ["refunds take days"])


GIVEN = Verdict(score=0.5, low=0.0, high=1.0, reason="so")


@pytest.mark.parametrize(
    "returned",
    [
        0.5,
        replace(GIVEN, score=1.5),
        replace(GIVEN, score=-0.5),
        replace(GIVEN, error="down"),
        replace(GIVEN, score=None),
    ],
)
def test_a_verdict_is_a_score_on_its_scale_or_an_error(returned: Any) -> None:
    judge: Any = SimpleNamespace(judge=lambda *_, **__: returned)
    with pytest.raises(AssertionError, check=check_message):
        _judge_checked(judge)


def test_the_verdict_of_a_judge_is_returned() -> None:
    for verdict in (GIVEN, replace(GIVEN, score=1.0), replace(GIVEN, score=0.0)):
        judge: Any = SimpleNamespace(judge=lambda *_, verdict=verdict, **__: verdict)
        assert _judge_checked(judge) is verdict


def test_vectors_of_another_shape_or_with_other_numbers_are_reported() -> None:
    rows = np.array([[1.0, 0.0]], dtype=np.float32)
    _check_vectors_close(rows, rows + np.float32(1e-7), "a text twice", "the same vector")
    for other in (rows[:, :1], rows + 1, rows * np.float32("nan")):
        with pytest.raises(AssertionError, check=check_message):
            _check_vectors_close(rows, other, "a text twice", "the same vector")
