"""Patches of the clients of the package `websockets`, with which openai, openai-agents and google-genai open their sockets.

Its asyncio client is a class, of which the method is replaced that opens the connection. Its client for threads is a function that programs import
by name, so its code is replaced: a name that was imported before the test leads here too.

Connections of other clients are not recorded. They are refused in a replay, to this machine too, and noted in a run that records.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from pytest_llmops._util.hosts import split_address
from pytest_llmops.cassettes.active_tape import current_tape
from pytest_llmops.cassettes.conversation import OPENED, WEBSOCKET, decode_conversation
from pytest_llmops.cassettes.late_patches import LatePatches
from pytest_llmops.cassettes.patch import Patch
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.websocket.live_connection import LiveConnection
from pytest_llmops.cassettes.websocket.recorded_server import RecordedServer
from pytest_llmops.errors import CassetteError, CassetteMiss

if TYPE_CHECKING:
    import socket

    from pytest_llmops.cassettes.tape import Tape

# Arguments of `connect` for the way to the server, which a replayed connection does not go
_NETWORK_ARGUMENTS = ("ssl", "ssl_context", "server_hostname", "proxy_ssl", "proxy_server_hostname")
# Real functions, by the id of the globals of their module: a replaced code knows nothing else
_real_functions: dict[int, FunctionType] = {}


def socket_patches() -> LatePatches:
    """Return the patches of all clients of the package; nothing is imported for them."""
    return LatePatches(
        {
            "websockets.asyncio.client": _list_asyncio_patches,
            "websockets.sync.client": _list_thread_patches,
            "websockets.legacy.client": _list_legacy_patches,
            "websocket._core": _list_websocket_client_patches,
        }
    )


def _list_asyncio_patches(module: ModuleType) -> Iterator[Patch]:
    """Yield the patch of ``websockets.asyncio.client``."""
    connect = getattr(module, "connect", None)
    yield Patch(connect, "create_connection", _wrap_create_connection)


def _list_thread_patches(module: ModuleType) -> Iterator[Patch]:
    """Yield the patch of ``websockets.sync.client``."""
    connect = getattr(module, "connect", None)
    if isinstance(connect, FunctionType) and not connect.__code__.co_freevars:
        yield _CodePatch(connect, "__code__", _replace_code)


def _list_legacy_patches(module: ModuleType) -> Iterator[Patch]:
    """Yield the patch of ``websockets.legacy.client``, the old client of the package."""
    yield Patch(getattr(module, "Connect", None), "__await_impl__", _wrap_legacy_connect)


def _list_websocket_client_patches(module: ModuleType) -> Iterator[Patch]:
    """Yield the patch of the package websocket-client, whose module is ``websocket``."""
    yield Patch(getattr(module, "WebSocket", None), "connect", _wrap_websocket_client)


class _CodePatch(Patch):
    """A replaced code of a function, which everyone who has the function calls from then on.

    The real function is kept for good: a thread that outlives its test may be about to call it.
    """

    def apply(self) -> None:
        """Replace the code."""
        function = self.target
        number = id(function.__globals__)
        if number not in _real_functions:
            real = FunctionType(
                function.__code__, function.__globals__, function.__name__, function.__defaults__
            )
            real.__kwdefaults__ = function.__kwdefaults__
            _real_functions[number] = real
        function.__code__ = self.make(function.__code__)

    def restore_attribute(self) -> None:
        """Restore the code."""
        function = self.target
        function.__code__ = _real_functions[id(function.__globals__)].__code__


def _replace_code(_: Any) -> Any:
    """Return the code for ``connect`` of the client for threads."""

    def connect(*args: Any, **kwargs: Any) -> Any:
        # Runs with the globals of the patched module, so all names are imported here.
        from pytest_llmops.cassettes.http.websockets import open_in_thread

        return open_in_thread(globals(), *args, **kwargs)

    return connect.__code__


def open_in_thread(namespace: dict[str, Any], uri: str, *args: Any, **kwargs: Any) -> Any:
    """Open a connection of the client for threads: a recorded one, or a live one that is recorded.

    Args:
        namespace: The globals of the module of the client.
        uri: The address.
        args: Further arguments of ``connect``.
        kwargs: Its named arguments.
    """
    real = _real_functions[id(namespace)]
    tape = _find_tape(uri, is_local=kwargs.get("unix", False))
    if tape is None:
        return real(uri, *args, **kwargs)
    question, answer = _claim(tape, uri, kwargs.get("additional_headers"))
    if answer is not None:
        if answer.outcome is not None and not answer.status:
            raise answer.outcome.make_exception(None, tape)
        kwargs = {name: value for name, value in kwargs.items() if name not in _NETWORK_ARGUMENTS}
        kwargs |= {"sock": _start_server(tape, question, answer), "unix": True}
        return real(_without_tls(uri), *args, **kwargs)
    live = LiveConnection(tape, question)
    make = kwargs.get("create_connection") or namespace["ClientConnection"]

    def create_connection(*parts: Any, **more: Any) -> Any:
        # The thread of the connection begins to receive in its constructor, but nothing comes before the handshake.
        connection = make(*parts, **more)
        live.attach(connection)
        return connection

    try:
        return real(uri, *args, **{**kwargs, "create_connection": create_connection})
    except BaseException as error:
        live.give_up(error)
        raise


def _wrap_create_connection(real: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Wrap the method of ``connect`` for asyncio that opens the connection, before the handshake."""

    async def create_connection(self: Any) -> Any:
        tape = _find_tape(self.uri, is_local=self.connection_kwargs.get("unix", False))
        if tape is None:
            return await real(self)
        question, answer = _claim(tape, self.uri, _find_headers(self))
        if answer is not None:
            if answer.outcome is not None and not answer.status:
                await answer.outcome.raise_in_task(None, tape, answer.latency_s)
            local = copy.copy(self)
            local.uri = _without_tls(self.uri)
            local.proxy = None
            local.connection_kwargs = {"sock": _start_server(tape, question, answer)}
            return await real(local)
        live = LiveConnection(tape, question)
        try:
            connection = await real(self)
        except BaseException as error:
            live.give_up(error)
            raise
        live.attach(connection)
        handshake = connection.handshake

        async def watched_handshake(*args: Any, **kwargs: Any) -> None:
            try:
                await handshake(*args, **kwargs)
            except BaseException as error:
                live.give_up(error)
                raise

        connection.handshake = watched_handshake
        return connection

    return create_connection


def _wrap_legacy_connect(real: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Wrap the method of the old client that opens a connection."""

    async def await_connection(self: Any) -> Any:
        open_transport = getattr(self._create_connection, "func", None)
        is_local = getattr(open_transport, "__name__", "") == "create_unix_connection"
        tape = _find_tape(self._uri, is_local=is_local)
        if tape is not None:
            note_unrecorded(tape, split_address(self._uri)[0], "its old client websockets.legacy")
        return await real(self)

    return await_connection


def _wrap_websocket_client(real: Callable[..., None]) -> Callable[..., None]:
    """Wrap the method of websocket-client that opens a connection."""

    def connect(self: Any, url: str, **options: Any) -> None:
        tape = _find_tape(url, is_local=False)
        if tape is not None:
            note_unrecorded(tape, split_address(url)[0], "websocket-client")
        real(self, url, **options)

    return connect


def note_unrecorded(tape: Tape, host: str, client: str) -> None:
    """Note that a WebSocket is opened by a client that is not recorded.

    Args:
        tape: The tape in use.
        host: The host of the connection.
        client: The client.

    Raises:
        CassetteMiss: The tape only replays.
    """
    if tape.mode == "none":
        raise tape.refuse(
            f"a WebSocket to {host} was refused: recordings are replayed, and only WebSockets of the package"
            f" websockets are recorded, not WebSockets of {client}; use it, or let them through (llm_allow_hosts = {host})"
        )
    tape.note(
        f"a WebSocket to {host} was not recorded: only WebSockets of the package websockets are, not WebSockets of {client}"
    )


def _find_tape(uri: str, *, is_local: bool) -> Tape | None:
    """Return the tape for a connection; None if it is neither recorded nor replayed."""
    tape = current_tape()
    if tape is None or is_local:
        return None
    host, port = split_address(uri)
    if tape.passes(host, port):
        return None
    return tape


def _find_headers(connect: Any) -> Any:
    """Return the headers that the application adds to the request of a connection for asyncio."""
    if hasattr(connect, "handshake_args"):  # before version 15
        return connect.handshake_args[0]
    return connect.additional_headers


def _claim(tape: Tape, uri: str, headers: Any) -> tuple[Question, Answer | None]:
    """Return the request that opens a connection, and its recorded answer; None if it has to go out live.

    Raises:
        CassetteMiss: No connection is recorded, and the tape only replays.
        BudgetReached: The budget has no live call left.
    """
    from websockets.datastructures import Headers

    sent = {name.lower(): value for name, value in Headers(headers or {}).raw_items()}
    question = tape.make_question(WEBSOCKET, uri, sent, b"")
    return question, tape.claim(question)


def _start_server(tape: Tape, question: Question, answer: Answer) -> socket.socket:
    """Start the server of a recorded connection, and return the socket of its client.

    Raises:
        CassetteMiss: The recording is damaged.
    """
    conversation = None
    if answer.status == OPENED:
        try:
            conversation = decode_conversation(answer.body)
        except CassetteError as error:
            raise _refuse_damaged(tape, error) from None
    return RecordedServer(tape, question, answer, conversation).start()


def _refuse_damaged(tape: Tape, error: CassetteError) -> CassetteMiss:
    """Return the miss for a damaged recording."""
    return tape.refuse(
        f"cassette {tape.path} is damaged: {error}; take the file from git, or record it again: {tape.command_again}"
    )


def _without_tls(uri: str) -> str:
    """Return an address without TLS: a recorded connection does not leave the process."""
    scheme, separator, rest = uri.partition("://")
    if scheme.lower() == "wss":
        scheme = "ws"
    return f"{scheme}{separator}{rest}"
