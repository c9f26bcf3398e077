"""Which expected calls an agent made, and which of its calls were not expected."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import Any, Literal, TypeAlias

from pytest_llmops._util.arrays import np
from pytest_llmops.agents.call_alignment import (
    Matrix,
    Pairs,
    pair_in_any_order,
    pair_in_order,
    pair_turns,
    pair_with_turns,
)
from pytest_llmops.agents.expected_calls import Expected, ExpectedAgent, ExpectedCall
from pytest_llmops.agents.trajectory import ToolUse, Trajectory

Order: TypeAlias = Literal["strict", "turns", "any"]
Rule: TypeAlias = Literal["forbid", "allow"]

_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How calls are compared.

    Attributes:
        order: ``strict``: one after another; ``turns``: turn by turn, calls of one turn in any order; ``any``.
        extra: Whether calls that are not expected are allowed.
        missing: Whether expected calls may be missing.
    """

    order: Order = "strict"
    extra: Rule = "forbid"
    missing: Rule = "forbid"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedCalls:
    """All calls that a test expects.

    Attributes:
        calls: In their order.
        turns: Number of calls of each expected turn; empty if the test did not group them.
    """

    calls: tuple[Expected, ...]
    turns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CallComparison:
    """Expected calls and calls made, paired.

    Attributes:
        expected: The expected calls.
        made: The calls made; calls of started agents follow the call that started them, unless an `ExpectedAgent` is paired with it.
        numbers: The index of each call made in ``trajectory.tool_calls``, which also has the calls that an `ExpectedAgent` covers.
        pairs: Indexes of an expected call and of the call that it is paired with, by the first.
        rules: How they were compared.
        matrix: Whether each expected call accepts each call made.
        turns: Number of calls of each turn.
    """

    expected: tuple[Expected, ...]
    made: tuple[ToolUse, ...]
    numbers: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    rules: Rules
    matrix: Matrix = field(repr=False, compare=False)
    turns: tuple[int, ...]

    @property
    def missing(self) -> list[int]:
        """Indexes of the expected calls that were not made."""
        paired = {row for row, _ in self.pairs}
        return [index for index in range(len(self.expected)) if index not in paired]

    @property
    def extra(self) -> list[int]:
        """Indexes of the calls made that were not expected."""
        paired = {column for _, column in self.pairs}
        return [index for index in range(len(self.made)) if index not in paired]

    @property
    def passes(self) -> bool:
        """Whether nothing is missing that must not be, and nothing was made that must not be."""
        if self.rules.missing == "forbid" and len(self.pairs) < len(self.expected):
            return False
        return self.rules.extra == "allow" or len(self.pairs) == len(self.made)

    @property
    def recall(self) -> float:
        """Share of expected calls that were made; 1 if none is expected."""
        if not self.expected:
            return 1.0
        return len(self.pairs) / len(self.expected)

    @property
    def precision(self) -> float:
        """Share of calls made that were expected; 1 if none was made."""
        if not self.made:
            return 1.0
        return len(self.pairs) / len(self.made)


def compare_calls(expected: ExpectedCalls, trajectory: Trajectory, rules: Rules) -> CallComparison:
    """Pair as many expected calls as the order allows with calls of a trajectory.

    A started agent that an expected `started` describes is one call: its own calls are compared with the calls of ``started`` by
    the same rules. The calls of other started agents are calls of the trajectory.

    >>> from pytest_llmops.agents.trajectory import Step
    >>> steps = (Step(role="assistant", tool_calls=(ToolUse(name="refund", arguments={}),)),)
    >>> expected = ExpectedCalls(calls=(ExpectedCall(name="find"), ExpectedCall(name="refund")))
    >>> compare_calls(expected, Trajectory(steps=steps), Rules()).missing
    [0]
    """
    agents = [item for item in expected.calls if isinstance(item, ExpectedAgent)]
    turns = list(_iterate_turns(trajectory, agents, count()))
    numbers = [number for turn in turns for number, _ in turn]
    made = [use for turn in turns for _, use in turn]
    matrix = _build_matrix(expected.calls, made, rules)
    made_turns = tuple(len(turn) for turn in turns)
    pairs = _pair(matrix, expected, made_turns, rules.order)
    return CallComparison(
        expected=expected.calls,
        made=tuple(made),
        numbers=tuple(numbers),
        pairs=tuple(sorted(pairs)),
        rules=rules,
        matrix=matrix,
        turns=made_turns,
    )


def reorder(comparison: CallComparison, order: Order) -> CallComparison:
    """Return the comparison of the same calls in another order; turns of the expected calls do not count."""
    expected = ExpectedCalls(calls=comparison.expected)
    pairs = _pair(comparison.matrix, expected, comparison.turns, order)
    rules = replace(comparison.rules, order=order)
    return replace(comparison, pairs=tuple(sorted(pairs)), rules=rules)


def _pair(matrix: Matrix, expected: ExpectedCalls, made_sizes: Sequence[int], order: Order) -> Pairs:
    """Return pairs for an order; see `call_alignment`."""
    if not matrix.any():
        return []
    if order == "any":
        return pair_in_any_order(matrix)
    if order == "strict":
        return pair_in_order(matrix)
    if expected.turns:
        return pair_turns(matrix, expected.turns, made_sizes)
    return pair_with_turns(matrix, made_sizes)


def list_turns(trajectory: Trajectory) -> list[list[ToolUse]]:
    """Return the calls of each message that has some; the messages of started agents follow the one that started them."""
    return [[use for _, use in turn] for turn in _iterate_turns(trajectory, (), count())]


def _iterate_turns(
    trajectory: Trajectory, agents: Sequence[ExpectedAgent], counter: Iterator[int]
) -> Iterator[list[tuple[int, ToolUse]]]:
    """Yield the calls of each message, each with its index in ``trajectory.tool_calls``.

    Args:
        trajectory: The agent's steps.
        agents: Agents whose messages are left out, as they are compared apart.
        counter: Counts all calls.
    """
    for step in trajectory.steps:
        if step.tool_calls:
            yield [(next(counter), use) for use in step.tool_calls]
        for use in step.tool_calls:
            if use.started is None:
                continue
            turns = _iterate_turns(use.started, agents, counter)
            if any(agent.matches_name(use) for agent in agents):
                # Read all the same: its calls count in the numbers of those that follow.
                list(turns)
            else:
                yield from turns


def compare_started(agent: ExpectedAgent, use: ToolUse, rules: Rules) -> CallComparison | None:
    """Compare the calls of a started agent; None if they do not count, or the call started none."""
    if agent.calls is None or use.started is None:
        return None
    return compare_calls(ExpectedCalls(calls=agent.calls), use.started, rules)


def _build_matrix(expected: Sequence[Expected], made: Sequence[ToolUse], rules: Rules) -> Matrix:
    """Return whether each expected call accepts each call made. Equal calls are compared once, so that 1,000 of each are quick."""
    matrix = np.zeros((len(expected), len(made)), dtype=bool)
    places: dict[str, dict[str, list[int]]] = {}  # name -> key of the arguments -> indexes of calls made
    for index, use in enumerate(made):
        name, key = make_call_key(use)
        places.setdefault(name, {}).setdefault(key, []).append(index)
    indexes_of_name = {name: [*chain(*classes.values())] for name, classes in places.items()}
    for row, item in enumerate(expected):
        if isinstance(item, ExpectedAgent):
            for index, use in enumerate(made):
                matrix[row, index] = _accepts_agent(item, use, rules)
            continue
        key = ""
        if item.mode == "exact":
            key = make_key(item.arguments)
        for name in _list_names(item, places):
            if key:
                matrix[row, places[name].get(key, [])] = True
                continue
            if item.mode == "any":
                matrix[row, indexes_of_name[name]] = True
                continue
            for indexes in places[name].values():
                matrix[row, indexes] = not item.compare_arguments(made[indexes[0]])
    return matrix


def _accepts_agent(agent: ExpectedAgent, use: ToolUse, rules: Rules) -> bool:
    """Return whether a call started the expected agent, and its calls are as expected."""
    if not agent.matches_name(use):
        return False
    comparison = compare_started(agent, use, rules)
    return comparison is None or comparison.passes


def _list_names(item: ExpectedCall, names: Mapping[str, object]) -> list[str]:
    """Return the names of tools that an expected call accepts."""
    if not item.has_wildcards:
        return [name for name in (item.name,) if name in names]
    return [name for name in names if item.matches_name(name)]


def make_call_key(use: ToolUse) -> tuple[str, str]:
    """Return a key that is equal for calls with the same name and arguments; of arguments that are not a JSON object the text counts."""
    if use.arguments is None:
        return use.name, f"invalid {use.text}"
    key = make_key(use.arguments)
    if not key:
        # Nested too deeply, or values that JSON does not have: equal to no other call.
        key = f"arguments {id(use.arguments)}"
    return use.name, key


def make_key(value: object) -> str:
    """Return a text that is equal for equal values of JSON (1 is 1.0, True is not 1); "" for a value with anything else in it.

    >>> make_key({"b": 1.0, "a": True}), make_key({"a": str})
    ('{"a": true, "b": 1}', '')
    """
    try:
        return _ENCODER.encode(_normalize(value))
    except (TypeError, ValueError, RecursionError):
        return ""


def _normalize(value: object) -> Any:
    """Return a value of JSON with whole numbers in place of floats without decimals.

    Raises:
        TypeError: It is something else, such as a matcher.
    """
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        number: float = value  # type: ignore[assignment]
        if number.is_integer():
            return int(number)
        return number
    if isinstance(value, (list, tuple)):
        return [_normalize(child) for child in value]
    if isinstance(value, Mapping):
        if not all(type(key) is str for key in value):
            raise TypeError("a key that is not a text")
        return {key: _normalize(child) for key, child in value.items()}
    raise TypeError(f"{kind.__qualname__} is not a type of JSON")
