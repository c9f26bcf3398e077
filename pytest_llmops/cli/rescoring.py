"""Asking a judge about many stored outputs at a time, so that a recording answers the same again."""

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
from pytest_llmops.results.rejudging import AtLeast, Output, RescoredOutput, carry_over_threshold

CALLER = "llmops judge rescore"
OutputKey = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class JudgeResponse:
    """What came of asking about one output: a verdict, or why the judge refused it."""

    asked: JudgeHandle
    verdict: Verdict
    refusal: UsageError | None = None

    @property
    def asked_a_model(self) -> bool:
        """Whether a model was asked, as far as can be seen."""
        return self.refusal is None and not self.verdict.prescreened


@dataclass(slots=True)
class _ReplayedJudge:
    """A judge that has said it already: of its verdict is measured what a test would have measured."""

    heard: JudgeResponse

    @property
    def version(self) -> str:
        return self.heard.asked.version

    @property
    def model_name(self) -> str:
        return self.heard.asked.model

    @property
    def name(self) -> str:
        return self.heard.asked.name

    def judge(
        self, answer: str, *, question: str = "", reference: str = "", contexts: Sequence[str] = ()
    ) -> Verdict:
        del answer, question, reference, contexts
        return self.heard.verdict

    def __getattr__(self, name: str) -> Any:
        return getattr(self.heard.asked.judge, name)


def score_outputs(
    judge: Judge, outputs: Sequence[Output], *, at_least: float | None = None
) -> list[RescoredOutput]:
    """Ask a judge about outputs, and return what a test would have measured of each, in their order.

    Equal outputs are asked once. What cannot be scored is unscored, whatever the reason; what the judge refuses
    every time is the user's to correct.

    Args:
        judge: Who is asked. Contexts are left out where it takes none.
        outputs: The outputs.
        at_least: The threshold, on the judge's own scale; None: see `carry_over_threshold`.

    Raises:
        CassetteMiss: Nothing recorded answers a request.
        UsageError: No judge, a threshold that is not on its scale, or the judge refuses every output.
    """
    asked_judge = resolve_judge(judge, CALLER)
    _check_thresholds(asked_judge, outputs, at_least)
    keys = [_output_key(asked_judge, one) for one in outputs]
    unique_outputs = {key: one for key, one in zip(keys, outputs, strict=True) if one.answer is not None}
    tasks = [partial(_ask_judge, asked_judge, one) for one in unique_outputs.values()]
    answers = run_judge_tasks(tasks, judge=judge, asked_model=lambda one: one.asked_a_model)
    responses: dict[OutputKey, JudgeResponse] = dict(zip(unique_outputs, answers, strict=True))
    refused = [
        one for key, one in responses.items() if one.refusal and not _lacks_contexts(one, unique_outputs[key])
    ]
    if refused and len(refused) == len(responses) and refused[0].refusal is not None:
        raise refused[0].refusal
    no_response = JudgeResponse(asked_judge, Verdict())
    return [
        _measure_response(one, responses.get(key, no_response), at_least)
        for key, one in zip(keys, outputs, strict=True)
    ]


def _output_key(asked_judge: JudgeHandle, output: Output) -> OutputKey:
    """What the judge is told: of equal ones it is asked once, or the order of threads would tell their answers apart."""
    return output.inputs if takes_contexts(asked_judge.judge) else output.inputs[:-1]


def _check_thresholds(asked_judge: JudgeHandle, outputs: Sequence[Output], at_least: float | None) -> None:
    """Nothing is paid for a mistake where the judge tells its scale."""
    scale = _judge_scale(asked_judge.judge)
    _check_at_least(asked_judge, at_least, scale)
    for output in outputs:
        _find_threshold(asked_judge, output, at_least, scale)


def _check_at_least(
    asked_judge: JudgeHandle, at_least: float | None, scale: tuple[float, float] | None
) -> None:
    if scale is not None and at_least is not None and not scale[0] <= at_least <= scale[1]:
        raise UsageError(
            f"--at-least: expected a score on the scale of judge {asked_judge.name}, {scale[0]:g} to {scale[1]:g}, got {at_least:g}"
        )


def _find_threshold(
    asked_judge: JudgeHandle, output: Output, at_least: float | None, scale: tuple[float, float] | None
) -> AtLeast:
    pass_at = as_finite_float(getattr(asked_judge.judge, "pass_at", None))
    return carry_over_threshold(
        output,
        at_least=at_least,
        pass_at=pass_at,
        scale=scale,
        judge=asked_judge.name,
        version=_find_version(asked_judge),
    )


def _find_version(asked_judge: JudgeHandle) -> str:
    """The judge's version, before it is asked too; one that cannot be told then is none."""
    try:
        return asked_judge.version or str(asked_judge.judge.version)
    except Exception:  # noqa: BLE001 -- a user's own judge
        return ""


def _judge_scale(judge: object) -> tuple[float, float] | None:
    low, high = as_finite_float(getattr(judge, "low", None)), as_finite_float(getattr(judge, "high", None))
    return None if low is None or high is None else (low, high)


def _ask_judge(asked_judge: JudgeHandle, output: Output) -> JudgeResponse:
    call = replace(asked_judge)
    contexts = output.contexts if takes_contexts(call.judge) else ()
    try:
        verdict = judge_answer(call, output.answer or "", output.question, output.reference, contexts)
    except UsageError as error:
        return JudgeResponse(call, Verdict(error=str(error)), error)
    except SystemExit as error:  # else the command would end, with status 0 as if all were well
        return JudgeResponse(call, Verdict(error=f"SystemExit: {error.code}"))
    return JudgeResponse(call, verdict)


def _lacks_contexts(response: JudgeResponse, output: Output) -> bool:
    """Whether a judge refused an output because there are no contexts: that says nothing of the others."""
    return not output.contexts and "contexts" in str(response.refusal)


def _measure_response(output: Output, response: JudgeResponse, at_least: float | None) -> RescoredOutput:
    verdict = response.verdict
    scale = (verdict.low, verdict.high) if verdict.score is not None else _judge_scale(response.asked.judge)
    _check_at_least(response.asked, at_least, scale)  # of a judge that tells no scale it is known only now
    threshold = _find_threshold(response.asked, output, at_least, scale)
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
    """The confidence that the test asked for; a judge that tells none decides."""
    review = output.old.detail.get("review") if output.old is not None else None
    min_confidence = as_finite_float(review.get("least")) if isinstance(review, Mapping) else None
    has_confidence = verdict.confidence is not None or verdict.prescreened
    return (
        min_confidence if has_confidence and min_confidence is not None and 0 <= min_confidence <= 1 else None
    )
