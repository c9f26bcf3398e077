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

    Three more values are recorded, and the gate compares them over the suite:

    - ``tools.recall``: the share of expected calls that were made. 1 if none is expected.
    - ``tools.precision``: the share of calls made that were expected. 1 if none was made.
    - ``tools.valid_arguments``: the share of calls whose arguments are a JSON object that fits the schema of an offered
      tool. Without known tools any JSON object is valid. 1 if no call was made. Not recorded if the arguments of no
      call are known.

    If only ``never`` is given, and extra calls are allowed, the first two are not recorded, because each call would
    lower the precision.

    Args:
        source: The actions of the agent: anything that `read_trajectory` reads, such as ``llm_calls``, a list of
            messages, or the result of a framework.
        expected: The expected calls: `call`, the name of a tool (with any arguments), or `started`. With
            ``order="turns"`` it may hold a list for each turn. ``[]``: not a single call. Left out: only ``never`` and
            ``invalid`` count, and other calls are allowed.
        order: ``strict``: one after another. ``turns``: turn by turn, where the calls of one turn may have any order. A
            list within ``expected`` is a turn, whose calls the agent must make in one turn. ``any``: in any order,
            where as many calls as possible are paired with expected ones.
        extra: ``forbid`` or ``allow`` calls that are not expected.
        missing: ``forbid`` or ``allow`` that expected calls are missing.
        never: Calls that must not be made: names of tools, also with wildcards (``delete_*``), or `call`.
        tools: The tools that the agent was offered, as OpenAI, Anthropic or MCP describe them, as `ToolDefinition`, or
            the answer of an MCP server to ``tools/list``. None: the tools of ``llm_calls``, if that is the source.
        invalid: ``forbid`` or ``allow`` calls whose arguments are not a JSON object or do not fit the schema of their
            tool, and calls of tools that were not offered. ``tools.valid_arguments`` is recorded in both cases.
        at_least: 1.0, or None: record only. A forbidden call fails the test in both cases.
        label: Distinguishes several uses in one test.

    Returns:
        The measurement ``tools.calls``: 1 if the calls are as expected, otherwise 0. ``detail`` has the names
        ``expected`` and ``made``, and the ``trajectory``.

    Raises:
        MeasurementFailed: Calls are missing, not expected, forbidden or invalid. The message shows the difference step
            by step, then the trajectory. A step is a tool call.
        MeasurementErrored: The source has no message of an agent. Or it is not known whether the calls are as expected,
            because a reply could not be read, a function of the test raised an exception, or ``invalid="forbid"`` lacks
            the offered tools or the arguments of a call.
        UsageError: It is not a source, neither expected nor forbidden calls are given, the calls contradict each other,
            or a schema is invalid.

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
