"""``llmops init``: write a first prompt, case file, test and configuration; ``llmops demo``: a recorded run to look at."""

import argparse
import difflib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_llmops._util.text_files import BadFile
from pytest_llmops._util.user_files import find_path, folders_above
from pytest_llmops.cli.common import (
    EXIT_PROBLEM,
    add_command,
    create_file,
    find_ini_file,
    print_error,
    print_json,
    print_line,
    print_lines,
    read_ini,
    read_run_file,
    read_starter_files,
)
from pytest_llmops.errors import UsageError

STEPS = (
    "pytest tests/test_llm_first.py --llm-record=new    asks the model once, and records its answers",
    "pytest tests/test_llm_first.py                     replays them: offline and free; commit the cassettes",
)
PLACEHOLDER = "YOUR_MODEL"
INI = """[pytest]
# `pytest` alone replays recordings. With --llm-record=new this model is asked for what is not recorded yet.
{lines}
# Any OpenAI-compatible server; left out: OpenAI, with the key in OPENAI_API_KEY.
# llm_base_url = http://127.0.0.1:8080/v1
"""


def add_init_group(groups: Any) -> None:
    """Declare ``init`` and ``demo``."""
    as_json = {"--json": {"action": "store_true", "help": "print JSON"}}
    add_command(
        groups,
        "init",
        _init,
        "write a first prompt, case file, test and configuration",
        "Files that exist are left alone; what to add to them by hand is printed.",
        arguments={
            "--llm-model": {"default": "", "metavar": "NAME", "help": "model for the configuration"},
            "--llm-base-url": {"default": "", "metavar": "URL", "help": "OpenAI-compatible server for it"},
            **as_json,
        },
    )
    folder = {
        "nargs": "?",
        "type": Path,
        "metavar": "FOLDER",
        "help": "new or empty folder (default: a temporary one)",
    }
    add_command(
        groups,
        "demo",
        _demo,
        "show a recorded run: a changed prompt, what got worse, the verdict and the report",
        "Needs no key and no network: all answers and embeddings are recorded.",
        arguments={"folder": folder, **as_json},
    )


def _init(args: argparse.Namespace) -> int:
    from pytest_llmops.settings import Settings

    here = Path.cwd()
    given = Settings.from_sources(("command line", {"model": args.llm_model, "base_url": args.llm_base_url}))
    if len(given.models) > 1:
        raise UsageError(f"--llm-model: expected a single model, got {args.llm_model!r}")
    root, values = read_ini(here) or (here, {})
    stored = Settings.from_sources(("ini", values))
    wanted = {
        "llm_model": given.single_model or stored.model or PLACEHOLDER,
        "llm_base_url": given.base_url or stored.base_url,
    }
    lines = {key: value for key, value in wanted.items() if value not in ("", stored.model, stored.base_url)}
    project = here / "pyproject.toml"
    ini = find_ini_file(root) or (project if project.is_file() else here / "pytest.ini")
    files = _place_files(here, root, stored.prompts_dir)
    if not ini.exists():
        files[ini] = INI.format(lines="\n".join(f"{key} = {value}" for key, value in lines.items())).encode()
    # Another version beside the user's own would leave open which of them is used.
    kept = {path for path in files if path.suffix == ".md" and any(path.parent.glob("*.md"))}
    written = [path for path, data in files.items() if path not in kept and create_file(path, data)]
    if ini in written or not lines:
        by_hand = {}
    else:
        by_hand = {"file": _relative(ini), **_format_lines(ini, lines)}
    ask = [f"write the name of your model for {PLACEHOLDER} in {_relative(ini)}"]
    result = {
        "written": [*map(_relative, written)],
        "left_alone": [_relative(path) for path in files if path not in written],
        "add_by_hand": by_hand,
        "next": [*ask[: wanted["llm_model"] == PLACEHOLDER and ini in written], *STEPS],
    }
    (print_json if args.json else _print_result)(result)
    return 0


def _relative(path: Path) -> str:
    return Path(os.path.relpath(path)).as_posix()


def _place_files(here: Path, root: Path, prompts_dir: str) -> dict[Path, bytes]:
    """Return the files by path; the prompt goes into the folder of prompts that the test will see, if there is one."""
    try:
        prompts = find_path(prompts_dir, folders_above(here / "tests", root), is_folder=True)
    except BadFile:
        prompts = here / prompts_dir
    return {
        prompts / name.removeprefix("prompts/") if name.startswith("prompts/") else here / name: data
        for name, data in read_starter_files("init")
    }


def _format_lines(ini: Path, lines: Mapping[str, object]) -> dict[str, Any]:
    is_toml = ini.suffix == ".toml"
    sections = {"pyproject.toml": "tool.pytest.ini_options", "setup.cfg": "tool:pytest"}
    texts = [f"{key} = {json.dumps(value) if is_toml else value}" for key, value in lines.items()]
    return {"section": sections.get(ini.name, "pytest"), "lines": texts}


def _print_result(result: Mapping[str, Any]) -> None:
    print_lines(f"written     {name}" for name in result["written"])
    print_lines(f"left alone  {name}: there is something of that name" for name in result["left_alone"])
    by_hand = result["add_by_hand"]
    if by_hand:
        print_line(f"left alone  {by_hand['file']}: add these lines to its section [{by_hand['section']}]")
        print_lines(f"                {line}" for line in by_hand["lines"])
    for number, step in enumerate(result["next"], start=1):
        print_line(f"{'' if number > 1 else 'next':<10}  {number}. {step}")


ARGUMENTS = ("--llm-report=report.html", "--llm-report=run.json")
# Beginnings of names of variables that would change the run
FOREIGN_VARIABLES = ("PYTEST_", "LLMOPS_", "OPENAI_")


def _demo(args: argparse.Namespace) -> int:
    folder = (args.folder or Path(tempfile.mkdtemp(prefix="llmops-demo-"))).resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"FOLDER: expected a new or an empty folder, got {folder}: nothing is overwritten")
    files = dict(read_starter_files("demo"))
    for name, data in files.items():
        create_file(folder / name, data)
    old, new = (files[f"prompts/support/{version}.md"].decode().splitlines() for version in ("v1", "v2"))
    change = [line for line in difflib.ndiff(old, new) if line[0] in "-+"]
    if not args.json:
        print_line(
            "A support bot, its answers recorded from a very small model. Somebody changed its prompt:\n"
        )
        print_lines(f"    {line}" for line in change)
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
    verdict = read_run_file(folder / "run.json").find_verdict("baseline")
    result = {"folder": str(folder), "change": change, "report": str(folder / "report.html")}
    if args.json:
        print_json({**result, "verdict": verdict.status if verdict else ""})
        return 0
    print_line(f"\nVerdict       {verdict.status} {verdict.sentence}" if verdict else "\nNo verdict")
    print_line(f"The report    {result['report']}")
    print_line("Roll it back  pytest --llm-prompt support=v1    in that folder\nYour project  llmops init")
    return 0
