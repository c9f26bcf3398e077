from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.messages import check_message

from pytest_llmops import recorder
from pytest_llmops.assertions.grounding import assert_grounded
from pytest_llmops.assertions.semantic import assert_semantic
from pytest_llmops.errors import MeasurementErrored, MeasurementFailed, UsageError
from pytest_llmops.measurement import Measurement
from pytest_llmops.semantics import nli

ENTAILS, NEUTRAL, CONTRADICTS = (0.9, 0.08, 0.02), (0.1, 0.8, 0.1), (0.02, 0.08, 0.9)


@dataclass
class Fake:
    """Decides by a function of premise and hypothesis."""

    decide: Callable[[str, str], Sequence[float]]
    name: str = "fake"
    version: str = "1"
    batches: list[list[tuple[str, str]]] = field(default_factory=list)

    def predict(self, pairs: Sequence[tuple[str, str]]) -> list[Sequence[float]]:
        self.batches.append(list(pairs))
        return [self.decide(*pair) for pair in pairs]


def decide_by_not(premise: str, hypothesis: str) -> Sequence[float]:
    if set(hypothesis.split()) - {"not"} <= set(premise.split()):
        return ENTAILS if ("not" in premise) == ("not" in hypothesis) else CONTRADICTS
    return NEUTRAL


def measured(actual: str, expected: Any, **given: Any) -> dict[str, Measurement]:
    with recorder.collect() as collected:
        assert_semantic(actual, expected, embedder="tfidf", checks=(), at_least=0.1, **given)
    return {measurement.name: measurement for measurement in collected}


def test_a_contradiction_fails_whatever_the_cosine_says() -> None:
    model = Fake(decide_by_not)
    with pytest.raises(MeasurementFailed, match="the answer contradicts the reference") as caught:
        assert_semantic(
            "it is not open",
            "it is open",
            nli=model,
            embedder="tfidf",
            checks=(),
            at_least=0.1,
            label="hours",
        )
    assert "with probability 0.90 (fake)" in str(caught.value)
    assert "semantic.nli [hours]" in str(caught.value)
    assert model.batches == [[("it is open", "it is not open"), ("it is not open", "it is open")]]


def test_entailment_and_neutral_pass_and_are_recorded() -> None:
    measurement = measured("it is open", "it is open today", nli=Fake(decide_by_not))["semantic.nli"]
    assert (measurement.status, measurement.version) == ("passed", "nli/1")
    assert measurement.value == pytest.approx(1 - (0.02 + 0.1) / 2)
    assert measurement.detail["entailment"] == pytest.approx(0.9)
    assert measurement.detail["without"] == []


def test_without_a_threshold_it_is_recorded_only() -> None:
    with recorder.collect() as collected:
        assert_semantic(
            "it is not open",
            "it is open",
            nli=Fake(decide_by_not),
            at_least=None,
            embedder="tfidf",
            checks=(),
        )
    assert [result.status for result in collected] == ["recorded"] * 2


def test_only_the_nearest_reference_is_compared_and_an_empty_answer_is_not() -> None:
    model = Fake(decide_by_not)
    measured("it is open", ["the sun shines", "it is open"], nli=model)
    assert {pair for batch in model.batches for pair in batch} == {("it is open", "it is open")}
    assert "semantic.nli" not in measured("", "it is open", nli=model)


@pytest.mark.parametrize(
    "row",
    [
        (math.nan, 0.5, 0.5), (0.9, 0.9, 0.9), (-0.5, 0.5, 1.0), (0.5, 0.5), (0.2, 0.2, 0.2, 0.4), ("a", "b", "c"), None,
    ],
)  # fmt: skip
def test_output_that_is_no_probabilities_is_unscored(row: Any) -> None:
    model = Fake(lambda *_: row)
    result = measured("it is open", "it is open", nli=model)["semantic.nli"]
    assert result.status == "errored"
    assert result.error.startswith("fake: ")
    with pytest.raises(MeasurementErrored, match="fake: "):
        assert_grounded("It is open.", ["It is open."], nli=model, at_least=1.0)


def test_a_model_that_raises_or_gives_too_few_rows_is_unscored() -> None:
    def fail(*_: object) -> Sequence[float]:
        raise RuntimeError("out of memory")

    assert "out of memory" in measured("a b", "a b", nli=Fake(fail))["semantic.nli"].error
    short = SimpleNamespace(predict=lambda pairs: [ENTAILS] * (len(pairs) - 1))
    assert measured("a b", "a b", nli=short)["semantic.nli"].status == "errored"


@pytest.mark.parametrize("given", [3, object(), True])
def test_an_object_without_predict_is_refused(given: Any) -> None:
    with pytest.raises(UsageError, match=r'expected nli as "installed" or an object with predict\(pairs\)'):
        assert_semantic("a", "a", nli=given, embedder="tfidf", at_least=0.1)


@pytest.mark.slow
def test_long_texts_are_compared_in_windows_and_batches() -> None:
    sentences = [f"sentence number {number} says something." for number in range(400)]
    model = Fake(lambda *_: NEUTRAL)
    measurement = measured(" ".join(sentences), " ".join(sentences[:20]), nli=model)["semantic.nli"]
    assert measurement.status == "passed"
    assert max(map(len, model.batches)) <= nli.BATCH_PAIRS
    assert sum(map(len, model.batches)) <= 2 * nli.MAX_WINDOWS**2
    assert max(len(premise) for batch in model.batches for premise, _ in batch) <= nli.PREMISE_CHARS
    (note,) = cast("list[str]", measurement.detail["without"])
    assert note.startswith("the NLI model read the first 8 windows of ")


def test_a_contradiction_in_one_window_counts() -> None:
    filler = "Nothing of interest is said in this sentence at all. " * 30

    def decide(premise: str, hypothesis: str) -> Sequence[float]:
        return (
            CONTRADICTS
            if "not open" in premise + hypothesis and "is open" in premise + hypothesis
            else NEUTRAL
        )

    measurement = measured(f"{filler}It is not open.", "It is open.", nli=Fake(decide))["semantic.nli"]
    assert measurement.value == pytest.approx(0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["x" * 100_000, "7 " * 50_000, "不" * 100_000, "a. " * 30_000, "\n" * 9 + "a", "😀" * 5_000]
)
def test_windows_hold_the_whole_text(text: str) -> None:
    windows = list(nli.split_windows(text, 500))
    assert all(len(window) <= 500 for window in windows)
    assert {char for window in windows for char in window if not char.isspace()} == set("".join(text.split()))
    assert sum(map(len, windows)) >= len("".join(text.split()))


def test_a_claim_is_supported_if_a_passage_entails_it() -> None:
    contexts = ["the shop is open", "the shop is not closed"]
    model = Fake(decide_by_not)
    measurement = assert_grounded("the shop is open", contexts, nli=model, at_least=1.0)
    assert (measurement.value, measurement.version) == (1.0, "1/nli/1")
    (claim,) = cast("list[dict[str, Any]]", measurement.detail["claims"])
    assert (claim["context"], claim["entailment"]) == (1, 0.9)
    with pytest.raises(MeasurementFailed, match=r"entails it 0.02, contradicts it 0.90"):
        assert_grounded("the shop is not open", contexts[:1], nli=model, at_least=1.0)
    with pytest.raises(MeasurementFailed):
        assert_grounded("the shop is open", [], nli=model, at_least=1.0)


def test_many_passages_are_bounded() -> None:
    model = Fake(lambda *_: NEUTRAL)
    contexts = [f"passage {number} about shops" for number in range(40)]
    measurement = assert_grounded("the shop is open", contexts, nli=model, at_least=None)
    assert sum(map(len, model.batches)) == 16
    assert measurement.detail["without"] == ["each claim was compared with 16 of 40 passages"]


@pytest.mark.slow
def test_nothing_heavy_is_imported_without_a_model() -> None:
    code = "import sys, pytest_llmops.semantics.nli; assert not {'numpy', 'onnxruntime', 'tokenizers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_messages() -> None:
    model = Fake(decide_by_not)
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_semantic("it is not open", "it is open", nli=model, embedder="tfidf", checks=(), at_least=0.1)
    with pytest.raises(MeasurementFailed, check=check_message):
        assert_grounded("the shop is not open", ["the shop is open"], nli=model, at_least=1.0)
