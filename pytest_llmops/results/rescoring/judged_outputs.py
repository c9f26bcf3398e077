"""Collect the outputs of a run that a judge can score again, with their old verdicts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pytest_llmops.measurement import Measurement
from pytest_llmops.results.details import CaseFacts, JudgeVerdict, Scale, read_detail
from pytest_llmops.results.run import Run, TestRecord

COMPARISON = "comparison of two answers, which no score judge can score"
CHECKLIST = "checklist, which no rubric can replace"
AGREEMENT = "agreement of a judge with human annotators"
PASSAGES = "verdict on passages, not on an answer"
NO_ANSWER = "verdict whose answer is not stored"
DAMAGED = "verdict whose question, reference or contexts are not texts"
NO_TEXT = "last call without a text"

JUDGE_PREFIX = "judge."
TEXTLESS_ENDPOINTS = frozenset({"embeddings", "moderations", "rerank"})  # endpoints whose answer is no text


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An answer of the application, with the inputs of its judge.

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
        """Distinguishes two verdicts of a test."""
        return self.old.label if self.old is not None else ""

    @property
    def verdict(self) -> JudgeVerdict:
        """The old verdict on the judge's own scale; empty if there is none."""
        return old_verdict(self.old) if self.old is not None else JudgeVerdict()

    @property
    def judge(self) -> str:
        """Name of the old judge."""
        return _judge_name(self.old) if self.old is not None else ""

    @property
    def model(self) -> str:
        """Model of the old judge."""
        return self.verdict.model

    @property
    def scale(self) -> Scale | None:
        """Lowest and highest score of the old judge; None: not known.

        A verdict without a score does not show the scale: its numbers may be defaults.
        """
        return self.usual if self.verdict.score is None else self.verdict.scale

    @property
    def threshold(self) -> float | None:
        """The old threshold on the old judge's own scale, even if it did not decide; None: there was none."""
        undecided = read_detail(self.old).review.undecided if self.old is not None else None
        return self.verdict.threshold if undecided is None else undecided

    @property
    def inputs(self) -> tuple[object, ...]:
        """What a verdict depends on: for equal inputs a judge is asked once."""
        return self.answer, self.question, self.reference, self.contexts


@dataclass(frozen=True, slots=True, kw_only=True)
class RescorableOutputs:
    """The outputs that can be scored, in the order of the run, and how many cannot, by reason.

    Attributes:
        judges: Names of all old judges, whatever the selection.
        unjudged: Tests whose output was never judged, and could be.
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
        unjudged: Also the last answer of tests without a judge.

    >>> collect_outputs(Run()).outputs
    ()
    """
    collected: list[Output] = []
    skipped: Counter[str] = Counter()
    judges: dict[str, None] = {}
    waiting = 0
    usual = _usual_scales(run)
    for record_index, record in enumerate(run.records):
        if text not in record.nodeid:
            continue
        kept = list(_iter_outputs(record_index, record, only, skipped, judges, usual=usual))
        collected += kept
        if kept or any(measurement.name.startswith(JUDGE_PREFIX) for measurement in record.measurements):
            continue
        last = _last_output(record_index, record)
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
    scales: dict[tuple[str, str], set[Scale | None]] = {}
    for measurement in (measurement for record in run.records for measurement in record.measurements):
        verdict = old_verdict(measurement)
        if verdict.score is not None:
            scales.setdefault((_judge_name(measurement), measurement.version), set()).add(verdict.scale)
    return {
        judge: scale
        for judge, (scale, *others) in ((judge, tuple(values)) for judge, values in scales.items())
        if scale is not None and not others
    }


def _judge_name(measurement: Measurement) -> str:
    return old_verdict(measurement).name or measurement.name.removeprefix(JUDGE_PREFIX)


def old_verdict(measurement: Measurement) -> JudgeVerdict:
    """Return the verdict that a measurement stores; an empty verdict if it stores none."""
    return read_detail(measurement).judge or JudgeVerdict()


def _iter_outputs(
    record_index: int,
    record: TestRecord,
    only: str,
    skipped: Counter[str],
    judges: dict[str, None],
    *,
    usual: Mapping[tuple[str, str], Scale],
) -> Iterator[Output]:
    for place, measurement in enumerate(record.measurements):
        detail = read_detail(measurement)
        if detail.judge is None and not _is_agreement(measurement):
            continue
        name = _judge_name(measurement)
        judges.setdefault(name)
        if only and only != name:
            continue
        why = _why_not_rescorable(measurement, detail.judge or JudgeVerdict())
        if why:
            skipped[why] += 1
            continue
        yield Output(
            record=record_index,
            nodeid=record.nodeid,
            answer=detail.actual,
            question=detail.question,
            reference=detail.expected or "",
            contexts=detail.contexts,
            place=place,
            old=measurement,
            usual=usual.get((name, measurement.version)),
        )


def _why_not_rescorable(measurement: Measurement, verdict: JudgeVerdict) -> str:
    detail = measurement.detail
    if _is_agreement(measurement):
        return AGREEMENT
    if not measurement.name.startswith(JUDGE_PREFIX):
        return PASSAGES
    if verdict.is_comparison:
        return COMPARISON
    if verdict.name == "checklist":
        return CHECKLIST
    if "actual" not in detail or not isinstance(detail["actual"], str | None):
        return NO_ANSWER
    contexts = detail.get("contexts", [])
    texts = [detail.get("question", ""), detail.get("expected", "")]
    texts += contexts if isinstance(contexts, list) else [None]
    return "" if all(isinstance(text, str) for text in texts) else DAMAGED


def _is_agreement(measurement: Measurement) -> bool:
    return (
        measurement.name.startswith(JUDGE_PREFIX)
        and measurement.name.endswith(".kappa")
        and "actual" not in measurement.detail
    )


def _last_output(record_index: int, record: TestRecord) -> Output | None:
    """Return the last answer of the application in a test; None if there was no call."""
    # Of traffic that is no conversation only the address is known.
    answered = [
        call
        for call in record.calls
        if call.purpose == "app"
        and (call.status is None or call.status < 300)  # noqa: PLR2004 -- HTTP
        and call.endpoint not in TEXTLESS_ENDPOINTS
        and (call.messages or call.output)
    ]
    if not answered:
        return None
    last, case = answered[-1], CaseFacts.from_wire(record.fact("case"))
    user_texts = [message.content for message in last.messages if message.role == "user"]
    question = case.input if "input" in record.fact("case") else user_texts[-1] if user_texts else ""
    return Output(
        record=record_index,
        nodeid=record.nodeid,
        answer=last.output or None,
        question=question if isinstance(question, str) else json.dumps(question, ensure_ascii=False),
        reference=case.reference if isinstance(case.reference, str) else "",
    )
