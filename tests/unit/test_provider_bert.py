"""The encoder against one written down from the papers: token by token, head by head, with SciPy's erf."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from scipy.special import erf

from pytest_llmops.providers import minilm
from pytest_llmops.providers.minilm import Network

DIM, HEADS, INNER, LAYERS, WORDS, LONGEST = 12, 3, 20, 2, 30, 16


def weights() -> dict[str, Any]:
    rng = np.random.default_rng(11)

    def some(*shape: int) -> Any:
        return rng.normal(scale=0.5, size=shape).astype(np.float32)

    result = {
        "embeddings.word_embeddings.weight": some(WORDS, DIM),
        "embeddings.position_embeddings.weight": some(LONGEST, DIM),
        "embeddings.token_type_embeddings.weight": some(2, DIM),
    }
    sizes = {
        "attention.output.dense": (DIM, DIM),
        "intermediate.dense": (INNER, DIM),
        "output.dense": (DIM, INNER),
    }
    sizes |= {f"attention.self.{text}": (DIM, DIM) for text in ("query", "key", "value")}
    names = {f"encoder.layer.{n}.{name}": size for n in range(LAYERS) for name, size in sizes.items()}
    for name, size in names.items():
        result |= {f"{name}.weight": some(*size), f"{name}.bias": some(size[0])}
    norms = [
        f"encoder.layer.{n}.{text}.LayerNorm"
        for n in range(LAYERS)
        for text in ("attention.output", "output")
    ]
    for name in ("embeddings.LayerNorm", *norms):
        result |= {f"{name}.weight": 1 + some(DIM), f"{name}.bias": some(DIM)}
    return result


def plainly(w: dict[str, Any], ids: list[int]) -> Any:
    def dense(name: str, x: Any) -> Any:
        return x @ w[f"{name}.weight"].T.astype(np.float64) + w[f"{name}.bias"]

    def norm(name: str, x: Any) -> Any:
        spread = (x - x.mean()) / np.sqrt(x.var() + 1e-12)
        return spread * w[f"{name}.weight"] + w[f"{name}.bias"]

    parts = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    word, place, kind = (w[f"embeddings.{part}.weight"].astype(np.float64) for part in parts)
    states = [
        norm("embeddings.LayerNorm", word[token_id] + place[n] + kind[0]) for n, token_id in enumerate(ids)
    ]
    size = DIM // HEADS
    for layer in (f"encoder.layer.{n}" for n in range(LAYERS)):
        queries, keys, values = (
            [dense(f"{layer}.attention.self.{text}", x) for x in states] for text in ("query", "key", "value")
        )
        after = []
        for n, x in enumerate(states):
            heads = []
            for head in (slice(h * size, (h + 1) * size) for h in range(HEADS)):
                scores = np.array([queries[n][head] @ key[head] / np.sqrt(size) for key in keys])
                share = np.exp(scores) / np.exp(scores).sum()
                heads.append(sum(s * value[head] for s, value in zip(share, values, strict=True)))
            seen = norm(
                f"{layer}.attention.output.LayerNorm",
                dense(f"{layer}.attention.output.dense", np.concatenate(heads)) + x,
            )
            inner = dense(f"{layer}.intermediate.dense", seen)
            inner = inner * 0.5 * (1 + erf(inner / np.sqrt(2)))
            after.append(norm(f"{layer}.output.LayerNorm", dense(f"{layer}.output.dense", inner) + seen))
        states = after
    return np.array(states)


BATCH = [[1, 2, 3], [4, 5, 6], [7], [1, 2, 3, 4, 5, 6, 7, 8], [29, 0]]


def test_equals_the_plain_computation() -> None:
    w = weights()
    result = Network.from_weights(w, layers=LAYERS, heads=HEADS).encode(BATCH)
    assert [states.shape for states in result] == [(len(ids), DIM) for ids in BATCH]
    for ids, states in zip(BATCH, result, strict=True):
        assert states.dtype == np.float32
        np.testing.assert_allclose(states, plainly(w, ids), atol=2e-5)


def test_a_window_has_the_same_states_alone() -> None:
    network = Network.from_weights(weights(), layers=LAYERS, heads=HEADS)
    for ids, states in zip(BATCH, network.encode(BATCH), strict=True):
        np.testing.assert_allclose(network.encode([ids])[0], states, atol=2e-5)


def test_gelu_is_that_of_the_error_function() -> None:
    x = np.linspace(-12, 12, 3 * minilm.BLOCK_ROWS * 10, dtype=np.float32).reshape(-1, 10)
    wanted = x * 0.5 * (1 + erf(x.astype(np.float64) / np.sqrt(2)))
    minilm._apply_gelu(x)
    np.testing.assert_allclose(x, wanted, atol=1e-6)
    far = np.array([[-1e30, -40.0, 0.0, 40.0, 1e30]], dtype=np.float32)
    minilm._apply_gelu(far)
    assert far.tolist() == [[0.0, 0.0, 0.0, 40.0, float(np.float32(1e30))]]


def threads() -> list[int]:
    return [row["num_threads"] for row in minilm._threadpool_controller().info() if row["user_api"] == "blas"]


def test_the_threads_of_linear_algebra_come_back() -> None:
    before = threads()
    assert before
    with minilm.single_blas_thread():
        assert set(threads()) == {1}
    assert threads() == before


def test_another_thread_leaves_the_number_of_threads_alone() -> None:
    before = threads()
    inside, leave = threading.Event(), threading.Event()

    def longer() -> None:
        with minilm.single_blas_thread():
            inside.set()
            leave.wait(10)

    other = threading.Thread(target=longer)
    other.start()
    assert inside.wait(10)
    with minilm.single_blas_thread():
        leave.set()
        other.join()
        assert set(threads()) == {1}
    assert threads() == before


def test_an_error_gives_the_threads_back() -> None:
    before = threads()
    network = Network.from_weights(weights(), layers=LAYERS, heads=HEADS)
    with pytest.raises(IndexError):
        network.encode([[WORDS]])
    assert threads() == before
