"""What servers take of the forms in which they are asked: remembered within one test, so that its recording answers alone.

Whatever ran before a test must not shorten its requests, or it could not be replayed alone. Outside of tests, and of
recordings, it is remembered within the process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

from pytest_llmops import recorder

Capabilities: TypeAlias = tuple[int, frozenset[str]]
"""Which way is the first that a server takes, and the parameters that it refuses."""
NO_CAPABILITIES: Capabilities = (0, frozenset())
_Table: TypeAlias = dict[object, tuple[Capabilities, object]]

_lock = threading.Lock()
_of_process: _Table = {}
_of_test: list[tuple[object, _Table]] = []
_scope: ContextVar[_Table | None] = ContextVar("pytest_llmops_memory", default=None)


def get(server: object) -> Capabilities:
    """Return what is known of a server here."""
    with _lock:
        return _current_table().get(server, (NO_CAPABILITIES, None))[0]


def put(server: object, known: Capabilities, model: Any) -> None:
    """Remember what a server takes; the model is kept, so that its id is not given to another."""
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
    """Know nothing in a block, and forget what it learned: its recording answers without that of the test around it."""
    with _use_table({}):
        yield


@contextmanager
def branch_capabilities() -> Iterator[None]:
    """Know in a block what is known before it, and forget what it learned: blocks at one time do not hear of each other."""
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
