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

from pytest_llmops.measurement import Json, Measurement, amount, counted, shorten
from pytest_llmops.reports.html_texts import Texts
from pytest_llmops.reports.html_views import MAX_NAME, CaseView, case_id, flags_of, json_text, sign, view
from pytest_llmops.results.comparison import grouped
from pytest_llmops.results.matrix import Matrix, matrices
from pytest_llmops.results.review import Judgement, review
from pytest_llmops.results.run import OUTCOMES, Run, TestRecord
from pytest_llmops.results.summary import BINS, WORDS, Metric, Side, totals, uneven_words
from pytest_llmops.results.usage import cost_words

if TYPE_CHECKING:
    from jinja2 import Environment

STATUS_WORDS = {"passed": "passed", "failed": "failed", "recorded": "recorded", "errored": "not scored"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    name: str
    counts: str
    cases: Sequence[CaseView]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A matrix as it is shown."""

    test: str
    prompt: str
    columns: Sequence[_Column]
    metrics: Sequence[tuple[str, str]]
    rows: Sequence[tuple[str, bool, Sequence[Sequence[_Cell]]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidates:
    """Models over the same tests: a row for each, with the means of the metrics."""

    tests: str
    metrics: Sequence[tuple[str, str]]
    rows: Sequence[tuple[Side, Sequence[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    label: str
    facts: Sequence[str]
    means: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _LookedAt:
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
class _Cell:
    """A test in a matrix: per metric its value, its status and how it moved against the first column."""

    id: str
    outcome: str
    scores: Sequence[tuple[str, str, str]]


def render(run: Run) -> str:
    """Return the whole page; an empty run gives one that says so.

    Texts beyond 64 KB are cut with a marker, and a long text that occurs again is a reference to its
    first place. The same run gives the same bytes.

    >>> "no tests were recorded" in render(Run())
    True
    """
    texts = Texts()
    found = totals(run)
    style, script = (_resource(name) for name in ("style.css", "script.js"))
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            totals=found,
            style=style,
            script=script,
            policy=_policy(style, script),
            files=_files(run, texts),
            tables=[_table(one) for one in matrices(run)],
            review=list(map(_looked_at, review(run.records))),
            candidates=[_candidates(one) for one in grouped(found.candidates, _comparison).values()],
            model_tables=[_table(one) for one in matrices(run, "model")],
            notes=[shorten(note, 2 * MAX_NAME) for note in run.notes],
            about=_about(run.meta),
            cost=cost_words(found.traffic),
            outcomes=OUTCOMES,
            words=WORDS,
            status_words=STATUS_WORDS,
        )
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    env = Environment(
        loader=PackageLoader("pytest_llmops", "reports/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    env.filters.update(short=_short, number=_number, threshold=_threshold)
    env.globals.update(counted=counted, bars=_bars, amount=amount)
    return env


def _resource(name: str) -> str:
    # Read as text, so that the page's line ends, and with them the hashes, are the same everywhere.
    return (files("pytest_llmops.reports") / "templates" / name).read_text(encoding="utf-8").strip()


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _short(text: object, limit: int = MAX_NAME) -> str:
    return shorten(str(text), limit)


def _number(value: float | None, unit: str) -> str:
    return "–" if value is None else amount(value, unit)


def _threshold(metric: Metric) -> str:
    if metric.threshold is None:
        return "mixed" if metric.thresholds else "–"
    return f"{sign(metric.better)} {amount(metric.threshold, metric.unit)}"


def _bars(metric: Metric) -> list[tuple[int, int, int, bool]]:
    """The bars of a histogram: x, y, height out of 28, and whether the whole bin misses the threshold."""
    top = max(metric.histogram, default=0) or 1
    out = []
    for place, count in enumerate(metric.histogram):
        height = round(count / top * 27) + 1 if count else 0
        out.append((place * 12, 28 - height, height, _missed(metric, place)))
    return out


def _missed(metric: Metric, place: int) -> bool:
    if metric.threshold is None or metric.recorded:  # a threshold that only some were held to colours nothing
        return False
    low, high = place / BINS, (place + 1) / BINS
    if metric.better == "lower":
        return low > metric.threshold
    # A bin ends before its upper edge, only the last one holds it.
    return high < metric.threshold or (high == metric.threshold and place < BINS - 1)


def _files(run: Run, texts: Texts) -> list[_File]:
    seen: Counter[str] = Counter()

    def shown(record: TestRecord) -> CaseView:
        case = view(record, texts, flags_of(run.meta, record))
        seen[case.id] += 1
        # A merged run may hold a test twice; an id may not.
        return case if seen[case.id] == 1 else replace(case, id=f"{case.id}-{seen[case.id]}")

    ordered = sorted(run.records, key=lambda one: OUTCOMES.index(one.outcome))
    groups = grouped(ordered, lambda one: one.nodeid.partition("::")[0])
    return [
        _File(
            name=shorten(name, MAX_NAME),
            counts=", ".join(
                f"{number} {WORDS[outcome]}"
                for outcome in OUTCOMES
                if (number := sum(one.outcome == outcome for one in group))
            ),
            cases=[shown(one) for one in group],
        )
        for name, group in groups.items()
    ]


def _looked_at(one: Judgement) -> _LookedAt:
    score = "not scored" if one.score is None else f"{one.score:.4g}"
    if one.low is not None and one.high is not None:
        score += f" ({one.low:g} to {one.high:g})" if one.score is not None else ""
    sure = "–" if one.confidence is None else f"{one.confidence:.2f}"
    test = one.nodeid.partition("::")[2] or one.nodeid
    return _LookedAt(
        id=case_id(one.nodeid),
        case=shorten(one.case or test, 80),
        test=shorten(test, MAX_NAME) if one.case else "",
        judge=shorten(f"{one.judge} [{one.label}]" if one.label else one.judge, 80),
        version=shorten(one.version, 60),
        score=score,
        confidence=sure if one.least is None else f"{sure} < {one.least:g}",
        reason=shorten(one.reason, MAX_NAME),
    )


def _comparison(side: Side) -> int:
    return side.comparison


def _candidates(sides: Sequence[Side]) -> _Candidates:
    doubts = _doubts(sides)
    left_out = (
        f", {counted(sides[0].left_out, 'case')} left out that not all of them ran"
        if sides[0].left_out
        else ""
    )
    return _Candidates(
        tests="; ".join([f"{counted(sides[0].tests, 'test')} each{left_out}", *_uneven(sides)]),
        metrics=[(shorten(name, 40), doubt) for name, doubt in doubts.items()],
        rows=[(one, [_column_mean(one.metrics, name) for name in doubts]) for one in sides],
    )


def _uneven(sides: Iterable[Side]) -> list[str]:
    return [f"{shorten(name, 40)}: {words}" for name, words in uneven_words(sides)]


def _doubts(sides: Sequence[Side]) -> dict[str, str]:
    """The metrics to show, those with a threshold if there are any, and what speaks against each."""
    shown = [one for side in sides for one in side.metrics if one.n or one.left_out]
    by_name = grouped([one for one in shown if one.thresholds] or shown, lambda one: one.name)
    return {name: next(filter(None, (one.doubt for one in group)), "") for name, group in by_name.items()}


def _table(matrix: Matrix) -> _Table:
    doubts = _doubts(matrix.columns)
    names = list(doubts)
    return _Table(
        test=shorten(matrix.test, MAX_NAME),
        prompt=shorten(matrix.prompt, MAX_NAME),
        metrics=[(shorten(name, 40), doubt) for name, doubt in doubts.items()],
        columns=[
            _Column(
                label=shorten(column.label, 60),
                facts=[
                    f"{column.passed} of {column.tests - column.skipped} passed",
                    f"cost {cost_words(column.traffic)}" if column.traffic.calls else "",
                    f"p95 {amount(column.latency.p95, 's')}" if column.latency.p95 is not None else "",
                    shorten(column.fingerprint[:12]),
                    *_uneven([column]),
                ],
                means=[_column_mean(column.metrics, name) for name in names],
            )
            for column in matrix.columns
        ],
        rows=[
            (
                shorten(row.case, MAX_NAME) or "–",
                row.differs,
                [[_cell(one, row.cells[0], names) for one in cell] for cell in row.cells],
            )
            for row in matrix.rows
        ],
    )


def _column_mean(metrics: Iterable[Metric], name: str) -> str:
    # Unlike versions of one metric are not averaged into one another: then there is no one mean.
    found = [one for one in metrics if one.name == name and one.n]
    return _number(found[0].mean, found[0].unit) if len(found) == 1 else "–" if not found else "mixed"


def _cell(record: TestRecord, first: Sequence[TestRecord], names: Iterable[str]) -> _Cell:
    return _Cell(
        id=case_id(record.nodeid),
        outcome=record.outcome,
        scores=[_cell_score(record, first, name) for name in names],
    )


def _cell_score(record: TestRecord, first: Sequence[TestRecord], name: str) -> tuple[str, str, str]:
    here = _worst(record, name)
    if here is None:
        return "–", "recorded", ""
    value = "not scored" if here.value is None else amount(here.value, here.unit)
    before = _worst(first[0], name) if first and first[0] is not record else None
    return value, here.status, _moved(before, here)


def _worst(record: TestRecord, name: str) -> Measurement | None:
    """The measurement of that name that speaks for the test: what has no score, else the worst one."""
    found = [one for one in record.measurements if one.name == name]
    for one in found:
        if one.value is None:
            return one
    return min(
        found, key=lambda one: (one.value or 0.0) * (1 if one.better == "higher" else -1), default=None
    )


def _moved(before: Measurement | None, here: Measurement) -> str:
    """Say ``better`` or ``worse``, or nothing: two versions of a metric are never compared."""
    if before is None or before.value is None or here.value is None or before.version != here.version:
        return ""
    if amount(before.value, before.unit) == amount(here.value, here.unit):
        return ""
    return "better" if (here.value > before.value) == (here.better == "higher") else "worse"


def _about(meta: Mapping[str, Json]) -> list[tuple[str, list[tuple[str, str]]]]:
    """What is known of the run, as titled tables."""
    plain = {key: value for key, value in meta.items() if not isinstance(value, Mapping)}
    tables: list[tuple[str, Mapping[str, Json]]] = [("run", plain)]
    tables += [(key, value) for key, value in meta.items() if isinstance(value, Mapping)]
    return [
        (
            shorten(title, 60),
            [(shorten(key, 100), shorten(_value(value), 1_000)) for key, value in rows.items()],
        )
        for title, rows in tables
        if rows
    ]


def _value(value: Json) -> str:
    if value is None or value in ("", [], {}):
        return "–"
    return value if isinstance(value, str) else json_text(value, indent=None)
