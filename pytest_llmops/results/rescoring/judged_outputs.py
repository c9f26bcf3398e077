"""Collect the outputs of a run that a judge can score again, with their old verdicts.

The "place" of a measurement is its index among the measurements of its test.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.protocols import Call
from pytest_llmops.results.details import CaseFacts, JudgeVerdict, Scale, read_detail
from pytest_llmops.results.run import Run, TestRecord

COMPARISON = "comparison of two answers, which no score judge can score"
CHECKLIST = "checklist, which no rubric can replace"
AGREEMENT = "agreement of a judge with human annotators"
PASSAGES = "verdict on passages, not on an answer"
IMAGES = "verdict on images, which a run does not hold"
NO_ANSWER = "verdict whose answer is not stored"
DAMAGED = "verdict whose question, reference or contexts are not texts"
NO_TEXT = "last call without a text"

JUDGE_PREFIX = "judge."
TEXTLESS_ENDPOINTS = frozenset(
    {"embeddings", "moderations", "rerank"}
)  # endpoints whose answer is not a text


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An answer of the application, with the inputs of its judge.

    Attributes:
        record: Index of its test in the run.
        place: Index of the old measurement in the test; None: the answer was never judged.
        answer: The text; None: the application gave no answer.
        old: The old measurement; None: the answer was never judged.
        usual: The scale that all scores of the old judge in the run have; None: they have none, or several.
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
        """The label of the old measurement, which distinguishes two verdicts of a test; "" if there is none."""
        if self.old is not None:
            return self.old.label
        return ""

    @property
    def verdict(self) -> JudgeVerdict:
        """The old verdict on the judge's own scale; empty if there is none."""
        if self.old is not None:
            return _old_verdict(self.old)
        return JudgeVerdict()

    @property
    def judge(self) -> str:
        """Name of the old judge; "" if there was none."""
        if self.old is not None:
            return judge_name(self.old)
        return ""

    @property
    def scale(self) -> Scale | None:
        """Lowest and highest score of the old judge; None: not known.

        A verdict without a score does not show the scale: its numbers may be defaults.
        """
        if self.verdict.score is None:
            return self.usual
        return self.verdict.scale

    @property
    def threshold(self) -> float | None:
        """The old threshold on the old judge's own scale, even if it did not decide; None: there was none."""
        if self.old is None:
            return None
        undecided = read_detail(self.old).review.undecided
        if undecided is None:
            return self.verdict.threshold
        return undecided

    @property
    def inputs(self) -> tuple[object, ...]:
        """The inputs of a verdict: a judge is called once for equal inputs. The contexts come last."""
        return self.answer, self.question, self.reference, self.contexts


@dataclass(frozen=True, slots=True, kw_only=True)
class RescorableOutputs:
    """The outputs that can be scored, in the order of the run, and how many cannot, by reason.

    Attributes:
        judges: Names of all old judges, even if the selection leaves out their outputs.
        unjudged: How many tests have an answer that no judge scored.
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
    unjudged_count = 0
    usual = _find_usual_scales(run)
    for number, record in enumerate(run.records):
        if text not in record.nodeid:
            continue
        for place in _list_judged_places(record):
            measurement = record.measurements[place]
            name = judge_name(measurement)
            judges.setdefault(name)
            if only not in ("", name):
                continue
            why = _why_not_rescorable(measurement)
            if why:
                skipped[why] += 1
                continue
            scale = usual.get((name, measurement.version))
            collected.append(_build_output(number, record, place, scale))
        last = _find_unjudged_output(number, record)
        if last is None:
            continue
        if last.answer is not None:
            unjudged_count += 1
        if not unjudged or only:
            continue
        if last.answer is None:
            skipped[NO_TEXT] += 1
        else:
            collected.append(last)
    return RescorableOutputs(
        outputs=tuple(collected),
        passed_over=dict(sorted(skipped.items())),
        judges=tuple(judges),
        unjudged=unjudged_count,
    )


def _list_judged_places(record: TestRecord) -> list[int]:
    """Return the indexes of the measurements that hold a judge's verdict, or its agreement with annotators."""
    places = []
    for place, measurement in enumerate(record.measurements):
        if read_detail(measurement).judge is not None or _is_agreement(measurement):
            places.append(place)
    return places


def _find_usual_scales(run: Run) -> dict[tuple[str, str], Scale]:
    """Return the scale of each judge, by name and version; judges with several scales in the run are left out."""
    scales: dict[tuple[str, str], set[Scale | None]] = {}
    for record in run.records:
        for measurement in record.measurements:
            verdict = _old_verdict(measurement)
            if verdict.score is not None:
                judge = (judge_name(measurement), measurement.version)
                scales.setdefault(judge, set()).add(verdict.scale)
    usual = {}
    for judge, (scale, *others) in scales.items():  # no set is empty
        if scale is not None and not others:
            usual[judge] = scale
    return usual


def judge_name(measurement: Measurement) -> str:
    """Return the name of the judge that gave a verdict."""
    return _old_verdict(measurement).name or measurement.name.removeprefix(JUDGE_PREFIX)


def _old_verdict(measurement: Measurement) -> JudgeVerdict:
    """Return the verdict that a measurement stores; an empty verdict if it stores none."""
    return read_detail(measurement).judge or JudgeVerdict()


def _build_output(record_index: int, record: TestRecord, place: int, usual: Scale | None) -> Output:
    measurement = record.measurements[place]
    detail = read_detail(measurement)
    return Output(
        record=record_index,
        nodeid=record.nodeid,
        answer=detail.actual,
        question=detail.question,
        reference=detail.expected or "",
        contexts=detail.contexts,
        place=place,
        old=measurement,
        usual=usual,
    )


def _why_not_rescorable(measurement: Measurement) -> str:
    """Return why the output of a measurement cannot be scored again; "" if it can."""
    if _is_agreement(measurement):
        return AGREEMENT
    if not measurement.name.startswith(JUDGE_PREFIX):
        return PASSAGES
    verdict = _old_verdict(measurement)
    if verdict.is_comparison:
        return COMPARISON
    if verdict.name == "checklist":
        return CHECKLIST
    detail = measurement.detail
    if detail.get("images"):
        return IMAGES
    if not isinstance(detail.get("actual", 0), str | None):
        return NO_ANSWER
    contexts = detail.get("contexts", [])
    if not isinstance(contexts, list):
        return DAMAGED
    texts = [detail.get("question", ""), detail.get("expected", ""), *contexts]
    if not all(isinstance(text, str) for text in texts):
        return DAMAGED
    return ""


def _is_agreement(measurement: Measurement) -> bool:
    """Return whether a measurement is the agreement of a judge with human annotators, not a verdict on an answer."""
    is_kappa = measurement.name.startswith(JUDGE_PREFIX) and measurement.name.endswith(".kappa")
    return is_kappa and "actual" not in measurement.detail


def _find_unjudged_output(number: int, record: TestRecord) -> Output | None:
    """Return the last answer of the application in a test without a judge.

    None if the test has measurements of a judge, or no answered call. The question is the input of the case, else the last
    message of the user.

    Args:
        number: Index of the test in the run.
        record: The test.
    """
    if any(measurement.name.startswith(JUDGE_PREFIX) for measurement in record.measurements):
        return None
    answered = list(filter(_is_answered, record.calls))
    if not answered:
        return None
    last = answered[-1]
    case = CaseFacts.from_wire(record.fact("case"))
    question: Json = ""
    for message in last.messages:
        if message.role == "user":
            question = message.content
    if "input" in record.fact("case"):
        question = case.input
    if not isinstance(question, str):
        question = json.dumps(question, ensure_ascii=False)
    reference = ""
    if isinstance(case.reference, str):
        reference = case.reference
    return Output(
        record=number,
        nodeid=record.nodeid,
        answer=last.output or None,
        question=question,
        reference=reference,
    )


def _is_answered(call: Call) -> bool:
    """Return whether a call belongs to a conversation of the application, and was answered without an error."""
    if call.purpose != "app" or call.endpoint in TEXTLESS_ENDPOINTS:
        return False
    if call.status is not None and call.status >= 300:  # noqa: PLR2004 -- HTTP
        return False
    return bool(call.messages or call.output)
