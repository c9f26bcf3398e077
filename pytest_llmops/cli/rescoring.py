"""Asking a judge about many stored outputs at a time, so that a recording answers the same again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pytest_llmops import recorder
from pytest_llmops.assertions.judge_score import assert_judge_score
from pytest_llmops.errors import UsageError
from pytest_llmops.judges.concurrency import together
from pytest_llmops.judges.evaluate import Asked, asked_of, takes_contexts, verdict_of
from pytest_llmops.measurement import finite
from pytest_llmops.protocols import Judge, Verdict
from pytest_llmops.results.rejudging import AtLeast, Judged, Output, threshold_of

WHO = "llmops judge rescore"
Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of asking about one output: a verdict, or why the judge refused it."""

    asked: Asked
    verdict: Verdict
    refusal: UsageError | None = None

    @property
    def asked_a_model(self) -> bool:
        """Whether a model was asked, as far as can be seen."""
        return self.refusal is None and not self.verdict.prescreened


@dataclass(slots=True)
class _Said:
    """A judge that has said it already: of its verdict is measured what a test would have measured."""

    heard: Heard

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


def score(judge: Judge, outputs: Sequence[Output], *, at_least: float | None = None) -> list[Judged]:
    """Ask a judge about outputs, and return what a test would have measured of each, in their order.

    Equal outputs are asked once. What cannot be scored is unscored, whatever the reason; what the judge refuses
    every time is the user's to correct.

    Args:
        judge: Who is asked. Contexts are left out where it takes none.
        outputs: The outputs.
        at_least: The threshold, on the judge's own scale; None: see `threshold_of`.

    Raises:
        CassetteMiss: Nothing recorded answers a request.
        UsageError: No judge, a threshold that is not on its scale, or the judge refuses every output.
    """
    asked = asked_of(judge, WHO)
    _check_thresholds(asked, outputs, at_least)
    keys = [_key(asked, one) for one in outputs]
    waiting = {key: one for key, one in zip(keys, outputs, strict=True) if one.answer is not None}
    tasks = [partial(_ask, asked, one) for one in waiting.values()]
    answers = together(tasks, judge=judge, asked=lambda one: one.asked_a_model)
    said: dict[Key, Heard] = dict(zip(waiting, answers, strict=True))
    refused = [one for key, one in said.items() if one.refusal and not _lacks_contexts(one, waiting[key])]
    if refused and len(refused) == len(said) and refused[0].refusal is not None:
        raise refused[0].refusal
    nobody = Heard(asked, Verdict())
    return [_measured(one, said.get(key, nobody), at_least) for key, one in zip(keys, outputs, strict=True)]


def _key(asked: Asked, one: Output) -> Key:
    """What the judge is told: of equal ones it is asked once, or the order of threads would tell their answers apart."""
    return one.inputs if takes_contexts(asked.judge) else one.inputs[:-1]


def _check_thresholds(asked: Asked, outputs: Sequence[Output], at_least: float | None) -> None:
    """Nothing is paid for a mistake where the judge tells its scale."""
    scale = _own_scale(asked.judge)
    _check_at_least(asked, at_least, scale)
    for one in outputs:
        _threshold(asked, one, at_least, scale)


def _check_at_least(asked: Asked, at_least: float | None, scale: tuple[float, float] | None) -> None:
    if scale is not None and at_least is not None and not scale[0] <= at_least <= scale[1]:
        raise UsageError(
            f"--at-least: expected a score on the scale of judge {asked.name}, {scale[0]:g} to {scale[1]:g}, got {at_least:g}"
        )


def _threshold(
    asked: Asked, one: Output, at_least: float | None, scale: tuple[float, float] | None
) -> AtLeast:
    pass_at = finite(getattr(asked.judge, "pass_at", None))
    return threshold_of(
        one, at_least=at_least, pass_at=pass_at, scale=scale, judge=asked.name, version=_version(asked)
    )


def _version(asked: Asked) -> str:
    """The judge's version, before it is asked too; one that cannot be told then is none."""
    try:
        return asked.version or str(asked.judge.version)
    except Exception:  # noqa: BLE001 -- a user's own judge
        return ""


def _own_scale(judge: object) -> tuple[float, float] | None:
    low, high = finite(getattr(judge, "low", None)), finite(getattr(judge, "high", None))
    return None if low is None or high is None else (low, high)


def _ask(asked: Asked, one: Output) -> Heard:
    mine = replace(asked)
    contexts = one.contexts if takes_contexts(mine.judge) else ()
    try:
        verdict = verdict_of(mine, one.answer or "", one.question, one.reference, contexts)
    except UsageError as error:
        return Heard(mine, Verdict(error=str(error)), error)
    except SystemExit as error:  # else the command would end, with status 0 as if all were well
        return Heard(mine, Verdict(error=f"SystemExit: {error.code}"))
    return Heard(mine, verdict)


def _lacks_contexts(one: Heard, output: Output) -> bool:
    """Whether a judge refused an output because there are no contexts: that says nothing of the others."""
    return not output.contexts and "contexts" in str(one.refusal)


def _measured(one: Output, heard: Heard, at_least: float | None) -> Judged:
    verdict = heard.verdict
    scale = (verdict.low, verdict.high) if verdict.score is not None else _own_scale(heard.asked.judge)
    _check_at_least(heard.asked, at_least, scale)  # of a judge that tells no scale it is known only now
    threshold = _threshold(heard.asked, one, at_least, scale)
    with recorder.collect() as found:
        assert_judge_score(
            one.answer,
            judge=_Said(heard),
            question=one.question,
            reference=one.reference,
            contexts=one.contexts,
            at_least=threshold,
            review_below=_review(one, verdict),
            label=one.label,
        )
    return Judged(output=one, measurements=tuple(found))


def _review(one: Output, verdict: Verdict) -> float | None:
    """The confidence that the test asked for; a judge that tells none decides."""
    flag = one.old.detail.get("review") if one.old is not None else None
    least = finite(flag.get("least")) if isinstance(flag, Mapping) else None
    sure = verdict.confidence is not None or verdict.prescreened
    return least if sure and least is not None and 0 <= least <= 1 else None
