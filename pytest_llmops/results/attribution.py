"""Which half of a retrieval-augmented answer is to blame: what was found, or what was made of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_llmops.measurement import Measurement

Half: TypeAlias = Literal["good", "bad", "not judged"]

RETRIEVAL_PREFIX = "retrieval."
NOT_QUALITY_METRICS = frozenset({"retrieval.latency"})
"""Of a search, but not of what it finds."""
GENERATION_PREFIXES = ("grounding.", "semantic", "judge.", "text.", "schema", "score.")
"""How the names begin of what is measured of an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """How both halves of a test did: ``bad`` is a half with a missed threshold, ``not judged`` one without a verdict."""

    retrieval: Half
    generation: Half

    @property
    def sentence(self) -> str:
        """Both halves in words.

        >>> Attribution(retrieval="good", generation="bad").sentence
        'retrieval good, generation bad'
        """
        return f"retrieval {self.retrieval}, generation {self.generation}"

    @property
    def bad(self) -> bool:
        """Whether a half is."""
        return "bad" in (self.retrieval, self.generation)


def attribute_failure(measurements: Iterable[Measurement]) -> Attribution | None:
    """Return which half of a test did badly; None where not both were measured, or no threshold was missed or met.

    Retrieval is every ``retrieval.*`` but its latency. Generation is what was measured of the answer: grounding,
    similarity, judges, texts, schemas and metrics of the user's own. A half in which nothing has a threshold, or
    nothing could be scored, is not judged. A test that ends with its retrieval has no answer to speak of: then
    generation is not judged, and retrieval bad.

    >>> found = [Measurement(name="retrieval.recall@5", value=1.0, threshold=0.8)]
    >>> attribute_failure([*found, Measurement(name="grounding.supported", value=0.5, threshold=1.0)]).sentence
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
    # Without an answer a good search has nothing to be told apart from.
    return both if generation or both.retrieval == "bad" else None


def _half_status(measurements: Iterable[Measurement]) -> Half:
    statuses = {measurement.status for measurement in measurements}
    return "bad" if "failed" in statuses else "good" if "passed" in statuses else "not judged"
