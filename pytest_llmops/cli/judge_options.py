"""Options and session of commands that call a judge: which judge, which model, and the recording to replay."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pytest_llmops.cli.commands import parse_positive_int
from pytest_llmops.cli.output import format_path
from pytest_llmops.errors import BudgetReached, CassetteMiss, LLMOpsError, UsageError
from pytest_llmops.measurement import shorten_text

if TYPE_CHECKING:
    from pytest_llmops.protocols import Judge
    from pytest_llmops.recorder import Recorder
    from pytest_llmops.settings import Settings

RUBRIC_SUFFIX = ".md"
JUDGE_HELP = "a built-in judge (quality), the path of a judge file.md, or module.path:Class"
COMMAND_FLAGS = {
    "--llm-judge-model": "--model",
    "--llm-base-url": "--base-url",
    "--llm-record": "--record",
    "--llm-judge-concurrency": "--concurrency",
    "--llm-max-calls": "--max-calls",
    "--llm-budget": "--budget",
}
"""pytest's flags in errors, and what the commands call them."""


def add_judge_options(command: argparse.ArgumentParser, default_cassette: str) -> None:
    """Declare the model, the recording, and the limits of live calls; ``default_cassette`` is for the help."""
    add = command.add_argument
    add(
        "--cassette",
        type=Path,
        metavar="FILE.json",
        help=f"recording to replay (default: {default_cassette})",
    )
    add(
        "--record",
        choices=("none", "new", "all", "live"),
        default="none",
        help="none (default): replay only; new: record what is missing; all: record again; live: call, and record nothing",
    )
    add("--model", metavar="NAME", help="model of the judge")
    add("--base-url", metavar="URL", help="OpenAI-compatible server")
    add("--concurrency", type=parse_positive_int, metavar="N", help="live judge calls at the same time")
    add("--max-calls", metavar="N", help="maximum number of live calls")
    add("--budget", metavar="USD", help="maximum cost of live calls in US dollars; needs known prices")


@contextmanager
def extend_import_path(folder: Path) -> Iterator[None]:
    """Make modules in a folder importable while a command runs, as ``python -m`` does: a judge may import later."""
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(entry)


@contextmanager
def open_judge_session(args: argparse.Namespace, cassette: Path, *, record_flags: str) -> Iterator[Recorder]:
    """Apply the settings, replay the recording, and make the user's own judges importable.

    The project's ini file counts where the command line says nothing, as with pytest.

    Args:
        args: The arguments that `add_judge_options` declares.
        cassette: The recording.
        record_flags: Arguments that allow live calls, for the error about a missing recording.

    Raises:
        UsageError: The project's ini file cannot be read, or a setting has the wrong form.
        LLMOpsError: No recording matches a request, or a live call exceeds the budget.
    """
    from pytest_llmops import recorder
    from pytest_llmops.cassettes.use_cassette import use_cassette
    from pytest_llmops.harness import tapes

    active_recorder = recorder.Recorder()
    recorder.push_recorder(active_recorder)
    try:
        active_recorder.settings = _read_settings(args)
        with (
            tapes.sdk_environment(active_recorder.settings),  # replaying needs no API key
            extend_import_path(Path.cwd()),
            use_cassette(cassette, record=args.record),
        ):
            yield active_recorder
    except UsageError as error:
        text = _name_command_flags(str(error))
        if text == str(error):
            raise
        raise UsageError(text) from None
    except BudgetReached as error:
        raise LLMOpsError(f"{_name_command_flags(str(error))} (what was answered is recorded)") from None
    except CassetteMiss as miss:
        request = str(miss).splitlines()[0]
        raise LLMOpsError(
            f"{request} in {format_path(cassette)}; to call the judge, add {record_flags}"
        ) from None
    finally:
        recorder.pop_recorder(active_recorder)


def _read_settings(args: argparse.Namespace) -> Settings:
    from pytest_llmops.cli.ini_files import read_ini
    from pytest_llmops.settings import Settings

    options = {
        "judge_model": args.model,
        "base_url": args.base_url,
        "record": args.record,
        "judge_concurrency": args.concurrency,
        "max_calls": args.max_calls,
        "budget": args.budget,
    }
    folder, ini = read_ini(Path.cwd()) or (None, {})
    settings = Settings.from_sources(("command line", options), ("ini", ini), environ=os.environ)
    return settings if folder is None else settings.with_paths_below(folder)


def _name_command_flags(text: str) -> str:
    return re.sub(
        rf"({'|'.join(COMMAND_FLAGS)})(=|(?![\w-]))",
        lambda match: COMMAND_FLAGS[match[1]] + match[2].replace("=", " "),
        text,
    )


def load_judge(name: str) -> Judge:
    """Return the judge of a name: a built-in judge, that of a judge file, or a class of the user's own.

    Raises:
        UsageError: There is no such judge, or it has no ``judge`` method and version.
    """
    from pytest_llmops import registry

    module, colon, attribute = name.partition(":")
    if registry.is_builtin("judge", name) or not colon:
        return cast("Judge", registry.load_builtin("judge", name))
    import importlib

    try:
        judge = getattr(importlib.import_module(module), attribute)()
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- a user's own module
        raise UsageError(f"judge {shorten_text(name, 100)}: {type(error).__name__}: {error}") from None
    if not callable(getattr(judge, "judge", None)) or not hasattr(judge, "version"):
        raise UsageError(
            f"judge {shorten_text(name, 100)}: expected an object with judge(answer, *, question, reference) and a version, got "
            f"{type(judge).__name__}"
        )
    return cast("Judge", judge)
