"""Runs over time, for the HTML report."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from pytest_llmops.measurement import Json, format_amount, shorten_text
from pytest_llmops.reports.html_views import MAX_NAME, View, case_id
from pytest_llmops.results.comparison import Latency, Traffic
from pytest_llmops.results.details import fact_text, format_on_scale, read_time, to_scale
from pytest_llmops.results.run import Run
from pytest_llmops.results.summary import Metric, summarize_run

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
    for side in (*totals.versions, *totals.candidates):
        sides[shorten_text(f"{side.prompt} {side.label}".strip(), MAX_NAME)] = _build_values(
            side.metrics, side.traffic, side.latency
        )
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
    # Return ``[number, as people read it, version]`` by name; unlike versions of a metric are not one line.
    values: dict[str, list[Json]] = {
        shorten_text(metric.name, 80): [
            to_scale(metric.mean, metric.scale), format_on_scale(metric.mean, metric.unit, metric.scale), metric.version
        ]
        for metric in metrics
        if metric.mean is not None
    }  # fmt: skip
    tokens = (
        (traffic.input_tokens or 0) + (traffic.output_tokens or 0)
        if traffic.output_tokens is not None
        else None
    )
    used = (
        ("latency p50", latency.p50, "s"),
        ("latency p95", latency.p95, "s"),
        ("tokens", tokens, "count"),
        ("cost", traffic.known_usd, "USD"),
    )
    for name, number, unit in used:
        if number is not None:
            values[name] = [number, format_amount(number, unit), ""]
    return values
