from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from support.shared import rows

from pytest_llmops.semantics.checks import CHECKS, compare
from pytest_llmops.semantics.checks.alignment import Comparison
from pytest_llmops.semantics.checks.language import LANGUAGES, detect_language, detect_pair_language

# Identifiers are compared in any language; polarity needs a question.
ENGLISH_CHECKS = CHECKS[4:-1]

pytest.importorskip("py3langid", reason="py3langid detects languages: pip install -r requirements/dev.txt")


@pytest.mark.parametrize(
    ("text", "other", "name"),
    [
        ("Die Rückgabe ist nicht innerhalb von 14 Tagen möglich.", "Die Rückgabe ist innerhalb von 14 Tagen möglich.", "German"),
        ("Die Frist beträgt fünf Tage.", "Die Frist beträgt sechs Tage.", "German"),
        ("退款需要三十天。", "退款需要六十天。", "Chinese"),
    ],
)  # fmt: skip
def test_what_has_no_check_in_a_language_is_reported(text: str, other: str, name: str) -> None:
    for actual, expected in ((text, other), (other, text)):
        missing = ", ".join(("number words", *ENGLISH_CHECKS))
        assert compare(actual, expected) == Comparison(
            (), (f"no check for {missing} in this language (looks like {name})",)
        )
        assert compare(actual, expected, checks=["negation"]).without == (
            f"no check for negation in this language (looks like {name})",
        )
    assert compare(text, other, checks=["units"]) == Comparison()


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Die Frist beträgt 5 Tage.", "Die Frist beträgt 6 Tage."),
        ("退款需要30天。", "退款需要60天。"),
        ("ต้องรอ 4 วันก่อน", "ต้องรอ 3 วันก่อน"),
    ],
)
def test_digits_are_compared_in_every_language(text: str, other: str) -> None:
    assert [alarm.check for alarm in compare(text, other).alarms] == ["numbers"]


def test_number_words_that_are_not_compared_are_reported() -> None:
    (sentence,) = compare("ต้องรอสี่วันก่อน", "ต้องรอสามวันก่อน", checks=["numbers"]).without
    assert sentence == "no check for number words in this language (looks like Thai)"


@pytest.mark.slow
@pytest.mark.parametrize("code", ["de", "en", "es", "fr", "it", "ja", "nl", "pl", "pt", "ru", "zh"])
@pytest.mark.shared_data
def test_the_language_of_captions_is_detected(code: str) -> None:
    pairs = rows("semantic", "stsb_images_multilingual", "pairs.jsonl.gz")
    verdicts = [detect_language(caption) for pair in pairs for caption in pair[code]]
    assert verdicts.count(LANGUAGES[code]) >= 0.985 * len(verdicts)
    assert sum(verdict not in ("", LANGUAGES[code]) for verdict in verdicts) <= 1
    together = [detect_pair_language(*pair[code]) for pair in pairs]
    assert together.count((LANGUAGES[code], LANGUAGES[code])) == len(pairs)


@pytest.mark.parametrize(
    "text",
    [
        "", "refund", "def f(x):\n    return x", "GET /v1/items 404", "Visit La Paz", "Café Müller opens at 9", "SELECT * FROM users",
        "Maria da Silva", "1e6 users", "😀 😀 😀", "banana banana banana banana", "E-mail",
    ],
)  # fmt: skip
def test_short_texts_and_code_get_no_verdict(text: str) -> None:
    assert detect_language(text) == ""
    assert detect_pair_language(text, text) == ("English", "English")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("La casa e il mare", "Italian"),
        ("Ми не повертаємо гроші після цього терміну.", "Ukrainian"),
        ("환불이 안 됩니다.", "Korean"),
        ("Watoto wanacheza mpira uwanjani kila siku", "another language"),
        ("The e-mail is included in the price.", "English"),
    ],
)
def test_other_languages(text: str, name: str) -> None:
    assert detect_language(text) == name


def test_a_short_text_takes_the_language_of_the_other() -> None:
    assert detect_pair_language("14 Tage", "Die Frist beträgt vierzehn Tage.") == ("German", "German")
    assert detect_pair_language("E-mail is included", "E-mail is not included") == ("English", "English")
    assert detect_pair_language("走者", "走っている人。") == ("Japanese", "Japanese")


def test_one_letter_does_not_switch_the_checks_off() -> None:
    (alarm,) = compare("E-mail is not included", "E-mail is included").alarms
    assert alarm.check == "negation"
    assert compare("Café Müller is not open", "Café Müller is open").alarms


def test_texts_too_short_to_tell_take_the_configured_language() -> None:
    assert compare("Kein Rabatt", "Rabatt", language="German").without
    assert not compare("Kein Rabatt", "Rabatt").without


def test_two_languages_are_reported() -> None:
    comparison = compare("Die Rückgabe ist nicht möglich.", "You can return the goods within a week.")
    reason = "the reference looks like English, the answer like German"
    assert comparison.without == (
        f"no check for number words, {', '.join(ENGLISH_CHECKS)} in this language ({reason})",
    )


@pytest.mark.slow
def test_plain_english_loads_no_model() -> None:
    code = (
        "import sys; from pytest_llmops.semantics.checks import compare;"
        "compare('You will get the money back in the first week.', 'The refund is paid to you within a week.');"
        "assert 'py3langid' not in sys.modules; compare('x y z', 'a b c'); assert 'py3langid' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["nicht " * 20_000, "不" * 100_000, "ne pas. " * 12_000, "\ue000 " * 50_000])
def test_long_texts_take_linear_time(text: str) -> None:
    import time

    start = time.process_time()
    result: Any = compare(text, text[1:] + "Das ist nicht mehr da.")
    assert time.process_time() - start < 20  # of CPU: a busy machine takes its time
    assert result is not None
