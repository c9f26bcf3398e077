from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pytest_llmops import trace
from pytest_llmops.protocols import Usage
from pytest_llmops.trace import costs
from pytest_llmops.trace.routes import BUILT_IN

USED = Usage(input_tokens=1000, output_tokens=100)


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(__import__("sys").modules, "genai_prices", None)
    costs._import_genai_prices.cache_clear()
    yield
    monkeypatch.undo()
    costs._import_genai_prices.cache_clear()


def test_a_known_model_has_a_price() -> None:
    price = trace.cost_usd("gpt-4o-mini", USED, api_url="https://api.openai.com")
    assert price is not None
    assert 0 < price < 0.01
    assert trace.cost_usd("gpt-4o-mini", USED) == price


def test_a_gateway_is_priced_by_the_model_s_name() -> None:
    known = trace.cost_usd("gpt-4o-mini", USED)
    assert trace.cost_usd("gpt-4o-mini", USED, api_url="https://gateway.example/v1") == known


def test_cached_tokens_are_cheaper() -> None:
    cached = Usage(input_tokens=1000, output_tokens=100, cached_tokens=900)
    full, part = trace.cost_usd("gpt-4o-mini", USED), trace.cost_usd("gpt-4o-mini", cached)
    assert full is not None
    assert part is not None
    assert part < full


@pytest.mark.parametrize("model", ["", "no-such-model-1", "x" * 10_000, "a\nb", "\ud800"])
def test_an_unknown_model_has_no_price(model: str) -> None:
    assert trace.cost_usd(model, USED) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000",
        "http://127.0.0.1/v1",
        "http://[::1]:1",
        "http://loopback",
        "http://a.localhost",
    ],
)
def test_a_server_on_this_machine_has_no_price(url: str) -> None:
    assert trace.cost_usd("gpt-4o-mini", USED, api_url=url) is None


def test_without_token_counts_there_is_no_price() -> None:
    assert trace.cost_usd("gpt-4o-mini", Usage()) is None


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input_tokens=1, output_tokens=1, cached_tokens=5),
        Usage(input_tokens=10**400, output_tokens=1),
        Usage(input_tokens=10**4000, output_tokens=10**4000),
    ],
)
def test_numbers_that_make_no_sense_have_no_price(usage: Usage) -> None:
    assert trace.cost_usd("gpt-4o-mini", usage) is None


@pytest.mark.parametrize(
    ("model", "provider", "is_linear"),
    [
        ("gpt-4.1-mini-2025-04-14", "openai", True),
        ("claude-sonnet-4-5", "anthropic", False),
        ("gemini-2.5-pro", "", False),  # dearer above 200,000 tokens
        ("no-such-model-1", "", False),
    ],
)
def test_a_price_by_rates_is_that_of_the_table(model: str, provider: str, is_linear: bool) -> None:
    assert bool(costs._find_rates(model, "", provider)) is is_linear
    for size in (1, 997, 123_457, 300_001):
        for cached in (None, size // 3):
            usage = Usage(input_tokens=size, output_tokens=size // 7, cached_tokens=cached)
            price = trace.cost_usd(model, usage, provider=provider)
            assert price == costs._calculate_cost(model, usage, "", provider, ())


@pytest.mark.parametrize("url", ["http://[", "not a url", "://", "https://"])
def test_an_address_that_makes_no_sense_is_left_out(url: str) -> None:
    assert trace.cost_usd("gpt-4o-mini", USED, api_url=url) == trace.cost_usd("gpt-4o-mini", USED)


def test_without_the_library_nothing_has_a_price(no_library: Any) -> None:
    assert trace.cost_usd("gpt-4o-mini", USED) is None


def test_a_provider_tells_the_price_where_the_address_does_not() -> None:
    model, proxy = "us.anthropic.claude-sonnet-4-20250514-v1:0", "https://proxy.example"
    assert trace.cost_usd(model, USED, api_url=proxy) is None
    lines = trace.cost_usd(model, USED, api_url=proxy, provider="bedrock")
    assert lines == trace.cost_usd(model, USED, api_url="https://bedrock-runtime.us-east-1.amazonaws.com")
    assert lines is not None
    arn = f"arn:aws:bedrock:us-east-1:1:inference-profile/{model}"
    assert trace.cost_usd(arn, USED, provider="bedrock") == lines


def test_what_is_written_to_the_cache_has_its_own_price() -> None:
    def cost(usage: Usage, **beside: int) -> float | None:
        return trace.cost_usd("claude-sonnet-4-5", usage, provider="anthropic", extra_counts=beside)

    written = Usage(input_tokens=1_000_000, output_tokens=0, cache_write_tokens=1_000_000)
    # Published per million tokens.
    assert cost(Usage(input_tokens=100_000, output_tokens=0)) == pytest.approx(0.3)
    assert cost(Usage(input_tokens=100_000, output_tokens=0, cached_tokens=100_000)) == pytest.approx(0.03)
    small = Usage(input_tokens=100_000, output_tokens=0, cache_write_tokens=100_000)
    assert cost(small) == pytest.approx(0.375)
    assert cost(small, cache_write_1h_tokens=100_000) == pytest.approx(0.6)
    assert cost(written, cache_write_1h_tokens=2_000_000) is None


def test_providers_are_called_as_the_table_calls_them() -> None:
    from genai_prices.data import providers

    known = {provider.id for provider in providers}
    names = {name for wire_format in BUILT_IN.values() for name in wire_format.hosts.values()}
    apart = {"ollama", "huggingface", "nvidia", "jina", "deepinfra", "github", "sambanova"}
    assert {costs.TABLE_PROVIDER_IDS.get(name, name) for name in names} - known == apart
    assert set(costs.TABLE_PROVIDER_IDS.values()) <= known
