"""Remember which reply formats and parameters a server supports, for the length of a test.

The requests of a test must not depend on the tests before it, or its recording could not be replayed alone. Outside of
tests, and without recordings, capabilities are remembered for the process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

from pytest_llmops import recorder

Capabilities: TypeAlias = tuple[int, frozenset[str]]
"""The index of the first reply format that a server supports, and the parameters that it refuses."""
NO_CAPABILITIES: Capabilities = (0, frozenset())
_Table: TypeAlias = dict[object, tuple[Capabilities, object]]

_lock = threading.Lock()
_of_process: _Table = {}
_of_test: list[tuple[object, _Table]] = []
_scope: ContextVar[_Table | None] = ContextVar("pytest_llmops_memory", default=None)


def get(server: object) -> Capabilities:
    """Return the known capabilities of a server."""
    with _lock:
        return _current_table().get(server, (NO_CAPABILITIES, None))[0]


def put(server: object, known: Capabilities, model: Any) -> None:
    """Remember the capabilities of a server; the model is kept alive, as its id may be the key."""
    with _lock:
        _current_table()[server] = (known, model)


def _current_table() -> _Table:
    own = _scope.get()
    if own is not None:
        return own
    test = recorder.running_test_recorder()
    if test is None or recorder.current_settings().record == "live":
        return _of_process
    if not _of_test or _of_test[0][0] is not test:
        _of_test[:] = [(test, {})]
    return _of_test[0][1]


@contextmanager
def forget_capabilities() -> Iterator[None]:
    """Start a block without known capabilities, and forget them after it, for a recording that several tests share."""
    with _use_table({}):
        yield


@contextmanager
def branch_capabilities() -> Iterator[None]:
    """Start a block with a copy of the known capabilities, so that concurrent blocks do not affect each other."""
    with _lock:
        known = dict(_current_table())
    with _use_table(known):
        yield


@contextmanager
def _use_table(table: _Table) -> Iterator[None]:
    token = _scope.set(table)
    try:
        yield
    finally:
        _scope.reset(token)
