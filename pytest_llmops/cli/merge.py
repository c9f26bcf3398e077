"""``llmops merge``: the run files and cassettes of a CI matrix as those of one run; ``llmops report``: the reports of a run, or of runs over time."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops._util.option_values import split_report
from pytest_llmops.cli.common import (
    EXIT_PROBLEM,
    add_command,
    check_reports,
    environment_redactor,
    format_path,
    print_line,
    print_lines,
    read_ini,
    read_run_file,
    utc_today,
    write_reports,
)
from pytest_llmops.errors import CassetteError, UsageError
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.results.details import read_time
from pytest_llmops.results.run import Run

if TYPE_CHECKING:
    from datetime import datetime

    from pytest_llmops.cassettes.request_key import Answer
    from pytest_llmops.cassettes.store import Interaction

# What the parts of a run share; settings may differ (a shard's own report)
SAME_META = ("commit", "versions")


def add_merge_group(groups: Any) -> None:
    """Declare the commands ``merge`` and ``report``."""
    out = {
        "action": "append",
        "required": True,
        "metavar": "[KIND:]FILE",
        "help": "as of --llm-report: .html, .md, .json, codequality:FILE, otlp:URL ..., and .xml of JUnit (repeatable)",
    }
    add_command(
        groups,
        "merge",
        _merge,
        "join the run files of shards, and compare the whole with the baseline; or join their cassettes",
        "Each shard writes --llm-report=run-N.json. Of a folder, a shard's copy of the project, the cassettes and journals are "
        "merged into the project in the working folder: all of them, or none if two shards recorded one request apart.",
        arguments={
            "parts": {
                "nargs": "+",
                "type": Path,
                "metavar": "RUN|FOLDER",
                "help": "run files, or copies of the project, of the shards",
            },
            "-o --out": {**out, "required": False},
            "--replace": {
                "action": "store_true",
                "help": "the answer of a shard replaces another one of the project (after --llm-record=all)",
            },
            "--llm-baseline": {
                "default": "",
                "metavar": "FILE|GITREF",
                "help": "default: the project's baseline",
            },
            "--llm-strict": {"action": "store_true", "help": "an AMBER verdict ends with 1"},
        },
    )
    add_command(
        groups,
        "report",
        _report,
        "make reports of a run file, or a page of several over time",
        "No test runs, and nothing is asked. Of several runs of a suite the .html shows the newest, and the others over time.",
        arguments={
            "files": {"nargs": "+", "type": Path, "metavar": "RUN", "help": "of --llm-report=run.json"},
            "-o --out": out,
        },
    )


def _report(args: argparse.Namespace) -> int:

    _refuse_repeated(args.files, "run file")
    check_reports("--out", args.out, {format_path(path): path for path in args.files})
    singles = [report for report in args.out if split_report(report)[0] != "html"]
    if len(args.files) > 1 and singles:
        raise UsageError(
            f"--out: expected .html, which shows {len(args.files)} runs over time, got {shorten_text(singles[0])}: make it of "
            "one run file, or of shards with llmops merge"
        )
    *earlier, run = _order_runs({format_path(path): read_run_file(path) for path in args.files})
    write_reports(run, args.out, earlier)
    return 0


def _order_runs(runs: Mapping[str, Run]) -> list[Run]:
    """Return runs of one suite, the oldest first; the newest has a note if others ran other tests.

    A single run needs no time.
    runs: At least one, by the name of its file.

    Raises:
        UsageError: One does not say when it ran, two ran at the same time, or one has no test in common with the newest.
    """
    if len(runs) == 1:
        return [*runs.values()]
    names: dict[datetime, str] = {}
    for name, run in runs.items():
        created = run.meta.get("created")
        time = read_time(created)
        if time is None:
            raise UsageError(
                f"{name}: $.meta.created: expected when the run ended (2026-01-31T12:00:00+00:00), got "
                f"{shorten_text(repr(created), 80)}: without it the run has no place among the others; leave it out"
            )
        other = names.setdefault(time, name)
        if other != name:
            raise UsageError(
                f"{name}: expected another time than that of {other}, got {shorten_text(str(created), 80)} again: leave out a copy; "
                "shards of one run are joined by llmops merge"
            )
    *earlier, last = (names[time] for time in sorted(names))
    tests = {name: {record.nodeid for record in run.records} for name, run in runs.items()}
    for name in earlier:
        if tests[name] and tests[last] and not tests[name] & tests[last]:
            raise UsageError(
                f"{name}: expected a run of the same suite as {last}, the newest, got no test in common with it: leave it out; "
                "shards of one run are joined by llmops merge"
            )
    unlike = [name for name in earlier if tests[name] != tests[last]]
    note = (
        f"over time: {format_count(len(unlike), 'earlier run')} did not run the same tests as this one, so that means may move "
        f"without a change of quality: {', '.join(unlike)}"
    )
    return [
        *(runs[name] for name in earlier),
        dataclasses.replace(runs[last], notes=(*runs[last].notes, *([note] if unlike else []))),
    ]


def _refuse_repeated(paths: Sequence[Path], what: str) -> None:
    again = [path for path, count in Counter(path.resolve() for path in paths).items() if count > 1]
    if again:
        raise UsageError(f"RUN: expected each {what} once, got {format_path(again[0])} twice")


def _merge_runs(runs: dict[str, Run]) -> Run:
    """Return the runs of shards as one run.

    runs: By the name of their file.

    Raises:
        UsageError: Two shards have the same test, or are of different commits or versions.
    """
    (first_name, first), *others = runs.items()
    for name, run in others:
        for key in SAME_META:
            if run.meta.get(key) != first.meta.get(key):
                raise UsageError(
                    f"{name}: expected the same {key} as {first_name} ({shorten_text(str(first.meta.get(key)), 100)}), "
                    f"got {shorten_text(str(run.meta.get(key)), 100)}: these are not shards of one run"
                )
    twice = [
        nodeid
        for nodeid, count in Counter(record.nodeid for run in runs.values() for record in run.records).items()
        if count > 1
    ]
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
    return Run(
        records=tuple(records),
        meta=first.meta,
        notes=tuple(dict.fromkeys(note for run in runs.values() for note in run.notes)),
    )


def merge_recordings(
    project: Mapping[str, Interaction],
    shards: Mapping[str, Mapping[str, Interaction]],
    *,
    replace: bool = False,
) -> list[Interaction]:
    """Return the recordings of a cassette with those that shards added.

    Args:
        project: The cassette as the shards began with it, by key.
        shards: The same cassette of each shard, by the shard's name.
        replace: A shard's answer replaces the project's where they differ.

    Raises:
        UsageError: Two shards have different answers to a request, or a shard and the project do.
    """
    merged = {key: dataclasses.replace(entry, answers=dict(entry.answers)) for key, entry in project.items()}
    holders: dict[tuple[str, str], str] = {}
    for shard, interactions in shards.items():
        for key, interaction in interactions.items():
            kept = merged.setdefault(key, dataclasses.replace(interaction, answers={})).answers
            if key in project:
                before = project[key].answers
            else:
                before = {}
            for take, answers in interaction.answers.items():
                new, old, now = (
                    list(map(_read_content, side))
                    for side in (answers, before.get(take, ()), kept.get(take, ()))
                )
                if new and new == now:  # asked again, and the same: the latest day counts
                    kept[take] = max(
                        kept[take], answers, key=lambda each: max(str(a.get("recorded", "")) for a in each)
                    )
                if new in (old[: len(new)], now[: len(new)]):
                    continue
                holder = holders.get((key, take), "")
                if now != new[: len(now)] and (holder or not replace):
                    raise UsageError(
                        f"{interaction.by} (key {key[:12]}, take {take}): expected one answer, got another of {shard} than of "
                        + (
                            f"{holder}: record what several shards ask in one job before the others"
                            if holder
                            else "the project; --replace takes the shard's"
                        )
                    )
                kept[take], holders[key, take] = answers, shard
    return list(merged.values())


def _read_content(wire: Mapping[str, Any]) -> Answer:
    """Return an answer without the time it took: the same answer twice is no contradiction."""
    from pytest_llmops.cassettes.request_key import answer_from_wire

    return dataclasses.replace(answer_from_wire(wire), latency_s=None, ttft_s=None, gap_s=None)


def _merge_cassettes(folders: Sequence[Path], project: Path, *, replace: bool) -> None:
    from pytest_llmops.cassettes import audit, store

    redactor = environment_redactor()
    cassettes: dict[str, dict[str, dict[str, Interaction]]] = {}
    for folder in folders:
        found = audit.audit_cassettes(folder, None, redactor=redactor)
        for problem in found.damaged:
            raise CassetteError(f"{format_path(folder)}: {problem.file}: {problem.why}; nothing is merged")
        for name in {*(file.file for file in found.files), *found.journals}:
            cassettes.setdefault(name, {})[format_path(folder)] = store.load_with_journals(folder / name)
    if not cassettes:
        raise UsageError(f"{', '.join(map(format_path, folders))}: expected cassettes, found none")

    def merge(name: str) -> list[Interaction]:
        try:
            return merge_recordings(store.load_cassette(project / name), cassettes[name], replace=replace)
        except UsageError as error:
            raise UsageError(f"{shorten_text(name, 300)}: {error}") from None

    for name in cassettes:  # one that does not fit stops all of them
        merge(name)
    for name in sorted(cassettes):
        store.rewrite_cassette(
            project / name,
            partial(merge, name),
            redactor,
            max([store.read_recording_day(place / name) for place in (project, *folders)]) or utc_today(),
        )
    print_line(f"  cassettes  {format_count(len(cassettes), 'file')} merged into {format_path(project)}")


def _append_summary(run: Run) -> None:
    """Append a run to the summary of a job of GitHub, as pytest does: the shards have none on the whole."""
    from pytest_llmops.harness.controller import mask_run_secrets
    from pytest_llmops.harness.terminal import append_summary

    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary and (read_ini(Path.cwd()) or (None, {}))[1].get("github") != "off":
        try:
            append_summary(mask_run_secrets(run), Path(summary))
        except OSError as error:  # nobody asked for it
            print_line(f"  report     {format_path(Path(summary))}: cannot be written: {error}")


def _merge(args: argparse.Namespace) -> int:
    from pytest_llmops.baselines.gate import describe_baseline, judge_suite
    from pytest_llmops.baselines.metric_data import GateRules
    from pytest_llmops.baselines.side_by_side import judge_variants
    from pytest_llmops.cli.baseline import load_project_baseline
    from pytest_llmops.reports.terminal import summary_lines

    _refuse_repeated(args.parts, "run file and folder of the shards")
    folders = [path for path in args.parts if path.is_dir()]
    runs = [path for path in args.parts if path not in folders]
    if bool(runs) != bool(args.out):
        raise UsageError(
            "-o FILE: expected with run files, and only with them: the merged run is written there"
        )
    check_reports("--out", args.out or (), {format_path(path): path for path in runs})
    if folders:
        _merge_cassettes(folders, Path.cwd(), replace=args.replace)
    if not runs:
        return 0
    shards = {format_path(path): read_run_file(path) for path in runs}
    run = _merge_runs(shards)
    run = dataclasses.replace(run, variants=judge_variants(run.records))
    stored = load_project_baseline(args.llm_baseline)
    if stored is not None:
        rules = GateRules(primary=stored.primary_metric)
        find = stored.find_outputs(run.records)
        name = describe_baseline(stored.baseline, stored.name)
        # Outputs of the baseline that shards found, which may have had the history of git where this command has not
        told = {
            change.nodeid: change.before_output
            for shard in shards.values()
            if shard.verdict and shard.verdict.baseline == name
            for change in shard.verdict.changes
            if change.before_output
        }
        verdict = judge_suite(
            stored.baseline,
            run.records,
            name=stored.name,
            rules=rules,
            find_output=lambda nodeid: told.get(nodeid) or find(nodeid),
        )
        run = dataclasses.replace(run, verdict=verdict)
    print_lines(line.text for line in summary_lines(run, width=120))
    write_reports(run, args.out)
    _append_summary(run)
    failed = any(record.outcome in ("failed", "errored") for record in run.records)
    failed |= any(variant.run_status for variant in run.variants)
    is_red = run.verdict is not None and run.verdict.fails(strict=args.llm_strict)
    if failed or is_red:
        return EXIT_PROBLEM
    return 0
