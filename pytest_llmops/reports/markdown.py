"""Render a run as Markdown for a pull request: the verdict, its evidence, the worst changes, how to reproduce them.

Foreign text (from tests and models) is only in code spans, or in lines of code blocks that begin with a character of ours. There
Markdown, HTML, links, mentions and references to issues have no effect.
"""

import re
from collections.abc import Sequence

from pytest_llmops.measurement import Measurement, format_amount, format_count
from pytest_llmops.reports.commands import MAX_LINE, format_rerun, is_miss
from pytest_llmops.reports.formats import ReportFormat
from pytest_llmops.reports.html_views import MAX_WORDS, Edit, diff_words
from pytest_llmops.reports.text import quote_line, render_template
from pytest_llmops.results.details import read_detail
from pytest_llmops.results.problems import (
    Problem,
    describe_kind,
    describe_unrecorded,
    list_failed_measurements,
    list_problems,
    list_record_commands,
)
from pytest_llmops.results.run import Run
from pytest_llmops.results.summary import summarize_run
from pytest_llmops.results.verdict import CHANGE_WORDS, Verdict

MAX_BYTES = 60_000  # a comment of GitHub holds 65,536 characters
MAX_SUMMARY_BYTES = 900_000  # GitHub drops a job summary of more than 1,024 KiB altogether
SHOWN_PROBLEMS = 3
CONTEXT = 40  # characters of unchanged text that are shown on each side of a difference


def render_markdown(run: Run, *, max_bytes: int = MAX_BYTES) -> str:
    """Return a run as Markdown of at most ``max_bytes`` bytes, the worst problems first; some three lines if nothing changed.

    Args:
        run: The run.
        max_bytes: Verdict, evidence and the worst changes take up to 50,000 bytes; the rest is for a list of other problems.

    >>> print(render_markdown(Run()).strip())
    ## LLM regression: EMPTY
    <BLANKLINE>
    - no tests were recorded
    - no model was called
    """
    totals = summarize_run(run)
    problems = _list_distinct_problems(run)
    shown = problems[:SHOWN_PROBLEMS]
    notes = list(run.notes)
    for judge in totals.judges:
        if judge.doubtful:
            notes.append(f"{judge.name}: {judge.standing}")
    commands = list_record_commands(run.records)[:SHOWN_PROBLEMS]
    blocks = [(problem, _format_block(problem)) for problem in shown]
    text = render_template(
        "run.md.j2",
        word=_find_word(run, totals.verdict),
        root=str(run.meta.get("root", "")),
        totals=totals,
        verdicts=run.verdicts,
        count_changes=_count_changes,
        problems=blocks,
        no_history=any(map(_lacks_earlier_output, shown)),
        missed=sum(map(is_miss, run.records)),
        unrecorded=describe_unrecorded(run.records),
        record=list(map(quote_line, commands)),
        command=format_rerun(run, [problem.record for problem in shown]),
        notes=notes,
        code=quote_code,
        count=format_count,
        amount=format_amount,
    )
    size = len(text.encode())
    room = max_bytes - size - SHOWN_PROBLEMS * 100
    return text + _list_others(problems[SHOWN_PROBLEMS:], room)


def _list_distinct_problems(run: Run) -> list[Problem]:
    """Return the problems of a run; of several tests with the same missing recording, only the first."""
    distinct: dict[str, Problem] = {}
    for problem in list_problems(run):
        key = problem.nodeid
        if is_miss(problem.record):
            key = describe_kind(problem.record.message)
        distinct.setdefault(key, problem)
    return list(distinct.values())


def _find_word(run: Run, word: str) -> str:
    """Return the word of the headline: if all tests passed (``word`` is PASS), the status of the comparison with the baseline."""
    for verdict in run.verdicts:
        if word == "PASS" and verdict.is_since_baseline and verdict.status != "NONE":
            word = verdict.status
    return word


def _lacks_earlier_output(problem: Problem) -> bool:
    """Return whether a test got worse, but its earlier output is not known, for instance without the history of git."""
    change = problem.change
    if change is None or change.kind != "regressed":
        return False
    return change.before_output is None and change.after_output is not None


def _count_changes(verdict: Verdict) -> str:
    """Return how many tests changed, by kind of change; "" if none did."""
    parts = []
    for kind, word in CHANGE_WORDS.items():
        count = len(verdict.of_kind(kind))
        if count:
            parts.append(f"{count:,} {word}")
    return ", ".join(parts)


def quote_code(text: str, limit: int = 300) -> str:
    r"""Return foreign text as a code span on one line, in which Markdown and commands of a CI runner have no effect.

    >>> quote_code("@all [a](b) `x`"), quote_code("two\nlines")
    ('`` @all [a](b) `x` ``', '`two\\nlines`')
    """
    # Renderers give up on very long runs of backticks, and would then interpret the text as Markdown.
    text = re.sub("`{9,}", "`(...)`", quote_line(text, limit)) or " "
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = ""
    if text.startswith("`") or text.endswith("`"):
        pad = " "
    return f"{fence}{pad}{text}{pad}{fence}"


def _format_block(problem: Problem) -> list[str]:
    """Return the lines of the code block about a problem: the reasons, then the difference.

    No line may begin with blanks, as backticks after them would end the block.
    """
    failed = list_failed_measurements(problem.record)
    reasons = [problem.words]
    if failed:
        reasons.append(failed[0].reason)
    lines = [f"# {quote_line(reason, MAX_LINE)}" for reason in reasons if reason]
    return lines + _format_difference(problem, failed)


def _format_difference(problem: Problem, failed: Sequence[Measurement]) -> list[str]:
    """Return lines that compare the output before and now; else the expected and the actual text; else the output alone."""
    change = problem.change
    if change is not None and change.before_output is not None and change.after_output is not None:
        return _diff_lines(change.before_output, change.after_output)
    # If no measurement failed, the test only got worse: then all of its measurements may show how.
    measurements = failed
    if not failed and change is not None:
        measurements = problem.record.measurements
    details = [read_detail(measurement) for measurement in measurements]
    with_output = [detail for detail in details if detail.actual is not None]
    if with_output:
        best = min(
            with_output, key=lambda detail: detail.expected is None
        )  # the first with an expected text, if any has one
        return _diff_lines(best.expected or "", best.actual or "")
    if change is not None and change.after_output:
        return _diff_lines("", change.after_output)
    return []


def _diff_lines(old: str, new: str) -> list[str]:
    """Return an old and a new text as two lines with marks around the differences; without an old text, only the new line."""
    edits = diff_words(old, new)
    if all(kind == "same" for kind, _ in edits):
        return [f"# the first {MAX_WORDS} words of both texts are the same"]
    if not old:
        return [f"+ {quote_line(new, MAX_LINE)}"]
    before = _diff_line("- ", edits, "old", "[-", "-]")
    after = _diff_line("+ ", edits, "new", "{+", "+}")
    return [before, after]


def _diff_line(sign: str, edits: Sequence[Edit], own: str, before: str, after: str) -> str:
    """Return one of two compared texts on a line.

    Pieces of the kind ``own`` ("old" or "new"), which only this text has, are put between the marks ``before`` and ``after``.
    """
    pieces = []
    for kind, text in edits:
        if kind == own:
            pieces.append(f"{before}{text}{after}")
        elif kind == "same":
            pieces.append(_cut_middle(text))
    line = "".join(pieces).replace(f"{after} {before}", " ")
    return sign + quote_line(line, MAX_LINE)


def _cut_middle(text: str) -> str:
    """Shorten an unchanged piece to its ends."""
    if len(text) <= 2 * CONTEXT:
        return text
    return f"{text[:CONTEXT]} ... {text[-CONTEXT:]}"


def _list_others(problems: Sequence[Problem], room: int) -> str:
    """Return the other problems as a folded list, as many as fit into ``room`` bytes; "" without any."""
    if not problems:
        return ""
    lines: list[str] = []
    size = 0
    for problem in problems:
        nodeid = quote_code(problem.nodeid, 200)
        words = quote_code(problem.words, 200)
        line = f"- {problem.kind} {nodeid} {words}\n"
        size += len(line.encode())
        if size >= room:
            rest = len(problems) - len(lines)
            lines.append(f"- and {rest:,} more\n")
            break
        lines.append(line)
    head = f"\n<details><summary>{len(problems):,} more</summary>\n\n"
    return "".join([head, *lines, "\n</details>\n"])


FORMATS = (ReportFormat(kind="markdown", suffix=".md", render=render_markdown),)
