"""A judge that works through many answers: several at once where a model is asked, one by one where recordings answer."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TypeVar

from pytest_llmops import recorder
from pytest_llmops.cassettes import active_tape
from pytest_llmops.judges.protocol import capabilities

T = TypeVar("T")


def run_judge_tasks(
    tasks: Sequence[Callable[[], T]],
    *,
    judge: object = None,
    asked_model: Callable[[T], bool] = lambda _: True,
    keys: Sequence[Hashable] | None = None,
) -> Iterator[T]:
    """Yield what each task returns, in the order of the tasks.

    As many run at once as the run allows its judges live calls (``llm_judge_concurrency``); replayed ones run one by
    one, since threads would only be in each other's way. Each sees the running test as its caller does: recorder,
    trial and purpose. A replay asks what the recording asked, whoever came first then: the first task that asks a
    model runs alone, each of the others knows of the server what that one has found out and no more, and tasks that
    ask the same run one after the other. Who stops to take has at most as many tasks running, and pays for none
    beyond them.

    Args:
        tasks: What is to be done.
        judge: Who is asked; one that says ``concurrent = False``, or has such a one inside, is asked one by one.
        asked_model: Whether a model was asked, by what a task returned.
        keys: What each task asks; None: each something else.

    Raises:
        Exception: What a task raises; tasks that have not begun are not begun then.

    >>> list(run_judge_tasks([lambda: 1, lambda: 2]))
    [1, 2]
    """
    width = 1 if _is_sequential(judge) or not _is_live() else recorder.current_settings().judge_concurrency
    known, at = False, 0
    while at < len(tasks) and not known:
        result = tasks[at]()
        known, at = asked_model(result), at + 1
        yield result
    rest = [partial(_run_branched, task) for task in tasks[at:]]
    if width > 1 and rest:
        yield from _run_concurrently(rest, width, keys[at:] if keys is not None else range(len(rest)))
        return
    for task in rest:
        yield task()


def _run_branched(task: Callable[[], T]) -> T:
    with capabilities.branch_capabilities():
        return task()


def _run_concurrently(tasks: Sequence[Callable[[], T]], width: int, keys: Sequence[Hashable]) -> Iterator[T]:
    with ThreadPoolExecutor(min(width, len(tasks))) as pool:
        for first in range(0, len(tasks), width):
            places: dict[Hashable, list[int]] = {}
            for place in range(first, min(first + width, len(tasks))):
                places.setdefault(keys[place], []).append(place)
            running = {
                place: pool.submit(copy_context().run, _run_in_order, [tasks[one] for one in listed])
                for listed in places.values()
                for place in listed[:1]
            }
            try:
                done = {
                    place: result
                    for listed in places.values()
                    for place, result in zip(listed, running[listed[0]].result(), strict=True)
                }
            finally:
                for one in running.values():
                    one.cancel()
            yield from (done[place] for place in sorted(done))


def _run_in_order(tasks: Sequence[Callable[[], T]]) -> list[T]:
    return [task() for task in tasks]


def _is_sequential(judge: object) -> bool:
    if getattr(judge, "concurrent", True) is False:
        return True
    inner = getattr(judge, "judges", ())
    return isinstance(inner, (list, tuple)) and any(map(_is_sequential, inner))


def _is_live() -> bool:
    """Whether models may be asked over the network. Without a tape nobody knows, and nothing keeps the pace."""
    tape = active_tape.current_tape()
    return tape is not None and tape.mode != "none"
