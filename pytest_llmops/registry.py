"""The built-in names, as "module:attribute" strings, so that nothing is imported before it is used."""

from __future__ import annotations

import importlib
from typing import Any

from pytest_llmops.errors import UnknownName

BUILT_IN: dict[str, dict[str, str]] = {
    "embedder": {
        "tfidf": "pytest_llmops.backends.offline:TfidfEmbedder",
        "hashing": "pytest_llmops.backends.offline:HashingEmbedder",
        "openai": "pytest_llmops.backends.openai:OpenAIEmbedder",
    },
    "judge": {
        "quality": "pytest_llmops.judges.rubric:quality",
    },
    "model": {
        "app": "pytest_llmops.backends.openai:app_model",
        "judge": "pytest_llmops.backends.openai:judge_model",
    },
}


def names(kind: str) -> tuple[str, ...]:
    """Return the built-in names of a kind, sorted.

    >>> names("judge")
    ('quality',)
    """
    return tuple(sorted(BUILT_IN[kind]))


def load(kind: str, name: str) -> Any:
    """Build the built-in thing of that name, without arguments.

    Raises:
        UnknownName: There is none; the error names those that exist.
    """
    table = BUILT_IN[kind]
    if name not in table:
        raise UnknownName(kind, name, table)
    module, _, attribute = table[name].partition(":")
    factory = getattr(importlib.import_module(module), attribute)
    return factory()
