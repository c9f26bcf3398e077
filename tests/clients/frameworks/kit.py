"""What the scripted agents of all frameworks share: their tools, their texts, and the turns of their models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pytest_llmops.agents import Trajectory

QUESTION = "Where is order B-77?"
UNKNOWN_ORDER = "no such order"
BROKEN_ARGUMENTS = '{"order_id": '
TOKENS_OF_A_TURN = 15
INPUT_TOKENS, OUTPUT_TOKENS = 10, 5
COST_USD = 0.02

Scenario = Callable[[], Trajectory]


def get_order(order_id: str) -> str:
    """Return the state of an order; raises ValueError for an order that does not exist."""
    if not order_id.startswith("B-"):
        raise ValueError(UNKNOWN_ORDER)
    return f"{order_id} was delivered"


def refund(order_id: str) -> str:
    """Pay an order back."""
    return f"{order_id} was refunded"


@dataclass(frozen=True)
class ScriptedCall:
    """A tool that a scripted model calls; `text` replaces the arguments by a text that need not be JSON."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    id: str = "c1"
    text: str = ""


@dataclass(frozen=True)
class Turn:
    """An answer of a scripted model."""

    text: str = ""
    calls: tuple[ScriptedCall, ...] = ()


LOOKUP = (
    Turn(calls=(ScriptedCall("get_order", {"order_id": "B-77"}),)),
    Turn("It was delivered."),
)
FAILURE = (
    Turn(calls=(ScriptedCall("get_order", {"order_id": "X-0"}),)),
    Turn("There is no such order."),
)
PARALLEL = (
    Turn(
        calls=(
            ScriptedCall("get_order", {"order_id": "B-77"}, id="c1"),
            ScriptedCall("get_order", {"order_id": "B-78"}, id="c2"),
        )
    ),
    Turn("Both were delivered."),
)
INVALID = (
    Turn(calls=(ScriptedCall("get_order", text=BROKEN_ARGUMENTS),)),
    Turn("I could not look it up."),
)
REFUND = (
    Turn(calls=(ScriptedCall("refund", {"order_id": "B-77"}, id="c2"),)),
    Turn("Refunded."),
)
