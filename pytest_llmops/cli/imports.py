"""``llmops import``: write the suite of another tool as cases, prompts, judge files and one test module.

The commands are declared here; their module is imported when a command runs.
"""

import argparse
from pathlib import Path
from typing import Any

from pytest_llmops.cli.common import add_command, add_group, import_command

DEFAULT_FOLDER = Path("tests/llm")


def add_imports_group(groups: Any) -> None:
    """Declare the group's commands."""
    commands = add_group(groups, "import", "write the suite of another tool as cases, prompts and tests")
    _declare_promptfoo(commands)


def _declare_promptfoo(commands: Any) -> None:
    command = add_command(
        commands,
        "promptfoo",
        import_command("import_suites", "import_promptfoo"),
        "write the suite of a promptfoo configuration as cases, prompts, judge files and a test module",
        "Nothing of the suite is run, and no environment variable is read. What cannot be carried is listed with file and line, and is a "
        "skipped test with its reason. Nothing is overwritten: the exit status is 1 if a file exists, or a suite cannot be read.",
    )
    command.add_argument(
        "path",
        type=Path,
        metavar="PATH",
        help="a configuration (.yaml, .yml, .json), or a folder with configurations",
    )
    _add_target(command)
    command.add_argument(
        "--root",
        type=Path,
        metavar="FOLDER",
        help="no file outside of it is read (default: the folder of the configuration)",
    )


def _add_target(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        default=DEFAULT_FOLDER,
        help=f"where to write (default: {DEFAULT_FOLDER.as_posix()}); prompts go into the folder of prompts that tests there use, if there is one",
    )
    command.add_argument(
        "--name", metavar="NAME", help="what the files are named after (default: the suite's own name)"
    )
    command.add_argument(
        "--dry-run", action="store_true", help="write nothing, and print what would be written"
    )
    command.add_argument("--json", action="store_true", help="print JSON")
