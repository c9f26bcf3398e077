"""Processes that a test starts use the tape of that test, through a thread in the test's process.

A process finds this thread with a ticket. It gets the ticket in one of three ways:

- In general in an environment variable, which `child_start/sitecustomize.py` reads.
- A process of `multiprocessing` with the first data that is sent to it: it may come from a fork server that is older
  than the test, and has an older environment.
- A forked process makes its own, right after the fork.

The methods of a tape are always called in the test's process; the other processes have a `RemoteTape`.
"""

import contextlib
import contextvars
import functools
import json
import multiprocessing.spawn
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import AuthenticationError, connection
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any, cast

from pytest_llmops import recorder
from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.http.late_calls import NoTape, check_late_call
from pytest_llmops.cassettes.http.request_checks import request_patches
from pytest_llmops.cassettes.mcp.client_arguments import relay_servers
from pytest_llmops.cassettes.patch import Patch
from pytest_llmops.cassettes.request_key import Question, make_exchange
from pytest_llmops.cassettes.socket_responses import is_websocket
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.errors import BudgetReached, CallDeferred, CassetteMiss, LLMOpsError, RetriedForEver


@dataclass(frozen=True, slots=True)
class Ticket:
    """The data that a process needs to use the tape of the test that started it.

    Attributes:
        address: The socket of the test's process.
        authkey: Its password, in hexadecimal.
        tape: Number of the tape that was in use when the process was started.
        take: The take of the trial that started it: its number, as a text.
        purpose: The purpose of the calls that it was started for.
        mode: The mode of the tape.
        base_url: The address of the model server in the settings.
        allow_hosts: The hosts that are allowed by the settings.
        calls_outside_tests: ``refuse`` or ``allow``, from the settings.
    """

    address: Any
    authkey: str
    tape: int
    take: str
    purpose: str
    mode: str
    base_url: str
    allow_hosts: Sequence[str] = ()
    calls_outside_tests: str = "refuse"

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
        self.known: dict[str, Any] = {}  # what methods of `OF_THE_RUN` have returned
        self._inherited = inherited
        self._connection: Connection | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def find_tape(self, local: Tape | None) -> Tape:
        """Return the tape for a request: the tape of a block in this process, or else the test's.

        A process that outlives its test uses the tape of the test that is running now, as threads do.

        Args:
            local: The tape that is in use in this process; None: there is none.
        """
        if local is not None and local not in self._inherited:
            return local
        wanted = self.ticket.tape
        if local is not None:
            wanted = id(local)
        try:
            number = self.ask(0, "resolve", wanted)
        except ConnectionError:
            number = 0
        if number:
            return cast("Tape", RemoteTape(self, number))
        return cast("Tape", NoTape(self))

    def ask(self, tape: int, name: str, *args: object) -> Any:
        """Call a method of a tape in the test's process; return its result, or raise its error.

        Args:
            tape: The number of the tape; 0 for a question to the server itself.
            name: The method or attribute.
            args: The arguments.

        Raises:
            ConnectionError: The test's process has ended.
        """
        # In a forked process, the connection, and a lock that may be held, belong to the parent.
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._lock = threading.Lock()
            self._connection = None
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
            except BaseException:  # an interrupt: the next request would get this one's reply
                self._connection = None
                raise
        if not is_value:
            raise reply
        return reply


# Attributes of a tape that other processes read; all other names are methods
TAPE_VALUES = frozenset({"mode", "path", "command_again", "collects"})
# Methods without arguments that return the same for all tapes of a run: called once
OF_THE_RUN = frozenset({"uses_tools", "compares_tools", "list_tool_servers"})
# Methods that end a live call; of the latter the last argument is the answer
ENDS_OF_CALLS = frozenset({"end_call", "end_socket", "finish_tool", "abandon_tool"})


class RemoteTape:
    """A `Tape` of the test's process: all its methods are called there."""

    def __init__(self, process: TestProcess, number: int) -> None:
        self._process = process
        self._number = number
        self.pace = None  # judges' calls are not paced in other processes
        self.unfinished: dict[int, Callable[[], None]] = {}
        self.receivers: dict[int, object] = {}
        self.hold_end: float | None = None
        self.resolved = process.resolved

    def __eq__(self, other: object) -> bool:
        """Return whether the other one is the same tape."""
        return isinstance(other, RemoteTape) and other._number == self._number

    def __hash__(self) -> int:
        """Return a hash of the tape."""
        return self._number

    def passes(self, host: str, port: int | None = None) -> bool:
        """Return whether requests to a host are neither recorded nor blocked."""
        return host in self.resolved or self._ask("passes", host, port)

    def allows_connection(self, host: str) -> bool:
        """Return whether a connection to a host may be opened in a replay."""
        return host in self.resolved or self._ask("allows_connection", host)

    def make_question(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Question:
        """Return a request in the form that is matched."""
        question: Question = self._ask("make_question", method, url, dict(headers), body)
        return question

    def __getattr__(self, name: str) -> Any:
        """Return the value of an attribute of the tape, or a function that calls its method."""
        if name.startswith("_"):
            raise AttributeError(name)
        if name in TAPE_VALUES:
            return self._ask(name)
        return partial(self._ask, name)

    def _ask(self, name: str, *args: object) -> Any:
        """Call a method of the tape, unless its result is known.

        Raises:
            CassetteMiss: The test's process has ended.
        """
        if name in self._process.known:
            return self._process.known[name]
        try:
            value = self._process.ask(self._number, name, *args)
        except ConnectionError as error:
            raise CassetteMiss(
                f"the test that started this process (pid {os.getpid()}) has ended: no recording can be read or written"
                f" ({error}); let the test wait for its processes"
            ) from None
        if name in OF_THE_RUN:
            self._process.known[name] = value
        return value


joined: TestProcess | None = None  # in a process that a test started: the process of that test
_context = ExitStack()


def join_test(text: str) -> None:
    """Use the tape of the test that started this process, from now on, for all requests of this process."""
    from pytest_llmops.cassettes.http import interception

    if joined is None:
        # Before the patches below, which replace the classes of http.client
        request_patches(check_late_call).apply()
    use_ticket(text)
    interception.install_patches()


def use_ticket(text: str) -> None:
    """Use the tape of the test that started this process, without any patch."""
    ticket = Ticket(**json.loads(text))
    _context.enter_context(recorder.run_as_trial(int(ticket.take)))
    _context.enter_context(recorder.set_purpose(ticket.purpose))
    _use_process(TestProcess(ticket))


def _use_process(process: TestProcess) -> None:
    """Use the tapes of another process from now on."""
    global joined  # noqa: PLW0603 -- of the whole process
    joined = process
    active_tape.find_remote_tape = process.find_tape


TICKET_VARIABLE = "LLMOPS_TEST_PROCESS"
START_FOLDER = str(Path(__file__).parents[1] / "child_start")
CWD_POSITION = 9  # positions among the arguments of `subprocess.Popen`
ENV_POSITION = 10
MAX_THREAD_END_S = 1.0  # how long to wait until the system has ended a thread that Python has joined


class TapeServer:
    """Calls the tapes of this process for the processes that its tests started, in a thread."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)
        family = None
        if (
            sys.platform == "win32"
        ):  # the default is a pipe, and pipes cannot be waited for together with sockets
            family = "AF_INET"
        self._listener = connection.Listener(family=family, backlog=64, authkey=self._key)
        self._stop_reader, self._stop_writer = connection.Pipe(duplex=False)
        self._open_calls: dict[Any, dict[int, Tape]] = {}  # live calls that have not ended, by connection
        self._tapes: dict[int, Tape] = {}
        self._thread: threading.Thread | None = None

    def make_ticket(self, tape: Tape) -> Ticket:
        """Return a ticket for a process that is started here with a tape in use."""
        settings = recorder.current_settings()
        return Ticket(
            address=self._listener.address,
            authkey=self._key.hex(),
            tape=id(tape),
            take=active_tape.current_take(),
            purpose=active_tape.current_purpose(),
            mode=tape.mode,
            base_url=settings.base_url,
            allow_hosts=settings.allow_hosts,
            calls_outside_tests=settings.calls_outside_tests,
        )

    def start(self) -> None:
        """Start the thread; a second call has no effect."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="pytest-llmops tapes", daemon=True)
            contextvars.Context().run(self._thread.start)  # without the block and the trial of the caller

    def stop(self) -> None:
        """End the thread; requests that come meanwhile wait for the next `start`."""
        thread = self._thread
        self._thread = None
        if thread is None:
            return
        self._stop_writer.send_bytes(b".")
        thread.join()
        # Before Python 3.13, a thread may be joined before the system has ended it, and then still counts at a fork.
        entry = f"/proc/self/task/{thread.native_id}"
        deadline = time.monotonic() + MAX_THREAD_END_S
        while os.path.exists(entry) and time.monotonic() < deadline:  # noqa: PTH110 -- not worth a Path
            time.sleep(0)

    def close(self) -> None:
        """Close all sockets; in a forked process only its copies."""
        if self._thread is not None:
            self.stop()
        sockets = (self._listener._listener._socket, self._stop_reader, self._stop_writer, *self._open_calls)  # type: ignore[attr-defined] # noqa: SLF001 -- `Listener.close` would remove the parent's socket
        for socket in sockets:
            socket.close()

    def _serve(self) -> None:
        """Accept connections and answer requests until `stop` writes to the pipe."""
        listening = self._listener._listener._socket  # type: ignore[attr-defined]  # noqa: SLF001 -- to wait for it
        while True:
            ready = connection.wait([self._stop_reader, listening, *self._open_calls])
            if self._stop_reader in ready:
                self._stop_reader.recv_bytes()
                return
            for source in ready:
                if source is not listening:
                    self._answer(source)
                    continue
                with contextlib.suppress(OSError, EOFError, AuthenticationError):
                    self._open_calls[self._listener.accept()] = {}

    def _answer(self, child: Any) -> None:
        """Answer a request of a process: a tuple of tape number, method, arguments, take and purpose.

        If the process has ended, its open calls are noted as unrecorded, and its connection is closed.
        """
        try:
            number, name, args, take, purpose = child.recv()
            with ExitStack() as stack:
                if int(take):  # "0" also comes from a process that is older than the trial
                    stack.enter_context(recorder.run_as_trial(int(take)))
                stack.enter_context(recorder.set_purpose(purpose))
                child.send(self._call(child, number, name, args))
        except Exception:  # noqa: BLE001 -- it has ended, or sent no valid request: the thread must go on for the others
            for tape in self._open_calls.pop(child).values():
                tape.note_unrecorded("1 call was not recorded: the process that made it ended first")
            child.close()

    def _call(self, child: Any, number: int, name: str, args: tuple[Any, ...]) -> tuple[bool, object]:
        """Return the reply to a request: True and the result, or False and the exception to raise in the process."""
        if name == "resolve":
            return True, self._resolve(*args)
        if name == "refuse_late_call":
            return True, _refuse_late_call(*args)
        tape = self._tapes.get(number)
        if tape is None:
            return False, CassetteMiss(
                "the test of this request has ended meanwhile: let it wait for its processes"
            )
        try:
            return True, self._call_tape(self._open_calls[child], tape, name, args)
        except (CassetteMiss, BudgetReached, RetriedForEver, CallDeferred, LLMOpsError) as error:
            tape.report.errors_elsewhere += 1
            return False, error
        except Exception as error:  # noqa: BLE001 -- raised by a hook of the project; it may not be picklable
            return False, tape.refuse(f"{type(error).__name__}: {error} (in the process of the test)")

    def _resolve(self, number: int) -> int:
        """Return the number of a tape if it is in use, else of the running test's tape; 0 if no test is running.

        It also refreshes the tapes that can be called: those in use, and those with calls that have not ended.
        """
        in_use = {id(tape): tape for tape in active_tape.tapes_in_use()}
        pending = {id(tape): tape for calls in self._open_calls.values() for tape in calls.values()}
        tape = in_use.get(number) or active_tape.base_tape()
        self._tapes = in_use | pending
        if tape is not None:
            return id(tape)
        return 0

    def _call_tape(self, calls: dict[int, Tape], tape: Tape, name: str, args: tuple[Any, ...]) -> object:
        """Call a method of a tape (or read its attribute), and keep count of the calls that have not ended.

        Args:
            calls: The live calls of the process that have not ended: ``claim`` and ``claim_tool`` add a call.
            tape: The tape.
            name: The method or attribute.
            args: Its arguments.
        """
        if name in ENDS_OF_CALLS:
            calls.pop(hash(args[0].key), None)
            if (
                tape not in active_tape.tapes_in_use()
            ):  # its test is over; the trace belongs to another test now
                return args[-1]
        if (
            name == "record" and args[2] == "0"
        ):  # args[2] is the take; the process may be older than the trial
            args = (*args[:2], tape.config.take, *args[3:])
        result = getattr(tape, name)
        if callable(result):
            result = result(*args)
        if name.startswith("refuse"):
            tape.report.errors_elsewhere += 1
        if name == "claim_tool" and result.is_live:
            calls[hash(args[0].key)] = tape
        if name == "claim" and not args[0].is_telemetry:
            question = args[0]
            if result is None:  # the process makes a live call
                calls[hash(question.key)] = tape
            elif not result.fault and not is_websocket(
                question.method
            ):  # responses of a socket are reported when they are sent
                # The trace of the test is in this process, so the replay is reported here.
                purpose = active_tape.current_purpose()
                recorder.record_exchange(make_exchange(question, result, purpose, replayed=True))
        return result


def _refuse_late_call(host: str) -> CassetteMiss | None:
    """Return the error for a call by a process that outlived its test; None: it is allowed."""
    if not active_tape.late_call_checks:
        return None
    return active_tape.late_call_checks[-1](host)


_server: TapeServer | None = None


def make_ticket() -> Ticket | None:
    """Return the ticket for a process that is started here; None without a tape in use.

    In a process that a test started, it is a ticket for the same test.
    """
    if joined is not None:
        take = active_tape.current_take()
        purpose = active_tape.current_purpose()
        return replace(joined.ticket, take=take, purpose=purpose)
    tape = active_tape.current_tape()
    if tape is None:
        return None
    server = _open_server()
    server.start()
    return server.make_ticket(tape)


def _open_server() -> TapeServer:
    """Return the server of this process, created for the first process that a test starts."""
    global _server  # noqa: PLW0603 -- of the whole process
    if _server is None:
        _server = TapeServer()
    return _server


def close_server() -> None:
    """Close the server; processes that are still running cannot use it any more."""
    global _server  # noqa: PLW0603 -- as above
    if _server is not None:
        _server.close()
        _server = None


def _child_environment(environ: Mapping[Any, Any] | None) -> Mapping[Any, Any] | None:
    """Return the environment for a process, with the ticket added; unchanged without a tape in use, and for a recorded MCP server."""
    if active_tape.starts_tool_server():
        return environ
    ticket = make_ticket()
    if ticket is None:
        return environ
    if environ is None:
        environ = os.environ
    # Names and values may be bytes.
    named = {os.fsdecode(name): os.fsdecode(value) for name, value in environ.items()}
    folders = [START_FOLDER]
    folders += [folder for folder in named.get("PYTHONPATH", "").split(os.pathsep) if folder]
    named["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(folders))
    named[TICKET_VARIABLE] = ticket.to_text()
    return named


def process_patches() -> Iterator[Patch]:
    """Yield the patches of the functions that start processes."""
    yield Patch(subprocess.Popen, "__init__", _wrap_popen)
    yield Patch(multiprocessing.spawn, "get_preparation_data", _wrap_preparation_data)


def _wrap_popen(real: Callable[..., None]) -> Callable[..., None]:
    """Wrap `Popen.__init__`: the ticket is added to the environment, which may be positional or a keyword."""

    @functools.wraps(real)
    def init(self: Any, *args: Any, **more: Any) -> None:
        folder = more.get("cwd")
        if len(args) > CWD_POSITION:
            folder = args[CWD_POSITION]
        if args:
            args = (relay_servers(args[0], folder), *args[1:])
        elif "args" in more:
            more["args"] = relay_servers(more["args"], folder)
        if len(args) > ENV_POSITION:
            args = (*args[:ENV_POSITION], _child_environment(args[ENV_POSITION]), *args[ENV_POSITION + 1 :])
        else:
            more["env"] = _child_environment(more.get("env"))
        real(self, *args, **more)

    return init


def patch_uvloop(uvloop: Any) -> Iterator[Patch]:
    """Yield the patches of uvloop's loop, which starts processes in C.

    Args:
        uvloop: The module.
    """
    yield Patch(uvloop.Loop, "subprocess_exec", _wrap_loop_exec)
    yield Patch(uvloop.Loop, "subprocess_shell", _wrap_loop_method)


def _wrap_loop_exec(real: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the method of a loop that starts a program: its arguments follow a first one, which is not among them."""
    start_with_ticket = _wrap_loop_method(real)

    @functools.wraps(real)
    async def start(self: Any, factory: Any, *args: Any, **more: Any) -> Any:
        return await start_with_ticket(self, factory, *relay_servers(args, more.get("cwd")), **more)

    return start


def _wrap_loop_method(real: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a method of a loop that starts a process: the ticket is added to the environment."""

    @functools.wraps(real)
    async def start(self: Any, *args: Any, **more: Any) -> Any:
        more["env"] = _child_environment(more.get("env"))
        return await real(self, *args, **more)

    return start


class _Join(str):
    """A ticket that joins the test when it is unpickled, the first thing that a `multiprocessing` process does."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        """Let unpickling call `join_test`."""
        return join_test, (str(self),)


def _wrap_preparation_data(real: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Wrap `get_preparation_data` of `multiprocessing.spawn`: the ticket is added to the data of a process."""

    @functools.wraps(real)
    def get_preparation_data(*args: Any, **more: Any) -> dict[str, Any]:
        ticket = make_ticket()
        data = real(*args, **more)
        if ticket is None:
            return data
        return {"pytest_llmops": _Join(ticket.to_text()), **data}  # first, so that it is unpickled first

    return get_preparation_data


def _before_fork() -> None:
    """Make sure that there is a server whose address the child can use, and stop its thread.

    Python warns of a fork while other threads run, and a lock that such a thread holds is never released in the child.
    """
    if joined is None and active_tape.current_tape() is not None:
        _open_server()
    if _server is not None:
        _server.stop()


def _after_fork_in_parent() -> None:
    """Start the thread of the server again."""
    if _server is not None:
        _server.start()


def _after_fork_in_child() -> None:
    """Use the parent's tapes from now on, instead of the copies, and close the copies of its sockets."""
    global _server  # noqa: PLW0603 -- as above
    server = _server
    _server = None
    if server is None:
        return
    tape = active_tape.current_tape()
    if tape is not None:
        inherited = tuple(active_tape.tapes_in_use())
        _use_process(TestProcess(server.make_ticket(tape), inherited))
        os.environ.update(_child_environment(None) or {})  # for `os.exec`
    server.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
