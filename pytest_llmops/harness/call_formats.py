"""Wire formats from the project's hook ``pytest_llmops_call_formats``, registered for the time of a run."""

from __future__ import annotations

from functools import partial
from typing import Any

from pytest_llmops.errors import UsageError
from pytest_llmops.trace import routes

HOOK = "pytest_llmops_call_formats"


def use_call_formats(config: Any) -> None:
    """Read calls by the wire formats of the conftest files and plugins that are loaded so far, until the end of the run.

    Raises:
        UsageError: A hook raised, or returned something else than formats by name.
    """
    try:
        results = config.hook.pytest_llmops_call_formats(config=config)
    except Exception as error:
        kind = type(error).__name__
        raise UsageError(f"the hook {HOOK} raised {kind}: {error}") from error
    try:
        formats = routes.check_formats(results)
    except UsageError as error:
        raise UsageError(f"the hook {HOOK}: {error}") from None
    # A run within a test (pytester) has its own formats.
    previous = routes.use_formats(formats)
    config.add_cleanup(partial(routes.use_formats, previous))
