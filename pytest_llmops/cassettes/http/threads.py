"""Patches that let threads and thread pools inherit tape, trial and purpose from their starter."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.http.patching import Patch


def thread_patches() -> list[Patch]:
    """Return the patches of threads and thread pools."""
    return [Patch(threading.Thread, "start", _wrap_start), Patch(ThreadPoolExecutor, "submit", _wrap_submit)]


def _wrap_start(real: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(real)
    def start(self: threading.Thread) -> Any:
        context = active_tape.capture_context()
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
    @functools.wraps(real)
    def submit(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        context = active_tape.capture_context()

        # Also without a context: the thread may still have that of its first job.
        @functools.wraps(fn, updated=())
        def job(*args: Any, **kwargs: Any) -> Any:
            with active_tape.inherit_context(context):
                return fn(*args, **kwargs)

        return real(self, job, *args, **kwargs)

    return submit
