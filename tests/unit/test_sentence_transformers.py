from __future__ import annotations

import hashlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.messages import check_message
from support.stand_in_modules import use_module

from pytest_llmops import registry
from pytest_llmops.errors import MissingExtra, UsageError
from pytest_llmops.providers import minilm
from pytest_llmops.providers import sentence_transformers as backend
from pytest_llmops.providers.embedding_arrays import scale_to_unit
from pytest_llmops.providers.minilm import MiniLMEmbedder
from pytest_llmops.providers.model_files import MODELS
from pytest_llmops.providers.sentence_transformers import SentenceTransformersEmbedder
from pytest_llmops.testing.conformance import TEXTS, check_embedder

PACKAGE = MODELS["minilm"].package
MISSING = [name for name in ("sentence_transformers", PACKAGE) if importlib.util.find_spec(name) is None]
real = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
# What torch and its friends warn of at import is not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")


def embedder() -> SentenceTransformersEmbedder:
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations
    return SentenceTransformersEmbedder(str(Path(spec.submodule_search_locations[0]) / "model"))


SENTENCES = [
    "Refunds take 30 days.",
    "返品は30日以内 👩‍💻",
    " ",
    "a\ud800b [SEP] x",
    "word " * 200,
]


@real
def test_vectors_are_those_of_the_same_model_in_numpy() -> None:
    np.testing.assert_allclose(embedder().embed(SENTENCES), MiniLMEmbedder().embed(SENTENCES), atol=1e-5)
    assert embedder().embed([]).shape == (0, minilm.DIM)
    assert embedder().embed(["", "\n"]).tolist() == np.zeros((2, minilm.DIM)).tolist()


@real
def test_vectors_of_tokens_are_those_of_the_same_model_in_numpy() -> None:
    texts = [text for text in SENTENCES if text.strip()]
    loaded = backend._load_transformer(embedder().model, "cpu")
    theirs = loaded.encode(texts, output_value="token_embeddings", show_progress_bar=False)
    for ours, state in zip(MiniLMEmbedder().embed_tokens(texts, specials=True), theirs, strict=True):
        rows = scale_to_unit(state.cpu().numpy())[: len(ours.vectors)]
        np.testing.assert_allclose(ours.vectors, rows, atol=1e-5)


@real
def test_it_keeps_the_contract() -> None:
    check_embedder(embedder(), texts=TEXTS[:-1])


@real
def test_the_version_of_a_folder_is_that_of_its_weights() -> None:
    digest = MODELS["minilm"].sha256["model.safetensors"]
    assert embedder().version == f"sentence-transformers/model@{digest[:12]}"


@real
@pytest.mark.parametrize("model", ["no/such-model", "/no/such/folder"])
def test_a_model_that_is_not_here_is_not_downloaded(model: str) -> None:
    with pytest.raises(UsageError, check=check_message):
        SentenceTransformersEmbedder(model).embed(["a"])


def test_it_is_known_by_name() -> None:
    builtin = registry.load_builtin("embedder", "sentence-transformers:all-mpnet-base-v2")
    assert builtin == SentenceTransformersEmbedder("all-mpnet-base-v2")
    assert builtin.name == "sentence-transformers:all-mpnet-base-v2"
    assert builtin.default_threshold is None


@pytest.fixture
def _unloaded() -> None:
    backend._load_transformer.cache_clear()


@pytest.mark.usefixtures("_unloaded")
def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    class Absent:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "sentence_transformers":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.delitem(sys.modules, "sentence_transformers", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    with pytest.raises(MissingExtra, match=r"pip install 'pytest-llmops\[sentence-transformers\]'"):
        _ = SentenceTransformersEmbedder("x").version
    with pytest.raises(MissingExtra, check=check_message):
        SentenceTransformersEmbedder("x").embed(["a"])


@pytest.mark.usefixtures("_unloaded")
def test_a_package_that_is_broken_is_not_called_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sentence_transformers.py").write_text("import no_such_torch\n")
    monkeypatch.delitem(sys.modules, "sentence_transformers", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, check=check_message):
        SentenceTransformersEmbedder("x").embed(["a"])


def test_a_revision_of_the_hub_is_reported_by_its_commit() -> None:
    config = types.SimpleNamespace(_commit_hash="0123456789abcdef")
    loaded: Any = [types.SimpleNamespace(auto_model=types.SimpleNamespace(config=config))]
    assert backend._model_revision.__wrapped__(loaded, "x") == "0123456789ab"


class Transformer:
    """As `SentenceTransformer`: the vector of a text is its length and 4, and its model has no revision."""

    def __init__(self, name: str, *, device: str, local_files_only: bool) -> None:
        self.given = (name, device, local_files_only)
        self.encoded: list[list[str]] = []
        if name == "nowhere":
            raise OSError("no file config.json")

    def __getitem__(self, place: int) -> object:
        assert place == 0
        return types.SimpleNamespace(auto_model=types.SimpleNamespace(config=None))

    def encode(self, texts: list[str], *, show_progress_bar: bool) -> Any:
        assert show_progress_bar is False
        self.encoded.append(texts)
        return [[float(len(text)), 4.0] for text in texts]


@pytest.mark.usefixtures("_unloaded")
def test_texts_are_embedded_by_a_model_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_module(monkeypatch, "sentence_transformers", SentenceTransformer=Transformer)
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.safetensors").write_bytes(b"second")
    (tmp_path / "sub" / "c.bin").write_bytes(b"third")
    (tmp_path / "a.json").write_bytes(b"not weights")
    made = SentenceTransformersEmbedder(str(tmp_path), device="meta")
    rows = made.embed(["abc", " ", "a"])
    unit = [[0.6, 0.8], [0.0, 0.0], [1 / 17**0.5, 4 / 17**0.5]]
    assert rows.tolist() == [pytest.approx(row, rel=1e-6) for row in unit]
    assert rows.dtype == np.float32
    assert made.embed(["", "\n"]).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert made.embed([]).shape == (0, 2)
    loaded = backend._load_transformer(str(tmp_path), "meta")
    assert loaded.given == (str(tmp_path), "meta", True)
    assert loaded.encoded == [["abc", "a"], ["a"], ["a"]]
    digest = hashlib.sha256(b"secondthird").hexdigest()
    assert made.version == f"sentence-transformers/{tmp_path.name}@{digest[:12]}"
    with pytest.raises(UsageError, check=check_message):
        SentenceTransformersEmbedder("nowhere").embed(["a"])


def test_a_single_text_is_no_list_of_texts() -> None:
    with pytest.raises(UsageError, check=check_message):
        SentenceTransformersEmbedder("x").embed("refund")
