"""Which verdicts of a run should a person look at, and why?

A judge that is unsure, that was spoken to, that gave no score, or whose orders or members disagree has not decided
anything. Only records are read: nothing is asked, and nothing is scored anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, TypeGuard

from pytest_llmops.measurement import Json, Measurement, as_finite_float, shorten_text, to_builtins

ReviewReason: TypeAlias = Literal[
    "could not be scored", "orders disagree", "judges disagree", "low confidence", "speaks to its judge"
]

MAX_REASON_CHARS = 200


class RecordLike(Protocol):
    """What is read of a test's record."""

    @property
    def nodeid(self) -> str:
        """Name of the test."""

    @property
    def measurements(self) -> Sequence[Measurement]:
        """All that the test measured."""

    @property
    def facts(self) -> Mapping[str, Json]:
        """What else is known: ``case`` has its id and family."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A judge's verdict on an answer.

    Attributes:
        case: Id of the test's case; empty: it has none.
        judge: The judge's name.
        label: What tells it from other verdicts of the same judge in the test.
        score: On the judge's own scale; None: it could not be scored. Of a pair 1, 0.5 or 0.
        low: Lowest score of the scale; None: not known.
        high: Highest score.
        confidence: 0 to 1, as the judge tells it; None: it does not.
        least: The confidence that the test asked for; None: none.
        why: For what a person should look, the most important first; empty: nothing speaks for it.
        reason: The same as a sentence, with figures.
        answer: What was judged; None: there was no text.
        other: Of a pair, the answer it was compared with; None: it is no pair.
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
        """How sure the judge is, in a word or a number.

        >>> Judgement(nodeid="t", judge="panel", score=5, confidence=0.416, why=("low confidence",)).short
        '0.42'
        """
        if self.score is None:
            return "not scored"
        if self.confidence is not None and self.why[:1] != ("speaks to its judge",):
            return f"{self.confidence:.2f}"
        return self.why[0] if self.why else "sure"

    def to_wire(self) -> dict[str, Json]:
        """Return plain builtins for the run file; the texts stand in the record of the test."""
        keys = ("nodeid", "case", "judge", "version", "label", "score", "low", "high", "confidence", "least")
        return {
            **{key: to_builtins(getattr(self, key)) for key in keys},
            "why": list(self.why),
            "reason": self.reason,
        }


def select_for_review(records: Iterable[RecordLike]) -> tuple[Judgement, ...]:
    """Return the verdicts that a person should look at, the least sure first; none: an empty tuple.

    What could not be scored and pairs whose orders disagree come first, then by the judge's confidence; what
    is only suspected of speaking to its judge comes last. Equal ones stay in the order of the run.

    >>> select_for_review([])
    ()
    """
    return sort_by_doubt(judgement for judgement in collect_judgements(records) if judgement.why)


def sort_by_doubt(unsorted: Iterable[Judgement]) -> tuple[Judgement, ...]:
    """Return verdicts the least sure first, see `select_for_review`."""
    return tuple(sorted(unsorted, key=_certainty))


def collect_judgements(records: Iterable[RecordLike]) -> tuple[Judgement, ...]:
    """Return all verdicts of judges on answers, in the order of the run.

    Verdicts on something else (contexts, a judge's agreement with people) and single dimensions are left out.
    """
    return tuple(judgement for record in records for judgement in _iter_judgements(record))


def _certainty(judgement: Judgement) -> float:
    if judgement.score is None or "orders disagree" in judgement.why:
        return -1.0
    return 1.0 if judgement.confidence is None else judgement.confidence


def _iter_judgements(record: RecordLike) -> Iterator[Judgement]:
    for measurement in record.measurements:
        verdict = measurement.detail.get("judge")
        if isinstance(verdict, Mapping) and "actual" in measurement.detail:
            yield _build_judgement(record, measurement, verdict)


def _build_judgement(record: RecordLike, measurement: Measurement, verdict: Mapping[str, Json]) -> Judgement:
    case = record.facts.get("case")
    case = case if isinstance(case, Mapping) else {}
    detail = measurement.detail
    flag = detail.get("review")
    flag = flag if isinstance(flag, Mapping) else {}
    pair = "winner" in verdict
    scored = measurement.value is not None
    whys = dict(_iter_review_reasons(measurement, verdict, flag))
    confidence = as_finite_float(flag.get("confidence"))
    contexts = detail.get("contexts")
    return Judgement(
        nodeid=_plain_text(record.nodeid),
        case=_plain_text(case.get("id")),
        family=_plain_text(case.get("family")),
        judge=_plain_text(verdict.get("name")) or measurement.name.removeprefix("judge."),
        version=measurement.version,
        label=measurement.label,
        score=(measurement.value if pair else as_finite_float(verdict.get("score"))) if scored else None,
        low=0.0 if pair else as_finite_float(verdict.get("low")),
        high=1.0 if pair else as_finite_float(verdict.get("high")),
        confidence=as_finite_float(verdict.get("confidence")) if confidence is None else confidence,
        least=as_finite_float(flag.get("least")),
        why=tuple(whys),
        reason="; ".join(f"{why} ({more})" if more else why for why, more in whys.items()),
        question=_plain_text(detail.get("question")),
        answer=_optional_text(detail.get("actual")),
        other=_optional_text(detail.get("expected")) if pair else None,
        reference="" if pair else _plain_text(detail.get("expected")),
        contexts=tuple(map(_plain_text, contexts)) if _is_list(contexts) else (),
    )


def _iter_review_reasons(
    measurement: Measurement, verdict: Mapping[str, Json], flag: Mapping[str, Json]
) -> Iterator[tuple[ReviewReason, str]]:
    """Yield why a person should look, with what shows it."""
    if measurement.value is None:
        yield "could not be scored", shorten_text(measurement.error, MAX_REASON_CHARS)
    orders = flag.get("orders")
    if _is_list(orders):
        yield "orders disagree", " and ".join(shorten_text(_plain_text(order), 20) for order in orders)
    sure, least = as_finite_float(flag.get("confidence")), as_finite_float(flag.get("least"))
    votes, split = _panel_votes(verdict)
    vote_list = ", ".join(f"{vote:g}" for vote in votes)
    if sure is not None and least is not None:
        figures = f"{sure:.2f}, below {least:g}"
        yield (
            ("judges disagree", f"{vote_list}: confidence {figures}")
            if votes
            else ("low confidence", figures)
        )
    elif split:
        yield "judges disagree", vote_list
    suspect = measurement.detail.get("suspect")
    if _is_list(suspect) and suspect:
        yield "speaks to its judge", ", ".join(shorten_text(_plain_text(sign), 40) for sign in suspect)


def _panel_votes(verdict: Mapping[str, Json]) -> tuple[list[float], bool]:
    """The scores of a panel's judges, and whether they fall on both sides of the threshold."""
    given = verdict.get("votes")
    votes = (
        [number for vote in given if (number := as_finite_float(vote)) is not None] if _is_list(given) else []
    )
    threshold = as_finite_float(verdict.get("threshold"))
    return votes, threshold is not None and min(votes, default=threshold) < threshold <= max(
        votes, default=threshold
    )


def _is_list(value: Json) -> TypeGuard[Sequence[Json]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _optional_text(value: Json) -> str | None:
    return None if value is None else _plain_text(value)


def _plain_text(value: Json) -> str:
    return "" if value is None else str(to_builtins(value))
