"""Install and find the NLI model of this machine: files of a published model, copied into the cache folder.

The SHA-256 of each file is recorded at the installation and checked before the model is used, so damaged or exchanged weights are
refused. The digest of these digests is the version of the model, and part of the name of its folder.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from pytest_llmops._util.text_files import canonical_json
from pytest_llmops.errors import MissingExtra, UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.providers.model_files import (
    CACHE_VARIABLE,
    DIGEST_CHARS,
    INSTALL_COMMAND,
    TOKENIZER,
    WEIGHTS,
    Unreachable,
    cache_folder,
    download_from_hub,
    hash_file,
)

NLI = "nli"  # its name for ``llmops semantic install``
NETWORK = "model.onnx"
CONFIG = "config.json"
MANIFEST = "llmops-nli.json"
# Where a folder or the hub may have the network
NETWORK_PATHS = (NETWORK, f"onnx/{NETWORK}")
# Weights that some exporters keep outside of the network's file, next to it and under this name
EXTERNAL_WEIGHTS = ("model.onnx_data", "model.onnx.data")
HUB_PREFIX = "hub:"
MAX_TOKENS = 512  # of a pair; models of base size were trained with at most that many
LABELS = ("entailment", "neutral", "contradiction")
COMMAND = f"{INSTALL_COMMAND} {NLI}"
PIP_COMMAND = "pip install 'pytest-llmops[nli]'"
_HUB_SOURCE = re.compile(r"hub:(?P<id>[\w.-]{1,100}/[\w.-]{1,100})@(?P<revision>[0-9a-f]{40})")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class NliConfig:
    """The settings of ``config.json`` that the network needs.

    Attributes:
        order: Columns of entailment, neutral and contradiction in the output of the network.
        max_tokens: How many tokens of a pair the network reads.
        pad_token: Number of the token that fills up shorter pairs.
        vocabulary: How many tokens the network knows; None: not stated.
    """

    order: tuple[int, ...]
    max_tokens: int = MAX_TOKENS
    pad_token: int = 0
    vocabulary: int | None = None


@dataclass(frozen=True, slots=True)
class InstalledNli:
    """The files of an NLI model in the cache folder.

    Attributes:
        folder: The folder with `NETWORK`, `TOKENIZER` and `CONFIG`.
        source: Where it was installed from, for messages.
        sha256: File name -> SHA-256.
    """

    folder: Path
    source: str
    sha256: Mapping[str, str]

    @property
    def version(self) -> str:
        """The version of the model: probabilities of two versions are never compared."""
        return _join_digests(self.sha256)


class NliMissing(UsageError):
    """No NLI model is installed; gives the command that installs it."""

    code: ClassVar[str] = MissingExtra.code


def find_nli() -> InstalledNli:
    """Return the installed NLI model. Its digests are checked once in a process, and again after a file was replaced.

    Raises:
        NliMissing: None is installed.
        UsageError: A file is missing or damaged.
    """
    folder = _find_folder()
    if folder is None:
        cache = shorten_text(str(cache_folder()), 200)
        raise NliMissing(
            f"no NLI model is installed in {cache}. Install one once: {PIP_COMMAND} && {COMMAND} --from FOLDER "
            f"(a folder with {NETWORK}, {TOKENIZER} and {CONFIG}; see: llmops docs nli)"
        )
    states = []
    for path in sorted(folder.iterdir()):
        status = path.stat()
        states.append((path.name, status.st_mtime_ns, status.st_size))
    return _check_folder(folder, tuple(states))


def install_nli(
    source: str,
    *,
    sha256: str = "",
    check: Callable[[Path, str], object],
    progress: Callable[[str], object] = str,
) -> InstalledNli:
    """Install an NLI model into the cache folder, in place of the one that is there.

    Args:
        source: A folder with the files, or ``hub:ORG/NAME@REVISION``; empty: only check the installed model.
        sha256: The expected SHA-256 of the network; empty: any, it is recorded.
        check: Called with the folder of the new files before they are installed, and how an error starts; raises if the model
            does not work.
        progress: Called with a line about each step.

    Returns:
        The installed model.

    Raises:
        UsageError: The source does not exist, a file is missing or damaged, or the cache folder cannot be written.
        Exception: Whatever ``check`` raises.
    """
    expected = sha256.lower()
    if expected and not _DIGEST.fullmatch(expected):
        raise UsageError(f"{COMMAND}: expected --sha256 as 64 hex digits, got {shorten_text(sha256, 80)!r}")
    if not source:
        installed = find_nli()
        where = f"{COMMAND}: {shorten_text(str(installed.folder), 300)}"
        _check_expected(installed.sha256, expected, where)
        check(installed.folder, where)
        return installed
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".nli-") as temporary:
            draft = Path(temporary) / NLI
            draft.mkdir()
            _collect_files(source, draft, progress)
            digests = {path.name: hash_file(path) for path in sorted(draft.iterdir())}
            where = f"{COMMAND}: {shorten_text(source, 300)}"
            _check_expected(digests, expected, where)
            check(draft, where)
            return _move_into_cache(draft, source, digests)
    except OSError as error:
        raise UsageError(
            f"{COMMAND}: {shorten_text(str(cache), 300)} cannot be written: {error.strerror or error}; "
            f"{CACHE_VARIABLE} names another folder"
        ) from None


def read_config(folder: Path, where: str) -> NliConfig:
    """Return the settings that the network needs from the ``config.json`` of a folder; ``where`` starts an error.

    Raises:
        UsageError: It cannot be read, or its labels are not entailment, neutral and contradiction.
    """
    where = f"{where}: {CONFIG}"
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except OSError as error:
        raise UsageError(f"{where}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: expected JSON: {shorten_text(str(error), 200)}") from None
    if not isinstance(config, dict):
        raise UsageError(f"{where}: expected a JSON object, got a {type(config).__name__}")
    order = _read_label_order(config, where)
    positions = _read_count(config, "max_position_embeddings", where)
    max_tokens = MAX_TOKENS
    if positions is not None:
        max_tokens = min(max_tokens, positions)
    pad_token = _read_count(config, "pad_token_id", where) or 0
    vocabulary = _read_count(config, "vocab_size", where)
    return NliConfig(order, max_tokens=max_tokens, pad_token=pad_token, vocabulary=vocabulary)


def _read_label_order(config: Mapping[str, Any], where: str) -> tuple[int, ...]:
    """Return the columns of the three labels, by ``id2label`` of a config.

    Raises:
        UsageError: The labels are not these three.
    """
    given = config.get("id2label")
    wanted = ", ".join(LABELS)
    if not isinstance(given, dict):
        raise UsageError(f"{where}: expected id2label with the labels {wanted}, got none")
    columns = {str(label).strip().lower(): str(number) for number, label in given.items()}
    if sorted(columns) != sorted(LABELS) or sorted(columns.values()) != ["0", "1", "2"]:
        labels = shorten_text(json.dumps(given), 200)
        raise UsageError(
            f"{where}: expected id2label with 0, 1 and 2 for the labels {wanted} in any order, got {labels}. "
            "The order cannot be guessed: if the model's card states it, write these labels into id2label"
        )
    return tuple(int(columns[label]) for label in LABELS)


def _read_count(config: Mapping[str, Any], key: str, where: str) -> int | None:
    """Return a whole number of a config; None if it is not there or null."""
    value = config.get(key)
    if value is None:
        return None
    if type(value) is not int or value < 0:
        raise UsageError(
            f"{where}: {key}: expected a whole number of at least 0, got {shorten_text(repr(value), 60)}"
        )
    return value


def _find_folder() -> Path | None:
    """Return the folder of the installed model, whose files may be damaged; None if there is none."""
    folders = _list_folders()
    if folders:
        return folders[0]
    return None


def _list_folders() -> list[Path]:
    """Return the folders of NLI models in the cache folder; other files of the cache are not among them."""
    digest = "[0-9a-f]" * DIGEST_CHARS
    return sorted(cache_folder().glob(f"{NLI}-{digest}"))


@lru_cache(maxsize=8)
def _check_folder(folder: Path, _states: tuple[tuple[str, int, int], ...]) -> InstalledNli:
    """Check the digests of a folder. The states of its files are only keys of the cache: a replaced file is checked again."""
    where = f"the NLI model: {shorten_text(str(folder), 200)}"
    again = f"Install it again: {COMMAND} --from FOLDER"
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        recorded = manifest["sha256"]
        source = str(manifest["source"])
        is_intact = _join_digests(recorded) == folder.name.removeprefix(f"{NLI}-")
    except (OSError, ValueError, TypeError, KeyError):
        is_intact = False
    if not is_intact:
        raise UsageError(f"{where}: {MANIFEST} is missing or was changed. {again}")
    for name, expected in recorded.items():
        try:
            digest = hash_file(folder / name)
        except OSError as error:
            raise UsageError(f"{where}: {name}: {error.strerror}. {again}") from None
        if digest != expected:
            raise UsageError(
                f"{where}: {name}: expected SHA-256 {expected[:DIGEST_CHARS]}..., got {digest[:DIGEST_CHARS]}...: "
                f"the file is damaged, or another model's. {again}"
            )
    return InstalledNli(folder, source, recorded)


def _join_digests(sha256: Mapping[str, str]) -> str:
    """Return a digest of the digests of all files."""
    text = canonical_json(dict(sha256))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARS]


def _check_expected(digests: Mapping[str, str], expected: str, where: str) -> None:
    """Refuse a network with another SHA-256 than the expected one; empty: any is right."""
    digest = digests[NETWORK]
    if expected and digest != expected:
        raise UsageError(
            f"{where}: {NETWORK}: expected SHA-256 {expected}, got {digest}: damaged, or another model's"
        )


def _collect_files(source: str, draft: Path, progress: Callable[[str], object]) -> None:
    """Copy or download the files of a model into a folder.

    Raises:
        UsageError: The source does not have them.
    """
    hub_source = _HUB_SOURCE.fullmatch(source)
    if hub_source:
        _download_files(hub_source["id"], hub_source["revision"], draft, progress)
        return
    if source.startswith(HUB_PREFIX):
        raise UsageError(
            f"{COMMAND}: expected --from {HUB_PREFIX}ORG/NAME@REVISION, with the 40 hex digits of a commit, "
            f"got {shorten_text(source, 200)!r}"
        )
    folder = Path(source)
    if not folder.is_dir():
        raise UsageError(
            f"{COMMAND}: expected --from as a folder with {NETWORK}, {TOKENIZER} and {CONFIG}, or "
            f"{HUB_PREFIX}ORG/NAME@REVISION, got {shorten_text(source, 300)!r}"
        )
    _copy_files(folder, draft)


def _copy_files(folder: Path, draft: Path) -> None:
    """Copy the files of a model from a folder into another one."""
    where = f"{COMMAND}: {shorten_text(str(folder), 300)}"
    networks = [folder / path for path in NETWORK_PATHS if (folder / path).is_file()]
    if not networks and (folder / WEIGHTS).is_file():
        raise UsageError(
            f"{where}: got {WEIGHTS}, expected {NETWORK}: export the model as ONNX once, where torch is installed: "
            "pip install optimum-onnx && optimum-cli export onnx --model FOLDER --task text-classification EXPORTED"
        )
    if not networks:
        raise UsageError(f"{where}: expected {' or '.join(NETWORK_PATHS)}, got neither")
    network = networks[0]
    sources = {NETWORK: network}
    for name in (TOKENIZER, CONFIG):
        sources[name] = folder / name
    for name in EXTERNAL_WEIGHTS:
        if network.with_name(name).is_file():
            sources[name] = network.with_name(name)
    for name, path in sources.items():
        if not path.is_file():
            raise UsageError(f"{where}: expected a file {name}, got none")
        shutil.copyfile(path, draft / name)


def _download_files(hub_id: str, revision: str, draft: Path, progress: Callable[[str], object]) -> None:
    """Download the files of a model from the hub into a folder."""
    base = f"{hub_id}/resolve/{revision}"
    try:
        for name in (CONFIG, TOKENIZER):
            download_from_hub(f"{base}/{name}", draft / name, progress)
        download_from_hub(f"{base}/onnx/{NETWORK}", draft / NETWORK, progress)
    except Unreachable as error:
        raise UsageError(
            f"{COMMAND}: {error}\n  Download {CONFIG}, {TOKENIZER} and onnx/{NETWORK} of {hub_id} (revision {revision}) "
            f"on another machine, then: {COMMAND} --from FOLDER; if it has no ONNX file, see: llmops docs nli"
        ) from None


def _move_into_cache(draft: Path, source: str, digests: Mapping[str, str]) -> InstalledNli:
    """Move checked files into the cache folder, then remove the models that were there before.

    If that fails, the earlier model is still there; of two installations at once at least one remains.
    """
    if not source.startswith(HUB_PREFIX):
        source = Path(source).resolve().name
    manifest = canonical_json({"source": source, "sha256": dict(digests)})
    (draft / MANIFEST).write_text(manifest, encoding="utf-8")
    # Other users of the machine may share the cache.
    draft.chmod(0o755)
    target = cache_folder() / f"{NLI}-{_join_digests(digests)}"
    earlier_folders = _list_folders()
    if target in earlier_folders:  # the same model, perhaps damaged
        earlier_folders.remove(target)
        _replace_folder(target, draft)
    else:
        draft.rename(target)
    for earlier in earlier_folders:
        with suppress(FileNotFoundError):  # another installation has removed it
            shutil.rmtree(earlier)
    return InstalledNli(target, source, dict(digests))


def _replace_folder(target: Path, draft: Path) -> None:
    """Put a folder in the place of another one, which goes to the temporary folder; it comes back if that fails."""
    replaced = draft.with_name("replaced")
    target.rename(replaced)
    try:
        draft.rename(target)
    except OSError:
        replaced.rename(target)
        raise
