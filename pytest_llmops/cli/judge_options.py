"""What the commands that ask a judge share: which judge, which model, and the recording that answers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pytest_llmops.errors import BudgetReached, CassetteMiss, LLMOpsError, UsageError
from pytest_llmops.measurement import shorten_text

if TYPE_CHECKING:
    from pytest_llmops.protocols import Judge
    from pytest_llmops.recorder import Recorder

RUBRIC_SUFFIX = ".md"
PYTEST_MODEL_FLAG = "--llm-judge-model="
"""What errors about the judges' model name: a command has a flag of its own for it."""
JUDGE_HELP = "a built-in one (quality), a rubric's file.md, or module.path:Class"


def add_judge_options(command: argparse.ArgumentParser, default_cassette: str) -> None:
    """Declare who is asked, and what answers; ``default_cassette`` says which recording does by default."""
    command.add_argument(
        "--cassette",
        type=Path,
        metavar="FILE.json",
        help=f"the recording that answers (default: {default_cassette})",
    )
    command.add_argument(
        "--record", choices=("none", "new", "all", "live"), default="none", help="none (default): recordings answer; new: ask for what "
        "is missing; all: ask again; live: ask, and keep nothing"
    )  # fmt: skip
    command.add_argument("--model", metavar="NAME", help="model of the judge")
    command.add_argument("--base-url", metavar="URL", help="OpenAI-compatible server")
    command.add_argument(
        "--concurrency", type=parse_positive_int, metavar="N", help="answers that are judged at the same time, where they are asked live"
    )  # fmt: skip
    command.add_argument("--max-calls", metavar="N", help="live calls that may be made")
    command.add_argument("--budget", metavar="USD", help="US dollars that they may cost; needs known prices")


def parse_positive_int(text: str) -> int:
    """Read a whole number of at least 1, as argparse wants it."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


@contextmanager
def extend_import_path(folder: Path) -> Iterator[None]:
    """Find modules of the user's own in a folder, as ``python -m`` does.

    For as long as a command runs: a judge may import its neighbours when it is asked.
    """
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(entry)


@contextmanager
def open_judge_session(args: argparse.Namespace, cassette: Path, *, record_flags: str) -> Iterator[Recorder]:
    """Open the settings, the recording that answers, and the folder in which the user's own judges are.

    As with pytest, the project's ini file counts where the command line says nothing.

    Args:
        args: The arguments that `add_judge_options` declares.
        cassette: The recording.
        record_flags: The arguments that let the judge be asked, for the error.

    Raises:
        UsageError: The project's ini cannot be read, or a setting has the wrong form.
        LLMOpsError: A request that no recording answers, or a live call beyond the budget.
    """
    import os

    from pytest_llmops import recorder
    from pytest_llmops.cassettes.use_cassette import use_cassette
    from pytest_llmops.cli.ini_files import read_ini
    from pytest_llmops.harness import tapes
    from pytest_llmops.settings import Settings

    options = {
        "judge_model": args.model,
        "base_url": args.base_url,
        "record": args.record,
        "judge_concurrency": args.concurrency,
        "max_calls": args.max_calls,
        "budget": args.budget,
    }
    project = read_ini(Path.cwd())
    settings = Settings.from_sources(
        ("command line", options), ("ini", project[1] if project else {}), environ=os.environ
    )
    settings = settings.with_paths_below(project[0]) if project else settings
    active_recorder = recorder.Recorder(settings=settings)
    recorder.push_recorder(active_recorder)
    try:
        with (
            tapes.sdk_environment(settings),  # replaying needs no key
            extend_import_path(Path.cwd()),
            use_cassette(cassette, record=args.record),
        ):
            yield active_recorder
    except UsageError as error:
        if PYTEST_MODEL_FLAG not in str(error):
            raise
        raise UsageError(str(error).replace(PYTEST_MODEL_FLAG, "--model ")) from None
    except BudgetReached as error:
        raise LLMOpsError(f"{error} (what was answered is recorded)") from None
    except CassetteMiss as miss:
        what = str(miss).splitlines()[0]
        raise LLMOpsError(
            f"{what} in {shorten_text(str(cassette), 300)}; let the judge be asked: {record_flags}"
        ) from None
    finally:
        recorder.pop_recorder(active_recorder)


def load_judge(name: str) -> Judge:
    """Return the judge of a name: a built-in one, that of a rubric file, or a class of the user's own.

    Raises:
        UsageError: There is none, or it is no judge.
    """
    from pytest_llmops import registry

    if name.endswith(RUBRIC_SUFFIX) and not registry.is_builtin("judge", name):
        from pytest_llmops.judges.rubric_files import rubric_judge

        return rubric_judge(name)
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
