"""Servers at an address: the messages of the transport "streamable HTTP" are replayed, or passed on to the transport.

The transport reads the client's messages from one stream and writes the server's to another. Both are wrapped: it only
sees messages that have to go out, so a replay makes no request, opens no session and closes none.

It is imported when the client's own module is, as it needs anyio.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Any

import anyio

from pytest_llmops.cassettes.mcp import messages
from pytest_llmops.cassettes.mcp.messages import Message, MessageId
from pytest_llmops.cassettes.mcp.session import McpSession, Turn

# Makes a message of the SDK from JSON
MakeMessage = Callable[[Message], Any]


class _Stream:
    """Passes everything on to a stream of the SDK, which enters it, too."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __aenter__(self) -> Any:
        """Enter the stream."""
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        """Leave the stream."""
        return await self._inner.__aexit__(kind, error, trace)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the stream."""
        return getattr(self._inner, name)


class FromClient(_Stream):
    """The input of the transport: the messages of the client that have to go to the server.

    Args:
        inner: The stream of the client.
        link: The connection.
    """

    def __init__(self, inner: Any, link: "HttpLink") -> None:
        super().__init__(inner)
        self._link = link
        self._waiting: list[Any] = []

    def __aiter__(self) -> "FromClient":
        """Return the stream itself."""
        return self

    async def __anext__(self) -> Any:
        """Return the next message that goes to the server; messages that are answered here are skipped."""
        if self._link.is_greeting:  # the server hears the next message once it has answered the first
            await self._link.greeted.wait()
        while not self._waiting:
            message = await self._inner.__anext__()
            await self._take(message)
        return self._waiting.pop(0)

    async def _take(self, message: Any) -> None:
        """Handle a message of the client."""
        link = self._link
        turn = link.session.receive_from_client(read_message(message))
        await link.follow(turn)
        if not turn.to_server:
            return
        self._waiting += link.make_greeting(turn.to_server[0])
        self._waiting.append(message)


class ToClient(_Stream):
    """The output of the transport: the messages of the server, which are recorded."""

    def __init__(self, inner: Any, link: "HttpLink") -> None:
        super().__init__(inner)
        self._link = link

    async def send(self, item: Any) -> None:
        """Pass a message of the server on to the client."""
        if isinstance(item, Exception):
            await self._inner.send(item)
            return
        message = read_message(item)
        if self._link.is_greeting_answer(message):
            return
        for given in self._link.session.receive_from_server(message):
            if given is message:
                await self._inner.send(item)
            else:
                await self._inner.send(self._link.make(given))


def read_message(message: Any) -> Message:
    """Return a message of the SDK as JSON."""
    text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
    return messages.parse_message(text) or {}


class HttpLink:
    """One connection of a client to a server at an address.

    Args:
        session: Decides which messages are replayed.
        make: Makes a message of the SDK.
    """

    def __init__(self, session: McpSession, make: MakeMessage) -> None:
        self.session = session
        self.make = make
        self._to_client: Any = None
        self._start_task: Callable[..., Any] | None = None
        self.greeted = anyio.Event()
        self.is_greeting = False
        self._greeting_id: object = None

    def open(self, to_client: Any, start_task: Callable[..., Any]) -> None:
        """Begin.

        Args:
            to_client: The stream that the client reads.
            start_task: Starts a task that ends with the connection.
        """
        self._to_client = to_client
        self._start_task = start_task

    async def follow(self, turn: Turn) -> None:
        """Send the client the messages of a turn."""
        for answer in turn.to_client:
            await self._to_client.send(self.make(answer))
        for line in turn.lines:  # as the SDK does with an answer that it cannot read
            await self._to_client.send(ValueError(f"no JSON: {line.decode()}"))
        for seconds, request_id in turn.later:
            if self._start_task is not None:
                self._start_task(self._send_later, seconds, request_id)
        if turn.ends:
            await self._to_client.aclose()
        await anyio.sleep(turn.wait_s)

    async def _send_later(self, seconds: float, request_id: MessageId) -> None:
        """Send the client a late answer, if it still waits for it."""
        await anyio.sleep(seconds)
        late_answer = self.session.take_late_answer(request_id)
        if late_answer is not None:
            await self._to_client.send(self.make(late_answer))

    def make_greeting(self, first: Message) -> list[Any]:
        """Return the messages that a server must get before its first one, if the recording has answered them."""
        if self.session.has_server:
            return []
        self.session.has_server = True
        if first.get("method") == messages.INITIALIZE or not self.session.greeting:
            return []
        self._greeting_id = self.session.greeting[0]["id"]
        self.is_greeting = True
        return [self.make(message) for message in self.session.greeting]

    def is_greeting_answer(self, message: Message) -> bool:
        """Return whether a message answers our greeting: the client has that answer from the recording."""
        if not self.is_greeting or not messages.is_answer(message) or message["id"] != self._greeting_id:
            return False
        self.is_greeting = False
        self.greeted.set()
        return True
