"""Win rates, and win rates at equal length."""

from __future__ import annotations

import math
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from support.messages import check_message
from support.shared import rows

from pytest_llmops.judges import ReplyForm
from pytest_llmops.judges.protocol.verdict_probabilities import read_name_probabilities
from pytest_llmops.metrics.win_rates import JudgedPairs, WinRate, length_controlled_win_rate, win_rate
from pytest_llmops.protocols import Completion, TokenChoice

shares = st.floats(0, 1)


def judge_lengths(
    lengths: Any, *, identity: float, effect: float, difficulties: Any = (), other: float = 400.0
) -> JudgedPairs:
    """Return pairs whose preferences follow the model of the regression exactly."""
    differences = np.asarray(lengths) - other
    log_odds = identity + effect * np.tanh(differences / differences.std(ddof=1))
    if len(difficulties):
        log_odds += np.asarray(difficulties)
    return JudgedPairs(
        preferences=expit(log_odds).tolist(),
        lengths=list(lengths),
        other_lengths=[other] * len(lengths),
        difficulties=list(difficulties),
    )


LENGTHS = np.random.default_rng(7).normal(520, 180, 400).clip(1)


def test_a_win_rate_is_the_mean_with_an_interval() -> None:
    preferences = [1, 0.5, 0.25, 1, 0, 0.75] * 20
    result = win_rate(preferences)
    assert (result.rate, result.pairs) == (fmean(preferences), 120)
    assert result.standard_error == pytest.approx(stdev(preferences) / math.sqrt(120))
    assert result.low < result.rate < result.high
    assert win_rate(preferences, confidence=0.5).low > result.low
    assert win_rate(np.array(preferences)) == result


@given(st.lists(shares, min_size=2, max_size=40))
def test_an_interval_is_never_a_point_and_holds_the_rate(preferences: list[float]) -> None:
    result = win_rate(preferences)
    assert 0 <= result.low <= result.rate <= result.high <= 1
    assert result.low < result.high


@pytest.mark.slow
def test_at_equal_length_the_effect_of_length_is_gone() -> None:
    result = length_controlled_win_rate(judge_lengths(LENGTHS, identity=-0.5, effect=2.0))
    assert result.rate == pytest.approx(expit(-0.5), abs=2e-3)
    plain = win_rate(judge_lengths(LENGTHS, identity=-0.5, effect=2.0).preferences)
    assert plain.rate > 0.5 > result.high


def test_difficulties_are_part_of_the_prediction_whatever_their_scale() -> None:
    difficulties = np.random.default_rng(8).normal(0, 2, 400)
    pairs = judge_lengths(LENGTHS, identity=0.3, effect=1.0, difficulties=difficulties)
    result = length_controlled_win_rate(pairs)
    assert result.rate == pytest.approx(expit(0.3 + difficulties).mean(), abs=5e-3)
    scaled = JudgedPairs(
        preferences=pairs.preferences,
        lengths=pairs.lengths,
        other_lengths=pairs.other_lengths,
        difficulties=(1e9 * difficulties).tolist(),
    )
    assert length_controlled_win_rate(scaled).rate == pytest.approx(result.rate, abs=1e-6)


def test_lengths_that_do_not_differ_leave_the_win_rate() -> None:
    pairs = JudgedPairs(preferences=[1, 1, 0, 0.5] * 10, lengths=[9] * 40, other_lengths=[9] * 40)
    assert length_controlled_win_rate(pairs).rate == pytest.approx(0.625, abs=1e-3)


def test_anchors_show_the_effect_of_length_where_a_model_is_always_shorter() -> None:
    short = np.random.default_rng(9).normal(200, 40, 300).clip(1)
    pairs = judge_lengths(short, identity=0.5, effect=2.0)
    with pytest.raises(ValueError, check=check_message):
        length_controlled_win_rate(pairs)
    anchors = [
        judge_lengths(np.random.default_rng(seed).uniform(low, high, 300), identity=0.0, effect=2.0)
        for seed, low, high in ((10, 100, 500), (11, 300, 900))
    ]
    result = length_controlled_win_rate(pairs, anchors=anchors)
    assert result.rate == pytest.approx(expit(0.5), abs=0.02)


@pytest.mark.slow
def test_the_interval_is_as_wide_as_the_spread_of_repeated_samples() -> None:
    """Preferences of 0 and 1 are drawn from the regression's model, 60 times."""
    generator = np.random.default_rng(12)
    chances = np.array(judge_lengths(LENGTHS, identity=0.4, effect=1.5).preferences)
    results: list[WinRate] = []
    for _ in range(60):
        drawn = (generator.random(len(chances)) < chances).astype(float)
        pairs = JudgedPairs(
            preferences=drawn.tolist(), lengths=LENGTHS.tolist(), other_lengths=[400.0] * len(drawn)
        )
        results.append(length_controlled_win_rate(pairs))
    covered = sum(result.low <= expit(0.4) <= result.high for result in results)
    assert covered >= 52
    spread = stdev(result.rate for result in results)
    assert fmean(result.standard_error for result in results) == pytest.approx(spread, rel=0.3)


@pytest.mark.parametrize(
    "preferences",
    [
        [],
        [1],
        [1, None],
        [1, math.nan],
        [1, math.inf],
        [1, 1.5],
        [1, -0.1],
        [1, "1"],
        [1, True],
        "11",
        1,
        {"a": 1},
    ],
)
def test_preferences_that_are_none(preferences: Any) -> None:
    with pytest.raises(ValueError, check=check_message):
        win_rate(preferences)


@pytest.mark.parametrize(
    "change",
    [
        {"preferences": [1.0, 0.0, 2.0]},
        {"preferences": []},
        {"lengths": [1, 2]},
        {"lengths": [1, 2, -3]},
        {"lengths": [1, 2, math.nan]},
        {"other_lengths": [1, 2, 1e300]},
        {"other_lengths": None},
        {"difficulties": [0.5]},
        {"difficulties": [0.5, 1, math.inf]},
    ],
)
def test_pairs_that_cannot_be(change: dict[str, Any]) -> None:
    given_pairs = {"preferences": [1, 0, 0.5], "lengths": [1, 2, 3], "other_lengths": [3, 2, 1]}
    with pytest.raises(ValueError, check=check_message):
        JudgedPairs(**{**given_pairs, **change})


@pytest.mark.parametrize(
    ("preferences", "options"),
    [
        ([1, 0] * 14, {}),
        ([1] * 39 + [0], {}),
        ([0.5] * 40, {}),
        ([1, 0] * 20, {"confidence": 1}),
        ([1, 0] * 20, {"confidence": math.nan}),
        (
            [1, 0] * 20,
            {"anchors": [JudgedPairs(preferences=[1], lengths=[1], other_lengths=[2], difficulties=[0])]},
        ),
    ],
)
def test_pairs_that_cannot_be_controlled(preferences: list[float], options: Any) -> None:
    count = len(preferences)
    lengths = [3 + place % 4 for place in range(count)]
    pairs = JudgedPairs(preferences=preferences, lengths=lengths, other_lengths=[4.5] * count)
    with pytest.raises(ValueError, check=check_message):
        length_controlled_win_rate(pairs, **options)


@pytest.mark.slow
@given(
    st.lists(st.tuples(shares, st.integers(0, 10**6), st.integers(0, 10**6), st.floats(-99, 99)), min_size=30)
)
def test_a_rate_at_equal_length_is_a_share_or_an_error(pairs: list[tuple[float, int, int, float]]) -> None:
    preferences, lengths, other_lengths, difficulties = zip(*pairs, strict=True)
    judged = JudgedPairs(
        preferences=preferences,
        lengths=lengths,
        other_lengths=other_lengths,
        difficulties=difficulties,
    )
    try:
        result = length_controlled_win_rate(judged)
    except ValueError:
        return
    assert 0 <= result.low <= result.rate <= result.high <= 1


@pytest.mark.shared_data
def test_the_published_win_rate_of_a_judge_with_log_probabilities() -> None:
    """NullModel on the board of AlpacaEval 2: 76.9198 with a standard error of 0.9090.

    The judge names an answer by `M` or `m`. Which letter is whose is not published, but differs between rows. In two rows
    it wrote another word: those have no verdict here, where the board reads the letters it might have written.
    """
    form = ReplyForm(
        names={"m": 1, "M": 0}, field="winner", reason="none", has_nonce=False, case_matters=True
    )
    lead = TokenChoice(token="winner: ", alternatives={})
    published = []
    without_verdict = []
    for row in rows("judge", "logprob_judge", "nullmodel_gpt4turbo.jsonl.gz"):
        token = row["logprobs"]["content"][0]
        alternatives = {choice["token"]: choice["logprob"] for choice in token["top_logprobs"]}
        verdict = TokenChoice(token=token["token"], alternatives=alternatives)
        name = form.find_name(row["text"]) or ""
        shares = read_name_probabilities(Completion(text=row["text"], tokens=(lead, verdict)), form, name)
        preference = row["preference"] - 1
        published.append(preference)
        if not shares:
            without_verdict.append(row["text"])
            continue
        assert any(share == pytest.approx(preference, abs=1e-6) for share in shares.values()), row["i"]
    assert without_verdict == ["Please", "Both"]
    result = win_rate(published)
    assert 100 * result.rate == pytest.approx(76.9198, abs=1e-4)
    assert 100 * result.standard_error == pytest.approx(0.9090, abs=1e-4)
