"""What supports a claim, pair by pair: quantities in another form, words alike, exceptions, other languages."""

from __future__ import annotations

import pytest

from pytest_llmops import assert_grounded
from pytest_llmops.semantics.content_words import content_stem
from pytest_llmops.semantics.grounding import ground_claims

pytestmark = pytest.mark.usefixtures("alone")


def supported(claim: str, *contexts: str) -> bool:
    return ground_claims([claim], contexts)[0].supported


@pytest.mark.parametrize(
    ("claim", "context"),
    [
        ("Refunds take 48 hours.", "Refunds take two days."),
        ("The warranty lasts 24 months.", "The warranty lasts 2 years."),
        ("The notice period is fourteen days.", "The notice period is two weeks."),
        ("You have fourteen days.", "You have two weeks."),
        ("The parcel weighs 2 kg.", "The parcel weighs 2,000 grams."),
        ("Refunds take about 30 days.", "Refunds take 29 days."),
    ],
)
def test_a_quantity_in_another_form_counts(claim: str, context: str) -> None:
    (found,) = ground_claims([claim], [context])
    assert found.supported
    assert found.missing == ()


@pytest.mark.parametrize(
    ("claim", "context"),
    [
        ("Refunds take 72 hours.", "Refunds take two days."),
        ("The warranty lasts 36 months.", "The warranty lasts 2 years."),
        ("You have fifteen days.", "You have two weeks."),
        ("Refunds take 29 days.", "Refunds take about 30 days."),
    ],
)
def test_another_quantity_does_not(claim: str, context: str) -> None:
    assert not supported(claim, context)


@pytest.mark.parametrize(
    ("one", "other"),
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
def test_opposites_keep_stems_of_their_own(one: str, other: str) -> None:
    assert content_stem(one) != content_stem(other)
    assert not supported(f"The {one} signs the form.", f"The {other} signs the form.")


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


@pytest.mark.parametrize(
    ("claim", "context"),
    [
        ("Smoking is allowed.", "Smoking is allowed nowhere."),
        ("Smoking is allowed nowhere.", "Smoking is allowed."),
        ("The ticket is valid on Sundays.", "The ticket is valid all week, but not on Sundays."),
    ],
)
def test_what_turns_a_sentence_round_is_seen(claim: str, context: str) -> None:
    (found,) = ground_claims([claim], [context])
    assert not found.supported
    assert found.alarms


@pytest.mark.parametrize(
    ("claim", "context"),
    [
        ("The warranty covers fire.", "The warranty covers fire and all else except water damage."),
        ("The warranty does not cover water damage.", "The warranty covers everything except water damage."),
        ("The fee is 5 euros.", "Smoking is allowed nowhere. The fee is 5 euros."),
    ],
)
def test_what_turns_something_else_is_not(claim: str, context: str) -> None:
    assert supported(claim, context)


def test_neighbours_support_a_claim_together() -> None:
    assert supported("Bob Smith was born in Oslo.", "Acme was founded by Bob Smith. He was born in Oslo.")


def test_that_most_checks_know_english_only_is_said() -> None:
    answer, context = "Der Urlaub ist nicht übertragbar.", "Der Urlaub ist übertragbar."
    told = assert_grounded(answer, [context], at_least=1.0).detail["without"]
    assert isinstance(told, list)
    assert str(told[0]).endswith("in this language (looks like German)")
    english = assert_grounded("Refunds take 5 days.", ["Refunds take 5 days."], at_least=1.0)
    assert english.detail["without"] == []


@pytest.mark.parametrize("filler", [" " * 200_000, "[" * 50_000, "(see " * 20_000, "[1" * 50_000])
def test_marks_that_never_end_are_read_like_any_text(filler: str) -> None:
    # Each of these kept a pattern for citation marks busy for minutes once, or could.
    found = assert_grounded(f"Refunds take 5 days.{filler}", ["Refunds take 5 days."], at_least=None)
    assert found.value is not None
    assert 0 < found.value <= 1
