"""The messages of a WebSocket connection in order, and the form in which a cassette keeps them.

A recorded connection is one answer. Its body is JSON with a message per entry::

    {"messages": [{"client": {"json": {"type": "response.create"}}, "s": 0.01},
                  {"server": {"json": {"type": "response.done"}}, "s": 0.2}],
     "end": {"by": "client"}}

A text is kept as parsed JSON; one that the server sent only if it can be written again to the letter. Of a binary message that the client sent only the hash and the size
are kept; one that the server sent is kept whole.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import shorten_text

WEBSOCKET = "WEBSOCKET"  # the method of a connection in a cassette
OPENED = 101  # the status of a connection that the server accepted
SECONDS_DIGITS = 4
Sender = Literal["client", "server"]
# Who ended a connection: ``open`` was never closed while it was recorded, ``lost`` was cut without a closing frame
Ender = Literal["client", "server", "lost", "open"]
_ENDERS = ("client", "server", "lost", "open")
_AUDIO_TYPE = b"input_audio_buffer.append"
_AUDIO_KEYS = frozenset({"type", "audio", "event_id"})
_ENCODERS = {
    "compact": json.JSONEncoder(separators=(",", ":"), ensure_ascii=False),
    "spaced": json.JSONEncoder(ensure_ascii=False),
    "compact-ascii": json.JSONEncoder(separators=(",", ":")),
    "spaced-ascii": json.JSONEncoder(),
}
_DEFAULT_STYLE = "compact"


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a connection.

    Attributes:
        sender: Who sent it.
        data: Its bytes; empty for a binary message of the client that was recorded.
        is_text: Whether it is a text.
        seconds: Seconds from the opening of the connection.
        digest: The SHA-256 of a binary message of the client; "" for all others.
        size: The size of a binary message of the client.
    """

    sender: Sender
    data: bytes
    is_text: bool
    seconds: float
    digest: str = ""
    size: int = 0

    @property
    def json(self) -> object:
        """The parsed message; None if it is not JSON."""
        if not self.is_text:
            return None
        return _parse(self.data)


@dataclass(frozen=True, slots=True)
class End:
    """How a connection ended.

    Attributes:
        by: Who closed it.
        code: The code of the server's closing frame; 1005: it has none.
        reason: Its reason.
    """

    by: Ender
    code: int = 1005
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """All messages of a connection.

    Attributes:
        messages: In the order in which they were sent and received.
        end: How the connection ended.
        subprotocol: The subprotocol that the server chose; "" for none.
    """

    messages: Sequence[Message]
    end: End
    subprotocol: str = ""

    def encode(self) -> bytes:
        """Return the body that a cassette keeps."""
        document: dict[str, Any] = {
            "messages": [_encode_message(message) for message in join_audio(self.messages)]
        }
        if self.subprotocol:
            document["subprotocol"] = self.subprotocol
        document["end"] = {"by": self.end.by}
        if self.end.by == "server":
            document["end"] |= {"code": self.end.code, "reason": self.end.reason}
        return json.dumps(document).encode()


def make_client_message(data: bytes, seconds: float, *, is_text: bool) -> Message:
    """Return a message that the client sends now."""
    if is_text:
        return Message("client", data, is_text=True, seconds=seconds)
    digest = hashlib.sha256(data).hexdigest()
    return Message("client", b"", is_text=False, seconds=seconds, digest=digest, size=len(data))


def read_audio(message: Message) -> bytes | None:
    """Return the sound of a message that adds to the input audio of OpenAI's Realtime; None for any other message."""
    if message.sender != "client" or not message.is_text or _AUDIO_TYPE not in message.data:
        return None
    event = _parse(message.data)
    if not isinstance(event, dict) or event.get("type") != _AUDIO_TYPE.decode():
        return None
    audio = event.get("audio")
    if not isinstance(audio, str) or not _AUDIO_KEYS.issuperset(event):
        return None
    try:
        return base64.b64decode(audio, validate=True)
    except ValueError:
        return None


def join_audio(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with pieces of input audio joined that follow each other: their cut differs from run to run."""
    joined: list[Message] = []
    sound: bytes | None = None
    for message in messages:
        piece = read_audio(message)
        if piece is None or sound is None:
            joined.append(message)
            sound = piece
            continue
        sound += piece
        event = {"type": _AUDIO_TYPE.decode(), "audio": base64.b64encode(sound).decode()}
        joined[-1] = replace(joined[-1], data=_ENCODERS[_DEFAULT_STYLE].encode(event).encode())
    return joined


def decode_conversation(body: bytes) -> Conversation:
    """Read the body that a cassette has kept.

    Raises:
        CassetteError: It is damaged.
    """
    document = _parse(body)
    if not isinstance(document, dict) or not isinstance(document.get("messages"), list):
        raise CassetteError("a recorded WebSocket: expected an object with a list of messages")
    end = document.get("end")
    if not isinstance(end, dict) or end.get("by") not in _ENDERS:
        raise CassetteError(f"the end of a recorded WebSocket: expected one by {', '.join(_ENDERS)}")
    code = end.get("code", 1005)
    reason = end.get("reason", "")
    subprotocol = document.get("subprotocol", "")
    if type(code) is not int or not isinstance(reason, str) or not isinstance(subprotocol, str):
        raise CassetteError("the end of a recorded WebSocket: expected a number as code and a text as reason")
    messages = [_decode_message(number, entry) for number, entry in enumerate(document["messages"], 1)]
    return Conversation(messages, End(cast("Ender", end["by"]), code, reason), subprotocol)


def _encode_message(message: Message) -> dict[str, Any]:
    """Return a message as a cassette keeps it."""
    content: dict[str, Any]
    if message.digest:
        content = {"sha256": message.digest, "size": message.size}
    elif message.is_text:
        content = _encode_text(message.data.decode("utf-8", "replace"), exact=message.sender == "server")
    else:
        content = {"base64": base64.b64encode(message.data).decode()}
    return {message.sender: content, "s": round(message.seconds, SECONDS_DIGITS)}


def _encode_text(text: str, *, exact: bool) -> dict[str, Any]:
    """Return a text as parsed JSON, or as it is.

    Args:
        text: The text.
        exact: Whether it has to be written again to the letter: then its style is kept too.
    """
    value = _parse(text.encode("utf-8", "surrogatepass"))
    if not isinstance(value, (dict, list)):
        return {"text": text}
    if not exact:
        return {"json": value}
    for style, encoder in _ENCODERS.items():
        if encoder.encode(value) != text:
            continue
        if style == _DEFAULT_STYLE:
            return {"json": value}
        return {"json": value, "style": style}
    return {"text": text}


def _decode_message(number: int, entry: object) -> Message:
    """Read a message of a cassette.

    Raises:
        CassetteError: It is damaged.
    """
    problem = CassetteError(
        f"message {number} of a recorded WebSocket: expected client or server with json, text, base64 or sha256, got"
        f" {shorten_text(str(entry), 80)}"
    )
    if not isinstance(entry, dict):
        raise problem
    sender: Sender = "client" if "client" in entry else "server"
    content = entry.get(sender)
    seconds = entry.get("s", 0.0)
    if not isinstance(content, dict) or type(seconds) not in (int, float):
        raise problem
    if sender == "client" and isinstance(content.get("sha256"), str):
        size = content.get("size")
        if type(size) is not int:
            raise problem
        return Message(sender, b"", is_text=False, seconds=seconds, digest=content["sha256"], size=size)
    data = _decode_content(content)
    if data is None:
        raise problem
    return Message(sender, data, is_text="base64" not in content, seconds=seconds)


def _decode_content(content: Mapping[str, Any]) -> bytes | None:
    """Return the bytes of a kept message; None if it is damaged."""
    try:
        if "json" in content:
            text: str = _ENCODERS[content.get("style", _DEFAULT_STYLE)].encode(content["json"])
            return text.encode("utf-8", "surrogatepass")
        if "text" in content:
            return str.encode(content["text"])
        return base64.b64decode(content["base64"], validate=True)
    except (KeyError, TypeError, ValueError):
        return None


def _parse(data: bytes) -> object:
    """Return parsed JSON; None if it is not JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
