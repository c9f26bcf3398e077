"""Run a judge on many answers: concurrently for live calls, in sequence for a replay."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TypeAlias, TypeVar

from pytest_llmops import recorder
from pytest_llmops.cassettes import active_tape
from pytest_llmops.errors import CallDeferred
from pytest_llmops.judges.protocol.response_format import branch_capabilities

T = TypeVar("T")
ProgressReport: TypeAlias = Callable[[int, int], None]

_progress: ContextVar[ProgressReport | None] = ContextVar("_progress", default=None)


@contextmanager
def on_progress(report: ProgressReport) -> Iterator[None]:
    """Call a function after each result of `run_judge_tasks`, with the number of results and of tasks.

    >>> with on_progress(lambda done, total: print(done, "of", total)):
    ...     results = list(run_judge_tasks([lambda: 1, lambda: 2]))
    1 of 2
    2 of 2
    """
    token = _progress.set(report)
    try:
        yield
    finally:
        _progress.reset(token)


def run_judge_tasks(
    tasks: Sequence[Callable[[], T]],
    *,
    judge: object = None,
    asked_model: Callable[[T], bool] = lambda _: True,
    keys: Sequence[Hashable] | None = None,
) -> Iterator[T]:
    """Yield the result of each task, in the order of the tasks.

    Up to `Settings.judge_concurrency` tasks make live calls at the same time; replayed tasks run in sequence, as threads
    would not make them faster. Each sees the context of its caller: recorder, trial and purpose.

    A replay must send the same requests as the recording, whichever task was faster then. Three rules ensure that:

    * The tasks run in sequence until one has called a model. From it the others know the capabilities of the server.
    * Facts that a later task learns about the server are not passed on to the others.
    * Tasks with equal keys run in sequence.

    If the caller stops iterating, only the tasks that already run are paid for.

    Args:
        tasks: The tasks.
        judge: The judge. If it, or a judge of a panel, has ``concurrent = False``, the tasks run in sequence.
        asked_model: Returns for a task's result whether the task called a model.
        keys: For each task a key that is equal for tasks with the same requests; None: all are different.

    Raises:
        Exception: The exception of a task; no further tasks are started then.

    >>> list(run_judge_tasks([lambda: 1, lambda: 2]))
    [1, 2]
    """
    report = _progress.get()
    for done, result in enumerate(_run_tasks(tasks, judge, asked_model, keys), start=1):
        if report is not None:
            report(done, len(tasks))
        yield result


def _run_tasks(
    tasks: Sequence[Callable[[], T]],
    judge: object,
    asked_model: Callable[[T], bool],
    keys: Sequence[Hashable] | None,
) -> Iterator[T]:
    """Yield the results, as `run_judge_tasks` describes."""
    tape = active_tape.current_tape()
    width = recorder.current_settings().judge_concurrency
    if _is_sequential(judge) or tape is None or tape.mode == "none":  # without a tape nothing limits the rate
        width = 1
    is_server_known = False
    done = 0
    while done < len(tasks) and not is_server_known:
        result = tasks[done]()
        is_server_known = asked_model(result)
        done += 1
        yield result
    # A context manager applied as a decorator: each remaining task starts with a copy of the known capabilities
    rest = [branch_capabilities()(task) for task in tasks[done:]]
    if tape is not None and tape.collects:
        yield from _collect_calls(rest)
    elif width > 1 and rest:
        keys_of_rest: Sequence[Hashable] = range(len(rest))
        if keys is not None:
            keys_of_rest = keys[done:]
        yield from _run_concurrently(rest, width, keys_of_rest)
    else:
        for task in rest:
            yield task()


def _collect_calls(tasks: Sequence[Callable[[], T]]) -> Iterator[T]:
    """Yield the results of the tasks whose calls have an answer already; then raise `CallDeferred` if any has none.

    No task is left out, so that the tape has collected the missing calls of all tasks by then. It makes them together
    (``--llm-concurrency``), and the test runs again.
    """
    deferred: list[CallDeferred] = []
    for task in tasks:
        try:
            with active_tape.inherit_context(active_tape.capture_context()):
                result = task()
        except CallDeferred as error:
            deferred.append(error)
        else:
            yield result
    if deferred:
        raise deferred[0]


def run_in_threads(tasks: Sequence[Callable[[], T]], width: int) -> list[T]:
    """Return the results of the tasks, in their order. Up to ``width`` run at the same time, in the caller's context.

    >>> run_in_threads([lambda: 1, lambda: 2], 2)
    [1, 2]
    """
    with ThreadPoolExecutor(min(width, len(tasks))) as pool:
        futures = [pool.submit(copy_context().run, task) for task in tasks]
        return [future.result() for future in futures]


def _run_concurrently(tasks: Sequence[Callable[[], T]], width: int, keys: Sequence[Hashable]) -> Iterator[T]:
    """Yield the results of the tasks, in their order.

    The tasks run in blocks of ``width``. A block starts only when the caller has taken all results of the block
    before, so that no further block starts if it stops iterating. Tasks with equal keys share a thread and run one
    after the other.
    """
    with ThreadPoolExecutor(min(width, len(tasks))) as pool:
        for first in range(0, len(tasks), width):
            block = range(first, min(first + width, len(tasks)))
            indexes_by_key: dict[Hashable, list[int]] = {}
            for index in block:
                indexes_by_key.setdefault(keys[index], []).append(index)
            running = []
            for indexes in indexes_by_key.values():
                same_tasks = [tasks[index] for index in indexes]
                running.append((indexes, pool.submit(copy_context().run, _run_in_sequence, same_tasks)))
            results: dict[int, T] = {}
            try:
                for indexes, future in running:
                    results |= zip(indexes, future.result(), strict=True)
            finally:
                for _, future in running:
                    future.cancel()
            for index in block:
                yield results[index]


def _run_in_sequence(tasks: Sequence[Callable[[], T]]) -> list[T]:
    return [task() for task in tasks]


def _is_sequential(judge: object) -> bool:
    """Return whether a judge, or any judge of a panel, has ``concurrent = False``."""
    if getattr(judge, "concurrent", True) is False:
        return True
    inner = getattr(judge, "judges", ())
    return isinstance(inner, (list, tuple)) and any(map(_is_sequential, inner))
