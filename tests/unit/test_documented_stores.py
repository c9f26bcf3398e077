"""The retrievers that docs/how-to/stores.md shows, as they stand there, over clients with the calls of the real packages."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.containing_nli import ContainingNli

from pytest_llmops import assert_grounded, assert_retrieval
from pytest_llmops.protocols import Hit, Hits, Retriever

pytestmark = pytest.mark.usefixtures("alone")

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "stores.md"
MAX_LINES = 14
"""Lines of a class: about ten, its docstring and blank lines aside."""
QUERY = "How long do refunds take?"
FOUND = [("a", "Refunds take 5 days.", 0.75), ("b", "We sell tea.", 0.5)]


def documented_code() -> str:
    section = PAGE.read_text(encoding="utf-8").split("## Any other store")[1]
    match = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert match
    return match[1]


def documented_class(name: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(documented_code(), namespace)
    return namespace[name]


class Embedder:
    version = "one/1"

    def embed(self, texts: list[str]) -> Any:
        assert texts == [QUERY]
        return np.array([[0.5, 0.25]], dtype=np.float32)


class Postgres:
    """As `psycopg.Connection`."""

    def execute(self, sql: str, params: tuple[object, ...]) -> Any:
        assert sql.count("%s") == len(params)
        assert params[:2] == ("[0.5, 0.25]", "[0.5, 0.25]")
        limit = params[2]
        assert isinstance(limit, int)
        return SimpleNamespace(fetchall=lambda: FOUND[:limit])


class Elasticsearch:
    def search(self, *, index: str, query: dict[str, Any], size: int) -> dict[str, Any]:
        assert (index, query) == ("chunks", {"match": {"text": QUERY}})
        hits = [{"_id": id_, "_source": {"text": text}, "_score": score} for id_, text, score in FOUND]
        return {"hits": {"hits": hits[:size]}}


class WeaviateQuery:
    def near_text(self, *, query: str, limit: int, return_metadata: list[str]) -> SimpleNamespace:
        assert (query, return_metadata) == (QUERY, ["distance"])
        objects = [
            SimpleNamespace(uuid=id_, properties={"text": text}, metadata=SimpleNamespace(distance=1 - score))
            for id_, text, score in FOUND
        ]
        return SimpleNamespace(objects=objects[:limit])


class Milvus:
    """As `pymilvus.MilvusClient`."""

    def search(
        self, collection_name: str, *, data: list[list[float]], limit: int, output_fields: list[str]
    ) -> list[Any]:
        assert (collection_name, data, output_fields) == ("chunks", [[0.5, 0.25]], ["text"])
        return [
            [{"id": id_, "entity": {"text": text}, "distance": score} for id_, text, score in FOUND][:limit]
        ]


STORES: dict[str, tuple[Any, ...]] = {
    "PgvectorRetriever": (Postgres(), Embedder()),
    "ElasticsearchRetriever": (Elasticsearch(), "chunks"),
    "WeaviateRetriever": (SimpleNamespace(query=WeaviateQuery()),),
    "MilvusRetriever": (Milvus(), "chunks", Embedder()),
}


@pytest.mark.parametrize("name", STORES)
def test_a_documented_retriever_is_a_retriever(name: str) -> None:
    retriever = documented_class(name)(*STORES[name])
    assert isinstance(retriever, Retriever)
    hits = retriever.search(QUERY)
    assert isinstance(hits, Hits)
    assert hits == Hits(tuple(Hit(id=id_, text=text, score=score) for id_, text, score in FOUND), query=QUERY)
    assert retriever.search(QUERY, 1).ids == ["a"]
    assert assert_retrieval(retriever, [{"input": QUERY, "relevant": ["a"]}], at_least=1.0).value == 1.0
    assert assert_grounded("Refunds take 5 days.", hits, nli=ContainingNli(), at_least=1.0).value == 1.0


def test_each_takes_about_ten_lines() -> None:
    classes = re.split(r"\n\n\n(?=class )", documented_code().strip())[1:]
    assert [re.findall(r"class (\w+)", text)[0] for text in classes] == list(STORES)
    assert max(len(text.splitlines()) for text in classes) <= MAX_LINES
