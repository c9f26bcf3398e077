"""Ledgers of made-up prompts, as the reports get them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pytest_llmops.ledger.model import (
    Document,
    LedgerResult,
    Line,
    LineCase,
    LineStatus,
    Rule,
    TokenCost,
)

PROMPT = """\
---
variables: [question]
---
system:
# Tone
- Answer in the customer's language.
- Be friendly and warm.
- Write at most two sentences.

# Policy
Items can be returned within 30 days. Say so only when asked.
Never promise a refund for opened food.
{{ extra }}

user:
{{ question }}
"""
STATUSES: tuple[LineStatus, ...] = ("needed", "can go", "not measured", "undecided", "not tried")


def make_document(
    text: str = PROMPT, name: str = "support/answer v2", path: str = "prompts/v2.md"
) -> Document:
    """Return a document with a rule for each sentence of a line that is no heading and no front matter."""
    rules: list[Rule] = []
    body = text.find("system:\n") + 1
    place = 0
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        start, place = place, place + len(line)
        words = line.strip()
        if start < body or not words or words.endswith(":") or words.startswith(("#", "{{ question")):
            continue
        kept = "inserts {{ extra }}" if "{{" in words else ""
        parts = [line]
        if not words.startswith("- ") and ". " in words:
            first, rest = line.split(". ", 1)
            parts = [f"{first}. ", rest]
        for part in parts:
            rule = Rule(
                number=len(rules) + 1,
                text=part.strip().removeprefix("- "),
                first_line=number,
                last_line=number,
                spans=((start, start + len(part)),),
                kind="item" if words.startswith("- ") else "sentence",
                kept=kept,
            )
            rules.append(rule)
            start += len(part)
    return Document(
        name=name, path=Path(path), text=text, rules=tuple(rules), prompt="support/answer", version="v2"
    )


def make_line(
    number: int, status: LineStatus, answers: tuple[str, str] = ("Within 30 days.", "Sure!")
) -> Line:
    """Return a line of this status, with all that such a line can have."""
    cost = TokenCost(tokens=9.0, usd=0.000001)
    line = Line(numbers=(number,), status=status, why="", cost=cost, since="2026-11-02", commit="1a2b3c4")
    if status == "needed":
        case = LineCase(
            nodeid=f"test_shop.py::test_answer[late-{number}]",
            metric="text.contains",
            before=1.0,
            after=0.0,
            answer_before=answers[0],
            answer_after=answers[1],
        )
        why = "text.contains falls by 12.5 points without it"
        return replace(
            line,
            why=why,
            change=-0.125,
            lower=-0.18,
            upper=-0.07,
            metric="text.contains",
            changed_answers=0.4,
            cases=(case, case),
        )
    if status == "can go":
        why = "a drop of 5 points or more is ruled out"
        return replace(line, why=why, change=0.003, lower=-0.021, upper=0.03, metric="text.contains")
    if status == "not measured":
        return replace(line, why="no answer changed", next_step="Add a case whose right answer depends on it")
    if status == "undecided":
        return replace(
            line,
            why="a drop of 5 points is still possible",
            change=-0.02,
            lower=-0.07,
            upper=0.03,
            next_step="3 more trials of each case",
        )
    return replace(line, why="without it the template is not valid: unexpected endif", cost=TokenCost())


def make_result(
    document: Document | None = None, statuses: tuple[LineStatus, ...] = STATUSES
) -> LedgerResult:
    """Return a ledger whose rules have the statuses in turn; two and more that can go are tried together."""
    document = document or make_document()
    lines = []
    for place, rule in enumerate(rule for rule in document.rules if not rule.kept):
        lines.append(make_line(rule.number, statuses[place % len(statuses)]))
    numbers = tuple(line.numbers[0] for line in lines if line.status == "can go")
    together = None
    if len(numbers) > 1:
        together = replace(
            make_line(1, "can go"),
            numbers=numbers,
            cost=TokenCost(tokens=84.0, usd=0.0000126),
            since="",
            commit="",
        )
    return LedgerResult(
        document=document,
        lines=tuple(lines),
        together=together,
        tests=50,
        trials=3,
        models=("gpt-4o-mini",),
        calls=1200,
        usd=0.42,
        calls_per_month=100_000,
    )
