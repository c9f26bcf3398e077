"""Render a run as one HTML file: no network, readable without scripts, all foreign text escaped.

Templates escape by default and fail on an unknown name. The Content-Security-Policy allows the page's own style
and script only, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from pytest_llmops.measurement import Json, Measurement, format_amount, format_count, shorten_text
from pytest_llmops.reports.html_views import (
    MAX_NAME,
    Texts,
    View,
    build_case_view,
    case_id,
    comparison_sign,
    format_json,
    rerun_flags,
)
from pytest_llmops.reports.word_diff import diff_words
from pytest_llmops.results.comparison import group_by
from pytest_llmops.results.details import Scale, format_on_scale, format_score_and_threshold
from pytest_llmops.results.review import Judgement, select_for_review
from pytest_llmops.results.run import OUTCOMES, Run, TestRecord
from pytest_llmops.results.summary import (
    BINS,
    OUTCOME_WORDS,
    Matrix,
    Metric,
    Side,
    build_matrices,
    describe_uneven_metrics,
    summarize_run,
)
from pytest_llmops.results.usage import format_cost
from pytest_llmops.results.verdict import CHANGE_KINDS, CHANGE_WORDS, CaseChange, SuiteVerdict

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_CHANGES = 200
STATUS_WORDS = {"passed": "passed", "failed": "failed", "recorded": "recorded", "errored": "not scored"}


def render_html(run: Run) -> str:
    """Return the whole page; an empty run gives a page that says so.

    Texts beyond 64 KB are cut with a marker, and a long text that occurs again is a reference to its
    first place. The same run gives the same bytes.

    >>> "no tests were recorded" in render_html(Run())
    True
    """
    totals = summarize_run(run)
    # Read as text, so that the page's line ends, and with them the hashes, are the same everywhere.
    templates = files("pytest_llmops.reports") / "templates"
    style, script = (
        (templates / name).read_text(encoding="utf-8").strip() for name in ("style.css", "script.js")
    )
    return (
        _template_environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            totals=totals,
            style=style,
            script=script,
            policy=(
                f"default-src 'none'; style-src {_csp_hash(style)}; script-src {_csp_hash(script)}; "
                "img-src data:; base-uri 'none'; form-action 'none'"
            ),
            files=_group_by_file(run),
            gate=_build_gate(run.verdict) if run.verdict is not None else None,
            tables=list(map(_build_matrix_table, build_matrices(run))),
            review=list(map(_build_review_row, select_for_review(run.records))),
            candidates=[
                _build_candidates_table(sides)
                for sides in group_by(totals.candidates, lambda side: side.comparison).values()
            ],
            model_tables=list(map(_build_matrix_table, build_matrices(run, "model"))),
            notes=[shorten_text(note, 2 * MAX_NAME) for note in run.notes],
            about=_metadata_tables(run.meta),
            cost=format_cost(totals.traffic),
            outcomes=OUTCOMES,
            words=OUTCOME_WORDS,
            status_words=STATUS_WORDS,
        )
    )


@lru_cache(maxsize=1)
def _template_environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    env = Environment(
        loader=PackageLoader("pytest_llmops", "reports/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    env.filters.update(
        short=lambda text, limit: shorten_text(str(text), limit),
        number=_format_optional_amount,
        threshold=_format_metric_threshold,
    )
    env.globals.update(counted=format_count, bars=_histogram_bars, amount=format_amount)
    return env


def _csp_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _format_optional_amount(value: float | None, unit: str, scale: Scale | None = None) -> str:
    return "–" if value is None else format_on_scale(value, unit, scale)


def _format_metric_threshold(metric: Metric) -> str:
    if metric.threshold is None:
        return "mixed" if metric.thresholds else "–"
    return f"{comparison_sign(metric.better)} {format_on_scale(metric.threshold, metric.unit, metric.scale)}"


def _histogram_bars(metric: Metric) -> list[tuple[int, int, int, bool]]:
    """Return the bars of a histogram: x, y, height out of 28, and whether the whole bin misses the threshold."""
    top = max(metric.histogram, default=0) or 1
    bars = []
    for place, count in enumerate(metric.histogram):
        height = round(count / top * 27) + 1 if count else 0
        bars.append((place * 12, 28 - height, height, _misses_threshold(metric, place)))
    return bars


def _misses_threshold(metric: Metric, place: int) -> bool:
    if metric.threshold is None or metric.recorded:  # a threshold of only some measurements colours nothing
        return False
    low, high = place / BINS, (place + 1) / BINS
    if metric.better == "lower":
        return low > metric.threshold
    # Only the last bin includes its upper edge.
    return high < metric.threshold or (high == metric.threshold and place < BINS - 1)


def _group_by_file(run: Run) -> list[View]:
    texts = Texts()
    ids: Counter[str] = Counter()
    tests = []
    ordered = sorted(run.records, key=lambda record: OUTCOMES.index(record.outcome))
    for name, group in group_by(ordered, lambda record: record.nodeid.partition("::")[0]).items():
        outcomes = Counter(record.outcome for record in group)
        cases = []
        for record in group:
            case = build_case_view(record, texts, rerun_flags(run.meta, record))
            ids[case["id"]] += 1
            # A merged run may hold a test twice; an id may not.
            if (number := ids[case["id"]]) > 1:
                case["id"] += f"-{number}"
            cases.append(case)
        counts = [
            f"{outcomes[outcome]} {OUTCOME_WORDS[outcome]}" for outcome in OUTCOMES if outcomes[outcome]
        ]
        tests.append({"name": shorten_text(name, MAX_NAME), "counts": ", ".join(counts), "cases": cases})
    return tests


def _build_gate(verdict: SuiteVerdict) -> View:
    """Return the verdict on the change since the baseline, and the tests that changed."""
    rows = [
        {
            "id": case_id(change.nodeid),
            "kind": CHANGE_WORDS[kind],
            "name": shorten_text(change.nodeid, MAX_NAME),
            "what": shorten_text(change.words, 2 * MAX_NAME),
            "edits": _diff_outputs(change),
        }
        for kind in CHANGE_KINDS
        for change in verdict.of_kind(kind)
    ]
    return {
        "style": {"RED": "failed", "ERROR": "failed", "AMBER": "errored", "GREEN": "passed"}.get(
            verdict.status, "muted"
        ),
        "headline": shorten_text(verdict.headline, 2 * MAX_NAME),
        "about": [shorten_text(text, MAX_NAME) for text in (*verdict.advice, verdict.baseline) if text],
        "rows": rows[:MAX_CHANGES],
        "rest": max(len(rows) - MAX_CHANGES, 0),
        "unchanged": verdict.unchanged,
    }


def _diff_outputs(change: CaseChange) -> list[tuple[str, str]]:
    if (
        change.kind not in ("regressed", "improved")
        or change.before_output is None
        or change.after_output is None
    ):
        return []
    return [
        (kind, shorten_text(text, MAX_NAME)) if text.strip() else (kind, " ")
        for kind, text in diff_words(change.before_output, change.after_output)
    ]


def _build_review_row(judgement: Judgement) -> View:
    score = "not scored"
    if judgement.score is not None:
        score = f"{judgement.score:.4g}"
        if judgement.low is not None and judgement.high is not None:
            score += f" ({judgement.low:g} to {judgement.high:g})"
    confidence = "–" if judgement.confidence is None else f"{judgement.confidence:.2f}"
    test = judgement.nodeid.partition("::")[2] or judgement.nodeid
    label = f" [{judgement.label}]" if judgement.label else ""
    return {
        "id": case_id(judgement.nodeid),
        "case": shorten_text(judgement.case or test, 80),
        "test": shorten_text(test, MAX_NAME) if judgement.case else "",
        "judge": shorten_text(f"{judgement.judge}{label}", 80),
        "version": shorten_text(judgement.version, 60),
        "score": score,
        "confidence": confidence if judgement.least is None else f"{confidence} < {judgement.least:g}",
        "reason": shorten_text(judgement.reason, MAX_NAME),
    }


def _build_candidates_table(sides: Sequence[Side]) -> View:
    doubts = _doubts_by_metric(sides)
    tests = f"{format_count(sides[0].tests, 'test')} each"
    if sides[0].left_out:
        tests += f", {format_count(sides[0].left_out, 'case')} left out that not all of them ran"
    return {
        "tests": "; ".join([tests, *_uneven_notes(sides)]),
        "metrics": [(shorten_text(name, 40), doubt) for name, doubt in doubts.items()],
        "rows": [(side, [_format_column_mean(side.metrics, name) for name in doubts]) for side in sides],
    }


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
    return _format_optional_amount(matching[0].mean, matching[0].unit, matching[0].scale) if matching else "–"


def _build_matrix_column(side: Side, metrics: Iterable[str]) -> View:
    return {
        "label": shorten_text(side.label, 60),
        "facts": [
            f"{side.passed} of {side.tests - side.skipped} passed",
            f"cost {format_cost(side.traffic)}" if side.traffic.calls else "",
            f"p95 {format_amount(side.latency.p95, 's')}" if side.latency.p95 is not None else "",
            shorten_text(side.fingerprint[:12]),
            *_uneven_notes([side]),
        ],
        "means": [_format_column_mean(side.metrics, name) for name in metrics],
    }


def _build_matrix_cell(record: TestRecord, first: Sequence[TestRecord], metrics: Iterable[str]) -> View:
    """Return the cell of a test; ``first`` is the cell in the first column."""
    scores = []
    for name in metrics:
        here = _worst_measurement(record, name)
        before = _worst_measurement(first[0], name) if first and first[0] is not record else None
        if here is None:
            scores.append(("–", "recorded", ""))
        else:
            value, _ = format_score_and_threshold(here)
            scores.append((value or "not scored", here.status, _score_trend(before, here)))
    return {"id": case_id(record.nodeid), "outcome": record.outcome, "scores": scores}


def _build_matrix_table(matrix: Matrix) -> View:
    doubts = _doubts_by_metric(matrix.columns)
    return {
        "test": shorten_text(matrix.test, MAX_NAME),
        "prompt": shorten_text(matrix.prompt, MAX_NAME),
        "metrics": [(shorten_text(name, 40), doubt) for name, doubt in doubts.items()],
        "columns": [_build_matrix_column(side, doubts) for side in matrix.columns],
        "rows": [
            (
                shorten_text(row.case, MAX_NAME) or "–",
                row.differs,
                [[_build_matrix_cell(record, row.cells[0], doubts) for record in cell] for cell in row.cells],
            )
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
    if before is None or before.value is None or here.value is None or before.version != here.version:
        return ""
    if format_amount(before.value, before.unit) == format_amount(here.value, here.unit):
        return ""
    return "better" if (here.value > before.value) == (here.better == "higher") else "worse"


def _metadata_tables(meta: Mapping[str, Json]) -> list[tuple[str, list[tuple[str, str]]]]:
    plain = {key: value for key, value in meta.items() if not isinstance(value, Mapping)}
    tables = []
    for title, rows in (("run", plain), *meta.items()):
        if not isinstance(rows, Mapping) or not rows:
            continue
        table = []
        for key, value in rows.items():
            text = value if isinstance(value, str) else format_json(value, indent=None)
            is_empty = value is None or value in ("", [], {})
            table.append((shorten_text(key, 100), "–" if is_empty else shorten_text(text, 1_000)))
        tables.append((shorten_text(title, 60), table))
    return tables
