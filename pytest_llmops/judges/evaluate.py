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
from pytest_llmops.protocols import Judge, Media, Verdict, is_error_status
from pytest_llmops.trace import read_call

__tracebackhide__ = True


def why_self_judging(judge: str) -> str:
    """Return an error if a judge model is the model under test and ``llm_self_judging = error`` is set, else ``""``.

    Args:
        judge: The name of the judge model, as requested or as the server returned it.

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
    """Return the error of a verdict that does not count under ``llm_self_judging = error``.

    Args:
        judge: The name of the judge model.
        tested: The name of the model under test, which may be spelled differently.

    Source: Wataoka, Takahashi and Ri, "Self-Preference Bias in LLM-as-a-Judge", 2024, arXiv 2410.21819: a model gives
    higher scores to texts that it finds likely, such as its own.
    """
    judge_name = shorten_text(judge, 60)
    tested_name = shorten_text(tested, 60)
    return (
        f"the judge {judge_name} is the model under test ({tested_name}), and a model prefers its own "
        "text (arXiv 2410.21819): name another with --llm-judge-model, or remove llm_self_judging = error"
    )


def _why_self_judging_since(since: int, *, known_errors: Collection[str] = ()) -> str:
    """Return an error if a call of the judge named the model under test, else ``""``.

    `why_self_judging` can only check the name that the judge states before it is called. The recorded calls show
    which models it really used.

    since: How many exchanges the test had before its judge was called.
    known_errors: Errors that the verdict already reports; they are not returned again.
    """
    if recorder.current_settings().self_judging != "error":
        return ""
    for model in _model_names(recorder.list_exchanges()[since:], "judge"):
        reason = why_self_judging(model)
        if reason and reason not in known_errors:
            return reason
    return ""


def _model_names(exchanges: Iterable[recorder.Exchange], purpose: str) -> Iterator[str]:
    """Yield the model names of successful calls with this purpose: of each the response's, then the request's.

    A name may be ``""`` where the model is not known.
    """
    for exchange in exchanges:
        if exchange.purpose == purpose and not is_error_status(exchange.status):
            yield read_call(exchange).model
            if isinstance(exchange.request, dict):
                yield str(exchange.request.get("model") or "")


@dataclass(slots=True)
class JudgeHandle:
    """A judge with its name, version and model for reports. Version and model are empty until `read_version`.

    Attributes:
        default: Whether the assertion names no threshold, so that the judge's own applies.
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
    """Return the judge with a registered name, or from the path of a judge file; return any other object as it is.

    Raises:
        UnknownName: No judge has that name.
        PromptError: The judge file cannot be read.
    """
    if isinstance(given, (str, Path)):
        return recorder.find_component("judge", str(given))
    return given


def resolve_judge(given: object, who: str) -> JudgeHandle:
    """Return a handle to a judge of single answers.

    Args:
        given: A judge object, a name, or the path of a judge file.
        who: The assertion that uses it, for the error.

    Raises:
        UnknownName: No judge has that name.
        UsageError: It is not a judge of a single answer.
    """
    judge = find_judge(given)
    if isinstance(judge, type) or not callable(getattr(judge, "judge", None)):
        raise UsageError(
            f"{who}: expected a judge, an object with judge(answer, *, question, reference), "
            f"got {_describe_no_judge(judge)}"
        )
    name = getattr(judge, "name", "") or type(judge).__name__
    return JudgeHandle(cast("Judge", judge), str(name))


def resolve_pairwise_judge(given: object, who: str) -> Any:
    """Return a judge that compares two answers, such as `Pairwise`.

    Args:
        given: A judge object, a name, or the path of a judge file.
        who: The assertion that uses it, for the error.

    Raises:
        UnknownName: No judge has that name.
        UsageError: It does not compare two answers.
    """
    judge = find_judge(given)
    if isinstance(judge, type) or not callable(getattr(judge, "compare", None)):
        raise UsageError(
            f"{who}: expected a judge of two answers, as Pairwise is, got {_describe_no_judge(judge)}"
        )
    return judge


def _describe_no_judge(given: object) -> str:
    """Describe an object that is not a judge, and the correction: for a class or a function the call, for a model a judge of it."""
    if isinstance(given, type):
        return f"the class {given.__name__}: call it, judge={_format_call(given)}"
    if inspect.isfunction(given):
        return f"the function {given.__name__}: call it, judge={_format_call(given)}"
    if callable(getattr(given, "complete", None)):
        return f"{type(given).__name__}, a model: give it to a judge, as judge=quality(model)"
    if given is None:
        return "None"
    return type(given).__name__


def _format_call(given: Any) -> str:
    """Return the call of a class or function, with its required arguments left to fill in."""
    if given.__name__ == "Rubric":  # none of its arguments is required by itself
        return 'Rubric(criteria="Is the answer polite?")'
    try:
        parameters = inspect.signature(given).parameters.values()
    except (TypeError, ValueError):
        parameters = {}.values()
    filled_by_python = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = []
    for parameter in parameters:
        if parameter.default is inspect.Parameter.empty and parameter.kind not in filled_by_python:
            required.append(f"{parameter.name}=...")
    return f"{given.__name__}({', '.join(required)})"


def skipped_measurement(name: str, label: str = "") -> Measurement | None:
    """Return a measurement without a value if the judge is to be skipped; None: run the judge.

    In a `soft` block judges are skipped after a failed check: the test fails anyway, and judges cost money. A skipped
    judge is neither a low score nor an error. It is not counted as a measurement of the test; this function records a
    fact, so that the report shows that the judge was not called, and why.

    Args:
        name: The name of the measurement.
        label: Distinguishes measurements of the same name.
    """
    failed = _failed_checks(recorder.current_recorder())
    if not failed:
        return None
    listed = ", ".join(dict.fromkeys(failed))
    skipped = f"not called: {name}"
    if label:
        skipped += f" [{label}]"
    recorder.record_facts({skipped: f"failed before it: {listed}"})
    return Measurement(name=name, label=label, error=f"not called: {listed} failed before it")


def _failed_checks(block: recorder.Recorder | None) -> list[str]:
    """Return the names of failed measurements in the open soft blocks, the outermost block first.

    Failures of judges do not count. A block with ``asks_judges`` runs its judges whatever has failed before.
    """
    if block is None or not block.soft or block.asks_judges:
        return []
    failed = _failed_checks(block.outer)
    for error in block.failures:
        if isinstance(error, MeasurementFailed):
            names = [measurement.name for measurement in error.measurements]
            failed += [name for name in names if not name.startswith("judge.")]
    return failed


def judge_answer(
    handle: JudgeHandle,
    answer: str,
    question: str,
    reference: str,
    contexts: Sequence[str] = (),
    *,
    images: Sequence[Media] = (),
) -> Verdict:
    """Return the judge's verdict; an exception or an invalid verdict becomes an unscored verdict.

    All calls that happen meanwhile are recorded with the purpose ``judge``, whatever SDK makes them. The handle gets
    the judge's current version and model, and the test's facts too.

    Raises:
        UsageError: The judge raises it, or there are contexts or images and the judge does not take any.
    """
    given: dict[str, Any] = {"question": question, "reference": reference}
    if contexts:
        if not takes_contexts(handle.judge):
            raise UsageError(
                f"judge {handle.name}: its judge() accepts no contexts: leave them out, or give it a keyword contexts"
            )
        given["contexts"] = list(contexts)
    if images:
        if not takes_images(handle.judge):
            raise UsageError(
                f"judge {handle.name}: its judge() accepts no images: leave them out, use a Rubric, or give it a keyword images"
            )
        given["images"] = list(images)
    try:
        handle.read_version()
        excluded = why_self_judging(handle.model)
        if excluded:
            return _unscored_verdict(handle, excluded)
        before = len(recorder.list_exchanges())
        with recorder.set_purpose("judge"), defer_sharing() as share:
            verdict: object = handle.judge.judge(answer, **given)
            problem = _why_invalid_verdict(verdict)
            # A panel has already left out the votes with this error; the others decide its verdict
            known_errors = [vote.error for vote in getattr(verdict, "votes", None) or ()]
            excluded = _why_self_judging_since(before, known_errors=known_errors)
            if excluded:
                return _unscored_verdict(handle, excluded, raw=_raw_reply(verdict))
            if not problem:  # only answers that led to a verdict are shared with other tests
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
    """Return the raw reply of a verdict; ``""`` if the judge returned something else."""
    if isinstance(verdict, Verdict):
        return str(verdict.raw)
    return ""


def _unscored_verdict(
    handle: JudgeHandle, error: str, raw: str = "", verdict: Verdict | None = None
) -> Verdict:
    """Return an unscored verdict with the judge's scale, else the scale of its invalid verdict, else the default one."""
    for source in (handle.judge, verdict):
        low = as_finite_float(getattr(source, "low", None))
        high = as_finite_float(getattr(source, "high", None))
        if low is not None and high is not None and low < high:
            return Verdict(error=error, raw=raw, low=low, high=high)
    return Verdict(error=error, raw=raw)


def takes_contexts(judge: Judge) -> bool:
    """Return whether a judge has the parameter ``contexts``; for a panel, whether all of its judges have it.

    A judge whose signature cannot be read is assumed to take contexts.
    """
    return _has_parameter(judge, "contexts")


def takes_images(judge: Judge) -> bool:
    """Return whether a judge has the parameter ``images``; for a panel, whether all of its judges have it."""
    return _has_parameter(judge, "images")


def _has_parameter(judge: Judge, name: str) -> bool:
    inner = getattr(judge, "judges", None)
    if isinstance(inner, (list, tuple)):
        return all(_has_parameter(inner_judge, name) for inner_judge in inner)
    try:
        parameters = inspect.signature(judge.judge).parameters
    except (TypeError, ValueError):
        return True
    kinds = {parameter.kind for parameter in parameters.values()}
    return name in parameters or inspect.Parameter.VAR_KEYWORD in kinds


def _why_invalid_verdict(verdict: object) -> str:
    """Return why the result of a judge has no usable score, or ``""``.

    An unscored verdict is among them: its own error is returned.
    """
    if not isinstance(verdict, Verdict):
        return f"the judge returned {type(verdict).__name__}: expected a Verdict"
    texts: tuple[object, ...] = (verdict.reason, verdict.error, verdict.raw)
    if not all(isinstance(text, str) for text in texts):
        return "the judge's verdict has a reason, error or raw reply that is not a text"
    low = as_finite_float(verdict.low)
    high = as_finite_float(verdict.high)
    if low is None or high is None or not low < high:
        return f"the judge's scale: expected a lowest and a higher highest score, got {verdict.low!r} to {verdict.high!r}"
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
    """Return an error for the first pair of name and score whose score is off the scale, or ``""``."""
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
