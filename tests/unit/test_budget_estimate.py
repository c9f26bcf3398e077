"""What a call may cost, told before it is made: on the safe side, and nothing where no price is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_llmops.cassettes.budget import Ledger, _count_characters, estimate_cost

CHAT = "https://api.openai.com/v1/chat/completions"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def make_request(**more: object) -> dict[str, object]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x" * 4000}], **more}


@pytest.mark.parametrize(
    "bound",
    [
        {"max_tokens": 500},
        {"max_completion_tokens": 500},
        {"max_output_tokens": 500},
        {"generationConfig": {"maxOutputTokens": 500}},
        {"inferenceConfig": {"maxTokens": 500}},
        {"options": {"num_predict": 500}},
        {"max_tokens": 250, "n": 2},
    ],
)
def test_an_estimate_is_the_input_s_size_and_the_stated_bound(bound: dict[str, object]) -> None:
    result = estimate_cost(make_request(**bound), CHAT, dearest_usd=99.0)
    least = estimate_cost(make_request(max_tokens=1), CHAT)
    assert result is not None
    assert least is not None
    assert least == pytest.approx(1_000 * 0.15e-6, rel=0.1)
    assert result - least == pytest.approx(499 * 0.60e-6, rel=0.1)


@pytest.mark.parametrize("bound", [0, -1, True, "500", None, [5]])
def test_a_bound_that_is_none_does_not_count(bound: object) -> None:
    assert estimate_cost(make_request(max_tokens=bound), CHAT) == pytest.approx(
        estimate_cost(make_request(), CHAT), rel=0.01
    )
    assert estimate_cost(make_request(generationConfig=bound), CHAT) is not None


def test_without_a_bound_a_call_may_cost_as_much_as_the_dearest_so_far(path: Path) -> None:
    ledger = Ledger(path, budget_usd=10.0)
    first = ledger.estimate(make_request(), CHAT)
    assert first == pytest.approx(estimate_cost(make_request(max_tokens=1000), CHAT), rel=0.02)
    ledger.reserve_call(first).settle(0.75)
    ledger.reserve_call(first).settle(0.5)
    assert ledger.estimate(make_request(), CHAT) == 0.75
    assert ledger.estimate(make_request(max_tokens=5), CHAT) == estimate_cost(
        make_request(max_tokens=5), CHAT
    )
    long = make_request(messages="x " * 20_000_000)
    assert ledger.estimate(long, CHAT) == pytest.approx(10_000_000 * 0.15e-6, rel=0.01)


@pytest.mark.parametrize("several", [{"n": 3}, {"generationConfig": {"candidateCount": 3}}])
def test_without_a_bound_several_answers_may_cost_as_much_each(several: dict[str, object]) -> None:
    assert estimate_cost(make_request(**several), CHAT) == pytest.approx(
        estimate_cost(make_request(max_tokens=3000), CHAT), rel=0.02
    )


def test_without_a_budget_in_dollars_nothing_is_estimated(path: Path) -> None:
    assert Ledger(path, max_calls=1).estimate(make_request(), CHAT) is None
    assert not path.exists()


def test_the_model_may_stand_in_the_address() -> None:
    for url in (
        "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent",
        "https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse",
    ):
        for model in ({}, {"model": ""}, {"model": None}):
            assert (estimate_cost({"contents": [], **model}, url) or 0) > 0


def test_an_embedding_has_no_output() -> None:
    value = {"model": "text-embedding-3-small", "input": "x" * 4_000}
    result = estimate_cost(value, "https://api.openai.com/v1/embeddings", dearest_usd=99.0)
    assert result == pytest.approx(1_000 * 0.02e-6, rel=0.1)


def test_a_picture_is_not_taken_for_text() -> None:
    picture = "data:image/png;base64," + "A" * 4_000_000
    few = estimate_cost(make_request(messages=[{"image_url": {"url": picture}}], max_tokens=1), CHAT)
    many = estimate_cost(make_request(messages=[{"text": "a b " * 1_000_000}], max_tokens=1), CHAT)
    assert few is not None
    assert many is not None
    assert few < many / 50


@pytest.mark.parametrize("value", [None, [], "x", 5, {}, {"model": 5}, {"model": "no-such-model-of-anybody"}])
def test_what_has_no_price_has_no_estimate(value: object) -> None:
    assert estimate_cost(value, CHAT) is None
    assert estimate_cost(value, "http://[broken") is None


def test_a_server_on_this_machine_has_no_price() -> None:
    assert estimate_cost(make_request(), "http://loopback/v1/chat/completions") is None


def test_a_request_deeper_than_the_stack_is_estimated() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert estimate_cost(make_request(deep=deep), CHAT) is not None
    while deep:
        deep = deep.pop()


def test_a_list_of_tokens_counts_by_its_length_as_json() -> None:
    result = estimate_cost(
        {"model": "text-embedding-3-small", "input": [7] * 8_000}, "https://api.openai.com/v1/embeddings"
    )
    assert result == pytest.approx(16_000 / 4 * 0.02e-6, rel=0.02)


def test_the_size_of_a_request_is_that_of_its_json() -> None:
    request = {"model": "m", "messages": [{"role": "user", "content": "how long"}] * 3, "stop": ["a", "b"]}
    length = len(json.dumps(request, separators=(",", ":")))
    assert abs(_count_characters(request) - length) <= 6  # one for each of its lists and objects
