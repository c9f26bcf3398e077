"""An NLI model is installed from a folder or the hub, checked before each use, and used by its name."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support import tiny_nli
from support.messages import check_message

from pytest_llmops import cli
from pytest_llmops.assertions.grounding import assert_grounded
from pytest_llmops.assertions.semantic import assert_semantic
from pytest_llmops.errors import MeasurementFailed, MissingExtra, UnknownName, UsageError
from pytest_llmops.providers.nli_files import CONFIG, MANIFEST, NETWORK, NliMissing, find_nli
from pytest_llmops.providers.nli_onnx import InstalledNliModel, install_nli_model

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")

ORDER = ("contradiction", "entailment", "neutral")
REVISION = "0123456789" * 4
CONTEXTS = ["The shop is open."]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no hub but one on a closed port."""
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tiny_nli.write_model(tmp_path / "source", order=ORDER)


def change_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    config.update(changes)
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")


def test_an_installed_model_decides_by_its_name(source: Path, cache: Path) -> None:
    installed = install_nli_model(str(source))
    assert [path.name for path in cache.iterdir()] == [f"nli-{installed.version}"]
    assert installed.source == "source"
    measurement = assert_grounded("The shop is open.", CONTEXTS, nli="installed", at_least=1.0)
    assert (measurement.value, measurement.version) == (1.0, f"1/nli/{installed.version}")
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_grounded("The shop is not open.", CONTEXTS, nli="installed", at_least=1.0)
    with pytest.raises(MeasurementFailed, match="the answer contradicts the reference"):
        assert_semantic(
            "It is not open.", "It is open.", nli="installed", embedder="tfidf", at_least=0.1, checks=()
        )
    model = InstalledNliModel()
    assert model.predict([]).shape == (0, 3)
    assert model.count_truncated([("a " * 300, "b " * 300), ("a", "b")]) == 1


def test_without_an_installed_model_the_error_has_the_command() -> None:
    with pytest.raises(NliMissing, check=check_message):
        assert_grounded("The shop is open.", CONTEXTS, nli="installed", at_least=1.0)
    with pytest.raises(NliMissing):
        install_nli_model("")
    with pytest.raises(UnknownName, check=check_message):
        assert_grounded("The shop is open.", CONTEXTS, nli="instaled", at_least=1.0)


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers"])
def test_without_the_extra_the_error_names_it(
    source: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingExtra, check=check_message):
        install_nli_model(str(source))


def test_another_model_replaces_the_first(source: Path, tmp_path: Path, cache: Path) -> None:
    first = install_nli_model(str(source))
    assert install_nli_model("") == first
    second = install_nli_model(str(tiny_nli.write_model(tmp_path / "other")))
    assert first.version != second.version
    assert [path.name for path in cache.iterdir()] == [f"nli-{second.version}"]
    assert InstalledNliModel().version == second.version


@pytest.mark.parametrize("folder", ["source", "other"])
def test_a_failed_installation_keeps_the_model_and_other_files_of_the_cache(
    source: Path, tmp_path: Path, cache: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = install_nli_model(str(source))
    tiny_nli.write_model(tmp_path / "other")
    (cache / "nli-notes").mkdir()
    rename = Path.rename

    def fail_for_new(path: Path, target: Path) -> Path:
        if path.name == "nli":
            raise PermissionError(13, "denied")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail_for_new)
        with pytest.raises(UsageError, check=check_message, match="cannot be written: denied"):
            install_nli_model(str(tmp_path / folder))
    assert find_nli() == first
    second = install_nli_model(str(tmp_path / folder))
    assert {path.name for path in cache.iterdir()} == {f"nli-{second.version}", "nli-notes"}


@pytest.mark.parametrize("name", [NETWORK, "tokenizer.json", MANIFEST])
def test_damaged_and_exchanged_files_are_not_used(source: Path, tmp_path: Path, name: str) -> None:
    folder = install_nli_model(str(source)).folder
    assert assert_grounded("The shop is open.", CONTEXTS, nli="installed", at_least=1.0).value == 1.0
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-2] + b" }")
    with pytest.raises(UsageError, check=check_message):
        assert_grounded("The shop is open.", CONTEXTS, nli="installed", at_least=1.0)
    (folder / name).unlink()
    with pytest.raises(UsageError, check=check_message):
        find_nli()
    install_nli_model(str(source))
    assert (folder / name).read_bytes() == content


def break_network(folder: Path) -> None:
    (folder / NETWORK).write_bytes(b"no protobuf")


def use_other_inputs(folder: Path) -> None:
    (folder / NETWORK).write_bytes(tiny_nli.build_model([(0.0, 0.0, 0.0)], ["input_ids", "pixels"]))


def use_two_labels(folder: Path) -> None:
    rows = [(0.0, 0.0)] * len(tiny_nli.WORDS)
    (folder / NETWORK).write_bytes(tiny_nli.build_model(rows, ["input_ids"]))


def use_fewer_tokens(folder: Path) -> None:
    (folder / NETWORK).write_bytes(tiny_nli.build_model([(0.0, 0.0, 0.0)], ["input_ids"]))


def forget_words(folder: Path) -> None:
    """The tokenizer of another model: no error, but no word that the network knows."""
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    (folder / "tokenizer.json").write_text(text.replace('"not"', '"nicht"'), encoding="utf-8")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no network": lambda folder: (folder / NETWORK).unlink(),
    "no ONNX": break_network,
    "safetensors": lambda folder: (folder / NETWORK).rename(folder / "model.safetensors"),
    "another network": use_other_inputs,
    "two labels": use_two_labels,
    "fewer tokens": use_fewer_tokens,
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "a broken tokenizer": lambda folder: (folder / "tokenizer.json").write_text("{}", encoding="utf-8"),
    "a larger tokenizer": lambda folder: change_config(folder, vocab_size=3),
    "another tokenizer": forget_words,
    "no config": lambda folder: (folder / CONFIG).unlink(),
    "a broken config": lambda folder: (folder / CONFIG).write_text("{", encoding="utf-8"),
    "a list as config": lambda folder: (folder / CONFIG).write_text("[]", encoding="utf-8"),
    "no labels": lambda folder: change_config(folder, id2label=None),
    "unnamed labels": lambda folder: change_config(folder, id2label={n: f"LABEL_{n}" for n in range(3)}),
    "labels in another order": lambda folder: change_config(folder, id2label=dict(enumerate(ORDER[::-1]))),
    "a bad number": lambda folder: change_config(folder, pad_token_id="1"),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_model_that_does_not_work_is_not_installed(source: Path, cache: Path, damage: str) -> None:
    DAMAGE[damage](source)
    with pytest.raises(UsageError) as caught:
        install_nli_model(str(source))
    if damage not in {"no ONNX", "fewer tokens", "a broken tokenizer"}:  # these quote a package
        check_message(caught.value)
    assert str(source) in str(caught.value)
    assert not list(cache.glob("*"))


@pytest.mark.parametrize("inputs", [("input_ids",), ("input_ids", "attention_mask")])
def test_a_network_gets_the_inputs_that_it_takes(tmp_path: Path, inputs: tuple[str, ...]) -> None:
    install_nli_model(str(tiny_nli.write_model(tmp_path / "source", inputs=inputs)))
    pairs = [("same", "same"), ("other", "x"), ("x", "not"), ("a", "b c d")]
    rows = InstalledNliModel().predict(pairs)
    assert rows[:3].argmax(axis=1).tolist() == [0, 1, 2]
    assert rows[3] == pytest.approx([1 / 3] * 3)


def test_a_network_of_a_fixed_number_of_tokens_is_padded_to_it(source: Path) -> None:
    rows = [[row[tiny_nli.LABELS.index(name)] for name in ORDER] for row in tiny_nli.WORDS.values()]
    (source / NETWORK).write_bytes(tiny_nli.build_model(rows, ["input_ids"], words=16))
    install_nli_model(str(source))
    assert InstalledNliModel().predict([("same", "same"), ("x", "not")]).argmax(axis=1).tolist() == [0, 2]
    assert InstalledNliModel().count_truncated([("a b c d e f g h i", "j k l m n o p q"), ("a", "b")]) == 1


def test_pairs_that_are_too_long_are_truncated_with_a_note(source: Path) -> None:
    change_config(source, max_position_embeddings=12)
    install_nli_model(str(source))
    long = "The shop is open " + "and clean " * 10
    measurement = assert_grounded(f"{long}.", [f"{long}."], nli="installed", at_least=1.0)
    assert measurement.detail["without"] == ["the NLI model truncated 1 of 1 pairs of texts"]


def test_labels_are_read_in_any_order_and_case(source: Path) -> None:
    change_config(source, id2label={0: "CONTRADICTION", 1: "Entailment ", 2: "neutral"})
    install_nli_model(str(source))
    ((entailment, _, contradiction),) = InstalledNliModel().predict([("a", "not")])
    assert contradiction > 0.9 > entailment


def test_weights_beside_the_network_are_kept_and_the_hub_s_folder_is_read(source: Path) -> None:
    (source / "onnx").mkdir()
    (source / NETWORK).rename(source / "onnx" / NETWORK)
    (source / "onnx" / "model.onnx_data").write_bytes(b"weights")
    assert set(install_nli_model(str(source)).sha256) == {
        CONFIG,
        NETWORK,
        "model.onnx_data",
        "tokenizer.json",
    }


@pytest.mark.parametrize(
    ("given", "sha256"),
    [
        ("no/such/folder", ""),
        ("hub:org/model", ""),
        ("hub:org/model@main", ""),
        ("", "12"),
        (f"hub:org/../../model@{REVISION}", ""),
    ],
)
def test_a_source_of_the_wrong_form(given: str, sha256: str) -> None:
    with pytest.raises(UsageError, check=check_message):
        install_nli_model(given, sha256=sha256)


def test_a_cache_that_cannot_be_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(UsageError, check=check_message):
        install_nli_model(str(source))


class Hub(BaseHTTPRequestHandler):
    """Serves the files of a folder as the hub does; what is not there is 404."""

    folder = Path()

    def do_GET(self) -> None:
        prefix = f"/org/model/resolve/{REVISION}/"
        path = self.folder / self.path.removeprefix(prefix)
        if not self.path.startswith(prefix) or not path.is_file():
            self.send_error(404)
            return
        body = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def hub(source: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (source / "onnx").mkdir()
    (source / NETWORK).rename(source / "onnx" / NETWORK)
    monkeypatch.setattr(Hub, "folder", source)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield source
    server.shutdown()
    server.server_close()


def run_install(*arguments: str) -> int:
    return cli.main(["semantic", "install", *arguments])


@pytest.mark.slow
def test_the_command_installs_from_the_hub_with_a_pinned_digest(hub: Path, capsys: Any, cache: Path) -> None:
    name = f"hub:org/model@{REVISION}"
    digest = hashlib.sha256((hub / "onnx" / NETWORK).read_bytes()).hexdigest()
    assert run_install("nli", "--from", name) == 0
    assert f"add --sha256 {digest}" in capsys.readouterr().out
    assert find_nli().source == name
    assert run_install("nli", "--from", name, "--sha256", digest.upper()) == 0
    assert run_install("nli", "--from", name, "--sha256", "0" * 64) != 0
    check_message(capsys.readouterr().err)
    assert find_nli().source == name
    assert run_install("minilm", "--sha256", digest) != 0
    check_message(capsys.readouterr().err)
    shutil.rmtree(hub / "onnx")
    with pytest.raises(UsageError, check=check_message):
        install_nli_model(name)
