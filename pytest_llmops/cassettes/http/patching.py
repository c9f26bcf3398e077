"""Patches that close the network while a tape only replays, and that pass the tape and trial on to new threads."""

import functools
import socket
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pytest_llmops._util.hosts import is_loopback, is_unspecified
from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.active_tape import current_tape
from pytest_llmops.cassettes.patch import Patch


def pin_globals(function: Any) -> Any:
    """Return a copy of a function with its module's current names, whatever is patched later.

    Needed because ``http.client.HTTPSConnection.__init__`` calls ``super(HTTPSConnection, self)``, and finds vcrpy's
    stub under that name while it is patched.
    """
    pinned = types.FunctionType(
        function.__code__,
        dict(function.__globals__),
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    pinned.__kwdefaults__ = function.__kwdefaults__
    return functools.update_wrapper(pinned, function)


# A function that raises if a connection to a host and port must not be opened
CheckHost = Callable[[str, int | None], object]


# Index of the address among the arguments of a socket's methods; in `sendto` it is last, after optional flags
_ADDRESS_ARGUMENTS = {"connect": 0, "connect_ex": 0, "sendto": -1, "sendmsg": 3}
_LOOK_UPS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex")


def socket_patches(check: CheckHost) -> list[Patch]:
    """Return patches of the module `socket` that call a check with the host of each connection and name look-up, before it is made."""
    patches = [Patch(socket, name, functools.partial(_guard_look_up, check)) for name in _LOOK_UPS]
    for name, place in _ADDRESS_ARGUMENTS.items():
        guard = functools.partial(_guard_socket, check, place=place)
        patches.append(Patch(socket.socket, name, guard))
    return patches


def _guard_socket(check: CheckHost, real: Any, *, place: int) -> Any:
    """Wrap a method of a socket: the address is checked before the call.

    Args:
        check: The check.
        real: The method.
        place: The index of the address among its arguments; may be negative.
    """

    def guarded(self: socket.socket, *args: Any) -> Any:
        is_internet = self.family in (socket.AF_INET, socket.AF_INET6)
        if is_internet and args and place < len(args) and isinstance(args[place], tuple):
            address = args[place]
            if len(address) > 1:
                check_address(check, *address[:2])
        return real(self, *args)

    return functools.wraps(real)(guarded)


def _guard_look_up(check: CheckHost, real: Any) -> Any:
    """Wrap a name look-up: the host is checked before the call.

    The addresses of an allowed host are noted on the tape, as the connection will be made to an address.
    """

    def guarded(host: Any, *rest: Any, **more: Any) -> Any:
        port = more.get("port")
        if rest:
            port = rest[0]
        check_address(check, host, port)
        result = real(host, *rest, **more)
        tape = current_tape()
        if tape is not None and tape.allows_connection(_host_name(host)):
            tape.resolved.update(_list_addresses(result))
        return result

    return functools.wraps(real)(guarded)


def _list_addresses(result: Any) -> list[str]:
    """Return the IP addresses in the result of a look-up, whose form depends on the function."""
    if isinstance(result, str):  # of gethostbyname
        return [result]
    if isinstance(result, tuple):  # of gethostbyname_ex: name, aliases, addresses
        return list(result[2])
    return [str(entry[4][0]) for entry in result]


def _host_name(host: Any) -> str:
    """Return a host as a text; "" if it is neither a text nor bytes (None is the local host)."""
    if isinstance(host, (bytes, bytearray)):
        return bytes(host).decode("ascii", "replace")
    if isinstance(host, str):
        return host
    return ""


def check_address(check: CheckHost, host: Any, port: Any) -> None:
    """Call a check with a host and its port, which is None if it is not a number; an empty host is not checked."""
    name = _host_name(host)
    if not name:
        return
    number = None
    if str(port).isdecimal():
        number = int(str(port))
    check(name, number)


def refuse_while_replaying(host: str, _port: int | None = None) -> None:
    """Raise a miss for a connection while the current tape only replays.

    Raises:
        CassetteMiss: The tape only replays, and the host is neither allowed nor this machine.
    """
    tape = current_tape()
    if tape is None or tape.mode != "none":
        return
    if is_loopback(host) or is_unspecified(host) or tape.allows_connection(host):
        return
    raise tape.refuse_connection(host)


def thread_patches() -> list[Patch]:
    """Return the patches of threads and thread pools."""
    return [Patch(threading.Thread, "start", _wrap_start), Patch(ThreadPoolExecutor, "submit", _wrap_submit)]


def _wrap_start(real: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Wrap `Thread.start`: ``run`` of the thread is called in the context of the thread that starts it."""

    @functools.wraps(real)
    def start(self: threading.Thread) -> Any:
        context = active_tape.capture_context()
        # An instance with its own `run` was patched by somebody else; it is not patched again.
        if context is None or vars(self).get("run") is not None:
            return real(self)
        run = self.run

        def run_in_context() -> None:
            vars(self).pop("run", None)  # restore the thread's own method
            with active_tape.inherit_context(context):
                run()

        vars(self)["run"] = run_in_context
        try:
            return real(self)
        except BaseException:
            vars(self).pop("run", None)
            raise

    return start


def _wrap_submit(real: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `ThreadPoolExecutor.submit`: the job runs in the context of the thread that submits it."""

    @functools.wraps(real)
    def submit(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        context = active_tape.capture_context()

        # Also without a context: the thread of the pool may still have the context of an earlier job.
        @functools.wraps(fn, updated=())
        def job(*args: Any, **kwargs: Any) -> Any:
            with active_tape.inherit_context(context):
                return fn(*args, **kwargs)

        return real(self, job, *args, **kwargs)

    return submit
