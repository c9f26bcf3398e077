"""Files of others: YAML whose aliases explode, and CSV with fields of any length."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.messages import check_message

from pytest_llmops._util.text_files import BadFile, read_csv, read_yaml
from pytest_llmops.cases import files
from pytest_llmops.errors import CaseError, CassetteError
from pytest_llmops.prompts.prompt_file import read_front_matter
from pytest_llmops.wire.untrusted_documents import load_document

LEVELS = 40


def laughs(*, mapping: bool) -> str:
    """A list in which each level holds the one before it nine times: 9 ** 40 values."""
    name = "{{x: {0}, y: {0}}}" if mapping else "[{0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}]"
    lines = [f"a{n}: &a{n} {name.format(f'*a{n - 1}') if n else '[lol]'}" for n in range(LEVELS)]
    return "\n".join(lines)


def repeated() -> str:
    """A long text that is named a thousand times."""
    return f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 1000)}]"


BOMBS = {
    "lists": laughs(mapping=False),
    "mappings": laughs(mapping=True),
    "a long text": repeated(),
    "merge keys": "\n".join(f"m{n}: &m{n} {{k{n}: 1" + (f", <<: [{', '.join([f'*m{n - 1}'] * 9)}]" if n else "") + "}" for n in range(LEVELS)),
    "itself": "a: &a [*a]",
}  # fmt: skip


def as_cases(path: Path, text: str) -> object:
    indented = text.replace("\n", "\n  ")
    path.write_text(f"- id: x\n  input: y\n  {indented}\n", encoding="utf-8")
    return files.load_cases(path)


def as_cassette(path: Path, text: str) -> object:
    path.write_text(text, encoding="utf-8")
    return load_document(path)


def as_front_matter(_: Path, text: str) -> object:
    return read_front_matter(text)


@pytest.mark.slow
@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize(
    ("read", "error"), [(as_cases, CaseError), (as_cassette, CassetteError), (as_front_matter, BadFile)]
)
def test_aliases_that_explode_are_refused_at_once(
    tmp_path: Path, read: Callable[[Path, str], object], error: type[Exception], bomb: str
) -> None:
    began = time.process_time()
    with pytest.raises(error):
        read(tmp_path / "file.yaml", BOMBS[bomb])
    assert time.process_time() - began < 5


def test_a_few_aliases_are_expanded() -> None:
    value, _ = read_yaml("a: &a [1, 2]\nb: *a\nc: {d: *a}")
    assert value == {"a": [1, 2], "b": [1, 2], "c": {"d": [1, 2]}}
    with pytest.raises(BadFile) as caught:
        read_yaml(BOMBS["lists"])
    check_message(caught.value)


@pytest.mark.parametrize("size", [131_073, 1_000_000])
def test_a_field_of_csv_may_be_long(tmp_path: Path, size: int) -> None:
    import csv

    limit = csv.field_size_limit()
    path = tmp_path / "cases.csv"
    path.write_text(f'id,input\nlong,"{"x" * size}"\n', encoding="utf-8")
    (case,) = files.load_cases(path)
    assert len(str(case.input)) == size
    assert csv.field_size_limit() == limit


def test_broken_csv_gives_the_line_where_the_record_starts() -> None:
    with pytest.raises(BadFile) as caught:
        list(read_csv('a,b\n1,2\n"x\ny'))
    assert caught.value.line == 3
