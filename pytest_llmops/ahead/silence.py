"""Run tests without a trace: no output, no warning, no report, and the item as it was before."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

SILENT_HOOKS = frozenset({"pytest_runtest_logreport", "pytest_exception_interact", "pytest_warning_recorded"})
"""Hooks that subtests call themselves."""


class SilentHooks:
    """pytest's hooks without those that report."""

    def __init__(self, hooks: Any) -> None:
        self._hooks = hooks

    def __getattr__(self, name: str) -> Any:
        return _ignore if name in SILENT_HOOKS else getattr(self._hooks, name)


def _ignore(*_: object, **__: object) -> None:
    """Report nothing."""


def _reject(_: logging.LogRecord) -> bool:
    return False


@contextmanager
def silence_session(session: Any) -> Iterator[None]:
    """Let nothing that tests do in a block be printed, logged to a file, or reported."""
    before = threading.excepthook, sys.unraisablehook
    logging_plugin = session.config.pluginmanager.get_plugin("logging-plugin")
    handlers = [getattr(logging_plugin, f"log_{name}_handler", None) for name in ("cli", "file")]
    handlers += [logging.lastResort]
    gethookproxy = session.gethookproxy
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if session.config.getoption("capture", "") == "no" or not session.config.pluginmanager.has_plugin(
            "capturemanager"
        ):
            stack.enter_context(_redirect_output())
        for handler in filter(None, handlers):
            handler.addFilter(_reject)
            stack.callback(handler.removeFilter, _reject)
        session.gethookproxy = lambda path: SilentHooks(gethookproxy(path))
        threading.excepthook = sys.unraisablehook = _ignore
        try:
            yield
        finally:
            threading.excepthook, sys.unraisablehook = before
            del session.gethookproxy


@contextmanager
def _redirect_output() -> Iterator[None]:
    """Send what goes to the descriptors 1 and 2 nowhere: nothing captures it."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    saved = [os.dup(fd) for fd in (1, 2)]
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 -- a device
            for fd in (1, 2):
                os.dup2(null, fd)
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                yield
    finally:
        for fd, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, fd)
            os.close(copy)
        os.close(null)


@contextmanager
def keep_item(item: Any) -> Iterator[None]:
    """Leave an item after a block as it was before: markers, properties, captured output."""
    markers, properties = list(item.own_markers), list(item.user_properties)
    keywords = dict(item.keywords._markers)  # noqa: SLF001 -- `NodeKeywords` deletes nothing
    try:
        yield
    finally:
        item.own_markers[:], item.user_properties[:] = markers, properties
        item.keywords._markers = keywords  # noqa: SLF001 -- as above
        item._report_sections.clear()  # noqa: SLF001 -- as pytest-rerunfailures does
        vars(item).pop("_excinfo", None)
