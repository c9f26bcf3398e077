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

# The batch APIs of OpenAI and Anthropic cost this share of the price of a live call (price lists of both, 2026). The table has no
# prices for batches.
BATCH_PRICE = 0.5
MILLION = 1_000_000
# Our name of a provider -> its id in the table, where they differ
TABLE_PROVIDER_IDS = {"bedrock": "aws", "vertex": "google", "xai": "x-ai"}
# (new input, cached input, output) tokens. The first three give the rates; the others check that a price is the sum of counts times
# rates, not by steps.
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
    """Return the module with the price table; None without the extra ``prices``."""
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
        api_url: Address of the server. Empty: only the model's name is looked up.
        provider: The provider, for an address that is not in the table.
        extra_counts: Further token counts that have their own price, under the table's names: audio, the one-hour cache.
        is_batched: Whether the call was made through a batch API.
    """
    if not model or usage.total_tokens is None or _import_genai_prices() is None:
        return None
    cached = usage.cached_tokens or 0
    counts = ((usage.input_tokens or 0) - cached, cached, usage.output_tokens or 0)
    has_plain_counts = not usage.cache_write_tokens and not extra_counts
    rates: tuple[Decimal, ...] = ()
    if has_plain_counts and min(counts) >= 0 and max(counts) <= MILLION**2:
        rates = _find_rates(model, api_url, provider)
    if rates:
        price: float | None = _multiply(rates, counts)
    else:
        price = _calculate_cost(model, usage, api_url, provider, tuple(extra_counts.items()))
    if price and is_batched:
        return price * BATCH_PRICE
    return price


def _multiply(rates: tuple[Decimal, ...], counts: tuple[int, ...]) -> float:
    """Return the price: the sum of each count times its rate."""
    return float(sum(map(mul, rates, counts)))


@lru_cache(maxsize=256)
def _find_rates(model: str, api_url: str, provider: str) -> tuple[Decimal, ...]:
    """Return the prices of one new input, one cached and one output token; () if not known, or if they depend on the number of tokens.

    A look into the table is slow, and in exports of traces each call has other counts: so the rates are cached, not the prices.
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
    """Return the price of a call by the table; None if it is not known, and for a server on this machine."""
    with contextlib.suppress(ValueError):  # an address that cannot be parsed
        if is_loopback(urlsplit(api_url).hostname or ""):
            return None
    library = _import_genai_prices()
    # The library is slow if a count is missing: so it gets 0.
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
    """Yield arguments of `calc_price` that select the provider: by address, by name, then none (the model's name decides)."""
    if api_url:
        yield {"provider_api_url": api_url}
    if provider:
        yield {"provider_id": TABLE_PROVIDER_IDS.get(provider, provider)}
    yield {}  # a gateway, for example, is not in the table
