"""assert_cost, assert_tokens and assert_latency over calls that are given."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_llmops import MeasurementErrored, MeasurementFailed, assert_cost, assert_latency, assert_tokens
from pytest_llmops.errors import UsageError
from pytest_llmops.protocols import Call, Message, Usage
from pytest_llmops.results.traffic import percentile

CALLS = [
    Call(
        model=f"m-{number}",
        cost_usd=number / 100,
        latency_s=float(number),
        messages=(Message(role="user", content=f"question {number}"),),
        usage=Usage(input_tokens=number * 10, output_tokens=number),
    )
    for number in range(1, 8)
]


def test_costs_and_tokens_are_summed() -> None:
    assert assert_cost(CALLS, at_most_usd=0.28).value == pytest.approx(0.28)
    assert assert_tokens(CALLS, at_most_tokens=308).value == 308
    assert assert_cost(iter(CALLS), at_most_usd=None).status == "recorded"


def test_a_budget_that_is_exceeded_names_the_calls_that_count_most() -> None:
    with pytest.raises(MeasurementFailed) as error:
        assert_cost(CALLS, at_most_usd=0.1)
    lines = str(error.value).splitlines()
    assert lines[0] == "calls.cost $0.28 > $0.1"
    assert lines[1].split(None, 1) == ["call", "$0.07  m-7  question 7"]
    assert "and 2 more" in str(error.value)


def test_percentiles_are_those_of_the_reports() -> None:
    times = [call.latency_s or 0.0 for call in CALLS]
    measured = assert_latency(CALLS, at_most_s=9, p50_at_most_s=9, p95_at_most_s=9)
    assert {item.name: item.value for item in measured} == {
        "calls.latency.max": 7.0,
        "calls.latency.p50": percentile(times, 50),
        "calls.latency.p95": percentile(times, 95),
    }


def test_the_first_token_is_measured_on_streams_alone() -> None:
    assert assert_latency(Call(ttft_s=0.2), ttft_at_most_s=0.5)[0].value == 0.2
    with pytest.raises(MeasurementErrored, match="1 of 1 call without a time to the first token"):
        assert_latency(Call(latency_s=1.0, model="m"), ttft_at_most_s=0.5)


def test_the_longest_pause_is_that_of_any_stream() -> None:
    (measured,) = assert_latency([Call(gap_s=0.2), Call(gap_s=0.5)], gap_at_most_s=0.5)
    assert (measured.name, measured.value) == ("calls.latency.gap", 0.5)


def test_only_the_calls_of_a_purpose_count() -> None:
    calls = [Call(cost_usd=0.5), Call(cost_usd=0.25, purpose="judge")]
    assert [assert_cost(calls, at_most_usd=1, purpose=name).value for name in ("app", "judge", "all")] == [
        0.5,
        0.25,
        0.75,
    ]


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: assert_cost([], at_most_usd=1), "no call of this purpose was seen"),
        (lambda: assert_cost(at_most_usd=1), "no call of this purpose was seen"),
        (lambda: assert_cost([Call(cost_usd=1.0), Call(model="mine")], at_most_usd=1), r"1 of 2 calls without a known price .*mine"),
        (lambda: assert_tokens(Call(model="m"), at_most_tokens=1), "without a count of its tokens"),
        (lambda: assert_latency(Call(), at_most_s=1), "without a measured time"),
        (lambda: assert_latency([Call(gap_s=0.1), Call(ttft_s=0.1)], gap_at_most_s=1), "1 of 2 calls without the times of its events .*--llm-record=all"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_an_error_and_no_zero(check: Callable[[], object], message: str) -> None:
    with pytest.raises(MeasurementErrored, match=message):
        check()


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: assert_cost(CALLS, at_most_usd=-1), "at_most_usd to be a number of at least 0"),
        (lambda: assert_cost(CALLS, at_most_usd=float("nan")), "at_most_usd to be a number"),
        (lambda: assert_cost("x", at_most_usd=1), "expected a call, or calls"),  # type: ignore[arg-type]
        (lambda: assert_cost(CALLS, at_most_usd=1, purpose="me"), "one of app, judge, embedder, all"),
        (lambda: assert_latency(CALLS), "expected a threshold"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(check: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check()
