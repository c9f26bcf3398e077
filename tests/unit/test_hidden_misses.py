"""A missing recording, a spent budget or a result without a score fails its test, whatever the test made of the error."""

from __future__ import annotations

import logging
import sys
import unittest
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message
from support.reports import make_report
from support.tapes import make_tape

from pytest_llmops.errors import (
    BudgetReached,
    CallDeferred,
    CassetteMiss,
    MeasurementErrored,
    RetriedForEver,
    SilentWriteRefused,
    UsageError,
)
from pytest_llmops.harness.caught_errors import (
    describe_ending,
    fails_despite_xfail,
    find_cause,
    find_hidden_error,
    is_unittest_skip,
    is_unreported,
    quiet_asyncio,
    raise_unless_shown,
    replace_skip,
    withdraw_scores,
)
from pytest_llmops.measurement import Measurement

MISS = CassetteMiss("no recording", command="pytest a.py --llm-record=new")
SPENT = BudgetReached("one call too many")
GOOD = Measurement(name="good", value=1.0, samples=(1.0, 1.0))
BOTH: list[BaseException] = [MISS, SPENT]
UNSCORED = Measurement(name="judge.quality", error="the judge gave no score")


# At the end of a test.


@pytest.mark.parametrize("caught", [MISS, SPENT])
@pytest.mark.parametrize(("is_elsewhere", "is_shown"), [(False, False), (True, False), (True, True)])
def test_a_caught_error_fails_a_test_that_would_hide_it(
    caught: CassetteMiss | BudgetReached, *, is_elsewhere: bool, is_shown: bool
) -> None:
    hidden = find_hidden_error(caught, hiding="the test passed", is_elsewhere=is_elsewhere, is_shown=is_shown)
    assert type(hidden) is type(caught)
    assert str(hidden).startswith("the test passed although a request was ")
    assert str(hidden).endswith(f"\n{caught}")
    assert getattr(hidden, "command", "") == getattr(caught, "command", "")


def test_an_error_of_another_process_is_raised_again_unless_a_report_shows_one() -> None:
    hidden = find_hidden_error(MISS, hiding="", is_elsewhere=True, is_shown=False)
    assert isinstance(hidden, CassetteMiss)
    assert str(hidden) == "in a process that the test started: no recording"
    assert find_hidden_error(MISS, hiding="", is_elsewhere=True, is_shown=True) is None


@pytest.mark.parametrize("is_shown", [False, True])
def test_a_test_that_failed_by_itself_needs_no_further_error(*, is_shown: bool) -> None:
    assert find_hidden_error(MISS, hiding="", is_elsewhere=False, is_shown=is_shown) is None


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_without_a_caught_error_nothing_is_hidden(*, is_elsewhere: bool) -> None:
    assert (
        find_hidden_error(None, hiding="the test passed", is_elsewhere=is_elsewhere, is_shown=False) is None
    )


@pytest.mark.parametrize(
    ("outcome", "xfail", "error", "ending"),
    [
        ("passed", None, None, "the test passed"),
        ("passed", "known", None, "the test passed"),
        ("skipped", "known", ValueError("x"), "the test ended as its xfail expects"),
        ("failed", None, None, "the test ended as its xfail expects"),  # a strict xfail that passed
        ("skipped", None, ValueError("x"), "the test was skipped"),
        ("failed", None, ValueError("x"), ""),
    ],
)
def test_how_a_test_ended_that_may_hide_an_error(
    outcome: str, xfail: str | None, error: BaseException | None, ending: str
) -> None:
    more = {} if xfail is None else {"wasxfail": xfail}
    assert describe_ending(make_report(outcome, **more), error) == ending


# Why a phase failed.


@pytest.mark.parametrize("error", [MISS, SPENT])
@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_a_miss_is_its_own_cause(error: BaseException, *, is_elsewhere: bool) -> None:
    assert find_cause(error, CassetteMiss("another"), is_elsewhere=is_elsewhere) is error


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_without_a_miss_the_error_is_the_cause(*, is_elsewhere: bool) -> None:
    error = AssertionError("low")
    assert find_cause(error, None, is_elsewhere=is_elsewhere) is error


def test_a_failure_after_a_caught_miss_is_caused_by_it() -> None:
    cause = find_cause(AssertionError("low"), MISS, is_elsewhere=False)
    assert isinstance(cause, CassetteMiss)
    assert cause.command == MISS.command
    check_message(cause)
    refused = find_cause(KeyError("answer"), SPENT, is_elsewhere=False)
    assert isinstance(refused, BudgetReached)
    check_message(refused)


@pytest.mark.parametrize("error", [UsageError("a wrong name"), BaseExceptionGroup("tasks", [MISS])])
def test_an_error_that_is_not_a_low_score_stays_unless_the_miss_was_in_another_process(
    error: BaseException,
) -> None:
    assert find_cause(error, MISS, is_elsewhere=False) is error
    assert (
        str(find_cause(error, MISS, is_elsewhere=True)) == "in a process that the test started: no recording"
    )


# What an xfail may expect.


@pytest.mark.parametrize(
    ("error", "measurements", "fails"),
    [
        (None, [], False),
        (None, [UNSCORED], False),
        (AssertionError("low"), [GOOD], False),
        (AssertionError("low"), [GOOD, UNSCORED], True),
        (UsageError("a wrong name"), [GOOD], True),
        (BaseExceptionGroup("tasks", [OSError(), MISS]), [], True),
        (SPENT, [], True),
    ],
)
def test_an_xfail_expects_a_low_score_and_not_a_missing_one(
    error: BaseException | None, measurements: list[Measurement], *, fails: bool
) -> None:
    assert fails_despite_xfail(error, measurements) is fails


# The scores of a test that had a miss.


def withdraw(
    measurements: Iterable[Measurement], error: BaseException | None, *, elsewhere: int = 0
) -> list[Measurement]:
    tape = make_tape(Path("a.json"))
    tape.report.errors_elsewhere = elsewhere
    return withdraw_scores(measurements, tape, error)


def caused(error: BaseException) -> BaseException:
    error.__cause__ = AssertionError("low")
    return error


@pytest.mark.parametrize(
    "error",
    [None, AssertionError("low"), caused(CassetteMiss("the test went on")), UsageError("a wrong name")],
)
def test_a_score_after_a_caught_miss_is_withdrawn(error: BaseException | None) -> None:
    first, second = withdraw([GOOD, UNSCORED], error)
    assert (first.name, first.value, first.samples, first.status) == ("good", None, (), "errored")
    check_message(first.error)
    assert second == UNSCORED


@pytest.mark.parametrize("error", [MISS, SPENT, BaseExceptionGroup("tasks", [MISS])])
def test_the_scores_before_a_miss_that_ended_the_test_stay(error: BaseException) -> None:
    assert withdraw([GOOD], error) == [GOOD]


def test_a_miss_in_another_process_withdraws_all_scores() -> None:
    (score,) = withdraw([GOOD], CassetteMiss("no recording"), elsewhere=1)
    assert score.value is None
    check_message(score.error)


# Skips.


def skip_call(error: BaseException) -> Any:
    """pytest's call of a phase that raised an error."""
    with pytest.raises(type(error)) as caught:
        raise error
    return SimpleNamespace(excinfo=caught)


def harness_with(*measurements: Measurement) -> Any:
    recorder = SimpleNamespace(measurements=list(measurements))
    return SimpleNamespace(recorder=recorder, mask_secrets=lambda text: text.replace("judge", "[secret]"))


def test_a_skip_after_a_result_without_a_score_is_an_error() -> None:
    skip = pytest.skip.Exception("no model")
    call = skip_call(skip)
    cause = replace_skip(harness_with(GOOD, UNSCORED), call)
    assert isinstance(cause, MeasurementErrored)
    assert cause.measurements == (UNSCORED,)
    assert call.excinfo.value is cause
    assert cause.__cause__ is skip
    check_message(cause)


def test_a_skip_after_nothing_or_scores_stays_a_skip() -> None:
    skip = pytest.skip.Exception("no model")
    call = skip_call(skip)
    assert replace_skip(harness_with(GOOD), call) is skip
    assert call.excinfo.value is skip


def test_the_skip_of_unittest_is_recognised_and_only_if_it_is_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert is_unittest_skip(unittest.SkipTest("no model"))
    assert not is_unittest_skip(ValueError("x"))
    assert not is_unittest_skip(None)
    monkeypatch.delitem(sys.modules, "unittest.case")
    assert not is_unittest_skip(unittest.SkipTest("no model"))


# The tear-down of fixtures.


def test_a_miss_in_a_tear_down_is_raised_unless_the_error_under_way_shows_one() -> None:
    for raised in (MISS, SPENT, BaseExceptionGroup("tasks", [OSError(), MISS])):
        raise_unless_shown(MISS, raised)
    for other in (None, OSError(), UsageError("a wrong name")):
        with pytest.raises(CassetteMiss, match="the fixture was torn down"):
            raise_unless_shown(MISS, other)


# The log of asyncio.


def log_record(error: BaseException | None) -> logging.LogRecord:
    info = None if error is None else (type(error), error, None)
    return logging.LogRecord("asyncio", logging.ERROR, "a.py", 1, "never retrieved", None, info)


@pytest.mark.parametrize(
    "error", [MISS, SPENT, CallDeferred(), RetriedForEver(), SilentWriteRefused(), BaseExceptionGroup("", BOTH)]
)  # fmt: skip
def test_asyncio_does_not_log_an_error_that_a_report_shows(error: BaseException) -> None:
    assert not is_unreported(log_record(error))


@pytest.mark.parametrize("error", [None, KeyError("x"), BaseExceptionGroup("", [MISS, KeyError("x")])])
def test_asyncio_logs_all_other_errors(error: BaseException | None) -> None:
    assert is_unreported(log_record(error))


def test_the_log_of_asyncio_is_filtered_once() -> None:
    quiet_asyncio()
    quiet_asyncio()
    assert logging.getLogger("asyncio").filters.count(is_unreported) == 1
