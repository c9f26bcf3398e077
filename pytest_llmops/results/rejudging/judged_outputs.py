"""The outputs that a run file holds: what was answered to what, and what its judge said of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.protocols import Call
from pytest_llmops.results.run import Run, TestRecord

COMPARISON = "comparison of two answers, and a score judge judges one"
CHECKLIST = "checklist, which no rubric takes the place of"
AGREEMENT = "agreement of a judge with people"
PASSAGES = "verdict on passages, and no answer"
NO_ANSWER = "verdict whose answer is not stored"
DAMAGED = "verdict whose question, reference or contexts are no texts"
NO_TEXT = "last call without a text"

Scale: TypeAlias = tuple[float, float]

JUDGE_PREFIX = "judge."
TEXTLESS_ENDPOINTS = frozenset({"embeddings", "moderations", "rerank"})
"""Endpoints that give no text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An answer of the application, and all that its judge was told.

    Attributes:
        record: Place of its test in the run.
        place: Place of the old measurement in the test; None: it was never judged.
        answer: None: the application said nothing.
        old: What was measured; None: it was never judged.
        usual: The scale that the old judge's scores have elsewhere in the run; None: not known, or several.
    """

    record: int
    nodeid: str
    answer: str | None
    question: str = ""
    reference: str = ""
    contexts: tuple[str, ...] = ()
    place: int | None = None
    old: Measurement | None = None
    usual: Scale | None = None

    @property
    def label(self) -> str:
        """What tells two judgements of one test apart."""
        return self.old.label if self.old is not None else ""

    @property
    def told(self) -> Mapping[str, Json]:
        """What the report says of the old verdict, on the judge's own scale."""
        return verdict_detail(self.old) if self.old is not None else {}

    @property
    def judge(self) -> str:
        """Name of the old judge."""
        return _judge_name(self.old) if self.old is not None else ""

    @property
    def model(self) -> str:
        """Model of the old judge."""
        return str(self.told.get("model") or "")

    @property
    def scale(self) -> Scale | None:
        """Lowest and highest score of the old judge; None: not known.

        A verdict without a score says nothing of the scale: what stands there may be the default's.
        """
        return self.usual if float_or_none(self.told.get("score")) is None else verdict_scale(self.told)

    @property
    def threshold(self) -> float | None:
        """The old threshold on the old judge's own scale, also one that did not decide; None: there was none."""
        review = self.old.detail.get("review") if self.old is not None else None
        if isinstance(review, Mapping) and float_or_none(review.get("undecided")) is not None:
            return float_or_none(review["undecided"])
        return float_or_none(self.told.get("threshold"))

    @property
    def inputs(self) -> tuple[object, ...]:
        """What decides a verdict: of equal ones a judge is asked once."""
        return self.answer, self.question, self.reference, self.contexts


@dataclass(frozen=True, slots=True, kw_only=True)
class RescorableOutputs:
    """The outputs that can be scored, in the order of the run, and how many cannot, by reason.

    Attributes:
        judges: Names of all old judges, also of those that were not asked for.
        unjudged: Tests whose output could be scored, and never was.
    """

    outputs: tuple[Output, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)
    judges: tuple[str, ...] = ()
    unjudged: int = 0


def collect_outputs(run: Run, *, only: str = "", text: str = "", unjudged: bool = False) -> RescorableOutputs:
    """Return the outputs of a run that a judge can score again.

    Args:
        run: The run.
        only: Name of an old judge; empty: all.
        text: Part of the test's node id; empty: any.
        unjudged: Also the last answer of tests that no judge ever saw.

    >>> collect_outputs(Run()).outputs
    ()
    """
    collected: list[Output] = []
    skipped: Counter[str] = Counter()
    judges: dict[str, None] = {}
    waiting = 0
    usual = _usual_scales(run)
    for number_, record in enumerate(run.records):
        if text not in record.nodeid:
            continue
        kept = list(_iter_outputs(number_, record, only, skipped, judges, usual=usual))
        collected += kept
        if kept or any(measurement.name.startswith(JUDGE_PREFIX) for measurement in record.measurements):
            continue
        last = _last_output(number_, record)
        waiting += last is not None and last.answer is not None
        if unjudged and not only and last is not None:
            if last.answer is None:
                skipped[NO_TEXT] += 1
            else:
                collected.append(last)
    return RescorableOutputs(
        outputs=tuple(collected),
        passed_over=dict(sorted(skipped.items())),
        judges=tuple(judges),
        unjudged=waiting,
    )


def _usual_scales(run: Run) -> dict[tuple[str, str], Scale]:
    """The scale of each judge, by name and version, that has the same one in all its scores."""
    scales_by_judge: dict[tuple[str, str], set[Scale | None]] = {}
    for measurement in (measurement for record in run.records for measurement in record.measurements):
        verdict = verdict_detail(measurement)
        if float_or_none(verdict.get("score")) is not None:
            scales_by_judge.setdefault((_judge_name(measurement), measurement.version), set()).add(
                verdict_scale(verdict)
            )
    return {
        judge: measurement
        for judge, scales in scales_by_judge.items()
        if len(scales) == 1
        for measurement in scales
        if measurement is not None
    }


def _judge_name(measurement: Measurement) -> str:
    return str(verdict_detail(measurement).get("name") or measurement.name.removeprefix(JUDGE_PREFIX))


def _iter_outputs(
    number_: int,
    record: TestRecord,
    only: str,
    skipped: Counter[str],
    judges: dict[str, None],
    *,
    usual: Mapping[tuple[str, str], Scale],
) -> Iterator[Output]:
    for place, measurement in enumerate(record.measurements):
        verdict = verdict_detail(measurement)
        if not verdict and not _is_agreement(measurement):
            continue
        name = _judge_name(measurement)
        judges.setdefault(name)
        if only and only != name:
            continue
        why = _why_not_rescorable(measurement)
        if why:
            skipped[why] += 1
            continue
        contexts = measurement.detail.get("contexts", [])
        yield Output(
            record=number_,
            nodeid=record.nodeid,
            answer=_text_or_none(measurement.detail["actual"]),
            question=str(measurement.detail.get("question", "")),
            reference=str(measurement.detail.get("expected", "")),
            contexts=tuple(map(str, contexts)) if isinstance(contexts, Sequence) else (),
            place=place,
            old=measurement,
            usual=usual.get((name, measurement.version)),
        )


def _why_not_rescorable(measurement: Measurement) -> str:
    """Why no score judge can be asked again, or nothing."""
    verdict, detail = verdict_detail(measurement), measurement.detail
    if _is_agreement(measurement):
        return AGREEMENT
    if not measurement.name.startswith(JUDGE_PREFIX):
        return PASSAGES
    if "winner" in verdict:
        return COMPARISON
    if verdict.get("name") == "checklist":
        return CHECKLIST
    if "actual" not in detail or not isinstance(detail["actual"], str | None):
        return NO_ANSWER
    contexts = detail.get("contexts", [])
    texts = [detail.get("question", ""), detail.get("expected", "")]
    listed = list(contexts) if isinstance(contexts, list) else [None]
    return "" if all(isinstance(text, str) for text in [*texts, *listed]) else DAMAGED


def _is_agreement(measurement: Measurement) -> bool:
    return (
        measurement.name.startswith(JUDGE_PREFIX)
        and measurement.name.endswith(".kappa")
        and "actual" not in measurement.detail
    )


def _last_output(number_: int, record: TestRecord) -> Output | None:
    """The last thing the application said in a test; None: it asked nobody."""
    answered_calls = [one for one in record.calls if one.purpose == "app" and _is_answered_conversation(one)]
    if not answered_calls:
        return None
    last, case = answered_calls[-1], record.fact("case")
    user_texts = [one.content for one in last.messages if one.role == "user"]
    question = case.get("input") if "input" in case else user_texts[-1] if user_texts else ""
    reference = case.get("reference")
    return Output(
        record=number_,
        nodeid=record.nodeid,
        answer=last.output or None,
        question=question if isinstance(question, str) else json.dumps(question, ensure_ascii=False),
        reference=reference if isinstance(reference, str) else "",
    )


def _is_answered_conversation(call: Call) -> bool:
    """Whether a call was a conversation that got its answer; of other traffic nothing is known but the address."""
    fine = call.status is None or call.status < 300  # noqa: PLR2004 -- HTTP
    return fine and call.endpoint not in TEXTLESS_ENDPOINTS and bool(call.messages or call.output)


def verdict_detail(measurement: Measurement) -> Mapping[str, Json]:
    """Return what a measurement tells of a judge's verdict; empty: it is none.

    >>> verdict_detail(Measurement(name="text.exact", value=1))
    {}
    """
    verdict = measurement.detail.get("judge")
    return verdict if isinstance(verdict, Mapping) else {}


def verdict_scale(verdict: Mapping[str, Json]) -> Scale | None:
    """Return lowest and highest score, as the report tells of a verdict; None: not known.

    >>> verdict_scale({"low": 1, "high": 10}), verdict_scale({"low": 5, "high": 5})
    ((1.0, 10.0), None)
    """
    low, high = float_or_none(verdict.get("low")), float_or_none(verdict.get("high"))
    return (low, high) if low is not None and high is not None and low < high else None


def float_or_none(value: Json) -> float | None:
    """Return a number of a report as float; None for anything else, and for one that no float can be.

    >>> float_or_none(3), float_or_none(True), float_or_none("3"), float_or_none(10**400)
    (3.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _text_or_none(value: Json) -> str | None:
    return value if isinstance(value, str) else None
