"""The set of meaning edits is data that figures are published from: its promises are checked like code."""

from __future__ import annotations

import json
import re
from collections import Counter
from difflib import SequenceMatcher
from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "benchmarks" / "data"
KINDS = ("negation", "number", "date", "unit", "entity", "role", "quantifier")
PER_KIND = 14
FIELDS = ("id", "kind", "text", "paraphrase", "edit")


def _load(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


DEVELOPMENT = _load("edits.jsonl")
HELD_OUT = _load("edits_held_out.jsonl")
BOTH = [*DEVELOPMENT, *HELD_OUT]


def _tokens(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text.casefold())


def _shared(first: str, second: str) -> float:
    """Share of tokens that both texts have, wherever they stand: a swap of two names counts as no change."""
    left, right = Counter(_tokens(first)), Counter(_tokens(second))
    return 2 * (left & right).total() / (left.total() + right.total())


def _in_order(first: str, second: str) -> float:
    return SequenceMatcher(None, _tokens(first), _tokens(second), autojunk=False).ratio()


@pytest.mark.parametrize("half", [DEVELOPMENT, HELD_OUT], ids=["development", "held-out"])
def test_each_half_has_every_kind_equally_often(half: list[dict[str, str]]) -> None:
    assert Counter(row["kind"] for row in half) == dict.fromkeys(KINDS, PER_KIND)


def test_every_row_has_the_same_filled_fields() -> None:
    for row in BOTH:
        assert tuple(row) == FIELDS
        assert all(value == value.strip() and value for value in row.values()), row["id"]
        assert re.fullmatch(rf"{row['kind']}-\d\d", row["id"])


def test_odd_numbers_are_for_development_and_even_ones_are_held_out() -> None:
    assert {int(row["id"][-2:]) % 2 for row in DEVELOPMENT} == {1}
    assert {int(row["id"][-2:]) % 2 for row in HELD_OUT} == {0}
    assert len({row["id"] for row in BOTH}) == len(BOTH) == 2 * PER_KIND * len(KINDS)


def test_no_text_stands_twice() -> None:
    texts = Counter(" ".join(_tokens(row[field])) for row in BOTH for field in FIELDS[2:])
    assert [text for text, count in texts.items() if count > 1] == []


@pytest.mark.slow
def test_no_two_texts_follow_one_template() -> None:
    alike = [
        (first["id"], other["id"])
        for place, first in enumerate(BOTH)
        for other in BOTH[place + 1 :]
        if _shared(first["text"], other["text"]) > 0.6
    ]
    assert alike == []


@pytest.mark.slow
@pytest.mark.parametrize("row", BOTH, ids=[row["id"] for row in BOTH])
def test_an_edit_is_small_and_a_paraphrase_is_not(row: dict[str, str]) -> None:
    assert _tokens(row["edit"]) != _tokens(row["text"])
    # "neither ... nor" to "both ... and" in a sentence of eight words is the largest edit there is.
    assert _shared(row["text"], row["edit"]) >= 0.6
    assert abs(len(_tokens(row["edit"])) - len(_tokens(row["text"]))) <= 3
    assert _in_order(row["text"], row["paraphrase"]) < 0.62
    assert _shared(row["text"], row["edit"]) > _shared(row["text"], row["paraphrase"])


def test_edits_keep_nine_words_of_ten() -> None:
    kept = sorted(_shared(row["text"], row["edit"]) for row in BOTH)
    assert kept[len(kept) // 2] >= 0.9
