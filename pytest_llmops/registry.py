"""Built-in embedders, judges, models and NLI models by name, imported at first use."""

import importlib
from collections.abc import Iterable
from typing import Any

from pytest_llmops.errors import UnknownName, UsageError

__tracebackhide__ = True

BUILT_IN: dict[str, dict[str, str]] = {
    "embedder": {
        "tfidf": "pytest_llmops.providers.offline:TfidfEmbedder",
        "hashing": "pytest_llmops.providers.offline:HashingEmbedder",
        "minilm": "pytest_llmops.providers.minilm:MiniLMEmbedder",
        "minilm-multilingual": "pytest_llmops.providers.minilm:multilingual_minilm",
        "e5": "pytest_llmops.providers.multilingual_e5:MultilingualE5Embedder",
        "openai": "pytest_llmops.providers.openai:OpenAIEmbedder",
        "sentence-transformers": "pytest_llmops.providers.sentence_transformers:SentenceTransformersEmbedder",
    },
    "judge": {
        "answer_relevance": "pytest_llmops.judges.rubric:answer_relevance",
        "context_relevance": "pytest_llmops.judges.item_judges:context_relevance",
        "equivalence": "pytest_llmops.judges.equivalence:Equivalence",
        "goal": "pytest_llmops.judges.rubric:goal",
        "grounding": "pytest_llmops.judges.item_judges:Grounding",
        "pairwise": "pytest_llmops.judges.rubric:Pairwise",
        "quality": "pytest_llmops.judges.rubric:quality",
    },
    "model": {
        "app": "pytest_llmops.providers.selection:app_model",
        "judge": "pytest_llmops.providers.selection:judge_model",
    },
    "NLI model": {"installed": "pytest_llmops.providers.nli_onnx:InstalledNliModel"},
}

# Components that may be named as ``name:argument``; the argument becomes their first parameter
ARGUMENT_HELP: dict[str, dict[str, str]] = {
    "embedder": {
        "openai": "the name of a model",
        "sentence-transformers": "the name of a model, or its folder",
    },
    "model": {"app": "the name of a model"},
}

JUDGE_SUFFIX = ".md"
# The function that loads a judge file, for a judge whose name is the path of such a file
JUDGE_FILE_LOADER = "pytest_llmops.judges.item_judges:load_judge_file"


def is_builtin(kind: str, name: str) -> bool:
    """Return whether `load_builtin` may know a name: a built-in name, alone or as ``name:argument``, or the path of a judge file.

    >>> is_builtin("embedder", "openai:text-embedding-3-small"), is_builtin("embedder", "glove:50")
    (True, False)
    """
    if is_judge_file(kind, name):
        return True
    base, _, _ = name.partition(":")
    return base in BUILT_IN.get(kind, {})


def is_judge_file(kind: str, name: str) -> bool:
    """Return whether the name of a judge is the path of a judge file.

    >>> is_judge_file("judge", "judges/tone.md"), is_judge_file("judge", "quality")
    (True, False)
    """
    return kind == "judge" and name.endswith(JUDGE_SUFFIX)


def component_name(component: object) -> str:
    """Return the name of a judge or an embedder: its own, or the name of its class.

    >>> component_name(object())
    'object'
    """
    return str(getattr(component, "name", "") or type(component).__name__)


def load_builtin(kind: str, name: str, where: str = "") -> Any:
    """Return a new built-in component, or the judge of a judge file.

    Args:
        kind: ``embedder``, ``judge``, ``model`` or ``NLI model``.
        name: The name, alone or with an argument: ``sentence-transformers:all-MiniLM-L6-v2``.
        where: The place that named it, for the error.

    Raises:
        UnknownName: No component has that name; the error lists the known names.
        UsageError: The component accepts no argument, or the argument after the colon is missing.
    """
    if is_judge_file(kind, name):
        return _import_attribute(JUDGE_FILE_LOADER)(name)
    base, colon, argument = name.partition(":")
    places = BUILT_IN[kind]
    if base not in places:
        raise unknown_component(kind, name, places, where=where)
    if not colon:
        return _import_attribute(places[base])()
    help_by_taker = ARGUMENT_HELP.get(kind, {})
    if base not in help_by_taker:
        hint = ""
        if help_by_taker:
            takers = ", ".join(f"{taker}:..." for taker in help_by_taker)
            hint = f" (with an argument: {takers})"
        raise UsageError(f"{kind} {name!r}: {base} accepts no argument; write only {base!r}{hint}")
    if not argument.strip():
        raise UsageError(f"{kind} {name!r}: expected {help_by_taker[base]} after the colon, got nothing")
    return _import_attribute(places[base])(argument.strip())


def unknown_component(kind: str, name: str, known: Iterable[str], *, where: str = "") -> UsageError:
    """Return the error about the name of a component that does not exist; for a judge with the name that was probably meant.

    Args:
        kind: ``embedder``, ``judge`` ...
        name: The name as given.
        known: The names that exist.
        where: The place that named it; may be empty.
    """
    if kind == "judge":
        from pytest_llmops._util.judge_names import unknown_judge
        from pytest_llmops.model_names import is_model_name

        return unknown_judge(name, known, where=where, is_model=is_model_name(name))
    return UnknownName(kind, name, known, where=where)


def _import_attribute(place: str) -> Any:
    """Return the object that ``package.module:attribute`` names."""
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)
