"""Providers by the name of their host."""

from __future__ import annotations

import re
from functools import lru_cache

HOST_PROVIDERS = {
    "ai.cloudflare.com": "cloudflare",
    "anthropic.com": "anthropic",
    "api.cloudflare.com": "cloudflare",
    "api-inference.huggingface.co": "huggingface",
    "bigmodel.cn": "zhipuai",
    "cerebras.ai": "cerebras",
    "cognitiveservices.azure.com": "azure",
    "cohere.ai": "cohere",
    "cohere.com": "cohere",
    "deepinfra.com": "deepinfra",
    "deepseek.com": "deepseek",
    "endpoints.huggingface.cloud": "huggingface",
    "fireworks.ai": "fireworks",
    "generativelanguage.googleapis.com": "google",
    "githubcopilot.com": "github-copilot",
    "groq.com": "groq",
    "inference.ai.azure.com": "azure",
    "integrate.api.nvidia.com": "nvidia",
    "jina.ai": "jina",
    "minimax.io": "minimax",
    "mistral.ai": "mistral",
    "models.ai.azure.com": "azure",
    "models.github.ai": "github",
    "moonshot.ai": "moonshotai",
    "moonshot.cn": "moonshotai",
    "novita.ai": "novita",
    "ollama.com": "ollama",
    "openai.azure.com": "azure",
    "openai.com": "openai",
    "openrouter.ai": "openrouter",
    "perplexity.ai": "perplexity",
    "router.huggingface.co": "huggingface",
    "sambanova.ai": "sambanova",
    "services.ai.azure.com": "azure",
    "together.ai": "together",
    "together.xyz": "together",
    "voyageai.com": "voyageai",
    "x.ai": "xai",
    "z.ai": "zai",
}
_VERTEX = re.compile(r"(?:[a-z0-9-]+-)?aiplatform(?:\.[a-z0-9-]+\.rep)?\.googleapis\.com")
_BEDROCK = re.compile(
    r"(?:[a-z0-9-]+\.)*bedrock-(?:runtime|mantle)(?:-fips)?\.[a-z0-9-]+\.(?:vpce\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)"
)


@lru_cache(maxsize=256)
def find_provider(host: str) -> str:
    """Return the provider of a host, or "".

    >>> find_provider("us-central1-aiplatform.googleapis.com"), find_provider("api.openai.com"), find_provider("notopenai.com")
    ('vertex', 'openai', '')
    """
    host = host.lower().rstrip(".")
    if _VERTEX.fullmatch(host):
        return "vertex"
    if _BEDROCK.fullmatch(host):
        return "bedrock"
    labels = host.split(".")
    return next(
        (
            HOST_PROVIDERS[tail]
            for at in range(len(labels))
            if (tail := ".".join(labels[at:])) in HOST_PROVIDERS
        ),
        "",
    )
