"""The report as one HTML file: no network, no script needed to read it, all foreign text escaped.

Templates escape by default and fail on a name they do not know. The page's own style and script are
the only ones its Content-Security-Policy lets run: they are named there by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from pytest_llmops.measurement import Json, Measurement, format_amount, format_count, shorten_text
from pytest_llmops.reports.html_texts import Texts
from pytest_llmops.reports.html_views import (
    MAX_NAME,
    CaseView,
    build_case_view,
    case_id,
    comparison_sign,
    format_json,
    rerun_flags,
)
from pytest_llmops.results.comparison import group_by
from pytest_llmops.results.matrix import Matrix, build_matrices
from pytest_llmops.results.review import Judgement, select_for_review
from pytest_llmops.results.run import OUTCOMES, Run, TestRecord
from pytest_llmops.results.summary import (
    BINS,
    OUTCOME_WORDS,
    Metric,
    Side,
    describe_uneven_metrics,
    summarize_run,
)
from pytest_llmops.results.usage import format_cost

if TYPE_CHECKING:
    from jinja2 import Environment

STATUS_WORDS = {"passed": "passed", "failed": "failed", "recorded": "recorded", "errored": "not scored"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _TestFile:
    name: str
    counts: str
    cases: Sequence[CaseView]


@dataclass(frozen=True, slots=True, kw_only=True)
class _MatrixTable:
    """A matrix as it is shown."""

    test: str
    prompt: str
    columns: Sequence[_MatrixColumn]
    metrics: Sequence[tuple[str, str]]
    rows: Sequence[tuple[str, bool, Sequence[Sequence[_MatrixCell]]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _CandidatesTable:
    """Models over the same tests: a row for each, with the means of the metrics."""

    tests: str
    metrics: Sequence[tuple[str, str]]
    rows: Sequence[tuple[Side, Sequence[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _MatrixColumn:
    label: str
    facts: Sequence[str]
    means: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReviewRow:
    """A verdict that a person should look at."""

    id: str
    case: str
    test: str
    judge: str
    version: str
    score: str
    confidence: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _MatrixCell:
    """A test in a matrix: per metric its value, its status and how it moved against the first column."""

    id: str
    outcome: str
    scores: Sequence[tuple[str, str, str]]


def render_html(run: Run) -> str:
    """Return the whole page; an empty run gives one that says so.

    Texts beyond 64 KB are cut with a marker, and a long text that occurs again is a reference to its
    first place. The same run gives the same bytes.

    >>> "no tests were recorded" in render_html(Run())
    True
    """
    texts = Texts()
    run_totals = summarize_run(run)
    style, script = (_read_resource(name) for name in ("style.css", "script.js"))
    return (
        _template_environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            totals=run_totals,
            style=style,
            script=script,
            policy=_content_security_policy(style, script),
            files=_group_by_file(run, texts),
            tables=[_matrix_table(one) for one in build_matrices(run)],
            review=list(map(_review_row, select_for_review(run.records))),
            candidates=[
                _candidates_table(one) for one in group_by(run_totals.candidates, _comparison).values()
            ],
            model_tables=[_matrix_table(one) for one in build_matrices(run, "model")],
            notes=[shorten_text(note, 2 * MAX_NAME) for note in run.notes],
            about=_metadata_tables(run.meta),
            cost=format_cost(run_totals.traffic),
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
    env.filters.update(short=_short, number=_format_optional_amount, threshold=_format_metric_threshold)
    env.globals.update(counted=format_count, bars=_histogram_bars, amount=format_amount)
    return env


def _read_resource(name: str) -> str:
    # Read as text, so that the page's line ends, and with them the hashes, are the same everywhere.
    return (files("pytest_llmops.reports") / "templates" / name).read_text(encoding="utf-8").strip()


def _content_security_policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src {_csp_hash(style)}; script-src {_csp_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _csp_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _short(text: object, limit: int = MAX_NAME) -> str:
    return shorten_text(str(text), limit)


def _format_optional_amount(value: float | None, unit: str) -> str:
    return "–" if value is None else format_amount(value, unit)


def _format_metric_threshold(metric: Metric) -> str:
    if metric.threshold is None:
        return "mixed" if metric.thresholds else "–"
    return f"{comparison_sign(metric.better)} {format_amount(metric.threshold, metric.unit)}"


def _histogram_bars(metric: Metric) -> list[tuple[int, int, int, bool]]:
    """The bars of a histogram: x, y, height out of 28, and whether the whole bin misses the threshold."""
    top = max(metric.histogram, default=0) or 1
    out = []
    for place, count in enumerate(metric.histogram):
        height = round(count / top * 27) + 1 if count else 0
        out.append((place * 12, 28 - height, height, _misses_threshold(metric, place)))
    return out


def _misses_threshold(metric: Metric, place: int) -> bool:
    if metric.threshold is None or metric.recorded:  # a threshold that only some were held to colours nothing
        return False
    low, high = place / BINS, (place + 1) / BINS
    if metric.better == "lower":
        return low > metric.threshold
    # A bin ends before its upper edge, only the last one holds it.
    return high < metric.threshold or (high == metric.threshold and place < BINS - 1)


def _group_by_file(run: Run, texts: Texts) -> list[_TestFile]:
    seen: Counter[str] = Counter()

    def shown(record: TestRecord) -> CaseView:
        case = build_case_view(record, texts, rerun_flags(run.meta, record))
        seen[case.id] += 1
        # A merged run may hold a test twice; an id may not.
        return case if seen[case.id] == 1 else replace(case, id=f"{case.id}-{seen[case.id]}")

    ordered = sorted(run.records, key=lambda test_record: OUTCOMES.index(test_record.outcome))
    groups = group_by(ordered, lambda test_record: test_record.nodeid.partition("::")[0])
    return [
        _TestFile(
            name=shorten_text(name, MAX_NAME),
            counts=", ".join(
                f"{number} {OUTCOME_WORDS[outcome]}"
                for outcome in OUTCOMES
                if (number := sum(test_record.outcome == outcome for test_record in group))
            ),
            cases=[shown(test_record) for test_record in group],
        )
        for name, group in groups.items()
    ]


def _review_row(judgement: Judgement) -> _ReviewRow:
    score = "not scored" if judgement.score is None else f"{judgement.score:.4g}"
    if judgement.low is not None and judgement.high is not None:
        score += f" ({judgement.low:g} to {judgement.high:g})" if judgement.score is not None else ""
    sure = "–" if judgement.confidence is None else f"{judgement.confidence:.2f}"
    test = judgement.nodeid.partition("::")[2] or judgement.nodeid
    return _ReviewRow(
        id=case_id(judgement.nodeid),
        case=shorten_text(judgement.case or test, 80),
        test=shorten_text(test, MAX_NAME) if judgement.case else "",
        judge=shorten_text(
            f"{judgement.judge} [{judgement.label}]" if judgement.label else judgement.judge, 80
        ),
        version=shorten_text(judgement.version, 60),
        score=score,
        confidence=sure if judgement.least is None else f"{sure} < {judgement.least:g}",
        reason=shorten_text(judgement.reason, MAX_NAME),
    )


def _comparison(side: Side) -> int:
    return side.comparison


def _candidates_table(sides: Sequence[Side]) -> _CandidatesTable:
    doubts = _doubts_by_metric(sides)
    left_out = (
        f", {format_count(sides[0].left_out, 'case')} left out that not all of them ran"
        if sides[0].left_out
        else ""
    )
    return _CandidatesTable(
        tests="; ".join([f"{format_count(sides[0].tests, 'test')} each{left_out}", *_uneven_notes(sides)]),
        metrics=[(shorten_text(name, 40), doubt) for name, doubt in doubts.items()],
        rows=[(side, [_format_column_mean(side.metrics, name) for name in doubts]) for side in sides],
    )


def _uneven_notes(sides: Iterable[Side]) -> list[str]:
    return [f"{shorten_text(name, 40)}: {words}" for name, words in describe_uneven_metrics(sides)]


def _doubts_by_metric(sides: Sequence[Side]) -> dict[str, str]:
    """The metrics to show, those with a threshold if there are any, and what speaks against each."""
    metrics = [metric for side in sides for metric in side.metrics if metric.n or metric.left_out]
    by_name = group_by(
        [metric for metric in metrics if metric.thresholds] or metrics, lambda metric: metric.name
    )
    return {
        name: next(filter(None, (metric.doubt for metric in group)), "") for name, group in by_name.items()
    }


def _matrix_table(matrix: Matrix) -> _MatrixTable:
    doubts = _doubts_by_metric(matrix.columns)
    names = list(doubts)
    return _MatrixTable(
        test=shorten_text(matrix.test, MAX_NAME),
        prompt=shorten_text(matrix.prompt, MAX_NAME),
        metrics=[(shorten_text(name, 40), doubt) for name, doubt in doubts.items()],
        columns=[
            _MatrixColumn(
                label=shorten_text(column.label, 60),
                facts=[
                    f"{column.passed} of {column.tests - column.skipped} passed",
                    f"cost {format_cost(column.traffic)}" if column.traffic.calls else "",
                    f"p95 {format_amount(column.latency.p95, 's')}" if column.latency.p95 is not None else "",
                    shorten_text(column.fingerprint[:12]),
                    *_uneven_notes([column]),
                ],
                means=[_format_column_mean(column.metrics, name) for name in names],
            )
            for column in matrix.columns
        ],
        rows=[
            (
                shorten_text(row.case, MAX_NAME) or "–",
                row.differs,
                [[_matrix_cell(record, row.cells[0], names) for record in cell] for cell in row.cells],
            )
            for row in matrix.rows
        ],
    )


def _format_column_mean(metrics: Iterable[Metric], name: str) -> str:
    # Unlike versions of one metric are not averaged into one another: then there is no one mean.
    matching = [metric for metric in metrics if metric.name == name and metric.n]
    return (
        _format_optional_amount(matching[0].mean, matching[0].unit)
        if len(matching) == 1
        else "–"
        if not matching
        else "mixed"
    )


def _matrix_cell(record: TestRecord, first: Sequence[TestRecord], names: Iterable[str]) -> _MatrixCell:
    return _MatrixCell(
        id=case_id(record.nodeid),
        outcome=record.outcome,
        scores=[_cell_score(record, first, name) for name in names],
    )


def _cell_score(record: TestRecord, first: Sequence[TestRecord], name: str) -> tuple[str, str, str]:
    here = _worst_measurement(record, name)
    if here is None:
        return "–", "recorded", ""
    value = "not scored" if here.value is None else format_amount(here.value, here.unit)
    before = _worst_measurement(first[0], name) if first and first[0] is not record else None
    return value, here.status, _score_trend(before, here)


def _worst_measurement(record: TestRecord, name: str) -> Measurement | None:
    """The measurement of that name that speaks for the test: what has no score, else the worst one."""
    candidates = [measurement for measurement in record.measurements if measurement.name == name]
    for measurement in candidates:
        if measurement.value is None:
            return measurement
    return min(
        candidates,
        key=lambda measurement: (measurement.value or 0.0) * (1 if measurement.better == "higher" else -1),
        default=None,
    )


def _score_trend(before: Measurement | None, here: Measurement) -> str:
    """Say ``better`` or ``worse``, or nothing: two versions of a metric are never compared."""
    if before is None or before.value is None or here.value is None or before.version != here.version:
        return ""
    if format_amount(before.value, before.unit) == format_amount(here.value, here.unit):
        return ""
    return "better" if (here.value > before.value) == (here.better == "higher") else "worse"


def _metadata_tables(meta: Mapping[str, Json]) -> list[tuple[str, list[tuple[str, str]]]]:
    """What is known of the run, as titled tables."""
    plain = {key: value for key, value in meta.items() if not isinstance(value, Mapping)}
    tables: list[tuple[str, Mapping[str, Json]]] = [("run", plain)]
    tables += [(key, value) for key, value in meta.items() if isinstance(value, Mapping)]
    return [
        (
            shorten_text(title, 60),
            [
                (shorten_text(key, 100), shorten_text(_format_metadata(value), 1_000))
                for key, value in rows.items()
            ],
        )
        for title, rows in tables
        if rows
    ]


def _format_metadata(value: Json) -> str:
    if value is None or value in ("", [], {}):
        return "–"
    return value if isinstance(value, str) else format_json(value, indent=None)
