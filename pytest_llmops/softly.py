"""Blocks in which a failure does not end the test at once: collected and raised together, or kept to themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ContextDecorator, ExitStack, contextmanager
from types import TracebackType

from pytest_llmops import errors, recorder
from pytest_llmops.measurement import Measurement
from pytest_llmops.recorder import Recorder


class soft(ContextDecorator):  # noqa: N801 -- reads as a function, as in `with soft():`
    """Collect the failures of a block and raise once, listing all.

    What was measured reaches the surrounding recorder either way. An exception of the
    block's own goes on unchanged, with the collected failures as a note. Once a check has failed, judges in the
    block are *not asked*, unless ``judges`` is true: the test fails anyway, and they cost.

    Raises:
        MeasurementFailed: At least one measurement was outside its bound.
        MeasurementErrored: None failed, but at least one could not be taken.

    >>> from pytest_llmops import emit
    >>> with soft() as block:
    ...     _ = emit(Measurement(name="m", value=1.0, bound=0.5))
    >>> len(block.measurements)
    1
    """

    # A class, as a generator's frames within contextlib would stand in every failure text.
    def __init__(self, *, judges: bool = False) -> None:
        self._open = ExitStack()
        self._inner = Recorder()
        self._judges = judges

    def _recreate_cm(self) -> soft:
        return soft(judges=self._judges)

    def __enter__(self) -> Recorder:
        self._inner = Recorder(soft=True, outer=recorder.current(), asks_judges=self._judges)
        self._open.enter_context(recorder.opened(self._inner))
        return self._inner

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        inner = self._inner
        try:
            self._open.__exit__(kind, error, trace)
            if error is not None and inner.failures:
                error.add_note(f"before this, {_listed(inner.failures)}")
        finally:
            _forward(inner)
        if error is None:
            _raise_collected(inner)


def _forward(inner: Recorder) -> None:
    outer = recorder.current()
    if outer is not None:
        outer.take_in(inner)


def _raise_collected(inner: Recorder) -> None:
    __tracebackhide__ = True
    if not inner.failures:
        return
    outer = recorder.current()
    if outer is not None and outer.silent:
        return
    if outer is not None and outer.soft:
        outer.failures.extend(inner.failures)
        return
    if len(inner.failures) == 1:
        raise inner.failures[0]
    missed = [f for f in inner.failures if isinstance(f, errors.MeasurementFailed)]
    kind = errors.MeasurementFailed if missed else errors.MeasurementErrored
    found = [m for f in (missed or inner.failures) for m in getattr(f, "measurements", ())]
    raise kind(
        f"{len(inner.failures)} of {len(inner.measurements)} checks failed\n{_listed(inner.failures)}", found
    )


def _listed(failures: list[Exception]) -> str:
    return "\n".join(f"{number}. {text}" for number, text in enumerate(map(str, failures), start=1))


@contextmanager
def collect() -> Iterator[list[Measurement]]:
    """Keep the measurements of a block to itself: nothing is raised, nothing is reported.

    >>> from pytest_llmops import emit
    >>> with collect() as found:
    ...     _ = emit(Measurement(name="m", value=0.0, bound=1.0))
    >>> found[0].status
    'failed'
    """
    inner = Recorder(silent=True)
    with recorder.opened(inner):
        yield inner.measurements
