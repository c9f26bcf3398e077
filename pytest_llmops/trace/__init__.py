"""From the wire to `Call`: who was asked what, what was answered, how many tokens, how long.

One module reads one family of vendors; none of them knows another. What they have no reader for is told by
its address, status, time and the ``model`` of a JSON body, and `Call.unread` names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_llmops.measurement import shorten
from pytest_llmops.protocols import Call
from pytest_llmops.recorder import Exchange
from pytest_llmops.trace import prices, routes, streams, usage
from pytest_llmops.trace.fields import UNREAD, Answered, Asked, Wire, arguments, mapping, text

FAILED = 400
MAX_NAME = 80


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
            return [read(one) for one in self._exchanges[index]]
        return read(self._exchanges[index])

    def __repr__(self) -> str:
        return f"CallLog({[f'{call.endpoint} {call.model}' for call in self]})"


def read(exchange: Exchange) -> Call:
    """Return the call that an exchange was; never raises, whatever the body holds."""
    route = routes.find(exchange.url)
    request = mapping(exchange.request)
    provider, endpoint, how = route.reader(request)
    body = streams.read(exchange.content_type, exchange.body)
    if how is None:
        reply, ended = _first(body), True
        asked, answered = Asked(), _unknown(reply)
    else:
        reply, ended = how.joined(body.events) if body.streamed else (_first(body), True)
        asked, answered = how.asked(request), how.answered(reply)
    failed = _failure(reply, exchange.status) or _failed_event(body)
    unread = [*_of_the_reply(exchange, body, known=answered.known, failed=bool(failed), ended=ended)]
    if how is None:
        unread = [f"the endpoint {shorten(route.path, MAX_NAME)}"]
    else:
        unread += [*_of_the_request(exchange, asked), *answered.unread]
    model = answered.model or asked.model or route.model or text(request.get("model"))
    model = route.model if route.model_first else model
    return Call(
        provider=provider,
        endpoint=endpoint or route.path,
        model=model,
        purpose=exchange.purpose,
        messages=tuple(asked.messages),
        tools=tuple(asked.tools),
        output=failed or answered.output,
        thinking=answered.thinking,
        tool_calls=tuple(answered.tool_calls),
        finish_reason=answered.finish_reason,
        usage=answered.usage,
        cost_usd=_cost(provider, model, answered, route.address) if how is not None else None,
        latency_s=exchange.latency_s,
        ttft_s=exchange.ttft_s,
        replayed=exchange.replayed,
        streamed=body.streamed and not (body.array and how is None),
        status=exchange.status,
        unread="; ".join(unread),
    )


def _first(body: streams.Body) -> Wire:
    return body.events[0] if body.events else {}


def _unknown(reply: Wire) -> Answered:
    """What a reply of no known endpoint says in words that most use."""
    return Answered(model=text(reply.get("model")), usage=usage.usage(mapping(reply.get("usage"))))


def _cost(provider: str, model: str, answered: Answered, address: str) -> float | None:
    if provider == "openrouter" and answered.cost_usd is not None:
        return answered.cost_usd
    return prices.cost_usd(model, answered.usage, api_url=address, provider=provider, beside=answered.priced)


def _failure(reply: Wire, status: int | None) -> str:
    """The text of an error, in the forms of all vendors; empty where there is none."""
    error = reply.get("error")
    if error:
        return text(error) or text(mapping(error).get("message")) or arguments(error)
    if reply.get("type") == "error" or (status is not None and status >= FAILED):
        said = next((reply[key] for key in ("message", "Message", "detail") if reply.get(key)), "")
        return arguments(said)
    return ""


def _failed_event(body: streams.Body) -> str:
    if not body.streamed:
        return ""
    told = (_failure(one, None) for one in body.events if "error" in one or one.get("type") == "error")
    return next((one for one in told if one), "")


def _of_the_reply(
    exchange: Exchange, body: streams.Body, *, known: bool, failed: bool, ended: bool
) -> Iterator[str]:
    if exchange.status is None:
        yield "the answer broke off" if exchange.body else "no answer came"
    elif body.unread:
        yield body.unread
    elif failed:
        return
    elif body.streamed and not (ended or body.ended):
        yield streams.CUT
    elif not known:
        yield "a reply of a shape that is not known"


def _of_the_request(exchange: Exchange, asked: Asked) -> Iterator[str]:
    if exchange.request is None:
        yield "a request that is no JSON"
    elif not isinstance(exchange.request, dict):
        yield "a request that is no JSON object"
    yield from asked.unread
    for one in asked.tools:
        if one.parameters == UNREAD:
            yield f"the parameters of the tool {shorten(one.name, MAX_NAME)}"
