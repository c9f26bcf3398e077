"""From the wire to `Call`: who was asked what, what was answered, how many tokens, how long.

One module reads one family of vendors; none of them knows another. What they have no reader for is told by
its address, status, time and the ``model`` of a JSON body, and `Call.unread` names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import Call
from pytest_llmops.recorder import Exchange
from pytest_llmops.trace import prices, routes, streams, usage
from pytest_llmops.trace.fields import (
    UNREAD_SCHEMA,
    JsonObject,
    ParsedReply,
    ParsedRequest,
    arguments_json,
    as_mapping,
    as_text,
)

ERROR_STATUS = 400
MAX_NAME_CHARS = 80


class CallLog(Sequence[Call]):
    """The calls of a test so far, read from the wire when somebody looks.

    >>> len(CallLog([]))
    0
    """

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self._exchanges = exchanges

    def __len__(self) -> int:
        return len(self._exchanges)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204 -- Sequence has two overloads
        if isinstance(index, slice):
            return [read_call(exchange) for exchange in self._exchanges[index]]
        return read_call(self._exchanges[index])

    def __repr__(self) -> str:
        return f"CallLog({[f'{call.endpoint} {call.model}' for call in self]})"


def read_call(exchange: Exchange) -> Call:
    """Return the call that an exchange was; never raises, whatever the body holds."""
    route = routes.find_route(exchange.url)
    request = as_mapping(exchange.request)
    provider, endpoint, call_format = route.reader(request)
    body = streams.read_body(exchange.content_type, exchange.body)
    if call_format is None:
        reply, ended = _first_event(body), True
        parsed_request, parsed_reply = ParsedRequest(), _unknown(reply)
    else:
        reply, ended = call_format.joined(body.events) if body.streamed else (_first_event(body), True)
        parsed_request, parsed_reply = call_format.asked(request), call_format.answered(reply)
    failed = _error_text(reply, exchange.status) or _stream_error_text(body)
    unread = [*_why_reply_unread(exchange, body, known=parsed_reply.known, failed=bool(failed), ended=ended)]
    if call_format is None:
        unread = [f"the endpoint {shorten_text(route.path, MAX_NAME_CHARS)}"]
    else:
        unread += [*_why_request_unread(exchange, parsed_request), *parsed_reply.unread]
    model = parsed_reply.model or parsed_request.model or route.model or as_text(request.get("model"))
    model = route.model if route.model_first else model
    return Call(
        provider=provider,
        endpoint=endpoint or route.path,
        model=model,
        purpose=exchange.purpose,
        messages=tuple(parsed_request.messages),
        tools=tuple(parsed_request.tools),
        output=failed or parsed_reply.output,
        thinking=parsed_reply.thinking,
        tool_calls=tuple(parsed_reply.tool_calls),
        finish_reason=parsed_reply.finish_reason,
        usage=parsed_reply.usage,
        cost_usd=_call_cost_usd(provider, model, parsed_reply, route.address)
        if call_format is not None
        else None,
        latency_s=exchange.latency_s,
        ttft_s=exchange.ttft_s,
        replayed=exchange.replayed,
        streamed=body.streamed and not (body.array and call_format is None),
        status=exchange.status,
        unread="; ".join(unread),
    )


def _first_event(body: streams.ReplyBody) -> JsonObject:
    return body.events[0] if body.events else {}


def _unknown(reply: JsonObject) -> ParsedReply:
    """What a reply of no known endpoint says in words that most use."""
    return ParsedReply(
        model=as_text(reply.get("model")), usage=usage.read_openai_usage(as_mapping(reply.get("usage")))
    )


def _call_cost_usd(provider: str, model: str, answered: ParsedReply, address: str) -> float | None:
    if provider == "openrouter" and answered.cost_usd is not None:
        return answered.cost_usd
    return prices.cost_usd(
        model, answered.usage, api_url=address, provider=provider, extra_counts=answered.priced
    )


def _error_text(reply: JsonObject, status: int | None) -> str:
    """The text of an error, in the forms of all vendors; empty where there is none."""
    error = reply.get("error")
    if error:
        return as_text(error) or as_text(as_mapping(error).get("message")) or arguments_json(error)
    if reply.get("type") == "error" or (status is not None and status >= ERROR_STATUS):
        message = next((reply[key] for key in ("message", "Message", "detail") if reply.get(key)), "")
        return arguments_json(message)
    return ""


def _stream_error_text(body: streams.ReplyBody) -> str:
    if not body.streamed:
        return ""
    texts = (
        _error_text(event, None) for event in body.events if "error" in event or event.get("type") == "error"
    )
    return next((event for event in texts if event), "")


def _why_reply_unread(
    exchange: Exchange, body: streams.ReplyBody, *, known: bool, failed: bool, ended: bool
) -> Iterator[str]:
    if exchange.status is None:
        yield "the answer broke off" if exchange.body else "no answer came"
    elif body.unread:
        yield body.unread
    elif failed:
        return
    elif body.streamed and not (ended or body.ended):
        yield streams.CUT_STREAM
    elif not known:
        yield "a reply of a shape that is not known"


def _why_request_unread(exchange: Exchange, parsed_request: ParsedRequest) -> Iterator[str]:
    if exchange.request is None:
        yield "a request that is no JSON"
    elif not isinstance(exchange.request, dict):
        yield "a request that is no JSON object"
    yield from parsed_request.unread
    for definition in parsed_request.tools:
        if definition.parameters == UNREAD_SCHEMA:
            yield f"the parameters of the tool {shorten_text(definition.name, MAX_NAME_CHARS)}"
