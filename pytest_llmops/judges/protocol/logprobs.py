"""The expected score by the log-probabilities of the score's token, instead of the written score (G-Eval).

Liu et al. 2023, "G-Eval: NLG Evaluation using GPT-4 with Better Human Alignment": the score is the sum over the scale
of probability times score. The probabilities of the tokens that the server lists are normalized to 1. If less than
`MIN_MASS` of the probability is on scores, the verdict is unscored: a silent fallback to the written score would change
the distribution behind a baseline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Completion, Verdict

LOGPROB_PARAMS: Mapping[str, Json] = {"logprobs": True, "top_logprobs": 20}
"""Parameters with which chat completions return log-probabilities."""
MIN_MASS = 0.5  # least total probability of the scores of the scale


def expected_score(
    probabilities: Mapping[float, float], low: float, high: float
) -> tuple[float, float] | None:
    """Return mean and standard deviation of the scores by their probabilities; None below `MIN_MASS`.

    Args:
        probabilities: Score -> probability, 0 to 1; scores off the scale do not count.
        low: Lowest score of the scale.
        high: Highest.

    Raises:
        ValueError: A probability is not a number from 0 to 1.

    >>> expected_score({4.0: 0.25, 5.0: 0.75}, 1, 5)
    (4.75, 0.4330127018922193)
    """
    bad = [probability for probability in probabilities.values() if not 0 <= probability <= 1 + 1e-6]
    if bad:
        raise ValueError(f"expected probabilities from 0 to 1, got {bad[0]}")
    kept = {score: probability for score, probability in probabilities.items() if low <= score <= high}
    mass = math.fsum(kept.values())
    if mass < MIN_MASS:
        return None
    mean = math.fsum(score * probability for score, probability in kept.items()) / mass
    variance = math.fsum((score - mean) ** 2 * probability for score, probability in kept.items()) / mass
    return min(max(mean, low), high), math.sqrt(variance)


def apply_expected_score(verdict: Verdict, completion: Completion | None) -> Verdict:
    """Return the verdict with the expected score in place of the written score.

    Args:
        verdict: The parsed reply; its score is a whole number, without dimensions.
        completion: The reply; ``logprobs`` are its tokens, each with ``token``, and ``top``, a mapping of
            tokens at that position to log-probabilities.

    Returns:
        A verdict with its ``confidence``; unscored if the server gave no log-probabilities, or too little
        probability is on scores.
    """
    tokens: Sequence[Any] = getattr(completion, "logprobs", None) or ()
    if not tokens:
        return _without_score(
            verdict, "the server gave no log-probabilities: take `weighted` out, or use another server"
        )
    # The last such token: most reply formats end with the score.
    token_at_score = next(
        (token for token in reversed(tokens) if _parse_score_token(token.token) == verdict.score), None
    )
    if token_at_score is None:
        return _without_score(
            verdict, "no token of the reply is the score: its log-probabilities cannot be read"
        )
    chances: dict[float, float] = {}
    for token, logprob in token_at_score.top.items():
        score = _parse_score_token(token)
        if score is not None:
            chances[score] = min(chances.get(score, 0.0) + math.exp(min(logprob, 0.0)), 1.0)
    expected = expected_score(chances, verdict.low, verdict.high)
    if expected is None:
        return _without_score(verdict, "less than half of the probability is on scores of the scale")
    mean, spread = expected
    return replace(verdict, score=mean, confidence=1 - spread / ((verdict.high - verdict.low) / 2))


def _without_score(verdict: Verdict, error: str) -> Verdict:
    return replace(verdict, score=None, reason="", dimensions={}, error=error)


def _parse_score_token(token: str) -> float | None:
    text = token.strip(' \n\t"[]:,}')
    return float(text) if text.isascii() and text.isdigit() else None
