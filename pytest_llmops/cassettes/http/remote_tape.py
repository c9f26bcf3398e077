"""The tape of a test, as a process that the test started sees it.

Every call of the tape is made in the test's process: matching, counting, the budget and the journal are there, and so
are the hooks of the project. The n-th identical request gets the n-th answer, whichever process asks.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection
from typing import TYPE_CHECKING, Any, cast

from pytest_llmops import recorder
from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.errors import CassetteMiss
from pytest_llmops.trace.routes import is_model_endpoint

if TYPE_CHECKING:
    from pytest_llmops.cassettes.tape import Tape


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a process needs to use the tape of the test that started it.

    Attributes:
        address: The socket of the test's process.
        authkey: Its password, in hexadecimal.
        tape: Number of the tape that was in use when the process was started.
        take: The take of the trial that started it.
        purpose: The purpose of the calls that it was started for.
        mode: The mode of the tape.
        base_url: The configured server.
    """

    address: Any
    authkey: str
    tape: int
    take: str
    purpose: str
    mode: str
    base_url: str

    def to_text(self) -> str:
        """Return the ticket as the text that `join_test` reads."""
        return json.dumps(asdict(self))


class TestProcess:
    """The process that runs the test, as seen from a process that it started.

    Args:
        ticket: Its address.
        inherited: Tapes that a forked process has copies of; the originals are used instead.
    """

    __test__ = False

    def __init__(self, ticket: Ticket, inherited: tuple[Tape, ...] = ()) -> None:
        self.ticket = ticket
        self.resolved: set[str] = set()  # IP addresses of the allowed hosts
        self._inherited = inherited
        self._connection: Connection | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def find_tape(self, local: Tape | None) -> Tape:
        """Return the tape for a request: this process's own, or the test's.

        A process that outlives its test uses the tape of the test that runs when it asks, as threads do.
        """
        if local is not None and local not in self._inherited:
            return local
        try:
            number = self.ask(0, "resolve", self.ticket.tape if local is None else id(local))
        except ConnectionError:
            number = 0
        return cast("Tape", RemoteTape(self, number) if number else NoTape(self))

    def ask(self, tape: int, name: str, *args: object) -> Any:
        """Return what a method of a tape of the test's process returns, or raise what it raises.

        Raises:
            ConnectionError: The test's process has ended.
        """
        # In a forked process, the connection, and a lock that may be held, belong to the parent.
        if self._pid != os.getpid():
            self._pid, self._lock, self._connection = os.getpid(), threading.Lock(), None
        request = (tape, name, args, active_tape.current_take(), active_tape.current_purpose())
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = Client(self.ticket.address, authkey=bytes.fromhex(self.ticket.authkey))
                self._connection.send(request)
                is_value, reply = self._connection.recv()
            except (OSError, EOFError, AuthenticationError) as error:
                self._connection = None
                raise ConnectionError(str(error)) from None
            except BaseException:  # an interrupt: the reply would be taken for that of the next request
                self._connection = None
                raise
        if not is_value:
            raise reply
        return reply


# Attributes of a tape that processes read; all others are methods
TAPE_VALUES = frozenset({"mode", "path", "command_again", "collects"})


class RemoteTape:
    """A `Tape` of the test's process: all its methods are called there."""

    def __init__(self, process: TestProcess, number: int) -> None:
        self._process = process
        self._number = number
        self.pace = None
        self.unfinished: dict[int, Callable[[], None]] = {}
        self.resolved = process.resolved

    def passes(self, host: str, port: int | None = None) -> bool:
        """Return whether requests to a host are neither recorded nor blocked."""
        return host in self.resolved or self._ask("passes", host, port)

    def make_question(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Question:
        """Return a request in the form that is matched."""
        question: Question = self._ask("make_question", method, url, dict(headers), body)
        return question

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._ask(name) if name in TAPE_VALUES else partial(self._ask, name)

    def _ask(self, name: str, *args: object) -> Any:
        try:
            return self._process.ask(self._number, name, *args)
        except ConnectionError as error:
            raise CassetteMiss(
                f"the test that started this process (pid {os.getpid()}) has ended: no recording can be read or written"
                f" ({error}); let the test wait for its processes"
            ) from None


class NoTape:
    """Stands for a tape while no test is running: a process has outlived its test."""

    mode = "live"

    def __init__(self, process: TestProcess) -> None:
        self._ticket = process.ticket
        self.resolved = process.resolved

    def passes(self, host: str, port: int | None = None) -> bool:
        """Return True, as nothing records the request.

        Raises:
            CassetteMiss: The request goes to a model, and the run only replays.
        """
        if self._ticket.mode == "none" and is_model_endpoint(host, port, self._ticket.base_url):
            raise CassetteMiss(
                f"a process (pid {os.getpid()}) asks {host} after the test that started it has ended, and this run only"
                " replays: let the test wait for its processes"
            )
        return True


joined: TestProcess | None = None  # the process whose test this process takes part in
_context = ExitStack()


def join_test(text: str) -> None:
    """Use the tape of the test that started this process, from now on."""
    from pytest_llmops.cassettes.http import interception

    ticket = Ticket(**json.loads(text))
    _context.enter_context(recorder.run_as_trial(int(ticket.take)))
    _context.enter_context(recorder.set_purpose(ticket.purpose))
    use_process(TestProcess(ticket))
    interception.install_patches()


def use_process(process: TestProcess) -> None:
    """Take part in the test of another process."""
    global joined  # noqa: PLW0603 -- of the whole process
    joined = process
    active_tape.find_remote_tape = process.find_tape
