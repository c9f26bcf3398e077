"""A ledger as Markdown for a pull request: a table with a row for each rule, what to do next, the cases in folds.

Foreign text (of the prompt, of models) is in code spans only, where Markdown, HTML, links and mentions have no effect.
"""

from collections.abc import Iterable, Iterator

from pytest_llmops.ledger.model import LedgerResult, Line
from pytest_llmops.ledger.passages import mask_result
from pytest_llmops.ledger.sentences import (
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
from pytest_llmops.measurement import format_count
from pytest_llmops.reports.differences import cut_answers
from pytest_llmops.reports.markdown_text import quote_cell, quote_code, quote_sentence

MAX_BYTES = 60_000  # a comment of GitHub holds 65,536 characters
MAX_ROWS_BYTES = 36_000
MAX_TEXT = 120  # characters of a rule or an answer
MAX_ITEMS = 20  # of a step
MAX_CASES = 2  # of a rule


def ledger_to_markdown(result: LedgerResult) -> str:
    """Return a ledger as Markdown of at most 60,000 bytes; rules and cases that do not fit are counted."""
    result = mask_result(result)
    blocks = [
        f"## Ledger of {quote_code(result.document.name)}",
        f"**{format_summary(result)}.**",
        "\n".join(_cut_lines(_iter_rows(result), MAX_ROWS_BYTES, "rule")),
        *_list_meanings(result),
        *_list_steps(result),
        quote_sentence(f"{describe_run(result)}.", result.models),
        *(f"Note: {quote_sentence(note)}" for note in result.notes),
    ]
    used = sum(len(block.encode()) + 2 for block in blocks)
    cases = _cut_lines(_iter_cases(result), MAX_BYTES - used - 200, "case")
    if cases:
        lines = "\n".join(cases)
        blocks.append(f"<details><summary>Cases that show it</summary>\n\n{lines}\n\n</details>")
    return "\n\n".join(blocks) + "\n"


def _cut_lines(lines: Iterable[str], room: int, noun: str) -> list[str]:
    """Return as many lines as fit into so many bytes, and how many of the others there are."""
    shown: list[str] = []
    rest = 0
    for line in lines:
        room -= len(line.encode()) + 1
        if room < 0:
            rest += 1
        else:
            shown.append(line)
    if rest:
        shown.append(f"\n{format_count(rest, f'more {noun}')} in the HTML or JSON report")
    return shown


def _iter_rows(result: LedgerResult) -> Iterator[str]:
    """Yield the lines of the table."""
    heads = ["rule", "verdict", "points", "tokens"]
    calls = result.calls_per_month
    if calls is not None:
        heads.append(f"in {calls:,} calls")
    yield f"| {' | '.join([*heads, 'since', 'text', 'why'])} |"
    yield f"|{'---|' * (len(heads) + 3)}"
    texts = {rule.number: rule.text for rule in result.document.rules}
    for line in result.lines:
        yield _format_row(line, quote_cell(texts[line.numbers[0]], MAX_TEXT), calls)
    if result.together is not None:
        yield _format_row(result.together, "left out together", calls)


def _format_row(line: Line, text: str, calls: int | None) -> str:
    change = format_change(line)
    likely = format_range(line)
    if likely:
        change = f"{change} ({likely})"
    cells = [join_numbers(line.numbers), f"**{line.status}**", change, format_tokens(line.cost.tokens)]
    if calls is not None:
        month = scale_cost(line.cost, calls)
        cells.append(f"{format_tokens(month.tokens)}, {format_usd(month.usd)}")
    why = quote_sentence(explain_line(line)).replace("|", "\\|")
    return f"| {' | '.join([*cells, quote_sentence(line.since), text, why])} |"


def _list_meanings(result: LedgerResult) -> list[str]:
    """Return the meaning of the verdicts that are easily misread."""
    statuses = {line.status for line in result.lines}
    sentences = []
    for status in ("can go", "not measured"):
        if status in statuses:
            sentences.append(f"- {status}: {describe_status(status, result.margin)}")
    if not sentences:
        return []
    return ["\n".join(sentences)]


def _list_steps(result: LedgerResult) -> list[str]:
    """Return each step as a list below its sentence."""
    blocks = []
    for step in list_steps(result):
        lines = [f"**{quote_sentence(step.text)}**", ""]
        for item in step.items[:MAX_ITEMS]:
            head, _, text = item.partition(": ")
            lines.append(f"- {quote_sentence(head)}: {quote_cell(text, 2 * MAX_TEXT)}")
        rest = len(step.items) - MAX_ITEMS
        if rest > 0:
            lines.append(f"- and {rest:,} more")
        blocks.append("\n".join(lines))
    return blocks


def _iter_cases(result: LedgerResult) -> Iterator[str]:
    """Yield a line for each case of a rule."""
    for line in result.lines:
        for case in line.cases[:MAX_CASES]:
            text = f"- {name_rules(line.numbers)}, {quote_code(name_test(case.nodeid))}"
            if case.metric:
                text += (
                    f", {quote_code(case.metric)} {format_score(case.before)} → {format_score(case.after)}"
                )
            if case.answer_before or case.answer_after:
                before, after = cut_answers(case.answer_before, case.answer_after, MAX_TEXT)
                text += f": with it {quote_cell(before, MAX_TEXT)}, without it {quote_cell(after, MAX_TEXT)}"
            yield text
