"""Prices of calls from a dated price table; a model that the table lacks has no price, never a price of 0."""

import contextlib
import math
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from pytest_llmops._util.hosts import is_loopback
from pytest_llmops.protocols import Usage


@lru_cache(maxsize=1)
def _import_genai_prices() -> Any:
    try:
        import genai_prices
    except ImportError:
        return None
    return genai_prices


# What the batch APIs of OpenAI and Anthropic take of the price of a live call (both vendors' price lists of 2026); the
# table has no prices of batches
BATCH_PRICE = 0.5
# Names of providers that differ in the table
TABLE_PROVIDER_IDS = {"bedrock": "aws", "vertex": "google", "xai": "x-ai"}


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
    price = _calculate_cost(model, usage, api_url, provider, tuple(extra_counts.items()))
    return price * BATCH_PRICE if price and is_batched else price


@lru_cache(maxsize=1024)
def _calculate_cost(
    model: str, usage: Usage, api_url: str, provider: str, extra_counts: tuple[tuple[str, int], ...]
) -> float | None:
    with contextlib.suppress(ValueError):
        if is_loopback(urlsplit(api_url).hostname or ""):
            return None
    library = _import_genai_prices()
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        **dict(extra_counts),
    }
    tokens = {name: count for name, count in counts.items() if count}
    # An ARN of Bedrock ends with the name.
    name = model.rpartition("/")[2] if model.startswith("arn:") else model
    lookups = [{"provider_api_url": api_url}] if api_url else []
    lookups += [{"provider_id": TABLE_PROVIDER_IDS.get(provider, provider)}] if provider else []
    lookups += [{}]  # the address of a gateway is not in the table: the model's name has to do
    for lookup in lookups:
        # The table refuses counts that contradict each other (more cached than input tokens ...).
        with contextlib.suppress(LookupError, ValueError, ArithmeticError, TypeError):
            price = float(library.calc_price(library.Usage(**tokens), model_ref=name, **lookup).total_price)
            return price if math.isfinite(price) else None
    return None
