"""Assert that a judge's score of an answer or a conversation reaches a threshold, or that an answer fulfils a checklist."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from pytest_llmops import recorder
from pytest_llmops._util.framework_objects import read_answer
from pytest_llmops.assertions._arguments import parse_share_threshold
from pytest_llmops.assertions._evidence import MAX_EVIDENCE_CHARS, quote_text
from pytest_llmops.assertions._judged import (
    LEFT_OUT,
    JudgeInputs,
    judge_title,
    list_findings,
    parse_judge_inputs,
    quote_answer,
    refuse_mapping,
)
from pytest_llmops.cases import Case
from pytest_llmops.errors import UsageError
from pytest_llmops.judges.calibration.canaries import describe_judge
from pytest_llmops.judges.conversation import Conversation, is_trace, read_conversation
from pytest_llmops.judges.evaluate import (
    JudgeHandle,
    judge_answer,
    resolve_judge,
    skipped_measurement,
    takes_contexts,
    verdict_to_json,
)
from pytest_llmops.judges.item_judges import Checklist
from pytest_llmops.judges.protocol.images import GivenImage, read_images
from pytest_llmops.judges.protocol.injection_signs import find_injection_signs
from pytest_llmops.measurement import Json, Measurement, as_finite_float, shorten_text
from pytest_llmops.protocols import Hits, Judge, Message, Model, Verdict

__tracebackhide__ = True

AtLeast: TypeAlias = float | Literal["default"] | None

MAX_TURNS = 50  # answers of a conversation that a judge grades one by one


def assert_judge_score(
    answer: object,
    *,
    judge: Judge | str | Path,
    case: Case | None = None,
    question: str = LEFT_OUT,
    reference: str = LEFT_OUT,
    contexts: Sequence[object] | Hits = LEFT_OUT,
    images: Sequence[GivenImage] = (),
    at_least: AtLeast = "default",
    review_below: float | None = None,
    label: str = "",
) -> Measurement:
    """Assert that a judge's score of an answer or of a conversation reaches a threshold.

    A single verdict varies from run to run. Keep the threshold well below the usual scores, or only record the scores
    and let the comparison with the baseline decide over all cases.

    Args:
        answer: The answer: a text, the response of an SDK, a list of messages, or the calls of a test (``llm_calls``,
            or one of them). An empty answer gets a low score. None, as after a tool call, gives no score. A judge of
            conversations gets all messages. Any other judge is called for each answer in a list of messages (in calls
            only for the last), with the messages before it as the question.
        judge: An object, a built-in name ("quality", "goal"), or the path of a judge file.
        case: A case. Its input, reference and ``contexts`` are used where the next three arguments are left out.
        question: The question, where the judge should know it.
        reference: A good answer. Without it the judge relies on its own knowledge.
        contexts: The passages from which the answer was made, where the judge reads them ("grounding").
        images: Images of the question or the answer, for a `Rubric` or a panel of rubrics whose model accepts images:
            paths, bytes, or addresses with ``https:`` or ``data:``. At most 20 MB of PNG, JPEG, GIF or WebP.
        at_least: The threshold on the judge's own scale (7 of 1 to 10). Left out: the judge's ``pass_at``. None: record
            only.
        review_below: The lowest confidence, 0 to 1, with which the judge decides (a panel's agreement, the certainty of
            a weighted score). Below it the score is only recorded, and flagged for a person.
        label: Distinguishes several uses in one test.

    Returns:
        The measurement ``judge.<name>`` of the judge's version: the score from 0 (lowest of the scale) to 1 (highest),
        with the threshold on the same range. Each dimension is recorded as ``judge.<name>.<dimension>``, with a
        threshold if the rubric's ``pass_at`` has one. ``detail["judge"]`` has the verdict on its own scale, and the raw
        reply. ``detail["review"]`` is present if a person should look, ``detail["suspect"]`` if the answer seems to
        influence its judge. With several answers each has a measurement (its label ends in ``turn 2``), and the worst
        is returned. In a `soft` block in which a check has failed, the judge is not called. The result then has an
        ``error`` and does not belong to the test.

    Raises:
        MeasurementFailed: The score of an answer or of a dimension is below the threshold.
        MeasurementErrored: The answer is None. The conversation is empty, cannot be read, or does not end with the
            assistant. Or the judge gave no score: it could not be called, or its reply is not a valid verdict.
        UsageError: The answer is a mapping and not a message, the judge does not exist, the threshold is missing or not
            on its scale, or the judge does not accept these contexts or images. Or ``review_below`` is given for a
            judge without confidence.

    Example::

        @pytest.mark.cases("cases/refunds.jsonl")
        def test_tone(llm, case):
            answer = llm.complete(case.input)
            assert_judge_score(answer, judge="judges/tone.md", case=case, at_least=3)
    """
    if review_below is not None and not 0 <= review_below <= 1:
        raise UsageError(
            f"assert_judge_score: expected review_below to be from 0 to 1 or None, got {review_below!r}"
        )
    refuse_mapping("assert_judge_score", answer)
    inputs = parse_judge_inputs("assert_judge_score", case, question, reference, contexts)
    inputs = replace(inputs, images=read_images(images, "assert_judge_score"))
    handle = resolve_judge(judge, "assert_judge_score")
    handle.default = at_least == "default"
    threshold = _resolve_threshold(at_least, handle)
    return _judge(handle, answer, inputs, threshold, label=label, review_below=review_below)


def assert_checklist(
    answer: object,
    items: Sequence[str],
    *,
    model: Model | None = None,
    case: Case | None = None,
    question: str = LEFT_OUT,
    reference: str = LEFT_OUT,
    contexts: Sequence[object] | Hits = LEFT_OUT,
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    """Assert that an answer fulfils a checklist. A judge decides yes or no for each item.

    Judges agree better on named items than on a scale, and a failure names the missing ones. An item is a visible
    property of the answer ("states the refund window"), not a virtue ("is helpful").

    Args:
        answer: As for `assert_judge_score`. An empty answer fulfils no item. None, as after a tool call, gives no
            score.
        items: One to fifty items of a few words each.
        model: The judge model. None: the judge model of the settings.
        case: A case. Its input, reference and ``contexts`` are used where the next three arguments are left out.
        question: The question, where the items need it.
        reference: A good answer, where the items need it.
        contexts: The passages from which the answer was made, where the items need them.
        at_least: The share of the items, 0 to 1, by default all. None: record only.
        label: Distinguishes two checklists of one test.

    Returns:
        The measurement ``judge.checklist`` of the judge's version: the share of items that the answer fulfils, 0 to 1.
        ``detail["judge"]["dimensions"]`` has 1 or 0 for each. ``detail["suspect"]`` is present if the answer seems to
        influence its judge.

    Raises:
        MeasurementFailed: Too few items are fulfilled. The message names the missing ones.
        MeasurementErrored: The answer is None, or the judge could not be called or gave no readable verdict.
        UsageError: The answer is a mapping and not a message, the list of items is empty, or the threshold is not a
            share.

    Example::

        assert_checklist(answer, ["states the refund window", "names the form"], at_least=1.0)
    """
    refuse_mapping("assert_checklist", answer)
    inputs = parse_judge_inputs("assert_checklist", case, question, reference, contexts)
    threshold = parse_share_threshold("assert_checklist", at_least)
    handle = JudgeHandle(Checklist(items, model), "checklist")
    return _judge(handle, answer, inputs, threshold, label=label)


def _judge(
    handle: JudgeHandle,
    answer: object,
    inputs: JudgeInputs,
    threshold: float | None,
    *,
    label: str,
    review_below: float | None = None,
) -> Measurement:
    """Ask a judge about an answer, or each answer of a conversation; emit the measurements and return the worst."""
    skipped = skipped_measurement(f"judge.{handle.name}", label)
    if skipped:
        return skipped
    if "contexts" in inputs.from_case and not takes_contexts(handle.judge):
        inputs = replace(inputs, contexts=[])
    try:
        answers = _list_answers(handle.judge, answer, inputs)
    except ValueError as error:
        with suppress(Exception):  # of a user's judge: there is nothing to judge either way
            handle.read_version()
        unjudged = _JudgedAnswer(handle, inputs, threshold, label, None)
        emission = unjudged.describe_error(Verdict(error=str(error)))
        return recorder.emit_together([emission])[0]
    emissions: list[recorder.Emission] = []
    for number, (text, answer_inputs) in enumerate(answers, start=1):
        answer_label = label
        if len(answers) > 1:
            answer_label = f"{label} turn {number}".strip()
        judged_answer = _JudgedAnswer(handle, answer_inputs, threshold, answer_label, text)
        emissions += judged_answer.score(review_below)
    measurements = recorder.emit_together(emissions)
    score_name = f"judge.{handle.name}"
    scores = [measurement for measurement in measurements if measurement.name == score_name]
    # There is a score for each answer, and at least one answer.
    return min(scores, key=_value_or_lowest)


def _value_or_lowest(measurement: Measurement) -> float:
    """Return the value of a measurement; -1.0, less than any score, if it has none."""
    if measurement.value is None:
        return -1.0
    return measurement.value


def _list_answers(judge: Judge, answer: object, inputs: JudgeInputs) -> list[tuple[str, JudgeInputs]]:
    """Return the answers to judge, at least one, each with its inputs.

    A judge of conversations gets one "answer", the whole conversation. Otherwise each answer of a conversation gets the
    messages before it as its question, unless the assertion has a question of its own.

    Raises:
        ValueError: The answer is missing, or the judge cannot judge it.
    """
    conversation = read_conversation(answer)
    if conversation is None:
        text = read_answer(answer)
    else:
        text = conversation
    if not isinstance(text, str):
        raise ValueError(f"expected a text, got {type(text).__name__}")
    if _judges_conversations(judge):
        if conversation is None:
            conversation = _make_conversation(inputs.question, text)
        return [(conversation, inputs)]
    if conversation is None:
        return [(text, inputs)]
    numbers = conversation.find_answers()
    if is_trace(answer):
        numbers = numbers[-1:]
    if not 0 < len(numbers) <= MAX_TURNS:
        raise ValueError(
            f"expected 1 to {MAX_TURNS} answers to judge one by one, got {len(numbers)}: pass a part of the "
            "conversation, or take a rubric with `judges: conversation`"
        )
    has_own_question = bool(inputs.question) and "question" not in inputs.from_case
    answers = []
    for number in numbers:
        turn_inputs = inputs
        if not has_own_question:
            question = conversation.before(number) or inputs.question
            turn_inputs = replace(inputs, question=question)
        answers.append((conversation.messages[number].content, turn_inputs))
    return answers


def _judges_conversations(judge: Judge) -> bool:
    """Return whether a judge, or each judge of a panel, judges whole conversations."""
    judges = [judge]
    panel = getattr(judge, "judges", ())
    if isinstance(panel, (list, tuple)) and panel:
        judges = list(panel)
    units = {getattr(judge, "judged", "turn") for judge in judges}
    if len(units) > 1:
        raise UsageError("assert_judge_score: expected a panel that judges turns or conversations, got both")
    return units == {"conversation"}


def _make_conversation(question: str, answer: str) -> Conversation:
    """Return a conversation of a question and an answer.

    The answer is always a single message, even if its text looks like a conversation.
    """
    messages = [Message("assistant", answer)]
    if question:
        messages.insert(0, Message("user", question))
    return Conversation(messages)


def _resolve_threshold(at_least: object, judge_handle: JudgeHandle) -> float | None:
    """Return the threshold on the judge's own scale; None only if None was given, to record only.

    Raises:
        UsageError: The threshold is missing, or it is not a number on the scale.
    """
    if at_least == "default":
        threshold = getattr(judge_handle.judge, "pass_at", None)
    else:
        threshold = at_least
    if threshold is None and at_least is None:
        return None
    if threshold is None:
        raise UsageError(
            f"assert_judge_score: the judge {judge_handle.name} has no pass_at: pass at_least= on its own scale, "
            "or at_least=None to record only"
        )
    is_number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
    if not is_number or not math.isfinite(threshold):
        raise UsageError(f"assert_judge_score: expected at_least to be a number or None, got {threshold!r}")
    low = as_finite_float(getattr(judge_handle.judge, "low", None))
    high = as_finite_float(getattr(judge_handle.judge, "high", None))
    if low is not None and high is not None:
        # If the scale is known before the judge is called, a mistake costs nothing.
        _check_on_scale(threshold, low, high)
    return float(threshold)


def _check_on_scale(threshold: float | None, low: float, high: float) -> None:
    """Raise a `UsageError` if a threshold is not on the scale of a judge."""
    if threshold is not None and not low <= threshold <= high:
        scale = f"{low:g} to {high:g}"
        raise UsageError(
            f"assert_judge_score: expected at_least on the judge's own scale, {scale}, got {threshold:g}"
        )


@dataclass(slots=True)
class _JudgedAnswer:
    """An answer with its judge, from which the measurements are built.

    Attributes:
        handle: The judge.
        inputs: The inputs of the judge besides the answer.
        threshold: On the judge's own scale; a flag for review sets it to None.
        label: Label of the measurements.
        text: The answer; None if there is none: then only `describe_error` may be called.
        detail: What all measurements share; grows while the answer is scored.
    """

    handle: JudgeHandle
    inputs: JudgeInputs
    threshold: float | None
    label: str
    text: str | None
    detail: dict[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.detail = self.inputs.to_detail(self.text)

    @property
    def title(self) -> str:
        return judge_title(self.handle.name, self.label)

    def score(self, review_below: float | None) -> list[recorder.Emission]:
        """Ask the judge; return a measurement for each dimension, and the measurement of the score last.

        Without a score there is only a single measurement, an error.
        """
        text = cast("str", self.text)
        signs = find_injection_signs(getattr(text, "said", text))
        if signs:
            self.detail["suspect"] = signs
        inputs = self.inputs
        verdict = judge_answer(
            self.handle, text, inputs.question, inputs.reference, inputs.contexts, images=inputs.images
        )
        handle = self.handle
        records = recorder.current_settings().judge_records
        self.detail |= describe_judge(handle.judge, handle.name, handle.version, records)
        if verdict.error:
            return [self.describe_error(verdict)]
        _check_on_scale(self.threshold, verdict.low, verdict.high)
        self._flag_for_review(verdict, review_below)
        emissions = []
        for name, score in self._own_dimensions(verdict).items():
            emissions.append(self._describe_dimension(verdict, name, score))
        emissions.append(self._describe_score(verdict))
        return emissions

    def _own_dimensions(self, verdict: Verdict) -> Mapping[str, float]:
        """Return the scores that are measurements of their own; the items of a checklist are only in the detail."""
        if hasattr(self.handle.judge, "items"):
            return {}
        return verdict.dimensions

    def _flag_for_review(self, verdict: Verdict, least: float | None) -> None:
        """Drop the threshold and add a flag to the detail, if the judge's confidence is below ``least``."""
        if least is None or verdict.prescreened:
            return
        confidence = as_finite_float(getattr(verdict, "confidence", None))
        if confidence is None:
            raise UsageError(
                f"assert_judge_score: review_below={least:g} needs a confidence, and the judge {self.handle.name} gives none: "
                "take a panel"
            )
        if confidence < least:
            self.detail["review"] = {"confidence": confidence, "least": least, "undecided": self.threshold}
            self.threshold = None

    def _build(self, name: str, detail: Mapping[str, Json], **fields: Any) -> Measurement:
        return Measurement(
            name=f"judge.{name}", label=self.label, version=self.handle.version, detail=detail, **fields
        )

    def _build_detail(self, verdict: Verdict) -> dict[str, Json]:
        judge = verdict_to_json(self.handle, verdict)
        judge["threshold"] = self.threshold
        return {**self.detail, "judge": judge}

    def describe_error(self, verdict: Verdict) -> recorder.Emission:
        """Return the measurement of an answer without a score."""
        evidence = []
        if verdict.raw:
            evidence.append(("reply", quote_text(verdict.raw, MAX_EVIDENCE_CHARS)))
        detail = self._build_detail(verdict)
        measurement = self._build(self.handle.name, detail, error=verdict.error)
        error = shorten_text(verdict.error)
        return recorder.Emission(
            measurement=measurement, verdict=f"{self.title} gave no score: {error}", evidence=evidence
        )

    def _describe_dimension(self, verdict: Verdict, name: str, score: float) -> recorder.Emission:
        """Return the measurement of a dimension; it has a threshold only if the judge's own thresholds are used."""
        threshold = None
        if self.handle.default and self.threshold is not None:
            thresholds = getattr(self.handle.judge, "dimension_thresholds", {})
            threshold = thresholds.get(name)
        detail: dict[str, Json] = {"scale": [verdict.low, verdict.high]}
        if "calibration" in self.detail:
            detail["calibration"] = self.detail["calibration"]
        full_name = f"{self.handle.name}.{name}"
        value = _normalize(score, verdict)
        normalized_threshold = _normalize(threshold, verdict)
        measurement = self._build(full_name, detail, value=value, threshold=normalized_threshold)
        if threshold is None:
            return recorder.Emission(measurement=measurement)
        title = f"{self.title}: {shorten_text(name, 40)}"
        failure = _compare(title, score, threshold, verdict)
        evidence = [("reason", verdict.reason), ("answer", self._quote_answer())]
        return recorder.Emission(measurement=measurement, verdict=failure, evidence=evidence)

    def _describe_score(self, verdict: Verdict) -> recorder.Emission:
        """Return the measurement of the score; the verdict has one."""
        reason = ""
        flag = self.detail.get("review")
        if isinstance(flag, Mapping):
            confidence = flag["confidence"]
            least = flag["least"]
            reason = f"a person should look: the judge's confidence is {confidence:.2f}, below {least:g}"
        elif verdict.prescreened:
            reason = f"{verdict.reason}: scored without a call of the judge"
        elif verdict.reason:
            reason = f'judge: "{verdict.reason}"'
        detail = self._build_detail(verdict)
        threshold = _normalize(self.threshold, verdict)
        measurement = self._build(
            self.handle.name, detail, value=verdict.normalized, threshold=threshold, reason=reason
        )
        failure = self._format_item_count(verdict)
        if not failure:
            score = cast("float", verdict.score)
            failure = _compare(self.title, score, self.threshold, verdict)
        return recorder.Emission(
            measurement=measurement, verdict=failure, evidence=self._list_evidence(verdict)
        )

    def _format_item_count(self, verdict: Verdict) -> str:
        """Return the first line of a failure for a checklist or policy; "" for another judge, or without a threshold."""
        if not hasattr(self.handle.judge, "items") or self.threshold is None:
            return ""
        if self.threshold == 1:
            wanted = "all"
        else:
            wanted = f"{self.threshold:.0%}"
        if "broken" in getattr(self.handle.judge, "answers", ()):
            what = "rules kept"
        else:
            what = "items"
        scores = verdict.dimensions.values()
        passed = sum(map(bool, scores))
        return f"{self.title}: {passed} of {len(scores)} {what}, expected {wanted}"

    def _list_evidence(self, verdict: Verdict) -> list[tuple[str, str]]:
        """Return the scores of the dimensions, the judge's findings, the answer and the reference."""
        evidence = []
        dimensions = self._own_dimensions(verdict)
        if dimensions:
            scores = []
            for name, score in dimensions.items():
                short_name = shorten_text(name, 40)
                scores.append(f"{short_name} {_format_decimals(score)}")
            evidence.append(("scores", ", ".join(scores)))
        evidence += list_findings(self.handle.judge, verdict)
        evidence.append(("answer", self._quote_answer()))
        signs = cast("list[str]", self.detail.get("suspect", []))
        if signs:
            listed = ", ".join(map(str, signs))
            evidence.append(("suspect", f"it speaks to its judge: {listed}"))
        if self.inputs.reference:
            evidence.append(("reference", quote_answer(self.inputs.reference)))
        return evidence

    def _quote_answer(self) -> str:
        messages = getattr(self.text, "messages", ())
        if messages:
            return quote_answer(messages[-1].content)
        return quote_answer(str(self.text))


def _normalize(score: float | None, verdict: Verdict) -> float | None:
    """Return a score on the judge's own scale as a share from 0 to 1; None for None."""
    if score is None:
        return None
    return (score - verdict.low) / (verdict.high - verdict.low)


def _compare(title: str, score: float, threshold: float | None, verdict: Verdict) -> str:
    """Return the first line of a failure, on the judge's own scale; "" without a threshold."""
    if threshold is None:
        return ""
    reached = str(score)
    wanted = str(threshold)
    # With enough decimals to differ: 6.996 is not "7 < 7".
    for decimals in range(1, 12):
        pair = (_format_decimals(score, decimals), _format_decimals(threshold, decimals))
        if pair[0] != pair[1]:
            reached, wanted = pair
            break
    scale = f"{verdict.low:g} to {verdict.high:g}"
    return f"{title} {reached} < {wanted} (scale {scale})"


def _format_decimals(number: float, decimals: int = 1) -> str:
    text = f"{number:.{decimals}f}"
    return text.rstrip("0").rstrip(".") or "0"
