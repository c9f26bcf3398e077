"""Secrets in texts of an agent that are cut: they are masked first, as the rest of one would not be recognized."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from pytest_llmops import recorder
from pytest_llmops._util.masked_cuts import LONGEST_SECRET, mask_start
from pytest_llmops.agents import Step, ToolUse, Trajectory
from pytest_llmops.agents.argument_values import compare_value, format_value
from pytest_llmops.agents.call_requirements import describe_problems
from pytest_llmops.agents.sources.google_adk import read as read_google_adk
from pytest_llmops.agents.trajectory import make_tool_use
from pytest_llmops.agents.trajectory_text import format_trajectory
from pytest_llmops.errors import MeasurementFailed
from pytest_llmops.measurement import Measurement
from pytest_llmops.redaction.redactor import Redactor

KNOWN = "correct-horse-battery"
MIN_PART = 8  # characters of a secret that must not stay
SECRETS = {
    "known": (KNOWN, KNOWN),
    "key": ("sk-proj-abcdEFGHijkl1234mnop5678", "abcdEFGHijkl1234mnop5678"),
    "cloud": ("AKIAIOSFODNN7EXAMPQE", "IOSFODNN7EXAMPQE"),
    "url": ("postgres://admin:s3cr3tPassw@db.example.com/x", "s3cr3tPassw"),
    "header": ("Authorization: Bearer abcDEF123456ghiJKL", "abcDEF123456ghiJKL"),
    "named": ('{"password": "tr0ub4dor&3xyz"}', "tr0ub4dor&3xyz"),
    "encoded": (base64.b64encode(KNOWN.encode()).decode(), base64.b64encode(KNOWN.encode()).decode()),
    "private key": (
        f"-----BEGIN PRIVATE KEY-----\n{'MIIEvQIBADANBgkqhkiG9w0' * 3}\n-----END PRIVATE KEY-----",
        "MIIEvQIBADANBgkqhkiG9w0",
    ),
}


@pytest.fixture(autouse=True)
def redactor() -> Iterator[Redactor]:
    """Mask secrets as in a running test."""
    redactor = Redactor(known={KNOWN})
    running = recorder.Recorder(redact=redactor.clean_excerpt)
    recorder.push_recorder(running)
    yield redactor
    recorder.pop_recorder(running)


def hide(text: str, end: int, limit: int) -> str:
    """Return a long text in which a secret begins ``end`` characters before the place where it is cut."""
    before = ("word " * limit)[: limit - end - 1]
    return f"{before} {text}{' and more words' * 200}"


def refuse(value: str) -> bool:
    """Raise an exception that has the value, as the check of a test may."""
    raise ValueError(value)


def find_part(shown: str, secret: str) -> str:
    """Return the first part of a secret that is shown; "" if none is."""
    parts = (secret[start : start + MIN_PART] for start in range(len(secret) - MIN_PART + 1))
    return next((part for part in parts if part in shown), "")


@pytest.mark.slow
@pytest.mark.parametrize("name", SECRETS)
def test_no_part_of_a_secret_stays_where_a_text_is_cut(name: str, redactor: Redactor) -> None:
    text, secret = SECRETS[name]
    assert not find_part(redactor.clean_text(text), secret)
    for end in range(1, min(len(text) + 8, 45)):
        stored = ToolUse(name="f", text=hide(text, end, 2_000), result=hide(text, end, 2_000))
        wire = Trajectory(steps=(Step(role="user", text=stored.text, tool_calls=(stored,)),)).to_wire()
        assert not find_part(json.dumps(wire), secret)
        use = make_tool_use("f", {"q": hide(text, end, 50)}, result=hide(text, end, 50))
        steps = (
            Step(role="user", text=hide(text, end, 120)),
            Step(role="assistant", tool_calls=(use, make_tool_use("f", hide(text, end, 108)))),
        )
        lines = format_trajectory(Trajectory(steps=steps))
        assert not find_part(str(lines), secret)
        assert not find_part(format_value([hide(text, end, 50)]), secret)
        assert not find_part(describe_problems(Trajectory(problems=(hide(text, end, 300),))), secret)
        (difference,) = compare_value(refuse, hide(text, end, 108))
        assert not find_part(str(difference), secret)
        event = SimpleNamespace(author="desk", content=None, error_message=hide(text, end, 500))
        failed = read_google_adk([event])
        assert failed is not None
        assert not find_part(str(failed.problems), secret)


def test_no_part_of_a_secret_stays_in_a_failure_text() -> None:
    text, secret = SECRETS["key"]
    long = hide(text, 20, 200)
    with pytest.raises(MeasurementFailed) as failed:
        recorder.emit(Measurement(name="m", value=0.0, threshold=1.0, reason=long), evidence=[("got", long)])
    assert "[secret] and more" in str(failed.value)
    assert not find_part(str(failed.value), secret)


def test_only_the_beginning_of_a_long_text_is_searched() -> None:
    searched = []

    def mask(text: str) -> str:
        searched.append(len(text))
        return text.replace("x", "")

    limit = 100
    assert len(mask_start("a" * 1_000_000, limit, mask)) == 1_000_000
    assert searched == [limit + 2 * LONGEST_SECRET]
    # So much of the beginning is masked that its end would be shown.
    assert mask_start("x" * 20_000 + "a", limit, mask) == "a"
    assert searched[-1] == 20_001
