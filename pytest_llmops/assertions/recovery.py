"""Assert that an application recovers from the faults that the marker ``llm_fault`` gives its calls."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pytest_llmops import recorder
from pytest_llmops._util.framework_objects import read_answer
from pytest_llmops.assertions._arguments import describe_kind, parse_threshold
from pytest_llmops.cassettes.fault_injection import find_fault_plan
from pytest_llmops.cassettes.faults.kinds import Fault
from pytest_llmops.cassettes.faults.model_answers import CUT_TEXT, make_long_text
from pytest_llmops.cassettes.faults.plan import FaultEvent, FaultPlan
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Measurement, format_count, shorten_text
from pytest_llmops.protocols import Call
from pytest_llmops.recorder import Emission

__tracebackhide__ = True

VERSION = "1"
MAX_LINES = 60  # lines of a failure text
NOT_GIVEN = object()


@dataclass(frozen=True, slots=True)
class _Amount:
    """A sum over the calls after the first fault.

    Attributes:
        total: The sum; None: not known.
        lacking: Why it is not known.
    """

    total: float | None
    lacking: str = ""


def assert_recovers(
    answer: object = NOT_GIVEN,
    *,
    retries_at_most: float | None = None,
    usd_at_most: float | None = None,
    seconds_at_most: float | None = None,
    label: str = "",
) -> list[Measurement]:
    """Assert that the application went on after each fault of the marker ``llm_fault``.

    It went on if a call of a model was answered after the fault, or if it gave an answer of its own. This assertion
    does not decide whether the answer is good, and sees only the words of the answer. After a fault ``hostile``, use
    ``assert_tool_calls(llm_calls, ..., never=["delete_order"])`` to assert that no tool was called on the orders of the
    injected text.

    Args:
        answer: The application's answer: a text, or the result of a framework. It must have a text, and not the text
            that a fault has injected. Left out: a call of a model must have been answered after the last fault.
        retries_at_most: Limit of how often a failed call was tried again. None: record only, like all limits.
        usd_at_most: Limit of the price of the calls after the first fault, in US dollars. Faults cost nothing.
        seconds_at_most: Limit of the live time of these calls, in seconds.
        label: Distinguishes several uses in one test.

    Returns:
        The measurements ``agent.recovers`` (1 or 0), ``agent.retries``, and ``agent.recovery.usd`` and
        ``agent.recovery.seconds`` where they are known.

    Raises:
        MeasurementFailed: The application did not go on, waited without end, passed on the text of a fault, or exceeded
            a limit. The message shows all calls in their order, with their faults.
        MeasurementErrored: A fault never occurred, or a limit is given for a price or a time that is not known.
        UsageError: The running test has no ``llm_fault``, a test is not running, or a limit is below 0.

    Example::

        @pytest.mark.llm_fault("timeout")
        def test_agent():
            assert_recovers(agent.run("Where is my order?"), retries_at_most=2)
    """
    where = "assert_recovers"
    limits = {
        name: parse_threshold(where, name, limit)
        for name, limit in (
            ("retries_at_most", retries_at_most),
            ("usd_at_most", usd_at_most),
            ("seconds_at_most", seconds_at_most),
        )
    }
    plan = find_fault_plan()
    if plan is None:
        raise UsageError(
            f"{where}: expected a running test with @pytest.mark.llm_fault(kind), got none: without a fault there is nothing"
            " to recover from"
        )
    plan.is_judged = True
    measured = partial(Measurement, label=label, version=VERSION)
    timeline = plan.describe_calls()
    missing = plan.describe_missing()
    if not missing and not plan.hits:
        missing = "no fault came, so there was nothing to recover from"
    if missing:
        error = measured(name="agent.recovers", error=missing, threshold=1.0)
        return recorder.emit_together(
            [Emission(measurement=error, evidence=timeline, max_evidence_lines=MAX_LINES)]
        )
    problem = _find_problem(plan, answer)
    recovers = measured(
        name="agent.recovers",
        value=float(not problem),
        threshold=1.0,
        detail={"faults": [event.fault.kind for event in plan.hits if event.fault is not None]},
    )
    emissions = [
        Emission(
            measurement=recovers,
            verdict=f"agent.recovers: {problem}",
            evidence=timeline,
            max_evidence_lines=MAX_LINES,
        )
    ]
    for measurement in _measure_effort(measured, plan, limits):
        evidence: Sequence[tuple[str, str]] = ()
        if not problem and measurement.status in ("failed", "errored"):
            evidence = timeline
        emissions.append(Emission(measurement=measurement, evidence=evidence, max_evidence_lines=MAX_LINES))
    return recorder.emit_together(emissions)


def _find_problem(plan: FaultPlan, answer: object) -> str:
    """Return why the application did not recover; "" if it did."""
    hung = plan.describe_hung()
    if hung:
        return hung
    text: str | None = None
    if answer is not NOT_GIVEN:
        value = read_answer(answer)
        if not isinstance(value, str):
            return f"the answer is {describe_kind(value)}, expected a text"
        if not value.strip():
            return "the answer is empty"
        text = value
    for event in plan.hits:
        if event.fault is not None and text is not None and _has_text_of_fault(text, event.fault):
            return f"the answer has the text of the fault {event.fault.kind}: {shorten_text(text, 60)}"
    last = plan.hits[-1]
    if text is not None or _went_on(plan, last):
        return ""
    return f"no call of a model was answered after {_describe_fault(last)}, and no answer= is given: the application ended there"


def _went_on(plan: FaultPlan, last: FaultEvent) -> bool:
    """Return whether a model has answered after a fault."""
    if last.came_late and not last.is_tool:
        return True
    after = plan.events[plan.events.index(last) + 1 :]
    return any(event.is_answered and not event.is_tool for event in after)


def _describe_fault(event: FaultEvent) -> str:
    kind = ""
    if event.fault is not None:
        kind = event.fault.kind
    return f"the fault {kind} on {event.what}"


def _has_text_of_fault(text: str, fault: Fault) -> bool:
    """Return whether an answer holds the text of a fault: it was obeyed, or passed on."""
    if fault.kind == "hostile":
        return fault.text in text or fault.is_obeyed_by(text)
    if fault.kind == "too_long":
        return make_long_text(fault.size) in text
    if fault.kind == "cut" and not fault.is_for_tool:
        return CUT_TEXT in text
    return False


def _measure_effort(
    measured: "partial[Measurement]", plan: FaultPlan, limits: "dict[str, float | None]"
) -> list[Measurement]:
    """Return the cost of the recovery: price and time only where they are known, or limited."""
    counted = partial(measured, better="lower")
    retries = sum(event.attempt > 1 for event in plan.events)
    measurements = [
        counted(name="agent.retries", value=retries, unit="count", threshold=limits["retries_at_most"])
    ]
    calls = _list_calls_after(plan.hits[0])
    sums = [
        ("agent.recovery.usd", "USD", _sum_usd(calls), limits["usd_at_most"]),
        ("agent.recovery.seconds", "s", _sum_seconds(calls), limits["seconds_at_most"]),
    ]
    for name, unit, amount, limit in sums:
        if amount.total is not None:
            measurements.append(counted(name=name, value=amount.total, unit=unit, threshold=limit))
        elif limit is not None:
            measurements.append(counted(name=name, unit=unit, error=amount.lacking, threshold=limit))
    return measurements


def _list_calls_after(first: FaultEvent) -> list[Call]:
    """Return the calls of the application after a fault; faults are none."""
    from pytest_llmops.trace import read_call

    calls = [read_call(exchange) for exchange in recorder.list_exchanges()[first.exchanges :]]
    return [call for call in calls if call.purpose == "app"]


def _sum_usd(calls: Sequence[Call]) -> _Amount:
    """Return what calls cost."""
    prices = [call.cost_usd for call in calls if call.cost_usd is not None]
    lacking = len(calls) - len(prices)
    if lacking:
        needed = "a known price (pip install 'pytest-llmops[prices]' brings a table)"
        return _Amount(None, f"{lacking} of {format_count(len(calls), 'call')} without {needed}")
    return _Amount(sum(prices))


def _sum_seconds(calls: Sequence[Call]) -> _Amount:
    """Return how long calls took."""
    times = [call.latency_s for call in calls if call.latency_s is not None]
    lacking = len(calls) - len(times)
    if lacking:
        return _Amount(None, f"{lacking} of {format_count(len(calls), 'call')} without a measured time")
    return _Amount(sum(times))
