"""In which form a server can be held to a verdict: found out by asking, and remembered.

Servers differ: strict schemas of some know no ``maxLength``; some know tools but no schemas, some JSON but no
tools, some nothing of it; some models take no ``temperature``. A server says so by refusing the request, and is
then asked in the next form. A parameter that its refusal names is left out instead.
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
RENAMED_MAX_TOKENS = "max_completion_tokens"
"""The name that newer models want for ``max_tokens``."""

FormatKind = Literal["bounded", "plain", "tool", "json", "text"]


@dataclass(frozen=True, slots=True)
class ReplyFormat:
    """How a model is asked.

    Attributes:
        kind: ``bounded`` (a schema with limits), ``plain`` (a schema without), ``tool`` (a required call),
            ``json`` (any JSON object) or ``text`` (a line of text).
        params: Whether the prompt's parameters are sent.
        dropped: Parameters that are not, as the server has refused them by name.
    """

    kind: FormatKind
    params: bool = True
    dropped: frozenset[str] = field(default=frozenset())

    def kept(self, params: Mapping[str, Json]) -> dict[str, Json]:
        """Return the parameters that are sent.

        >>> ReplyFormat("plain", dropped=frozenset({"max_tokens->"})).kept({"max_tokens": 9, "temperature": 0})
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
"""From the narrowest form of a reply to the widest; a server that refuses one is asked the next."""

_TOO_LONG = re.compile(
    r"context[ _-](?:length|size|window)|maximum context|too many (?:input )?tokens", re.IGNORECASE
)
"""Of a refusal: the texts are too long, in whatever form."""


def _server_key(model: Model) -> object:
    """What tells servers and models apart: address and name, or the object that keeps both to itself."""
    address = getattr(model, "base_url", None)
    if not isinstance(address, str) or (getattr(model, "client", None) is not None and not address):
        return id(model)
    where = address or os.environ.get(getattr(model, "address_variable", "OPENAI_BASE_URL"), "")
    return type(model).__qualname__, where, str(getattr(model, "model", "")), str(getattr(model, "api", ""))


def negotiate_format(
    model: Model, ask: Callable[[ReplyFormat], Completion], params: Mapping[str, Json]
) -> tuple[Completion, ReplyFormat]:
    """Ask in the first way that the server does not refuse.

    Args:
        model: Who is asked; what its server takes is remembered for it.
        ask: Asks in a given way.
        params: The parameters that could be left out.

    Raises:
        ModelError: The model could not be asked; refused in every form, the first refusal: then the form was
            not the reason.
    """
    index, dropped = capabilities.get(_server_key(model))
    first: ModelError | None = None
    while True:
        base = REPLY_FORMATS[index]
        way = ReplyFormat(base.kind, base.params, dropped)
        try:
            completion = ask(way)
        except ModelError as error:
            first = first or error
            if error.kind != "request" or error.status == NOT_FOUND or _TOO_LONG.search(str(error)):
                raise
            refused = _find_refused_param(str(error), way, params)
            if refused and refused not in dropped:
                dropped |= {refused}
            elif index + 1 < len(REPLY_FORMATS):
                index += 1
            else:
                raise first from None
        else:
            capabilities.put(_server_key(model), (index, dropped), model)
            return completion, way


def _find_refused_param(text: str, way: ReplyFormat, params: Mapping[str, Json]) -> str:
    """The parameter that a refusal names, of those that were sent; ``max_tokens->``: by another name."""
    for name in way.kept(params):
        if re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", text):
            return f"{name}->" if name == "max_tokens" and RENAMED_MAX_TOKENS in text else name
    return ""
