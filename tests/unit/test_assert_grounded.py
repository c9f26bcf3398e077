from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from support.containing_nli import ContainingNli
from support.messages import check_message

from pytest_llmops import MeasurementErrored, MeasurementFailed, collect
from pytest_llmops.assertions.grounding import assert_grounded
from pytest_llmops.errors import UsageError
from pytest_llmops.judges.item_judges import GroundingVerdict
from pytest_llmops.judges.protocol.reply_form import Claim
from pytest_llmops.protocols import Chunk, Hit, Hits, Verdict
from pytest_llmops.semantics.grounding.claims import split_claims

pytestmark = pytest.mark.usefixtures("alone", "compare_spelling")

CONTEXTS = [
    "Refunds take 5 days. They are paid to the original card. Members of the Gold Club pay no fee.",
    "We ship to Norway and Sweden on weekdays.",
]


def test_a_model_decides_each_claim() -> None:
    answer = "Hello! Refunds take 5 days. We ship to Norway. Can I help with anything else?"
    measurement = assert_grounded(answer, CONTEXTS, nli=ContainingNli(), at_least=1.0)
    assert (measurement.name, measurement.value, measurement.threshold) == ("grounding.supported", 1.0, 1.0)
    assert (measurement.status, measurement.version) == ("passed", "1/nli/1")
    assert measurement.reason == "2 of 2 claims supported; 2 sentences left out"
    assert measurement.detail["left out"] == ["Hello!", "Can I help with anything else?"]
    assert measurement.detail["claims"] == [
        {"claim": claim, "supported": True, "context": number, "nearest": CONTEXTS[number - 1], "entailment": 0.9, "contradiction": 0.1}
        for number, claim in enumerate(["Refunds take 5 days.", "We ship to Norway."], start=1)
    ]  # fmt: skip


def test_a_failure_shows_each_claim_and_its_nearest_passage(
    well_formed: Callable[[BaseException], list[str]],
) -> None:
    answer = "Refunds take 7 days. Refunds take 5 days. They are paid as a voucher."
    with pytest.raises(MeasurementFailed) as caught:
        assert_grounded(answer, CONTEXTS, nli=ContainingNli(), at_least=0.5)
    check_message(well_formed(caught.value))


@pytest.mark.parametrize(
    "answer",
    ["I don't know.", "Sorry, I couldn't find that. Could you say more?", "The context does not mention it."],
)
def test_who_says_that_he_does_not_know_claims_nothing(answer: str) -> None:
    for contexts in (CONTEXTS, []):
        measurement = assert_grounded(answer, contexts, nli=ContainingNli(), at_least=1.0)
        assert measurement.value == 1.0
        check_message(measurement.reason)


def test_a_claim_beside_it_counts() -> None:
    answer = "I don't know the exact price. Refunds take 9 days."
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_grounded(answer, CONTEXTS, nli=ContainingNli(), at_least=1.0)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "",
        " \n",
        "Hello! Thanks for asking.",
        "?! ...",
    ],
)
def test_an_answer_that_claims_nothing_has_no_score(answer: str | None) -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_grounded(answer, CONTEXTS, nli=ContainingNli(), at_least=1.0)


def test_a_judge_or_a_model_is_required(shown_frames: Callable[[BaseException], list[str]]) -> None:
    with pytest.raises(
        UsageError, match=r'got neither: judge="grounding" .*nli=MyModel\(\)', check=check_message
    ) as caught:
        assert_grounded("Refunds take 5 days.", CONTEXTS, at_least=0.5)
    assert shown_frames(caught.value) == []


def test_a_model_needs_a_threshold() -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_grounded("Refunds take 5 days.", CONTEXTS, nli=ContainingNli())
    measurement = assert_grounded("Refunds take 5 days.", CONTEXTS, nli=ContainingNli(), at_least=None)
    assert measurement.status == "recorded"


class Reader:
    """A judge of claims, as `Grounding` is."""

    name, version, model_name = "reader", "v1", "small"
    low, high = 0.0, 1.0

    def __init__(self, verdict: Any, pass_at: float | None = 1.0) -> None:
        self.verdict, self.pass_at = verdict, pass_at
        self.calls: list[tuple[str, str, list[str]]] = []

    def judge(
        self, answer: str, *, question: str = "", reference: str = "", contexts: Sequence[str] = ()
    ) -> Any:
        self.calls.append((answer, question + reference, list(contexts)))
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


HALF = GroundingVerdict(
    score=0.5,
    low=0.0,
    high=1.0,
    reason="the days are wrong",
    claims=(
        Claim(text="They are paid to the card.", finding="supported", passages=(1,)),
        Claim(text="Refunds take 9 days.", finding="contradicted", passages=(1,)),
    ),
)


def test_a_judge_decides_alone() -> None:
    judge = Reader(HALF)
    hits = [Hit(id=str(number), text=text, score=1.0) for number, text in enumerate(CONTEXTS)]
    measurement = assert_grounded("Card, 9 days.", hits, judge=judge, question="How long?", at_least=0.5)
    assert (measurement.name, measurement.value, measurement.version) == ("grounding.supported", 0.5, "v1")
    assert measurement.reason == 'judge: "the days are wrong"'
    assert judge.calls == [("Card, 9 days.", "How long?", CONTEXTS)]
    with pytest.raises(MeasurementFailed, check=check_message) as caught:
        assert_grounded("Card, 9 days.", CONTEXTS, judge=judge)
    assert "contradicted" in str(caught.value)
    assert caught.value.measurement.threshold == 1.0
    assert assert_grounded("Card.", CONTEXTS, judge=Reader(HALF, pass_at=0.4)).threshold == 0.4
    assert assert_grounded("Card.", CONTEXTS, judge=Reader(HALF), at_least=None).status == "recorded"


def test_a_judge_is_not_called_where_nothing_has_to_be_read() -> None:
    judge = Reader(HALF)
    assert assert_grounded("I don't know.", CONTEXTS, judge=judge).value == 1.0
    with pytest.raises(MeasurementFailed, match="no contexts are given"):
        assert_grounded("Refunds take 5 days.", [" "], judge=judge)
    for answer in (None, "", 7):
        with pytest.raises(MeasurementErrored, check=check_message):
            assert_grounded(answer, CONTEXTS, judge=judge)
    assert judge.calls == []


@pytest.mark.parametrize("verdict", [Verdict(error="no verdict"), Verdict(score=11), 0.9, OSError("down")])
def test_a_judge_without_a_score_is_an_error_and_no_low_score(verdict: Any) -> None:
    with pytest.raises(MeasurementErrored, match=r"grounding.supported gave no score: judge reader: "):
        assert_grounded("Refunds take 5 days.", CONTEXTS, judge=Reader(verdict))


def test_mistakes_with_a_judge() -> None:
    class NoContexts:
        name, version, pass_at = "plain", "1", 1.0

        def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
            raise AssertionError((answer, question, reference))

    arguments: list[dict[str, Any]] = [
        {"judge": Reader(HALF, pass_at=None)},
        {"judge": Reader(HALF), "at_least": 7},
        {"judge": NoContexts()},
        {"judge": 1},
        {"judge": Reader(HALF), "question": None},
        {"judge": Reader(HALF), "nli": ContainingNli()},
    ]
    for given in arguments:
        with pytest.raises(UsageError, check=check_message):
            assert_grounded("Refunds take 5 days.", CONTEXTS, **given)


@pytest.mark.parametrize("contexts", [[], [""], [" \n", "..."]])
def test_without_contexts_nothing_is_supported(contexts: list[str]) -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_grounded("Refunds take 5 days.", contexts, nli=ContainingNli(), at_least=1.0)
    assert caught.value.measurement.value == 0.0
    assert "0 of 1 claims supported" in str(caught.value)
    check_message(caught.value)


def test_hits_and_chunks_are_contexts_too() -> None:
    text = CONTEXTS[0]
    kinds: list[Sequence[Any]] = [
        Hits((Hit(id="a", text=text, score=1.0),)),
        [Hit(id="a", text=text, score=1.0)],
        [Chunk(id="a", text=text)],
        (text,),
    ]
    for contexts in kinds:
        assert (
            assert_grounded("Refunds take 5 days.", contexts, nli=ContainingNli(), at_least=1.0).value == 1.0
        )


@pytest.mark.parametrize(
    "arguments",
    [
        {"contexts": "text"},
        {"contexts": None},
        {"contexts": ["a", 1]},
        {"at_least": 80},
        {"at_least": True},
        {"nli": object()},
    ],
)
def test_arguments_of_the_wrong_form(
    arguments: dict[str, Any],
    shown_frames: Callable[[BaseException], list[str]],
) -> None:
    given = {"contexts": CONTEXTS, "nli": ContainingNli(), "at_least": 1.0, **arguments}
    with pytest.raises(UsageError, check=check_message) as caught:
        assert_grounded("Refunds take 5 days.", **given)
    assert shown_frames(caught.value) == []


def test_it_is_recorded_with_its_label() -> None:
    with collect() as measurements:
        assert_grounded("Refunds take 7 days.", CONTEXTS, nli=ContainingNli(), at_least=None, label="refunds")
    assert [(measurement.label, measurement.status, measurement.value) for measurement in measurements] == [
        ("refunds", "recorded", 0.0)
    ]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            "Sure! Here is the summary:\n\n- Refunds take 5 days.\n- Fees are 2 euros.",
            ("Refunds take 5 days.", "Fees are 2 euros."),
        ),
        ("Based on the context, refunds take 5 days.", ("refunds take 5 days.",)),
        (
            "Yes, refunds take 5 days. I hope this helps! Let me know if you need more.",
            ("refunds take 5 days.",),
        ),
        (
            "Great Britain has a king. Sure, fees are 2 euros.",
            ("Great Britain has a king.", "fees are 2 euros."),
        ),
        ("I don't know the price, but refunds take 9 days.", ("refunds take 9 days.",)),
        ("I'm sorry, but refunds take 9 days. I'm sorry for the trouble.", ("refunds take 9 days.",)),
        (
            "If you need more bags, you pay 20 euros. If you have any further questions, call us.",
            ("If you need more bags, you pay 20 euros.",),
        ),
        (
            "Thanks to the new law, fees are gone. Thanks for asking!",
            ("Thanks to the new law, fees are gone.",),
        ),
        ("Hello there!\n\nDear Ms Lee,\n\nGood morning.", ()),
        ("I think it rains. Refunds take 5 days. Best regards", ("Refunds take 5 days.",)),
        ("退款需要5天。还有问题吗？", ("退款需要5天。",)),
    ],
)
def test_what_an_answer_claims(answer: str, expected: tuple[str, ...]) -> None:
    assert split_claims(answer).claims == expected


def test_foreign_text_stays_in_its_line() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_grounded(
            "Refunds \x1b[2J take 99 days" + " x" * 500,
            ["Refunds take 5 days \x1b]0; sometimes."],
            nli=ContainingNli(),
            at_least=1.0,
        )
    assert "\x1b" not in str(caught.value)
    assert max(map(len, str(caught.value).splitlines())) < 300


def test_an_answer_of_too_many_claims_has_no_score() -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_grounded("Rooms hold chairs. " * 1_001, CONTEXTS, nli=ContainingNli(), at_least=1.0)


def test_a_mistake_that_a_model_reports_stays_one() -> None:
    class Missing(ContainingNli):
        def predict(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, float, float]]:
            raise UsageError(f"pip install it, for {len(pairs)} pairs")

    with pytest.raises(UsageError, match=r"^pip install it, for 2 pairs$"):
        assert_grounded("Refunds take 5 days.", CONTEXTS, nli=Missing(), at_least=1.0)
