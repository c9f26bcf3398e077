"""Run a judge for a test: return a valid verdict, or an unscored verdict with the error, whatever the judge does."""

import inspect
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from pytest_llmops import recorder
from pytest_llmops.cassettes.shared_answers import defer_sharing
from pytest_llmops.errors import MeasurementFailed, UsageError, describe_exception
from pytest_llmops.measurement import Json, Measurement, as_finite_float, shorten_text
from pytest_llmops.model_names import find_same_model
from pytest_llmops.protocols import Judge, Verdict, is_error_status
from pytest_llmops.trace import read_call

__tracebackhide__ = True


def why_self_judging(judge: str) -> str:
    """Return why a verdict of a judge model does not count, or ``""``.

    Args:
        judge: The model's name, as requested or as the server returned it.

    >>> why_self_judging("gpt-4.1-mini")
    ''
    """
    if recorder.current_settings().self_judging != "error":
        return ""
    models = _model_names(recorder.list_exchanges(), "app")
    tested = find_same_model(judge, models)
    if tested:
        return format_self_judging_error(judge, tested)
    return ""


def format_self_judging_error(judge: str, tested: str) -> str:
    """Return why a verdict is unscored under ``llm_self_judging = error``.

    Source: Wataoka, Takahashi and Ri, "Self-Preference Bias in LLM-as-a-Judge", 2024, arXiv 2410.21819: a model gives
    higher scores to text that it finds likely, as its own is.
    """
    judge_name = shorten_text(judge, 60)
    tested_name = shorten_text(tested, 60)
    return (
        f"the judge {judge_name} is the model under test ({tested_name}), and a model prefers its own "
        "text (arXiv 2410.21819): name another with --llm-judge-model, or take back llm_self_judging = error"
    )


def _why_self_judging_since(since: int, *, known_errors: Collection[str] = ()) -> str:
    """Return why a verdict does not count, given the models that its calls named, or ``""``.

    since: The number of the test's exchanges before its judge was called.
    known_errors: Errors that the verdict already reports.
    """
    if recorder.current_settings().self_judging != "error":
        return ""
    for model in _model_names(recorder.list_exchanges()[since:], "judge"):
        reason = why_self_judging(model)
        if reason and reason not in known_errors:
            return reason
    return ""


def _model_names(exchanges: Iterable[recorder.Exchange], purpose: str) -> Iterator[str]:
    """Yield the names of models in the answers and in the requests of successful calls."""
    for exchange in exchanges:
        if exchange.purpose == purpose and not is_error_status(exchange.status):
            yield read_call(exchange).model
            if isinstance(exchange.request, dict):
                yield str(exchange.request.get("model") or "")


@dataclass(slots=True)
class JudgeHandle:
    """A judge, and what reports say about it; version and model are known after its first call.

    Attributes:
        default: The threshold is the judge's own, as the assertion has none.
    """

    judge: Judge
    name: str
    version: str = ""
    model: str = ""
    default: bool = False

    def read_version(self) -> None:
        """Read the current version and model of the judge."""
        self.version = str(self.judge.version)
        self.model = str(getattr(self.judge, "model_name", ""))


def find_judge(given: object) -> object:
    """Return the judge of a name or of a judge file's path; any other object is returned as it is.

    Raises:
        UnknownName: There is no judge of that name.
        PromptError: The judge file cannot be read.
    """
    if isinstance(given, (str, Path)):
        return recorder.find_component("judge", str(given))
    return given


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
    """Return the measurement of a judge that is skipped; None: run the judge.

    In a `soft` block judges are skipped after a failed check: the test fails anyway, and judges cost money. A skipped
    judge is neither a low score nor an error: it is not a measurement of the test, and the report only says that the
    judge was not asked.

    Args:
        name: Of the measurement.
        label: Distinguishes measurements of the same name.
    """
    failed = _failed_checks(recorder.current_recorder())
    if not failed:
        return None
    listed = ", ".join(dict.fromkeys(failed))
    skipped = f"not asked: {name}"
    if label:
        skipped += f" [{label}]"
    recorder.record_facts({skipped: f"failed before it: {listed}"})
    return Measurement(name=name, label=label, error=f"not asked: {listed} failed before it")


def _failed_checks(block: recorder.Recorder | None) -> list[str]:
    """Return the failed checks without a judge in the open soft blocks, the outermost first."""
    if block is None or not block.soft or block.asks_judges:
        return []
    failed = _failed_checks(block.outer)
    for error in block.failures:
        if isinstance(error, MeasurementFailed):
            names = [measurement.name for measurement in error.measurements]
            failed += [name for name in names if not name.startswith("judge.")]
    return failed


def check_texts(who: str, **given: object) -> None:
    """Raise `UsageError` for a question or reference that is not a text.

    >>> check_texts("assert_judge_score", question="Why?")
    """
    for what, text in given.items():
        if not isinstance(text, str):
            raise UsageError(f"{who}: expected {what} to be a text, got {type(text).__name__}")


def judge_answer(
    handle: JudgeHandle, answer: str, question: str, reference: str, contexts: Sequence[str] = ()
) -> Verdict:
    """Return the judge's verdict; an exception or an invalid verdict becomes an unscored verdict.

    Its calls count as the judge's, whatever SDK makes them.

    Raises:
        UsageError: The judge raises it, or is given contexts and does not take them.
    """
    given: dict[str, Any] = {"question": question, "reference": reference}
    if contexts:
        if not takes_contexts(handle.judge):
            raise UsageError(
                f"judge {handle.name}: its judge() takes no contexts: leave them out, or give it a keyword contexts"
            )
        given["contexts"] = list(contexts)
    try:
        handle.read_version()
        excluded = why_self_judging(handle.model)
        if excluded:
            return _unscored_verdict(handle, excluded)
        before = len(recorder.list_exchanges())
        with recorder.set_purpose("judge"), defer_sharing() as share:
            verdict: object = handle.judge.judge(answer, **given)
            problem = _why_invalid_verdict(verdict)
            # A panel has already left out the votes with this error; its verdict is that of the others
            known_errors = [vote.error for vote in getattr(verdict, "votes", None) or ()]
            excluded = _why_self_judging_since(before, known_errors=known_errors)
            if excluded:
                return _unscored_verdict(handle, excluded, raw=_raw_reply(verdict))
            if not problem:
                share()
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's judge raises: unscored, not scored low
        return _unscored_verdict(handle, describe_exception(error))
    finally:
        facts: dict[str, Json] = {"name": handle.name, "version": handle.version, "model": handle.model}
        recorder.record_facts({"judge": facts})
    if not isinstance(verdict, Verdict):
        return _unscored_verdict(handle, problem, shorten_text(repr(verdict), 1_000))
    if problem:
        return _unscored_verdict(handle, problem, str(verdict.raw), verdict)
    dimensions = {str(name): float(score) for name, score in verdict.dimensions.items()}
    return replace(verdict, score=as_finite_float(verdict.score), dimensions=dimensions)


def _raw_reply(verdict: object) -> str:
    if isinstance(verdict, Verdict):
        return str(verdict.raw)
    return ""


def _unscored_verdict(
    handle: JudgeHandle, error: str, raw: str = "", verdict: Verdict | None = None
) -> Verdict:
    """Return an unscored verdict, on the scale of the judge or of its invalid verdict if it is known."""
    for source in (handle.judge, verdict):
        low = as_finite_float(getattr(source, "low", None))
        high = as_finite_float(getattr(source, "high", None))
        if low is not None and high is not None and low < high:
            return Verdict(error=error, raw=raw, low=low, high=high)
    return Verdict(error=error, raw=raw)


def takes_contexts(judge: Judge) -> bool:
    """Return whether a judge takes contexts, of a panel all of its judges; assumed of a judge without a signature."""
    inner = getattr(judge, "judges", None)
    if isinstance(inner, (list, tuple)):
        return all(map(takes_contexts, inner))
    try:
        parameters = inspect.signature(judge.judge).parameters
    except (TypeError, ValueError):
        return True
    kinds = {parameter.kind for parameter in parameters.values()}
    return "contexts" in parameters or inspect.Parameter.VAR_KEYWORD in kinds


def _why_invalid_verdict(verdict: object) -> str:
    if not isinstance(verdict, Verdict):
        return f"the judge returned {type(verdict).__name__}: expected a Verdict"
    texts: tuple[object, ...] = (verdict.reason, verdict.error, verdict.raw)
    if not all(isinstance(text, str) for text in texts):
        return "the judge's verdict has a reason, error or raw reply that is not a text"
    low = as_finite_float(verdict.low)
    high = as_finite_float(verdict.high)
    if low is None or high is None or not low < high:
        return f"the judge's scale is not a range: {verdict.low!r} to {verdict.high!r}"
    if verdict.score is None:
        return verdict.error or "the judge's verdict has neither score nor error"
    if verdict.error:
        return f"the judge's verdict has a score and an error: {verdict.error}"
    dimensions: object = verdict.dimensions  # a user's judge may return anything
    if not isinstance(dimensions, Mapping):
        return (
            f"the judge's dimensions: expected a mapping of names to scores, got {type(dimensions).__name__}"
        )
    problem = _why_off_scale([("score", verdict.score), *dimensions.items()], low, high)
    if problem or verdict.confidence is None:
        return problem
    confidence = as_finite_float(verdict.confidence)
    if confidence is None or not 0 <= confidence <= 1:
        got = shorten_text(repr(verdict.confidence), 40)
        return f"the judge's confidence: expected a number from 0 to 1, or None, got {got}"
    return ""


def _why_off_scale(scores: Iterable[tuple[object, object]], low: float, high: float) -> str:
    for name, score in scores:
        number = as_finite_float(score)
        if number is None or not low <= number <= high:
            got = shorten_text(repr(score), 40)
            return f"the judge's {name} is not on its scale: expected {low:g} to {high:g}, got {got}"
    return ""


def verdict_to_json(handle: JudgeHandle, verdict: Verdict) -> dict[str, Json]:
    """Return a verdict as reports show it, on the judge's own scale."""
    wire: dict[str, Json] = {
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
    votes = getattr(verdict, "votes", ())
    if votes:
        wire["votes"] = [as_finite_float(vote.score) for vote in votes]
    if handle.default:
        wire["default"] = True
    confidence = as_finite_float(getattr(verdict, "confidence", None))
    if confidence is not None:
        wire["confidence"] = confidence
    return wire
