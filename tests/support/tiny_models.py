"""A sentence-embedding model of a few kilobytes, in the files that the published models have."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from pytest_llmops.providers.model_files import MODELS, TOKENIZER, WEIGHTS, LocalModel

WORDS = ("<s>", "<pad>", "</s>", "<unk>", "haus", "garten", "refund")
DIM, INNER, WINDOW = 384, 8, 4


def safetensors_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """Return arrays as a file of the safetensors format."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    parts, offset = [], 0
    for key, array in arrays.items():
        kind = {"f": "F32", "i": "I64"}[array.dtype.kind]
        span = [offset, offset + array.nbytes]
        header[key] = {"dtype": kind, "shape": list(array.shape), "data_offsets": span}
        parts.append(array.tobytes())
        offset += array.nbytes
    text = json.dumps(header).encode()
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def tiny_model(folder: Path, *, layers: int = 2) -> tuple[Path, LocalModel]:
    """Write a network with random numbers and a tokenizer of words, and return the folder and the model."""
    random = np.random.default_rng(1)

    def numbers(*shape: int) -> np.ndarray:
        return random.normal(0, 0.3, shape).astype("<f4")

    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(WORDS), DIM),
        "embeddings.position_embeddings.weight": (WINDOW + 2, DIM),
        "embeddings.token_type_embeddings.weight": (2, DIM),
        "embeddings.LayerNorm.weight": (DIM,),
        "embeddings.LayerNorm.bias": (DIM,),
    }
    for layer in range(layers):
        base = f"encoder.layer.{layer}"
        maps = {f"attention.self.{part}": (DIM, DIM) for part in ("query", "key", "value")}
        maps |= {"attention.output.dense": (DIM, DIM), "intermediate.dense": (INNER, DIM)}
        maps |= {"output.dense": (DIM, INNER)}
        for name, shape in maps.items():
            shapes |= {f"{base}.{name}.weight": shape, f"{base}.{name}.bias": shape[:1]}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{base}.{name}.weight": (DIM,), f"{base}.{name}.bias": (DIM,)}
    folder.mkdir(parents=True)
    weights = safetensors_bytes({name: numbers(*shape) for name, shape in shapes.items()})
    (folder / WEIGHTS).write_bytes(weights)
    tokenizer: dict[str, object] = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: n for n, word in enumerate(WORDS)},
            "unk_token": "<unk>",
        },
    }
    (folder / TOKENIZER).write_text(json.dumps(tokenizer), encoding="utf-8")
    model = replace(
        MODELS["minilm-multilingual"],
        layers=layers,
        window_tokens=WINDOW,
        sha256={
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (WEIGHTS, TOKENIZER)
        },
    )
    return folder, model
