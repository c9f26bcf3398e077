"""Win rate of a model over many preferences, and the win rate that remains at equal length of the answers.

Judges prefer long answers: models with the instruction to be verbose rise on a board of win rates, without better answers. The
length-controlled win rate estimates the win rate if both answers had the same length.

Sources: Dubois et al. 2024, "Length-Controlled AlpacaEval"; the interval of the win rate is after Agresti and Caffo,
"Simple and Effective Confidence Intervals for Proportions", 2000.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from pytest_llmops._util.arrays import Float64Array, np
from pytest_llmops.measurement import as_finite_float, shorten_text

MAX_LENGTH = 1e9
MIN_PAIRS = 2  # of a win rate: one pair has no spread
MIN_CONTROLLED_PAIRS = 30  # ten for each of the three coefficients
MIN_WINS = 3.0  # and losses. With fewer, the coefficients are decided by the penalty
# Without anchors, pairs in which the answer is longer, and pairs in which it is shorter: at least so many and such a share.
# Else the win rate at equal length lies outside the data
MIN_LONGER = 10
MIN_LONGER_SHARE = 0.05
ANCHOR_WEIGHT = 0.2  # of a pair of the anchors, shared by all anchors. Value of the paper's authors
INVERSE_PENALTY = 100.0  # scikit-learn's C: just enough for coefficients that the data do not determine
# Columns of the regression
LENGTH, DIFFICULTY, IDENTITY = range(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class WinRate:
    """A win rate with its interval.

    Attributes:
        rate: Mean preference, from 0 to 1; above 0.5 the model is better than the other one.
        low: Lower end of the interval, from 0 to 1.
        high: Upper end of the interval, from 0 to 1.
        standard_error: Of the rate.
        pairs: How many pairs were judged.
    """

    rate: float
    low: float
    high: float
    standard_error: float
    pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPairs:
    """Preferences between the answers of a model and of another one to the same questions, with the lengths of the answers.

    All sequences have one number a pair, in the same order.

    Attributes:
        preferences: 1 where the model's answer is preferred, 0 where the other one is, 0.5 for a tie; probabilities in
            between count as such. `Preference.score`, or the value that `assert_preferred` returns.
        lengths: Length of the model's answer, in characters or tokens; at least 0.
        other_lengths: Length of the other answer, in the same unit.
        difficulties: Knowledge about each question from other models, the same scale for all pairs, such as the
            log-odds of their mean preference; empty: nothing.

    Raises:
        ValueError: No pair is given, the sequences differ in length, or a number is missing, NaN or out of its range.
    """

    preferences: Sequence[float]
    lengths: Sequence[float]
    other_lengths: Sequence[float]
    difficulties: Sequence[float] = ()

    def __post_init__(self) -> None:
        """Check the numbers, and store them as tuples of floats."""
        preferences = _read_preferences(self.preferences)
        checked = {
            "lengths": _read_numbers("lengths", self.lengths, 0.0, MAX_LENGTH),
            "other_lengths": _read_numbers("other_lengths", self.other_lengths, 0.0, MAX_LENGTH),
            "difficulties": _read_numbers("difficulties", self.difficulties),
        }
        for name, numbers in checked.items():
            if name == "difficulties" and not numbers:
                continue
            if len(numbers) != len(preferences):
                raise ValueError(
                    f"{name}: expected a number for each of {len(preferences)} preferences, got {len(numbers)}"
                )
        for name, numbers in {"preferences": preferences, **checked}.items():
            object.__setattr__(self, name, numbers)  # the class is frozen


def win_rate(preferences: Iterable[float], *, confidence: float = 0.95) -> WinRate:
    """Return the mean of preferences, with its interval.

    The interval is the t interval of the preferences and of one more win and one more loss, so that a model that wins all
    of a few pairs is not certain to win all others.

    Args:
        preferences: As in `JudgedPairs`, at least two.
        confidence: Share of such intervals that contain the true win rate.

    Raises:
        ValueError: Fewer than two preferences; one is missing, NaN or not from 0 to 1; or a confidence that is not between
            0 and 1.

    >>> result = win_rate([1, 1, 0.5, 1, 0, 1, 1, 0.5, 1, 1])
    >>> result.rate, round(result.low, 2), round(result.high, 2)
    (0.8, 0.5, 1.0)
    """
    _check_confidence(confidence)
    numbers = _read_preferences(preferences)
    if len(numbers) < MIN_PAIRS:
        raise ValueError(f"win rate: expected at least {MIN_PAIRS} preferences, got {len(numbers)}")
    from scipy.special import stdtrit

    values = np.array(numbers)
    rate = float(values.mean())
    extended = np.append(values, (0.0, 1.0))
    error = extended.std(ddof=1) / math.sqrt(len(extended))
    half = float(stdtrit(len(extended) - 1, (1 + confidence) / 2) * error)
    centre = float(extended.mean())
    return WinRate(
        rate=rate,
        low=max(0.0, min(rate, centre - half)),
        high=min(1.0, max(rate, centre + half)),
        standard_error=float(values.std(ddof=1) / math.sqrt(len(values))),
        pairs=len(values),
    )


def length_controlled_win_rate(
    pairs: JudgedPairs, *, anchors: Sequence[JudgedPairs] = (), confidence: float = 0.95
) -> WinRate:
    """Return the win rate that a model would have if its answers were as long as the answers of the other one.

    A logistic regression explains the preferences by the model, by the difference of the lengths (divided by its standard
    deviation, then tanh), and by the difficulty if it is known. The result is the mean of its predictions for a difference
    of 0. It holds as far as the judge's liking for length is alike in all pairs; it does not tell whether a longer answer
    is better because it contains more.

    Args:
        pairs: The judged pairs, at least 30.
        anchors: Pairs in which both answers come from the *other* model, once with the instruction to be brief or verbose. They show what
            the judge makes of length only. They are needed if one model is longer in almost all pairs.
        confidence: Share of such intervals that contain the true value.

    Returns:
        The rate; its interval contains the uncertainty of the regression (sandwich estimator).

    Raises:
        ValueError: Too few pairs, wins or losses; one model is longer in almost all pairs, and no anchors are given;
            anchors without difficulties for pairs with them; or a confidence that is not between 0 and 1.

    >>> pairs = JudgedPairs(
    ...     preferences=([1] * 12 + [0] * 3 + [1] + [0] * 4) * 4,
    ...     lengths=([600] * 15 + [200] * 5) * 4,
    ...     other_lengths=[400] * 80,
    ... )
    >>> result = length_controlled_win_rate(pairs)
    >>> win_rate(pairs.preferences).rate, round(result.rate, 2)
    (0.65, 0.5)
    """
    _check_confidence(confidence)
    _check_controllable(pairs, anchors)
    rate, error = _estimate_rate(pairs, anchors)
    # On the scale of log-odds, so that the interval stays between 0 and 1
    centre = math.log(rate / (1 - rate))
    half = NormalDist().inv_cdf((1 + confidence) / 2) * error / (rate * (1 - rate))
    low, high = _logistic(np.array([centre - half, centre + half]))
    count = len(pairs.preferences)
    return WinRate(rate=rate, low=float(low), high=float(high), standard_error=error, pairs=count)


def _estimate_rate(pairs: JudgedPairs, anchors: Sequence[JudgedPairs]) -> tuple[float, float]:
    """Return the win rate at equal length, and its standard error."""
    values = np.array(pairs.preferences)
    columns = [_build_columns(pairs, identity=1.0)]
    targets = [values]
    weights = [np.ones(len(values))]
    for anchor in anchors:
        columns.append(_build_columns(anchor, identity=0.0))
        targets.append(np.array(anchor.preferences))
        weights.append(np.full(len(anchor.preferences), ANCHOR_WEIGHT / len(anchors)))
    table = np.concatenate(columns)
    table[:, DIFFICULTY] /= np.abs(table[:, DIFFICULTY]).max() or 1.0
    target = np.concatenate(targets)
    weight = np.concatenate(weights)
    coefficients = _fit_logistic(table, target, weight)

    at_equal_length = table[: len(values)].copy()
    at_equal_length[:, LENGTH] = 0.0
    predicted = _logistic(at_equal_length @ coefficients)
    rate = float(predicted.mean())
    # How much each row moves the coefficients and so the rate, and each pair the rate by its own prediction
    fitted = _logistic(table @ coefficients)
    curvature = (table * (weight * fitted * (1 - fitted))[:, None]).T @ table + np.eye(3) / INVERSE_PENALTY
    slope = (at_equal_length * (predicted * (1 - predicted))[:, None]).mean(axis=0)
    influence = (table * (weight * (target - fitted))[:, None]) @ np.linalg.solve(curvature, slope)
    influence[: len(values)] += (predicted - rate) / len(values)
    return rate, float(np.linalg.norm(influence))


def _check_controllable(pairs: JudgedPairs, anchors: Sequence[JudgedPairs]) -> None:
    """Check that the pairs can separate the effect of length from the effect of the model.

    Raises:
        ValueError: They cannot.
    """
    count = len(pairs.preferences)
    if count < MIN_CONTROLLED_PAIRS:
        raise ValueError(
            f"length-controlled win rate: expected at least {MIN_CONTROLLED_PAIRS} pairs, got {count}"
        )
    wins = math.fsum(pairs.preferences)
    if min(wins, count - wins) < MIN_WINS:
        raise ValueError(
            f"length-controlled win rate: expected at least {MIN_WINS:g} wins and {MIN_WINS:g} losses, "
            f"got {wins:g} and {count - wins:g} in {count} pairs; use win_rate"
        )
    if len(set(pairs.preferences)) == 1:
        raise ValueError(
            f"length-controlled win rate: expected preferences that differ, got {pairs.preferences[0]:g} "
            f"for all {count} pairs; use win_rate"
        )
    for number, anchor in enumerate(anchors, start=1):
        if bool(anchor.difficulties) != bool(pairs.difficulties):
            raise ValueError(
                f"length-controlled win rate: anchor {number}: expected difficulties exactly if the pairs have them"
            )
    if anchors or pairs.lengths == pairs.other_lengths:
        return
    both = list(zip(pairs.lengths, pairs.other_lengths, strict=True))
    longer = sum(length > other for length, other in both)
    shorter = sum(length < other for length, other in both)
    expected = max(MIN_LONGER, math.ceil(count * MIN_LONGER_SHARE))
    if min(longer, shorter) < expected:
        raise ValueError(
            f"length-controlled win rate: expected at least {expected} pairs in which the answer is longer and "
            f"{expected} in which it is shorter, got {longer} and {shorter} of {count}; the preference of the judge "
            "at equal length is not in these data. Pass anchors, or request answers of similar length"
        )


def _build_columns(pairs: JudgedPairs, *, identity: float) -> Float64Array:
    """Return the columns of the regression, one row a pair: length, difficulty, and whether the models differ."""
    differences = np.array(pairs.lengths) - np.array(pairs.other_lengths)
    columns = np.zeros((len(differences), 3))
    spread = differences.std()
    if spread > 0:
        columns[:, LENGTH] = np.tanh(differences / differences.std(ddof=1))
    if pairs.difficulties:
        columns[:, DIFFICULTY] = pairs.difficulties
    columns[:, IDENTITY] = identity
    return columns


def _fit_logistic(table: Float64Array, target: Float64Array, weight: Float64Array) -> Float64Array:
    """Return the coefficients of a logistic regression of probabilities: each row counts as a win and as a loss."""
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(
        C=INVERSE_PENALTY, fit_intercept=False, solver="newton-cholesky", tol=1e-8
    )
    wins = np.repeat([1, 0], len(table))
    regression.fit(
        np.concatenate([table, table]),
        wins,
        sample_weight=np.concatenate([weight * target, weight * (1 - target)]),
    )
    coefficients: Float64Array = regression.coef_[0]
    return coefficients


def _logistic(log_odds: Float64Array) -> Float64Array:
    from scipy.special import expit

    probabilities: Float64Array = expit(log_odds)
    return probabilities


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"win rate: expected a confidence between 0 and 1, got {confidence}")


def _read_preferences(given: Any) -> tuple[float, ...]:
    """Return preferences as floats.

    Raises:
        ValueError: There is none, or one is not a number from 0 to 1.
    """
    preferences = _read_numbers("preferences", given, 0.0, 1.0)
    if not preferences:
        raise ValueError("preferences: expected a number from 0 to 1 for each pair, got none")
    return preferences


def _read_numbers(name: str, given: Any, low: float = -math.inf, high: float = math.inf) -> tuple[float, ...]:
    """Return finite numbers within a range as floats.

    Raises:
        ValueError: It is not a list of such numbers; with the place of the first that is not.
    """
    expected = "a finite number"
    if high < math.inf:
        expected = f"a number from {low:g} to {high:g}"
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueError(f"{name}: expected {expected} for each pair, got {shorten_text(repr(given), 60)}")
    numbers = []
    for place, value in enumerate(given):
        number = as_finite_float(value)
        if number is not None and low <= number <= high:
            numbers.append(number)
            continue
        hint = ""
        if value is None:
            hint = "; leave out pairs without a verdict, and report how many they are"
        raise ValueError(f"{name}[{place}]: expected {expected}, got {shorten_text(repr(value), 60)}{hint}")
    return tuple(numbers)
