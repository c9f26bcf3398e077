"""Sentence embeddings of MiniLM models in numpy: semantic, offline, without torch.

The networks are BERT encoders (Wang et al., "MiniLM", https://arxiv.org/abs/2002.10957), trained by the
sentence-transformers project. `pytest_llmops.providers.model_files` installs their weights.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import Any

from pytest_llmops._util.arrays import Float32Array, NDArray, np
from pytest_llmops._util.arrays import Float32Array as Array
from pytest_llmops.errors import MissingExtra
from pytest_llmops.protocols import TokenVectors
from pytest_llmops.providers.embedding_arrays import clean_texts, scale_to_unit
from pytest_llmops.providers.model_files import (
    MODELS,
    InstalledModel,
    LocalModel,
    find_installed,
    load_arrays,
)

EPSILON = 1e-12
# Coefficients of Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), formula 7.1.28
ERFC_COEFFICIENTS = (0.0705230784, 0.0422820123, 0.0092705272, 0.0001520143, 0.0002765672, 0.0000430638)
BLOCK_ROWS = (
    64  # rows to which the activation function is applied at once: so many fit into the processor's cache
)


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
        squares = np.einsum("ij,ij->i", states, states)
        variance = squares[:, None] / states.shape[1]
        states /= np.sqrt(variance + EPSILON, dtype=np.float32)
        states *= self.weight
        states += self.bias


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A layer of the encoder; ``qkv`` computes query (scaled by 1 / sqrt of its size), key and value in one product."""

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
        words: Word embeddings, ``(vocabulary, dim)``.
        positions: Position embeddings, ``(longest window, dim)``, with the embedding of the first segment type added.
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
        """Build the network from weights (float16 or float32) with the names that the transformers package gives them."""
        # The word embeddings, half of all numbers, are not converted to float32, as a text needs few of their rows.
        words = weights["embeddings.word_embeddings.weight"]
        others = {name: array for name, array in weights.items() if array is not words}
        weights = {name: array.astype(np.float32) for name, array in others.items()}

        def dense(name: str, scale: float = 1.0) -> Dense:
            matrix = weights[f"{name}.weight"].T
            bias = weights[f"{name}.bias"]
            if scale == 1:
                return Dense(matrix, bias)
            factor = bias.dtype.type(scale)
            return Dense(matrix * factor, bias * factor)

        def norm(name: str) -> Norm:
            return Norm(weights[f"{name}.weight"], weights[f"{name}.bias"])

        def layer(base: str) -> Layer:
            per_head = len(weights[f"{base}.attention.self.query.bias"]) // heads
            query = dense(f"{base}.attention.self.query", per_head**-0.5)
            key = dense(f"{base}.attention.self.key")
            value = dense(f"{base}.attention.self.value")
            return Layer(
                qkv=_concatenate_maps(query, key, value),
                out=dense(f"{base}.attention.output.dense"),
                norm=norm(f"{base}.attention.output.LayerNorm"),
                up=dense(f"{base}.intermediate.dense"),
                down=dense(f"{base}.output.dense"),
                norm_after=norm(f"{base}.output.LayerNorm"),
            )

        kinds = weights["embeddings.token_type_embeddings.weight"]
        bases = [f"encoder.layer.{number}" for number in range(layers)]
        return cls(
            words=words,
            positions=weights["embeddings.position_embeddings.weight"] + kinds[0],
            norm=norm("embeddings.LayerNorm"),
            layers=tuple(map(layer, bases)),
            heads=heads,
        )

    def encode(self, batch: Sequence[Sequence[int]]) -> list[Array]:
        """Return the states of the tokens of each window, ``(len(window), dim)`` float32.

        All tokens are in one matrix without padding. It is faster if windows of the same length are adjacent.
        """
        lengths = [len(window) for window in batch]
        tokens = np.concatenate([np.asarray(window) for window in batch])
        states = self.words[tokens].astype(np.float32)
        states += np.concatenate([self.positions[:length] for length in lengths])
        self.norm.apply(states)
        with single_blas_thread():
            for layer in self.layers:
                states = layer(states, lengths, self.heads)
        return np.split(states, np.cumsum(lengths)[:-1])


def _concatenate_maps(*parts: Dense) -> Dense:
    """Return one map that computes the outputs of all parts side by side.

    Its matrix is stored transposed, like the matrices of the parts, as the product reads it in that order.
    """
    matrix = np.concatenate([part.matrix.T for part in parts]).T
    bias = np.concatenate([part.bias for part in parts])
    return Dense(matrix, bias)


def _window_attention(qkv: Array, lengths: Sequence[int], heads: int) -> Array:
    """Return scaled dot-product self-attention within each window; adjacent windows of the same length are computed together."""
    dim = qkv.shape[1] // 3
    mixed = np.empty((len(qkv), dim), dtype=np.float32)
    start = 0
    for length, equal_lengths in groupby(lengths):
        count = len(list(equal_lengths))
        end = start + count * length
        windows = qkv[start:end].reshape(count, length, 3, heads, dim // heads)
        by_head = windows.transpose(
            2, 0, 3, 1, 4
        )  # (query/key/value, window, head, token, part of the vector)
        query, key, value = np.ascontiguousarray(by_head)
        scores = query @ key.transpose(0, 1, 3, 2)
        scores -= scores.max(axis=-1, keepdims=True)  # softmax, without overflow
        np.exp(scores, out=scores)
        attended = scores @ value
        attended /= scores.sum(
            axis=-1, keepdims=True
        )  # divided after the product, where there are fewer numbers
        by_token = attended.transpose(0, 2, 1, 3)
        mixed[start:end] = by_token.reshape(-1, dim)
        start = end
    return mixed


def _apply_gelu(states: Array) -> None:
    """Apply GELU with the error function, in place.

    1 - erf(z) is formula 7.1.28 of Abramowitz and Stegun, ``(1 + a1 z + ... + a6 z**6)**-16``, with an error of
    at most 3e-7. It needs no exponential, which would double the time. SciPy is not used, as its import needs 0.2 s.
    """
    factors = [np.float32(a * 0.5 ** (n / 2)) for n, a in enumerate(ERFC_COEFFICIENTS, start=1)]
    with np.errstate(over="ignore"):  # an infinite power is fine: its inverse is 0
        for start in range(0, len(states), BLOCK_ROWS):
            x = states[start : start + BLOCK_ROWS]
            size = np.abs(x)
            tail = size * factors[-1]
            for factor in factors[-2::-1]:
                tail += factor
                tail *= size
            tail += np.float32(1)
            for _ in range(4):  # to the power of 16
                np.multiply(tail, tail, out=tail)
            size *= np.float32(0.5)
            size /= tail
            # x/2 (1 + erf(x / sqrt 2)) = max(x, 0) - |x|/2 (1 - erf(|x| / sqrt 2)), for either sign
            np.maximum(x, 0, out=x)
            x -= size


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """Run the linear algebra of a block on a single thread; called outside of the main thread, it changes nothing.

    The matrices are small: a second thread gains nothing on an idle machine, and where several test
    workers share the cores, threads that wait for each other make it six times slower.
    """
    if threading.current_thread() is not threading.main_thread():
        # The limit is for the whole process: overlapping blocks would restore each other's limit, and OpenBLAS accepts it only
        # from the main thread.
        yield
        return
    with _threadpool_controller().limit(limits=1, user_api="blas"):
        yield


@lru_cache(maxsize=1)
def _threadpool_controller() -> Any:
    """Return the controller of the BLAS libraries; they must be loaded before."""
    import numpy as np  # noqa: F401 -- loads the libraries to limit
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()


DIM = 384
BATCH_TOKENS = (
    1024  # tokens that are computed at once; this needs less than 20 MB, however long the texts are
)


@dataclass(frozen=True, slots=True)
class MiniLMEmbedder:
    """Embeddings of a MiniLM model: offline, deterministic, semantic.

    The vectors equal the vectors of the sentence-transformers package, to 1e-3 in each number (the weights are rounded
    to float16), for texts of up to 254 tokens (some 190 English words). That package cuts longer texts; here the
    mean is over the tokens of **all** windows of 254, so that a change at the end counts, too.

    **Closeness is not meaning**: a "not", another number or two swapped names hardly move a vector. ``minilm``
    is trained on English: in other languages dissimilar texts score high, too. Case does not count.

    Args:
        name: ``minilm`` or ``minilm-multilingual`` (50 languages, windows of 126 tokens), which
            ``llmops semantic install`` installs.

    Attributes:
        default_threshold: Measured on the 250 pairs of English image captions in the STS-B test set, which humans rated from 0 to 5, by
            the rule of all built-in thresholds: the lowest multiple of 0.05 that at most one in ten of the pairs rated 2 or less
            reaches. All pairs rated 4 or more reach it. So another subject fails and other words pass; whether the facts are
            the same is checked separately by `assert_semantic`. None: not measured.

    >>> MiniLMEmbedder().version
    'minilm/2/e0e5efb0b3ec'
    """

    name: str = "minilm"
    across_calls: bool = True
    cacheable: bool = True
    _loaded: InstalledModel | None = field(default=None, init=False, repr=False, compare=False)

    def load(self) -> None:
        """Read the model now, and keep to this file: a test that replaces the file system can still embed texts.

        Raises:
            UsageError: The model or a package is not installed, or the model's file is damaged.
        """
        object.__setattr__(self, "_loaded", find_installed(self.name))
        self.embed(["a"])

    @property
    def version(self) -> str:
        """Revision and digest of the installed file; vectors of two versions are never compared.

        Raises:
            UsageError: The model is not installed, or its file is damaged.
        """
        return self._installed.version

    @property
    def _installed(self) -> InstalledModel:
        return self._loaded or find_installed(self.name)

    @property
    def default_threshold(self) -> float | None:
        """The calibrated threshold of the model."""
        return self._model.default_threshold

    @property
    def alignment_threshold(self) -> float | None:
        """The threshold of the alignment of words, see `LocalModel`; None: answers are not aligned with this model."""
        return self._model.alignment_threshold

    @property
    def languages(self) -> frozenset[str]:
        """Codes of the languages that the model was trained for."""
        return self._model.languages

    @property
    def _model(self) -> LocalModel:
        return MODELS[self.name]

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Return a ``(len(texts), 384)`` float32 array, a row of unit length for each text.

        A blank text has a row of zeros; no texts: ``(0, 384)``. A text of 1 MB needs one to two minutes, in
        bounded memory.

        Raises:
            UsageError: The model or a package is not installed, or the model's file is damaged.
        """
        cleaned = clean_texts(texts)
        sums = np.zeros((len(cleaned), DIM), dtype=np.float32)
        for window, states in self._encode_windows(cleaned):
            sums[window.text] += states.sum(axis=0)
        return scale_to_unit(sums)

    def embed_tokens(self, texts: Sequence[str], *, specials: bool = False) -> list[TokenVectors]:
        """Return tokens and vectors of each text: the last layer's states, scaled to unit length.

        A blank text has no tokens and ``(0, 384)`` vectors. The vectors of a text of n tokens take n times
        1.5 KB.

        Args:
            texts: The texts.
            specials: Include start (``[CLS]``) and end (``[SEP]``) of each window.

        Raises:
            UsageError: The model or a package is not installed, or the model's file is damaged.
        """
        cleaned = clean_texts(texts)
        windows_by_text: list[list[tuple[_Window, Float32Array]]] = [[] for _ in cleaned]
        for window, states in self._encode_windows(cleaned):
            if not specials:
                states = states[1:-1]  # noqa: PLW2901 -- without start and end
            windows_by_text[window.text].append((window, scale_to_unit(states)))
        return [_join_windows(windows, specials=specials) for windows in windows_by_text]

    def _encode_windows(self, texts: Sequence[str]) -> Iterator[tuple[_Window, Float32Array]]:
        """Yield each window of the texts with the states of its tokens, ``(len(ids), DIM)``; shorter windows come first."""
        tokenizer, network = _load(self._installed)
        batch: list[_Window] = []
        # Sorted, so that windows of the same length are adjacent (see `Network.encode`).
        windows = sorted(_split_windows(self._model, tokenizer, texts), key=lambda window: len(window.ids))
        room = BATCH_TOKENS
        for window in windows:
            if batch and len(window.ids) > room:
                yield from zip(batch, network.encode([queued.ids for queued in batch]), strict=True)
                batch = []
                room = BATCH_TOKENS
            batch.append(window)
            room -= len(window.ids)
        if batch:
            yield from zip(batch, network.encode([queued.ids for queued in batch]), strict=True)


@dataclass(frozen=True, slots=True)
class _Window:
    """Input of the network: the tokens of a text, or of a part of a long text.

    Attributes:
        text: Index of the text in the call.
        place: Index of the first token of the window in the text.
        ids: The numbers of the tokens, with start and end token.
        tokens: The tokens as texts, without start and end.
    """

    text: int
    place: int
    ids: list[int]
    tokens: tuple[str, ...]


def _join_windows(windows: Sequence[tuple[_Window, Float32Array]], *, specials: bool) -> TokenVectors:
    """Join the tokens and vectors of the windows of a text, which may be in any order; a text without windows has none."""
    tokens: list[str] = []
    vectors = [np.zeros((0, DIM), dtype=np.float32)]
    for window, rows in sorted(windows, key=lambda part: part[0].place):
        if specials:
            tokens += ["[CLS]", *window.tokens, "[SEP]"]
        else:
            tokens += window.tokens
        vectors.append(rows)
    return TokenVectors(tuple(tokens), np.concatenate(vectors))


def multilingual_minilm() -> MiniLMEmbedder:
    """Return the embedder ``minilm-multilingual``.

    >>> multilingual_minilm().name
    'minilm-multilingual'
    """
    return MiniLMEmbedder("minilm-multilingual")


def _split_windows(model: LocalModel, tokenizer: Any, texts: Sequence[str]) -> Iterator[_Window]:
    """Yield the windows of the texts; a blank text has none."""
    for index, text in enumerate(texts):
        # One text at a time: for a batch, the tokenizer would start threads that do not survive a fork.
        encoding = tokenizer.encode(text, add_special_tokens=False)
        ids = encoding.ids
        tokens = encoding.tokens
        for place in range(0, len(ids), model.window_tokens):
            end = place + model.window_tokens
            window_ids = [model.start_token, *ids[place:end], model.end_token]
            yield _Window(index, place, window_ids, tuple(tokens[place:end]))


@lru_cache(maxsize=2)
def _load(installed: InstalledModel) -> tuple[Any, Network]:
    """Return the tokenizer and the network of an installed model."""
    try:
        import threadpoolctl  # noqa: F401 -- needed by `encode`: a missing package is reported now
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtra(f"the embedder {installed.model.name}", "minilm", str(error.name)) from None
    arrays, tokenizer_json = load_arrays(installed)
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    model = installed.model
    return tokenizer, Network.from_weights(arrays, layers=model.layers, heads=model.heads)
