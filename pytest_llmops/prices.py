"""What a call costs, from a dated price table; an unknown model has no price, never a price of 0."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from pytest_llmops.hosts import is_loopback
from pytest_llmops.protocols import Usage


@lru_cache(maxsize=1)
def _library() -> Any:
    try:
        import genai_prices
    except ImportError:
        return None
    return genai_prices


def table_version() -> str:
    """Name the price table in use, or return an empty text if there is none."""
    library = _library()
    return f"genai-prices {library.__version__}" if library is not None else ""


def cost_usd(model: str, usage: Usage, *, api_url: str = "") -> float | None:
    """Return the price of a call in US dollars, or None where it is not known.

    None without the extra ``prices``, without token counts, for a model that the table does not
    name, and for a server on this machine, whatever its model is called.

    Args:
        model: The model's name as the provider gave it.
        usage: The tokens of the call.
        api_url: Address of the server; empty: told by the model's name alone.
    """
    library = _library()
    if library is None or not model or usage.total_tokens is None or _is_local(api_url):
        return None
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cached_tokens,
    }
    tokens = {name: count for name, count in counts.items() if count}
    for how in _ways(api_url):
        # The table's own checks (more cached than input tokens ...) are about a server's numbers.
        with contextlib.suppress(LookupError, ValueError, ArithmeticError, TypeError):
            price = float(library.calc_price(library.Usage(**tokens), model_ref=model, **how).total_price)
            return price if math.isfinite(price) else None
    return None


def _is_local(api_url: str) -> bool:
    try:
        return is_loopback(urlsplit(api_url).hostname or "")
    except ValueError:
        return False


def _ways(api_url: str) -> tuple[Mapping[str, str], ...]:
    # A gateway's address is in no table: then the model's name has to do.
    return ({"provider_api_url": api_url}, {}) if api_url else ({},)
