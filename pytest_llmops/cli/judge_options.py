"""What the commands that ask a judge share: which judge, which model, and the recording that answers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pytest_llmops.errors import BudgetReached, CassetteMiss, LLMOpsError, UsageError
from pytest_llmops.measurement import shorten

if TYPE_CHECKING:
    from pytest_llmops.protocols import Judge
    from pytest_llmops.recorder import Recorder

RUBRIC = ".md"
TESTS_FLAG = "--llm-judge-model="
"""What errors about the judges' model name: a command has a flag of its own for it."""
CHOICE = "a built-in one (quality), a rubric's file.md, or module.path:Class"


def add_asking(command: argparse.ArgumentParser, cassette: str) -> None:
    """Declare who is asked, and what answers; ``cassette`` says which recording does by default."""
    command.add_argument(
        "--cassette", type=Path, metavar="FILE.json", help=f"the recording that answers (default: {cassette})"
    )
    command.add_argument(
        "--record", choices=("none", "new", "all", "live"), default="none", help="none (default): recordings answer; new: ask for what "
        "is missing; all: ask again; live: ask, and keep nothing"
    )  # fmt: skip
    command.add_argument("--model", metavar="NAME", help="model of the judge")
    command.add_argument("--base-url", metavar="URL", help="OpenAI-compatible server")
    command.add_argument(
        "--concurrency", type=count, metavar="N", help="answers that are judged at the same time, where they are asked live"
    )  # fmt: skip
    command.add_argument("--max-calls", metavar="N", help="live calls that may be made")
    command.add_argument("--budget", metavar="USD", help="US dollars that they may cost; needs known prices")


def count(text: str) -> int:
    """Read a whole number of at least 1, as argparse wants it."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


@contextmanager
def importing(folder: Path) -> Iterator[None]:
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
def surroundings(given: argparse.Namespace, tape: Path, *, how: str) -> Iterator[Recorder]:
    """Open the settings, the recording that answers, and the folder in which the user's own judges are.

    As with pytest, the project's ini file counts where the command line says nothing.

    Args:
        given: The arguments that `add_asking` declares.
        tape: The recording.
        how: The arguments that let the judge be asked, for the error.

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

    wanted = {
        "judge_model": given.model,
        "base_url": given.base_url,
        "record": given.record,
        "judge_concurrency": given.concurrency,
        "max_calls": given.max_calls,
        "budget": given.budget,
    }
    found = read_ini(Path.cwd())
    settings = Settings.read(("command line", wanted), ("ini", found[1] if found else {}), environ=os.environ)
    settings = settings.anchored(found[0]) if found else settings
    mine = recorder.Recorder(settings=settings)
    environment = tapes.Environment()
    recorder.push(mine)
    environment.set(settings)  # recordings answer without a key
    try:
        with importing(Path.cwd()), use_cassette(tape, record=given.record):
            yield mine
    except UsageError as error:
        if TESTS_FLAG not in str(error):
            raise
        raise UsageError(str(error).replace(TESTS_FLAG, "--model ")) from None
    except BudgetReached as error:
        raise LLMOpsError(f"{error} (what was answered is recorded)") from None
    except CassetteMiss as miss:
        what = str(miss).splitlines()[0]
        raise LLMOpsError(f"{what} in {shorten(str(tape), 300)}; let the judge be asked: {how}") from None
    finally:
        environment.restore()
        recorder.pop(mine)


def chosen(name: str) -> Judge:
    """Return the judge of a name: a built-in one, that of a rubric file, or a class of the user's own.

    Raises:
        UsageError: There is none, or it is no judge.
    """
    from pytest_llmops import registry

    if name.endswith(RUBRIC) and not registry.knows("judge", name):
        from pytest_llmops.judges.rubric_files import rubric_judge

        return rubric_judge(name)
    module, colon, attribute = name.partition(":")
    if registry.knows("judge", name) or not colon:
        return cast("Judge", registry.load("judge", name))
    import importlib

    try:
        made = getattr(importlib.import_module(module), attribute)()
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- a user's own module
        raise UsageError(f"judge {shorten(name, 100)}: {type(error).__name__}: {error}") from None
    if not callable(getattr(made, "judge", None)) or not hasattr(made, "version"):
        raise UsageError(
            f"judge {shorten(name, 100)}: expected an object with judge(answer, *, question, reference) and a version, got "
            f"{type(made).__name__}"
        )
    return cast("Judge", made)
