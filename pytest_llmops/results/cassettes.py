"""What the recordings of a run answered, how old they are, and what of its budget it used, in figures and words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from pytest_llmops.measurement import Json, amount, counted, shorten
from pytest_llmops.results.run import Run, TestRecord

ORPHANS_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cassettes:
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

        >>> Cassettes(replayed=2, oldest_days=94).sentence
        '2 replayed, 0 recorded, 0 stale, 0 missed, oldest 94 days'
        """
        words = [f"{getattr(self, name):,} {name}" for name in ("replayed", "recorded", "stale", "missed")]
        if self.reused:
            words.insert(2, f"{self.reused:,} reused")
        if self.verified:
            words.append(f"{self.verified:,} verified, {self.drifted:,} drifted")
        if self.oldest_days:
            words.append(f"oldest {counted(self.oldest_days, 'day')}")
        if self.orphans:
            words.append(counted(self.orphans, "orphan"))
        return ", ".join(words)

    @property
    def style(self) -> Literal["", "red", "yellow"]:
        """``red`` if a request was missed, ``yellow`` if somebody should look, else nothing."""
        if self.missed:
            return "red"
        return "yellow" if self.stale or self.orphans or self.drifted else ""


def cassettes(run: Run) -> Cassettes:
    """Return what the recordings of a run answered."""
    used = [facts for facts in (record.fact("cassette") for record in run.records) if facts]

    def total(key: str) -> int:
        return sum(value for value in (facts.get(key) for facts in used) if isinstance(value, int))

    told = _mapping(run.meta.get("cassettes"))
    orphans = told.get("orphans")
    return Cassettes(
        files=len({str(facts.get("path") or "") for facts in used}),
        replayed=total("replayed"),
        recorded=total("recorded"),
        reused=total("reused"),
        missed=total("missed"),
        stale=total("stale"),
        verified=total("verified"),
        drifted=total("drifted"),
        oldest_days=_days(told.get("oldest"), run.meta.get("created")),
        orphans=len(orphans) if isinstance(orphans, list) else 0,
    )


def budget_words(run: Run) -> str:
    """Return what of its budget a run used; empty if it had none.

    >>> budget_words(Run(meta={"budget": {"calls": 3, "usd": 0.5, "max_calls": 50, "budget_usd": None}}))
    '3 of 50 live calls'
    """
    told = _mapping(run.meta.get("budget"))
    calls, usd = told.get("calls"), told.get("usd")
    most, limit = told.get("max_calls"), told.get("budget_usd")
    words = []
    if isinstance(calls, int) and isinstance(most, int):
        words.append(f"{calls:,} of {most:,} live calls")
    if isinstance(usd, (int, float)) and isinstance(limit, (int, float)):
        words.append(f"{amount(usd, 'USD')} of {amount(limit, 'USD')}")
    return ", ".join(words)


def notes(records: Sequence[TestRecord], meta: Mapping[str, Json]) -> Iterator[str]:
    """Yield what somebody should look at: notes of the tapes, drifts, orphans; each once."""
    found: dict[str, None] = {}
    for record in records:
        facts = record.fact("cassette")
        for note in _listed(facts.get("notes")):
            found[f"{record.nodeid}: {note}"] = None
        for one in _listed(facts.get("drift")):
            found[f"{record.nodeid}: {_drift(_mapping(one))}"] = None
    lonely = [str(one) for one in _listed(_mapping(meta.get("cassettes")).get("orphans"))]
    if lonely:
        more = f" and {len(lonely) - ORPHANS_SHOWN} more" if len(lonely) > ORPHANS_SHOWN else ""
        names = ", ".join(lonely[:ORPHANS_SHOWN])
        found[f"no test uses {names}{more}: see llmops cassettes check"] = None
    skipped = sum(any(key.startswith("not asked: ") for key in record.facts) for record in records)
    if skipped:
        found[f"{counted(skipped, 'test')}: a judge was not asked, as a check before it failed"] = None
    yield from found


def _drift(wire: Mapping[str, Json]) -> str:
    alike = wire.get("similarity")
    how = f" (similarity {alike:.2f})" if isinstance(alike, (int, float)) else ""
    before, now = shorten(str(wire.get("recorded") or ""), 80), shorten(str(wire.get("now") or ""), 80)
    return f"drift, {wire.get('what')}{how}: recorded {before!r}, now {now!r}"


def _days(oldest: object, created: object) -> int | None:
    try:
        age = date.fromisoformat(str(created)[:10]) - date.fromisoformat(str(oldest))
    except ValueError:
        return None
    return max(age.days, 0)


def _mapping(value: object) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _listed(value: object) -> list[Json]:
    return list(value) if isinstance(value, (list, tuple)) else []
