"""Regular expressions of JavaScript in Python; the verdicts of the data are Node's."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.imports.javascript_regex import (
    MAX_PATTERN_CHARS,
    UntranslatableRegex,
    escape_text,
    translate,
)

DATA: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "support" / "data" / "javascript_patterns.json").read_text(encoding="utf-8")
)


def test_node_and_the_translation_find_the_same() -> None:
    for is_found, name in ((True, "found"), (False, "missing")):
        for pattern, flags, text in DATA[name]:
            found = re.search(translate(pattern, flags), text) is not None
            assert found == is_found, (pattern, flags, text)


def test_what_node_refuses_is_refused() -> None:
    for pattern, flags in DATA["invalid"]:
        with pytest.raises(UntranslatableRegex):
            translate(pattern, flags)


@pytest.mark.parametrize(
    ("pattern", "flags", "translation"),
    [
        ("crontab|cron", "", "crontab|cron"),
        (r"^\s*yes\b", "", r"(?a)^(?u:\s)*yes\b"),
        ("^a$", "m", "(?m)^a$"),
        ("^a$", "", r"^a\Z"),
        (r"прочит|re-?read\b", "gi", r"(?i)прочит|re-?read(?a:\b)"),
        (r"HTTP\/\d", "i", r"(?ai)HTTP/\d"),
        (r"[\w-.]", "", r"(?a)[\w\-.]"),
        ("[[a&&b]", "", r"[\[a\&\&b]"),
        ("a{,3}{", "", r"a\{,3}\{"),
        (r"(?<n>a)\k<n>\1", "", r"(?P<n>a)(?P=n)(?:\1)"),
        (r"\ud83d\ude00\u{1F600}", "u", "😀😀"),
        (r"\Z\A\a\e", "", "ZAae"),
        (r"\cJ\0", "", r"\x0a\x00"),
        (r"[\b]", "", r"(?a)[\b]"),
        ("[&-~]", "", r"[\&-\~]"),
        ("[]|[^]", "", "(?!)|(?s:.)"),
    ],
)
def test_a_translation_stays_readable(pattern: str, flags: str, translation: str) -> None:
    assert translate(pattern, flags) == translation


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "flags"),
    [
        ("(?<=a+)b", ""),
        (r"\p{L}", "u"),
        (r"a\2", ""),
        (r"[(]\1", ""),
        ("a", "y"),
        ("a" * (MAX_PATTERN_CHARS + 1), ""),
        ("(" * 5_000, ""),
        (r"[я\W]", "i"),
        ("a{99999999999}", ""),
        ("\\", ""),
        ("[\\", ""),
    ],
)
def test_what_has_no_equal_is_refused(pattern: str, flags: str) -> None:
    with pytest.raises(UntranslatableRegex):
        translate(pattern, flags)


@pytest.mark.slow
@given(st.text(max_size=20))
def test_an_escaped_text_finds_itself_alone(text: str) -> None:
    pattern = re.compile(escape_text(text))
    assert pattern.fullmatch(text)
    assert pattern.search(text + "x")
    assert not pattern.fullmatch(text + "x")


@given(
    st.text(alphabet=st.sampled_from("ab[]()(?:<=!{1,2}|*+\\dDwsbBkpux0cZé^$-&~ "), max_size=14),
    st.sampled_from(["", "i", "u"]),
)
def test_a_translation_is_a_pattern_or_refused(pattern: str, flags: str) -> None:
    with suppress(UntranslatableRegex):
        re.compile(translate(pattern, flags))
