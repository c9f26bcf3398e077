"""Files whose tests take many seconds are started first."""

from pathlib import Path

from support.order import DEAR_FILES, put_dear_first

ROOT = Path(__file__).parents[2]


def test_each_dear_file_is_there() -> None:
    assert [name for name in DEAR_FILES if not (ROOT / name).is_file()] == []


def test_tests_of_dear_files_come_first_and_the_others_keep_their_order() -> None:
    dear = DEAR_FILES[0]
    nodeids = ["tests/b.py::test_z", f"{dear}::test_b", "tests/a.py::test_y", f"{dear}::test_a"]
    assert put_dear_first(nodeids) == [1, 3, 0, 2]
