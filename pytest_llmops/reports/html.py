"""Render a run as one HTML file that needs no network, is readable without scripts, and never executes foreign text.

The data of the page are compressed JSON in an element that browsers do not execute. The script of the page builds the visible content
from them, and inserts texts only as text. Without scripts, the page shows the verdict, the metrics and the first failures. The
Content-Security-Policy allows only the style and the script of the page, by their hashes.
"""

import base64
import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files

from pytest_llmops.errors import append_code
from pytest_llmops.measurement import Json, format_amount, format_count, shorten_text
from pytest_llmops.reports.formats import ReportFormat
from pytest_llmops.reports.html_media import PageMedia
from pytest_llmops.reports.html_sides import (
    build_candidates_table,
    build_history,
    build_matrix_view,
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
from pytest_llmops.results.problems import describe_kind, describe_unrecorded, list_record_commands
from pytest_llmops.results.review import Judgement, select_for_review
from pytest_llmops.results.run import OUTCOMES, JudgeUse, Run, TestRecord
from pytest_llmops.results.summary import (
    BINS,
    Metric,
    Totals,
    build_matrices,
    summarize_run,
)
from pytest_llmops.results.traffic import Traffic, format_cost, format_tokens
from pytest_llmops.results.verdict import CHANGE_KINDS, CaseChange, Level, MetricVerdict, Verdict

MAX_ADVICE = 10  # sentences of advice of a verdict
MAX_STATIC = 50  # only so many of the first tests are shown without scripts, if they failed
MAX_REMOVED = 200  # tests of the baseline that no longer exist
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
    """Return the whole page; for an empty run, it says that no tests were recorded.

    Texts beyond 64 KB are cut, with a note. The same runs give the same bytes.

    Args:
        run: The run.
        history: Earlier runs, in any order; with them, a tab shows metrics, latency, tokens and cost over time.

    >>> "no tests were recorded" in render_html(Run())
    True
    """
    # Read as text, so that the page's line ends, and with them the hashes, are the same everywhere.
    templates = files("pytest_llmops.reports") / "templates"
    style = (templates / "report.css").read_text(encoding="utf-8").strip()
    script = (templates / "report.js").read_text(encoding="utf-8").strip()
    policy = (
        f"default-src 'none'; style-src {_csp_hash(style)}; script-src {_csp_hash(script)}; "
        "img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    )
    page = build_page(run, history)
    first_cases = page["cases"][:MAX_STATIC]
    failures = [_static_case(case, page["texts"]) for case in first_cases if _is_bad(case)]
    failing = sum(map(_is_bad, page["cases"]))
    return render_template(
        "report.html.j2",
        page=page,
        style=style,
        script=script,
        policy=policy,
        data=_compress_page(page),
        failures=failures,
        rest=max(failing - MAX_STATIC, 0),
    )


def build_page(run: Run, history: Sequence[Run] = ()) -> View:
    """Return the data of the page as plain JSON; among the tests, failures come first, then those that got worse.

    >>> build_page(Run())["verdict"]
    ['EMPTY', 'muted', 'no tests were recorded']
    """
    totals = summarize_run(run)
    style = _RUN_STYLES.get(totals.verdict, "muted")
    texts = Texts(media=PageMedia(call for record in run.records for call in record.calls))
    review = select_for_review(run.records)
    cases, places = _build_cases(run, texts, review)
    page: View = {
        "verdict": [totals.verdict, style, totals.outcome_words],
        "ran": _describe_when(run, totals),
        "gates": _build_gates(run, totals),
        "missed": _build_missed(run),
        "outcomes": _count_outcomes(run),
        "figures": _build_figures(totals, run.verdicts),
        "notes": [shorten_text(note, 2 * MAX_NAME) for note in run.notes],
        "metrics": list(map(_build_metric_view, totals.metrics)),
        "matrices": _build_matrices(run, places),
        "candidates": _build_candidates(totals),
        "review": list(map(_build_review_row, review)),
        "calls": _build_call_rows(totals),
        "run": _metadata_tables(run.meta),
        "history": [],
        "cases": cases,
        "texts": texts.stored,
        "media": texts.media.stored,
    }
    if history:
        page["history"] = build_history([*history, run])
    return page


def _build_gates(run: Run, totals: Totals) -> list[View]:
    """Return the verdicts on changes since a baseline."""
    metrics = {metric.name: metric for metric in totals.metrics}
    verdicts = [verdict for verdict in run.verdicts if verdict.is_since_baseline]
    return [_build_gate(verdict, run, metrics) for verdict in verdicts]


def _count_misses(run: Run) -> int:
    """Return the number of tests that failed because a recording is missing."""
    return sum("CassetteMiss" in record.raised for record in run.records)


def _build_missed(run: Run) -> list[Json] | None:
    """Return [how many tests have no recording, the commands that record them]; None if no recording is missing."""
    commands = list_record_commands(run.records)
    if not commands:
        return None
    words = f"{describe_unrecorded(run.records)}; to record all:"
    return [words, [shorten_text(command, 2_000) for command in commands]]


def _count_outcomes(run: Run) -> list[list[Json]]:
    """Return ``[outcome, word, number]`` for each outcome that any row of the page has: a test, or a case of a dataset."""
    rows: list[list[Json]] = []
    for outcome in OUTCOMES:
        word = "error" if outcome == "errored" else outcome
        if number := run.count(outcome):
            rows.append([outcome, word, number])
    return rows


def _build_matrices(run: Run, places: Mapping[int, int]) -> list[View]:
    """Return the matrices by prompt, then by model; ``places`` maps the `id()` of a record to its place among the tests."""
    views = []
    for axis in ("prompt", "model"):
        for matrix in build_matrices(run, axis):
            views.append(build_matrix_view(matrix, axis, places))
    return views


def _build_candidates(totals: Totals) -> list[View]:
    by_comparison = group_by(totals.candidates, lambda side: side.comparison)
    return [build_candidates_table(sides) for sides in by_comparison.values()]


def _build_call_rows(totals: Totals) -> list[list[str]]:
    rows = []
    for purpose, traffic in totals.by_purpose.items():
        name = shorten_text(_PURPOSES.get(purpose, purpose), 60)
        rows.append([name, *_traffic_cells(traffic)])
    return rows


def _compress_page(page: View) -> str:
    """Return the data of the page as JSON, compressed and in base64; without a time, so that equal data give equal bytes."""
    data = json.dumps(page, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(data, COMPRESSION, mtime=0)).decode()


def _csp_hash(text: str) -> str:
    """Return the hash of a style or script as the Content-Security-Policy spells it."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _is_bad(case: View) -> bool:
    """Return whether a test failed, could not be scored, or got worse since the baseline."""
    if case["outcome"] in ("failed", "errored"):
        return True
    change = case.get("change", {})
    return bool(change.get("kind") == "worse")


def _static_case(case: View, texts: Sequence[str | list[str | int]]) -> View:
    """Return the part of a test that is shown without scripts; ``texts`` are those of the page."""
    change: View = case.get("change", {})
    labelled = []
    for label, place in case.get("texts", ()):
        labelled.append((label, _read_text(texts, place)))
    view: View = {
        "id": case["id"],
        "name": f"{case['file']}::{case['name']}",
        "outcome": case["outcome"],
        "change": change.get("what", ""),
        "same": case.get("same", ""),
        "message": "",
        "texts": labelled,
        "edits": [],
    }
    if "message" in case and "same" not in case:
        view["message"] = _read_text(texts, case["message"])
    if "before" in change and "after" in change:
        before = _read_text(texts, change["before"])
        after = _read_text(texts, change["after"])
        view["edits"] = diff_words(before, after)
    return view


def _read_text(texts: Sequence[str | list[str | int]], place: int) -> str:
    """Return the text at a place in `Texts.stored`, with a note if it was cut."""
    text = texts[place]
    if isinstance(text, str):
        return text
    beginning, cut = text
    return f"{beginning}\n(cut: {cut:,} more characters are in the run file)"


def _describe_when(run: Run, totals: Totals) -> list[str]:
    """Return time and commit of the run, as far as they are known, and the number and duration of its tests."""
    created = str(run.meta.get("created") or "")
    commit = str(run.meta.get("commit") or "")
    words = []
    if created:
        words.append(shorten_text(created, 60))
    if commit:
        words.append(f"commit {shorten_text(commit[:12])}")
    tests = format_count(totals.tests, "test")
    words.append(f"{tests} in {format_amount(totals.duration_s, 's')}")
    return words


def _build_figures(totals: Totals, verdicts: Iterable[Verdict]) -> list[list[str]]:
    """Return the figures below the verdict as ``[label, text, style]``: other verdicts, costs, latency, judges ..."""
    rows = [_build_verdict_row(verdict) for verdict in verdicts if not verdict.is_since_baseline]
    for words, number in totals.blamed.items():
        rows.append([words, format_count(number, "test"), "failed"])
    rows += _build_cost_rows(totals.traffic)
    if totals.latency.n:
        p50 = format_optional_amount(totals.latency.p50, "s")
        p95 = format_optional_amount(totals.latency.p95, "s")
        rows.append(["latency of the application", f"p50 {p50}, p95 {p95}", ""])
    if totals.cassettes.files:
        style = "failed" if totals.cassettes.missed else ""
        rows.append(["cassettes", totals.cassettes.count_words, style])
    if totals.budget:
        rows.append(["budget", totals.budget, ""])
    rows += [_build_judge_row(judge) for judge in totals.judges]
    if totals.models:
        rows.append(["model", shorten_text(", ".join(totals.models), 200), ""])
    return rows


def _build_verdict_row(verdict: Verdict) -> list[str]:
    lines = [verdict.headline, *verdict.advice[:MAX_ADVICE]]
    text = "\n".join(shorten_text(line, 600) for line in lines)
    return [verdict.label, text, _LEVEL_STYLES[verdict.level]]


def _build_cost_rows(traffic: Traffic) -> list[list[str]]:
    """Return the rows on cost and tokens; none if no model was called."""
    if not traffic.calls:
        return []
    if traffic.spent_usd is not None or not traffic.live:
        spent = format_amount(traffic.spent_usd or 0.0, "USD")
    else:
        spent = "unknown"
    replayed = format_count(traffic.replayed, "replayed call")
    if_live = format_cost(traffic)
    if not traffic.unpriced:
        # Without the bracket after the amount: the row above says which part was saved.
        if_live = if_live.partition(" (")[0]
    return [
        ["cost now", f"{spent}, {traffic.live:,} live and {replayed}", ""],
        ["cost if live", if_live, ""],
        ["tokens", format_tokens(traffic), ""],
    ]


def _build_judge_row(judge: JudgeUse) -> list[str]:
    """Return the row of a judge: its name and model, and how far it can be trusted."""
    name = shorten_text(judge.name, 80)
    if judge.model:
        name += f" ({shorten_text(judge.model, 80)})"
    style = ""
    if judge.unfit:
        style = "failed"
    elif judge.doubtful:
        style = "errored"
    return ["judge", f"{name}: {shorten_text(judge.standing, 500)}", style]


def _traffic_cells(traffic: Traffic) -> list[str]:
    calls = [f"{traffic.live:,}", f"{traffic.replayed:,}"]
    tokens = [
        format_optional_amount(count, "count") for count in (traffic.input_tokens, traffic.output_tokens)
    ]
    costs = [format_optional_amount(cost, "USD") for cost in (traffic.spent_usd, traffic.saved_usd)]
    return [*calls, *tokens, *costs, f"{traffic.unpriced:,}"]


def _build_cases(run: Run, texts: Texts, review: Iterable[Judgement]) -> tuple[list[View], dict[int, int]]:
    """Return the views of the tests, the most severe first, and a mapping from the `id()` of a record to its place among them.

    Tests that failed for the same missing recording refer to the first of them (``same``).
    """
    changes = run.changes
    ordered = sorted(run.records, key=lambda record: _severity(record, changes.get(record.nodeid)))
    reasons = {}
    for nodeid, group in group_by(review, lambda judgement: judgement.nodeid).items():
        reasons[nodeid] = "; ".join(judgement.reason for judgement in group)
    id_counts: Counter[str] = Counter()
    first_misses: dict[str, str] = {}
    cases = []
    for record in ordered:
        flags = rerun_flags(run.meta, record)
        change = changes.get(record.nodeid)
        review_reason = reasons.get(record.nodeid, "")
        case = build_case_view(record, texts, flags, change, review_reason)
        # A merged run may contain a test twice, but ids on a page must be unique.
        id_counts[case["id"]] += 1
        number = id_counts[case["id"]]
        if number > 1:
            case["id"] += f"-{number}"
        if "CassetteMiss" in record.raised:
            first = first_misses.setdefault(describe_kind(record.message), case["id"])
            if first != case["id"]:
                case["same"] = first
        cases.append(case)
    return cases, {id(record): place for place, record in enumerate(ordered)}


def _severity(record: TestRecord, change: CaseChange | None) -> tuple[int, int, float, int]:
    """Return a sort key: failures first, then tests that got worse (the most first), then other changes, then by outcome."""
    outcome = OUTCOMES.index(record.outcome)
    failure = len(OUTCOMES)
    if record.outcome in ("failed", "errored"):
        failure = outcome
    kinds: Sequence[str] = CHANGE_KINDS
    kind = len(kinds)
    gain = 0.0
    if change is not None:
        if change.kind in kinds:
            kind = kinds.index(change.kind)
        if change.kind == "regressed":
            gain = change.gain
    return failure, kind, gain, outcome


def _build_gate(verdict: Verdict, run: Run, metrics: Mapping[str, Metric]) -> View:
    """Return the view of a verdict on changes since a baseline, with the tests that no longer exist."""
    sentence = shorten_text(verdict.sentence, 2 * MAX_NAME)
    if _count_misses(run):
        sentence = _ACCEPT_HINT.sub(" Record what is missing first", sentence)
    style = _LEVEL_STYLES[verdict.level] or "muted"
    if verdict.level == "error":
        style = "failed"
    about = [_describe_unknown_outputs(verdict), *verdict.advice, verdict.baseline]
    present = {record.nodeid for record in run.records}
    removed = [change.nodeid for change in verdict.changes if change.nodeid not in present]
    rows = [_build_change_row(metric, metrics.get(metric.name)) for metric in verdict.metrics]
    return {
        "style": style,
        "status": verdict.status,
        "sentence": append_code(sentence, verdict.code),
        "about": [shorten_text(text, MAX_NAME) for text in about if text],
        "removed": [shorten_text(nodeid, MAX_NAME) for nodeid in removed[:MAX_REMOVED]],
        "gone": len(removed),
        "unchanged": verdict.unchanged,
        "metrics": rows,
    }


def _describe_unknown_outputs(verdict: Verdict) -> str:
    """Say in how many changed tests the output of the baseline cannot be shown; "" if in none."""
    unknown = 0
    for change in verdict.changes:
        was_there = bool(change.before_outcome) and change.after_output is not None
        if was_there and change.before_output is None:
            unknown += 1
    if not unknown:
        return ""
    return (
        f"the baseline's output is not known in {format_count(unknown, 'changed test')}: neither the file beside the baseline "
        "nor git has it here; fetch the whole history (fetch-depth: 0)"
    )


def _build_change_row(metric: MetricVerdict, measured: Metric | None) -> list[str]:
    """Return the row of a metric in a verdict; ``measured`` is the metric in this run, which knows its scale and direction."""
    before = metric.before
    after = metric.after
    scale = None
    if measured:
        scale = measured.scale
        if measured.better == "lower":
            # The verdict has 1 - value for such a metric, as there higher is always better.
            before = 1 - before
            after = 1 - after
    cases = format_count(metric.cases, "case")
    if metric.unchanged:
        cases = f"{cases}, {metric.unchanged:,} unchanged"
    means = [format_on_scale(mean, "1", scale) for mean in (before, after)]
    changes = [_format_points(change, "+.1f") for change in (metric.change, metric.lower)]
    detectable = _format_points(metric.detectable, ".1f")
    name = shorten_text(metric.name, 80)
    return [name, metric.role, metric.status or "–", *means, *changes, detectable, cases]


def _format_points(value: float | None, form: str) -> str:
    if value is None:
        return "–"
    return f"{value * 100:{form}} points"


def _build_metric_view(metric: Metric) -> View:
    """Return the view of a metric; ``line`` is where its threshold is in the histogram, from 0 to 1."""
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
        return "–"
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


def _build_review_row(judgement: Judgement) -> View:
    """Return the row of a judgement that a person should look at; it is named by its case, else by its test."""
    _, _, function = judgement.nodeid.partition("::")
    test = function or judgement.nodeid
    judge = judgement.judge
    if judgement.label:
        judge += f" [{judgement.label}]"
    row: View = {
        "id": case_id(judgement.nodeid),
        "case": shorten_text(judgement.case or test, 80),
        "test": "",
        "judge": shorten_text(judge, 80),
        "version": shorten_text(judgement.version, 60),
        "score": _format_judgement_score(judgement),
        "confidence": _format_confidence(judgement),
        "reason": shorten_text(judgement.reason, MAX_NAME),
    }
    if judgement.case:
        row["test"] = shorten_text(test, MAX_NAME)
    return row


def _format_judgement_score(judgement: Judgement) -> str:
    """Return the score, with its interval if that is known: "3.5 (3 to 4)"."""
    if judgement.score is None:
        return "not scored"
    score = f"{judgement.score:.4g}"
    if judgement.low is None or judgement.high is None:
        return score
    interval = f"{judgement.low:g} to {judgement.high:g}"
    return f"{score} ({interval})"


def _format_confidence(judgement: Judgement) -> str:
    """Return the confidence, and the least that the test requires if there is one: "0.40 < 0.6"."""
    if judgement.confidence is None:
        confidence = "–"
    else:
        confidence = f"{judgement.confidence:.2f}"
    if judgement.least is None:
        return confidence
    return f"{confidence} < {judgement.least:g}"


def _metadata_tables(meta: Mapping[str, Json]) -> list[Json]:
    """Return tables ``[title, rows]`` of the metadata: one of all plain values, then one for each mapping."""
    plain = {key: value for key, value in meta.items() if not isinstance(value, Mapping)}
    tables: list[Json] = []
    for title, rows in (("run", plain), *meta.items()):
        if isinstance(rows, Mapping) and rows:
            table: list[Json] = []
            for key, value in rows.items():
                table.append([shorten_text(key, 100), _format_fact(value)])
            tables.append([shorten_text(title, 60), table])
    return tables


def _format_fact(value: Json) -> str:
    if value is None or value in ("", [], {}):
        return "–"
    if isinstance(value, str):
        return shorten_text(value, 1_000)
    return shorten_text(format_json(value, indent=None), 1_000)


FORMATS = (ReportFormat(kind="html", suffix=".html", render=render_html, shows_history=True),)
