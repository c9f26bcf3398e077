"""``llmops prompts list``, ``show``, ``render``, ``diff``, ``log``, ``check`` and ``canary``."""

import argparse
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from pytest_llmops._util.git import run_git
from pytest_llmops._util.text_files import as_mapping, line_number_at, read_json, read_text
from pytest_llmops.cli.common import EXIT_PROBLEM, GREEN, RED, colour_text, format_path, print_result
from pytest_llmops.cli.prompt_aliases import LOG_FILE, format_move, open_prompts, read_moves
from pytest_llmops.errors import PromptError, UsageError
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.prompts import Prompt, Prompts
from pytest_llmops.reports.html_views import MAX_WORDS, Edit, diff_words

FACTS = ("description", "model", "variables", "output_schema")
# A problem of a prompt: its file, the line (None: not known), and a description
Problem = tuple[object, int | None, str]


def list_prompts(args: argparse.Namespace) -> int:
    """Print the prompts, and return the exit status."""
    prompts = open_prompts(args)
    rows = {}
    for name in prompts.names():
        rows[name] = {"versions": prompts.versions(name), "aliases": prompts.aliases(name)}
    lines = []
    for name, row in rows.items():
        facts = "  ".join(_format_facts(row))
        lines.append(f"{name}  {facts}")
    return print_result(args, rows, lines)


def show_prompt(args: argparse.Namespace) -> int:
    """Print a version of a prompt, and return the exit status."""
    prompts = open_prompts(args)
    prompt = prompts.get(args.name, args.version)
    described = _describe(prompt, ("name", "version", "fingerprint", *FACTS))
    facts = {
        "path": str(prompt.path),
        "versions": prompts.versions(args.name),
        "aliases": prompts.aliases(args.name),
        **described,
        "uses": _find_uses(prompt.name),
    }
    text = _join_sections(prompt)
    document = {**facts, "text": text}
    return print_result(args, document, [*_format_facts(facts), "", text])


def _describe(prompt: Prompt, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the named attributes of a prompt, and each of its parameters as ``params.<name>``."""
    facts = {name: getattr(prompt, name) for name in names}
    for key, value in prompt.params.items():
        facts[f"params.{key}"] = value
    return facts


def _format_facts(facts: Mapping[str, Any]) -> list[str]:
    """Return a line for each fact that is not empty; facts that are not texts as JSON."""
    lines = []
    for key, fact in facts.items():
        text = fact
        if not isinstance(fact, str):
            text = json.dumps(fact, ensure_ascii=False)
        if text not in ("", "null", "[]", "{}"):
            lines.append(f"{key}: {text}")
    return lines


def _join_sections(prompt: Prompt) -> str:
    texts = [f"{section.role}:\n{section.text}" for section in prompt.sections]
    return "\n\n".join(texts)


def render_prompt(args: argparse.Namespace) -> int:
    """Print the messages of a version of a prompt, and return the exit status."""
    variables = _read_variables(args)
    prompt = open_prompts(args).get(args.name, args.version)
    rendered = prompt.render(**variables)
    document = {key: getattr(rendered, key) for key in ("name", "version", "fingerprint", "model", "params")}
    document["messages"] = rendered.to_dicts()
    messages = [f"{message.role}:\n{message.content}" for message in rendered]
    text = "\n\n".join(messages)
    return print_result(args, document, [text])


def _read_variables(args: argparse.Namespace) -> dict[str, Any]:
    """Return the variables of ``--vars`` and ``--var``; of a variable in both, the value of ``--var`` is used.

    Raises:
        UsageError: ``--var`` is not of the form NAME=TEXT, or the file of ``--vars`` has no object of JSON.
    """
    for pair in args.var:
        if "=" not in pair:
            raise UsageError(f"--var {shorten_text(pair, 80)}: expected NAME=TEXT")
    variables: dict[str, Any] = {}
    if args.vars:
        try:
            variables.update(as_mapping(read_json(read_text(args.vars))))
        except ValueError as error:
            raise UsageError(f"--vars {args.vars}: expected an object of JSON: {error}") from None
    for pair in args.var:
        name, _, text = pair.partition("=")
        variables[name] = text
    return variables


def compare_versions(args: argparse.Namespace) -> int:
    """Print the differences between two versions of a prompt word by word, and return the exit status."""
    prompts = open_prompts(args)
    old = prompts.get(args.name, args.old)
    new = prompts.get(args.name, args.new)
    before = _describe(old, FACTS)
    after = _describe(new, FACTS)
    changes = {}
    for key in {**before, **after}:
        pair = [before.get(key), after.get(key)]
        if pair[0] != pair[1]:
            changes[key] = pair
    edits = list(_iter_edits(_join_sections(old), _join_sections(new)))
    heading = f"{old.name}: {old.version} -> {new.version}"
    if old.fingerprint == new.fingerprint:
        heading += " (the same)"
    text = "".join(_format_edit(kind, words) for kind, words in edits)
    document = {"name": old.name, "old": old.version, "new": new.version, "changes": changes, "edits": edits}
    return print_result(args, document, [heading, *_format_facts(changes), "", text])


def _iter_edits(old: str, new: str) -> Iterator[Edit]:
    """Yield the edits between two texts, word by word where that is possible.

    Lines are compared first, since the comparison of words is quadratic and considers only the first `MAX_WORDS` words of a
    text. Long passages that differ are yielded as a whole.
    """
    old_lines = old.splitlines(keepends=True)
    new_lines = new.splitlines(keepends=True)
    matcher = SequenceMatcher(None, old_lines, new_lines)
    for tag, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        before = "".join(old_lines[old_start:old_end])
        after = "".join(new_lines[new_start:new_end])
        if tag == "equal":
            yield "same", before
        elif max(len(before), len(after)) <= 10 * MAX_WORDS:
            yield from diff_words(before, after)
        else:
            if before:
                yield "old", before
            if after:
                yield "new", after


def _format_edit(kind: str, text: str) -> str:
    """Return an edit as text: ``[-old-]``, ``{+new+}``, or the text itself if it is the same."""
    if kind == "old":
        return colour_text(f"[-{text}-]", RED)
    if kind == "new":
        return colour_text(f"{{+{text}+}}", GREEN)
    return text


def show_log(args: argparse.Namespace) -> int:
    """Print the moves of a prompt's aliases and the commits that changed it, and return the exit status."""
    prompts = open_prompts(args)
    name = args.name.partition("@")[0]
    moves = []
    if prompts.versions(name):
        moves = read_moves(prompts.find_file(name, LOG_FILE))[::-1]
    rows: list[str] = []
    note = ""
    log = run_git(prompts.folder, "--literal-pathspecs", "log", "--format=%h%x09%aI%x09%s", "--", name)
    if isinstance(log, bytes):
        rows = log.decode("utf-8", "replace").splitlines()
    else:
        note = f"no history from git: {log}"
    if run_git(prompts.folder, "rev-parse", "--is-shallow-repository") == b"true\n":
        note = "the clone is shallow, older commits are missing: git fetch --unshallow"
    commits = []
    lines = []
    for move in moves:
        at = move.get("at")
        reason = move.get("reason")
        lines.append(f"{at}  {format_move(move)}  {reason}")
    for row in rows:
        commit, day, subject = row.split("\t", 2)
        commits.append({"commit": commit, "at": day, "subject": subject})
        lines.append(f"{commit}  {day}  {subject}")
    if note:
        lines.append(note)
    return print_result(args, {"moves": moves, "commits": commits, "note": note}, lines)


def _find_uses(name: str) -> list[str]:
    """Return the places (``file:line``) below the working folder that use a prompt.

    These are calls of ``prompt()`` (the marker), ``get()`` and ``choose()`` with the name as a literal first argument, with or
    without a commit (``@main``). Python files that git ignores are not searched; outside of git all are.
    """
    listed = run_git(Path(), "ls-files", "-z", "-co", "--exclude-standard", "--", "*.py")
    if isinstance(listed, bytes):
        files = {os.fsdecode(file) for file in listed.split(b"\0")}
    else:
        files = {str(file) for file in Path().rglob("*.py")}
    call = re.compile(
        rf"""\.(?:prompt|get|choose)\(\s*(?:name\s*=\s*)?(["']){re.escape(name)}(?:@[^"'\n]*)?\1"""
    )
    uses = []
    for file in sorted(files):
        if not Path(file).is_file():
            continue
        text = Path(file).read_text("utf-8", "replace")
        for use in call.finditer(text):
            line = line_number_at(text, use.start())
            uses.append(f"{file}:{line}")
    return list(dict.fromkeys(uses))


def check_prompts(args: argparse.Namespace) -> int:
    """Print the errors in the prompts, and return the exit status."""
    prompts = open_prompts(args)
    names = prompts.names()
    # A broken aliases.toml is reported for each version, but listed once.
    unique: dict[Problem, None] = {}
    for name in names:
        unique.update(dict.fromkeys(_iter_problems(prompts, name, args.max_chars)))
    problems = []
    lines = []
    for path, line, what in unique:
        problems.append({"file": str(path), "line": line, "problem": what})
        place = format_path(str(path))
        if line:
            place += f":{line}"
        lines.append(f"{place}: {what}")
    prompt_count = format_count(len(names), "prompt")
    problem_count = format_count(len(problems), "problem")
    lines.append(f"{prompt_count}, {problem_count}")
    print_result(args, {"prompts": len(names), "problems": problems}, lines)
    if problems:
        return EXIT_PROBLEM
    return 0


def _iter_problems(prompts: Prompts, name: str, max_chars: int) -> Iterator[Problem]:
    """Yield the problems of all versions of a prompt, and of its default (``""``: the version that is used if none is named).

    Of the default only an error counts, as its version is checked by name already.
    """
    first_versions: dict[str, str] = {}
    for version in (*prompts.versions(name), ""):
        try:
            prompt = prompts.get(name, version)
        except PromptError as error:
            yield error.path, error.line, error.what
            continue
        if not version:
            continue
        first = first_versions.setdefault(prompt.fingerprint, prompt.version)
        if first != prompt.version:
            yield prompt.path, None, f"the same text as {first}: delete one of them"
        for problem in _list_problems(prompt, max_chars):
            yield prompt.path, None, problem


def _list_problems(prompt: Prompt, max_chars: int) -> list[str]:
    """Return the problems of a single version: the order of its roles, its length, and secrets."""
    from pytest_llmops.redaction.redactor import Redactor

    problems = []
    roles = [section.role for section in prompt.sections]
    initials = "".join(role[0] for role in roles)
    if not re.fullmatch("[sd]*(?:ua)*u?", initials):
        problems.append(
            f"roles out of order: expected system, then user and assistant in turns, got {', '.join(roles)}"
        )
    length = sum(len(section.text) for section in prompt.sections)
    if length > max_chars:
        problems.append(f"{length:,} characters, more than {max_chars:,}: pass long texts as variables")
    if Redactor.from_environment(os.environ).leaks(prompt.path.read_bytes()):
        problems.append("holds a secret: take it out, and revoke it")
    return problems


def decide_on_canary(args: argparse.Namespace) -> int:
    """Print the decision on a canary, and return the exit status."""
    from pytest_llmops.production.canary import CanaryRules, canary_decision, read_events

    rules = {}
    for rule in fields(CanaryRules):
        value = getattr(args, rule.name)
        if value is not None:
            rules[rule.name] = value
    events = [event for path in args.logs for event in read_events(path)]
    decision = canary_decision(events, CanaryRules(**rules))
    sentence = "; ".join([decision.sentence, *decision.notes])
    line = shorten_text(f"{decision.action}  {sentence}", 1000)
    print_result(args, asdict(decision), [line])
    if decision.action == "ROLLBACK":
        return EXIT_PROBLEM
    return 0
