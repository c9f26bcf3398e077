"""Summarize the cassettes and the budget of a run, in figures and words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from pytest_llmops.measurement import Json, format_amount, format_count, shorten_text
from pytest_llmops.results.details import BudgetMeta, CassetteFacts, CassettesMeta, Drift
from pytest_llmops.results.run import Run, TestRecord

MAX_LISTED_ORPHANS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CassetteTotals:
    """How requests were answered, summed over the tests.

    Attributes:
        reused: Judges' answers that another test of the run had paid for.
        verified: Live answers that were compared with their recording; ``drifted`` of them differ.
        oldest_days: Age of the oldest cassette at the time of the run; None: not known.
        orphans: Cassettes that no test of a complete and green run used.
    """

    files: int = 0
    replayed: int = 0
    recorded: int = 0
    reused: int = 0
    missed: int = 0
    stale: int = 0
    verified: int = 0
    drifted: int = 0
    oldest_days: int | None = None
    orphans: int = 0

    @property
    def count_words(self) -> str:
        """The counts in words.

        >>> CassetteTotals(replayed=2, oldest_days=94).count_words
        '2 replayed, 0 recorded, 0 stale, 0 missed, oldest 94 days'
        """
        words = [f"{getattr(self, name):,} {name}" for name in ("replayed", "recorded", "stale", "missed")]
        if self.reused:
            words.insert(2, f"{self.reused:,} reused")
        if self.verified:
            words.append(f"{self.verified:,} verified, {self.drifted:,} drifted")
        if self.oldest_days:
            words.append(f"oldest {format_count(self.oldest_days, 'day')}")
        if self.orphans:
            words.append(format_count(self.orphans, "orphan"))
        return ", ".join(words)

    @property
    def style(self) -> Literal["", "red", "yellow"]:
        """``red`` if a request was missed, ``yellow`` if somebody should look, else ""."""
        if self.missed:
            return "red"
        return "yellow" if self.stale or self.orphans or self.drifted else ""


_COUNTS = ("replayed", "recorded", "reused", "missed", "stale", "verified", "drifted")


def summarize_cassettes(run: Run) -> CassetteTotals:
    """Return how the requests of a run were answered."""
    used = [CassetteFacts.from_wire(facts) for record in run.records if (facts := record.fact("cassette"))]
    meta = CassettesMeta.from_wire(run.meta.get("cassettes"))
    counts = {name: sum(getattr(facts, name) for facts in used) for name in _COUNTS}
    return CassetteTotals(
        files=len({facts.path for facts in used}),
        oldest_days=_age_in_days(meta.oldest, run.meta.get("created")),
        orphans=len(meta.orphans),
        **counts,
    )


def format_budget(run: Run) -> str:
    """Return the used part of a run's budget in words; "" without a budget.

    >>> format_budget(Run(meta={"budget": {"calls": 3, "usd": 0.5, "max_calls": 50, "budget_usd": None}}))
    '3 of 50 live calls'
    """
    budget = BudgetMeta.from_wire(run.meta.get("budget"))
    parts = []
    if budget.calls is not None and budget.max_calls is not None:
        parts.append(f"{budget.calls:,} of {budget.max_calls:,} live calls")
    if budget.usd is not None and budget.budget_usd is not None:
        parts.append(f"{format_amount(budget.usd, 'USD')} of {format_amount(budget.budget_usd, 'USD')}")
    return ", ".join(parts)


def iter_cassette_notes(records: Sequence[TestRecord], meta: Mapping[str, Json]) -> Iterator[str]:
    """Yield notes on cassettes, drifts, orphans and judges that were not asked, each once."""
    sentences: dict[str, None] = {}
    for record in records:
        facts = CassetteFacts.from_wire(record.fact("cassette"))
        for note in (*facts.notes, *map(_format_drift, facts.drift)):
            sentences[f"{record.nodeid}: {note}"] = None
    yield from sentences
    orphans = CassettesMeta.from_wire(meta.get("cassettes")).orphans
    if orphans:
        more = f" and {len(orphans) - MAX_LISTED_ORPHANS} more" if len(orphans) > MAX_LISTED_ORPHANS else ""
        yield f"no test uses {', '.join(orphans[:MAX_LISTED_ORPHANS])}{more}: see llmops cassettes check"
    skipped = sum(any(key.startswith("not asked: ") for key in record.facts) for record in records)
    if skipped:
        yield f"{format_count(skipped, 'test')}: a judge was not asked, as a check before it failed"


def _format_drift(drift: Drift) -> str:
    similarity = f" (similarity {drift.similarity:.2f})" if drift.similarity is not None else ""
    before, now = shorten_text(drift.recorded, 80), shorten_text(drift.now, 80)
    return f"drift, {drift.what}{similarity}: recorded {before!r}, now {now!r}"


def _age_in_days(oldest: object, created: object) -> int | None:
    try:
        age = date.fromisoformat(str(created)[:10]) - date.fromisoformat(str(oldest))
    except ValueError:
        return None
    return max(age.days, 0)
