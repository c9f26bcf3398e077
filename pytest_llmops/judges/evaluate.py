"""Asking a judge for a test: whatever it is or does, a verdict on its own scale comes back, or why there is none."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from pytest_llmops import recorder
from pytest_llmops.cassettes.shared_answers import judging
from pytest_llmops.errors import MeasurementFailed, UsageError, told
from pytest_llmops.judges.self_preference import answered, conflict
from pytest_llmops.measurement import Json, Measurement, finite, shorten
from pytest_llmops.protocols import Verdict

if TYPE_CHECKING:
    from pytest_llmops.protocols import Judge


@dataclass(slots=True)
class Asked:
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


def asked_of(given: object, who: str) -> Asked:
    """Return a judge given as an object or by name.

    Args:
        given: The judge.
        who: The assertion that asks, for the error.

    Raises:
        UnknownName: There is no judge of that name.
        UsageError: It is no judge.
    """
    found = recorder.lookup("judge", given) if isinstance(given, str) else given
    if not callable(getattr(found, "judge", None)):
        raise UsageError(
            f"{who}: expected a judge, an object with judge(answer, *, question, reference), "
            f"got {type(found).__name__}"
        )
    name = getattr(found, "name", "") or type(found).__name__
    return Asked(cast("Judge", found), str(name))


def not_asked(name: str, label: str = "") -> Measurement | None:
    """Return what stands for a verdict that is not asked for; None: ask.

    In a `soft` block a judge is not asked once a check before it has failed: the test fails anyway, and judges cost.
    What is not asked is neither scored low nor could it not be scored: it is no measurement of the test, and the
    report only says that it was not asked.

    Args:
        name: Of the measurement that it would be.
        label: Tells two of one name apart.
    """
    failed = _failed_before(recorder.current())
    if not failed:
        return None
    listed = ", ".join(dict.fromkeys(failed))
    recorder.note({f"not asked: {name}{f' [{label}]' if label else ''}": f"failed before it: {listed}"})
    return Measurement(name=name, label=label, error=f"not asked: {listed} failed before it")


def _failed_before(block: recorder.Recorder | None) -> list[str]:
    """The checks without a judge that failed in the open soft blocks, the outermost first."""
    if block is None or not block.soft or block.asks_judges:
        return []
    own = [
        one.name
        for error in block.failures
        if isinstance(error, MeasurementFailed)
        for one in error.measurements
        if not one.name.startswith("judge.")
    ]
    return [*_failed_before(block.outer), *own]


def texts_of(who: str, **given: object) -> None:
    """Raise `UsageError` for a question or reference that is no text.

    >>> texts_of("assert_judge_score", question="Why?")
    """
    for what, text in given.items():
        if not isinstance(text, str):
            raise UsageError(f"{who}: expected {what} to be a text, got {type(text).__name__}")


def verdict_of(
    asked: Asked, answer: str, question: str, reference: str, contexts: Sequence[str] = ()
) -> Verdict:
    """Ask the judge; whatever it raises or breaks becomes an unscored verdict. The user's mistakes stay.

    Its calls count as the judge's, whatever SDK it makes them with.

    Raises:
        UsageError: The judge says what the user has to correct, or takes no contexts and is given some.
    """
    more = {"contexts": list(contexts)} if contexts else {}
    if more and not takes_contexts(asked.judge):
        raise UsageError(
            f"judge {asked.name}: its judge() takes no contexts: leave them out, or give it a keyword contexts"
        )
    try:
        asked.look()
        if own := conflict(asked.model):
            return _unscored(asked, own)
        before = len(recorder.exchanges())
        with recorder.purpose("judge"), judging() as share:
            found: object = asked.judge.judge(answer, question=question, reference=reference, **more)
            problem = _problem(found)
            # A panel counts no vote that was refused for this already; those of the others are the verdict.
            if own := answered(before, told=[one.error for one in getattr(found, "votes", None) or ()]):
                return _unscored(asked, own, raw=str(found.raw) if isinstance(found, Verdict) else "")
            if not problem:
                share()
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's judge raises: not scored, not scored low
        return _unscored(asked, told(error))
    finally:
        recorder.note({"judge": {"name": asked.name, "version": asked.version, "model": asked.model}})
    if not isinstance(found, Verdict):
        return _unscored(asked, problem, shorten(repr(found), 1_000))
    if problem:
        return _unscored(asked, problem, str(found.raw), found)
    return replace(found, score=finite(found.score), dimensions=_finite_all(found.dimensions))


def _unscored(asked: Asked, error: str, raw: str = "", found: Verdict | None = None) -> Verdict:
    """No verdict, on the judge's own scale where the judge or its broken verdict tells it."""
    for one in (asked.judge, found):
        low, high = finite(getattr(one, "low", None)), finite(getattr(one, "high", None))
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
    return any(one.name == "contexts" or one.kind is one.VAR_KEYWORD for one in taken)


def _problem(found: object) -> str:
    """Why this is no verdict on its own scale, or ``""``."""
    if not isinstance(found, Verdict):
        return f"the judge returned no Verdict but {type(found).__name__}"
    if not all(isinstance(text, str) for text in (found.reason, found.error, found.raw)):
        return "the judge's verdict has a reason, error or raw reply that is no text"
    low, high = finite(found.low), finite(found.high)
    if low is None or high is None or not low < high:
        return f"the judge's scale is no range: {found.low!r} to {found.high!r}"
    if found.score is None or found.error:
        both = f"the judge's verdict has a score and an error: {found.error}"
        return (
            both if found.score is not None else found.error
        ) or "the judge's verdict has neither score nor error"
    return _off_scale(found, low, high)


def _off_scale(found: Verdict, low: float, high: float) -> str:
    dimensions: object = found.dimensions  # of a user's judge: whatever it gave
    if not isinstance(dimensions, Mapping):
        return (
            f"the judge's dimensions: expected a mapping of names to scores, got {type(dimensions).__name__}"
        )
    for name, score in (("score", found.score), *found.dimensions.items()):
        number = finite(score)
        if number is None or not low <= number <= high:
            got = shorten(repr(score), 40)
            return f"the judge's {name} is not on its scale: expected {low:g} to {high:g}, got {got}"
    sure = finite(found.confidence)
    if found.confidence is not None and (sure is None or not 0 <= sure <= 1):
        return f"the judge's confidence: expected a number from 0 to 1, or None, got {shorten(repr(found.confidence), 40)}"
    return ""


def _finite_all(scores: Mapping[str, float]) -> dict[str, float]:
    return {str(name): float(score) for name, score in scores.items()}


def told_of(asked: Asked, verdict: Verdict) -> dict[str, Json]:
    """Return what the report says of a verdict, on the judge's own scale."""
    found: dict[str, Json] = {
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
    if votes := getattr(verdict, "votes", ()):
        found["votes"] = [finite(one.score) for one in votes]
    sure = finite(getattr(verdict, "confidence", None))
    own: dict[str, Json] = {"default": True} if asked.default else {}
    return {**found, **own} if sure is None else {**found, **own, "confidence": sure}
