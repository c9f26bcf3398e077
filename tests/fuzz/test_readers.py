"""Each reader bears a few damaged files, and no module that reads files is forgotten. ``make fuzz`` tries many more."""

from __future__ import annotations

import ast
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from fuzz.inputs import find_failure, make_input
from fuzz.readers import NOT_FUZZED, READERS, Reader

PACKAGE = Path(__file__).parents[2] / "pytest_llmops"
SEED = 2
FILES = 12  # of each reader
# Functions and methods that read a file; `decompress` and the parsers only see what one of these has read
READING = {
    "open", "read_text", "read_bytes", "stream_lines", "read_rows", "load_document", "ParquetFile", "open_stream", "ZipFile", "validate_json"
}  # fmt: skip


@pytest.fixture(params=READERS, ids=lambda reader: reader.name)
def reader(request: pytest.FixtureRequest) -> Reader:
    found: Reader = request.param
    if found.needs and find_spec(found.needs) is None:
        pytest.skip(f"{found.needs} is not installed")
    return found


def test_a_real_file_is_read_and_reads_the_same_once_it_was_written(reader: Reader, tmp_path: Path) -> None:
    strict = replace(reader, errors=())
    for number, sample in enumerate(reader.samples()):
        assert find_failure(strict, sample, tmp_path / str(number)) == ""


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_a_damaged_file_ends_in_an_error_of_the_package(reader: Reader, tmp_path: Path) -> None:
    failures = {}
    for number in range(FILES):
        why = find_failure(reader, make_input(reader, SEED, number), tmp_path / str(number))
        if why:
            failures[f"python tests/fuzz/run.py --reader {reader.name} --seed {SEED} --number {number}"] = why
    assert failures == {}


def list_reading_modules() -> set[str]:
    """Return the modules of the package that call a function that reads files, as paths without ``.py``."""
    modules = set()
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        if not any(f"{name}(" in source for name in READING):
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and _called_name(node.func) in READING:
                modules.add(path.relative_to(PACKAGE).with_suffix("").as_posix())
    return modules


def _called_name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    if isinstance(function, ast.Name):
        return function.id
    return ""


def test_every_module_that_reads_files_is_fuzzed_or_has_a_reason_not_to_be() -> None:
    covered = {module for reader in READERS for module in reader.covers}
    assert list_reading_modules() - covered == set(NOT_FUZZED)
    assert {
        module for module in covered | set(NOT_FUZZED) if not (PACKAGE / f"{module}.py").exists()
    } == set()
    assert all(NOT_FUZZED.values())


def raises(path: Path) -> object:
    raise ValueError(path.read_bytes())


def test_an_error_that_is_not_of_the_package_is_found(tmp_path: Path) -> None:
    reader = replace(READERS[0], read=raises)
    assert "raises ValueError" in find_failure(reader, b"x", tmp_path)
    assert find_failure(replace(reader, errors=(ValueError,), named="x"), b"x", tmp_path / "a") == ""
    assert "does not name y" in find_failure(
        replace(reader, errors=(ValueError,), named="y"), b"x", tmp_path / "b"
    )


def recur(path: Path) -> object:
    return recur(path)


def test_the_traceback_of_a_recursion_is_cut(tmp_path: Path) -> None:
    why = find_failure(replace(READERS[0], read=recur), b"x", tmp_path)
    assert "RecursionError" in why.splitlines()[-1]
    assert len(why.splitlines()) < 100


def test_a_value_that_reads_otherwise_once_it_was_written_is_found(tmp_path: Path) -> None:
    reader = replace(READERS[0], read=Path.read_bytes, write=lambda content: content + b"!")
    assert "reads otherwise" in find_failure(reader, b"x", tmp_path)


def test_an_input_is_the_same_for_the_same_seed() -> None:
    inputs = [make_input(READERS[0], SEED, number) for number in range(20)]
    assert inputs == [make_input(READERS[0], SEED, number) for number in range(20)]
    assert inputs != [make_input(READERS[0], SEED + 1, number) for number in range(20)]
