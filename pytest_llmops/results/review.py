"""Which verdicts of a run should a person look at, and why?

A judge that is unsure, that was spoken to, that gave no score, or whose orders or members disagree has not decided
anything. Only records are read: nothing is asked, and nothing is scored anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, TypeGuard

from pytest_llmops.measurement import Json, Measurement, finite, plain, shorten

Why: TypeAlias = Literal[
    "could not be scored", "orders disagree", "judges disagree", "low confidence", "speaks to its judge"
]

MAX_REASON = 200


class Recorded(Protocol):
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
    why: tuple[Why, ...] = ()
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
            **{key: plain(getattr(self, key)) for key in keys},
            "why": list(self.why),
            "reason": self.reason,
        }


def review(records: Iterable[Recorded]) -> tuple[Judgement, ...]:
    """Return the verdicts that a person should look at, the least sure first; none: an empty tuple.

    What could not be scored and pairs whose orders disagree come first, then by the judge's confidence; what
    is only suspected of speaking to its judge comes last. Equal ones stay in the order of the run.

    >>> review([])
    ()
    """
    return by_doubt(one for one in judgements(records) if one.why)


def by_doubt(found: Iterable[Judgement]) -> tuple[Judgement, ...]:
    """Return verdicts the least sure first, see `review`."""
    return tuple(sorted(found, key=_sure))


def judgements(records: Iterable[Recorded]) -> tuple[Judgement, ...]:
    """Return all verdicts of judges on answers, in the order of the run.

    Verdicts on something else (contexts, a judge's agreement with people) and single dimensions are left out.
    """
    return tuple(one for record in records for one in _of(record))


def _sure(one: Judgement) -> float:
    if one.score is None or "orders disagree" in one.why:
        return -1.0
    return 1.0 if one.confidence is None else one.confidence


def _of(record: Recorded) -> Iterator[Judgement]:
    for one in record.measurements:
        said = one.detail.get("judge")
        if isinstance(said, Mapping) and "actual" in one.detail:
            yield _judgement(record, one, said)


def _judgement(record: Recorded, one: Measurement, said: Mapping[str, Json]) -> Judgement:
    case = record.facts.get("case")
    case = case if isinstance(case, Mapping) else {}
    detail = one.detail
    flag = detail.get("review")
    flag = flag if isinstance(flag, Mapping) else {}
    pair = "winner" in said
    scored = one.value is not None
    whys = dict(_whys(one, said, flag))
    confidence = finite(flag.get("confidence"))
    contexts = detail.get("contexts")
    return Judgement(
        nodeid=_text(record.nodeid),
        case=_text(case.get("id")),
        family=_text(case.get("family")),
        judge=_text(said.get("name")) or one.name.removeprefix("judge."),
        version=one.version,
        label=one.label,
        score=(one.value if pair else finite(said.get("score"))) if scored else None,
        low=0.0 if pair else finite(said.get("low")),
        high=1.0 if pair else finite(said.get("high")),
        confidence=finite(said.get("confidence")) if confidence is None else confidence,
        least=finite(flag.get("least")),
        why=tuple(whys),
        reason="; ".join(f"{why} ({more})" if more else why for why, more in whys.items()),
        question=_text(detail.get("question")),
        answer=_answer(detail.get("actual")),
        other=_answer(detail.get("expected")) if pair else None,
        reference="" if pair else _text(detail.get("expected")),
        contexts=tuple(map(_text, contexts)) if _listed(contexts) else (),
    )


def _whys(one: Measurement, said: Mapping[str, Json], flag: Mapping[str, Json]) -> Iterator[tuple[Why, str]]:
    """Yield why a person should look, with what shows it."""
    if one.value is None:
        yield "could not be scored", shorten(one.error, MAX_REASON)
    orders = flag.get("orders")
    if _listed(orders):
        yield "orders disagree", " and ".join(shorten(_text(order), 20) for order in orders)
    sure, least = finite(flag.get("confidence")), finite(flag.get("least"))
    votes, split = _votes(said)
    shown = ", ".join(f"{vote:g}" for vote in votes)
    if sure is not None and least is not None:
        figures = f"{sure:.2f}, below {least:g}"
        yield ("judges disagree", f"{shown}: confidence {figures}") if votes else ("low confidence", figures)
    elif split:
        yield "judges disagree", shown
    suspect = one.detail.get("suspect")
    if _listed(suspect) and suspect:
        yield "speaks to its judge", ", ".join(shorten(_text(sign), 40) for sign in suspect)


def _votes(said: Mapping[str, Json]) -> tuple[list[float], bool]:
    """The scores of a panel's judges, and whether they fall on both sides of the threshold."""
    given = said.get("votes")
    votes = [number for vote in given if (number := finite(vote)) is not None] if _listed(given) else []
    threshold = finite(said.get("threshold"))
    return votes, threshold is not None and min(votes, default=threshold) < threshold <= max(
        votes, default=threshold
    )


def _listed(value: Json) -> TypeGuard[Sequence[Json]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _answer(value: Json) -> str | None:
    return None if value is None else _text(value)


def _text(value: Json) -> str:
    return "" if value is None else str(plain(value))
