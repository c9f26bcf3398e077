"""Take the expected calls from a reference: a trajectory that was recorded, written by hand, or made by another test tool."""

import glob
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from pytest_llmops.agents.expected_calls import (
    ExpectedAgent,
    ExpectedCall,
    Mode,
    is_call_mapping,
    parse_expected_call,
)
from pytest_llmops.agents.matching import ExpectedCalls, list_turns
from pytest_llmops.agents.sources import read_trajectory
from pytest_llmops.agents.trajectory import ToolUse
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import shorten_text

ArgumentMode: TypeAlias = Literal["exact", "ignore", "subset", "superset"]

_MODES: dict[str, Mode] = {"exact": "exact", "ignore": "any", "subset": "within", "superset": "partial"}


def is_call_list(expected: object) -> bool:
    """Return whether a value is a list of expected calls, and not a reference."""
    if isinstance(expected, (str, ExpectedCall, ExpectedAgent)):
        return True
    if not isinstance(expected, (list, tuple)):
        return False
    if any(isinstance(item, (str, ExpectedCall, ExpectedAgent)) for item in expected):
        return True
    kinds = (list, tuple)
    return all(isinstance(item, kinds) or is_call_mapping(item) for item in expected)


def read_reference(where: str, reference: object, arguments: ArgumentMode) -> ExpectedCalls:
    """Return the calls of a reference as expected calls, with its turns.

    Args:
        where: Name of the assertion, for errors.
        reference: Any source of a trajectory.
        arguments: How arguments are compared with the reference's.

    Raises:
        UsageError: Not a source, one that was not read completely, or a call in it whose arguments are not a JSON object.
    """
    try:
        trajectory = read_trajectory(reference)
    except UsageError as error:
        _check_calls(where, reference)
        raise UsageError(f"{where}: expected calls or a reference; the reference: {error}") from None
    problems = trajectory.all_problems
    if problems:
        raise UsageError(f"{where}: the reference was not read completely: {shorten_text(problems[0], 300)}")
    if not trajectory.turns:
        raise UsageError(f"{where}: the reference has no message of an agent; [] expects no call at all")
    turns = list_turns(trajectory)
    calls = [_make_expected(where, use, arguments) for turn in turns for use in turn]
    return ExpectedCalls(calls=tuple(calls), turns=tuple(len(turn) for turn in turns))


def _check_calls(where: str, reference: object) -> None:
    """Raise a `UsageError` about the first invalid call, if a value is not a reference but a list of calls with names."""
    if not isinstance(reference, (list, tuple)):
        return
    for item in reference:
        if isinstance(item, Mapping) and "name" in item:
            parse_expected_call(item, where)


def _make_expected(where: str, use: ToolUse, arguments: ArgumentMode) -> ExpectedCall:
    """Return a call of a reference as an expected call; raise a `UsageError` if its arguments cannot be compared."""
    if use.arguments is None and arguments != "ignore":
        raise UsageError(
            f"{where}: the reference calls {shorten_text(use.name, 60)} with arguments that cannot be compared: "
            f"{shorten_text(use.problem, 120)}; correct it, or compare with arguments='ignore'"
        )
    mode = _MODES[arguments]
    values: Any = use.arguments
    if mode == "any":
        values = {}
    return ExpectedCall(name=glob.escape(use.name), mode=mode, arguments=values)
