"""``llmops prompts ledger``: the effect of each line of a prompt."""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from pytest_llmops._util.option_values import parse_money
from pytest_llmops.cli.common import (
    EXIT_PROBLEM,
    find_project_root,
    format_path,
    has_colours,
    print_json,
    print_line,
    print_lines,
    read_ini,
    redact_secrets,
)
from pytest_llmops.cli.prompt_aliases import open_prompts
from pytest_llmops.errors import UsageError
from pytest_llmops.ledger.documents import open_document
from pytest_llmops.ledger.ledger import LedgerOptions, make_ledger
from pytest_llmops.ledger.model import LedgerResult, LedgerRules
from pytest_llmops.ledger.plan import LedgerPlan
from pytest_llmops.ledger.reports import check_ledger_path, format_ledger, ledger_to_json, write_ledger
from pytest_llmops.ledger.runs import OPEN_STATUS, LedgerRuns, RunOptions
from pytest_llmops.measurement import escape_output
from pytest_llmops.settings import Settings

MANY_CALLS = 200  # a plan with more of them is confirmed by a person at a terminal
MAX_RANGE = 10_000  # rules in a range of --only
NO_WIDTH = 0  # the output is not wrapped


def run_ledger(args: argparse.Namespace) -> int:
    """Make a ledger and print it, and return the exit status of the command."""
    for path in args.reports:
        check_ledger_path(path)
    document = open_document(
        args.target, prompts=open_prompts(args).folder, version=args.version, by=args.by, lines=args.lines
    )
    options = RunOptions(
        folder=Path.cwd(),
        root=find_project_root(Path.cwd()) or Path.cwd(),
        version=args.version,
        trials=args.trials,
        arguments=tuple(args.rest),
        budget=_parse_budget(args.llm_budget),
        max_calls=args.llm_max_calls,
    )
    runs = LedgerRuns(document, options)
    ledger_options = LedgerOptions(
        rules=LedgerRules(margin=args.margin, primary=_read_primary_metric()),
        trials=args.trials,
        only=frozenset(_parse_numbers(args.only)),
        calls_per_month=args.calls_per_month,
        is_dry_run=args.dry_run,
        is_batched=options.is_batched,
        show=_show_progress,
        confirm=lambda plan: args.yes or _confirm(plan),
    )
    try:
        with runs.lock():
            result = make_ledger(document, ledger_options, runs)
    except KeyboardInterrupt:
        _show_progress("all answers so far are recorded; the same command goes on from there")
        raise
    if runs.waits:
        _show_progress("answers wait for batches; run the same command again to collect them")
        return OPEN_STATUS
    if result is not None:
        _print_result(result, args)
    if runs.is_spent:
        return EXIT_PROBLEM
    return 0


def _read_primary_metric() -> str:
    """Return the metrics that decide, as the ini key ``llm_primary_metric`` of the project names them; "": it names none."""
    ini = read_ini(Path.cwd())
    if ini is None:
        return ""
    _, values = ini
    return Settings.from_sources(("ini", values)).primary_metric


def _print_result(result: LedgerResult, args: argparse.Namespace) -> None:
    """Print a ledger, and write the reports that the arguments name."""
    if args.json:
        print_json(ledger_to_json(result))
    else:
        print_lines(format_ledger(result, _find_width(), colours=has_colours()))
    for path in args.reports:
        write_ledger(result, path)
        if not args.json:
            print_line(f"  report     {format_path(path)}")


def _find_width() -> int:
    """Return the columns of the terminal; `NO_WIDTH`: the output is a file, and COLUMNS is not set."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size().columns
    return NO_WIDTH


def _show_progress(line: str) -> None:
    """Print a line of the plan or of the progress to stderr: the result goes to stdout."""
    print(escape_output(redact_secrets(line)), file=sys.stderr, flush=True)  # noqa: T201 -- the command's progress


def _confirm(plan: LedgerPlan) -> bool:
    """Return whether the calls of a plan may be made: a person at a terminal confirms them if they are many."""
    if plan.most_calls <= MANY_CALLS or not sys.stdin.isatty():
        return True
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201 -- a question
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _parse_budget(text: str) -> float | None:
    """Return the US dollars of an argument; None: no limit.

    Raises:
        UsageError: It is not an amount.
    """
    if not text:
        return None
    try:
        return float(str(parse_money(text)))
    except ValueError as error:
        raise UsageError(f"--llm-budget: expected {error}, got {text!r}") from None


def _parse_numbers(text: str) -> Iterator[int]:
    """Yield the numbers of a list such as ``3,5-7``.

    Raises:
        UsageError: It is not such a list.
    """
    for part in filter(None, text.replace(" ", "").split(",")):
        first, dash, last = part.partition("-")
        ends = (first, last) if dash else (first, first)
        if not all(end.isascii() and end.isdecimal() for end in ends):
            raise UsageError(f"--only: expected numbers and ranges of rules (3,5-7), got {text!r}")
        start, stop = map(int, ends)
        if not start <= stop < start + MAX_RANGE:
            raise UsageError(f"--only: expected ranges from a smaller to a larger number, got {part!r}")
        yield from range(start, stop + 1)
