"""Tests of promptfoo in CSV. What is expected was measured with promptfoo 0.123.1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.imports.promptfoo.csv_tests import read_csv_tests, read_expected, split_items
from pytest_llmops.imports.source_files import LocatedMap
from pytest_llmops.imports.suite import Place, SuiteError
from pytest_llmops.measurement import Json


def read(text: str) -> list[LocatedMap]:
    """Return the tests of a CSV text."""
    tests = []
    for test in read_csv_tests(text, "tests.csv"):
        assert isinstance(test, LocatedMap)
        tests.append(test)
    return tests


@pytest.mark.parametrize(
    ("cell", "assertion"),
    [
        ("Paris", {"type": "equals", "value": "Paris"}),
        ("contains: Seine ", {"type": "contains", "value": "Seine"}),
        ("not-icontains:x", {"type": "not-icontains", "value": "x"}),
        ("contains:", {"type": "contains", "value": ""}),
        ("icontains-any: a, b", {"type": "icontains-any", "value": ["a", "b"]}),
        ("not-contains-any: a, b", {"type": "not-contains-any", "value": ["a", "b"]}),
        ("is-json", {"type": "is-json"}),
        ('is-json: {"type": "object"}', {"type": "is-json", "value": ' {"type": "object"}'}),
        ("similar: x", {"type": "similar", "value": "x", "threshold": 0.8}),
        ("similar(0.95): x", {"type": "similar", "value": "x", "threshold": 0.95}),
        ("levenshtein: x", {"type": "levenshtein", "value": "x", "threshold": 0.75}),
        ("latency(100)", {"type": "latency", "threshold": 100}),
        ("regex: ^a:b", {"type": "regex", "value": "^a:b"}),
        ("fn: output.length < 5", {"type": "javascript", "value": "output.length < 5"}),
        ("eval:true", {"type": "javascript", "value": "true"}),
        ("python: len(output) < 5", {"type": "python", "value": "len(output) < 5"}),
        ("file://check.py:f", {"type": "python", "value": "file://check.py:f"}),
        ("file://check.mjs", {"type": "javascript", "value": "file://check.mjs"}),
        ("grade: is kind", {"type": "llm-rubric", "value": " is kind"}),
        ("EQUALS: e", {"type": "equals", "value": "EQUALS: e"}),
        ("similar-typo: x", {"type": "equals", "value": "similar-typo: x"}),
        ("Note: contains: x", {"type": "equals", "value": "Note: contains: x"}),
    ],
)
def test_a_cell_is_a_small_language(cell: str, assertion: dict[str, Json]) -> None:
    assert read_expected(cell) == assertion


def test_columns_are_variables_but_for_those_with_two_underscores() -> None:
    first, second = read(
        "\ufeff city ,__expected2,__expected,__description,__metric,__threshold,__metadata:topic,__metadata:tags[],__prefix,"
        "__providerOutput,__config:__expected2:threshold,_expected,\r\n"
        '"a, ""b""\n",similar: x,,First,tone,0.5,geo,"p, q\\,r",Please ,Yes,0.6,z,\r\n'
        "5,contains: y,Paris,,,high,,,,,0.7,,\r\n"
    )
    assert first["vars"] == {"city": 'a, "b"\n', "_expected": "z"}
    assert first["assert"] == [{"type": "similar", "value": "x", "threshold": 0.8, "metric": "tone"}]
    assert first["metadata"] == {"topic": "geo", "tags": ["p", "q,r"]}
    assert (first["description"], first["threshold"], first["providerOutput"]) == ("First", 0.5, "Yes")
    assert first["options"] == {"prefix": "Please "}
    assert second["assert"] == [
        {"type": "contains", "value": "y"},
        {"type": "equals", "value": "Paris", "threshold": 0.7},
    ]
    assert not second.keys() & {"threshold", "description", "providerOutput"}
    assert (first.place, second.place) == (Place("tests.csv", 2), Place("tests.csv", 4))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a,b\n1,2\n1,2,3\n", "tests.csv:3: expected 2 fields as in the header, got 3"),
        ("a,b\n1\n", "tests.csv:2: expected 2 fields as in the header, got 1"),
        ('a\n"b\n', "broken CSV"),
        (
            "a,__config:__expected:threshold,__expected\n1,high,x\n",
            "tests.csv:2: .*expected a number, got 'high'",
        ),
    ],
)
def test_a_broken_file_gives_the_line(text: str, error: str) -> None:
    with pytest.raises(SuiteError, match=error):
        read(text)


def test_items_in_quotes_may_have_commas() -> None:
    assert split_items('a, "b, ""c\\"" ,, d e') == ["a", 'b, "c"', "d e"]
    assert split_items('"open, b') == '"open, b'
    assert split_items('"a" b, c') == '"a" b, c'


@given(st.lists(st.text('ab, "', max_size=4).filter(str.strip), max_size=4))
def test_items_that_are_written_in_quotes_come_back(items: list[str]) -> None:
    quoted = ['"' + item.replace('"', '""') + '"' for item in items]
    assert split_items(", ".join(quoted)) == items


@given(st.text(max_size=60))
def test_any_cell_is_an_assertion(cell: str) -> None:
    assert isinstance(read_expected(cell)["type"], str)
