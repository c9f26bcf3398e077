"""Natural language inference: whether a text entails or contradicts another text, by a cross-encoder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

from pytest_llmops._util.arrays import NDArray, as_rows
from pytest_llmops.errors import LLMOpsError, UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.registry import load_builtin
from pytest_llmops.semantics.checks import split_sentences

__tracebackhide__ = True

KIND = "NLI model"  # of a component, in the registry
LABELS = ("entailment", "neutral", "contradiction")
BATCH_PAIRS = 16  # pairs that a model gets at a time
# Lengths of windows, which fit 512 tokens in most languages
PREMISE_CHARS = 1_000
HYPOTHESIS_CHARS = 500
WIDE_CHAR = 3  # length of a character of Chinese, Japanese or Korean: each is a token or more
MAX_WINDOWS = 8  # windows of a text that are compared; what follows is reported as not read
SUM_TOLERANCE = 0.01


class NliModel(Protocol):
    """Classifies pairs of a premise and a hypothesis.

    Optional attributes: ``name`` and ``version``, which measurements show; ``count_truncated(pairs)``, the number of
    pairs that are too long for the model, which then reads only a part of them.
    """

    def predict(self, pairs: Sequence[tuple[str, str]]) -> "Sequence[Sequence[float]] | NDArray[Any]":
        """Return the probabilities of entailment, neutral and contradiction for each pair."""


class Inference(NamedTuple):
    """Probabilities that a premise entails a hypothesis, is neutral to it, and contradicts it."""

    entailment: float
    neutral: float
    contradiction: float


@dataclass(frozen=True, slots=True)
class Contradiction:
    """How probably two texts contradict each other.

    Attributes:
        probability: The mean of both directions.
        entailment: Probability that the reference entails the answer.
        without: The texts that were not read, as sentences.
    """

    probability: float
    entailment: float
    without: tuple[str, ...] = ()


def resolve_nli(given: object, *, where: str) -> NliModel:
    """Return an NLI model, by name (``installed``) or as given.

    Raises:
        UnknownName: No NLI model has that name.
        UsageError: The object is not an NLI model, or the installed model is missing or damaged.
    """
    resolved = given
    if isinstance(given, str):
        resolved = load_builtin(KIND, given, where)
    if not callable(getattr(resolved, "predict", None)):
        raise UsageError(
            f'{where}: expected nli as "installed" or an object with predict(pairs), '
            f"got {type(resolved).__name__}; see: llmops docs nli"
        )
    return cast("NliModel", resolved)


def nli_name(model: NliModel) -> str:
    """Return the name of a model in messages."""
    name = getattr(model, "name", type(model).__name__)
    return shorten_text(str(name), 60)


def predict_pairs(model: NliModel, pairs: Sequence[tuple[str, str]]) -> list[Inference]:
    """Return an inference for each pair, in the same order; the model is called in batches and its output validated.

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
    """Return the output of a model as inferences; raise an `LLMOpsError` if it is not three probabilities a pair."""
    try:
        array = as_rows(output, count=count, name="probabilities")
    except ValueError as error:
        raise LLMOpsError(str(error)) from None
    if array.shape[1] != len(LABELS):
        labels = ", ".join(LABELS)
        raise LLMOpsError(f"expected probabilities of {labels}, got {array.shape[1]} numbers for each pair")
    deviations = abs(array.sum(axis=1) - 1)
    if (array < 0).any() or (deviations > SUM_TOLERANCE).any():
        first_row = array[0].round(3).tolist()
        raise LLMOpsError(f"expected probabilities that sum to 1, got {first_row}")
    return [Inference(*map(float, row)) for row in array]


def measure_contradiction(model: NliModel, answer: str, reference: str) -> Contradiction:
    """Return how probably an answer and a reference contradict each other.

    Each text is the premise once: the order should not matter, but with real models it does. Long texts are compared
    in windows of sentences. For each window of the hypothesis the least neutral window of the premise counts; of all
    windows of the hypothesis the one with the highest contradiction counts.

    Raises:
        LLMOpsError: The output of the model cannot be used.
        Exception: Whatever the model raises.
    """
    forward = _pair_windows(reference, answer)
    backward = _pair_windows(answer, reference)
    pairs = [pair for grid in (forward, backward) for row in grid for pair in row]
    # There is an inference for each pair, in the order of the pairs. Each row has at least one pair.
    inferences = iter(predict_pairs(model, pairs))
    decided_forward = [_least_neutral([next(inferences) for _ in row]) for row in forward]
    decided_backward = [_least_neutral([next(inferences) for _ in row]) for row in backward]
    worst = max(inference.contradiction for inference in decided_forward)
    other_worst = max(inference.contradiction for inference in decided_backward)
    without = [*_describe_windows(answer, "answer"), *_describe_windows(reference, "reference")]
    without += describe_truncation(model, pairs)
    probability = (worst + other_worst) / 2
    entailment = min(inference.entailment for inference in decided_forward)
    return Contradiction(probability=probability, entailment=entailment, without=tuple(without))


def _least_neutral(inferences: Sequence[Inference]) -> Inference:
    return min(inferences, key=lambda inference: inference.neutral)


def _describe_windows(text: str, name: str) -> list[str]:
    """Return a sentence if a text has more windows than are compared, as a list of one; else an empty list."""
    count = sum(1 for _ in split_windows(text, HYPOTHESIS_CHARS))
    if count > MAX_WINDOWS:
        return [f"the NLI model read the first {MAX_WINDOWS} windows of {count} of the {name}"]
    return []


def describe_truncation(model: NliModel, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return a sentence about the pairs that are too long for a model, as a list of one.

    The list is empty if there are none, or if the model does not count them.
    """
    count = getattr(model, "count_truncated", None)
    if not callable(count):
        return []
    truncated = count(pairs)
    if not truncated:
        return []
    return [f"the NLI model truncated {truncated} of {len(pairs)} pairs of texts"]


def split_windows(text: str, limit: int) -> Iterator[str]:
    """Yield pieces of whole sentences up to a length; neighbours share a sentence where it fits.

    >>> list(split_windows("A first. A second. A third.", 20))
    ['A first. A second.', 'A second. A third.']
    """
    window: list[str] = []
    for sentence in split_sentences(text):
        longer = " ".join([*window, sentence])
        if window and _length(longer) > limit:
            yield " ".join(window)
            last = window[-1]
            if len(window) > 1 and _length(f"{last} {sentence}") <= limit:
                window = [last]
            else:
                window = []
        # Almost always a single part, the rest
        *parts, rest = _cut_sentence(sentence, limit)
        yield from parts
        if rest:
            window.append(rest)
    if window:
        yield " ".join(window)


def _cut_sentence(sentence: str, limit: int) -> list[str]:
    """Return a sentence in parts that fit a window; there is at least one, and the last one may be empty."""
    parts = []
    start = 0
    while _length(sentence[start : start + limit + 1]) > limit:
        size = limit
        if not sentence[start : start + limit].isascii():
            size = limit // WIDE_CHAR
        parts.append(sentence[start : start + size])
        start += size
    return [*parts, sentence[start:]]


def _length(text: str) -> int:
    """Return the length of a text, in which a wide character counts for several."""
    wide_count = sum(char > "\u2e7f" for char in text)
    return len(text) + (WIDE_CHAR - 1) * wide_count


def _pair_windows(premise: str, hypothesis: str) -> list[list[tuple[str, str]]]:
    """Return a row for each window of the hypothesis: its pairs with all windows of the premise."""
    premises = list(split_windows(premise, PREMISE_CHARS))[:MAX_WINDOWS]
    pieces = list(split_windows(hypothesis, HYPOTHESIS_CHARS))[:MAX_WINDOWS]
    return [[(window, piece) for window in premises] for piece in pieces]
