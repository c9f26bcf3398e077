from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from support.server import (
    StubServer,
    error_reply,
    json_reply,
)

from pytest_llmops.backends.openai import (
    OpenAIEmbedder,
)
from pytest_llmops.errors import ModelError

KEY = "sk-" + "proj-0123456789abcdefWXYZ"


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as one:
        yield one


@pytest.fixture
def client(server: StubServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as one:
        yield one


def test_embeddings_have_unit_rows(client: openai.OpenAI, server: StubServer) -> None:
    embedder = OpenAIEmbedder("e", client=client)
    found = embedder.embed(["a", "bbb"])
    assert found.dtype == np.float32
    assert found.shape == (2, 3)
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    assert embedder.version == "e"
    assert embedder.embed([]).shape == (0, 0)
    assert server.count == 1


def test_embeddings_come_in_the_order_of_the_texts(client: openai.OpenAI, server: StubServer) -> None:
    data = [{"object": "embedding", "index": n, "embedding": [float(n), 1.0]} for n in (1, 0)]
    server.queue.append(json_reply({"object": "list", "model": "e", "data": data, "usage": {}}))
    assert OpenAIEmbedder("e", client=client).embed(["a", "b"])[0].tolist() == [0.0, 1.0]


def test_a_vector_of_zeros_stays_one(client: openai.OpenAI, server: StubServer) -> None:
    server.queue.append(json_reply({"data": [{"index": 0, "embedding": [0.0, 0.0]}]}))
    assert OpenAIEmbedder("e", client=client).embed(["a"]).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        "text",
        {"data": None},
        {"data": []},
        {"data": "x"},
        {"data": [5]},
        {"data": [{}]},
        {"data": [{"index": "x", "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": "!"}]},
        {"data": [{"index": 0, "embedding": "AAA="}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]},
        {"data": [{"index": 0, "embedding": ["x"]}, {"index": 1, "embedding": ["y"]}]},
        {"data": [{"index": 0, "embedding": [1e300]}, {"index": 1, "embedding": [1.0]}]},
        {"data": [{"index": n, "embedding": [1.0]} for n in range(3)]},
    ],
)
def test_hostile_embeddings_are_an_error(client: openai.OpenAI, server: StubServer, answer: Any) -> None:
    server.queue.append(json_reply(answer))
    with pytest.raises(ModelError) as caught:
        OpenAIEmbedder("e", client=client).embed(["a", "b"])
    assert caught.value.kind in ("reply", "request")


def test_an_embedder_that_is_refused(client: openai.OpenAI, server: StubServer) -> None:
    server.queue.append(error_reply(429, "slow down"))
    with pytest.raises(ModelError, match="slow down") as caught:
        OpenAIEmbedder("e", client=client).embed(["a"])
    assert caught.value.kind == "rate_limit"
