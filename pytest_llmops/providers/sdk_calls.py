"""What calls through a vendor's SDK have in common: keys, addresses, and errors as `ModelError`, with keys masked and the next step.

The SDKs of OpenAI and Anthropic come from the same generator: their errors have the same names.
"""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from pytest_llmops import recorder
from pytest_llmops._util.hosts import is_loopback
from pytest_llmops.errors import ModelError, UsageError
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import Media, Message
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import MASK

__tracebackhide__ = True


def resolve_call(
    model: Any, messages: str | Sequence[Message], params: dict[str, Json], *, sdk: str, prefix: str = ""
) -> tuple[str, tuple[Message, ...], dict[str, Json]]:
    """Return model name, conversation and parameters of a call.

    Args:
        model: The model that is called. Its name overrides the name in the prompt; its parameters are overridden by the prompt's.
        messages: A question, messages, or a rendered prompt, which may have ``model`` and ``params``.
        params: Parameters of the call, which override all others.
        sdk: Name of the SDK, for the error.
        prefix: Prefix of the model names of this SDK, for the error.

    Raises:
        UsageError: No model is named, or a stream is requested.
    """
    name = model.model or getattr(messages, "model", "")
    if not name:
        raise _missing_model_error(model.purpose, prefix)
    if isinstance(messages, str):
        conversation: tuple[Message, ...] = (Message("user", messages),)
    else:
        conversation = tuple(messages)
    merged = {**model.params, **getattr(messages, "params", {}), **params}
    if merged.get("stream"):
        raise UsageError(
            f"complete() returns the whole answer: leave `stream` out, or ask the {sdk} SDK yourself"
        )
    return name, conversation, merged


def list_images(message: Message) -> list[Media]:
    """Return the images of a message that can be sent: those with their content or an address."""
    return [item for item in message.media if item.kind == "image" and item.address]


def call_sdk(sdk: Any, create: Callable[..., Any], model: str, client: Any) -> Any:
    """Call an SDK and return its result. For a judge or an embedder, ``llm_timeout`` limits the time, including retries.

    Args:
        sdk: The module of the SDK.
        create: Makes the call; it must accept the keyword ``timeout``.
        model: The model's name, for the error.
        client: The client of the call; its keys are masked in errors.

    Raises:
        ModelError: The server is down, refuses, limits or is too slow, or the request cannot be sent.
        UsageError: The SDK does not know a parameter, or cannot send its value.
    """
    name = sdk.__name__
    sdk_error = (
        sdk.APIError.__base__
    )  # OpenAIError or AnthropicError, the base class of all errors of the SDK
    limit = {}
    limit_s = None
    if recorder.current_purpose() in recorder.LIMITED_PURPOSES:
        limit_s = recorder.current_settings().timeout
    if limit_s is not None:
        limit["timeout"] = _deadline_class(sdk.Timeout)(limit_s)
    try:
        return create(**limit)
    except (sdk.APIConnectionError, TimeoutError) as error:
        # A timeout while the answer is read is only the cause of a connection error.
        timeouts = {sdk.APITimeoutError, TimeoutError}
        if type(error) not in timeouts and type(error.__cause__) not in timeouts:
            problem = f"could not be reached ({error.__cause__ or error})"
            step = "is the server up and its address right?"
            raise model_error(model, client, "connection", f"{problem}; {step}") from None
        step = "shorten the prompt or raise the client's timeout"
        if limit_s is not None:
            step = (
                f"shorten the prompt or raise llm_timeout in the ini ({limit_s:g} s); for a server that answers "
                "one call at a time, add --llm-concurrency=1 (llmops: --concurrency 1)"
            )
        raise model_error(model, client, "timeout", f"took too long to answer; {step}") from None
    except sdk.APIStatusError as error:
        kind, step = classify_status(error.status_code)
        problem = f"was refused with status {error.status_code}: {describe_status_error(error)}; {step}"
        raise model_error(model, client, kind, problem, error.status_code) from None
    except TypeError as error:
        # Either an unknown parameter, or a value that cannot be sent, or a missing key.
        reason = "could not send the request"
        step = ""
        if "keyword argument" in str(error):
            reason = "has no such parameter"
        if "unexpected keyword argument" in str(error):
            step = "; correct its name, install a newer SDK, or pass it in `extra_body`"
        message = f"model {model!r}: the {name} SDK {reason}: {error}{step}"
        raise UsageError(mask_keys(message, client)) from None
    except sdk_error as error:
        raise model_error(model, client, "reply", f"gave no answer: {error}") from None
    except ValueError as error:  # a value that no header, URL or JSON can hold; the text may quote the key
        reason = type(error).__name__
        if "Streaming is required" in str(error):
            reason = str(error)
        raise model_error(model, client, "request", f"could not be called ({reason})") from None


def describe_status_error(error: Any) -> str:
    """Return the text of an `APIStatusError`; of the server's reply only its message, if it has one.

    openai before 3 quotes the whole reply. Judges search the text for the parameter that was refused, and must find only
    the one in the message.
    """
    message = None
    if isinstance(error.body, Mapping):
        message = error.body.get("message")
    if not isinstance(message, str) or not message:
        return str(error.message)
    return f"Error code: {error.status_code} - {message}"


@lru_cache(maxsize=4)
def _deadline_class(timeout: Any) -> Any:
    """Return a subclass of the SDK's class of timeouts that limits a call with all its retries."""

    class Deadline(timeout):  # type: ignore[misc]  # the class is a parameter
        """The rest of a time limit. The SDK reads it before each attempt, so the attempts share one limit."""

        def __init__(self, seconds: float) -> None:
            self._end = time.monotonic() + seconds

        @property
        def left_s(self) -> float:
            left = self._end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            return left

        connect = read = write = pool = left_s

    return Deadline


def mask_keys(text: str, client: Any, limit: int = 500) -> str:
    """Return a text from outside, such as an error of a server, as one line with keys masked, then shortened to ``limit``."""
    redactor = Redactor.from_environment(os.environ)
    for name in ("api_key", "auth_token"):
        key = getattr(client, name, None)
        if key:
            redactor.learn([str(key)])
    parts = re.split(r"(\s+)", redactor.clean_text(text))
    for place, part in enumerate(parts):
        if "***" in part:  # a key that the server itself has masked in the middle
            parts[place] = MASK
    return shorten_text("".join(parts), limit)


_STATUS_KINDS = {
    401: ("auth", "check the API key"),
    403: ("auth", "check what this API key may do"),
    408: ("timeout", "try again later"),
    429: ("rate_limit", "slow down, or raise the account's limit"),
}


def classify_status(status: int) -> tuple[str, str]:
    """Return the kind of an HTTP error (see `ModelError`), and the next step of the user."""
    if status in _STATUS_KINDS:
        return _STATUS_KINDS[status]
    if status < 500:  # noqa: PLR2004 -- HTTP
        return "request", "read the message of the server"
    return "server", "try again later"


def model_error(model: str, client: Any, kind: str, what: str, status: int | None = None) -> ModelError:
    """Return the error about a failed call, with keys masked; ``what`` continues "model NAME ..."."""
    return ModelError(mask_keys(f"model {model!r} {what}", client), kind=kind, status=status)


def _missing_model_error(purpose: str, prefix: str) -> UsageError:
    """Return the error about a call without a model, with the settings that can name one."""
    under_test = recorder.current_settings().models
    if purpose == "judge" and len(under_test) > 1:
        names = ", ".join(shorten_text(model, 60) for model in under_test)
        return UsageError(
            f"no model of the judges is named, and several are under test ({names}): one judge has to judge "
            "them all; expected --llm-judge-model=NAME, ini llm_judge_model or LLMOPS_JUDGE_MODEL in the environment"
        )
    if purpose == "judge":
        return UsageError(
            f"no model is named: expected --llm-judge-model={prefix}NAME, ini llm_judge_model, LLMOPS_JUDGE_MODEL in the "
            "environment, or `model` in the prompt; else the model under test judges (--llm-model), if that is a single model"
        )
    return UsageError(
        f"no model is named: expected --llm-model={prefix}NAME, ini llm_model, LLMOPS_MODEL in the environment, or `model` in "
        "the prompt"
    )


def is_local_server(address: str) -> bool:
    """Return whether the server at an address is on this machine.

    Raises:
        UsageError: The address is not a valid URL.
    """
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        _ = parts.port  # an invalid host or port raises when it is read
    except ValueError as error:
        raise UsageError(f"address of the server: expected a URL, got {address!r} ({error})") from None
    return is_loopback(host)


def read_api_key(variable: str) -> str:
    """Return the key in an environment variable, or "".

    Raises:
        UsageError: It has characters that an HTTP header cannot contain.
    """
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UsageError(
            f"{variable}: expected ASCII letters, digits and signs without spaces, got something else"
        )
    return key


def pricing_facts(raw: Any) -> dict[str, Any]:
    """Return the arguments ``api_url`` and ``is_batched`` of `trace.cost_usd` for a reply."""
    url = raw.http_response.request.url
    server = url.netloc.decode()
    facts = raw.http_response.extensions.get("llmops", {})
    return {"api_url": f"{url.scheme}://{server}", "is_batched": "is_batched" in facts}


def response_latency(raw: Any, measured_s: float) -> float | None:
    """Return the seconds that a call took; for a replayed call, the seconds of its recording; None for a call of a batch API.

    A replayed response has the recorded time in the extension that `cassettes.http.httpx` adds.
    """
    facts: dict[str, float | None] = raw.http_response.extensions.get("llmops", {})
    recorded_s = facts.get("latency_s")
    if recorded_s is None and "is_batched" not in facts:
        return measured_s
    return recorded_s
