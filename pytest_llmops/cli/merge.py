"""``llmops merge``: the run files and cassettes of a CI matrix as one run; ``llmops report``: the reports of a run, or of runs over time."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.cli.common import (
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
from pytest_llmops.measurement import Json, format_count, quoted, shorten_text
from pytest_llmops.results.details import as_list, as_mapping, fact_text, read_time
from pytest_llmops.results.kept_media import limit_media
from pytest_llmops.results.run import Run, decide_exit_status

if TYPE_CHECKING:
    from datetime import datetime

    from pytest_llmops.baselines.conclusion import Reference
    from pytest_llmops.cassettes.request_key import Answer
    from pytest_llmops.cassettes.store import Interaction
    from pytest_llmops.results.call_sequences import CallSequence
    from pytest_llmops.results.verdict import CaseChange

# Keys of ``meta`` that must be equal in all shards of a run. Settings may differ: each shard has its own report
SAME_META = ("commit", "versions")


def add_merge_group(groups: Any) -> None:
    """Declare the commands ``merge`` and ``report``."""
    _declare_merge(groups)
    _declare_report(groups)


def _declare_merge(groups: Any) -> None:
    command = add_command(
        groups,
        "merge",
        _merge,
        "join the run files of shards, and compare the whole with the baseline, or join their cassettes",
        "Each shard writes --llm-report=run-N.json. If a folder is given, a shard's copy of the project, its cassettes and journals are merged into the project in the working folder: all of them, or none if two shards recorded the same request differently.",
    )
    command.add_argument(
        "parts",
        nargs="+",
        type=Path,
        metavar="RUN|FOLDER",
        help="run files, or copies of the project, of the shards",
    )
    _add_out_argument(command, required=False)
    command.add_argument(
        "--replace",
        action="store_true",
        help="an answer of a shard replaces the project's answer (after --llm-record=all)",
    )
    command.add_argument(
        "--llm-baseline", default="", metavar="FILE|GITREF", help="default: the project's baseline"
    )
    command.add_argument("--llm-strict", action="store_true", help="an AMBER verdict ends with 1")


def _declare_report(groups: Any) -> None:
    command = add_command(
        groups,
        "report",
        _report,
        "make reports of a run file, or a page of several over time",
        "Tests do not run, and models are not called. For several runs of a suite the .html shows the newest, and the others over time.",
    )
    command.add_argument("files", nargs="+", type=Path, metavar="RUN", help="of --llm-report=run.json")
    _add_out_argument(command, required=True)


def _add_out_argument(command: argparse.ArgumentParser, *, required: bool) -> None:
    command.add_argument(
        "-o",
        "--out",
        action="append",
        required=required,
        metavar="[KIND:]FILE",
        help="as of --llm-report: .html, .md, .json, codequality:FILE, otlp:URL ..., and .xml of JUnit (repeatable)",
    )


def _report(args: argparse.Namespace) -> int:
    """Write the reports of the newest run; formats that show several runs over time get the earlier ones too."""
    _refuse_repeated(args.files, "run file")
    inputs = {format_path(path): path for path in args.files}
    reports = check_reports("--out", args.out, inputs)
    singles = [report.name for report in reports if not report.format.shows_history]
    if len(args.files) > 1 and singles:
        report_name = shorten_text(singles[0])
        raise UsageError(
            f"--out: expected .html, which shows {len(args.files)} runs over time, got {report_name}: make it of "
            "one run file, or of shards with llmops merge"
        )
    runs = {format_path(path): read_run_file(path) for path in args.files}
    *earlier, run = _order_runs(runs)
    write_reports(run, reports, earlier)
    return 0


def _order_runs(runs: Mapping[str, Run]) -> list[Run]:
    """Return runs of one suite, the oldest first. The newest gets a note if others did not run the same tests.

    Args:
        runs: The runs by the name of their file; at least one. A single run needs no time.

    Raises:
        UsageError: A run has no time, two ran at the same time, or one has no test in common with the newest.
    """
    if len(runs) == 1:
        return [*runs.values()]
    names = _sort_by_time(runs)
    *earlier, last = names
    tests = {}
    for name, run in runs.items():
        tests[name] = {record.nodeid for record in run.records}
    last_tests = tests[last]
    for name in earlier:
        if tests[name] and last_tests and last_tests.isdisjoint(tests[name]):
            raise UsageError(
                f"{name}: expected a run of the same suite as {last}, the newest, got no test in common with it: leave it out; "
                "shards of one run are joined by llmops merge"
            )
    newest = runs[last]
    unlike = [name for name in earlier if tests[name] != tests[last]]
    if unlike:
        amount = format_count(len(unlike), "earlier run")
        names_text = ", ".join(unlike)
        note = (
            f"over time: {amount} did not run the same tests as this one, so that means may "
            f"move without a change of quality: {names_text}"
        )
        newest = dataclasses.replace(newest, notes=(*newest.notes, note))
    return [*(runs[name] for name in earlier), newest]


def _sort_by_time(runs: Mapping[str, Run]) -> list[str]:
    """Return the names of runs, the oldest first.

    Raises:
        UsageError: A run has no time, or two ran at the same time.
    """
    names: dict[datetime, str] = {}
    for name, run in runs.items():
        created = run.meta.get("created")
        time = read_time(created)
        if time is None:
            got = quoted(created)
            raise UsageError(
                f"{name}: $.meta.created: expected when the run ended (2026-01-31T12:00:00+00:00), got "
                f"{got}: without it the run has no place among the others; leave it out"
            )
        if time in names:
            got = shorten_text(str(created), 80)
            raise UsageError(
                f"{name}: expected another time than the one of {names[time]}, got {got} again: leave out "
                "a copy; shards of one run are joined by llmops merge"
            )
        names[time] = name
    return [names[time] for time in sorted(names)]


def _refuse_repeated(paths: Sequence[Path], what: str) -> None:
    """Check that no file or folder of the command line is given twice.

    Raises:
        UsageError: One is; the error calls it ``what``.
    """
    counts = Counter(path.resolve() for path in paths)
    for path, count in counts.items():
        if count > 1:
            raise UsageError(f"RUN: expected each {what} once, got {format_path(path)} twice")


def _merge_runs(runs: dict[str, Run]) -> Run:
    """Return the runs of shards as one run, without verdicts. Its meta (settings, time) comes from the first shard.

    Args:
        runs: The runs by the name of their file; at least one.

    Raises:
        UsageError: Two shards have the same test, or are of different commits or versions.
    """
    (first_name, first), *others = runs.items()
    for name, run in others:
        for key in SAME_META:
            if run.meta.get(key) != first.meta.get(key):
                expected = shorten_text(str(first.meta.get(key)), 100)
                got = shorten_text(str(run.meta.get(key)), 100)
                raise UsageError(
                    f"{name}: expected the same {key} as {first_name} ({expected}), "
                    f"got {got}: these are not shards of one run"
                )
    holders: dict[str, list[str]] = {}
    for name, run in runs.items():
        for record in run.records:
            holders.setdefault(record.nodeid, []).append(name)
    twice = [nodeid for nodeid, names in holders.items() if len(names) > 1]
    if twice:
        names = ", ".join(dict.fromkeys(holders[twice[0]]))
        amount = format_count(len(twice), "test")
        example = shorten_text(twice[0], 200)
        raise UsageError(
            f"{amount} ran in several shards ({example} in {names}): "
            "split the suite so that each test runs once"
        )
    records = [record for run in runs.values() for record in run.records]
    notes = _merge_notes([*runs.values()])
    records.sort(key=lambda record: record.nodeid)
    meta = _merge_meta([*runs.values()])
    if any(notes.values()):
        meta["doubts"] = sum(notes.values())
    return Run(records=limit_media(records), meta=meta, notes=tuple(notes))


def _merge_notes(runs: Sequence[Run]) -> dict[str, bool]:
    """Return the notes of all shards, each once, notes that make the result less reliable first; the value is whether a note does."""
    doubts: dict[str, bool] = {}
    others: dict[str, bool] = {}
    for run in runs:
        number = run.meta.get("doubts")
        count = number if isinstance(number, int) else 0
        doubts |= dict.fromkeys(run.notes[:count], True)
        others |= dict.fromkeys(run.notes[count:], False)
    return doubts | {note: False for note in others if note not in doubts}


def _merge_meta(runs: Sequence[Run]) -> dict[str, Json]:
    """Return the facts of the runs of shards: the facts of the first, with the plain pytest tests and the broken modules of all."""
    meta = dict(runs[0].meta)
    other_tests: Counter[str] = Counter()
    errors: dict[str, Json] = {}  # by module: each shard collects all of them
    for run in runs:
        for outcome, number in as_mapping(run.meta.get("other_tests")).items():
            if isinstance(number, int):
                other_tests[outcome] += number
        for error in as_list(run.meta.get("collection_errors")):
            module = fact_text(as_mapping(error).get("module"))
            errors.setdefault(module, error)
    if other_tests:
        meta["other_tests"] = dict(other_tests)
    if errors:
        meta["collection_errors"] = [*errors.values()]
    return meta


def merge_recordings(
    project: Mapping[str, Interaction],
    shards: Mapping[str, Mapping[str, Interaction]],
    *,
    replace: bool = False,
) -> list[Interaction]:
    """Return the interactions of a cassette, merged from the project and the shards.

    An interaction has a list of answers for each take, that is for each trial of a test. A shard may have as many answers as the
    project, fewer, or more; the longer list is taken if it begins with the shorter one. Otherwise they contradict each other.

    Args:
        project: The cassette as it was before the shards ran, by key.
        shards: The same cassette of each shard, by the name of the shard.
        replace: An answer of a shard replaces the project's if they differ.

    Raises:
        UsageError: Two shards, or a shard and the project, have different answers to a request.
    """
    merged = {}
    for key, entry in project.items():
        merged[key] = dataclasses.replace(entry, answers=dict(entry.answers))
    holders: dict[tuple[str, str], str] = {}  # the shard that changed a take, by key and take
    for shard, interactions in shards.items():
        for key, interaction in interactions.items():
            kept = merged.setdefault(key, dataclasses.replace(interaction, answers={})).answers
            before = project[key].answers if key in project else {}
            for take, answers in interaction.answers.items():
                new = list(map(_read_content, answers))
                old = list(map(_read_content, before.get(take, ())))
                now = list(map(_read_content, kept.get(take, ())))
                if new and new == now:  # recorded again with the same result: the latest day counts
                    kept[take] = max(kept[take], answers, key=_latest_day)
                count = len(new)
                if new in (
                    old[:count],
                    now[:count],
                ):  # nothing that the project or another shard does not have
                    continue
                holder = holders.get((key, take), "")
                is_other = now != new[: len(now)]
                if is_other and (holder or not replace):
                    request = f"{interaction.by} (key {key[:12]}, take {take})"
                    raise UsageError(_describe_contradiction(request, shard, holder))
                kept[take] = answers
                holders[key, take] = shard
    return list(merged.values())


def _latest_day(answers: Iterable[Mapping[str, Any]]) -> str:
    """Return the latest day on which one of the answers was recorded; there is at least one answer."""
    return max(str(answer.get("recorded", "")) for answer in answers)


def _describe_contradiction(request: str, shard: str, holder: str) -> str:
    """Return the error text for two different answers to a request; the first comes from ``holder``, a shard or "" (the project)."""
    if holder:
        other = f"{holder}: record what several shards ask in one job before the others"
    else:
        other = "the project; --replace uses the shard's"
    return f"{request}: expected one answer, got another of {shard} than of {other}"


def _read_content(wire: Mapping[str, Any]) -> Answer:
    """Return a stored answer without its times, so that equal answers that took unequally long are equal."""
    from pytest_llmops.cassettes.request_key import answer_from_wire

    answer = answer_from_wire(wire)
    return dataclasses.replace(answer, latency_s=None, ttft_s=None, gap_s=None, started_s=None)


def _merge_cassettes(folders: Sequence[Path], project: Path, *, replace: bool) -> None:
    """Merge the cassettes and journals of shards into the project's, all or none.

    Args:
        folders: A copy of the project for each shard.
        project: The folder of the project.
        replace: See `merge_recordings`.

    Raises:
        CassetteError: A cassette is damaged.
        UsageError: No cassettes exist, or answers contradict each other.
    """
    from pytest_llmops.cassettes import audit, store

    redactor = environment_redactor()
    cassettes: dict[str, dict[str, dict[str, Interaction]]] = {}
    for folder in folders:
        audited = audit.audit_cassettes(folder, None, redactor=redactor)
        for problem in audited.damaged:
            place = f"{format_path(folder)}: {problem.file}"
            raise CassetteError(f"{place}: {problem.why}; nothing is merged")
        for name in {*(file.file for file in audited.files), *audited.journals}:
            shards = cassettes.setdefault(name, {})
            shards[format_path(folder)] = store.load_with_journals(folder / name)
    if not cassettes:
        raise UsageError(f"{', '.join(map(format_path, folders))}: expected cassettes, found none")

    def merge(name: str) -> list[Interaction]:
        try:
            return merge_recordings(store.load_cassette(project / name), cassettes[name], replace=replace)
        except UsageError as error:
            raise UsageError(f"{shorten_text(name, 300)}: {error}") from None

    for name in cassettes:  # a trial run: an error here leaves all files as they are
        merge(name)
    for name in sorted(cassettes):
        days = [store.read_recording_day(place / name) for place in (project, *folders)]
        day = max(days) or utc_today()
        store.rewrite_cassette(project / name, partial(merge, name), redactor, day)
    amount = format_count(len(cassettes), "file")
    print_line(f"  cassettes  {amount} merged into {format_path(project)}")


def _append_summary(run: Run) -> bool:
    """Append the merged run to the job summary of GitHub Actions, and return whether there is one.

    The summaries of the shards only cover their own tests.
    """
    from pytest_llmops.harness.terminal import append_summary
    from pytest_llmops.results.secrets import mask_run_secrets

    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if not summary:
        return False
    _, values = read_ini(Path.cwd()) or (None, {})
    if values.get("github") == "off":
        return False
    try:
        append_summary(mask_run_secrets(run), Path(summary))
    except OSError as error:  # not an error of the command: the summary was not requested
        print_line(f"report    {format_path(Path(summary))}: cannot be written: {error}")
        return False
    return True


def _merge(args: argparse.Namespace) -> int:
    """Merge cassettes of folders and run files of shards, print the merged run, and return its exit status."""
    from pytest_llmops.baselines.conclusion import conclude

    _refuse_repeated(args.parts, "run file and folder of the shards")
    folders = [path for path in args.parts if path.is_dir()]
    files = [path for path in args.parts if path not in folders]
    if bool(files) != bool(args.out):
        raise UsageError(
            "-o FILE: expected with run files, and only with them: the merged run is written there"
        )
    inputs = {format_path(path): path for path in files}
    reports = check_reports("--out", args.out or (), inputs)
    if folders:
        _merge_cassettes(folders, Path.cwd(), replace=args.replace)
    if not files:
        return 0
    shards = {format_path(path): read_run_file(path) for path in files}
    run = _merge_runs(shards)
    if args.llm_strict:
        settings = {**as_mapping(run.meta.get("settings")), "strict": True}
        run = dataclasses.replace(run, meta={**run.meta, "settings": settings})
    reference = _find_reference(args.llm_baseline, run, list(shards.values()))
    run = conclude(run, reference)
    write_reports(run, reports)
    _print_run(run, [str(name) for name in args.out or ()], has_job_summary=_append_summary(run))
    return decide_exit_status(run)


def _print_run(run: Run, names: Sequence[str], *, has_job_summary: bool) -> None:
    """Print the merged run as pytest would, with its failures, which only the shards have printed.

    Args:
        run: The run.
        names: The reports that were written.
        has_job_summary: The summary of the CI job has the run too.
    """
    from pytest_llmops.reports.terminal import Surroundings, build_section, describe_more

    more = describe_more(names, verbosity=0, has_job_summary=has_job_summary).removeprefix("-v, or ")
    if more == "-v":  # not an option of this command
        more = ""
    around = Surroundings(more=more, lists_failures=False)
    width = 0
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
    section = build_section(run, around, width=width)
    if section.lines:
        print_lines(["", f"== {section.title} ==", *(line.text for line in section.lines)])


def _find_reference(given: str, run: Run, shards: Sequence[Run]) -> Reference | None:
    """Return the baseline with which the merged run is compared; None: there is none.

    Outputs and calls of the baseline that the shards found are used too: they may have had the git history, which a CI job that only
    merges often has not.
    """
    from pytest_llmops.baselines.gate import describe_baseline
    from pytest_llmops.cli.baseline import load_project_baseline

    stored = load_project_baseline(given)
    if stored is None:
        return None
    reference = stored.make_reference(run.records)
    description = describe_baseline(stored.baseline, stored.name)
    known: dict[str, CaseChange] = {}  # by node id, from shards with the same baseline
    for shard in shards:
        verdict = shard.find_verdict("baseline")
        if verdict is not None and verdict.baseline == description:
            known |= {change.nodeid: change for change in verdict.changes}

    def find_output(nodeid: str) -> str | None:
        if nodeid in known and known[nodeid].before_output:
            return known[nodeid].before_output
        return reference.find_output(nodeid)

    def find_calls(nodeid: str) -> tuple[CallSequence, ...]:
        if nodeid in known and known[nodeid].before_calls:
            return known[nodeid].before_calls
        return reference.find_calls(nodeid)

    return dataclasses.replace(reference, find_output=find_output, find_calls=find_calls)
