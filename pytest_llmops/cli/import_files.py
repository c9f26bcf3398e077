"""``llmops import openai-results`` and ``prompt``: result lines become a case file, a pasted list of messages a prompt."""

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_llmops._util.text_files import decode_text, locate_errors, read_text
from pytest_llmops.cases.columns import find_own_key
from pytest_llmops.cases.files import Case
from pytest_llmops.cli.common import (
    EXIT_PROBLEM,
    create_file,
    format_json_line,
    format_path,
    print_error,
    print_result,
    read_ini,
)
from pytest_llmops.errors import PromptError, UsageError
from pytest_llmops.imports.front_matter import format_prompt
from pytest_llmops.imports.message_list import read_message_list
from pytest_llmops.imports.openai_results import read_results
from pytest_llmops.imports.suite import Remark, SuiteError
from pytest_llmops.measurement import Json, format_count, shorten_text
from pytest_llmops.prompts.registry import read_prompt
from pytest_llmops.settings import Settings

MAX_SHOWN = 20  # remarks that are printed; --json has all
_PROMPT_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}(?:/[A-Za-z0-9_-]{1,60}){0,5}")
_VERSION = re.compile(r"v(\d{1,6})\.md")


def import_openai_results(args: argparse.Namespace) -> int:
    """Write the case file of a file of result lines, and return the exit status."""
    if args.to.suffix != ".jsonl":
        raise UsageError(f"--to: expected a file name ending in .jsonl, got {args.to}")
    results = read_results(args.file, run=args.run_id or "", reference_field=args.reference_field or "")
    text = "".join(format_json_line(_make_row(case)) for case in results.cases)
    if not args.dry_run:
        _create(args.to, text)
    with_reference = sum(1 for case in results.cases if case.reference)
    document = {
        "file": format_path(args.to),
        "cases": len(results.cases),
        "with_output": sum(1 for case in results.cases if case.output is not None),
        "with_reference": with_reference,
        "not_carried": [_to_json(remark) for remark in results.remarks],
    }
    lines = [f"written      {format_path(args.to)}: {format_count(len(results.cases), 'case')}"]
    if not with_reference:
        lines.append(
            "reference    no item has a right answer under a usual name: name its field, --reference-field"
        )
    lines += _format_remarks(results.remarks)
    lines.append(
        "next         the criteria of the graders are not in the file: write them as assertions about case.output"
    )
    return print_result(args, document, lines)


def _make_row(case: Case) -> dict[str, Json]:
    """Return the row of a case; a value that became the input or the reference is not written twice."""
    row: dict[str, Json] = {"id": case.id, "input": case.input}
    if case.reference:
        row["reference"] = case.reference
    if case.output is not None:
        row["output"] = case.output
    if case.tags:
        row["tags"] = list(case.tags)
    if case.family:
        row["family"] = case.family
    if case.split:
        row["split"] = case.split
    own = {"input": case.input, "reference": case.reference}
    for key, value in case.data.items():
        own_key = find_own_key(key)
        if own_key and own.get(own_key) == value:
            continue
        row[key] = value
    return row


def import_prompt(args: argparse.Namespace) -> int:
    """Write the next version of a prompt from a list of messages, and return the exit status."""
    if not _PROMPT_NAME.fullmatch(args.name):
        raise UsageError(
            f"--name: expected the name of a prompt, such as support or shop/answer, got {shorten_text(args.name, 60)!r}"
        )
    file, text = _read_source(args.file)
    try:
        prompt, remarks = read_message_list(text, file)
    except SuiteError as error:
        print_error(str(error))
        return EXIT_PROBLEM
    folder = (args.to or _find_prompts_dir()) / args.name
    number = _next_version(folder)
    path = folder / f"v{number}.md"
    formatted = format_prompt(prompt, {})
    _check_prompt(formatted, args.name)
    if not args.dry_run:
        _create(path, formatted)
    document = {
        "file": format_path(path),
        "roles": [role for role, _ in prompt.sections],
        "variables": list(prompt.variables),
        "remarks": [_to_json(remark) for remark in remarks],
    }
    roles = ", ".join(role for role, _ in prompt.sections)
    variables = ", ".join(prompt.variables) or "none"
    lines = [f"written      {format_path(path)}: {roles}; variables: {variables}", *_format_remarks(remarks)]
    if number > 1:
        lines.append(
            f'next         llmops prompts alias {args.name} production v{number} --reason "..."    if tests are to use this version'
        )
    return print_result(args, document, lines)


def _read_source(file: Path) -> tuple[Path, str]:
    """Return the name of a file and its text; ``-`` is the standard input."""
    if str(file) == "-":
        with locate_errors(PromptError, Path("stdin")):
            return Path("stdin"), decode_text(sys.stdin.buffer.read())
    with locate_errors(PromptError, file):
        return file, read_text(file)


def _find_prompts_dir() -> Path:
    """Return the folder of prompts that the ini names."""
    here = Path.cwd()
    _, values = read_ini(here) or (here, {})
    return Path(Settings.from_sources(("ini", values)).prompts_dir)


def _next_version(folder: Path) -> int:
    """Return the number of the next version in the folder of a prompt.

    Raises:
        UsageError: The folder cannot be read.
    """
    numbers = [0]
    try:
        names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    except OSError as error:
        shown = shorten_text(format_path(folder), 100)
        raise UsageError(f"{shown} cannot be read: {error.strerror}: name another folder, --to") from None
    for name in names:
        match = _VERSION.fullmatch(name)
        if match:
            numbers.append(int(match.group(1)))
    return max(numbers) + 1


def _check_prompt(text: str, name: str) -> None:
    """Read the text of a prompt file with our own reader before it is written.

    Raises:
        PromptError: It cannot be read: it is too long, or has a NUL.
    """
    with tempfile.TemporaryDirectory(prefix="llmops-import-") as folder:
        file = Path(folder) / "v1.md"
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            read_prompt(file, name=name, version="v1")
        except PromptError as error:
            raise PromptError(f"no prompt can be made of it: {error.what}", name) from None


def _create(path: Path, text: str) -> None:
    """Create a file, and the folders above it.

    Raises:
        UsageError: It exists, or cannot be written.
    """
    if not create_file(path, text.encode("utf-8", "surrogatepass")):
        raise UsageError(f"{format_path(path)} exists already: nothing was written; name another file, --to")


def _to_json(remark: Remark) -> dict[str, Json]:
    return {"kind": remark.kind, "place": str(remark.place), "what": remark.what, "why": remark.why}


def _format_remarks(remarks: Sequence[Remark]) -> Iterator[str]:
    """Yield a line for each remark, of many the first."""
    for remark in remarks[:MAX_SHOWN]:
        yield f"{remark.kind:<13}{remark.place}: {remark.what}: {remark.why}"
    rest = len(remarks) - MAX_SHOWN
    if rest > 0:
        yield f"{'':<13}and {rest:,} more (--json has all)"
