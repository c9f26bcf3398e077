"""The start of a fresh pytest for the silent runs: connects it to the pytest whose run counts, and runs it.

It is executed as a script, and imports nothing of this package: pytest warns of a plugin that is imported before it.
"""

import json
import os
import runpy
import sys

# Names the descriptors of the pipes to and from the pytest whose run counts
LINK_VARIABLE = "LLMOPS_SILENT_LINK"


def run_pytest() -> None:
    """Run pytest with the arguments and the search path for modules that the first line of the input gives."""
    start = json.loads(sys.stdin.buffer.readline())
    sys.path[:] = start["path"]
    sys.argv[:] = ["pytest", *start["arguments"]]
    os.environ[LINK_VARIABLE] = f"{os.dup(0)} {os.dup(1)}"
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nowhere, descriptor)
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run_pytest()
