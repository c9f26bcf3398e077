"""What does a judge say of the answer?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from pytest_llmops import recorder
from pytest_llmops.calibration import standing
from pytest_llmops.calibration.canaries import standing as fitness
from pytest_llmops.errors import UsageError
from pytest_llmops.judges.evaluate import Asked, asked_of, not_asked, texts_of, told_of, verdict_of
from pytest_llmops.judges.protocol.injection_signs import suspicions
from pytest_llmops.measurement import Json, Measurement, finite, shorten
from pytest_llmops.protocols import Hits, Verdict

if TYPE_CHECKING:
    from pytest_llmops.protocols import Judge

AtLeast: TypeAlias = float | Literal["default"] | None

QUOTED = 160


def assert_judge_score(
    answer: str | None,
    *,
    judge: Judge | str,
    question: str = "",
    reference: str = "",
    contexts: Sequence[str] | Hits = (),
    at_least: AtLeast = "default",
    review_below: float | None = None,
    label: str = "",
) -> Measurement:
    """Assert that a judge's score of an answer is at least the threshold.

    One verdict of one judge moves from run to run by itself: keep the threshold well below the usual scores,
    or record only and let a comparison with the baseline decide over all cases.

    Args:
        answer: What is judged. An empty one is scored, low; None (the model said nothing) cannot be.
        judge: An object or a name ("quality").
        question: What was asked, where the judge should know it.
        reference: A right answer; without one the judge goes by what it knows.
        contexts: The passages that the answer was made from, where the judge looks at them ("grounding").
        at_least: On the judge's own scale (7 of 1 to 10); left out: the judge's ``pass_at``; None on
            purpose: record only.
        review_below: Least confidence, 0 to 1, with which the judge decides (a panel's agreement, the certainty of
            a weighted score). Below it the score is recorded only, and flagged for a person.
        label: Tells two assertions of one test apart.

    Returns:
        The measurement ``judge.<name>`` of the judge's version: the score from 0 (lowest of the scale) to
        1 (highest), the threshold likewise. Each dimension is recorded as ``judge.<name>.<dimension>``,
        without a threshold. ``detail["judge"]`` has the verdict on its own scale, and the raw reply;
        ``detail["review"]`` is there where a person should look, ``detail["suspect"]`` where the answer seems to
        speak to its judge. In a `soft` block in which a check has failed, the judge is not asked; what is returned
        then says so in its ``error``, and is no measurement of the test.

    Raises:
        MeasurementFailed: The score is below the threshold.
        MeasurementErrored: There is no answer; or there is no score: the judge could not be asked, gave no
            readable verdict or an impossible one. That is never a low score.
        UsageError: No such judge, a threshold that is not on its scale, or none at all; contexts that the judge
            does not take or needs; ``review_below`` for a judge that gives no confidence.
    """
    __tracebackhide__ = True
    texts_of("assert_judge_score", question=question, reference=reference)
    passages = _passages(contexts)
    if review_below is not None and not 0 <= review_below <= 1:
        raise UsageError(
            f"assert_judge_score: expected review_below to be from 0 to 1 or None, got {review_below!r}"
        )
    asked = asked_of(judge, "assert_judge_score")
    asked.default = at_least == "default"
    threshold = _threshold(at_least, asked)
    if skipped := not_asked(f"judge.{asked.name}", label):
        return skipped
    detail: dict[str, Json] = {"actual": answer, "expected": reference, "question": question}
    if passages:
        detail["contexts"] = passages
    if not isinstance(answer, str):
        with suppress(Exception):  # of a user's judge: there is nothing to judge either way
            asked.look()
        error = f"expected a text, got {type(answer).__name__}"
        return _errored(asked, Verdict(error=error), {**detail, "actual": None}, threshold, label)
    if signs := suspicions(answer):
        detail["suspect"] = signs
    verdict = verdict_of(asked, answer, question, reference, passages)
    if known := standing(asked.judge, asked.name, asked.version, recorder.settings().judge_records):
        detail["calibration"] = known
    if known := fitness(asked.judge, asked.name, asked.version, recorder.settings().judge_records):
        detail["canaries"] = known
    if verdict.error:
        return _errored(asked, verdict, detail, threshold, label)
    threshold = _on_scale(threshold, verdict.low, verdict.high)
    if flag := _review(asked, verdict, review_below):
        return _scored(asked, verdict, {**detail, "review": {**flag, "undecided": threshold}}, None, label)
    return _scored(asked, verdict, detail, threshold, label)


def _passages(contexts: object) -> list[str]:
    given = contexts.texts if isinstance(contexts, Hits) else contexts
    if (
        isinstance(given, str)
        or not isinstance(given, Sequence)
        or not all(isinstance(one, str) for one in given)
    ):
        raise UsageError(
            f"assert_judge_score: expected contexts to be a list of texts or hits, got {type(contexts).__name__}"
        )
    return list(given)


def _review(asked: Asked, verdict: Verdict, least: float | None) -> dict[str, Json]:
    """Why a person should look at the case, or nothing."""
    if least is None or verdict.prescreened:
        return {}
    sure = finite(getattr(verdict, "confidence", None))
    if sure is None:
        raise UsageError(
            f"assert_judge_score: review_below={least:g} needs a confidence, and the judge {asked.name} gives none: "
            "take a panel, or a rubric with `weighted: true`"
        )
    return {"confidence": sure, "least": least} if sure < least else {}


def _threshold(at_least: object, asked: Asked) -> float | None:
    threshold = getattr(asked.judge, "pass_at", None) if at_least == "default" else at_least
    if threshold is None and at_least is not None:
        raise UsageError(
            f"assert_judge_score: the judge {asked.name} has no pass_at: pass at_least= on its own scale, "
            "or at_least=None to record only"
        )
    if threshold is None:
        return None
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not math.isfinite(threshold):
        raise UsageError(f"assert_judge_score: expected at_least to be a number or None, got {threshold!r}")
    low, high = finite(getattr(asked.judge, "low", None)), finite(getattr(asked.judge, "high", None))
    # Where the scale is known before the judge is asked, nothing is paid for a mistake.
    return float(threshold) if low is None or high is None else _on_scale(float(threshold), low, high)


def _on_scale(threshold: float | None, low: float, high: float) -> float | None:
    if threshold is not None and not low <= threshold <= high:
        raise UsageError(
            f"assert_judge_score: expected at_least on the judge's own scale, {low:g} to {high:g}, got {threshold:g}"
        )
    return threshold


def _errored(
    asked: Asked, verdict: Verdict, detail: Mapping[str, Json], threshold: float | None, label: str
) -> Measurement:
    __tracebackhide__ = True
    measurement = Measurement(
        name=f"judge.{asked.name}",
        error=verdict.error,
        label=label,
        version=asked.version,
        detail={**detail, "judge": {**told_of(asked, verdict), "threshold": threshold}},
    )
    line = f"{_title(asked, label)} could not be scored: {shorten(verdict.error)}"
    evidence = [("reply", f'"{shorten(verdict.raw)}"')] if verdict.raw else []
    return recorder.emit(measurement, verdict=line, evidence=evidence)


def _scored(
    asked: Asked, verdict: Verdict, detail: Mapping[str, Json], threshold: float | None, label: str
) -> Measurement:
    __tracebackhide__ = True
    span = verdict.high - verdict.low
    # Items are the answer to one question together: each is in the details, and no measurement of its own.
    dimensions = {} if hasattr(asked.judge, "items") else verdict.dimensions
    for name, score in dimensions.items():
        recorder.emit(
            Measurement(
                name=f"judge.{asked.name}.{name}",
                value=(score - verdict.low) / span,
                label=label,
                version=asked.version,
                detail={key: detail[key] for key in ("calibration",) if key in detail},
            )
        )
    measurement = Measurement(
        name=f"judge.{asked.name}",
        value=verdict.normalised,
        threshold=None if threshold is None else (threshold - verdict.low) / span,
        label=label,
        reason=_undecided(detail) or _reason(verdict),
        version=asked.version,
        detail={**detail, "judge": {**told_of(asked, verdict), "threshold": threshold}},
    )
    line = "" if threshold is None else _line(asked, verdict, threshold, label)
    return recorder.emit(measurement, verdict=line, evidence=_evidence(verdict, detail))


def _undecided(detail: Mapping[str, Json]) -> str:
    flag = detail.get("review")
    if not isinstance(flag, Mapping):
        return ""
    return (
        f"a person should look: the judge's confidence is {flag['confidence']:.2f}, below {flag['least']:g}"
    )


def _reason(verdict: Verdict) -> str:
    if verdict.prescreened:
        return f"{verdict.reason}: scored without asking the judge"
    return f'judge: "{verdict.reason}"' if verdict.reason else ""


def _title(asked: Asked, label: str) -> str:
    return f"judge {shorten(asked.name, 60)}" + (f" [{shorten(label, 60)}]" if label else "")


def _line(asked: Asked, verdict: Verdict, threshold: float, label: str) -> str:
    score, wanted = _apart(cast("float", verdict.score), threshold)
    return f"{_title(asked, label)} {score} < {wanted} (scale {verdict.low:g} to {verdict.high:g})"


def _apart(score: float, threshold: float) -> tuple[str, str]:
    """With as few decimals as tell them apart: 6.996 is not "7 < 7"."""
    for decimals in range(1, 12):
        shown = _figure(score, decimals), _figure(threshold, decimals)
        if shown[0] != shown[1]:
            return shown
    return str(score), str(threshold)


def _figure(number: float, decimals: int = 1) -> str:
    text = f"{number:.{decimals}f}"
    return text.rstrip("0").rstrip(".") or "0"


def _evidence(verdict: Verdict, detail: Mapping[str, Json]) -> list[tuple[str, str]]:
    pairs = []
    if verdict.dimensions:
        scores = (f"{shorten(name, 40)} {_figure(score)}" for name, score in verdict.dimensions.items())
        pairs.append(("scores", ", ".join(scores)))
    pairs.append(("answer", f'"{shorten(str(detail["actual"]), QUOTED)}"'))
    if "suspect" in detail:
        pairs.append(
            (
                "suspect",
                f"it speaks to its judge: {', '.join(map(str, cast('list[str]', detail['suspect'])))}",
            )
        )
    if detail["expected"]:
        pairs.append(("reference", f'"{shorten(str(detail["expected"]), QUOTED)}"'))
    return pairs
