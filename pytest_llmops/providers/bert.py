"""BERT encoder in numpy, from tokens to the states of the last layer.

Devlin et al., "BERT" (https://arxiv.org/abs/1810.04805), as the transformers package computes it in
evaluation: post-norm layers, GELU with the error function, no dropout.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pytest_llmops._util.lazy_numpy import Float32Array as Array
from pytest_llmops._util.lazy_numpy import NDArray, np

EPSILON = 1e-12
# Coefficients of Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), formula 7.1.28
ERFC_COEFFICIENTS = (0.0705230784, 0.0422820123, 0.0092705272, 0.0001520143, 0.0002765672, 0.0000430638)
BLOCK_ROWS = 64  # rows of an activation that are computed at once, as they fit into the processor's cache


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """A linear map: an ``(in, out)`` matrix and a bias."""

    matrix: Array
    bias: Array

    def __call__(self, states: Array) -> Array:
        """Return ``states @ matrix + bias``."""
        mapped: Array = states @ self.matrix
        mapped += self.bias
        return mapped


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    """Layer normalization."""

    weight: Array
    bias: Array

    def apply(self, states: Array) -> None:
        """Normalize each row to mean 0 and variance 1, then scale and shift it, in place."""
        states -= states.mean(axis=-1, keepdims=True)
        variance = np.einsum("ij,ij->i", states, states)[:, None] / states.shape[1]
        states /= np.sqrt(variance + EPSILON, dtype=np.float32)
        states *= self.weight
        states += self.bias


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A layer of the encoder; ``qkv`` computes query (scaled), key and value together."""

    qkv: Dense
    out: Dense
    norm: Norm
    up: Dense
    down: Dense
    norm_after: Norm

    def __call__(self, states: Array, lengths: Sequence[int], heads: int) -> Array:
        """Return the states after this layer."""
        attended = self.out(_window_attention(self.qkv(states), lengths, heads))
        attended += states
        self.norm.apply(attended)
        inner = self.up(attended)
        _apply_gelu(inner)
        after = self.down(inner)
        after += attended
        self.norm_after.apply(after)
        return after


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """The whole encoder.

    Attributes:
        words: ``(vocabulary, dim)``.
        positions: ``(longest window, dim)``, with the embedding of the first segment type added.
    """

    words: NDArray[np.floating[Any]]
    positions: Array
    norm: Norm
    layers: tuple[Layer, ...]
    heads: int

    @classmethod
    def from_weights(
        cls, weights: Mapping[str, NDArray[np.floating[Any]]], *, layers: int, heads: int
    ) -> Network:
        """Return the network of weights that are named as in transformers, in float16 or float32."""
        # The word embeddings, half of all numbers, stay as they are: a text needs few of their rows.
        words = weights["embeddings.word_embeddings.weight"]
        weights = {name: array.astype(np.float32) for name, array in weights.items() if array is not words}

        def dense(name: str, scale: float = 1.0) -> Dense:
            factor = weights[f"{name}.bias"].dtype.type(scale)
            matrix, bias = weights[f"{name}.weight"].T, weights[f"{name}.bias"]
            return Dense(matrix, bias) if scale == 1 else Dense(matrix * factor, bias * factor)

        def norm(name: str) -> Norm:
            return Norm(weights[f"{name}.weight"], weights[f"{name}.bias"])

        def layer(base: str) -> Layer:
            per_head = len(weights[f"{base}.attention.self.query.bias"]) // heads
            query = dense(f"{base}.attention.self.query", per_head**-0.5)
            key, value = dense(f"{base}.attention.self.key"), dense(f"{base}.attention.self.value")
            return Layer(
                qkv=_concatenate_maps(query, key, value),
                out=dense(f"{base}.attention.output.dense"),
                norm=norm(f"{base}.attention.output.LayerNorm"),
                up=dense(f"{base}.intermediate.dense"),
                down=dense(f"{base}.output.dense"),
                norm_after=norm(f"{base}.output.LayerNorm"),
            )

        kinds = weights["embeddings.token_type_embeddings.weight"]
        return cls(
            words=words,
            positions=weights["embeddings.position_embeddings.weight"] + kinds[0],
            norm=norm("embeddings.LayerNorm"),
            layers=tuple(layer(f"encoder.layer.{number}") for number in range(layers)),
            heads=heads,
        )

    def encode(self, batch: Sequence[Sequence[int]]) -> list[Array]:
        """Return the states of each window of tokens, ``(len(window), dim)`` float32.

        All tokens are in one matrix without padding; windows of the same length should be adjacent.
        """
        lengths = [len(window) for window in batch]
        states = self.words[np.concatenate([np.asarray(window) for window in batch])].astype(np.float32)
        states += np.concatenate([self.positions[:length] for length in lengths])
        self.norm.apply(states)
        with _single_blas_thread():
            for layer in self.layers:
                states = layer(states, lengths, self.heads)
        return np.split(states, np.cumsum(lengths)[:-1])


def _concatenate_maps(*parts: Dense) -> Dense:
    # The rows of the transposed matrix are contiguous in memory, as they are read.
    return Dense(
        np.concatenate([part.matrix.T for part in parts]).T, np.concatenate([part.bias for part in parts])
    )


def _window_attention(qkv: Array, lengths: Sequence[int], heads: int) -> Array:
    # Return scaled dot-product self-attention of each window; adjacent windows of the same length share a pass.
    dim = qkv.shape[1] // 3
    mixed = np.empty((len(qkv), dim), dtype=np.float32)
    start = first = 0
    while first < len(lengths):
        length = lengths[first]
        count = next((n for n, size in enumerate(lengths[first:]) if size != length), len(lengths) - first)
        end = start + count * length
        split = qkv[start:end].reshape(count, length, 3, heads, dim // heads).transpose(2, 0, 3, 1, 4)
        query, key, value = np.ascontiguousarray(split)
        scores = query @ key.transpose(0, 1, 3, 2)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        seen = scores @ value
        seen /= scores.sum(axis=-1, keepdims=True)  # of these there are fewer than of the scores
        mixed[start:end] = seen.transpose(0, 2, 1, 3).reshape(-1, dim)
        start, first = end, first + count
    return mixed


def _apply_gelu(states: Array) -> None:
    """Apply GELU with the error function, in place.

    1 - erf(z) is formula 7.1.28 of Abramowitz and Stegun, ``(1 + a1 z + ... + a6 z**6)**-16``, with an error of
    at most 3e-7. It has no exponential, which would take as long as the rest; importing SciPy takes 0.2 s.
    """
    factors = [np.float32(a * 0.5 ** (n / 2)) for n, a in enumerate(ERFC_COEFFICIENTS, start=1)]
    with np.errstate(over="ignore"):  # where it is infinite, its inverse is 0
        for start in range(0, len(states), BLOCK_ROWS):
            x = states[start : start + BLOCK_ROWS]
            size = np.abs(x)
            tail = size * factors[-1]
            for factor in factors[-2::-1]:
                tail += factor
                tail *= size
            tail += np.float32(1)
            for _ in range(4):
                np.multiply(tail, tail, out=tail)
            size *= np.float32(0.5)
            size /= tail
            # x/2 (1 + erf(x / sqrt 2)) = max(x, 0) - |x|/2 (1 - erf(|x| / sqrt 2)), for either sign
            np.maximum(x, 0, out=x)
            x -= size


@contextmanager
def _single_blas_thread() -> Iterator[None]:
    """Run the linear algebra of a block on a single thread.

    The matrices are small: a second thread gains nothing on an idle machine, and where several test
    workers share the cores, threads that wait for each other make it six times slower.
    """
    if threading.current_thread() is not threading.main_thread():
        # The limit is that of the process: overlapping blocks would restore each other's limit, and OpenBLAS
        # accepts it from the main thread only.
        yield
        return
    with _threadpool_controller().limit(limits=1, user_api="blas"):
        yield


@lru_cache(maxsize=1)
def _threadpool_controller() -> Any:
    import numpy as np  # noqa: F401 -- loads the libraries to limit
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()
