"""A ledger as one HTML file: the whole prompt as text with a note next to each rule; it needs no network and has no script."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files

from pytest_llmops.ledger.model import LedgerResult, Line, LineCase, LineStatus
from pytest_llmops.ledger.passages import Passage, make_mask, mask_result, split_document
from pytest_llmops.ledger.sentences import (
    STATUSES,
    describe_run,
    describe_status,
    explain_line,
    format_change,
    format_range,
    format_score,
    format_summary,
    format_tokens,
    format_usd,
    join_numbers,
    list_steps,
    name_rules,
    name_test,
    scale_cost,
)
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.reports.differences import Edit, diff_answers
from pytest_llmops.reports.html_views import View, cut_text, escape_invisible
from pytest_llmops.reports.text import render_template

TONES: Mapping[LineStatus, str] = {
    "needed": "green",
    "can go": "blue",
    "not measured": "amber",
    "undecided": "plain",
    "not tried": "violet",
}
MAX_LINKS = 40  # to the rules of a verdict
MAX_ITEMS = 40  # of a step
MAX_CASES = 5  # of a rule
MAX_ANSWER = 4_000
MAX_SENTENCE = 600
FOOT = (
    "A change is how far the mean moved without the rule, in points: hundredths of a score from 0 to 1. In brackets is its likely range, corrected "
    "for all rules that were tried. Tokens are the input tokens of a call."
)


def ledger_to_html(result: LedgerResult) -> str:
    """Return the page of a ledger; the same ledger gives the same bytes.

    Texts of the prompt and of models are inserted as text only, and the Content-Security-Policy allows no script. Answers beyond 4,000
    characters are cut.
    """
    style = f"{_read_style('report.css')}\n{_read_style('ledger.css')}"
    digest = hashlib.sha256(style.encode()).digest()
    policy = f"default-src 'none'; style-src 'sha256-{base64.b64encode(digest).decode()}'; img-src data:; base-uri 'none'; form-action 'none'"
    return render_template(
        "ledger.html.j2", page=_build_page(mask_result(result)), style=style, policy=policy
    )


def _read_style(name: str) -> str:
    path = files("pytest_llmops.reports") / "templates" / name
    return path.read_text(encoding="utf-8").strip()


def _build_page(result: LedgerResult) -> View:
    """Return the values for the template."""
    name = _clean(result.document.name)
    together = None
    if result.together is not None:
        together = _build_note(result.together, result)
    return {
        "title": f"Ledger of {name}",
        "name": f"Ledger of {name}",
        "ran": _clean(describe_run(result)),
        "summary": format_summary(result),
        "notes": list(map(_clean, result.notes)),
        "steps": _build_steps(result),
        "key": _build_key(result),
        "rows": _build_rows(result),
        "together": together,
        "foot": FOOT,
    }


def _clean(text: str) -> str:
    """Return a sentence or name with invisible characters as escapes."""
    return shorten_text(text, MAX_SENTENCE)


def _build_steps(result: LedgerResult) -> list[View]:
    steps = []
    for step in list_steps(result):
        items = list(map(_clean, step.items[:MAX_ITEMS]))
        rest = max(len(step.items) - MAX_ITEMS, 0)
        steps.append(
            {"tone": TONES[step.status], "text": _clean(step.text), "items_shown": items, "rest": rest}
        )
    return steps


def _build_key(result: LedgerResult) -> list[View]:
    """Return the legend: each verdict with its meaning, and links to its rules, but none to needed rules."""
    entries = []
    for status in STATUSES:
        numbers = [number for line in result.lines if line.status == status for number in line.numbers]
        if not numbers:
            continue
        count = len(numbers)
        if status == "needed":
            numbers = []
        entries.append(
            {
                "status": status,
                "id": _make_id(status),
                "tone": TONES[status],
                "count": f"{count:,}",
                "meaning": describe_status(status, result.margin),
                "numbers": numbers[:MAX_LINKS],
                "rest": max(len(numbers) - MAX_LINKS, 0),
            }
        )
    return entries


def _make_id(status: LineStatus) -> str:
    return status.replace(" ", "-")


def _build_rows(result: LedgerResult) -> list[View]:
    """Return the passages of the document, each with its note."""
    lines = {number: line for line in result.lines for number in line.numbers}
    mask = make_mask()
    rows = []
    shown = 0
    for passage in split_document(result.document):
        row = _build_row(passage, lines, result)
        text, cut = cut_text(mask(passage.text))
        if cut:
            text += f"\n(cut: {cut:,} more characters)"
        row["text"] = text
        row["line"] = ""
        if passage.line > shown:
            row["line"] = passage.line
        shown = passage.line + passage.text.count("\n")
        rows.append(row)
    return rows


def _build_row(passage: Passage, lines: Mapping[int, Line], result: LedgerResult) -> View:
    """Return the row of a passage without its text."""
    row: View = {
        "apart": passage.after_blank,
        "tone": "",
        "filter": "",
        "id": "",
        "title": "",
        "note": None,
        "remark": "",
    }
    rule = passage.rule
    if rule is None:
        return {**row, "kind": "other", "title": "No rule: it is never left out"}
    line = lines.get(rule.number)
    if line is None:
        why = _clean(rule.kept) or "it was not among the rules to try"
        row = {**row, "kind": "kept", "title": f"Rule {rule.number} is never left out: {why}"}
        if passage.is_first:
            row["remark"] = f"{rule.number} kept: {why}"
        return row
    row |= {"kind": "rule", "tone": TONES[line.status], "filter": _make_id(line.status)}
    row["title"] = f"Rule {rule.number}: {line.status}"
    if not passage.is_first:
        row["remark"] = f"{rule.number}, continued"
        return row
    row["id"] = f"rule-{rule.number}"
    row["note"] = _build_note(line, result)
    return row


def _build_note(line: Line, result: LedgerResult) -> View:
    """Return the note next to a rule."""
    change = ""
    if line.change is not None:
        change = format_change(line)
    shown = line.cases[:MAX_CASES]
    title = format_count(len(shown), "case")
    if len(line.cases) > MAX_CASES:
        title = f"the first {title} of {len(line.cases):,}"
    why = explain_line(line)
    if line.metric and line.metric not in why:
        why = f"{why} ({line.metric})"
    facts = []
    if line.changed_answers is not None:
        facts.append(f"{100 * line.changed_answers:.0f} % of the answers changed")
    if line.commit:
        facts.append(f"since {_clean(line.since)} ({_clean(line.commit)})")
    elif line.since:  # not committed
        facts.append(_clean(line.since))
    numbers = join_numbers(line.numbers)
    if len(line.numbers) > 1:
        numbers = name_rules(line.numbers)
    return {
        "numbers": numbers,
        "status": line.status,
        "tone": TONES[line.status],
        "change": change,
        "range": format_range(line),
        "tokens": _describe_tokens(line, result.calls_per_month),
        "why": _clean(why),
        "next": _clean(line.next_step),
        "facts": "; ".join(facts),
        "cases": list(map(_build_case, shown)),
        "cases_title": title,
    }


def _describe_tokens(line: Line, calls: int | None) -> str:
    """Return the cost of a rule per call and per month; "" if it is not known."""
    if line.cost.tokens is None:
        return ""
    parts = [f"{format_tokens(line.cost.tokens)} tokens"]
    month = scale_cost(line.cost, calls)
    if month.tokens is not None:
        parts.append(f"{format_tokens(month.tokens)} a month")
    if month.usd is not None:
        parts.append(format_usd(month.usd))
    return ", ".join(parts)


def _build_case(case: LineCase) -> View:
    """Return a case with both answers, marked word by word if they are similar."""
    moved = ""
    if case.metric:
        moved = f"{case.metric} {format_score(case.before)} → {format_score(case.after)}"
    before, after = (_cut_answer(answer) for answer in (case.answer_before, case.answer_after))
    edits: Sequence[Edit] = ()
    answers: list[tuple[str, str]] = []
    if before or after:
        edits = _leave_blanks_unmarked(diff_answers(before, after) or [])
        answers = [("With the rule", before or "(empty)"), ("Without it", after or "(empty)")]
    return {
        "name": _clean(name_test(case.nodeid)),
        "moved": _clean(moved),
        "edits": edits,
        "answers": answers,
    }


def _leave_blanks_unmarked(edits: Sequence[Edit]) -> list[Edit]:
    """Return the pieces of two answers; the white space after a marked piece becomes a piece of its own."""
    pieces: list[Edit] = []
    for kind, text in edits:
        words = text.rstrip()
        if kind == "same" or not words:
            pieces.append((kind, text))
            continue
        pieces.append((kind, words))
        pieces.append(("same", text[len(words) :]))
    return pieces


def _cut_answer(answer: str) -> str:
    text = escape_invisible(answer[:MAX_ANSWER])
    if len(answer) > MAX_ANSWER:
        text += f"… (+{len(answer) - MAX_ANSWER:,} characters)"
    return text
