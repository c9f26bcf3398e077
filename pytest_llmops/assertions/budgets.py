"""Assert that the model calls of a test stay within a budget of money, tokens or time; live and replayed alike."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from pytest_llmops import recorder
from pytest_llmops.assertions import _evidence as contrast
from pytest_llmops.assertions._arguments import parse_threshold
from pytest_llmops.errors import UsageError, format_name_list
from pytest_llmops.measurement import Measurement, format_amount, format_count, require_list, shorten_text
from pytest_llmops.protocols import Call
from pytest_llmops.recorder import Emission

__tracebackhide__ = True

MAX_LISTED = 5
# Field of a call, and what a call without it lacks
STREAM_TIMES = {
    "ttft": ("ttft_s", "a time to the first token (it was no stream)"),
    "gap": (
        "gap_s",
        "the times of its events (it was no stream, or its recording lacks them: --llm-record=all)",
    ),
}
PURPOSES = ("app", "judge", "embedder", "all")


def assert_cost(
    calls: Call | Iterable[Call] | None = None,
    *,
    at_most_usd: float | None,
    purpose: str = "app",
    label: str = "",
) -> Measurement:
    """Assert that calls cost no more than so many US dollars; a replayed call costs what it cost live.

    Args:
        calls: A call or calls, as the fixture ``llm_calls`` has them; None: all calls of the running test so far.
        at_most_usd: The threshold; None: record only.
        purpose: Whose calls count: ``app`` (the application under test), ``judge``, ``embedder`` or ``all``.
        label: Distinguishes two assertions of a test.

    Returns:
        The measurement ``calls.cost``.

    Raises:
        MeasurementFailed: They cost more.
        MeasurementErrored: There are no calls, or the price of a model is not known.
        UsageError: A threshold below 0, or an unknown purpose.

    >>> assert_cost(Call(cost_usd=0.01), at_most_usd=0.05).value
    0.01
    """
    counted = _select_calls("assert_cost", calls, purpose)
    threshold = parse_threshold("assert_cost", "at_most_usd", at_most_usd)
    return recorder.emit_together(
        [
            _build_emission(
                "calls.cost",
                "USD",
                [(call, call.cost_usd) for call in counted],
                needed="a known price (pip install 'pytest-llmops[prices]' brings a table)",
                threshold=threshold,
                label=label,
            )
        ]
    )[0]


def assert_tokens(
    calls: Call | Iterable[Call] | None = None,
    *,
    at_most_tokens: float | None,
    purpose: str = "app",
    label: str = "",
) -> Measurement:
    """Assert that calls take no more than so many tokens, input and output together.

    Args:
        calls: As for `assert_cost`.
        at_most_tokens: The threshold; None: record only.
        purpose: As for `assert_cost`.
        label: As for `assert_cost`.

    Returns:
        The measurement ``calls.tokens``.

    Raises:
        MeasurementFailed: They take more.
        MeasurementErrored: There are no calls, or the server did not say how many tokens a call took.
        UsageError: A threshold below 0, or an unknown purpose.

    >>> from pytest_llmops.protocols import Usage
    >>> assert_tokens(Call(usage=Usage(input_tokens=90, output_tokens=10)), at_most_tokens=200).value
    100.0
    """
    counted = _select_calls("assert_tokens", calls, purpose)
    threshold = parse_threshold("assert_tokens", "at_most_tokens", at_most_tokens)
    return recorder.emit_together(
        [
            _build_emission(
                "calls.tokens",
                "tokens",
                [(call, call.usage.total_tokens) for call in counted],
                needed="a count of its tokens",
                threshold=threshold,
                label=label,
            )
        ]
    )[0]


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
    """Assert how long calls take; a replayed call took what it took live.

    Args:
        calls: As for `assert_cost`.
        at_most_s: Threshold of the slowest call, in seconds.
        p50_at_most_s: Threshold of the median call.
        p95_at_most_s: Threshold of the 95th percentile (nearest rank).
        ttft_at_most_s: Threshold of the slowest first token; the calls must be streams.
        gap_at_most_s: Threshold of the longest pause between two events of a stream.
        purpose: As for `assert_cost`.
        label: As for `assert_cost`.

    Returns:
        A measurement for each threshold: ``calls.latency.max``, ``.p50``, ``.p95``, ``.ttft``, ``.gap``.

    Raises:
        MeasurementFailed: A threshold is exceeded.
        MeasurementErrored: There are no calls, or the time of a call was not measured.
        UsageError: No threshold, a threshold below 0, or an unknown purpose.

    >>> [found.name for found in assert_latency(Call(latency_s=0.8), at_most_s=2, p95_at_most_s=1)]
    ['calls.latency.max', 'calls.latency.p95']
    """
    counted = _select_calls("assert_latency", calls, purpose)
    thresholds = {
        "max": ("at_most_s", at_most_s),
        "p50": ("p50_at_most_s", p50_at_most_s),
        "p95": ("p95_at_most_s", p95_at_most_s),
        "ttft": ("ttft_at_most_s", ttft_at_most_s),
        "gap": ("gap_at_most_s", gap_at_most_s),
    }
    given = {
        part: parse_threshold("assert_latency", name, value)
        for part, (name, value) in thresholds.items()
        if value is not None
    }
    if not given:
        names = format_name_list([name for name, _ in thresholds.values()])
        raise UsageError(f"assert_latency: expected a threshold ({names}), got none")
    return recorder.emit_together(
        [_latency_emission(part, counted, threshold, label) for part, threshold in given.items()]
    )


def assert_call_count(*, at_most: float, purpose: str = "app") -> Measurement:
    """Assert that the running test makes no more than so many calls: what the marker ``llm_budget`` counts."""
    calls = _select_calls("assert_call_count", None, purpose)
    threshold = parse_threshold("assert_call_count", "calls", at_most)
    return recorder.emit(
        Measurement(name="calls.count", value=len(calls), unit="count", better="lower", threshold=threshold)
    )


def _select_calls(who: str, given: object, purpose: str) -> list[Call]:
    if purpose not in PURPOSES:
        raise UsageError(f"{who}: expected purpose to be one of {', '.join(PURPOSES)}, got {purpose!r}")
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
    """Return a measurement that combines a value of each call; an error if a call lacks it, or there is no call."""
    measured = partial(Measurement, name=name, unit=unit, better="lower", threshold=threshold, label=label)
    known = [(call, value) for call, value in values if value is not None]
    missing = dict.fromkeys(call.model or call.endpoint for call, value in values if value is None)
    if not values:
        return Emission(
            measurement=measured(
                error="no call of this purpose was seen, so there is nothing to hold against a budget"
            )
        )
    if missing:
        which = f"{len(values) - len(known)} of {format_count(len(values), 'call')} without {needed}"
        return Emission(measurement=measured(error=f"{which} ({shorten_text(', '.join(missing), 100)})"))
    value = combine([value for _, value in known])
    return Emission(measurement=measured(value=value), evidence=lambda: _largest_calls(known, unit))


def _latency_emission(part: str, calls: Sequence[Call], threshold: float | None, label: str) -> Emission:
    field, needed = STREAM_TIMES.get(part, ("latency_s", "a measured time"))
    rank = {"p50": 50, "p95": 95}.get(part, 100)
    return _build_emission(
        f"calls.latency.{part}",
        "s",
        [(call, getattr(call, field)) for call in calls],
        needed=needed,
        threshold=threshold,
        label=label,
        # Nearest rank, as in the reports.
        combine=lambda times: sorted(times)[max(-(-rank * len(times) // 100), 1) - 1],
    )


def _largest_calls(values: Sequence[tuple[Call, float]], unit: str) -> contrast.Evidence:
    """Return the calls that count most."""
    lines = []
    for call, value in sorted(values, key=lambda pair: -pair[1])[:MAX_LISTED]:
        if call.messages:
            question = shorten_text(call.messages[-1].content, 60)
        else:
            question = ""
        lines.append(
            ("call", f"{format_amount(value, unit)}  {call.model or call.endpoint}  {question}".rstrip())
        )
    rest = len(values) - MAX_LISTED
    return [*lines, *([("", f"and {rest:,} more")] if rest > 0 else [])]
