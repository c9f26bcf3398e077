"""Does a new version get all requests: PROMOTE, HOLD or ROLLBACK for a canary, valid at any look at its events.

What is compared are the answers of both versions in the same stretch of time: a block ends as soon as both have
answered. The evidence is the wealth of a bettor who bets against "the canary is no worse", and of one who bets against "it is worse
by the margin"; by chance it grows 50-fold at most once in 50 canaries, however often one looks. The table of error rates is in
docs/compare.md.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any, Literal

from pytest_llmops._util.arrays import Float64Array, np
from pytest_llmops._util.text_files import BadFile, as_mapping, read_json
from pytest_llmops.cases.files import read_rows
from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.measurement import format_amount, format_count, shorten_text
from pytest_llmops.results.details import fact_text, read_time

LIMITS = {
    **dict.fromkeys(("alpha", "margin", "error_margin", "share"), (1e-9, 1.0)),
    **dict.fromkeys(("latency_ratio", "cost_ratio"), (1.0, 1e9)),
}
BETS = tuple(
    0.9 / 2**step for step in range(8)
)  # shares of the wealth; those far from the best one lose little
SHARE_EVIDENCE = 10_000.0  # against the share of the canary, before it is called a mistake


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryEvent:
    """A request that one of the two versions answered.

    Attributes:
        id: Of the request: an event that is delivered twice counts once.
        time: When it was answered, with its time zone.
        arm: The version.
        score: From 0 to 1, higher is better; None: not scored, which is no low score.
        error: No answer came; it has no score.

    Raises:
        UsageError: A value is missing, not finite or out of its range, or an error has a score.
    """

    id: str
    time: datetime
    arm: str
    score: float | None = None
    error: bool = False
    latency_s: float | None = None
    cost_usd: float | None = None

    def __post_init__(self) -> None:
        checks = {
            "id: expected a text": bool(self.id),
            "arm: expected the name of a version": bool(self.arm),
            "time: expected a time such as 2026-01-31T10:00:00Z": getattr(self.time, "tzinfo", None)
            is not None,
            "error: expected true or false": self.error in (True, False),
            "score: expected a number from 0 to 1": _is_amount(self.score, 1.0),
            "score: expected none, an error is counted as an error": not self.error or self.score is None,
            "latency_s: expected a finite number of at least 0": _is_amount(self.latency_s),
            "cost_usd: expected a finite number of at least 0": _is_amount(self.cost_usd),
        }
        for expected, holds in checks.items():
            if not holds:
                got = shorten_text(repr(getattr(self, expected.partition(":")[0])), 80)
                raise UsageError(f"event {shorten_text(str(self.id), 80)!r}: {expected}, got {got}")


def _is_amount(value: Any, most: float = math.inf) -> bool:
    return value is None or (type(value) in (int, float) and math.isfinite(value) and 0 <= value <= most)


def read_events(path: str | Path) -> tuple[CanaryEvent, ...]:
    """Read the events of a log.

    JSONL, CSV or YAML with the keys ``id``, ``time`` (ISO 8601, UTC if it does not say), ``arm``, and as far as known
    ``score``, ``error``, ``latency_s`` and ``cost_usd``; other keys are left alone, and a value may be empty.

    Raises:
        UsageError: The file is missing or broken, or a value does not fit; with file and line.
    """
    events = list[CanaryEvent]()
    line = 0
    try:
        for line, row in read_rows(Path(path)):  # noqa: B007 -- for the error
            if isinstance(row, Mapping) or Path(path).suffix.lower() != ".csv":  # its header is a list
                given: dict[str, Any] = {
                    **{
                        name: _read_cell(as_mapping(row).get(name))
                        for name in ("score", "latency_s", "cost_usd")
                    },
                    **{name: fact_text(as_mapping(row).get(name)) for name in ("id", "arm")},
                    "time": read_time(as_mapping(row).get("time")) or as_mapping(row).get("time"),
                    "error": _read_cell(as_mapping(row).get("error")) or False,
                }
                events.append(CanaryEvent(**given))
    except (BadFile, UsageError) as error:
        if number := getattr(error, "line", None) or line:
            place = f":{number}"
        else:
            place = ""
        raise UsageError(f"{shorten_text(str(path), 300)}{place}: {error}") from None
    return tuple(events)


def _read_cell(value: object) -> object:
    """Return the value of a cell: in a CSV file all is text, and nothing stands for what is not known."""
    with suppress(BadFile):
        if isinstance(value, str) and value:
            return read_json(value.lower())
        if value != "":
            return value
        return None
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRules:
    """What a canary is decided by.

    Attributes:
        alpha: Probability of ROLLBACK if the canary is no worse in anything, and of PROMOTE if it is worse by a margin, each
            over all looks together.
        margin: The loss of the mean score that must be excluded, 0 to 1.
        error_margin: The rise of the share of errors that must be excluded.
        latency_ratio: The canary must not be slower by more than this factor: of a request of each version, its own, divided by
            the factor, is the faster one at least as often. ``cost_ratio`` alike.
        share: The share of requests that the canary is meant to get; None: not checked.
        arms: The names of the stable version and of the canary.

    Raises:
        UsageError: A value is out of its range.
    """

    alpha: float = 0.02
    margin: float = 0.05
    error_margin: float = 0.02
    latency_ratio: float = 1.25
    cost_ratio: float = 1.25
    share: float | None = None
    arms: tuple[str, str] = ("stable", "canary")

    def __post_init__(self) -> None:
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            if value is not None and not least <= value < most:
                raise UsageError(f"{name}: expected a number from {least:.0f} to {most:g}, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryDecision:
    """What to do with a canary, and why.

    Attributes:
        evidence: By outcome (``score``, ``errors``, ``latency``, ``cost``), how many times the wealth of both bettors grew at its best:
            against "no worse", which is proved false at the number of outcomes / alpha, and against "worse by the margin", at 1 / alpha.
        notes: What was mended: events that came twice, or out of order.
    """

    action: Literal["PROMOTE", "HOLD", "ROLLBACK"]
    sentence: str
    evidence: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...] = ()


def canary_decision(events: Iterable[CanaryEvent], rules: CanaryRules | None = None) -> CanaryDecision:
    """Return PROMOTE, HOLD or ROLLBACK for a canary by all events so far, in any order.

    ROLLBACK: it is proved to be worse in something. PROMOTE: its scores are not worse by the margin, and no guard-rail (errors,
    latency, cost, as far as they are measured) is crossed. HOLD: neither is sure yet. One may look as often as one likes.

    Raises:
        UsageError: There are no events, or only those of one version; an unknown version; an id with two contents; clocks or shares
            that do not fit.

    >>> from datetime import UTC
    >>> times = [datetime(2026, 1, 1, minute=minute, tzinfo=UTC) for minute in range(60)]
    >>> arms = {"stable": 1.0, "canary": 0.0}
    >>> canary_decision(
    ...     CanaryEvent(id=f"{arm} {time}", time=time, arm=arm, score=score) for time in times for arm, score in arms.items()
    ... ).action
    'ROLLBACK'
    """
    rules = rules or CanaryRules()
    given = list(events)
    ordered = _check_events(given, rules)
    outcomes: Mapping[str, tuple[str, Callable[[CanaryEvent], float | None], float]] = {
        "score": ("1", lambda event: event.score, rules.margin),
        "errors": ("1", lambda event: float(event.error), rules.error_margin),
        "latency": ("s", lambda event: event.latency_s, rules.latency_ratio),
        "cost": ("USD", lambda event: event.cost_usd, rules.cost_ratio),
    }
    measured = {
        name: [(event.arm, value) for event in ordered if (value := read(event)) is not None]
        for name, (_, read, _) in outcomes.items()
    }
    limits = sum(map(bool, measured.values())) / rules.alpha, 1 / rules.alpha
    evidence = dict[str, tuple[float, float]]()
    sentences = dict[str, list[str]]()
    for name, (unit, _, limit) in outcomes.items():
        gains = np.asarray(_compare_blocks(measured[name], name, rules.arms, limit), dtype=np.float64)
        if unit == "1":
            margin = limit
        else:
            margin = 0.0
        worse, fine = evidence[name] = _grow_wealth(-gains), _grow_wealth((gains + margin) / (1 + margin))
        if worse >= limits[0]:
            action = "ROLLBACK"
        elif fine >= limits[1]:
            action = "PROMOTE"
        else:
            action = "HOLD"
        if fine > 1:
            more = math.ceil((math.log(limits[1]) / math.log(fine) - 1) * len(ordered))
        else:
            more = 0
        words = {
            "ROLLBACK": "worse is proved",
            "PROMOTE": "not worse",
            "HOLD": f"open, about {format_count(more, 'more event')} at this rate" if more else "open",
        }
        levels = (
            format_amount((fmean if unit == "1" else median)(side), unit) if side else "unknown"
            for side in ([value for arm, value in measured[name] if arm == own] for own in rules.arms)
        )
        if measured[name] or name == "score":
            sentences.setdefault(action, []).append(
                f"{name} {' -> '.join(levels)}: {words[action]}"
                if measured[name]
                else "no event has a score, and without scores nothing is promoted"
            )
    chosen: Any = next(action for action in ("ROLLBACK", "HOLD", "PROMOTE") if action in sentences)
    counts = {
        "delivered twice": len(given) - len(ordered),
        "out of order": sum(event.time < before.time for before, event in pairwise(given)),
    }
    notes = tuple(f"{format_count(count, 'event')} {what}" for what, count in counts.items() if count)
    return CanaryDecision(
        action=chosen, sentence="; ".join(sentences[chosen]), evidence=evidence, notes=notes
    )


def _grow_wealth(gains: Float64Array) -> float:
    """Return the highest wealth, beginning with 1, of a bettor who splits it among the bets; its mean gain is at most 0 by chance.

    Source: Waudby-Smith and Ramdas, "Estimating Means of Bounded Random Variables by Betting", 2024; Ville's inequality.
    """
    wealth = np.logaddexp.reduce(np.log1p(np.outer(BETS, gains)).cumsum(axis=1), axis=0) - math.log(len(BETS))
    return math.exp(min(float(wealth.max(initial=0.0)), 700.0))


def _compare_blocks(
    values: Iterable[tuple[str, float]], name: str, arms: Sequence[str], limit: float
) -> list[float]:
    """Return how much better the canary did in each block, -1 to 1: a block ends with the first event that completes it."""
    gains = list[float]()
    block = {arm: list[float]() for arm in arms}
    for arm, value in values:
        block[arm].append(value)
        stable, canary = block.values()
        if stable and canary:
            gain = (fmean(canary) - fmean(stable)) * (-1 if name == "errors" else 1)
            if name in ("latency", "cost"):  # how much more often it is below the limit than above
                gain = fmean(
                    # What costs nothing, or takes no time that was measured, is below any limit.
                    (right < left * limit or not right) - (right > left * limit)
                    for left in stable
                    for right in canary
                )
            gains.append(gain)
            block = {arm: [] for arm in arms}
    return gains


def _check_events(events: Sequence[CanaryEvent], rules: CanaryRules) -> list[CanaryEvent]:
    """Return each event once, by time."""
    known = dict[str, CanaryEvent]()
    for event in events:
        if event.arm not in rules.arms:
            raise UnknownName("arm", event.arm, rules.arms, where=f"event {event.id}")
        if known.setdefault(event.id, event) != event:
            raise UsageError(
                f"event {event.id!r}: stands twice with different contents; an id belongs to one request"
            )
    ordered = sorted(known.values(), key=lambda event: (event.time, event.id))
    stable, canary = ([event for event in ordered if event.arm == arm] for arm in rules.arms)
    if not stable or not canary or rules.arms[0] == rules.arms[1]:
        raise UsageError(
            f"expected events of two versions, {rules.arms[0]} and {rules.arms[1]}, got {len(stable):,} and {len(canary):,}"
        )
    outside = sum(not stable[0].time <= event.time <= stable[-1].time for event in canary)
    if 2 * outside > len(canary):
        raise UsageError(
            f"{outside:,} of {format_count(len(canary), 'event')} of {rules.arms[1]} lie outside of the time of {rules.arms[0]} "
            f"({stable[0].time} to {stable[-1].time}): both must answer at the same time, by clocks that agree"
        )
    share = rules.share or 0.5
    total = len(ordered)
    # The wealth of a bettor against the share who spreads it evenly over all shares.
    log_wealth = (
        math.lgamma(len(stable) + 1)
        + math.lgamma(len(canary) + 1)
        - math.lgamma(total + 2)
        - len(canary) * math.log(share)
        - len(stable) * math.log1p(-share)
    )
    if rules.share and log_wealth > math.log(SHARE_EVIDENCE):
        raise UsageError(
            f"expected {share:.1%} of the requests at {rules.arms[1]}, got {len(canary):,} of {total:,} ({len(canary) / total:.1%}): "
            "requests are lost, or not assigned as meant; nothing is decided"
        )
    return ordered
