"""Views of prompt versions and models side by side, and of earlier runs, for the HTML report."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from pytest_llmops.measurement import Json, Measurement, format_amount, format_count, shorten_text
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
    """Return the models that are compared as a table: tokens, cost and latency without their judges'."""
    doubts = _doubts_by_metric(sides)
    tests = f"{format_count(sides[0].tests, 'test')} each"
    if sides[0].left_out:
        tests += f", {format_count(sides[0].left_out, 'case')} left out that not all of them ran"
    means = [f"mean {name}" for name in _metric_heads(doubts)]
    notes = [tests, *_uneven_notes(sides)]
    return {
        "tests": "; ".join(notes),
        "head": ["model", "passed", "not scored", *means, "tokens", "cost", "latency p50", "latency p95"],
        "rows": [_build_candidate_row(side, doubts) for side in sides],
    }


def _build_candidate_row(side: Side, metrics: Iterable[str]) -> list[str]:
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


def _uneven_notes(sides: Iterable[Side]) -> list[str]:
    notes = []
    for name, words in describe_uneven_metrics(sides):
        notes.append(f"{shorten_text(name, 40)}: {words}")
    return notes


def _doubts_by_metric(sides: Sequence[Side]) -> dict[str, str]:
    """Return the metrics to show, those with a threshold if there are any, each with the warning about its judge."""
    metrics = [metric for side in sides for metric in side.metrics if metric.n or metric.left_out]
    with_threshold = [metric for metric in metrics if metric.thresholds]
    doubts: dict[str, str] = {}
    for metric in with_threshold or metrics:
        # The first warning of a metric is shown for all of its columns.
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
    ran = side.tests - side.skipped
    return {
        "label": shorten_text(side.label, 60),
        "passed": [side.passed, ran],
        "facts": _list_side_facts(side),
        "means": [_format_column_mean(side.metrics, name) for name in metrics],
    }


def _list_side_facts(side: Side) -> list[str]:
    """Return cost, tokens, latency, fingerprint and doubts of a column, without what is not known."""
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
    return facts + _uneven_notes([side])


def _build_matrix_cell(
    record: TestRecord, first: Sequence[TestRecord], metrics: Iterable[str], place: int
) -> list[Json]:
    """Return the cell of a test: its place among the tests, and value, status and trend of each metric.

    ``first`` is the cell in the first column.
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
            scores.append([value or "not scored", here.status, _score_trend(before, here)])
    return [place, scores]


def build_matrix_view(matrix: Matrix, axis: str, places: Mapping[int, int]) -> View:
    """Return a matrix; a cell refers to its test by the place among the tests, ``places`` by the id of its record."""
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
    """Return the measurement of that name that decides about the test: one without a value, else the worst."""
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
    """Return ``better`` or ``worse``, or "": two versions of a metric are never compared."""
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
    """Return a value as people read it, "–" for None."""
    if value is None:
        return "–"
    return format_on_scale(value, unit, scale)


MAX_LISTED = 20  # tests of an older run that failed, by name


def build_history(runs: Sequence[Run]) -> list[View]:
    """Return the runs, the oldest first; those without a date come before the others.

    >>> build_history([Run(meta={"created": "2026-02-01"}), Run(meta={"created": "2026-01-01"})])[0]["when"]
    '2026-01-01'
    """
    return [_build_run(run) for run in sorted(runs, key=_when)]


def _when(run: Run) -> datetime:
    never = datetime.min.replace(tzinfo=UTC)
    return read_time(run.meta.get("created")) or never


def _build_run(run: Run) -> View:
    totals = summarize_run(run)
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
        "verdict": [totals.verdict, totals.outcome_words],
        "bad": listed,
        "rest": len(failing) - len(listed),
        "sides": sides,
    }


def _build_values(metrics: Iterable[Metric], traffic: Traffic, latency: Latency) -> dict[str, list[Json]]:
    """Return ``[number, as people read it, version]`` by name; unlike versions of a metric are not one line."""
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
    if number is not None:
        values[name] = [number, format_amount(number, unit), ""]
