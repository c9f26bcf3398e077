"""Token counts in the spellings of OpenAI, which most others took over."""

from __future__ import annotations

from pytest_llmops.protocols import Usage
from pytest_llmops.trace.fields import Wire, count, mapping, total

MAX_USD = 10**6
"""No call costs more: such a number is no price."""
_CACHED = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens", "cached_prompt_text_tokens")
"""Names that servers use beside OpenAI's own, which is one level deeper."""


def usage(wire: Wire) -> Usage:
    """Read the token counts of a reply in one of OpenAI's two spellings."""
    into = mapping(wire.get("prompt_tokens_details")) or mapping(wire.get("input_tokens_details"))
    out = mapping(wire.get("completion_tokens_details")) or mapping(wire.get("output_tokens_details"))
    asked = count(wire.get("prompt_tokens", wire.get("input_tokens")))
    answered = count(wire.get("completion_tokens", wire.get("output_tokens")))
    reasoning = count(out.get("reasoning_tokens", wire.get("reasoning_tokens")))
    if reasoning and count(wire.get("total_tokens")) == total(asked, answered, reasoning):
        # xAI counts them beside the answer and not as a part of it, as the sum tells.
        answered = total(answered, reasoning)
    cached = count(into.get("cached_tokens"))
    for name in _CACHED if cached is None else ():
        if name in wire:
            cached = count(wire[name])
            break
    return Usage(
        input_tokens=asked,
        output_tokens=answered,
        cached_tokens=cached,
        cache_write_tokens=count(into.get("cache_write_tokens")),
        reasoning_tokens=reasoning,
    )


def audio(wire: Wire) -> dict[str, int]:
    """Read the tokens of sound, which have a price of their own."""
    found: dict[str, int] = {}
    for key, name in (("prompt_tokens_details", "input"), ("completion_tokens_details", "output")):
        if key in wire:
            tokens = count(mapping(wire[key]).get("audio_tokens"))
            found |= {f"{name}_audio_tokens": tokens} if tokens else {}
    return found


def stated(wire: Wire) -> float | None:
    """Return what OpenRouter says that a call cost, in US dollars; None where it says nothing."""
    cost = wire.get("cost")
    if not isinstance(cost, (int, float)) or isinstance(cost, bool) or not 0 <= cost <= MAX_USD:
        return None
    return float(cost)
