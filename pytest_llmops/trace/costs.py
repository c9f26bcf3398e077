"""Prices of calls, from the table of the extra ``prices``."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from operator import mul
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from pytest_llmops._util.hosts import is_loopback
from pytest_llmops.protocols import Usage

# What the batch APIs of OpenAI and Anthropic take of the price of a live call (both vendors' price lists of 2026); the
# table has no prices of batches
BATCH_PRICE = 0.5
MILLION = 1_000_000
# Names of providers that differ in the table
TABLE_PROVIDER_IDS = {"bedrock": "aws", "vertex": "google", "xai": "x-ai"}
# Counts of input, cached and output tokens: the first three give the rates, the others show whether there are rates
_RATE_SAMPLES = (
    (MILLION, 0, 0),
    (0, MILLION, 0),
    (0, 0, MILLION),
    (1, 1, 1),
    (7, 0, 0),
    (1000 * MILLION, 3, 7),
)


@lru_cache(maxsize=1)
def _import_genai_prices() -> Any:
    try:
        import genai_prices
    except ImportError:
        return None
    return genai_prices


def cost_usd(
    model: str,
    usage: Usage,
    *,
    api_url: str = "",
    provider: str = "",
    extra_counts: Mapping[str, int] = MappingProxyType({}),
    is_batched: bool = False,
) -> float | None:
    """Return the price of a call in US dollars, or None if it is not known.

    None without the extra ``prices``, without token counts, for a model that is not in the table,
    and for a server on this machine, whatever its model is called.

    Args:
        model: The model's name as the provider gave it.
        usage: The tokens of the call.
        api_url: Address of the server; empty: only the model's name is looked up.
        provider: The provider, for an address that is not in the table.
        extra_counts: Counts with a price of their own, under the table's names: audio, the one-hour cache.
        is_batched: Whether it was made through a batch API.
    """
    if not model or usage.total_tokens is None or _import_genai_prices() is None:
        return None
    cached = usage.cached_tokens or 0
    counts = ((usage.input_tokens or 0) - cached, cached, usage.output_tokens or 0)
    is_usual = not usage.cache_write_tokens and not extra_counts
    rates: tuple[Decimal, ...] = ()
    if is_usual and min(counts) >= 0 and max(counts) <= MILLION**2:
        rates = _find_rates(model, api_url, provider)
    if rates:
        price: float | None = _multiply(rates, counts)
    else:
        price = _calculate_cost(model, usage, api_url, provider, tuple(extra_counts.items()))
    if price and is_batched:
        return price * BATCH_PRICE
    return price


def _multiply(rates: tuple[Decimal, ...], counts: tuple[int, ...]) -> float:
    return float(sum(map(mul, rates, counts)))


@lru_cache(maxsize=256)
def _find_rates(model: str, api_url: str, provider: str) -> tuple[Decimal, ...]:
    """Return what an input, a cached and an output token cost; empty: not known, or it depends on how many there are.

    The table takes long, and exports of traces have as many different counts as calls.
    """
    prices = []
    for new, cached, output in _RATE_SAMPLES:
        usage = Usage(input_tokens=new + cached, cached_tokens=cached, output_tokens=output)
        price = _calculate_cost(model, usage, api_url, provider, ())
        if price is None:
            return ()
        prices.append(price)
    exact = [Decimal(repr(price)) for price in prices[:3]]
    rates = tuple(price / MILLION for price in exact)
    prices_by_rates = [_multiply(rates, counts) for counts in _RATE_SAMPLES]
    if prices_by_rates == prices:
        return rates
    return ()


@lru_cache(maxsize=1024)
def _calculate_cost(
    model: str, usage: Usage, api_url: str, provider: str, extra_counts: tuple[tuple[str, int], ...]
) -> float | None:
    with contextlib.suppress(ValueError):
        if is_loopback(urlsplit(api_url).hostname or ""):
            return None
    library = _import_genai_prices()
    # A count that is left out takes the library long.
    tokens = {
        "input_tokens": usage.input_tokens or 0,
        "output_tokens": usage.output_tokens or 0,
        "cache_read_tokens": usage.cached_tokens or 0,
        "cache_write_tokens": usage.cache_write_tokens or 0,
        **dict(extra_counts),
    }
    name = model
    if model.startswith("arn:"):  # an ARN of Bedrock ends with the name
        name = model.rpartition("/")[2]
    for lookup in _list_lookups(api_url, provider):
        # The table refuses counts that contradict each other (more cached than input tokens ...).
        with contextlib.suppress(LookupError, ValueError, ArithmeticError, TypeError):
            result = library.calc_price(library.Usage(**tokens), model_ref=name, **lookup)
            price = float(result.total_price)
            if math.isfinite(price):
                return price
            return None
    return None


def _list_lookups(api_url: str, provider: str) -> Iterator[dict[str, str]]:
    """Yield the ways to find a model in the table, the most exact first."""
    if api_url:
        yield {"provider_api_url": api_url}
    if provider:
        yield {"provider_id": TABLE_PROVIDER_IDS.get(provider, provider)}
    yield {}  # the address of a gateway is not in the table: the model's name has to do
