"""The one place that knows vcrpy: its patches ask the current tape, and are in place while there is one.

vcrpy's ``CassettePatcherBuilder`` is not a documented API: the version is pinned, and a
contract test holds what is used here. Matching, storage and errors are ours.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.http.aiohttp import sessions
from pytest_llmops.cassettes.http.http_client import connections
from pytest_llmops.cassettes.http.httpx import async_hook, sync_hook
from pytest_llmops.cassettes.http.patching import Patch, network, steady
from pytest_llmops.cassettes.http.threads import carrying
from pytest_llmops.cassettes.http.vcr_adapter import Hub
from pytest_llmops.cassettes.tape import Answer, current


class _Interception:
    """All patches: built once, in place while a tape is in use."""

    def __init__(self) -> None:
        import vcr.patch

        built = list(vcr.patch.CassettePatcherBuilder(Hub()).build())
        self._removers = [one for one in built if not hasattr(one, "attribute")]
        self._patches = [*_settled(), *(_as_patch(one) for one in built if hasattr(one, "attribute"))]
        # vcrpy takes all its patches away while a connection is made, for all threads at once, and two
        # threads that do so leave them off for good. What it is needed for, `_settled` has taken care of.
        self._patches.append(Patch(vcr.patch, "force_reset", partial(_this, contextlib.nullcontext)))
        self._patches += [*connections(), *sessions(), *_quiet(), *_hooks(), *network(), *carrying()]
        self._in_place = False

    def use(self, *, used: bool) -> None:
        """Put all in place, or take all away."""
        if used == self._in_place:
            return
        self._in_place = used
        if used:
            for one in self._patches:
                one.put()
            return
        for one in reversed(self._patches):
            one.take_away()
        for remover in self._removers:  # pooled connections of theirs must not answer the next test
            remover.__exit__(None, None, None)
            remover._connection_pool_to_connections.clear()  # noqa: SLF001 -- else every pool lives to the end


def _settled() -> Iterator[Patch]:
    found: list[tuple[Any, str]] = [(http.client, "HTTPSConnection")]
    httplib2 = sys.modules.get("httplib2")
    if httplib2 is not None:
        found += [(httplib2, "HTTPConnectionWithTimeout"), (httplib2, "HTTPSConnectionWithTimeout")]
    for module, name in found:
        yield Patch(getattr(module, name), "__init__", steady)


def _as_patch(one: Any) -> Patch:
    return Patch(one.getter(), one.attribute, partial(_this, one.new))


def _this(replacement: Any, _: Any) -> Any:
    return replacement


def _hooks() -> Iterator[Patch]:
    for name in ("httpx", "httpx2"):
        with contextlib.suppress(ImportError):
            module = sys.modules.get(name) or __import__(name)
            yield Patch(module.HTTPTransport, "handle_request", partial(sync_hook, module))
            yield Patch(module.AsyncHTTPTransport, "handle_async_request", partial(async_hook, module))


def _quiet() -> Iterator[Patch]:
    """Let vcrpy log nothing: its lines hold addresses, which may hold keys."""
    silent = logging.getLogger("pytest_llmops.vcrpy")
    silent.disabled = True
    for name, module in list(sys.modules.items()):
        if name.startswith("vcr.") and isinstance(getattr(module, "log", None), logging.Logger):
            yield Patch(module, "log", partial(_this, silent))


_entered: _Interception | None = None


def enter() -> None:
    """Intercept HTTP from now on, whenever a tape is in use; the second call does nothing."""
    global _entered  # noqa: PLW0603 -- patches are a fact of the process
    if _entered is not None:
        return
    _entered = _Interception()
    active_tape.on_change.append(_entered.use)
    if current() is not None:
        _entered.use(used=True)


def leave() -> None:
    """Take the patches away for good."""
    global _entered
    if _entered is not None:
        gone, _entered = _entered, None
        active_tape.on_change.remove(gone.use)
        gone.use(used=False)


__all__ = ["Answer", "Hub", "enter", "leave"]
