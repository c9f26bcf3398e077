"""``llmops prompts alias|rollback|log``: move aliases with a reason, and show how they moved."""

import argparse
import datetime as dt
import json
import os
import re
from collections.abc import Mapping

from pytest_llmops._util.git import run_git
from pytest_llmops._util.text_files import BadFile, as_mapping, read_json_lines, read_text, write_atomically
from pytest_llmops.cli.commands import refuse_options
from pytest_llmops.cli.prompts import open_prompts, print_result
from pytest_llmops.errors import PromptError, UsageError
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.prompts import Prompts
from pytest_llmops.prompts.registry import ALIASES_FILE

LOG_FILE = "aliases.log"


def move_alias(prompts: Prompts, name: str, alias: str, version: str, reason: str) -> Mapping[str, str]:
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
        UsageError: An argument is wrong, there is nothing to roll back to, or a file is damaged.
        CassetteError: Another process keeps the files locked.
        OSError: The files cannot be written.
    """
    from pytest_llmops.cassettes.locking import lock_cassette
    from pytest_llmops.redaction.redactor import Redactor

    expected = (
        f"expected an alias of letters, digits, _ and -, that no version has, got {shorten_text(alias, 80)!r}"
    )
    refuse_options(
        {
            f"an alias moves in the working tree: expected a name and a version without @, got {name!r} and {version!r}": "@"
            in name + version,
            "--reason: expected a sentence, got none": not reason.strip(),
            expected: not re.fullmatch("[A-Za-z0-9_-]+", alias) or alias in prompts.versions(name),
        }
    )
    path = prompts.find_file(name, ALIASES_FILE)
    with lock_cassette(path):
        aliases = prompts.aliases(name)
        old = aliases.get(alias, "")
        moves = [move for move in read_moves(prompts, name) if move.get("alias") == alias]
        before = (str(move.get(end) or "") for move in reversed(moves) for end in ("new", "old"))
        version = version or next((earlier for earlier in before if earlier not in ("", old)), "")
        refuse_options(
            {f"{name}: the log of {alias!r} has no move to take back: name a version": not version}
        )
        value = json.dumps(new := prompts.resolve(name, version), ensure_ascii=False)
        text = path.read_bytes().decode("utf-8-sig") if path.exists() else ""
        line = rf"""(?m)^([ \t]*["']?{alias}["']?[ \t]*=[ \t]*)(?:"[^"\r\n]+"|'[^'\r\n]+')"""
        text, count = re.subn(line, lambda match: match[1] + value, text)
        if count != (alias in aliases):
            raise UsageError(
                f"{path}: {alias} has a form that cannot be edited: write it as {alias} = {value}"
            )
        if not count:
            text = f"{text.rstrip()}\n{alias} = {value}\n".lstrip()
        reason = Redactor.from_environment(os.environ).clean_text(reason.strip())
        move = {
            "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "alias": alias,
            "old": old,
            "new": new,
            "reason": reason,
        }
        # First the alias: killed in between, the log lacks a move, and a rollback still finds the version before.
        write_atomically(path, text.encode())
        with prompts.find_file(name, LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(json.dumps(move, ensure_ascii=False) + "\n")
    return move


def read_moves(prompts: Prompts, name: str) -> list[Mapping[str, Json]]:
    """Return the log of a prompt's aliases, the oldest move first.

    Raises:
        PromptError: The file is damaged; gives the line.
    """
    path = prompts.find_file(name, LOG_FILE)
    try:
        return [as_mapping(move) for _, move in read_json_lines(read_text(path))] if path.exists() else []
    except BadFile as error:
        raise PromptError(error.what, path, error.line) from None


def _move(args: argparse.Namespace) -> int:
    version = getattr(args, "version", "")  # a rollback has none
    move = move_alias(open_prompts(args), args.name, args.alias, version, args.reason)
    return print_result(args, move, [f"{args.name}: {args.alias} {move['old'] or '(new)'} -> {move['new']}"])


def _log(args: argparse.Namespace) -> int:
    prompts = open_prompts(args)
    moves = read_moves(prompts, args.name)[::-1] if prompts.versions(args.name) else []
    log = run_git(prompts.folder, "--literal-pathspecs", "log", "--format=%h%x09%aI%x09%s", "--", args.name)
    note = f"no history from git: {log}" if isinstance(log, str) else ""
    if run_git(prompts.folder, "rev-parse", "--is-shallow-repository") == b"true\n":
        note = "the clone is shallow, older commits are missing: git fetch --unshallow"
    rows = (
        []
        if isinstance(log, str)
        else [row.split("\t", 2) for row in log.decode("utf-8", "replace").splitlines()]
    )
    commits = [{"commit": commit, "at": at, "subject": subject} for commit, at, subject in rows]
    lines = [
        f"{move.get('at')}  {move.get('alias')} {move.get('old') or '(new)'} -> {move.get('new')}  {move.get('reason')}"
        for move in moves
    ]
    lines += [f"{at}  {commit}  {subject}" for commit, at, subject in rows]
    return print_result(
        args, {"moves": moves, "commits": commits, "note": note}, [*lines, *filter(None, [note])]
    )
