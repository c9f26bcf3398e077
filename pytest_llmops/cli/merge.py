"""``llmops merge``: the run files of a CI matrix as one run, compared with the baseline once."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.cli.commands import EXIT_PROBLEM, add_command
from pytest_llmops.cli.output import format_path, print_line
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import format_count, shorten_text

if TYPE_CHECKING:
    from pytest_llmops.results.run import Run

SAME_META = ("commit", "versions")
"""What the parts of a run share; settings may differ (a shard's own report)."""


def add_merge_group(groups: Any) -> None:
    """Declare the command."""
    command = add_command(
        groups,
        "merge",
        _merge,
        "join the run files of shards, and compare the whole with the baseline",
        "Each shard writes --llm-report=run-N.json.",
    )
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run files of the shards")
    command.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="the merged run: .json, .json.gz or .html",
    )
    command.add_argument(
        "--llm-baseline", default="", metavar="FILE|GITREF", help="default: the project's baseline"
    )
    command.add_argument("--llm-strict", action="store_true", help="an AMBER verdict ends with 1")


def merge_runs(runs: dict[str, Run]) -> Run:
    """Return the runs of shards as one run.

    Args:
        runs: By the name of their file.

    Raises:
        UsageError: Two shards have the same test, or are of different commits or versions.
    """
    from pytest_llmops.results.run import Run

    (first_name, first), *others = runs.items()
    for name, run in others:
        for key in SAME_META:
            if run.meta.get(key) != first.meta.get(key):
                raise UsageError(
                    f"{name}: expected the same {key} as {first_name} ({shorten_text(str(first.meta.get(key)), 100)}), "
                    f"got {shorten_text(str(run.meta.get(key)), 100)}: these are not shards of one run"
                )
    counts = Counter(record.nodeid for run in runs.values() for record in run.records)
    twice = [nodeid for nodeid, count in counts.items() if count > 1]
    if twice:
        holders = [
            name for name, run in runs.items() if any(record.nodeid == twice[0] for record in run.records)
        ]
        raise UsageError(
            f"{format_count(len(twice), 'test')} ran in several shards ({shorten_text(twice[0], 200)} in {', '.join(holders)}): "
            "split the suite so that each test runs once"
        )
    records = sorted(
        (record for run in runs.values() for record in run.records), key=lambda record: record.nodeid
    )
    notes = dict.fromkeys(note for run in runs.values() for note in run.notes)
    return Run(records=tuple(records), meta=first.meta, notes=tuple(notes))


def _merge(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from pytest_llmops.baselines.gate import GateRules, judge_suite
    from pytest_llmops.cli.baseline import load_project_baseline
    from pytest_llmops.cli.files import check_output_path, read_run_file, write_output_file
    from pytest_llmops.reports.terminal import summary_lines

    check_output_path("--out", args.out, {format_path(path): path for path in args.runs})
    again = [path for path, count in Counter(path.resolve() for path in args.runs).items() if count > 1]
    if again:
        raise UsageError(f"RUN: expected the run file of each shard once, got {format_path(again[0])} twice")
    run = merge_runs({format_path(path): read_run_file(path) for path in args.runs})
    stored = load_project_baseline(args.llm_baseline)
    if stored is not None:
        rules = GateRules(primary=stored.primary_metric)
        verdict = judge_suite(
            stored.baseline, run.records, name=stored.name, rules=rules, find_output=stored.outputs.get
        )
        run = replace(run, verdict=verdict)
    if args.out.suffix == ".html":
        from pytest_llmops.reports.html import render_html

        write_output_file(args.out, render_html(run))
    else:
        write_output_file(args.out, run.to_json())
    for line in summary_lines(run, width=120):
        print_line(line.text)
    print_line(f"  report     {format_path(args.out)}")
    failed = any(record.outcome in ("failed", "errored") for record in run.records)
    is_red = run.verdict is not None and run.verdict.fails(strict=args.llm_strict)
    return EXIT_PROBLEM if failed or is_red else 0
