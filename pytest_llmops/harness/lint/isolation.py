"""Evaluate an assertion on an altered answer, apart from the running test: its measurements and requests do not count for the test."""

import io
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from contextvars import copy_context
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from pytest_llmops import recorder
from pytest_llmops.cassettes import Tape, TapeConfig, current_tape, open_tape, use_tape
from pytest_llmops.errors import (
    BudgetReached,
    CassetteMiss,
    LLMOpsError,
    MeasurementErrored,
)
from pytest_llmops.recorder import Recorder

Ending: TypeAlias = Literal["passed", "failed", "asks", "refused"]
NO_CASSETTE = Path("lint-without-a-cassette.yaml")  # is never read or written: it replays nothing


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an assertion on an altered answer.

    Attributes:
        ending: ``passed``; ``failed``: also without a score; ``asks``: it made a request that is not recorded;
            ``refused``: it cannot use the answer.
        value: Its last measured value. None: it measured nothing.
    """

    ending: Ending
    value: float | None = None


class Isolation:
    """Evaluates assertions apart from the running test; keeps a tape that only replays for each tape of a test."""

    def __init__(self) -> None:
        self._base: Tape | None = None
        self._replay: Tape | None = None

    def evaluate(self, assertion: Callable[[], object], *, may_ask: bool) -> Outcome:
        """Return the result of an assertion on an altered answer.

        Args:
            assertion: Called without arguments.
            may_ask: It may call a model, so that it needs a tape: a recorded question is answered, all others are refused.
        """
        return copy_context().run(self._evaluate, assertion, may_ask=may_ask)

    def _evaluate(self, assertion: Callable[[], object], *, may_ask: bool) -> Outcome:
        test = recorder.running_test_recorder() or Recorder()
        own = _copy_recorder(test)
        missed = 0
        with ExitStack() as stack:
            if may_ask:
                tape = stack.enter_context(use_tape(self._replay_of(current_tape())))
                missed = tape.counts.missed
            stack.enter_context(_push(own))
            stack.enter_context(_keep_quiet())
            ending = _end_of(assertion)
            if may_ask and tape.counts.missed > missed:
                return Outcome("asks")
        if any(measurement.status in ("failed", "errored") for measurement in own.measurements):
            return Outcome("failed")
        value = own.measurements[-1].value if own.measurements else None
        return Outcome(ending, value)

    def _replay_of(self, base: Tape | None) -> Tape:
        """Return a tape with the recordings of another, which calls nothing and counts nothing of it as used."""
        if self._replay is None or base is not self._base:
            self._base = base
            if base is None:
                self._replay = open_tape(NO_CASSETTE, "none", TapeConfig(), shared=True)
            else:
                self._replay = open_tape(base.path, "none", replace(base.config, faults=None), shared=True)
        return self._replay


def _end_of(assertion: Callable[[], object]) -> Ending:
    """Return how an assertion ends, from its exception."""
    try:
        assertion()
    except (CassetteMiss, BudgetReached):
        return "asks"
    except MeasurementErrored:
        return "failed"
    except LLMOpsError:  # a wrong argument: proves nothing about the answers that the assertion lets pass
        return "refused"
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 -- whatever a metric raises; `pytest.fail` and `sys.exit` raise no Exception
        return "failed"
    return "passed"


def _copy_recorder(test: Recorder) -> Recorder:
    """Return a recorder with the surroundings of a test, which gets none of its records."""
    return replace(
        test,
        measurements=[],
        facts={},
        exchanges=list(test.exchanges),
        failures=[],
        hidden=dict(test.hidden),
        unreadable=[],
        soft=False,
        silent=True,
        outer=None,
        watch_answer=None,
    )


@contextmanager
def _keep_quiet() -> Iterator[None]:
    """Drop the output and the warnings of a metric, and restore the random numbers that it draws."""
    state = random.getstate()
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            random.setstate(state)


@contextmanager
def _push(own: Recorder) -> Iterator[None]:
    recorder.push_recorder(own)
    try:
        yield
    finally:
        recorder.pop_recorder(own)
