"""Assert the steps of an agent, and that it stays within limits of steps, repeats, tokens and money."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, get_args

from pytest_llmops import recorder
from pytest_llmops.agents.argument_values import format_value
from pytest_llmops.agents.call_requirements import (
    Requirements,
    check_calls,
    describe_problems,
    parse_requirements,
)
from pytest_llmops.agents.expected_calls import Expected
from pytest_llmops.agents.matching import Order, Rule
from pytest_llmops.agents.reference import ArgumentMode, is_call_list, read_reference
from pytest_llmops.agents.repeats import count_repeats, describe_loops
from pytest_llmops.agents.sources import read_trajectory
from pytest_llmops.agents.trajectory import Trajectory
from pytest_llmops.agents.trajectory_text import format_trajectory
from pytest_llmops.assertions._arguments import parse_share_threshold, parse_threshold
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Measurement, format_count, shorten_text
from pytest_llmops.protocols import Call
from pytest_llmops.recorder import Emission

__tracebackhide__ = True

VERSION = "1"
MAX_LINES = 60  # lines of a failure text
COUNTED_STEPS = (
    "trajectory.steps counts turns of the model; the numbers below, and steps elsewhere, count tool calls"
)


def assert_trajectory(
    source: object,
    expected: Any = None,
    *,
    order: Order = "strict",
    extra: Rule = "forbid",
    missing: Rule = "forbid",
    arguments: ArgumentMode = "exact",
    never: "Sequence[Expected | str] | str" = (),
    at_most_steps: float | None = None,
    at_most_repeats: float | None = None,
    at_most_tokens: float | None = None,
    at_most_usd: float | None = None,
    at_least: float | None = 1.0,
    label: str = "",
) -> list[Measurement]:
    """Assert the steps of an agent one by one, and that it stays within limits.

    Args:
        source: The actions of the agent: anything that `read_trajectory` reads.
        expected: The expected calls, as for `assert_tool_calls`, or a whole reference trajectory (any source) with its
            calls. None: only the limits and ``never`` count.
        order: As for `assert_tool_calls`. With ``turns`` the turns of a reference count.
        extra: As for `assert_tool_calls`.
        missing: As for `assert_tool_calls`.
        arguments: How arguments are compared with the arguments of a reference: ``exact``, ``ignore``, ``subset`` (all
            arguments made are in the reference) or ``superset`` (all arguments of the reference are made).
        never: Calls that must not be made, as for `assert_tool_calls`.
        at_most_steps: Limit of the model's turns, including the turns of started agents. None: record only, like all
            limits.
        at_most_repeats: Limit of how often an equal call (the same tool and arguments) is repeated.
        at_most_tokens: Limit of the tokens of all turns.
        at_most_usd: Limit of the price of all turns, in US dollars.
        at_least: 1.0, or None: only record whether the calls are as expected. A forbidden call fails the test in both
            cases.
        label: Distinguishes several uses in one test.

    Returns:
        The measurements ``trajectory.match`` (1 or 0, only with ``expected`` or ``never``), ``trajectory.steps``,
        ``trajectory.repeats``, and ``trajectory.tokens`` and ``trajectory.cost`` where they are known. The first has
        the ``trajectory`` in its ``detail``.

    Raises:
        MeasurementFailed: The calls are not as expected, or a limit is exceeded. The message shows the difference step
            by step, repeated calls and the trajectory.
        MeasurementErrored: The source has no message of an agent, calls may be missing because a reply could not be
            read and nothing else fails, or a limit is given for tokens or a price that are not known.
        UsageError: It is not a source, the expected calls contradict each other, or a limit is below 0.

    >>> messages = [{"role": "assistant", "tool_calls": [{"function": {"name": "search", "arguments": "{}"}}]}]
    >>> [measurement.name for measurement in assert_trajectory(messages, ["search"], at_most_steps=3)]
    ['trajectory.match', 'trajectory.steps', 'trajectory.repeats']
    """
    where = "assert_trajectory"
    threshold = parse_share_threshold(where, at_least)
    given_limits = {
        "at_most_steps": at_most_steps,
        "at_most_repeats": at_most_repeats,
        "at_most_tokens": at_most_tokens,
        "at_most_usd": at_most_usd,
    }
    limits = {name: parse_threshold(where, name, limit) for name, limit in given_limits.items()}
    calls = _read_expected(where, expected, arguments)
    requirements = None
    if calls is not None or never:
        requirements = parse_requirements(
            where,
            calls,
            order=order,
            extra=extra,
            missing=missing,
            never=never,
            threshold=threshold,
        )
    trajectory = read_trajectory(source)
    measured = partial(Measurement, label=label, version=VERSION)
    limited = _measure_limits(measured, trajectory, limits, source)
    problem = describe_problems(trajectory, source)
    return recorder.emit_together(_list_emissions(measured, trajectory, requirements, limited, problem))


def _list_emissions(
    measured: "partial[Measurement]",
    trajectory: Trajectory,
    requirements: Requirements | None,
    measurements: list[Measurement],
    problem: str,
) -> list[Emission]:
    """Return the measurements: whether the calls are as required, then the ones with limits.

    Args:
        measured: The measurements before their values.
        trajectory: The steps of the agent.
        requirements: The requirements on its calls. None: none.
        measurements: The measurements with limits.
        problem: Why not all calls are known; "" if they are.
    """
    if problem:
        measurements = _doubt_limits(measurements, problem)
    if requirements is None:
        measurements = measurements or [measured(name="trajectory.steps", error=problem)]
        measurements[0] = replace(measurements[0], detail={"trajectory": trajectory.to_wire()})
        return _add_evidence(measurements, trajectory, is_shown=False)
    result = check_calls(requirements, trajectory)
    error = result.error
    if not trajectory.turns:
        error = problem
    if error:
        unknown = measured(
            name="trajectory.match", error=error, threshold=result.threshold, detail=result.detail
        )
        emission = Emission(
            measurement=unknown, evidence=format_trajectory(trajectory), max_evidence_lines=MAX_LINES
        )
        return [emission, *_add_evidence(measurements, trajectory, is_shown=True)]
    match = Emission(
        measurement=measured(
            name="trajectory.match",
            value=float(result.passes),
            threshold=result.threshold,
            detail=result.detail,
        ),
        verdict=f"trajectory.match: {result.summary}",
        evidence=result.describe,
        max_evidence_lines=MAX_LINES,
    )
    is_shown = match.measurement.status == "failed"
    return [match, *_add_evidence(measurements, trajectory, is_shown=is_shown)]


def _read_expected(where: str, expected: object, arguments: ArgumentMode) -> Any:
    """Return the expected calls as a test wrote them, or the calls of a reference; None if none are given."""
    if arguments not in get_args(ArgumentMode):
        names = ", ".join(map(repr, get_args(ArgumentMode)))
        raise UsageError(f"{where}: expected arguments to be one of {names}, got {format_value(arguments)}")
    if expected is None:
        return None
    if not is_call_list(expected):
        return read_reference(where, expected, arguments)
    if arguments != "exact":
        raise UsageError(
            f"{where}: arguments={arguments!r} is for a reference trajectory, got calls; "
            "write call('name', ..., key=value) for calls with other arguments too"
        )
    return expected


def _describe_unknown(source: object, what: str) -> str:
    """Return why the ``tokens`` or the ``cost`` of a source are not known."""
    if isinstance(source, Call):
        source = [source]
    if not isinstance(source, Sequence) or not all(isinstance(call, Call) for call in source):
        return f"the source does not have the {what} of each step; llm_calls has it"
    calls = [call for call in source if call.purpose == "app"]
    if what == "tokens":
        lacking = [call for call in calls if call.usage.total_tokens is None]
        needed = "a count of its tokens"
        step = "the server did not send one"
    else:
        lacking = [call for call in calls if call.cost_usd is None]
        needed = "a known price"
        step = "limit at_most_tokens, or install pytest-llmops[prices]; a server on this machine has no price"
    models = shorten_text(", ".join(dict.fromkeys(call.model or call.endpoint for call in lacking)), 100)
    return f"{len(lacking)} of {format_count(len(calls), 'call')} without {needed} ({models}): {step}"


def _measure_limits(
    measured: "partial[Measurement]",
    trajectory: Trajectory,
    limits: Mapping[str, float | None],
    source: object,
) -> list[Measurement]:
    """Return the measurements that have limits; tokens and cost only where they are known, or limited."""
    counted = partial(measured, better="lower")
    measurements = [
        counted(
            name="trajectory.steps", value=trajectory.turns, unit="count", threshold=limits["at_most_steps"]
        ),
        counted(
            name="trajectory.repeats",
            value=count_repeats(trajectory.tool_calls),
            unit="count",
            threshold=limits["at_most_repeats"],
        ),
    ]
    sums = [
        ("trajectory.tokens", "tokens", trajectory.tokens, limits["at_most_tokens"]),
        ("trajectory.cost", "USD", trajectory.cost_usd, limits["at_most_usd"]),
    ]
    for name, unit, value, limit in sums:
        if value is not None:
            measurements.append(counted(name=name, value=value, unit=unit, threshold=limit))
        elif limit is not None:
            error = _describe_unknown(source, name.partition(".")[2])
            measurements.append(counted(name=name, unit=unit, error=error, threshold=limit))
    return measurements


def _doubt_limits(measurements: Sequence[Measurement], problem: str) -> list[Measurement]:
    """Return the measurements with limits: with steps that may be missing, only one that exceeds its limit is certain."""
    doubted = []
    for measurement in measurements:
        if measurement.status == "failed":
            doubted.append(measurement)
        elif measurement.threshold is not None:
            doubted.append(replace(measurement, value=None, error=problem))
    return doubted


def _add_evidence(
    measurements: Sequence[Measurement], trajectory: Trajectory, *, is_shown: bool
) -> list[Emission]:
    """Return the measurements with repeated calls and the trajectory as evidence of the first that failed.

    Args:
        measurements: The measurements against limits.
        trajectory: The steps of the agent.
        is_shown: Whether another failure shows the trajectory already.
    """
    emissions = []
    for measurement in measurements:
        evidence: list[tuple[str, str]] = []
        if measurement.status in ("failed", "errored") and not is_shown:
            is_shown = True
            evidence = [("loop", text) for text in describe_loops(trajectory.tool_calls)]
            if measurement.name == "trajectory.steps" and measurement.status == "failed":
                evidence.append(("note", COUNTED_STEPS))
            evidence += format_trajectory(trajectory)
        emissions.append(Emission(measurement=measurement, evidence=evidence, max_evidence_lines=MAX_LINES))
    return emissions
