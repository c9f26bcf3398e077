"""What agents needed for an answer (steps, repeated calls, tokens, cost), now and in the baseline; reported, and never decided by."""

from __future__ import annotations  # `StoredFacts` reads the types of fields as texts

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_llmops.measurement import format_amount, format_count
from pytest_llmops.results.details import StoredFacts

# Measurements of `assert_trajectory` that a baseline keeps next to the scores -> how reports call them
AMOUNTS: Mapping[str, str] = {
    "trajectory.steps": "steps",
    "trajectory.repeats": "repeated calls",
    "trajectory.tokens": "tokens",
    "trajectory.cost": "cost",
}
AmountStatus: TypeAlias = Literal["rose", "fell", "chance", "too few", "same", "not compared"]
_STATUS_WORDS: Mapping[str, str] = {
    "rose": ", more than chance explains",
    "fell": ", more than chance explains",
    "chance": ", which may be chance",
    "too few": ", too few cases to rule out chance",
    "same": ", as before",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AmountChange(StoredFacts):
    """What agents needed on average, over the cases in which it is known in the baseline and now.

    Attributes:
        name: The measurement, a key of `AMOUNTS`.
        status: See `AmountStatus`. ``rose`` and ``fell``: the change is more than chance explains; ``chance``: it may be chance.
        before: Mean of the baseline; None: not compared, and ``after`` alike.
        p_value: Probability of so large a change, up or down, if nothing had changed, after Holm's correction; None: not tested.
        cases: In how many cases it was compared; ``unchanged`` is how many of them replayed the recordings of the baseline.
        total: In how many cases the steps of an agent were measured, now or in the baseline.
    """

    name: str = ""
    status: str = ""
    before: float | None = None
    after: float | None = None
    p_value: float | None = None
    cases: int = 0
    unchanged: int = 0
    total: int = 0

    @property
    def is_quiet(self) -> bool:
        """Whether a summary leaves it out: it did not move, or nothing could be compared."""
        return self.status in ("same", "not compared")

    @property
    def words(self) -> str:
        """What changed, on how many cases, and whether chance explains it.

        >>> change = AmountChange(name="trajectory.steps", status="rose", before=3.1, after=4.6, cases=12, total=14)
        >>> change.words
        'steps per answer 3.1 → 4.6 (+48 %), more than chance explains; 12 of 14 cases'
        >>> AmountChange(name="trajectory.tokens", status="not compared", total=14).words
        'tokens per answer not compared: no unedited case of 14 has them in the baseline and now'
        """
        what = f"{AMOUNTS.get(self.name, self.name)} per answer"
        cases = format_count(self.total, "case")
        if self.before is None or self.after is None:
            return f"{what} not compared: no unedited case of {self.total:,} has them in the baseline and now"
        before, after = self._format(self.before), self._format(self.after)
        numbers = before
        if self.status != "same":
            numbers = f"{before} → {after}{self._describe_growth(self.before, self.after)}"
        return f"{what} {numbers}{_STATUS_WORDS.get(self.status, '')}; {self.cases:,} of {cases}"

    def _format(self, amount: float) -> str:
        if self.name == "trajectory.cost":
            return format_amount(amount, "USD")
        if self.name == "trajectory.tokens":
            return f"{amount:,.0f}"
        digits = 2 if 0 < amount < 1 else 1
        return f"{amount:,.{digits}f}"

    def _describe_growth(self, before: float, after: float) -> str:
        """Return the change in percent in brackets; "" if there was nothing before, or it is below 0.1 %."""
        if not before:
            return ""
        percent = 100 * (after / before - 1)
        if abs(percent) < 0.1:  # noqa: PLR2004 -- 0.1 %
            return ""
        digits = 1 if abs(percent) < 1 else 0
        return f" ({percent:+,.{digits}f} %)"
