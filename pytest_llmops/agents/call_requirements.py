"""The requirements of a test on an agent's calls: which are expected and which are forbidden. They are checked here, and compared with the calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pytest_llmops.agents.argument_values import format_value
from pytest_llmops.agents.call_differences import describe_differences, format_summary
from pytest_llmops.agents.expected_calls import (
    Expected,
    ExpectedAgent,
    ExpectedCall,
    iterate_calls,
    parse_expected_call,
)
from pytest_llmops.agents.matching import (
    CallComparison,
    ExpectedCalls,
    Order,
    Rule,
    Rules,
    compare_calls,
    make_key,
)
from pytest_llmops.agents.offered_tools import Validity
from pytest_llmops.agents.trajectory import ToolUse, Trajectory
from pytest_llmops.agents.trajectory_text import format_call
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.recorder import shorten_masked
from pytest_llmops.trace import CallLog

MAX_PROBLEM_CHARS = 300
MAX_DETAIL_NAMES = 300  # names of calls in ``detail``
NO_MODEL_CALL = (
    "no call to a model was recorded in this test; was the agent called in it? "
    "If it is not a Python process that the test starts, use the fixture llm_proxy"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """The requirements of a test on an agent's calls.

    Attributes:
        expected: The expected calls.
        never: The calls that must not be made.
        rules: How the expected calls are compared.
        threshold: The threshold of the verdict, which is 1 or 0; None: it is only recorded.
        invalid: Whether calls that are not valid are allowed.
    """

    expected: ExpectedCalls
    never: tuple[ExpectedCall, ...]
    rules: Rules
    threshold: float | None
    invalid: Rule = "allow"

    @property
    def expects_calls(self) -> bool:
        """Whether calls, or no call at all, are expected; if not, only ``never`` and ``invalid`` can fail."""
        return bool(self.expected.calls) or self.rules.extra == "forbid"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCheck:
    """Whether a trajectory meets the requirements.

    Attributes:
        requirements: The requirements.
        comparison: The expected calls and those made.
        forbidden: Forbidden calls that were made, by their index among ``all_calls``.
        undecided: A sentence for each call of which it is not known whether it is forbidden.
        trajectory: The agent's steps.
        all_calls: All calls, also the calls of started agents.
        validity: Which calls are valid, if calls that are not are forbidden; else None.
    """

    requirements: Requirements
    comparison: CallComparison
    forbidden: Mapping[int, ExpectedCall]
    undecided: tuple[str, ...]
    trajectory: Trajectory
    all_calls: tuple[ToolUse, ...]
    validity: Validity | None = None

    @property
    def passes(self) -> bool:
        """Whether the calls are as required."""
        return self.comparison.passes and not self.forbidden and not self._invalid

    @property
    def _invalid(self) -> int:
        """How many calls are not valid, where such calls are forbidden."""
        if self.validity is None:
            return 0
        return self.validity.invalid

    @property
    def threshold(self) -> float | None:
        """The threshold of the verdict. A forbidden call fails the test even where the verdict is only recorded."""
        if self.forbidden and self.requirements.threshold is None:
            return 1.0
        return self.requirements.threshold

    @property
    def error(self) -> str:
        """Why it is not known whether the calls are as required; "" if it is known, or if a forbidden call fails the test anyway."""
        if self.forbidden:
            return ""
        # Where missing and extra calls are only recorded, they do not fail the test: a forbidden call could still do so.
        is_never_open = self.requirements.threshold is None and bool(self.requirements.never)
        problem = describe_problems(self.trajectory)
        if problem and (is_never_open or not self._fails_in_any_case):
            return problem
        if self.undecided and (is_never_open or self.passes):
            return self.undecided[0]
        if self.passes and self.validity is not None and self.validity.doubt:
            return f"it is not known whether the calls are valid: {self.validity.doubt}"
        return ""

    @property
    def _fails_in_any_case(self) -> bool:
        """Whether no call that could not be read would make the calls as required: such a call may be one that is missing."""
        if self._invalid:
            return True
        if self.comparison.rules.extra == "allow":
            return False
        # A call that is not as expected in a started agent may be one that is missing there.
        agents = [item for item in self.comparison.expected if isinstance(item, ExpectedAgent)]
        extra = [self.comparison.made[index] for index in self.comparison.extra]
        return any(not any(agent.matches_name(use) for agent in agents) for use in extra)

    @property
    def summary(self) -> str:
        """How many calls are missing, not expected, forbidden and invalid, in a line."""
        forbidden = [self.all_calls[index] for index in self.forbidden]
        return format_summary(self.comparison, forbidden, invalid=self._invalid)

    @property
    def detail(self) -> dict[str, Json]:
        """The names of expected calls and of those made, the numbers of those that are not allowed, and the trajectory, for reports."""
        detail: dict[str, Json] = {
            "made": [shorten_text(use.name, 200) for use in self.all_calls[:MAX_DETAIL_NAMES]],
            "trajectory": self.trajectory.to_wire(),
        }
        # With `never` alone nothing is expected, which is not the same as no call.
        if self.requirements.expects_calls:
            detail["expected"] = [
                shorten_text(item.name, 200) for item in self.comparison.expected[:MAX_DETAIL_NAMES]
            ]
        unexpected = self._list_unexpected()
        if unexpected:
            detail["unexpected"] = [*unexpected[:MAX_DETAIL_NAMES]]
        return detail

    def _list_unexpected(self) -> list[int]:
        """Return the numbers, from 1, of the calls that are forbidden, or not expected where that is not allowed."""
        indexes = set(self.forbidden)
        if self.comparison.rules.extra == "forbid":
            indexes.update(self.comparison.numbers[index] for index in self.comparison.extra)
        return sorted(index + 1 for index in indexes)

    def describe(self, problems: Sequence[str] = ()) -> list[tuple[str, str]]:
        """Return the lines of a failure text: the differences step by step, then the trajectory."""
        return describe_differences(self.comparison, self.forbidden, self.trajectory, problems)


def parse_requirements(
    where: str,
    expected: object,
    *,
    order: str,
    extra: str,
    missing: str,
    never: object,
    threshold: float | None,
    invalid: str = "allow",
) -> Requirements:
    """Return the requirements of a test.

    Args:
        where: Name of the assertion, for errors.
        expected: The expected calls, or lists of them for each turn; or the calls of a reference; None: only ``never`` and ``invalid`` count.
        order: How they are paired.
        extra: Whether calls that are not expected are allowed.
        missing: Whether expected calls may be missing.
        never: The forbidden calls.
        threshold: The threshold of the verdict, which is 1 or 0; None: it is only recorded, and nothing has to be able to fail.
        invalid: Whether calls that are not valid are allowed.

    Raises:
        UsageError: They are not of the right form, or contradict each other; or there are neither expected nor forbidden calls.
    """
    if expected is None:
        if not never and invalid == "allow":
            raise UsageError(
                f"{where}: expected the calls of the agent, or never=[...], got neither; for no call at all write {where}(source, [])"
            )
        expected, extra = (), "allow"
    _check_choice(where, "order", order, get_args(Order))
    _check_choice(where, "extra", extra, get_args(Rule))
    _check_choice(where, "missing", missing, get_args(Rule))
    _check_choice(where, "invalid", invalid, get_args(Rule))
    rules = Rules(order=order, extra=extra, missing=missing)  # type: ignore[arg-type]
    calls = expected
    if not isinstance(calls, ExpectedCalls):
        calls = _parse_expected(where, expected, rules)
    forbidden = _parse_never(where, never)
    _check_contradictions(where, calls, forbidden)
    if threshold == 0:
        raise UsageError(
            f"{where}: expected at_least=1.0, or None to record only, got 0, with which nothing can fail"
        )
    # A test over many cases may have one without expected calls, so only the rules count here.
    allows_all = extra == missing == invalid == "allow" and not forbidden
    if allows_all and threshold is not None:
        raise UsageError(
            f"{where}: expected extra='forbid', missing='forbid' or never=[...], got extra='allow' and missing='allow', "
            "with which nothing can fail; at_least=None only records"
        )
    return Requirements(
        expected=calls,
        never=forbidden,
        rules=rules,
        threshold=threshold,
        invalid=invalid,  # type: ignore[arg-type]
    )


def check_calls(
    requirements: Requirements, trajectory: Trajectory, validity: Validity | None = None
) -> CallCheck:
    """Compare the calls of a trajectory with the requirements.

    Args:
        requirements: The requirements.
        trajectory: The agent's steps.
        validity: Which of its calls are valid; only needed if invalid calls are forbidden.
    """
    if requirements.invalid == "allow":
        validity = None
    comparison = compare_calls(requirements.expected, trajectory, requirements.rules)
    all_calls = tuple(trajectory.tool_calls)
    forbidden = {}
    undecided = []
    for index, use in enumerate(all_calls):
        for pattern in requirements.never:
            if not pattern.matches_name(use.name):
                continue
            differences = pattern.compare_arguments(use)
            if not differences:
                forbidden[index] = pattern
                break
            if not any(difference.is_certain for difference in differences):
                undecided.append(
                    f"step {index + 1:,}: it is not known whether {format_call(use)} is forbidden by never={pattern!r}: "
                    f"{differences[0]}"
                )
    return CallCheck(
        requirements=requirements,
        comparison=comparison,
        forbidden=forbidden,
        undecided=tuple(undecided),
        trajectory=trajectory,
        all_calls=all_calls,
        validity=validity,
    )


def describe_problems(trajectory: Trajectory, source: object = None) -> str:
    """Return why not all calls of a trajectory are known, or that no agent speaks in it; "" if they are known.

    Args:
        trajectory: The agent's steps.
        source: The source that it was read from. If it is ``llm_calls`` without a call of the application, the next step is named.
    """
    problems = trajectory.all_problems
    reason = ""
    if problems:
        reason = shorten_masked(problems[0], MAX_PROBLEM_CHARS)
    if len(problems) > 1:
        reason += f" (and {len(problems) - 1:,} more)"
    if not trajectory.turns and not trajectory.is_silent:
        # An agent that answers without a call has a message.
        if isinstance(source, CallLog) and not any(call.purpose == "app" for call in source):
            reason = reason or NO_MODEL_CALL
        return ": ".join(filter(None, ("the source has no message of an agent", reason)))
    if not reason:
        return ""
    return f"calls of the agent may be missing: {reason}"


def _check_choice(where: str, name: str, value: object, choices: Sequence[str]) -> None:
    """Raise a `UsageError` for a value that is not one of the choices."""
    if value not in choices:
        names = ", ".join(map(repr, choices))
        raise UsageError(f"{where}: expected {name} to be one of {names}, got {format_value(value)}")


def _parse_expected(where: str, expected: Any, rules: Rules) -> ExpectedCalls:
    """Return the expected calls of a flat list, or of a list for each turn; raise a `UsageError` for anything else."""
    if isinstance(expected, (str, Mapping)) or not isinstance(expected, Sequence):
        raise UsageError(f"{where}: expected a list of calls, got {format_value(expected)}")
    if not any(isinstance(item, (list, tuple)) for item in expected):
        return ExpectedCalls(calls=tuple(parse_expected_call(item, where) for item in expected))
    if rules.order != "turns":
        raise UsageError(
            f"{where}: expected calls, got a list of calls; lists for each turn need order='turns', got order={rules.order!r}"
        )
    calls: list[Expected] = []
    turns = []
    for item in expected:
        items = item
        if not isinstance(item, (list, tuple)):
            items = [item]
        if not items:
            raise UsageError(
                f"{where}: expected at least one call in each turn, got an empty list; leave such turns out"
            )
        calls += [parse_expected_call(inner, where) for inner in items]
        turns.append(len(items))
    return ExpectedCalls(calls=tuple(calls), turns=tuple(turns))


def _parse_never(where: str, never: Any) -> tuple[ExpectedCall, ...]:
    """Return the forbidden calls; raise a `UsageError` for anything else."""
    if isinstance(never, (str, ExpectedCall)):
        never = [never]
    if isinstance(never, Mapping) or not isinstance(never, Sequence):
        raise UsageError(f"{where}: expected never to be a list of names or calls, got {format_value(never)}")
    forbidden = []
    for item in never:
        parsed = parse_expected_call(item, f"{where}: never")
        if not isinstance(parsed, ExpectedCall):
            raise UsageError(
                f"{where}: expected never to have names of tools or calls, got {parsed!r}; forbid the tool that starts the agent"
            )
        forbidden.append(parsed)
    return tuple(forbidden)


def _check_contradictions(where: str, expected: ExpectedCalls, never: Sequence[ExpectedCall]) -> None:
    """Raise a `UsageError` if an expected call is always forbidden."""
    for item in iterate_calls(expected.calls):
        for pattern in never:
            if _always_matches(pattern, item):
                raise UsageError(
                    f"{where}: {item!r} is expected, and forbidden by never={pattern!r}; remove one of them"
                )


def _always_matches(pattern: ExpectedCall, item: ExpectedCall) -> bool:
    """Return whether each call that an expected call accepts is forbidden."""
    if item.name != pattern.name and (item.has_wildcards or not pattern.matches_name(item.name)):
        return False
    if pattern.mode == "any":
        return True
    # What accepts other arguments too is always forbidden only by what forbids these with others.
    is_comparable = item.mode == "exact" or item.mode == pattern.mode == "partial"
    if not is_comparable or not make_key(item.arguments):
        return False
    return not pattern.compare_arguments(ToolUse(name=item.name, arguments=item.arguments))  # type: ignore[arg-type]
