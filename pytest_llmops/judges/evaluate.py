"""Asking a judge for a test: whatever it is or does, a verdict on its own scale comes back, or why there is none."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_llmops import recorder
from pytest_llmops.cassettes.shared_answers import defer_sharing
from pytest_llmops.errors import MeasurementFailed, UsageError, describe_exception
from pytest_llmops.judges.self_preference import why_self_judging, why_self_judging_since
from pytest_llmops.measurement import Json, Measurement, as_finite_float, shorten_text
from pytest_llmops.protocols import Verdict

if TYPE_CHECKING:
    from pytest_llmops.protocols import Judge


@dataclass(slots=True)
class JudgeHandle:
    """A judge, and what is told of it; version and model are only known once it was asked.

    Attributes:
        default: The threshold is the judge's own, as the assertion named none.
    """

    judge: Judge
    name: str
    version: str = ""
    model: str = ""
    default: bool = False

    def look(self) -> None:
        """Read version and model off the judge, as it is now."""
        self.version = str(self.judge.version)
        self.model = str(getattr(self.judge, "model_name", ""))


def find_judge(given: object) -> object:
    """Return the judge of a name or of a judge file's path; any other object is returned as it is.

    Raises:
        UnknownName: There is no judge of that name.
        PromptError: The judge file cannot be read.
    """
    return recorder.find_component("judge", str(given)) if isinstance(given, (str, Path)) else given


def resolve_judge(given: object, who: str) -> JudgeHandle:
    """Return a handle to a judge that is given as an object, by name or by the path of a judge file.

    Args:
        given: The judge.
        who: The assertion that uses it, for the error.

    Raises:
        UnknownName: There is no judge of that name.
        UsageError: It is not a judge of a single answer.
    """
    judge = find_judge(given)
    if not callable(getattr(judge, "judge", None)):
        raise UsageError(
            f"{who}: expected a judge, an object with judge(answer, *, question, reference), "
            f"got {type(judge).__name__}"
        )
    name = getattr(judge, "name", "") or type(judge).__name__
    return JudgeHandle(cast("Judge", judge), str(name))


def resolve_pairwise_judge(given: object, who: str) -> Any:
    """Return a judge of two answers that is given as an object, by name or by the path of a judge file.

    Args:
        given: The judge.
        who: The assertion that uses it, for the error.

    Raises:
        UnknownName: There is no judge of that name.
        UsageError: It does not compare two answers.
    """
    judge = find_judge(given)
    if not callable(getattr(judge, "compare", None)):
        raise UsageError(
            f"{who}: expected a judge of two answers, as Pairwise is, got {type(judge).__name__}"
        )
    return judge


def skipped_measurement(name: str, label: str = "") -> Measurement | None:
    """Return what stands for a verdict that is not asked for; None: ask.

    In a `soft` block a judge is not asked once a check before it has failed: the test fails anyway, and judges cost.
    What is not asked is neither scored low nor could it not be scored: it is no measurement of the test, and the
    report only says that it was not asked.

    Args:
        name: Of the measurement that it would be.
        label: Tells two of one name apart.
    """
    failed = _failed_checks(recorder.current_recorder())
    if not failed:
        return None
    listed = ", ".join(dict.fromkeys(failed))
    recorder.record_facts(
        {f"not asked: {name}{f' [{label}]' if label else ''}": f"failed before it: {listed}"}
    )
    return Measurement(name=name, label=label, error=f"not asked: {listed} failed before it")


def _failed_checks(block: recorder.Recorder | None) -> list[str]:
    """The checks without a judge that failed in the open soft blocks, the outermost first."""
    if block is None or not block.soft or block.asks_judges:
        return []
    own = [
        measurement.name
        for error in block.failures
        if isinstance(error, MeasurementFailed)
        for measurement in error.measurements
        if not measurement.name.startswith("judge.")
    ]
    return [*_failed_checks(block.outer), *own]


def check_texts(who: str, **given: object) -> None:
    """Raise `UsageError` for a question or reference that is no text.

    >>> check_texts("assert_judge_score", question="Why?")
    """
    for what, text in given.items():
        if not isinstance(text, str):
            raise UsageError(f"{who}: expected {what} to be a text, got {type(text).__name__}")


def judge_answer(
    handle: JudgeHandle, answer: str, question: str, reference: str, contexts: Sequence[str] = ()
) -> Verdict:
    """Ask the judge; whatever it raises or breaks becomes an unscored verdict. The user's mistakes stay.

    Its calls count as the judge's, whatever SDK it makes them with.

    Raises:
        UsageError: The judge says what the user has to correct, or takes no contexts and is given some.
    """
    more = {"contexts": list(contexts)} if contexts else {}
    if more and not takes_contexts(handle.judge):
        raise UsageError(
            f"judge {handle.name}: its judge() takes no contexts: leave them out, or give it a keyword contexts"
        )
    try:
        handle.look()
        if own := why_self_judging(handle.model):
            return _unscored_verdict(handle, own)
        before = len(recorder.list_exchanges())
        with recorder.set_purpose("judge"), defer_sharing() as share:
            verdict: object = handle.judge.judge(answer, question=question, reference=reference, **more)
            problem = _why_invalid_verdict(verdict)
            # A panel counts no vote that was refused for this already; those of the others are the verdict.
            if own := why_self_judging_since(
                before, known_errors=[vote.error for vote in getattr(verdict, "votes", None) or ()]
            ):
                return _unscored_verdict(
                    handle, own, raw=str(verdict.raw) if isinstance(verdict, Verdict) else ""
                )
            if not problem:
                share()
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's judge raises: not scored, not scored low
        return _unscored_verdict(handle, describe_exception(error))
    finally:
        recorder.record_facts(
            {"judge": {"name": handle.name, "version": handle.version, "model": handle.model}}
        )
    if not isinstance(verdict, Verdict):
        return _unscored_verdict(handle, problem, shorten_text(repr(verdict), 1_000))
    if problem:
        return _unscored_verdict(handle, problem, str(verdict.raw), verdict)
    return replace(verdict, score=as_finite_float(verdict.score), dimensions=_finite_all(verdict.dimensions))


def _unscored_verdict(
    handle: JudgeHandle, error: str, raw: str = "", verdict: Verdict | None = None
) -> Verdict:
    """No verdict, on the judge's own scale where the judge or its broken verdict tells it."""
    for source in (handle.judge, verdict):
        low, high = (
            as_finite_float(getattr(source, "low", None)),
            as_finite_float(getattr(source, "high", None)),
        )
        if low is not None and high is not None and low < high:
            return Verdict(error=error, raw=raw, low=low, high=high)
    return Verdict(error=error, raw=raw)


def takes_contexts(judge: Judge) -> bool:
    """Say whether a judge looks at contexts, of a panel each of its judges; one without a signature is taken to."""
    inner = getattr(judge, "judges", None)
    if isinstance(inner, (list, tuple)):
        return all(map(takes_contexts, inner))
    try:
        taken = inspect.signature(judge.judge).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(parameter.name == "contexts" or parameter.kind is parameter.VAR_KEYWORD for parameter in taken)


def _why_invalid_verdict(verdict: object) -> str:
    """Why this is no verdict on its own scale, or ``""``."""
    if not isinstance(verdict, Verdict):
        return f"the judge returned no Verdict but {type(verdict).__name__}"
    if not all(isinstance(text, str) for text in (verdict.reason, verdict.error, verdict.raw)):
        return "the judge's verdict has a reason, error or raw reply that is no text"
    low, high = as_finite_float(verdict.low), as_finite_float(verdict.high)
    if low is None or high is None or not low < high:
        return f"the judge's scale is no range: {verdict.low!r} to {verdict.high!r}"
    if verdict.score is None or verdict.error:
        both = f"the judge's verdict has a score and an error: {verdict.error}"
        return (
            both if verdict.score is not None else verdict.error
        ) or "the judge's verdict has neither score nor error"
    return _why_off_scale(verdict, low, high)


def _why_off_scale(verdict: Verdict, low: float, high: float) -> str:
    dimensions: object = verdict.dimensions  # of a user's judge: whatever it gave
    if not isinstance(dimensions, Mapping):
        return (
            f"the judge's dimensions: expected a mapping of names to scores, got {type(dimensions).__name__}"
        )
    for name, score in (("score", verdict.score), *verdict.dimensions.items()):
        number = as_finite_float(score)
        if number is None or not low <= number <= high:
            got = shorten_text(repr(score), 40)
            return f"the judge's {name} is not on its scale: expected {low:g} to {high:g}, got {got}"
    sure = as_finite_float(verdict.confidence)
    if verdict.confidence is not None and (sure is None or not 0 <= sure <= 1):
        return f"the judge's confidence: expected a number from 0 to 1, or None, got {shorten_text(repr(verdict.confidence), 40)}"
    return ""


def _finite_all(scores: Mapping[str, float]) -> dict[str, float]:
    return {str(name): float(score) for name, score in scores.items()}


def verdict_to_json(handle: JudgeHandle, verdict: Verdict) -> dict[str, Json]:
    """Return what the report says of a verdict, on the judge's own scale."""
    report: dict[str, Json] = {
        "name": handle.name,
        "model": handle.model,
        "score": verdict.score,
        "low": verdict.low,
        "high": verdict.high,
        "reason": verdict.reason,
        "dimensions": dict(verdict.dimensions),
        "raw": verdict.raw,
        "error": verdict.error,
        "prescreened": verdict.prescreened,
    }
    if votes := getattr(verdict, "votes", ()):
        report["votes"] = [as_finite_float(vote.score) for vote in votes]
    sure = as_finite_float(getattr(verdict, "confidence", None))
    own: dict[str, Json] = {"default": True} if handle.default else {}
    return {**report, **own} if sure is None else {**report, **own, "confidence": sure}
