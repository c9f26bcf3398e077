"""Calling a vendor's SDK: whatever it can fail with becomes a `ModelError` that says what to do, and shows no key.

The SDKs of OpenAI and of Anthropic come from one generator: their errors have the same names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from pytest_llmops import recorder
from pytest_llmops._util.hosts import is_loopback
from pytest_llmops.errors import ModelError, UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.redaction.redactor import MASK, Redactor

RESPONSE_EXTENSION = "llmops"
"""Of a response: where the measured time of the real call stands."""


def call_sdk(sdk: Any, create: Callable[..., Any], model: str, client: Any, *args: Any) -> Any:
    """Call an SDK and return what it returns.

    Args:
        sdk: Its module.
        create: What is called, with ``args``.
        model: The model's name, for the error.
        client: The client that asks; its keys are in no error.
        *args: What is asked.

    Raises:
        ModelError: The server is down, refuses, limits or takes too long, or what was asked cannot be sent.
        UsageError: The SDK takes no such parameter, or cannot send what it was given.
    """
    __tracebackhide__ = True
    name = sdk.__name__
    base = sdk.APIError.__base__  # OpenAIError, AnthropicError
    try:
        return create(*args)
    except sdk.APITimeoutError:
        problem = "took too long to answer; ask less, or raise the client's timeout"
        raise model_error(model, client, "timeout", problem) from None
    except sdk.APIConnectionError as error:
        problem = (
            f"could not be reached ({error.__cause__ or error}); is the server up and its address right?"
        )
        raise model_error(model, client, "connection", problem) from None
    except sdk.APIStatusError as error:
        kind, step = classify_status(error.status_code)
        problem = f"was refused with status {error.status_code}: {error.message}; {step}"
        raise model_error(model, client, kind, problem, error.status_code) from None
    except TypeError as error:
        # Of a call without such an argument; any other is about a value, or about a key that is not there.
        reason = (
            "takes no such parameter" if "keyword argument" in str(error) else "could not send the request"
        )
        raise UsageError(mask_keys(f"model {model!r}: the {name} SDK {reason}: {error}", client)) from None
    except base as error:
        raise model_error(model, client, "reply", f"gave no answer: {error}") from None
    except ValueError as error:  # what no header, URL or JSON can hold; its text may quote the key
        reason = str(error) if "Streaming is required" in str(error) else type(error).__name__
        raise model_error(model, client, "request", f"could not be asked ({reason})") from None


_STARRED_KEY = re.compile(r"\S*\*{3,}\S*")
"""A key of which a server shows the ends only."""


def mask_keys(text: str, client: Any, limit: int = 500) -> str:
    """Return one line of foreign text without anything of a key: it is masked first, and cut to ``limit`` then."""
    redactor = Redactor.from_environment(os.environ)
    redactor.learn([str(getattr(client, name, None) or "") for name in ("api_key", "auth_token")])
    return shorten_text(_STARRED_KEY.sub(MASK, redactor.text(text)), limit)


_STATUS_KINDS = {
    401: ("auth", "check the API key"),
    403: ("auth", "check what this API key may do"),
    408: ("timeout", "try again later"),
    429: ("rate_limit", "slow down, or raise the account's limit"),
}


def classify_status(status: int) -> tuple[str, str]:
    """Return which kind of error an HTTP status is, and what to do about it."""
    other = ("request", "read what the server says") if status < 500 else ("server", "try again later")  # noqa: PLR2004 -- HTTP
    return _STATUS_KINDS.get(status, other)


def model_error(model: str, client: Any, kind: str, what: str, status: int | None = None) -> ModelError:
    """Return the error of a model that could not be asked."""
    return ModelError(mask_keys(f"model {model!r} {what}", client), kind=kind, status=status)


def missing_model_error(purpose: str, prefix: str = "") -> UsageError:
    """Return the error of a model without a name; it says where one can be given."""
    under_test = recorder.current_settings().models
    if purpose == "judge" and len(under_test) > 1:
        listed = ", ".join(shorten_text(model, 60) for model in under_test)
        return UsageError(
            f"no model of the judges is named, and several are under test ({listed}): one judge has to judge "
            "them all; expected --llm-judge-model=NAME, ini llm_judge_model or LLMOPS_JUDGE_MODEL in the environment"
        )
    flag = "--llm-judge-model" if purpose == "judge" else "--llm-model"
    key = flag[2:].replace("-", "_")
    variable = key.replace("llm_", "LLMOPS_", 1).upper()
    return UsageError(
        f"no model is named: expected {flag}={prefix}NAME, ini {key}, {variable} in the environment, or `model` in the prompt"
    )


def is_local_server(address: str) -> bool:
    """Say whether the server of an address is on this machine.

    Raises:
        UsageError: It is no address.
    """
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port  # both are checked where they are read
    except ValueError as error:
        raise UsageError(f"address of the server: expected a URL, got {address!r} ({error})") from None
    return is_loopback(host)


def read_api_key(variable: str) -> str:
    """Return the key in an environment variable, or nothing.

    Raises:
        UsageError: No header could hold it.
    """
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UsageError(
            f"{variable}: expected ASCII letters, digits and signs without spaces, got something else"
        )
    return key


def server_address(raw: Any) -> str:
    """Return the server a reply came from, for its prices; none for a server on this machine."""
    url = raw.http_response.request.url
    return "" if is_loopback(url.host) else f"{url.scheme}://{url.host}"


def response_latency(raw: Any, measured_s: float) -> float:
    """Return the time of the real call in seconds, also when it was replayed; without a recording the measured one."""
    recorded_s = raw.http_response.extensions.get(RESPONSE_EXTENSION, {}).get("latency_s")
    return measured_s if recorded_s is None else float(recorded_s)
