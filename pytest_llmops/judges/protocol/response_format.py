"""Negotiate the strictest reply format that a server supports.

Servers differ. Some support strict schemas but not ``maxLength``, some tools but no schemas, some JSON but no tools,
some none of these; some models accept no ``temperature``. When the server refuses a request, the request is repeated
without the parameter that the error message names, or in the next format.

The features that a server supports (its *capabilities*) are remembered for the length of a test: the requests of a test must not
depend on the tests before it, or its recording could not be replayed for only that test. Outside of tests, and without recordings,
they are remembered for the process.

After HTTP 429 a call is repeated after a delay that the whole run shares. The SDK has retried a few times by then, so
the server is overloaded by all judges together, and the run's rate limit (`cassettes.rate_limit`) makes every judge
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

# The index in REPLY_FORMATS of the first format that a server supports, and the parameters that it refuses
Capabilities: TypeAlias = tuple[int, frozenset[str]]
NO_CAPABILITIES: Capabilities = (0, frozenset())
# Server -> its capabilities, and the model object
_Table: TypeAlias = dict[object, tuple[Capabilities, object]]

# The table of the process, and the running test with its table (at most one entry). A block has a table of its own in
# `_scope`, which comes before both
_lock = threading.Lock()
_of_process: _Table = {}
_of_test: list[tuple[object, _Table]] = []
_scope: ContextVar[_Table | None] = ContextVar("pytest_llmops_memory", default=None)


def get_capabilities(server: object) -> Capabilities:
    """Return the known capabilities of a server; `NO_CAPABILITIES` if it has not been called yet."""
    with _lock:
        known, _ = _current_table().get(server, (NO_CAPABILITIES, None))
        return known


def put_capabilities(server: object, known: Capabilities, model: Any) -> None:
    """Remember the capabilities of a server. The model is stored too: its id may be the key and must not be reused."""
    with _lock:
        _current_table()[server] = (known, model)


def _current_table() -> _Table:
    """Return the table of the current block, else of the running test, else of the process.

    A test that is not the one of the last call gets an empty table.
    """
    table_of_block = _scope.get()
    if table_of_block is not None:
        return table_of_block
    test = recorder.running_test_recorder()
    if test is None or recorder.current_settings().record == "live":
        return _of_process
    if not _of_test or _of_test[0][0] is not test:
        _of_test[:] = [(test, {})]
    return _of_test[0][1]


@contextmanager
def forget_capabilities() -> Iterator[None]:
    """Run a block without known capabilities, and forget the ones that it learns.

    For a recording that several tests share: it then holds every request, whichever test runs first.
    """
    with _use_table({}):
        yield


@contextmanager
def branch_capabilities() -> Iterator[None]:
    """Run a block with a copy of the known capabilities, so that concurrent blocks do not affect each other."""
    with _lock:
        known = dict(_current_table())
    with _use_table(known):
        yield


@contextmanager
def _use_table(table: _Table) -> Iterator[None]:
    """Run a block with this table instead of the current one."""
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
        dropped: Parameters that are left out, because an error message of the server named them. ``max_tokens->`` is
            sent under its new name `RENAMED_MAX_TOKENS` instead.
    """

    kind: FormatKind
    params: bool = True
    dropped: frozenset[str] = field(default=frozenset())

    def select_params(self, params: Mapping[str, Json]) -> dict[str, Json]:
        """Return the parameters of a prompt that are sent in this format.

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
    """Return a key for the capabilities of a model: its class, address, name and API.

    If the address is not known, the key is the id of the model object. So it is for a model with the user's own client
    and without an address: the address in the environment variable may not be the client's.
    """
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
    """Leaves out the formats that a server accepts but ignores, while a single verdict is requested.

    They stay left out if a later format gives a verdict; otherwise the caller restores them.

    Attributes:
        before: The capabilities before the first format was left out; None: none was.
    """

    model: Model
    before: Capabilities | None = None

    def skip(self, ignored: ReplyFormat) -> bool:
        """Leave out the formats of the ignored kind; return False if it is ``text``, the last kind."""
        if ignored.kind == "text":
            return False
        key = _server_key(self.model)
        known = get_capabilities(key)
        self.before = self.before or known
        skipped: tuple[FormatKind, ...] = (ignored.kind,)
        if ignored.kind in SCHEMA_KINDS:
            skipped = SCHEMA_KINDS
        index, dropped = known
        while REPLY_FORMATS[index].kind in skipped:  # ends at "text", which is never skipped
            index += 1
        put_capabilities(key, (index, dropped), self.model)
        return True

    def restore(self) -> None:
        """Request the left-out formats again in later verdicts: the others gave no verdict either."""
        if self.before is not None:
            put_capabilities(_server_key(self.model), self.before, self.model)


def negotiate_format(
    model: Model, ask: Callable[[ReplyFormat], Completion], params: Mapping[str, Json]
) -> tuple[Completion, ReplyFormat]:
    """Send a request in one format after another until the server accepts it; return the completion and the format.

    The capabilities of the server are remembered.

    Args:
        model: The judge model.
        ask: Sends the request in a given format.
        params: The parameters of the request that may be left out.

    Raises:
        ModelError: The model could not be called. If every format is refused, this is the first refusal, since the
            reason was not the format then.
    """
    index, dropped = get_capabilities(_server_key(model))
    first_error: ModelError | None = None
    while True:
        base = REPLY_FORMATS[index]
        reply_format = ReplyFormat(base.kind, base.params, dropped)
        try:
            completion = ask(reply_format)
        except ModelError as error:
            first_error = first_error or error
            text = str(error)
            # Only a refused request may be accepted in another format
            if error.kind != "request" or error.status == NOT_FOUND or _TOO_LONG.search(text):
                raise
            refused = _find_refused_param(text, reply_format, params)
            if refused and refused not in dropped:
                dropped |= {refused}
            elif index + 1 < len(REPLY_FORMATS):
                index += 1
            else:
                raise first_error from None
        else:
            put_capabilities(_server_key(model), (index, dropped), model)
            return completion, reply_format


def _find_refused_param(text: str, reply_format: ReplyFormat, params: Mapping[str, Json]) -> str:
    """Return the parameter that was sent and that an error message names; ``""`` if it names none.

    ``max_tokens->`` means that the message requires the parameter's new name, `RENAMED_MAX_TOKENS`.
    """
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

    The run's shared rate limit sets the wait before a retry. Once waiting did not help, or cannot help (the
    quota is used up), the run gives up waiting: no judge retries until the server answers again. Without a tape
    a call has no shared rate limit, and no retry.

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
