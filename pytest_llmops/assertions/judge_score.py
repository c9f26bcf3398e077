"""Assert that a judge's score of an answer reaches a threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from pytest_llmops import recorder
from pytest_llmops.calibration.canaries import describe_judge
from pytest_llmops.errors import UsageError
from pytest_llmops.judges.evaluate import (
    JudgeHandle,
    check_texts,
    judge_answer,
    resolve_judge,
    skipped_measurement,
    verdict_to_json,
)
from pytest_llmops.judges.protocol.injection_signs import find_injection_signs
from pytest_llmops.measurement import Json, Measurement, as_finite_float, label_suffix, shorten_text
from pytest_llmops.protocols import Hits, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llmops.protocols import Judge

AtLeast: TypeAlias = float | Literal["default"] | None

MAX_QUOTED_CHARS = 160


def assert_judge_score(
    answer: str | None,
    *,
    judge: Judge | str | Path,
    question: str = "",
    reference: str = "",
    contexts: Sequence[str] | Hits = (),
    at_least: AtLeast = "default",
    review_below: float | None = None,
    label: str = "",
) -> Measurement:
    """Assert that a judge's score of an answer is at least the threshold.

    A single verdict varies from run to run: keep the threshold well below the usual scores, or record only and let a
    comparison with the baseline decide over all cases.

    Args:
        answer: What is judged. An empty answer is scored, low; None (the model said nothing) cannot be.
        judge: An object, a built-in name ("quality"), or the path of a judge file.
        question: What was asked, where the judge should know it.
        reference: A right answer; without it the judge relies on what it knows.
        contexts: The passages that the answer was made from, where the judge looks at them ("grounding").
        at_least: On the judge's own scale (7 of 1 to 10); left out: the judge's ``pass_at``; None on
            purpose: record only.
        review_below: Least confidence, 0 to 1, with which the judge decides (a panel's agreement, the certainty of
            a weighted score). Below it the score is recorded only, and flagged for a person.
        label: Distinguishes two assertions of a test.

    Returns:
        The measurement ``judge.<name>`` of the judge's version: the score from 0 (lowest of the scale) to
        1 (highest), the threshold likewise. Each dimension is recorded as ``judge.<name>.<dimension>``,
        without a threshold. ``detail["judge"]`` has the verdict on its own scale, and the raw reply;
        ``detail["review"]`` is there if a person should look, ``detail["suspect"]`` if the answer seems to
        influence its judge. In a `soft` block in which a check has failed, the judge is not asked; what is returned
        then says so in its ``error``, and is no measurement of the test.

    Raises:
        MeasurementFailed: The score is below the threshold.
        MeasurementErrored: There is no answer; or there is no score: the judge could not be asked, gave no
            readable verdict, or an impossible score. That is never a low score.
        UsageError: No such judge, a threshold that is not on its scale, or none at all; contexts that the judge
            does not take or needs; ``review_below`` for a judge that gives no confidence.
    """
    __tracebackhide__ = True
    check_texts("assert_judge_score", question=question, reference=reference)
    given: object = contexts.texts if isinstance(contexts, Hits) else contexts
    passages: list[Any] = (
        list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [None]
    )
    if not all(isinstance(text, str) for text in passages):
        kind = type(contexts).__name__
        raise UsageError(f"assert_judge_score: expected contexts to be a list of texts or hits, got {kind}")
    if review_below is not None and not 0 <= review_below <= 1:
        raise UsageError(
            f"assert_judge_score: expected review_below to be from 0 to 1 or None, got {review_below!r}"
        )
    judge_handle = resolve_judge(judge, "assert_judge_score")
    judge_handle.default = at_least == "default"
    threshold = _resolve_threshold(at_least, judge_handle)
    if skipped := skipped_measurement(f"judge.{judge_handle.name}", label):
        return skipped
    scored = _JudgedAnswer(handle=judge_handle, threshold=threshold, label=label)
    scored.detail |= {"actual": answer, "expected": reference, "question": question}
    if passages:
        scored.detail["contexts"] = passages
    if not isinstance(answer, str):
        with suppress(Exception):  # of a user's judge: there is nothing to judge either way
            judge_handle.read_version()
        scored.detail["actual"] = None
        return scored.emit_error(Verdict(error=f"expected a text, got {type(answer).__name__}"))
    if signs := find_injection_signs(answer):
        scored.detail["suspect"] = signs
    verdict = judge_answer(judge_handle, answer, question, reference, passages)
    records = recorder.current_settings().judge_records
    scored.detail |= describe_judge(judge_handle.judge, judge_handle.name, judge_handle.version, records)
    if verdict.error:
        return scored.emit_error(verdict)
    _check_on_scale(threshold, verdict.low, verdict.high)
    scored.flag_for_review(verdict, review_below)
    return scored.emit_score(verdict)


def _resolve_threshold(at_least: object, judge_handle: JudgeHandle) -> float | None:
    threshold = getattr(judge_handle.judge, "pass_at", None) if at_least == "default" else at_least
    if threshold is None and at_least is not None:
        raise UsageError(
            f"assert_judge_score: the judge {judge_handle.name} has no pass_at: pass at_least= on its own scale, "
            "or at_least=None to record only"
        )
    if threshold is None:
        return None
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not math.isfinite(threshold):
        raise UsageError(f"assert_judge_score: expected at_least to be a number or None, got {threshold!r}")
    low = as_finite_float(getattr(judge_handle.judge, "low", None))
    high = as_finite_float(getattr(judge_handle.judge, "high", None))
    if low is not None and high is not None:
        # If the scale is known before the judge is called, a mistake costs nothing.
        _check_on_scale(threshold, low, high)
    return float(threshold)


def _check_on_scale(threshold: float | None, low: float, high: float) -> None:
    if threshold is not None and not low <= threshold <= high:
        raise UsageError(
            f"assert_judge_score: expected at_least on the judge's own scale, {low:g} to {high:g}, got {threshold:g}"
        )


@dataclass(slots=True, kw_only=True)
class _JudgedAnswer:
    """An answer with its judge, and what the measurement says of both."""

    handle: JudgeHandle
    threshold: float | None
    label: str
    detail: dict[str, Json] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"judge {shorten_text(self.handle.name, 60)}{label_suffix(self.label)}"

    def build_detail(self, verdict: Verdict) -> dict[str, Json]:
        return {
            **self.detail,
            "judge": {**verdict_to_json(self.handle, verdict), "threshold": self.threshold},
        }

    def flag_for_review(self, verdict: Verdict, least: float | None) -> None:
        """Record only, and ask for a review, if the judge's confidence is below ``least``."""
        if least is None or verdict.prescreened:
            return
        confidence = as_finite_float(getattr(verdict, "confidence", None))
        if confidence is None:
            raise UsageError(
                f"assert_judge_score: review_below={least:g} needs a confidence, and the judge {self.handle.name} gives none: "
                "take a panel, or a rubric with `weighted: true`"
            )
        if confidence < least:
            self.detail["review"] = {"confidence": confidence, "least": least, "undecided": self.threshold}
            self.threshold = None

    def emit_error(self, verdict: Verdict) -> Measurement:
        __tracebackhide__ = True
        measurement = Measurement(
            name=f"judge.{self.handle.name}",
            error=verdict.error,
            label=self.label,
            version=self.handle.version,
            detail=self.build_detail(verdict),
        )
        line = f"{self.title} could not be scored: {shorten_text(verdict.error)}"
        evidence = [("reply", f'"{shorten_text(verdict.raw)}"')] if verdict.raw else []
        return recorder.emit(measurement, verdict=line, evidence=evidence)

    def emit_score(self, verdict: Verdict) -> Measurement:
        """Emit the score, and without a threshold each of its dimensions."""
        __tracebackhide__ = True
        span = verdict.high - verdict.low
        # The items of a checklist are in the detail, and no measurements of their own.
        dimensions = {} if hasattr(self.handle.judge, "items") else verdict.dimensions
        for name, score in dimensions.items():
            recorder.emit(
                Measurement(
                    name=f"judge.{self.handle.name}.{name}",
                    value=(score - verdict.low) / span,
                    label=self.label,
                    version=self.handle.version,
                    detail={key: self.detail[key] for key in ("calibration",) if key in self.detail},
                )
            )
        reason = f'judge: "{verdict.reason}"' if verdict.reason else ""
        if verdict.prescreened:
            reason = f"{verdict.reason}: scored without asking the judge"
        if isinstance(flag := self.detail.get("review"), Mapping):
            figures = f"{flag['confidence']:.2f}, below {flag['least']:g}"
            reason = f"a person should look: the judge's confidence is {figures}"
        threshold, line = self.threshold, ""
        if threshold is not None:
            reached, wanted = _format_distinct_scores(cast("float", verdict.score), threshold)
            line = f"{self.title} {reached} < {wanted} (scale {verdict.low:g} to {verdict.high:g})"
        measurement = Measurement(
            name=f"judge.{self.handle.name}",
            value=verdict.normalized,
            threshold=None if threshold is None else (threshold - verdict.low) / span,
            label=self.label,
            reason=reason,
            version=self.handle.version,
            detail=self.build_detail(verdict),
        )
        return recorder.emit(measurement, verdict=line, evidence=self.score_evidence(verdict))

    def score_evidence(self, verdict: Verdict) -> list[tuple[str, str]]:
        pairs = []
        if verdict.dimensions:
            scores = [
                f"{shorten_text(name, 40)} {_format_decimals(score)}"
                for name, score in verdict.dimensions.items()
            ]
            pairs.append(("scores", ", ".join(scores)))
        pairs.append(("answer", f'"{shorten_text(str(self.detail["actual"]), MAX_QUOTED_CHARS)}"'))
        if "suspect" in self.detail:
            signs = ", ".join(map(str, cast("list[str]", self.detail["suspect"])))
            pairs.append(("suspect", f"it speaks to its judge: {signs}"))
        if self.detail["expected"]:
            pairs.append(("reference", f'"{shorten_text(str(self.detail["expected"]), MAX_QUOTED_CHARS)}"'))
        return pairs


def _format_distinct_scores(score: float, threshold: float) -> tuple[str, str]:
    """Return a score and its threshold with enough decimals to differ: 6.996 is not "7 < 7"."""
    for decimals in range(1, 12):
        pair = _format_decimals(score, decimals), _format_decimals(threshold, decimals)
        if pair[0] != pair[1]:
            return pair
    return str(score), str(threshold)


def _format_decimals(number: float, decimals: int = 1) -> str:
    text = f"{number:.{decimals}f}"
    return text.rstrip("0").rstrip(".") or "0"
