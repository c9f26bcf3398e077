"""``llmops prompts alias|rollback|log``: move aliases with a reason, and show how they moved."""

import argparse
import datetime as dt
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from pytest_llmops._util.git import run_git
from pytest_llmops._util.text_files import BadFile, as_mapping, read_json_lines, read_text
from pytest_llmops.cli.commands import refuse_options
from pytest_llmops.cli.files import lock_file, write_output_file
from pytest_llmops.cli.prompts import open_prompts, print_result
from pytest_llmops.errors import PromptError
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.prompts import Prompts
from pytest_llmops.prompts.registry import ALIASES_FILE

LOG_FILE = "aliases.log"


def move_alias(prompts: Prompts, name: str, alias: str, version: str, reason: str) -> Mapping[str, Json]:
    """Let an alias mean another version, and write down why; other processes that move one of the prompt's wait.

    Args:
        prompts: The prompts of a folder.
        name: The prompt.
        alias: The alias; it may be new.
        version: A version or alias; ``""``: what the alias meant before its last move (a rollback).
        reason: A sentence for whoever reads the log; secrets in it are masked.

    Returns:
        What was written into the log: ``at`` (UTC), ``alias``, ``old``, ``new`` and ``reason``.

    Raises:
        UsageError: An argument is wrong, there is nothing to roll back to, or a file is damaged or cannot be written.
    """
    from pytest_llmops.redaction.redactor import Redactor

    is_bad = not re.fullmatch("[A-Za-z0-9_-]+", alias) or alias in prompts.versions(name)
    refuse_options(
        {
            f"an alias moves in the working tree: expected no @, got {name!r} and {version!r}": "@"
            in name + version,
            "--reason: expected a sentence, got none": not reason.strip(),
            f"expected an alias of letters, digits, _ and -, that no version has, got {shorten_text(alias, 80)!r}": is_bad,
        }
    )
    path, log = (prompts.find_file(name, file) for file in (ALIASES_FILE, LOG_FILE))
    with lock_file(path):
        aliases, moves = prompts.aliases(name), read_moves(log)
        old = aliases.get(alias, "")
        before = [move.get(end) for move in moves if move.get("alias") == alias for end in ("old", "new")]
        target = version or next(
            (str(earlier) for earlier in before[::-1] if earlier not in (None, "", old)), ""
        )
        refuse_options({f"{name}: the log of {alias!r} has no move to take back: name a version": not target})
        value = json.dumps(new := prompts.resolve(name, target), ensure_ascii=False)
        text = path.read_bytes().decode("utf-8-sig") if path.exists() else ""
        line = rf"""(?m)^([ \t]*["']?{alias}["']?[ \t]*=[ \t]*)(?:"[^"\r\n]+"|'[^'\r\n]+')"""
        edited, count = re.subn(line, lambda match: match[1] + value, text)
        cannot_edit = f"{path}: {alias} has a form that cannot be edited: write it as {alias} = {value}"
        refuse_options({cannot_edit: count != (alias in aliases)})
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        clean = Redactor.from_environment(os.environ).clean_text(reason.strip())
        move: Mapping[str, Json] = {"at": now, "alias": alias, "old": old, "new": new, "reason": clean}
        # First the alias: killed in between, the log lacks a move, and a rollback still finds the version before.
        write_output_file(path, edited if count else f"{text.rstrip()}\n{alias} = {value}\n".lstrip())
        write_output_file(log, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in [*moves, move]))
    return move


def read_moves(path: Path) -> list[Mapping[str, Json]]:
    """Return the moves in the log of a prompt's aliases, the oldest first.

    Raises:
        PromptError: The file is damaged; gives the line.
    """
    try:
        return [as_mapping(move) for _, move in read_json_lines(read_text(path))] if path.exists() else []
    except BadFile as error:
        raise PromptError(error.what, path, error.line) from None


def _move(args: argparse.Namespace) -> int:
    version = getattr(args, "version", "")  # a rollback has none
    move = move_alias(open_prompts(args), args.name, args.alias, version, args.reason)
    return print_result(args, move, [f"{args.name}: {_format_move(move)}"])


def _format_move(move: Mapping[str, Json]) -> str:
    return f"{move.get('alias')} {move.get('old') or '(new)'} -> {move.get('new')}"


def _log(args: argparse.Namespace) -> int:
    prompts = open_prompts(args)
    moves = read_moves(prompts.find_file(args.name, LOG_FILE))[::-1] if prompts.versions(args.name) else []
    log = run_git(prompts.folder, "--literal-pathspecs", "log", "--format=%h%x09%aI%x09%s", "--", args.name)
    note = f"no history from git: {log}" if isinstance(log, str) else ""
    if run_git(prompts.folder, "rev-parse", "--is-shallow-repository") == b"true\n":
        note = "the clone is shallow, older commits are missing: git fetch --unshallow"
    rows = log.decode("utf-8", "replace").splitlines() if isinstance(log, bytes) else []
    commits = [dict(zip(("commit", "at", "subject"), row.split("\t", 2), strict=True)) for row in rows]
    lines = (
        [f"{move.get('at')}  {_format_move(move)}  {move.get('reason')}" for move in moves]
        + rows
        + [note] * bool(note)
    )
    return print_result(args, {"moves": moves, "commits": commits, "note": note}, lines)
