"""The reports of a ledger: lines for the terminal, Markdown, HTML, JSON, and the file that has one of them."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from pytest_llmops._util.text_files import write_atomically
from pytest_llmops.errors import UsageError
from pytest_llmops.ledger.model import LedgerResult, Line, Rule, TokenCost
from pytest_llmops.ledger.passages import make_mask, mask_result
from pytest_llmops.ledger.report_html import ledger_to_html
from pytest_llmops.ledger.report_markdown import ledger_to_markdown
from pytest_llmops.ledger.report_text import format_ledger
from pytest_llmops.ledger.sentences import (
    STATUSES,
    Step,
    count_saving,
    find_file_name,
    format_summary,
    list_steps,
    scale_cost,
)
from pytest_llmops.measurement import Json, escape_json_output, shorten_text

__all__ = [
    "SCHEMA",
    "check_ledger_path",
    "format_ledger",
    "ledger_to_html",
    "ledger_to_json",
    "ledger_to_markdown",
    "write_ledger",
]

SCHEMA = "pytest-llmops/ledger/1"


def ledger_to_json(result: LedgerResult) -> dict[str, Json]:
    """Return a ledger as a document for programs: all that the other reports show. Changes are scores from 0 to 1, not points."""
    result = mask_result(result)
    document = result.document
    lines = {number: line for line in result.lines for number in line.numbers}
    rules: list[Json] = []
    for rule in document.rules:
        entry = _describe_rule(rule)
        if rule.number in lines:
            entry |= _describe_line(lines[rule.number], result)
        rules.append(entry)
    together: dict[str, Json] | None = None
    if result.together is not None:
        together = {"numbers": list(result.together.numbers)}
        together |= _describe_line(result.together, result)
    return {
        "schema": SCHEMA,
        "name": document.name,
        "prompt": document.prompt,
        "version": document.version,
        "file": find_file_name(document.path),
        "text": make_mask()(document.text),
        "summary": format_summary(result),
        "counts": _count_verdicts(result),
        "saves": _describe_cost(count_saving(result), result),
        "rules": rules,
        "together": together,
        "next": list(map(_describe_step, list_steps(result))),
        "tests": result.tests,
        "trials": result.trials,
        "models": list(result.models),
        "calls": result.calls,
        "usd": result.usd,
        "calls_per_month": result.calls_per_month,
        "margin": result.margin,
        "notes": list(result.notes),
    }


def _count_verdicts(result: LedgerResult) -> dict[str, Json]:
    counts = Counter(line.status for line in result.lines)
    return {status: counts[status] for status in STATUSES}


def _describe_rule(rule: Rule) -> dict[str, Json]:
    entry: dict[str, Json] = asdict(rule)
    del entry["spans"]  # places in the text as it is, of which secrets may be masked
    return entry


def _describe_line(line: Line, result: LedgerResult) -> dict[str, Json]:
    entry: dict[str, Json] = asdict(line)
    del entry["numbers"]
    del entry["cost"]
    entry["verdict"] = entry.pop("status")
    entry["cases"] = [asdict(case) for case in line.cases]
    entry |= _describe_cost(line.cost, result)
    return entry


def _describe_cost(cost: TokenCost, result: LedgerResult) -> dict[str, Json]:
    month = scale_cost(cost, result.calls_per_month)
    return {
        "tokens": cost.tokens,
        "usd": cost.usd,
        "tokens_per_month": month.tokens,
        "usd_per_month": month.usd,
    }


def _describe_step(step: Step) -> dict[str, Json]:
    return {"verdict": step.status, "text": step.text, "items": list(step.items)}


def _dump_json(result: LedgerResult) -> str:
    text = json.dumps(ledger_to_json(result), indent=1, ensure_ascii=False)
    return escape_json_output(text) + "\n"


_WRITERS: Mapping[str, Callable[[LedgerResult], str]] = {
    ".html": ledger_to_html,
    ".md": ledger_to_markdown,
    ".json": _dump_json,
}


def check_ledger_path(path: Path) -> None:
    """Check that a file has the suffix of a report; call it before the first live call.

    Raises:
        UsageError: It has another one.
    """
    if path.suffix.lower() not in _WRITERS:
        suffixes = ", ".join(_WRITERS)
        raise UsageError(
            f"-o: expected a file that ends in one of {suffixes}, got {shorten_text(path.name, 100)!r}"
        )


def write_ledger(result: LedgerResult, path: Path) -> None:
    """Write a ledger in the format that the suffix of the file names: ``.html``, ``.md`` or ``.json``.

    Raises:
        UsageError: The suffix is another one, or the file cannot be written.
    """
    check_ledger_path(path)
    text = _WRITERS[path.suffix.lower()](result)
    try:
        write_atomically(path, text.encode("utf-8", "replace"))
    except OSError as error:
        raise UsageError(
            f"-o: cannot write {shorten_text(str(path), 300)}: {error.strerror or error}"
        ) from None
