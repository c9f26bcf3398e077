"""Metrics for the HTML report: how each changed since the baseline, how that was decided, and the scores of this run."""

from collections.abc import Sequence

from pytest_llmops.measurement import shorten_text
from pytest_llmops.reports.changed_cases import ShownCase
from pytest_llmops.reports.comparisons import ComparedMetric
from pytest_llmops.reports.html_sides import format_optional_amount
from pytest_llmops.reports.html_views import View, comparison_sign
from pytest_llmops.reports.metric_rows import MetricRow, list_metric_rows, use_minus
from pytest_llmops.results.details import format_on_scale
from pytest_llmops.results.run import Run
from pytest_llmops.results.summary import BINS, Metric
from pytest_llmops.results.verdict import MetricVerdict, Verdict

NOT_KNOWN = "–"
DECISION = (
    "1 point is 1 % of a metric's scale.",
    "Before and now are shuffled within each case, in every way. If at most 4 of 100 shuffles lower the average as far, chance does not explain it.",
    "The drop must also be larger than the differences between the cases explain (paired t test).",
    "If the baseline has trials of several sessions, whole sessions are exchanged.",
    "If nothing changed, a drop is proved with a probability of 4 % for the metrics that decide, and of 1 % for all others together.",
    "RED needs a proved drop of 2 points or more, or broken cases that chance does not explain.",
    "GREEN needs 59 new answers or more, and the whole likely range above −5 points. If neither holds, the verdict is AMBER.",
    "Each end of the likely range is passed with a probability of 5 % at most. Several looks at a run share all these probabilities.",
    "Smallest drop detected: the drop that this suite notices in 8 of 10 runs.",
    "A trial without a score is left out, it does not count as a low score. If more than 5 % of the trials have none, the verdict is ERROR.",
)


def build_change_rows(run: Run, cases: Sequence[ShownCase] = ()) -> list[View]:
    """Return the rows of the metrics since the baseline, the worst first; the numbers of a row are points, for its picture.

    Args:
        run: The run.
        cases: Its cases. A phone shows the metric that the first of them fell on.

    >>> build_change_rows(Run())
    []
    """
    rows = list_metric_rows(run)
    views = [_build_change_row(row) for row in rows]
    for place in _choose_for_phone(rows, views, cases):
        views[place]["phone"] = True
    return views


def _choose_for_phone(
    rows: Sequence[MetricRow], views: Sequence[View], cases: Sequence[ShownCase]
) -> set[int]:
    """Return the places of the rows that a phone shows: the row of the first case, and a second one if both are worse."""
    places = [place for place, view in enumerate(views) if not view["family"] and not view["quiet"]]
    if not places:
        return set()
    chosen = places[0]
    if cases and cases[0].scores:
        name = cases[0].scores[0].name
        same = [place for place in places if rows[place].name == name]
        chosen = next(iter(same), chosen)
    worse = [place for place in places if rows[place].metric.status == "RED"]
    if chosen not in worse:
        return {chosen}
    others = [place for place in worse if place != chosen]
    return {chosen, *others[:1]}


def _build_change_row(row: MetricRow) -> View:
    metric = row.metric
    view = _start_row(row.name, row.scale, row.family)
    view |= {"before": row.before, "now": row.now, "change": row.change, "points": row.points}
    view |= {"range": row.likely, "word": row.verdict, "tone": metric.tone or "muted"}
    view["quiet"] = row.is_quiet
    view["phone"] = False
    view["detectable"] = _format_plain_points(metric.detectable)
    view["trials"] = f"{metric.scored:,}" if metric.scored else NOT_KNOWN
    view["unscored"] = f"{metric.unscored:,}" if metric.unscored else NOT_KNOWN
    view["cases"] = _describe_cases(metric)
    if row.points == NOT_KNOWN:  # too many trials have no score
        return view
    return view | _place_points(metric.change, metric.lower, metric.upper)


def _start_row(name: str, scale: str, family: str) -> View:
    """Return a row with the name of a metric, and without a picture."""
    name = shorten_text(name, 100)
    if scale:
        words = scale.replace(" to ", "\u00a0to\u00a0")  # the scale is not broken over two lines
        name += f", {words}"
    if family:
        name += f", {shorten_text(family, 60)}"
    return {"name": name, "family": bool(family), "at": None, "low": None, "high": None}


def _place_points(change: float, lower: float | None, upper: float | None) -> View:
    """Return a change, and the ends of its likely range, in points."""
    places: View = {"at": round(100 * change, 2)}
    if lower is not None and upper is not None:
        places |= {"low": round(100 * lower, 2), "high": round(100 * upper, 2)}
    return places


def build_compared_view(row: ComparedMetric) -> View:
    """Return the view of a metric of a comparison; its numbers are points, for the picture.

    >>> view = build_compared_view(ComparedMetric(name="m", word="worse", tone="red", points="-20.0", change_points=-20.0))
    >>> view["points"], view["at"]
    ('−20.0', -20.0)
    """
    name, _, scale = row.name.partition(", ")
    view = _start_row(name, scale, row.family)
    view |= {
        "before": row.base,
        "now": row.now,
        "change": use_minus(row.change),
        "points": use_minus(row.points),
    }
    view |= {"range": use_minus(row.likely), "word": row.word, "tone": row.tone or "muted"}
    if row.points == NOT_KNOWN:
        return view
    ends = [None if end is None else end / 100 for end in (row.lower, row.upper)]
    return view | _place_points(row.change_points / 100, *ends)


def _describe_cases(metric: MetricVerdict) -> str:
    if metric.unchanged:
        return f"{metric.cases:,}, {metric.unchanged:,} unchanged"
    return f"{metric.cases:,}"


def _format_plain_points(size: float | None) -> str:
    if size is None:
        return NOT_KNOWN
    return f"{100 * size:.1f}"


def build_metric_view(metric: Metric) -> View:
    """Return the view of the scores of a metric in this run; ``line`` is where its threshold is in the histogram, from 0 to 1."""
    figures = (metric.mean, metric.median, metric.minimum, metric.maximum)
    values = [format_optional_amount(figure, metric.unit, metric.scale) for figure in figures]
    places = range(len(metric.histogram))
    view: View = {
        "name": shorten_text(metric.name, 80),
        "version": shorten_text(metric.version, 60),
        "doubt": shorten_text(metric.doubt, 40),
        "n": f"{metric.n:,}",
        "values": values,
        "threshold": _format_metric_threshold(metric),
        "failed": metric.failed,
        "errored": metric.errored,
        "recorded": metric.recorded,
        "bins": [],
        "missed": [place for place in places if _misses_threshold(metric, place)],
        "line": None,
    }
    if metric.n:
        view["bins"] = list(metric.histogram)
    if metric.threshold is not None and metric.histogram:
        view["line"] = min(max(metric.threshold, 0.0), 1.0)
    return view


def _format_metric_threshold(metric: Metric) -> str:
    """Return the threshold with its sign ("≥ 0.8"); "mixed" if tests have different ones; "–" without any."""
    if metric.threshold is None:
        if metric.thresholds:
            return f"mixed{metric.threshold_scope}"
        return NOT_KNOWN
    sign = comparison_sign(metric.better)
    threshold = format_on_scale(metric.threshold, metric.unit, metric.scale)
    return f"{sign} {threshold}{metric.threshold_scope}"


def _misses_threshold(metric: Metric, place: int) -> bool:
    """Return whether all scores in a bin of the histogram miss the threshold, so that the bin is coloured."""
    if metric.threshold is None or metric.recorded:  # none, or not for all measurements
        return False
    low = place / BINS
    high = (place + 1) / BINS
    if metric.better == "lower":
        return low > metric.threshold
    is_last = place == BINS - 1
    if is_last:  # the only bin with its upper edge
        return high < metric.threshold
    return high <= metric.threshold


def describe_decision(gates: Sequence[Verdict]) -> list[str]:
    """Return how the verdict was decided, in words, then what the verdict itself adds; empty if nothing was compared."""
    if not any(gate.metrics for gate in gates):
        return []
    lines = [*DECISION]
    for gate in gates:
        lines += [shorten_text(text, 600) for text in gate.advice]
    return lines
