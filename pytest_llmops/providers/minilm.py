"""Sentence embeddings of MiniLM models in numpy: semantic, offline, without torch.

The networks are BERT encoders (Wang et al., "MiniLM", https://arxiv.org/abs/2002.10957), trained by the
sentence-transformers project. `pytest_llmops.providers.model_files` installs their weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

from pytest_llmops._util.lazy_numpy import Float32Array, np
from pytest_llmops.errors import MissingExtra
from pytest_llmops.protocols import TokenVectors
from pytest_llmops.providers.bert import Network
from pytest_llmops.providers.embedding_arrays import clean_texts, scale_to_unit
from pytest_llmops.providers.model_files import (
    MODELS,
    InstalledModel,
    LocalModel,
    find_installed,
    load_arrays,
)

DIM = 384
BATCH_TOKENS = 1024  # tokens of a pass, which needs less than 20 MB, whatever the size of the texts


@dataclass(frozen=True, slots=True)
class MiniLMEmbedder:
    """Embeddings of a MiniLM model: offline, deterministic, semantic.

    The vectors are those of the sentence-transformers package, to 1e-3 in each number (the weights are rounded
    to float16), for texts of up to 254 tokens (some 190 English words). That package cuts longer texts; here the
    mean is over the tokens of **all** windows of 254, so that a change at the end counts, too.

    **Closeness is not meaning**: a "not", another number or two swapped names hardly move a vector. ``minilm``
    is trained on English: in other languages dissimilar texts score high, too. Case does not count.

    Args:
        name: ``minilm`` or ``minilm-multilingual`` (50 languages, windows of 126 tokens), which
            ``llmops semantic install`` installs.

    Attributes:
        default_threshold: By the rule of all built-in thresholds: the lowest multiple of 0.05 that at most one in ten
            of the pairs that humans rate 2 and less out of 5 reaches, over the 250 English image captions of
            the STS-B test set. All pairs rated 4 and more pass. It keeps other subjects out and lets other
            words in; whether the facts are the same is for the checks of `assert_semantic`. None: not measured.

    >>> MiniLMEmbedder().version
    'minilm/2/e0e5efb0b3ec'
    """

    name: str = "minilm"
    across_calls: bool = True
    cacheable: bool = True

    @property
    def version(self) -> str:
        """Revision and digest of the installed file; vectors of two versions are never compared.

        Raises:
            UsageError: The model is not installed, or its file is damaged.
        """
        return find_installed(self.name).version

    @property
    def default_threshold(self) -> float | None:
        """The calibrated threshold of the model."""
        return self._model.default_threshold

    @property
    def languages(self) -> frozenset[str]:
        """Codes of the languages that the model was trained for."""
        return self._model.languages

    @property
    def _model(self) -> LocalModel:
        return MODELS[self.name]

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Return a ``(len(texts), 384)`` float32 array, a row of unit length for each text.

        A blank text has a row of zeros; no texts: ``(0, 384)``. A text of 1 MB takes one to two minutes, in
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
        parts: list[list[tuple[_Window, Float32Array]]] = [[] for _ in cleaned]
        for window, states in self._encode_windows(cleaned):
            parts[window.text].append((window, scale_to_unit(states if specials else states[1:-1])))
        token_vectors = []
        for windows in parts:
            windows.sort(key=lambda part: part[0].place)
            tokens = [
                ("[CLS]", *window.tokens, "[SEP]") if specials else window.tokens for window, _ in windows
            ]
            vectors = [rows for _, rows in windows] or [np.zeros((0, DIM), dtype=np.float32)]
            token_vectors.append(TokenVectors(tuple(chain.from_iterable(tokens)), np.concatenate(vectors)))
        return token_vectors

    def _encode_windows(self, texts: Sequence[str]) -> Iterator[tuple[_Window, Float32Array]]:
        # Yield the windows of the texts with the states of their tokens, ``(len(ids), DIM)``, in any order.
        tokenizer, network = _load(find_installed(self.name))
        batch: list[_Window] = []
        # Windows of similar length share a pass, so that attention sees few different lengths.
        for window in sorted(
            _split_windows(self._model, tokenizer, texts), key=lambda queued: len(queued.ids)
        ):
            if batch and sum(len(queued.ids) for queued in batch) + len(window.ids) > BATCH_TOKENS:
                yield from zip(batch, network.encode([queued.ids for queued in batch]), strict=True)
                batch = []
            batch.append(window)
        if batch:
            yield from zip(batch, network.encode([queued.ids for queued in batch]), strict=True)


@dataclass(frozen=True, slots=True)
class _Window:
    """Input of the network: tokens of a text, or of a part of a long text, with start and end."""

    text: int
    place: int
    ids: list[int]
    tokens: tuple[str, ...]  # without start and end


def multilingual_minilm() -> MiniLMEmbedder:
    """Return the embedder ``minilm-multilingual``.

    >>> multilingual_minilm().name
    'minilm-multilingual'
    """
    return MiniLMEmbedder("minilm-multilingual")


def _split_windows(model: LocalModel, tokenizer: Any, texts: Sequence[str]) -> Iterator[_Window]:
    for index, text in enumerate(texts):
        # A call for each text: a batch would start threads that do not survive a fork.
        encoding = tokenizer.encode(text, add_special_tokens=False)
        ids, tokens = encoding.ids, encoding.tokens
        for place in range(0, len(ids), model.window_tokens):
            part = slice(place, place + model.window_tokens)
            yield _Window(index, place, [model.start_token, *ids[part], model.end_token], tuple(tokens[part]))


@lru_cache(maxsize=2)
def _load(installed: InstalledModel) -> tuple[Any, Network]:
    try:
        import threadpoolctl  # type: ignore[import-untyped]  # noqa: F401 -- what a pass needs, named here and not later
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtra(f"the embedder {installed.model.name}", "minilm", str(error.name)) from None
    arrays, tokenizer_json = load_arrays(installed)
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    model = installed.model
    return tokenizer, Network.from_weights(arrays, layers=model.layers, heads=model.heads)
