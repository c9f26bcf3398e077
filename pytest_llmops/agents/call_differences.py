"""The text of a failure over an agent's calls: what differs, step by step, and the trajectory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_llmops._util.step_alignment import find_common
from pytest_llmops.agents.expected_calls import Expected, ExpectedAgent, ExpectedCall
from pytest_llmops.agents.matching import CallComparison, ExpectedCalls, compare_calls, compare_started
from pytest_llmops.agents.repeats import describe_loops
from pytest_llmops.agents.trajectory import ToolUse, Trajectory
from pytest_llmops.agents.trajectory_text import format_call, format_trajectory
from pytest_llmops.measurement import format_count

MAX_DIFFERENCES = 12  # differences in a failure text
MAX_ARGUMENTS = 4  # arguments of a call that are described
MAX_FORBIDDEN = 5


@dataclass(frozen=True, slots=True)
class CallDifference:
    """An expected call that was not made, a call that was not expected, or both in the same place.

    Attributes:
        expected: Index of the expected call; None: no call was expected.
        made: Index of the call made; None: none was made.
    """

    expected: int | None
    made: int | None


def format_summary(comparison: CallComparison, forbidden: Sequence[ToolUse]) -> str:
    """Return how many calls are missing, not expected and forbidden; those that are allowed are left out."""
    parts = []
    if forbidden:
        names = ", ".join(format_call(use, 80) for use in forbidden[:2])
        more = ""
        if len(forbidden) > 2:  # noqa: PLR2004 -- those that are named
            more = f" and {len(forbidden) - 2:,} more"
        parts.append(f"forbidden: {names}{more}")
    if comparison.missing and comparison.rules.missing == "forbid":
        parts.append(
            f"{len(comparison.missing):,} of {format_count(len(comparison.expected), 'expected call')} missing"
        )
    if comparison.extra and comparison.rules.extra == "forbid":
        parts.append(
            f"{len(comparison.extra):,} of {format_count(len(comparison.made), 'call')} not expected"
        )
    if not comparison.made and comparison.missing:
        parts.append("the agent made no call")
    return "; ".join(parts) or "as expected"


def describe_differences(
    comparison: CallComparison,
    forbidden: Mapping[int, ExpectedCall],
    trajectory: Trajectory,
    all_calls: Sequence[ToolUse],
    problems: Sequence[str],
) -> list[tuple[str, str]]:
    """Return labelled lines: forbidden calls, near misses, other differences, a hint, invalid calls, loops and the trajectory."""
    lines = []
    for index, pattern in list(forbidden.items())[:MAX_FORBIDDEN]:
        lines.append(
            (f"step {index + 1:,}", f"{format_call(all_calls[index])} is forbidden by never={pattern!r}")
        )
    differences = list_differences(comparison)
    near = [difference for difference in differences if _is_near_miss(comparison, difference)]
    others = [difference for difference in differences if difference not in near]
    # A call's number is the one that it has in the trajectory.
    numbers = {id(use): number for number, use in enumerate(all_calls, start=1)}
    for difference in [*near, *others][:MAX_DIFFERENCES]:
        lines += _describe_difference(comparison, difference, numbers)
    if len(differences) > MAX_DIFFERENCES:
        lines.append(("and", f"{len(differences) - MAX_DIFFERENCES:,} more differences"))
    hint = _find_order_hint(comparison, trajectory)
    if hint:
        lines.append(("hint", hint))
    lines += [("invalid", problem) for problem in problems]
    lines += [("loop", text) for text in describe_loops(all_calls)]
    return [*lines, *format_trajectory(trajectory)]


def list_differences(comparison: CallComparison) -> list[CallDifference]:
    """Return what differs, in order; what the rules allow is left out. Calls of the same tool are put together."""
    if comparison.rules.order == "any":
        gaps = [(comparison.missing, comparison.extra)]
    else:
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
    """Return the missing and the extra calls between two pairs, in order."""
    missing = comparison.missing
    extra = comparison.extra
    gaps = []
    for row, column in [*comparison.pairs, (len(comparison.expected), len(comparison.made))]:
        rows = []
        while missing and missing[0] < row:
            rows.append(missing.pop(0))
        columns = []
        while extra and extra[0] < column:
            columns.append(extra.pop(0))
        gaps.append((rows, columns))
    gaps.append((missing, extra))
    return gaps


def _pair_gap(
    comparison: CallComparison, missing: Sequence[int], extra: Sequence[int]
) -> list[CallDifference]:
    """Return the differences of a gap: calls of the same tool together, then, if the order counts, those in the same place."""
    names = [comparison.expected[index].name for index in missing]
    made_names = [comparison.made[index].name for index in extra]
    differences = []
    row = column = 0
    for common_row, common_column in [*find_common(names, made_names), (len(names), len(made_names))]:
        rows, columns = missing[row:common_row], extra[column:common_column]
        both = 0
        if comparison.rules.order != "any":
            both = min(len(rows), len(columns))
        differences += [CallDifference(*pair) for pair in zip(rows[:both], columns[:both], strict=True)]
        differences += [CallDifference(index, None) for index in rows[both:]]
        differences += [CallDifference(None, index) for index in columns[both:]]
        if common_row < len(names):
            differences.append(CallDifference(missing[common_row], extra[common_column]))
        row, column = common_row + 1, common_column + 1
    return differences


def _is_near_miss(comparison: CallComparison, difference: CallDifference) -> bool:
    """Return whether the expected tool, or agent, was called with other arguments."""
    if difference.expected is None or difference.made is None:
        return False
    return _has_name(comparison.expected[difference.expected], comparison.made[difference.made])


def _has_name(expected: Expected, use: ToolUse) -> bool:
    if isinstance(expected, ExpectedAgent):
        return expected.matches_name(use)
    return expected.matches_name(use.name)


def _describe_difference(
    comparison: CallComparison, difference: CallDifference, numbers: Mapping[int, int]
) -> list[tuple[str, str]]:
    expected = None
    if difference.expected is not None:
        expected = comparison.expected[difference.expected]
    if difference.made is None:
        return [
            ("missing", f"expected {expected}{_describe_place(comparison, difference.expected, numbers)}")
        ]
    use = comparison.made[difference.made]
    label = f"step {numbers.get(id(use), difference.made + 1):,}"
    if expected is None:
        return [(label, f"not expected: {format_call(use)}")]
    if not _has_name(expected, use):
        return [(label, f"expected {expected}, got {format_call(use)}")]
    if isinstance(expected, ExpectedAgent):
        return _describe_started(expected, use, comparison, label)
    differences = expected.compare_arguments(use)
    if not differences:
        return [(label, f"{format_call(use)} was made, but not in the expected order")]
    lines = [(label, f"{use.name[:60]}: {argument}") for argument in differences[:MAX_ARGUMENTS]]
    if len(differences) > MAX_ARGUMENTS:
        lines.append((label, f"{use.name[:60]}: and {len(differences) - MAX_ARGUMENTS:,} more arguments"))
    return lines


def _describe_place(comparison: CallComparison, row: int | None, numbers: Mapping[int, int]) -> str:
    """Return after which step a missing call is expected; "" if the order does not count."""
    if comparison.rules.order == "any" or row is None:
        return ""
    before = [column for paired, column in comparison.pairs if paired < row]
    if not before:
        return ""
    use = comparison.made[before[-1]]
    return f" after step {numbers.get(id(use), before[-1] + 1):,}"


def _describe_started(
    expected: ExpectedAgent, use: ToolUse, comparison: CallComparison, label: str
) -> list[tuple[str, str]]:
    """Return how the calls of a started agent differ from those expected of it."""
    inner = compare_started(expected, use, comparison.rules)
    if inner is None:
        return [(label, f"{expected} was made, but not in the expected order")]
    lines = [(label, f"{expected}: {format_summary(inner, ())}")]
    numbers = {id(inner_use): number for number, inner_use in enumerate(inner.made, start=1)}
    for difference in list_differences(inner)[:MAX_ARGUMENTS]:
        for inner_label, text in _describe_difference(inner, difference, numbers):
            lines.append((label, f"{expected.name}, {inner_label}: {text}"))
    return lines


def _find_order_hint(comparison: CallComparison, trajectory: Trajectory) -> str:
    """Return a hint if the calls would pass in any order; "" if not."""
    rules = comparison.rules
    if comparison.passes or rules.order == "any":
        return ""
    expected = ExpectedCalls(calls=comparison.expected)
    if not compare_calls(expected, trajectory, replace(rules, order="any")).passes:
        return ""
    if rules.order == "strict" and compare_calls(expected, trajectory, replace(rules, order="turns")).passes:
        return "only calls of the same turn have another order: order='turns' would pass"
    return (
        "the same calls in another order: order='any' would pass; do that only if the order does not matter"
    )
