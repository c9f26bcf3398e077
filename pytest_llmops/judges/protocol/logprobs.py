"""The expected score by the log-probabilities of the verdict's token, instead of the written score (G-Eval).

Liu et al. 2023, "G-Eval: NLG Evaluation using GPT-4 with Better Human Alignment": the score is the sum over the scale
of probability times score. The probabilities of the tokens that the server lists are normalized to 1. If less than
`MIN_MASS` of the probability is on scores, the verdict is unscored: a silent fallback to the written score would change
the distribution behind a baseline.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from pytest_llmops.judges.protocol.reply_form import ReplyForm
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import TokenLogprobs

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


def weigh_by_logprobs(
    written: str, form: ReplyForm, labels: Sequence[str], logprobs: Sequence[TokenLogprobs]
) -> tuple[float, float]:
    """Return the expected score of a verdict and its confidence, 0 to 1.

    Args:
        written: The verdict as the reply has it: a whole number or a name of the form; empty: the first token is it.
        form: The form of the reply.
        labels: The words before a verdict.
        logprobs: The tokens of the reply.

    Raises:
        ValueError: There are no log-probabilities, no token is the verdict, or less than `MIN_MASS` is on scores.

    >>> tokens = [TokenLogprobs(token="A", top={"A": math.log(0.75), "B": math.log(0.25)})]
    >>> weigh_by_logprobs("A", ReplyForm(names={"A": 1, "B": 0}), ["winner"], tokens)[0]
    0.75
    """
    if not logprobs:
        raise ValueError("the server gave no log-probabilities: take `weighted` out, or use another server")
    token = _find_verdict_token(written, labels, logprobs) if written else logprobs[0]
    if token is None or (written and _read_token(token.token, form) != _read_token(written, form)):
        raise ValueError("no token of the reply is the score: its log-probabilities cannot be read")
    chances: dict[float, float] = {}
    for text, logprob in token.top.items():
        score = _read_token(text, form)
        if score is not None:
            chances[score] = min(chances.get(score, 0.0) + math.exp(min(logprob, 0.0)), 1.0)
    low, high = form.ends
    expected = expected_score(chances, low, high)
    if expected is None:
        raise ValueError("less than half of the probability is on scores of the scale")
    mean, spread = expected
    return mean, min(max(1 - spread / ((high - low) / 2), 0.0), 1.0)


def _find_verdict_token(
    written: str, labels: Sequence[str], logprobs: Sequence[TokenLogprobs]
) -> TokenLogprobs | None:
    """Return the token in which the last labelled verdict starts; without a label, the last that is written so."""
    text = "".join(token.token for token in logprobs)
    verdict = rf"(?<!\w){re.escape(written)}(?!\w)"
    label = rf"\b(?:{'|'.join(map(re.escape, labels))})\b\W{{1,8}}"
    for pattern in (rf"{label}(?P<verdict>{verdict})", rf"(?P<verdict>{verdict})"):
        places = [match.start("verdict") for match in re.finditer(pattern, text, re.IGNORECASE)]
        if places:
            end = 0
            for token in logprobs:
                end += len(token.token)
                if end > places[-1]:
                    return token
    return None


def _read_token(token: str, form: ReplyForm) -> float | None:
    """Return the score that a token begins; None if it begins none, or several names of different scores."""
    text = token.strip(' \n\t"[]:,}')
    if form.scale is not None:
        return float(text) if text.isascii() and text.isdigit() else None
    exact = {score for name, score in form.scores.items() if text and name.startswith(text)}
    folded = {
        score
        for name, score in form.scores.items()
        if text and not form.case_matters and name.casefold().startswith(text.casefold())
    }
    scores = exact or folded
    score = scores.pop() if len(scores) == 1 else None
    return None if score is None else float(score)
