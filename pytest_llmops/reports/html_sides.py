"""Views for the HTML report: prompt versions and models side by side, and earlier runs.

A "side" is one prompt version or model. A "doubt" is a warning that the judge of a metric is not calibrated or unfit.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from pytest_llmops.measurement import Json, Measurement, format_amount, format_count, shorten_text
from pytest_llmops.reports.headline import build_headline
from pytest_llmops.reports.html_views import MAX_NAME, View, case_id
from pytest_llmops.results.details import (
    Scale,
    fact_text,
    format_on_scale,
    format_score_and_threshold,
    read_time,
    to_scale,
)
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.summary import Matrix, Metric, Side, describe_uneven_metrics, summarize_run
from pytest_llmops.results.traffic import Latency, Traffic, format_tokens


def build_candidates_table(sides: Sequence[Side]) -> View:
    """Return a table of the models that are compared; tokens, cost and latency do not include judges."""
    doubts = _doubts_by_metric(sides)
    tests = f"{format_count(sides[0].tests, 'test')} each"
    if sides[0].left_out:
        tests += f", {format_count(sides[0].left_out, 'case')} left out that not all of them ran"
    means = [f"mean {name}" for name in _metric_heads(doubts)]
    notes = [tests, *_list_uneven_notes(sides)]
    return {
        "tests": "; ".join(notes),
        "head": ["model", "passed", "no score", *means, "tokens", "cost", "latency p50", "latency p95"],
        "rows": [_build_candidate_row(side, doubts) for side in sides],
    }


def _build_candidate_row(side: Side, metrics: Iterable[str]) -> list[str]:
    """Return the row of a model, with a mean for each of the metrics."""
    ran = side.tests - side.skipped
    passed = f"{side.passed} of {ran}"
    row = [shorten_text(side.label, 60), passed, f"{side.unscored:,}"]
    for name in metrics:
        row.append(_format_column_mean(side.metrics, name))
    row.append(format_tokens(side.traffic))
    row.append(_describe_side_cost(side.traffic))
    row.append(format_optional_amount(side.latency.p50, "s"))
    row.append(format_optional_amount(side.latency.p95, "s"))
    return row


def _metric_heads(doubts: Mapping[str, str]) -> list[str]:
    """Return the column heads of metrics: each name, with the doubt about its judge in brackets."""
    heads = []
    for name, doubt in doubts.items():
        head = shorten_text(name, 40)
        if doubt:
            head = f"{head} ({doubt})"
        heads.append(head)
    return heads


def _describe_side_cost(traffic: Traffic) -> str:
    known = format_optional_amount(traffic.known_usd, "USD")
    if traffic.unpriced:
        return f"{known} ({format_count(traffic.unpriced, 'call')} without a price)"
    return known


def _list_uneven_notes(sides: Iterable[Side]) -> list[str]:
    """Return a note on each metric whose means are not over the same cases on all sides."""
    notes = []
    for name, words in describe_uneven_metrics(sides):
        notes.append(f"{shorten_text(name, 40)}: {words}")
    return notes


def _doubts_by_metric(sides: Sequence[Side]) -> dict[str, str]:
    """Return metric -> doubt about its judge ("": none) for the metrics to show: those with a threshold; if there are none, all."""
    metrics = [metric for side in sides for metric in side.metrics if metric.n or metric.left_out]
    with_threshold = [metric for metric in metrics if metric.thresholds]
    doubts: dict[str, str] = {}
    for metric in with_threshold or metrics:
        # The first doubt on any side is shown for the whole column.
        doubts[metric.name] = doubts.get(metric.name) or metric.doubt
    return doubts


def _format_column_mean(metrics: Iterable[Metric], name: str) -> str:
    matching = [metric for metric in metrics if metric.name == name and metric.n]
    if len(matching) > 1:
        # A mean over two versions of a metric has no meaning.
        return "mixed"
    if matching:
        return format_optional_amount(matching[0].mean, matching[0].unit, matching[0].scale)
    return "–"


def _build_matrix_column(side: Side, metrics: Iterable[str]) -> View:
    """Return the head of a column: label, passed tests, facts, and the means of the metrics."""
    ran = side.tests - side.skipped
    return {
        "label": shorten_text(side.label, 60),
        "passed": [side.passed, ran],
        "facts": _list_side_facts(side),
        "means": [_format_column_mean(side.metrics, name) for name in metrics],
    }


def _list_side_facts(side: Side) -> list[str]:
    """Return the known facts about a side: cost, tokens, latency, fingerprint, and notes on uneven means."""
    facts = []
    if side.traffic.calls:
        facts.append(f"cost {_describe_side_cost(side.traffic)}")
        facts.append(f"tokens {format_tokens(side.traffic)}")
    latencies = []
    for name, seconds in (("p50", side.latency.p50), ("p95", side.latency.p95)):
        if seconds is not None:
            latencies.append(f"{name} {format_amount(seconds, 's')}")
    if latencies:
        facts.append(", ".join(latencies))
    if side.fingerprint:
        facts.append(shorten_text(side.fingerprint[:12]))
    return facts + _list_uneven_notes([side])


def _build_matrix_cell(
    record: TestRecord, first: Sequence[TestRecord], metrics: Iterable[str], place: int
) -> list[Json]:
    """Return ``[place of the test, [[value, status, trend] for each metric]]``.

    The trend is relative to ``first``, the records in the first column of this row.
    """
    scores: list[Json] = []
    for name in metrics:
        here = _worst_measurement(record, name)
        if first and first[0] is not record:
            before = _worst_measurement(first[0], name)
        else:
            before = None
        if here is None:
            scores.append(["–", "recorded", ""])
        else:
            value, _ = format_score_and_threshold(here)
            scores.append([value or "no score", here.status, _score_trend(before, here)])
    return [place, scores]


def build_matrix_view(matrix: Matrix, axis: str, places: Mapping[int, int]) -> View:
    """Return the view of a matrix, with a column for each side and a row for each case.

    A cell refers to its test by its place on the page; ``places`` maps the `id()` of a record to it.
    """
    doubts = _doubts_by_metric(matrix.columns)
    rows = []
    for row in matrix.rows:
        first = row.cells[0]
        cells = []
        for records in row.cells:
            views = []
            for record in records:
                place = places[id(record)]
                views.append(_build_matrix_cell(record, first, doubts, place))
            cells.append(views)
        name = shorten_text(row.case, MAX_NAME) or "–"
        rows.append([name, row.differs, cells])
    return {
        "axis": axis,
        "test": shorten_text(matrix.test, MAX_NAME),
        "prompt": shorten_text(matrix.prompt, MAX_NAME),
        "metrics": _metric_heads(doubts),
        "columns": [_build_matrix_column(side, doubts) for side in matrix.columns],
        "rows": rows,
    }


def _worst_measurement(record: TestRecord, name: str) -> Measurement | None:
    """Return the measurement with this name that decides about the test: one without a value, else the worst; None without any."""
    named = [measurement for measurement in record.measurements if measurement.name == name]
    return min(named, key=_rank_measurement, default=None)


def _rank_measurement(measurement: Measurement) -> tuple[bool, float]:
    """Return a sort key: without a value first, then from the worst to the best."""
    if measurement.value is None:
        return False, 0.0
    if measurement.better == "higher":
        return True, measurement.value
    return True, -measurement.value


def _score_trend(before: Measurement | None, here: Measurement) -> str:
    """Return ``better`` or ``worse``; "" if they look equal or cannot be compared, as two versions of a metric never are."""
    if before is None or before.value is None or here.value is None:
        return ""
    if before.version != here.version:
        return ""
    if format_amount(before.value, before.unit) == format_amount(here.value, here.unit):
        return ""
    is_higher = here.value > before.value
    if is_higher == (here.better == "higher"):
        return "better"
    return "worse"


def format_optional_amount(value: float | None, unit: str, scale: Scale | None = None) -> str:
    """Return a value with its unit, formatted for a person; "–" for None."""
    if value is None:
        return "–"
    return format_on_scale(value, unit, scale)


MAX_LISTED = 20  # tests of an older run that failed, by name


def build_history(runs: Sequence[Run]) -> list[View]:
    """Return the runs, the oldest first; those without a date come before the others.

    >>> build_history([Run(meta={"created": "2026-02-01"}), Run(meta={"created": "2026-01-01"})])[0]["when"]
    '2026-01-01'
    """
    return [_build_run(run) for run in sorted(runs, key=_read_creation_time)]


def _read_creation_time(run: Run) -> datetime:
    """Return when a run was made; the earliest possible time if that is not known."""
    never = datetime.min.replace(tzinfo=UTC)
    return read_time(run.meta.get("created")) or never


def _build_run(run: Run) -> View:
    """Return the view of one run in the history: its failures, and the values of all tests and of each side."""
    totals = summarize_run(run)
    headline = build_headline(run)
    failing = [record for record in run.records if record.outcome in ("failed", "errored")]
    listed = []
    for record in failing[:MAX_LISTED]:
        listed.append([case_id(record.nodeid), shorten_text(record.nodeid, MAX_NAME)])
    sides = {"all tests": _build_values(totals.metrics, totals.traffic, totals.latency)}
    for side in (*totals.versions, *totals.candidates):
        name = f"{side.prompt} {side.label}".strip()
        sides[shorten_text(name, MAX_NAME)] = _build_values(side.metrics, side.traffic, side.latency)
    created = fact_text(run.meta.get("created"))
    commit = fact_text(run.meta.get("commit"))
    return {
        "when": shorten_text(created, 60),
        "commit": shorten_text(commit[:12]),
        "verdict": [headline.word, headline.sentence],
        "bad": listed,
        "rest": len(failing) - len(listed),
        "sides": sides,
    }


def _build_values(metrics: Iterable[Metric], traffic: Traffic, latency: Latency) -> dict[str, list[Json]]:
    """Return name -> ``[number, formatted number, version]``; the chart draws another line for another version of a metric."""
    values: dict[str, list[Json]] = {}
    for metric in metrics:
        if metric.mean is None:
            continue
        number = to_scale(metric.mean, metric.scale)
        text = format_on_scale(metric.mean, metric.unit, metric.scale)
        values[shorten_text(metric.name, 80)] = [number, text, metric.version]
    tokens = None
    if traffic.output_tokens is not None:
        tokens = (traffic.input_tokens or 0) + traffic.output_tokens
    _add_amount(values, "latency p50", latency.p50, "s")
    _add_amount(values, "latency p95", latency.p95, "s")
    _add_amount(values, "tokens", tokens, "count")
    _add_amount(values, "cost", traffic.known_usd, "USD")
    return values


def _add_amount(values: dict[str, list[Json]], name: str, number: float | None, unit: str) -> None:
    """Add a number to ``values``, unless it is not known."""
    if number is not None:
        values[name] = [number, format_amount(number, unit), ""]
