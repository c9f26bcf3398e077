"""Render a run as one HTML file that needs no network, is readable without scripts, and never executes foreign text.

The data of the page are compressed JSON in an element that browsers do not execute. The script of the page builds the visible content
from them, and inserts texts only as text. Without scripts, the page shows the headline, the first failures and the metrics. The
Content-Security-Policy allows only the style and the script of the page, by their hashes.
"""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files

from pytest_llmops.measurement import shorten_text
from pytest_llmops.reports.changed_cases import ShownCase, list_cases
from pytest_llmops.reports.comparisons import list_judges
from pytest_llmops.reports.differences import diff_answers
from pytest_llmops.reports.formats import ReportFormat
from pytest_llmops.reports.headline import Headline, build_headline
from pytest_llmops.reports.html_cases import CaseList, count_chips, describe_no_changes
from pytest_llmops.reports.html_comparisons import build_comparisons
from pytest_llmops.reports.html_faults import build_faults
from pytest_llmops.reports.html_media import PageMedia
from pytest_llmops.reports.html_metrics import build_change_rows, build_metric_view, describe_decision
from pytest_llmops.reports.html_overview import (
    build_causes,
    build_headline_view,
    describe_when,
    list_lines,
)
from pytest_llmops.reports.html_run import (
    build_call_rows,
    build_metadata_tables,
    build_review_rows,
    build_run_facts,
)
from pytest_llmops.reports.html_sides import build_candidates_table, build_history, build_matrix_view
from pytest_llmops.reports.html_views import MAX_NAME, Texts, View
from pytest_llmops.reports.text import render_template
from pytest_llmops.results.comparison import group_by
from pytest_llmops.results.review import select_for_review
from pytest_llmops.results.run import Run
from pytest_llmops.results.summary import Totals, build_matrices, summarize_run

MAX_STATIC = 50  # only so many of the first tests are shown without scripts, if they failed
MAX_REMOVED = 200  # tests of the baseline that no longer exist
COMPRESSION = 6
BAD_KINDS = frozenset({"no recording", "no score", "error", "failed", "worse"})
# The modules of the page's script, each after those that it imports
SCRIPTS = (
    "report_elements.js", "report_answers.js", "report_pictures.js", "report_query.js", "report_list.js", "report_markdown.js",
    "report_trajectory.js", "report_details.js", "report_case.js", "report_overview.js", "report_matrix.js",
    "report_comparisons.js", "report_tabs.js", "report_faults.js", "report.js",
)  # fmt: skip
_IMPORT = re.compile(r'^import [^;]{0,500} from "\./[a-z_]+\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const |function |class |async )", re.MULTILINE)
_TYPES = re.compile(r"^/\*\* @import [^*]{0,500}\*/\n", re.MULTILINE)


def render_html(run: Run, history: Sequence[Run] = ()) -> str:
    """Return the whole page; for an empty run, it states that no test measured anything.

    Texts beyond 64 KB are cut, with a note. The same runs give the same bytes.

    Args:
        run: The run.
        history: Earlier runs, in any order; with them, a tab shows metrics, latency, tokens and cost over time.

    >>> "No test called a model or measured anything" in render_html(Run())
    True
    """
    style = _read_template("report.css")
    script = join_scripts()
    policy = (
        f"default-src 'none'; style-src {_csp_hash(style)}; script-src {_csp_hash(script)}; "
        "img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    )
    shown = list_cases(run)
    headline = build_headline(run, shown)
    page = _fill_page(run, history, shown, headline)
    failing = [case for case in page["cases"] if case["kind"] in BAD_KINDS]
    return render_template(
        "report.html.j2",
        page=page,
        lines=list_lines(headline),
        style=style,
        script=script,
        policy=policy,
        data=_compress_page(page),
        failures=[_static_case(case, page["texts"]) for case in failing[:MAX_STATIC]],
        rest=max(len(failing) - MAX_STATIC, 0),
    )


def _read_template(name: str) -> str:
    """Return a file of the page; read as text, so that its line ends, and with them the hashes, are the same everywhere."""
    path = files("pytest_llmops.reports") / "templates" / name
    return path.read_text(encoding="utf-8").strip()


def join_scripts() -> str:
    """Return the modules of the page's script as one script, without their imports and exports."""
    parts = []
    for name in SCRIPTS:
        text = _TYPES.sub("", _IMPORT.sub("", _read_template(name) + "\n"))
        parts.append(_EXPORT.sub("", text).strip())
    return "\n\n".join(parts)


def build_page(run: Run, history: Sequence[Run] = ()) -> View:
    """Return the data of the page as plain JSON; among the tests, failures come first, then those that got worse.

    >>> build_page(Run())["headline"]["title"]
    'NONE: No test called a model or measured anything.'
    """
    shown = list_cases(run)
    return _fill_page(run, history, shown, build_headline(run, shown))


def _fill_page(run: Run, history: Sequence[Run], shown: Sequence[ShownCase], headline: Headline) -> View:
    """Return the data of the page of a run, whose cases to show and headline are known."""
    totals = summarize_run(run)
    gates = [verdict for verdict in run.verdicts if verdict.is_since_baseline]
    texts = Texts(media=PageMedia(call for record in run.records for call in record.calls))
    review = select_for_review(run.records)
    judges = list_judges(run)
    cases = CaseList(run, texts, shown, review)
    page: View = {
        "headline": build_headline_view(headline),
        "ran": describe_when(run, totals),
        "causes": build_causes(run, run.find_verdict("baseline"), headline, shown, totals),
        "changes": build_change_rows(run, shown),
        "decision": describe_decision(gates),
        "chips": count_chips(cases.views),
        "unchanged": describe_no_changes(run, cases.views),
        "removed": _build_removed(run),
        "metrics": list(map(build_metric_view, totals.metrics)),
        "comparisons": build_comparisons(run, judges),
        "matrices": _build_matrices(run, cases.places),
        "candidates": _build_candidates(totals),
        "faults": build_faults(run),
        "review": build_review_rows(review),
        "facts": build_run_facts(run, totals, judges),
        "notes": [shorten_text(note, 2 * MAX_NAME) for note in run.notes],
        "calls": build_call_rows(totals),
        "run": build_metadata_tables(run.meta),
        "history": [],
        "cases": cases.views,
        "texts": texts.stored,
        "media": texts.media.stored,
    }
    if history:
        page["history"] = build_history([*history, run])
    return page


def _build_removed(run: Run) -> View:
    """Return the tests of the baseline that did not run: the first of their names, and how many there are."""
    present = {record.nodeid for record in run.records}
    removed = []
    for verdict in run.verdicts:
        if verdict.is_since_baseline:
            removed += [change.nodeid for change in verdict.changes if change.nodeid not in present]
    names = [shorten_text(nodeid, MAX_NAME) for nodeid in removed[:MAX_REMOVED]]
    return {"names": names, "count": len(removed)}


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


def _compress_page(page: View) -> str:
    """Return the data of the page as JSON, compressed and in base64; without a time, so that equal data give equal bytes."""
    data = json.dumps(page, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(data, COMPRESSION, mtime=0)).decode()


def _csp_hash(text: str) -> str:
    """Return the hash of a style or script as the Content-Security-Policy spells it."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _static_case(case: View, texts: Sequence[str | list[str | int]]) -> View:
    """Return the part of a test that is shown without scripts; ``texts`` are the texts of the page."""

    def read(key: str) -> str | None:
        if key not in case:
            return None
        return _read_text(texts, case[key])

    scores = []
    for name, before, after, needs, _ in case.get("moved", ()):
        text = f"{name} {before} → {after}" if before else f"{name} {after}"
        if needs:
            text += f", needs {needs}"
        scores.append(text)
    view: View = {
        "id": case["id"],
        "kind": case["kind"],
        "name": f"{case['file']}::{case['name']}",
        "scores": scores,
        "same": case.get("same", ""),
        "why": case.get("why", ""),
        "note": case.get("note", ""),
        "question": read("question"),
        "expected": read("expected"),
        "before": read("before"),
        "now": read("now"),
        "message": None,
        "edits": [],
        "steps": [],
    }
    if "same" not in case and view["now"] is None:
        view["message"] = read("message")
    if "steps" in case:
        view["steps"] = [f"{sign} {text}" for sign, text in case["steps"]["lines"]]
    if view["before"] is not None and view["now"] is not None:
        view["edits"] = diff_answers(view["before"], view["now"]) or []
    return view


def _read_text(texts: Sequence[str | list[str | int]], place: int) -> str:
    """Return the text at a place in `Texts.stored`, with a note if it was cut."""
    text = texts[place]
    if isinstance(text, str):
        return text
    beginning, cut = text
    return f"{beginning}\n(cut: {cut:,} more characters are in the run file)"


FORMATS = (ReportFormat(kind="html", suffix=".html", render=render_html, shows_history=True),)
