from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops import registry
from pytest_llmops.errors import ModelError, UsageError
from pytest_llmops.protocols import Embedder, Message, Model
from pytest_llmops.providers import offline
from pytest_llmops.providers.offline import HashingEmbedder, ScriptedModel, TfidfEmbedder

Offline = TfidfEmbedder | HashingEmbedder
EMBEDDERS: list[Offline] = [TfidfEmbedder(), HashingEmbedder()]


def score(embedder: Offline, a: str, b: str) -> float:
    rows = embedder.embed([a, b])
    return float(rows[0] @ rows[1])


@pytest.fixture(params=EMBEDDERS, ids=[built_in.name for built_in in EMBEDDERS])
def embedder(request: pytest.FixtureRequest) -> Offline:
    return request.param  # type: ignore[no-any-return]


def test_the_registry_knows_them() -> None:
    for built_in in EMBEDDERS:
        assert registry.load_builtin("embedder", built_in.name) == built_in
        assert isinstance(built_in, Embedder)


def test_case_punctuation_and_spaces_do_not_count(embedder: Offline) -> None:
    assert score(embedder, "Refunds take 30 days!", "  refunds, TAKE\n30 days") == pytest.approx(1)


def test_compatibility_forms_do_not_count(embedder: Offline) -> None:
    assert score(embedder, "ﬁnal café ３０", "final cafe\u0301 30") == pytest.approx(1)


def test_inflections_are_alike_and_other_words_are_not(embedder: Offline) -> None:
    assert score(embedder, "refund", "refunds") > 0.5
    assert score(embedder, "refunds in thirty days", "the cat sat") < 0.1


def test_it_compares_spelling_not_meaning(embedder: Offline) -> None:
    right = "You can have your money back within a month."
    wrong = "Refunds do not take 30 days."
    reference = "Refunds take 30 days."
    assert score(embedder, wrong, reference) > embedder.default_threshold > score(embedder, right, reference)


def test_a_text_without_words_is_a_row_of_zeros(embedder: Offline) -> None:
    rows = embedder.embed(["?! ___ …", "word", ""])
    assert rows.any(axis=1).tolist() == [False, True, False]
    assert embedder.embed(["?!"]).shape[0] == 1
    assert not embedder.embed(["?!", ""]).any()


def test_indic_words_keep_their_vowel_signs(embedder: Offline) -> None:
    assert score(embedder, "नमस्ते दुनिया", "नमसत दनय") < 1 - 1e-3


def test_hostile_characters(embedder: Offline) -> None:
    rows = embedder.embed(["a\ud800b \x00 \u202e ok", "👩‍💻", "word"])
    assert np.isfinite(rows).all()


def test_a_single_text_is_no_list_of_texts(embedder: Offline) -> None:
    with pytest.raises(UsageError, check=check_message):
        embedder.embed("refund")


@pytest.mark.slow
def test_the_same_vectors_in_another_process() -> None:
    code = (
        "from pytest_llmops.providers.offline import HashingEmbedder, TfidfEmbedder\n"
        "for one in (TfidfEmbedder(), HashingEmbedder()):\n"
        "    print(one.embed(['Refunds take 30 days.', 'zwei Wörter']).tobytes().hex())"
    )
    other = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "99"},
    )
    here = [first.embed(["Refunds take 30 days.", "zwei Wörter"]) for first in EMBEDDERS]
    assert other.stdout.split() == [first.tobytes().hex() for first in here]


def test_tfidf_is_fitted_to_the_texts_of_one_call() -> None:
    embedder = TfidfEmbedder()
    assert not embedder.across_calls
    assert embedder.embed(["refund"]).shape != embedder.embed(["refund", "parcel"]).shape


def test_tfidf_refuses_a_matrix_that_fits_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "MAX_CELLS", 10)
    with pytest.raises(UsageError, check=check_message):
        TfidfEmbedder().embed(["refund", "parcel"])


def test_hashing_has_a_fixed_dimension_in_its_version() -> None:
    assert HashingEmbedder(dim=64).embed(["word"]).shape == (1, 64)
    assert HashingEmbedder(dim=64).version != HashingEmbedder().version


def test_a_scripted_model_answers_in_order_and_is_used_up() -> None:
    model = ScriptedModel(["one", ModelError("down", kind="connection")])
    assert isinstance(model, Model)
    assert model.complete("hi", temperature=0).text == "one"
    assert model.asked == [((Message("user", "hi"),), {"temperature": 0})]
    with pytest.raises(ModelError, match="down"):
        model.complete("hi")
    with pytest.raises(ModelError, check=check_message):
        model.complete("hi")


def test_a_scripted_model_may_be_a_function() -> None:
    assert ScriptedModel(lambda messages: messages[-1].content.upper()).complete("hi").text == "HI"
