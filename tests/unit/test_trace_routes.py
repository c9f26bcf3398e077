from __future__ import annotations

from typing import Any

import pytest
from support.exchanges import exchange

from pytest_llmops.trace import read_call
from pytest_llmops.trace.routes import BUILT_IN, find_provider

HELLO: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("api.openai.com", "openai"),
        ("eu.api.openai.com", "openai"),
        ("API.OpenAI.com.", "openai"),
        ("x.openai.azure.com", "azure"),
        ("x.cognitiveservices.azure.com", "azure"),
        ("api.anthropic.com", "anthropic"),
        ("generativelanguage.googleapis.com", "google"),
        ("aiplatform.googleapis.com", "vertex"),
        ("us-central1-aiplatform.googleapis.com", "vertex"),
        ("storage.googleapis.com", ""),
        ("bedrock-runtime.us-east-1.amazonaws.com", "bedrock"),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "bedrock"),
        ("bedrock-mantle.us-east-1.api.aws", "bedrock"),
        ("s3.us-east-1.amazonaws.com", ""),
        ("bedrock-runtime.us-east-1.amazonaws.com.evil.example", ""),
        ("api.cohere.com", "cohere"),
        ("api.mistral.ai", "mistral"),
        ("openrouter.ai", "openrouter"),
        ("api.groq.com", "groq"),
        ("api.x.ai", "xai"),
        ("max.ai", ""),
        ("api.deepseek.com", "deepseek"),
        ("router.huggingface.co", "huggingface"),
        ("huggingface.co", ""),
        ("ollama.com", "ollama"),
        ("notopenai.com", ""),
        ("loopback", ""),
        ("", ""),
    ],
)
def test_whose_host_it_is(host: str, name: str) -> None:
    assert find_provider(host) == name


def test_every_host_is_told_apart_from_one_that_only_ends_like_it() -> None:
    providers = {
        host: provider
        for wire_format in BUILT_IN.values()
        for host, provider in wire_format.hosts.items()
        if isinstance(host, str)
    }
    assert len(providers) > 30
    for host, provider in providers.items():
        assert find_provider(f"x.{host}") == provider
        assert find_provider(f"x{host}") != provider or f"x{host}" in providers


@pytest.mark.parametrize(
    ("url", "route"),
    [
        ("https://api.openai.com/v1/chat/completions/", ("openai", "chat")),
        ("https://router.huggingface.co/together/v1/chat/completions", ("huggingface", "chat")),
        ("https://api.together.xyz/v1/completions", ("together", "completions")),
        ("https://api.mistral.ai/v1/fim/completions", ("mistral", "completions")),
        ("https://openrouter.ai/api/v1/embeddings", ("openrouter", "embeddings")),
        ("https://generativelanguage.googleapis.com/v1beta/openai/chat/completions", ("google", "chat")),
        ("https://aiplatform.googleapis.com/v1/projects/p/locations/l/endpoints/openapi/chat/completions", ("vertex", "chat")),
        ("https://aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/mistralai/models/m:rawPredict", ("vertex", "chat")),
        ("https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1/chat/completions", ("bedrock", "chat")),
        ("https://api.cohere.ai/compatibility/v1/chat/completions", ("cohere", "chat")),
        ("http://loopback/openai/deployments/d/chat/completions?api-version=1", ("openai-compatible", "chat")),
        ("http://loopback/v1/chat/completions", ("openai-compatible", "chat")),
        ("http://loopback/v2/chat", ("cohere-compatible", "chat")),
        ("http://loopback/rerank", ("cohere-compatible", "rerank")),
        ("https://api.openai.com/v1/images/generations", ("openai", "/v1/images/generations")),
        ("https://x.example/v1/models", ("unknown", "/v1/models")),
        ("https://x.example", ("unknown", "")),
    ],
)  # fmt: skip
def test_where_a_request_went(url: str, route: tuple[str, str]) -> None:
    call = read_call(exchange(url, HELLO, {}))
    assert (call.provider, call.endpoint) == route


@pytest.mark.parametrize(
    "path",
    [
        "/forms/1/responses",
        "/embeddings",
        "/rerank",
        "/v1/messages",
        "/api/chat",
        "/api/generate",
        "/moderations",
    ],
)
def test_a_request_to_an_unknown_host_must_name_a_model(path: str) -> None:
    with_model = read_call(exchange(f"https://x.example{path}", {"model": "m"}, {}))
    other = read_call(exchange(f"https://x.example{path}", {"text": "m"}, {}))
    assert with_model.provider != "unknown"
    assert (other.provider, other.endpoint, other.unread) == ("unknown", path, f"the endpoint {path}")


def test_the_model_of_a_deployment_is_its_name_until_the_answer_says_more() -> None:
    url = "https://x.openai.azure.com/openai/deployments/my%20gpt/chat/completions"
    messages = {"messages": HELLO["messages"]}
    assert read_call(exchange(url, messages, {"error": {"message": "no"}}, status=404)).model == "my gpt"
    answer = {"model": "gpt-4o", "choices": [{"message": {"content": "x"}}]}
    assert read_call(exchange(url, messages, answer)).model == "gpt-4o"


def test_an_unknown_endpoint_tells_model_and_tokens_but_no_price() -> None:
    answer = {"model": "gpt-4o", "usage": {"input_tokens": 10, "output_tokens": 20}}
    call = read_call(exchange("https://api.openai.com/v1/images/edits", {"model": "m"}, answer))
    assert (call.model, call.usage.total_tokens, call.cost_usd) == ("gpt-4o", 30, None)
    assert call.unread == "the endpoint /v1/images/edits"


def test_a_long_path_is_cut() -> None:
    call = read_call(exchange("https://x.example/" + "a" * 5_000 + "\n\x1b[31m", {}, {}))
    assert len(call.unread) < 200
    assert "\n" not in call.unread
