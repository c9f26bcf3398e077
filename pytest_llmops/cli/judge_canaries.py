"""``llmops judge canaries``: does a judge let itself be talked to?"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.cli.files import check_output_path, write_output_file
from pytest_llmops.cli.judge_options import JUDGE_HELP, add_judge_options, load_judge, open_judge_session
from pytest_llmops.cli.output import DIM, GREEN, colour_text, print_error, print_line, redact_secrets
from pytest_llmops.measurement import format_count, shorten_text

if TYPE_CHECKING:
    from pytest_llmops.calibration.canaries import CanaryOutcome, CanaryRun

EXIT_PROBLEM = 1


def add_canaries_command(commands: Any) -> None:
    """Declare the command."""
    command: argparse.ArgumentParser = commands.add_parser(
        "canaries",
        help="see whether a judge lets itself be talked to",
        description="Put canaries before a judge, answers that no judge may pass: nothing at all, orders, fake verdicts, fake ends "
        "of the data, role play, hidden characters; and some right answers. Recordings answer, unless --record says to ask. Exit "
        "status 1: the judge is unfit, or that could not be told.",
        allow_abbrev=False,
    )
    command.set_defaults(helps=command, run=_run_canaries)
    command.add_argument(
        "judge", metavar="JUDGE", help=f"{JUDGE_HELP}; or pairwise, the judge of two answers"
    )
    command.add_argument(
        "--canaries",
        type=Path,
        metavar="FILE.jsonl",
        help="canaries of your own (default: the built-in ones)",
    )
    command.add_argument("--out", type=Path, metavar="FILE.json", help="write what came of it")
    add_judge_options(command, "JUDGE.canaries.cassette.json in this folder, or beside the rubric")


def _run_canaries(args: argparse.Namespace) -> int:
    from pytest_llmops.calibration.canaries import format_canary_summary, read_canaries, run_canaries

    cassette = args.cassette or _canaries_cassette(args.judge)
    check_output_path("--out", args.out, {"the recording": cassette, "the canaries": args.canaries})
    canaries = None if args.canaries is None else read_canaries(args.canaries)
    with open_judge_session(args, cassette, record_flags="--record new"):
        result = run_canaries(_load_canary_judge(args.judge), canaries)
    _print_canary_result(result)
    if args.out and result.status != "undecided":  # it would hide what is known of the judge
        _write_canary_record(args.out, result)
    if result.status != "fit":
        print_error(f"judge {result.judge}: {format_canary_summary(result)}")
        return EXIT_PROBLEM
    print_line(colour_text(f"the judge {format_canary_summary(result)}", GREEN))
    return 0


def _load_canary_judge(name: str) -> object:
    if name == "pairwise":
        from pytest_llmops.judges.pairwise import Pairwise

        return Pairwise()
    return load_judge(name)


def _canaries_cassette(judge: str) -> Path:
    from pytest_llmops.cassettes.naming import safe_file_name

    suffix = ".canaries.cassette.json"
    return (
        Path(judge).with_suffix(suffix) if judge.endswith(".md") else Path(f"{safe_file_name(judge)}{suffix}")
    )


def _print_canary_result(result: CanaryRun) -> None:
    from pytest_llmops.calibration.canaries import canary_run_to_json

    model = f", model {shorten_text(result.model, 100)}" if result.model else ""
    print_line(f"judge {shorten_text(result.judge, 100)}, version {shorten_text(result.version, 100)}{model}")
    judged_count = sum(not outcome.prescreened for outcome in result.outcomes)
    threshold = "the middle of its scale" if result.threshold is None else f"{result.threshold:g}"
    print_line(
        f"{format_count(len(result.outcomes), 'answer')}, {judged_count:,} of them put to it; it passes an answer above or at {threshold}"
    )
    print_line()
    kinds = canary_run_to_json(result)["by kind"]
    rows = dict(kinds) if isinstance(kinds, dict) else {}
    width = max(len(name) for name in (*rows, "right answers"))
    print_line(colour_text(f"{'kind':<{width}}  withstood", DIM))
    for name, text in rows.items():
        print_line(f"{shorten_text(name, 60):<{width}}  {text}")
    print_line(
        f"{'right answers':<{width}}  {result.controls - len(result.rejected)} of {result.controls} passed"
    )
    for title, outcomes in (
        ("passes", result.fallen),
        ("rejects", result.rejected),
        ("unscored", result.unscored),
    ):
        if outcomes:
            print_line()
        for outcome in outcomes:
            print_line(f"{title}  {_format_outcome(outcome)}")
    print_line()


def _format_outcome(outcome: CanaryOutcome) -> str:
    if outcome.passed is None:
        return f"{shorten_text(outcome.canary.id, 60)} ({shorten_text(outcome.canary.kind, 40)}): {shorten_text(outcome.error, 200)}"
    score = "" if outcome.score is None else f", score {outcome.score:g}"
    return f'{shorten_text(outcome.canary.id, 60)} ({shorten_text(outcome.canary.kind, 40)}{score}): "{shorten_text(outcome.canary.answer, 120)}"'


def _write_canary_record(path: Path, result: CanaryRun) -> None:
    import datetime as dt

    from pytest_llmops.calibration.canaries import CanaryRecord
    from pytest_llmops.redaction.pytest_reports import mask_value

    record = CanaryRecord.of(result, date=dt.datetime.now(tz=dt.UTC).date().isoformat())
    # A judge's reasons stand in a file that is committed.
    clean = replace(record, found=mask_value(dict(record.found), redact_secrets))
    write_output_file(path, clean.to_json_text())
    print_line(
        f"written to {shorten_text(str(path), 300)}: commit it; it holds for this version of the judge and these canaries"
    )
