"""An answer as a trace holds it, and as the bytes of a response."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_llmops.protocols import ToolCall, Usage


class UnsupportedFormat(ValueError):
    """An answer cannot be written in the wire format of a request; the message gives the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedAnswer:
    """The answer of a model, without a wire format.

    Attributes:
        text: The text; empty for an answer that only calls tools.
        tool_calls: The calls of tools; one without an id gets one, where the format needs it.
        finish_reason: In the words of any vendor, or of OpenTelemetry; empty: it follows from the tool calls.
        usage: The tokens, as far as the trace has them.
        model: The model that answered; empty: the one in the request.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = ""
    usage: Usage = field(default_factory=Usage)
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedAnswer:
    """A response of HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes
