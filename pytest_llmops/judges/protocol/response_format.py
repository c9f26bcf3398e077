"""Negotiate the strictest reply format that a server supports.

Servers differ: strict schemas of some have no ``maxLength``; some support tools but no schemas, some JSON but no tools,
some neither; some models take no ``temperature``. After a refusal the next format is tried, or the request is repeated
without the parameter that the refusal names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pytest_llmops.errors import ModelError
from pytest_llmops.judges.protocol import capabilities
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Completion, Model

NOT_FOUND = 404
RENAMED_MAX_TOKENS = "max_completion_tokens"  # the name of `max_tokens` for newer models

FormatKind = Literal["bounded", "plain", "tool", "json", "text"]


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
        kept = {name: value for name, value in params.items() if not {name, f"{name}->"} & self.dropped}
        if (
            "max_tokens->" in self.dropped
            and "max_tokens" in params
            and RENAMED_MAX_TOKENS not in self.dropped
        ):
            kept[RENAMED_MAX_TOKENS] = params["max_tokens"]
        return kept


REPLY_FORMATS = (
    ReplyFormat("bounded"),
    ReplyFormat("plain"),
    ReplyFormat("plain", params=False),
    ReplyFormat("tool"),
    ReplyFormat("json"),
    ReplyFormat("text"),
    ReplyFormat("text", params=False),
)
"""From the strictest format to the loosest; after a refusal the next is tried."""

_TOO_LONG = re.compile(
    r"context[ _-](?:length|size|window)|maximum context|too many (?:input )?tokens", re.IGNORECASE
)
"""A refusal because the texts are too long, in any format."""


def _server_key(model: Model) -> object:
    """Return what identifies server and model: address and name, or the model object if these are unknown."""
    address = getattr(model, "base_url", None)
    if not isinstance(address, str) or (getattr(model, "client", None) is not None and not address):
        return id(model)
    where = address or os.environ.get(getattr(model, "address_variable", "OPENAI_BASE_URL"), "")
    return type(model).__qualname__, where, str(getattr(model, "model", "")), str(getattr(model, "api", ""))


@dataclass(slots=True)
class IgnoredFormats:
    """The formats that a server ignores, left out while a verdict is requested, and for good once it is read."""

    model: Model
    before: capabilities.Capabilities | None = None

    def skip(self, ignored: ReplyFormat) -> bool:
        """Leave out the formats of an ignored kind; say whether another kind is left."""
        if ignored.kind == "text":
            return False
        key = _server_key(self.model)
        index, dropped = known = capabilities.get(key)
        self.before = self.before or known
        schemas = ("bounded", "plain")
        passed = schemas if ignored.kind in schemas else (ignored.kind,)
        while REPLY_FORMATS[index].kind in passed:
            index += 1
        capabilities.put(key, (index, dropped), self.model)
        return True

    def restore(self) -> None:
        """Request the formats again that were left out: no other was read either."""
        if self.before is not None:
            capabilities.put(_server_key(self.model), self.before, self.model)


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
    index, dropped = capabilities.get(_server_key(model))
    first: ModelError | None = None
    while True:
        base = REPLY_FORMATS[index]
        reply_format = ReplyFormat(base.kind, base.params, dropped)
        try:
            completion = ask(reply_format)
        except ModelError as error:
            first = first or error
            if error.kind != "request" or error.status == NOT_FOUND or _TOO_LONG.search(str(error)):
                raise
            refused = _find_refused_param(str(error), reply_format, params)
            if refused and refused not in dropped:
                dropped |= {refused}
            elif index + 1 < len(REPLY_FORMATS):
                index += 1
            else:
                raise first from None
        else:
            capabilities.put(_server_key(model), (index, dropped), model)
            return completion, reply_format


def _find_refused_param(text: str, reply_format: ReplyFormat, params: Mapping[str, Json]) -> str:
    """Return the sent parameter that a refusal names; ``max_tokens->``: it is to be renamed."""
    for name in reply_format.select_params(params):
        if re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", text):
            return f"{name}->" if name == "max_tokens" and RENAMED_MAX_TOKENS in text else name
    return ""
