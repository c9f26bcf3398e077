"""``llmops init``: write a first prompt, case file, test and configuration; ``llmops demo``: a recorded run to look at."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops._util.text_files import BadFile
from pytest_llmops._util.user_files import find_path, folders_above
from pytest_llmops.cli import agents_file
from pytest_llmops.cli.ci_recipes import RECIPES, write_recipe
from pytest_llmops.cli.common import (
    EXIT_PROBLEM,
    add_command,
    create_file,
    find_ini_file,
    print_error,
    print_json,
    print_line,
    read_ini,
    read_run_file,
    read_starter_files,
)
from pytest_llmops.errors import UsageError

if TYPE_CHECKING:
    from pytest_llmops.settings import Settings

STEPS = (
    "pytest tests/test_llm_first.py --llm-record=new    calls the model once, and records its answers",
    "pytest tests/test_llm_first.py                     replays them: offline and free; commit the cassettes",
)
PLACEHOLDER = "YOUR_MODEL"
INI = """[pytest]
# Where tests find your application
pythonpath = {source}
# `pytest` alone replays recordings. With --llm-record=new this model is called for missing recordings.
{lines}
# Any OpenAI-compatible server; left out: OpenAI, with the key in OPENAI_API_KEY.
# llm_base_url = http://127.0.0.1:8080/v1
"""


def add_init_group(groups: Any) -> None:
    """Declare ``init`` and ``demo``."""
    init = add_command(
        groups,
        "init",
        _init,
        "write a first prompt, case file, test and configuration",
        "Existing files stay as they are, and lines to add to them by hand are printed. The only exception is AGENTS.md, which gets six lines for coding agents.",
    )
    init.add_argument("--llm-model", default="", metavar="NAME", help="model for the configuration")
    init.add_argument("--llm-base-url", default="", metavar="URL", help="OpenAI-compatible server for it")
    init.add_argument(
        "--ci",
        choices=tuple(RECIPES),
        help="write only the recipe of this CI service: replay the recordings and report what got worse",
    )
    init.add_argument("--json", action="store_true", help="print JSON")
    demo = add_command(
        groups,
        "demo",
        _demo,
        "show a recorded run: a changed prompt, what got worse, the verdict and the report",
        "Needs no key and no network: all answers and embeddings are recorded.",
    )
    demo.add_argument(
        "folder",
        nargs="?",
        type=Path,
        metavar="FOLDER",
        help="new or empty folder (default: a temporary one)",
    )
    demo.add_argument("--json", action="store_true", help="print JSON")


def _init(args: argparse.Namespace) -> int:
    """Write the missing files, print the written files and the next steps, and return the exit status."""
    from pytest_llmops.settings import Settings

    here = Path.cwd()
    if args.ci:
        return _init_ci(args, here)
    given = Settings.from_sources(("command line", {"model": args.llm_model, "base_url": args.llm_base_url}))
    if len(given.models) > 1:
        raise UsageError(f"--llm-model: expected a single model, got {args.llm_model!r}")
    root, values = read_ini(here) or (here, {})
    stored = Settings.from_sources(("ini", values))
    lines = _list_new_settings(given, stored)
    ini = _choose_ini_file(here, root)
    files = _place_files(here, root, stored.prompts_dir)
    if not ini.exists():
        entries = [f"{key} = {value}" for key, value in lines.items()]
        text = "\n".join(entries)
        source = "."
        if (here / "src").is_dir():
            source = "src"
        files[ini] = INI.format(lines=text, source=source).encode()
    written = _write_files(files)
    by_hand: dict[str, Any] = {}
    if lines and ini not in written:
        by_hand = {"file": _relative(ini), **_format_lines(ini, lines)}
    steps = list(STEPS)
    if lines.get("llm_model") == PLACEHOLDER and ini in written:
        steps.insert(0, f"write the name of your model for {PLACEHOLDER} in {_relative(ini)}")
    agents = _update_agents_file(folders_above(here, root))
    written_names = [_relative(path) for path in written]
    left_alone = [_relative(path) for path in files if path not in written]
    result = {
        "written": written_names,
        "left_alone": left_alone,
        "add_by_hand": by_hand,
        "agents_file": agents,
        "next": steps,
    }
    if args.json:
        print_json(result)
    else:
        _print_result(result)
    return 0


def _init_ci(args: argparse.Namespace, project: Path) -> int:
    """Write the recipe of a CI service, print the written files and the next steps, and return the exit status.

    Raises:
        UsageError: Options of the first test are given too.
    """
    if args.llm_model or args.llm_base_url:
        raise UsageError(
            "--ci writes only the recipe: run llmops init again for --llm-model and --llm-base-url"
        )
    recipe = write_recipe(args.ci, project)
    result: dict[str, Any] = {
        "written": [_relative(path) for path in recipe.written],
        "left_alone": [_relative(path) for path in recipe.left_alone],
        "add_by_hand": {},
        "agents_file": {},
        "next": list(recipe.steps),
    }
    if args.json:
        print_json(result)
    else:
        _print_result(result)
    return 0


def _update_agents_file(folders: Sequence[Path]) -> dict[str, str]:
    """Add the lines for coding agents to the first AGENTS.md in these folders, and return its name, status and why; {}: there is none."""
    for folder in folders:
        path = folder / agents_file.NAME
        if path.exists():
            update = agents_file.update_agents_file(path)
            return {"file": _relative(path), "status": update.status, "why": update.why}
    return {}


def _list_new_settings(given: Settings, stored: Settings) -> dict[str, object]:
    """Return the settings to add to the configuration file, by ini key: settings of the command line that it does not have yet.

    Without any model a placeholder is added.
    """
    lines: dict[str, object] = {}
    model = given.single_model or stored.model or PLACEHOLDER
    if model != stored.model:
        lines["llm_model"] = model
    base_url = given.base_url or stored.base_url
    if base_url != stored.base_url:
        lines["llm_base_url"] = base_url
    return lines


def _choose_ini_file(here: Path, root: Path) -> Path:
    """Return the configuration file to use: pytest's own, else pyproject.toml, else a pytest.ini that is still missing."""
    path = find_ini_file(root)
    if path:
        return path
    project = here / "pyproject.toml"
    if project.is_file():
        return project
    return here / "pytest.ini"


def _write_files(files: Mapping[Path, bytes]) -> list[Path]:
    """Write the files that do not exist yet, and return the paths that were written."""
    # No prompt is added to a folder with prompts: two versions would leave open which of them is used.
    prompts = [path for path in files if path.suffix == ".md"]
    kept = {path for path in prompts if any(path.parent.glob("*.md"))}
    written = []
    for path, data in files.items():
        if path not in kept and create_file(path, data):
            written.append(path)
    return written


def _relative(path: Path) -> str:
    """Return a path relative to the working folder, with slashes."""
    return Path(os.path.relpath(path)).as_posix()


def _place_files(here: Path, root: Path, prompts_dir: str) -> dict[Path, bytes]:
    """Return the content of the files by path.

    The prompt is placed in an existing folder of prompts if a test in ``tests`` would find one there, else in a new folder.
    """
    try:
        prompts = find_path(prompts_dir, folders_above(here / "tests", root), is_folder=True)
    except BadFile:
        prompts = here / prompts_dir
    files = {}
    for name, data in read_starter_files("init"):
        path = here / name
        if name.startswith("prompts/"):
            path = prompts / name.removeprefix("prompts/")
        files[path] = data
    return files


def _format_lines(ini: Path, lines: Mapping[str, object]) -> dict[str, Any]:
    """Return the section of a configuration file and the lines to add to it, in the file's format."""
    sections = {"pyproject.toml": "tool.pytest.ini_options", "setup.cfg": "tool:pytest"}
    texts = []
    for key, value in lines.items():
        if ini.suffix == ".toml":
            texts.append(f"{key} = {json.dumps(value)}")
        else:
            texts.append(f"{key} = {value}")
    return {"section": sections.get(ini.name, "pytest"), "lines": texts}


def _print_result(result: Mapping[str, Any]) -> None:
    """Print the result of ``init``, which is the document of --json, as text."""
    for name in result["written"]:
        print_line(f"written     {name}")
    for name in result["left_alone"]:
        print_line(f"left alone  {name}: it exists already")
    _print_agents_file(result["agents_file"])
    by_hand = result["add_by_hand"]
    if by_hand:
        print_line(f"left alone  {by_hand['file']}: add these lines to its section [{by_hand['section']}]")
        for line in by_hand["lines"]:
            print_line(f"                {line}")
    heading = "next"
    for number, step in enumerate(result["next"], start=1):
        print_line(f"{heading:<10}  {number}. {step}")
        heading = ""


def _print_agents_file(agents: Mapping[str, str]) -> None:
    """Print what became of an AGENTS.md, if there is one."""
    if not agents:
        return
    if agents["status"] == "written":
        print_line(f"written     {agents['file']}: six lines for coding agents")
    elif agents["status"] == "unchanged":
        print_line(f"left alone  {agents['file']}: it has the lines for coding agents")
    else:
        print_line(
            f"left alone  {agents['file']}: {agents['why']}; these lines for coding agents are missing there:"
        )
        for line in agents_file.LINES:
            print_line(f"                {line}")


ARGUMENTS = ("--llm-report=report.html", "--llm-report=run.json")
MENDED = ("-q", "--llm-prompt=support=v3")
# Environment variables with these prefixes would change the run of the demo
FOREIGN_VARIABLES = ("PYTEST_", "LLMOPS_", "OPENAI_")


def _demo(args: argparse.Namespace) -> int:
    """Write the demo into a folder, run its tests, print what to do next, and return the exit status.

    The demo shows something that got worse, so pytest is allowed to fail; it is an error only if it writes no run file.
    """
    folder = (args.folder or Path(tempfile.mkdtemp(prefix="llmops-demo-"))).resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"FOLDER: expected a new or an empty folder, got {folder}: nothing is overwritten")
    files = dict(read_starter_files("demo"))
    for name, data in files.items():
        create_file(folder / name, data)
    change = _compare_prompts(files)
    if not args.json:
        _print_introduction(folder)
    status = _run_pytest(folder, is_quiet=args.json)
    if not (folder / "run.json").is_file():
        print_error(f"the demo did not run: pytest ended with {status} in {folder}")
        return EXIT_PROBLEM
    if args.json:
        _print_demo_result(folder, change)
    else:
        _print_way_out()
    return 0


def _compare_prompts(files: Mapping[str, bytes]) -> list[str]:
    """Return the lines that differ between the first two versions of the demo's prompt, with ``-`` and ``+``."""
    old = files["prompts/support/v1.md"].decode().splitlines()
    new = files["prompts/support/v2.md"].decode().splitlines()
    return [line for line in difflib.ndiff(old, new) if line[0] in "-+"]


def _print_introduction(folder: Path) -> None:
    """Print the subject of the demo, and the command that shows the effect of the change."""
    print_line("A support bot makes up answers where the shop's policy has none. A new line in")
    print_line("its prompt is to stop that. Did it get worse? 40 questions, three recorded")
    print_line("answers of a real model to each:\n")
    print_line(f"$ cd {folder}\n$ pytest {' '.join(ARGUMENTS)}")
    sys.stdout.flush()


def _print_way_out() -> None:
    """Print the command that shows a better prompt, and what to do next."""
    print_line("\nCustomers are sent away though the policy has an answer. Version 3 of the prompt")
    print_line("states when the line applies, and shows it by two examples. In that folder:\n")
    print_line(f"$ pytest {' '.join(MENDED)}\n")
    print_line("A first test in your own project: llmops init")


def _print_demo_result(folder: Path, change: Sequence[str]) -> None:
    """Print the folder, the changed lines, the verdict and the report as JSON."""
    verdict = read_run_file(folder / "run.json").find_verdict("baseline")
    result = {"folder": str(folder), "change": change, "report": str(folder / "report.html"), "verdict": ""}
    if verdict:
        result["verdict"] = verdict.status
    print_json(result)


def _run_pytest(folder: Path, *, is_quiet: bool) -> int:
    """Run the tests of the demo in a process of their own, and return its exit status.

    Only our plugin is loaded, so that other plugins of the user do not change the run.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_VARIABLES)}
    environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    # As wide as this terminal, also where its output goes through a pipe.
    environ["COLUMNS"] = str(shutil.get_terminal_size().columns)
    stdout = None
    if is_quiet:
        stdout = subprocess.PIPE
    command = [sys.executable, "-m", "pytest", "-p", "pytest_llmops.plugin", *ARGUMENTS]
    done = subprocess.run(  # noqa: S603 -- this Python, on files of ours
        command,
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        check=False,
    )
    return done.returncode
