"""Processes that this process starts and addresses that it connects to, while an agent runs."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Any, Self

_watches: list[Watch] = []


class Watch:
    """Notes, between ``__enter__`` and ``__exit__``, the commands that are started and the ports that are connected to."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.ports: list[int] = []

    def __enter__(self) -> Self:
        _watches.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _watches.remove(self)

    def note(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen":
            command = [os.fsdecode(part) for part in args[1]]
            if command[0] != "uname":  # the openai SDK sends the name of the processor
                self.commands.append(command)
        if event == "socket.connect" and isinstance(args[1], tuple):
            self.ports.append(args[1][1])


def _note(event: str, args: tuple[Any, ...]) -> None:
    for watch in _watches:
        watch.note(event, args)


sys.addaudithook(_note)
