"""Laws of values that know their lines: a structure of any form is read back, each part at the line where it was written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.imports.located_values import (
    LocatedList,
    LocatedMap,
    read_located_json,
    read_located_json_lines,
)
from pytest_llmops.imports.located_yaml import read_located_yaml

FILE = "config.yaml"
# The reader of YAML does not join the two escapes of a character beyond these.
texts = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=6)
scalars = st.none() | st.booleans() | st.integers(-999, 999) | st.sampled_from([0.5, -2.25]) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


class Writer:
    """Writes a value as block YAML, and remembers the line of each key and item as `lines`, in the order of writing."""

    def __init__(self, gaps: list[int]) -> None:
        self.text: list[str] = []
        self.lines: list[int] = []
        self.gaps = gaps

    def write(self, value: Any, indent: int = 0) -> None:
        rows = [f"{json.dumps(key)}:" for key in value]
        items = list(value.values()) if isinstance(value, dict) else value
        if isinstance(value, list):
            rows = ["-"] * len(value)
        for row, item in zip(rows, items, strict=True):
            if self.gaps and self.gaps[len(self.lines) % len(self.gaps)]:
                self.text += ["", f"{' ' * indent}# a comment"]
            is_block = isinstance(item, dict | list) and bool(item)
            self.text.append(" " * indent + row + ("" if is_block else f" {json.dumps(item)}"))
            self.lines.append(len(self.text))
            if is_block:
                self.write(item, indent + 2)


def lines_of(value: Any) -> list[int]:
    """The lines of all keys and items, in the order of the text; the line of a mapping in a list is that of its item."""
    found: list[int] = []
    if isinstance(value, LocatedMap):
        for key, child in value.items():
            found += [value.places[key].line, *lines_of(child)]
    if isinstance(value, LocatedList):
        for place, child in zip(value.places, value, strict=True):
            found += [place.line, *lines_of(child)]
    return found


@pytest.mark.slow
@given(st.dictionaries(texts, values, min_size=1, max_size=4), st.lists(st.integers(0, 1), max_size=3))
def test_each_key_of_a_yaml_file_has_its_line(value: dict[str, Any], gaps: list[int]) -> None:
    writer = Writer(gaps)
    writer.write(value)
    read = read_located_yaml("\n".join(writer.text), FILE)
    assert read == value
    check_lines(read, iter(writer.lines))


def check_lines(value: Any, written: Iterator[int]) -> None:
    """Compare lines: those of keys are exact, an item that is a block begins below its dash."""
    if isinstance(value, LocatedMap):
        for key, child in value.items():
            assert value.places[key].line == next(written)
            check_lines(child, written)
    if isinstance(value, LocatedList):
        for place, child in zip(value.places, value, strict=True):
            dash = next(written)
            is_block = isinstance(child, dict | list) and bool(child)
            assert place.line > dash if is_block else place.line == dash
            check_lines(child, written)


@pytest.mark.slow
@given(st.lists(values, max_size=4) | st.dictionaries(texts, values, max_size=4), st.sampled_from([None, 1]))
def test_json_is_read_alike_by_both_readers(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    by_json, by_yaml = read_located_json(text, FILE), read_located_yaml(text, FILE)
    assert by_json == by_yaml == value
    assert lines_of(by_json) == lines_of(by_yaml)


@pytest.mark.slow
@given(st.lists(values, max_size=4), st.lists(st.integers(0, 2), min_size=4, max_size=4))
def test_each_of_json_lines_has_its_line(rows: list[Any], gaps: list[int]) -> None:
    lines: list[str] = []
    expected: list[int] = []
    for row, gap in zip(rows, gaps, strict=False):
        lines += [""] * gap + [json.dumps(row)]
        expected.append(len(lines))
    read = read_located_json_lines("\n".join(lines), "tests.jsonl")
    assert read == rows
    assert [place.line for place in read.places] == expected


@given(
    st.lists(
        st.sampled_from(
            [*"ab:-{}[]&*!|>'\"#?,\n ", "<<", "&a ", "*a ", "- ", ": ", "\n  ", "1", "~", "{{ x }}"]
        ),
        max_size=30,
    )
)
def test_no_text_breaks_a_reader(parts: list[str]) -> None:
    text = "".join(parts)
    for read in (read_located_yaml, read_located_json, read_located_json_lines):
        with suppress(BadFile):
            read(text, FILE)
