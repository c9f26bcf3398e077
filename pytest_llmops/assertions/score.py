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
    label: str = "",
) -> Measurement:
    """Assert that a metric of your own gives a value that is high enough, or low enough.

    A metric is a function: ``metric(actual, expected)``, or ``metric(actual)`` if ``expected`` is left out. It should
    raise an exception for what it cannot score; that is an error, not a low score.

    Args:
        metric: The function; `pytest_llmops.semantics.textmetrics` has some. Its ``version`` attribute, if any, goes
            into the measurement: different versions are never compared. Its ``name`` attribute, if any, becomes the
            name of the measurement.
        actual: The first argument of the metric, of any type; the metric has to know what None means.
        expected: The second argument of the metric; left out: it is called without.
        at_least: The threshold of a metric that should be high; None: record only.
        at_most: The threshold of a metric that should be low; None: record only.
        name: Name of the measurement, the key of a baseline; left out: the metric's ``name``, or
            ``score.<name of the function>``.
        unit: "1" (a score, usually from 0 to 1), "s", "USD", "tokens" or "count".
        label: Distinguishes two assertions of a test.

    Returns:
        The measurement. True and False count as 1 and 0, numbers of numpy as plain ones.

    Raises:
        MeasurementFailed: The value is outside the threshold.
        MeasurementErrored: The metric raised (its exception is the cause), or gave no finite number.
        UsageError: Neither or both of ``at_least`` and ``at_most``: no default fits an unknown metric. Or a
            threshold that is not a finite number, an unknown unit, a function without a name.

    >>> def overlap(actual, expected):
    ...     return len(set(actual.split()) & set(expected.split())) / len(set(expected.split()))
    >>> assert_score(overlap, "Paris in France", "Paris France", at_least=0.5).value
    1.0
    """
    if not callable(metric):
        raise UsageError(f"assert_score: expected a function as metric, got {describe_kind(metric)}")
    threshold, better = _parse_direction(at_least, at_most)
    if unit not in UNITS:
        raise UsageError(f"assert_score: expected unit to be one of {', '.join(UNITS)}, got {unit!r}")
    given = {"actual": actual}
    if expected is not ...:
        given["expected"] = expected
    version = str(getattr(metric, "version", ""))
    detail = {}
    for key, value in given.items():
        if value is not ...:
            detail[key] = _json_or_kind(value)
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
    """Return the value of a metric as a finite float, or a text that says why it is invalid."""
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
