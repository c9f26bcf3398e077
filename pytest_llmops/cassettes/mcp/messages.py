"""JSON-RPC messages of MCP: their kinds, and answers to them."""

from typing import Any, TypeAlias

from pytest_llmops._util.json_values import parse_json
from pytest_llmops.cassettes.tool_questions import encode_json

Message: TypeAlias = dict[str, Any]
# An id is unique within a session and a side; 1 and "1" are different ids
MessageId: TypeAlias = int | str

PROGRESS = "notifications/progress"
CANCELLED = "notifications/cancelled"
INITIALIZED = "notifications/initialized"
INITIALIZE = "initialize"
PROTOCOL_VERSION = "io.modelcontextprotocol/protocolVersion"  # a member of `_meta`
INTERNAL_ERROR = -32603  # JSON-RPC 2.0, section 5.1


def parse_message(line: bytes | str) -> Message | None:
    """Return a line as a message; None if it is not a JSON object, such as a banner of the server."""
    value = parse_json(line)
    if isinstance(value, dict):
        return value
    return None


def is_request(message: Message) -> bool:
    """Return whether a message needs an answer."""
    return isinstance(message.get("method"), str) and _is_id(message.get("id"))


def is_answer(message: Message) -> bool:
    """Return whether a message is the answer to a request."""
    return "method" not in message and _is_id(message.get("id"))


def _is_id(value: object) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def progress_token(message: Message) -> object:
    """Return the token by which a request wants progress, or a notification of progress names its request; None: it has none."""
    params = message.get("params")
    if not isinstance(params, dict):
        return None
    if message.get("method") == PROGRESS:
        return params.get("progressToken")
    meta = params.get("_meta")
    if isinstance(meta, dict):
        return meta.get("progressToken")
    return None


def with_progress_token(message: Message, token: object) -> Message:
    """Return a recorded notification of progress for the request at hand."""
    params = message.get("params")
    if not isinstance(params, dict):  # no client can tell which request it is of
        return message
    return {**message, "params": {**params, "progressToken": token}}


def cancelled_id(message: Message) -> object:
    """Return the id of the request that a notification cancels; None if it cancels none."""
    params = message.get("params")
    if message.get("method") != CANCELLED or not isinstance(params, dict):
        return None
    return params.get("requestId")


def make_error(request_id: MessageId, text: str) -> Message:
    """Return an answer with an error, whose text gives the reason."""
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": INTERNAL_ERROR, "message": text}}


def to_line(message: Message) -> bytes:
    """Return a message as a line."""
    return encode_json(message) + b"\n"


class Lines:
    """Puts lines together that arrive in pieces."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def split(self, data: bytes) -> list[bytes]:
        """Return the lines that are complete now, without their ends."""
        if b"\n" not in data:
            self._rest.append(data)
            return []
        *lines, rest = data.split(b"\n")
        lines[0] = b"".join([*self._rest, lines[0]])
        self._rest = [rest]
        return lines
