"""The models that the settings name: by a prefix that says which SDK asks, else of the OpenAI-compatible server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmops import recorder
from pytest_llmops.errors import UsageError

if TYPE_CHECKING:
    from pytest_llmops.protocols import Model

ANTHROPIC = "anthropic:"
"""Before the name of a model that speaks Anthropic's Messages API."""


def app_model() -> Model:
    """Return the model under test as the settings name it."""
    return named(recorder.settings().model, "app")


def judge_model() -> Model:
    """Return the judges' model as the settings name it: the model under test, if they name no other."""
    settings = recorder.settings()
    return named(settings.judge_model or settings.model, "judge")


def named(name: str, purpose: str) -> Model:
    """Return the model of a name.

    Args:
        name: ``anthropic:NAME``, or the name of a model of the OpenAI-compatible server, whatever colons it has.
        purpose: ``app`` or ``judge``.

    Raises:
        UsageError: Nothing comes after a prefix.

    >>> named("anthropic:claude-x", "judge").model, named("llama3:8b", "app").model
    ('claude-x', 'llama3:8b')
    """
    if name.startswith(ANTHROPIC):
        from pytest_llmops.backends.anthropic import AnthropicModel

        model = name.removeprefix(ANTHROPIC).strip()
        if not model:
            raise UsageError(f"model {name!r}: expected the name of a model after the colon, got nothing")
        return AnthropicModel(model, purpose=purpose)
    from pytest_llmops.backends.openai import OpenAIModel

    settings = recorder.settings()
    return OpenAIModel(name, base_url=settings.base_url, api=settings.api, purpose=purpose)
