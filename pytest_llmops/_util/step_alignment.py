"""How two lists of steps differ, such as the tool calls of two runs: which are the same, changed, inserted or dropped."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Change: TypeAlias = Literal["same", "changed", "inserted", "dropped"]


@dataclass(frozen=True, slots=True)
class StepEdit:
    """A step of the old list, of the new one, or of both.

    Attributes:
        change: ``same``; ``changed`` (the same name, other arguments); ``inserted`` (only new); ``dropped`` (only old).
        old: Index in the old list; None if it was inserted.
        new: Index in the new list; None if it was dropped.
    """

    change: Change
    old: int | None
    new: int | None


def align_steps(old: Sequence[tuple[str, str]], new: Sequence[tuple[str, str]]) -> list[StepEdit]:
    """Align two lists of steps, each a name and the text of its arguments, and return their edits in order.

    As many steps as possible are the same. Between those, steps of the same name are changed. A step whose name has changed is
    dropped and inserted. Empty lists have no edits.

    >>> edits = align_steps([("find", "a"), ("refund", "20")], [("find", "a"), ("ask", ""), ("refund", "200")])
    >>> [(edit.change, edit.old, edit.new) for edit in edits]
    [('same', 0, 0), ('inserted', None, 1), ('changed', 1, 2)]
    """
    edits = []
    old_start = 0
    new_start = 0
    # The end of both lists closes the last gap.
    for old_index, new_index in [*find_common(old, new), (len(old), len(new))]:
        edits += _align_gap(old, new, (old_start, old_index), (new_start, new_index))
        if old_index < len(old):
            edits.append(StepEdit("same", old_index, new_index))
        old_start = old_index + 1
        new_start = new_index + 1
    return edits


def _align_gap(
    old: Sequence[tuple[str, str]],
    new: Sequence[tuple[str, str]],
    old_range: tuple[int, int],
    new_range: tuple[int, int],
) -> list[StepEdit]:
    """Return the edits of steps that are not the same, by their names."""
    old_names = [name for name, _ in old[slice(*old_range)]]
    new_names = [name for name, _ in new[slice(*new_range)]]
    edits = []
    old_index, new_index = old_range[0], new_range[0]
    for old_offset, new_offset in [*find_common(old_names, new_names), (len(old_names), len(new_names))]:
        edits += [StepEdit("dropped", index, None) for index in range(old_index, old_range[0] + old_offset)]
        edits += [StepEdit("inserted", None, index) for index in range(new_index, new_range[0] + new_offset)]
        old_index = old_range[0] + old_offset
        new_index = new_range[0] + new_offset
        if old_offset < len(old_names):
            edits.append(StepEdit("changed", old_index, new_index))
        old_index += 1
        new_index += 1
    return edits


def find_common(old: Sequence[Hashable], new: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Return the indexes of a longest common subsequence of two sequences.

    >>> find_common("abc", "xbyc")
    [(1, 1), (2, 3)]
    """
    if not old or not new:
        return []
    from rapidfuzz.distance import LCSseq

    numbers: dict[Hashable, int] = {}
    old_numbers = [numbers.setdefault(item, len(numbers)) for item in old]
    new_numbers = [numbers.setdefault(item, len(numbers)) for item in new]
    common: list[tuple[int, int]] = []
    for block in LCSseq.opcodes(old_numbers, new_numbers):
        if block.tag == "equal":
            common += zip(
                range(block.src_start, block.src_end), range(block.dest_start, block.dest_end), strict=True
            )
    return common
