"""Run tests without a trace in the process of the silent runs: no report, no log file, and the item as it was before."""

import sys
import threading
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


def silence_session(session: Any) -> None:
    """Let nothing that tests do from now on be reported, or logged to the file of the run that counts."""
    logging_plugin = session.config.pluginmanager.get_plugin("logging-plugin")
    for name in ("log_cli_handler", "log_file_handler"):
        handler = getattr(logging_plugin, name, None)
        if handler is not None:
            handler.addFilter(_ignore)  # None: the record is dropped
    find_hooks = session.gethookproxy
    session.gethookproxy = lambda path: SilentHooks(find_hooks(path))
    threading.excepthook = sys.unraisablehook = _ignore


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
