"""The responses of a model over a WebSocket, each in the form of a call over HTTP, for the trace and the budget.

OpenAI's Realtime and its Responses over a socket begin a response with ``response.create`` and end it with ``response.done`` or
``response.completed``, which have the output and the tokens. A Realtime server that hears the end of a turn begins a response by itself.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pytest_llmops.cassettes.conversation import WEBSOCKET, Conversation, Message
from pytest_llmops.recorder import Exchange

OK = 200
BAD_REQUEST = 400
_ENDS = ("response.done", "response.completed", "response.incomplete", "response.failed")
_SECONDS_DIGITS = 4
# Names that Realtime has for parts that have another name in Responses
_TEXT_KINDS = ("text", "audio", "output_text", "output_audio")


@dataclass(frozen=True, slots=True)
class ResponseStart:
    """A response that begins.

    Attributes:
        url: The address, as of a call over HTTP.
        request: The request for it.
        seconds: When it begins, in seconds from the opening of the connection.
    """

    url: str
    request: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True, slots=True)
class ResponseEnd:
    """A response that is complete.

    Attributes:
        start: Its beginning.
        status: 200, or the status of the error that the server sent instead.
        body: The response.
        latency_s: Its duration.
        ttft_s: Seconds to its first piece; None: it came as a whole.
    """

    start: ResponseStart
    status: int
    body: bytes
    latency_s: float
    ttft_s: float | None

    def make_exchange(
        self, request: object, purpose: str, *, replayed: bool, opened_s: float | None = None
    ) -> Exchange:
        """Return it in the form that the trace reads.

        Args:
            request: The request without secrets.
            purpose: Its purpose.
            replayed: Whether it comes from a recording.
            opened_s: Seconds from the start of the test's first call to the opening of the connection; None: not known.
        """
        started_s = None
        if opened_s is not None:
            started_s = round(opened_s + self.start.seconds, _SECONDS_DIGITS)
        return Exchange(
            method="POST",
            url=self.start.url,
            request=request,
            status=self.status,
            content_type="application/json",
            body=self.body,
            latency_s=self.latency_s,
            ttft_s=self.ttft_s,
            replayed=replayed,
            purpose=purpose,
            started_s=started_s,
        )


@dataclass(slots=True)
class _OpenResponse:
    """A response under way."""

    start: ResponseStart
    is_created: bool = False
    first_s: float | None = None


@dataclass(slots=True)
class ResponseTracker:
    """Finds responses in the messages of a connection, which it is given in their order.

    Args:
        url: The address of the connection.
    """

    url: str
    open: list[_OpenResponse] = field(default_factory=list)
    _session: dict[str, Any] = field(default_factory=dict)
    _items: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        models = parse_qs(parts.query).get("model")
        if models:
            self._session["model"] = models[0]
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
        self.url = f"{scheme}://{parts.netloc}{parts.path}"

    def add(self, message: Message) -> ResponseStart | ResponseEnd | None:
        """Note a message; return the response that begins or ends with it, if one does."""
        event = message.json
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            return None
        if message.sender == "client":
            return self._add_client_event(event, message.seconds)
        return self._add_server_event(event, message.seconds)

    def _add_client_event(self, event: Mapping[str, Any], seconds: float) -> ResponseStart | None:
        """Note an event of the client."""
        kind = event["type"]
        if kind == "session.update":
            self._note_session(event)
        elif kind == "conversation.item.create":
            self._items.append(_rename_parts(event.get("item")))
        elif kind == "response.create":
            return self._begin(event, seconds)
        return None

    def _add_server_event(
        self, event: Mapping[str, Any], seconds: float
    ) -> ResponseStart | ResponseEnd | None:
        """Note an event of the server."""
        kind = event["type"]
        if kind in ("session.created", "session.updated"):
            self._note_session(event)
        elif kind == "conversation.item.input_audio_transcription.completed":
            part = {"type": "input_text", "text": event.get("transcript")}
            self._items.append({"type": "message", "role": "user", "content": [part]})
        elif kind == "response.created":
            return self._note_created(seconds)
        elif kind in _ENDS:
            return self._end(OK, event.get("response"), seconds)
        elif kind == "error" and self.open and not self.open[0].is_created:
            status = event.get("status")
            if type(status) is not int:
                status = BAD_REQUEST
            return self._end(status, {"error": event.get("error")}, seconds)
        elif kind.endswith(".delta") and self.open and self.open[0].first_s is None:
            self.open[0].first_s = seconds
        return None

    def _note_session(self, event: Mapping[str, Any]) -> None:
        """Note the purpose of a session."""
        session = event.get("session")
        if isinstance(session, dict):
            known = {name: session[name] for name in ("model", "instructions", "tools") if session.get(name)}
            self._session |= known

    def _begin(self, event: Mapping[str, Any], seconds: float) -> ResponseStart:
        """Begin a response that the client requests."""
        own = {name: value for name, value in event.items() if name not in ("type", "event_id", "response")}
        if isinstance(event.get("response"), dict):
            own |= event["response"]
        request = {**self._session, **own}
        if "input" not in request:
            request["input"] = list(self._items)
        start = ResponseStart(self.url, request, seconds)
        self.open.append(_OpenResponse(start))
        return start

    def _note_created(self, seconds: float) -> ResponseStart | None:
        """Note that the server has begun a response; one that the client did not request begins here."""
        for response in self.open:
            if not response.is_created:
                response.is_created = True
                return None
        start = self._begin({}, seconds)
        self.open[-1].is_created = True
        return start

    def _end(self, status: int, response: object, seconds: float) -> ResponseEnd | None:
        """End the oldest open response; None if there is none."""
        if not self.open:
            return None
        ended = self.open.pop(0)
        if isinstance(response, dict):
            response = {**response}
            if isinstance(response.get("output"), list):
                response["output"] = [_rename_parts(item) for item in response["output"]]
                self._items += response["output"]
            if status == OK:
                response.setdefault("model", ended.start.request.get("model"))
        ttft_s = None
        if ended.first_s is not None:
            ttft_s = round(ended.first_s - ended.start.seconds, _SECONDS_DIGITS)
        latency_s = round(seconds - ended.start.seconds, _SECONDS_DIGITS)
        return ResponseEnd(ended.start, status, json.dumps(response).encode(), latency_s, ttft_s)


def list_responses(url: str, conversation: Conversation) -> list[ResponseEnd]:
    """Return the complete responses of a conversation."""
    tracker = ResponseTracker(url)
    events = [tracker.add(message) for message in conversation.messages]
    return [event for event in events if isinstance(event, ResponseEnd)]


def is_websocket(method: str) -> bool:
    """Return whether the method of a request in a cassette is the method of a WebSocket."""
    return method == WEBSOCKET


def _rename_parts(item: Any) -> Any:
    """Return an item of a conversation with the names that its parts have in Responses: a transcript is a text."""
    if not isinstance(item, dict) or not isinstance(item.get("content"), list):
        return item
    return {**item, "content": [_rename_part(part) for part in item["content"]]}


def _rename_part(part: Any) -> Any:
    """Return a part of an item with the name that it has in Responses."""
    if not isinstance(part, dict):
        return part
    text = part.get("text") or part.get("transcript")
    if part.get("type") in _TEXT_KINDS and isinstance(text, str):
        return {"type": "output_text", "text": text}
    if part.get("type") == "input_audio" and isinstance(text, str):
        return {"type": "input_text", "text": text}
    return part
