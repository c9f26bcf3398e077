"""What the recordings of a run answered, how old they are, and what of its budget it used, in figures and words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from pytest_llmops.measurement import Json, format_amount, format_count, shorten_text
from pytest_llmops.results.run import Run, TestRecord

MAX_LISTED_ORPHANS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CassetteTotals:
    """What the recordings answered, summed over the tests.

    Attributes:
        reused: Judges' answers that another test of the run had paid.
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
    def sentence(self) -> str:
        """The counts in words.

        >>> CassetteTotals(replayed=2, oldest_days=94).sentence
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
        """``red`` if a request was missed, ``yellow`` if somebody should look, else nothing."""
        if self.missed:
            return "red"
        return "yellow" if self.stale or self.orphans or self.drifted else ""


def summarize_cassettes(run: Run) -> CassetteTotals:
    """Return what the recordings of a run answered."""
    used = [facts for facts in (record.fact("cassette") for record in run.records) if facts]

    def total(key: str) -> int:
        return sum(value for value in (facts.get(key) for facts in used) if isinstance(value, int))

    cassette_meta = _mapping_or_empty(run.meta.get("cassettes"))
    orphans = cassette_meta.get("orphans")
    return CassetteTotals(
        files=len({str(facts.get("path") or "") for facts in used}),
        replayed=total("replayed"),
        recorded=total("recorded"),
        reused=total("reused"),
        missed=total("missed"),
        stale=total("stale"),
        verified=total("verified"),
        drifted=total("drifted"),
        oldest_days=_age_in_days(cassette_meta.get("oldest"), run.meta.get("created")),
        orphans=len(orphans) if isinstance(orphans, list) else 0,
    )


def format_budget(run: Run) -> str:
    """Return what of its budget a run used; empty if it had none.

    >>> format_budget(Run(meta={"budget": {"calls": 3, "usd": 0.5, "max_calls": 50, "budget_usd": None}}))
    '3 of 50 live calls'
    """
    budget = _mapping_or_empty(run.meta.get("budget"))
    calls, usd = budget.get("calls"), budget.get("usd")
    most, limit = budget.get("max_calls"), budget.get("budget_usd")
    words = []
    if isinstance(calls, int) and isinstance(most, int):
        words.append(f"{calls:,} of {most:,} live calls")
    if isinstance(usd, (int, float)) and isinstance(limit, (int, float)):
        words.append(f"{format_amount(usd, 'USD')} of {format_amount(limit, 'USD')}")
    return ", ".join(words)


def iter_cassette_notes(records: Sequence[TestRecord], meta: Mapping[str, Json]) -> Iterator[str]:
    """Yield what somebody should look at: notes of the tapes, drifts, orphans; each once."""
    sentences: dict[str, None] = {}
    for record in records:
        facts = record.fact("cassette")
        for note in _list_or_empty(facts.get("notes")):
            sentences[f"{record.nodeid}: {note}"] = None
        for drift in _list_or_empty(facts.get("drift")):
            sentences[f"{record.nodeid}: {_format_drift(_mapping_or_empty(drift))}"] = None
    lonely = [str(drift) for drift in _list_or_empty(_mapping_or_empty(meta.get("cassettes")).get("orphans"))]
    if lonely:
        more = f" and {len(lonely) - MAX_LISTED_ORPHANS} more" if len(lonely) > MAX_LISTED_ORPHANS else ""
        names = ", ".join(lonely[:MAX_LISTED_ORPHANS])
        sentences[f"no test uses {names}{more}: see llmops cassettes check"] = None
    skipped = sum(any(key.startswith("not asked: ") for key in record.facts) for record in records)
    if skipped:
        sentences[f"{format_count(skipped, 'test')}: a judge was not asked, as a check before it failed"] = (
            None
        )
    yield from sentences


def _format_drift(wire: Mapping[str, Json]) -> str:
    alike = wire.get("similarity")
    how = f" (similarity {alike:.2f})" if isinstance(alike, (int, float)) else ""
    before, now = (
        shorten_text(str(wire.get("recorded") or ""), 80),
        shorten_text(str(wire.get("now") or ""), 80),
    )
    return f"drift, {wire.get('what')}{how}: recorded {before!r}, now {now!r}"


def _age_in_days(oldest: object, created: object) -> int | None:
    try:
        age = date.fromisoformat(str(created)[:10]) - date.fromisoformat(str(oldest))
    except ValueError:
        return None
    return max(age.days, 0)


def _mapping_or_empty(value: object) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _list_or_empty(value: object) -> list[Json]:
    return list(value) if isinstance(value, (list, tuple)) else []
