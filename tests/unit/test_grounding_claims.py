"""What of an answer claims something, and what is talk: each sentence as a user may get it."""

from __future__ import annotations

import pytest

from pytest_llmops.semantics.grounding.claims import split_claims


@pytest.mark.parametrize(
    "answer",
    [
        "I don't know the details; the fee is 900 euros.",
        "I don't know the details, however the fee is 900 euros.",
        "I cannot tell the details but the fee is 900 euros.",
        "I'm not sure about the details: the fee is 900 euros.",
        "We don't have any information on discounts, the fee is 900 euros.",
        "I don't know the discount and the fee is 900 euros.",
        "The fee is 900 euros, but I don't know the details.",
        "The fee is 900 euros and I could not find out why.",
        "The document does not mention a discount, so the fee is 900 euros.",
        "The text does not say 5 euros, it says 900 euros.",
        "I'm sorry to tell you that the fee is 900 euros.",
        "Thank you for your question, the fee is 900 euros.",
        "Thank you for choosing Acme, the fee is 900 euros.",
        "Happy to help: the fee is 900 euros.",
        "I think the fee is 900 euros.",
        "Please contact our hotline at 555-1234 for the 900 euros.",
    ],
)
def test_a_claim_beside_talk_counts(answer: str) -> None:
    (claim,) = split_claims(answer).claims
    assert "900 euros" in claim


@pytest.mark.parametrize(
    ("answer", "claims"),
    [
        ("We do not answer the phone on Mondays.", 1),
        ("We cannot say no to late returns. Refunds take 5 days.", 2),
        ("We do not see patients on Sundays.", 1),
        ("We cannot find seats for groups.", 1),
        ("We do not tell customers the price.", 1),
        ("The text does not mention a limit, therefore employees can fly business class on all trips.", 1),
    ],
)
def test_what_a_company_does_not_do_is_a_claim(answer: str, claims: int) -> None:
    assert len(split_claims(answer).claims) == claims


@pytest.mark.parametrize(
    "answer",
    [
        "I don't know the fee, the deadline, or the address.",
        "I don't know when it opens, or who leads it.",
        "I could not find the price in the documents, sorry.",
        "We cannot say whether it is allowed.",
        "We cannot tell you that.",
        "We could not find any information about it.",
        "After reading the documents, I cannot find the price.",
        "I cannot answer your question because the context does not mention it.",
        "As an AI, I cannot answer that.",
        "Unfortunately, the documents do not mention the fee.",
        "I'm unable to find it.",
    ],
)
def test_who_does_not_know_abstains(answer: str) -> None:
    claims = split_claims(answer)
    assert (claims.claims, claims.abstains) == ((), True)


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry to hear that.",
        "Thanks for asking about refunds, returns and fees.",
        "Thank you, Ms Lee.",
        "Thank you for choosing Acme.",
        "Thanks for contacting Acme Support!",
        "Best regards, Anna Lee",
        "You're welcome, Anna!",
        "Please contact us for more.",
        "I hope that this helps.",
    ],
)
def test_mere_talk_is_left_out(answer: str) -> None:
    claims = split_claims(answer)
    assert (claims.claims, claims.left_out, claims.abstains) == ((), (answer,), False)


@pytest.mark.parametrize(
    "mark",
    [
        " [1]",
        "[1][2]",
        " [1, 2]",
        "【1】",
        "【4:0†source】",
        " [^1]",
        " (see [2])",
        " (Document 2)",
        " [doc 3]",
    ],
)
def test_marks_of_sources_belong_to_no_claim(mark: str) -> None:
    for answer in (f"Refunds take 5 days{mark}.", f"Refunds take 5 days.{mark} Refunds take 5 days."):
        assert set(split_claims(answer).claims) == {"Refunds take 5 days."}
    # Other brackets stay.
    assert split_claims("Refunds take 5 days (7 in May).").claims == ("Refunds take 5 days (7 in May).",)


@pytest.mark.parametrize(
    "answer",
    [
        "I am not certain.",
        "I have no idea.",
        "We do not have data on this.",
        "I don't have access to that information.",
        "Unable to answer based on given passages.",
        "Cannot determine from the context.",
        "The refund fee is not mentioned in the documents.",
        "Sorry, that isn't covered in our documentation.",
        "The question cannot be answered from the context.",
        "This information is not provided in the context.",
        "There's no mention of a fee in the text.",
        "It is unclear from the context whether a fee applies.",
        "No answer found.",
        "Not enough information.",
        "N/A",
        "Ich weiß es nicht.",
        "No lo sé.",
        "我不知道。",
    ],
)
def test_an_answer_that_is_not_known_claims_nothing(answer: str) -> None:
    statement = split_claims(answer)
    assert (statement.claims, statement.abstains) == ((), True)


@pytest.mark.parametrize(
    "answer",
    [
        "The fee is not refundable.",
        "Refunds are not provided in cash.",
        "No information is shared with third parties.",
        "Water damage is not covered by our policy.",
        "It is not possible to cancel.",
    ],
)
def test_a_negative_statement_is_a_claim(answer: str) -> None:
    assert split_claims(answer).claims == (answer,)


@pytest.mark.parametrize(
    "answer",
    [
        "Refunds take 5 days [1].",
        "Refunds take 5 days [1, 2].",
        "Refunds take 5 days (source: handbook.pdf).",
        "Refunds take 5 days (Source: Refund policy, p. 3).",
        "Refunds take 5 days. [Source: Handbook, section 4]",
        "Refunds take 5 days [handbook.md].",
        "Refunds take 5 days (see section 3).",
        "Refunds take 5 days (https://example.org/refunds).",
        "Refunds take 5 days ([source](https://example.org/refunds)).",
        "Refunds take 5 days. Source: handbook.md",
        "Refunds take 5 days [^1].\n\n[^1]: handbook.md",
        "Refunds take 5 days.\n\nSources:\n- handbook.md\n- policy.md",
        "Refunds take 5 days.\n\n## References\n\n[1] Handbook, 2024\n[2] Policy",
    ],
)
def test_sources_are_no_claims(answer: str) -> None:
    assert split_claims(answer).claims == ("Refunds take 5 days.",)


@pytest.mark.parametrize(
    "heading",
    ["# Refund policy", "### 2. How refunds work", "**Refund policy**", "**Refund policy:**", "Key Points:"],
)
@pytest.mark.parametrize("gap", ["\n", "\n\n"])
def test_headings_are_no_claims(heading: str, gap: str) -> None:
    statement = split_claims(f"{heading}{gap}Refunds take 5 days.")
    assert (statement.claims, statement.left_out) == (("Refunds take 5 days.",), (heading,))
    assert split_claims("Refund policy\n=====\nRefunds take 5 days.").claims == ("Refunds take 5 days.",)


@pytest.mark.parametrize(
    "answer",
    ["**Refunds take 5 days**\nAsk us.", "The fee is:\nnine euros", "**Paris**", "**5 days**\nAsk us."],
)
def test_a_line_that_says_something_is_no_heading(answer: str) -> None:
    assert (
        split_claims(answer)
        .claims[0]
        .strip("*")
        .startswith(("Refunds take", "The fee is", "Paris", "5 days"))
    )
    assert split_claims("Sources:\nRefunds take 5 days.").claims == ("Refunds take 5 days.",)


@pytest.mark.slow
@pytest.mark.parametrize("filler", [" " * 200_000, "[" * 50_000, "(see " * 20_000, "[1" * 50_000])
def test_marks_that_never_end_are_read_like_any_text(filler: str) -> None:
    # Each of these kept a pattern for citation marks busy for minutes once, or could.
    assert split_claims(f"Refunds take 5 days.{filler}").claims[0].startswith("Refunds take 5")
