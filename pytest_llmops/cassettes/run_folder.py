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

RUN = "LLMOPS_RUN"
"""Environment variable with the folder, for the processes that the run starts."""


@contextmanager
def open_folder() -> Iterator[None]:
    """Make the folder, tell it to the processes that are started, and remove it in the end."""
    made = Path(tempfile.mkdtemp(prefix="pytest-llmops-run-"))
    before = os.environ.get(RUN)  # of a run that this one is inside of
    os.environ[RUN] = str(made)
    try:
        yield
    finally:
        os.environ.pop(RUN, None)
        if before is not None:
            os.environ[RUN] = before
        shutil.rmtree(made, ignore_errors=True)


def folder() -> Path:
    """Return the folder of the run; outside of one (a script, a command) that of this process, made when it is needed."""
    named = os.environ.get(RUN, "")
    return Path(named) if named and Path(named).is_dir() else _of_process(os.getpid())


@lru_cache(maxsize=1)
def _of_process(pid: int) -> Path:
    made = Path(tempfile.mkdtemp(prefix="pytest-llmops-run-"))
    atexit.register(_remove, made, pid)
    return made


def _remove(made: Path, pid: int) -> None:
    if os.getpid() == pid:  # a forked child ends too, and its parent still uses the folder
        shutil.rmtree(made, ignore_errors=True)
