"""Scores that somebody else computed: `record_score` for any of them, `make_measurement` for scores of an adopted tool."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

from pytest_llmops import recorder
from pytest_llmops.adopted.tool import ToolScore
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import UNITS, Json, Measurement, as_finite_float, shorten_text

CASE_DETAIL = "dataset_case"  # as `results.dataset_cases` reads it
MAX_OUTPUT = 20_000  # characters of a scored output that are kept
MAX_REASON = 2000  # characters of a tool's reason, error or label that are kept
_NO_NAME = re.compile(r"[^0-9a-z]+")


def record_score(
    name: str,
    value: float,
    *,
    better: Literal["higher", "lower"] = "higher",
    unit: str = "1",
    reason: str | None = "",
    version: str | None = "",
    label: str | None = "",
) -> Measurement:
    """Record a score that something else computed. The reports show it, and the gate compares it with the baseline.

    It fails nothing by itself: assert on the value, or let the gate decide. In a plain script the measurement is only returned.

    Args:
        name: Name of the measurement, the key of a baseline, such as ``ragas.faithfulness``.
        value: From 0 to 1, a boolean (1 or 0), or with another unit any finite number.
        better: Whether a ``higher`` or a ``lower`` value is better.
        unit: "1" (a score from 0 to 1, which the gate compares), "s", "USD", "tokens" or "count" (which it does not compare).
        reason: The reason for the value, in a sentence. None, as many libraries give it, counts as empty, here and below.
        version: Version of the metric or of its judge: scores of different versions are never compared.
        label: Distinguishes several scores of the same name in a test.

    Returns:
        The measurement, without a threshold.

    Raises:
        UsageError: The value is not a finite number, or not from 0 to 1 though it has the unit "1". Or a name, unit or direction
            that does not exist.

    >>> record_score("ragas.faithfulness", 0.75, reason="3 of 4 claims are in the contexts").value
    0.75
    >>> record_score("toxicity", True, better="lower").value
    1.0
    """
    if not str(name).strip():
        raise UsageError(f"record_score: expected a name such as 'ragas.faithfulness', got {name!r}")
    if better not in ("higher", "lower"):
        raise UsageError(f"record_score {name}: expected better='higher' or 'lower', got {better!r}")
    if unit not in UNITS:
        raise UsageError(f"record_score {name}: expected a unit out of {', '.join(UNITS)}, got {unit!r}")
    number = _as_number(value)
    if number is None:
        got = shorten_text(repr(value), 80)
        raise UsageError(
            f"record_score {name}: expected a finite number, got {got}; "
            "without a score, raise an exception with the reason, or leave the call out"
        )
    if unit == "1" and not 0 <= number <= 1:
        raise UsageError(
            f"record_score {name}: expected a score from 0 to 1, got {number:g}; "
            "map its scale to 0 to 1, or pass unit='count' if it must not be compared with a baseline"
        )
    measurement = Measurement(
        name=name,
        value=number,
        unit=unit,
        better=better,
        reason=reason or "",
        version=version or "",
        label=label or "",
    )
    return recorder.emit(measurement)


def make_measurement(tool: str, score: ToolScore) -> Measurement:
    """Return the measurement of a score that a tool reported. It has no threshold: the tool's own assertion decides.

    A score outside of 0 to 1 has the unit "count": it is shown, and not compared. NaN, or anything that is not a number, is an error.

    Args:
        tool: The tool's name in the ini.
        score: The score that the tool reported.

    >>> make_measurement("deepeval", ToolScore(metric="Answer Relevancy", value=0.5)).name
    'deepeval.answer_relevancy'
    >>> make_measurement("deepeval", ToolScore(metric="Bias", value=float("nan"))).error
    'deepeval gave nan, expected a finite number'
    """
    common: dict[str, Any] = {
        "name": f"{make_name(tool)}.{make_name(score.metric)}",
        "better": score.better,
        "version": _shorten(score.version),
        "label": _shorten(score.label or score.case),
        "detail": _make_detail(tool, score),
    }
    error = _shorten(score.error)
    number = _as_number(score.value)
    if not error and number is None:
        error = f"{tool} gave {shorten_text(repr(score.value), 80)}, expected a finite number"
    if error or number is None:
        return Measurement(error=error, **common)
    unit = "count"
    if score.scale is not None:
        low, high = min(score.scale), max(score.scale)
        if low <= number <= high and 0 < high - low < math.inf:
            unit = "1"
            number = (number - low) / (high - low)
    return Measurement(value=number, unit=unit, reason=_shorten(score.reason), **common)


def make_name(text: str) -> str:
    """Return a name of a tool or a metric as a part of a measurement's name.

    >>> make_name("Correctness [GEval]"), make_name("pydantic-evals"), make_name("MCP Use"), make_name("!")
    ('correctness', 'pydantic_evals', 'mcp_use', 'score')
    """
    plain = text[:200].strip().lower()
    name, _, kind = plain.rpartition(" [")
    if name and kind.endswith("]"):  # "Correctness [GEval]": the kind of the metric is not part of its name
        plain = name
    return _NO_NAME.sub("_", plain).strip("_") or "score"


def _as_number(value: object) -> float | None:
    """Return a number or a boolean (numpy's too) as a float; None for anything else, NaN and infinity."""
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, bool):
        return float(value)
    return as_finite_float(value)


def _shorten(text: object) -> str:
    """Return a text of a tool, cut to a length that reports can show; None is empty."""
    if text is None:
        return ""
    return str(text)[:MAX_REASON]


def _make_detail(tool: str, score: ToolScore) -> dict[str, Json]:
    """Return the facts that the reports show with the value of a score: the tool's threshold and verdict."""
    detail: dict[str, Json] = {"tool": tool}
    threshold = _as_number(score.threshold)
    if threshold is not None:
        detail["tool_threshold"] = threshold
    if isinstance(score.passed, bool):
        detail["tool_passed"] = score.passed
    if score.output is not None:
        detail["actual"] = str(score.output)[:MAX_OUTPUT]
    if score.case:
        detail[CASE_DETAIL] = _shorten(score.case)
    for name, value in score.detail.items():
        detail[name] = _shorten(value)
    return detail
