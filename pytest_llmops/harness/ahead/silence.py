"""Run tests without a trace: no output, no warning, no report, and the item as it was before."""

import contextlib
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

# Hooks that report; the plugin for subtests calls them itself, so it is not enough that the protocol logs nothing
SILENT_HOOKS = frozenset({"pytest_runtest_logreport", "pytest_exception_interact", "pytest_warning_recorded"})


class SilentHooks:
    """pytest's hooks, in which those that report do nothing."""

    def __init__(self, hooks: Any) -> None:
        self._hooks = hooks

    def __getattr__(self, name: str) -> Any:
        if name in SILENT_HOOKS:
            return _ignore
        return getattr(self._hooks, name)


def _ignore(*_: Any, **__: Any) -> Any:
    """Report nothing."""


_ignore.call_historic = _ignore  # type: ignore[attr-defined]  # of the hook for warnings


@contextmanager
def silence_session(session: Any) -> Iterator[None]:
    """Let nothing that tests do in a block be printed, logged to a file, or reported."""
    plugins = session.config.pluginmanager
    before = (threading.excepthook, sys.unraisablehook)
    logging_plugin = plugins.get_plugin("logging-plugin")
    handlers = [
        getattr(logging_plugin, "log_cli_handler", None),
        getattr(logging_plugin, "log_file_handler", None),
        logging.lastResort,
    ]
    gethookproxy = session.gethookproxy
    with ExitStack() as stack, warnings.catch_warnings(record=True):
        if session.config.getoption("capture", "") == "no" or not plugins.has_plugin("capturemanager"):
            stack.enter_context(_redirect_output())
        for handler in filter(None, handlers):
            handler.addFilter(_ignore)  # None: the record is dropped
            stack.callback(handler.removeFilter, _ignore)
        session.gethookproxy = lambda path: SilentHooks(gethookproxy(path))
        threading.excepthook = sys.unraisablehook = _ignore
        try:
            yield
        finally:
            threading.excepthook, sys.unraisablehook = before
            del session.gethookproxy


@contextmanager
def _redirect_output() -> Iterator[None]:
    """Discard what is written to the descriptors 1 and 2, for a run in which pytest does not capture them."""
    with ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123 -- a device
        for fd, stream in ((1, sys.stdout), (2, sys.stderr)):
            stream.flush()
            copy = os.dup(fd)
            stack.callback(os.close, copy)
            stack.callback(os.dup2, copy, fd)
            os.dup2(nowhere.fileno(), fd)
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield


@contextmanager
def keep_item(item: Any) -> Iterator[None]:
    """Restore an item after a block: its markers, keywords and properties. Captured output and the last exception are removed."""
    markers = list(item.own_markers)
    properties = list(item.user_properties)
    keywords = dict(item.keywords._markers)  # noqa: SLF001 -- `NodeKeywords` deletes nothing
    filters = item.config.pluginmanager.get_plugin("warnings")
    try:
        with ExitStack() as stack:
            if filters:  # an error that `-W error` makes of a warning ends the test before its next call
                stack.enter_context(filters.catch_warnings_for_item(item.config, item.ihook, "runtest", item))
            yield
    finally:
        item.own_markers[:] = markers
        item.user_properties[:] = properties
        item.keywords._markers = keywords  # noqa: SLF001 -- as above
        item._report_sections.clear()  # noqa: SLF001 -- as pytest-rerunfailures does
        vars(item).pop("_excinfo", None)
