"""``llmops judge canaries``: test a judge with prompt injections and other answers that must not pass."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.cli.commands import EXIT_PROBLEM, add_command, utc_today
from pytest_llmops.cli.files import check_output_path, write_output_file
from pytest_llmops.cli.judge_options import (
    JUDGE_HELP,
    RUBRIC_SUFFIX,
    add_judge_options,
    load_judge,
    open_judge_session,
)
from pytest_llmops.cli.output import (
    DIM,
    GREEN,
    colour_text,
    format_path,
    print_error,
    print_line,
    redact_secrets,
)
from pytest_llmops.measurement import format_count, shorten_text

if TYPE_CHECKING:
    from pytest_llmops.calibration.canaries import CanaryRun


def add_canaries_command(commands: Any) -> None:
    """Declare the command."""
    command = add_command(
        commands,
        "canaries",
        _run_canaries,
        "test a judge with prompt injections and other answers that must not pass",
        "Canaries are empty answers, instructions, fake verdicts, fake ends of the data, role play and hidden characters; some "
        "right answers are among them. Recordings are replayed, unless --record says to call the judge. Exit status 1: the judge "
        "is unfit, or too many answers could not be scored.",
    )
    command.add_argument(
        "judge", metavar="JUDGE", help=f"{JUDGE_HELP}; or pairwise, which compares two answers"
    )
    command.add_argument(
        "--canaries",
        type=Path,
        metavar="FILE.jsonl",
        help="canaries of your own (default: the built-in ones)",
    )
    command.add_argument("--out", type=Path, metavar="FILE.json", help="write the result")
    add_judge_options(command, "JUDGE.canaries.cassette.json in this folder, or beside the rubric")


def _run_canaries(args: argparse.Namespace) -> int:
    from pytest_llmops.calibration.canaries import (
        CanaryRecord,
        format_canary_summary,
        read_canaries,
        run_canaries,
    )
    from pytest_llmops.cassettes.naming import safe_file_name
    from pytest_llmops.redaction.pytest_reports import mask_value

    rubric = Path(args.judge)
    stem = rubric.with_suffix("") if rubric.suffix == RUBRIC_SUFFIX else safe_file_name(args.judge)
    cassette = args.cassette or Path(f"{stem}.canaries.cassette.json")
    check_output_path("--out", args.out, {"the recording": cassette, "the canaries": args.canaries})
    canaries = None if args.canaries is None else read_canaries(args.canaries)
    with open_judge_session(args, cassette, record_flags="--record new"):
        result = run_canaries(load_judge(args.judge), canaries)
    _print_canary_result(result)
    if args.out and result.status != "undecided":  # would replace what is known of the judge
        record = CanaryRecord.from_run(result, date=utc_today())
        # The file has the judge's reasons, and is committed.
        clean = replace(record, results=mask_value(dict(record.results), redact_secrets))
        write_output_file(args.out, clean.to_json_text())
        print_line(
            f"written to {format_path(args.out)}: commit it; it holds for this version of the judge and these canaries"
        )
    if result.status != "fit":
        print_error(f"judge {result.judge}: {format_canary_summary(result)}")
        return EXIT_PROBLEM
    print_line(colour_text(f"the judge {format_canary_summary(result)}", GREEN))
    return 0


def _print_canary_result(result: CanaryRun) -> None:
    from pytest_llmops.calibration.canaries import canary_run_to_json

    model = f", model {shorten_text(result.model, 100)}" if result.model else ""
    print_line(f"judge {shorten_text(result.judge, 100)}, version {shorten_text(result.version, 100)}{model}")
    judged_count = sum(not outcome.prescreened for outcome in result.outcomes)
    threshold = "the middle of its scale" if result.threshold is None else f"{result.threshold:g}"
    print_line(
        f"{format_count(len(result.outcomes), 'answer')}, {judged_count:,} of them shown to the judge; it passes an answer at or above {threshold}"
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
            score = "" if outcome.score is None else f", score {outcome.score:g}"
            what = (
                f"{score}): {shorten_text(outcome.error, 200)}"
                if outcome.passed is None
                else f'{score}): "{shorten_text(outcome.canary.answer, 120)}"'
            )
            name, kind = shorten_text(outcome.canary.id, 60), shorten_text(outcome.canary.kind, 40)
            print_line(f"{title}  {name} ({kind}{what}")
    print_line()
