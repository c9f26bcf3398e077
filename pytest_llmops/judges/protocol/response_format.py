"""Negotiate the strictest reply format that a server supports.

Servers differ: strict schemas of some have no ``maxLength``; some support tools but no schemas, some JSON but no tools,
some neither; some models take no ``temperature``. After a refusal the next format is tried, or the request is repeated
without the parameter that the refusal names. What a server supports is remembered for the length of a test: the requests
of a test must not depend on the tests before it, or its recording could not be replayed alone. Outside of tests, and
without recordings, it is remembered for the process.

After HTTP 429 a call is repeated with a shared back-off for the whole run. The SDK retries a few times by itself; beyond
that the server is overloaded by all judges together, so the run's rate limit (`cassettes.rate_limit`) makes every judge
of every worker wait before its next call.
"""

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from pytest_llmops import recorder
from pytest_llmops.cassettes import active_tape
from pytest_llmops.errors import ModelError
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Completion, Model

# The index of the first reply format that a server supports, and the parameters that it refuses
Capabilities: TypeAlias = tuple[int, frozenset[str]]
NO_CAPABILITIES: Capabilities = (0, frozenset())
_Table: TypeAlias = dict[object, tuple[Capabilities, object]]

_lock = threading.Lock()
_of_process: _Table = {}
_of_test: list[tuple[object, _Table]] = []
_scope: ContextVar[_Table | None] = ContextVar("pytest_llmops_memory", default=None)


def get_capabilities(server: object) -> Capabilities:
    """Return the known capabilities of a server."""
    with _lock:
        known, _ = _current_table().get(server, (NO_CAPABILITIES, None))
        return known


def put_capabilities(server: object, known: Capabilities, model: Any) -> None:
    """Remember the capabilities of a server; the model is kept alive, as its id may be the key."""
    with _lock:
        _current_table()[server] = (known, model)


def _current_table() -> _Table:
    own = _scope.get()
    if own is not None:
        return own
    test = recorder.running_test_recorder()
    if test is None or recorder.current_settings().record == "live":
        return _of_process
    if not _of_test or _of_test[0][0] is not test:
        _of_test[:] = [(test, {})]
    return _of_test[0][1]


@contextmanager
def forget_capabilities() -> Iterator[None]:
    """Start a block without known capabilities, and forget them after it, for a recording that several tests share."""
    with _use_table({}):
        yield


@contextmanager
def branch_capabilities() -> Iterator[None]:
    """Start a block with a copy of the known capabilities, so that concurrent blocks do not affect each other."""
    with _lock:
        known = dict(_current_table())
    with _use_table(known):
        yield


@contextmanager
def _use_table(table: _Table) -> Iterator[None]:
    token = _scope.set(table)
    try:
        yield
    finally:
        _scope.reset(token)


NOT_FOUND = 404
RENAMED_MAX_TOKENS = "max_completion_tokens"  # the name of `max_tokens` for newer models

FormatKind = Literal["bounded", "plain", "tool", "json", "text"]
SCHEMA_KINDS: tuple[FormatKind, ...] = ("bounded", "plain")


@dataclass(frozen=True, slots=True)
class ReplyFormat:
    """The format in which a verdict is requested.

    Attributes:
        kind: ``bounded`` (a schema with limits), ``plain`` (a schema without), ``tool`` (a required call),
            ``json`` (any JSON object) or ``text`` (a line of text).
        params: Whether the parameters of the prompt are sent.
        dropped: Parameters that are left out, as the server refused them by name.
    """

    kind: FormatKind
    params: bool = True
    dropped: frozenset[str] = field(default=frozenset())

    def select_params(self, params: Mapping[str, Json]) -> dict[str, Json]:
        """Return the parameters to send.

        >>> ReplyFormat("plain", dropped=frozenset({"max_tokens->"})).select_params({"max_tokens": 9, "temperature": 0})
        {'temperature': 0, 'max_completion_tokens': 9}
        """
        if not self.params:
            return {}
        dropped = {name.removesuffix("->") for name in self.dropped}
        kept = {name: value for name, value in params.items() if name not in dropped}
        is_renamed = "max_tokens->" in self.dropped and RENAMED_MAX_TOKENS not in self.dropped
        if is_renamed and "max_tokens" in params:
            kept[RENAMED_MAX_TOKENS] = params["max_tokens"]
        return kept


# From the strictest format to the loosest; after a refusal the next is tried
REPLY_FORMATS = (
    ReplyFormat("bounded"),
    ReplyFormat("plain"),
    ReplyFormat("plain", params=False),
    ReplyFormat("tool"),
    ReplyFormat("json"),
    ReplyFormat("text"),
    ReplyFormat("text", params=False),
)

# A refusal because the texts are too long, in any format
_TOO_LONG = re.compile(
    r"context[ _-](?:length|size|window)|maximum context|too many (?:input )?tokens", re.IGNORECASE
)


def _server_key(model: Model) -> object:
    """Return what identifies server and model: address and name, or the model object if these are unknown."""
    address = getattr(model, "base_url", None)
    has_own_client = getattr(model, "client", None) is not None
    if not isinstance(address, str) or (has_own_client and not address):
        return id(model)
    variable = getattr(model, "address_variable", "OPENAI_BASE_URL")
    where = address or os.environ.get(variable, "")
    name = getattr(model, "model", "")
    api = getattr(model, "api", "")
    return type(model).__qualname__, where, str(name), str(api)


@dataclass(slots=True)
class IgnoredFormats:
    """The formats that a server ignores, left out while a verdict is requested, and for good once it is read."""

    model: Model
    before: Capabilities | None = None

    def skip(self, ignored: ReplyFormat) -> bool:
        """Leave out the formats of an ignored kind; return whether another kind is left."""
        if ignored.kind == "text":
            return False
        key = _server_key(self.model)
        known = get_capabilities(key)
        self.before = self.before or known
        skipped: tuple[FormatKind, ...] = (ignored.kind,)
        if ignored.kind in SCHEMA_KINDS:
            skipped = SCHEMA_KINDS
        index, dropped = known
        while REPLY_FORMATS[index].kind in skipped:
            index += 1
        put_capabilities(key, (index, dropped), self.model)
        return True

    def restore(self) -> None:
        """Request the formats again that were left out: no other was read either."""
        if self.before is not None:
            put_capabilities(_server_key(self.model), self.before, self.model)


def negotiate_format(
    model: Model, ask: Callable[[ReplyFormat], Completion], params: Mapping[str, Json]
) -> tuple[Completion, ReplyFormat]:
    """Return the completion and the format of the first request that the server does not refuse.

    Args:
        model: The judge model; the capabilities of its server are remembered.
        ask: Sends a request in a given format.
        params: The parameters that may be left out.

    Raises:
        ModelError: The model could not be called; if every format is refused, the first refusal, as the format
            was not the reason.
    """
    index, dropped = get_capabilities(_server_key(model))
    first: ModelError | None = None
    while True:
        base = REPLY_FORMATS[index]
        reply_format = ReplyFormat(base.kind, base.params, dropped)
        try:
            completion = ask(reply_format)
        except ModelError as error:
            first = first or error
            text = str(error)
            if error.kind != "request" or error.status == NOT_FOUND or _TOO_LONG.search(text):
                raise
            refused = _find_refused_param(text, reply_format, params)
            if refused and refused not in dropped:
                dropped |= {refused}
            elif index + 1 < len(REPLY_FORMATS):
                index += 1
            else:
                raise first from None
        else:
            put_capabilities(_server_key(model), (index, dropped), model)
            return completion, reply_format


def _find_refused_param(text: str, reply_format: ReplyFormat, params: Mapping[str, Json]) -> str:
    """Return the sent parameter that a refusal names; ``max_tokens->``: it is to be renamed."""
    for name in reply_format.select_params(params):
        if re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", text):
            if name == "max_tokens" and RENAMED_MAX_TOKENS in text:
                return f"{name}->"
            return name
    return ""


T = TypeVar("T")

MAX_TRIES = 4  # each try includes the SDK's own retries
# Messages of a server when waiting does not help
_FOR_GOOD = re.compile(r"insufficient_quota|billing|exceeded your current quota", re.IGNORECASE)


def retry_rate_limited(ask: Callable[[], T]) -> T:
    """Return the result of a call, retried while the server reports that its rate limit is exceeded.

    Once waiting did not help, or cannot, no judge of the run waits until the server answers again. Without a tape there
    is no shared rate limit, and no retry.

    Raises:
        ModelError: The rate limit is still exceeded after `MAX_TRIES`, or any other error.

    >>> retry_rate_limited(lambda: 1)
    1
    """
    tape = active_tape.current_tape()
    if tape is None:
        return ask()
    pace = None
    if tape.mode != "none":
        pace = tape.pace
    for tries_left in reversed(range(MAX_TRIES)):
        try:
            return ask()
        except ModelError as error:
            if error.kind != "rate_limit" or (pace is not None and pace.gave_up):
                raise
            if not tries_left or _FOR_GOOD.search(str(error)):
                if pace is not None:
                    pace.give_up()
                raise
    raise AssertionError  # pragma: no cover -- the last try returns or raises
