"""Python runs this file at the start of a process that a test started.

It runs the environment's own `sitecustomize` first, which it hides, and then connects the process with the test.

Its folder is added to PYTHONPATH of the process. coverage.py uses a .pth file in site-packages instead, but every
Python process of the environment reads that, even where nobody uses the plugin, and an editable install does not
include it. The disadvantage: `python -I`, `-E` and `-S` ignore this file.
"""

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec


def run_next() -> None:
    """Run the `sitecustomize` that this file hides, if there is one. Its errors are reported as usual."""
    folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 -- pathlib costs every process some ms
    sys.path[:] = [path for path in sys.path if path != folder]
    spec = PathFinder.find_spec("sitecustomize")
    if spec is not None and spec.loader is not None:
        sys.modules["sitecustomize"] = module = module_from_spec(spec)
        spec.loader.exec_module(module)


def join_test() -> None:
    """Take part in the test that started this process."""
    ticket = os.environ.get("LLMOPS_TEST_PROCESS")
    if not ticket:
        return
    try:
        from pytest_llmops._util.file_override import install_override
        from pytest_llmops.cassettes.http import child_processes
    except ImportError:  # another interpreter, without the plugin
        return
    install_override()
    child_processes.join_test(ticket)


if __name__ == "sitecustomize":  # not when it is imported as a module of the package
    try:
        run_next()
    finally:
        join_test()
