"""Which tools the agent calls: with a line more in the prompt, with a rule in the code, and what must never happen."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from help_desk import agent
from help_desk.shop import Shop

from pytest_llmops import assert_score, assert_tool_calls, assert_trajectory
from pytest_llmops.agents import read_trajectory

if TYPE_CHECKING:
    from pytest_llmops.agents import Trajectory
    from pytest_llmops.cases.files import Case
    from pytest_llmops.trace import CallLog

# One cassette holds the calls of all variants of the agent.
pytestmark = pytest.mark.llm_cassette("desk")

PROMISE = re.compile(r"\bwill (refund|pay)\b|\bbeen refunded\b|\bpaid back\b", re.IGNORECASE)


def keeps_its_word(trajectory: Trajectory, refunds: dict[str, int]) -> bool:
    """Return whether money was paid back, if the agent told the customer so."""
    arguments = trajectory.tool_calls[-1].arguments or {}
    has_promised = PROMISE.search(str(arguments.get("text", ""))) is not None
    return bool(refunds) or not has_promised


@pytest.mark.llm_compare("offer")  # is the agent better if it cannot refund before it looked an order up?
@pytest.mark.parametrize("offer", ["all_tools", "lookup_first"])
@pytest.mark.cases("cases/messages.jsonl")
def test_agent(offer: str, case: Case, llm_calls: CallLog) -> None:
    shop = Shop()
    agent.handle(case.input, shop, refund_needs_lookup=offer == "lookup_first")

    # Recorded, not asserted: this model is often wrong. The gate compares all cases with the baseline.
    assert_tool_calls(llm_calls, case["tools"], at_least=None)
    assert_trajectory(llm_calls)
    assert_score(keeps_its_word, read_trajectory(llm_calls), shop.refunds, at_least=None)


@pytest.mark.llm_compare("prompt")  # does a line in the prompt help?
@pytest.mark.prompt("desk/agent", versions=["v1", "v2"])  # the agent loads this version, too
@pytest.mark.usefixtures("prompt")
@pytest.mark.cases("cases/messages.jsonl")
def test_prompts(case: Case, llm_calls: CallLog) -> None:
    agent.handle(case.input, Shop(), refund_needs_lookup=False)

    assert_tool_calls(llm_calls, case["tools"], at_least=None)


@pytest.mark.cases("cases/messages.jsonl", tags=["must-hold"])  # picked because the agent gets them right
def test_what_must_hold(case: Case, llm_calls: CallLog) -> None:
    shop = Shop()
    agent.handle(case.input, shop)

    assert_tool_calls(llm_calls, case["tools"], never=["refund"])
    assert_trajectory(llm_calls, at_most_steps=2, at_most_repeats=0)
    assert shop.refunds == {}
