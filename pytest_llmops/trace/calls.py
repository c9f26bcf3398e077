"""Read a model call from a recorded or live exchange; `CallLog` holds the calls of a test."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pytest_llmops._util.json_values import JsonObject, as_mapping, as_text, get_mapping, get_text
from pytest_llmops._util.text_files import fingerprint_parts
from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import Call, is_error_status
from pytest_llmops.recorder import Exchange
from pytest_llmops.trace import routes, streams
from pytest_llmops.trace.costs import cost_usd
from pytest_llmops.trace.fields import UNREAD_SCHEMA, arguments_json
from pytest_llmops.trace.vendors.openai import read_openai_usage
from pytest_llmops.trace.wire_format import CallFormat, ParsedReply, ParsedRequest

MAX_NAME_CHARS = 80
MAX_ERROR_CHARS = 200
MAX_PARAMETER = (
    4_000  # characters of the JSON text of a parameter; of a longer one only a fingerprint is kept
)
# Fields of a request that are messages, tools or the model, that only say how the answer is sent, or that are another one in each run
_OTHER_FIELDS = frozenset(
    [
        "model",
        "messages",
        "input",
        "inputs",
        "inputText",
        "prompt",
        "contents",
        "content",
        "system",
        "instructions",
        "systemInstruction",
        "system_instruction",
        "message",
        "chat_history",
        "documents",
        "query",
        "texts",
        "images",
        "tools",
        "functions",
        "stream",
        "stream_options",
        "user",
        "metadata",
        "safety_identifier",
        "prompt_cache_key",
        "previous_response_id",
        "conversation",
    ]
)


class CallLog(Sequence[Call]):
    """The calls of a test so far. Each is read once: in a long dialog every request has all messages before it.

    >>> len(CallLog([]))
    0
    """

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self._exchanges = exchanges
        self._calls: dict[int, tuple[Exchange, Call]] = {}  # by the identity of the exchange

    def __len__(self) -> int:
        return len(self._exchanges)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204 -- Sequence has two overloads
        if isinstance(index, slice):
            return [self._read(exchange) for exchange in self._exchanges[index]]
        return self._read(self._exchanges[index])

    def __repr__(self) -> str:
        calls = [f"{call.endpoint} {call.model}" for call in self]
        return f"CallLog({calls})"

    def _read(self, exchange: Exchange) -> Call:
        """Return the call of an exchange."""
        known = self._calls.get(id(exchange))
        if known is None:
            known = (exchange, read_call(exchange))
            self._calls[id(exchange)] = known
        return known[1]


@dataclass(slots=True)
class _ReadBodies:
    # The results of the readers of a wire format for the request and reply of a call.
    reply: JsonObject  # the whole reply; a stream is joined
    parsed_request: ParsedRequest
    parsed_reply: ParsedReply
    ended: bool = True  # whether the stream has its last event
    problem: str = ""  # why a reader failed; empty: none did


T = TypeVar("T")


def _check_type(value: object, expected: type[T]) -> T:
    """Return the value if it has the type; a reader of a project may have returned anything."""
    if not isinstance(value, expected):
        raise TypeError(f"expected {expected.__name__}, got {type(value).__name__}")
    return value


def read_call(exchange: Exchange) -> Call:
    """Return the call of an exchange; never raises, whatever the bodies hold."""
    return exchange.call or _read_exchange(exchange)


def _read_exchange(exchange: Exchange) -> Call:
    """Read request and reply of an exchange by the format of its endpoint; of an unknown endpoint, only model and tokens."""
    route = routes.find_route(exchange.url)
    request = as_mapping(exchange.request)
    match = route.choose_match(request)
    body = streams.read_body(exchange.content_type, exchange.body)
    if match is None:
        bodies = _read_unknown_bodies(body)
    else:
        bodies = _read_bodies(match.endpoint.format, request, body)
    parsed_request = bodies.parsed_request
    parsed_reply = bodies.parsed_reply
    error = _find_error(bodies.reply, body, exchange.status)
    model = parsed_reply.model or parsed_request.model or get_text(request, "model")
    if match is None:
        provider = route.provider
        endpoint = route.path
        cost = None
        unread = [f"the endpoint {shorten_text(route.path, MAX_NAME_CHARS)}"]
    else:
        provider = match.provider
        endpoint = match.endpoint.name or route.path
        if match.endpoint.is_priced_by_path or not model:
            model = match.model
        cost = _find_cost(exchange, route, match, model, parsed_reply)
        unread = list(_list_unread(exchange, body, bodies, error))
    media = tuple(parsed_reply.media)
    return Call(
        provider=provider,
        endpoint=endpoint,
        model=model,
        purpose=exchange.purpose,
        messages=tuple(parsed_request.messages),
        tools=tuple(parsed_request.tools),
        parameters=_format_parameters(request),
        output=error or parsed_reply.output or "\n".join(item.label for item in media),
        media=media,
        thinking=parsed_reply.thinking,
        tool_calls=tuple(parsed_reply.tool_calls),
        finish_reason=parsed_reply.finish_reason,
        usage=parsed_reply.usage,
        cost_usd=cost,
        latency_s=exchange.latency_s,
        ttft_s=exchange.ttft_s,
        gap_s=exchange.gap_s,
        started_s=exchange.started_s,
        replayed=exchange.replayed,
        # A JSON array is a stream only in the format that declares it.
        streamed=body.streamed and not (body.array and match is None),
        status=exchange.status,
        unread="; ".join(unread),
    )


def _format_parameters(request: JsonObject) -> str:
    """Return the fields of a request that are neither messages nor tools, as JSON text; "" if there are none."""
    parameters = {name: value for name, value in request.items() if name not in _OTHER_FIELDS}
    if not parameters:
        return ""
    try:
        shortened = {name: _shorten_parameter(value) for name, value in parameters.items()}
        return json.dumps(shortened, ensure_ascii=False, sort_keys=True)
    except (ValueError, RecursionError, TypeError):
        return ""


def _shorten_parameter(value: object) -> object:
    """Return the value of a parameter; of a long one its fingerprint: the end of a text that is cut could be half a secret."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    if len(text) <= MAX_PARAMETER:
        return value
    return f"({len(text):,} characters, fingerprint {fingerprint_parts(text)})"


def _read_unknown_bodies(body: streams.ReplyBody) -> _ReadBodies:
    """Read model and tokens of a call of an unknown format under the keys that most vendors use."""
    reply: JsonObject = {}
    if body.events:
        reply = body.events[0]
    usage = read_openai_usage(get_mapping(reply, "usage"))
    return _ReadBodies(reply, ParsedRequest(), ParsedReply(model=get_text(reply, "model"), usage=usage))


def _read_bodies(call_format: CallFormat, request: JsonObject, body: streams.ReplyBody) -> _ReadBodies:
    """Read request and reply of a call. If a reader raises, its error is the `problem`, and the parts read before are kept."""
    bodies = _ReadBodies({}, ParsedRequest(), ParsedReply())
    if body.events:
        bodies.reply = body.events[0]
    try:
        bodies.parsed_request = _check_type(call_format.read_request(request), ParsedRequest)
        if body.streamed:
            bodies.reply, bodies.ended = call_format.join_events(body.events)
        bodies.parsed_reply = _check_type(call_format.read_reply(bodies.reply), ParsedReply)
    except Exception as error:  # noqa: BLE001 -- whatever a function of the project raises
        reason = shorten_text(f"{type(error).__name__}: {error}", MAX_ERROR_CHARS)
        bodies.problem = f"a call that its wire format cannot read ({reason})"
    return bodies


def _find_error(reply: JsonObject, body: streams.ReplyBody, status: int | None) -> str:
    """Return the message of the error in a reply or in an event of its stream; "" without an error."""
    error = _error_text(reply, status)
    if error or not body.streamed:
        return error
    for event in body.events:
        error = _error_text(event, None)
        if error:
            return error
    return ""


def _error_text(reply: JsonObject, status: int | None) -> str:
    """Return the message of the error in a reply of any vendor: under "error", or, if the reply is an error, "message" ...; else ""."""
    error = reply.get("error")
    if error:
        return as_text(error) or get_text(as_mapping(error), "message") or arguments_json(error)
    if reply.get("type") == "error" or is_error_status(status):
        for key in ("message", "Message", "detail"):
            if reply.get(key):
                return arguments_json(reply[key])
    return ""


def _find_cost(
    exchange: Exchange, route: routes.Route, match: routes.Match, model: str, parsed_reply: ParsedReply
) -> float | None:
    """Return the price of a call that its reply states, where such prices are trusted; else by the price table."""
    if match.has_stated_cost and parsed_reply.cost_usd is not None:
        return parsed_reply.cost_usd
    return cost_usd(
        model,
        parsed_reply.usage,
        api_url=route.address,
        provider=match.provider,
        extra_counts=parsed_reply.priced,
        is_batched=exchange.is_batched,
    )


def _list_unread(
    exchange: Exchange, body: streams.ReplyBody, bodies: _ReadBodies, error: str
) -> Iterator[str]:
    """Yield a note on each part of a call that could not be read. Of several problems of the reply, only the first is named."""
    if bodies.problem:
        yield bodies.problem
    elif exchange.status is None and exchange.body:
        yield "the answer broke off"
    elif exchange.status is None:
        yield "no answer came"
    elif body.unread:
        yield body.unread
    elif not error and body.streamed and not (bodies.ended or body.ended):
        yield streams.CUT_STREAM
    elif not error and not bodies.parsed_reply.known:
        yield "a reply of unknown shape"
    if exchange.request is None:
        yield "a request that is not JSON"
    elif not isinstance(exchange.request, dict):
        yield "a request that is not a JSON object"
    yield from bodies.parsed_request.unread
    for tool in bodies.parsed_request.tools:
        if tool.parameters == UNREAD_SCHEMA:
            yield f"the parameters of the tool {shorten_text(tool.name, MAX_NAME_CHARS)}"
    yield from bodies.parsed_reply.unread
