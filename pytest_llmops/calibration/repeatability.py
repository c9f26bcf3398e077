"""Measure the noise of a judge: how much its scores of the same answers vary.

Verdicts of a model on the same answer flip from run to run, also at temperature 0 (pairwise by 13.6 % on average,
"The Coin Flip Judge?", arXiv 2606.13685). A threshold that is closer to the usual scores than the noise fails at random.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_llmops._util.text_files import BadFile, check_json_value
from pytest_llmops.calibration.labels import LabelledAnswer, parse_answer
from pytest_llmops.calibration.verdicts import iter_verdicts
from pytest_llmops.errors import UsageError
from pytest_llmops.judges.evaluate import resolve_judge
from pytest_llmops.judges.panel import score_confidence
from pytest_llmops.measurement import TOLERANCE
from pytest_llmops.protocols import Judge, Verdict

MIN_TRIALS = 2


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
        The deviation and the flip rate, without the trials that are unscored; a model that cannot be called gives those.

    Raises:
        UsageError: No cases, a malformed case, or fewer than two trials.
    """
    if type(trials) is not int or trials < MIN_TRIALS:
        raise UsageError(f"noise: expected {MIN_TRIALS} trials or more, got {trials!r}")
    threshold = getattr(judge, "pass_at", None) if pass_at is None else pass_at
    handle, rows = resolve_judge(judge, "noise"), _parse_cases(cases)
    case_noises = tuple(_measure_case(row, verdicts) for row, verdicts in iter_verdicts(handle, rows, trials))
    repeated = [case_noise.scores for case_noise in case_noises if len(case_noise.scores) >= MIN_TRIALS]
    variances = [statistics.variance(scores) for scores in repeated]
    flips = [_flip_share(scores, threshold) for scores in repeated] if threshold is not None else []
    return Noise(
        judge=handle.name,
        version=handle.version,
        trials=trials,
        threshold=threshold,
        sd=math.sqrt(math.fsum(variances) / len(variances)) if variances else None,
        flip_rate=math.fsum(flips) / len(flips) if flips else None,
        unscored=sum(len(case_noise.errors) for case_noise in case_noises) / (trials * len(case_noises)),
        cases=case_noises,
    )


def _parse_cases(cases: object) -> list[LabelledAnswer]:
    if isinstance(cases, (str, Mapping)) or not isinstance(cases, Iterable):
        raise UsageError(f"noise: expected a list of cases, got {type(cases).__name__}: put it into a list")
    rows = []
    for number, each in enumerate(cases, start=1):
        case = {"id": str(number), **(each if isinstance(each, Mapping) else {"answer": each})}
        try:
            row = parse_answer(check_json_value(case), number)
        except BadFile as error:
            raise UsageError(f"noise: case {number}: {error.what}") from None
        if row.answer is None:
            raise UsageError(f"noise: case {number}: expected a text, or a mapping with the text answer")
        rows.append(row)
    if not rows:
        raise UsageError("noise: expected at least one case, got none")
    return rows


def _measure_case(row: LabelledAnswer, verdicts: Sequence[Verdict]) -> CaseNoise:
    scores = tuple(float(verdict.score) for verdict in verdicts if verdict.score is not None)
    errors = tuple(verdict.error for verdict in verdicts if verdict.score is None)
    confidence = score_confidence(scores, verdicts[-1].low, verdicts[-1].high)
    return CaseNoise(id=row.id, scores=scores, errors=errors, confidence=confidence)


def _flip_share(scores: Sequence[float], threshold: float) -> float:
    passed = sum(score >= threshold - TOLERANCE for score in scores)
    return passed * (len(scores) - passed) / math.comb(len(scores), 2)
