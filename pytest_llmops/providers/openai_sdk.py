"""The openai SDK in the version of the application: which are too old, and what older ones lack.

Recording and replaying need no SDK. The fixture ``llm``, judges, embedders ``openai:NAME`` and ``llmops models --live`` do.
"""

import re
from collections.abc import Mapping
from typing import Any

from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json
from pytest_llmops.redaction.secret_names import PLACEHOLDER_KEY

__tracebackhide__ = True

# The lower bound in pyproject.toml
OLDEST_VERSION = (1, 10)
# The first versions with the Responses API, and with the argument `max_completion_tokens`
RESPONSES_VERSION = (1, 66)
COMPLETION_TOKENS_VERSION = (1, 45)
NEEDED_BY = "models, judges and embedders of OpenAI-compatible servers need it"


def import_sdk() -> Any:
    """Return the module `openai`.

    Raises:
        UsageError: It is not installed, cannot be imported, or is older than `OLDEST_VERSION`.
    """
    try:
        import openai
    except ImportError as error:
        if error.name == "openai":
            raise UsageError(f"the openai SDK is not installed: {NEEDED_BY}; {_install_step()}") from None
        raise UsageError(f"the openai SDK cannot be imported: {error}; {NEEDED_BY}") from None
    if find_version(openai) < OLDEST_VERSION:
        raise UsageError(
            f"the openai SDK is too old: expected {_format_version(OLDEST_VERSION)} or newer, got {_describe_version(openai)}; "
            f"{NEEDED_BY}; {_install_step()}"
        )
    return openai


def find_version(sdk: Any) -> tuple[int, int]:
    """Return the first two numbers of the SDK's version; of a module without a version ``(0, 0)``."""
    numbers = re.match(r"(\d{1,9})\.(\d{1,9})", str(getattr(sdk, "__version__", "")))
    if numbers is None:
        return (0, 0)
    return int(numbers[1]), int(numbers[2])


def make_client(key: str, server: str) -> Any:
    """Return a new client of the SDK; ``server`` may be empty, for the SDK's default.

    Raises:
        UsageError: See `import_sdk`; or the SDK does not work with the installed httpx.
    """
    sdk = import_sdk()
    try:
        return sdk.OpenAI(api_key=key, base_url=server or None)
    except TypeError as error:
        # Before 1.55.3 the SDK gives httpx an argument that httpx 0.28 no longer has.
        if "'proxies'" not in str(error):
            raise
        raise UsageError(
            f"the openai SDK {_describe_version(sdk)} does not work with the installed httpx ({error}): "
            "pip install 'openai>=1.55.3', or 'httpx<0.28'"
        ) from None


def import_lazy_parts() -> None:
    """Import the modules that the SDK and its HTTP client import only when a client is first used; no call is made.

    Raises:
        UsageError: See `make_client`.
    """
    client = make_client(PLACEHOLDER_KEY, "")
    for name in ("chat", "embeddings", "responses"):
        getattr(client, name, None)  # older versions have no Responses API
    client.close()


def find_responses_api(client: Any) -> Any:
    """Return the Responses API of a client.

    Raises:
        UsageError: The SDK is too old to have one.
    """
    responses = getattr(client, "responses", None)
    if responses is None:
        raise UsageError(
            f"the Responses API: expected the openai SDK {_format_version(RESPONSES_VERSION)} or newer, "
            f"got {_describe_version(import_sdk())}; set llm_api = chat, or install a newer version"
        )
    return responses


def adapt_chat_params(params: Mapping[str, Json]) -> dict[str, Any]:
    """Return parameters of chat completions as the arguments of the installed SDK.

    Judges send ``max_completion_tokens`` themselves when a server requires it. Where the SDK has no such argument, it goes
    into the body as it is, so that the request is the same with every version.
    """
    arguments: dict[str, Any] = dict(params)
    if "max_completion_tokens" in arguments and find_version(import_sdk()) < COMPLETION_TOKENS_VERSION:
        limit = arguments.pop("max_completion_tokens")
        arguments["extra_body"] = {**(arguments.get("extra_body") or {}), "max_completion_tokens": limit}
    return arguments


def _describe_version(sdk: Any) -> str:
    """Return the SDK's version for a message; of a module without a version the file or folder that was imported."""
    version = getattr(sdk, "__version__", None)
    if version:
        return str(version)
    place = getattr(sdk, "__file__", None) or list(getattr(sdk, "__path__", []))
    return f"a module without a version ({place})"


def _format_version(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _install_step() -> str:
    return f"pip install 'openai>={_format_version(OLDEST_VERSION)}'"
