"""Detect that a judge is the model under test: whether two names are of the same model, and what to say about it.

A model gives higher scores to text that it finds likely, as its own is (Wataoka, Takahashi and Ri 2024,
"Self-Preference Bias in LLM-as-a-Judge", arXiv 2410.21819). `judges.evaluate` applies this in a running test,
`results.run` to a run; neither may import the other.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.protocols import Call

FIRST_ERROR_STATUS = 400
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


def is_same_model(name: str, other: str) -> bool:
    """Say whether two names are of the same model; a blank name is of none.

    Neither a provider before the name counts, nor whether a version has a dot or a dash, nor a date that only one
    name has: a snapshot and its alias are the same model, two snapshots are not. A fine-tuned model differs from its
    base model.

    >>> is_same_model("gpt-4.1-mini", "openai/gpt-4.1-mini-2025-04-14"), is_same_model("gpt-4.1", "gpt-4.1-mini")
    (True, False)
    >>> is_same_model("gpt-4o-2024-05-13", "gpt-4o-2024-08-06")
    False
    """
    first = _split_name(name)
    second = _split_name(other)
    if not first[0] or not second[0]:
        return False
    short, long = sorted((first[0], second[0]), key=len)
    return long[-len(short) :] == short and (first[1] == second[1] or not (first[1] and second[1]))


def _split_name(name: str) -> tuple[tuple[str, ...], str]:
    """Return the parts of a name from its owner on, and its date."""
    base = name.strip().lower()
    if base.startswith("ft:") or len(base) > MAX_NAME_CHARS:
        return ((base,), "")
    while base != (shorter := _ALIAS.sub("", base)):
        base = shorter
    if _BEDROCK.match(base.rpartition("/")[2]):
        base = _BEDROCK_END.sub("", _BEDROCK.sub("", base.rpartition("/")[2]))
    match = _DATE.search(base)
    if match is not None and base[: match.start()].strip("/"):
        base = base[: match.start()]
        date = match[0][1:]
    else:
        date = ""
    parts = [_AZURE.sub("gpt-3-5", _POINT.sub("-", part)) for part in base.split("/") if part]
    while len(parts) > 1 and parts[0] in _PROVIDERS:
        del parts[0]
    return tuple(parts), date


def find_same_model(name: str, others: Iterable[str]) -> str:
    """Return the first name of the same model, or ``""``.

    >>> find_same_model("gpt-4.1", ["gpt-4o", "openai/gpt-4.1"])
    'openai/gpt-4.1'
    """
    return next((other for other in others if is_same_model(name, other)), "")


def format_self_judging_error(judge: str, tested: str) -> str:
    """Return why a verdict is unscored under ``llm_self_judging = error``."""
    return (
        f"the judge {shorten_text(judge, 60)} is the model under test ({shorten_text(tested, 60)}), and a model prefers its own "
        "text (arXiv 2410.21819): name another with --llm-judge-model, or take back llm_self_judging = error"
    )


def iter_self_judging_notes(tests: Iterable[Sequence[Call]]) -> Iterator[str]:
    """Yield a sentence for each judge model that was the model under test in a test, given the calls of each test.

    >>> list(iter_self_judging_notes([]))
    []
    """
    counts = Counter(
        judge
        for calls in tests
        for judge in dict.fromkeys(_answering_models(calls, "judge"))
        if find_same_model(judge, _answering_models(calls, "app"))
    )
    yield from (
        f"the judge {shorten_text(judge, 60)} is the model under test in {format_count(count, 'test')}: "
        "a model prefers its own text (arXiv 2410.21819), name another with --llm-judge-model"
        for judge, count in counts.items()
    )


def is_error_status(status: int | None) -> bool:
    """Say whether an HTTP status is of an error; None: the status is unknown."""
    return status is not None and status >= FIRST_ERROR_STATUS


def _answering_models(calls: Sequence[Call], purpose: str) -> list[str]:
    return [call.model for call in calls if call.purpose == purpose and not is_error_status(call.status)]
