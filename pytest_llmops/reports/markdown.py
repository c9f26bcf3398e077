"""Render a run as Markdown for a pull request: the verdict, its evidence, the worst changes, how to reproduce them.

All foreign text is in code spans, or in lines of code blocks that begin with a character of ours: there Markdown,
HTML, links, mentions and references to issues are not live.
"""

import re
import shlex
from collections.abc import Sequence
from itertools import accumulate

from pytest_llmops.measurement import format_amount, format_count
from pytest_llmops.reports.formats import ReportFormat
from pytest_llmops.reports.html_views import MAX_WORDS, diff_words, rerun_flags
from pytest_llmops.reports.text import quote_line, render_template
from pytest_llmops.results.comparison import group_by
from pytest_llmops.results.details import SettingsMeta, read_detail
from pytest_llmops.results.problems import (
    Problem,
    describe_kind,
    list_failed_measurements,
    list_problems,
    merge_record_commands,
)
from pytest_llmops.results.run import Run, TestRecord, is_judged
from pytest_llmops.results.summary import summarize_run
from pytest_llmops.results.verdict import CHANGE_WORDS, Verdict

MAX_BYTES = 60_000  # a comment of GitHub holds 65,536 characters
MAX_SUMMARY_BYTES = 900_000  # GitHub drops a job summary of more than 1,024 KiB altogether
# Problems that are shown, characters of a line of their code blocks, and of what is the same around a difference.
SHOWN_PROBLEMS, MAX_LINE, CONTEXT = 3, 400, 40


def render_markdown(run: Run, *, max_bytes: int = MAX_BYTES) -> str:
    """Return a run as Markdown of at most ``max_bytes`` bytes, the worst first; three lines if nothing changed.

    Args:
        run: The run.
        max_bytes: Verdict, evidence and the worst changes take up to 50,000; what is left is for a list of the others.

    >>> print(render_markdown(Run()).strip())
    ## LLM regression: EMPTY
    <BLANKLINE>
    - no tests were recorded
    - no model was called
    """
    totals = summarize_run(run)
    missed = [record.message for record in run.records if _is_miss(record)]
    # Equal misses are shown once.
    problems = [
        group[0]
        for group in group_by(
            list_problems(run),
            lambda problem: (
                describe_kind(problem.record.message) if _is_miss(problem.record) else problem.nodeid
            ),
        ).values()
    ]
    word: str = totals.verdict
    for verdict in run.verdicts:
        # The baseline decides about tests that passed.
        if verdict.is_since_baseline and verdict.status != "NONE" and word == "PASS":
            word = verdict.status
    text = render_template(
        "run.md.j2",
        word=word,
        root=str(run.meta.get("root", "")),
        totals=totals,
        verdicts=run.verdicts,
        count_changes=_count_changes,
        problems=[(problem, _format_block(problem)) for problem in problems[:SHOWN_PROBLEMS]],
        # Without the history of git there are no cassettes of the baseline's commit.
        no_history=any(
            change.before_output is None and change.after_output is not None
            for change in (problem.change for problem in problems[:SHOWN_PROBLEMS])
            if change is not None and change.kind == "regressed"
        ),
        missed=len(missed),
        record=[quote_line(command) for command in merge_record_commands(missed)[:SHOWN_PROBLEMS]],
        command=_format_command(run, problems[:SHOWN_PROBLEMS]),
        notes=[*run.notes, *(f"{judge.name}: {judge.standing}" for judge in totals.judges if judge.doubtful)],
        code=quote_code,
        count=format_count,
        amount=format_amount,
    )
    return text + _list_others(
        problems[SHOWN_PROBLEMS:], max_bytes - len(text.encode()) - SHOWN_PROBLEMS * 100
    )


def _count_changes(verdict: Verdict) -> str:
    """Return how many tests changed in which way; "": none."""
    counts = [(len(verdict.of_kind(kind)), word) for kind, word in CHANGE_WORDS.items()]
    return ", ".join(f"{count:,} {word}" for count, word in counts if count)


def quote_code(text: str, limit: int = 300) -> str:
    r"""Return foreign text as a code span, on one line and without commands of a CI runner.

    >>> quote_code("@all [a](b) `x`"), quote_code("two\nlines")
    ('`` @all [a](b) `x` ``', '`two\\nlines`')
    """
    # Renderers give up on very long runs of backticks, and then show the text as Markdown.
    text = re.sub("`{9,}", "`(...)`", quote_line(text, limit)) or " "
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    if text.startswith("`") or text.endswith("`"):
        pad = " "
    else:
        pad = ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _is_miss(record: TestRecord) -> bool:
    return "CassetteMiss" in record.raised


def _format_block(problem: Problem) -> list[str]:
    # No line begins with a blank: a fence of backticks after it would end the block.
    failed = list_failed_measurements(problem.record)
    change = problem.change
    said = filter(None, [problem.words, *(measurement.reason for measurement in failed[:1])])
    lines = [f"# {quote_line(text, MAX_LINE)}" for text in said]
    if change is not None and change.before_output is not None and change.after_output is not None:
        return lines + _diff_lines(change.before_output, change.after_output)
    # Where the baseline's output is not known, what passes a threshold of its own, or has none, tells what changed.
    details = [
        detail
        for detail in map(read_detail, failed or (problem.record.measurements if change is not None else ()))
        if detail.actual is not None
    ]
    if not details:
        return lines + (_diff_lines("", change.after_output) if change and change.after_output else [])
    best = min(details, key=lambda detail: detail.expected is None)  # one that has both, if there is one
    return lines + _diff_lines(best.expected or "", best.actual or "")


def _diff_lines(old: str, new: str) -> list[str]:
    edits = [
        (
            kind,
            text if len(text) <= 2 * CONTEXT or kind != "same" else f"{text[:CONTEXT]} ... {text[-CONTEXT:]}",
        )
        for kind, text in diff_words(old, new)
    ]
    if all(kind == "same" for kind, _ in edits):
        return [f"# the first {MAX_WORDS} words of both texts are the same"]
    lines = []
    for sign, own, before, after in (("-", "old", "[-", "-]"), ("+", "new", "{+", "+}")):
        pieces = (
            f"{before}{text}{after}" if kind == own else text for kind, text in edits if kind in ("same", own)
        )
        lines.append(f"{sign} {quote_line(''.join(pieces).replace(f'{after} {before}', ' '), MAX_LINE)}")
    if old:
        return lines
    return [f"+ {quote_line(new, MAX_LINE)}"]


def _format_command(run: Run, problems: Sequence[Problem]) -> str:
    # Without a recording the same miss would come again.
    records = [problem.record for problem in problems if not _is_miss(problem.record)]
    # Without the option a test that needs a judge is skipped, also one that failed before it asked the judge.
    judged = SettingsMeta.from_wire(run.meta.get("settings")).judge or any(
        record.fact("judge") or any(map(is_judged, record.measurements)) for record in records
    )
    nodeids = [shlex.quote(quote_line(record.nodeid, MAX_LINE)) for record in records]
    # Two problems may need different versions of a prompt: the command is that of the first.
    flags = [quote_line(rerun_flags(run.meta, record), MAX_LINE) for record in records[:1]]
    if records:
        return " ".join(["pytest", *nodeids]) + " --llm-judge" * judged + "".join(flags)
    return ""


def _list_others(problems: Sequence[Problem], room: int) -> str:
    lines = [
        f"- {problem.kind} {quote_code(problem.nodeid, 200)} {quote_code(problem.words, 200)}\n"
        for problem in problems
    ]
    fitting = sum(size < room for size in accumulate(len(line.encode()) for line in lines))
    lines[fitting:] = [f"- and {len(lines) - fitting:,} more\n"] if fitting < len(lines) else []
    if lines:
        return "".join(
            [f"\n<details><summary>{len(problems):,} more</summary>\n\n", *lines, "\n</details>\n"]
        )
    return ""


FORMATS = (ReportFormat(kind="markdown", suffix=".md", render=render_markdown),)
