"""Token counts and costs in the fields of OpenAI and compatible servers."""

from __future__ import annotations

from pytest_llmops._util.json_values import JsonObject, as_mapping
from pytest_llmops.protocols import Usage
from pytest_llmops.trace.fields import as_token_count, sum_known_counts

MAX_USD = 10**6
"""A larger number is not a price."""
_CACHED_TOKEN_KEYS = (
    "prompt_cache_hit_tokens",
    "cached_tokens",
    "num_cached_tokens",
    "cached_prompt_text_tokens",
)
"""Keys of compatible servers; OpenAI's own is in the details of the input."""


def read_openai_usage(counts: JsonObject) -> Usage:
    """Read the token counts of a reply of chat completions or Responses."""
    input_details = as_mapping(counts.get("prompt_tokens_details")) or as_mapping(
        counts.get("input_tokens_details")
    )
    output_details = as_mapping(counts.get("completion_tokens_details")) or as_mapping(
        counts.get("output_tokens_details")
    )
    input_tokens = as_token_count(counts.get("prompt_tokens", counts.get("input_tokens")))
    output_tokens = as_token_count(counts.get("completion_tokens", counts.get("output_tokens")))
    reasoning = as_token_count(output_details.get("reasoning_tokens", counts.get("reasoning_tokens")))
    all_tokens = sum_known_counts(input_tokens, output_tokens, reasoning)
    if reasoning and as_token_count(counts.get("total_tokens")) == all_tokens:
        # xAI counts reasoning beside the answer, not as part of it; its total shows that.
        output_tokens = sum_known_counts(output_tokens, reasoning)
    cached = as_token_count(input_details.get("cached_tokens"))
    if cached is None:
        cached = as_token_count(next((counts[key] for key in _CACHED_TOKEN_KEYS if key in counts), None))
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached,
        cache_write_tokens=as_token_count(input_details.get("cache_write_tokens")),
        reasoning_tokens=reasoning,
    )


def read_audio_tokens(counts: JsonObject) -> dict[str, int]:
    """Return the token counts of audio, which has its own price; without those that are 0."""
    details = {
        "input_audio_tokens": as_mapping(counts.get("prompt_tokens_details")),
        "output_audio_tokens": as_mapping(counts.get("completion_tokens_details")),
    }
    tokens = {name: as_token_count(detail.get("audio_tokens")) for name, detail in details.items()}
    return {name: number for name, number in tokens.items() if number}


def read_stated_cost(counts: JsonObject) -> float | None:
    """Return the cost of a call in US dollars as OpenRouter states it, or None."""
    cost = counts.get("cost")
    if not isinstance(cost, (int, float)) or isinstance(cost, bool) or not 0 <= cost <= MAX_USD:
        return None
    return float(cost)
