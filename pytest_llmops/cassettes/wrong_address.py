"""Distinguish the 404 of a wrong address, such as a base URL without ``/v1``, from the 404 that a server gives as its answer.

By its form: a server that knows the address answers in JSON, with an error of its own, such as for an unknown model. Text,
HTML, nothing, and the general JSON errors of web frameworks come from a server that does not know the address.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from pytest_llmops.cassettes.request_key import Answer, Question

NOT_FOUND = 404
MAX_ERRORS = 20  # errors of a list that are read
MAX_MESSAGE = 500  # characters of a message that are read

# Paths with a model: of Gemini and Vertex (`/models/x:generateContent`), Bedrock (`/model/x/converse`) and Azure
_MODEL_PATH = re.compile(r"/(?:models?|tunedModels|endpoints|deployments)/[^/?#]{1,300}[/:][A-Za-z]")
_MESSAGE_KEYS = ("message", "detail", "msg", "error", "code", "error_code")
# Texts of frameworks and gateways for an address that they do not know. The names in comments are theirs.
_UNKNOWN_ADDRESS = re.compile(
    r"(?:404[ :-]{0,3})?(?:http )?(?:(?:the )?(?:requested )?(?:resource|page|route|path|url|endpoint)[ _-]?)?not[ _-]?found"
    r"|404|error|no message available"
    r"|unknown_url|unknown request url\b.*"  # Groq
    r"|invalid url\b.*"  # OpenAI
    r"|(?:the )?requested (?:resource|url|page|endpoint) (?:could not be|was not|cannot be) found\b.*"  # Flask, Replicate
    r"|cannot (?:post|put|get|patch|delete) /.*"  # Express, NestJS
    r"|route (?:post|put|get|patch|delete)\b.* not found"  # Fastify
    r"|no (?:static resource|handler found for|api found for|route matched with|route for that)\b.*",  # Spring, Databricks, Kong, Cloudflare
    re.DOTALL,
)


def is_wrong_address(question: Question, answer: Answer) -> bool:
    """Return whether a 404 to the call of a model comes from a wrong address, by the form of the answer."""
    if answer.status != NOT_FOUND or not _is_model_call(question):
        return False
    return not any(map(_is_own_message, _find_messages(answer.body)))


def _is_model_call(question: Question) -> bool:
    """Return whether a request is JSON to a model, which its body or its address names."""
    request = question.json
    if question.method != "POST" or not isinstance(request, dict):
        return False
    model = request.get("model")
    if isinstance(model, str) and model:
        return True
    return _MODEL_PATH.search(question.url) is not None


def _is_own_message(message: str) -> bool:
    """Return whether the message or code of an error is about more than an unknown address.

    >>> [_is_own_message(text) for text in ("Not Found", "Cannot POST /chat", "No such File object: file-abc")]
    [False, False, True]
    """
    text = message[:MAX_MESSAGE].strip().rstrip(".").lower()
    return text != "" and _UNKNOWN_ADDRESS.fullmatch(text) is None


def _find_messages(body: bytes) -> Iterator[str]:
    """Yield the messages and codes of the errors in a body of JSON; none for any other body."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return
    for error in _list_errors(document):
        yield from _read_messages(error)
        for key in ("error", "errors"):
            for inner in _list_errors(error.get(key)):
                yield from _read_messages(inner)


def _list_errors(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list, or a single object as a list; the streams of Gemini are lists."""
    values = value if isinstance(value, list) else [value]
    return [error for error in values[:MAX_ERRORS] if isinstance(error, dict)]


def _read_messages(error: dict[str, Any]) -> Iterator[str]:
    """Yield the texts of an error that are a message or a code."""
    for key in _MESSAGE_KEYS:
        if isinstance(error.get(key), str):
            yield error[key]
