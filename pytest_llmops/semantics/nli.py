"""Natural language inference: whether a text entails or contradicts another text, by a cross-encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from pytest_llmops import registry
from pytest_llmops._util.arrays import NDArray, as_rows, np
from pytest_llmops.errors import LLMOpsError, MissingExtra, UsageError, describe_exception, refuse
from pytest_llmops.measurement import shorten_text
from pytest_llmops.semantics.checks import split_sentences

__tracebackhide__ = True

LABELS = ("entailment", "neutral", "contradiction")
MODEL_FILES = ("model.onnx", "onnx/model.onnx")
MAX_TOKENS = 512  # tokens of a pair; the models that people use were trained with at most as many
BATCH_PAIRS = 16  # pairs that a model gets at a time
PREMISE_CHARS, HYPOTHESIS_CHARS = 1_000, 500  # lengths of windows, which fit `MAX_TOKENS` in most languages
WIDE_CHAR = 3  # length of a character of Chinese, Japanese or Korean: each is a token or more
MAX_WINDOWS = 8  # windows of a text that are compared; what follows is reported as not read
DIGEST_CHARS = 12
SUM_TOLERANCE = 0.01


class NliModel(Protocol):
    """Classifies pairs of a premise and a hypothesis.

    Optional attributes: ``name`` and ``version``, which measurements show; ``count_truncated(pairs)``, the number of
    pairs of which the model reads a part only.
    """

    def predict(self, pairs: Sequence[tuple[str, str]]) -> Sequence[Sequence[float]] | NDArray[Any]:
        """Return the probabilities of entailment, neutral and contradiction for each pair."""


class Inference(NamedTuple):
    """Probabilities of what a premise says of a hypothesis."""

    entailment: float
    neutral: float
    contradiction: float


@dataclass(frozen=True, slots=True)
class Contradiction:
    """How probably two texts contradict each other.

    Attributes:
        probability: The mean of both directions.
        entailment: Probability that the reference entails the answer.
        without: What was not read, as sentences.
    """

    probability: float
    entailment: float
    without: tuple[str, ...] = ()


def resolve_nli(given: object, *, where: str) -> NliModel:
    """Return an NLI model by name (``nli:FOLDER``) or as given.

    Raises:
        UnknownName: There is no such name.
        UsageError: The model cannot be loaded, or the object is no NLI model.
    """
    model = registry.load_builtin("nli", given) if isinstance(given, str) else given
    refuse(
        not callable(getattr(model, "predict", None)),
        f"{where}: expected nli as 'nli:FOLDER' or an object with predict(pairs), got {type(given).__name__}",
    )
    return cast("NliModel", model)


def nli_name(model: NliModel) -> str:
    """Return the name of a model in messages."""
    return shorten_text(str(getattr(model, "name", type(model).__name__)), 60)


def predict_pairs(model: NliModel, pairs: Sequence[tuple[str, str]]) -> list[Inference]:
    """Return what a model predicts for pairs, in batches; its output is validated.

    Raises:
        LLMOpsError: The output is not three probabilities for each pair.
        Exception: Whatever the model raises.
    """
    rows: list[Inference] = []
    for start in range(0, len(pairs), BATCH_PAIRS):
        batch = list(pairs[start : start + BATCH_PAIRS])
        rows += _read_probabilities(model.predict(batch), len(batch))
    return rows


def _read_probabilities(output: Any, count: int) -> list[Inference]:
    try:
        array = as_rows(output, count=count, name="probabilities")
    except ValueError as error:
        raise LLMOpsError(str(error)) from None
    refuse(
        array.shape[1] != len(LABELS),
        LLMOpsError(
            f"expected probabilities of {', '.join(LABELS)}, got {array.shape[1]} numbers for each pair"
        ),
    )
    if (array < 0).any() or (abs(array.sum(axis=1) - 1) > SUM_TOLERANCE).any():
        raise LLMOpsError(f"expected probabilities that sum to 1, got {array[0].round(3).tolist()}")
    return [Inference(*map(float, row)) for row in array]


def measure_contradiction(model: NliModel, answer: str, reference: str) -> Contradiction:
    """Return how probably an answer and a reference contradict each other.

    Each text is the premise once, as the order should not matter and with real models does. Long texts are compared
    in windows of sentences: of the windows of the premise the least neutral counts, of those of the hypothesis the
    worst.

    Raises:
        LLMOpsError: The output of the model cannot be used.
        Exception: Whatever the model raises.
    """
    forward, backward = _pair_windows(reference, answer), _pair_windows(answer, reference)
    pairs = [pair for grid in (forward, backward) for row in grid for pair in row]
    rows = iter(predict_pairs(model, pairs))
    decided = [
        [min([next(rows) for _ in row], key=lambda found: found.neutral) for row in grid]
        for grid in (forward, backward)
    ]
    without = [
        f"the NLI model read the first {MAX_WINDOWS} windows of {count} of the {name}"
        for name, text in (("answer", answer), ("reference", reference))
        if (count := sum(1 for _ in split_windows(text, HYPOTHESIS_CHARS))) > MAX_WINDOWS
    ]
    without += describe_truncation(model, pairs)
    return Contradiction(
        sum(max(row.contradiction for row in grid) for grid in decided) / 2,
        min(row.entailment for row in decided[0]),
        tuple(without),
    )


def describe_truncation(model: NliModel, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return a sentence about pairs that are too long for a model, if it counts them."""
    count = getattr(model, "count_truncated", None)
    truncated = count(pairs) if callable(count) else 0
    return [f"the NLI model truncated {truncated} of {len(pairs)} pairs of texts"] if truncated else []


def split_windows(text: str, limit: int) -> Iterator[str]:
    """Yield pieces of whole sentences up to a length; neighbours share a sentence where it fits.

    >>> list(split_windows("A first. A second. A third.", 20))
    ['A first. A second.', 'A second. A third.']
    """
    window: list[str] = []
    for sentence in split_sentences(text):
        if window and _length(" ".join([*window, sentence])) > limit:
            yield " ".join(window)
            window = [window[-1]] if len(window) > 1 and _length(f"{window[-1]} {sentence}") <= limit else []
        start = 0
        while _length(sentence[start : start + limit + 1]) > limit:
            end = start + (limit if sentence[start : start + limit].isascii() else limit // WIDE_CHAR)
            yield sentence[start:end]
            start = end
        if sentence[start:]:
            window.append(sentence[start:])
    if window:
        yield " ".join(window)


def _length(text: str) -> int:
    return len(text) + (WIDE_CHAR - 1) * sum(char > "\u2e7f" for char in text)


def _pair_windows(premise: str, hypothesis: str) -> list[list[tuple[str, str]]]:
    # Return for each window of a hypothesis its pairs with the windows of a premise.
    premises = list(split_windows(premise, PREMISE_CHARS))[:MAX_WINDOWS]
    return [
        [(window, piece) for window in premises]
        for piece in list(split_windows(hypothesis, HYPOTHESIS_CHARS))[:MAX_WINDOWS]
    ]


def read_label_order(config: Mapping[str, Any], source: object) -> tuple[int, ...]:
    """Return the indices of entailment, neutral and contradiction among the outputs, by ``id2label`` of a config.

    Raises:
        UsageError: The labels are others.

    >>> read_label_order({"id2label": {"0": "CONTRADICTION", "1": "NEUTRAL", "2": "ENTAILMENT"}}, "config.json")
    (2, 1, 0)
    """
    given = config.get("id2label")
    labels = {str(name).lower(): key for key, name in given.items()} if isinstance(given, Mapping) else {}
    if sorted(labels) != sorted(LABELS) or sorted(map(str, labels.values())) != ["0", "1", "2"]:
        found = ", ".join(map(str, given.values())) if isinstance(given, Mapping) else "no id2label"
        raise UsageError(
            f"{source}: expected id2label with {', '.join(LABELS)}, got {shorten_text(found, 80)}"
        )
    return tuple(int(labels[name]) for name in LABELS)


@dataclass(frozen=True, slots=True)
class OnnxNli:
    """A cross-encoder as ONNX, run by onnxruntime on the processor; `load_nli` loads it.

    Attributes:
        name: The folder's name.
        version: A digest of the model's file.
    """

    name: str
    session: Any
    tokenizer: Any
    inputs: tuple[str, ...]
    order: tuple[int, ...]
    version: str

    def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[Any]:
        """Return the probabilities of entailment, neutral and contradiction; a long pair is truncated.

        Raises:
            LLMOpsError: The model has another number of outputs.
        """
        if not pairs:
            return np.zeros((0, len(LABELS)))
        encodings = self.tokenizer.encode_batch(list(pairs))
        columns = {
            "input_ids": [encoding.ids for encoding in encodings],
            "attention_mask": [encoding.attention_mask for encoding in encodings],
            "token_type_ids": [encoding.type_ids for encoding in encodings],
        }
        feeds = {name: np.asarray(columns[name], dtype=np.int64) for name in self.inputs}
        logits = np.asarray(self.session.run(None, feeds)[0], dtype=np.float64)
        refuse(
            logits.shape != (len(pairs), len(LABELS)),
            LLMOpsError(
                f"{self.name}: expected {len(LABELS)} logits for each pair, got an output of shape {logits.shape}"
            ),
        )
        from scipy.special import softmax

        return cast("NDArray[Any]", softmax(logits[:, list(self.order)], axis=1))

    def count_truncated(self, pairs: Sequence[tuple[str, str]]) -> int:
        """Return how many pairs are longer than the model reads."""
        return sum(bool(encoding.overflowing) for encoding in self.tokenizer.encode_batch(list(pairs)))


@lru_cache(maxsize=4)
def load_nli(source: str = "") -> NliModel:
    """Return the NLI model of a folder with an ONNX file.

    Raises:
        MissingExtra: onnxruntime or tokenizers is not installed.
        UsageError: There is no such folder, a file is missing, or its labels are not those of NLI.
    """
    folder = Path(source)
    refuse(
        not source or not folder.is_dir(),
        f"nli:{source}: expected nli:FOLDER, a folder with model.onnx, tokenizer.json and config.json, got none; "
        "docs/meaning.md shows how to export a model",
    )
    model = next((folder / name for name in MODEL_FILES if (folder / name).is_file()), folder / "model.onnx")
    for path in (model, folder / "tokenizer.json", folder / "config.json"):
        refuse(not path.is_file(), f"nli:{source}: expected a file {path.name}, got none in the folder")
    config = _read_config(folder / "config.json")
    order = read_label_order(config, folder / "config.json")
    for package in ("onnxruntime", "tokenizers"):
        refuse(find_spec(package) is None, MissingExtra(f"nli:{source}", "nli", package))
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # noqa: BLE001 -- both raise classes of their own for a damaged file
        raise UsageError(f"nli:{source}: cannot be loaded: {describe_exception(error)}") from None
    inputs = tuple(node.name for node in session.get_inputs())
    unknown = set(inputs) - {"input_ids", "attention_mask", "token_type_ids"}
    refuse(
        unknown, f"nli:{source}: expected the inputs of a text classifier, got {', '.join(sorted(unknown))}"
    )
    longest = config.get("max_position_embeddings")
    tokenizer.enable_truncation(
        min(MAX_TOKENS, longest) if isinstance(longest, int) and longest > 0 else MAX_TOKENS
    )
    tokenizer.enable_padding(pad_id=config.get("pad_token_id") or 0)
    with model.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()[:DIGEST_CHARS]
    return OnnxNli(f"nli:{folder.name}", session, tokenizer, inputs, order, digest)


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: expected JSON: {error}") from None
    return config if isinstance(config, Mapping) else {}
