"""``llmops cassettes``: check, prune, show and import."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.cli.output import DIM, GREEN, RED, YELLOW, complain, painted, say, say_json
from pytest_llmops.errors import CassetteError, UsageError
from pytest_llmops.measurement import counted

if TYPE_CHECKING:
    from pytest_llmops.cassettes.audit import Audit, Stale, Told, Usage
    from pytest_llmops.cassettes.importers.convert import Imported
    from pytest_llmops.redaction.redactor import Redactor

RECORD = Path(".pytest_cache", "v", "llmops", "usage")
"""Where a run leaves what it used, below the root folder."""
NEXT_RUN = "pytest"


def add(groups: Any) -> None:
    """Declare the group's commands."""
    group = groups.add_parser(
        "cassettes",
        help="look after recordings",
        description="Check, prune, show and import recordings.",
        allow_abbrev=False,
    )
    group.set_defaults(helps=group)
    commands = group.add_subparsers(title="commands", metavar="COMMAND")
    _add_check(commands)
    _add_prune(commands)
    _add_show(commands)
    _add_import(commands)


def _command(commands: Any, name: str, summary: str, more: str = "") -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. {more}".strip(),
        allow_abbrev=False,
    )
    made.set_defaults(helps=made)
    return made


def _add_record(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--root",
        type=Path,
        metavar="FOLDER",
        help="root folder of the project (default: the nearest one above with the record of a run, no higher than "
        "the nearest with an ini file of pytest's or .git; else this one)",
    )
    command.add_argument(
        "--usage",
        type=Path,
        metavar="FILE",
        help=f"the record of a run (default: {RECORD.as_posix()} below the root)",
    )


def _add_check(commands: Any) -> None:
    command = _command(
        commands,
        "check",
        "look through the cassettes and say what is wrong with them",
        "Found are damaged files, secrets, answers that no test of the last run asked for, and files that no test uses. "
        "Nothing is changed.",
    )
    command.add_argument("path", type=Path, nargs="?", metavar="PATH", help="only this file or folder")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument("-q", "--quiet", action="store_true", help="leave out the list of sound files")
    _add_record(command)
    command.set_defaults(run=_check)


def _add_prune(commands: Any) -> None:
    command = _command(
        commands,
        "prune",
        "drop answers that no test asks for, and files that no test uses",
        "Needs the record of a complete and green run. What changed since, and what is damaged, is left alone and named.",
    )
    command.add_argument("--dry-run", action="store_true", help="only say what would be dropped")
    _add_record(command)
    command.set_defaults(run=_prune)


def _add_show(commands: Any) -> None:
    command = _command(commands, "show", "show what is in a cassette, in the order in which it was asked")
    command.add_argument("file", type=Path, metavar="FILE", help="a cassette")
    command.add_argument("--key", metavar="KEY", help="only the interaction whose key starts so, at length")
    command.set_defaults(run=_show)


def _add_import(commands: Any) -> None:
    command = _command(
        commands,
        "import",
        "turn cassettes of vcrpy, pytest-recording, pytest-vcr, cassetter and others into ours",
        "cassettes/test_a/test_x[id].yaml becomes cassettes/test_a/test_x/id.json; the source stays.",
    )
    command.add_argument("paths", type=Path, nargs="+", metavar="FILE_OR_FOLDER", help="what to read")
    command.add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        help="folder of cassettes to write to (default: the one a file lies in)",
    )
    command.add_argument(
        "--errors", action="store_true", help="take in answers like 401, 429 and 5xx, which are else left out"
    )
    command.add_argument("--force", action="store_true", help="replace cassettes that are there already")
    command.set_defaults(run=_import)


def _redactor() -> Redactor:
    from pytest_llmops.redaction.redactor import Redactor

    return Redactor.from_environment(os.environ)


def _root(given: argparse.Namespace, path: Path | None = None) -> Path:
    from pytest_llmops.cli.ini_files import find_project

    if given.root is not None:
        if not given.root.is_dir():
            raise UsageError(
                f"--root {given.root}: expected a folder, found none; say where the project lies"
            )
        return Path(os.path.abspath(given.root))  # noqa: PTH100 -- links stay as they are
    here = Path(os.path.abspath(path or Path()))  # noqa: PTH100
    here = here if here.is_dir() else here.parent
    base = Path.cwd() if here.is_relative_to(Path.cwd()) else here
    project = find_project(here) or base
    within = (one for one in (here, *here.parents) if one.is_relative_to(project))
    return next((one for one in within if (one / RECORD).is_file()), base)


def _usage(given: argparse.Namespace, root: Path) -> Usage | None:
    """Read the record of the last run; None if there is none.

    Raises:
        CassetteError: It is none.
        UsageError: There is none where the command line says.
    """
    from pytest_llmops.cassettes.audit import Usage

    path = given.usage or root / RECORD
    try:
        wire = json.loads(path.read_bytes())
    except FileNotFoundError:
        if given.usage is not None:
            raise UsageError(
                f"--usage {path}: expected a file, found none; a run of {NEXT_RUN} writes it"
            ) from None
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise CassetteError(
            f"the usage record {path} cannot be read: {error}; run {NEXT_RUN} again"
        ) from None
    return Usage.from_wire(wire)


def _check(given: argparse.Namespace) -> int:
    from pytest_llmops.cassettes.audit import audit

    within = Path(os.path.abspath(given.path)) if given.path is not None else None  # noqa: PTH100
    try:
        missing = within is not None and not within.exists()
    except PermissionError as error:
        raise CassetteError(str(error)) from None
    if missing:
        raise UsageError(f"{given.path}: expected a cassette or a folder, found none")
    root = _root(given, within)
    usage = _usage(given, root)
    found = audit(root, usage, within=within, redactor=_redactor())
    if given.json:
        _say_json(found, usage)
    else:
        _say_check(found, usage, quiet=given.quiet)
    return 0 if found.clean else 1


def _say_json(found: Audit, usage: Usage | None) -> None:
    from dataclasses import asdict

    run = None
    if usage is not None:
        run = {"created": usage.created, "complete": usage.complete, "green": usage.green, "root": usage.root}
    counts = {"cassettes": len(found.files), "interactions": sum(one.interactions for one in found.files)}
    files = [{**asdict(one), "age_days": _age(one.recorded)} for one in found.files]
    document = {
        "clean": found.clean,
        "run": run,
        **counts,
        "oldest": found.oldest,
        "oldest_age_days": _age(found.oldest),
        **asdict(found),
        "files": files,
    }
    say_json(document)


def _age(day: str) -> int | None:
    from datetime import UTC, date, datetime

    try:
        return (datetime.now(UTC).date() - date.fromisoformat(day)).days
    except ValueError:
        return None


def _shown_age(day: str) -> str:
    age = _age(day)
    return "unknown age" if age is None else counted(max(age, 0), "day")


def _say_check(found: Audit, usage: Usage | None, *, quiet: bool) -> None:
    if not quiet:
        for one in sorted(found.files, key=lambda one: (one.recorded, one.file)):
            amount = counted(one.interactions, "interaction")
            say(painted(f"  {_shown_age(one.recorded):>11}  {amount:>16}  {_path(one.file)}", DIM))
    for told in found.damaged:
        say(f"{painted('damaged', RED)}   {_line(told)}")
    for file in found.leaks:
        say(
            f"{painted('secret', RED)}    {_path(file)}: holds one; take it back at its vendor, and record again"
        )
    _say_stale(found.stale, "stale")
    for file in found.orphans:
        say(f"{painted('orphan', YELLOW)}    {_path(file)}: no test uses it")
    for told in found.unjudged:
        say(f"{painted('unjudged', DIM)}  {_line(told)}")
    for file in found.journals:
        say(
            f"{painted('waiting', YELLOW)}   {_path(file)}: answers of a run that was killed; the next recording run takes them in"
        )
    say(_verdict(found))
    say(_basis(found, usage))


def _say_stale(stale: tuple[Stale, ...], label: str, width: int = 10) -> None:
    for file in dict.fromkeys(one.file for one in stale):
        listed = [one for one in stale if one.file == file]
        keys = list(dict.fromkeys(one.key for one in listed))
        shown = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")  # noqa: PLR2004
        amount = counted(sum(one.n for one in listed), "answer")
        gap = " " * (width - len(label))
        say(f"{painted(label, YELLOW)}{gap}{_path(file)}: {amount} that no test asks for ({_plain(shown)})")


def _verdict(found: Audit) -> str:
    interactions = sum(one.interactions for one in found.files)
    total = f"{counted(len(found.files), 'cassette')}, {counted(interactions, 'interaction')}"
    if found.oldest:
        total += f", oldest recorded {found.oldest} ({_shown_age(found.oldest)})"
    problems = [
        f"{n:,} {name}"
        for n, name in (
            (len(found.damaged), "damaged"),
            (len(found.leaks), "with a secret"),
            (len({one.file for one in found.stale}), "with stale answers"),
            (len(found.orphans), "orphaned"),
        )
        if n
    ]
    verdict = painted(", ".join(problems), RED) if problems else painted("nothing to do", GREEN)
    return f"{total}: {verdict}"


def _basis(found: Audit, usage: Usage | None) -> str:
    if usage is None:
        return f"stale answers and orphans cannot be told: no record of a run here; run {NEXT_RUN}"
    if not found.judged:
        why = ", ".join(usage.partial_because) or "tests were left out"
        return f"orphans cannot be told: the run of {_plain(usage.created)} was partial ({_plain(why)}); run {NEXT_RUN}"
    clean = "" if usage.green else ", which was not green"
    hint = "; llmops cassettes prune drops them" if (found.stale or found.orphans) and usage.green else ""
    return f"judged by the run of {_plain(usage.created)}{clean}{hint}"


def _prune(given: argparse.Namespace) -> int:
    from pytest_llmops.cassettes.audit import prune

    root = _root(given)
    done = prune(root, _usage(given, root), dry_run=given.dry_run, redactor=_redactor())
    drop, remove = ("would drop", "would remove") if given.dry_run else ("dropped", "removed")
    for told in done.left:
        complain(f"left alone: {told.file}: {told.why}")
    width = len(remove) + 2
    _say_stale(done.dropped, drop, width)
    for file in done.removed:
        say(f"{painted(remove, YELLOW)}  {_path(file)}")
    answers = counted(sum(one.n for one in done.dropped), "stale answer")
    say(f"{drop} {answers}, {remove} {counted(len(done.removed), 'file')}")
    return 0


def _show(given: argparse.Namespace) -> int:
    from pytest_llmops.cli.cassette_show import show

    if not given.file.is_file():
        raise UsageError(f"{given.file}: expected a cassette, found none")
    for line in show(given.file, given.key or ""):
        say(line)
    return 0


def _import(given: argparse.Namespace) -> int:
    from pytest_llmops.cassettes.importers.convert import sources

    for path in given.paths:
        if not path.exists():
            raise UsageError(f"{path}: expected a file or a folder, found none")
    files = list(dict.fromkeys(one for path in given.paths for one in sources(path)))
    redactor = _redactor()
    taken: dict[Path, Path] = {}
    for source in files:
        try:
            done = _import_one(source, given, redactor, taken)
        except CassetteError as error:
            complain(str(error))
            continue
        left = [
            f"{counted(n, 'answer')} with status {status} left out" for status, n in done.left_out.items()
        ]
        summary = ", ".join([counted(done.interactions, "interaction"), *left])
        say(f"{_path(source)}: {summary} -> {_path(done.target)}")
    say(f"imported {len(taken):,} of {counted(len(files), 'file')}")
    return 0 if files and len(taken) == len(files) else 1


def _import_one(
    source: Path, given: argparse.Namespace, redactor: Redactor, taken: dict[Path, Path]
) -> Imported:
    from pytest_llmops.cassettes.importers.convert import bring_in, target_of

    target = target_of(source, given.to)
    if target in taken:
        raise CassetteError(
            f"cassette {source} would go where {taken[target]} went ({target}); import it alone, with another --to"
        )
    done = bring_in(source, target, redactor, errors=given.errors, force=given.force)
    taken[target] = source
    return done


def _line(told: Told) -> str:
    return f"{_path(told.file)}: {_plain(told.why, 500)}"


def _path(path: Path | str) -> str:
    return _plain(path.as_posix() if isinstance(path, Path) else path, 500)


def _plain(text: str, limit: int = 200) -> str:
    from pytest_llmops.measurement import shorten

    return shorten(text, limit)
