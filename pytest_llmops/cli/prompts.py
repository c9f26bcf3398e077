"""``llmops prompts``: list, show, render, diff, log, alias, rollback, check and canary."""

import argparse
import datetime as dt
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from difflib import SequenceMatcher
from operator import itemgetter
from pathlib import Path
from typing import Any

from pytest_llmops._util.git import run_git
from pytest_llmops._util.text_files import (
    as_mapping,
    line_number_at,
    locate_errors,
    read_json,
    read_json_lines,
    read_text,
)
from pytest_llmops._util.user_files import folders_above
from pytest_llmops.cli.common import (
    EXIT_PROBLEM,
    GREEN,
    RED,
    Commands,
    add_command,
    add_group,
    colour_text,
    format_path,
    lock_file,
    parse_positive_int,
    print_result,
    read_ini,
    refuse_options,
    write_output_file,
)
from pytest_llmops.errors import PromptError, UnknownName, UsageError
from pytest_llmops.measurement import Json, format_count, shorten_text
from pytest_llmops.prompts import Prompt, Prompts
from pytest_llmops.prompts.registry import ALIASES_FILE
from pytest_llmops.reports.html_views import MAX_WORDS, Edit, diff_words
from pytest_llmops.settings import Settings


def _add_canary_command(commands: Any) -> None:
    """Declare the command in its group."""
    add_command(
        commands,
        "canary",
        canary,
        "promote, hold or roll back a canary, by the logs of its events",
        "Each event has an id, a time, the arm that answered, and as far as known score, error, latency_s and cost_usd. One may look as "
        "often as one likes. The exit status is 1 for ROLLBACK.",
        arguments={
            "logs": {"nargs": "+", "type": Path, "metavar": "FILE", "help": "JSONL, CSV or YAML"},
            "--arms": {
                "nargs": 2,
                "metavar": ("STABLE", "CANARY"),
                "help": "the names of both versions (default: stable canary)",
            },
            "--share": {
                "type": float,
                "help": "the share of requests that the canary is meant to get: checked",
            },
            "--margin": {
                "type": float,
                "help": "the loss of the mean score that must be excluded (default: 0.05)",
            },
            "--error-margin": {"type": float, "help": "the same for the share of errors (default: 0.02)"},
            "--latency-ratio": {"type": float, "help": "how much slower it may be (default: 1.25)"},
            "--cost-ratio": {"type": float, "help": "how much dearer it may be (default: 1.25)"},
            "--alpha": {
                "type": float,
                "help": "probability of each wrong decision, over all looks (default: 0.02)",
            },
            "--json": {"action": "store_true", "help": "print JSON"},
        },
    )


def canary(args: argparse.Namespace) -> int:
    """Print the decision on a canary."""
    from pytest_llmops.production.canary import CanaryRules, canary_decision, read_events

    given = ((name, getattr(args, name)) for name in CanaryRules.__dataclass_fields__)
    decision = canary_decision(
        [event for path in args.logs for event in read_events(path)],
        CanaryRules(**{name: value for name, value in given if value is not None}),
    )
    sentence = f"{decision.action}  {'; '.join([decision.sentence, *decision.notes])}"
    print_result(args, asdict(decision), [shorten_text(sentence, 1000)])
    if decision.action == "ROLLBACK":
        return EXIT_PROBLEM
    return 0


LOG_FILE = "aliases.log"
# The arguments of the commands by their names here
ARGUMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "name": ("name", {"metavar": "NAME", "help": "the prompt (support/answer), at a commit of git with @ (support/answer@main)"}),
    "version": ("version", {"nargs": "?", "default": "", "metavar": "VERSION", "help": "a version or alias, also at a commit (v1@main, @HEAD~3); default: production"}),
    "old": ("old", {"metavar": "OLD", "help": "a version or alias, also at a commit (v1@main, @HEAD~3)"}),
    "new": ("new", {"nargs": "?", "default": "", "metavar": "NEW", "help": "the same; default: production"}),
    "alias": ("alias", {"metavar": "ALIAS", "help": "production, candidate ..."}),
    "back": ("alias", {"nargs": "?", "default": "production", "metavar": "ALIAS", "help": "default: production"}),
    "target": ("version", {"metavar": "VERSION", "help": "a version, or what another alias means"}),
    "reason": ("--reason", {"required": True, "metavar": "TEXT", "help": "why, for whoever reads the log"}),
    "var": ("--var", {"action": "append", "default": [], "metavar": "NAME=TEXT", "help": "a variable (repeatable)"}),
    "vars": ("--vars", {"type": Path, "metavar": "FILE.json", "help": "variables that are no texts, as an object"}),
    "max": ("--max-chars", {"type": parse_positive_int, "default": 32_000, "metavar": "N", "help": "of a prompt without its variables (default: 32000)"}),
    "folder": ("--prompts", {"type": Path, "dest": "folder", "metavar": "FOLDER", "help": "default: llm_prompts_dir, from here upwards"}),
    "json": ("--json", {"action": "store_true", "help": "print JSON"}),
}  # fmt: skip


def _open_prompts(args: argparse.Namespace) -> Prompts:
    """Return the prompts of ``--prompts``, else those of the project around the working folder."""
    root, values = read_ini(Path.cwd()) or (Path.cwd(), {})
    name = Settings.from_sources(("ini", values)).prompts_dir
    folders = [folder / name for folder in folders_above(Path.cwd(), root)]
    return Prompts(args.folder or next(filter(Path.is_dir, folders), folders[0]))


def _format_facts(facts: Mapping[str, Any]) -> list[str]:
    texts = {
        key: fact if isinstance(fact, str) else json.dumps(fact, ensure_ascii=False)
        for key, fact in facts.items()
    }
    return [f"{key}: {text}" for key, text in texts.items() if text not in ("", "null", "[]", "{}")]


def _list(args: argparse.Namespace) -> int:
    prompts = _open_prompts(args)
    rows = {
        name: {"versions": prompts.versions(name), "aliases": prompts.aliases(name)}
        for name in prompts.names()
    }
    return print_result(
        args, rows, (f"{name}  {'  '.join(_format_facts(row))}" for name, row in rows.items())
    )


def _show(args: argparse.Namespace) -> int:
    prompts = _open_prompts(args)
    prompt = prompts.get(args.name, args.version)
    facts = {
        "path": str(prompt.path),
        "versions": prompts.versions(args.name),
        "aliases": prompts.aliases(args.name),
        **_describe(prompt, "name", "version", "fingerprint"),
        "uses": _find_uses(prompt.name),
    }
    text = _join_sections(prompt)
    return print_result(args, {**facts, "text": text}, [*_format_facts(facts), "", text])


def _describe(prompt: Prompt, *more: str) -> dict[str, Any]:
    facts = {
        key: getattr(prompt, key) for key in (*more, "description", "model", "variables", "output_schema")
    }
    return {**facts, **{f"params.{key}": value for key, value in prompt.params.items()}}


def _join_sections(prompt: Prompt) -> str:
    return "\n\n".join(f"{section.role}:\n{section.text}" for section in prompt.sections)


def _render(args: argparse.Namespace) -> int:
    refuse_options(
        {f"--var {shorten_text(pair, 80)}: expected NAME=TEXT": "=" not in pair for pair in args.var}
    )
    try:
        if args.vars:
            variables = dict(as_mapping(read_json(read_text(args.vars))))
        else:
            variables = {}
        variables |= dict(pair.split("=", 1) for pair in args.var)
    except ValueError as error:
        raise UsageError(f"--vars {args.vars}: expected an object of JSON: {error}") from None
    rendered = _open_prompts(args).get(args.name, args.version).render(**variables)
    facts = {key: getattr(rendered, key) for key in ("name", "version", "fingerprint", "model", "params")}
    return print_result(
        args,
        {**facts, "messages": rendered.to_dicts()},
        ["\n\n".join(f"{message.role}:\n{message.content}" for message in rendered)],
    )


def _diff(args: argparse.Namespace) -> int:
    prompts = _open_prompts(args)
    old, new = (prompts.get(args.name, version) for version in (args.old, args.new))
    sides = _describe(old), _describe(new)
    pairs = {key: [side.get(key) for side in sides] for key in {**sides[0], **sides[1]}}
    changes = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    edits = list(_iter_edits(_join_sections(old), _join_sections(new)))
    marks = {"same": "{}", "old": colour_text("[-{}-]", RED), "new": colour_text("{{+{}+}}", GREEN)}
    text = "".join(marks[kind].format(text) for kind, text in edits)
    document = {"name": old.name, "old": old.version, "new": new.version, "changes": changes, "edits": edits}
    head = f"{old.name}: {old.version} -> {new.version}" + " (the same)" * (
        old.fingerprint == new.fingerprint
    )
    return print_result(args, document, [head, *_format_facts(changes), "", text])


def _iter_edits(old: str, new: str) -> Iterator[Edit]:
    """Lines first: the comparison of words is quadratic, and looks at the first 400 of each text alone."""
    lines = old.splitlines(keepends=True), new.splitlines(keepends=True)
    for tag, i, j, k, m in SequenceMatcher(None, *lines).get_opcodes():
        before = "".join(lines[0][i:j])
        after = "".join(lines[1][k:m])
        if tag == "equal":
            whole: list[Edit] = [("same", before)]
        else:
            whole = [("old", before), ("new", after)]
        is_short = tag != "equal" and max(len(before), len(after)) <= 10 * MAX_WORDS
        yield from diff_words(before, after) if is_short else filter(itemgetter(1), whole)


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
        aliases = prompts.aliases(name)
        moves = _read_moves(log)
        old = aliases.get(alias, "")
        before = [move.get(end) for move in moves if move.get("alias") == alias for end in ("old", "new")]
        target = version or next(
            (str(earlier) for earlier in before[::-1] if earlier not in (None, "", old)), ""
        )
        if not (target or old):
            raise UnknownName("alias", alias, aliases, where=f"prompt {name}")
        refuse_options(
            {
                f"{name}: the log of {alias!r} has no move to take back: llmops prompts alias {name} {alias} VERSION --reason TEXT moves it": not target
            }
        )
        value = json.dumps(new := prompts.resolve(name, target), ensure_ascii=False)
        if path.exists():
            text = path.read_bytes().decode("utf-8-sig")
        else:
            text = ""
        edited, count = re.subn(
            rf"""(?m)^([ \t]*["']?{alias}["']?[ \t]*=[ \t]*)(?:"[^"\r\n]+"|'[^'\r\n]+')""",
            lambda match: match[1] + value,
            text,
        )
        if count != (alias in aliases):
            raise UsageError(
                f"{path}: {alias} has a form that cannot be edited: write it as {alias} = {value}"
            )
        move: Mapping[str, Json] = {
            "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "alias": alias,
            "old": old,
            "new": new,
            "reason": Redactor.from_environment(os.environ).clean_text(reason.strip()),
        }
        # First the alias: killed in between, the log lacks a move, and a rollback still finds the version before.
        write_output_file(path, edited if count else f"{text.rstrip()}\n{alias} = {value}\n".lstrip())
        write_output_file(log, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in [*moves, move]))
    return move


def _read_moves(path: Path) -> list[Mapping[str, Json]]:
    """Return the moves in the log of a prompt's aliases, the oldest first.

    Raises:
        PromptError: The file is damaged; gives the line.
    """
    with locate_errors(PromptError, path):
        if path.exists():
            return [as_mapping(move) for _, move in read_json_lines(read_text(path))]
        return []


def _move(args: argparse.Namespace) -> int:
    version = getattr(args, "version", "")  # a rollback has none
    move = move_alias(_open_prompts(args), args.name, args.alias, version, args.reason)
    return print_result(args, move, [f"{args.name}: {_format_move(move)}"])


def _format_move(move: Mapping[str, Json]) -> str:
    return f"{move.get('alias')} {move.get('old') or '(new)'} -> {move.get('new')}"


def _log(args: argparse.Namespace) -> int:
    prompts = _open_prompts(args)
    name = args.name.partition("@")[0]
    if prompts.versions(name):
        moves = _read_moves(prompts.find_file(name, LOG_FILE))[::-1]
    else:
        moves = []
    log = run_git(prompts.folder, "--literal-pathspecs", "log", "--format=%h%x09%aI%x09%s", "--", name)
    if isinstance(log, str):
        note = f"no history from git: {log}"
    else:
        note = ""
    if run_git(prompts.folder, "rev-parse", "--is-shallow-repository") == b"true\n":
        note = "the clone is shallow, older commits are missing: git fetch --unshallow"
    if isinstance(log, bytes):
        rows = log.decode("utf-8", "replace").splitlines()
    else:
        rows = []
    commits = [dict(zip(("commit", "at", "subject"), row.split("\t", 2), strict=True)) for row in rows]
    lines = (
        [f"{move.get('at')}  {_format_move(move)}  {move.get('reason')}" for move in moves]
        + [row.replace("\t", "  ", 2) for row in rows]
        + [note] * bool(note)
    )
    return print_result(args, {"moves": moves, "commits": commits, "note": note}, lines)


def _find_uses(name: str) -> list[str]:
    """Return the places (``file:line``) below the working folder that name a prompt.

    These are calls of ``prompt()`` (the marker), ``get()`` and ``choose()`` that begin with the name as a text, with or without
    ``@main``, in the Python files that git does not ignore; outside of git in all of them.
    """
    listed = run_git(Path(), "ls-files", "-z", "-co", "--exclude-standard", "--", "*.py")
    if isinstance(listed, bytes):
        files = [os.fsdecode(file) for file in listed.split(b"\0")]
    else:
        files = map(str, Path().rglob("*.py"))
    call = re.compile(
        rf"""\.(?:prompt|get|choose)\(\s*(?:name\s*=\s*)?(["']){re.escape(name)}(?:@[^"'\n]*)?\1"""
    )
    texts = {
        file: Path(file).read_text("utf-8", "replace") for file in sorted(set(files)) if Path(file).is_file()
    }
    uses = (
        f"{file}:{line_number_at(text, use.start())}"
        for file, text in texts.items()
        for use in call.finditer(text)
    )
    return list(dict.fromkeys(uses))


def _check(args: argparse.Namespace) -> int:
    prompts = _open_prompts(args)
    names = prompts.names()
    # A broken aliases.toml is a problem of each version.
    found = dict.fromkeys(
        problem for name in names for problem in _iter_problems(prompts, name, args.max_chars)
    )
    problems = [{"file": str(path), "line": line, "problem": what} for path, line, what in found]
    lines = [f"{format_path(str(path))}{f':{line}' if line else ''}: {what}" for path, line, what in found]
    print_result(
        args,
        {"prompts": len(names), "problems": problems},
        [*lines, f"{format_count(len(names), 'prompt')}, {format_count(len(found), 'problem')}"],
    )
    if found:
        return EXIT_PROBLEM
    return 0


def _iter_problems(prompts: Prompts, name: str, max_chars: int) -> Iterator[tuple[object, int | None, str]]:
    seen: dict[str, str] = {}
    for version in (*prompts.versions(name), ""):
        try:
            prompt = prompts.get(name, version)
        except PromptError as error:
            yield error.path, error.line, error.what
        else:
            first = seen.setdefault(prompt.fingerprint, prompt.version)
            if first == prompt.version:
                same = []
            else:
                same = [f"the same text as {first}: delete one of them"]
            if version:
                found = [*same, *_list_problems(prompt, max_chars)]
            else:
                found = []
            yield from ((prompt.path, None, problem) for problem in found)


def _list_problems(prompt: Prompt, max_chars: int) -> list[str]:
    from pytest_llmops.redaction.redactor import Redactor

    roles = [section.role for section in prompt.sections]
    length = sum(len(section.text) for section in prompt.sections)
    problems = {
        f"roles out of order: expected system, then user and assistant in turns, got {', '.join(roles)}": not re.fullmatch(
            "[sd]*(?:ua)*u?", "".join(role[0] for role in roles)
        ),
        f"{length:,} characters, more than {max_chars:,}: pass long texts as variables": length > max_chars,
        "holds a secret: take it out, and revoke it": Redactor.from_environment(os.environ).leaks(
            prompt.path.read_bytes()
        ),
    }
    return [problem for problem, is_found in problems.items() if is_found]


# The commands: what runs them, their summary, details, and arguments
COMMANDS = {
    "list": (_list, "the prompts with their versions and aliases", "", ""),
    "show": (
        _show, "a version: its text, variables and parameters, and where the prompt is used",
        "Uses are calls of prompt(), get() and choose() with the prompt's name in Python files below this folder.", "name version",
    ),
    "render": (_render, "the messages of a version with its variables filled in", "", "name version var vars"),
    "diff": (
        _diff, "two versions, word by word, with their variables and parameters",
        "[-so-] stands in the old one alone, {+so+} in the new one.", "name old new",
    ),
    "log": (_log, "how the aliases of a prompt moved, and the commits that changed it", "", "name"),
    "alias": (
        _move, "let an alias mean another version",
        "Writes aliases.toml, and the reason into aliases.log beside it.", "name alias target reason",
    ),
    "rollback": (_move, "let an alias mean what it meant before its last move", "", "name back reason"),
    "check": (
        _check, "report what is wrong with the prompts",
        "Files that cannot be read, undeclared and unused variables, roles out of order, secrets, long prompts, equal versions.", "max",
    ),
}  # fmt: skip


def add_prompts_group(groups: Any) -> None:
    """Declare the group's commands."""
    declared: Commands = {
        name: (
            run,
            summary,
            details,
            dict(map(ARGUMENTS.__getitem__, [*arguments.split(), "folder", "json"])),
        )
        for name, (run, summary, details, arguments) in COMMANDS.items()
    }
    summary = "look at versions of prompts, compare them, move their aliases"
    _add_canary_command(add_group(groups, "prompts", summary, declared))
