"""Retry judge calls after HTTP 429, with a shared back-off for the whole run.

The SDK retries a few times by itself. Beyond that the server is overloaded by all judges together, so the run's rate
limit (`cassettes.rate_limit`) makes every judge of every worker wait before its next call.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from pytest_llmops.cassettes import active_tape
from pytest_llmops.errors import ModelError

T = TypeVar("T")

MAX_TRIES = 4  # each try includes the SDK's own retries
_FOR_GOOD = re.compile(r"insufficient_quota|billing|exceeded your current quota", re.IGNORECASE)
"""Messages of a server when waiting does not help."""


def retry_rate_limited(ask: Callable[[], T]) -> T:
    """Return the result of a call, retried while the server reports that its rate limit is exceeded.

    Once waiting did not help, or cannot, no judge of the run waits until the server answers again. Without a tape there
    is no shared rate limit, and no retry.

    Raises:
        ModelError: The rate limit is still exceeded after `MAX_TRIES`, or any other error.

    >>> retry_rate_limited(lambda: 1)
    1
    """
    tape = active_tape.current_tape()
    pace = tape.pace if tape is not None and tape.mode != "none" else None
    for left in reversed(range(MAX_TRIES)):
        try:
            return ask()
        except ModelError as error:
            if error.kind != "rate_limit" or tape is None or (pace is not None and pace.gave_up):
                raise
            if not left or _FOR_GOOD.search(str(error)):
                if pace is not None:
                    pace.give_up()
                raise
    raise AssertionError  # pragma: no cover -- the last try returns or raises
