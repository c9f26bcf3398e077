"""Group tests into fair comparisons, and add up the tokens, cost and latency of their calls.

A call without a price adds nothing to the cost, and is counted separately. Percentiles are nearest-rank: the p-th of n
numbers is the smallest of them that at least p percent of all numbers do not exceed: always a measured number.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar

from pytest_llmops.measurement import Json, Measurement, format_amount, format_count, shorten_text
from pytest_llmops.protocols import Call
from pytest_llmops.results.details import (
    BudgetMeta,
    CaseFacts,
    CassetteFacts,
    CassettesMeta,
    Drift,
    SideFacts,
    as_mapping,
    fact_text,
    read_time,
)
from pytest_llmops.results.run import Run, TestRecord

Axis: TypeAlias = Literal["prompt", "model"]  # the fact of a test that differs from side to side
MetricKey: TypeAlias = tuple[str, str, str, str]  # name, version, unit and direction of a metric
T = TypeVar("T")
K = TypeVar("K")

_SIDE_FACTS: Mapping[Axis, tuple[str, ...]] = {"prompt": ("version", "fingerprint"), "model": ("name",)}
# The argument of a test that takes the side
_SIDE_ARGUMENTS: Mapping[Axis, str] = {"prompt": "prompt", "model": "llm"}


def group_by(items: Iterable[T], key: Callable[[T], K | None]) -> dict[K, list[T]]:
    """Return groups of items in the order of first occurrence; items with the key None are left out."""
    groups: dict[K, list[T]] = {}
    for item in items:
        if (name := key(item)) is not None:
            groups.setdefault(name, []).append(item)
    return groups


def subject_name(record: TestRecord, axis: Axis) -> str:
    """Return the name of the prompt whose versions are compared; for models ""."""
    return SideFacts.from_wire(record.fact(axis)).name if axis == "prompt" else ""


def side_key(record: TestRecord, axis: Axis) -> tuple[str, ...] | None:
    """Return the key of the side that a test ran on; None if it ran on none."""
    return side_texts(record, axis, _SIDE_FACTS[axis]) if record.fact(axis) else None


def side_texts(record: TestRecord, axis: Axis, names: Iterable[str]) -> tuple[str, ...]:
    """Return some facts of the side that a test ran on."""
    facts = SideFacts.from_wire(record.fact(axis))
    return tuple(getattr(facts, name) for name in names)


def function_name(record: TestRecord) -> str:
    """Return a test's name without its parameters."""
    return record.nodeid.partition("[")[0]


def row_key(record: TestRecord, axis: Axis) -> tuple[str, ...]:
    """Return the case and the other parameters: what stays the same while the side changes."""
    case = CaseFacts.from_wire(record.fact("case")).id
    own = (_SIDE_ARGUMENTS[axis], *(("case",) if case else ()))
    others = (param for name, param in record.fact("params").items() if name not in own)
    return case, *(fact_text(param.get("id") if isinstance(param, Mapping) else param) for param in others)


def sort_by_position(groups: Mapping[K, Sequence[TestRecord]], axis: Axis) -> list[K]:
    """Return the keys of groups in the order of their sides on the command line."""

    def first_position(key: K) -> int:
        params = [record.fact("params").get(_SIDE_ARGUMENTS[axis]) for record in groups[key]]
        places = [as_mapping(param).get("place") for param in params]
        return min(place if isinstance(place, int) else 0 for place in places)

    return sorted(groups, key=first_position)


def iter_fair_comparisons(
    records: Sequence[TestRecord], axis: Axis
) -> Iterator[tuple[list[TestRecord], int]]:
    """Yield the tests of each comparison, and how many of its rows are left out.

    Means over different questions cannot be compared. So functions that ran with the same sides belong together,
    and only rows (cases) that every side ran count. If a subject ran on several sides anywhere, tests on a single side
    are in no comparison. Otherwise all tests of a prompt are one comparison, and models are not compared.
    """
    sides: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for record in records:
        if (key := side_key(record, axis)) is not None:
            sides.setdefault((subject_name(record, axis), function_name(record)), set()).add(key)
    several = {name for (name, _), keys in sides.items() if len(keys) > 1}

    def comparison(record: TestRecord) -> tuple[str, frozenset[tuple[str, ...]]] | None:
        name = subject_name(record, axis)
        keys = sides.get((name, function_name(record)), set())
        if side_key(record, axis) is None or (len(keys) < 2 and (name in several or axis == "model")):  # noqa: PLR2004 -- alone
            return None
        return name, frozenset(keys if name in several else ())

    for (_, wanted), group in group_by(records, comparison).items():
        rows = group_by(group, lambda record: (function_name(record), *row_key(record, axis))).values()
        complete = [
            row
            for row in rows
            if {side_key(record, axis) for record in row if record.outcome != "skipped"} >= wanted
        ]
        ids = {id(record) for row in complete for record in row}
        if ids:
            yield [record for record in group if id(record) in ids], len(rows) - len(complete)
        elif axis == "prompt":
            yield group, 0


@dataclass(frozen=True, slots=True)
class UnevenMetrics:
    """Measurements without a value on every side of a comparison: they are in no mean.

    Attributes:
        parts: The id of the test's record, the metric and the label of each.
        rows: How many rows are concerned, by metric.
    """

    parts: frozenset[tuple[int, MetricKey, str]] = frozenset()
    rows: Mapping[MetricKey, int] = field(default_factory=dict)


def metric_key(measurement: Measurement) -> MetricKey:
    """Return the key of a metric: measurements of different keys are never mixed."""
    return measurement.name, measurement.version, measurement.unit, measurement.better


def find_uneven_metrics(rows: Iterable[Sequence[TestRecord]]) -> UnevenMetrics:
    """Return what not all tests of a row measured: a judge was not asked, or gave no verdict, on some side.

    The values on the other sides are left out too: they answer questions that this side was not asked.
    """
    parts: set[tuple[int, MetricKey, str]] = set()
    counted: dict[MetricKey, int] = {}
    for row in rows:
        ran = [record for record in row if record.outcome != "skipped"]
        values = [_count_values(record) for record in ran]
        uneven = {
            part
            for part in {part for counts in values for part in counts}
            if len({counts.get(part) for counts in values}) > 1 or values[0].get(part) is None
        }
        parts |= {(id(record), *part) for record in ran for part in uneven}
        parts |= {
            (id(record), *part)
            for record in row
            if record.outcome == "skipped"
            for part in _count_values(record)
        }
        for key in {key for key, _ in uneven}:
            counted[key] = counted.get(key, 0) + 1
    return UnevenMetrics(frozenset(parts), counted)


def _count_values(record: TestRecord) -> dict[tuple[MetricKey, str], int | None]:
    counts: dict[tuple[MetricKey, str], int | None] = {}
    for measurement in record.measurements:
        part = metric_key(measurement), measurement.label
        before = counts.get(part, 0)
        counts[part] = None if before is None or measurement.value is None else before + 1
    return counts


MAX_LISTED_FILES = 3
_COUNTS = ("replayed", "recorded", "reused", "missed", "stale", "verified", "drifted")
N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Calls of models and what they used.

    Attributes:
        input_tokens: Sum over the calls that report it; None if no call does. ``output_tokens`` alike.
        uncounted: Calls without any token count.
        spent_usd: Known cost of the live calls; None if none of them has a price.
        saved_usd: Known cost of the replayed calls: what they would have cost.
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
        """What the calls with a price cost, live or not; None if no call has one."""
        return _sum_known((self.spent_usd, self.saved_usd))


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Latencies of the application's calls, in seconds; None if there is none. Those replayed have that of their recording."""

    n: int = 0
    live: int = 0
    p50: float | None = None
    p95: float | None = None


def count_traffic(calls: Sequence[Call]) -> Traffic:
    """Add up calls of models."""
    return Traffic(
        live=sum(not call.replayed for call in calls),
        replayed=sum(call.replayed for call in calls),
        input_tokens=_sum_known(call.usage.input_tokens for call in calls),
        output_tokens=_sum_known(call.usage.output_tokens for call in calls),
        uncounted=sum(call.usage.total_tokens is None for call in calls),
        spent_usd=_sum_known(call.cost_usd for call in calls if not call.replayed),
        saved_usd=_sum_known(call.cost_usd for call in calls if call.replayed),
        unpriced=sum(call.cost_usd is None for call in calls),
    )


def format_cost(used: Traffic) -> str:
    """Return the cost in words; an unknown cost is "unknown", never $0.00.

    >>> format_cost(Traffic(live=3, unpriced=3))
    'unknown, 3 calls without a price'
    >>> format_cost(Traffic(live=2, replayed=1, spent_usd=0.03, saved_usd=0.01, unpriced=1))
    '$0.04 known ($0.01 of it saved by replay), 1 call without a price'
    """
    words = "unknown" if used.known_usd is None else f"{format_amount(used.known_usd, 'USD')} known"
    if used.saved_usd is not None:
        part = f"{format_amount(used.saved_usd, 'USD')} of it" if used.live else "all of it"
        words += f" ({part} saved by replay)"
    return f"{words}, {format_count(used.unpriced, 'call')} without a price" if used.unpriced else words


def summarize_latency(calls: Iterable[Call]) -> Latency:
    """Return the percentiles of the application's calls; calls of judges and embedders do not count."""
    timed = [call for call in calls if call.purpose == "app" and call.latency_s is not None]
    times = [call.latency_s for call in timed if call.latency_s is not None]
    live = sum(not call.replayed for call in timed)
    return Latency(n=len(times), live=live, p50=percentile(times, 50), p95=percentile(times, 95))


def percentile(values: Iterable[float], p: float) -> float | None:
    """Return the p-th percentile (nearest rank) for ``0 < p <= 100``, or None of nothing.

    >>> percentile([15, 20, 35, 40, 50], 40)
    20
    """
    ordered = sorted(values)
    if not ordered:
        return None
    # The product of two floats may lie a hair above the whole number it stands for.
    rank = math.ceil(round(p * len(ordered) / 100, 9))
    return ordered[max(rank, 1) - 1]


def _sum_known(numbers: Iterable[N | None]) -> N | None:
    known = [number for number in numbers if number is not None]
    return sum(known[1:], start=known[0]) if known else None


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
        words += [f"{self.verified:,} verified, {self.drifted:,} drifted"] if self.verified else []
        words += [f"oldest {format_count(self.oldest_days, 'day')}"] if self.oldest_days else []
        words += [format_count(self.orphans, "orphan")] if self.orphans else []
        return ", ".join(words)

    @property
    def style(self) -> Literal["", "red", "yellow"]:
        """``red`` if a request was missed, ``yellow`` if somebody should look, else ""."""
        return "red" if self.missed else "yellow" if self.stale or self.orphans or self.drifted else ""


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
    facts = [(record.nodeid, CassetteFacts.from_wire(record.fact("cassette"))) for record in records]
    notes = [
        (note, nodeid)
        for nodeid, cassette in facts
        for note in dict.fromkeys((*cassette.notes, *map(_format_drift, cassette.drift)))
    ]
    for note, pairs in group_by(notes, lambda pair: pair[0]).items():
        others = f" and {format_count(len(pairs) - 1, 'more test')}" if len(pairs) > 1 else ""
        yield f"{pairs[0][1]}{others}: {note}"
    cassettes = CassettesMeta.from_wire(meta.get("cassettes"))
    if cassettes.orphans:
        yield f"no test uses {_join_files(cassettes.orphans)}: see llmops cassettes check"
    if cassettes.moved:
        files = _join_files(cassettes.moved)
        yield f"renamed tests replay {files}: llmops cassettes move puts the recordings in their place"
    if skipped := sum(any(key.startswith("not asked: ") for key in record.facts) for record in records):
        yield f"{format_count(skipped, 'test')}: a judge was not asked, as a check before it failed"


def _join_files(files: Sequence[str]) -> str:
    more = f" and {len(files) - MAX_LISTED_FILES} more" if len(files) > MAX_LISTED_FILES else ""
    return f"{', '.join(files[:MAX_LISTED_FILES])}{more}"


def _format_drift(drift: Drift) -> str:
    similarity = f" (similarity {drift.similarity:.2f})" if drift.similarity is not None else ""
    before, now = shorten_text(drift.recorded, 80), shorten_text(drift.now, 80)
    return f"drift, {drift.what}{similarity}: recorded {before!r}, now {now!r}"


def _age_in_days(oldest: Json, created: Json) -> int | None:
    first, last = read_time(oldest), read_time(created)
    return max((last.date() - first.date()).days, 0) if first and last else None
