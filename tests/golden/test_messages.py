"""The stored messages belong to tests that exist, and the file is read as it was written."""

from __future__ import annotations

import ast
import os
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import messages
from support.messages import as_text, check_message, parse, store

LINES = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), max_size=12)
MESSAGES = st.lists(LINES, min_size=1, max_size=4).map("\n".join).filter(str.strip)
NAMES = st.from_regex(r"\Aunit/test_[a-c]\.py::test_[a-z](\[[ -~]{0,6}\])?( #[1-9])?\Z")


@given(st.dictionaries(NAMES, MESSAGES))
def test_what_is_written_is_read(stored: dict[str, str]) -> None:
    assert parse(as_text(stored)) == stored


def test_each_message_stands_once() -> None:
    text = as_text({"b": "same", "a": "same", "c": "other"})
    assert [line.strip() for line in text.splitlines()[1:]] == ["", "a", "b", "same", "", "c", "other"]


@cache
def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_stored_message_is_of_a_test_that_exists() -> None:
    for name in messages.read_messages(messages.STORED):
        file, _, rest = name.partition("::")
        test = rest.partition("[")[0].partition(" #")[0].rpartition("::")[2]
        path = messages.TESTS / file
        assert path.is_file(), f"{name}: no such file"
        assert test in functions_of(path), f"{name}: no such test"


def test_another_message_is_refused_with_the_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "STORED", tmp_path / "messages.txt")
    test = messages.SEEN.test
    store({test: "expected a, got b", f"{test} #2": "as stored"}, [])
    with pytest.raises(AssertionError, match=r"-expected a, got b\n\+expected a, got c"):
        check_message("expected a, got c")
    assert check_message(ValueError("as stored"))
    with pytest.raises(AssertionError, match=f"no message of {test} #3"):
        check_message("a third")
    with pytest.raises(AssertionError, match="got an empty text"):
        check_message(" ")


def test_messages_of_tests_that_are_gone_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "messages.txt"
    mine, other, skipped = (f"golden/test_messages.py::test_{name}" for name in ("x[1]", "y", "z"))
    old = {mine: "one", f"{mine} #2": "two", other: "kept", skipped: "kept, too"}
    store({**old, mine.replace("1", "old"): "renamed", "unit/test_gone.py::test_a": "gone"}, [], path=path)
    store({mine: "new"}, [f"tests/{mine}"], [f"tests/{mine}", f"tests/{skipped}"], path)
    assert parse(path.read_text(encoding="utf-8")) == {mine: "new", other: "kept", skipped: "kept, too"}


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
    for shown in (below, os.path.relpath(below)):
        assert messages.normalize(f"cassette {shown}/test_a0/c.json: ../x.json") == (
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
