"""The alignment of the words of answer and reference, and `assert_semantic` with a question."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import check_message

from pytest_llmops.assertions.semantic import assert_semantic
from pytest_llmops.cases import Case
from pytest_llmops.errors import LLMOpsError, MeasurementErrored, MeasurementFailed, UsageError
from pytest_llmops.metrics import bertscore
from pytest_llmops.protocols import TokenVectors
from pytest_llmops.providers.minilm import MiniLMEmbedder
from pytest_llmops.semantics import token_alignment
from pytest_llmops.semantics.checks import compare
from pytest_llmops.semantics.thresholds import Threshold
from pytest_llmops.semantics.token_alignment import align_answer

ANSWERS = Path(__file__).parents[2] / "benchmarks" / "data" / "answers.jsonl"
QUESTION = "How long is a ticket valid?"
REFERENCE = "It is valid for two hours."


@dataclass
class Letters:
    """An embedder whose tokens are the words of a text, each with the vector of its first letter."""

    version: str = "letters/1"
    name: str = "letters"
    default_threshold: float = 0.5
    alignment_threshold: float | None = 0.7

    def embed(self, texts: Sequence[str]) -> Any:
        return np.ones((len(texts), 2), dtype=np.float32)

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        return [self._tokens(text.lower().split()) for text in texts]

    def _tokens(self, words: list[str]) -> TokenVectors:
        rows = np.zeros((len(words), 27), dtype=np.float32)
        for row, word in zip(rows, words, strict=True):
            row[max(0, ord(word[0]) - ord("a") + 1) % 27] = 1
        return TokenVectors(tuple(words), rows)


def align(answer: str, reference: str, question: str = "") -> token_alignment.Alignment:
    return align_answer(answer, [reference], question, Letters())[0]


def test_recall_and_precision_of_content_words() -> None:
    found = align("the red roof leaks", "red roof broke quickly")
    assert found.recall == pytest.approx(0.5)
    assert found.precision == pytest.approx(2 / 3)  # "the" is a stop word
    assert found.score == pytest.approx(0.72 * 0.5 + 0.28 * 2 / 3, abs=1e-6)
    assert (found.lost_word, found.lost_cosine) == ("broke", 0)


def test_words_of_the_question_prove_nothing() -> None:
    assert align("roof repaired", "roof broke").recall == 0.5
    assert align("roof repaired", "roof broke", question="what of the roof").recall == 0
    # Nothing is left: the words of the question count again, else the stop words too.
    assert align("roof", "roof", question="roof").score == 1
    assert align("the", "the").score == 1


def test_pieces_of_a_word_count_as_the_word() -> None:
    tokens = ("re", "##fund", "the", "##n")
    assert token_alignment._join_words(tokens) == ["refund", "refund", "then", "then"]
    assert token_alignment._select_content(["refund", "refund", "then"], {"refund"}) == [0, 1]


def test_an_answer_without_tokens_scores_0_and_a_reference_without_is_an_error() -> None:
    assert align(" ", "roof").score == 0
    with pytest.raises(LLMOpsError, match="nothing to compare"):
        align("roof", " ")


def test_too_many_tokens_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bertscore, "MAX_CELLS", 5)
    with pytest.raises(LLMOpsError, check=check_message):
        align("a b c", "a b c")


@given(
    st.text(alphabet="abc xyz1.", max_size=30),
    st.text(alphabet="abc xyz1.", max_size=30),
    st.text(alphabet="ab ", max_size=9),
)
def test_a_score_is_a_share(answer: str, reference: str, question: str) -> None:
    if not reference.split():
        return
    aligned = align(answer, reference, question)
    assert 0 <= aligned.score <= 1
    assert align(reference, reference, question).score == 1


def test_it_is_bertscore_of_the_content_words() -> None:
    """The weights of BERTScore do the same as leaving words out."""
    embedder = Letters()
    answer, reference = embedder.embed_tokens(["the red roof leaks", "red roof broke quickly"])
    score = bertscore.score_pairs([(answer.vectors, reference.vectors)], [([0, 1, 1, 1], None)])[0]
    aligned = align("the red roof leaks", "red roof broke quickly")
    assert (aligned.precision, aligned.recall) == pytest.approx((score.precision, score.recall))


@pytest.mark.slow
def test_figures_on_answers_of_another_author() -> None:
    """The study that chose the weights found 38 of 40 right and 3 of 40 wrong ones at 0.505 on these answers."""
    pytest.importorskip("tokenizers")
    embedder = MiniLMEmbedder()
    passed = {"right": 0, "wrong": 0}
    for line in ANSWERS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for kind in passed:
            aligned = align_answer(row[kind], [row["reference"]], row["question"], embedder)[0]
            passed[kind] += aligned.score >= 0.505 and not compare(row[kind], row["reference"]).alarms
    assert passed["right"] >= 37
    assert passed["wrong"] <= 3


def test_with_a_question_the_words_are_aligned() -> None:
    measurement = assert_semantic("red roof", "red roof", question="which roof", embedder=Letters())
    assert (measurement.name, measurement.version) == ("semantic.alignment", "alignment/1+letters/1")
    assert (measurement.value, measurement.threshold) == (1, 0.7)
    assert measurement.detail["question"] == "which roof"
    assert assert_semantic("red roof", "red roof", embedder=Letters()).name == "semantic"
    assert assert_semantic("red roof", "red roof", question=" ", embedder=Letters()).name == "semantic"


def test_an_embedder_without_a_threshold_for_it_compares_whole_texts() -> None:
    embedder = Letters(alignment_threshold=None)
    assert assert_semantic("red roof", "red roof", question="which", embedder=embedder).name == "semantic"


def test_the_message_names_the_word_that_was_not_found() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_semantic("blue car", "red roof", question="which", embedder=Letters(), checks=())
    lines = str(caught.value).splitlines()
    assert lines[0] == "semantic.alignment 0.00 < 0.70 (embedder letters)"
    check_message(lines)


def test_question_and_reference_of_a_case() -> None:
    case = Case(id="roof", input="which roof", reference="red roof")
    measurement = assert_semantic("red roof", case=case, embedder=Letters())
    assert (measurement.name, measurement.detail["expected"]) == ("semantic.alignment", ["red roof"])
    other = assert_semantic("blue car", "blue car", question="", case=case, embedder=Letters())
    assert (other.name, other.detail["expected"]) == ("semantic", ["blue car"])


@pytest.mark.parametrize(
    "arguments",
    [{}, {"case": Case(id="roof", input="which roof")}, {"case": "roof"}, {"expected": "a", "question": 5}],
)
def test_without_a_reference_it_is_an_error(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_semantic("red roof", embedder=Letters(), **arguments)


def test_a_threshold_of_one_scale_is_refused_on_the_other(tmp_path: Path) -> None:
    cosine = Threshold(value=0.6, embedder="letters", version="letters/1", path="semantic.json")
    aligned = Threshold(value=0.6, embedder="letters", version="alignment/1+letters/1")
    question = {"question": "which", "embedder": Letters()}
    assert assert_semantic("red roof", "red roof", at_least=aligned, **question).threshold == 0.6  # type: ignore[arg-type]
    with pytest.raises(UsageError, check=check_message):
        assert_semantic("red roof", "red roof", at_least=cosine, **question)  # type: ignore[arg-type]
    with pytest.raises(UsageError, check=check_message):
        assert_semantic("red roof", "red roof", at_least=aligned, embedder=Letters())


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["x", "؟ما هو الوقت", "print('a')", "Привет hello 你好", "\u202eabc", "\ud800"],
    ids=["one character", "right to left", "code", "mixed scripts", "override", "surrogate"],
)
def test_any_text_has_a_score(text: str) -> None:
    pytest.importorskip("tokenizers")
    for answer, reference in ((text, REFERENCE), (REFERENCE, text)):
        measurement = assert_semantic(answer, reference, question=QUESTION, at_least=None, checks=())
        assert measurement.value is not None
        assert 0 <= measurement.value <= 1


@pytest.mark.slow
def test_a_long_text_has_a_score() -> None:
    long = "roof tile " * 5_000
    assert assert_semantic(long, long, question=QUESTION, embedder=Letters(), checks=()).value == 1


def test_an_embedder_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(texts: Sequence[str]) -> list[TokenVectors]:
        raise ValueError(f"damaged weights for {len(texts)} texts")

    broken = Letters()
    monkeypatch.setattr(broken, "embed_tokens", fail)
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_semantic("red", "red", question="which", embedder=broken)
