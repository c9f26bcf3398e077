"""Confidence in an answer: from log-probabilities, from repeated answers, or from the answer's own words.

Two further functions compare confidences with whether the answers were right.

A confidence that cannot be read is a `ValueError`, never 0.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean

from pytest_llmops.measurement import require_list, shorten_text

# Only their order matters to a threshold that is chosen on data
STATED_WORDS: Mapping[str, float] = {
    "very high": 0.95,
    "high": 0.85,
    "medium": 0.6,
    "low": 0.3,
    "very low": 0.1,
}
BINS = 10
LIKELY = 1e-3  # a sum of 1 is not a sum over a vocabulary if the least of its few tokens is as likely as this

# No part of another number, of a range, or of "4/5" and "1 out of 10"
_STATED_NUMBER = r"(?<![\w.,/-])(\d{1,3}(?:\.\d{1,9})?)\s?(%|/\s?100?\b)?(?![.,]?\d|\s?(?:/|out\b|of\b))"
_BEFORE_VALUE = r"\bconfidence(?:\s(?:level|score|is|of|about)){0,3}\s?[:=]?\s{0,3}"
_BEHIND_VALUE = r"\s(?:confidence|confident|sure|certain)\b"


def logprob_confidence(logprobs: Sequence[float] | Mapping[str, float], choice: str = "") -> float:
    """Return the probability of an answer according to the model's log-probabilities, from 0 to 1.

    Args:
        logprobs: A list with the log-probabilities of the answer's tokens: the result is the geometric mean of the
            probabilities. Or a mapping from the alternatives for one token to theirs (``top_logprobs``): the result is
            the probability of ``choice``. ``-inf`` is a probability of 0.
        choice: One of the alternatives. White space around it does not count, letter case does.

    Raises:
        ValueError: There are none, one is missing or above 0, ``choice`` is not among them, or they were renormalized to
            a sum of 1: the other possible tokens of the model are no longer in them.

    >>> round(logprob_confidence([-0.1, -0.3]), 3), round(logprob_confidence({" yes": -0.2, "no": -2.0}, "yes"), 3)
    (0.819, 0.819)
    """
    given: object = logprobs
    if isinstance(logprobs, Mapping):
        given = logprobs.values()
    numbers = require_list(given, object, "")
    if not numbers or not all(map(_is_log_probability, numbers)):
        raise ValueError(
            f"log-probabilities: expected numbers of at most 0, got {shorten_text(repr(logprobs))}"
        )
    if not isinstance(logprobs, Mapping):
        return math.exp(fmean(logprobs))
    chances = {token: math.exp(number) for token, number in logprobs.items()}
    total = math.fsum(chances.values())
    if math.isclose(total, 1) and min(chances.values()) > LIKELY:
        raise ValueError(
            "log-probabilities: expected the model's own, got some that were renormalized to a sum of 1: "
            + shorten_text(repr(logprobs))
        )
    wanted = str(choice).strip()
    chances_of_choice = []  # several tokens may differ in white space only
    for token, chance in chances.items():
        if str(token).strip() == wanted:
            chances_of_choice.append(chance)
    if not chances_of_choice:
        given_text = shorten_text(repr(logprobs))
        raise ValueError(f"log-probabilities: expected a choice out of {given_text}, got {choice!r}")
    return min(math.fsum(chances_of_choice), 1.0)


def _is_log_probability(value: object) -> bool:
    if not isinstance(value, (int, float)) or type(value) is bool:
        return False
    return value <= 0


def agreement_confidence(answers: Sequence[str]) -> float:
    """Return the share of the most common answer among several answers to a question.

    White space and letter case do not count.

    Raises:
        ValueError: There are fewer than two answers, or one is not a text.

    >>> agreement_confidence(["Yes", "yes ", "No", "Yes"])
    0.75
    """
    if not _are_comparable(answers):
        given = shorten_text(repr(answers))
        raise ValueError(f"answers: expected at least two texts, got {given}")
    spaced = [" ".join(text.casefold().split()) for text in answers]
    counts = Counter(spaced)
    return max(counts.values()) / len(answers)


def _are_comparable(answers: object) -> bool:
    if isinstance(answers, (str, Mapping)) or not hasattr(answers, "__len__"):
        return False
    if len(answers) < 2:  # noqa: PLR2004 -- two can agree
        return False
    return all(isinstance(text, str) for text in answers)  # type: ignore[attr-defined]  # not iterable: its own error


def stated_confidence(text: str, words: Mapping[str, float] = STATED_WORDS) -> float:
    """Return the confidence that an answer states: ``Confidence: 0.85``, ``85 % sure``, ``confidence 8/10``, ``high confidence``.

    Args:
        text: The answer.
        words: Numbers from 0 to 1 by word. Letter case does not count.

    Raises:
        ValueError: It states none, several that differ, a number above 1 without ``%``, ``/10`` or ``/100``, or one that is written
            otherwise (``0,85``, ``4/5``, ``1 out of 10``).

    >>> stated_confidence("45 days. (Confidence: 85 %)"), stated_confidence("I have low confidence in this.")
    (0.85, 0.3)
    """
    number_of_word = {}
    for word, number in words.items():
        if word.strip():
            number_of_word[word.casefold()] = number
    longest_first = sorted(number_of_word, key=len, reverse=True)
    any_word = "|".join(map(re.escape, longest_first)) or "(?!)"
    value = rf"(?:{_STATED_NUMBER}|\b({any_word})\b)"
    stated: set[float] = set()
    answer = str(text or "")
    for pattern in (_BEFORE_VALUE + value, value + _BEHIND_VALUE):
        for digits, unit, word in re.findall(pattern, answer, re.IGNORECASE):
            if word:
                stated.add(number_of_word[word.casefold()])
            else:
                stated.add(float(digits) / _read_unit(unit))
    if len(stated) != 1 or not 0 <= max(stated) <= 1:
        got = ", ".join(map(str, sorted(stated))) or "none"
        raise ValueError(
            f"stated confidence: expected one number from 0 to 1, or with %, /10 or /100, got {got}"
        )
    return stated.pop()


def _read_unit(unit: str) -> int:
    """Return the number that means full confidence in a unit: 100 for ``%``, 10 for ``/ 10``, 1 without a unit.

    >>> _read_unit("%"), _read_unit("/ 10"), _read_unit("")
    (100, 10, 1)
    """
    if unit == "%":
        return 100
    return int(unit.strip("/ ") or 1)


def coverage_curve(confidences: Sequence[float], correct: Sequence[bool]) -> list[tuple[float, int, int]]:
    """Return triples of a confidence, the number of answers with at least this confidence, and how many are right.

    There is one for each distinct confidence, the highest first.

    >>> coverage_curve([0.9, 0.5, 0.9], [True, False, False])
    [(0.9, 2, 1), (0.5, 3, 1)]
    """
    pairs = sorted(zip(confidences, correct, strict=True), reverse=True)
    curve = []
    answers = 0
    right = 0
    # No threshold can cut between equal confidences
    for level, group in groupby(pairs, key=_confidence_of):
        outcomes = [int(is_right) for _, is_right in group]
        answers += len(outcomes)
        right += sum(outcomes)
        curve.append((level, answers, right))
    return curve


def _confidence_of(pair: tuple[float, float]) -> float:
    return pair[0]


def reliability_bins(confidences: Sequence[float], correct: Sequence[bool]) -> list[list[float]]:
    """Return ``[mean confidence, share of right answers, number of answers]`` for ten equal ranges of confidence.

    Ranges without answers are left out.

    >>> reliability_bins([0.75, 0.25, 0.25], [True, True, False])
    [[0.25, 0.5, 2], [0.75, 1.0, 1]]
    """
    pairs = sorted(zip(confidences, map(float, correct), strict=True))
    bins: list[list[float]] = []
    for _, group in groupby(pairs, key=_bin_of):
        levels, outcomes = zip(*group, strict=True)
        bins.append([fmean(levels), fmean(outcomes), len(levels)])
    return bins


def _bin_of(pair: tuple[float, float]) -> int:
    return min(int(_confidence_of(pair) * BINS), BINS - 1)
