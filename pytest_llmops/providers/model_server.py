"""The servers of the models: whether a key for them is set, and whether they answer."""

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from pytest_llmops._util.hosts import DEFAULT_PORTS
from pytest_llmops._util.server_probe import has_proxy, request_status
from pytest_llmops._util.setup_check import SetupCheck
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.providers.sdk_calls import is_local_server, read_api_key
from pytest_llmops.providers.selection import ANTHROPIC_PREFIX
from pytest_llmops.redaction.secret_names import PLACEHOLDER_KEY

OPENAI_ADDRESS = "https://api.openai.com/v1"
ANTHROPIC_ADDRESS = "https://api.anthropic.com"
ANTHROPIC_VERSION = "2023-06-01"
KEY_REFUSED = 401


@dataclass(frozen=True, slots=True)
class ModelServer:
    """A server that models are called on.

    Attributes:
        address: Its address, as the client gets it; it may hold a password.
        key_variables: The environment variables that may hold its key; the first that is set counts.
        address_settings: What names another server, for a message.
    """

    address: str
    key_variables: tuple[str, ...] = ("OPENAI_API_KEY",)
    address_settings: str = "--llm-base-url URL, ini llm_base_url or OPENAI_BASE_URL in the environment"

    @property
    def is_anthropic(self) -> bool:
        """Whether it speaks the Messages API."""
        return self.key_variables[0].startswith("ANTHROPIC")

    @property
    def shown_address(self) -> str:
        """The address for a message: without user, password and query.

        >>> ModelServer("http://user:secret@localhost:8080/v1?key=x").shown_address
        'http://localhost:8080/v1'
        """
        try:
            return shorten_text(self._bare_address, 200)
        except ValueError:
            return "the server (its address cannot be read)"

    @property
    def _bare_address(self) -> str:
        """The address without user, password and query; raises `ValueError` if it cannot be read."""
        parts = urlsplit(self.address)
        server = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{server}{parts.path}".rstrip("/")

    @property
    def models_url(self) -> str:
        """The address of the list of its models, the cheapest request that such a server has.

        Raises:
            ValueError: The address cannot be read.
        """
        base = self._bare_address
        if self.is_anthropic:
            base += "/v1"
        return f"{base}/models"

    def is_at(self, host: str, port: int | None) -> bool:
        """Return whether the server is at a host and port; None is the default port of HTTP or HTTPS.

        >>> ModelServer("https://api.openai.com/v1").is_at("api.openai.com", 443)
        True
        """
        try:
            parts = urlsplit(self.address)
            own_port = parts.port or DEFAULT_PORTS.get(parts.scheme)
        except ValueError:
            return False
        if host.lower() != (parts.hostname or ""):
            return False
        if port is None:
            return own_port in DEFAULT_PORTS.values()
        return port == own_port


def find_servers(
    models: Collection[str], base_url: str, environ: Mapping[str, str] = os.environ
) -> list[ModelServer]:
    """Return the servers of some models, each once.

    Args:
        models: Names of models, as for ``--llm-model``; "" is a model of the OpenAI-compatible server too.
        base_url: The OpenAI-compatible server of the settings; empty: OpenAI.
        environ: The environment.

    >>> [server.address for server in find_servers(["gpt-5", "gpt-5-mini"], "")]
    ['https://api.openai.com/v1']
    >>> find_servers([], "")
    []
    """
    servers = []
    if any(not name.startswith(ANTHROPIC_PREFIX) for name in models):
        servers.append(ModelServer(base_url or OPENAI_ADDRESS))
    if any(name.startswith(ANTHROPIC_PREFIX) for name in models):
        address = environ.get("ANTHROPIC_BASE_URL") or ANTHROPIC_ADDRESS
        keys = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
        servers.append(ModelServer(address, keys, "ANTHROPIC_BASE_URL in the environment"))
    return servers


def check_key(server: ModelServer) -> SetupCheck:
    """Check that a key for a server is set; its value is neither shown nor sent.

    >>> check_key(ModelServer("http://localhost:8080/v1")).status
    'not needed'
    """
    names = " or ".join(server.key_variables)
    try:
        is_local = is_local_server(server.address)
    except UsageError:
        return _unreadable_address("key", server)
    try:
        variable = _find_key_variable(server)
    except UsageError as error:  # names the variable only
        return SetupCheck(name="key", status="missing", sentence=str(error), step="correct it")
    if variable:
        return SetupCheck(name="key", status="ok", sentence=f"{variable} is set, for {server.shown_address}")
    if is_local:
        sentence = f"{server.shown_address} is on this machine: it needs no key"
        return SetupCheck(name="key", status="not needed", sentence=sentence)
    return SetupCheck(
        name="key",
        status="missing",
        sentence=f"no key for {server.shown_address}: {names} is not set",
        step=f"set {names} in the environment; recordings replay without a key (--llm-record=none)",
    )


def _find_key_variable(server: ModelServer) -> str:
    """Return the environment variable that holds the key; "" if none is set.

    Raises:
        UsageError: The key has characters that an HTTP header cannot contain.
    """
    for variable in server.key_variables:
        if read_api_key(variable) not in ("", PLACEHOLDER_KEY):
            return variable
    return ""


def _unreadable_address(name: str, server: ModelServer) -> SetupCheck:
    """Return that an address is none; it is not shown, as a password may be anywhere in it."""
    sentence = "the address of the server: expected a URL such as https://host/v1, got something else"
    return SetupCheck(
        name=name, status="missing", sentence=sentence, step=f"correct it: {server.address_settings}"
    )


def check_server(server: ModelServer) -> SetupCheck:
    """Ask a server for its models, with the key if one is set, and return whether it answers: one request, at most some seconds.

    Any reply counts as an answer, also 404 and 403: some keys may not list models. Only status 401 to a key that is set shows that the
    server refuses it.
    """
    try:
        is_local_server(server.address)
    except UsageError:
        return _unreadable_address("server", server)
    variable = ""
    with suppress(UsageError):  # a key that no header can hold: `check_key` reports it
        variable = _find_key_variable(server)
    headers = {}
    if variable:
        headers = _key_headers(server, variable)
    reply = request_status(server.models_url, headers)
    where = server.shown_address
    if reply.problem:
        return _describe_unreachable(server, reply.problem)
    if reply.status is None:
        sentence = f"{where} gave no HTTP reply in time, or not through a proxy: a call may still succeed"
        return SetupCheck(name="server", status="not checked", sentence=sentence)
    if reply.status == KEY_REFUSED and variable and "@" not in server.address:
        return SetupCheck(
            name="server",
            status="missing",
            sentence=f"{where} refuses the key in {variable} (status {reply.status})",
            step=f"set a key of this server in {variable}, or name another server: {server.address_settings}",
        )
    return SetupCheck(name="server", status="ok", sentence=f"{where} answers (status {reply.status})")


def why_unreachable(server: ModelServer) -> SetupCheck | None:
    """Ask a server, without a key, whether a call to it can succeed; None: it may.

    With a proxy in the environment no request is made, as its result would not be certain.
    """
    if has_proxy():
        return None
    reply = request_status(server.models_url)
    if reply.problem:
        return _describe_unreachable(server, reply.problem)
    return None


def _describe_unreachable(server: ModelServer, problem: str) -> SetupCheck:
    return SetupCheck(
        name="server",
        status="missing",
        sentence=f"{server.shown_address} does not answer: {problem}",
        step=f"start it, or name another: {server.address_settings}",
    )


def _key_headers(server: ModelServer, variable: str) -> dict[str, str]:
    """Return the headers that carry the key of a server."""
    key = read_api_key(variable)
    headers = {"Authorization": f"Bearer {key}"}
    if server.is_anthropic:
        headers["anthropic-version"] = ANTHROPIC_VERSION
    if variable == "ANTHROPIC_API_KEY":
        headers["x-api-key"] = headers.pop("Authorization").removeprefix("Bearer ")
    return headers
