from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops import MeasurementErrored, MeasurementFailed
from pytest_llmops.assertions.grounding import assert_context_relevance
from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.protocols import Hit, Hits, Verdict
from pytest_llmops.providers.offline import TfidfEmbedder
from pytest_llmops.semantics.grounding.relevance import measure_relevance

pytestmark = pytest.mark.usefixtures("alone", "compare_spelling")

QUESTION = "How long does a refund of a cancelled flight take?"
CONTEXTS = ["We sell tea.", "The refund of a flight takes five days. It is paid by card."]


def test_the_estimate_is_the_mean_of_words_and_similarity() -> None:
    measurement = assert_context_relevance(QUESTION, CONTEXTS, at_least=0.3, label="flights")
    detail = measurement.detail
    assert (measurement.name, measurement.label) == ("retrieval.context_relevance", "flights")
    assert measurement.version == "1/tfidf/1"
    # Of long, refund, cancelled, flight and take three stand there.
    assert detail["covered"] == 0.6
    assert detail["by_context"] == [0.0, 0.6]
    assert isinstance(detail["similarity"], float)
    assert measurement.value == pytest.approx((0.6 + detail["similarity"]) / 2)


def test_a_failure_shows_what_no_context_speaks_of(well_formed: Callable[[BaseException], list[str]]) -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_context_relevance(QUESTION, CONTEXTS, at_least=0.9)
    lines = well_formed(caught.value)
    assert lines[0].startswith("retrieval.context_relevance 0.")
    check_message(lines[1])
    check_message(lines[2:])


def test_contexts_of_another_subject_score_near_zero() -> None:
    right = measure_relevance(QUESTION, CONTEXTS, embedder=TfidfEmbedder())
    wrong = measure_relevance(
        QUESTION, ["We sell tea.", "Bread is baked at night."], embedder=TfidfEmbedder()
    )
    assert (right.covered, right.nearest) == (0.6, "The refund of a flight takes five days.")
    assert (wrong.covered, wrong.by_context) == (0.0, (0.0, 0.0))


@pytest.mark.parametrize("contexts", [[], Hits(query=QUESTION), ["", "  "]])
def test_no_contexts_score_zero_and_say_so(contexts: Any) -> None:
    with pytest.raises(MeasurementFailed, match="no contexts are given") as caught:
        assert_context_relevance(QUESTION, contexts, at_least=0.1)
    assert caught.value.measurement.value == 0.0


def test_a_question_of_small_words_and_one_of_none() -> None:
    assert (
        measure_relevance("What is it?", ["What it is nobody knows."], embedder=TfidfEmbedder()).covered
        == 1.0
    )
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_context_relevance("?!", CONTEXTS, at_least=0.5)


def test_the_threshold_has_to_be_named() -> None:
    with pytest.raises(TypeError, match="at_least"):
        assert_context_relevance(QUESTION, CONTEXTS)  # type: ignore[call-arg]


class Judge:
    name = "relevance"
    version = "v7"
    model_name = "small"

    def __init__(self, verdict: Any) -> None:
        self.verdict = verdict
        self.calls: list[tuple[str, str]] = []

    def judge(self, answer: str, *, question: str = "", reference: str = "") -> Any:
        self.calls.append((answer, question + reference))
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


def test_a_judge_decides_alone() -> None:
    judge = Judge(Verdict(score=8, low=0, high=10, reason="names the days", raw="raw reply"))
    hits = Hits((Hit(id="a", text=CONTEXTS[0], score=2.0), Hit(id="b", text=CONTEXTS[1], score=1.0)))
    measurement = assert_context_relevance(QUESTION, hits, at_least=0.8, judge=judge)
    assert (measurement.value, measurement.version) == (0.8, "v7")
    assert measurement.reason == 'judge: "names the days"'
    assert judge.calls == [("\n\n".join(CONTEXTS), QUESTION)]
    row = measurement.detail["judge"]
    assert isinstance(row, dict)
    assert (row["name"], row["model"], row["score"], row["raw"]) == (
        "relevance",
        "small",
        8.0,
        "raw reply",
    )
    with pytest.raises(MeasurementFailed, match=r"retrieval.context_relevance 0.80 < 0.90"):
        assert_context_relevance(QUESTION, hits, at_least=0.9, judge=judge)


def test_a_judge_of_contexts_is_given_them_as_contexts() -> None:
    class OfContexts(Judge):
        looks_at = "contexts"

        def judge(
            self, answer: str, *, question: str = "", reference: str = "", contexts: Sequence[str] = ()
        ) -> Any:
            assert list(contexts) == CONTEXTS
            return super().judge(answer, question=question, reference=reference)

    judge = OfContexts(Verdict(score=8, low=0, high=10))
    assert assert_context_relevance(QUESTION, CONTEXTS, at_least=0.8, judge=judge).value == 0.8


def test_a_judge_is_not_asked_about_nothing() -> None:
    judge = Judge(Verdict(score=10))
    with pytest.raises(MeasurementFailed, match="no contexts are given"):
        assert_context_relevance(QUESTION, [" "], at_least=0.5, judge=judge)
    assert judge.calls == []


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(error="no verdict after 2 tries"),
        Verdict(),
        Verdict(score=11),
        Verdict(score=1, low=1, high=1),
        Verdict(score=float("nan")),
        0.9,
        OSError("down"),
    ],
)
def test_a_judge_without_a_score_is_an_error_and_no_low_score(verdict: Any) -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_context_relevance(QUESTION, CONTEXTS, at_least=0.5, judge=Judge(verdict))


class Broken:
    version = "1"

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def embed(self, texts: Sequence[str]) -> Any:
        if isinstance(self.rows, Exception):
            raise self.rows
        return [self.rows] * len(texts)


@pytest.mark.parametrize(
    "rows",
    [
        OSError("no weights"),
        [float("nan")],
    ],
)
def test_an_embedder_that_fails_is_an_error_and_no_low_score(rows: Any) -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_context_relevance(QUESTION, CONTEXTS, at_least=0.5, embedder=Broken(rows))


def test_a_mistake_that_embedder_or_judge_tell_stays_one() -> None:
    mistake = UsageError("pip install it")
    with pytest.raises(UsageError, match=r"^pip install it$"):
        assert_context_relevance(QUESTION, CONTEXTS, at_least=0.5, embedder=Broken(mistake))
    with pytest.raises(UsageError, match=r"^pip install it$"):
        assert_context_relevance(QUESTION, CONTEXTS, at_least=0.5, judge=Judge(mistake))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"question": ""}, UsageError),
        ({"question": None}, UsageError),
        ({"contexts": "text"}, UsageError),
        ({"at_least": 7}, UsageError),
        ({"judge": 1}, UsageError),
        ({"judge": "qualty"}, UnknownName),
    ],
)
def test_arguments_of_the_wrong_form(
    arguments: dict[str, Any],
    error: type[Exception],
    shown_frames: Callable[[BaseException], list[str]],
) -> None:
    given = {"question": QUESTION, "contexts": CONTEXTS, "at_least": 0.5, **arguments}
    with pytest.raises(error, check=check_message) as caught:
        assert_context_relevance(**given)
    assert shown_frames(caught.value) == []


@pytest.mark.slow
@pytest.mark.shared_data
def test_paragraphs_of_the_right_subject_are_told_from_others(shared_data: Path) -> None:
    """The first question of each XQuAD paragraph with its own one, and with one of another article."""
    text = gzip.decompress((shared_data / "retrieval" / "xquad" / "xquad.en.json.gz").read_bytes())
    articles = [article["paragraphs"] for article in json.loads(text)["data"]]
    own, other = [], []
    for number, paragraphs in enumerate(articles):
        strangers = articles[(number + 7) % len(articles)]
        for place, paragraph in enumerate(paragraphs):
            question = paragraph["qas"][0]["question"]
            own.append(measure_relevance(question, [paragraph["context"]], embedder=TfidfEmbedder()).value)
            other.append(
                measure_relevance(
                    question, [strangers[place % len(strangers)]["context"]], embedder=TfidfEmbedder()
                ).value
            )
    assert len(own) == 240
    above = sum((a > b) + (a == b) / 2 for a in own for b in other) / len(own) / len(other)
    assert above >= 0.99
