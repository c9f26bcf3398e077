"""Workers of xdist that are forks of one process which has imported the large packages."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

SERVER = "support.fork_server"
CAN_FORK = hasattr(os, "pidfd_open")
"""Whether this system tells when a process ends that is not a child of the one that waits."""


class ForkedProcess:
    """What execnet uses of `subprocess.Popen`, for a process that the fork server started."""

    def __init__(self, pid: int, stdin: int, stdout: int) -> None:
        self.pid = pid
        self.stdin = os.fdopen(stdin, "wb")
        self.stdout = os.fdopen(stdout, "rb")
        try:
            self._handle = os.pidfd_open(pid)
        except ProcessLookupError:  # it ended already
            self._handle = -1

    def wait(self) -> int:
        """Wait until the process ended."""
        if self._handle >= 0:
            end = select.poll()
            end.register(self._handle)
            end.poll()
            os.close(self._handle)
            self._handle = -1
        return 0

    def kill(self) -> None:
        """Kill the process; nothing happens if it ended."""
        if self._handle >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)


class ForkServer:
    """The process that is forked: started at the first worker, ended by `close`."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = modules
        self._variables = dict(os.environ)  # a test changes them before the first worker starts
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def fork(self, program: str) -> ForkedProcess:
        """Start a process that runs a program, in the folder and with the variables of this one.

        Raises:
            RuntimeError: The server ended.
        """
        if self._control is None:
            self._control = self._start()
        request = {"program": program, "folder": str(Path.cwd()), "variables": dict(os.environ)}
        message = json.dumps(request).encode()
        their_stdin, our_stdin = os.pipe()
        our_stdout, their_stdout = os.pipe()
        socket.send_fds(self._control, [message], [their_stdin, their_stdout, 2])
        os.close(their_stdin)
        os.close(their_stdout)
        answer = self._control.recv(64)
        if not answer:
            raise RuntimeError(
                f"the fork server ended: its error is in the captured output; python -m {SERVER} starts it"
            )
        return ForkedProcess(int(answer), our_stdin, our_stdout)

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environ = {**self._variables, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", SERVER, str(theirs.fileno()), ",".join(self._modules)],
                stdin=subprocess.DEVNULL,
                env=environ,
                cwd="/",
                pass_fds=[theirs.fileno()],
            )
        return ours

    def close(self) -> None:
        """End the server."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.wait()


def start_workers_by_forks(server: ForkServer, patch: pytest.MonkeyPatch) -> None:
    """Have execnet, and so xdist, ask a fork server for the processes that it starts: `args` end with ``-c PROGRAM``."""
    from execnet.gateway_base import Popen2IO
    from execnet.gateway_io import Popen2IOMaster

    def fork_worker(io: Any, args: Sequence[str], execmodel: Any) -> None:
        io.popen = server.fork(args[-1])
        Popen2IO.__init__(io, io.popen.stdin, io.popen.stdout, execmodel=execmodel)

    patch.setattr(Popen2IOMaster, "__init__", fork_worker)
