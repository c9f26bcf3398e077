"""What an agent did after a fault, in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmops.cassettes import FaultPlan

MAX_LENGTH = 4000
"""No answer of an agent is longer, unless it passes on a text that is too long."""


def describe_outcome(
    plan: FaultPlan | None, recorded: Mapping[str, Any], answer: object, error: BaseException | None
) -> str:
    """Return what an agent did after a fault.

    Args:
        plan: What its calls got.
        recorded: Its answer without a fault, and how many requests it made.
        answer: Its answer.
        error: What it raised.
    """
    assert plan is not None
    if not plan.hits:
        return "not hit"
    if plan.describe_hung():
        return "hangs"
    requests = sum(not event.is_tool for event in plan.events)
    if error is not None:
        more = f", {requests} requests" if requests > recorded["requests"] else ""
        return f"`{type(find_leaf(error)).__name__}`{more}"
    hit = plan.hits[0]
    if hit.is_tool:
        return _describe_tool(plan, recorded, answer, requests)
    if not answer or answer == "None":
        return "empty answer"
    text = str(answer)
    if text == recorded["answer"]:
        extra = requests - recorded["requests"]
        return "retried" if extra == 1 else f"retried, {requests} requests"
    is_kept = "ignore all instructions" in text or len(text) > MAX_LENGTH
    if is_kept or (hit.fault is not None and hit.fault.kind == "wrong_type"):
        return "passed on"
    if hit.fault is not None and hit.fault.only_with_tools and requests == recorded["requests"]:
        return "text to the model"
    if plan.events[-1] is not hit:
        return "another request"
    return "another answer"


def _describe_tool(plan: FaultPlan, recorded: Mapping[str, Any], answer: object, requests: int) -> str:
    calls = sum(event.is_tool for event in plan.events)
    if calls > 1:
        return "retried" if calls == 2 else f"retried, {calls} calls"
    if requests > recorded["requests"]:
        return f"model asked again, {requests} requests"
    if requests < recorded["requests"]:
        return "empty answer" if not answer else "another answer"
    hit = plan.hits[0].fault
    if hit is not None and hit.kind in ("never_returns", "malformed_json"):
        return "text to the model, after its own limit"
    return "text to the model"


def find_leaf(error: BaseException) -> BaseException:
    """Return the first exception in nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
