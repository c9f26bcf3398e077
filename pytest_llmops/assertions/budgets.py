"""Assert that the model calls of a test stay within a budget of money, tokens or time; live and replayed alike."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from pytest_llmops import recorder
from pytest_llmops.assertions._arguments import parse_threshold
from pytest_llmops.assertions._evidence import Evidence
from pytest_llmops.errors import UsageError, format_name_list
from pytest_llmops.measurement import Measurement, format_amount, format_count, require_list, shorten_text
from pytest_llmops.protocols import Call
from pytest_llmops.recorder import Emission

__tracebackhide__ = True

MAX_LISTED = 5
PURPOSES = ("app", "judge", "embedder", "all")


def assert_cost(
    calls: Call | Iterable[Call] | None = None,
    *,
    at_most_usd: float | None,
    purpose: str = "app",
    label: str = "",
) -> Measurement:
    """Assert that calls cost at most a number of US dollars. A replayed call counts with its live cost.

    Args:
        calls: A call, or calls as the fixture ``llm_calls`` has them. None: all calls of the running test so far.
        at_most_usd: The threshold in US dollars. None: record only.
        purpose: Which calls count: ``app`` (the application under test), ``judge``, ``embedder`` or ``all``.
        label: Distinguishes several uses in one test.

    Returns:
        The measurement ``calls.cost``: the sum, in US dollars.

    Raises:
        MeasurementFailed: The calls cost more than the threshold.
        MeasurementErrored: Not a single call was made, or the price of a model is not known.
        UsageError: The threshold is below 0, or the purpose is unknown.

    >>> assert_cost(Call(cost_usd=0.01), at_most_usd=0.05).value
    0.01
    """
    counted = _select_calls("assert_cost", calls, purpose)
    threshold = parse_threshold("assert_cost", "at_most_usd", at_most_usd)
    costs = [(call, call.cost_usd) for call in counted]
    emission = _build_emission(
        "calls.cost",
        "USD",
        costs,
        needed="a known price (pip install 'pytest-llmops[prices]' brings a table)",
        threshold=threshold,
        label=label,
    )
    return recorder.emit_together([emission])[0]


def assert_tokens(
    calls: Call | Iterable[Call] | None = None,
    *,
    at_most_tokens: float | None,
    purpose: str = "app",
    label: str = "",
) -> Measurement:
    """Assert that calls use at most a number of tokens, input and output together.

    Args:
        calls: As for `assert_cost`.
        at_most_tokens: The threshold. None: record only.
        purpose: As for `assert_cost`.
        label: Distinguishes several uses in one test.

    Returns:
        The measurement ``calls.tokens``: the sum of input and output tokens.

    Raises:
        MeasurementFailed: The calls use more than the threshold.
        MeasurementErrored: Not a single call was made, or the server did not report the tokens of a call.
        UsageError: The threshold is below 0, or the purpose is unknown.

    >>> from pytest_llmops.protocols import Usage
    >>> assert_tokens(Call(usage=Usage(input_tokens=90, output_tokens=10)), at_most_tokens=200).value
    100.0
    """
    counted = _select_calls("assert_tokens", calls, purpose)
    threshold = parse_threshold("assert_tokens", "at_most_tokens", at_most_tokens)
    tokens = [(call, call.usage.total_tokens) for call in counted]
    emission = _build_emission(
        "calls.tokens",
        "tokens",
        tokens,
        needed="a count of its tokens",
        threshold=threshold,
        label=label,
    )
    return recorder.emit_together([emission])[0]


def assert_latency(
    calls: Call | Iterable[Call] | None = None,
    *,
    at_most_s: float | None = None,
    p50_at_most_s: float | None = None,
    p95_at_most_s: float | None = None,
    ttft_at_most_s: float | None = None,
    gap_at_most_s: float | None = None,
    purpose: str = "app",
    label: str = "",
) -> list[Measurement]:
    """Assert how long calls take. A replayed call counts with its live time.

    Args:
        calls: As for `assert_cost`.
        at_most_s: Threshold of the slowest call, in seconds.
        p50_at_most_s: Threshold of the median call, in seconds.
        p95_at_most_s: Threshold of the 95th percentile (nearest rank), in seconds.
        ttft_at_most_s: Threshold of the slowest first token, in seconds. The calls must be streams.
        gap_at_most_s: Threshold of the longest pause between two events of a stream, in seconds.
        purpose: As for `assert_cost`.
        label: Distinguishes several uses in one test.

    Returns:
        A measurement for each given threshold: ``calls.latency.max``, ``.p50``, ``.p95``, ``.ttft`` and ``.gap``.

    Raises:
        MeasurementFailed: A threshold is exceeded.
        MeasurementErrored: Not a single call was made, or the time of a call was not measured.
        UsageError: No threshold is given, a threshold is below 0, or the purpose is unknown.

    >>> [measurement.name for measurement in assert_latency(Call(latency_s=0.8), at_most_s=2, p95_at_most_s=1)]
    ['calls.latency.max', 'calls.latency.p95']
    """
    counted = _select_calls("assert_latency", calls, purpose)
    limits = {
        "at_most_s": at_most_s,
        "p50_at_most_s": p50_at_most_s,
        "p95_at_most_s": p95_at_most_s,
        "ttft_at_most_s": ttft_at_most_s,
        "gap_at_most_s": gap_at_most_s,
    }
    given = {}
    for name, limit in limits.items():
        if limit is not None:
            given[name] = parse_threshold("assert_latency", name, limit)
    if not given:
        names = format_name_list(limits)
        raise UsageError(f"assert_latency: expected a threshold ({names}), got none")
    emissions = []
    for name, threshold in given.items():
        emissions.append(_latency_emission(name, counted, threshold, label))
    return recorder.emit_together(emissions)


def assert_call_count(*, at_most: float, purpose: str = "app") -> Measurement:
    """Assert that the running test makes at most a number of calls; the marker ``llm_budget`` uses this."""
    calls = _select_calls("assert_call_count", None, purpose)
    threshold = parse_threshold("assert_call_count", "calls", at_most)
    measurement = Measurement(
        name="calls.count", value=len(calls), unit="count", better="lower", threshold=threshold
    )
    return recorder.emit(measurement)


def _select_calls(who: str, given: object, purpose: str) -> list[Call]:
    """Return the given calls with a purpose, or the calls of the running test if None is given; ``who`` is the assertion."""
    if purpose not in PURPOSES:
        purposes = ", ".join(PURPOSES)
        raise UsageError(f"{who}: expected purpose to be one of {purposes}, got {purpose!r}")
    if given is None:
        from pytest_llmops.trace import read_call

        given = [read_call(exchange) for exchange in recorder.list_exchanges()]
        return [call for call in given if purpose in ("all", call.purpose)]
    calls = require_list(given, Call, f"{who}: expected a call, or calls as the fixture llm_calls has them")
    return [call for call in calls if purpose in ("all", call.purpose)]


def _build_emission(
    name: str,
    unit: str,
    values: Sequence[tuple[Call, float | None]],
    *,
    needed: str,
    threshold: float | None,
    label: str,
    combine: Callable[[list[float]], float] = math.fsum,
) -> Emission:
    """Return a measurement of a value that each call has; an error if a call lacks the value, or without a call.

    Args:
        name: Name of the measurement.
        unit: Its unit.
        values: Each call with its value; None: not known.
        needed: The missing part of a call without a value, for the error.
        threshold: None: record only.
        label: Label of the measurement.
        combine: Makes one number of all values; left out: their sum.
    """
    measured = partial(Measurement, name=name, unit=unit, better="lower", threshold=threshold, label=label)
    if not values:
        error = "no call of this purpose was seen, so there is nothing to hold against a budget"
        return Emission(measurement=measured(error=error))
    known: list[tuple[Call, float]] = []
    lacking: list[Call] = []
    for call, value in values:
        if value is None:
            lacking.append(call)
        else:
            known.append((call, value))
    if lacking:
        models = dict.fromkeys(call.model or call.endpoint for call in lacking)
        model_list = shorten_text(", ".join(models), 100)
        call_count = format_count(len(values), "call")
        error = f"{len(lacking)} of {call_count} without {needed} ({model_list})"
        return Emission(measurement=measured(error=error))
    total = combine([value for _, value in known])
    return Emission(measurement=measured(value=total), evidence=partial(_largest_calls, known, unit))


def _latency_emission(
    limit_name: str, calls: Sequence[Call], threshold: float | None, label: str
) -> Emission:
    """Return the measurement for one limit of `assert_latency`, by the name of its argument."""
    times = [(call, call.latency_s) for call in calls]
    needed = "a measured time"
    combine: Callable[[list[float]], float] = max
    if limit_name == "at_most_s":
        name = "max"
    elif limit_name == "p50_at_most_s":
        name = "p50"
        combine = partial(_nearest_rank, percent=50)
    elif limit_name == "p95_at_most_s":
        name = "p95"
        combine = partial(_nearest_rank, percent=95)
    elif limit_name == "ttft_at_most_s":
        name = "ttft"
        times = [(call, call.ttft_s) for call in calls]
        needed = "a time to the first token (it was not a stream)"
    else:
        name = "gap"
        times = [(call, call.gap_s) for call in calls]
        needed = (
            "the times of its events (it was not a stream, or its recording lacks them: --llm-record=all)"
        )
    return _build_emission(
        f"calls.latency.{name}",
        "s",
        times,
        needed=needed,
        threshold=threshold,
        label=label,
        combine=combine,
    )


def _nearest_rank(times: Sequence[float], percent: int) -> float:
    """Return a percentile by nearest rank, as in the reports."""
    rank = -(-percent * len(times) // 100)  # rounded up
    return sorted(times)[max(rank, 1) - 1]


def _largest_calls(values: Sequence[tuple[Call, float]], unit: str) -> Evidence:
    """Return a line for each of the calls with the largest values, the largest first."""
    lines = []
    largest = sorted(values, key=lambda pair: -pair[1])
    for call, value in largest[:MAX_LISTED]:
        amount = format_amount(value, unit)
        line = f"{amount}  {call.model or call.endpoint}"
        if call.messages:
            question = shorten_text(call.messages[-1].content, 60)
            line += f"  {question}"
        lines.append(("call", line.rstrip()))
    rest = len(values) - MAX_LISTED
    if rest > 0:
        lines.append(("", f"and {rest:,} more"))
    return lines
