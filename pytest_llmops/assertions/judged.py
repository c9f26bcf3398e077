"""What does a judge say of the answer?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, SupportsFloat, TypeAlias, cast

from pytest_llmops import recorder
from pytest_llmops.errors import UsageError, told
from pytest_llmops.measurement import Json, Measurement, shorten
from pytest_llmops.protocols import Verdict

if TYPE_CHECKING:
    from pytest_llmops.protocols import Judge

Bound: TypeAlias = float | Literal["default"] | None

QUOTED = 160


def assert_judge_score(
    answer: str | None,
    *,
    judge: Judge | str,
    question: str = "",
    reference: str = "",
    at_least: Bound = "default",
    label: str = "",
) -> Measurement:
    """Assert that a judge's score of an answer is at least the bound.

    One verdict of one judge moves from run to run by itself: keep the bound well below the usual scores,
    or record only and let a comparison with the baseline decide over all cases.

    Args:
        answer: What is judged. An empty one is scored, low; None (the model said nothing) cannot be.
        judge: An object or a name ("quality").
        question: What was asked, where the judge should know it.
        reference: A right answer; without one the judge goes by what it knows.
        at_least: On the judge's own scale (7 of 1 to 10); left out: the judge's ``pass_at``; None on
            purpose: record only.
        label: Tells two assertions of one test apart.

    Returns:
        The measurement ``judge.<name>`` of the judge's version: the score from 0 (lowest of the scale) to
        1 (highest), the bound likewise. Each dimension is recorded as ``judge.<name>.<dimension>``,
        without a bound. ``detail["judge"]`` has the verdict on its own scale, and the raw reply.

    Raises:
        MeasurementFailed: The score is below the bound.
        MeasurementErrored: There is no answer; or there is no score: the judge could not be asked, gave no
            readable verdict or an impossible one. That is never a low score.
        UsageError: No such judge, a bound that is not on its scale, or none at all.
    """
    __tracebackhide__ = True
    for what, text in (("question", question), ("reference", reference)):
        if not isinstance(text, str):
            raise UsageError(f"assert_judge_score: expected {what} to be a text, got {type(text).__name__}")
    asked = _judge(judge)
    bound = _bound(at_least, asked)
    detail: dict[str, Json] = {"actual": answer, "expected": reference, "question": question}
    if not isinstance(answer, str):
        error = f"expected a text, got {type(answer).__name__}"
        return _errored(asked, Verdict(error=error), {**detail, "actual": None}, bound, label)
    verdict = _verdict_of(asked, answer, question, reference)
    recorder.note({"judge": {"name": asked.name, "version": asked.version, "model": asked.model}})
    if verdict.error:
        return _errored(asked, verdict, detail, bound, label)
    return _scored(asked, verdict, detail, _on_scale(bound, verdict.low, verdict.high), label)


@dataclass(slots=True)
class _Asked:
    """A judge, and what is told of it; version and model are only known once it was asked."""

    judge: Judge
    name: str
    version: str = ""
    model: str = ""


def _judge(given: object) -> _Asked:
    found = recorder.lookup("judge", given) if isinstance(given, str) else given
    if not callable(getattr(found, "judge", None)):
        raise UsageError(
            "assert_judge_score: expected a judge, an object with judge(answer, *, question, reference), "
            f"got {type(found).__name__}"
        )
    name = getattr(found, "name", "") or type(found).__name__
    return _Asked(cast("Judge", found), str(name))


def _bound(at_least: object, asked: _Asked) -> float | None:
    bound = getattr(asked.judge, "pass_at", None) if at_least == "default" else at_least
    if bound is None and at_least is not None:
        raise UsageError(
            f"assert_judge_score: the judge {asked.name} has no pass_at: pass at_least= on its own scale, "
            "or at_least=None to record only"
        )
    if bound is None:
        return None
    if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not math.isfinite(bound):
        raise UsageError(f"assert_judge_score: expected at_least to be a number or None, got {bound!r}")
    low, high = _finite(getattr(asked.judge, "low", None)), _finite(getattr(asked.judge, "high", None))
    # Where the scale is known before the judge is asked, nothing is paid for a mistake.
    return float(bound) if low is None or high is None else _on_scale(float(bound), low, high)


def _on_scale(bound: float | None, low: float, high: float) -> float | None:
    if bound is not None and not low <= bound <= high:
        raise UsageError(
            f"assert_judge_score: expected at_least on the judge's own scale, {low:g} to {high:g}, got {bound:g}"
        )
    return bound


def _verdict_of(asked: _Asked, answer: str, question: str, reference: str) -> Verdict:
    """Ask the judge; whatever it raises or breaks becomes an unscored verdict. The user's mistakes stay."""
    try:
        asked.version = str(asked.judge.version)
        asked.model = str(getattr(asked.judge, "model_name", ""))
        found: object = asked.judge.judge(answer, question=question, reference=reference)
        problem = _problem(found)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's judge raises: not scored, not scored low
        return Verdict(error=told(error))
    if not isinstance(found, Verdict):
        return Verdict(error=problem, raw=shorten(repr(found), 1_000))
    if problem:
        return Verdict(error=problem, raw=str(found.raw))
    return replace(found, score=_finite(found.score), dimensions=_finite_all(found.dimensions))


def _problem(found: object) -> str:
    """Why this is no verdict on its own scale, or ``""``."""
    if not isinstance(found, Verdict):
        return f"the judge returned no Verdict but {type(found).__name__}"
    if not all(isinstance(text, str) for text in (found.reason, found.error, found.raw)):
        return "the judge's verdict has a reason, error or raw reply that is no text"
    low, high = _finite(found.low), _finite(found.high)
    if low is None or high is None or not low < high:
        return f"the judge's scale is no range: {found.low!r} to {found.high!r}"
    if found.score is None or found.error:
        both = f"the judge's verdict has a score and an error: {found.error}"
        return (
            both if found.score is not None else found.error
        ) or "the judge's verdict has neither score nor error"
    for name, score in {"score": found.score, **found.dimensions}.items():
        number = _finite(score)
        if number is None or not low <= number <= high:
            return f"the judge's {name} is not on its scale: expected {low:g} to {high:g}, got {score!r}"
    return ""


def _finite(value: object) -> float | None:
    """A number of any kind as float; None for what is none, a bool, NaN or infinity."""
    if isinstance(value, (bool, str)) or not isinstance(value, SupportsFloat):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _finite_all(scores: Mapping[str, float]) -> dict[str, float]:
    return {str(name): float(score) for name, score in scores.items()}


def _errored(
    asked: _Asked, verdict: Verdict, detail: Mapping[str, Json], bound: float | None, label: str
) -> Measurement:
    __tracebackhide__ = True
    measurement = Measurement(
        name=f"judge.{asked.name}",
        error=verdict.error,
        label=label,
        version=asked.version,
        detail={**detail, "judge": {**_told(asked, verdict), "bound": bound}},
    )
    line = f"{_title(asked, label)} could not be scored: {shorten(verdict.error)}"
    evidence = [("reply", f'"{shorten(verdict.raw)}"')] if verdict.raw else []
    return recorder.emit(measurement, verdict=line, evidence=evidence)


def _scored(
    asked: _Asked, verdict: Verdict, detail: Mapping[str, Json], bound: float | None, label: str
) -> Measurement:
    __tracebackhide__ = True
    span = verdict.high - verdict.low
    for name, score in verdict.dimensions.items():
        recorder.emit(
            Measurement(
                name=f"judge.{asked.name}.{name}",
                value=(score - verdict.low) / span,
                label=label,
                version=asked.version,
            )
        )
    measurement = Measurement(
        name=f"judge.{asked.name}",
        value=verdict.normalised,
        bound=None if bound is None else (bound - verdict.low) / span,
        label=label,
        reason=_reason(verdict),
        version=asked.version,
        detail={**detail, "judge": {**_told(asked, verdict), "bound": bound}},
    )
    line = "" if bound is None else _line(asked, verdict, bound, label)
    return recorder.emit(measurement, verdict=line, evidence=_evidence(verdict, detail))


def _reason(verdict: Verdict) -> str:
    if verdict.prescreened:
        return f"{verdict.reason}: scored without asking the judge"
    return f'judge: "{verdict.reason}"' if verdict.reason else ""


def _told(asked: _Asked, verdict: Verdict) -> dict[str, Json]:
    return {
        "name": asked.name,
        "model": asked.model,
        "score": verdict.score,
        "low": verdict.low,
        "high": verdict.high,
        "reason": verdict.reason,
        "dimensions": dict(verdict.dimensions),
        "raw": verdict.raw,
        "error": verdict.error,
        "prescreened": verdict.prescreened,
    }


def _title(asked: _Asked, label: str) -> str:
    return f"judge {shorten(asked.name, 60)}" + (f" [{shorten(label, 60)}]" if label else "")


def _line(asked: _Asked, verdict: Verdict, bound: float, label: str) -> str:
    score, wanted = _apart(cast("float", verdict.score), bound)
    return f"{_title(asked, label)} {score} < {wanted} (scale {verdict.low:g} to {verdict.high:g})"


def _apart(score: float, bound: float) -> tuple[str, str]:
    """With as few decimals as tell them apart: 6.996 is not "7 < 7"."""
    for decimals in range(1, 12):
        shown = _figure(score, decimals), _figure(bound, decimals)
        if shown[0] != shown[1]:
            return shown
    return str(score), str(bound)


def _figure(number: float, decimals: int = 1) -> str:
    text = f"{number:.{decimals}f}"
    return text.rstrip("0").rstrip(".") or "0"


def _evidence(verdict: Verdict, detail: Mapping[str, Json]) -> list[tuple[str, str]]:
    pairs = []
    if verdict.dimensions:
        scores = (f"{shorten(name, 40)} {_figure(score)}" for name, score in verdict.dimensions.items())
        pairs.append(("scores", ", ".join(scores)))
    pairs.append(("answer", f'"{shorten(str(detail["actual"]), QUOTED)}"'))
    if detail["expected"]:
        pairs.append(("reference", f'"{shorten(str(detail["expected"]), QUOTED)}"'))
    return pairs
