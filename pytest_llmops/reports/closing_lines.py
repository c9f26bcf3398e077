"""Render the last lines of a run: the verdict, the written reports and the command to run next, always in this order.

They are the same with -q, and come after pytest's list of failures, so that ``tail`` shows them.
"""

from collections.abc import Mapping, Sequence

from pytest_llmops.measurement import escape_output, shorten_text
from pytest_llmops.reports.commands import find_next_command
from pytest_llmops.reports.terminal_page import Line, Style, has_content, split_verdicts
from pytest_llmops.results.run import Outcome, Run
from pytest_llmops.results.summary import format_outcomes, summarize_run

VERDICT_STYLES: Mapping[str, Style] = {"PASS": "green", "FAIL": "red", "RED": "red"}
MAX_VERDICT = 1000  # characters of the verdict
MAX_COMMAND = 2000  # of a command, which is to be copied


def closing_lines(
    run: Run,
    *,
    ascii: bool = False,  # noqa: A002 -- as in `summary_lines`
    others: Mapping[Outcome, int] | None = None,
    reports: Sequence[str] = (),
    reporting: str = "",
    folder: str = "",
    has_next: bool = True,
) -> list[Line]:
    """Return the last lines of a run: ``llm: VERDICT``, ``llm: report: FILES`` and ``llm: next: COMMAND``.

    The second is missing if no report was written, the third if nothing failed. A run in which nothing was measured, called or noted
    has only the second.

    Args:
        run: The run.
        ascii: Whether the terminal can only show ASCII; other characters become escapes.
        others: Outcome -> number of tests that pytest counts, but that are not in the run.
        reports: The names of the reports that were written.
        reporting: The command of this run with a report added; "": it has a report already.
        folder: The project's folder as seen from the working folder; "": they are the same.
        has_next: Whether to give the next command; not if another look of this run follows by itself.

    >>> closing_lines(Run())
    []
    """
    lines = list[Line]()
    if has_content(run):
        lines.append(_verdict_line(run, others or {}))
    if reports:
        lines.append(Line(f"llm: report: {', '.join(reports)}"))
    command = ""
    if has_next and has_content(run):
        command = find_next_command(run, reporting, folder)
    if command:
        lines.append(Line(f"llm: next: {command}"))
    return [Line(_escape(line.text, ascii=ascii), line.style) for line in lines]


def _verdict_line(run: Run, others: Mapping[Outcome, int]) -> Line:
    totals = summarize_run(run)
    text = f"llm: {totals.verdict}  {totals.outcome_words}"
    counted = {outcome: number for outcome, number in others.items() if number}
    if counted:
        text += f" (other tests: {format_outcomes(counted)})"
    leading, _ = split_verdicts(run.verdicts)
    for verdict in leading:
        text += f"; {verdict.headline}"
    return Line(shorten_text(text, MAX_VERDICT), VERDICT_STYLES.get(totals.verdict, "yellow"))


def _escape(text: str, *, ascii: bool) -> str:  # noqa: A002 -- as above
    """Return a text on one line, in characters that the terminal can show."""
    text = shorten_text(text, MAX_COMMAND)
    if ascii:
        text = text.encode("ascii", "backslashreplace").decode()
    return escape_output(text)


def is_bad(run: Run) -> bool:
    """Return whether a run is red or lacks recordings: a test of it failed or had an error, or a verdict fails it.

    >>> is_bad(Run())
    False
    """
    return bool(run.count("failed") or run.count("errored") or run.failing_verdicts)
