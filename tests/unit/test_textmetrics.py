from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops import MeasurementErrored, MeasurementFailed, assert_score
from pytest_llmops.errors import UsageError
from pytest_llmops.metrics.bertscore import Score
from pytest_llmops.protocols import TokenVectors
from pytest_llmops.semantics.textmetrics import (
    BertScore,
    closer_to_reference,
    edit_distance,
    exact_match,
    token_f1,
    word_count,
)

pytestmark = pytest.mark.usefixtures("alone")

FOX = "The quick brown fox jumps over the lazy dog"
LOG = "The quick brown dog jumps on the log."
KETTLE = "You can return it within 30 days"


class Letters:
    """A token embedder: the words of a text, each as the counts of its letters, between a start and an end."""

    version = "letters/1"

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def embed_tokens(self, texts: Sequence[str], *, specials: bool = False) -> list[TokenVectors]:
        self.calls.append(list(texts))
        result = []
        for text in texts:
            words = text.lower().split()
            tokens = ["<s>", *words, "</s>"] if specials else words
            rows = [[token.count(chr(97 + n)) + 0.01 for n in range(26)] for token in tokens]
            array = np.array(rows, dtype=np.float32).reshape(-1, 26)
            result.append(TokenVectors(tuple(tokens), array / np.linalg.norm(array, axis=1, keepdims=True)))
        return result


METRICS: list[Callable[[str, Any], float]] = [
    exact_match, token_f1, BertScore(Letters())
]  # fmt: skip
every_metric = pytest.mark.parametrize(
    "metric", METRICS, ids=lambda metric: getattr(metric, "name", "") or metric.__name__
)


@every_metric
def test_what_all_of_them_promise(metric: Callable[[str, Any], float]) -> None:
    assert metric(KETTLE, KETTLE) == pytest.approx(1.0)
    assert metric("", "") == metric(" \n", "") == metric("", ["days", ""]) == 1.0
    assert metric("", "days") == metric("30 days", "") == 0.0
    value = metric("You may send it back in 60 days", KETTLE)
    assert type(value) is float
    assert 0 <= value < 1
    best = metric(KETTLE, ["something else entirely", f"{KETTLE} or so"])
    assert best == pytest.approx(metric(KETTLE, f"{KETTLE} or so"))


@every_metric
@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (None, "a"),
        (b"a", "a"),
        ("a", None),
        ("a", 3),
        ("a", []),
        ("a", ["a", 3]),
    ],
)
def test_what_is_no_text_is_not_scored(
    metric: Callable[[str, Any], float], actual: Any, expected: Any
) -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_score(metric, actual, expected, at_least=None)


@every_metric
@pytest.mark.parametrize("text", ["\x00\x1b[31m", "\ud800 a", "e" + "\u0301" * 3_000, "a b " * 250, "!?"])
def test_hostile_text_gives_a_score_or_a_reason(metric: Callable[[str, Any], float], text: str) -> None:
    for pair in ((text, KETTLE), (KETTLE, text), (text, text)):
        try:
            assert 0 <= metric(*pair) <= 1
        except ValueError as error:
            check_message(error)


def test_squad_takes_the_best_of_several_references() -> None:
    assert exact_match("the Normans.", ["Norsemen", "Normans"]) == 1.0
    assert token_f1("the Normans came", ["Norsemen", "Normans", "came Normans"]) == 1.0
    assert (
        assert_score(token_f1, "30 days", ["a month", "30 days or so"], at_least=0.6).name == "score.token_f1"
    )


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("system", "exact", "f1"), [("bert_ensemble", 74.87, 86.32), ("logistic_regression", 34.60, 45.93)]
)
def test_the_figures_of_squad(system: str, exact: float, f1: float, shared_data: Path) -> None:
    folder = shared_data / "retrieval" / "xquad"
    with gzip.open(folder / "squad_model_answers.json.gz", "rt", encoding="utf-8") as file:
        answers = json.load(file)[system]
    with gzip.open(folder / "xquad.en.json.gz", "rt", encoding="utf-8") as file:
        articles = json.load(file)["data"]
    gold = {
        question["id"]: [row["text"] for row in question["answers"]]
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }
    for metric, percent in ((exact_match, exact), (token_f1, f1)):
        values = [metric(answer, gold[key]) for key, answer in answers.items()]
        assert 100 * sum(values) / len(values) == pytest.approx(percent, abs=0.005)


@pytest.mark.parametrize(
    ("metric", "name", "version"),
    [
        (BertScore(Letters()), "text.bertscore", r"bertscore/1 letters/1"),
        (BertScore(Letters(), idf=True), "text.bertscore", r"bertscore/1 letters/1 idf"),
        (BertScore(Letters(), idf=["a", "b"]), "text.bertscore", r"bertscore/1 letters/1 idf 2 [0-9a-f]{8}"),
    ],
)
def test_names_and_versions(metric: Any, name: str, version: str) -> None:
    assert re.fullmatch(version, metric.version)
    if "idf" not in version:
        measurement = assert_score(metric, KETTLE, KETTLE, at_least=0.9)
        assert (measurement.name, measurement.version, measurement.status) == (name, metric.version, "passed")


def test_a_low_score_fails_like_any_other() -> None:
    with pytest.raises(MeasurementFailed, match=r"score\.token_f1 0\.62 < 0\.90"):
        assert_score(token_f1, LOG, FOX, at_least=0.9)


ANSWERS = [
    ("You can return the kettle within 30 days.", "The kettle may be sent back for a month.",
     (0.750381, 0.732886, 0.741530), (0.710200, 0.695942, 0.702999)),
    ("The parcel leaves our warehouse on Friday.", "Your order will be shipped at the end of the week.",
     (0.401780, 0.403608, 0.402692), (0.399399, 0.404605, 0.401985)),
    ("No refund is possible after a month!", "You can return the kettle within 30 days.",
     (0.451924, 0.403954, 0.426595), (0.454200, 0.444298, 0.449195)),
    ("Please unplug the device, then wait ten seconds.", "Pull the plug and wait for 10 seconds before you plug it in again.",
     (0.595089, 0.618795, 0.606711), (0.578428, 0.625733, 0.601151)),
    ("Le magasin ferme à 18 heures.", "The shop closes at six in the evening.",
     (0.129795, 0.180672, 0.151065), (0.129020, 0.189779, 0.153609)),
    ("yes", "Yes, it does.",
     (0.816532, 0.324750, 0.464686), (0.816532, 0.356453, 0.496265)),
    ("Opening hours: 9:30-17:00 (Mon-Fri), closed on Sundays.", "We are open on weekdays from half past nine to five.",
     (0.550581, 0.601679, 0.574997), (0.542716, 0.597711, 0.568888)),
    ("The invoice was paid twice by the customer, so we sent the surplus back.", "We returned the amount that had been paid too much.",
     (0.477320, 0.574385, 0.521373), (0.436749, 0.562443, 0.491690)),
    ("OK!", "Fine...",
     (0.385933, 0.349536, 0.366834), (0.385933, 0.541108, 0.450533)),
    ("warranty warranty warranty", "The warranty covers two years.",
     (0.842429, 0.517638, 0.641253), (0.842429, 0.574715, 0.683285)),
]  # fmt: skip


@pytest.mark.slow
def test_the_figures_of_bert_score_on_the_same_weights() -> None:
    pytest.importorskip("tokenizers")
    pairs = [(row[0], row[1]) for row in ANSWERS]
    for metric, column in ((BertScore(), 2), (BertScore(idf=True), 3)):
        for result, row in zip(metric.scores(pairs), ANSWERS, strict=True):
            # The weights are rounded to float16 here.
            assert result == pytest.approx(row[column], abs=3e-4), row[0]
    weighed = BertScore(idf=[reference for _, reference in pairs])
    assert weighed.score(*pairs[0]) == pytest.approx(ANSWERS[0][3], abs=3e-4)


def test_bertscore_matches_words_in_any_order() -> None:
    metric = BertScore(Letters())
    assert metric("days 30", "30 days") == pytest.approx(1.0)
    result = metric.score("days", "days zzz")
    assert result.precision == pytest.approx(1.0)
    assert result.recall < 0.6


def test_of_several_references_the_one_with_the_best_f1_counts() -> None:
    metric = BertScore(Letters())
    assert metric.score("days", ["days", "zzz"]) == pytest.approx((1, 1, 1))
    assert metric.scores([("days", ["zzz", "days"]), ("week", "week")]) == [
        pytest.approx((1, 1, 1)),
        pytest.approx((1, 1, 1)),
    ]
    assert metric.scores([]) == []


def test_a_start_and_an_end_weigh_nothing() -> None:
    class Bare:
        version = "bare"

        def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
            return Letters().embed_tokens(texts)

    framed, bare = BertScore(Letters()), BertScore(Bare())
    assert framed.score("", "") == bare.score("", "") == Score(1.0, 1.0, 1.0)
    assert framed.score("", "days") == Score(0.0, 0.0, 0.0)
    assert framed("days now", "now days") == pytest.approx(bare("days now", "now days"))
    # The start is written with an "s": a word of that letter alone is matched with it, as nothing else is like it.
    assert framed.score("sss", "day").precision > 0.99
    assert bare.score("sss", "day").precision < 0.1


def test_texts_are_embedded_once_in_a_call() -> None:
    embedder = Letters()
    BertScore(embedder).scores([("a", "b"), ("a", "a"), ("b", "b")])
    assert embedder.calls == [["a", "b"]]


def test_idf_takes_the_references_of_the_call_or_those_given() -> None:
    references = ["the kettle", "the parcel", "the invoice"]
    answers = ["the parcel", "the parcel", "the invoice"]
    weighed = BertScore(Letters(), idf=references)
    pairs = list(zip(answers, references, strict=True))
    assert weighed.scores(pairs) == BertScore(Letters(), idf=True).scores(pairs)
    # Where "the" weighs nothing, the wrong word decides alone.
    assert weighed("the parcel", "the kettle") < BertScore(Letters())("the parcel", "the kettle")


@pytest.mark.parametrize("idf", [False, True, ["the kettle"]])
def test_no_pairs_have_no_scores(idf: Any) -> None:
    assert BertScore(Letters(), idf=idf).scores([]) == []


@pytest.mark.parametrize("metric", [exact_match, token_f1])
def test_to_squad_a_text_of_articles_is_an_empty_one(metric: Any) -> None:
    assert metric("", "A") == metric("...", "The") == metric("", ["Paris", "an"]) == 1.0
    assert metric("", "A cat") == metric("A cat", "") == 0.0


def test_idf_is_explained_where_it_cannot_work() -> None:
    with pytest.raises(UsageError, check=check_message):
        BertScore(Letters(), idf=True).score("a", "a")
    with pytest.raises(ValueError, check=check_message):
        BertScore(Letters(), idf=["the kettle", "the parcel"])("the", "the kettle")
    wrong: list[Any] = [[], "text", 3, None]
    for given in wrong:
        with pytest.raises(UsageError, check=check_message):
            BertScore(Letters(), idf=given)
    with pytest.raises(UsageError, check=check_message):
        BertScore(Letters(), idf=["a", 1])  # type: ignore[list-item]


def test_an_embedder_of_whole_texts_is_refused() -> None:
    with pytest.raises(UsageError, check=check_message):
        BertScore("hashing")
    with pytest.raises(UsageError, check=check_message):
        BertScore(object())  # type: ignore[arg-type]


def test_an_embedder_that_breaks_its_promise_is_not_scored() -> None:
    class Short(Letters):
        def embed_tokens(self, texts: Sequence[str], *, specials: bool = False) -> list[TokenVectors]:
            return super().embed_tokens(texts, specials=specials)[:-1]

    class Odd(Letters):
        def embed_tokens(self, texts: Sequence[str], *, specials: bool = False) -> list[TokenVectors]:
            return [
                TokenVectors(("a", "b"), token.vectors[:1])
                for token in super().embed_tokens(texts, specials=specials)
            ]

    class Nan(Letters):
        def embed_tokens(self, texts: Sequence[str], *, specials: bool = False) -> list[TokenVectors]:
            return [
                TokenVectors(token.tokens, token.vectors * np.nan)
                for token in super().embed_tokens(texts, specials=specials)
            ]

    for embedder in (Short(), Odd(), Nan()):
        with pytest.raises(MeasurementErrored, check=check_message):
            assert_score(BertScore(embedder), "a", "b", at_least=None)


def test_an_empty_right_answer_stays_the_right_one() -> None:
    assert closer_to_reference("a", [""]) == 0.0
    assert closer_to_reference("", ["", "rejected"]) == 1.0
    assert closer_to_reference("rejected", ["", "rejected"]) == 0.0


def test_the_two_counts_are_measured_as_counts() -> None:
    within = assert_score(word_count, "Within 30\u00a0days,\n unopened.", at_most=4, unit="count")
    assert (within.value, within.unit, within.name) == (4, "count", "score.word_count")

    near = assert_score(edit_distance, "kitten", ["mittens", "sitting"], at_most=2, unit="count")
    assert near.value == 2
    assert edit_distance("", "abc") == 3
    for metric in (word_count, partial(edit_distance, expected="a")):
        with pytest.raises(ValueError, match="expected an answer of text, got None"):
            metric(None)  # type: ignore[arg-type]
