from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from support.messages import check_message
from support.server import (
    StubServer,
    error_reply,
    json_reply,
)

from pytest_llmops.errors import ModelError
from pytest_llmops.providers import openai as backend
from pytest_llmops.providers.openai import OpenAIEmbedder

KEY = "sk-" + "proj-0123456789abcdefWXYZ"


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as stub_server:
        yield stub_server


@pytest.fixture
def client(server: StubServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as open_a_i:
        yield open_a_i


def test_embeddings_have_unit_rows(client: openai.OpenAI, server: StubServer) -> None:
    embedder = OpenAIEmbedder("e", client=client)
    vectors = embedder.embed(["a", "bbb"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (2, 3)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
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


@pytest.mark.slow
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
    assert caught.value.kind == "reply"


def test_an_embedder_that_is_refused(client: openai.OpenAI, server: StubServer) -> None:
    server.queue.append(error_reply(429, "slow down"))
    with pytest.raises(ModelError, match="slow down") as caught:
        OpenAIEmbedder("e", client=client).embed(["a"])
    assert caught.value.kind == "rate_limit"


def sent_bodies(server: StubServer) -> list[Any]:
    return [request.json for request in server.seen]


def test_a_text_that_stands_twice_is_requested_once(client: openai.OpenAI, server: StubServer) -> None:
    vectors = OpenAIEmbedder("e", client=client).embed(["a", "bbb", "a", " ", ""])
    assert [row["input"] for row in sent_bodies(server)] == [["a", "bbb"]]
    assert vectors[0].tolist() == vectors[2].tolist()
    assert vectors[0].tolist() != vectors[1].tolist()
    assert vectors.any(axis=1).tolist() == [True, True, True, False, False]


def test_blank_texts_alone_ask_nobody(client: openai.OpenAI, server: StubServer) -> None:
    vectors = OpenAIEmbedder("e", client=client).embed(["", "\n"])
    assert vectors.tolist() == [[0.0], [0.0]]
    assert vectors.dtype == np.float32
    assert server.count == 0


TEXTS = ["a", "bb", "ccc", "dddd", "ä"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "requests"),
    [
        ((2, 100), [["a", "bb"], ["ccc", "dddd"], ["ä"]]),
        ((9, 5), [["a", "bb"], ["ccc"], ["dddd"], ["ä"]]),
        ((9, 1), [["a"], ["bb"], ["ccc"], ["dddd"], ["ä"]]),
    ],
)
def test_many_texts_are_several_requests(
    client: openai.OpenAI,
    server: StubServer,
    monkeypatch: pytest.MonkeyPatch,
    limits: tuple[int, int],
    requests: list[list[str]],
) -> None:
    whole = OpenAIEmbedder("e", client=client).embed(TEXTS)
    monkeypatch.setattr(backend, "MAX_BATCH_TEXTS", limits[0])
    monkeypatch.setattr(backend, "MAX_BATCH_BYTES", limits[1])
    vectors = OpenAIEmbedder("e", client=client).embed(TEXTS)
    assert [row["input"] for row in sent_bodies(server)[1:]] == requests
    np.testing.assert_array_equal(vectors, whole)


def test_dimensions_are_requested_and_make_another_version(client: openai.OpenAI, server: StubServer) -> None:
    OpenAIEmbedder("e", client=client, dimensions=256).embed(["a"])
    OpenAIEmbedder("e", client=client).embed(["a"])
    assert [sent.get("dimensions") for sent in sent_bodies(server)] == [256, None]
    assert OpenAIEmbedder("e", dimensions=256).version == "e/256"


def test_vectors_of_unlike_length_are_an_error(
    client: openai.OpenAI, server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "MAX_BATCH_TEXTS", 1)
    server.queue.extend(json_reply({"data": [{"index": 0, "embedding": [1.0] * n}]}) for n in (2, 3))
    with pytest.raises(ModelError, check=check_message):
        OpenAIEmbedder("e", client=client).embed(["a", "b"])
