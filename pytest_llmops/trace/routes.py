"""Which reader reads a call: told by the path, the host and, where these leave it open, by the request."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import SplitResult, unquote, urlsplit

from pytest_llmops.trace import anthropic, bedrock, cohere, gemini, ollama, openai, openai_responses
from pytest_llmops.trace.fields import CallFormat, JsonObject
from pytest_llmops.trace.hosts import find_provider

_PATH_ENDS: tuple[tuple[str, str, CallFormat, str], ...] = (
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
_GOOGLE_PATH = re.compile(r"/(?:publishers/([^/]+)/)?(?:models|tunedModels|endpoints)/([^/:]+):(\w+)$")
_GOOGLE_METHODS: dict[str, tuple[str, CallFormat | None]] = {
    "generateContent": ("generateContent", gemini.GENERATE),
    "streamGenerateContent": ("generateContent", gemini.GENERATE),
    "embedContent": ("embeddings", gemini.EMBED),
    "batchEmbedContents": ("embeddings", gemini.EMBED),
    "predict": ("embeddings", gemini.PREDICT),
}
_VERTEX_PUBLISHERS: dict[str, tuple[str, CallFormat | None]] = {
    "anthropic": ("messages", anthropic.MESSAGES),
    "mistralai": ("chat", openai.CHAT),
}
_BEDROCK_PATH = re.compile(r"/model/(.+)/(converse|converse-stream|invoke|invoke-with-response-stream)$")
_DEPLOYMENT_PATH = re.compile(r"/openai/deployments/([^/]+)/")


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
    format: CallFormat | None = None
    model: str = ""
    model_first: bool = False
    needs_model: bool = False
    invoked: bool = False

    def reader(self, request: JsonObject) -> tuple[str, str, CallFormat | None]:
        """Return provider, endpoint and reader of a request that went here."""
        if self.needs_model and not isinstance(request.get("model"), str):
            return "unknown", "", None
        if self.invoked:
            return (self.provider, *_bedrock_invoke_format(self.model, request))
        return self.provider, self.endpoint, self.format


@lru_cache(maxsize=256)
def find_route(url: str) -> Route:
    """Return the route of an address, whatever it looks like."""
    parts = _split_url(url)
    host = parts.netloc.rpartition("@")[2].partition(":")[0]
    path = parts.path.rstrip("/") or parts.path
    vendor = find_provider(host)
    address = f"{parts.scheme}://{parts.netloc}{path}"
    match = _BEDROCK_PATH.search(path)
    if match:
        model, operation = unquote(match[1]), match[2]
        vendor = vendor or "bedrock-compatible"
        if operation.startswith("invoke"):
            return Route(path, address, vendor, model=model, model_first=True, invoked=True)
        return Route(path, address, vendor, "converse", bedrock.CONVERSE, model, model_first=True)
    match = _GOOGLE_PATH.search(path)
    if match:
        endpoint, call_format = _google_format(match[1] or "", match[3])
        if call_format is not None:
            return Route(
                path, address, vendor or "google-compatible", endpoint, call_format, unquote(match[2])
            )
    return _match_path_end(path, address, vendor)


def _google_format(publisher: str, method: str) -> tuple[str, CallFormat | None]:
    if method in ("rawPredict", "streamRawPredict"):
        return _VERTEX_PUBLISHERS.get(publisher, ("", None))
    return _GOOGLE_METHODS.get(method, ("", None))


def _match_path_end(path: str, address: str, vendor: str) -> Route:
    for tail, endpoint, call_format, fallback in _PATH_ENDS:
        if path.endswith(tail):
            deployment = _DEPLOYMENT_PATH.search(path)
            model = unquote(deployment[1]) if deployment else ""
            # Applications have addresses like these of their own, but none ends like OpenAI's chat.
            needs_model = not vendor and not model and call_format is not openai.CHAT
            return Route(
                path, address, vendor or fallback, endpoint, call_format, model, needs_model=needs_model
            )
    return Route(path, address, vendor or "unknown")


def _split_url(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", url, "", "")


_REGIONS = ("us", "us-gov", "eu", "apac", "jp", "au", "ca", "global")
"""What a model's id begins with where its calls are spread over regions."""
_EMBEDDING_MODELS = ("amazon.titan-embed", "amazon.nova-2-multimodal-embeddings")


def _bedrock_invoke_format(model: str, request: JsonObject) -> tuple[str, CallFormat]:
    """The body of ``invoke`` is the vendor's own: which it is says the model, then the request."""
    name = model.rpartition("/")[2]
    head, _, rest = name.partition(".")
    name = rest if head in _REGIONS else name
    if name.startswith(_EMBEDDING_MODELS):
        return "embeddings", bedrock.EMBEDDINGS
    if name.startswith("cohere."):
        return _cohere_invoke_format(name, request)
    if name.startswith("amazon.nova"):
        return "invoke", bedrock.CONVERSE
    if "messages" not in request:
        return "invoke", bedrock.TEXT
    if name.startswith("anthropic.") or "anthropic_version" in request:
        return "invoke", anthropic.MESSAGES
    return "invoke", openai.CHAT


def _cohere_invoke_format(name: str, request: JsonObject) -> tuple[str, CallFormat]:
    if name.startswith("cohere.embed"):
        return "embeddings", cohere.EMBED
    if name.startswith("cohere.rerank"):
        return "rerank", cohere.RERANK
    if "messages" in request:
        return "invoke", cohere.CHAT
    return "invoke", cohere.CHAT_V1 if "message" in request else cohere.GENERATE
