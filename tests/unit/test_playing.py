from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_llmops.playing import cassette_of


@pytest.mark.parametrize(
    ("test", "case", "place"),
    [
        ("test_a", "", "test_t/test_a.json"),
        ("TestX::test_a", "late", "test_t/testx-f5a1c45b.test_a/late.json"),
        ("test_a", "a::b", "test_t/test_a/a-b-78f0be89.json"),
        ("TestX::test_a", "a::b-late", "test_t/testx-f5a1c45b.test_a/a-b-late-514625a7.json"),
        ("test_a", "x[1]::y", "test_t/test_a/x-1-y-cfccf42d.json"),
    ],
)
def test_a_cassette_lies_by_the_tests_name_whatever_its_parameters_hold(
    test: str, case: str, place: str
) -> None:
    item = SimpleNamespace(
        nodeid=f"test_t.py::{test}{f'[{case}]' if case else ''}",
        path=Path("test_t.py"),
        originalname=test.rpartition("::")[2],
        callspec=SimpleNamespace(id=case) if case else None,
        get_closest_marker=lambda _name: None,
    )
    assert cassette_of(item) == (Path("cassettes", place), False)
