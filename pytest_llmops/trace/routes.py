"""Which reader reads a call: told by the path, the host and, where these leave it open, by the request."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import SplitResult, unquote, urlsplit

from pytest_llmops.trace import anthropic, bedrock, cohere, gemini, ollama, openai, openai_responses
from pytest_llmops.trace.fields import Format, Wire
from pytest_llmops.trace.hosts import provider

_TAILS: tuple[tuple[str, str, Format, str], ...] = (
    ("/chat/completions", "chat", openai.CHAT, "openai-compatible"),
    ("/completions", "completions", openai.COMPLETIONS, "openai-compatible"),
    ("/responses", "responses", openai_responses.RESPONSES, "openai-compatible"),
    ("/api/embeddings", "embeddings", ollama.EMBED, "ollama"),
    ("/embeddings", "embeddings", openai.EMBEDDINGS, "openai-compatible"),
    ("/moderations", "moderations", openai.MODERATIONS, "openai-compatible"),
    ("/v1/messages", "messages", anthropic.MESSAGES, "anthropic-compatible"),
    ("/v1/chat", "chat", cohere.CHAT_V1, "cohere-compatible"),
    ("/v2/chat", "chat", cohere.CHAT, "cohere-compatible"),
    ("/v1/generate", "generate", cohere.GENERATE, "cohere-compatible"),
    ("/v1/embed", "embeddings", cohere.EMBED, "cohere-compatible"),
    ("/v2/embed", "embeddings", cohere.EMBED, "cohere-compatible"),
    ("/rerank", "rerank", cohere.RERANK, "cohere-compatible"),
    ("/api/chat", "chat", ollama.CHAT, "ollama"),
    ("/api/generate", "generate", ollama.GENERATE, "ollama"),
    ("/api/embed", "embeddings", ollama.EMBED, "ollama"),
)
"""The end of a path, the endpoint, its reader, and who answers where the host is not known."""
_GOOGLE = re.compile(r"/(?:publishers/([^/]+)/)?(?:models|tunedModels|endpoints)/([^/:]+):(\w+)$")
_METHODS: dict[str, tuple[str, Format | None]] = {
    "generateContent": ("generateContent", gemini.GENERATE),
    "streamGenerateContent": ("generateContent", gemini.GENERATE),
    "embedContent": ("embeddings", gemini.EMBED),
    "batchEmbedContents": ("embeddings", gemini.EMBED),
    "predict": ("embeddings", gemini.PREDICT),
}
_PUBLISHERS: dict[str, tuple[str, Format | None]] = {
    "anthropic": ("messages", anthropic.MESSAGES),
    "mistralai": ("chat", openai.CHAT),
}
_BEDROCK = re.compile(r"/model/(.+)/(converse|converse-stream|invoke|invoke-with-response-stream)$")
_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)/")


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request went.

    Attributes:
        provider: Who answers there.
        endpoint: What was asked for; empty: it is not known.
        model: The model that the path names.
        model_first: Whether that is the name to price by, whatever the reply says.
        needs_model: Whether only a request that names a model is one: the path alone says too little.
        invoked: Whether the reader depends on the request and the model.
    """

    path: str
    address: str
    provider: str = "unknown"
    endpoint: str = ""
    format: Format | None = None
    model: str = ""
    model_first: bool = False
    needs_model: bool = False
    invoked: bool = False

    def reader(self, request: Wire) -> tuple[str, str, Format | None]:
        """Return provider, endpoint and reader of a request that went here."""
        if self.needs_model and not isinstance(request.get("model"), str):
            return "unknown", "", None
        if self.invoked:
            return (self.provider, *_invoked(self.model, request))
        return self.provider, self.endpoint, self.format


@lru_cache(maxsize=256)
def find(url: str) -> Route:
    """Return the route of an address, whatever it looks like."""
    parts = _split(url)
    host = parts.netloc.rpartition("@")[2].partition(":")[0]
    path = parts.path.rstrip("/") or parts.path
    whose = provider(host)
    address = f"{parts.scheme}://{parts.netloc}{path}"
    found = _BEDROCK.search(path)
    if found:
        model, what = unquote(found[1]), found[2]
        whose = whose or "bedrock-compatible"
        if what.startswith("invoke"):
            return Route(path, address, whose, model=model, model_first=True, invoked=True)
        return Route(path, address, whose, "converse", bedrock.CONVERSE, model, model_first=True)
    found = _GOOGLE.search(path)
    if found:
        endpoint, how = _of_google(found[1] or "", found[3])
        if how is not None:
            return Route(path, address, whose or "google-compatible", endpoint, how, unquote(found[2]))
    return _by_tail(path, address, whose)


def _of_google(publisher: str, method: str) -> tuple[str, Format | None]:
    if method in ("rawPredict", "streamRawPredict"):
        return _PUBLISHERS.get(publisher, ("", None))
    return _METHODS.get(method, ("", None))


def _by_tail(path: str, address: str, whose: str) -> Route:
    for tail, endpoint, how, speaks in _TAILS:
        if path.endswith(tail):
            named = _DEPLOYMENT.search(path)
            model = unquote(named[1]) if named else ""
            # Applications have addresses like these of their own, but none ends like OpenAI's chat.
            unsure = not whose and not model and how is not openai.CHAT
            return Route(path, address, whose or speaks, endpoint, how, model, needs_model=unsure)
    return Route(path, address, whose or "unknown")


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", url, "", "")


_REGIONS = ("us", "us-gov", "eu", "apac", "jp", "au", "ca", "global")
"""What a model's id begins with where its calls are spread over regions."""
_EMBEDDERS = ("amazon.titan-embed", "amazon.nova-2-multimodal-embeddings")


def _invoked(model: str, request: Wire) -> tuple[str, Format]:
    """The body of ``invoke`` is the vendor's own: which it is says the model, then the request."""
    name = model.rpartition("/")[2]
    head, _, rest = name.partition(".")
    name = rest if head in _REGIONS else name
    if name.startswith(_EMBEDDERS):
        return "embeddings", bedrock.EMBEDDINGS
    if name.startswith("cohere."):
        return _cohere(name, request)
    if name.startswith("amazon.nova"):
        return "invoke", bedrock.CONVERSE
    if "messages" not in request:
        return "invoke", bedrock.TEXT
    if name.startswith("anthropic.") or "anthropic_version" in request:
        return "invoke", anthropic.MESSAGES
    return "invoke", openai.CHAT


def _cohere(name: str, request: Wire) -> tuple[str, Format]:
    if name.startswith("cohere.embed"):
        return "embeddings", cohere.EMBED
    if name.startswith("cohere.rerank"):
        return "rerank", cohere.RERANK
    if "messages" in request:
        return "invoke", cohere.CHAT
    return "invoke", cohere.CHAT_V1 if "message" in request else cohere.GENERATE
