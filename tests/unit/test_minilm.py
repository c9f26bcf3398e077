from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.messages import check_message
from support.tiny_models import tiny_model

from pytest_llmops import registry
from pytest_llmops.errors import MissingExtra, UsageError
from pytest_llmops.metrics import classification
from pytest_llmops.protocols import Embedder, TokenEmbedder
from pytest_llmops.providers import minilm, offline
from pytest_llmops.providers.minilm import MiniLMEmbedder
from pytest_llmops.providers.model_files import MODELS, find_installed, install_model
from pytest_llmops.testing.conformance import TEXTS, check_embedder

pytest.importorskip("tokenizers")
SENTENCES = [
    "Refunds take 30 days.",
    "You get your money back within a month.",
    "You do not get your money back within a month.",
    "Rückgabe innerhalb von 30 Tagen",
    "返品は30日以内 👩‍💻",
    "?!",
    "word " * 240,
]
# What sentence-transformers 6.2.0 on torch 2.13.0 (CPU) gives for these sentences with the same weights:
# `SentenceTransformer(folder).encode(SENTENCES, normalize_embeddings=True)`. Of each vector the first three
# numbers, the last, and its product with cos(0), cos(1) ... cos(383), in which every number counts.
FIGURES = [
    [-0.0584393, -0.0024507, 0.0995179, -0.0115249, 1.2012788],
    [0.0026457, 0.0078716, -0.0055792, -0.0404309, 1.2942403],
    [-0.0004409, 0.0217885, -0.0149277, -0.0218581, 0.4364516],
    [-0.0374145, 0.0829056, -0.110956, 0.0190488, -0.1178534],
    [0.0067622, 0.1180611, 0.0879773, -0.0005901, 0.3556664],
    [-0.0785868, 0.0055373, -0.0077668, -0.0086702, -0.1886698],
    [-0.0064268, -0.0930875, -0.0387403, 0.0154431, 0.3520492],
]
COSINES = [0.739562, 0.663432, 0.010634, 0.151008, 0.083797, 0.051081]
"""Of the first sentence with the others."""
# `encode(SENTENCES[:1], output_value="token_embeddings")`, each row scaled to unit length, without the first
# and the last: of each the first two numbers and the same product.
TOKENS = ("ref", "##unds", "take", "30", "days", ".")
TOKEN_FIGURES = [
    [-0.0709907, -0.0301371, 0.4945955],
    [-0.0674282, 0.0115327, 0.7971238],
    [-0.0593852, -0.0289062, 1.3266318],
    [-0.0205765, 0.0292554, 1.7779863],
    [-0.0326611, -0.0034903, 1.6595645],
    [-0.013784, 0.0075775, 0.2257236],
]
EQUAL = 1e-5
ROUNDED = 2e-4
"""What rounding the weights to float16 may change; ten times that where 384 numbers add up."""
MODEL = MODELS["minilm"]
WINDOW_TOKENS = MODEL.window_tokens
WAVE = np.cos(np.arange(minilm.DIM))


@pytest.mark.slow
def test_vectors_are_those_of_sentence_transformers() -> None:
    rows = MiniLMEmbedder().embed(SENTENCES)
    assert rows.dtype == np.float32
    result = np.column_stack([rows[:, :3], rows[:, -1], rows.astype(np.float64) @ WAVE])
    np.testing.assert_allclose(result[:, :4], np.array(FIGURES)[:, :4], atol=ROUNDED)
    np.testing.assert_allclose(result[:, 4], np.array(FIGURES)[:, 4], atol=10 * ROUNDED)
    np.testing.assert_allclose(rows[0] @ rows[1:].T, COSINES, atol=ROUNDED)


def test_vectors_of_tokens_are_those_of_sentence_transformers() -> None:
    (result,) = MiniLMEmbedder().embed_tokens(SENTENCES[:1])
    assert result.tokens == TOKENS
    assert result.vectors.dtype == np.float32
    figures = np.column_stack([result.vectors[:, :2], result.vectors.astype(np.float64) @ WAVE])
    np.testing.assert_allclose(figures, TOKEN_FIGURES, atol=10 * ROUNDED)


@pytest.mark.slow
def test_start_and_end_of_a_window_on_request() -> None:
    short, long, blank = MiniLMEmbedder().embed_tokens(["Refunds", "word " * 255, ""], specials=True)
    assert short.tokens == ("[CLS]", "ref", "##unds", "[SEP]")
    assert long.tokens == ("[CLS]", *["word"] * 254, "[SEP]", "[CLS]", "word", "[SEP]")
    assert (blank.tokens, blank.vectors.shape) == ((), (0, minilm.DIM))
    (inner,) = MiniLMEmbedder().embed_tokens(["Refunds"])
    np.testing.assert_allclose(short.vectors[1:-1], inner.vectors, atol=EQUAL)
    np.testing.assert_allclose(np.linalg.norm(short.vectors, axis=1), 1, atol=EQUAL)


@pytest.mark.slow
def test_it_keeps_the_contract() -> None:
    embedder = registry.load_builtin("embedder", "minilm")
    assert embedder == MiniLMEmbedder()
    assert isinstance(embedder, Embedder)
    assert isinstance(embedder, TokenEmbedder)
    check_embedder(embedder, texts=TEXTS[:-1])


@pytest.mark.slow
def test_of_a_long_text_all_windows_count() -> None:
    embedder = MiniLMEmbedder()
    words = "The parcel was sent on Monday and has not arrived yet. " * 22
    rows = embedder.embed([words + "It is blue.", words + "We refund it.", words])
    assert float(rows[0] @ rows[1]) < 1 - 1e-4
    first, *others = embedder.embed_tokens(["word " * 300])
    assert others == []
    assert first.tokens == ("word",) * 300
    assert first.vectors.shape == (300, minilm.DIM)
    # A window knows nothing of the one before it: the rest alone has the same vectors.
    (rest,) = embedder.embed_tokens(["word " * (300 - WINDOW_TOKENS)])
    np.testing.assert_allclose(first.vectors[WINDOW_TOKENS:], rest.vectors, atol=EQUAL)


@pytest.mark.slow
def test_the_vector_of_a_long_text_is_the_mean_over_the_tokens_of_its_windows() -> None:
    tokenizer, network = minilm._load(find_installed("minilm"))
    text = " ".join(f"number {n}" for n in range(140))
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    parts = [ids[:WINDOW_TOKENS], ids[WINDOW_TOKENS:]]
    states = np.concatenate(
        [network.encode([[MODEL.start_token, *part, MODEL.end_token]])[0] for part in parts]
    )
    mean = states.mean(axis=0)
    np.testing.assert_allclose(MiniLMEmbedder().embed([text])[0], mean / np.linalg.norm(mean), atol=EQUAL)


def test_blank_texts_are_rows_of_zeros_and_have_no_tokens() -> None:
    embedder = MiniLMEmbedder()
    assert embedder.embed(["", " \n\t", "a"]).any(axis=1).tolist() == [False, False, True]
    assert embedder.embed([]).shape == (0, minilm.DIM)
    blank, word = embedder.embed_tokens(["", "a"])
    assert (blank.tokens, blank.vectors.shape) == ((), (0, minilm.DIM))
    assert word.tokens == ("a",)
    assert embedder.embed_tokens([]) == []


def test_hostile_characters() -> None:
    rows = MiniLMEmbedder().embed(
        ["a\ud800b \x00 \u202e ok", "[SEP] [CLS] [PAD]", "\u200b", "\U0010ffff" * 300]
    )
    assert np.isfinite(rows).all()


def test_a_single_text_is_no_list_of_texts() -> None:
    for ask in (MiniLMEmbedder().embed, MiniLMEmbedder().embed_tokens):
        with pytest.raises(UsageError, check=check_message):
            ask("refund")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "BATCH_TOKENS", 128)
    monkeypatch.setitem(MODELS, "minilm", replace(MODEL, window_tokens=62))
    embedder = MiniLMEmbedder()
    embedder.embed(["warm"])
    peaks = []
    for repeats in (80, 240):
        tracemalloc.start()
        embedder.embed(["parcel refund " * repeats])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Its tokens need some bytes each; the activations, 12 KB a token, do not add up.
    assert peaks[1] - peaks[0] < 480 * 500


@pytest.mark.slow
def test_the_same_vectors_in_another_process_and_nothing_of_torch() -> None:
    code = (
        "import sys; from pytest_llmops.providers.minilm import MiniLMEmbedder as E; "
        "print(E().embed(['Refunds take 30 days.']).tobytes().hex()); "
        "print([one for one in ('torch', 'transformers', 'scipy', 'sklearn') if one in sys.modules])"
    )
    other = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    here = MiniLMEmbedder().embed(["Refunds take 30 days."])
    row, loaded = other.stdout.splitlines()
    assert loaded == "[]"
    np.testing.assert_allclose(np.frombuffer(bytes.fromhex(row), np.float32), here[0], atol=1e-6)


def test_a_loaded_model_needs_no_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = MiniLMEmbedder()
    embedder.load()
    version = embedder.version
    monkeypatch.setattr(Path, "glob", None)
    monkeypatch.setattr(Path, "open", None)
    assert embedder.embed(["Refunds"]).shape == (1, 384)
    assert embedder.version == version
    assert embedder == MiniLMEmbedder()


def test_what_is_not_installed_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path))
    for ask in (lambda: MiniLMEmbedder().version, lambda: MiniLMEmbedder().embed(["a"])):
        with pytest.raises(UsageError, check=check_message):
            ask()


def test_a_network_of_twelve_layers_and_another_tokenizer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The multilingual model is too large for a test: a small network of its form has other tokens and windows."""
    source, model = tiny_model(tmp_path / "source")
    monkeypatch.setitem(MODELS, "minilm-multilingual", model)
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))
    install_model("minilm-multilingual", source=str(source))
    embedder = registry.load_builtin("embedder", "minilm-multilingual")
    rows = embedder.embed(["haus garten", "garten haus", "haus " * 9, ""])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 1, 1, 0], atol=EQUAL)
    assert float(rows[0] @ rows[1]) < 1 - 1e-4
    (tokens,) = embedder.embed_tokens(["haus " * 9], specials=True)
    assert len(tokens.tokens) == 9 + 2 * 3
    assert "de" in embedder.languages
    assert embedder.default_threshold is None


def test_without_the_tokenizers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    minilm._load.cache_clear()
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtra, check=check_message):
        MiniLMEmbedder().embed(["a"])


STEP = 0.05
"""158 labelled pairs do not support a finer one."""
MOST = 0.1
"""Share of the unlike pairs that may reach a built-in threshold: checks, not the threshold, decide over facts."""


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("embedder", "passes"),
    [
        (offline.TfidfEmbedder(), (61, 6)),
        (offline.HashingEmbedder(), (61, 7)),
        (MiniLMEmbedder(), (75, 8)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
@pytest.mark.slow
def test_default_thresholds_are_those_of_rated_captions(
    shared_data: Path, embedder: Embedder, passes: tuple[int, int]
) -> None:
    path = shared_data / "semantic" / "stsb_images_multilingual" / "pairs.jsonl.gz"
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()]
    rated = [(row["en"], row["score"] >= 4) for row in rows if not 2 < row["score"] < 4]
    if embedder.across_calls:  # type: ignore[attr-defined]
        vectors = embedder.embed([text for pair, _ in rated for text in pair])
        scores = (vectors[::2] * vectors[1::2]).sum(axis=1).tolist()
    else:
        scores = [float(a @ b) for a, b in (embedder.embed(pair) for pair, _ in rated)]
    same = [entry for _, entry in rated]
    reached = [classification.cut_at(scores, same, round(STEP * n, 2)) for n in range(1, round(1 / STEP))]
    lowest = next(point for point in reached if point.false_passes <= MOST)
    assert lowest.at_least == embedder.default_threshold  # type: ignore[attr-defined]
    assert (lowest.same, lowest.different) == (75, 83)
    assert (lowest.same_passed, lowest.different_passed) == passes
