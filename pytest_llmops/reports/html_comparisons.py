"""The tab Comparisons of the HTML report: versions, changed inputs, red teams, sentinels and judges as rows of tables."""

from collections.abc import Iterable, Mapping, Sequence

from pytest_llmops.measurement import Json, format_count, shorten_text
from pytest_llmops.reports.comparisons import (
    ComparedShare,
    ComparisonKind,
    ShownComparison,
    ShownJudge,
    list_comparisons,
)
from pytest_llmops.reports.html_metrics import build_compared_view
from pytest_llmops.reports.html_views import MAX_NAME, View
from pytest_llmops.reports.metric_rows import use_minus
from pytest_llmops.results.run import Run
from pytest_llmops.results.verdict import Level, Verdict

MAX_DETAILS = 12
# Kinds of verdicts that `list_comparisons` knows, and the one on the whole run
KNOWN_KINDS = frozenset({"baseline", "comparison", "robustness", "guardrail", "sentinel"})
_LEVEL_TONES: Mapping[Level, str] = {
    "bad": "red",
    "error": "violet",
    "open": "amber",
    "good": "green",
    "": "muted",
}
LONGEST_TITLE = 40  # characters of a name in the title of the tab
TABLES: Mapping[ComparisonKind, tuple[str, str]] = {
    "red team": (
        "Red team",
        "Attacks must be blocked, harmless questions in similar words must be answered. Line: 95 % interval. Mark: the required share.",
    ),
    "versions": (
        "Versions against each other",
        "Change of the mean. Dot: the change in points. Line: its likely range. Dashed: the margin of 5 points.",
    ),
    "changed inputs": (
        "Changed inputs",
        "Share of answers that stay right when the question is written differently. Line: 95 % interval. Mark: the required share.",
    ),
    "sentinels": (
        "Sentinels",
        "Requests that are sent again to see whether the provider changed the model.",
    ),
}


def build_comparisons(run: Run, judges: Iterable[ShownJudge]) -> View:
    """Return the tables of the comparisons and the judges, and ``compared``, which names the compared things in a few words.

    >>> build_comparisons(Run(), [])
    {'compared': '', 'count': 0, 'tables': [], 'judges': []}
    """
    rows = list_comparisons(run)
    tables: list[View] = []
    for kind, (title, about) in TABLES.items():
        own = [row for row in rows if row.kind == kind]
        if own:
            tables.append({"kind": kind, "title": title, "about": about, "rows": _build_rows(own)})
    others = [_build_other_row(verdict) for verdict in run.verdicts if verdict.kind not in KNOWN_KINDS]
    if others:
        tables.append({"kind": "others", "title": "Other verdicts", "about": "", "rows": others})
    return {
        "compared": name_compared(rows),
        "count": len(rows) + len(others),
        "tables": tables,
        "judges": [_build_judge_row(judge) for judge in judges],
    }


def name_compared(rows: Sequence[ShownComparison]) -> str:
    """Return the compared things in a few words: the name of a single comparison of versions, else the kinds.

    >>> name_compared([ShownComparison(kind="red team", name="attacks blocked", word="holds", tone="green", sentence="")])
    'red team'
    """
    parts: list[str] = []
    for kind in TABLES:
        own = [row for row in rows if row.kind == kind]
        if not own:
            continue
        if kind != "versions":
            parts.append(kind)
        elif len(own) == 1 and len(own[0].name) <= LONGEST_TITLE:
            parts.append(own[0].name)
        else:
            parts.append(format_count(len(own), "version"))
    return ", ".join(parts)


def _build_rows(rows: Sequence[ShownComparison]) -> list[View]:
    """Return the rows of a table, with the rows of a suite below one another; the details of a suite are in its first row."""
    by_suite: dict[str, list[ShownComparison]] = {}
    for row in rows:
        by_suite.setdefault(row.subject or row.name, []).append(row)
    views = []
    for suite in by_suite.values():
        for place, row in enumerate(suite):
            view = _build_row(row)
            if place:
                view["details"] = []
            views.append(view)
    return views


def _build_row(row: ShownComparison) -> View:
    view = _start_row(row.name, row.word, row.tone or "muted")
    view["sentence"] = use_minus(shorten_text(row.sentence, 600))
    view["next"] = shorten_text(row.next_step, 300)
    view["details"] = [use_minus(shorten_text(text, 600)) for text in row.details[:MAX_DETAILS]]
    view["decides"] = row.decides
    view["look"] = shorten_text(row.look_at, MAX_NAME)
    view["data"] = row.data
    view["others"] = [build_compared_view(metric) for metric in row.others]
    if row.metric is not None:
        view["metric"] = build_compared_view(row.metric)
    if row.share is not None:
        view["share"] = _build_share(row.share)
    return view


def _build_other_row(verdict: Verdict) -> View:
    """Return the row of a verdict of a kind that only a plugin or a later version knows."""
    name = verdict.subject or verdict.kind
    if verdict.subject and verdict.baseline:
        name = f"{verdict.subject}, against {verdict.baseline}"
    view = _start_row(name, shorten_text(verdict.status, 40), _LEVEL_TONES[verdict.level])
    view["sentence"] = shorten_text(verdict.sentence, 600)
    view["next"] = shorten_text(verdict.next_step, 300)
    view["details"] = [shorten_text(text, 600) for text in verdict.advice[:MAX_DETAILS]]
    view["decides"] = verdict.decides
    return view


def _start_row(name: str, word: str, tone: str) -> View:
    """Return a row with the compared thing and the verdict; the rest of it is empty."""
    row: View = dict.fromkeys(("sentence", "next", "look", "data"), "")
    row |= {"name": shorten_text(name, MAX_NAME), "word": word, "tone": tone}
    row |= {"decides": False, "details": [], "others": [], "metric": None, "share": None}
    return row


def _build_share(share: ComparedShare) -> list[Json]:
    """Return ``[counted, share, required, interval, value, low, high, limit]``; the last four are numbers from 0 to 1."""
    numbers = [share.value, share.low, share.high, share.limit]
    return [share.counted, share.share, share.required or "–", share.interval, *numbers]


def _build_judge_row(judge: ShownJudge) -> list[str]:
    """Return ``[name, version, model, word, colour, agreement, canaries]``."""
    return [
        shorten_text(judge.name, 80),
        shorten_text(judge.version, 60) or "–",
        shorten_text(judge.model, 80) or "–",
        judge.word,
        judge.tone or "muted",
        shorten_text(judge.agreement, 300) or "–",
        shorten_text(judge.canaries, 200) or "not tried",
    ]
