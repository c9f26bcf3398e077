"""The start of a fresh pytest for the silent runs: connects it to the pytest whose run counts, and runs it.

It is executed as a script, and imports nothing of this package: pytest warns of a plugin that is imported before it. The pipe to the
other pytest is not its standard output, to which an interpreter may print at its start.
"""

import json
import os
import runpy
import sys


def run_pytest(sender: int) -> None:
    """Run pytest with the arguments and the search path for modules that the first line of the input gives.

    Args:
        sender: Descriptor of the pipe to the other pytest; on Windows its handle.
    """
    start = json.loads(sys.stdin.buffer.readline())
    sys.path[:] = start["path"]
    sys.argv[:] = ["pytest", *start["arguments"]]
    if sys.platform == "win32":
        import msvcrt

        sender = msvcrt.open_osfhandle(sender, os.O_WRONLY)
    os.set_inheritable(sender, False)  # noqa: FBT003 -- has no name
    os.environ[start["link_variable"]] = f"{os.dup(0)} {sender}"
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run_pytest(int(sys.argv[1]))
