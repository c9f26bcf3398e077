"""``llmops cassettes``: check, move, prune, show and import."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.cli.common import (
    DIM,
    EXIT_PROBLEM,
    GREEN,
    RED,
    YELLOW,
    add_command,
    add_group,
    colour_text,
    environment_redactor,
    find_project_root,
    format_path,
    print_error,
    print_json,
    print_line,
    print_lines,
)
from pytest_llmops.errors import CassetteError, UsageError, format_error
from pytest_llmops.measurement import format_count, shorten_text

if TYPE_CHECKING:
    from pytest_llmops.cassettes.audit import AuditResult, StaleAnswers
    from pytest_llmops.cassettes.usage_record import RunUsage

MAX_KEYS = 3  # keys of stale answers that a line names
# File below the root folder in which a run records which recorded answers it used: the "record of a run"
USAGE_RECORD = Path(".pytest_cache", "v", "llmops", "usage")


def _find_root(args: argparse.Namespace, path: Path | None = None) -> Path:
    """Return the root folder of the project: ``--root``, else the nearest folder with the record of a run.

    This is searched from the path (default: the working folder) up to the folder of the project. If no run left a record, it is
    the working folder, or the folder of a path outside of it.

    Raises:
        UsageError: ``--root`` names no folder.
    """
    if args.root is not None:
        if not args.root.is_dir():
            raise UsageError(
                f"--root {args.root}: expected a folder, found none; name the root folder of the project"
            )
        return Path(os.path.abspath(args.root))  # noqa: PTH100 -- links stay as they are
    start = Path(os.path.abspath(path or Path()))  # noqa: PTH100
    if not start.is_dir():
        start = start.parent
    default = start
    if start.is_relative_to(Path.cwd()):
        default = Path.cwd()
    project = find_project_root(start) or default
    for folder in (start, *start.parents):
        if folder.is_relative_to(project) and (folder / USAGE_RECORD).is_file():
            return folder
    return default


def _read_usage(args: argparse.Namespace, root: Path) -> RunUsage | None:
    """Return the record of a run: the file of ``--usage``, else the one below the root; None if that does not exist.

    Raises:
        UsageError: The file of ``--usage`` is missing.
        CassetteError: The record is damaged.
    """
    from pytest_llmops.cassettes.usage_record import RunUsage

    path = args.usage or root / USAGE_RECORD
    try:
        wire = json.loads(path.read_bytes())
    except FileNotFoundError:
        if args.usage is not None:
            raise UsageError(
                f"--usage {path}: expected a file, found none; a run of pytest writes it"
            ) from None
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise CassetteError(f"the usage record {path} cannot be read: {error}; run pytest again") from None
    return RunUsage.from_wire(wire)


def _check_cassettes(args: argparse.Namespace) -> int:
    from pytest_llmops.cassettes.audit import audit_cassettes

    within = None
    if args.path is not None:
        within = Path(os.path.abspath(args.path))  # noqa: PTH100 -- links stay as they are
        if not _exists(within):
            raise UsageError(f"{args.path}: expected a cassette or a folder, found none")
    root = _find_root(args, within)
    usage = _read_usage(args, root)
    result = audit_cassettes(root, usage, within=within, redactor=environment_redactor())
    if args.json:
        print_json(_describe_check(result, usage))
    else:
        _print_check(result, usage, quiet=args.quiet)
    if result.clean:
        return 0
    return EXIT_PROBLEM


def _exists(path: Path) -> bool:
    """Return whether a file or folder exists.

    Raises:
        CassetteError: A folder of the path must not be entered.
    """
    try:
        return path.exists()
    except PermissionError as error:
        raise CassetteError(str(error)) from None


def _describe_check(result: AuditResult, usage: RunUsage | None) -> dict[str, Any]:
    """Return the document that is printed with ``--json``."""
    run = None
    if usage:
        run = {name: getattr(usage, name) for name in ("created", "complete", "green", "root")}
    files = [{**asdict(file), "age_days": _age_in_days(file.recorded)} for file in result.files]
    interactions = sum(file.interactions for file in result.files)
    return {
        "clean": result.clean,
        "run": run,
        "cassettes": len(result.files),
        "interactions": interactions,
        "oldest": result.oldest,
        "oldest_age_days": _age_in_days(result.oldest),
        **asdict(result),
        "files": files,
    }


def _age_in_days(day: str) -> int | None:
    """Return the days since an ISO date; None if the text is not a date."""
    from datetime import UTC, date, datetime

    try:
        return (datetime.now(UTC).date() - date.fromisoformat(day)).days
    except ValueError:
        return None


def _format_age(day: str) -> str:
    age = _age_in_days(day)
    if age is None:
        return "unknown age"
    return format_count(max(age, 0), "day")


def _print_check(result: AuditResult, usage: RunUsage | None, *, quiet: bool) -> None:
    """Print the cassettes, the oldest first (unless ``quiet``), the findings, the totals, and which run they are based on."""
    if not quiet:
        for cassette in sorted(result.files, key=lambda cassette: (cassette.recorded, cassette.file)):
            age = _format_age(cassette.recorded)
            amount = format_count(cassette.interactions, "interaction")
            row = f"  {age:>11}  {amount:>16}  {format_path(cassette.file)}"
            print_line(colour_text(row, DIM))
    for problem in result.damaged:
        _print_finding("damaged", RED, problem.file, shorten_text(problem.why, 500))
    for file in result.leaks:
        _print_finding("secret", RED, file, "contains a secret; revoke it, and record again")
    for file, what in _describe_stale(result.stale):
        _print_finding("stale", YELLOW, file, what)
    for file in result.orphans:
        _print_finding("orphan", YELLOW, file, "no test uses it")
    for problem in result.unjudged:
        _print_finding("unjudged", DIM, problem.file, shorten_text(problem.why, 500))
    for file in result.journals:
        what = "answers of a run that was killed; the next recording run adds them"
        _print_finding("waiting", YELLOW, file, what)
    _print_totals(result)
    print_line(_describe_usage(result, usage))


def _describe_stale(stale: Sequence[StaleAnswers]) -> Iterator[tuple[str, str]]:
    """Yield each file with stale answers, and a text with their number and first keys."""
    by_file: dict[str, list[StaleAnswers]] = {}
    for entry in stale:
        by_file.setdefault(entry.file, []).append(entry)
    for file, entries in by_file.items():
        keys = list(dict.fromkeys(entry.key for entry in entries))
        keys_text = ", ".join(keys[:MAX_KEYS])
        if len(keys) > MAX_KEYS:
            keys_text += f" and {len(keys) - MAX_KEYS} more"
        amount = format_count(sum(entry.n for entry in entries), "answer")
        yield file, f"{amount} that no test uses ({shorten_text(keys_text)})"


def _print_finding(label: str, colour: str, file: str, what: str, width: int = 10) -> None:
    """Print a line on a file; ``width`` is the width of the column of coloured labels."""
    gap = " " * (width - len(label))
    heading = colour_text(label, colour) + gap
    print_line(f"{heading}{format_path(file)}: {what}")


def _print_totals(result: AuditResult) -> None:
    """Print how many cassettes and interactions there are, and the number of each kind of problem."""
    interactions = sum(file.interactions for file in result.files)
    cassettes = format_count(len(result.files), "cassette")
    total = f"{cassettes}, {format_count(interactions, 'interaction')}"
    if result.oldest:
        total += f", oldest recorded {result.oldest} ({_format_age(result.oldest)})"
    stale_files = {entry.file for entry in result.stale}
    counts = {
        "damaged": len(result.damaged),
        "with a secret": len(result.leaks),
        "with stale answers": len(stale_files),
        "orphaned": len(result.orphans),
    }
    problems = [f"{count:,} {name}" for name, count in counts.items() if count]
    verdict = colour_text("nothing to do", GREEN)
    if problems:
        verdict = colour_text(", ".join(problems), RED)
    print_line(f"{total}: {verdict}")


def _describe_usage(result: AuditResult, usage: RunUsage | None) -> str:
    """Return the last line of a check: on which run stale answers and orphans are based, or why they are not known."""
    if usage is None:
        return "stale answers and orphans are unknown: no record of a run here; run pytest"
    if not result.judged:
        why = ", ".join(usage.partial_because) or "tests were left out"
        return f"orphans are unknown: the run of {shorten_text(usage.created)} was partial ({shorten_text(why)}); run pytest"
    basis = f"based on the run of {shorten_text(usage.created)}"
    if not usage.green:
        return f"{basis}, which was not green"
    if result.stale or result.orphans:
        return f"{basis}; llmops cassettes prune drops them"
    return basis


def _prune_cassettes(args: argparse.Namespace) -> int:
    from pytest_llmops.cassettes.prune import prune_cassettes

    root = _find_root(args)
    done = prune_cassettes(
        root, _read_usage(args, root), dry_run=args.dry_run, redactor=environment_redactor()
    )
    dropped = "dropped"
    removed = "removed"
    if args.dry_run:
        dropped = "would drop"
        removed = "would remove"
    for problem in done.left:
        print_error(f"kept: {problem.file}: {problem.why}")
    for file, what in _describe_stale(done.dropped):
        _print_finding(dropped, YELLOW, file, what, len(removed) + 2)
    for file in done.removed:
        print_line(f"{colour_text(removed, YELLOW)}  {format_path(file)}")
    answers = format_count(sum(entry.n for entry in done.dropped), "stale answer")
    files = format_count(len(done.removed), "file")
    print_line(f"{dropped} {answers}, {removed} {files}")
    return 0


def _move_cassettes(args: argparse.Namespace) -> int:
    from pytest_llmops.cassettes import display_path
    from pytest_llmops.cassettes.recordings import move_cassette

    moves = _list_moves(args)
    for old, places in moves:
        count = move_cassette(old, places, environment_redactor())
        for new in places:
            amount = format_count(count, "interaction")
            old_path = format_path(display_path(old))
            new_path = format_path(display_path(new))
            print_line(f"{old_path}: {amount} -> {new_path}")
    print_line(f"moved {format_count(len(moves), 'cassette')}")
    return 0


def _list_moves(args: argparse.Namespace) -> list[tuple[Path, list[Path]]]:
    """Return each cassette to move with its new paths.

    With OLD and NEW on the command line it is this pair. Without them it is the list of the last run's record. A
    cassette has several new paths if several tests replayed it.

    Raises:
        UsageError: The command line names another number of files, NEW does not end in .json, or the record is missing.
    """
    if args.files:
        if len(args.files) != 2 or args.files[1].suffix != ".json":  # noqa: PLR2004 -- from and to
            got = " ".join(map(format_path, args.files))
            raise UsageError(f"cassettes move: expected OLD and NEW, two cassettes (.json), got {got}")
        old, new = args.files
        return [(old, [new])]
    root = _find_root(args)
    usage = _read_usage(args, root)
    if usage is None:
        raise UsageError(
            "nothing is moved: no record of a run was found; run all tests until they pass: pytest"
        )
    moves = []
    for old_name, places in usage.moved.items():
        moves.append((root / old_name, [root / place for place in places]))
    return moves


def _show_cassette(args: argparse.Namespace) -> int:
    from pytest_llmops.cli.cassette_show import format_cassette

    if not args.file.is_file():
        raise UsageError(f"{args.file}: expected a cassette, found none")
    print_lines(format_cassette(args.file, args.key or ""))
    return 0


def _import_cassettes(args: argparse.Namespace) -> int:
    """Import all files, and return the exit status; a file that cannot be imported does not stop the others."""
    from pytest_llmops.cassettes.importers import find_sources, import_cassette, target_path

    for path in args.paths:
        if not path.exists():
            raise UsageError(f"{path}: expected a file or a folder, found none")
    sources = [source for path in args.paths for source in find_sources(path)]
    sources = list(dict.fromkeys(sources))
    imported: dict[Path, Path] = {}
    for source in sources:
        try:
            target = target_path(source, args.to)
            if target in imported:
                raise CassetteError(  # noqa: TRY301 -- printed like the importer's own errors
                    f"cassette {source} would go where {imported[target]} went ({target}); import it by itself, with another --to"
                )
            result = import_cassette(
                source, target, environment_redactor(), errors=args.errors, force=args.force
            )
        except CassetteError as error:
            print_error(format_error(error))
            continue
        imported[target] = source
        parts = [format_count(result.interactions, "interaction")]
        for status, count in result.left_out.items():
            parts.append(f"{format_count(count, 'answer')} with status {status} left out")
        summary = ", ".join(parts)
        print_line(f"{format_path(source)}: {summary} -> {format_path(result.target)}")
    files = format_count(len(sources), "file")
    print_line(f"imported {len(imported):,} of {files}")
    if sources and len(imported) == len(sources):
        return 0
    return EXIT_PROBLEM


def add_cassettes_group(groups: Any) -> None:
    """Declare the group's commands."""
    commands = add_group(groups, "cassettes", "check, move, prune, show and import recordings")
    _declare_check(commands)
    _declare_prune(commands)
    _declare_move(commands)
    _declare_show(commands)
    _declare_import(commands)


def _declare_check(commands: Any) -> None:
    command = add_command(
        commands,
        "check",
        _check_cassettes,
        "check the cassettes and report problems",
        "Reports damaged files, secrets, answers that no test of the last run requested, and files that no test uses. Nothing is changed. Exit status 1: there are problems.",
    )
    command.add_argument("path", type=Path, nargs="?", metavar="PATH", help="only this file or folder")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument("-q", "--quiet", action="store_true", help="do not list files without problems")
    _add_project_arguments(command)


def _declare_prune(commands: Any) -> None:
    command = add_command(
        commands,
        "prune",
        _prune_cassettes,
        "delete answers that no test requests, and files that no test uses",
        "Needs the record of a complete and green run. Files that changed since then, or are damaged, stay and are listed.",
    )
    command.add_argument("--dry-run", action="store_true", help="only show the answers and files to delete")
    _add_project_arguments(command)


def _declare_move(commands: Any) -> None:
    command = add_command(
        commands,
        "move",
        _move_cassettes,
        "move the recordings of renamed tests to their new place",
        "Without arguments it moves the recordings that the last run found in cassettes of deleted tests. Recordings that are already in the new place stay.",
    )
    command.add_argument(
        "files", type=Path, nargs="*", metavar="OLD NEW", help="move this cassette to that place"
    )
    _add_project_arguments(command)


def _declare_show(commands: Any) -> None:
    command = add_command(
        commands,
        "show",
        _show_cassette,
        "show the content of a cassette",
    )
    command.add_argument("file", type=Path, metavar="FILE", help="a cassette")
    command.add_argument(
        "--key", metavar="KEY", help="only interactions whose key starts with this, at length"
    )


def _declare_import(commands: Any) -> None:
    command = add_command(
        commands,
        "import",
        _import_cassettes,
        "convert cassettes of vcrpy, pytest-recording, pytest-vcr, langchain-tests and Ruby's VCR",
        "cassettes/test_a/test_x[id].yaml becomes cassettes/test_a/test_x/id.json. The source stays.",
    )
    command.add_argument("paths", type=Path, nargs="+", metavar="FILE_OR_FOLDER", help="what to read")
    command.add_argument(
        "--to", type=Path, metavar="FOLDER", help="folder to write to (default: the folder of each file)"
    )
    command.add_argument(
        "--errors", action="store_true", help="also import answers with status 401, 429, 5xx and the like"
    )
    command.add_argument("--force", action="store_true", help="replace existing cassettes")


def _add_project_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--root",
        type=Path,
        metavar="FOLDER",
        help="root folder of the project (default: the nearest folder above with the record of a run, up to the nearest with a configuration file of pytest or .git, otherwise this folder)",
    )
    command.add_argument(
        "--usage",
        type=Path,
        metavar="FILE",
        help=f"the record of a run (default: {USAGE_RECORD.as_posix()} below the root)",
    )
