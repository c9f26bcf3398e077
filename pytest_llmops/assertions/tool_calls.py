"""Assert which tools an agent called, with which arguments, and in which order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from pytest_llmops import recorder
from pytest_llmops.agents.call_requirements import (
    CallCheck,
    check_calls,
    describe_problems,
    parse_requirements,
)
from pytest_llmops.agents.expected_calls import Expected
from pytest_llmops.agents.matching import Order, Rule
from pytest_llmops.agents.offered_tools import Tool, Validity, check_arguments, read_offered_tools
from pytest_llmops.agents.sources import read_trajectory
from pytest_llmops.agents.trajectory_text import format_trajectory
from pytest_llmops.assertions._arguments import parse_share_threshold
from pytest_llmops.measurement import Measurement
from pytest_llmops.recorder import Emission

__tracebackhide__ = True

VERSION = "1"
MAX_LINES = 60  # lines of a failure text


def assert_tool_calls(
    source: object,
    expected: "Sequence[Expected | str | Mapping[str, Any] | Sequence[Expected | str | Mapping[str, Any]]] | None" = None,
    *,
    order: Order = "strict",
    extra: Rule = "forbid",
    missing: Rule = "forbid",
    never: "Sequence[Expected | str] | str" = (),
    tools: "Sequence[Tool] | Mapping[str, Any] | None" = None,
    invalid: Rule = "allow",
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    """Assert which tools an agent called, with which arguments, and in which order.

    Three more values are recorded for the gate, which compares them over the suite: ``tools.recall`` (the share of expected calls that
    were made; 1 if none is expected), ``tools.precision`` (the share of calls made that were expected; 1 if none was made) and
    ``tools.valid_arguments`` (the share of calls whose arguments are a JSON object that fits the schema of a tool that was
    offered; without known tools any JSON object; 1 if no call was made; not recorded if the arguments of no call are known). With nothing
    but ``never`` (no expected call, and extra ones allowed) the first two are not recorded: each call would lower the precision.

    Args:
        source: What the agent did: anything that `read_trajectory` reads, such as ``llm_calls``, a list of messages, or the result of a
            framework.
        expected: The calls that are expected: `call`, the name of a tool (its arguments do not count), or `started`. With
            ``order="turns"`` it may hold a list for each turn. ``[]``: no call at all. Left out: only ``never`` and ``invalid``
            count, other calls are allowed.
        order: ``strict``: one after another. ``turns``: turn by turn, where the calls of one turn of the agent may have any order; a list
            within ``expected`` is a turn, whose calls the agent has to make in one turn. ``any``: in any order; as many calls as possible
            are paired with expected ones.
        extra: Whether calls that are not expected are allowed: ``forbid`` or ``allow``.
        missing: Whether expected calls may be missing: ``forbid`` or ``allow``.
        never: Calls that must not be made: names of tools, also with wildcards (``delete_*``), or `call`.
        tools: The tools that the agent was offered, as OpenAI, Anthropic or MCP describe them, as `ToolDefinition`, or the answer of an
            MCP server to ``tools/list``; None: those of ``llm_calls``, if that is the source.
        invalid: Whether calls are allowed whose arguments are not a JSON object, do not fit the schema of their tool, or whose tool was not
            offered: ``forbid`` or ``allow``. In both cases ``tools.valid_arguments`` is recorded.
        at_least: 1.0, or None: record only. A forbidden call fails the test either way.
        label: Distinguishes two assertions of a test.

    Returns:
        The measurement ``tools.calls``: 1 if the calls are as expected, else 0. ``detail`` has the names ``expected`` and ``made``, and
        the ``trajectory``.

    Raises:
        MeasurementFailed: Calls are missing, not expected, forbidden or invalid; shows the difference step by step, then the trajectory. A step is a tool
            call.
        MeasurementErrored: The source has no message of an agent; calls may be missing, as a reply could not be read, and what is known
            does not fail in any case; whether a call is forbidden is not known, as a function of the test raised; or ``invalid="forbid"``,
            and the tools that were offered, or the arguments of a call, are not known.
        UsageError: Not a source, neither expected nor forbidden calls, calls that contradict each other, or an invalid schema.

    >>> from pytest_llmops import call
    >>> messages = [{"role": "assistant", "tool_calls": [{"function": {"name": "refund", "arguments": '{"amount": 20}'}}]}]
    >>> assert_tool_calls(messages, [call("refund", amount=int)]).value
    1.0
    """
    where = "assert_tool_calls"
    threshold = parse_share_threshold(where, at_least)
    requirements = parse_requirements(
        where,
        expected,
        order=order,
        extra=extra,
        missing=missing,
        never=never,
        threshold=threshold,
        invalid=invalid,
    )
    trajectory = read_trajectory(source)
    offered = read_offered_tools(where, tools, source, trajectory, needs_schemas=invalid == "forbid")
    measured = partial(Measurement, label=label, version=VERSION)
    validity = check_arguments(trajectory.tool_calls, offered)
    result = check_calls(requirements, trajectory, validity)
    error = result.error
    if not trajectory.turns:
        error = describe_problems(trajectory, source)
    if error:
        return recorder.emit(
            measured(name="tools.calls", error=error, threshold=threshold, detail=result.detail),
            evidence=format_trajectory(trajectory),
            max_evidence_lines=MAX_LINES,
        )
    emissions = [
        Emission(
            measurement=measured(
                name="tools.calls",
                value=float(result.passes),
                threshold=result.threshold,
                detail=result.detail,
            ),
            verdict=f"tools.calls: {result.summary}",
            evidence=partial(result.describe, validity.problems),
            max_evidence_lines=MAX_LINES,
        )
    ]
    emissions += _iter_shares(result, validity, measured)
    return recorder.emit_together(emissions)[0]


def _iter_shares(
    result: CallCheck, validity: Validity, measured: Callable[..., Measurement]
) -> Iterator[Emission]:
    """Yield the shares that are recorded for the gate, without those that are not known."""
    comparison = result.comparison
    if result.requirements.expects_calls:
        yield Emission(measurement=measured(name="tools.recall", value=comparison.recall))
        yield Emission(measurement=measured(name="tools.precision", value=comparison.precision))
    if validity.share is None:
        return
    detail = {}
    if validity.problems:
        detail["invalid"] = list(validity.problems)
    yield Emission(measurement=measured(name="tools.valid_arguments", value=validity.share, detail=detail))
