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
    _declare_openai_results(commands)
    _declare_prompt(commands)


def _declare_promptfoo(commands: Any) -> None:
    command = add_command(
        commands,
        "promptfoo",
        import_command("import_suites", "import_promptfoo"),
        "write the suite of a promptfoo configuration as cases, prompts, judge files and a test module",
        "The suite is not run, and environment variables are not read. Parts that cannot be imported are listed with file and line, and become skipped tests with the reason. Existing files are never overwritten. Exit status 1: a file exists already, or a suite cannot be read.",
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
        help="files outside this folder are not read (default: the named folder, or the git repository of the file, or its folder). Files such as .env are never read",
    )


def _declare_openai_results(commands: Any) -> None:
    command = add_command(
        commands,
        "openai-results",
        import_command("import_files", "import_openai_results"),
        "write a case file from the result lines that OpenAI's hosted Evals exported",
        "The items become cases. The old answers become their outputs, and the results of the graders are kept under `graded`. An old answer "
        "is never a reference.",
    )
    command.add_argument("file", type=Path, metavar="FILE", help="the result lines, .jsonl")
    command.add_argument(
        "--to", type=Path, required=True, metavar="CASES.jsonl", help="the case file to write"
    )
    command.add_argument(
        "--run", dest="run_id", metavar="ID", help="the run to take, if the file has several"
    )
    command.add_argument(
        "--reference-field",
        metavar="NAME",
        help="the field of the items with the right answer (default: a usual name, such as ideal)",
    )
    _add_dry_run(command)


def _declare_prompt(commands: Any) -> None:
    command = add_command(
        commands,
        "prompt",
        import_command("import_files", "import_prompt"),
        "write a prompt from a pasted list of messages",
        "Reads a list of messages, or a request with such a list, as JSON or YAML. {{ name }} is a variable. An existing prompt gets its next version.",
    )
    command.add_argument("file", type=Path, metavar="FILE", help="the messages. - reads the standard input")
    command.add_argument("--name", required=True, metavar="NAME", help="the prompt: support, shop/answer")
    command.add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        help="the folder of prompts (default: llm_prompts_dir of the ini, prompts)",
    )
    _add_dry_run(command)


def _add_target(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        default=DEFAULT_FOLDER,
        help=f"where to write (default: {DEFAULT_FOLDER.as_posix()}); prompts go into the folder of prompts that tests there use, if there is one",
    )
    command.add_argument("--name", metavar="NAME", help="name of the files (default: the suite's own name)")
    _add_dry_run(command)


def _add_dry_run(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--dry-run", action="store_true", help="write nothing, and print the files that would be written"
    )
    command.add_argument("--json", action="store_true", help="print JSON")
