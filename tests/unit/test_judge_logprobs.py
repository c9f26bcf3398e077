from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.judges import Rubric
from pytest_llmops.judges.protocol.logprobs import expected_score
from pytest_llmops.protocols import Completion, TokenLogprobs


class Sure:
    """A model whose last token is the score, by these probabilities."""

    model = "sure"

    def __init__(self, chances: Mapping[str, float] | None, written: int = 4) -> None:
        self.chances = chances
        self.written = written
        self.params: Mapping[str, Any] = {}

    def complete(self, messages: Any, /, **_params: Any) -> Completion:
        self.params = messages.params
        nonce = messages[1].content[6:38]
        text = json.dumps({"nonce": nonce, "reason": "has 4 facts", "score": self.written})
        if self.chances is None:
            return Completion(text=text)
        top = {token: math.log(one) for token, one in self.chances.items()}
        listed = {"4": {"4": 0.0}, " facts": {}, f" {self.written}": top, "}": {}}
        tokens = tuple(TokenLogprobs(token=token, top=rivals) for token, rivals in listed.items())
        return Completion(text=text, logprobs=tokens)


@pytest.fixture
def rubric(tmp_path: Path) -> Path:
    file = tmp_path / "facts.md"
    file.write_text(
        "---\nscale: 1-5\nlevels: {1-2: few, 3-4: some, 5: all}\nweighted: true\n---\nHas it the facts?\n",
        "utf-8",
    )
    return file


def test_the_score_is_the_mean_over_the_probabilities(rubric: Path) -> None:
    model = Sure({"4": 0.5, "5": 0.25, " 3": 0.25})
    found = Rubric(rubric, model).judge("x")
    assert found.score == pytest.approx(4.0)
    assert found.reason == "has 4 facts"
    assert found.confidence == pytest.approx(1 - math.sqrt(0.5) / 2)
    assert (model.params["logprobs"], model.params["top_logprobs"]) == (True, 20)


def test_tokens_off_the_scale_do_not_count(rubric: Path) -> None:
    found = Rubric(rubric, Sure({"4": 0.6, "7": 0.2, "good": 0.1, "0": 0.1})).judge("x")
    assert found.score == pytest.approx(4.0)
    assert found.confidence == pytest.approx(1.0)


@pytest.mark.parametrize(
    "chances",
    [
        None,
        {"4": 0.3, "good": 0.7},
    ],
)
def test_without_probabilities_there_is_no_score(rubric: Path, chances: Any) -> None:
    found = Rubric(rubric, Sure(chances)).judge("x")
    assert (found.score, found.reason) == (None, "")
    check_message(found.error)
    assert "has 4 facts" in found.raw


def test_a_score_that_is_no_token_is_no_score(rubric: Path) -> None:
    class Split(Sure):
        def complete(self, messages: Any, /, **params: Any) -> Completion:
            text = super().complete(messages, **params).text
            return Completion(text=text, logprobs=(TokenLogprobs(token='"score":4}'),))

    check_message(Rubric(rubric, Split({"4": 1.0})).judge("x").error)


def test_a_mean_needs_probabilities() -> None:
    assert expected_score({1.0: 0.5, 5.0: 0.5}, 1, 5) == (3, 2)
    assert expected_score({}, 1, 5) is None
    assert expected_score({9.0: 1.0}, 1, 5) is None
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, check=check_message):
            expected_score({1.0: bad}, 1, 5)


@pytest.mark.shared_data
def test_the_published_win_rate_of_the_null_model_comes_out_of_the_log_probabilities(
    shared_data: Path,
) -> None:
    """Zheng et al. 2024, "Cheating Automatic LLM Benchmarks": 76.9198 % on AlpacaEval 2 with a constant answer.

    A GPT-4 judge names one of two letters; its preference is 1 + the probability of the one, of both together.
    Half the rows have the letters swapped.
    """
    file = shared_data / "judge" / "logprob_judge" / "nullmodel_gpt4turbo.jsonl.gz"
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    means = []
    for row in rows:
        top = row["logprobs"]["content"][0]["top_logprobs"]
        chances = {one["token"]: math.exp(one["logprob"]) for one in top}
        found = expected_score({1.0: chances.get("m", 0.0), 2.0: chances.get("M", 0.0)}, 1, 2)
        assert found is not None
        straight, swapped = found[0], 3 - found[0]
        nearest = min((straight, swapped), key=lambda one, row=row: abs(one - row["preference"]))  # type: ignore[misc]
        assert nearest == pytest.approx(row["preference"], abs=1e-6)
        means.append(nearest)
    assert len(rows) == 805
    assert 100 * (sum(means) / len(means) - 1) == pytest.approx(76.9198, abs=1e-4)
