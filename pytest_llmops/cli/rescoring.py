"""Score stored outputs with a judge, so that its recorded answers can be replayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pytest_llmops import recorder
from pytest_llmops.assertions.judge_score import assert_judge_score
from pytest_llmops.errors import UsageError
from pytest_llmops.judges.concurrency import run_judge_tasks
from pytest_llmops.judges.evaluate import JudgeHandle, judge_answer, resolve_judge, takes_contexts
from pytest_llmops.measurement import as_finite_float
from pytest_llmops.protocols import Judge, Verdict
from pytest_llmops.results.rescoring import AtLeast, Output, RescoredOutput, carry_over_threshold

CALLER = "llmops judge rescore"
OutputKey = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class JudgeResponse:
    """A judge's verdict on an output, or why the judge refused it."""

    handle: JudgeHandle
    verdict: Verdict
    refusal: UsageError | None = None

    @property
    def called_model(self) -> bool:
        """Whether the judge called a model, as far as can be seen."""
        return self.refusal is None and not self.verdict.prescreened


class _ReplayedJudge:
    """A judge that returns a verdict it has given already, for `assert_judge_score` to measure."""

    def __init__(self, response: JudgeResponse) -> None:
        self.response = response
        self.name = response.handle.name
        self.version = response.handle.version
        self.model_name = response.handle.model

    def judge(
        self, answer: str, *, question: str = "", reference: str = "", contexts: Sequence[str] = ()
    ) -> Verdict:
        del answer, question, reference, contexts
        return self.response.verdict

    def __getattr__(self, name: str) -> Any:
        return getattr(self.response.handle.judge, name)


def score_outputs(
    judge: Judge, outputs: Sequence[Output], *, at_least: float | None = None
) -> list[RescoredOutput]:
    """Score outputs with a judge, and return what a test would have measured of each, in their order.

    The judge is called once for equal outputs. An output that cannot be scored is unscored; only a judge that refuses
    all of them is an error.

    Args:
        judge: The judge. It gets no contexts if it takes none.
        outputs: The outputs.
        at_least: The threshold, on the judge's own scale; None: see `carry_over_threshold`.

    Raises:
        CassetteMiss: No recording matches a request.
        UsageError: The judge is none, the threshold is not on its scale, or it refuses every output.
    """
    handle = resolve_judge(judge, CALLER)
    # Check all thresholds before any call is paid for.
    scale = _judge_scale(handle.judge)
    for output in outputs:
        _find_threshold(handle, output, at_least, scale)
    # With one call for equal outputs, the order of threads cannot change which answer belongs to which.
    keys = [output.inputs if takes_contexts(handle.judge) else output.inputs[:-1] for output in outputs]
    unique_outputs = {
        key: output for key, output in zip(keys, outputs, strict=True) if output.answer is not None
    }
    tasks = [partial(_call_judge, handle, output) for output in unique_outputs.values()]
    answers = run_judge_tasks(tasks, judge=judge, asked_model=lambda response: response.called_model)
    responses: dict[OutputKey, JudgeResponse] = dict(zip(unique_outputs, answers, strict=True))
    # A refusal for lack of contexts says nothing about the other outputs.
    refusals = [
        response.refusal
        for key, response in responses.items()
        if response.refusal and (unique_outputs[key].contexts or "contexts" not in str(response.refusal))
    ]
    if refusals and len(refusals) == len(responses):
        raise refusals[0]
    no_response = JudgeResponse(handle, Verdict())
    return [
        _measure_response(output, responses.get(key, no_response), at_least)
        for key, output in zip(keys, outputs, strict=True)
    ]


def _find_threshold(
    handle: JudgeHandle, output: Output, at_least: float | None, scale: tuple[float, float] | None
) -> AtLeast:
    if scale is not None and at_least is not None and not scale[0] <= at_least <= scale[1]:
        raise UsageError(
            f"--at-least: expected a score on the scale of judge {handle.name}, {scale[0]:g} to {scale[1]:g}, got {at_least:g}"
        )
    try:
        version = handle.version or str(handle.judge.version)
    except Exception:  # noqa: BLE001 -- some judges of users have a version only after a call
        version = ""
    pass_at = as_finite_float(getattr(handle.judge, "pass_at", None))
    return carry_over_threshold(
        output, at_least=at_least, pass_at=pass_at, scale=scale, judge=handle.name, version=version
    )


def _judge_scale(judge: object) -> tuple[float, float] | None:
    low, high = as_finite_float(getattr(judge, "low", None)), as_finite_float(getattr(judge, "high", None))
    return None if low is None or high is None else (low, high)


def _call_judge(handle: JudgeHandle, output: Output) -> JudgeResponse:
    handle = replace(handle)
    contexts = output.contexts if takes_contexts(handle.judge) else ()
    try:
        verdict = judge_answer(handle, output.answer or "", output.question, output.reference, contexts)
    except UsageError as error:
        return JudgeResponse(handle, Verdict(error=str(error)), error)
    except SystemExit as error:  # would end the command, with status 0 as if all were well
        return JudgeResponse(handle, Verdict(error=f"SystemExit: {error.code}"))
    return JudgeResponse(handle, verdict)


def _measure_response(output: Output, response: JudgeResponse, at_least: float | None) -> RescoredOutput:
    verdict = response.verdict
    scale = (verdict.low, verdict.high) if verdict.score is not None else _judge_scale(response.handle.judge)
    # Checked once more: some judges have a scale only after a call.
    threshold = _find_threshold(response.handle, output, at_least, scale)
    with recorder.collect() as measurements:
        assert_judge_score(
            output.answer,
            judge=_ReplayedJudge(response),
            question=output.question,
            reference=output.reference,
            contexts=output.contexts,
            at_least=threshold,
            review_below=_review_threshold(output, verdict),
            label=output.label,
        )
    return RescoredOutput(output=output, measurements=tuple(measurements))


def _review_threshold(output: Output, verdict: Verdict) -> float | None:
    """Return the confidence that the test required; None if the judge gives no confidence."""
    review = output.old.detail.get("review") if output.old is not None else None
    least = as_finite_float(review.get("least")) if isinstance(review, Mapping) else None
    has_confidence = verdict.confidence is not None or verdict.prescreened
    return least if has_confidence and least is not None and 0 <= least <= 1 else None
