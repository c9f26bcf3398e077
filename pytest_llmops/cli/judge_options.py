"""Options and session of commands that call a judge: which judge, which model, and the recording to replay."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pytest_llmops.cli.output import format_path
from pytest_llmops.errors import BudgetReached, CassetteMiss, LLMOpsError, UsageError
from pytest_llmops.measurement import shorten_text

if TYPE_CHECKING:
    from pytest_llmops.protocols import Judge
    from pytest_llmops.recorder import Recorder
    from pytest_llmops.settings import Settings

RUBRIC_SUFFIX = ".md"
JUDGE_HELP = "a built-in judge (quality), the path of a judge file.md, or module.path:Class"
OPTION_NAMES = {
    "record": "record",
    "judge_model": "model",
    "base_url": "base-url",
    "api": "api",
    "judge_concurrency": "concurrency",
    "max_calls": "max-calls",
    "budget": "budget",
}
"""Options of pytest that the commands take too, with their short names."""


def add_judge_options(command: argparse.ArgumentParser, default_cassette: str) -> None:
    """Declare the recording, and pytest's options of a judge's model; ``default_cassette`` is for the help."""
    from pytest_llmops.settings import OPTIONS

    command.add_argument(
        "--cassette",
        type=Path,
        metavar="FILE.json",
        help=f"recording to replay, or to record into (default: {default_cassette})",
    )
    options = {option.name: option for option in OPTIONS}
    for name, short in OPTION_NAMES.items():
        option = options[name]
        more = (
            {"choices": ("none", "new", "all", "live")} if name == "record" else {"metavar": option.metavar}
        )
        help_text = option.help.replace("%", "%%")
        command.add_argument(f"--{short}", str(option.flag), dest=name, help=help_text, **more)


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
def open_judge_session(args: argparse.Namespace, cassette: Path) -> Iterator[Recorder]:
    """Apply the settings, replay the recording, and make the user's own judges importable.

    The project's ini file counts where the command line says nothing, as with pytest.

    Args:
        args: The arguments that `add_judge_options` declares.
        cassette: The recording.

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
        settings = active_recorder.settings = _read_settings(args)
        with (
            tapes.sdk_environment(settings),  # replaying needs no API key
            extend_import_path(Path.cwd()),
            use_cassette(cassette, record=settings.record),
        ):
            yield active_recorder
    except BudgetReached as error:
        raise LLMOpsError(f"{error} (what was answered is recorded)") from None
    except CassetteMiss as miss:
        request = str(miss).splitlines()[0]
        raise LLMOpsError(
            f"{request} in {format_path(cassette)}; to call the judge, add --record new"
        ) from None
    finally:
        recorder.pop_recorder(active_recorder)


def _read_settings(args: argparse.Namespace) -> Settings:
    from pytest_llmops.cli.ini_files import read_ini
    from pytest_llmops.settings import Settings

    options = {name: getattr(args, name) for name in OPTION_NAMES}
    options["record"] = args.record or "none"  # the ini file does not decide whether the judge is called
    folder, ini = read_ini(Path.cwd()) or (None, {})
    settings = Settings.from_sources(("command line", options), ("ini", ini), environ=os.environ)
    return settings if folder is None else settings.with_paths_below(folder)


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
