from __future__ import annotations

import pytest

from pytest_llmops.semantics.checks import split_sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\t ", []),
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("no capital. here either.", ["no capital.", "here either."]),
        ("It costs 3.50 euros. Fine.", ["It costs 3.50 euros.", "Fine."]),
        (
            "Dr. Lee met J. Smith at 5 p.m. Then they left.",
            ["Dr. Lee met J. Smith at 5 p.m.", "Then they left."],
        ),
        ("We met J. B. Smith there. Then J. O'Neill.", ["We met J. B. Smith there.", "Then J. O'Neill."]),
        ("We ship e.g. by post. No. 5 is next.", ["We ship e.g. by post.", "No. 5 is next."]),
        ("It takes approx. 5 days. Really.", ["It takes approx. 5 days.", "Really."]),
        ("It is sold in the U.S. It is new.", ["It is sold in the U.S.", "It is new."]),
        ("The U.S. Senate met.", ["The U.S. Senate met."]),
        ('He said "yes." She left.', ['He said "yes."', "She left."]),
        ("Wait... what? Yes... Maybe.", ["Wait... what?", "Yes...", "Maybe."]),
        ("Am 3. März ist frei. Danach nicht.", ["Am 3. März ist frei.", "Danach nicht."]),
        ("He scored 12. Then he left.", ["He scored 12.", "Then he left."]),
        ("1. First thing\n2. Second thing", ["1. First thing", "2. Second thing"]),
        ("Steps:\n- wash\n- dry", ["Steps:", "- wash", "- dry"]),
        ("wrapped text that\ngoes on here.\nNext Line", ["wrapped text that goes on here.", "Next Line"]),
        ("Title\n\nand text", ["Title", "and text"]),
        ("退款需要30天。谢谢！还有吗？", ["退款需要30天。", "谢谢！", "还有吗？"]),
        ("Вернём деньги. Да.", ["Вернём деньги.", "Да."]),
        ("?!", ["?!"]),
    ],
)
def test_where_sentences_end(text: str, expected: list[str]) -> None:
    assert split_sentences(text) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["." * 100_000, "a\n" * 50_000, "x" * 100_000, "a, b,\n" * 20_000, ".)" * 50_000]
)
def test_texts_without_an_end_are_one_sentence_in_linear_time(text: str) -> None:
    assert len(split_sentences(text)) == 1
