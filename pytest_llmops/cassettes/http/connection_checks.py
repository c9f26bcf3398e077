"""Checks of all connections and name look-ups of this process, whoever makes them.

gevent opens its connections with `_socket`, and its monkey-patching replaces the class `socket.socket`: Python's audit events report
both. uvloop connects in C without such an event, so the methods of its loop are patched.
"""

import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from pytest_llmops.cassettes.http.patching import (
    CheckHost,
    check_address,
    socket_patches,
)
from pytest_llmops.cassettes.late_patches import LatePatches
from pytest_llmops.cassettes.patch import Patch, SystemChange

# Audit events of `_socket`, with the index of the host, or of the address, among their arguments
_LOOK_UP_EVENTS = frozenset({"socket.getaddrinfo", "socket.gethostbyname"})
_ADDRESS_EVENTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
# Checks in use. An audit hook cannot be removed, so there is one for all, which does nothing without a check.
_checks: list[CheckHost] = []
_is_installed = False


class SocketAudit:
    """A check of all connections and look-ups of this process that go through Python's `_socket`.

    Args:
        check: Called with the host and port of each; raises to refuse it.
    """

    def __init__(self, check: CheckHost) -> None:
        self._check = check

    def apply(self) -> None:
        """Call the check from now on."""
        global _is_installed  # noqa: PLW0603 -- the hook belongs to the process
        _checks.append(self._check)
        if not _is_installed:
            _is_installed = True
            sys.addaudithook(_check_event)

    def restore_attribute(self) -> None:
        """Do not call the check any more."""
        if self._check in _checks:
            _checks.remove(self._check)


def _check_event(event: str, args: tuple[Any, ...]) -> None:
    """Call the checks for an audit event of a socket. This runs for every event of the process, so it does little for the others."""
    if not _checks or not event.startswith("socket."):
        return
    host = port = None
    if event in _LOOK_UP_EVENTS:
        host, port = args[0], None
        if len(args) > 1:
            port = args[1]
    elif event in _ADDRESS_EVENTS and isinstance(args[1], tuple) and len(args[1]) > 1:
        host, port = args[1][:2]
    for check in tuple(_checks):
        check_address(check, host, port)


def network_patches(check: CheckHost) -> list[SystemChange]:
    """Return changes that call a check with the host of each connection and name look-up, before it is made, whoever opens it.

    Args:
        check: Called with the host and port of each; raises to refuse it.
    """
    return [
        *socket_patches(check),
        SocketAudit(check),
        LatePatches({"uvloop": functools.partial(_patch_uvloop, check)}),
    ]


def _patch_uvloop(check: CheckHost, uvloop: ModuleType) -> list[Patch]:
    """Return the patches of uvloop's loop; those that it makes of a file descriptor or a socket need none."""
    loop_class = uvloop.Loop
    return [
        Patch(loop_class, "create_connection", functools.partial(_guard_connection, check)),
        Patch(loop_class, "getaddrinfo", functools.partial(_guard_connection, check)),
        Patch(loop_class, "create_datagram_endpoint", functools.partial(_guard_datagrams, check)),
    ]


def _guard_connection(check: CheckHost, real: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a method of a loop whose first arguments are a host and a port, after a protocol if it has one."""
    first = 0
    if real.__name__ == "create_connection":
        first = 1

    @functools.wraps(real)
    async def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        address = [*args[first : first + 2], None, None]
        host = kwargs.get("host", address[0])
        port = kwargs.get("port", address[1])
        check_address(check, host, port)
        return await real(self, *args, **kwargs)

    return guarded


def _guard_datagrams(check: CheckHost, real: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``create_datagram_endpoint``: the address of the other side is checked."""

    @functools.wraps(real)
    async def guarded(
        self: Any, protocol_factory: Any, local_addr: Any = None, remote_addr: Any = None, **kwargs: Any
    ) -> Any:
        if isinstance(remote_addr, tuple) and len(remote_addr) > 1:
            check_address(check, *remote_addr[:2])
        return await real(self, protocol_factory, local_addr, remote_addr, **kwargs)

    return guarded
