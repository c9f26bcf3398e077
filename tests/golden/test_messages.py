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


@given(st.dictionaries(MESSAGES, st.integers(1, 20)))
def test_what_is_written_is_read(stored: dict[str, int]) -> None:
    assert parse(as_text(stored)) == stored


def test_a_name_of_a_test_is_nowhere_in_the_file() -> None:
    text = messages.STORED.read_text(encoding="utf-8")
    heads = [line for line in text.splitlines()[1:] if line and not line.startswith(messages.INDENT)]
    assert {line.lstrip("0123456789") for line in heads} == {" test", " tests"}


def test_another_message_is_refused_with_the_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "STORED", tmp_path / "messages.txt")
    monkeypatch.setattr(messages, "SEEN", messages.Seen(test="test_a"))
    monkeypatch.delenv("LLMOPS_GOLDEN", raising=False)
    store({"expected a, got b": ["test_a"], "as stored": ["test_a"]}, {})
    with pytest.raises(AssertionError, match=r"-expected a, got b\n\+expected a, got c"):
        check_message("expected a, got c")
    assert check_message(ValueError("as stored"))
    with pytest.raises(AssertionError, match=r"does not have this message.*\nquite another"):
        check_message("quite another")
    with pytest.raises(AssertionError, match="got an empty text"):
        check_message(" ")


def test_a_message_that_no_test_sees_any_more_goes(tmp_path: Path) -> None:
    path = tmp_path / "messages.txt"
    store({"old": ["x"], "shared": ["x", "y"], "of a test that never ran here": ["z"]}, {}, path)
    store({"new": ["x"]}, {"old": (), "shared": ["y"]}, path)
    assert parse(path.read_text(encoding="utf-8")) == {
        "new": 1,
        "shared": 1,
        "of a test that never ran here": 1,
    }


def test_a_run_of_all_tests_compares_the_numbers() -> None:
    stored = {"a\nsecond line": 2, "b": 1, "c": 1}
    assert differences({"a\nsecond line": ["x"], "b": ["x"]}, stored) == ["2 -> 1: a", "1 -> 0: c"]


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
