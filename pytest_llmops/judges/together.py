"""A judge that works through many answers: several at once where a model is asked, one by one where recordings answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from pytest_llmops import recorder
from pytest_llmops.cassettes import deck

T = TypeVar("T")


def together(
    tasks: Sequence[Callable[[], T]], *, judge: object = None, asked: Callable[[T], bool] = lambda _: True
) -> Iterator[T]:
    """Yield what each task returns, in the order of the tasks.

    As many run at once as the run allows its judges live calls (``llm_judge_concurrency``); replayed ones run one by
    one, since threads would only be in each other's way. Each sees the running test as its caller does: recorder,
    trial and purpose. The first that asks a model runs alone: what its server takes is known then, and the requests of
    the others do not depend on which of them comes first. Who stops to take has at most as many tasks running, and
    pays for none beyond them.

    Args:
        tasks: What is to be done.
        judge: Who is asked; one that says ``concurrent = False`` is asked one by one.
        asked: Whether a model was asked, by what a task returned.

    Raises:
        Exception: What a task raises; tasks that have not begun are not begun then.

    >>> list(together([lambda: 1, lambda: 2]))
    [1, 2]
    """
    several = _live() and getattr(judge, "concurrent", True) is not False
    width = recorder.settings().judge_concurrency if several else 1
    known, at = False, 0
    while at < len(tasks) and not (known and width > 1):
        found = tasks[at]()
        known, at = known or asked(found), at + 1
        yield found
    if at < len(tasks):
        yield from _at_once(tasks[at:], width)


def _at_once(tasks: Sequence[Callable[[], T]], width: int) -> Iterator[T]:
    with ThreadPoolExecutor(min(width, len(tasks))) as pool:
        for first in range(0, len(tasks), width):
            running = [pool.submit(copy_context().run, one) for one in tasks[first : first + width]]
            try:
                for one in running:
                    yield one.result()
            finally:
                for one in running:
                    one.cancel()


def _live() -> bool:
    """Whether models may be asked over the network. Without a tape nobody knows, and nothing keeps the pace."""
    tape = deck.current()
    return tape is not None and tape.mode != "none"
