"""Is this the same model? Names as servers, gateways and clouds write them, without and with a date."""

from __future__ import annotations

import re

MAX_NAME = 300
"""Characters; a longer text is no name that anything could be read from."""
_DATE = re.compile(
    r"[-@](?:"
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"  # OpenAI: 2025-04-14
    r"|20\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"  # Anthropic: 20250514
    r"|(?:0[1-9]|1[0-2])-(?:20\d{2}|0[1-9]|[12]\d|3[01])"  # Cohere: 08-2024; Google: 04-17
    r"|(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|2\d(?:0[1-9]|1[0-2])"  # OpenAI: 0613; Mistral: 2407
    r"|00\d"  # Google: 001
    r")$"
)
_ALIAS = re.compile(r"[-:]latest$|:(?:free|nitro|floor|exacto|online)$")
"""Ends that say which of its servers or snapshots is asked, not which model."""
_BEDROCK = re.compile(r"^(?:[a-z-]{2,7}\.)?[a-z0-9]+\.(?=[a-z].*-v\d+(?::\d+)?$)")
_BEDROCK_END = re.compile(r"(?<=\d{8})-v\d+(?::\d+)?$|:\d+$")
_POINT = re.compile(r"(?<=\d)\.(?=\d)")
"""In the number of a version: some write 4.5, some 4-5."""
_AZURE = re.compile(r"^gpt-35(?=-|$)")
"""Azure's name for gpt-3.5: a deployment could have no dot."""
_PROVIDERS = frozenset(
    {
        *("openai", "azure", "anthropic", "google", "gemini", "vertex_ai", "bedrock", "mistral", "mistralai"),
        *(
            "cohere",
            "groq",
            "openrouter",
            "together_ai",
            "fireworks_ai",
            "ollama",
            "models",
            "deepseek",
            "xai",
        ),
    }
)
"""First parts of a name that say who is asked."""


def is_same_model(name: str, other: str) -> bool:
    """Say whether two names are of the same model; a blank name is nobody's.

    A provider before the name does not count, nor whether a version is written with a dot or a dash, nor a date behind
    it that only one of them has: a snapshot and its alias are the same model, two snapshots are not. A fine-tuned model is
    another than the one it was made from.

    >>> is_same_model("gpt-4.1-mini", "openai/gpt-4.1-mini-2025-04-14"), is_same_model("gpt-4.1", "gpt-4.1-mini")
    (True, False)
    >>> is_same_model("gpt-4o-2024-05-13", "gpt-4o-2024-08-06")
    False
    """
    first, second = _split_name(name), _split_name(other)
    if not first[0] or not second[0]:
        return False
    short, long = sorted((first[0], second[0]), key=len)
    is_suffix = long[-len(short) :] == short
    return is_suffix and (first[1] == second[1] or not (first[1] and second[1]))


def _split_name(name: str) -> tuple[tuple[str, ...], str]:
    """The parts of a name from its owner on, and its date."""
    base = name.strip().lower()
    if base.startswith("ft:") or len(base) > MAX_NAME:
        return ((base,), "")
    while base != (shorter := _ALIAS.sub("", base)):
        base = shorter
    if _BEDROCK.match(base.rpartition("/")[2]):
        base = _BEDROCK_END.sub("", _BEDROCK.sub("", base.rpartition("/")[2]))
    match = _DATE.search(base)
    if match is not None and base[: match.start()].strip("/"):
        base, date = base[: match.start()], match[0][1:]
    else:
        date = ""
    parts = [_AZURE.sub("gpt-3-5", _POINT.sub("-", part)) for part in base.split("/") if part]
    while len(parts) > 1 and parts[0] in _PROVIDERS:
        del parts[0]
    return tuple(parts), date
