"""Attribute the failure of a retrieval-augmented answer to its retrieval or its generation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_llmops.measurement import Measurement

Half: TypeAlias = Literal["good", "bad", "not judged"]

RETRIEVAL_PREFIX = "retrieval."
NOT_QUALITY_METRICS = frozenset({"retrieval.latency"})
GENERATION_PREFIXES = ("grounding.", "semantic", "judge.", "text.", "schema", "score.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """The status of retrieval and generation: ``bad`` if a threshold is missed, ``not judged`` without a verdict."""

    retrieval: Half
    generation: Half

    @property
    def status_words(self) -> str:
        """Both statuses in words.

        >>> Attribution(retrieval="good", generation="bad").status_words
        'retrieval good, generation bad'
        """
        return f"retrieval {self.retrieval}, generation {self.generation}"

    @property
    def bad(self) -> bool:
        """Whether retrieval or generation is bad."""
        return "bad" in (self.retrieval, self.generation)


def attribute_failure(measurements: Iterable[Measurement]) -> Attribution | None:
    """Return whether retrieval or generation did badly; None if not both were measured, or nothing has a verdict.

    Retrieval is every ``retrieval.*`` but its latency. Generation is what was measured of the answer: grounding,
    similarity, judges, texts, schemas and metrics of the user's own. Without a threshold, or without any score,
    the status is "not judged". A test that ends with a failed retrieval has no answer: then generation is not judged.

    >>> retrieved = [Measurement(name="retrieval.recall@5", value=1.0, threshold=0.8)]
    >>> attribute_failure([*retrieved, Measurement(name="grounding.supported", value=0.5, threshold=1.0)]).status_words
    'retrieval good, generation bad'
    """
    all_measurements = list(measurements)
    retrieval = [
        measurement
        for measurement in all_measurements
        if measurement.name.startswith(RETRIEVAL_PREFIX) and measurement.name not in NOT_QUALITY_METRICS
    ]
    generation = [
        measurement for measurement in all_measurements if measurement.name.startswith(GENERATION_PREFIXES)
    ]
    both = Attribution(retrieval=_half_status(retrieval), generation=_half_status(generation))
    if not retrieval or (both.retrieval, both.generation) == ("not judged", "not judged"):
        return None
    # Without an answer there is nothing to attribute if the search did well.
    return both if generation or both.retrieval == "bad" else None


def _half_status(measurements: Iterable[Measurement]) -> Half:
    statuses = {measurement.status for measurement in measurements}
    return "bad" if "failed" in statuses else "good" if "passed" in statuses else "not judged"
