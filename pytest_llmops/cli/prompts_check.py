"""``llmops prompts check``, and the places of a project that use a prompt."""

import argparse
import os
import re
from collections.abc import Iterator
from pathlib import Path

from pytest_llmops._util.git import run_git
from pytest_llmops._util.text_files import line_number_at
from pytest_llmops.cli.commands import EXIT_PROBLEM
from pytest_llmops.cli.output import format_path
from pytest_llmops.cli.prompts import open_prompts, print_result
from pytest_llmops.errors import PromptError
from pytest_llmops.measurement import format_count
from pytest_llmops.prompts import Prompt, Prompts


def find_uses(name: str) -> list[str]:
    """Return the places (``file:line``) below the working folder that name a prompt.

    These are calls of ``prompt()`` (the marker), ``get()`` and ``choose()`` that begin with the name as a text, with or without
    ``@main``, in the Python files that git does not ignore; outside of git in all of them.
    """
    listed = run_git(Path(), "ls-files", "-z", "-co", "--exclude-standard", "--", "*.py")
    files = (
        [os.fsdecode(file) for file in listed.split(b"\0")]
        if isinstance(listed, bytes)
        else map(str, Path().rglob("*.py"))
    )
    call = re.compile(
        rf"""\.(?:prompt|get|choose)\(\s*(?:name\s*=\s*)?(["']){re.escape(name)}(?:@[^"'\n]*)?\1"""
    )
    texts = {
        file: Path(file).read_text("utf-8", "replace") for file in sorted(set(files)) if Path(file).is_file()
    }
    return [
        f"{file}:{line_number_at(text, use.start())}"
        for file, text in texts.items()
        for use in call.finditer(text)
    ]


def _check(args: argparse.Namespace) -> int:
    prompts = open_prompts(args)
    names = prompts.names()
    # A broken aliases.toml is a problem of each version.
    found = dict.fromkeys(
        problem for name in names for problem in _iter_problems(prompts, name, args.max_chars)
    )
    problems = [{"file": str(path), "line": line, "problem": what} for path, line, what in found]
    lines = [f"{format_path(str(path))}{f':{line}' if line else ''}: {what}" for path, line, what in found]
    total = f"{format_count(len(names), 'prompt')}, {format_count(len(found), 'problem')}"
    print_result(args, {"prompts": len(names), "problems": problems}, [*lines, total])
    return EXIT_PROBLEM if found else 0


def _iter_problems(prompts: Prompts, name: str, max_chars: int) -> Iterator[tuple[object, int | None, str]]:
    seen: dict[str, str] = {}
    for version in (*prompts.versions(name), ""):
        try:
            prompt = prompts.get(name, version)
        except PromptError as error:
            yield error.path, error.line, error.what
        else:
            first = seen.setdefault(prompt.fingerprint, prompt.version)
            same = [] if first == prompt.version else [f"the same text as {first}: delete one of them"]
            found = [*same, *_list_problems(prompt, max_chars)] if version else []
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
