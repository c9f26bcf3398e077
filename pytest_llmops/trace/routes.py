"""The format of a call by its path and host and, if these are ambiguous, by the request."""

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import SplitResult, unquote, urlsplit

from pytest_llmops._util.hosts import DEFAULT_PORTS, is_loopback
from pytest_llmops._util.json_values import JsonObject
from pytest_llmops.trace import anthropic, bedrock, cohere, gemini, ollama, openai
from pytest_llmops.trace.fields import CallFormat

# End of a path, endpoint, format, and the provider if the host is not known
_PATH_ENDS: tuple[tuple[str, str, CallFormat, str], ...] = (
    ("/chat/completions", "chat", openai.CHAT, "openai-compatible"),
    ("/completions", "completions", openai.COMPLETIONS, "openai-compatible"),
    ("/responses", "responses", openai.RESPONSES, "openai-compatible"),
    ("/api/embeddings", "embeddings", ollama.EMBED, "ollama"),
    ("/embeddings", "embeddings", openai.EMBEDDINGS, "openai-compatible"),
    ("/moderations", "moderations", openai.MODERATIONS, "openai-compatible"),
    ("/v1/messages", "messages", anthropic.MESSAGES, "anthropic-compatible"),
    ("/v2/chat", "chat", cohere.CHAT, "cohere-compatible"),
    ("/v1/embed", "embeddings", cohere.EMBED, "cohere-compatible"),
    ("/v2/embed", "embeddings", cohere.EMBED, "cohere-compatible"),
    ("/rerank", "rerank", cohere.RERANK, "cohere-compatible"),
    ("/api/chat", "chat", ollama.CHAT, "ollama"),
    ("/api/generate", "generate", ollama.GENERATE, "ollama"),
    ("/api/embed", "embeddings", ollama.EMBED, "ollama"),
)
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
_VERTEX = re.compile(r"\A(?:[a-z0-9-]+-)?aiplatform(?:\.[a-z0-9-]+\.rep)?\.googleapis\.com")
_BEDROCK = re.compile(
    r"\A(?:[a-z0-9-]+\.)*bedrock-(?:runtime|mantle)(?:-fips)?\.[a-z0-9-]+\.(?:vpce\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)"
)
_GOOGLE_PATH = re.compile(r"/(?:publishers/([^/]+)/)?(?:models|tunedModels|endpoints)/([^/:]+):(\w+)$")
_GOOGLE_METHODS: dict[str, tuple[str, CallFormat]] = {
    "generateContent": ("generateContent", gemini.GENERATE),
    "streamGenerateContent": ("generateContent", gemini.GENERATE),
    "embedContent": ("embeddings", gemini.EMBED),
    "batchEmbedContents": ("embeddings", gemini.EMBED),
    "predict": ("embeddings", gemini.PREDICT),
}
_RAW_METHODS = ("rawPredict", "streamRawPredict")
_VERTEX_PUBLISHERS: dict[str, tuple[str, CallFormat]] = {
    "anthropic": ("messages", anthropic.MESSAGES),
    "mistralai": ("chat", openai.CHAT),
}
_BEDROCK_PATH = re.compile(
    r"/model/((?:(?!/model/).)+)/(converse|converse-stream|invoke|invoke-with-response-stream)$"
)
_DEPLOYMENT_PATH = re.compile(r"/openai/deployments/([^/]+)/")


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


@lru_cache(maxsize=256)
def is_model_endpoint(host: str, port: int | None, base_url: str) -> bool:
    """Return whether a host belongs to a known provider or is the configured server, on this machine with its port.

    >>> is_model_endpoint("api.openai.com", 443, ""), is_model_endpoint("127.0.0.1", 80, "http://127.0.0.1:8080/v1")
    (True, False)
    """
    parts = urlsplit(base_url)
    if host and host.lower().rstrip(".") == (parts.hostname or ""):
        return not is_loopback(host) or port in (None, parts.port or DEFAULT_PORTS.get(parts.scheme))
    return bool(find_provider(host))


@dataclass(frozen=True, slots=True)
class Route:
    """The path and address of a request, with what they tell about the call.

    Attributes:
        endpoint: Kind of the call; empty: not known.
        model: The model that the path names.
        model_first: Whether that name is the one to price by, whatever the reply says.
        needs_model: Whether only a request that names a model is a call, as the path alone is ambiguous.
        is_bedrock_invoke: Whether the format depends on the request and the model.
    """

    path: str
    address: str
    provider: str = "unknown"
    endpoint: str = ""
    format: CallFormat | None = None
    model: str = ""
    model_first: bool = False
    needs_model: bool = False
    is_bedrock_invoke: bool = False

    def choose_format(self, request: JsonObject) -> tuple[str, str, CallFormat | None]:
        """Return provider, endpoint and format of a request to this route."""
        if self.needs_model and not isinstance(request.get("model"), str):
            return "unknown", "", None
        if self.is_bedrock_invoke:
            return (self.provider, *_bedrock_invoke_format(self.model, request))
        return self.provider, self.endpoint, self.format


@lru_cache(maxsize=256)
def find_route(url: str) -> Route:
    """Return the route of an address, whatever it looks like."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = SplitResult("", "", url, "", "")
    path = parts.path.rstrip("/") or parts.path
    provider = find_provider(parts.netloc.rpartition("@")[2].partition(":")[0])
    address = f"{parts.scheme}://{parts.netloc}{path}"
    match = _BEDROCK_PATH.search(path)
    if match:
        model = unquote(match[1])
        operation = match[2]
        provider = provider or "bedrock-compatible"
        if operation.startswith("invoke"):
            return Route(path, address, provider, model=model, model_first=True, is_bedrock_invoke=True)
        return Route(path, address, provider, "converse", bedrock.CONVERSE, model, model_first=True)
    match = _GOOGLE_PATH.search(path)
    if match:
        publisher = match[1] or ""
        model = unquote(match[2])
        method = match[3]
        if method in _RAW_METHODS:
            known = _VERTEX_PUBLISHERS.get(publisher)
        else:
            known = _GOOGLE_METHODS.get(method)
        if known:
            return Route(path, address, provider or "google-compatible", *known, model)
    for end, endpoint, call_format, fallback in _PATH_ENDS:
        if path.endswith(end):
            deployment = _DEPLOYMENT_PATH.search(path)
            if deployment:
                model = unquote(deployment[1])
            else:
                model = ""
            # Applications use such paths, too; only the end of OpenAI's chat is unmistakable.
            return Route(
                path,
                address,
                provider or fallback,
                endpoint,
                call_format,
                model,
                needs_model=not provider and not model and call_format is not openai.CHAT,
            )
    return Route(path, address, provider or "unknown")


# First part of a model's id that is spread over regions
_REGIONS = ("us", "us-gov", "eu", "apac", "jp", "au", "ca", "global")
# By the start of a model's id: endpoint and format of ``invoke``
_INVOKE_FORMATS: tuple[tuple[str, str, CallFormat], ...] = (
    ("amazon.titan-embed", "embeddings", bedrock.EMBEDDINGS),
    ("amazon.nova-2-multimodal-embeddings", "embeddings", bedrock.EMBEDDINGS),
    ("amazon.nova", "invoke", bedrock.CONVERSE),
    ("anthropic.", "invoke", anthropic.MESSAGES),
    ("cohere.embed", "embeddings", cohere.EMBED),
    ("cohere.rerank", "rerank", cohere.RERANK),
)


def _bedrock_invoke_format(model: str, request: JsonObject) -> tuple[str, CallFormat]:
    """Return endpoint and format of ``invoke``, whose bodies are those of the model's vendor."""
    name = model.rpartition("/")[2]
    region, _, rest = name.partition(".")
    if region in _REGIONS:
        name = rest
    for start, endpoint, call_format in _INVOKE_FORMATS:
        if name.startswith(start):
            return endpoint, call_format
    if "messages" not in request:
        return "invoke", bedrock.TEXT
    if name.startswith("cohere."):
        return "invoke", cohere.CHAT
    return "invoke", anthropic.MESSAGES if "anthropic_version" in request else openai.CHAT
