"""Recorded or live exchanges as `Call`: messages, answer, token counts, price and times.

Each module reads the calls of a family of vendors and knows no other. A call of an unknown format has its
address, status, times and the ``model`` of its JSON body, and `Call.unread` names its endpoint.
"""

from collections.abc import Iterator, Sequence

from pytest_llmops._util.json_values import JsonObject, as_mapping, as_text
from pytest_llmops._util.self_judging import is_error_status
from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import Call
from pytest_llmops.recorder import Exchange
from pytest_llmops.trace import openai, prices, routes, streams
from pytest_llmops.trace.fields import UNREAD_SCHEMA, ParsedReply, ParsedRequest, arguments_json

MAX_NAME_CHARS = 80


class CallLog(Sequence[Call]):
    """The calls of a test so far; an exchange is read on access.

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
    """Return the call of an exchange; never raises, whatever the bodies hold."""
    route = routes.find_route(exchange.url)
    request = as_mapping(exchange.request)
    provider, endpoint, call_format = route.choose_format(request)
    body = streams.read_body(exchange.content_type, exchange.body)
    reply, ended = body.events[0] if body.events else {}, True
    if call_format is None:
        usage = openai.read_openai_usage(as_mapping(reply.get("usage")))
        parsed_request = ParsedRequest()
        parsed_reply = ParsedReply(model=as_text(reply.get("model")), usage=usage)
    else:
        if body.streamed:
            reply, ended = call_format.join_events(body.events)
        parsed_request, parsed_reply = call_format.read_request(request), call_format.read_reply(reply)
    event_errors = (_error_text(event, None) for event in body.events) if body.streamed else ()
    error = _error_text(reply, exchange.status) or next(filter(None, event_errors), "")
    model = parsed_reply.model or parsed_request.model or as_text(request.get("model")) or route.model
    model = route.model if route.model_first else model
    cost_usd = parsed_reply.cost_usd if provider == "openrouter" else None
    if call_format is None:
        unread = [f"the endpoint {shorten_text(route.path, MAX_NAME_CHARS)}"]
    else:
        unread = [*_list_unread(exchange, body, parsed_request, parsed_reply, error, ended=ended)]
        if cost_usd is None:
            cost_usd = prices.cost_usd(
                model, parsed_reply.usage, api_url=route.address, provider=provider,
                extra_counts=parsed_reply.priced, is_batched=exchange.is_batched,
            )  # fmt: skip
    return Call(
        provider=provider,
        endpoint=endpoint or route.path,
        model=model,
        purpose=exchange.purpose,
        messages=tuple(parsed_request.messages),
        tools=tuple(parsed_request.tools),
        output=error or parsed_reply.output,
        thinking=parsed_reply.thinking,
        tool_calls=tuple(parsed_reply.tool_calls),
        finish_reason=parsed_reply.finish_reason,
        usage=parsed_reply.usage,
        cost_usd=cost_usd,
        latency_s=exchange.latency_s,
        ttft_s=exchange.ttft_s,
        gap_s=exchange.gap_s,
        replayed=exchange.replayed,
        streamed=body.streamed and not (body.array and call_format is None),
        status=exchange.status,
        unread="; ".join(unread),
    )


def _error_text(reply: JsonObject, status: int | None) -> str:
    # Return the message of an error in the format of any vendor, or "".
    error = reply.get("error")
    if error:
        return as_text(error) or as_text(as_mapping(error).get("message")) or arguments_json(error)
    if reply.get("type") == "error" or is_error_status(status):
        return arguments_json(
            next((reply[key] for key in ("message", "Message", "detail") if reply.get(key)), "")
        )
    return ""


def _list_unread(
    exchange: Exchange,
    body: streams.ReplyBody,
    parsed_request: ParsedRequest,
    parsed_reply: ParsedReply,
    error: str,
    *,
    ended: bool,
) -> Iterator[str]:
    if exchange.status is None:
        yield "the answer broke off" if exchange.body else "no answer came"
    elif body.unread:
        yield body.unread
    elif not error and body.streamed and not (ended or body.ended):
        yield streams.CUT_STREAM
    elif not error and not parsed_reply.known:
        yield "a reply of unknown shape"
    if exchange.request is None:
        yield "a request that is not JSON"
    elif not isinstance(exchange.request, dict):
        yield "a request that is not a JSON object"
    yield from parsed_request.unread
    for tool in parsed_request.tools:
        if tool.parameters == UNREAD_SCHEMA:
            yield f"the parameters of the tool {shorten_text(tool.name, MAX_NAME_CHARS)}"
    yield from parsed_reply.unread
