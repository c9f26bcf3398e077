"""Patterns mean what they mean in `re`, and end in time."""

import re
import warnings

import pytest

from pytest_llmops._util.timed_search import matches_in_time


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("a{e}$", "b"), ("^a{e}$", "a{e}"), (r"^\{e}$", "{e}"), ("^[{}e]+$", "{e}"), ("^a{,2}$", "aa"), ("^a{2,}$", "aaa"), ("^a{e}{2}$", "a{e}}"),
        ("^[[:digit:]]$", "7"), ("^[[:digit:]]$", "d]"), (r"^[\[:a]+$", "[:a"), ("^[][:a:]]$", "]]"), ("^[^]a]$", "b"), (r"^\N{HYPHEN}$", "\u2010"),
        ("(?x) a  # [ a comment\n b{1}", "ab"), ("(?i)STRASSE", "strasse"), ("a$", "a\n"), (r"^\[:a]$", "[:a]"),
    ],
)  # fmt: skip
def test_a_pattern_matches_as_in_re(pattern: str, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sets that may be nested in a later version of Python
        compiled = re.compile(pattern)
    assert matches_in_time(compiled, text) is (compiled.search(text) is not None)


def test_a_search_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmops._util.timed_search.MAX_SECONDS", 0.01)
    with pytest.raises(
        TimeoutError, match=r"the pattern '\(a\|a\)\+\$' searches for more than 0.01 s in a text of 61"
    ):
        matches_in_time(re.compile("(a|a)+$"), "a" * 60 + "!")
