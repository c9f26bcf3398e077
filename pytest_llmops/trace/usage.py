"""Token counts in the spellings of OpenAI, which most others took over."""

from __future__ import annotations

from pytest_llmops.protocols import Usage
from pytest_llmops.trace.fields import JsonObject, as_mapping, as_token_count, sum_known_counts

MAX_USD = 10**6
"""No call costs more: such a number is no price."""
_CACHED_TOKEN_KEYS = (
    "prompt_cache_hit_tokens",
    "cached_tokens",
    "num_cached_tokens",
    "cached_prompt_text_tokens",
)
"""Names that servers use beside OpenAI's own, which is one level deeper."""


def read_openai_usage(wire: JsonObject) -> Usage:
    """Read the token counts of a reply in one of OpenAI's two spellings."""
    input_details = as_mapping(wire.get("prompt_tokens_details")) or as_mapping(
        wire.get("input_tokens_details")
    )
    output_details = as_mapping(wire.get("completion_tokens_details")) or as_mapping(
        wire.get("output_tokens_details")
    )
    input_tokens = as_token_count(wire.get("prompt_tokens", wire.get("input_tokens")))
    output_tokens = as_token_count(wire.get("completion_tokens", wire.get("output_tokens")))
    reasoning = as_token_count(output_details.get("reasoning_tokens", wire.get("reasoning_tokens")))
    if reasoning and as_token_count(wire.get("total_tokens")) == sum_known_counts(
        input_tokens, output_tokens, reasoning
    ):
        # xAI counts them beside the answer and not as a part of it, as the sum tells.
        output_tokens = sum_known_counts(output_tokens, reasoning)
    cached = as_token_count(input_details.get("cached_tokens"))
    for name in _CACHED_TOKEN_KEYS if cached is None else ():
        if name in wire:
            cached = as_token_count(wire[name])
            break
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached,
        cache_write_tokens=as_token_count(input_details.get("cache_write_tokens")),
        reasoning_tokens=reasoning,
    )


def read_audio_tokens(wire: JsonObject) -> dict[str, int]:
    """Read the tokens of sound, which have a price of their own."""
    counts: dict[str, int] = {}
    for key, name in (("prompt_tokens_details", "input"), ("completion_tokens_details", "output")):
        if key in wire:
            tokens = as_token_count(as_mapping(wire[key]).get("audio_tokens"))
            counts |= {f"{name}_audio_tokens": tokens} if tokens else {}
    return counts


def read_stated_cost(wire: JsonObject) -> float | None:
    """Return what OpenRouter says that a call cost, in US dollars; None where it says nothing."""
    cost = wire.get("cost")
    if not isinstance(cost, (int, float)) or isinstance(cost, bool) or not 0 <= cost <= MAX_USD:
        return None
    return float(cost)
