"""Two lists of steps, aligned."""

from __future__ import annotations

from pytest_llmops._util.step_alignment import align_steps, find_common


def describe(old: str, new: str) -> list[tuple[str, int | None, int | None]]:
    """The edits of steps with a letter as name and a digit as arguments: ``a1 b2``."""
    steps = [[(step[0], step[1:]) for step in text.split()] for text in (old, new)]
    return [(edit.change, edit.old, edit.new) for edit in align_steps(*steps)]


def test_steps_are_the_same_changed_inserted_or_dropped() -> None:
    assert describe("a1 b1 c1", "a1 x1 b2 c1") == [
        ("same", 0, 0),
        ("inserted", None, 1),
        ("changed", 1, 2),
        ("same", 2, 3),
    ]
    assert describe("a1 b1", "a1 c1") == [("same", 0, 0), ("dropped", 1, None), ("inserted", None, 1)]
    assert describe("a1 a2 a3", "a2 a3") == [("dropped", 0, None), ("same", 1, 0), ("same", 2, 1)]
    assert describe("", "a1") == [("inserted", None, 0)]
    assert describe("a1", "") == [("dropped", 0, None)]
    assert describe("", "") == []


def test_every_step_has_one_edit_and_indexes_ascend() -> None:
    edits = describe("a1 b1 a2 c1 b1 a1", "b1 a1 c2 c1 a1 a2 b2")
    assert [old for _, old, _ in edits if old is not None] == list(range(6))
    assert [new for _, _, new in edits if new is not None] == list(range(7))


def test_what_is_compared_is_the_item_and_not_its_hash() -> None:
    # -1 and -2 have the same hash in Python.
    assert find_common([-1, -2], [-2, -1]) == [(0, 1)]
    assert find_common([(1, "a")], [(1, "a")]) == [(0, 0)]
