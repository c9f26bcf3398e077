from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.judges import Pairwise, ReplyForm, Rubric, read_reply, win_rate
from pytest_llmops.judges.pairwise import Preference
from pytest_llmops.judges.protocol.parsing import expected_score
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


def tokens(*pairs: tuple[str, Mapping[str, float]]) -> tuple[TokenLogprobs, ...]:
    return tuple(
        TokenLogprobs(token=token, top={rival: math.log(chance) for rival, chance in rivals.items()})
        for token, rivals in pairs
    )


@pytest.mark.parametrize(
    ("names", "reply", "score"),
    [
        (
            {"pass": 1, "fail": 0},
            [('{"verdict": "', {}), ("pass", {"pass": 0.7, "fail": 0.3}), ('"}', {})],
            0.7,
        ),
        (
            {"pass": 1, "fail": 0},
            [("Verdict: ", {}), (" PA", {" PA": 0.6, "fa": 0.2, "x": 0.2}), ("SS", {})],
            0.75,
        ),
        (
            {"A": 1, "tie": 0.5, "B": 0},
            [("[[", {}), ("tie", {"A": 0.25, "t": 0.5, "B": 0.25}), ("]]", {})],
            0.5,
        ),
        (
            {"A": 1, "B": 0},
            [("A plan. Winner: ", {}), ("A", {"A": 0.9, "B": 0.1}), (", as A is right", {})],
            0.9,
        ),
        ({"A>>B": 2, "B>>A": -2}, [("[[", {}), ("A", {"A": 0.75, "B": 0.25}), (">>B]]", {})], 1),
    ],
)
def test_a_name_is_weighted_by_its_first_token(names: Any, reply: Any, score: float) -> None:
    text = "".join(token for token, _ in reply)
    form = ReplyForm(names=names, reason_required=False)
    read = read_reply(text, form, logprobs=tokens(*reply))
    assert read.score == pytest.approx(score)
    assert read.confidence is not None
    assert 0 <= read.confidence <= 1


@pytest.mark.parametrize(
    "reply",
    [
        [],
        [("[[", {}), ("A", {"A": 0.9, "B": 0.1}), (">B]]", {})],
        [("[[", {}), ("A>>B", {"x": 1.0}), ("]]", {})],
    ],
    ids=["none", "a token that begins several names", "other tokens"],
)
def test_names_without_probabilities_of_their_own_are_no_score(reply: Any) -> None:
    form = ReplyForm(names={"A>>B": 2, "A>B": 1, "B>A": -1}, reason_required=False)
    text = "".join(token for token, _ in reply) or "[[A>B]]"
    read = read_reply(text, form, logprobs=tokens(*reply))
    assert read.score is None
    check_message(read.error)


@dataclass
class Choosing:
    """A model that names the answer that holds the fact, by a probability."""

    chance: float
    model: str = "choosing"

    def complete(self, messages: Any, /, **_params: Any) -> Completion:
        assert messages.params["logprobs"] is True
        first = "30" in json.loads(messages[1].content.split("\n")[1])["answer_a"]
        name, other = ("A", "B") if first else ("B", "A")
        head = f'{{"nonce": "{messages[1].content[6:38]}", "reason": "A or B", "winner": "'
        chances = {name: self.chance, other: 1 - self.chance}
        return Completion(text=f'{head}{name}"}}', logprobs=tokens((head, {}), (name, chances), ('"}', {})))


def test_a_pair_has_a_share_by_the_probabilities_of_both_orders() -> None:
    judge = Pairwise(model=Choosing(0.9), weighted=True)
    found = judge.compare("It takes 30 days.", "It takes long.")
    assert found.winner == "first"
    assert found.share == pytest.approx(0.9)
    assert judge.compare("It takes long.", "It takes 30 days.").share == pytest.approx(0.1)
    assert judge.version != Pairwise(model=Choosing(0.9)).version


def test_a_pair_without_probabilities_is_no_verdict() -> None:
    class Silent(Choosing):
        def complete(self, messages: Any, /, **params: Any) -> Completion:
            return replace(super().complete(messages, **params), logprobs=())

    found = Pairwise(model=Silent(0.9), weighted=True).compare("30 days", "long")
    assert (found.winner, found.share) == (None, None)
    check_message(found.error)


def test_a_rubric_of_names_is_weighted(tmp_path: Path) -> None:
    file = tmp_path / "kind.md"
    file.write_text(
        "---\nscale: pass/fail\nlevels: {pass: kind, fail: rude}\nweighted: true\n---\nIs it kind?\n", "utf-8"
    )

    class Kind(Sure):
        def complete(self, messages: Any, /, **params: Any) -> Completion:
            super().complete(messages, **params)
            head = f'{{"nonce": "{messages[1].content[6:38]}", "reason": "may pass", "verdict": "'
            listed = tokens((head, {}), ("pass", {"pass": 0.8, "fail": 0.2}), ('"}', {}))
            return Completion(text=f'{head}pass"}}', logprobs=listed)

    found = Rubric(file, Kind(None)).judge("Thank you.")
    assert found.score == pytest.approx(0.8)
    assert found.confidence == pytest.approx(0.2)


def test_a_soft_win_rate_has_a_standard_error() -> None:
    shares = [0.9, 0.6, 0.3]
    pairs = [Preference(winner="first" if share > 0.5 else "second", share=share) for share in shares]
    found = win_rate([*pairs, Preference(winner="tie", prescreened=True), Preference(error="?")])
    counted = [*shares, 0.5]
    assert found.soft_rate == pytest.approx(fmean(counted))
    assert found.soft_error == pytest.approx(stdev(counted) / 2)
    assert win_rate([Preference(winner="first")]).soft_rate is None
    assert win_rate(pairs[:1]).soft_error is None


@pytest.mark.shared_data
def test_the_published_win_rate_of_the_null_model_comes_out_of_the_log_probabilities(
    shared_data: Path,
) -> None:
    """Zheng et al. 2024, "Cheating Automatic LLM Benchmarks": 76.9198 % on AlpacaEval 2 with a constant answer, and a
    standard error of 0.9090.

    A GPT-4 judge names one of two letters; its preference is 1 + the probability of the one, of both together.
    Half the rows have the letters swapped.
    """
    file = shared_data / "judge" / "logprob_judge" / "nullmodel_gpt4turbo.jsonl.gz"
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    form = ReplyForm(names={"m": 0, "M": 1}, case_matters=True, reason_required=False)
    pairs = []
    for row in rows:
        content = row["logprobs"]["content"]
        listed = [
            TokenLogprobs(
                token=entry["token"], top={one["token"]: one["logprob"] for one in entry["top_logprobs"]}
            )
            for entry in content
        ]
        read = read_reply("".join(entry["token"] for entry in content), form, logprobs=listed)
        assert read.score is not None, read.error
        straight, swapped = read.score, 1 - read.score
        share = min(straight, swapped, key=lambda one, row=row: abs(1 + one - row["preference"]))  # type: ignore[misc]
        assert 1 + share == pytest.approx(row["preference"], abs=1e-6)
        pairs.append(Preference(winner="first" if share > 0.5 else "second", share=share))
    found = win_rate(pairs)
    assert len(rows) == 805
    assert found.soft_rate is not None
    assert found.soft_error is not None
    assert 100 * found.soft_rate == pytest.approx(76.9198, abs=1e-4)
    assert 100 * found.soft_error == pytest.approx(0.9090, abs=1e-4)
