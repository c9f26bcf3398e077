"""The metrics that were compared with the baseline, as rows of a table: the same texts in every report."""

import re
from dataclasses import dataclass

from pytest_llmops.baselines.baseline import TRIAL_RATE
from pytest_llmops.measurement import Measurement, shorten_text
from pytest_llmops.results.details import Scale, name_with_label, read_scale, to_scale
from pytest_llmops.results.run import Run
from pytest_llmops.results.verdict import MetricVerdict

NOT_KNOWN = "–"
_REPETITION = re.compile(r" #\d{1,6}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """A metric before and now.

    Attributes:
        name: The metric, with the scale of its judge: "judge.helpful, 1 to 5".
        before: The mean in the baseline, on the metric's own scale; ``now`` is the mean of this run.
        change: Now minus before, on the metric's own scale, with a sign.
        points: The change in percent of the scale, negative where it got worse; with a sign and one decimal.
        verdict: See `MetricVerdict.word`.
        tone: Its colour: ``red``, ``amber``, ``green``, ``violet`` or "".
        metric: What the row is made from.
    """

    name: str
    before: str
    now: str
    change: str
    points: str
    verdict: str
    tone: str
    metric: MetricVerdict


def list_metric_rows(run: Run) -> list[MetricRow]:
    """Return a row for each metric that was compared with the baseline, the one that decides first; families only where they got worse.

    There are none where nothing was decided about any metric, except if it is for missing scores.

    >>> list_metric_rows(Run())
    []
    """
    gate = run.find_verdict("baseline")
    if gate is None:
        return []
    has_missing_scores = any(metric.is_unscored for metric in gate.metrics)
    is_decided = gate.level != "error" and any(metric.status for metric in gate.metrics)
    if not (has_missing_scores or is_decided):
        return []  # nothing was compared: too few cases, tests that did not run, or only recordings of the baseline
    measurements: dict[str, Measurement] = {}
    for record in run.records:
        for measurement in record.measurements:
            measurements.setdefault(name_with_label(measurement), measurement)
    rows = []
    for metric in gate.metrics:
        if metric.name == TRIAL_RATE and not metric.change:  # of tests that assert nothing, all trials pass
            continue
        if not metric.family or metric.status == "RED":
            rows.append(_build_row(metric, measurements.get(_REPETITION.sub("", metric.name))))
    return rows


def _build_row(metric: MetricVerdict, measurement: Measurement | None) -> MetricRow:
    scale = None
    better = "higher"
    if measurement is not None:
        scale = read_scale(measurement)
        better = measurement.better
    before, after = metric.before, metric.after
    if better == "lower":  # the comparison turns such scores round
        before, after = 1 - before, 1 - after
    name = shorten_text(metric.name, 80)
    if metric.family:
        name = f"{name}, {shorten_text(metric.family, 40)}"
    if scale is not None:
        name = f"{name}, {scale[0]:g} to {scale[1]:g}"
    has_score = not metric.is_unscored
    texts = format_pair(before, after, scale)
    return MetricRow(
        name=name,
        before=texts[0],
        now=texts[1] if has_score else NOT_KNOWN,
        change=texts[2] if has_score else NOT_KNOWN,
        points=format_points(metric.change) if has_score else NOT_KNOWN,
        verdict=metric.word,
        tone=metric.tone,
        metric=metric,
    )


def format_pair(before: float, after: float, scale: Scale | None) -> tuple[str, str, str]:
    """Return two means and their difference on a metric's own scale, with two decimals; the difference is that of the two texts.

    >>> format_pair(0.93, 0.73, None), format_pair(0.9, 0.725, (1.0, 5.0))
    (('0.93', '0.73', '-0.20'), ('4.60', '3.90', '-0.70'))
    """
    first = round(to_scale(before, scale), 2)
    second = round(to_scale(after, scale), 2)
    return f"{first:.2f}", f"{second:.2f}", format_signed(second - first, 2)


def format_points(change: float) -> str:
    """Return a change from -1 to 1 in points.

    >>> format_points(-0.2), format_points(0.0125), format_points(0.0001)
    ('-20.0', '+1.2', '0.0')
    """
    return format_signed(100 * change, 1)


def format_signed(value: float, digits: int) -> str:
    """Return a number with its sign; what rounds to 0 has none.

    >>> format_signed(-0.001, 2)
    '0.00'
    """
    rounded = round(value, digits)
    if rounded == 0:
        return f"{0:.{digits}f}"
    return f"{rounded:+.{digits}f}"
