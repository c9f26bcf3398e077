"""Laws of pairing expected calls with calls made: as many as possible, and the verdict by recall and precision."""

from __future__ import annotations

import json
from collections import Counter
from itertools import accumulate, permutations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops import assert_tool_calls, call, collect
from pytest_llmops._util.step_alignment import align_steps
from pytest_llmops.agents import Step, ToolUse, Trajectory
from pytest_llmops.agents.argument_values import compare_value
from pytest_llmops.agents.call_alignment import pair_in_any_order, pair_in_order, pair_turns, pair_with_turns
from pytest_llmops.agents.matching import make_key

NAMES = st.sampled_from("abc")
CALLS = st.tuples(NAMES, st.sampled_from([1, 2, True]))
TURNS = st.lists(st.lists(CALLS, min_size=1, max_size=3), max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 0.5, "", "a", "1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@st.composite
def matrices(draw: st.DrawFn) -> tuple[Any, list[int], list[int]]:
    """Which of a few expected calls accept which calls made, and the sizes of the turns of both."""
    row_sizes = draw(st.lists(st.integers(1, 3), max_size=3))
    column_sizes = draw(st.lists(st.integers(1, 3), max_size=2))
    shape = (sum(row_sizes), sum(column_sizes))
    cells = draw(st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    return np.array(cells, dtype=bool).reshape(shape), row_sizes, column_sizes


def most_pairs(matrix: Any) -> int:
    """The size of a maximum matching, by trying all."""
    if not matrix.size:
        return 0
    rest = most_pairs(matrix[1:])
    for column in np.flatnonzero(matrix[0]):
        rest = max(rest, 1 + most_pairs(np.delete(matrix[1:], column, axis=1)))
    return rest


def longest_subsequence(matrix: Any) -> int:
    if not matrix.size:
        return 0
    skipped = max(longest_subsequence(matrix[1:]), longest_subsequence(matrix[:, 1:]))
    return max(skipped, int(matrix[0, 0]) + longest_subsequence(matrix[1:, 1:]))


def check_pairs(matrix: Any, pairs: list[tuple[int, int]]) -> int:
    """The number of pairs, each of which is accepted, and each call in one of them at most."""
    assert all(matrix[pair] for pair in pairs)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    return len(pairs)


@given(matrices())
def test_any_order_is_a_maximum_matching(drawn: tuple[Any, list[int], list[int]]) -> None:
    matrix = drawn[0]
    assert check_pairs(matrix, pair_in_any_order(matrix)) == most_pairs(matrix)


@given(matrices())
def test_strict_is_a_longest_common_subsequence(drawn: tuple[Any, list[int], list[int]]) -> None:
    matrix = drawn[0]
    pairs = pair_in_order(matrix)
    assert check_pairs(matrix, pairs) == longest_subsequence(matrix)
    assert pairs == sorted(pairs)
    assert [column for _, column in pairs] == sorted(column for _, column in pairs)


@pytest.mark.slow
@given(matrices())
def test_turns_of_a_flat_list_are_the_best_order_of_each_turn(
    drawn: tuple[Any, list[int], list[int]],
) -> None:
    matrix, _, sizes = drawn
    turns = [range(end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True)]
    orders = product(*(permutations(turn) for turn in turns))
    best = max(
        longest_subsequence(matrix[:, [column for turn in order for column in turn]]) for order in orders
    )
    assert check_pairs(matrix, pair_with_turns(matrix, sizes)) == best


@given(matrices())
def test_expected_turns_are_aligned_with_turns(drawn: tuple[Any, list[int], list[int]]) -> None:
    matrix, row_sizes, column_sizes = drawn
    row_ends, column_ends = list(accumulate(row_sizes, initial=0)), list(accumulate(column_sizes, initial=0))

    def best(row: int, column: int) -> int:
        if row == len(row_sizes) or column == len(column_sizes):
            return 0
        block = matrix[row_ends[row] : row_ends[row + 1], column_ends[column] : column_ends[column + 1]]
        together = most_pairs(block) + best(row + 1, column + 1)
        return max(together, best(row + 1, column), best(row, column + 1))

    assert check_pairs(matrix, pair_turns(matrix, row_sizes, column_sizes)) == best(0, 0)


def measure(
    expected: list[tuple[str, Any]], turns: list[list[tuple[str, Any]]], **rules: Any
) -> dict[str, float]:
    steps = [Step(role="assistant", text="x")]
    for turn in turns:
        uses = tuple(ToolUse(name=name, arguments={"n": value}) for name, value in turn)
        steps.append(Step(role="assistant", tool_calls=uses))
    with collect() as measurements:
        assert_tool_calls(
            Trajectory(steps=tuple(steps)),
            [call(name, n=value) for name, value in expected],
            never=["none"],
            **rules,
        )
    return {item.name: item.value for item in measurements if item.value is not None}


@given(
    st.lists(CALLS, max_size=5),
    TURNS,
    st.sampled_from(["strict", "turns", "any"]),
    st.sampled_from(["forbid", "allow"]),
    st.sampled_from(["forbid", "allow"]),
)
def test_the_verdict_is_recall_and_precision(
    expected: list[Any], turns: list[Any], order: str, extra: str, missing: str
) -> None:
    values = measure(expected, turns, order=order, extra=extra, missing=missing)
    # Neither is recorded if no call is expected and all are allowed.
    recall, precision = values.get("tools.recall", 1), values.get("tools.precision", 1)
    passes = (missing == "allow" or recall == 1) and (extra == "allow" or precision == 1)
    assert values["tools.calls"] == passes
    assert 0 <= recall <= 1
    assert 0 <= precision <= 1


@pytest.mark.slow
@given(st.lists(CALLS, max_size=5), TURNS, st.randoms(use_true_random=False))
def test_any_order_counts_calls_whatever_their_order(
    expected: list[Any], turns: list[Any], random: Any
) -> None:
    values = measure(expected, turns, order="any")
    made = [item for turn in turns for item in turn]
    shuffled = random.sample(made, len(made))
    assert (
        measure(random.sample(expected, len(expected)), [[item] for item in shuffled], order="any") == values
    )
    counts = [Counter((name, json.dumps(value)) for name, value in items) for items in (expected, made)]
    assert values["tools.calls"] == (counts[0] == counts[1])
    assert measure(expected, turns, order="turns")["tools.calls"] <= values["tools.calls"]
    assert measure(expected, turns)["tools.calls"] <= measure(expected, turns, order="turns")["tools.calls"]


@given(VALUES, VALUES)
def test_values_are_equal_if_their_keys_are(left: Any, right: Any) -> None:
    assert (not compare_value(left, right)) == (make_key(left) == make_key(right))
    assert not compare_value(left, json.loads(json.dumps(left)))


@given(st.lists(st.tuples(NAMES, st.sampled_from("12"))), st.lists(st.tuples(NAMES, st.sampled_from("12"))))
def test_edits_lead_from_the_old_steps_to_the_new(
    old: list[tuple[str, str]], new: list[tuple[str, str]]
) -> None:
    edits = align_steps(old, new)
    assert [edit.old for edit in edits if edit.old is not None] == list(range(len(old)))
    assert [edit.new for edit in edits if edit.new is not None] == list(range(len(new)))
    same = 0
    for edit in edits:
        assert (edit.old is None) == (edit.change == "inserted")
        assert (edit.new is None) == (edit.change == "dropped")
        if edit.old is not None and edit.new is not None:
            assert (old[edit.old] == new[edit.new]) == (edit.change == "same")
            assert old[edit.old][0] == new[edit.new][0]
            same += edit.change == "same"
    matrix = np.array([[left == right for right in new] for left in old], dtype=bool).reshape(
        len(old), len(new)
    )
    assert same == len(pair_in_order(matrix))
