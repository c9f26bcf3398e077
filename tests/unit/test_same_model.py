from __future__ import annotations

import pytest

from pytest_llmops.model_names import is_same_model

SAME = [
    ("gpt-4.1-mini", "gpt-4.1-mini"),
    ("gpt-4.1-mini", "gpt-4.1-mini-2025-04-14"),
    ("gpt-4.1-mini", "openai/gpt-4.1-mini"),
    ("openai/gpt-4.1-mini", "openrouter/openai/gpt-4.1-mini-2025-04-14:free"),
    ("azure/gpt-4o", "openai/gpt-4o"),
    ("GPT-4o ", "gpt-4o"),
    ("gpt-4", "gpt-4-0613"),
    ("claude-sonnet-4", "anthropic/claude-sonnet-4-20250514"),
    ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"),
    ("claude-3-5-sonnet@20241022", "us.anthropic.claude-3-5-sonnet-20241022-v2:0"),
    ("anthropic.claude-3-haiku-20240307-v1:0", "claude-3-haiku"),
    ("bedrock/anthropic.claude-3-haiku-20240307-v1:0", "claude-3-haiku-20240307"),
    ("mistral-large-latest", "mistral-large-2407"),
    ("command-r", "command-r-08-2024"),
    ("models/gemini-2.0-flash", "gemini-2.0-flash-001"),
    ("gemini-2.5-flash-preview", "gemini-2.5-flash-preview-04-17"),
    ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5-20250929"),
    ("anthropic/claude-3.5-haiku", "us.anthropic.claude-3-5-haiku-20241022-v1:0"),
    ("azure/gpt-35-turbo", "gpt-3.5-turbo-0125"),
    ("gpt-35-turbo-16k", "gpt-3.5-turbo-16k"),
    ("llama3:latest", "ollama/llama3"),
    ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b-instruct"),
    ("ft:gpt-4.1-mini-2025-04-14:acme::abc", "ft:gpt-4.1-mini-2025-04-14:acme::abc"),
]
OTHER = [
    ("gpt-4.1", "gpt-4.1-mini"),
    ("gpt-4", "gpt-4o"),
    ("gpt-4", "gpt-4-1106-preview"),
    ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06"),
    ("mistral-large-2402", "mistral-large-2407"),
    ("mini", "gpt-4.1-mini"),
    ("gpt-4.1", "gpt-41"),
    ("gpt-35-turbo", "gpt-4-turbo"),
    ("gpt-350m", "gpt-3.50m"),
    ("claude-sonnet-4", "anthropic/claude-sonnet-4.5"),
    ("claude-2.0", "claude-2.1"),
    ("claude-sonnet-4", "claude-sonnet-4-5-20250929"),
    ("anthropic.claude-v2:1", "anthropic.claude-instant-v1"),
    ("claude-3-5-sonnet-20240620", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
    ("llama3:8b", "llama3:70b"),
    ("llama3:8b", "llama3"),
    ("acme/chat", "other/chat"),
    ("gpt-4.1-mini", "ft:gpt-4.1-mini-2025-04-14:acme::abc"),
    ("2025-04-14", "2025-04-15"),
    ("", ""),
    ("", "gpt-4o"),
    ("/", "gpt-4o"),
    ("openai/", "gpt-4o"),
]


@pytest.mark.parametrize(("first", "second"), SAME)
def test_the_same_model(first: str, second: str) -> None:
    assert is_same_model(first, second)
    assert is_same_model(second, first)


@pytest.mark.parametrize(("first", "second"), OTHER)
def test_another_model(first: str, second: str) -> None:
    assert not is_same_model(first, second)
    assert not is_same_model(second, first)


@pytest.mark.parametrize(
    "name",
    [
        "-2025-04-14",
        "/-0613",
        ":latest",
        "\ud800",
        "x" + ":free" * 100_000,
        "models/" * 100_000,
        "a-" * 50_000 + "/",
    ],
)
def test_odd_names_break_nothing(name: str) -> None:
    assert isinstance(is_same_model(name, "gpt-4o"), bool)
