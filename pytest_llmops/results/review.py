"""Select the verdicts of a run that a person should review, with the reasons.

A verdict needs review if the judge is unsure or gave no score, if the answer tries to influence it, or if the orders of
a pair or the judges of a panel disagree. Only records are read: no judge is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from pytest_llmops.measurement import Json, Measurement, shorten_text, to_builtins
from pytest_llmops.results.details import CaseFacts, JudgeVerdict, MeasurementDetail, read_detail

if TYPE_CHECKING:
    from pytest_llmops.results.run import TestRecord

ReviewReason: TypeAlias = Literal[
    "could not be scored", "orders disagree", "judges disagree", "low confidence", "speaks to its judge"
]

MAX_REASON_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A judge's verdict on an answer.

    Attributes:
        case: Id of the test's case; empty: no case.
        judge: The judge's name.
        label: Distinguishes verdicts of the same judge in a test.
        score: On the judge's own scale; None: it could not be scored. Of a pair 1, 0.5 or 0.
        low: Lowest score of the scale; None: not known.
        high: Highest score.
        confidence: 0 to 1, as the judge reports it; None: not reported.
        least: The confidence that the test requires; None: no requirement.
        why: The reasons for a review, the most important first; empty: no review is needed.
        reason: The reasons as a sentence, with figures.
        answer: What was judged; None: there was no text.
        other: Of a pair, the answer it was compared with; None: no pair.
    """

    nodeid: str
    case: str = ""
    family: str = ""
    judge: str
    version: str = ""
    label: str = ""
    score: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    least: float | None = None
    why: tuple[ReviewReason, ...] = ()
    reason: str = ""
    question: str = ""
    answer: str | None = None
    other: str | None = None
    reference: str = ""
    contexts: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """The judge's confidence, as a word or a number.

        >>> Judgement(nodeid="t", judge="panel", score=5, confidence=0.416, why=("low confidence",)).short
        '0.42'
        """
        if self.score is None:
            return "unscored"
        if self.confidence is not None and self.why[:1] != ("speaks to its judge",):
            return f"{self.confidence:.2f}"
        if self.why:
            return self.why[0]
        return "sure"

    def to_wire(self) -> dict[str, Json]:
        """Return plain builtins for the run file; the texts are in the record of the test."""
        keys = ("nodeid", "case", "judge", "version", "label", "score", "low", "high", "confidence", "least")
        return {
            **{key: to_builtins(getattr(self, key)) for key in keys},
            "why": list(self.why),
            "reason": self.reason,
        }


def select_for_review(records: Iterable[TestRecord]) -> tuple[Judgement, ...]:
    """Return the verdicts that a person should review, the least sure first.

    Verdicts without a score and pairs whose orders disagree come first, then the rest by the judge's confidence;
    answers that only seem to influence their judge come last. Otherwise the order of the run is kept.

    >>> select_for_review([])
    ()
    """
    return _sort_by_doubt(judgement for judgement in collect_judgements(records) if judgement.why)


def _sort_by_doubt(judgements: Iterable[Judgement]) -> tuple[Judgement, ...]:
    # Return verdicts, the least sure first; see `select_for_review`.

    def certainty(judgement: Judgement) -> float:
        if judgement.score is None or "orders disagree" in judgement.why:
            return -1.0
        if judgement.confidence is None:
            return 1.0
        return judgement.confidence

    return tuple(sorted(judgements, key=certainty))


def collect_judgements(records: Iterable[TestRecord]) -> tuple[Judgement, ...]:
    """Return all verdicts of judges on answers, in the order of the run.

    Verdicts on something else (contexts, a judge's agreement with human annotators) and single dimensions are left out.
    """
    return tuple(
        _build_judgement(record, measurement, detail, detail.judge)
        for record in records
        for measurement in record.measurements
        if {"actual", "judge"} <= measurement.detail.keys()
        and (detail := read_detail(measurement)).judge is not None
    )


def _build_judgement(
    record: TestRecord, measurement: Measurement, detail: MeasurementDetail, verdict: JudgeVerdict
) -> Judgement:
    case = CaseFacts.from_wire(record.facts.get("case"))
    pair = verdict.is_comparison
    if pair:
        score = measurement.value
    else:
        score = verdict.score
    reasons = dict(_iter_review_reasons(measurement, detail, verdict))
    return Judgement(
        nodeid=str(to_builtins(record.nodeid)),
        case=case.id,
        family=case.family,
        judge=verdict.name or measurement.name.removeprefix("judge."),
        version=measurement.version,
        label=measurement.label,
        score=None if measurement.value is None else score,
        low=0.0 if pair else verdict.low,
        high=1.0 if pair else verdict.high,
        confidence=verdict.confidence if detail.review.confidence is None else detail.review.confidence,
        least=detail.review.least,
        why=tuple(reasons),
        reason="; ".join(f"{why} ({more})" if more else why for why, more in reasons.items()),
        question=detail.question,
        answer=detail.actual,
        other=detail.expected if pair else None,
        reference="" if pair else detail.expected or "",
        contexts=detail.contexts,
    )


def _iter_review_reasons(
    measurement: Measurement, detail: MeasurementDetail, verdict: JudgeVerdict
) -> Iterator[tuple[ReviewReason, str]]:
    """Yield each reason for a review, with the values that show it."""
    flag = detail.review
    if measurement.value is None:
        yield "could not be scored", shorten_text(measurement.error, MAX_REASON_CHARS)
    if flag.orders:
        yield "orders disagree", " and ".join(shorten_text(order, 20) for order in flag.orders)
    votes = ", ".join(f"{vote:g}" for vote in verdict.votes)
    if flag.confidence is not None and flag.least is not None:
        figures = f"{flag.confidence:.2f}, below {flag.least:g}"
        yield ("judges disagree", f"{votes}: confidence {figures}") if votes else ("low confidence", figures)
    elif (
        verdict.votes
        and verdict.threshold is not None
        and min(verdict.votes) < verdict.threshold <= max(verdict.votes)
    ):
        yield "judges disagree", votes
    if detail.suspect:
        yield "speaks to its judge", ", ".join(shorten_text(sign, 40) for sign in detail.suspect)
