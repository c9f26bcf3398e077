"""Built-in embedders, judges and models by name, imported at first use."""

from __future__ import annotations

import importlib
from typing import Any

from pytest_llmops.errors import UnknownName, UsageError

BUILT_IN: dict[str, dict[str, str]] = {
    "embedder": {
        "tfidf": "pytest_llmops.providers.offline:TfidfEmbedder",
        "hashing": "pytest_llmops.providers.offline:HashingEmbedder",
        "minilm": "pytest_llmops.providers.minilm:MiniLMEmbedder",
        "openai": "pytest_llmops.providers.openai:OpenAIEmbedder",
        "sentence-transformers": "pytest_llmops.providers.sentence_transformers:SentenceTransformersEmbedder",
    },
    "judge": {
        "answer_relevance": "pytest_llmops.judges.rubric_files:answer_relevance",
        "compliance": "pytest_llmops.judges.checklist:compliance",
        "context_relevance": "pytest_llmops.judges.checklist:context_relevance",
        "grounding": "pytest_llmops.judges.grounding:Grounding",
        "quality": "pytest_llmops.judges.rubric:quality",
        "rubric": "pytest_llmops.judges.rubric_files:rubric_judge",
    },
    "model": {
        "app": "pytest_llmops.providers.selection:app_model",
        "judge": "pytest_llmops.providers.selection:judge_model",
    },
}

ARGUMENT_HELP: dict[str, dict[str, str]] = {
    "embedder": {
        "minilm": "a folder with model.safetensors and tokenizer.json",
        "openai": "the name of a model",
        "sentence-transformers": "the name of a model, or its folder",
    },
    "judge": {
        "compliance": "the path of a policy file",
        "rubric": "the path of a rubric file",
    },
    "model": {"app": "the name of a model"},
}
"""Components that may be named as ``name:argument``; the argument becomes their first parameter."""
REQUIRE_ARGUMENT = frozenset({("judge", "compliance"), ("judge", "rubric")})


def is_builtin(kind: str, name: str) -> bool:
    """Return whether a name, or a ``name:argument``, is built in.

    >>> is_builtin("embedder", "openai:text-embedding-3-small"), is_builtin("embedder", "glove:50")
    (True, False)
    """
    return name.partition(":")[0] in BUILT_IN.get(kind, {})


def load_builtin(kind: str, name: str) -> Any:
    """Return a new built-in component.

    Args:
        kind: ``embedder``, ``judge`` or ``model``.
        name: The name, alone or with an argument: ``sentence-transformers:all-MiniLM-L6-v2``.

    Raises:
        UnknownName: No component has that name; the error lists the known names.
        UsageError: The component takes no argument, or the argument after the colon is missing.
    """
    base, colon, argument = name.partition(":")
    if base not in BUILT_IN[kind]:
        raise UnknownName(kind, base, BUILT_IN[kind])
    expected = ARGUMENT_HELP.get(kind, {}).get(base)
    if colon and expected is None:
        takers = ", ".join(f"{taker}:..." for taker in ARGUMENT_HELP.get(kind, {})) or "no other"
        raise UsageError(
            f"{kind} {name!r}: {base} takes no argument; ask for {base!r} alone (with an argument: {takers})"
        )
    if not colon and (kind, base) in REQUIRE_ARGUMENT:
        raise UsageError(f"{kind} {name!r}: expected {expected} after a colon, like '{base}:{base}.md'")
    if colon and not argument.strip():
        raise UsageError(f"{kind} {name!r}: expected {expected} after the colon, got nothing")
    module, _, attribute = BUILT_IN[kind][base].partition(":")
    factory = getattr(importlib.import_module(module), attribute)
    return factory(argument.strip()) if colon else factory()
