"""The session of commands that call a judge: which judge, which model, and the recording to replay."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from pytest_llmops import recorder, registry
from pytest_llmops.cassettes.use_cassette import use_cassette
from pytest_llmops.cli.commands import extend_import_path
from pytest_llmops.cli.ini_files import read_ini
from pytest_llmops.cli.judge import OPTION_NAMES
from pytest_llmops.cli.output import format_path
from pytest_llmops.errors import BudgetReached, CassetteMiss, LLMOpsError, UsageError
from pytest_llmops.harness import tapes
from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import Judge
from pytest_llmops.settings import Settings

RUBRIC_SUFFIX = ".md"


@contextmanager
def open_judge_session(args: argparse.Namespace, cassette: Path) -> Iterator[recorder.Recorder]:
    """Apply the settings, replay the recording, and make the user's own judges importable.

    The project's ini file counts where the command line says nothing, as with pytest.

    Args:
        args: The arguments that the commands declare.
        cassette: The recording.

    Raises:
        UsageError: The project's ini file cannot be read, or a setting has the wrong form.
        LLMOpsError: No recording matches a request, or a live call exceeds the budget.
    """
    active_recorder = recorder.Recorder()
    recorder.push_recorder(active_recorder)
    try:
        options = {name: getattr(args, name) for name in OPTION_NAMES}
        options["record"] = args.record or "none"  # the ini file does not decide whether the judge is called
        folder, ini = read_ini(Path.cwd()) or (Path(), {})
        sources = ("command line", options), ("ini", ini)
        settings = Settings.from_sources(*sources, environ=os.environ).with_paths_below(folder)
        active_recorder.settings = settings
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


def load_judge(name: str) -> Judge:
    """Return the judge of a name: a built-in judge, that of a judge file, or a class of the user's own.

    Raises:
        UsageError: There is no such judge, or it has no ``judge`` method and version.
    """
    module, colon, attribute = name.partition(":")
    if registry.is_builtin("judge", name) or not colon:
        return cast("Judge", registry.load_builtin("judge", name))
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
