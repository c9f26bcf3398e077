"""The shop that the agent works for: its orders, and what has been paid back and handed over."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ORDERS = Path(__file__).parents[1] / "orders.json"


class ToolError(Exception):
    """A tool cannot do what the model called it for; the text goes to the model."""


@dataclass
class Shop:
    """Orders, and what the agent did to them.

    Attributes:
        orders: The orders by their number.
        looked_up: Numbers of the orders that were looked up.
        refunds: Euros paid back, by the number of the order.
        handed_over: Why the customer was handed over to a person; "" if they were not.
    """

    orders: dict[str, dict[str, Any]] = field(
        default_factory=lambda: json.loads(ORDERS.read_text(encoding="utf-8"))
    )
    looked_up: set[str] = field(default_factory=set)
    refunds: dict[str, int] = field(default_factory=dict)
    handed_over: str = ""

    def get_order(self, order_id: str) -> str:
        """Return an order as JSON text."""
        order = self._find(order_id)
        self.looked_up.add(order_id)
        return json.dumps(order)

    def refund(self, order_id: str, amount: int) -> str:
        """Pay an amount back."""
        price: int = self._find(order_id)["price"]
        if self.refunds.get(order_id, 0) + amount > price:
            raise ToolError(f"{amount} euros are more than the customer paid and has not got back")
        self.refunds[order_id] = self.refunds.get(order_id, 0) + amount
        return f"{amount} euros were paid back"

    def hand_over(self, reason: str) -> str:
        """Pass the customer on to a person."""
        self.handed_over = reason
        return "a person takes over"

    def answer_customer(self, text: str) -> str:
        """Send the last word of the agent."""
        return f"sent: {text}"

    def _find(self, order_id: str) -> dict[str, Any]:
        if order_id not in self.orders:
            raise ToolError(f"there is no order {order_id}")
        return self.orders[order_id]
