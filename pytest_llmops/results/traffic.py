"""Add up the tokens, cost and latency of calls, and how cassettes answered requests.

A call without a price adds nothing to the cost, and is counted separately. Percentiles are nearest-rank: the p-th percentile
is the smallest measured number that is not below p percent of all numbers.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from pytest_llmops.measurement import Json, format_amount, format_count, shorten_text
from pytest_llmops.protocols import Call
from pytest_llmops.results.details import (
    BudgetMeta,
    CassetteFacts,
    CassettesMeta,
    Drift,
    read_time,
)
from pytest_llmops.results.run import Run, TestRecord

MAX_LISTED_FILES = 3
MAX_TOOL_CHANGES = 30  # that are listed
MAX_CALL = 80  # characters of a call of a tool in a note, and of a place in its answer
MAX_TEST = 120  # characters of the name of a test
MAX_VALUE = 120
_COUNTS = ("replayed", "recorded", "reused", "missed", "stale", "verified", "drifted")
N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Calls of models and their usage.

    Attributes:
        input_tokens: Sum over the calls that report it; None if no call does. The same holds for ``output_tokens``.
        uncounted: Calls without any token count.
        spent_usd: Known cost of the live calls; None if none of them has a price.
        saved_usd: Known cost that the replayed calls would have had.
        unpriced: Calls without a price.
    """

    live: int = 0
    replayed: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    uncounted: int = 0
    spent_usd: float | None = None
    saved_usd: float | None = None
    unpriced: int = 0

    @property
    def calls(self) -> int:
        """Live and replayed calls."""
        return self.live + self.replayed

    @property
    def known_usd(self) -> float | None:
        """Cost of all calls with a price, live and replayed; None if no call has a price."""
        return _sum_known((self.spent_usd, self.saved_usd))


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Percentiles of the latency of the application's calls, in seconds; None without calls.

    Attributes:
        n: How many calls have a latency. A replayed call has the latency of its recording.
        live: How many of them were live.
    """

    n: int = 0
    live: int = 0
    p50: float | None = None
    p95: float | None = None


def count_traffic(calls: Sequence[Call]) -> Traffic:
    """Add up calls of models."""
    spent = []
    saved = []
    for call in calls:
        if call.replayed:
            saved.append(call.cost_usd)
        else:
            spent.append(call.cost_usd)
    usages = [call.usage for call in calls]
    input_tokens = [usage.input_tokens for usage in usages]
    output_tokens = [usage.output_tokens for usage in usages]
    total_tokens = [usage.total_tokens for usage in usages]
    return Traffic(
        live=len(spent),
        replayed=len(saved),
        input_tokens=_sum_known(input_tokens),
        output_tokens=_sum_known(output_tokens),
        uncounted=total_tokens.count(None),
        spent_usd=_sum_known(spent),
        saved_usd=_sum_known(saved),
        unpriced=spent.count(None) + saved.count(None),
    )


def format_cost(used: Traffic) -> str:
    """Return the cost in words; an unknown cost is "unknown", never $0.00.

    >>> format_cost(Traffic(live=3, unpriced=3))
    'unknown, 3 calls without a price'
    >>> format_cost(Traffic(live=2, replayed=1, spent_usd=0.03, saved_usd=0.01, unpriced=1))
    '$0.04 known ($0.01 of it saved by replay), 1 call without a price'
    """
    words = "unknown"
    if used.known_usd is not None:
        words = f"{format_amount(used.known_usd, 'USD')} known"
    if used.saved_usd is not None:
        part = "all of it"
        if used.live:
            part = f"{format_amount(used.saved_usd, 'USD')} of it"
        words += f" ({part} saved by replay)"
    if used.unpriced:
        return f"{words}, {format_count(used.unpriced, 'call')} without a price"
    return words


def format_tokens(used: Traffic) -> str:
    """Return the tokens in words; if no call reports any they are "unknown", never 0."""
    if used.input_tokens is None and used.output_tokens is None:
        return "unknown"
    read = used.input_tokens or 0
    written = used.output_tokens or 0
    text = f"{read:,} in, {written:,} out"
    if used.uncounted:
        return f"{text} ({format_count(used.uncounted, 'call')} without a count)"
    return text


def summarize_latency(calls: Iterable[Call]) -> Latency:
    """Return the percentiles of the application's calls; calls of judges and embedders do not count."""
    times = []
    live = 0
    for call in calls:
        if call.purpose == "app" and call.latency_s is not None:
            times.append(call.latency_s)
            if not call.replayed:
                live += 1
    return Latency(n=len(times), live=live, p50=percentile(times, 50), p95=percentile(times, 95))


def place_calls(calls: Sequence[Call]) -> list[float]:
    """Return when each call of a test began, in seconds after the first; calls that were made at once overlap.

    A call whose start is not known (an old recording, a cassette that tests share) begins where the calls before it have ended. So
    do the first calls with a known start, as that counts from the first of them.

    >>> place_calls([Call(latency_s=2.0, started_s=0.0), Call(latency_s=1.0, started_s=0.5)])
    [0.0, 0.5]
    >>> place_calls([Call(latency_s=2.0), Call(latency_s=1.0)])
    [0.0, 2.0]
    """
    known = [call.started_s for call in calls if call.started_s is not None]
    base = None
    end = 0.0
    starts = []
    for call in calls:
        start = end
        if call.started_s is not None:
            if base is None:
                base = max(end - min(known), 0.0)
            start = base + call.started_s
        starts.append(start)
        end = max(end, start + (call.latency_s or 0.0))
    return starts


def percentile(values: Iterable[float], p: float) -> float | None:
    """Return the p-th percentile (nearest rank) for ``0 < p <= 100``, or None of nothing.

    >>> percentile([15, 20, 35, 40, 50], 40)
    20
    """
    ordered = sorted(values)
    if not ordered:
        return None
    # Rounded first: the product of two floats may be slightly above a whole number, and would be rounded up to the next.
    rank = math.ceil(round(p * len(ordered) / 100, 9))
    return ordered[max(rank, 1) - 1]


def _sum_known(numbers: Iterable[N | None]) -> N | None:
    """Return the sum of the numbers that are not None; None if there are none."""
    known = [number for number in numbers if number is not None]
    if known:
        return sum(known[1:], start=known[0])  # without the default start 0, an int: the sum keeps the type
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class CassetteTotals:
    """How requests were answered, summed over the tests.

    Attributes:
        reused: Answers of judges that were recorded by another test of the same run.
        verified: Live answers that were compared with their recording; ``drifted`` is how many of them differ.
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
        words = [f"{self.replayed:,} replayed", f"{self.recorded:,} recorded"]
        if self.reused:
            words.append(f"{self.reused:,} reused")
        words += [f"{self.stale:,} stale", f"{self.missed:,} missed"]
        if self.verified:
            words += [f"{self.verified:,} verified", f"{self.drifted:,} drifted"]
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
        if self.stale or self.orphans or self.drifted:
            return "yellow"
        return ""


def summarize_cassettes(run: Run) -> CassetteTotals:
    """Return how the requests of a run were answered."""
    stored = [record.fact("cassette") for record in run.records]
    cassettes = [CassetteFacts.from_wire(facts) for facts in stored if facts]
    meta = CassettesMeta.from_wire(run.meta.get("cassettes"))
    paths = {cassette.path for cassette in cassettes}
    counts = {}
    for name in _COUNTS:
        counts[name] = sum(getattr(cassette, name) for cassette in cassettes)
    return CassetteTotals(
        files=len(paths),
        oldest_days=_age_in_days(meta.oldest, run.meta.get("created")),
        orphans=len(meta.orphans),
        **counts,
    )


def format_budget(run: Run) -> str:
    """Return how much of a run's budget was used, in words; "" without a budget.

    >>> format_budget(Run(meta={"budget": {"calls": 3, "usd": 0.5, "max_calls": 50, "budget_usd": None}}))
    '3 of 50 live calls'
    """
    budget = BudgetMeta.from_wire(run.meta.get("budget"))
    parts = []
    if budget.calls is not None and budget.max_calls is not None:
        parts.append(f"{budget.calls:,} of {budget.max_calls:,} live calls")
    if budget.usd is not None and budget.budget_usd is not None:
        used = format_amount(budget.usd, "USD")
        most = format_amount(budget.budget_usd, "USD")
        parts.append(f"{used} of {most}")
    return ", ".join(parts)


def iter_recording_notes(records: Sequence[TestRecord]) -> Iterator[str]:
    """Yield notes on recordings by which an answer is less worth: too old, of another server, drifted, not recorded.

    A note that concerns several tests is given once, with the first of them.

    >>> list(iter_recording_notes(()))
    []
    """
    tests_by_note: dict[str, list[str]] = {}
    tools: dict[str, list[str]] = {}
    definitions: dict[str, list[str]] = {}
    for record in records:
        cassette = CassetteFacts.from_wire(record.fact("cassette"))
        for note in cassette.notes:
            _add_test(tests_by_note, note, record.nodeid)
        for drift in cassette.drift:
            found = tests_by_note
            if drift.place:
                found = definitions if drift.what == "definition" else tools
            _add_test(found, _format_drift(drift), record.nodeid)
    yield from _iter_changed_tools(definitions | tools)
    yield from map(_format_note, tests_by_note.items())


def describe_changed_tools(record: TestRecord) -> str:
    """Return how the tools of a test have changed since its recording; "" if they have not, or were not compared."""
    drifts = [drift for drift in CassetteFacts.from_wire(record.fact("cassette")).drift if drift.place]
    texts = [_format_drift(drift) for drift in drifts[:MAX_TOOL_CHANGES]]
    if len(drifts) > MAX_TOOL_CHANGES:
        texts.append(f"and {len(drifts) - MAX_TOOL_CHANGES} more")
    return "; ".join(texts)


def _add_test(tests_by_note: dict[str, list[str]], note: str, test: str) -> None:
    """Note that a note concerns a test."""
    tests = tests_by_note.setdefault(note, [])
    if test not in tests:
        tests.append(test)


def _format_note(entry: tuple[str, Sequence[str]]) -> str:
    """Return a note with the first of its tests, and how many others there are."""
    note, tests = entry
    others = ""
    if len(tests) > 1:
        others = f" and {format_count(len(tests) - 1, 'more test')}"
    return f"{shorten_text(tests[0], MAX_TEST)}{others}: {note}"


def _iter_changed_tools(changes: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield a heading for the changes of tools, and then the changes; definitions come first, as they explain the others."""
    if not changes:
        return
    tests = {test for concerned in changes.values() for test in concerned}
    number = format_count(len(changes), "difference")
    yield f"tools have changed since the recording: {number} in {format_count(len(tests), 'test')}"
    yield from map(_format_note, list(changes.items())[:MAX_TOOL_CHANGES])
    left = len(changes) - MAX_TOOL_CHANGES
    if left > 0:
        yield f"and {format_count(left, 'more difference')} of tools: the run file (--llm-report) has all"


def iter_cassette_notes(records: Sequence[TestRecord], meta: Mapping[str, Json]) -> Iterator[str]:
    """Yield notes on orphans, renamed tests and judges that were not called.

    Args:
        records: The tests.
        meta: The ``meta`` of the run.
    """
    cassettes = CassettesMeta.from_wire(meta.get("cassettes"))
    if cassettes.orphans:
        yield f"no test uses {_join_files(cassettes.orphans)}: see llmops cassettes check"
    if cassettes.moved:
        files = _join_files(cassettes.moved)
        yield f"renamed tests replay {files}: llmops cassettes move puts the recordings in their place"
    skipped = sum(map(_has_skipped_judge, records))
    if skipped:
        yield f"{format_count(skipped, 'test')}: a judge was not called, as a check before it failed"


def _has_skipped_judge(record: TestRecord) -> bool:
    return any(key.startswith("not called: ") for key in record.facts)


def _join_files(files: Sequence[str]) -> str:
    """Return the first files, and how many more there are."""
    names = ", ".join(files[:MAX_LISTED_FILES])
    if len(files) > MAX_LISTED_FILES:
        return f"{names} and {len(files) - MAX_LISTED_FILES} more"
    return names


def _format_drift(drift: Drift) -> str:
    """Return a difference in a line; of a tool: the call, or whose definition it is, and the place in it."""
    if drift.place:
        call = shorten_text(drift.question, MAX_CALL)
        place = shorten_text(drift.place, MAX_CALL)
        before = shorten_text(drift.recorded, MAX_VALUE)
        now = shorten_text(drift.now, MAX_VALUE)
        return f"{call}: {drift.what} {place}: recorded {before}, now {now}"
    similarity = ""
    if drift.similarity is not None:
        similarity = f" (similarity {drift.similarity:.2f})"
    before = shorten_text(drift.recorded, 80)
    now = shorten_text(drift.now, 80)
    return f"drift, {drift.what}{similarity}: recorded {before!r}, now {now!r}"


def _age_in_days(oldest: Json, created: Json) -> int | None:
    """Return the days between two stored times, at least 0; None if one of them is not a time."""
    first = read_time(oldest)
    last = read_time(created)
    if first and last:
        age = last.date() - first.date()
        return max(age.days, 0)
    return None
