"""Pair expected calls with the calls made, as many as possible: in any order, in order, or turn by turn.

All functions work on a matrix of booleans: whether expected call i (row) accepts call j (column).
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, TypeAlias

from pytest_llmops._util.arrays import NDArray, np

# Indexes of an expected call and of the call that it is paired with
Pairs: TypeAlias = list[tuple[int, int]]
Matrix: TypeAlias = "NDArray[Any]"


def pair_in_any_order(matrix: Matrix) -> Pairs:
    """Return a maximum bipartite matching."""
    if not matrix.any():
        return []
    if matrix.shape == (1, 1):
        return [(0, 0)]
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching

    columns = maximum_bipartite_matching(csr_matrix(matrix), perm_type="column")
    return [(row, int(column)) for row, column in enumerate(columns) if column >= 0]


def pair_in_order(weights: Matrix) -> Pairs:
    """Return pairs that do not cross and whose weights have the largest sum; for booleans as many pairs as possible."""
    if weights.shape[0] < weights.shape[1]:
        # An agent that never stops makes many calls where few are expected: the loop below is over the columns.
        return [(row, column) for column, row in pair_in_order(weights.T)]
    rows = np.zeros((weights.shape[1] + 1, weights.shape[0] + 1), dtype=np.int32)
    # rows[j, i]: the best sum of the first j columns and the first i rows of the matrix
    for column in range(weights.shape[1]):
        previous = rows[column]
        with_pair = previous[:-1] + weights[:, column]
        rows[column + 1, 1:] = np.maximum.accumulate(np.maximum(previous[1:], with_pair))
    pairs = []
    column, row = weights.shape[1], weights.shape[0]
    while column and row:
        best = rows[column, row]
        if best == rows[column - 1, row]:
            column -= 1
        elif best == rows[column, row - 1]:
            row -= 1
        else:
            column -= 1
            row -= 1
            pairs.append((row, column))
    pairs.reverse()
    return pairs


def pair_turns(matrix: Matrix, expected_sizes: Sequence[int], made_sizes: Sequence[int]) -> Pairs:
    """Return pairs between turns in their order: an expected turn is paired with one turn, and its calls in any order.

    Args:
        matrix: Calls of all turns.
        expected_sizes: Number of calls of each expected turn, none of them 0.
        made_sizes: Number of calls of each turn, none of them 0.
    """
    if not expected_sizes or not made_sizes:
        return []
    row_starts = list(accumulate(expected_sizes, initial=0))
    column_starts = list(accumulate(made_sizes, initial=0))
    # How many rows and columns of each block of two turns are not empty
    by_turn = np.logical_or.reduceat(matrix, column_starts[:-1], axis=1).astype(np.int32)
    rows = np.add.reduceat(by_turn, row_starts[:-1], axis=0)
    by_expected_turn = np.logical_or.reduceat(matrix, row_starts[:-1], axis=0).astype(np.int32)
    columns = np.add.reduceat(by_expected_turn, column_starts[:-1], axis=1)
    weights = np.minimum(rows, columns)

    def pair_blocks(expected_turn: int, made_turn: int) -> Pairs:
        row, column = row_starts[expected_turn], column_starts[made_turn]
        block = matrix[row : row_starts[expected_turn + 1], column : column_starts[made_turn + 1]]
        return [(row + i, column + j) for i, j in pair_in_any_order(block)]

    # By König's theorem so many can be paired if that is at most two.
    for expected_turn, made_turn in np.argwhere(weights > 2):  # noqa: PLR2004
        weights[expected_turn, made_turn] = len(pair_blocks(expected_turn, made_turn))
    pairs = []
    for expected_turn, made_turn in pair_in_order(weights):
        pairs += pair_blocks(expected_turn, made_turn)
    return pairs


def pair_with_turns(matrix: Matrix, made_sizes: Sequence[int]) -> Pairs:
    """Return pairs in the order of the expected calls, where the calls of a turn may have been made in any order.

    Args:
        matrix: All calls.
        made_sizes: Number of calls of each turn, none of them 0.
    """
    if all(size == 1 for size in made_sizes):
        return pair_in_order(matrix)
    # Turns at both ends that are as expected are part of a best result, and the search between them is slow.
    head = _pair_leading_turns(matrix, made_sizes)
    first = len(head)
    head_turns = _count_turns(made_sizes, first)
    rest = matrix[first:, first:]
    rest_sizes = made_sizes[head_turns:]
    tail = [
        (rest.shape[0] - 1 - row, rest.shape[1] - 1 - column)
        for row, column in _pair_leading_turns(rest[::-1, ::-1], rest_sizes[::-1])
    ]
    middle_sizes = rest_sizes[: len(rest_sizes) - _count_turns(rest_sizes[::-1], len(tail))]
    middle = _pair_windows(rest[: rest.shape[0] - len(tail)], middle_sizes)
    return head + [(first + row, first + column) for row, column in sorted(middle + tail)]


def _pair_leading_turns(matrix: Matrix, sizes: Sequence[int]) -> Pairs:
    """Return the pairs of the first turns, as long as all calls of a turn are the next expected ones."""
    pairs: Pairs = []
    for size in sizes:
        start = len(pairs)
        block = matrix[start : start + size, start : start + size]
        block_pairs = pair_in_any_order(block)
        if len(block_pairs) < size:
            break
        pairs += [(start + row, start + column) for row, column in block_pairs]
    return pairs


def _count_turns(sizes: Sequence[int], calls: int) -> int:
    """Return how many turns, from the first, have this number of calls together."""
    return list(accumulate(sizes, initial=0)).index(calls)


def _pair_windows(matrix: Matrix, sizes: Sequence[int]) -> Pairs:
    """Return pairs where each turn is paired with some of the expected calls after the ones of the turns before it."""
    turns = list(pairwise(accumulate(sizes, initial=0)))
    # best[turn][row]: the most pairs of the turns before this one with the first expected calls
    best = [np.zeros(matrix.shape[0] + 1, dtype=np.int32)]
    for first, end in turns:
        counts = best[-1].copy()
        for start, stop, owners in _iterate_windows(matrix[:, first:end], best[-1]):
            counts[stop] = max(counts[stop], best[-1][start] + len(owners))
        best.append(np.maximum.accumulate(counts))
    pairs: Pairs = []
    row = matrix.shape[0]
    for turn in reversed(range(len(turns))):
        if best[turn + 1][row] == best[turn][row]:
            continue
        first, end = turns[turn]
        for start, _, owners in _iterate_windows(matrix[:row, first:end], best[turn]):
            if best[turn][start] + len(owners) == best[turn + 1][row]:
                pairs += [(owner, first + column) for column, owner in owners.items()]
                row = start
                break
    return pairs


def _iterate_windows(block: Matrix, before: Matrix) -> Iterator[tuple[int, int, dict[int, int]]]:
    """Yield the shortest windows of expected calls with which more and more calls of a turn can be paired.

    Args:
        block: Which expected calls accept which calls of the turn.
        before: The most pairs of the turns before, for each number of expected calls.

    Yields:
        First row of a window, the row after its last, and the row of each paired column. The mapping changes later.
    """
    choices = []
    for index in np.flatnonzero(block.any(axis=1)):
        choices.append((int(index), tuple(int(column) for column in np.flatnonzero(block[index]))))
    choices_of_row = dict(choices)
    most = int(block.any(axis=0).sum())
    # Of several starts with the same number of pairs before, the first has the most to choose from.
    increases = np.flatnonzero(np.diff(before[: block.shape[0] + 1]))
    starts = [0, *(int(place) + 1 for place in increases)]
    for start in starts:
        owners: dict[int, int] = {}
        # Once a row cannot be added, no row with the same choices can.
        spent: set[tuple[int, ...]] = set()
        for row, columns in choices[bisect_left(choices, (start,)) :]:
            if columns in spent:
                continue
            if not _add_row(row, choices_of_row, owners):
                spent.add(columns)
                continue
            yield start, row + 1, owners
            if len(owners) == most:
                break


def _add_row(row: int, choices: Mapping[int, Sequence[int]], owners: dict[int, int]) -> bool:
    """Pair one more row with a column, moving others where necessary; return False if that is not possible."""
    came_from: dict[int, int] = {}  # column -> the row that would take it
    waiting = [row]
    while waiting:
        current = waiting.pop()
        for column in choices[current]:
            if column in came_from:
                continue
            came_from[column] = current
            if column in owners:
                waiting.append(owners[column])
                continue
            _move_along(column, row, came_from, owners)
            return True
    return False


def _move_along(column: int, row: int, came_from: Mapping[int, int], owners: dict[int, int]) -> None:
    """Give a free column to the row that reached it, and the column of that row to the row before, back to the first row."""
    held = {owner: owned for owned, owner in owners.items()}
    while True:
        owner = came_from[column]
        owners[column] = owner
        if owner == row:
            return
        column = held[owner]
