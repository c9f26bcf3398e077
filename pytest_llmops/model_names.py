"""Recognize the names of models, and decide whether two names mean the same model, with any provider, alias or snapshot."""

import re
from collections.abc import Iterable

MAX_NAME_CHARS = 300  # a longer text is not a model name
_DATE = re.compile(
    r"[-@](?:"
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"  # OpenAI: 2025-04-14
    r"|20\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"  # Anthropic: 20250514
    r"|(?:0[1-9]|1[0-2])-(?:20\d{2}|0[1-9]|[12]\d|3[01])"  # Cohere: 08-2024; Google: 04-17
    r"|(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|2\d(?:0[1-9]|1[0-2])"  # OpenAI: 0613; Mistral: 2407
    r"|00\d"  # Google: 001
    r")$"
)
# Suffixes for a server or a snapshot, not for another model
_ALIAS = re.compile(r"[-:]latest$|:(?:free|nitro|floor|exacto|online)$")
_BEDROCK = re.compile(r"^(?:[a-z-]{2,7}\.)?[a-z0-9]+\.(?=[a-z].*-v\d+(?::\d+)?$)")
_BEDROCK_END = re.compile(r"(?<=\d{8})-v\d+(?::\d+)?$|:\d+$")
_POINT = re.compile(r"(?<=\d)\.(?=\d)")  # in a version number: both 4.5 and 4-5 are in use
# Azure's name for gpt-3.5, from when a deployment could not have a dot
_AZURE = re.compile(r"^gpt-35(?=-|$)")
# First parts of a name that are a provider
_PROVIDERS = frozenset(
    {
        "openai",
        "azure",
        "anthropic",
        "google",
        "gemini",
        "vertex_ai",
        "bedrock",
        "mistral",
        "mistralai",
        "cohere",
        "groq",
        "openrouter",
        "together_ai",
        "fireworks_ai",
        "ollama",
        "models",
        "deepseek",
        "xai",
    }
)
# The beginnings of the names of well-known models
_FAMILY = re.compile(
    r"(?:(?:chat)?gpt|o[1-9]|claude|gemini|gemma|(?:meta-|code)?llama|qwen|qwq|(?:open-)?mistral|mixtral|ministral|magistral|codestral"
    r"|pixtral|deepseek|command-[ar]|phi|grok|kimi|glm|smollm|granite|olmo|sonar)(?![a-z])"
)


def is_model_name(name: str) -> bool:
    """Return whether a name most likely names a model: it begins with a provider, or with a well-known family of models.

    >>> is_model_name("gpt-5-mini"), is_model_name("openai/gpt-4o"), is_model_name("qwen2.5:1.5b"), is_model_name("quality")
    (True, True, True, False)
    """
    lowered = name.strip().lower()
    if not lowered or len(lowered) > MAX_NAME_CHARS:
        return False
    provider, separator, rest = lowered.partition("/")
    if not separator:
        provider, separator, rest = lowered.partition(":")
    if rest and provider in _PROVIDERS:
        return True
    return _FAMILY.match(lowered.rpartition("/")[2]) is not None


def is_same_model(name: str, other: str) -> bool:
    """Return whether two names mean the same model; a blank name means none.

    A provider before the name does not count, nor whether a version is written with a dot or a dash. A date that only one of the names
    has does not count either: a snapshot and its alias are the same model, but two snapshots are not. A fine-tuned model differs from
    its base model.

    >>> is_same_model("gpt-4.1-mini", "openai/gpt-4.1-mini-2025-04-14"), is_same_model("gpt-4.1", "gpt-4.1-mini")
    (True, False)
    >>> is_same_model("gpt-4o-2024-05-13", "gpt-4o-2024-08-06")
    False
    """
    parts, date = _split_name(name)
    other_parts, other_date = _split_name(other)
    if not parts or not other_parts:
        return False
    if date and other_date and date != other_date:
        return False
    short, long = sorted((parts, other_parts), key=len)
    return long[-len(short) :] == short


def _split_name(name: str) -> tuple[tuple[str, ...], str]:
    """Return the parts of a name, without providers, and the date at its end ("" without one).

    ``openai/gpt-4.1-mini-2025-04-14`` gives ``(("gpt-4-1-mini",), "2025-04-14")``.
    """
    base = name.strip().lower()
    if base.startswith("ft:") or len(base) > MAX_NAME_CHARS:
        return ((base,), "")
    while _ALIAS.search(base):
        base = _ALIAS.sub("", base)
    last_part = base.rpartition("/")[2]
    if _BEDROCK.match(last_part):
        base = _BEDROCK_END.sub("", _BEDROCK.sub("", last_part))
    date = ""
    match = _DATE.search(base)
    if match is not None and base[: match.start()].strip("/"):
        base = base[: match.start()]
        date = match[0][1:]
    base = _POINT.sub("-", base)
    parts = [_AZURE.sub("gpt-3-5", part) for part in base.split("/") if part]
    while len(parts) > 1 and parts[0] in _PROVIDERS:
        del parts[0]
    return tuple(parts), date


def find_same_model(name: str, others: Iterable[str]) -> str:
    """Return the first of the other names that means the same model, or ``""``.

    >>> find_same_model("gpt-4.1", ["gpt-4o", "openai/gpt-4.1"])
    'openai/gpt-4.1'
    """
    for other in others:
        if is_same_model(name, other):
            return other
    return ""
