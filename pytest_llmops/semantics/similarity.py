"""How similar an answer is to its references: by one vector of each text, or by the words beyond the question."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from pytest_llmops import recorder
from pytest_llmops.errors import UsageError, describe_exception
from pytest_llmops.measurement import Json, Measurement, shorten_text
from pytest_llmops.protocols import Embedder, TokenEmbedder
from pytest_llmops.registry import component_name
from pytest_llmops.semantics import token_alignment
from pytest_llmops.semantics.thresholds import (
    AtLeast,
    describe_unknown_languages,
    resolve_embedder,
    resolve_threshold,
    similarity_scores,
)

__tracebackhide__ = True

COSINE = "semantic"
ALIGNMENT = "semantic.alignment"
# A word of the reference below this cosine has no counterpart in the answer; a synonym usually has 0.5 and more
LOST_BELOW = 0.5


@dataclass(frozen=True, slots=True)
class SimilarityMeasure:
    """A measure of similarity: an embedder, and whether it compares words or whole texts.

    Attributes:
        embedder: The embedder.
        requested_name: The name by which it was requested; "": it was given as an object.
        aligned: Whether words are aligned; otherwise the cosine of whole texts counts.
    """

    embedder: Embedder
    requested_name: str
    aligned: bool

    @property
    def name(self) -> str:
        """The name of its measurements."""
        if self.aligned:
            return ALIGNMENT
        return COSINE

    @property
    def version(self) -> str:
        """The version of its measurements: scores of two versions are never compared."""
        version = str(self.embedder.version)
        if self.aligned:
            return token_alignment.format_version(version)
        return version

    def resolve_threshold(self, at_least: AtLeast) -> float | None:
        """Return the threshold of an assertion; None: record only.

        Raises:
            UsageError: See `pytest_llmops.semantics.thresholds.resolve_threshold`.
        """
        return resolve_threshold(
            at_least, self.embedder, requested_name=self.requested_name, aligned=self.aligned
        )

    def measure(
        self,
        actual: object,
        references: Sequence[str],
        question: str,
        threshold: float | None,
        label: str,
    ) -> Measurement:
        """Return the measurement of the highest similarity, with all scores in its detail; an error without an answer."""
        name = component_name(self.embedder)
        measured = partial(
            Measurement, name=self.name, threshold=threshold, label=label, version=self.version
        )
        detail: dict[str, Json] = {"actual": None, "expected": list(references), "embedder": name}
        if question:
            detail["question"] = question
        if not isinstance(actual, str):
            return measured(error=f"expected a text, got {type(actual).__name__}", detail=detail)
        detail["actual"] = actual
        try:
            scores = self._score(actual, references, question, detail)
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001 -- whatever a user's embedder raises: not scored, not scored low
            return measured(error=f"embedder {name}: {describe_exception(error)}", detail=detail)
        detail["scores"] = scores
        unknown = describe_unknown_languages(self.embedder, [actual, *references])
        if unknown:
            detail["without"] = list[Json](unknown)
        return measured(value=max(scores), detail=detail)

    def _score(
        self, actual: str, references: Sequence[str], question: str, detail: dict[str, Json]
    ) -> list[float]:
        """Return the score of each reference; the words that were not found are added to the detail."""
        if not self.aligned:
            return similarity_scores(actual, references, self.embedder)
        embedder = cast("TokenEmbedder", self.embedder)
        alignments = token_alignment.align_answer(actual, references, question, embedder)
        detail["lost"] = [[alignment.lost_word, alignment.lost_cosine] for alignment in alignments]
        return [alignment.score for alignment in alignments]


def choose_measure(embedder: Embedder | str | None, *, aligned: bool) -> SimilarityMeasure:
    """Return the measure of an assertion.

    Args:
        embedder: An embedder or its name; None: the embedder of the settings.
        aligned: Whether words should be aligned, if the embedder can. An embedder without ``alignment_threshold`` has no
            measured threshold for that, so whole texts are compared.

    Raises:
        UsageError: The embedder does not exist.
    """
    used = resolve_embedder(embedder, "assert_semantic")
    requested: object = embedder
    if embedder is None:
        requested = recorder.current_settings().embedder
    requested_name = ""
    if isinstance(requested, str):
        requested_name = requested
    can_align = getattr(used, "alignment_threshold", None) is not None
    return SimilarityMeasure(used, requested_name, aligned and can_align)


def describe_lost_word(measurement: Measurement, index: int) -> list[tuple[str, str]]:
    """Return a line of evidence for the word of a reference that nothing in the answer is near to; none if there is none.

    Args:
        measurement: The measurement of `SimilarityMeasure.measure`.
        index: The index of the reference.
    """
    lost = cast("list[tuple[str, float]]", measurement.detail.get("lost", []))
    if not lost:
        return []
    word, highest = lost[index]
    if not word or highest >= LOST_BELOW:
        return []
    quoted = shorten_text(word, 40)
    return [("not found", f'nothing in the answer is near to "{quoted}" (highest cosine {highest:.2f})')]
