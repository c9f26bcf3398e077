"""Interception of HTTP calls: all patches, in place while a tape is in use.

vcrpy's ``CassettePatcherBuilder`` is not a documented API, so vcrpy's version is pinned, and a contract test covers
the parts that are used here. Matching, storage and errors are our own.
"""

import contextlib
import http.client
import importlib
import logging
import sys
from collections.abc import Iterator
from functools import partial
from types import ModuleType
from typing import Any

from pytest_llmops.cassettes import active_tape, late_patches
from pytest_llmops.cassettes.http import (
    aiohttp,
    child_processes,
    connection_checks,
    http_client,
    httpx,
    patching,
    replay_guard,
    vcr_adapter,
    websockets,
)
from pytest_llmops.cassettes.mcp.patches import mcp_patches
from pytest_llmops.cassettes.patch import Patch, SystemChange
from pytest_llmops.cassettes.tape import Tape


class _Interception:
    """The patches of all HTTP clients: made once, then applied and removed with the first and last tape in use."""

    def __init__(self) -> None:
        import vcr.patch

        self._removers = []
        vcr_patches = []
        for patcher in vcr.patch.CassettePatcherBuilder(vcr_adapter.VcrCassette()).build():
            if hasattr(patcher, "attribute"):
                make = partial(_ignore_original, patcher.new)
                vcr_patches.append(Patch(patcher.getter(), patcher.attribute, make))
            else:
                self._removers.append(patcher)
        for name in ("httpx", "httpx2"):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        self._patches: list[SystemChange] = [
            replay_guard.guard_patches(),  # before vcrpy replaces the classes
            *_pin_constructors(),
            *vcr_patches,
            # While a connection is created, vcrpy removes all its patches, in all threads; if two threads do so at the
            # same time, they are removed for good. `_pin_constructors` makes this removal unnecessary.
            Patch(vcr.patch, "force_reset", partial(_ignore_original, contextlib.nullcontext)),
            *http_client.connection_patches(),
            *aiohttp.aiohttp_patches(),
            *_silence_vcrpy(),
            late_patches.LatePatches({"httpx": _patch_transports, "httpx2": _patch_transports}),
            websockets.socket_patches(),
            *connection_checks.network_patches(patching.refuse_while_replaying),
            *patching.thread_patches(),
            *child_processes.process_patches(),
            late_patches.LatePatches({"uvloop": child_processes.patch_uvloop}),
            mcp_patches(),
        ]
        self._in_place = False

    def use(self, *, used: bool) -> None:
        """Apply or remove all patches."""
        if used == self._in_place:
            return
        self._in_place = used
        if used:
            for patch in self._patches:
                patch.apply()
            return
        for patch in reversed(self._patches):
            patch.restore_attribute()
        # Otherwise connections of vcrpy that are still in a pool would answer the next test.
        for remover in self._removers:
            remover.__exit__(None, None, None)
            remover._connection_pool_to_connections.clear()  # noqa: SLF001 -- otherwise all pools stay alive


def _pin_constructors() -> Iterator[Patch]:
    """Yield patches that keep the constructors of connections working while the names of their modules are patched.

    See `patching.pin_globals`. httplib2 is patched only if it is imported.
    """
    constructors: list[tuple[Any, str]] = [(http.client, "HTTPSConnection")]
    httplib2 = sys.modules.get("httplib2")
    if httplib2 is not None:
        constructors += [(httplib2, "HTTPConnectionWithTimeout"), (httplib2, "HTTPSConnectionWithTimeout")]
    for module, name in constructors:
        yield Patch(getattr(module, name), "__init__", patching.pin_globals)


def _ignore_original(replacement: Any, _: Any) -> Any:
    """Return the replacement; for `Patch.make`, which also gets the original."""
    return replacement


def _patch_transports(module: ModuleType) -> Iterator[Patch]:
    """Yield the patches of the transports of httpx or httpx2."""
    wrap_sync = partial(httpx.wrap_sync_transport, module)
    wrap_async = partial(httpx.wrap_async_transport, module)
    yield Patch(getattr(module, "HTTPTransport", None), "handle_request", wrap_sync)
    yield Patch(getattr(module, "AsyncHTTPTransport", None), "handle_async_request", wrap_async)


def _silence_vcrpy() -> Iterator[Patch]:
    """Turn off vcrpy's logging: its messages contain URLs, which may contain keys."""
    silent = logging.getLogger("pytest_llmops.vcrpy")
    silent.disabled = True
    for name, module in list(sys.modules.items()):
        if name.startswith("vcr.") and isinstance(getattr(module, "log", None), logging.Logger):
            yield Patch(module, "log", partial(_ignore_original, silent))


_interception: _Interception | None = None


def install_patches() -> None:
    """Intercept HTTP calls from now on while a tape is in use; a second call has no effect."""
    global _interception  # noqa: PLW0603 -- the patches are global too
    if _interception is not None:
        return
    _interception = _Interception()
    active_tape.change_listeners.append(_interception.use)
    if active_tape.current_tape() is not None:
        _interception.use(used=True)


@contextlib.contextmanager
def use_in_all_threads(tape: Tape) -> Iterator[None]:
    """Use the tape of a test, or of a fixture that is set up or torn down, in all threads and tasks."""
    install_patches()
    active_tape.push_tape(tape)
    try:
        yield
    finally:
        active_tape.remove_tape(tape)


def remove_patches() -> None:
    """Remove all patches for good."""
    global _interception  # noqa: PLW0603 -- as above
    # A process that a test started keeps its patches to its end.
    if _interception is not None and active_tape.find_remote_tape is None:
        child_processes.close_server()
        removed = _interception
        _interception = None
        active_tape.change_listeners.remove(removed.use)
        removed.use(used=False)
