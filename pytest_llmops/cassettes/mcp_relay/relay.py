"""Passes the messages of a client on to a recorded session, and starts the server only when one has to go to it.

One thread decides. Others read the output of the client and of the server, and put it into a queue, as signals do.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Literal

from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.http import child_processes
from pytest_llmops.cassettes.mcp import messages, server_names
from pytest_llmops.cassettes.mcp.messages import Lines, Message, MessageId, to_line
from pytest_llmops.cassettes.mcp.session import McpSession, Turn
from pytest_llmops.errors import BudgetReached, CallDeferred, CassetteMiss, LLMOpsError

INPUT, OUTPUT = 0, 1  # descriptors
READ_SIZE = 65536
END_GRACE_S = 2.0  # how long a server that writes nothing any more may take to end
NOT_FOUND = 127  # the exit status of a command that cannot be started
SIGNAL_STATUS = 128  # plus its number: the exit status of a process that a signal has ended
SIGNALS = (signal.SIGINT, signal.SIGTERM)

Source = Literal["client", "server", "signal"]
# Who, and its line without the end; None: it writes nothing any more; or the number of a signal
Event = tuple[Source, bytes | int | None]


def join(ticket: str) -> bool:
    """Use the tape of the test that has started the client; return whether that test records calls of tools."""
    if child_processes.joined is None:
        child_processes.use_ticket(ticket)
    try:
        tape = active_tape.current_tape()
        return tape is not None and tape.uses_tools()
    except CassetteMiss:  # the test has ended: each request gets an error with that reason
        return True


def drop_ticket(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment as it was before the ticket was added."""
    named = {name: value for name, value in environ.items() if name != child_processes.TICKET_VARIABLE}
    folders = [folder for folder in named.pop("PYTHONPATH", "").split(os.pathsep) if folder]
    if child_processes.START_FOLDER in folders:
        folders.remove(child_processes.START_FOLDER)
    if folders:
        named["PYTHONPATH"] = os.pathsep.join(folders)
    return named


class Relay:
    """Serves the client on standard input and output.

    Args:
        command: The program of the server and its arguments.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._session = McpSession(
            lambda names: server_names.name_command(command[0], command[1:], names),
            server_names.describe_process(command[0], command[1:], os.getcwd()),  # noqa: PTH109 -- a text is needed
        )
        self._events: SimpleQueue[Event] = SimpleQueue()
        # Later actions, each with its time: a late answer, or a message that goes to the server late
        self._late: list[tuple[float, Callable[[], None]]] = []
        self._server: subprocess.Popen[bytes] | None = None
        # While the server gets the messages that the recording has answered: the id of that request, and the messages after it
        self._greeting_id: object = None
        self._held: list[bytes] = []
        self._is_stopping = False
        self._status: int | None = None  # with which to end

    def run(self) -> int:
        """Serve until the client or the server ends; return the exit status."""
        for number in SIGNALS:
            signal.signal(number, lambda number, _: self._events.put(("signal", number)))
        try:
            asyncio.run(self._session.start(self._open_at_once))
        except OSError as error:
            sys.stderr.write(f"the MCP server cannot be started: {self._command[0]}: {error}\n")
            return NOT_FOUND
        except CassetteMiss:  # the test has ended: each request gets an error with that reason
            pass
        self._read_from(INPUT, "client")
        while self._status is None:
            source, what = self._wait()
            if isinstance(what, int):
                self._stop(what)
            elif source == "client":
                self._hear_client(what)
            else:
                self._hear_server(what)
        return self._status

    def _read_from(self, number: int, source: Source) -> None:
        """Read the lines of a file in a thread.

        Args:
            number: Its descriptor. A buffered file would keep Python from ending while the thread reads.
            source: Who writes it.
        """

        def read() -> None:
            lines = Lines()
            with contextlib.suppress(OSError):
                while data := os.read(number, READ_SIZE):
                    for line in lines.split(data):
                        self._events.put((source, line))
            self._events.put((source, None))

        threading.Thread(target=read, name=f"pytest-llmops {source}", daemon=True).start()

    def _wait(self) -> Event:
        """Return the next event; meanwhile the client gets the answers that are due."""
        while True:
            timeout = None
            if self._late:
                timeout = max(min(due for due, _ in self._late) - time.monotonic(), 0.0)
            try:
                return self._events.get(timeout=timeout)
            except Empty:
                self._release_late()

    def _release_late(self) -> None:
        """Run the actions that are due."""
        now = time.monotonic()
        late, self._late = self._late, []
        for due, act in late:
            if due > now:
                self._late.append((due, act))
            else:
                act()

    def _send_late_answer(self, request_id: MessageId) -> None:
        """Send the late answer to a request, if the client still waits for it."""
        answer = self._session.take_late_answer(request_id)
        if answer is not None:
            self._send_client(to_line(answer))

    def _pass_on(self, message: Message, line: bytes) -> None:
        """Send a message of the client to the server, which is started if it does not run yet."""
        if self._start_server(message):
            self._send_server(line)

    def _hear_client(self, line: bytes | None) -> None:
        """Handle a line of the client, or its end."""
        if line is None:
            self._end_session()
            return
        message = messages.parse_message(line)
        if message is None:
            if self._server is not None:
                self._send_server(line + b"\n")
            return
        turn = self._ask_session(message)
        for answer in turn.to_client:
            self._send_client(to_line(answer))
        for text in turn.lines:
            self._send_client(text + b"\n")
        now = time.monotonic()
        for seconds, request_id in turn.later:
            self._late.append((now + seconds, partial(self._send_late_answer, request_id)))
        if turn.to_server and turn.wait_s:
            self._late.append((now + turn.wait_s, partial(self._pass_on, turn.to_server[0], line + b"\n")))
        elif turn.to_server:
            self._pass_on(turn.to_server[0], line + b"\n")
        if turn.ends:
            self._status = 1
            if self._server is not None:
                self._server.kill()

    def _ask_session(self, message: Message) -> Turn:
        """Return the effects of a message of the client. If its test has ended, a request gets an error with that reason."""
        try:
            return self._session.receive_from_client(message)
        except (CassetteMiss, BudgetReached, CallDeferred, LLMOpsError) as error:
            if not messages.is_request(message):
                return Turn()
            text = f"{type(error).__name__}: {error}"
            return Turn(to_client=[messages.make_error(message["id"], text)])

    def _hear_server(self, line: bytes | None) -> None:
        """Handle a line of the server, or its end."""
        if line is None:
            status = self._wait_for_server()
            turn = self._session.end(by_server=True, status=status)
            for answer in turn.to_client:
                self._send_client(to_line(answer))
            if turn.ends:
                self._status = status
            return
        message = messages.parse_message(line)
        if message is None:  # a banner, which the client reports
            self._send_client(line + b"\n")
            return
        if self._greeting_id is not None:  # the client has the answers to its greeting from the recording
            if messages.is_answer(message) and message["id"] == self._greeting_id:
                self._end_greeting()
            return
        for given in self._session.receive_from_server(message):
            self._send_client(line + b"\n" if given is message else to_line(given))

    def _start_server(self, first: Message) -> bool:
        """Start the server if it does not run yet. Before its first message it gets the client's earlier messages.

        Args:
            first: The message that it gets next.

        Returns:
            Whether it runs.
        """
        try:
            if self._server is None:
                self._open_server()
        except OSError as error:
            for answer in self._session.refuse_late_start(error):
                self._send_client(to_line(answer))
            return False
        if self._session.has_server:
            return True
        self._session.has_server = True
        if first.get("method") != messages.INITIALIZE and self._session.greeting:
            request, *rest = self._session.greeting
            self._send_server(to_line(request))
            self._greeting_id = request["id"]
            self._held = [to_line(message) for message in rest]
        return True

    async def _open_at_once(self) -> None:
        """Start the server before the client's first message."""
        self._open_server()

    def _open_server(self) -> None:
        """Start the server, which is not handed the tape: its messages are recorded, its own requests are not.

        Raises:
            OSError: It cannot be started.
        """
        environ = drop_ticket(os.environ)
        program = shutil.which(self._command[0], path=environ.get("PATH")) or self._command[0]
        command = [program, *self._command[1:]]
        with active_tape.start_tool_server():
            self._server = subprocess.Popen(  # noqa: S603 -- the command of the user, without a shell
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
            )
        if self._server.stdout is not None:
            self._read_from(self._server.stdout.fileno(), "server")

    def _end_greeting(self) -> None:
        """Send the server the messages that have waited until it knew the client."""
        self._greeting_id = None
        held, self._held = self._held, []
        for line in held:
            self._send_server(line)

    def _send_server(self, line: bytes) -> None:
        """Let the server read a line."""
        if self._greeting_id is not None:
            self._held.append(line)
            return
        if self._server is None or self._server.stdin is None:
            return
        with contextlib.suppress(OSError, ValueError):  # it has ended, which its output will tell
            self._server.stdin.write(line)
            self._server.stdin.flush()

    def _send_client(self, line: bytes) -> None:
        """Let the client read a line."""
        with contextlib.suppress(OSError):  # it reads no more: its input will end, too
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(OUTPUT, rest) :]

    def _stop(self, number: int) -> None:
        """End at a signal: the server ends, too. The second one does not wait for it."""
        self._end_session()
        if self._server is None:
            self._status = SIGNAL_STATUS + number
            return
        if self._is_stopping:
            self._server.kill()
        else:
            self._server.terminate()
        self._is_stopping = True

    def _end_session(self) -> None:
        """Handle the end of the client: the server may end, and open requests get no answer."""
        self._session.end(by_server=False)
        if self._server is None or self._server.returncode is not None:
            self._status = 0
        self._close_input()

    def _close_input(self) -> None:
        """Let the server know that nothing more comes."""
        if self._server is not None and self._server.stdin is not None:
            with contextlib.suppress(OSError):
                self._server.stdin.close()

    def _wait_for_server(self) -> int:
        """Return the exit status of the server, whose output has ended: it serves nobody any more."""
        self._close_input()
        if self._server is None:
            return 0
        try:
            status = self._server.wait(END_GRACE_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            status = self._server.wait()
        if status < 0:
            return SIGNAL_STATUS - status
        return status
