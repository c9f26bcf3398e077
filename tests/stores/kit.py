"""What the tests of the stores share: a corpus, an embedder, and what every store has to find."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from pytest_llmops.errors import CorpusError, UsageError
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Chunk, Retriever
from pytest_llmops.retrievers.base import Searcher, matches_conditions

CHUNKS = (
    Chunk(
        id="refunds",
        text="Refunds are paid within thirty days of the return.",
        metadata={"lang": "en", "page": 1, "open": True},
    ),
    Chunk(
        id="shipping",
        text="Shipping of the parcel takes three days.",
        metadata={"lang": "en", "page": 2, "open": False},
    ),
    Chunk(
        id="warranty",
        text="The warranty lasts two years.",
        metadata={"lang": "en", "page": 3, "open": True},
    ),
    Chunk(
        id="rückgabe",
        text="Die Rückgabe ist dreißig Tage lang möglich.",
        metadata={"lang": "de", "page": 1, "open": True},
    ),
    Chunk(id="picture", text="", metadata={"lang": "it's", "page": 2, "open": False}),
)
CAPTIONS = {"picture": "a photo of the parcel"}
"""What a passage without a text is embedded by."""
SEEN = {line.id: CAPTIONS.get(line.id, line.text) for line in CHUNKS}
QUERIES = (
    "refunds within thirty days",
    "a photo of a parcel",
    "wie lang ist die Rückgabe möglich",
    "warranty years",
)
FILTERS: tuple[Mapping[str, Json], ...] = (
    {"lang": "en"},
    {"lang": ["de", "it's"]},
    {"page": 2},
    {"page": [1, 3], "lang": "en"},
    {"open": True},
    {"open": [False], "page": [2]},
    {"lang": "fr"},
)

Score = Callable[[float], float]
SCORES: dict[str, Score] = {
    "cosine": lambda cosine: cosine,
    "dot": lambda cosine: cosine,
    # The squared distance of unit vectors is 2 - 2 cos.
    "l2": lambda cosine: 1 / (1 + 2 - 2 * cosine),
    "euclid": lambda cosine: 1 / (1 + (2 - 2 * cosine) ** 0.5),
}

connected: list[str] = []
"""Connections that were made to anything but this machine."""


def _listen(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(args[1], tuple) and args[1][0] not in ("127.0.0.1", "::1"):
        connected.append(repr(args[1]))


sys.addaudithook(_listen)


class Words:
    """Bags of words: of a fixed length, without a model."""

    version = "words/1"
    across_calls = True

    def __init__(self) -> None:
        self.vocabulary = sorted({word for text in SEEN.values() for word in words(text)})

    @property
    def dim(self) -> int:
        return len(self.vocabulary)

    def embed(self, texts: Sequence[str]) -> Any:
        rows = np.array(
            [[words(text).count(word) for word in self.vocabulary] for text in texts], dtype=np.float32
        )
        rows = rows.reshape(len(texts), self.dim)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


class Short(Words):
    """The embedder of another index."""

    version = "short/1"

    def embed(self, texts: Sequence[str]) -> Any:
        return np.ones((len(texts), 3), dtype=np.float32) / np.float32(3**0.5)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


WORDS = Words()


def vectors() -> Any:
    """The vectors of the corpus, in its order."""
    return WORDS.embed([SEEN[chunk.id] for chunk in CHUNKS])


def exact(query: str, filters: Mapping[str, Json] | None = None) -> list[tuple[Chunk, float]]:
    """All passages and their cosines, best first."""
    cosines = vectors() @ WORDS.embed([query])[0]
    wanted = {
        key: tuple(value) if isinstance(value, list) else (value,) for key, value in (filters or {}).items()
    }
    rows = [
        (chunk, float(cosine))
        for chunk, cosine in zip(CHUNKS, cosines, strict=True)
        if matches_conditions(chunk.metadata, wanted)
    ]
    return sorted(rows, key=lambda pair: -pair[1])


def check_search(retriever: Searcher, space: str) -> None:
    """Ids, scores, texts and metadata are those of the exact cosine; ties come in any order."""
    assert isinstance(retriever, Retriever)
    for query in QUERIES:
        wanted = exact(query)
        hits = retriever.search(query, len(CHUNKS))
        scores = [SCORES[space](cosine) for _, cosine in wanted]
        assert [hit.score for hit in hits] == pytest.approx(scores, abs=1e-5)
        assert sorted(hits.ids) == sorted(case.id for case in CHUNKS)
        by_id = {case.id: (case, SCORES[space](cosine)) for case, cosine in wanted}
        for hit in hits:
            chunk, score = by_id[hit.id]
            assert hit.score == pytest.approx(score, abs=1e-5)
            assert (hit.text, dict(hit.metadata)) == (chunk.text, dict(chunk.metadata))
        assert hits[0].id == wanted[0][0].id
        assert (hits.query, hits.latency_s is not None and hits.latency_s > 0) == (query, True)
        assert retriever.search(query, 2).ids[0] == wanted[0][0].id
        assert len(retriever.search(query, 2)) == 2
    assert len(retriever.search(QUERIES[0], 100)) == len(CHUNKS)
    for nothing in ("", "?!", "unheard"):
        assert retriever.search(nothing).ids == []


def check_filters(retriever: Searcher, filters: Sequence[Mapping[str, Json]] = FILTERS) -> None:
    """Only passages that fit are found, and all of them."""
    for condition in filters:
        wanted = sorted(chunk.id for chunk, _ in exact(QUERIES[0], condition))
        assert sorted(retriever.search(QUERIES[0], 9, condition).ids) == wanted, condition


def check_listing(retriever: Searcher) -> None:
    """Every passage is listed as it was given."""
    listed = sorted(retriever.listing(), key=lambda chunk: chunk.id)
    assert listed == sorted(CHUNKS, key=lambda chunk: chunk.id)
    assert retriever.documents == len(CHUNKS)


def check_dimension(retriever: Searcher) -> None:
    """A query of another length is told, with both lengths and the way out."""
    text = rf"expected a query vector of {WORDS.dim} numbers.*got 3 from the embedder short/1; search with the embedder"
    with pytest.raises(CorpusError, match=text) as caught:
        retriever.search("refunds")
    assert retriever.where in str(caught.value)


def check_fitted(make: Callable[[Any], object]) -> None:
    """An embedder that fits itself to one call is refused."""

    class Fitted(Words):
        version = "fitted/1"
        across_calls = False

    with pytest.raises(UsageError, match="expected an embedder whose vectors can be stored, got fitted/1"):
        make(Fitted())


def check_nothing_was_sent() -> None:
    """No store called home."""
    assert connected == []
