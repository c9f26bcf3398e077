"""Stems of content words: forms of one word share a stem, opposites do not."""

from __future__ import annotations

import pytest

from pytest_llmops.semantics.content_words import content_stem


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("trainer", "trainee"),
        ("lessor", "lessee"),
        ("mentor", "mentee"),
        ("payer", "payee"),
        ("employer", "employee"),
        ("police", "policy"),
        ("part", "party"),
        ("polices", "policies"),
        ("parts", "parties"),
    ],
)
def test_opposites_keep_stems_of_their_own(first: str, second: str) -> None:
    assert content_stem(first) != content_stem(second)


@pytest.mark.parametrize(
    "words",
    [
        ("policy", "policies"),
        ("party", "parties"),
        ("carry", "carries", "carried", "carrying"),
        ("agree", "agrees", "agreed", "agreeing"),
        ("employee", "employees"),
        ("fee", "fees"),
        ("movie", "movies"),
        ("apply", "applies", "applied", "applying"),
        ("supply", "supplies", "supplied"),
        ("supplier", "suppliers"),
    ],
)
def test_forms_of_one_word_have_one_stem(words: tuple[str, ...]) -> None:
    assert len({content_stem(word) for word in words}) == 1
