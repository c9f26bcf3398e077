"""``llmops demo``: a recorded run after a prompt change, without key, network or weights."""

import argparse
import difflib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pytest_llmops.cli.commands import EXIT_PROBLEM, add_command
from pytest_llmops.cli.output import print_error, print_json, print_line
from pytest_llmops.errors import refuse

ARGUMENTS = ("--llm-report=report.html", "--llm-report=run.json")
# Beginnings of names of variables that would change the run
FOREIGN_VARIABLES = ("PYTEST_", "LLMOPS_", "OPENAI_")


def add_demo_group(groups: Any) -> None:
    """Declare the command."""
    command = add_command(
        groups,
        "demo",
        _demo,
        "show a recorded run: a changed prompt, what got worse, the verdict and the report",
        "Needs no key and no network: all answers and embeddings are recorded.",
    )
    command.add_argument(
        "folder",
        nargs="?",
        type=Path,
        metavar="FOLDER",
        help="new or empty folder (default: a temporary one)",
    )
    command.add_argument("--json", action="store_true", help="print JSON")


def _demo(args: argparse.Namespace) -> int:
    from pytest_llmops.cli.files import create_file, read_run_file, read_starter_files

    folder = (args.folder or Path(tempfile.mkdtemp(prefix="llmops-demo-"))).resolve()
    refuse(
        folder.exists() and (not folder.is_dir() or any(folder.iterdir())),
        f"FOLDER: expected a new or an empty folder, got {folder}: nothing is overwritten",
    )
    files = dict(read_starter_files("demo"))
    for name, data in files.items():
        create_file(folder / name, data)
    old, new = (files[f"prompts/support/{version}.md"].decode().splitlines() for version in ("v1", "v2"))
    change = [line for line in difflib.ndiff(old, new) if line[0] in "-+"]
    if not args.json:
        print_line(
            "A support bot, its answers recorded from a very small model. Somebody changed its prompt:\n"
        )
        for line in change:
            print_line(f"    {line}")
        print_line(
            f"\nIs it worse than the baseline, which was accepted with the old prompt?\n\n$ cd {folder}"
        )
        print_line(f"$ pytest {' '.join(ARGUMENTS)}")
        sys.stdout.flush()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_VARIABLES)}
    done = subprocess.run(  # noqa: S603 -- this Python, on files of ours
        [sys.executable, "-m", "pytest", "-p", "pytest_llmops.plugin", *ARGUMENTS],
        cwd=folder,
        env={**environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if args.json else None,
        check=False,
    )
    if not (folder / "run.json").is_file():
        print_error(f"the demo did not run: pytest ended with {done.returncode} in {folder}")
        return EXIT_PROBLEM
    verdict = read_run_file(folder / "run.json").verdict
    result = {"folder": str(folder), "change": change, "report": str(folder / "report.html")}
    if args.json:
        print_json({**result, "verdict": verdict.status if verdict else ""})
        return 0
    print_line(f"\nVerdict       {verdict.status} {verdict.sentence}" if verdict else "\nNo verdict")
    print_line(f"The report    {result['report']}")
    print_line("Roll it back  pytest --llm-prompt support=v1    in that folder\nYour project  llmops init")
    return 0
