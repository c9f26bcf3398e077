"""The stored messages are read as they were written, and compared with what tests see."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import messages
from support.messages import as_text, check_message, differences, parse, store

LINES = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), max_size=12)
MESSAGES = st.lists(LINES, min_size=1, max_size=4).map("\n".join).filter(str.strip)


@pytest.mark.slow
@given(st.dictionaries(MESSAGES, st.integers(1, 20)))
def test_what_is_written_is_read(counts: dict[str, int]) -> None:
    assert parse(as_text(counts)) == counts


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", sorted(messages.STORED.rglob("*.txt")), ids=lambda path: str(path.relative_to(messages.STORED))
)
def test_each_file_is_of_a_test_file_and_names_no_test(path: Path) -> None:
    source = messages.TESTS / path.relative_to(messages.STORED).with_suffix(".py")
    assert source.is_file(), f"{path.name}: its test file is gone; delete it"
    text = path.read_text(encoding="utf-8")
    heads = [line for line in text.splitlines()[1:] if line and not line.startswith(messages.INDENT)]
    assert {line.lstrip("0123456789") for line in heads} <= {" test", " tests"}
    assert as_text(parse(text)) == text


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of stored messages of its own."""
    monkeypatch.setattr(messages, "STORED", tmp_path)
    return tmp_path


def test_another_message_is_refused_with_the_difference(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "SEEN", messages.Seen(test="tests/unit/test_a.py::test_a"))
    monkeypatch.delenv("LLMOPS_GOLDEN", raising=False)
    test, elsewhere = ["tests/unit/test_a.py::test_a"], ["tests/unit/test_b.py::test_a"]
    store({"expected a, got b": test, "as stored": test, "of another file": elsewhere}, [])
    with pytest.raises(AssertionError, match=r"-expected a, got b\n\+expected a, got c"):
        check_message("expected a, got c")
    assert check_message(ValueError("as stored"))
    with pytest.raises(AssertionError, match=r"unit/test_a.txt does not have this message.*\nof another"):
        check_message("of another file")
    with pytest.raises(AssertionError, match="got an empty text"):
        check_message(" ")


def test_a_file_that_ran_whole_keeps_what_it_sees_now(stored: Path) -> None:
    store({"old": ["tests/a.py::x"], "shared": ["tests/a.py::x", "tests/a.py::y"]}, [])
    store({"other": ["tests/b.py::x"]}, [])
    store({"shared": ["tests/a.py::y"], "new": ["tests/a.py::x"]}, ["tests/a.py"])
    assert messages.read_messages(stored / "a.txt") == {"new": 1, "shared": 1}
    assert messages.read_messages(stored / "b.txt") == {"other": 1}


def test_a_file_of_which_some_tests_ran_loses_nothing(stored: Path) -> None:
    store({"old": ["tests/a.py::x"], "shared": ["tests/a.py::x", "tests/a.py::y"]}, ["tests/a.py"])
    store({"shared": ["tests/a.py::y"], "new": ["tests/a.py::x"]}, [])
    assert messages.read_messages(stored / "a.txt") == {"new": 1, "old": 1, "shared": 2}


def test_a_file_that_sees_no_message_any_more_has_none_stored(stored: Path) -> None:
    store({"old": ["tests/unit/a.py::x"]}, [])
    store({}, ["tests/unit/a.py"])
    assert not (stored / "unit" / "a.txt").exists()


def test_the_numbers_of_files_that_ran_whole_are_compared(stored: Path) -> None:
    both = ["tests/a.py::x", "tests/a.py::y"]
    store({"a\nsecond line": both, "b": both[:1], "c": both[:1], "of b": ["tests/b.py::x"]}, [])
    seen = {"a\nsecond line": both[:1], "b": both[1:]}
    assert differences(seen, ["tests/a.py"]) == ["tests/a.py: 2 -> 1: a", "tests/a.py: 1 -> 0: c"]
    assert differences(seen, []) == []


def test_what_differs_between_machines_is_replaced(tmp_path: Path) -> None:
    text = messages.normalize(
        f"{tmp_path}/a.json: http://127.0.0.1:54321/v1 at 0x7f00aa11bb test_messages.py:7\x1b"
    )
    assert text == "<tmp>/a.json: http://127.0.0.1:<port>/v1 at <address> test_messages.py:<line>\\x1b"


@pytest.mark.parametrize("folder", ["..", "."])
def test_the_place_of_the_temporary_folder_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    below = tmp_path / "a (1)" / "b"
    monkeypatch.setattr(messages.SEEN, "basetemp", str(below))
    below.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / folder)
    for spelling in (below, os.path.relpath(below)):
        assert messages.normalize(f"cassette {spelling}/test_a0/c.json: ../x.json") == (
            "cassette <tmp>/c.json: ../x.json"
        )
    monkeypatch.chdir(Path(__file__).parent)
    assert messages.normalize(f"cassette {os.path.relpath(below)}/test_a0/c.json") == "cassette <tmp>/c.json"


@pytest.mark.parametrize(
    "texts",
    [
        ("usage: a [-h]\n         FILE\na: error: no file\n", "usage: a [-h] FILE\na: error: no file\n"),
        ("not read (plugin.py:12); try again", "not read (plugin.py:345); try again"),
        ("got 1.9999998807907104", "got 2.0"),
        (
            "Can't instantiate abstract class Sized with abstract method __len__ (a.py:1)",
            "Can't instantiate abstract class Sized without an implementation for abstract method '__len__' (a.py:1)",
        ),
        ("invalid choice: 'x' (choose from 'a', 'b')", "invalid choice: 'x' (choose from a, b)"),
        (
            "json: maximum recursion depth exceeded while decoding a JSON array; run again",
            "json: Stack overflow (used 8000 kB) while decoding a JSON array; run again",
        ),
        ("month must be in 1..12 @ a.yaml:2", "month must be in 1..12, not 13 @ a.yaml:2"),
        (
            "f() got an unexpected keyword argument 'temprature'",
            "f() got an unexpected keyword argument 'temprature'. Did you mean 'temperature'?",
        ),
    ],
)
def test_what_differs_between_versions_of_python_and_terminals_is_replaced(texts: tuple[str, str]) -> None:
    first, second = map(messages.normalize, texts)
    assert first == second
