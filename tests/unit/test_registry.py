from __future__ import annotations

import importlib

import pytest
from support.messages import check_message

from pytest_llmops import registry
from pytest_llmops.errors import UnknownName, UsageError

BUILT_IN = [(kind, name, place) for kind, names in registry.BUILT_IN.items() for name, place in names.items()]


@pytest.mark.parametrize(("kind", "name", "place"), BUILT_IN, ids=[f"{k}-{n}" for k, n, _ in BUILT_IN])
def test_every_built_in_exists(kind: str, name: str, place: str) -> None:
    module, _, attribute = place.partition(":")
    assert callable(getattr(importlib.import_module(module), attribute))
    assert registry.is_builtin(kind, name)


def test_load_builds_a_new_one() -> None:
    first, other = registry.load_builtin("embedder", "hashing"), registry.load_builtin("embedder", "hashing")
    assert type(first).__name__ == "HashingEmbedder"
    assert first is not other


def test_an_unknown_name_is_reported_with_what_exists() -> None:
    with pytest.raises(UnknownName, check=check_message):
        registry.load_builtin("judge", "qualty")


def test_a_model_without_a_name_says_how_to_name_it() -> None:
    with pytest.raises(UsageError, match="--llm-model"):
        registry.load_builtin("model", "app").complete("hi")


@pytest.mark.parametrize("kind", ["embedder", "judge", "model"])
def test_what_takes_an_argument_is_built_in(kind: str) -> None:
    assert set(registry.ARGUMENT_HELP.get(kind, {})) <= set(registry.BUILT_IN[kind])


def test_a_name_may_have_an_argument() -> None:
    builtin = registry.load_builtin("embedder", "openai: text-embedding-3-large ")
    assert (builtin.name, builtin.version) == ("openai", "text-embedding-3-large")
    builtin = registry.load_builtin("embedder", "sentence-transformers:C:\\models\\own")
    assert builtin.name == "sentence-transformers:C:\\models\\own"


@pytest.mark.parametrize(
    ("name", "known"),
    [("openai", True), ("openai:x", True), ("openai:", True), ("opnai:x", False), ("", False), (":x", False)],
)
def test_a_name_with_an_argument_is_known_by_its_first_part(name: str, known: bool) -> None:
    assert registry.is_builtin("embedder", name) is known
    assert not registry.is_builtin("retriever", name)


@pytest.mark.parametrize(
    "name",
    [
        "tfidf:x",
        "openai:",
        "openai: ",
        "sentence-transformer:x",
    ],
)
def test_a_wrong_argument_is_reported(name: str) -> None:
    with pytest.raises(UsageError, check=check_message):
        registry.load_builtin("embedder", name)
    with pytest.raises(
        UsageError,
        check=check_message,
    ):
        registry.load_builtin("judge", "quality:x")
