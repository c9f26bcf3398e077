"""The plan of a ledger before any live call: the runs, their calls, and the cost at most."""

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmops.ledger.model import Document
from pytest_llmops.measurement import format_count
from pytest_llmops.results.run import Run
from pytest_llmops.trace.costs import BATCH_PRICE


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPlan:
    """The runs and calls that a ledger needs.

    Attributes:
        name: The document.
        rules: How many rules are left out, one at a time.
        kept: How many are never left out.
        tests: How many tests call a model.
        trials: How often each runs.
        joint_trials: How often each runs without all rules that can go.
        app_calls: Calls of the application in a run of all tests, with all trials.
        judge_calls: Calls of judges and embedders in it.
        tokens: Tokens of these calls, in and out; None: not known.
        usd: US dollars of these calls; None: not known.
        unpriced: The models without a known price.
        is_recorded: Whether the answers with the whole file are recorded. If not, only a part of the counts is known: at least so many.
        is_batched: Whether calls are made through batch APIs.
    """

    name: str
    rules: int
    kept: int
    tests: int
    trials: int
    app_calls: int
    judge_calls: int
    tokens: float | None = None
    usd: float | None = None
    unpriced: tuple[str, ...] = ()
    is_recorded: bool = True
    is_batched: bool = False
    joint_trials: int = 0

    @property
    def calls(self) -> int:
        """Calls of a run of all tests."""
        return self.app_calls + self.judge_calls

    @property
    def runs(self) -> float:
        """How many runs may make live calls: one for each rule, one for all that can go, and one with the whole file if it is not recorded.

        A run with more trials counts as several.
        """
        runs: float = self.rules + int(not self.is_recorded)
        if self.rules > 1:
            runs += max(self.joint_trials, self.trials) / self.trials
        return runs

    @property
    def most_calls(self) -> int:
        """Calls of all runs, if no answer is recorded."""
        return round(self.runs * self.calls)

    @property
    def most_usd(self) -> float | None:
        """Their cost; None: not known."""
        if self.usd is None:
            return None
        price = self.runs * self.usd
        if self.is_batched:
            price *= BATCH_PRICE
        return price


def make_plan(
    document: Document,
    numbers: Sequence[int],
    base: Run,
    *,
    trials: int,
    joint_trials: int = 0,
    is_recorded: bool,
    is_batched: bool,
) -> LedgerPlan:
    """Return the plan of a ledger.

    Args:
        document: The file with its rules.
        numbers: The rules that are left out.
        base: The run with the whole file, or the recorded part of it.
        trials: How often each test runs.
        joint_trials: How often each test runs without all rules that can go.
        is_recorded: Whether all of `base` is recorded.
        is_batched: Whether calls are made through batch APIs.
    """
    records = [record for record in base.records if record.calls or record.missed_request]
    calls = [call for record in records for call in record.calls]
    judge_calls = sum(call.purpose != "app" for call in calls)
    app_calls = len(calls) - judge_calls
    if not is_recorded:  # each test makes a call at least
        app_calls = max(app_calls, len(records) * trials)
    tokens: float | None = None
    usd: float | None = None
    if is_recorded:
        tokens = _sum_if_known([call.usage.total_tokens for call in calls])
        usd = _sum_if_known([call.cost_usd for call in calls])
    return LedgerPlan(
        name=document.name,
        rules=len(numbers),
        kept=sum(bool(rule.kept) for rule in document.rules),
        tests=len(records),
        trials=trials,
        joint_trials=joint_trials,
        app_calls=app_calls,
        judge_calls=judge_calls,
        tokens=tokens,
        usd=usd,
        unpriced=tuple(sorted({call.model for call in calls if call.cost_usd is None and call.model})),
        is_recorded=is_recorded,
        is_batched=is_batched,
    )


def _sum_if_known(values: Sequence[float | None]) -> float | None:
    """Return the sum of values; None if one of them is not known."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return sum(known)


def describe_plan(plan: LedgerPlan) -> list[str]:
    """Return the plan in sentences.

    >>> describe_plan(LedgerPlan(name="a.md", rules=2, kept=0, tests=1, trials=3, app_calls=3, judge_calls=0, usd=0.25))[-1]
    '  in all at most 9 calls ($0.75, or half of it with -- --llm-record=batch), the last run with all rules that can go left out together'
    """
    rules = format_count(plan.rules, "rule")
    first = f"{plan.name}: {rules} to leave out, one at a time"
    if plan.kept:
        first += f"; {format_count(plan.kept, 'more rule')} kept"
    tests = f"{format_count(plan.tests, 'test')} with {format_count(plan.trials, 'trial')} each"
    if plan.is_recorded:
        lines = [first, f"  with the whole file: {tests}, all recorded"]
        bound = "at most"
    else:
        lines = [first, f"  with the whole file: {tests}; not all answers are recorded, so this runs first"]
        bound = "about"
    lines.append(
        f"  without a rule: {bound} {_describe_run(plan)}, less the answers that are recorded already"
    )
    total = f"  in all {bound} {format_count(plan.most_calls, 'call')} ({_describe_price(plan)})"
    if plan.rules > 1:
        total += ", the last run with all rules that can go left out together"
        if plan.joint_trials > plan.trials:
            total += f", {plan.joint_trials} times each test"
    return [*lines, total]


def _describe_run(plan: LedgerPlan) -> str:
    """Return the calls of a run without a rule."""
    text = f"{format_count(plan.app_calls, 'call')} of the application"
    if plan.judge_calls:
        text += f" and {plan.judge_calls:,} of judges"
    if plan.tokens is not None:
        text += f", {plan.tokens:,} tokens"
    return text


def _describe_price(plan: LedgerPlan) -> str:
    """Return the cost of the ledger at most, or why that is not known."""
    price = plan.most_usd
    if price is None and plan.unpriced:
        return f"no price is known for {', '.join(plan.unpriced)}"
    if price is None:
        return "the price is known once the whole file is recorded"
    if plan.is_batched:
        return f"${price:,.2f} through batches"
    return f"${price:,.2f}, or half of it with -- --llm-record=batch"
