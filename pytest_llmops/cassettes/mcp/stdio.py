"""Servers that the client starts as a process: `RecordedProcess` replaces the process.

It is imported when the client's own module is, as it needs anyio.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from signal import Signals
from typing import Any, Protocol

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process

from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.mcp import messages
from pytest_llmops.cassettes.mcp.messages import Lines, Message, MessageId, to_line
from pytest_llmops.cassettes.mcp.session import McpSession, Turn

# No process has this number: a client that wants to kill the replacement finds nothing (0 would be our own group)
NO_PROCESS = 2**31 - 1
END_GRACE_S = 0.5  # how long a server that writes nothing any more may take to end
_ENDED = (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError)


async def _find_status(real: "RealProcess") -> int | None:
    """Return the exit status of a server whose output has ended; None if it goes on for a while."""
    with anyio.move_on_after(END_GRACE_S):
        await real.wait()
    return real.returncode


class RealProcess(Protocol):
    """The parts of a server's process that are used here."""

    stdin: Any
    stdout: Any
    stderr: Any
    pid: int
    returncode: int | None

    async def wait(self) -> int:
        """Wait for its end."""

    def kill(self) -> None:
        """End it at once."""

    async def aclose(self) -> None:
        """Close its pipes, and wait for its end."""


class RecordedProcess(Process):
    """Replaces the process of a server, which is started once a message has to go to it.

    Args:
        session: Decides which messages are replayed.
        start: Starts the server.
    """

    def __init__(self, session: McpSession, start: Callable[[], Awaitable[RealProcess]]) -> None:
        self.session = session
        self._start = start
        self.real: RealProcess | None = None
        self._returncode: int | None = None
        self._stdin = _Stdin(self)
        self._stdout = _Stdout(self)
        self._ended = anyio.Event()
        self._starting = anyio.Lock()
        self._greeting_id: MessageId | None = (
            None  # while the server gets the messages that the recording has answered
        )
        self._greeted = anyio.Event()

    @property
    def stdin(self) -> ByteSendStream:
        """Where the client writes."""
        return self._stdin

    @property
    def stdout(self) -> ByteReceiveStream:
        """Where the client reads."""
        return self._stdout

    @property
    def stderr(self) -> ByteReceiveStream | None:
        """Errors of the server, if the client reads them."""
        if self.real is None:
            return None
        stderr: ByteReceiveStream | None = self.real.stderr
        return stderr

    @property
    def pid(self) -> int:
        """The number of the server's process."""
        if self.real is None:
            return NO_PROCESS
        return self.real.pid

    @property
    def returncode(self) -> int | None:
        """The exit status; None while it runs."""
        if self.real is None:
            return self._returncode
        return self.real.returncode

    @property
    def _process(self) -> Any:
        """The process of the event loop, whose pipes the SDK closes itself."""
        return getattr(self.real, "_process", None)

    async def wait(self) -> int:
        """Wait for the end of the server."""
        if self.real is not None:
            return await self.real.wait()
        await self._ended.wait()
        return self._returncode or 0

    def terminate(self) -> None:
        """End the server."""
        self._send("terminate")

    def kill(self) -> None:
        """End the server at once."""
        self._send("kill")

    def send_signal(self, signal: Signals) -> None:
        """Send a signal to the server."""
        self._send("send_signal", signal)

    def _send(self, name: str, *args: Any) -> None:
        """Call a method of the server's process; without a process, the replacement ends."""
        if self.real is not None:
            getattr(self.real, name)(*args)
            return
        self.end(1)

    async def aclose(self) -> None:
        """End the session and the server."""
        self.session.end(by_server=False)
        self.end(0)
        if self.real is not None:
            await self.real.aclose()

    def end(self, status: int) -> None:
        """End the replacement, whose output ends too; a real server goes on."""
        if self.real is None and self._returncode is None:
            self._returncode = status
        self._ended.set()
        self._stdout.end()

    async def receive(self, message: Message, line: bytes) -> None:
        """Handle a message of the client.

        Args:
            message: The message.
            line: The bytes as the client has sent them.
        """
        turn = self.session.receive_from_client(message)
        await self.follow(turn, line)

    async def follow(self, turn: Turn, line: bytes) -> None:
        """Carry out a turn."""
        for answer in turn.to_client:
            self._stdout.put(to_line(answer))
        for text in turn.lines:
            self._stdout.put(text + b"\n")
        for seconds, request_id in turn.later:
            self._stdout.put_later(seconds, request_id)
        if turn.to_server:
            try:
                real = await self._start_real(turn.to_server[0])
            except OSError as error:
                for answer in self.session.refuse_late_start(error):
                    self._stdout.put(to_line(answer))
                return
            await anyio.sleep(turn.wait_s)
            try:
                await real.stdin.send(line)
            except _ENDED:
                if (
                    not self.session.compares
                ):  # otherwise the end of its output gives the client the recorded answer
                    raise
        if turn.ends:
            self._end_server()

    def _end_server(self) -> None:
        """End the server: a real one is killed."""
        if self.real is not None:
            self.real.kill()
        self.end(1)

    async def forward(self, line: bytes) -> None:
        """Send a line that is not a message to a real server."""
        if self.real is not None:
            await self.real.stdin.send(line)

    async def _start_real(self, first: Message) -> RealProcess:
        """Return the server's process, started if it does not run yet. It gets the client's earlier messages first.

        Args:
            first: The message that it gets next.
        """
        async with self._starting:
            if self.real is None:
                self.real = await self._start_quietly()
                self._stdout.wake()
            if not self.session.has_server:
                self.session.has_server = True
                if first.get("method") != messages.INITIALIZE:
                    await self._greet(self.real)
            return self.real

    async def _greet(self, real: RealProcess) -> None:
        """Send the server the client's messages that the recording has answered."""
        for message in self.session.greeting:
            if messages.is_request(message):
                self._greeting_id = message["id"]
            await real.stdin.send(to_line(message))
            if messages.is_request(message):
                await self._greeted.wait()

    def drops(self, message: Message | None) -> bool:
        """Return whether the client does not get a message of the server: up to the answer to our greeting."""
        if self._greeting_id is None:
            return False
        if message is not None and messages.is_answer(message) and message["id"] == self._greeting_id:
            self.end_greeting()
        return True

    def end_greeting(self) -> None:
        """Go on after the greeting: the server has answered it, or has ended."""
        self._greeting_id = None
        self._greeted.set()

    async def _start_quietly(self) -> RealProcess:
        """Start the server's process, whose own requests to models are not recorded."""
        with active_tape.start_tool_server():
            return await self._start()

    async def start_now(self) -> None:
        """Start the server's process before the client's first message.

        Raises:
            OSError: It cannot be started.
        """
        self.real = await self._start_quietly()


class _Stdin(ByteSendStream):
    """The client's messages to the server."""

    def __init__(self, process: RecordedProcess) -> None:
        self._owner = process
        self._lines = Lines()
        self._is_closed = False

    async def send(self, item: bytes) -> None:
        """Handle the messages that are complete."""
        if self._is_closed:
            raise anyio.ClosedResourceError
        for line in self._lines.split(item):
            message = messages.parse_message(line)
            if message is None:
                await self._owner.forward(line + b"\n")
            else:
                await self._owner.receive(message, line + b"\n")

    async def aclose(self) -> None:
        """Tell the server that nothing more comes."""
        self._is_closed = True
        self._owner.session.end(by_server=False)
        if self._owner.real is None:
            self._owner.end(0)
        else:
            await self._owner.real.stdin.aclose()


class _Stdout(ByteReceiveStream):
    """The client's input: answers of the recording and of a real server."""

    def __init__(self, process: RecordedProcess) -> None:
        self._owner = process
        self._lines = Lines()
        self._put, self._local = anyio.create_memory_object_stream[bytes](float("inf"))
        # Requests that get no answer, each with the time when the client ought to have given up
        self._late: list[tuple[float, MessageId]] = []
        self._received: deque[bytes] = deque()
        self._is_ended = False  # whether the real server has ended

    def put(self, line: bytes) -> None:
        """Let the client read a line."""
        try:
            self._put.send_nowait(line)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):  # it does not read any more
            return

    def put_later(self, seconds: float, request_id: MessageId) -> None:
        """Let the client read an error after some time, if it still waits for an answer."""
        self._late.append((anyio.current_time() + seconds, request_id))
        self.wake()

    def wake(self) -> None:
        """Wake `receive`, which then checks again which streams to wait for."""
        self.put(b"")

    def end(self) -> None:
        """End the client's input after the lines that are there."""
        self._put.close()

    async def receive(self, max_bytes: int = 65536) -> bytes:  # noqa: ARG002 -- lines are not cut
        """Return the next lines.

        Raises:
            EndOfStream: The server has ended.
        """
        while True:
            data = await self._receive_next()
            if data:
                return data

    async def _receive_next(self) -> bytes:
        """Return the lines that come first; b"" to check again."""
        if self._received:
            return self._received.popleft()
        self._release_late()
        real = self._owner.real
        if real is None or self._is_ended:
            return await self._receive_local()
        try:
            return self._local.receive_nowait()
        except anyio.WouldBlock:
            return await self._receive_either(real)
        except _ENDED:
            return self._read_server(await real.stdout.receive())

    def _release_late(self) -> None:
        """Put the answers that are due, and drop answers that nobody waits for."""
        now = anyio.current_time()
        late, self._late = self._late, []
        for due, request_id in late:
            if not self._owner.session.is_waiting(request_id):
                continue
            if due > now:
                self._late.append((due, request_id))
                continue
            answer = self._owner.session.take_late_answer(request_id)
            if answer is not None:
                self.put(to_line(answer))

    async def _receive_local(self) -> bytes:
        """Return the next line of the recording; b"" if a late one is due before."""
        if not self._late:
            return await self._local.receive()
        due = min(due for due, _ in self._late)
        with anyio.move_on_after(max(due - anyio.current_time(), 0)):
            return await self._local.receive()
        return b""

    async def _receive_either(self, real: RealProcess) -> bytes:
        """Return the lines that come first, from the recording or from the server."""
        arrived: list[bytes | None] = []
        async with anyio.create_task_group() as group:

            async def wait_for(source: Callable[[], Awaitable[bytes]], *, is_server: bool) -> None:
                data: bytes | None
                try:
                    data = await source()
                    if is_server:
                        data = self._read_server(data)
                except _ENDED:
                    if not is_server:  # closed by us: the server goes on
                        await anyio.sleep_forever()
                    data = None
                arrived.append(data)
                group.cancel_scope.cancel()

            async def wait_for_server() -> None:
                await wait_for(real.stdout.receive, is_server=True)

            async def wait_for_recording() -> None:
                await wait_for(self._receive_local, is_server=False)

            group.start_soon(wait_for_server)
            group.start_soon(wait_for_recording)
        if None in arrived:
            self._is_ended = True
            self._owner.end_greeting()
            turn = self._owner.session.end(by_server=True, status=await _find_status(real))
            for answer in turn.to_client:
                self.put(to_line(answer))
            if turn.ends:
                self.end()
        self._received.extend(data for data in arrived if data)
        return b""

    def _read_server(self, data: bytes) -> bytes:
        """Return the lines that the client gets for the server's output."""
        out = []
        for line in self._lines.split(data):
            message = messages.parse_message(line)
            if self._owner.drops(message):
                continue
            if message is None:  # a banner, which the client reports
                out.append(line + b"\n")
                continue
            for given in self._owner.session.receive_from_server(message):
                out.append(line + b"\n" if given is message else to_line(given))
        return b"".join(out)

    async def aclose(self) -> None:
        """Close the output."""
        self._local.close()
        self._put.close()
        if self._owner.real is not None:
            await self._owner.real.stdout.aclose()
