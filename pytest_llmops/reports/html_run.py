"""The tab Run of the HTML report: facts that nobody decides by, such as cost, latency, versions and settings; and answers to review."""

from collections.abc import Iterable, Mapping

from pytest_llmops.measurement import Json, format_amount, format_count, shorten_text
from pytest_llmops.reports.comparisons import ShownJudge
from pytest_llmops.reports.html_sides import format_optional_amount
from pytest_llmops.reports.html_views import MAX_NAME, View, case_id, format_json
from pytest_llmops.results.assertion_lint import SCOPE, read_lint
from pytest_llmops.results.fork import list_fork_lines
from pytest_llmops.results.review import Judgement
from pytest_llmops.results.run import Run
from pytest_llmops.results.summary import Totals
from pytest_llmops.results.tool_choices import list_tool_facts
from pytest_llmops.results.traffic import Traffic, format_cost, format_tokens

MAX_CONFUSIONS = 40
MAX_TOOTHLESS = 100
MAX_FORKS = 100
_PURPOSES = {"app": "the application", "judge": "judges", "embedder": "embedders"}


def build_run_facts(run: Run, totals: Totals, judges: Iterable[ShownJudge]) -> list[list[str]]:
    """Return ``[label, text]`` for each known fact about the run; costs that are not known are called unknown, never zero."""
    rows: list[list[str]] = [["Tests", totals.outcome_words]]
    if totals.models:
        rows.append(["Model", shorten_text(", ".join(totals.models), 200)])
    rows += [["Judge", describe_judge(judge)] for judge in judges]
    for verdict in run.verdicts:
        if verdict.is_since_baseline and verdict.baseline:
            rows.append(["Baseline", shorten_text(verdict.baseline, MAX_NAME)])
        rows += [["Agents", shorten_text(change.words, 300)] for change in verdict.amounts]
    rows += _list_costs(totals.traffic)
    if totals.latency.n:
        p50 = format_optional_amount(totals.latency.p50, "s")
        p95 = format_optional_amount(totals.latency.p95, "s")
        calls = format_count(totals.latency.n, "call")
        rows.append(["Latency", f"median {p50}, 95th percentile {p95} ({calls} of the application)"])
    if totals.cassettes.files:
        rows.append(["Recordings", totals.cassettes.count_words])
    for label, text in list_tool_facts(totals.tools, MAX_CONFUSIONS):
        rows.append([label.capitalize(), text])
    lint = read_lint(run.records)
    if lint is not None:
        rows.append(["Lint", f"{lint.counts}; {SCOPE}"])
        for assertion in lint.toothless[:MAX_TOOTHLESS]:
            rows.append(["Cannot fail", shorten_text(assertion.sentence, 600)])
    for nodeid, sentence in list_fork_lines(run.records)[:MAX_FORKS]:
        text = f"{nodeid}: {sentence}" if nodeid else sentence
        rows.append(["Fork", shorten_text(text, 2 * MAX_NAME)])
    if totals.budget:
        rows.append(["Budget", totals.budget])
    return rows


def describe_judge(judge: ShownJudge) -> str:
    """Return the name, version and model of a judge, and how far it can be trusted.

    >>> describe_judge(ShownJudge(name="tone", model="large", version="3", word="reliable", agreement="kappa 0.71 on 120 labels"))
    'tone, version 3 (large): reliable; kappa 0.71 on 120 labels'
    """
    name = shorten_text(judge.name, 80)
    if judge.version:
        name += f", version {shorten_text(judge.version, 60)}"
    if judge.model:
        name += f" ({shorten_text(judge.model, 80)})"
    parts = [judge.word, judge.agreement, judge.canaries]
    standing = "; ".join(filter(None, parts))
    return f"{name}: {shorten_text(standing, 500)}"


def _list_costs(traffic: Traffic) -> list[list[str]]:
    """Return the rows on calls, cost and tokens; none if no model was called."""
    if not traffic.calls:
        return []
    spent = "unknown"
    if traffic.spent_usd is not None or not traffic.live:
        spent = format_amount(traffic.spent_usd or 0.0, "USD")
    if_live = format_cost(traffic)
    if not traffic.unpriced:
        # Without the bracket after the amount: the row on the calls shows which part was saved.
        if_live = if_live.partition(" (")[0]
    return [
        ["Calls", f"{traffic.live:,} live, {traffic.replayed:,} replayed"],
        ["Cost", f"{spent} now; if all calls were live: {if_live}"],
        ["Tokens", format_tokens(traffic)],
    ]


def build_call_rows(totals: Totals) -> list[list[str]]:
    """Return a row of calls, tokens and costs for each purpose: the application, judges, embedders."""
    rows = []
    for purpose, traffic in totals.by_purpose.items():
        name = shorten_text(_PURPOSES.get(purpose, purpose), 60)
        rows.append([name, *_traffic_cells(traffic)])
    return rows


def _traffic_cells(traffic: Traffic) -> list[str]:
    calls = [f"{traffic.live:,}", f"{traffic.replayed:,}"]
    tokens = [
        format_optional_amount(count, "count") for count in (traffic.input_tokens, traffic.output_tokens)
    ]
    costs = [format_optional_amount(cost, "USD") for cost in (traffic.spent_usd, traffic.saved_usd)]
    return [*calls, *tokens, *costs, f"{traffic.unpriced:,}"]


def build_metadata_tables(meta: Mapping[str, Json]) -> list[Json]:
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


def build_review_rows(review: Iterable[Judgement]) -> list[View]:
    """Return a row for each judgement that a person should look at."""
    return [_build_review_row(judgement) for judgement in review]


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
        return "no score"
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
