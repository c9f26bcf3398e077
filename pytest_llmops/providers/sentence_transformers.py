"""Embeddings with the sentence-transformers package, by models that are already on this machine."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pytest_llmops._util.arrays import Float32Array, np
from pytest_llmops.errors import MissingExtra, UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.providers.embedding_arrays import clean_texts, scale_to_unit

NAME = "sentence-transformers"
DIGEST_CHARS = 12
CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class SentenceTransformersEmbedder:
    """Texts as vectors of a sentence-transformers model, on the processor of this machine.

    Nothing is downloaded: a model that is neither a folder nor in the cache of the Hugging Face hub is an
    error. Vectors come from ``SentenceTransformer.encode``, which cuts a text at the model's longest input
    (often 256 or 512 tokens).

    Args:
        model: The model's name, or its folder.
        device: Device of torch; vectors may differ slightly from the vectors of ``cpu``.

    Attributes:
        default_threshold: None: no threshold is calibrated, so an assertion requires its own.
    """

    model: str = "all-MiniLM-L6-v2"
    device: str = "cpu"
    default_threshold: float | None = None
    across_calls: bool = True
    cacheable: bool = True

    @property
    def name(self) -> str:
        """Name in the settings: ``sentence-transformers:all-MiniLM-L6-v2``."""
        return f"{NAME}:{self.model}"

    @property
    def version(self) -> str:
        """Model and revision; for a folder, a digest of its weights instead. Reading it loads the model.

        Raises:
            UsageError: The package or the model is not on this machine.
        """
        loaded = _load_transformer(self.model, self.device)
        name = Path(self.model).name or self.model
        revision = _model_revision(loaded, self.model)
        return f"{NAME}/{name}@{revision}"

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Return a ``(len(texts), dim)`` float32 array, a row of unit length for each text.

        A blank text has a row of zeros; no texts: ``(0, dim)``.

        Raises:
            UsageError: The package or the model is not on this machine.
        """
        cleaned = clean_texts(texts)
        loaded = _load_transformer(self.model, self.device)
        places = [place for place, text in enumerate(cleaned) if text.strip()]
        # Without a text, the vector of "a" gives the dimension.
        present = [cleaned[place] for place in places] or ["a"]
        encoded = loaded.encode(present, show_progress_bar=False)
        vectors = np.asarray(encoded, dtype=np.float32)
        width = vectors.shape[1]
        rows: Float32Array = np.zeros((len(cleaned), width), dtype=np.float32)
        if places:
            rows[places] = scale_to_unit(vectors)
        return rows


@lru_cache(maxsize=2)
def _load_transformer(model: str, device: str) -> Any:
    """Load a model, without the network; it is cached, as loading needs seconds and hundreds of megabytes."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        if error.name != "sentence_transformers":
            raise UsageError(f"embedder {NAME}: the package cannot be imported: {error}") from None
        raise MissingExtra(f"the embedder {NAME}:{model}", NAME, NAME) from None
    try:
        return SentenceTransformer(model, device=device, local_files_only=True)
    except Exception as error:  # noqa: BLE001 -- the error depends on the missing part
        problem = shorten_text(str(error))
        raise UsageError(
            f"embedder {NAME}:{shorten_text(model, 200)}: expected a model on this machine, a folder or a name in the cache of "
            f"the Hugging Face hub, got none that loads ({problem}); nothing is downloaded in a test: "
            f"run `hf download {NAME}/MODEL` once, or name the folder"
        ) from None


@lru_cache(maxsize=2)
def _model_revision(loaded: Any, model: str) -> str:
    """Return the commit of a model from the hub, else a digest of the weights in its folder."""
    commit = getattr(getattr(loaded[0].auto_model, "config", None), "_commit_hash", None)
    if commit:
        return str(commit)[:DIGEST_CHARS]
    hashed = hashlib.sha256()
    for path in sorted(Path(model).rglob("*")):
        if path.suffix in (".safetensors", ".bin"):
            with path.open("rb") as file:
                while block := file.read(CHUNK_BYTES):
                    hashed.update(block)
    return hashed.hexdigest()[:DIGEST_CHARS]
