"""A fresh pytest for the silent runs: connects it to the pytest whose run counts, and starts it."""

import os
import runpy
import sys
from collections.abc import Sequence

from pytest_llmops.cassettes import keep_run_folder
from pytest_llmops.harness.ahead.link import ParentLink

# The connection to the pytest whose run counts; None in all other processes
parent_link: ParentLink | None = None


def run_pytest(arguments: Sequence[str]) -> None:
    """Run pytest, with the input and the output of this process as the connection to the pytest whose run counts.

    Args:
        arguments: The arguments of its command line.
    """
    global parent_link  # noqa: PLW0603 -- of the whole process
    parent_link = ParentLink(os.dup(0), os.dup(1))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115 -- a device, open until the process ends
    keep_run_folder()
    sys.argv[:] = ["pytest", *arguments]
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)
