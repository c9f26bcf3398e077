"""Metrics for the HTML report: how each changed since the baseline, how that was decided, and the scores of this run."""

from collections.abc import Iterable, Mapping, Sequence

from pytest_llmops.measurement import format_amount, shorten_text
from pytest_llmops.reports.html_sides import format_optional_amount
from pytest_llmops.reports.html_views import View, comparison_sign
from pytest_llmops.results.details import Scale, format_on_scale, to_scale
from pytest_llmops.results.summary import BINS, Metric
from pytest_llmops.results.verdict import MetricVerdict, Verdict

MINUS = "−"
NOT_KNOWN = "–"
MAX_DIGITS = 4
MISSING_SHARE = 0.05  # of the trials: above it, what is left is not a fair sample
# What reports call the status of a metric, and its colour
METRIC_WORDS: Mapping[str, tuple[str, str]] = {
    "RED": ("worse", "red"),
    "AMBER": ("undecided", "amber"),
    "GREEN": ("no drop over 5", "green"),
    "ERROR": ("no score", "violet"),
    "": ("too few cases", "muted"),
}
DECISION = (
    "1 point is 1 % of a metric's scale. The scores of each case before and now are shuffled 9,999 times; a drop counts as proved if "
    "fewer than 5 % of the shuffles show one as large. RED needs a proved drop of 2 points or more. GREEN needs the whole likely range "
    "above −5 points; each end of the range is passed with a probability of 5 % at most. Otherwise the verdict is AMBER. Several metrics "
    "share the 5 %, and so do the looks of a run whose number of trials is chosen as it goes.",
    "Smallest drop detected: the drop that this suite notices in 8 of 10 runs.",
    "A case without a score has no low score: it is left out, and too many of them end in ERROR.",
)


def build_change_rows(gate: Verdict, metrics: Iterable[Metric]) -> list[View]:
    """Return the rows of the metrics in a verdict, in its order; ``metrics`` are those of this run, which know scale and direction."""
    known = {metric.name: metric for metric in metrics}
    return [_build_change_row(metric, known.get(metric.name), gate) for metric in gate.metrics]


def _build_change_row(metric: MetricVerdict, measured: Metric | None, gate: Verdict) -> View:
    word, tone = describe_metric_status(metric, gate)
    name = shorten_text(metric.name, 80)
    if metric.family:
        name = f"{name}, {shorten_text(metric.family, 60)}"
    before = metric.before
    after = metric.after
    change = metric.change
    scale = None
    unit = "1"
    scale_words = ""
    if measured is not None:
        scale = measured.scale
        unit = measured.unit
        scale_words = describe_scale(measured)
        if measured.better == "lower":
            # The verdict has 1 - value for such a metric, as there higher is always better.
            before = 1 - before
            after = 1 - after
            change = -change
    texts = _format_means(before, after, change, scale, unit)
    view: View = {
        "name": name,
        "scale": scale_words,
        "role": metric.role,
        "family": bool(metric.family),
        "before": texts[0],
        "now": texts[1],
        "change": texts[2],
        "points": format_points(metric.change),
        "range": "",
        "word": word,
        "tone": tone,
        "detectable": _format_plain_points(metric.detectable),
        "trials": f"{metric.scored:,}" if metric.scored else NOT_KNOWN,
        "unscored": f"{metric.unscored:,}" if metric.unscored else NOT_KNOWN,
        "cases": f"{metric.cases:,}",
        "unchanged": f"{metric.unchanged:,}",
        "at": round(100 * metric.change, 2),
        "low": None,
        "high": None,
    }
    if word == "no score":
        # What is left is not a fair sample.
        view |= {"now": NOT_KNOWN, "change": NOT_KNOWN, "points": NOT_KNOWN, "at": None}
    elif metric.lower is not None:
        low, high = _read_range(metric, metric.lower)
        view |= {"low": low, "high": high, "range": f"{format_points(low / 100)} to {format_points(high / 100)}"}
    return view


def _read_range(metric: MetricVerdict, lower: float) -> tuple[float, float]:
    """Return the ends of the likely range in points; a run file without the upper end has the same distance to both."""
    upper = metric.upper
    if upper is None:
        upper = 2 * metric.change - lower
    return round(100 * lower, 2), round(100 * upper, 2)


def describe_metric_status(metric: MetricVerdict, gate: Verdict) -> tuple[str, str]:
    """Return the word for the status of a metric, and its colour.

    >>> describe_metric_status(MetricVerdict(name="m", status="GREEN"), Verdict(kind="baseline"))
    ('no drop over 5', 'green')
    """
    total = metric.scored + metric.unscored
    if gate.level == "error" and metric.unscored > MISSING_SHARE * total:
        return METRIC_WORDS["ERROR"]
    if not metric.status and metric.cases and metric.unchanged == metric.cases:
        return "unchanged", "green"
    return METRIC_WORDS.get(metric.status, (metric.status, "muted"))


def describe_scale(metric: Metric) -> str:
    """Return what has to be known to read the values of a metric: its scale, if it is not 0 to 1, and that lower is better."""
    words = []
    if metric.scale is not None:
        low, high = metric.scale
        words.append(f"{low:g} to {high:g}")
    if metric.better == "lower":
        words.append("lower is better")
    return ", ".join(words)


def _format_means(
    before: float, after: float, change: float, scale: Scale | None, unit: str
) -> tuple[str, str, str]:
    """Return before, now and change on the metric's own scale, with as many digits as before and now need to differ."""
    for digits in range(2, MAX_DIGITS + 1):
        texts = [_format_mean(value, scale, unit, digits) for value in (before, after)]
        if texts[0] != texts[1] or before == after:
            break
    width = 1.0
    if scale is not None:
        width = scale[1] - scale[0]
    return texts[0], texts[1], _sign(f"{change * width:+.{digits}f}")


def _format_mean(value: float, scale: Scale | None, unit: str, digits: int) -> str:
    if scale is None:
        return format_amount(value, unit, digits)
    return f"{to_scale(value, scale):.{digits}f}"


def format_points(change: float | None) -> str:
    """Return a change, from -1 to 1, in points with its sign; under 0.05 points it has none.

    >>> format_points(-0.2), format_points(0.012), format_points(0.0001), format_points(None)
    ('−20.0', '+1.2', '0.0', '–')
    """
    if change is None:
        return NOT_KNOWN
    return _sign(f"{100 * change:+.1f}")


def _format_plain_points(size: float | None) -> str:
    if size is None:
        return NOT_KNOWN
    return f"{100 * size:.1f}"


def _sign(number: str) -> str:
    """Return a formatted number with a real minus; zero has no sign."""
    if not number.strip("+-0."):
        return number.lstrip("+-")
    return number.replace("-", MINUS)


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
