"""Metrics for the HTML report: how each changed since the baseline, how that was decided, and the scores of this run."""

from collections.abc import Iterable, Sequence

from pytest_llmops.measurement import shorten_text
from pytest_llmops.reports.comparisons import ComparedMetric, build_metric
from pytest_llmops.reports.html_sides import format_optional_amount
from pytest_llmops.reports.html_views import View, comparison_sign
from pytest_llmops.results.details import format_on_scale
from pytest_llmops.results.summary import BINS, Metric
from pytest_llmops.results.verdict import MetricVerdict, Verdict

MINUS = "−"
NOT_KNOWN = "–"
TRIAL_RATE = "trials.passed"  # the share of trials that passed, which stands beside the metrics of a suite
_TONE_ORDER = ("violet", "red", "amber", "green", "")
DECISION = (
    "1 point is 1 % of a metric's scale.",
    "The scores of each case before and now are shuffled 9,999 times. A drop is proved if fewer than 5 % of the shuffles show one as large.",
    "RED needs a proved drop of 2 points or more. GREEN needs the whole likely range above −5 points. Otherwise the verdict is AMBER.",
    "Each end of the likely range is passed with a probability of 5 % at most; several metrics, and several looks at a run, share these 5 %.",
    "Smallest drop detected: the drop that this suite notices in 8 of 10 runs.",
    "A trial without a score is left out, it does not count as a low score. If more than 5 % of the trials have none, the verdict is ERROR.",
)


def build_change_rows(gate: Verdict, metrics: Iterable[Metric]) -> list[View]:
    """Return the rows of the metrics in a verdict, the worst first; ``metrics`` are those of this run, which know scale and direction."""
    known = {metric.name: metric for metric in metrics}
    return [
        _build_change_row(metric, known.get(metric.name)) for metric in sorted(gate.metrics, key=_severity)
    ]


def _severity(metric: MetricVerdict) -> tuple[bool, int, float]:
    """Return the key by which metrics are sorted: what decides the verdict first, of several drops the largest; families last."""
    place = _TONE_ORDER.index(metric.tone)
    drop = 0.0
    if metric.tone == "red":
        drop = metric.change
    return bool(metric.family), place, drop


def _build_change_row(metric: MetricVerdict, measured: Metric | None) -> View:
    scale = None
    better = "higher"
    if measured is not None:
        scale = measured.scale
        better = measured.better
    row = build_metric(metric, scale, better=better)
    view = {
        **build_compared_view(row),
        "tone": metric.tone or "muted",
        "quiet": metric.name == TRIAL_RATE and metric.status in ("GREEN", ""),
        "detectable": _format_plain_points(metric.detectable),
        "trials": f"{metric.scored:,}" if metric.scored else NOT_KNOWN,
        "unscored": f"{metric.unscored:,}" if metric.unscored else NOT_KNOWN,
        "cases": _describe_cases(metric),
    }
    if better == "lower":
        view["name"] += ", lower is better"
    if not metric.status and metric.cases and metric.unchanged == metric.cases:
        view |= {"word": "unchanged", "tone": "green"}
    return view


def build_compared_view(row: ComparedMetric) -> View:
    """Return the view of a metric of a comparison; its numbers are points, for the picture.

    >>> view = build_compared_view(ComparedMetric(name="m", word="worse", tone="red", points="-20.0", change_points=-20.0))
    >>> view["points"], view["at"]
    ('−20.0', -20.0)
    """
    name, comma, scale = shorten_text(row.name, 100).partition(", ")
    # The scale is not broken over two lines.
    name += comma + scale.replace(" ", "\u00a0")
    if row.family:
        name += f", {shorten_text(row.family, 60)}"
    view: View = {
        "name": name,
        "family": bool(row.family),
        "before": row.base,
        "now": row.now,
        "change": put_minus(row.change),
        "points": put_minus(row.points),
        "range": put_minus(row.likely),
        "word": row.word,
        "tone": row.tone or "muted",
        "at": round(row.change_points, 2),
        "low": None,
        "high": None,
    }
    if row.points == NOT_KNOWN:  # too many trials have no score
        view["at"] = None
    if row.lower is not None and row.upper is not None:
        view |= {"low": round(row.lower, 2), "high": round(row.upper, 2)}
    return view


def put_minus(text: str) -> str:
    """Return formatted numbers with real minus signs.

    >>> put_minus("-1.9 to +3.5")
    '−1.9 to +3.5'
    """
    return text.replace("-", MINUS)


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
