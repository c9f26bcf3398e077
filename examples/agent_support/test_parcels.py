"""An agent whose tools are those of an MCP server: recorded with it, replayed without it, and with a carrier that fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("mcp", reason="the agent asks an MCP server: pip install mcp")

from help_desk import parcels

from pytest_llmops import assert_recovers, assert_tool_calls, assert_trajectory, call

if TYPE_CHECKING:
    from pytest_llmops.trace import CallLog

pytestmark = pytest.mark.llm_cassette


def test_where_is_my_tent(llm_calls: CallLog) -> None:
    messages = asyncio.run(parcels.handle("Where is the tent of my order Q-1077?"))

    assert_tool_calls(messages, [call("track_parcel", order_id="Q-1077"), "answer_customer"])
    assert_trajectory(llm_calls, at_most_steps=2, at_most_repeats=0)
    assert "Leipzig" in last_words(messages)


@pytest.mark.llm_fault("server_died", tool="track_parcel")
def test_the_carrier_is_down(llm_calls: CallLog) -> None:
    messages = asyncio.run(parcels.handle("Where is the tent of my order Q-1077?"))

    assert_recovers(last_words(messages), retries_at_most=1)
    assert_tool_calls(llm_calls, ["track_parcel", "hand_over"], never=["answer_customer"])


@pytest.mark.llm_fault("rate_limit")
def test_the_model_is_busy() -> None:
    messages = asyncio.run(parcels.handle("Where is the tent of my order Q-1077?"))

    assert_recovers(last_words(messages), retries_at_most=1)
    assert "Leipzig" in last_words(messages)


def last_words(messages: list[dict[str, object]]) -> str:
    """Return what the agent told the customer, or the reason why a person takes over."""
    calls = messages[-2]["tool_calls"]
    assert isinstance(calls, list)
    return str(calls[-1]["function"]["arguments"])
