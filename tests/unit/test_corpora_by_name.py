"""The retriever of a marker: what is kept between tests, and what an unknown name is told."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from support.messages import check_message

from pytest_llmops import recorder
from pytest_llmops.errors import UnknownName
from pytest_llmops.harness.markers import retriever as retriever_marker
from pytest_llmops.providers import embedding_cache
from pytest_llmops.retrievers.dense import DenseRetriever
from pytest_llmops.settings import Settings


class Counting:
    """Counts the texts it embeds; ``cacheable`` says that it is local."""

    version = "counting/1"

    def __init__(self, *, cacheable: bool) -> None:
        self.cacheable = cacheable
        self.seen: list[str] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.seen += texts
        return np.array([[text.count("a"), text.count("b")] for text in texts], dtype=np.float32)


class Remote(Counting):
    """Asks a server."""


@pytest.fixture
def node(tmp_path: Path) -> Any:
    embedding_cache._memory.clear()  # vectors belong to the embedder's type and version, whichever test made it
    (tmp_path / "corpora" / "book").mkdir(parents=True)
    (tmp_path / "corpora" / "book" / "a.md").write_text("aaa", encoding="utf-8")
    (tmp_path / "corpora" / "book" / "b.md").write_text("bb", encoding="utf-8")
    (tmp_path / "tests").mkdir()
    return SimpleNamespace(
        nodeid="tests/test_a.py::test_a",
        path=tmp_path / "tests" / "test_a.py",
        config=SimpleNamespace(rootpath=tmp_path),
    )


def retriever(node: Any, embedder: Counting, monkeypatch: pytest.MonkeyPatch) -> DenseRetriever:
    monkeypatch.setattr(
        recorder, "find_component", lambda kind, name: {("embedder", "mine"): embedder}[kind, name]
    )
    return cast("DenseRetriever", retriever_marker.build_corpus_retriever(node, Settings(), "book", "mine"))


def test_a_local_index_is_built_once(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Counting(cacheable=True)
    retriever(node, embedder, monkeypatch)
    again = retriever(node, embedder, monkeypatch)
    assert embedder.seen == ["aaa", "bb"]
    assert again.search("a", k=1).ids == ["a.md"]
    assert retriever(node, embedder, monkeypatch).documents == 2


def test_an_edited_corpus_and_another_version_are_embedded_again(
    node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = Counting(cacheable=True)
    retriever(node, embedder, monkeypatch)
    edited = node.config.rootpath / "corpora" / "book" / "b.md"
    edited.write_text("bbba", encoding="utf-8")
    os.utime(edited, (2_000_000_000, 2_000_000_000))
    assert [chunk.text for chunk in retriever(node, embedder, monkeypatch).chunks] == ["aaa", "bbba"]
    other = Counting(cacheable=True)
    other.version = "counting/2"
    assert retriever(node, other, monkeypatch).embedder.version == "counting/2"
    assert other.seen == ["aaa", "bbba"]


def test_what_a_server_embeds_is_requested_in_every_test(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Remote(cacheable=False)
    for _ in range(2):
        retriever(node, embedder, monkeypatch)
    assert embedder.seen == ["aaa", "bb"] * 2


def test_an_unknown_corpus_is_reported_without_the_folder_of_the_machine(node: Any) -> None:
    with pytest.raises(UnknownName) as caught:
        retriever_marker.build_corpus_retriever(node, Settings(), "boook")
    assert "unknown retriever 'boook'" in str(caught.value)
    assert "tests/test_a.py::test_a, looked in corpora" in str(caught.value)
    check_message(caught.value)
    assert str(node.config.rootpath) not in str(caught.value)
    (node.config.rootpath / "corpora").rename(node.config.rootpath / "other")
    with pytest.raises(UnknownName, check=check_message):
        retriever_marker.build_corpus_retriever(node, Settings(), "book")
