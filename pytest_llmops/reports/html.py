"""Render a run as one HTML file: no network, readable without scripts, all foreign text inert.

The data of the page is JSON, compressed, in an element that no browser executes; the page's own script builds what
is on the screen, and sets text as text. Without a script the page shows the verdict, the metrics and the first failures.
The Content-Security-Policy allows the page's own style and script only, by their hashes.
"""

import base64
import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files

from pytest_llmops.measurement import Json, format_amount, format_count, shorten_text
from pytest_llmops.reports.formats import ReportFormat
from pytest_llmops.reports.html_sides import (
    build_candidates_table,
    build_history,
    build_matrix_view,
    describe_tokens,
    format_optional_amount,
)
from pytest_llmops.reports.html_views import (
    MAX_NAME,
    Texts,
    View,
    build_case_view,
    case_id,
    comparison_sign,
    diff_words,
    format_json,
    rerun_flags,
)
from pytest_llmops.reports.text import render_template
from pytest_llmops.results.comparison import group_by
from pytest_llmops.results.details import format_on_scale
from pytest_llmops.results.problems import describe_kind, merge_record_commands
from pytest_llmops.results.review import Judgement, select_for_review
from pytest_llmops.results.run import OUTCOMES, Run, TestRecord
from pytest_llmops.results.summary import (
    BINS,
    Metric,
    Totals,
    build_matrices,
    summarize_run,
)
from pytest_llmops.results.traffic import Traffic, format_cost
from pytest_llmops.results.verdict import CHANGE_KINDS, CaseChange, Level, MetricVerdict, Verdict

MAX_ADVICE = 10  # sentences on a comparison
MAX_STATIC = 50  # tests that a page without a script shows
MAX_REMOVED = 200
COMPRESSION = 6
_ACCEPT_HINT = re.compile(r" If [^.]{,200}\(--llm-accept\)")  # wrong advice while recordings are missing
_PURPOSES = {"app": "the application", "judge": "judges", "embedder": "embedders"}
_RUN_STYLES = {"PASS": "passed", "FAIL": "failed", "RED": "failed", "ERROR": "errored"}
_LEVEL_STYLES: Mapping[Level, str] = {
    "bad": "failed",
    "error": "errored",
    "open": "errored",
    "good": "passed",
    "": "",
}


def render_html(run: Run, history: Sequence[Run] = ()) -> str:
    """Return the whole page; an empty run gives a page that says so.

    Texts beyond 64 KB are cut with a marker. The same runs give the same bytes.

    Args:
        run: What the page is about.
        history: Earlier runs, in any order, for a tab that shows the metrics, latency, tokens and cost over time.

    >>> "no tests were recorded" in render_html(Run())
    True
    """
    # Read as text, so that the page's line ends, and with them the hashes, are the same everywhere.
    templates = files("pytest_llmops.reports") / "templates"
    style, script = (
        (templates / name).read_text(encoding="utf-8").strip() for name in ("report.css", "report.js")
    )
    page = build_page(run, history)
    return render_template(
        "report.html.j2",
        page=page,
        style=style,
        script=script,
        policy=(
            f"default-src 'none'; style-src {_csp_hash(style)}; script-src {_csp_hash(script)}; "
            "img-src data:; base-uri 'none'; form-action 'none'"
        ),
        data=_pack(page),
        failures=[_static_case(case, page["texts"]) for case in page["cases"][:MAX_STATIC] if _is_bad(case)],
        rest=max(sum(map(_is_bad, page["cases"])) - MAX_STATIC, 0),
    )


def build_page(run: Run, history: Sequence[Run] = ()) -> View:
    """Return all that the page shows, as plain JSON: what got worse comes first among the tests.

    >>> build_page(Run())["verdict"]
    ['EMPTY', 'muted', 'no tests were recorded']
    """
    totals = summarize_run(run)
    texts = Texts()
    review = select_for_review(run.records)
    cases, places = _build_cases(run, texts, review)
    missed = [record.message for record in run.records if "CassetteMiss" in record.raised]
    commands = merge_record_commands(missed)
    return {
        "verdict": [totals.verdict, _RUN_STYLES.get(totals.verdict, "muted"), totals.outcome_words],
        "ran": _describe_when(run, totals),
        "gates": [
            _build_gate(verdict, run, {metric.name: metric for metric in totals.metrics}, missed=bool(missed))
            for verdict in run.verdicts
            if verdict.is_since_baseline
        ],
        "missed": [
            f"{format_count(len(missed), 'test')} without a recording; to record all:",
            [shorten_text(command, 2_000) for command in commands],
        ]
        if commands
        else None,
        "outcomes": [
            [outcome, "error" if outcome == "errored" else outcome, totals.outcomes[outcome]]
            for outcome in OUTCOMES
            if totals.outcomes[outcome]
        ],
        "figures": _build_figures(totals, run.verdicts),
        "notes": [shorten_text(note, 2 * MAX_NAME) for note in run.notes],
        "metrics": list(map(_build_metric_view, totals.metrics)),
        "matrices": [
            build_matrix_view(matrix, axis, places)
            for axis in ("prompt", "model")
            for matrix in build_matrices(run, axis)
        ],
        "candidates": [
            build_candidates_table(sides)
            for sides in group_by(totals.candidates, lambda side: side.comparison).values()
        ],
        "review": list(map(_build_review_row, review)),
        "calls": [
            [shorten_text(_PURPOSES.get(purpose, purpose), 60), *_traffic_cells(traffic)]
            for purpose, traffic in totals.by_purpose.items()
        ],
        "run": _metadata_tables(run.meta),
        "history": build_history([*history, run]) if history else [],
        "cases": cases,
        "texts": texts.stored,
    }


def _pack(page: View) -> str:
    data = json.dumps(page, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(data, COMPRESSION, mtime=0)).decode()


def _csp_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _is_bad(case: View) -> bool:
    """Return whether a test failed, could not be scored, or got worse since the baseline."""
    return case["outcome"] in ("failed", "errored") or case.get("change", {}).get("kind") == "worse"


def _static_case(case: View, texts: Sequence[str | list[str | int]]) -> View:
    # Return what a page without a script shows of a test.

    def read(place: int) -> str:
        text = texts[place]
        if isinstance(text, str):
            return text
        return f"{text[0]}\n(cut: {text[1]:,} more characters are in the run file)"

    change: View = case.get("change", {})
    return {
        "id": case["id"],
        "name": f"{case['file']}::{case['name']}",
        "outcome": case["outcome"],
        "change": change.get("what", ""),
        "same": case.get("same", ""),
        "message": read(case["message"]) if "message" in case and "same" not in case else "",
        "texts": [(label, read(place)) for label, place in case.get("texts", ())],
        "edits": diff_words(read(change["before"]), read(change["after"]))
        if {"before", "after"} <= change.keys()
        else [],
    }


def _describe_when(run: Run, totals: Totals) -> list[str]:
    commit, created = (str(run.meta.get(key) or "") for key in ("commit", "created"))
    return [
        text
        for text in (
            shorten_text(created, 60),
            f"commit {shorten_text(commit[:12])}" if commit else "",
            f"{format_count(totals.tests, 'test')} in {format_amount(totals.duration_s, 's')}",
        )
        if text
    ]


def _build_figures(totals: Totals, verdicts: Iterable[Verdict]) -> list[list[str]]:
    """Return the figures of the run as ``[label, text, style]``: what a reviewer asks after the verdict."""
    traffic = totals.traffic
    latency = totals.latency
    rows = []
    for verdict in verdicts:
        if not verdict.is_since_baseline:
            lines = [verdict.headline, *verdict.advice[:MAX_ADVICE]]
            text = "\n".join(shorten_text(line, 600) for line in lines)
            rows.append([verdict.label, text, _LEVEL_STYLES[verdict.level]])
    rows += [[words, format_count(number, "test"), "failed"] for words, number in totals.blamed.items()]
    if traffic.calls:
        if traffic.spent_usd is not None or not traffic.live:
            now = format_amount(traffic.spent_usd or 0.0, "USD")
        else:
            now = "unknown"
        rows += [
            [
                "cost now",
                f"{now}, {traffic.live:,} live and {format_count(traffic.replayed, 'replayed call')}",
                "",
            ],
            [
                "cost if live",
                format_cost(traffic).partition(" (")[0] if not traffic.unpriced else format_cost(traffic),
                "",
            ],
            ["tokens", describe_tokens(traffic), ""],
        ]
    if latency.n:
        rows.append(
            [
                "latency of the application",
                f"p50 {format_optional_amount(latency.p50, 's')}, p95 {format_optional_amount(latency.p95, 's')}",
                "",
            ]
        )
    if totals.cassettes.files:
        rows.append(["cassettes", totals.cassettes.count_words, "failed" if totals.cassettes.missed else ""])
    if totals.budget:
        rows += [["budget", totals.budget, ""]]
    for judge in totals.judges:
        name = shorten_text(judge.name, 80) + (f" ({shorten_text(judge.model, 80)})" if judge.model else "")
        if judge.unfit:
            style = "failed"
        elif judge.doubtful:
            style = "errored"
        else:
            style = ""
        rows.append(["judge", f"{name}: {shorten_text(judge.standing, 500)}", style])
    if totals.models:
        rows += [["model", shorten_text(", ".join(totals.models), 200), ""]]
    return rows


def _traffic_cells(traffic: Traffic) -> list[str]:
    return [
        f"{traffic.live:,}",
        f"{traffic.replayed:,}",
        *(
            format_optional_amount(tokens, "count")
            for tokens in (traffic.input_tokens, traffic.output_tokens)
        ),
        *(format_optional_amount(usd, "USD") for usd in (traffic.spent_usd, traffic.saved_usd)),
        f"{traffic.unpriced:,}",
    ]


def _build_cases(run: Run, texts: Texts, review: Iterable[Judgement]) -> tuple[list[View], dict[int, int]]:
    """Return the tests, what failed or got worse first, and the place of each record among them by its id."""
    changes = run.changes
    ordered = sorted(run.records, key=lambda record: _severity(record, changes.get(record.nodeid)))
    reasons = {
        nodeid: "; ".join(judgement.reason for judgement in group)
        for nodeid, group in group_by(review, lambda judgement: judgement.nodeid).items()
    }
    ids: Counter[str] = Counter()
    misses: dict[str, str] = {}
    cases = []
    for record in ordered:
        case = build_case_view(
            record,
            texts,
            rerun_flags(run.meta, record),
            changes.get(record.nodeid),
            reasons.get(record.nodeid, ""),
        )
        ids[case["id"]] += 1
        # A merged run may hold a test twice; an id may not.
        number = ids[case["id"]]
        if number > 1:
            case["id"] += f"-{number}"
        if "CassetteMiss" in record.raised:
            first = misses.setdefault(describe_kind(record.message), case["id"])
            if first != case["id"]:
                case |= {"same": first}
            else:
                case |= {}
        cases.append(case)
    return cases, {id(record): place for place, record in enumerate(ordered)}


def _severity(record: TestRecord, change: CaseChange | None) -> tuple[int, int, float, int]:
    """Return a key that sorts failures first, then what got worse by how much, then other changes."""
    outcome = OUTCOMES.index(record.outcome)
    if record.outcome in ("failed", "errored"):
        bad = outcome
    else:
        bad = len(OUTCOMES)
    kinds: Sequence[str] = CHANGE_KINDS
    return (
        bad,
        kinds.index(change.kind) if change is not None and change.kind in kinds else len(kinds),
        change.gain if change is not None and change.kind == "regressed" else 0.0,
        outcome,
    )


def _build_gate(verdict: Verdict, run: Run, measured: Mapping[str, Metric], *, missed: bool) -> View:
    """Return the verdict on the change since the baseline, and the tests that are gone."""
    sentence = shorten_text(verdict.sentence, 2 * MAX_NAME)
    present = {record.nodeid for record in run.records}
    unseen = sum(
        bool(change.before_outcome) and change.before_output is None and change.after_output is not None
        for change in verdict.changes
    )
    lost = (
        f"the baseline's output is not known in {format_count(unseen, 'changed test')}: neither the file beside the baseline "
        "nor git has it here; fetch the whole history (fetch-depth: 0)"
    )
    removed = [change.nodeid for change in verdict.changes if change.nodeid not in present]
    return {
        "style": "failed" if verdict.level == "error" else _LEVEL_STYLES[verdict.level] or "muted",
        "status": verdict.status,
        "sentence": _ACCEPT_HINT.sub(" Record what is missing first" if missed else r"\g<0>", sentence),
        "about": [
            shorten_text(text, MAX_NAME)
            for text in (lost if unseen else "", *verdict.advice, verdict.baseline)
            if text
        ],
        "removed": [shorten_text(nodeid, MAX_NAME) for nodeid in removed[:MAX_REMOVED]],
        "gone": len(removed),
        "unchanged": verdict.unchanged,
        "metrics": [_build_change_row(metric, measured.get(metric.name)) for metric in verdict.metrics],
    }


def _build_change_row(metric: MetricVerdict, measured: Metric | None) -> list[str]:
    if measured:
        scale = measured.scale
    else:
        scale = None
    # The gate compares goodness: of a metric whose lower values are better, 1 minus the value.
    before, after = (
        1 - mean if measured and measured.better == "lower" else mean
        for mean in (metric.before, metric.after)
    )
    change, lower, detectable = (
        "–" if value is None else f"{value * 100:{form}} points"
        for value, form in ((metric.change, "+.1f"), (metric.lower, "+.1f"), (metric.detectable, ".1f"))
    )
    cases = format_count(metric.cases, "case")
    return [
        shorten_text(metric.name, 80),
        metric.role,
        metric.status or "–",
        format_on_scale(before, "1", scale),
        format_on_scale(after, "1", scale),
        change,
        lower,
        detectable,
        f"{cases}, {metric.unchanged:,} unchanged" if metric.unchanged else cases,
    ]


def _build_metric_view(metric: Metric) -> View:
    mean, median, low, high = (
        format_optional_amount(value, metric.unit, metric.scale)
        for value in (metric.mean, metric.median, metric.minimum, metric.maximum)
    )
    return {
        "name": shorten_text(metric.name, 80),
        "version": shorten_text(metric.version, 60),
        "doubt": shorten_text(metric.doubt, 40),
        "n": f"{metric.n:,}",
        "values": [mean, median, low, high],
        "threshold": _format_metric_threshold(metric),
        "failed": metric.failed,
        "errored": metric.errored,
        "recorded": metric.recorded,
        "bins": list(metric.histogram) if metric.n else [],
        "missed": [place for place in range(len(metric.histogram)) if _misses_threshold(metric, place)],
        "line": min(max(metric.threshold, 0.0), 1.0)
        if metric.threshold is not None and metric.histogram
        else None,
    }


def _format_metric_threshold(metric: Metric) -> str:
    if metric.threshold is None:
        if metric.thresholds:
            return f"mixed{metric.threshold_scope}"
        return "–"
    return (
        f"{comparison_sign(metric.better)} {format_on_scale(metric.threshold, metric.unit, metric.scale)}"
        f"{metric.threshold_scope}"
    )


def _misses_threshold(metric: Metric, place: int) -> bool:
    if metric.threshold is None or metric.recorded:  # a threshold of only some measurements colours nothing
        return False
    low = place / BINS
    high = (place + 1) / BINS
    if metric.better == "lower":
        return low > metric.threshold
    # Only the last bin includes its upper edge.
    return high < metric.threshold or (high == metric.threshold and place < BINS - 1)


def _build_review_row(judgement: Judgement) -> View:
    score = "not scored"
    if judgement.score is not None:
        score = f"{judgement.score:.4g}"
        if judgement.low is not None and judgement.high is not None:
            score += f" ({judgement.low:g} to {judgement.high:g})"
    if judgement.confidence is None:
        confidence = "–"
    else:
        confidence = f"{judgement.confidence:.2f}"
    test = judgement.nodeid.partition("::")[2] or judgement.nodeid
    if judgement.label:
        label = f" [{judgement.label}]"
    else:
        label = ""
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


def _metadata_tables(meta: Mapping[str, Json]) -> list[Json]:
    plain = {key: value for key, value in meta.items() if not isinstance(value, Mapping)}
    tables: list[Json] = []
    for title, rows in (("run", plain), *meta.items()):
        if not isinstance(rows, Mapping) or not rows:
            continue
        table: list[Json] = []
        for key, value in rows.items():
            if isinstance(value, str):
                text = value
            else:
                text = format_json(value, indent=None)
            is_empty = value is None or value in ("", [], {})
            table.append([shorten_text(key, 100), "–" if is_empty else shorten_text(text, 1_000)])
        tables.append([shorten_text(title, 60), table])
    return tables


FORMATS = (ReportFormat(kind="html", suffix=".html", render=render_html, shows_history=True),)
