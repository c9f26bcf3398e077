"""The models that the settings name: by a prefix that says which SDK asks, else of the OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmops import recorder
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import shorten_text

if TYPE_CHECKING:
    from pytest_llmops.protocols import Model

ANTHROPIC_PREFIX = "anthropic:"
"""Before the name of a model that speaks Anthropic's Messages API."""


def app_model(name: str = "") -> Model:
    """Return the model under test: the named one, else as the settings name it.

    Raises:
        UsageError: No name is given, and the settings name several.
    """
    settings = recorder.current_settings()
    if not name and len(settings.models) > 1:
        raise UsageError(
            f"several models are under test ({_listed(settings.models)}), and this test was made for none of them: "
            "let it use the `llm` fixture as an argument"
        )
    return create_model(name or settings.only_model, "app")


def judge_model() -> Model:
    """Return the judges' model as the settings name it: the model under test, if they name no other and no second."""
    settings = recorder.current_settings()
    return create_model(settings.judge_model or settings.only_model, "judge")


def create_model(name: str, purpose: str) -> Model:
    """Return the model of a name.

    Args:
        name: ``anthropic:NAME``, or the name of a model of the OpenAI-compatible server, whatever colons it has.
        purpose: ``app`` or ``judge``.

    Raises:
        UsageError: Nothing comes after a prefix.

    >>> create_model("anthropic:claude-x", "judge").model, create_model("llama3:8b", "app").model
    ('claude-x', 'llama3:8b')
    """
    if name.startswith(ANTHROPIC_PREFIX):
        from pytest_llmops.providers.anthropic import AnthropicModel

        model = name.removeprefix(ANTHROPIC_PREFIX).strip()
        if not model:
            raise UsageError(f"model {name!r}: expected the name of a model after the colon, got nothing")
        return AnthropicModel(model, purpose=purpose)
    from pytest_llmops.providers.openai import OpenAIModel

    settings = recorder.current_settings()
    return OpenAIModel(name, base_url=settings.base_url, api=settings.api, purpose=purpose)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(shorten_text(name, 60) for name in names)
