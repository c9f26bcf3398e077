"""Recorded or live exchanges as `Call`: messages, answer, token counts, price and times.

`calls` reads a call, by the wire format that `routes` finds for it. The built-in formats are the modules of `vendors`, of
which none knows another. A call of an unknown format has its address, status, times and the ``model`` of its JSON body,
and `Call.unread` names its endpoint.
"""

from pytest_llmops.trace.calls import CallLog, read_call
from pytest_llmops.trace.costs import BATCH_PRICE, cost_usd
from pytest_llmops.trace.wire_format import CallFormat, Endpoint, ParsedReply, ParsedRequest, WireFormat

__all__ = [
    "BATCH_PRICE",
    "CallFormat",
    "CallLog",
    "Endpoint",
    "ParsedReply",
    "ParsedRequest",
    "WireFormat",
    "cost_usd",
    "read_call",
]
