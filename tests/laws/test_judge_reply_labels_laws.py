"""Whatever a judge's model replies: no crash, no name that was not offered, and a reason or an error."""

from __future__ import annotations

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import scale_examples

from pytest_llmops.judges import Reply, ReplyForm, read_reply
from pytest_llmops.judges.item_judges import CLAIM_FINDINGS
from pytest_llmops.judges.panel import score_confidence

NONCE = "1a2b3c4d"
CHOICES = ReplyForm(names=("pass", "fail", "A"), spellings={"pass": ["ok"], "A": ["answer A"]})
ITEMS = ReplyForm(names=("yes", "no"), items=("1", "2"))
CLAIMS = ReplyForm(names=CLAIM_FINDINGS, passages=2)

PIECES = [
    *(
        "pass",
        "fail",
        "A",
        "ok",
        "answer A",
        "Verdict:",
        "**Winner:**",
        "is better",
        "[[",
        "]]",
        "therefore",
        "that",
    ),
    *(
        "Items:",
        "1 yes",
        "2 no",
        "1: no",
        "claims",
        "supported",
        "Reason: x",
        "Nonce:",
        NONCE,
        "I'm sorry, I can't",
    ),
    *(
        "{",
        "}",
        '{"',
        '":',
        ",",
        '"',
        "\\",
        "\n",
        " ",
        ". ",
        "`",
        "<think>",
        "</think>",
        ">",
        "\ud800",
        "\x00",
        "\u202e",
    ),
]
KEYS = ["verdict", "Verdict", "reason", "nonce", "items", "claims", "1", "2", "claim", "finding", "passages"]
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 5),
    st.floats(),
    st.sampled_from([*PIECES, "yes", "no", *CLAIM_FINDINGS]),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from(KEYS), values, max_size=5).map(json.dumps)
replies = st.one_of(
    st.text(max_size=40),
    st.lists(st.one_of(st.sampled_from(PIECES), objects), max_size=10).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=10).map(" ".join),
)


def read(text: str, form: ReplyForm, nonce: str) -> Reply:
    reply = read_reply(text, form, nonce=nonce)
    assert "\n" not in reply.error
    assert bool(reply.error) != bool(reply.reason)
    assert reply.error or not nonce or nonce in text
    return reply


@pytest.mark.slow
@scale_examples(2)
@given(text=replies, nonce=st.sampled_from(["", NONCE]))
def test_any_reply_is_what_was_offered_or_an_error(text: str, nonce: str) -> None:
    named, items, claims = (read(text, form, nonce) for form in (CHOICES, ITEMS, CLAIMS))
    assert named.error or named.name in CHOICES.scores
    assert items.error or (list(items.answers) == ["1", "2"] and set(items.answers.values()) <= {"yes", "no"})
    for claim in claims.claims:
        assert claim.finding in CLAIM_FINDINGS
        assert set(claim.passages) <= {1, 2}


prose = st.text(st.characters(codec="ascii", categories=["L", "Zs"]), max_size=30).filter(
    lambda text: not re.search(r"\b(?:a|ok|pass|fail|reason\w*)\b", text, re.IGNORECASE)
)


@pytest.mark.slow
@given(
    name=st.sampled_from(["pass", "fail"]),
    reason=prose.filter(str.strip),
    form=st.sampled_from(["Verdict: {}, Reason: {}", "**Verdict:** [{}]\nReason: {}", "[[{}]] {}", "{}\n{}"]),
)
def test_a_name_is_read_in_each_form(name: str, reason: str, form: str) -> None:
    assert read_reply(form.format(name, reason), CHOICES).name == name


@pytest.mark.slow
@given(text=replies, name=st.sampled_from(["pass", "fail"]))
def test_what_the_reason_says_never_changes_the_verdict(text: str, name: str) -> None:
    reply = json.dumps({"nonce": NONCE, "reason": f"x{text}", "verdict": name})
    assert read_reply(reply, CHOICES, nonce=NONCE).name == name


scores = st.floats(1, 10)


@given(scores_=st.lists(scores, min_size=2, max_size=6))
def test_confidence_is_a_share_and_full_only_for_equal_scores(scores_: list[float]) -> None:
    sure = score_confidence(scores_, 1, 10)
    assert sure is not None
    assert 0 <= sure <= 1
    assert math.isclose(sure, 1, abs_tol=1e-6) == (max(scores_) - min(scores_) < 2e-5) or sure > 1 - 1e-5
    assert score_confidence(scores_[::-1], 1, 10) == sure
    assert math.isclose(score_confidence([11 - entry for entry in scores_], 1, 10) or 0, sure, abs_tol=1e-9)
