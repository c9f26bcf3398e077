"""A tiny NLI model as ONNX: logits are the sums of three weights for each word. The protobuf is written by hand."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORDS: dict[str, tuple[float, float, float]] = {
    "[UNK]": (0.0, 0.0, 0.0),
    "[PAD]": (0.0, 0.0, 0.0),
    "same": (4.0, 0.0, 0.0),
    "other": (0.0, 4.0, 0.0),
    "not": (0.0, 0.0, 6.0),
    "open": (2.0, 0.0, 0.0),
}
"""Word -> weights of entailment, neutral and contradiction."""
LABELS = ("entailment", "neutral", "contradiction")


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number: int, value: int | str | bytes) -> bytes:
    """A field of protobuf: a number, or a text or message with its length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor_type(name: str, kind: int, dims: Sequence[str | int]) -> bytes:
    shape = b"".join(field(1, field(2 if isinstance(dim, str) else 1, dim)) for dim in dims)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, shape)))


def build_model(
    weights: Sequence[Sequence[float]], inputs: Sequence[str], words: str | int = "words"
) -> bytes:
    """ModelProto: Gather(weights, input_ids), then ReduceSum over the words; a number of words is fixed."""
    flat = [number for row in weights for number in row]
    table = field(1, len(weights)) + field(1, len(weights[0])) + field(2, 1) + field(8, "weights")
    table += field(9, struct.pack(f"<{len(flat)}f", *flat))
    gather = field(1, "weights") + field(1, "input_ids") + field(2, "rows") + field(4, "Gather")
    axes = field(1, "axes") + field(8, 1) + field(20, 7)
    keep = field(1, "keepdims") + field(3, 0) + field(20, 2)
    total = field(1, "rows") + field(2, "logits") + field(4, "ReduceSum") + field(5, axes) + field(5, keep)
    graph = field(1, gather) + field(1, total) + field(2, "tiny") + field(5, table)
    graph += b"".join(field(11, tensor_type(name, 7, ["pairs", words])) for name in inputs)
    graph += field(12, tensor_type("logits", 1, ["pairs", len(weights[0])]))
    return field(1, 6) + field(7, graph) + field(8, field(1, "") + field(2, 11))


def write_model(
    folder: Path,
    *,
    order: Sequence[str] = LABELS,
    inputs: Sequence[str] = ("input_ids", "attention_mask", "token_type_ids"),
) -> Path:
    """Write model.onnx, tokenizer.json and config.json; the outputs of the model have the given order of labels."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = [[row[LABELS.index(name)] for name in order] for row in WORDS.values()]
    (folder / "model.onnx").write_bytes(build_model(weights, inputs))
    tokenizer: dict[str, Any] = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": {word: place for place, word in enumerate(WORDS)}, "unk_token": "[UNK]"},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    config = {"id2label": dict(enumerate(order)), "pad_token_id": 1, "vocab_size": len(WORDS)}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
