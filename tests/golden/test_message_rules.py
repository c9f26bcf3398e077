"""What no message holds, and what it may hold because it quotes it."""

from __future__ import annotations

import pytest
from support import messages
from support.message_rules import find_fault
from support.messages import check_message

TRACEBACK = 'failed:\nTraceback (most recent call last)\n  File "a.py", line 3, in f\nValueError: no'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (TRACEBACK, "a traceback"),
        ('ValueError in File "a.py", line 3', "a traceback"),
        ("judge 'a' took None s", "None"),
        ("judge a gave no score: cost None", "None"),
        ("expected a number, got 3; the limit is None", "None"),
        ("expected a number\ncost (None)", "None"),
        ("$None", "None"),
        ("the mean is nan", "nan"),
        ("nan of 3 answers", "nan"),
        ("read 1234567 rows", "1234567"),
        ("took 0.333333333 s", "0.333333333"),
        ("took 12345.678 s", "12345.678"),
        ("expected 3, got 4; read 1234567 rows", "1234567"),
    ],
)
def test_a_leak_is_refused(text: str, found: str) -> None:
    assert find_fault(text).startswith(f"it holds {found}: ")


@pytest.mark.parametrize(
    "text",
    [
        "expected a number or None, got nan",
        "deepeval gave None, expected a finite number",
        "the answer is None, expected text",
        "no price is known: pass at_least=None",
        "rerun pytest 'test_a.py::test_b[None]'",
        'the reply "None" has no score; `nan` neither',
        "NaN is not JSON: write null",
        "nanoseconds of a Nonentity",
        'failed\n  reply    "try 1: {"score": 1234567, "reason": None}"',
        'broken or cut-off JSON: {"score": 1234567, None',
        "score nan is out of range: expected 1 to 5",
        "score 99999999... (+3,800 chars) is out of range: expected 1 to 5",
        "import of pydantic halted; None in sys.modules",
        "read 123456 rows, and 1,234,567 of another file",
        "took 0.00012 s",
        "took 1234.56 s",
        "expected a time limit, got 1000000000",
        "fingerprint 3242a7332516396de1f0",
        "commit 0123456789012345678901234567890123456789",
        "sha256 " + "0" * 64,
        "model gpt-4o-20241120 of 20241120",
        "version 1.2.3456789, at 2026-01-31T12:00:00.000000+00:00",
        "http://a.example/1234567890/b",
        "a model prefers its own text (arXiv 2410.21819)",
    ],
)
def test_what_is_quoted_or_no_number_is_allowed(text: str) -> None:
    assert find_fault(text) == ""


def test_a_message_of_more_than_600_characters_needs_a_reason() -> None:
    assert find_fault("a" * 600) == ""
    assert find_fault("a" * 601).startswith("it has 601 characters, at most 600: ")
    assert find_fault("a" * 601, long="a report") == ""


@pytest.fixture
def _written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take each message as new: what this test sees is not stored."""
    monkeypatch.setattr(messages, "SEEN", messages.Seen(test="tests/golden/test_a.py::test_a"))
    monkeypatch.setenv("LLMOPS_GOLDEN", "write")


@pytest.mark.usefixtures("_written")
@pytest.mark.parametrize(
    "message",
    ["took 0.3333333333 s", ["fine", "took None s"], [("a.json", "took None s")], ValueError("nan s")],
)
def test_each_message_of_a_list_is_judged_before_numbers_are_rounded(message: object) -> None:
    with pytest.raises(AssertionError, match="the message is refused: it holds "):
        check_message(message)
    assert messages.SEEN.texts == set()


@pytest.mark.usefixtures("_written")
def test_the_length_is_of_each_message_in_a_list() -> None:
    assert check_message(["a" * 400, "b" * 400])
    assert check_message("a" * 400 + "\n" + "b" * 400, long="a report")
    with pytest.raises(AssertionError, match="it has 801 characters"):
        check_message("a" * 400 + "\n" + "b" * 400)


@pytest.mark.usefixtures("_written")
def test_with_other_versions_of_packages_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMOPS_GOLDEN", "any")
    assert check_message("took None s")


def test_a_stored_message_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "SEEN", messages.Seen(test="tests/golden/test_a.py::test_a"))
    monkeypatch.setattr(messages, "read_messages", lambda _: {"took None s": 1})
    monkeypatch.delenv("LLMOPS_GOLDEN", raising=False)
    with pytest.raises(AssertionError, match="the message is refused"):
        check_message("took None s")


@pytest.mark.slow
def test_no_stored_message_has_a_fault() -> None:
    """Also those of tests that are skipped here. Their length is judged where a test hands them over."""
    faults = {
        str(path.relative_to(messages.STORED)): found
        for path in messages.STORED.rglob("*.txt")
        for found in [[find_fault(text, long="several lines") for text in messages.read_messages(path)]]
        if any(found)
    }
    assert faults == {}
