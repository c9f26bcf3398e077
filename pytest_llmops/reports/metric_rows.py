"""The metrics of the comparison with the baseline as rows of a table: before, now, change, points and verdict, as every report shows them.

Before, now and change are on the metric's own scale; points are percent of that scale, and a minus always means worse.
"""

from dataclasses import dataclass, replace

from pytest_llmops.measurement import Measurement
from pytest_llmops.reports.comparisons import TRIAL_RATE, build_metric
from pytest_llmops.results.details import Scale, read_scale
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
        before: Mean on its own scale, "0.93"; ``now`` is "–" where too many scores are missing.
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

    @property
    def is_quiet(self) -> bool:
        """Whether a summary leaves it out: it did not move and nothing was decided about it, or it is a family that did not get worse.

        The share of trials that passed is informative only where it moved: trials of tests that assert nothing all pass. If no
        trial passed or failed, the other metrics have no score either.
        """
        metric = self.metric
        if metric.family:
            return metric.status != "RED"
        if metric.name == TRIAL_RATE:
            is_missing = metric.is_unscored and metric.scored > 0
            return not (is_missing or metric.change)
        return not (metric.status or metric.is_unscored or metric.change)


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


def _severity(row: MetricRow) -> tuple[bool, bool, int, float, str]:
    return row.is_quiet, bool(row.family), _TONE_ORDER.index(row.metric.tone), row.metric.change, row.name


def _build_row(metric: MetricVerdict, measurement: Measurement | None) -> MetricRow:
    """Return the row of a metric; ``measurement`` is one of it, which has its scale, or None."""
    scale: Scale | None = None
    better = "higher"
    if measurement is not None:
        scale = read_scale(measurement)
        better = measurement.better
    shown = build_metric(metric, scale, better=better)
    row = MetricRow(
        name=metric.name,
        scale=_describe_scale(scale, better),
        family=metric.family,
        before=shown.base,
        verdict=_find_word(metric),
        metric=metric,
    )
    if metric.unscored:
        missing = f"{metric.unscored:,} of {metric.scored + metric.unscored:,}"
        row = replace(row, missing=missing)
    if metric.is_unscored:  # the remaining trials are not a representative sample
        return replace(row, now=NOT_APPLICABLE, change=NOT_APPLICABLE, points=NOT_APPLICABLE)
    return replace(
        row,
        now=shown.now,
        change=use_minus(shown.change),
        points=use_minus(shown.points),
        likely=use_minus(shown.likely),
    )


def use_minus(number: str) -> str:
    """Return a number with the sign of a minus in the place of a hyphen.

    >>> use_minus("-8.9 to +3.9")
    '−8.9 to +3.9'
    """
    return number.replace("-", MINUS)


def _find_word(metric: MetricVerdict) -> str:
    is_compared = bool(metric.cases) and not metric.is_unscored
    if not metric.status and is_compared and metric.cases == metric.unchanged:
        return UNCHANGED
    return metric.word


def _describe_scale(scale: Scale | None, better: str) -> str:
    parts = []
    if scale is not None:
        low, high = scale
        parts.append(f"{low:g} to {high:g}")
    if better == "lower":
        parts.append("lower is better")
    return ", ".join(parts)
