"""A file that is read with another text: by all of Python's ways to read, in this process and in others."""

from __future__ import annotations

import importlib.resources
import importlib.util
import inspect
import io
import linecache
import os
import shutil
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

from pytest_llmops._util.file_override import (
    LEFT_OUT_VARIABLE,
    FileOverride,
    current_override,
    install_override,
)

MODULE = '''PROMPT = "{}"


def help_me() -> str:
    """{}"""
    return PROMPT
'''


def override(tmp_path: Path, name: str, text: str, other: str, patch: pytest.MonkeyPatch) -> FileOverride:
    file = tmp_path / "project" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="")
    (tmp_path / "other").write_text(other, encoding="utf-8", newline="")
    made = FileOverride(
        file=str(file),
        other=str(tmp_path / "other"),
        root=str(tmp_path / "project"),
        cassettes=str(tmp_path / "cassettes"),
        mark=str(tmp_path / "mark"),
    )
    made.write(tmp_path / "override.json")
    patch.setenv(LEFT_OUT_VARIABLE, str(tmp_path / "override.json"))
    return made


@pytest.fixture
def prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileOverride]:
    made = override(tmp_path, "p.md", "old ä\r\n", "new ü\r\nline\n", monkeypatch)
    undo = install_override()
    yield made
    undo()


def test_all_ways_to_read_give_the_other_text(prompt: FileOverride, tmp_path: Path) -> None:
    path = Path(prompt.file)
    link = tmp_path / "link.txt"
    link.symlink_to(path)
    assert not prompt.was_read()
    assert path.read_text("utf-8") == link.read_text("utf-8") == "new ü\nline\n"
    assert prompt.was_read()
    assert path.read_bytes() == b"new \xc3\xbc\r\nline\n"
    with open(prompt.file, encoding="utf-8", newline="") as file:  # noqa: PTH123 -- what it is about
        assert file.read() == "new ü\r\nline\n"
    with open(os.fsencode(path), "rb", 0) as raw:  # noqa: PTH123
        assert raw.readline() == b"new \xc3\xbc\r\n"
    with io.open(path, encoding="latin-1") as file:  # noqa: UP020
        assert file.read(5) == "new Ã"
    assert importlib.resources.files("encodings").joinpath(path).read_text("utf-8") == "new ü\nline\n"
    shutil.copy(path, tmp_path / "copy.md")
    assert (tmp_path / "copy.md").read_text("utf-8") == "new ü\nline\n"
    shutil.copytree(path.parent, tmp_path / "tree")
    assert (tmp_path / "tree" / "p.md").read_text("utf-8") == "new ü\nline\n"


def test_writes_and_other_files_are_the_users_own(prompt: FileOverride, tmp_path: Path) -> None:
    for name in ("q.md", "p.pyc"):
        (tmp_path / name).write_text("mine")
        assert (tmp_path / name).read_text() == "mine"
    with pytest.raises(FileNotFoundError):
        (tmp_path / "missing").read_text()
    Path(prompt.file).write_text("written", encoding="utf-8")
    assert (tmp_path / "other").read_text("utf-8").startswith("new")
    install_override()()
    real = os.open(prompt.file, os.O_RDONLY)
    assert os.read(real, 99) == b"written"
    with open(real) as file:  # noqa: PTH123 -- a descriptor
        assert file.read() == ""


def test_nothing_is_patched_without_the_variable_and_all_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open, io.open, SourceFileLoader.get_data, SourceFileLoader.path_stats
    monkeypatch.delenv(LEFT_OUT_VARIABLE, raising=False)
    install_override()
    assert (open, io.open, SourceFileLoader.get_data, SourceFileLoader.path_stats) == before
    made = override(tmp_path, "p.md", "old", "new", monkeypatch)
    undo = install_override()
    patched = open
    undo()
    assert patched is not before[0]
    assert (open, io.open, SourceFileLoader.get_data, SourceFileLoader.path_stats) == before
    assert Path(made.file).read_text() == "old"
    monkeypatch.setenv(LEFT_OUT_VARIABLE, str(tmp_path / "gone.json"))
    assert current_override() is None


@pytest.mark.parametrize("content", ["", "[1]", '{"file": 1}', "[" * 100_000])
def test_a_damaged_file_of_an_override_counts_as_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    path = tmp_path / "override.json"
    path.write_text(content)
    monkeypatch.setenv(LEFT_OUT_VARIABLE, str(path))
    assert current_override() is None


def test_without_another_text_the_file_is_read_as_it_is_and_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = override(tmp_path, "p.md", "old", "new", monkeypatch)
    plain = FileOverride(file=made.file, other="", root=made.root, cassettes=made.cassettes, mark=made.mark)
    plain.write(tmp_path / "plain.json")
    monkeypatch.setenv(LEFT_OUT_VARIABLE, str(tmp_path / "plain.json"))
    undo = install_override()
    assert not plain.was_read()
    assert Path(made.file).read_text() == "old"
    undo()
    assert plain.was_read()


def test_a_module_is_imported_from_the_other_text_and_its_bytecode_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    made = override(
        tmp_path, "shop.py", MODULE.format("old", "Old."), MODULE.format("new", "New."), monkeypatch
    )
    path = Path(made.file)

    def load() -> object:
        spec = importlib.util.spec_from_file_location("shop", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    assert vars(load())["PROMPT"] == "old"
    cached = list(path.parent.rglob("*.pyc"))
    assert len(cached) == 1
    kept = cached[0].read_bytes()
    undo = install_override()
    module = load()
    assert vars(module)["PROMPT"] == "new"
    assert made.was_read()
    function = vars(module)["help_me"]
    assert function.__doc__ == "New."
    assert inspect.getsource(function).endswith('"""New."""\n    return PROMPT\n')
    loader = SourceFileLoader("shop", str(path))
    assert loader.get_source("shop") == MODULE.format("new", "New.")
    with pytest.raises(FileNotFoundError):
        cached[0].open("rb")
    for other in ("shopping.cpython-311.pyc", "shop.txt"):
        (path.parent / other).write_text("kept")
        assert (path.parent / other).read_text() == "kept"
    undo()
    assert cached[0].read_bytes() == kept
    assert vars(load())["PROMPT"] == "old"
    assert linecache.getline(str(path), 1) == 'PROMPT = "old"\n'
