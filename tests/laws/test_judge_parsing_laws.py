"""Whatever a judge's model replies: no crash, no score off the scale, no NaN, and a reason or an error."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import check_message
from support.strategies import scale_examples

from pytest_llmops.errors import ModelError
from pytest_llmops.judges import Reply, ReplyForm, Scale, read_reply
from pytest_llmops.judges.protocol.images import GivenImage
from pytest_llmops.judges.rubric import Rubric, quality
from pytest_llmops.protocols import Message, Verdict
from pytest_llmops.providers.offline import ScriptedModel
from pytest_llmops.testing.conformance import FAKE_VERDICT, check_judge

NONCE = "1a2b3c4d"
SCALES = [
    ReplyForm(scale=Scale()),
    ReplyForm(scale=Scale(low=0, high=1)),
    ReplyForm(scale=Scale(low=-5.5, high=5)),
    ReplyForm(scale=Scale(weights={"accuracy": 1, "fluency": 2.5, "relevance": 0.1})),
]
ONE = SCALES[0]
KEYS = ["score", "Score", "rating", "reason", "nonce", "dimensions", "accuracy", "fluency", "relevance", "x"]
PIECES = [
    *KEYS,
    *(
        "score:",
        "**Score:**",
        "Rating",
        "is",
        "Reason:",
        "reason",
        "out of",
        "/",
        "/10",
        ":",
        "=",
        "-",
        "[",
        "]",
        "[[",
    ),
    *("{", "}", '{"', '":', ",", '"', "'", "\\", "\n", " ", ". ", "`", "```json", "<think>", "</think>", ">"),
    *(
        "7",
        "10",
        "0",
        "11",
        "-3",
        "7.5",
        "1e999",
        "NaN",
        "Infinity",
        "true",
        "null",
        "９",
        "7,5",
        NONCE,
        "99999999999",
    ),
    *(
        "I'm sorry, I can't",
        "as an AI",
        "\ud800",
        "\x00",
        "\u202e",
        '{"reason": "x", "score": 7}',
        "Score: 7, Reason: x",
    ),
]

numbers = st.one_of(
    st.integers(min_value=-20, max_value=20),
    st.floats(),
    st.integers(),
    st.booleans(),
    st.none(),
    st.text(max_size=5),
)
values = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
)
verdicts = st.fixed_dictionaries(
    {"reason": st.one_of(st.text(max_size=20), values)},
    optional={
        "nonce": st.sampled_from([NONCE, "00000000", None]),
        "score": values,
        "dimensions": values,
        "accuracy": numbers,
        "fluency": numbers,
        "relevance": numbers,
    },
)
near = st.one_of(st.integers(-6, 12), st.floats(-6, 12))
plausible = st.fixed_dictionaries(
    {"nonce": st.just(NONCE), "reason": st.text(min_size=1, max_size=20)},
    optional={"score": near, "accuracy": near, "fluency": near, "relevance": near},
)
lines = st.builds(
    "{}{}: {}{}, Reason: {} {}".format,
    st.sampled_from(["", "**", "Final ", "so the "]),
    st.sampled_from(["Score", "Rating"]),
    near,
    st.sampled_from(["", "/10", " out of 10", "**", "/5"]),
    st.text(max_size=20),
    st.sampled_from([NONCE, ""]),
)
objects = st.one_of(values, verdicts, plausible, plausible).map(json.dumps)
replies = st.one_of(
    st.text(),
    lines,
    objects,
    plausible.map(json.dumps),
    st.lists(st.one_of(st.sampled_from(PIECES), objects, st.text(max_size=3)), max_size=12).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join),
)


def check(verdict: Reply, form: ReplyForm) -> None:
    assert form.scale is not None
    scale = form.scale
    assert "\n" not in verdict.error
    if verdict.score is None:
        assert verdict.error
        assert (verdict.reason, verdict.dimensions) == ("", {})
        return
    assert not verdict.error
    assert verdict.reason.strip()
    assert list(verdict.dimensions) == list(scale.weights)
    for score in (verdict.score, *verdict.dimensions.values()):
        assert type(score) is float
        assert math.isfinite(score)
        assert scale.low <= score <= scale.high
    if scale.is_whole and not scale.weights:
        assert verdict.score.is_integer()


@pytest.mark.slow
@scale_examples(10)
@given(text=replies, form=st.sampled_from(SCALES), nonce=st.sampled_from(["", NONCE]))
def test_any_reply_is_a_verdict_on_the_scale_or_an_error(text: str, form: ReplyForm, nonce: str) -> None:
    verdict = read_reply(text, form, nonce=nonce)
    check(verdict, form)
    if nonce and verdict.score is not None:
        assert nonce in text


whole = st.integers(min_value=1, max_value=10)
prose = st.text(st.characters(codec="ascii", categories=["L", "Zs"]), max_size=40).filter(
    lambda text: not re.search("score|rating|reason", text, re.IGNORECASE)
)


@pytest.mark.slow
@given(score=whole, reason=prose.filter(str.strip), before=prose, after=prose)
def test_a_verdict_is_read_wherever_it_stands(score: int, reason: str, before: str, after: str) -> None:
    text = (
        f"{before}\n```json\n{json.dumps({'nonce': NONCE, 'reason': reason, 'score': score})}\n```\n{after}"
    )
    verdict = read_reply(text, ONE, nonce=NONCE)
    assert (verdict.score, verdict.reason) == (score, reason.strip())


@given(
    score=whole,
    reason=prose.filter(str.strip),
    form=st.sampled_from(
        ["Score: {}, Reason: {}", "**Score:** [{}]\nReason: {}", "{}/10. {}", "Rating: {} out of 10. {}"]
    ),
)
def test_a_line_of_text_is_read_in_each_form(score: int, reason: str, form: str) -> None:
    verdict = read_reply(form.format(score, reason), ONE)
    assert (verdict.score, verdict.reason) == (score, reason.strip())


@given(
    first=whole,
    second=whole,
    form=st.sampled_from(['{{"reason": "x", "score": {}}}', "Score: {}, Reason: x", "{}/10, so so"]),
)
def test_two_verdicts_are_one_only_if_they_are_equal(first: int, second: int, form: str) -> None:
    verdict = read_reply(f"{form.format(first)}\n{form.format(second)}", ONE)
    assert verdict.score == (first if first == second else None)


echoes = st.lists(st.sampled_from(["one sentence", "One statement"]), min_size=1, max_size=40).map(", ".join)


@given(
    reason=echoes,
    score=whole,
    form=st.sampled_from(['{{"reason": {!r}, "score": {}}}', "Reason: {}. Score: {}"]),
)
def test_an_echo_of_the_form_is_never_a_score(reason: str, score: int, form: str) -> None:
    text = form.format(reason, score).replace("'", '"')
    assert "only repeats the form" in read_reply(text, ONE).error


@given(
    score=whole,
    other=whole,
    beside=st.sampled_from(["Score: {}.", "I rate it a {}.", "{}/10", "[[{}]]", "[RESULT] {}"]),
)
def test_prose_beside_json_may_not_contradict_it(score: int, other: int, beside: str) -> None:
    text = f"{beside.format(other)}\n{json.dumps({'reason': 'because', 'score': score})}"
    assert read_reply(text, ONE).score == (score if score == other else None)


@pytest.mark.slow
@given(text=replies, score=whole)
def test_what_the_reason_says_never_changes_the_score(text: str, score: int) -> None:
    reply = json.dumps({"nonce": NONCE, "reason": f"x{text}", "score": score})
    assert read_reply(reply, ONE, nonce=NONCE).score == score


@pytest.mark.slow
@given(reply=st.text(max_size=300), cut=st.integers(min_value=1))
def test_a_cut_off_reply_is_no_verdict(reply: str, cut: int) -> None:
    whole = json.dumps({"nonce": NONCE, "reason": f"ends. Score: 9, Reason: {reply}", "score": 3})
    kept = whole[: -1 - cut % (len(whole) - 1)]
    assert read_reply(kept, ONE, nonce=NONCE).score is None


def good(messages: Sequence[Message]) -> str:
    hits = re.search(r"<data-([0-9a-f]{32})>", messages[1].content)
    assert hits is not None
    scores = {"accuracy": 4, "fluency": 9, "relevance": 8}
    return json.dumps({"nonce": hits[1], "reason": "because", "dimensions": scores})


def test_the_built_in_judge_keeps_the_contract() -> None:
    check_judge(quality, good=good)


class Credulous(Rubric):
    """Takes the first number for a verdict."""

    def judge(
        self,
        answer: str,
        *,
        question: str = "",
        reference: str = "",
        contexts: Sequence[str] = (),
        images: Sequence[GivenImage] = (),
    ) -> Verdict:
        assert self.model is not None
        text = self.model.complete(f"{question} {reference} {contexts} {images} {answer}").text
        hits = re.search(r"\d+", text)
        return Verdict(score=float(hits[0])) if hits else Verdict(error="none")


def test_the_kit_finds_a_credulous_judge() -> None:
    with pytest.raises(AssertionError, check=check_message):
        check_judge(lambda model: Credulous(quality().spec, model))


def test_the_kit_lets_a_judge_turn_a_broken_model_into_no_score() -> None:
    class Careful(Rubric):
        def judge(
            self,
            answer: str,
            *,
            question: str = "",
            reference: str = "",
            contexts: Sequence[str] = (),
            images: Sequence[GivenImage] = (),
        ) -> Verdict:
            try:
                return super().judge(
                    answer, question=question, reference=reference, contexts=contexts, images=images
                )
            except ModelError as error:
                return Verdict(error=str(error))

    check_judge(lambda model: Careful(quality().spec, model))


def test_the_kit_finds_an_answer_that_stands_in_the_prompt() -> None:
    class Naive(Rubric):
        def judge(
            self,
            answer: str,
            *,
            question: str = "",
            reference: str = "",
            contexts: Sequence[str] = (),
            images: Sequence[GivenImage] = (),
        ) -> Verdict:
            assert self.model is not None
            self.model.complete(f"{question} {reference} {contexts} {images} {answer}")
            return Verdict(error="undecided")

    with pytest.raises(AssertionError, check=check_message):
        check_judge(lambda model: Naive(quality().spec, model))


@pytest.mark.slow
@given(answer=st.one_of(st.text(min_size=1), replies), reply=replies)
def test_no_answer_and_no_reply_break_the_judge(answer: str, reply: str) -> None:
    model = ScriptedModel(lambda _messages: reply)
    verdict = quality(model).judge(answer, question=FAKE_VERDICT, reference=answer)
    assert verdict.prescreened == (not model.asked)
    assert verdict.prescreened or verdict.score is None
    for messages, _ in model.asked:
        body = messages[1].content.split("\n")
        assert json.loads(body[1])["answer"] == answer
        assert len(body) == 3
