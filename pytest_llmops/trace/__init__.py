"""Recorded or live exchanges as `Call`: messages, answer, token counts, price and times.

Each module reads the calls of a family of vendors and knows no other. A call of an unknown format has its
address, status, times and the ``model`` of its JSON body, and `Call.unread` names its endpoint.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from operator import mul
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from pytest_llmops._util.hosts import is_loopback
from pytest_llmops._util.json_values import JsonObject, as_mapping, as_text
from pytest_llmops._util.self_judging import is_error_status
from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import Call, Usage
from pytest_llmops.recorder import Exchange
from pytest_llmops.trace import openai, routes, streams
from pytest_llmops.trace.fields import UNREAD_SCHEMA, ParsedReply, ParsedRequest, arguments_json


@lru_cache(maxsize=1)
def _import_genai_prices() -> Any:
    try:
        import genai_prices
    except ImportError:
        return None
    return genai_prices


# What the batch APIs of OpenAI and Anthropic take of the price of a live call (both vendors' price lists of 2026); the
# table has no prices of batches
BATCH_PRICE, MILLION = 0.5, 1_000_000
# Names of providers that differ in the table
TABLE_PROVIDER_IDS = {"bedrock": "aws", "vertex": "google", "xai": "x-ai"}


def cost_usd(
    model: str,
    usage: Usage,
    *,
    api_url: str = "",
    provider: str = "",
    extra_counts: Mapping[str, int] = MappingProxyType({}),
    is_batched: bool = False,
) -> float | None:
    """Return the price of a call in US dollars, or None if it is not known.

    None without the extra ``prices``, without token counts, for a model that is not in the table,
    and for a server on this machine, whatever its model is called.

    Args:
        model: The model's name as the provider gave it.
        usage: The tokens of the call.
        api_url: Address of the server; empty: only the model's name is looked up.
        provider: The provider, for an address that is not in the table.
        extra_counts: Counts with a price of their own, under the table's names: audio, the one-hour cache.
        is_batched: Whether it was made through a batch API.
    """
    if not model or usage.total_tokens is None or _import_genai_prices() is None:
        return None
    cached = usage.cached_tokens or 0
    counts = (usage.input_tokens or 0) - cached, cached, usage.output_tokens or 0
    is_usual = all(0 <= count <= MILLION**2 for count in counts) and not usage.cache_write_tokens
    if is_usual and not extra_counts:
        rates = _find_rates(model, api_url, provider)
    else:
        rates = ()
    if rates:
        price = float(sum(map(mul, rates, counts)))
    else:
        price = _calculate_cost(model, usage, api_url, provider, tuple(extra_counts.items()))
    if price and is_batched:
        return price * BATCH_PRICE
    return price


@lru_cache(maxsize=256)
def _find_rates(model: str, api_url: str, provider: str) -> tuple[Decimal, ...]:
    """Return what an input, a cached and an output token cost; empty: not known, or it depends on how many there are.

    The table takes long, and exports of traces have as many different counts as calls.
    """

    def ask(*counts: int) -> float | None:
        usage = Usage(input_tokens=counts[0] + counts[1], cached_tokens=counts[1], output_tokens=counts[2])
        return _calculate_cost(model, usage, api_url, provider, ())

    asked = ((MILLION, 0, 0), (0, MILLION, 0), (0, 0, MILLION), (1, 1, 1), (7, 0, 0), (1000 * MILLION, 3, 7))
    prices = [ask(*counts) for counts in asked]
    rates = tuple(Decimal(repr(price)) / MILLION for price in prices[:3] if price is not None)
    by_rates = [float(sum(map(mul, rates, counts))) for counts in asked]
    if by_rates == prices:
        return rates
    return ()


@lru_cache(maxsize=1024)
def _calculate_cost(
    model: str, usage: Usage, api_url: str, provider: str, extra_counts: tuple[tuple[str, int], ...]
) -> float | None:
    with contextlib.suppress(ValueError):
        if is_loopback(urlsplit(api_url).hostname or ""):
            return None
    library = _import_genai_prices()
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        **dict(extra_counts),
    }
    tokens = {
        name: count or 0 for name, count in counts.items()
    }  # a count that is left out takes the library long
    # An ARN of Bedrock ends with the name.
    if model.startswith("arn:"):
        name = model.rpartition("/")[2]
    else:
        name = model
    if api_url:
        lookups = [{"provider_api_url": api_url}]
    else:
        lookups = []
    if provider:
        lookups += [{"provider_id": TABLE_PROVIDER_IDS.get(provider, provider)}]
    lookups += [{}]  # the address of a gateway is not in the table: the model's name has to do
    for lookup in lookups:
        # The table refuses counts that contradict each other (more cached than input tokens ...).
        with contextlib.suppress(LookupError, ValueError, ArithmeticError, TypeError):
            price = float(library.calc_price(library.Usage(**tokens), model_ref=name, **lookup).total_price)
            if math.isfinite(price):
                return price
            return None
    return None


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
    return exchange.call or _read_wire(exchange)


def _read_wire(exchange: Exchange) -> Call:
    route = routes.find_route(exchange.url)
    request = as_mapping(exchange.request)
    provider, endpoint, call_format = route.choose_format(request)
    body = streams.read_body(exchange.content_type, exchange.body)
    if body.events:
        reply = body.events[0]
    else:
        reply = {}
    ended = True
    if call_format is None:
        usage = openai.read_openai_usage(as_mapping(reply.get("usage")))
        parsed_request = ParsedRequest()
        parsed_reply = ParsedReply(model=as_text(reply.get("model")), usage=usage)
    else:
        if body.streamed:
            reply, ended = call_format.join_events(body.events)
        parsed_request = call_format.read_request(request)
        parsed_reply = call_format.read_reply(reply)
    if body.streamed:
        event_errors = (_error_text(event, None) for event in body.events)
    else:
        event_errors = ()
    error = _error_text(reply, exchange.status) or next(filter(None, event_errors), "")
    model = parsed_reply.model or parsed_request.model or as_text(request.get("model")) or route.model
    if route.model_first:
        model = route.model
    if provider == "openrouter":
        cost = parsed_reply.cost_usd
    else:
        cost = None
    if call_format is None:
        unread = [f"the endpoint {shorten_text(route.path, MAX_NAME_CHARS)}"]
    else:
        unread = [*_list_unread(exchange, body, parsed_request, parsed_reply, error, ended=ended)]
        if cost is None:
            cost = cost_usd(
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
        cost_usd=cost,
        latency_s=exchange.latency_s,
        ttft_s=exchange.ttft_s,
        gap_s=exchange.gap_s,
        replayed=exchange.replayed,
        streamed=body.streamed and not (body.array and call_format is None),
        status=exchange.status,
        unread="; ".join(unread),
    )


def _error_text(reply: JsonObject, status: int | None) -> str:
    """Return the message of an error in the format of any vendor, or ""."""
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
