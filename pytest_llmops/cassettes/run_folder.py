"""The folder that the processes of a run share while it lasts: the budget's ledger, judges' answers and their pace."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from pytest_llmops.cassettes.journal import close_quietly, lock_file

RUN = "LLMOPS_RUN"
"""Environment variable with the folder, for the processes that the run starts."""
PREFIX = "pytest-llmops-run-"
ALIVE = ".alive"
"""A file in the folder that its process holds locked: a folder whose file can be locked was left by a killed run."""


@contextmanager
def open_folder() -> Iterator[None]:
    """Make the folder, tell it to the processes that are started, and remove it in the end."""
    remove_left_behind()
    made, alive = _make()
    before = os.environ.get(RUN)  # of a run that this one is inside of
    os.environ[RUN] = str(made)
    try:
        yield
    finally:
        os.environ.pop(RUN, None)
        if before is not None:
            os.environ[RUN] = before
        shutil.rmtree(made, ignore_errors=True)
        close_quietly(alive)


def _make() -> tuple[Path, int]:
    """Make a folder, and the open file that says that its process lives."""
    made = Path(tempfile.mkdtemp(prefix=PREFIX))
    draft = made / f"{ALIVE}.new"
    alive = os.open(draft, os.O_CREAT | os.O_RDWR)
    if lock_file(alive, alone=True):
        draft.rename(made / ALIVE)  # only now: nobody finds it unlocked
    return made, alive


def remove_left_behind() -> None:
    """Remove the folders of runs that were killed; where files cannot be locked, none."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{ALIVE}"):
        try:
            alive = os.open(left, os.O_RDWR)
        except OSError:  # gone meanwhile, or somebody else's
            continue
        if lock_file(alive, alone=True):
            shutil.rmtree(left.parent, ignore_errors=True)
        close_quietly(alive)


def folder() -> Path:
    """Return the folder of the run; outside of one (a script, a command) that of this process, made when it is needed."""
    named = os.environ.get(RUN, "")
    return Path(named) if named and Path(named).is_dir() else _of_process(os.getpid())


@lru_cache(maxsize=1)
def _of_process(pid: int) -> Path:
    made, _ = _make()  # locked until the process ends
    atexit.register(_remove, made, pid)
    return made


def _remove(made: Path, pid: int) -> None:
    if os.getpid() == pid:  # a forked child ends too, and its parent still uses the folder
        shutil.rmtree(made, ignore_errors=True)
