"""The metrics of the comparison with the baseline as rows of a table: before, now, change, points and verdict, as every report shows them.

Before, now and change are on the metric's own scale; points are percent of that scale, and a minus always means worse.
"""

from dataclasses import dataclass

from pytest_llmops.measurement import Measurement
from pytest_llmops.results.details import Scale, read_scale, to_scale
from pytest_llmops.results.run import Run
from pytest_llmops.results.verdict import MetricVerdict

MINUS = "\N{MINUS SIGN}"
NOT_APPLICABLE = "\N{EN DASH}"
UNCHANGED = "unchanged"  # in the place of "too few cases" where all answers are recordings of the baseline
_TONE_ORDER = ("red", "violet", "amber", "", "green")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """A metric before and now, as texts.

    Attributes:
        name: Its name, which is foreign text.
        scale: The judge's own scale, "1 to 5", and "lower is better" where that is so; "": from 0 to 1, and higher is better.
        family: Only the cases of this family; "": all.
        before: Mean on its own scale, "0.93"; now "–" where too many scores are missing.
        change: On its own scale, with its sign; "–" as for ``now``.
        points: The change in percent of the scale, with its sign; a minus is worse.
        likely: The likely range of ``points``, "−28.6 to −11.9"; "": not known.
        verdict: In two words at most: `MetricVerdict.word`, or "unchanged".
        missing: Trials without a score, "14 of 120"; "": none.
    """

    name: str
    scale: str = ""
    family: str = ""
    before: str = ""
    now: str = ""
    change: str = ""
    points: str = ""
    likely: str = ""
    verdict: str = ""
    missing: str = ""
    metric: MetricVerdict


def list_metric_rows(run: Run) -> list[MetricRow]:
    """Return the rows of the metrics that were compared with the baseline, the gravest verdict first; [] without a comparison.

    >>> list_metric_rows(Run())
    []
    """
    gate = run.find_verdict("baseline")
    if gate is None:
        return []
    measurements: dict[str, Measurement] = {}
    for record in run.records:
        for measurement in record.measurements:
            measurements.setdefault(measurement.name, measurement)
    rows = [_build_row(metric, measurements.get(metric.name)) for metric in gate.metrics]
    return sorted(rows, key=_severity)


def _severity(row: MetricRow) -> tuple[bool, int, float, str]:
    return bool(row.family), _TONE_ORDER.index(row.metric.tone), row.metric.change, row.name


def _build_row(metric: MetricVerdict, measurement: Measurement | None) -> MetricRow:
    """Return the row of a metric; ``measurement`` is one of it, which has its scale, or None."""
    scale: Scale | None = None
    is_lower_better = False
    if measurement is not None:
        scale = read_scale(measurement)
        is_lower_better = measurement.better == "lower"
    before, now = metric.before, metric.after
    if is_lower_better:  # the verdict has them turned
        before, now = 1 - before, 1 - now
    before_text, now_text, change_text = _format_means(before, now, scale)
    points = format_points(metric.change)
    likely = ""
    if metric.lower is not None and metric.upper is not None:
        likely = f"{format_points(metric.lower)} to {format_points(metric.upper)}"
    if metric.is_unscored:
        now_text = change_text = points = NOT_APPLICABLE
        likely = ""
    missing = ""
    if metric.unscored:
        missing = f"{metric.unscored:,} of {metric.scored + metric.unscored:,}"
    return MetricRow(
        name=metric.name,
        scale=_describe_scale(scale, is_lower_better=is_lower_better),
        family=metric.family,
        before=before_text,
        now=now_text,
        change=change_text,
        points=points,
        likely=likely,
        verdict=_find_word(metric),
        missing=missing,
        metric=metric,
    )


def _find_word(metric: MetricVerdict) -> str:
    if not metric.status and metric.cases and metric.cases == metric.unchanged:
        return UNCHANGED
    return metric.word


def _describe_scale(scale: Scale | None, *, is_lower_better: bool) -> str:
    parts = []
    if scale is not None:
        low, high = scale
        parts.append(f"{low:g} to {high:g}")
    if is_lower_better:
        parts.append("lower is better")
    return ", ".join(parts)


def _format_means(before: float, now: float, scale: Scale | None) -> tuple[str, str, str]:
    """Return two means and their difference with two decimals; with more if they differ and would look the same."""
    old = to_scale(before, scale)
    new = to_scale(now, scale)
    for digits in range(2, 5):
        old_text = f"{old:.{digits}f}"
        new_text = f"{new:.{digits}f}"
        if old_text != new_text or abs(now - before) < 0.0005:  # noqa: PLR2004 -- points have one decimal
            break
    return old_text, new_text, format_signed(new - old, digits)


def format_points(change: float) -> str:
    """Return a change from -1 to 1 in points, with one decimal and its sign.

    >>> format_points(-0.2), format_points(0.0133), format_points(-0.0004)
    ('−20.0', '+1.3', '0.0')
    """
    return format_signed(100 * change, 1)


def format_signed(value: float, digits: int) -> str:
    """Return a number with its sign; one that rounds to zero has none.

    >>> format_signed(-0.175, 2), format_signed(0.001, 2)
    ('−0.17', '0.00')
    """
    text = f"{abs(value):.{digits}f}"
    if not float(text):
        return text
    return f"{MINUS if value < 0 else '+'}{text}"
