"""Start the process of the silent runs: a fork of this one, or a fresh pytest with the same arguments.

A fork has all that pytest has collected and imported, and costs next to nothing. It is used on Linux while no other thread runs: a lock
that such a thread holds would never be released in the fork. Files that are open get a place of their own in the fork
(`inherited_files`). Elsewhere, and in the controller of xdist, which has collected no tests, a fresh pytest is started, which collects
them again.
"""

import gc
import os
import random
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from pytest_llmops.cassettes import SILENT_LINK_VARIABLE
from pytest_llmops.harness.ahead import fresh
from pytest_llmops.harness.ahead.link import MAX_ERROR, ParentLink, SilentProcess
from pytest_llmops.measurement import shorten_text

ProcessKind = Literal["fork", "fresh"]
# Forces a kind; for our own tests
KIND_VARIABLE = "LLMOPS_SILENT_PROCESS"
TASKS = Path("/proc/self/task")  # of Linux: the threads of this process, also threads of C code
DESCRIPTORS = Path("/proc/self/fd")  # of Linux: the open files of this process, as links
# Objects that two processes cannot share: a connection, and the queue of an event loop
SHARED_KINDS = ("socket:", "anon_inode:[eventpoll]")
# A debugger stops in the silent runs too, or debugs the other process by mistake
DEBUGGERS = ("debugpy", "pydevd")
# Objects that the forked process uses no more. If they were closed, Python would warn of it in the first test
_unused: list[object] = []


class NoSilentProcessError(Exception):
    """No other process can make silent runs; holds the reason for the summary."""


def find_process_kind(config: Any) -> ProcessKind:
    """Return how silent runs can be made in another process.

    Args:
        config: pytest's.

    Raises:
        NoSilentProcessError: No kind works here.
    """
    is_controller = config.getoption("dist", "no") != "no"
    forced = os.environ.get(KIND_VARIABLE, "")
    if forced:
        return "fresh" if is_controller else _check_kind(forced)
    debugger = next((name for name in DEBUGGERS if name in sys.modules), "")
    if debugger:
        raise NoSilentProcessError(f"a debugger is running ({debugger})")
    if (
        sys.platform == "linux"
        and not is_controller
        and _count_threads() == 1
        and not _has_connections(config)
    ):
        return "fork"
    if config.invocation_params.plugins:
        raise NoSilentProcessError(
            "pytest was started with plugins as objects, which no other process can have"
        )
    return "fresh"


def _check_kind(text: str) -> ProcessKind:
    """Return a kind that a variable of the environment forces.

    Raises:
        NoSilentProcessError: The kind does not exist.
    """
    for kind in get_args(ProcessKind):
        if text == kind:
            checked: ProcessKind = kind
            return checked
    raise NoSilentProcessError(
        f"{KIND_VARIABLE} is {text!r}, expected one of {', '.join(get_args(ProcessKind))}"
    )


def _has_connections(config: Any) -> bool:
    """Return whether this process has a socket or an event loop open, but for its input and output.

    Args:
        config: pytest's. It may keep the input elsewhere while it captures.
    """
    links = {}
    for path in DESCRIPTORS.iterdir():
        with suppress(OSError):  # of the list itself, which is closed by now
            links[int(path.name)] = os.readlink(path)  # noqa: PTH115 -- a text such as "socket:[7]" is not a path
    captures = config.pluginmanager.get_plugin("capturemanager")
    captured_input = getattr(getattr(captures, "_global_capturing", None), "in_", None)
    kept_input = getattr(captured_input, "targetfd_save", 0)
    standard = {links.get(descriptor) for descriptor in (0, 1, 2, kept_input)}
    return any(link.startswith(SHARED_KINDS) for link in links.values() if link not in standard)


def _count_threads() -> int:
    """Return the number of threads of this process, also threads of C code except OpenBLAS. 0 if the system does not report it.

    OpenBLAS, which numpy uses, ends its threads before a fork, and starts them again in both processes.
    """
    try:
        count = len(list(TASKS.iterdir()))
    except OSError:
        return 0
    if "numpy" in sys.modules:
        with suppress(ImportError):
            from threadpoolctl import threadpool_info  # type: ignore[import-untyped]  # comes with scikit-learn

            pools = [pool for pool in threadpool_info() if pool["internal_api"] == "openblas"]
            count -= sum(pool["num_threads"] - 1 for pool in pools)
    return max(count, threading.active_count())


def fork_process(config: Any, run_silently: Callable[[ParentLink], object]) -> SilentProcess:
    """Fork this process for the silent runs.

    Args:
        config: pytest's.
        run_silently: Called in the forked process, which ends with it, without any of the clean-up that belongs to this one.

    Raises:
        OSError: The system has no room for another process.
    """
    from_child, to_parent = os.pipe()
    from_parent, to_child = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    random_state = random.getstate()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about threads: see `find_process_kind`
        process_id = os.fork()
    if process_id == 0:
        gc.freeze()  # a collection would write to all objects, and so copy the memory
        random.setstate(random_state)  # Python seeds the generator anew in a fork
        os.close(from_child)
        os.close(to_child)
        _run_in_fork(config, ParentLink(from_parent, to_parent), run_silently)
    os.close(from_parent)
    os.close(to_parent)
    return SilentProcess(from_child, to_child, partial(_wait_for, process_id))


def _wait_for(process_id: int) -> None:
    """Wait for the end of the forked process."""
    with suppress(ChildProcessError):  # a test has waited for all processes of this one
        os.waitpid(process_id, 0)


def _run_in_fork(config: Any, link: ParentLink, run_silently: Callable[[ParentLink], object]) -> None:
    """Run a function in the forked process, and end the process."""
    from pytest_llmops.harness.ahead.inherited_files import leave_shared_files  # not on Windows

    try:
        _leave_output(config)
        leave_shared_files()
        _leave_coverage()
        run_silently(link)
    except BaseException as error:  # noqa: BLE001 -- the parent reports it
        link.send("failed", describe_error(error))
    finally:
        os._exit(1)


def describe_error(error: BaseException) -> str:
    """Return an error that was raised, with the file and line of its place."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
    return shorten_text(text, MAX_ERROR)


def _leave_output(config: Any) -> None:
    """Let nothing that the forked process writes reach the output of the parent, and let it read nothing of the parent's input.

    All copies of the descriptors 0, 1 and 2 are replaced, so that whoever reads the parent's output sees its end.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    outputs = []
    for descriptor in (0, 1, 2):
        with suppress(OSError):  # pytest was started without it
            outputs.append(os.fstat(descriptor))
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 -- names are all that is needed
        with suppress(OSError):
            status = os.fstat(int(name))
            if any(os.path.samestat(status, output) for output in outputs):
                os.dup2(nowhere, int(name))
    _unused.extend((sys.stdout, sys.stderr))
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 -- a device, open until the process ends
    sys.stderr = sys.stdout
    captures = config.pluginmanager.get_plugin("capturemanager")
    captured = getattr(captures, "_global_capturing", None)
    _unused.append(captured)
    if (
        captured is not None
    ):  # as with `-s`: there is nothing to capture, and to switch on and off for each test
        captures._global_capturing = type(captured)(in_=None, out=None, err=None)  # noqa: SLF001 -- pytest has no public access


def _leave_coverage() -> None:
    """Stop measuring coverage in the forked process; the parent measures the run that counts."""
    if "coverage" not in sys.modules:
        return
    import coverage

    running = coverage.Coverage.current()
    if running is not None:
        running.stop()


def find_parent_link() -> ParentLink | None:
    """Return the connection to the pytest whose run counts, in a fresh pytest for the silent runs; None in all other processes."""
    descriptors = os.environ.pop(SILENT_LINK_VARIABLE, "")
    if not descriptors:
        return None
    receiver, sender = map(int, descriptors.split())
    return ParentLink(receiver, sender)


def start_fresh_process(config: Any) -> SilentProcess:
    """Start a fresh pytest with the arguments of this run for the silent runs.

    Raises:
        OSError: The system has no room for another process.
    """
    arguments = add_options(list(map(str, config.invocation_params.args)), _list_own_arguments(config))
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001 -- as multiprocessing does
    errors = tempfile.TemporaryFile()  # noqa: SIM115 -- open until the process ends
    from_child, to_parent = os.pipe()
    from_parent, to_child = os.pipe()
    sender, options = _pass_on(to_parent)
    process = subprocess.Popen(  # noqa: S603 -- the arguments of this very run
        [sys.executable, *flags, fresh.__file__, str(sender)],
        cwd=config.invocation_params.dir,
        stdin=from_parent,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        **options,
    )
    os.close(from_parent)
    os.close(to_parent)
    silent_process = SilentProcess(from_child, to_child, process.wait, errors)
    silent_process.send({"path": sys.path, "arguments": arguments, "link_variable": SILENT_LINK_VARIABLE})
    return silent_process


def add_options(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return the arguments of pytest with further options."""
    end = len(arguments)
    if "--" in arguments:  # no options follow
        end = arguments.index("--")
    return [*arguments[:end], *options, *arguments[end:]]


def _pass_on(descriptor: int) -> tuple[int, dict[str, Any]]:
    """Return the number that a descriptor has in a new process, and the options of `subprocess.Popen` with which it has it.

    On Windows the number belongs to a handle.
    """
    if sys.platform == "win32":
        import msvcrt

        handle = msvcrt.get_osfhandle(descriptor)
        os.set_handle_inheritable(handle, True)  # noqa: FBT003 -- has no name
        return handle, {"startupinfo": subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle]})}
    return descriptor, {"pass_fds": (descriptor,)}


def _list_own_arguments(config: Any) -> list[str]:
    """Return arguments for the fresh pytest: it uses no workers, no file of this run, and the same seed."""
    own = []
    plugins = config.pluginmanager
    if config.getoption("numprocesses", None) is not None or config.getoption("dist", "no") != "no":
        own.append("-n0")
    if config.getoption("log_file", None) or config.getini("log_file"):
        own.append(f"--log-file={os.devnull}")
    if config.getoption("report_log", None):
        own.append(f"--report-log={os.devnull}")
    if plugins.has_plugin("_cov"):
        own.append("--no-cov")
    seed = config.getoption("randomly_seed", None)
    if isinstance(seed, int):
        own.append(f"--randomly-seed={seed}")
    return own
