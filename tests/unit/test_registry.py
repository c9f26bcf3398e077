from __future__ import annotations

import importlib

import pytest

from pytest_llmops import registry
from pytest_llmops.errors import UnknownName, UsageError

BUILT_IN = [(kind, name, place) for kind, names in registry.BUILT_IN.items() for name, place in names.items()]


@pytest.mark.parametrize(("kind", "name", "place"), BUILT_IN, ids=[f"{k}-{n}" for k, n, _ in BUILT_IN])
def test_every_built_in_exists(kind: str, name: str, place: str) -> None:
    module, _, attribute = place.partition(":")
    assert callable(getattr(importlib.import_module(module), attribute))
    assert name in registry.names(kind)


def test_load_builds_a_new_one() -> None:
    one, other = registry.load("embedder", "hashing"), registry.load("embedder", "hashing")
    assert type(one).__name__ == "HashingEmbedder"
    assert one is not other


def test_an_unknown_name_is_told_with_what_exists() -> None:
    with pytest.raises(UnknownName, match=r"unknown judge 'qualty': known are .*quality.*did you mean"):
        registry.load("judge", "qualty")


def test_a_model_without_a_name_says_how_to_name_it() -> None:
    with pytest.raises(UsageError, match="--llm-model"):
        registry.load("model", "app").complete("hi")
