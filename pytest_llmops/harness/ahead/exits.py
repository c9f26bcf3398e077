"""Exit functions in the process of the silent runs, which ends without Python's own shutdown."""

import atexit
import weakref
from contextlib import suppress
from typing import Any


def drop_inherited_exit_functions() -> None:
    """Forget the exit functions that a fork has from its parent: they end or remove things of the parent."""
    atexit._clear()  # noqa: SLF001 -- Python has no public access
    finalizers = weakref.finalize
    for finalizer in list(finalizers._registry):  # type: ignore[attr-defined]  # noqa: SLF001 -- as above
        finalizer.atexit = False
    # Otherwise new ones, as of a TemporaryDirectory, would not run: for Python they are already registered
    finalizers._registered_with_atexit = False  # type: ignore[attr-defined]  # noqa: SLF001 -- as above


def run_exit_functions(config: Any, *, is_fork: bool) -> None:
    """End what this process has started: run its exit functions; in a fresh pytest let the plugins unconfigure before.

    Args:
        config: pytest's.
        is_fork: Whether this process is a fork. Its plugins were configured by its parent, which unconfigures them.
    """
    if not is_fork:
        with suppress(BaseException):  # a plugin that cannot write its file
            config._ensure_unconfigure()  # noqa: SLF001 -- pytest has no public access
    with suppress(BaseException):
        atexit._run_exitfuncs()  # noqa: SLF001 -- as above
