"""Show errors of ours that a test or a fixture caught and must not hide: a missing recording, a spent budget, a result without a score.

Knows pytest's reports by their attributes only.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_llmops.errors import (
    BudgetReached,
    CallDeferred,
    CassetteMiss,
    MeasurementErrored,
    RetriedForEver,
    SilentWriteRefused,
    append_code,
    find_unscored_error,
    reword_error,
    swallowed_error,
)

if TYPE_CHECKING:
    from pytest_llmops.cassettes import Tape
    from pytest_llmops.harness.item import Harness
    from pytest_llmops.measurement import Measurement

TORN_DOWN = "the fixture was torn down"
ELSEWHERE = "in a process that the test started"
# They end a test, and its report shows them
ENDINGS = (BudgetReached, CallDeferred, CassetteMiss, RetriedForEver, SilentWriteRefused)


def quiet_asyncio() -> None:
    """Let asyncio not log errors of tasks that the report of the test shows already.

    anyio's pytest plugin never reads the error of the task in which tests run. So asyncio logs it whenever the task is collected, which
    may be while pytest parses a module: the traceback in the log then breaks the parser of Python 3.11 (a SystemError).
    """
    logging.getLogger("asyncio").addFilter(is_unreported)


def is_unreported(record: logging.LogRecord) -> bool:
    """Return whether a log record is about anything else than errors that the report of a test shows."""
    error = record.exc_info[1] if record.exc_info else None
    return not _is_ending(error)


def _is_ending(error: BaseException | None) -> bool:
    """Return whether an error, or each error of a group, is one that ends a test."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_ending, error.exceptions))
    return isinstance(error, ENDINGS)


def describe_ending(report: Any, error: BaseException | None) -> str:
    """Return how a phase ended that may hide a caught error, as the beginning of a message. "" if it failed with an error.

    Args:
        report: pytest's report.
        error: The error of the phase. None for a failed phase if a strict `xfail` expected it to fail.
    """
    if report.passed:
        return "the test passed"
    if hasattr(report, "wasxfail") or error is None:
        return "the test ended as its xfail expects"
    if report.skipped:
        return "the test was skipped"
    return ""


def find_hidden_error(
    caught: CassetteMiss | BudgetReached | None, *, hiding: str, is_elsewhere: bool, is_shown: bool
) -> CassetteMiss | BudgetReached | None:
    """Return the miss or refused call that nobody would see, so that it fails the tear-down of the test; None if all is seen.

    Args:
        caught: The miss or refused call that the test had.
        hiding: How the test ended if that hides it, see `describe_ending`.
        is_elsewhere: Whether it was raised in a process that the test started.
        is_shown: Whether a report of the test shows a miss or a refused call already.
    """
    if caught is None:
        return None
    if hiding:
        return swallowed_error(hiding, caught)
    if is_elsewhere and not is_shown:
        return reword_error(caught, f"{ELSEWHERE}: {caught}")
    return None


def find_cause(
    error: BaseException, caught: CassetteMiss | BudgetReached | None, *, is_elsewhere: bool
) -> BaseException:
    """Return why a phase failed: a new error about a miss, or a refused call, that was caught before; else the error itself.

    In a process that the test started, the SDK has put our message into an error of its own, and the test failed because
    of that error. In the test's own process, an agent may hand the miss to its model as the result of a tool; then the test
    failed by something that was not the answer of the model.

    Args:
        error: The error of the phase.
        caught: The miss or refused call that the test had.
        is_elsewhere: Whether it was raised in a process that the test started.
    """
    if caught is None or isinstance(error, (CassetteMiss, BudgetReached)):
        return error
    if is_elsewhere:
        return reword_error(caught, f"{ELSEWHERE}: {caught}")
    if find_unscored_error(error):  # a group with the miss, or another error that is not a low score
        return error
    return swallowed_error("the test went on", caught)


def fails_despite_xfail(error: BaseException | None, measurements: Iterable[Measurement]) -> bool:
    """Return whether a phase that its `xfail` expects to fail is a failure all the same: something got no score.

    Args:
        error: The error of the phase; None: it did not fail.
        measurements: The measurements of the test.
    """
    if error is None:
        return False
    is_unscored = any(measurement.status == "errored" for measurement in measurements)
    return is_unscored or find_unscored_error(error) is not None


def is_unittest_skip(error: BaseException | None) -> bool:
    """Return whether an exception is the skip of `unittest`, which pytest accepts from any test."""
    unittest_case = sys.modules.get("unittest.case")
    return unittest_case is not None and isinstance(error, unittest_case.SkipTest)


def replace_skip(harness: Harness, call: Any) -> BaseException:
    """Return why a skipped phase ended: the skip, or an error if the skip would hide a result without a score.

    Args:
        harness: The harness of the test.
        call: pytest's call, with the skip. Its ``excinfo`` is replaced if there is such a result.
    """
    skip: BaseException = call.excinfo.value
    unscored = [
        measurement for measurement in harness.recorder.measurements if measurement.status == "errored"
    ]
    if not unscored:
        return skip
    first = unscored[0]
    text = (
        "the test was skipped although a result got no score (was the error caught?)\n"
        f"{first.name}: {harness.mask_secrets(first.error)}"
    )
    cause = MeasurementErrored(append_code(text, MeasurementErrored.code), unscored)
    cause.__cause__ = skip
    call.excinfo = type(call.excinfo).from_exception(cause.with_traceback(skip.__traceback__))
    return cause


def raise_unless_shown(caught: CassetteMiss | BudgetReached, raised: BaseException | None) -> None:
    """Fail the tear-down of a test because a fixture had a miss in its tear-down, unless the error under way shows one.

    Args:
        caught: The miss, or the refused call.
        raised: The error of the tear-down.

    Raises:
        CassetteMiss: A request had no recording.
        BudgetReached: The budget did not allow a live call.
    """
    if not isinstance(find_unscored_error(raised), (CassetteMiss, BudgetReached)):
        raise swallowed_error(TORN_DOWN, caught)


def withdraw_scores(
    measurements: Iterable[Measurement], tape: Tape, error: BaseException | None
) -> list[Measurement]:
    """Return the measurements of a test that has a miss, or a refused call, without the scores if it went on after that.

    Such a score is not the score of a model's answer.

    Args:
        measurements: The measurements.
        tape: The tape, which knows the miss.
        error: The error of the phase: after the miss itself nothing was scored. An error of `Harness.replace_by_cause` has a cause.
    """
    place = ""
    if tape.report.errors_elsewhere:
        place = f" {ELSEWHERE}"
    elif _is_raised_miss(error):
        return list(measurements)
    why = f"a request{place} got no answer, so this is not the score of an answer"
    return [replace(one, value=None, samples=(), error=one.error or why) for one in measurements]


def _is_raised_miss(error: BaseException | None) -> bool:
    """Return whether an error is a miss, or a refused call, that no test caught."""
    if error is None or error.__cause__ is not None:
        return False
    return isinstance(find_unscored_error(error), (CassetteMiss, BudgetReached))
