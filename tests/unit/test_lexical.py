from __future__ import annotations

import pytest
from rapidfuzz import fuzz as rapidfuzz
from support.messages import check_message

from pytest_llmops.metrics.lexical import (
    MAX_DIFF_TOKENS,
    MAX_MARKS,
    ScoredSpan,
    find_nearest_span,
    first_difference,
    format_word_diff,
    fuzzy_ratio,
    normalize_text,
    squad_tokens,
    token_f1,
    word_diff_steps,
)

MEGABYTE = "lorem ipsum " * 83_334


def test_normalise_keeps_everything_by_default() -> None:
    assert normalize_text(" A\u0301\u00a0b\r\n") == " A\u0301\u00a0b\r\n"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"case": "fold"}, "  straße \u00a0\ufb01n\n".replace("ß", "ss").replace("\ufb01", "fi")),
        ({"whitespace": "strip"}, "Straße \u00a0\ufb01n"),
        ({"whitespace": "collapse"}, "Straße \ufb01n"),
        ({"unicode": "NFC"}, "  Straße \u00a0\ufb01n\n"),
        ({"unicode": "NFKC"}, "  Straße  fin\n"),
        ({"case": "fold", "whitespace": "collapse", "unicode": "NFKC"}, "strasse fin"),
    ],
)
def test_normalise(options: dict[str, str], expected: str) -> None:
    assert normalize_text("  Straße \u00a0\ufb01n\n", **options) == expected  # type: ignore[arg-type]


def test_normalise_joins_accents() -> None:
    assert normalize_text("e\u0301", unicode="NFC") == "\u00e9"


def test_normalise_says_which_values_an_option_takes() -> None:
    with pytest.raises(ValueError, check=check_message):
        normalize_text("a", unicode="NFD")  # type: ignore[arg-type]


def test_normalise_refuses_what_takes_quadratic_time() -> None:
    hostile = "a" + "\u0301\u0316" * MAX_MARKS
    with pytest.raises(ValueError, check=check_message):
        normalize_text(hostile, unicode="NFC")
    assert normalize_text(hostile, case="fold") == hostile.casefold()


# normalize_answer of SQuAD's evaluation script, applied by hand.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Norman (French) conquest", ["norman", "french", "conquest"]),
        ("an  apple, a day", ["apple", "day"]),
        ("U.S. theatre", ["us", "theatre"]),
        ("a.b", ["ab"]),
        ("The.", []),
        ("", []),
        ("東京 タワー", ["東京", "タワー"]),
    ],
)
def test_tokens_as_squad_counts_them(text: str, expected: list[str]) -> None:
    assert squad_tokens(text) == expected


@pytest.mark.parametrize(
    ("actual", "expected", "f1"),
    [
        ("the 10th century", "10th century", 1.0),
        ("in the 10th and 11th centuries", "10th and 11th centuries", 2 * (4 / 5) * 1 / (4 / 5 + 1)),
        ("cat cat", "cat", 2 * 0.5 * 1 / 1.5),
        ("France", "Germany", 0.0),
        ("", "", 1.0),
        ("the", "", 1.0),
        ("", "France", 0.0),
    ],
)
def test_token_f1_as_squad_scores_it(actual: str, expected: str, f1: float) -> None:
    assert token_f1(actual, expected) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("this is a test", "this is a test!"),
        ("fuzzy wuzzy was a bear", "wuzzy fuzzy was a bear"),
        ("aaaa", "bbbb"),
        ("a\x00\x1b[31m", "a\ud800</script>"),
        ("über", "uber"),
    ],
)
def test_fuzzy_is_rapidfuzz_over_100(first: str, second: str) -> None:
    assert fuzzy_ratio(first, second) == pytest.approx(rapidfuzz.ratio(first, second) / 100)
    assert fuzzy_ratio(first, second, partial=True) == pytest.approx(
        rapidfuzz.partial_ratio(first, second) / 100
    )


def test_fuzzy_as_in_the_readme_of_rapidfuzz() -> None:
    assert fuzzy_ratio("this is a test", "this is a test!") == pytest.approx(0.9655, abs=1e-4)
    assert fuzzy_ratio("this is a test", "this is a test!", partial=True) == 1.0


def test_fuzzy_of_nothing() -> None:
    assert (fuzzy_ratio("", ""), fuzzy_ratio("", "a"), fuzzy_ratio("a", "", partial=True)) == (1.0, 0.0, 0.0)


def test_fuzzy_of_a_megabyte_counts_what_differs_only() -> None:
    changed = MEGABYTE[:500_000] + "!" + MEGABYTE[500_001:]
    assert fuzzy_ratio(MEGABYTE, MEGABYTE) == 1.0
    assert fuzzy_ratio(changed, MEGABYTE) == pytest.approx(1 - 1 / len(MEGABYTE))
    assert fuzzy_ratio(MEGABYTE, "ipsum lorem", partial=True) == 1.0


@pytest.mark.parametrize("partial", [False, True])
def test_fuzzy_refuses_what_would_take_minutes(partial: bool) -> None:
    with pytest.raises(ValueError, check=check_message):
        fuzzy_ratio("x" + MEGABYTE, "y" * 500_000, partial=partial)


def test_first_difference() -> None:
    assert first_difference("same", "same") is None
    assert first_difference("", "a") == 0
    assert first_difference("abc", "ab") == 2
    assert first_difference(MEGABYTE + "a", MEGABYTE + "b") == len(MEGABYTE)


def test_nearest_is_the_best_window_and_whole_words() -> None:
    text = "Bring it back. You may return it within 60 days of receipt."
    nearest_span = find_nearest_span(text, "within 30 days")
    assert nearest_span is not None
    assert nearest_span.text == "within 60 days"
    assert text[nearest_span.start : nearest_span.end] == nearest_span.text
    assert nearest_span.score == pytest.approx(rapidfuzz.partial_ratio("within 30 days", text) / 100)


def test_nearest_of_nothing_is_none() -> None:
    assert find_nearest_span("", "a") is None
    assert find_nearest_span("a", "") is None
    assert find_nearest_span("bbb", "a") is None


def test_nearest_in_a_text_without_words_does_not_grow_without_end() -> None:
    nearest_span = find_nearest_span("a" * 1_000 + "needle" + "a" * 1_000, "needle")
    assert nearest_span == ScoredSpan(1_000, 1_006, 1.0, "needle")


def test_nearest_in_a_megabyte() -> None:
    nearest_span = find_nearest_span(MEGABYTE + " within 60 days " + MEGABYTE, "within 30 days")
    assert nearest_span is not None
    assert nearest_span.text == "within 60 days"


def test_diff_words_lists_all_steps() -> None:
    assert word_diff_steps("a new text.", "an old text") == [
        ("-", "an old"),
        ("+", "a new"),
        ("=", " text"),
        ("+", "."),
    ]
    assert word_diff_steps("same", "same") == [("=", "same")]
    assert word_diff_steps("", "") == []
    assert word_diff_steps("", "gone") == [("-", "gone")]


def test_diff_words_beyond_the_cap_counts_the_rest_as_replaced() -> None:
    old = " ".join(f"o{n}" for n in range(MAX_DIFF_TOKENS))
    new = " ".join(f"n{n}" for n in range(MAX_DIFF_TOKENS))
    steps = word_diff_steps(f"{new} end", f"{old} end")
    assert steps == [("-", old), ("+", new), ("=", " end")]


def test_word_diff() -> None:
    assert format_word_diff("within 60 days", "within 30 days") == "within [-30-]{+60+} days"
    assert format_word_diff("a", "a") == ""


@pytest.mark.slow
def test_word_diff_keeps_some_context_and_cuts_long_pieces() -> None:
    actual, expected = MEGABYTE + "60 " + "x" * 1_000 + MEGABYTE, MEGABYTE + "30 " + "y" * 1_000 + MEGABYTE
    diff = format_word_diff(actual, expected, context=6)
    assert diff.startswith("...ipsum [-30 yyy")
    assert "... (+948 chars)-]{+60 xxx" in diff
    assert diff.endswith("+} ipsum...")
    assert len(diff) < 200
