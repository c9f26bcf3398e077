"""Messages between the process whose run counts and the process of its silent runs.

A message is a line of JSON: a list of its kind and a value. JSON holds data only: nothing in a model's answer can run when it is read.
"""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, BinaryIO

MAX_ERROR = 300
# Descriptors of open pipes. A process that a test forks closes its copies: otherwise the other end would not see that this process ended
_private_descriptors: set[int] = set()


def write_message(kind: str, value: object) -> bytes:
    """Return the line of a message."""
    return json.dumps([kind, value]).encode() + b"\n"


def read_message(line: bytes) -> tuple[str, Any] | None:
    """Return the kind and the value of a message; None for a line that is not a message, or was cut."""
    if not line.endswith(b"\n"):
        return None
    try:
        message = json.loads(line)
    except ValueError:
        return None
    if not isinstance(message, list) or len(message) != 2 or not isinstance(message[0], str):  # noqa: PLR2004 -- kind and value
        return None
    kind, value = message
    return kind, value


def find_last_line(output: bytes) -> str:
    """Return the last line of an output that is not blank; "" without one."""
    lines = output.decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


class ParentLink:
    """The connection to the process whose run counts, used in the process of the silent runs. `send` can be called in any thread.

    Args:
        receiver: Descriptor of a pipe from that process. It ends when that process ends.
        sender: Descriptor of a pipe to that process.
    """

    def __init__(self, receiver: int, sender: int) -> None:
        self._receiver = open(receiver, "rb", closefd=False)  # noqa: SIM115 -- open until the process ends
        self._sender = open(sender, "wb", closefd=False)  # noqa: SIM115 -- as above
        self._lock = threading.Lock()
        _private_descriptors.update((receiver, sender))

    def send(self, kind: str, value: object) -> None:
        """Send a message. It is lost if the other process has ended: nobody needs it any more."""
        line = write_message(kind, value)
        with self._lock, suppress(OSError, ValueError):
            self._sender.write(line)
            self._sender.flush()

    def wait_for_order(self) -> dict[str, Any] | None:
        """Wait until the other process ends this one, and return its order; None: it has ended, or has been interrupted."""
        line = self._receiver.readline()
        if not line.endswith(b"\n"):
            return None
        order: dict[str, Any] = json.loads(line)
        return order


class SilentProcess:
    """The process of the silent runs, seen by the process whose run counts.

    Args:
        receiver: Descriptor of a pipe from it.
        sender: Descriptor of a pipe to it.
        wait: Waits for its end.
        errors: The file with its standard error; None: it has none.

    Attributes:
        last_error: The last line of its standard error once it has ended; "" without one.
        process_id: Its id, which it sends; 0: not known yet, or it has ended.
    """

    def __init__(
        self, receiver: int, sender: int, wait: Callable[[], object], errors: BinaryIO | None = None
    ) -> None:
        self._descriptors = (receiver, sender)
        self._receiver = open(receiver, "rb", closefd=False)  # noqa: SIM115 -- `end` closes it
        self._sender = sender
        self._wait = wait
        self._errors = errors
        self.last_error = ""
        self.process_id = 0
        self._is_stopped = False
        self._has_ended = False
        _private_descriptors.update(self._descriptors)

    def send(self, value: Mapping[str, Any]) -> None:
        """Send a line of JSON to the process, unless it has ended."""
        if self._is_stopped:
            return
        with suppress(OSError), open(self._sender, "wb", closefd=False) as sender:
            sender.write(json.dumps(value).encode() + b"\n")

    def receive(self) -> Iterator[tuple[str, Any]]:
        """Yield the kinds and values of its messages, until it has ended, or has sent an invalid message, as a line that its end has cut."""
        for line in self._receiver:
            message = read_message(line)
            if message is None:
                return
            yield message

    def _read_last_error(self) -> str:
        """Return the last line of its standard error, shortened; "" without one."""
        if self._errors is None:
            return ""
        self._errors.seek(-min(self._errors.seek(0, os.SEEK_END), MAX_ERROR), os.SEEK_END)
        return find_last_line(self._errors.read())

    def stop(self) -> None:
        """Tell the process to end: it makes no further call. Can be called in any thread, and again."""
        if not self._is_stopped:
            self._is_stopped = True
            self._close(self._sender)

    def kill(self) -> None:
        """End the process at once if it runs. Can be called in any thread."""
        if self.process_id:
            with suppress(OSError):
                os.kill(self.process_id, getattr(signal, "SIGKILL", signal.SIGTERM))

    def end(
        self, order: Mapping[str, Any] | None, on_message: Callable[[str, Any], object] = lambda *_: None
    ) -> list[tuple[str, Any]]:
        """End the process, wait until it has ended, and return its last messages; none if it was ended before.

        Args:
            order: Its orders for the end. None: it makes no further call, and leaves its journals to the next run.
            on_message: Called with the kind and value of each of these messages when it comes.
        """
        if self._has_ended:
            return []
        self._has_ended = True
        if order is not None:
            self.send(order)
        self.stop()
        messages = []
        for kind, value in self.receive():
            on_message(kind, value)
            messages.append((kind, value))
        self._close(self._receiver.fileno())  # before the wait: it may be writing output that nobody reads
        self._wait()
        self.process_id = 0
        self.last_error = self._read_last_error()
        if self._errors is not None:
            self._errors.close()
        return messages

    @staticmethod
    def _close(descriptor: int) -> None:
        _private_descriptors.discard(descriptor)
        with suppress(OSError):
            os.close(descriptor)


def _close_copies() -> None:
    """Close the copies of the pipes in a process that was forked by a test."""
    for descriptor in _private_descriptors:
        with suppress(OSError):
            os.close(descriptor)
    _private_descriptors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_copies)
