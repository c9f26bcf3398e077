"""The text of a failure over an agent's calls: what differs, step by step, and the trajectory. A step is a tool call."""

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_llmops._util.step_alignment import find_common
from pytest_llmops.agents.expected_calls import Expected, ExpectedAgent, ExpectedCall
from pytest_llmops.agents.matching import CallComparison, compare_started, reorder
from pytest_llmops.agents.repeats import describe_loops
from pytest_llmops.agents.trajectory import ToolUse, Trajectory
from pytest_llmops.agents.trajectory_text import format_call, format_trajectory
from pytest_llmops.measurement import format_count, shorten_text

MAX_DIFFERENCES = 12  # differences in a failure text
MAX_ARGUMENTS = 4  # arguments of a call that are described
MAX_FORBIDDEN = 5
MAX_HINT_CALLS = 200  # calls made that are compared turn by turn for a hint
MAX_HINT_CHARS = 200  # of a call in a hint
MAX_NAMED = 2  # forbidden calls in the first line
MAX_NAMED_AGENTS = 5
MAX_AGENT_CHARS = 200  # of the names of agents in a hint


@dataclass(frozen=True, slots=True)
class CallDifference:
    """An expected call that was not made, a call that was not expected, or both in the same place.

    Attributes:
        expected: Index of the expected call; None: no call was expected.
        made: Index of the call made; None: none was made.
    """

    expected: int | None
    made: int | None


def format_summary(comparison: CallComparison, forbidden: Sequence[ToolUse] = (), *, invalid: int = 0) -> str:
    """Return how many calls are missing, not expected, forbidden and invalid, in a line; calls that the rules allow are left out."""
    parts = []
    if forbidden:
        names = ", ".join(format_call(use, 80) for use in forbidden[:MAX_NAMED])
        more = ""
        if len(forbidden) > MAX_NAMED:
            more = f" and {len(forbidden) - MAX_NAMED:,} more"
        parts.append(f"forbidden: {names}{more}")
    missing = len(comparison.missing)
    if missing and comparison.rules.missing == "forbid":
        parts.append(f"{missing:,} of {len(comparison.expected):,} expected calls missing")
    extra = len(comparison.extra)
    if extra and comparison.rules.extra == "forbid":
        parts.append(f"{extra:,} of {format_count(len(comparison.made), 'call')} not expected")
    if missing and not comparison.made:
        parts.append("the agent made no call")
    if invalid:
        parts.append(format_count(invalid, "invalid call"))
    return "; ".join(parts) or "as expected"


def describe_differences(
    comparison: CallComparison,
    forbidden: Mapping[int, ExpectedCall],
    trajectory: Trajectory,
    problems: Sequence[str],
) -> list[tuple[str, str]]:
    """Return labelled lines: forbidden calls, near misses, other differences, a hint, invalid calls, loops and the trajectory.

    Args:
        comparison: The expected calls and those made.
        forbidden: Forbidden calls that were made, by their index in ``trajectory.tool_calls``.
        trajectory: The agent's steps.
        problems: A sentence for each call that is not valid.
    """
    all_calls = trajectory.tool_calls
    lines = []
    for index, pattern in list(forbidden.items())[:MAX_FORBIDDEN]:
        lines.append(
            (f"step {index + 1:,}", f"{format_call(all_calls[index])} is forbidden by never={pattern!r}")
        )
    if len(forbidden) > MAX_FORBIDDEN:
        lines.append(("and", f"{format_count(len(forbidden) - MAX_FORBIDDEN, 'more forbidden call')}"))
    differences = list_differences(comparison)
    near = [difference for difference in differences if _is_near_miss(comparison, difference)]
    others = [difference for difference in differences if not _is_near_miss(comparison, difference)]
    groups = [[difference] for difference in near] + _group_repeats(comparison, others)
    for group in groups[:MAX_DIFFERENCES]:
        if len(group) > 1:
            lines.append(_describe_repeats(comparison, group))
        else:
            lines += _describe_difference(comparison, group[0])
    left_out = sum(len(group) for group in groups[MAX_DIFFERENCES:])
    if left_out:
        lines.append(("and", f"{format_count(left_out, 'more difference')}"))
    hint = (
        _find_order_hint(comparison)
        or _find_agent_hint(comparison, all_calls)
        or _find_argument_hint(comparison, near[:MAX_DIFFERENCES])
    )
    if hint:
        lines.append(("hint", hint))
    lines += [("invalid", problem) for problem in problems]
    lines += [("loop", text) for text in describe_loops(all_calls)]
    return [*lines, *format_trajectory(trajectory)]


def list_differences(comparison: CallComparison) -> list[CallDifference]:
    """Return the differences, in order; differences that the rules allow are left out. Calls of the same tool are put together."""
    gaps = [(comparison.missing, comparison.extra)]
    if comparison.rules.order != "any":
        gaps = _list_gaps(comparison)
    differences = []
    for missing, extra in gaps:
        differences += _pair_gap(comparison, missing, extra)
    kept = []
    for difference in differences:
        is_missing = difference.expected is not None and comparison.rules.missing == "forbid"
        is_extra = difference.made is not None and comparison.rules.extra == "forbid"
        if is_missing or is_extra:
            kept.append(difference)
    return kept


def _list_gaps(comparison: CallComparison) -> list[tuple[list[int], list[int]]]:
    """Return the missing and the extra calls before each pair, and those after the last, in order."""
    missing = comparison.missing
    extra = comparison.extra
    gaps = []
    end = (len(comparison.expected), len(comparison.made))
    row_start = column_start = 0
    for row, column in [*comparison.pairs, end]:
        row_end = bisect_left(missing, row)
        # Within a turn pairs may cross: then nothing more lies before the column.
        column_end = max(column_start, bisect_left(extra, column))
        gaps.append((missing[row_start:row_end], extra[column_start:column_end]))
        row_start, column_start = row_end, column_end
    return gaps


def _pair_gap(
    comparison: CallComparison, missing: Sequence[int], extra: Sequence[int]
) -> list[CallDifference]:
    """Return the differences of a gap: calls of the same tool together and, if the order counts, others in the same place."""
    names, made_names = _list_names(comparison, missing, extra)
    if comparison.rules.order == "any":
        return _pair_names(missing, extra, names, made_names)
    differences = []
    row = column = 0
    for common_row, common_column in [*find_common(names, made_names), (len(missing), len(extra))]:
        rows = missing[row:common_row]
        columns = extra[column:common_column]
        both = min(len(rows), len(columns))
        differences += [CallDifference(rows[place], columns[place]) for place in range(both)]
        differences += [CallDifference(index, None) for index in rows[both:]]
        differences += [CallDifference(None, index) for index in columns[both:]]
        if common_row < len(missing):
            differences.append(CallDifference(missing[common_row], extra[common_column]))
        row = common_row + 1
        column = common_column + 1
    return differences


def _list_names(
    comparison: CallComparison, missing: Sequence[int], extra: Sequence[int]
) -> tuple[list[str], list[str]]:
    """Return the names of missing and of extra calls; the extra ones in the form of the missing ones: with wildcards, or of an agent."""
    names = [str(comparison.expected[index].name) for index in missing]
    special = []
    for index in missing:
        expected = comparison.expected[index]
        if isinstance(expected, ExpectedAgent) or expected.has_wildcards:
            special.append(expected)
    known: dict[tuple[str, str | None], str] = {}
    made_names = []
    for index in extra:
        use = comparison.made[index]
        key = (use.name, use.started.agent if use.started is not None else None)
        if key not in known:
            fitting = [expected.name for expected in special if _has_name(expected, use)]
            known[key] = next(iter(fitting), use.name)
        made_names.append(known[key])
    return names, made_names


def _pair_names(
    missing: Sequence[int], extra: Sequence[int], names: Sequence[str], made_names: Sequence[str]
) -> list[CallDifference]:
    """Return the differences if the order does not count: calls of the same tool together, the first with the first."""
    places: dict[str, deque[int]] = {}
    for index, name in zip(extra, made_names, strict=True):
        places.setdefault(name, deque()).append(index)
    differences = []
    for index, name in zip(missing, names, strict=True):
        made = None
        if places.get(name):
            made = places[name].popleft()
        differences.append(CallDifference(index, made))
    rest = sorted(index for indexes in places.values() for index in indexes)
    return differences + [CallDifference(None, index) for index in rest]


def _group_repeats(
    comparison: CallComparison, differences: Sequence[CallDifference]
) -> list[list[CallDifference]]:
    """Return groups of differences that follow each other and are about equal calls that were not expected."""
    groups: list[list[CallDifference]] = []
    last: ToolUse | None = None
    for difference in differences:
        use = None
        if difference.expected is None and difference.made is not None:
            use = comparison.made[difference.made]
        is_repeat = last is not None and use is not None and _is_equal(use, last)
        if is_repeat:
            groups[-1].append(difference)
        else:
            groups.append([difference])
        last = use
    return groups


def _is_equal(use: ToolUse, other: ToolUse) -> bool:
    """Return whether two calls are equal but for their results."""
    return (use.name, use.arguments, use.text) == (other.name, other.arguments, other.text)


def _describe_repeats(comparison: CallComparison, group: Sequence[CallDifference]) -> tuple[str, str]:
    """Return a line for equal calls that were not expected: ``not expected 4 times, to step 6: search(q='x')``."""
    first, last = group[0].made or 0, group[-1].made or 0
    text = format_call(comparison.made[first])
    return _format_label(
        comparison, first
    ), f"not expected {len(group):,} times, to {_format_label(comparison, last)}: {text}"


def _is_near_miss(comparison: CallComparison, difference: CallDifference) -> bool:
    """Return whether the expected tool, or agent, was called with other arguments."""
    if difference.expected is None or difference.made is None:
        return False
    return _has_name(comparison.expected[difference.expected], comparison.made[difference.made])


def _has_name(expected: Expected, use: ToolUse) -> bool:
    if isinstance(expected, ExpectedAgent):
        return expected.matches_name(use)
    return expected.matches_name(use.name)


def _format_label(comparison: CallComparison, made: int) -> str:
    """Return the number of a call in the trajectory: ``step 3``."""
    return f"step {comparison.numbers[made] + 1:,}"


def _describe_difference(comparison: CallComparison, difference: CallDifference) -> list[tuple[str, str]]:
    """Return the lines for a difference: one for each argument of a near miss, one for all others."""
    if difference.made is None:
        return [_describe_missing(comparison, difference.expected or 0)]
    label = _format_label(comparison, difference.made)
    use = comparison.made[difference.made]
    if difference.expected is None:
        return [(label, f"not expected: {format_call(use)}")]
    expected = comparison.expected[difference.expected]
    if not _has_name(expected, use):
        return [(label, f"expected {expected}, got {format_call(use)}")]
    if isinstance(expected, ExpectedAgent):
        return _describe_started(comparison, expected, use, label)
    differences = expected.compare_arguments(use)
    if not differences:
        return [(label, f"{format_call(use)} was made, but not in the expected order")]
    name = shorten_text(use.name, 60)
    lines = [(label, f"{name}: {argument}") for argument in differences[:MAX_ARGUMENTS]]
    if len(differences) > MAX_ARGUMENTS:
        lines.append((label, f"{name}: {format_count(len(differences) - MAX_ARGUMENTS, 'more difference')}"))
    return lines


def _describe_missing(comparison: CallComparison, row: int) -> tuple[str, str]:
    """Return a line for a call that was not made, with the step before or after it; without one if the order does not count."""
    expected = comparison.expected[row]
    place = ""
    if comparison.rules.order != "any":
        before = [column for paired, column in comparison.pairs if paired < row]
        after = [column for paired, column in comparison.pairs if paired > row]
        if before:
            place = f" after {_format_label(comparison, max(before))}"
        elif after:
            place = f" before {_format_label(comparison, min(after))}"
    return "missing", f"expected {expected}{place}"


def _describe_started(
    comparison: CallComparison, expected: ExpectedAgent, use: ToolUse, label: str
) -> list[tuple[str, str]]:
    """Return how the calls of a started agent differ from those expected of it."""
    inner = compare_started(expected, use, comparison.rules)
    if inner is None or inner.passes:
        return [(label, f"{expected}, but not in the expected order")]
    lines = [(label, f"{expected}: {format_summary(inner)}")]
    for difference in list_differences(inner)[:MAX_ARGUMENTS]:
        for inner_label, text in _describe_difference(inner, difference):
            lines.append((label, f"{expected.name}, {inner_label}: {text}"))
    hint = _find_order_hint(inner)
    if hint:
        lines.append((label, f"{expected.name}: {hint}"))
    return lines


def _find_order_hint(comparison: CallComparison) -> str:
    """Return a hint if only the order of the calls differs; "" if not."""
    order = comparison.rules.order
    if order == "turns" and not comparison.passes and reorder(comparison, "turns").passes:
        return "the same calls in other turns: a list of calls without lists for each turn would pass"
    if comparison.passes or order == "any" or not reorder(comparison, "any").passes:
        return ""
    is_short = len(comparison.made) <= MAX_HINT_CALLS
    if order == "strict" and is_short and reorder(comparison, "turns").passes:
        return "only calls of the same turn have another order: order='turns' would pass"
    return (
        "the same calls in another order: order='any' would pass; do that only if the order does not matter"
    )


def _find_argument_hint(comparison: CallComparison, near: Sequence[CallDifference]) -> str:
    """Return a hint if a call has all expected arguments and others too; "" if none has.

    Args:
        comparison: The expected calls and those made.
        near: Calls of the expected tool with other arguments.
    """
    for difference in near:
        if difference.expected is None or difference.made is None:
            continue
        expected = comparison.expected[difference.expected]
        if isinstance(expected, ExpectedAgent) or expected.mode != "exact":
            continue
        with_others = replace(expected, mode="partial")
        use = comparison.made[difference.made]
        if not expected.matches(use) and with_others.matches(use):
            return f"three dots allow other arguments: {shorten_text(repr(with_others), MAX_HINT_CHARS)}"
    return ""


def _find_agent_hint(comparison: CallComparison, calls: Sequence[ToolUse]) -> str:
    """Return a hint if an agent is expected by the name of its tool, a tool by the name of its agent, or the source shows no agents.

    Args:
        comparison: The expected calls and those made.
        calls: All calls of the trajectory.
    """
    if comparison.rules.missing == "allow":
        return ""
    tools = {use.started.agent or use.name: use.name for use in calls if use.started is not None}
    for index in comparison.missing:
        expected = comparison.expected[index]
        if isinstance(expected, ExpectedAgent):
            hint = _describe_agents(expected, tools, calls)
        else:
            hint = _describe_agent_of_call(expected, tools)
        if hint:
            return hint
    return ""


def _describe_agents(expected: ExpectedAgent, tools: Mapping[str, str], calls: Sequence[ToolUse]) -> str:
    """Return why no agent with the expected name was started; "" if one was.

    Args:
        expected: The agent.
        tools: The agents that were started, and the tools that did.
        calls: All calls of the trajectory.
    """
    if calls and not tools:
        return (
            "no call started an agent; in llm_calls and in lists of messages a handover is a plain call: "
            f"in place of started({expected.name!r}) expect the tool that hands over, then the calls of the agent"
        )
    if not tools or any(expected.matches_agent(name) for name in tools):
        return ""
    started = [
        f"{name} (by the tool {tool})" if name != tool else name
        for name, tool in list(tools.items())[:MAX_NAMED_AGENTS]
    ]
    return f"started() has the name of an agent; the agents that were started: {shorten_text(', '.join(started), MAX_AGENT_CHARS)}"


def _describe_agent_of_call(expected: ExpectedCall, tools: Mapping[str, str]) -> str:
    """Return that the name of an expected call is the name of an agent which was started; "" if it is not."""
    for name, tool in tools.items():
        if name != tool and expected.matches_name(name):
            return (
                f"{shorten_text(name, 60)} is the agent that the tool {shorten_text(tool, 60)} started: "
                "expect it by started(), or the tool by its own name"
            )
    return ""
