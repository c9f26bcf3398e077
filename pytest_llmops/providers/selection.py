"""Create models by name: the prefix "anthropic:" selects that SDK; other names are models of the OpenAI-compatible server."""

from pytest_llmops import recorder
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import Model

ANTHROPIC_PREFIX = "anthropic:"


def app_model(name: str = "") -> Model:
    """Return the model under test: the one with this name, or without a name the one in the settings.

    Raises:
        UsageError: No name is given, and the settings name several models.
    """
    settings = recorder.current_settings()
    if not name and len(settings.models) > 1:
        names = ", ".join(shorten_text(model, 60) for model in settings.models)
        raise UsageError(
            f"several models are under test ({names}), and this test was made for none of them: "
            "let it use the `llm` fixture as an argument"
        )
    return create_model(name or settings.single_model, "app")


def judge_model() -> Model:
    """Return the model of the judges in the settings; by default it is the model under test, if that is a single one."""
    settings = recorder.current_settings()
    return create_model(settings.judge_model or settings.single_model, "judge")


def create_model(name: str, purpose: str) -> Model:
    """Return the model with a name.

    Args:
        name: ``anthropic:NAME``, or the name of a model of the OpenAI-compatible server, which may have colons.
        purpose: ``app`` or ``judge``.

    Raises:
        UsageError: The name ends with the prefix.

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
