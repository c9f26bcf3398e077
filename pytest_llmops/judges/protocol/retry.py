"""Asking again after a refusal that will pass: the server is asked too often, by all the judges of the run together.

The SDK asks again by itself a few times. Beyond that somebody has to slow down, and that is everybody: the run's
pace (`cassettes.pacing`) makes each judge of each worker wait before the next call goes out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from pytest_llmops.cassettes import active_tape
from pytest_llmops.errors import ModelError

T = TypeVar("T")

MAX_TRIES = 4
"""Of the SDK's own tries each."""
_FOR_GOOD = re.compile(r"insufficient_quota|billing|exceeded your current quota", re.IGNORECASE)
"""What a server says when waiting does not help."""


def retry_rate_limited(ask: Callable[[], T]) -> T:
    """Ask, and again as long as the server only says that it is asked too often.

    Where waiting did not help, or cannot, nobody in the run waits for that any more until the server answers. Without a
    tape nothing keeps the pace, and nothing is asked again.

    Raises:
        ModelError: It still says so after `MAX_TRIES`, or says anything else.

    >>> retry_rate_limited(lambda: 1)
    1
    """
    tape = active_tape.current_tape()
    pace = tape.pace if tape is not None and tape.mode != "none" else None
    for left in reversed(range(MAX_TRIES)):
        try:
            return ask()
        except ModelError as error:
            if error.kind != "rate_limit" or tape is None:
                raise
            if pace is not None and pace.gave_up:
                raise
            if not left or _FOR_GOOD.search(str(error)):
                if pace is not None:
                    pace.give_up()
                raise
    raise AssertionError  # pragma: no cover -- the last try returns or raises
