"""``llmops prompts``: list, show, render, diff, log, alias, rollback and check."""

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from operator import itemgetter
from pathlib import Path
from typing import Any

from pytest_llmops.cli.commands import add_command, add_group, import_command, parse_positive_int
from pytest_llmops.cli.output import GREEN, RED, colour_text, print_json, print_line
from pytest_llmops.errors import UsageError
from pytest_llmops.prompts import Prompt, Prompts
from pytest_llmops.reports.word_diff import MAX_WORDS, Edit, diff_words

# The arguments of the commands by their names here, and the commands: what runs them, summary, details, and arguments
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
COMMANDS = {
    "list": ("prompts._list", "the prompts with their versions and aliases", "", ""),
    "show": (
        "prompts._show", "a version: its text, variables and parameters, and where the prompt is used",
        "Uses are calls of prompt(), get() and choose() with the prompt's name in Python files below this folder.", "name version",
    ),
    "render": ("prompts._render", "the messages of a version with its variables filled in", "", "name version var vars"),
    "diff": (
        "prompts._diff", "two versions, word by word, with their variables and parameters",
        "[-so-] stands in the old one alone, {+so+} in the new one.", "name old new",
    ),
    "log": ("prompts_aliases._log", "how the aliases of a prompt moved, and the commits that changed it", "", "name"),
    "alias": (
        "prompts_aliases._move", "let an alias mean another version",
        "Writes aliases.toml, and the reason into aliases.log beside it.", "name alias target reason",
    ),
    "rollback": ("prompts_aliases._move", "let an alias mean what it meant before its last move", "", "name back reason"),
    "check": (
        "prompts_check._check", "report what is wrong with the prompts",
        "Files that cannot be read, undeclared and unused variables, roles out of order, secrets, long prompts, equal versions.", "max",
    ),
}  # fmt: skip


def add_prompts_group(groups: Any) -> None:
    """Declare the group's commands."""
    commands = add_group(groups, "prompts", "look at versions of prompts, compare them, move their aliases")
    for name, (runs, summary, details, arguments) in COMMANDS.items():
        declared = dict(ARGUMENTS[argument] for argument in [*arguments.split(), "folder", "json"])
        run = import_command(*runs.split("."))
        add_command(commands, name, run, summary, details, arguments=declared)


def open_prompts(args: argparse.Namespace) -> Prompts:
    """Return the prompts of ``--prompts``, else those of the project around the working folder."""
    from pytest_llmops._util.user_files import folders_above
    from pytest_llmops.cli.ini_files import read_ini
    from pytest_llmops.settings import Settings

    root, values = read_ini(Path.cwd()) or (Path.cwd(), {})
    name = Settings.from_sources(("ini", values)).prompts_dir
    folders = [folder / name for folder in folders_above(Path.cwd(), root)]
    return Prompts(args.folder or next(filter(Path.is_dir, folders), folders[0]))


def print_result(args: argparse.Namespace, document: object, lines: Iterable[str]) -> int:
    """Print a document with --json, else its lines; return the exit status 0."""
    print_json(document) if args.json else print_line("\n".join(lines))
    return 0


def _format_facts(facts: Mapping[str, Any]) -> list[str]:
    texts = {
        key: fact if isinstance(fact, str) else json.dumps(fact, ensure_ascii=False)
        for key, fact in facts.items()
    }
    return [f"{key}: {text}" for key, text in texts.items() if text not in ("", "null", "[]", "{}")]


def _list(args: argparse.Namespace) -> int:
    prompts = open_prompts(args)
    rows = {
        name: {"versions": prompts.versions(name), "aliases": prompts.aliases(name)}
        for name in prompts.names()
    }
    return print_result(
        args, rows, (f"{name}  {'  '.join(_format_facts(row))}" for name, row in rows.items())
    )


def _show(args: argparse.Namespace) -> int:
    from pytest_llmops.cli.prompts_check import find_uses

    prompts = open_prompts(args)
    prompt = prompts.get(args.name, args.version)
    facts = {
        "path": str(prompt.path),
        "versions": prompts.versions(args.name),
        "aliases": prompts.aliases(args.name),
        **_describe(prompt, "name", "version", "fingerprint"),
        "uses": find_uses(prompt.name),
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
    from pytest_llmops._util.text_files import as_mapping, read_json, read_text

    try:
        variables = dict(as_mapping(read_json(read_text(args.vars)))) if args.vars else {}
        variables |= dict(pair.split("=", 1) for pair in args.var)
    except ValueError as error:
        raise UsageError(
            f"expected --var NAME=TEXT, and an object of JSON in the file of --vars: {error}"
        ) from None
    rendered = open_prompts(args).get(args.name, args.version).render(**variables)
    facts = {key: getattr(rendered, key) for key in ("name", "version", "fingerprint", "model", "params")}
    texts = (f"{message.role}:\n{message.content}" for message in rendered)
    return print_result(args, {**facts, "messages": rendered.to_dicts()}, ["\n\n".join(texts)])


def _diff(args: argparse.Namespace) -> int:
    prompts = open_prompts(args)
    old, new = (prompts.get(args.name, version) for version in (args.old, args.new))
    sides = _describe(old), _describe(new)
    pairs = {key: [side.get(key) for side in sides] for key in {**sides[0], **sides[1]}}
    changes = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    edits = list(_iter_edits(_join_sections(old), _join_sections(new)))
    marks = {"same": "{}", "old": colour_text("[-{}-]", RED), "new": colour_text("{{+{}+}}", GREEN)}
    text = "".join(marks[kind].format(text) for kind, text in edits)
    document = {"name": old.name, "old": old.version, "new": new.version, "changes": changes, "edits": edits}
    equal = " (the same)" if old.fingerprint == new.fingerprint else ""
    head = f"{old.name}: {old.version} -> {new.version}{equal}"
    return print_result(args, document, [head, *_format_facts(changes), "", text])


def _iter_edits(old: str, new: str) -> Iterator[Edit]:
    # Lines first: the comparison of words is quadratic, and looks at the first 400 of each text alone.
    lines = old.splitlines(keepends=True), new.splitlines(keepends=True)
    for tag, i, j, k, m in SequenceMatcher(None, *lines).get_opcodes():
        before, after = "".join(lines[0][i:j]), "".join(lines[1][k:m])
        whole: list[Edit] = [("same", before)] if tag == "equal" else [("old", before), ("new", after)]
        is_short = tag != "equal" and max(len(before), len(after)) <= 10 * MAX_WORDS
        yield from diff_words(before, after) if is_short else filter(itemgetter(1), whole)
