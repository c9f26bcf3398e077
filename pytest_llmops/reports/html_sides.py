"""Views of prompt versions and models side by side, and of earlier runs, for the HTML report."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from pytest_llmops.measurement import Json, Measurement, format_amount, format_count, shorten_text
from pytest_llmops.reports.html_views import MAX_NAME, View, case_id
from pytest_llmops.results.comparison import group_by
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
from pytest_llmops.results.traffic import Latency, Traffic


def build_candidates_table(sides: Sequence[Side]) -> View:
    """Return the models that are compared as a table: tokens, cost and latency without their judges'."""
    doubts = _doubts_by_metric(sides)
    tests = f"{format_count(sides[0].tests, 'test')} each"
    if sides[0].left_out:
        tests += f", {format_count(sides[0].left_out, 'case')} left out that not all of them ran"
    means = [f"mean {name}" for name in _metric_heads(doubts)]
    return {
        "tests": "; ".join([tests, *_uneven_notes(sides)]),
        "head": ["model", "passed", "not scored", *means, "tokens", "cost", "latency p50", "latency p95"],
        "rows": [
            [
                shorten_text(side.label, 60),
                f"{side.passed} of {side.tests - side.skipped}",
                f"{side.unscored:,}",
                *(_format_column_mean(side.metrics, name) for name in doubts),
                describe_tokens(side.traffic),
                _describe_side_cost(side.traffic),
                format_optional_amount(side.latency.p50, "s"),
                format_optional_amount(side.latency.p95, "s"),
            ]
            for side in sides
        ],
    }


def _metric_heads(doubts: Mapping[str, str]) -> list[str]:
    return [
        f"{shorten_text(name, 40)} ({doubt})" if doubt else shorten_text(name, 40)
        for name, doubt in doubts.items()
    ]


def _describe_side_cost(traffic: Traffic) -> str:
    known = format_optional_amount(traffic.known_usd, "USD")
    if traffic.unpriced:
        return f"{known} ({format_count(traffic.unpriced, 'call')} without a price)"
    return known


def _uneven_notes(sides: Iterable[Side]) -> list[str]:
    return [f"{shorten_text(name, 40)}: {words}" for name, words in describe_uneven_metrics(sides)]


def _doubts_by_metric(sides: Sequence[Side]) -> dict[str, str]:
    """Return the metrics to show, those with a threshold if there are any, each with the warning about its judge."""
    metrics = [metric for side in sides for metric in side.metrics if metric.n or metric.left_out]
    by_name = group_by(
        [metric for metric in metrics if metric.thresholds] or metrics, lambda metric: metric.name
    )
    return {
        name: next(filter(None, (metric.doubt for metric in group)), "") for name, group in by_name.items()
    }


def _format_column_mean(metrics: Iterable[Metric], name: str) -> str:
    matching = [metric for metric in metrics if metric.name == name and metric.n]
    if len(matching) > 1:
        # A mean over two versions of a metric has no meaning.
        return "mixed"
    if matching:
        return format_optional_amount(matching[0].mean, matching[0].unit, matching[0].scale)
    return "–"


def _build_matrix_column(side: Side, metrics: Iterable[str]) -> View:
    return {
        "label": shorten_text(side.label, 60),
        "passed": [side.passed, side.tests - side.skipped],
        "facts": [
            fact
            for fact in (
                f"cost {_describe_side_cost(side.traffic)}" if side.traffic.calls else "",
                f"tokens {describe_tokens(side.traffic)}" if side.traffic.calls else "",
                ", ".join(
                    f"{name} {format_amount(value, 's')}"
                    for name, value in (("p50", side.latency.p50), ("p95", side.latency.p95))
                    if value is not None
                ),
                shorten_text(side.fingerprint[:12]),
                *_uneven_notes([side]),
            )
            if fact
        ],
        "means": [_format_column_mean(side.metrics, name) for name in metrics],
    }


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
    return {
        "axis": axis,
        "test": shorten_text(matrix.test, MAX_NAME),
        "prompt": shorten_text(matrix.prompt, MAX_NAME),
        "metrics": _metric_heads(doubts),
        "columns": [_build_matrix_column(side, doubts) for side in matrix.columns],
        "rows": [
            [
                shorten_text(row.case, MAX_NAME) or "–",
                row.differs,
                [
                    [_build_matrix_cell(record, row.cells[0], doubts, places[id(record)]) for record in cell]
                    for cell in row.cells
                ],
            ]
            for row in matrix.rows
        ],
    }


def _worst_measurement(record: TestRecord, name: str) -> Measurement | None:
    """Return the measurement of that name that decides about the test: one without a value, else the worst."""
    return min(
        (measurement for measurement in record.measurements if measurement.name == name),
        key=lambda measurement: (
            measurement.value is not None,
            (measurement.value or 0.0) * (1 if measurement.better == "higher" else -1),
        ),
        default=None,
    )


def _score_trend(before: Measurement | None, here: Measurement) -> str:
    """Return ``better`` or ``worse``, or "": two versions of a metric are never compared."""
    if (
        before is None
        or before.value is None
        or here.value is None
        or before.version != here.version
        or format_amount(before.value, before.unit) == format_amount(here.value, here.unit)
    ):
        return ""
    if (here.value > before.value) == (here.better == "higher"):
        return "better"
    return "worse"


def describe_tokens(traffic: Traffic) -> str:
    """Return the tokens in words; what no call reports is "unknown", never 0."""
    if traffic.input_tokens is None and traffic.output_tokens is None:
        return "unknown"
    text = f"{traffic.input_tokens or 0:,} in, {traffic.output_tokens or 0:,} out"
    if traffic.uncounted:
        return f"{text} ({format_count(traffic.uncounted, 'call')} without a count)"
    return text


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
    never = datetime.min.replace(tzinfo=UTC)
    return list(map(_build_run, sorted(runs, key=lambda run: read_time(run.meta.get("created")) or never)))


def _build_run(run: Run) -> View:
    totals = summarize_run(run)
    bad = [record for record in run.records if record.outcome in ("failed", "errored")]
    sides = {"all tests": _build_values(totals.metrics, totals.traffic, totals.latency)}
    sides |= {
        shorten_text(f"{side.prompt} {side.label}".strip(), MAX_NAME): _build_values(
            side.metrics, side.traffic, side.latency
        )
        for side in (*totals.versions, *totals.candidates)
    }
    return {
        "when": shorten_text(fact_text(run.meta.get("created")), 60),
        "commit": shorten_text(fact_text(run.meta.get("commit"))[:12]),
        "verdict": [totals.verdict, totals.outcome_words],
        "bad": [
            [case_id(record.nodeid), shorten_text(record.nodeid, MAX_NAME)] for record in bad[:MAX_LISTED]
        ],
        "rest": max(len(bad) - MAX_LISTED, 0),
        "sides": sides,
    }


def _build_values(metrics: Iterable[Metric], traffic: Traffic, latency: Latency) -> dict[str, list[Json]]:
    """Return ``[number, as people read it, version]`` by name; unlike versions of a metric are not one line."""
    values: dict[str, list[Json]] = {
        shorten_text(metric.name, 80): [
            to_scale(metric.mean, metric.scale), format_on_scale(metric.mean, metric.unit, metric.scale), metric.version
        ]
        for metric in metrics
        if metric.mean is not None
    }  # fmt: skip
    if traffic.output_tokens is not None:
        tokens = (traffic.input_tokens or 0) + (traffic.output_tokens or 0)
    else:
        tokens = None
    used = (
        ("latency p50", latency.p50, "s"),
        ("latency p95", latency.p95, "s"),
        ("tokens", tokens, "count"),
        ("cost", traffic.known_usd, "USD"),
    )
    return values | {
        name: [number, format_amount(number, unit), ""] for name, number, unit in used if number is not None
    }
