"""Assert that a metric of your own reaches a threshold."""

import inspect
import math
import numbers
from collections.abc import Callable
from functools import partial
from types import EllipsisType
from typing import Literal

from pytest_llmops import recorder
from pytest_llmops.assertions import _evidence as contrast
from pytest_llmops.assertions._arguments import describe_kind
from pytest_llmops.errors import UsageError, describe_exception
from pytest_llmops.measurement import UNITS, Json, Measurement, as_finite_float, shorten_text, to_builtins

__tracebackhide__ = True


def assert_score(
    metric: Callable[..., float],
    actual: object,
    expected: object = ...,
    *,
    at_least: float | EllipsisType | None = ...,
    at_most: float | EllipsisType | None = ...,
    name: str = "",
    unit: str = "1",
    scale: tuple[float, float] | None = None,
    label: str = "",
) -> Measurement:
    """Assert that a metric of your own gives a value that is high enough, or low enough.

    A metric is a function: ``metric(actual, expected)``, or ``metric(actual)`` if ``expected`` is left out. If it
    cannot compute a score, it should raise an exception. That is an error, not a low score.

    Args:
        metric: The function. `pytest_llmops.semantics.textmetrics` has some. Its ``version`` attribute, if present,
            becomes the version of the measurement: different versions are never compared. Its ``name`` attribute, if
            present, becomes the name of the measurement.
        actual: The first argument of the metric, of any type. None is passed to the metric too.
        expected: The second argument of the metric. Left out: the metric is called without it.
        at_least: The threshold of a metric that should be high. None: record only.
        at_most: The threshold of a metric that should be low. None: record only.
        name: Name of the measurement, the key of a baseline. Left out: the metric's ``name``, or ``score.<name of the
            function>``.
        unit: "1" (a score), "s", "USD", "tokens" or "count".
        scale: The lowest and the highest value of the metric, such as ``(1, 5)``. Left out: a score is from 0 to 1. The
            threshold is on this scale too. A baseline compares neither scores outside their scale nor scores on
            different scales.
        label: Distinguishes several uses in one test.

    Returns:
        The measurement. True and False count as 1 and 0, numbers of numpy as plain ones. With a scale, its value and
        threshold are from 0 to 1, and reports show them on the scale.

    Raises:
        MeasurementFailed: The value is outside the threshold.
        MeasurementErrored: The metric raised an exception (the cause of the error), gave a value that is not a finite
            number, or one outside the scale.
        UsageError: Either both or neither of ``at_least`` and ``at_most`` are given. The threshold is not a finite
            number or outside the scale, the unit is unknown, a scale is given with a unit other than "1", or the
            function has no name.

    >>> def overlap(actual, expected):
    ...     return len(set(actual.split()) & set(expected.split())) / len(set(expected.split()))
    >>> assert_score(overlap, "Paris in France", "Paris France", at_least=0.5).value
    1.0
    >>> assert_score(len, "four", at_least=4, scale=(0, 8)).value
    0.5
    """
    if not callable(metric):
        raise UsageError(f"assert_score: expected a function as metric, got {describe_kind(metric)}")
    threshold, better = _parse_direction(at_least, at_most)
    if unit not in UNITS:
        raise UsageError(f"assert_score: expected unit to be one of {', '.join(UNITS)}, got {unit!r}")
    ends = _parse_scale(scale, unit)
    if ends is not None and threshold is not None:
        threshold = _place_threshold(threshold, ends)
    given = {"actual": actual}
    if expected is not ...:
        given["expected"] = expected
    version = _add_scale(str(getattr(metric, "version", "")), ends)
    detail: dict[str, Json] = {}
    for key, value in given.items():
        if value is not ...:
            detail[key] = _json_or_kind(value)
    if ends is not None:
        detail["scale"] = list(ends)
    measured = partial(
        Measurement,
        name=name or _metric_name(metric),
        unit=unit,
        better=better,
        threshold=threshold,
        label=label,
        version=version,
        detail=detail,
    )
    arguments = tuple(given.values())
    try:
        score = _parse_metric_value(metric(*arguments))
    except Exception as error:  # noqa: BLE001 -- whatever a user's metric raises: not scored, not scored low
        return recorder.emit(measured(error=f"the metric raised {describe_exception(error)}"), cause=error)
    if isinstance(score, float) and ends is not None:
        score = _place_on_scale(score, ends)
    if isinstance(score, str):
        return recorder.emit(measured(error=score))
    return recorder.emit(measured(value=score), evidence=lambda: _score_evidence(actual, expected))


def _parse_direction(at_least: object, at_most: object) -> tuple[float | None, Literal["higher", "lower"]]:
    """Return the threshold (None: record only), and which values are better; ``...`` is an argument that is left out."""
    if (at_least is ...) == (at_most is ...):
        if at_least is ...:
            given = "neither"
        else:
            given = "both"
        raise UsageError(
            f"assert_score: expected either at_least or at_most, got {given}; no threshold fits every metric: "
            "at_least=None records only"
        )
    if at_most is ...:
        name = "at_least"
        threshold = at_least
        better: Literal["higher", "lower"] = "higher"
    else:
        name = "at_most"
        threshold = at_most
        better = "lower"
    if threshold is None:
        return None, better
    number = as_finite_float(threshold)
    if number is None:
        given = shorten_text(repr(threshold))
        raise UsageError(
            f"assert_score: expected {name} to be a finite number, or None to record only, got {given}"
        )
    return number, better


def _parse_scale(scale: object, unit: str) -> tuple[float, float] | None:
    """Return the lowest and highest value of a metric; None: no scale was given."""
    if scale is None:
        return None
    if unit != "1":
        raise UsageError(f'assert_score: expected scale= only with unit="1", a score; got unit={unit!r}')
    if isinstance(scale, (tuple, list)) and len(scale) == 2:  # noqa: PLR2004 -- lowest, highest
        low, high = map(as_finite_float, scale)
        if low is not None and high is not None and low < high:
            return low, high
    given = shorten_text(repr(scale))
    raise UsageError(
        f"assert_score: expected scale as the lowest and the highest value, such as (1, 5), got {given}"
    )


def _place_threshold(threshold: float, ends: tuple[float, float]) -> float:
    """Return a threshold from 0 to 1."""
    placed = _place_on_scale(threshold, ends)
    if isinstance(placed, str):
        low, high = ends
        raise UsageError(
            f"assert_score: expected a threshold on the scale, {low:g} to {high:g}, got {threshold:g}"
        )
    return placed


def _place_on_scale(value: float, ends: tuple[float, float]) -> float | str:
    """Return a value from 0 (lowest of the scale) to 1 (highest), or a text on the violation of the scale."""
    low, high = ends
    if low <= value <= high:
        return (value - low) / (high - low)
    return f"the metric gave {value:g}, expected a number on its scale, {low:g} to {high:g}"


def _add_scale(version: str, ends: tuple[float, float] | None) -> str:
    """Return a metric's version with its scale, as the same answer has another score on another scale; 0 to 1 is left out."""
    if ends in (None, (0.0, 1.0)):
        return version
    low, high = ends
    scale = f"scale {low:.15g} to {high:.15g}"
    if not version:
        return scale
    return f"{version}, {scale}"


def _metric_name(metric: object) -> str:
    """Return the name of the measurement: the metric's ``name``, or ``score.<name of the function>``."""
    while isinstance(metric, partial):
        metric = metric.func
    given = getattr(metric, "name", None)
    if isinstance(given, str) and given:
        return given
    name = getattr(metric, "__name__", type(metric).__name__)
    if not name.isidentifier():
        raise UsageError(
            f"assert_score: expected a metric with a name, got {name}; pass name=, the key of a baseline"
        )
    return f"score.{name}"


def _parse_metric_value(value: object) -> float | str:
    """Return the value of a metric as a finite float, or the reason why it is invalid."""
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        return "the metric is asynchronous: it gave a coroutine, expected a number; await it in a wrapper"
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        scalar = value.item()
    else:
        scalar = value
    if not isinstance(scalar, numbers.Number) or isinstance(scalar, complex):
        return f"the metric gave {describe_kind(value)}, expected a number"
    try:
        number = float(scalar)  # type: ignore[arg-type]
    except OverflowError:
        number = math.inf
    if math.isfinite(number):
        return number
    return f"the metric gave {number}, expected a finite number"


def _json_or_kind(value: object) -> Json:
    """Return a value as JSON, or a description of its type if it cannot be converted."""
    try:
        return to_builtins(value)
    except Exception:  # noqa: BLE001 -- an object of the user's, and its repr, can do anything
        return describe_kind(value)


def _score_evidence(actual: object, expected: object) -> contrast.Evidence:
    pairs = []
    for label, value in (("expected", expected), ("answer", actual)):
        if isinstance(value, str):
            pairs.append((label, contrast.format_answer(value)))
        elif value is not ...:
            pairs.append((label, shorten_text(str(_json_or_kind(value)))))
    return pairs
