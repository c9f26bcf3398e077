"""The budget of a tape's live calls: each takes an estimate from it before it goes out, and its cost afterwards."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_llmops.cassettes import drift
from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.recorder import Exchange
from pytest_llmops.trace import BATCH_PRICE

if TYPE_CHECKING:
    from pytest_llmops.cassettes.budget import CallGrant, Ledger


@dataclass(slots=True)
class CallCosts:
    """The grants of calls that are under way.

    Args:
        ledger: Counts live calls, and refuses calls beyond the budget; None: there is none.
    """

    ledger: Ledger | None
    _grants: dict[str, list[CallGrant]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_priced(self) -> bool:
        """Whether the cost of live calls is needed."""
        return self.ledger is not None and self.ledger.budget_usd is not None

    def reserve(self, question: Question, *, is_batched: bool = False) -> None:
        """Take a call, and its estimated cost, from the budget.

        Raises:
            BudgetReached: The budget has no live call left.
        """
        if self.ledger is None:
            return
        is_free = self.is_priced and not drift.is_model_request(question)
        cost = 0.0 if is_free else self.ledger.estimate(question.json, question.url)
        cost = cost * BATCH_PRICE if cost and is_batched else cost
        grant = self.ledger.reserve_call(cost)
        with self._lock:
            self._grants.setdefault(question.key, []).append(grant)

    def settle(self, question: Question, exchange: Exchange | None, *, complete: bool = True) -> None:
        """Replace the estimate of a call by its cost; without a known cost it stays reserved.

        Args:
            question: The request.
            exchange: The call; None: it got no answer.
            complete: Whether its answer is complete: an incomplete answer may have been paid.
        """
        cost_usd = 0.0 if exchange is not None and exchange.status and complete else None
        if exchange is not None and cost_usd is not None and self.is_priced:
            from pytest_llmops import trace

            cost_usd = trace.read_call(exchange).cost_usd
        with self._lock:
            grants = self._grants.get(question.key)
            grant = grants.pop(0) if grants else None
        if grant is not None:
            grant.settle(cost_usd)
