"""``llmops prompts alias`` and ``rollback``: move an alias of a prompt, and keep the log of its moves.

To move an alias means to let it name another version. A move is stored as an object with ``at``, ``alias``, ``old``, ``new``
and ``reason``.
"""

import argparse
import datetime as dt
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_llmops._util.text_files import as_mapping, locate_errors, read_json_lines, read_text
from pytest_llmops._util.user_files import folders_above
from pytest_llmops.cli.common import lock_file, print_result, read_ini, write_output_file
from pytest_llmops.errors import PromptError, UnknownName, UsageError
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.prompts import Prompts
from pytest_llmops.prompts.registry import ALIASES_FILE
from pytest_llmops.settings import Settings

LOG_FILE = "aliases.log"


def open_prompts(args: argparse.Namespace) -> Prompts:
    """Return the prompts of ``--prompts``, else of the nearest folder of prompts from the working folder up to the project's root.

    If there is none, it is the (missing) one in the working folder.
    """
    root, values = read_ini(Path.cwd()) or (Path.cwd(), {})
    name = Settings.from_sources(("ini", values)).prompts_dir
    if args.folder:
        return Prompts(args.folder)
    folders = [folder / name for folder in folders_above(Path.cwd(), root)]
    return Prompts(next(filter(Path.is_dir, folders), folders[0]))


def run_move(args: argparse.Namespace) -> int:
    """Move an alias, and return the exit status of the command."""
    version = getattr(args, "version", "")  # a rollback has none
    move = move_alias(open_prompts(args), args.name, args.alias, version, args.reason)
    line = f"{args.name}: {format_move(move)}"
    return print_result(args, move, [line])


def move_alias(prompts: Prompts, name: str, alias: str, version: str, reason: str) -> Mapping[str, Json]:
    """Let an alias name another version, and log why. Other processes that move an alias of the prompt wait meanwhile.

    Args:
        prompts: The prompts of a folder.
        name: The prompt.
        alias: The alias; it may be new.
        version: A version or alias; ``""``: its version before its last move (a rollback).
        reason: A sentence for whoever reads the log; secrets in it are masked.

    Returns:
        The entry of the log: ``at`` (UTC), ``alias``, ``old``, ``new`` and ``reason``.

    Raises:
        UsageError: An argument is wrong, there is nothing to roll back to, or a file is damaged or cannot be written.
    """
    from pytest_llmops.redaction.redactor import Redactor

    _check_move(prompts, name, alias, version, reason)
    path = prompts.find_file(name, ALIASES_FILE)
    log = prompts.find_file(name, LOG_FILE)
    with lock_file(path):
        aliases = prompts.aliases(name)
        moves = read_moves(log)
        old = aliases.get(alias, "")
        target = version or _find_earlier_version(moves, alias, old)
        if not target and not old:
            raise UnknownName("alias", alias, aliases, where=f"prompt {name}")
        if not target:
            raise UsageError(
                f"{name}: the log of {alias!r} has no move to take back: llmops prompts alias {name} {alias} VERSION --reason TEXT moves it"
            )
        new = prompts.resolve(name, target)
        text = _edit_aliases(path, alias, new, is_known=alias in aliases)
        redactor = Redactor.from_environment(os.environ)
        now = dt.datetime.now(dt.UTC)
        move: Mapping[str, Json] = {
            "at": now.isoformat(timespec="seconds"),
            "alias": alias,
            "old": old,
            "new": new,
            "reason": redactor.clean_text(reason.strip()),
        }
        # The alias is written first. If the process is killed before the log is, a move is missing in the log, but a rollback
        # still finds an earlier version in it.
        write_output_file(path, text)
        rows = [json.dumps(row, ensure_ascii=False) for row in [*moves, move]]
        write_output_file(log, "".join(f"{row}\n" for row in rows))
    return move


def _check_move(prompts: Prompts, name: str, alias: str, version: str, reason: str) -> None:
    """Check the arguments of `move_alias`.

    Raises:
        UsageError: One is wrong.
    """
    is_alias = re.fullmatch("[A-Za-z0-9_-]+", alias) and alias not in prompts.versions(name)
    if "@" in name + version:
        raise UsageError(f"an alias moves in the working tree: expected no @, got {name!r} and {version!r}")
    if not reason.strip():
        raise UsageError("--reason: expected a sentence, got none")
    if not is_alias:
        raise UsageError(
            f"expected an alias of letters, digits, _ and -, that no version has, got {shorten_text(alias, 80)!r}"
        )


def _find_earlier_version(moves: Sequence[Mapping[str, Json]], alias: str, present: str) -> str:
    """Return the version that an alias named before the present one; "" if the log does not tell.

    The newest move that names another version counts, in its ``new`` or else its ``old``: the last move may be missing in the log.
    """
    for move in reversed(moves):
        if move.get("alias") != alias:
            continue
        for end in ("new", "old"):
            version = move.get(end)
            if version not in (None, "", present):
                return str(version)
    return ""


def _edit_aliases(path: Path, alias: str, version: str, *, is_known: bool) -> str:
    """Return the text of a file of aliases with one alias set to a version; comments and all other lines stay as they are.

    Args:
        path: The file; it may be missing.
        alias: The alias.
        version: The version that it is to name.
        is_known: The file has the alias; else it is added at the end.

    Raises:
        UsageError: The line of the alias has a form that cannot be edited, for instance a text over several lines.
    """
    value = json.dumps(version, ensure_ascii=False)
    text = ""
    if path.exists():
        text = path.read_bytes().decode("utf-8-sig")
    line = re.compile(rf"""(?m)^([ \t]*["']?{alias}["']?[ \t]*=[ \t]*)(?:"[^"\r\n]+"|'[^'\r\n]+')""")
    edited, count = line.subn(lambda match: match[1] + value, text)
    if count != int(is_known):
        raise UsageError(f"{path}: {alias} has a form that cannot be edited: write it as {alias} = {value}")
    if is_known:
        return edited
    return f"{text.rstrip()}\n{alias} = {value}\n".lstrip()


def read_moves(path: Path) -> list[Mapping[str, Json]]:
    """Return the moves in the log of a prompt's aliases, the oldest first.

    Raises:
        PromptError: The file is damaged; with its line.
    """
    with locate_errors(PromptError, path):
        if not path.exists():
            return []
        return [as_mapping(move) for _, move in read_json_lines(read_text(path))]


def format_move(move: Mapping[str, Json]) -> str:
    """Return a move as text: ``production v1 -> v2``."""
    old = move.get("old") or "(new)"
    return f"{move.get('alias')} {old} -> {move.get('new')}"
