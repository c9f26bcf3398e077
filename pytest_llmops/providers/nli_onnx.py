"""The installed NLI model as a component: a cross-encoder in ONNX, run on the processor of this machine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pytest_llmops._util.arrays import MATRIX_NDIM, NDArray, np
from pytest_llmops.errors import MissingExtra, UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.providers.model_files import TOKENIZER
from pytest_llmops.providers.nli_files import (
    LABELS,
    NETWORK,
    NLI,
    InstalledNli,
    NliConfig,
    find_nli,
    install_nli,
    read_config,
)

# Input of a network -> attribute of an encoded pair
COLUMNS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
# Pairs whose label no NLI model gets wrong. Wrong labels, another tokenizer and other networks do.
PROBES = (
    ("The shop is open.", "The shop is open.", "entailment"),
    ("The shop is open.", "The shop is not open.", "contradiction"),
)


@dataclass(frozen=True, slots=True)
class InstalledNliModel:
    """The NLI model that ``llmops semantic install nli`` installed: offline, with the same results in each run.

    Its files are checked and its network is loaded when it is first used.
    """

    name: str = "installed"

    @property
    def version(self) -> str:
        """The digest of the installed files; results of two versions are never compared.

        Raises:
            NliMissing: No model is installed.
            UsageError: A file of the model is damaged.
        """
        return find_nli().version

    def predict(self, pairs: Sequence[tuple[str, str]]) -> "NDArray[Any]":
        """Return the probabilities of entailment, neutral and contradiction: a row for each pair; no pairs: ``(0, 3)``.

        A pair with more tokens than the network reads is truncated; `count_truncated` counts these.

        Raises:
            NliMissing: No model is installed.
            UsageError: A file of the model is damaged, or a package is not installed.
        """
        return _find_network().predict(pairs)

    def count_truncated(self, pairs: Sequence[tuple[str, str]]) -> int:
        """Return how many pairs are too long for the network. Errors are the same as for `predict`."""
        return _find_network().count_truncated(pairs)


def install_nli_model(
    source: str, *, sha256: str = "", progress: Callable[[str], object] = str
) -> InstalledNli:
    """Install an NLI model after it was tried on two pairs of sentences. Arguments and errors are the same as for `install_nli`."""
    return install_nli(source, sha256=sha256, check=check_network, progress=progress)


def check_network(folder: Path, where: str) -> None:
    """Try a model on two pairs of sentences whose labels are certain; ``where`` starts an error.

    Raises:
        UsageError: The model cannot be loaded, or gets a label wrong. The message gives a likely cause.
    """
    network = _Network(folder, where)
    rows = network.predict([(premise, hypothesis) for premise, hypothesis, _ in PROBES])
    for row, (premise, hypothesis, expected) in zip(rows, PROBES, strict=True):
        label = LABELS[int(row.argmax())]
        if label != expected:
            probabilities = ", ".join(f"{name} {value:.2f}" for name, value in zip(LABELS, row, strict=True))
            raise UsageError(
                f"{where}: of {premise!r} and {hypothesis!r} expected {expected}, got "
                f"{probabilities}: the labels in id2label are in another order, {TOKENIZER} is another model's, or the model was "
                "not trained for NLI"
            )


def _find_network() -> "_Network":
    """Return the installed network, whose files were checked."""
    installed = find_nli()
    return _load_network(installed.folder, installed.version)


@lru_cache(maxsize=1)
def _load_network(folder: Path, _version: str) -> "_Network":
    """Return the network of a folder; the version is only a key of the cache."""
    return _Network(folder, f"the NLI model: {shorten_text(str(folder), 300)}")


class _Network:
    """Tokenizer and network of a folder.

    Attributes:
        where: How an error starts.
        config: The settings of the network from ``config.json``.
    """

    def __init__(self, folder: Path, where: str) -> None:
        self.where = where
        self.config: NliConfig = read_config(folder, where)
        self.tokenizer = self._load_tokenizer(folder / TOKENIZER)
        self.session = self._load_session(folder / NETWORK)
        self.inputs = [node.name for node in self.session.get_inputs()]
        unknown = [name for name in self.inputs if name not in COLUMNS]
        is_matrix = all(len(node.shape) == MATRIX_NDIM for node in self.session.get_inputs())
        if unknown or "input_ids" not in self.inputs or not is_matrix:
            raise UsageError(
                f"{self.where}: {NETWORK}: expected the inputs {', '.join(COLUMNS)} or the first of them, each of shape (pairs, tokens), "
                f"got {shorten_text(', '.join(self.inputs), 200)}: this is not a cross-encoder of texts"
            )
        self._fit_tokenizer()

    def predict(self, pairs: Sequence[tuple[str, str]]) -> "NDArray[Any]":
        """Return the probabilities of entailment, neutral and contradiction for each pair."""
        if not pairs:
            return np.zeros((0, len(LABELS)))
        rows = self.tokenizer.encode_batch(list(pairs))
        columns = {}
        for name in self.inputs:
            numbers = [getattr(row, COLUMNS[name]) for row in rows]
            columns[name] = np.array(numbers, dtype=np.int64)
        try:
            logits = np.asarray(self.session.run(None, columns)[0], dtype=np.float64)
        except Exception as error:  # noqa: BLE001 -- onnxruntime has no public base of its exceptions
            problem = shorten_text(str(error), 300)
            raise UsageError(
                f"{self.where}: {NETWORK} failed: {problem}: is {TOKENIZER} the one of this model?"
            ) from None
        expected_shape = (len(pairs), len(LABELS))
        if logits.shape != expected_shape:
            raise UsageError(
                f"{self.where}: {NETWORK}: expected an output of shape {expected_shape}, a number for each pair and label, "
                f"got {logits.shape}: this is not an NLI model"
            )
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))[:, list(self.config.order)]
        probabilities: NDArray[Any] = weights / weights.sum(axis=1, keepdims=True)
        return probabilities

    def count_truncated(self, pairs: Sequence[tuple[str, str]]) -> int:
        """Return how many pairs are too long for the network."""
        return sum(bool(row.overflowing) for row in self.tokenizer.encode_batch(list(pairs)))

    def _load_tokenizer(self, path: Path) -> Any:
        """Return the tokenizer of a file.

        Raises:
            MissingExtra: The package is not installed.
            UsageError: The file is damaged, or belongs to a network with more tokens.
        """
        try:
            from tokenizers import Tokenizer
        except ModuleNotFoundError:
            raise MissingExtra("an installed NLI model", NLI, "tokenizers") from None
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # noqa: BLE001 -- the package raises plain exceptions
            problem = shorten_text(str(error), 200)
            raise UsageError(f"{self.where}: {TOKENIZER} cannot be read: {problem}") from None
        highest = max(tokenizer.get_vocab().values(), default=0)
        known = self.config.vocabulary
        if known is not None and highest >= known:
            raise UsageError(
                f"{self.where}: {TOKENIZER} has tokens up to {highest:,}, the network knows {known:,} (vocab_size): "
                "it is another model's"
            )
        return tokenizer

    def _fit_tokenizer(self) -> None:
        """Let the tokenizer truncate and pad pairs as the network needs them: some take a fixed number of tokens only."""
        _, tokens = self.session.get_inputs()[0].shape
        length = None
        max_tokens = self.config.max_tokens
        if isinstance(tokens, int):
            length = tokens
            max_tokens = min(max_tokens, tokens)
        self.tokenizer.enable_truncation(max_tokens)
        self.tokenizer.enable_padding(pad_id=self.config.pad_token, length=length)

    def _load_session(self, path: Path) -> Any:
        """Return the network of a file.

        Raises:
            MissingExtra: The package is not installed.
            UsageError: The file is damaged, or is not ONNX.
        """
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise MissingExtra("an installed NLI model", NLI, "onnxruntime") from None
        options = onnxruntime.SessionOptions()
        # Threads that wait for work would take the processor from the other workers of pytest-xdist.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = (
            3  # errors; a warning of the graph is nothing that a user of it can act on
        )
        try:
            return onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 -- as in `predict`
            problem = shorten_text(str(error), 300)
            raise UsageError(f"{self.where}: {NETWORK} cannot be loaded: {problem}") from None
