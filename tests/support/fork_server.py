"""A process that has imported what workers of xdist import, and nothing else: each worker is a fork of it.

``python -u fork_server.py FD MODULES``: it reads requests from the socket FD and imports the comma-separated
modules. A request is one message with the program, the folder and the variables of a new process as JSON, and its
three standard streams; the answer is the number of the process. Without this, each worker of each small run imports openai and
scikit-learn again, which takes longer than the run.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import socket
import sys
import threading
from contextlib import suppress

import pytest

from support.loading import import_modules
from support.read_once import read_once

LARGEST_REQUEST = 1 << 20


def serve(control: socket.socket) -> str:
    """Fork a process for each request; return its program in the new process, and at the end "" in this one."""
    while True:
        message, streams, _, _ = socket.recv_fds(control, LARGEST_REQUEST, 3)
        if not message:
            return ""
        pid = os.fork()
        if pid == 0:
            control.close()
            return become_new_process(message, streams)
        for stream in streams:
            os.close(stream)
        control.send(str(pid).encode())


def become_new_process(message: bytes, streams: list[int]) -> str:
    """Take over the folder, the variables and the streams of a request; return its program."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request = json.loads(message)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["variables"])
    sys.argv = ["-c"]
    sys.path[0] = ""
    return str(request["program"])


def reap_children(*_: object) -> None:
    """Wait for all children that ended: so their time counts as that of the tests."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main(fd: str, modules: str) -> None:
    control = socket.socket(fileno=int(fd))
    read_once(pytest.MonkeyPatch())
    import_modules(modules.split(","))
    gc.collect()
    gc.freeze()  # the collections at the end of each run pass over what is loaded here
    signal.signal(signal.SIGCHLD, reap_children)
    program = serve(control)
    if program:
        exec(program, {"__name__": "__main__"})
        end_process()


def end_process() -> None:
    """End this process as Python does, but for taking each loaded module apart: that would copy all memory that forks share."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
