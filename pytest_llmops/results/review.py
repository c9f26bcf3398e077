"""Select the verdicts of a run that a person should review, with the reasons.

A verdict needs review if the judge is unsure or gave no score, if the answer tries to influence it, or if the orders of
a pair or the judges of a panel disagree. Only records are read: no judge is called.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from pytest_llmops.measurement import Json, Measurement, shorten_text, to_builtins
from pytest_llmops.results.details import CaseFacts, JudgeVerdict, MeasurementDetail, read_detail

if TYPE_CHECKING:
    from pytest_llmops.results.run import TestRecord

ReviewReason: TypeAlias = Literal[
    "no score", "orders disagree", "judges disagree", "low confidence", "speaks to its judge"
]

MAX_REASON_CHARS = 200
MIN_UNIFORM = 10  # different answers with the same score, from which on the judge is doubted


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A judge's verdict on an answer.

    Attributes:
        case: Id of the test's case; empty: no case.
        judge: The judge's name.
        label: Distinguishes several verdicts of the same judge in a test.
        score: Score on the judge's own scale; None: no score. For a pair 1, 0.5 (a tie) or 0.
        low: Lowest score of the scale; None: not known.
        high: Highest score.
        confidence: 0 to 1, as the judge reports it; None: not reported.
        least: The confidence that the test requires; None: no requirement.
        calibrated: Whether a calibration record shows that the judge agrees with human labels.
        why: The reasons for a review, the most important first; empty: no review is needed.
        reason: The reasons as a sentence, with figures.
        answer: The judged text. None: without a text.
        other: For a pair, the answer that it was compared with; None: not a pair.
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
    calibrated: bool = False
    why: tuple[ReviewReason, ...] = ()
    reason: str = ""
    question: str = ""
    answer: str | None = None
    other: str | None = None
    reference: str = ""
    contexts: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """The judge's confidence in a few characters: a number, "unscored", the first reason for a review, or "sure".

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
        wire: dict[str, Json] = {}
        for key in keys:
            wire[key] = to_builtins(getattr(self, key))
        wire["why"] = list(self.why)
        wire["reason"] = self.reason
        return wire


def select_for_review(records: Iterable[TestRecord]) -> tuple[Judgement, ...]:
    """Return the verdicts that a person should review, the least sure first.

    Verdicts without a score and pairs with disagreeing orders come first, then the rest by the judge's confidence. Verdicts
    without a confidence come last: usually answers that seem to influence their judge. Ties keep the order of the run.

    >>> select_for_review([])
    ()
    """
    doubtful = [judgement for judgement in collect_judgements(records) if judgement.why]
    return _sort_by_doubt(doubtful)


def _sort_by_doubt(judgements: Iterable[Judgement]) -> tuple[Judgement, ...]:
    """Return verdicts, the least sure first; see `select_for_review`."""

    def certainty(judgement: Judgement) -> float:
        """Return the sort key, which is low where the judge is least sure."""
        if judgement.score is None or "orders disagree" in judgement.why:
            return -1.0
        if judgement.confidence is None:
            return 1.0
        return judgement.confidence

    return tuple(sorted(judgements, key=certainty))


def collect_judgements(records: Iterable[TestRecord]) -> tuple[Judgement, ...]:
    """Return all verdicts of judges on answers, in the order of the run.

    Verdicts on something else than an answer (contexts, agreement with human annotators) and single dimensions are left out.
    """
    judgements = []
    for record in records:
        for measurement in record.measurements:
            if not {"actual", "judge"} <= measurement.detail.keys():
                continue
            detail = read_detail(measurement)
            if detail.judge is not None:
                judgements.append(_build_judgement(record, measurement, detail, detail.judge))
    return tuple(judgements)


def _build_judgement(
    record: TestRecord, measurement: Measurement, detail: MeasurementDetail, verdict: JudgeVerdict
) -> Judgement:
    """Return the judgement that a measurement stores.

    Args:
        record: The test.
        measurement: A measurement of the test.
        detail: The detail of the measurement.
        verdict: The judge's verdict in the detail. Of a pair, the "expected" answer is the one it was compared with.
    """
    case = CaseFacts.from_wire(record.facts.get("case"))
    if verdict.is_comparison:
        score = measurement.value
        low: float | None = 0.0
        high: float | None = 1.0
        other = detail.expected
        reference = ""
    else:
        score = verdict.score
        low = verdict.low
        high = verdict.high
        other = None
        reference = detail.expected or ""
    if measurement.value is None:
        score = None
    confidence = detail.review.confidence
    if confidence is None:
        confidence = verdict.confidence
    reasons = dict(_iter_review_reasons(measurement, detail, verdict))
    return Judgement(
        nodeid=str(to_builtins(record.nodeid)),
        case=case.id,
        family=case.family,
        judge=verdict.name or measurement.name.removeprefix("judge."),
        version=measurement.version,
        label=measurement.label,
        score=score,
        low=low,
        high=high,
        confidence=confidence,
        least=detail.review.least,
        calibrated=detail.calibration.status == "calibrated",
        why=tuple(reasons),
        reason=_join_reasons(reasons),
        question=detail.question,
        answer=detail.actual,
        other=other,
        reference=reference,
        contexts=detail.contexts,
    )


def _join_reasons(reasons: Mapping[ReviewReason, str]) -> str:
    """Return the reasons as one text, each with its figures in brackets if it has any."""
    parts: list[str] = []
    for reason, figures in reasons.items():
        if figures:
            parts.append(f"{reason} ({figures})")
        else:
            parts.append(reason)
    return "; ".join(parts)


def _iter_review_reasons(
    measurement: Measurement, detail: MeasurementDetail, verdict: JudgeVerdict
) -> Iterator[tuple[ReviewReason, str]]:
    """Yield each reason for a review with its figures as text ("" if it has none), the most important reason first."""
    flag = detail.review
    if measurement.value is None:
        yield "no score", shorten_text(measurement.error, MAX_REASON_CHARS)
    if flag.orders:
        yield "orders disagree", " and ".join(shorten_text(order, 20) for order in flag.orders)
    votes = ", ".join(f"{vote:g}" for vote in verdict.votes)
    if flag.confidence is not None and flag.least is not None:
        figures = f"{flag.confidence:.2f}, below {flag.least:g}"
        if votes:
            yield "judges disagree", f"{votes}: confidence {figures}"
        else:
            yield "low confidence", figures
    elif _are_votes_on_both_sides(verdict):
        yield "judges disagree", votes
    if detail.suspect:
        yield "speaks to its judge", ", ".join(shorten_text(sign, 40) for sign in detail.suspect)


def _are_votes_on_both_sides(verdict: JudgeVerdict) -> bool:
    """Return whether some votes of a panel pass the threshold and others miss it."""
    if not verdict.votes or verdict.threshold is None:
        return False
    return min(verdict.votes) < verdict.threshold <= max(verdict.votes)


def iter_uniform_judge_notes(records: Iterable[TestRecord]) -> Iterator[str]:
    """Yield a note for each judge that gave the same score to all answers of a run, at least 10 different ones.

    Left out are judges of pairs, and judges with a calibration record: for such a judge it is known whether it separates answers.

    >>> list(iter_uniform_judge_notes([]))
    []
    """
    answers: dict[tuple[str, str], set[str]] = defaultdict(set)
    scores: dict[tuple[str, str], set[tuple[float, float | None, float | None]]] = defaultdict(set)
    for judgement in collect_judgements(records):
        if judgement.score is None or judgement.answer is None:
            continue
        if judgement.other is not None or judgement.calibrated:
            continue
        judge = (judgement.judge, judgement.version)
        answers[judge].add(judgement.answer)
        scores[judge].add((judgement.score, judgement.low, judgement.high))
    for judge, given in scores.items():
        count = len(answers[judge])
        if len(given) > 1 or count < MIN_UNIFORM:
            continue
        score, low, high = given.pop()
        figure = f"{score:g}"
        if low is not None and high is not None:
            figure += f", scale {low:g} to {high:g}"
        name = shorten_text(judge[0], 60)
        yield (
            f"judge {name} gave all {count:,} answers the same score ({figure}): it may not tell them apart; "
            "check it with llmops judge calibrate (--compare-reasons also tries reason=none)"
        )
