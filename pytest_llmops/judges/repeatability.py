"""Measure the noise of a judge: how much its scores of the same answers vary.

Verdicts of a model on the same answer flip from run to run, also at temperature 0 (pairwise by 13.6 % on average,
"The Coin Flip Judge?", arXiv 2606.13685). A threshold that is closer to the usual scores than the noise fails at random.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter

from pytest_llmops import recorder
from pytest_llmops.errors import UsageError
from pytest_llmops.judges.concurrency import run_judge_tasks
from pytest_llmops.judges.panel import score_confidence
from pytest_llmops.measurement import TOLERANCE
from pytest_llmops.protocols import Judge

MIN_TRIALS = 2
TEXT_KEYS = ("answer", "question", "reference")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseNoise:
    """The scores of an answer.

    Attributes:
        scores: The scores of all scored trials, on the judge's scale.
        errors: The errors of the other trials.
        confidence: 1 if all scores are equal, 0 if half are at either end of the scale; None for fewer than two.
    """

    id: str
    scores: tuple[float, ...]
    errors: tuple[str, ...] = ()
    confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How much a judge's scores vary, over all answers.

    Attributes:
        sd: Standard deviation of a score around its answer's mean, on the judge's scale: the root of the mean
            variance (n - 1) within the answers; None if no answer has two scores.
        flip_rate: How often two trials of an answer fall on different sides of the threshold, 0 to slightly above
            0.5: the mean over the answers of the share of such pairs; None without a threshold.
        unscored: Share of trials without a score.
        cases: The answers in their order.
    """

    judge: str
    version: str
    trials: int
    threshold: float | None
    sd: float | None
    flip_rate: float | None
    unscored: float
    cases: tuple[CaseNoise, ...] = field(default=())


def noise(
    judge: Judge,
    cases: Iterable[Mapping[str, object] | str],
    *,
    trials: int = 5,
    pass_at: float | None = None,
) -> Noise:
    """Judge the same answers several times and return how much the scores vary.

    Each trial has its own recordings (see `recorder.run_as_trial`): a replay repeats the recorded trials and is not a new
    sample.

    Args:
        judge: The judge.
        cases: Answers; or mappings with ``answer`` and optional ``question``, ``reference``, ``contexts`` and ``id``.
        trials: How often each is judged, 2 or more.
        pass_at: The threshold that decides pass or fail; None: the judge's own.

    Returns:
        The deviation and the flip rate, without the trials that are unscored.

    Raises:
        UsageError: No cases, a malformed case, or fewer than two trials.
        ModelError: The model could not be called.
    """
    if trials < MIN_TRIALS:
        raise UsageError(f"noise: expected {MIN_TRIALS} trials or more, got {trials!r}")
    threshold = getattr(judge, "pass_at", None) if pass_at is None else pass_at
    checked = _check_cases(cases)
    tasks = [
        partial(_judge_repeatedly, judge, number, case, trials)
        for number, case in enumerate(checked, start=1)
    ]
    keys = [repr([case.get(key) for key in (*TEXT_KEYS, "contexts")]) for case in checked]
    results = list(run_judge_tasks(tasks, judge=judge, keys=keys, asked_model=itemgetter(1)))
    case_noises = tuple(case_noise for case_noise, _ in results)
    repeated = [case_noise.scores for case_noise in case_noises if len(case_noise.scores) >= MIN_TRIALS]
    variances = [statistics.variance(scores) for scores in repeated]
    flips = [_flip_share(scores, threshold) for scores in repeated] if threshold is not None else []
    return Noise(
        judge=str(getattr(judge, "name", "") or type(judge).__name__),
        version=str(judge.version),
        trials=trials,
        threshold=threshold,
        sd=math.sqrt(math.fsum(variances) / len(variances)) if variances else None,
        flip_rate=math.fsum(flips) / len(flips) if flips else None,
        unscored=sum(len(case_noise.errors) for case_noise in case_noises) / (trials * len(case_noises)),
        cases=case_noises,
    )


def _check_cases(cases: object) -> list[Mapping[str, object]]:
    if isinstance(cases, (str, Mapping)) or not isinstance(cases, Iterable):
        raise UsageError(f"noise: expected a list of cases, got {type(cases).__name__}: put it into a list")
    given: list[object] = list(cases)
    listed: list[Mapping[str, object]] = []
    for number, each in enumerate(given, start=1):
        case = each if isinstance(each, Mapping) else {"answer": each}
        texts = [case.get(key, "") for key in TEXT_KEYS]
        if not all(isinstance(text, str) for text in texts) or "answer" not in case:
            raise UsageError(
                f"noise: case {number}: expected a text, or a mapping with the texts {', '.join(TEXT_KEYS)}"
            )
        listed.append(case)
    if not listed:
        raise UsageError("noise: expected at least one case, got none")
    return listed


def _judge_repeatedly(
    judge: Judge, number: int, case: Mapping[str, object], trials: int
) -> tuple[CaseNoise, bool]:
    """Return the scores of an answer, and whether a model was called."""
    texts = {key: str(case.get(key, "")) for key in TEXT_KEYS[1:]}
    more = {"contexts": case["contexts"]} if case.get("contexts") else {}
    scores, errors = [], []
    low, high, asked_model = 0.0, 1.0, False
    for trial in range(trials):
        with recorder.run_as_trial(trial), recorder.set_purpose("judge"):
            verdict = judge.judge(str(case["answer"]), **texts, **more)  # type: ignore[arg-type]
        low, high, asked_model = verdict.low, verdict.high, asked_model or not verdict.prescreened
        if verdict.score is None:
            errors.append(verdict.error)
        else:
            scores.append(float(verdict.score))
    case_noise = CaseNoise(
        id=str(case.get("id", number)),
        scores=tuple(scores),
        errors=tuple(errors),
        confidence=score_confidence(scores, low, high),
    )
    return case_noise, asked_model


def _flip_share(scores: Sequence[float], threshold: float) -> float:
    passed = sum(score >= threshold - TOLERANCE for score in scores)
    return passed * (len(scores) - passed) / math.comb(len(scores), 2)
