"""What is written is read again, and nothing but its own error comes out of a reader."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import scale_examples

from pytest_llmops._util.option_values import CASE_KEYS
from pytest_llmops.cases.files import Case, load_cases, sample
from pytest_llmops.errors import CaseError, CorpusError
from pytest_llmops.protocols import Chunk
from pytest_llmops.retrievers.bm25 import load_corpus

characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, max_size=20)
names = st.text(
    st.characters(categories=["L", "N", "P", "S"], exclude_characters="[]:\\"), min_size=1, max_size=8
)
numbers = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
tags = st.lists(names.filter(lambda name: not set(name) & set(";|")), unique=True, max_size=3).map(tuple)
cases = st.builds(
    Case,
    id=names,
    input=values.filter(lambda value: value is not None),
    reference=texts,
    tags=tags,
    family=texts,
    data=st.dictionaries(texts.filter(lambda key: key not in CASE_KEYS), values, max_size=3),
)
suites = st.lists(cases, min_size=1, max_size=4, unique_by=lambda case: case.id)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cases")


def as_row(case: Case) -> dict[str, Any]:
    row = {"id": case.id, "input": case.input, "reference": case.reference, "tags": list(case.tags)}
    return {**row, "family": case.family, **case.data}


@pytest.mark.slow
@given(suite=suites, ascii_only=st.booleans(), line_end=st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_jsonl_round_trip(folder: Path, suite: list[Case], ascii_only: bool, line_end: str) -> None:
    lines = [json.dumps(as_row(case), ensure_ascii=ascii_only) for case in suite]
    path = folder / "c.jsonl"
    path.write_bytes(line_end.join(lines).encode())
    assert list(load_cases(path)) == suite


@pytest.mark.slow
@given(suite=suites)
def test_yaml_round_trip(folder: Path, suite: list[Case]) -> None:
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump([as_row(case) for case in suite]), encoding="utf-8")
    assert list(load_cases(path)) == suite


# A text file has one kind of line end: \r within a value comes back as \n.
cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=20)


@pytest.mark.slow
@given(
    rows=st.lists(
        st.tuples(names, cells, cells, tags, cells), min_size=1, max_size=5, unique_by=lambda row: row[0]
    ),
    mark=st.sampled_from([";", "|", " ; "]),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_csv_round_trip(
    folder: Path, rows: list[tuple[str, str, str, tuple[str, ...], str]], mark: str, line_end: str
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=line_end)
    writer.writerow(["id", "input", "reference", "tags", "note"])
    writer.writerows(
        [id_, question, answer, mark.join(marks), note] for id_, question, answer, marks, note in rows
    )
    path = folder / "c.csv"
    path.write_bytes(out.getvalue().encode())
    assert list(load_cases(path)) == [
        Case(id=id_, input=question, reference=answer, tags=marks, data={"note": note})
        for id_, question, answer, marks, note in rows
    ]


pieces = st.sampled_from(
    ["- ", "id", ": ", "a", "input", "\n", "  ", "{", "}", "[", "]", '"', "'", ",", "&x ", "*x", "!!int ", "!!set ", "<<", "?",
     "|", ">", "#", "---", "...", "\t", "1", "null", "~", "2024-01-01", ".nan", "%YAML 1.1", "\\ud800", "tags", "=", "\u2028"]
)  # fmt: skip
likely = st.lists(pieces, max_size=30).map("".join).map(str.encode)
anything = (
    st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")) | likely
)


def read_cases(path: Path) -> tuple[Case, ...] | CaseError:
    try:
        return load_cases(path)
    except CaseError as error:
        return error


def read_corpus(path: Path) -> tuple[Chunk, ...] | CorpusError:
    try:
        return load_corpus(path)
    except CorpusError as error:
        return error


@pytest.mark.slow
@pytest.mark.parametrize("name", ["any.jsonl", "any.yaml", "any.csv"])
@scale_examples(3)
@given(content=anything)
def test_a_reader_of_cases_raises_nothing_but_its_own_error(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.write_bytes(content)
    result = read_cases(path)
    if isinstance(result, CaseError):
        assert len(str(result).splitlines()) == 1
        assert str(path) in str(result)
        assert result.line is None or 1 <= result.line <= content.count(b"\n") + content.count(b"\r") + 1
    else:
        assert all(case.fingerprint for case in result)


@given(content=anything)
def test_a_reader_of_a_corpus_raises_nothing_but_its_own_error(folder: Path, content: bytes) -> None:
    path = folder / "any_corpus.jsonl"
    path.write_bytes(content)
    corpus = read_corpus(path)
    assert str(path) in str(corpus) if isinstance(corpus, CorpusError) else corpus


@pytest.mark.slow
@given(suite=suites, n=st.integers(1, 8), seed=st.integers())
def test_a_sample_is_a_part_in_order_that_grows_with_n(suite: list[Case], n: int, seed: int) -> None:
    drawn = sample(suite, n, seed)
    assert len(drawn) == min(n, len(suite))
    assert list(drawn) == [case for case in suite if case in drawn]
    assert set(drawn) <= set(sample(suite, n + 1, seed))
