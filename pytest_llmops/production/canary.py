"""Decide from events of production whether a new version (the canary) replaces the stable one: PROMOTE, HOLD or ROLLBACK.

The events by time are cut into blocks: a block ends as soon as both versions have answered, and their answers in it are compared.
The evidence is the wealth of two imagined bettors: one bets against "the canary is not worse", the other against "it is worse by the
margin". If the statement is true, the wealth grows 50-fold in at most one of 50 canaries, however often one looks; so one may look
and decide at any time. The table of error rates is in docs/explanation/measured/compare.md.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any, Literal, TypeAlias

from pytest_llmops._util.arrays import Float64Array, np
from pytest_llmops._util.text_files import BadFile, as_mapping, read_json
from pytest_llmops.cases.row_files import read_rows
from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.measurement import format_amount, format_count, shorten_text
from pytest_llmops.results.details import fact_text, read_time

# The least value of each rule, and the limit that it must stay below
LIMITS = {
    "alpha": (1e-9, 1.0),
    "margin": (1e-9, 1.0),
    "error_margin": (1e-9, 1.0),
    "share": (1e-9, 1.0),
    "latency_ratio": (1.0, 1e9),
    "cost_ratio": (1.0, 1e9),
}
_Action: TypeAlias = Literal["PROMOTE", "HOLD", "ROLLBACK"]
# The share of its wealth that each part of a bettor bets. The best share is not known before; splitting the wealth costs little.
BETS = tuple(0.9 / 2**step for step in range(8))
SHARE_EVIDENCE = (
    10_000.0  # how strong the evidence must be that the canary gets another share of the users than planned
)
# A user keeps a version, so the requests of a user are not independent: where no users are named, so many count as one
REQUESTS_OF_A_USER = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryEvent:
    """A request that one of the two versions answered.

    Attributes:
        id: The id of the request: an event that is delivered twice counts once.
        time: When it was answered, with its time zone.
        arm: The name of the version that answered.
        score: From 0 to 1, higher is better; None: not scored, and the event is left out of the comparison of scores.
        error: Whether the request failed; such an event must have no score.
        user: By which the version was chosen, such as a hash of the user's id. If all events have one, users are compared and counted,
            not requests. Empty: not known.

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
    user: str = ""

    def __post_init__(self) -> None:
        problem = self._find_problem()
        if problem:
            name = problem.partition(":")[0]
            got = shorten_text(repr(getattr(self, name)), 80)
            id_text = shorten_text(str(self.id), 80)
            raise UsageError(f"event {id_text!r}: {problem}, got {got}")

    def _find_problem(self) -> str:
        """Return "field: expected value" for the first field with a wrong value, or ""; the caller splits it at the colon."""
        if not self.id:
            return "id: expected a text"
        if not self.arm:
            return "arm: expected the name of a version"
        if getattr(self.time, "tzinfo", None) is None:
            return "time: expected a time such as 2026-01-31T10:00:00Z"
        if self.error not in (True, False):
            return "error: expected true or false"
        if not _is_amount(self.score, 1.0):
            return "score: expected a number from 0 to 1"
        if self.error and self.score is not None:
            return "score: expected none, an error is counted as an error"
        if not _is_amount(self.latency_s):
            return "latency_s: expected a finite number of at least 0"
        if not _is_amount(self.cost_usd):
            return "cost_usd: expected a finite number of at least 0"
        return ""


def _is_amount(value: Any, most: float = math.inf) -> bool:
    """Return whether a value is None, or a finite number from 0 to ``most``."""
    if value is None:
        return True
    is_number = type(value) in (int, float) and math.isfinite(value)
    return is_number and 0 <= value <= most


def read_events(path: str | Path) -> tuple[CanaryEvent, ...]:
    """Read the events of a log.

    JSONL, CSV or YAML with the keys ``id``, ``time`` (ISO 8601, in UTC if it has no time zone), ``arm``, and where known
    ``score``, ``error``, ``latency_s``, ``cost_usd`` and ``user``; other keys are ignored, and these values may be empty.

    Raises:
        UsageError: The file is missing or broken, or a value does not fit; with file and line.
    """
    events = list[CanaryEvent]()
    is_csv = Path(path).suffix.lower() == ".csv"
    line = 0
    try:
        for line, row in read_rows(Path(path), numbers_as_written=False):  # noqa: B007 -- for the error
            is_header = is_csv and not isinstance(row, Mapping)
            if not is_header:
                events.append(_parse_event(as_mapping(row)))
    except (BadFile, UsageError) as error:
        place = shorten_text(str(path), 300)
        number = getattr(error, "line", None) or line
        if number:
            place += f":{number}"
        raise UsageError(f"{place}: {error}") from None
    return tuple(events)


def _parse_event(row: Mapping[str, Any]) -> CanaryEvent:
    """Return the event of a row; wrong values are passed on, as `CanaryEvent` describes them in its error."""
    time = row.get("time")
    has_failed = _read_cell(row.get("error"))
    return CanaryEvent(
        id=fact_text(row.get("id")),
        time=read_time(time) or time,  # type: ignore[arg-type]  # checked by the event
        arm=fact_text(row.get("arm")),
        score=_read_cell(row.get("score")),
        error=has_failed or False,
        latency_s=_read_cell(row.get("latency_s")),
        cost_usd=_read_cell(row.get("cost_usd")),
        user=fact_text(row.get("user")),
    )


def _read_cell(value: Any) -> Any:
    """Return the value of a cell. Texts, as in a CSV file, are read as JSON ("0.5", "TRUE"), if they are; "" is None."""
    if not isinstance(value, str):
        return value
    if not value:
        return None
    try:
        return read_json(value.lower())
    except BadFile:
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRules:
    """The rules by which a canary is decided.

    Attributes:
        alpha: The highest probability of a wrong decision, over all looks together: of ROLLBACK if the canary is not worse in
            anything, and of PROMOTE if it is worse by a margin.
        margin: PROMOTE needs proof that the mean score falls by less than this, 0 to 1.
        error_margin: PROMOTE needs proof that the share of errors rises by less than this.
        latency_ratio: How many times slower the canary may be. Take one request of each version and divide the time of the canary
            by this factor: it must be the faster one at least as often as the slower one. ``cost_ratio`` is the same for costs.
        share: The share of users that the canary is meant to get (of requests, where the events name no users); None: not checked.
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
                expected = f"a number from {least:.0f} to {most:g}"
                raise UsageError(f"{name}: expected {expected}, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryDecision:
    """What to do with a canary, and why.

    Attributes:
        evidence: By outcome (``score``, ``errors``, ``latency``, ``cost``), the highest wealth of the two bettors, who start with 1.
            The first bets against "no worse" and has proved it false at (number of measured outcomes) / alpha; the second bets
            against "worse by the margin" and has proved it false at 1 / alpha.
        notes: How many events came twice (and were counted once) or out of order (and were sorted); and a share of the requests that
            is not the planned one, where the events name no users.
    """

    action: Literal["PROMOTE", "HOLD", "ROLLBACK"]
    sentence: str
    evidence: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...] = ()


def canary_decision(events: Iterable[CanaryEvent], rules: CanaryRules | None = None) -> CanaryDecision:
    """Decide about a canary from all events so far, which may be in any order.

    ROLLBACK: it is proved to be worse in some outcome. PROMOTE: it is proved that its scores, and its errors, latency and costs where
    they are measured, are not worse by the margin. HOLD: neither is proved yet. It may be called as often as one likes.

    Raises:
        UsageError: Events of one version are missing; an event has an unknown version; one id has different contents; most events of
            the canary are outside of the time of the stable version; or its share of the users is not the planned one.

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
    share_notes = _check_share(ordered, rules)
    outcomes = _measure_outcomes(ordered, rules)
    measured = [outcome for outcome in outcomes if outcome.values]
    worse_limit = len(measured) / rules.alpha
    fine_limit = 1 / rules.alpha
    evidence = dict[str, tuple[float, float]]()
    sentences = dict[_Action, list[str]]()
    for outcome in outcomes:
        worse, fine = outcome.weigh_evidence(rules.arms)
        evidence[outcome.name] = worse, fine
        action: _Action
        if worse >= worse_limit:
            action = "ROLLBACK"
            verdict = "worse is proved"
        elif fine >= fine_limit:
            action = "PROMOTE"
            verdict = "not worse"
        else:
            action = "HOLD"
            verdict = _describe_wait(fine, fine_limit, len(ordered))
        if outcome.values:
            levels = outcome.describe_levels(rules.arms)
            sentence = f"{outcome.name} {levels}: {verdict}"
            sentences.setdefault(action, []).append(sentence)
        elif outcome.name == "score":
            sentence = "no event has a score, and without scores nothing is promoted"
            sentences.setdefault(action, []).append(sentence)
    chosen: _Action = "PROMOTE"
    if "ROLLBACK" in sentences:
        chosen = "ROLLBACK"
    elif "HOLD" in sentences:
        chosen = "HOLD"
    return CanaryDecision(
        action=chosen,
        sentence="; ".join(sentences[chosen]),
        evidence=evidence,
        notes=(*_list_notes(given, ordered), *share_notes),
    )


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One of the four outcomes in which the versions are compared: score, errors, latency or cost.

    Attributes:
        unit: ``1`` for scores and errors, whose means are compared; else the unit of an amount, of which less is better.
        limit: How much worse the canary may be by the rules: a difference of means, or a factor for amounts.
        values: (version, value) of each event that has a value, or of each user, by time.
    """

    name: str
    unit: str
    limit: float
    values: list[tuple[str, float]]

    @property
    def is_mean(self) -> bool:
        """Whether means are compared, not amounts."""
        return self.unit == "1"

    def weigh_evidence(self, arms: Sequence[str]) -> tuple[float, float]:
        """Return the wealth of the bettors against "the canary is not worse" and against "it is worse by the margin"."""
        gains = np.asarray(self._compare_blocks(arms), dtype=np.float64)
        margin = 0.0  # `_compare_values` has applied the factor of an amount already
        if self.is_mean:
            margin = self.limit
        shifted_gains = (gains + margin) / (
            1 + margin
        )  # at most 1; "worse by the margin" means: 0 or less on average
        return _grow_wealth(-gains), _grow_wealth(shifted_gains)

    def _compare_blocks(self, arms: Sequence[str]) -> list[float]:
        """Return how much better the canary did in each block, from -1 to 1.

        A block ends as soon as it has events of both versions; events in a last block of one version are not counted.
        """
        gains = list[float]()
        block = {arm: list[float]() for arm in arms}
        for arm, value in self.values:
            block[arm].append(value)
            stable, canary = block.values()
            if stable and canary:
                gains.append(self._compare_values(stable, canary))
                block = {arm: [] for arm in arms}
        return gains

    def _compare_values(self, stable: Sequence[float], canary: Sequence[float]) -> float:
        """Return how much better the canary did, from -1 to 1, for the values of a block."""
        if self.is_mean:
            gain = fmean(canary) - fmean(stable)
            if self.name == "errors":
                return -gain
            return gain
        # How much more often the canary is below the limit than above it
        sides = [_compare_amounts(left, right, self.limit) for left in stable for right in canary]
        return fmean(sides)

    def describe_levels(self, arms: Sequence[str]) -> str:
        """Return the mean or median of both versions: ``0.80 -> 0.75``."""
        if self.is_mean:
            average: Callable[[Sequence[float]], float] = fmean
        else:
            average = median
        levels = []
        for own in arms:
            values = [value for arm, value in self.values if arm == own]
            if values:
                levels.append(format_amount(average(values), self.unit))
            else:
                levels.append("unknown")
        return " -> ".join(levels)


def _measure_outcomes(events: Sequence[CanaryEvent], rules: CanaryRules) -> list[_Outcome]:
    """Return the four outcomes with the values of the events; those that no event has a value for are empty."""
    scores = [event.score for event in events]
    errors = [float(event.error) for event in events]
    latencies = [event.latency_s for event in events]
    costs = [event.cost_usd for event in events]
    return [
        _Outcome("score", "1", rules.margin, _list_values(events, scores, fmean)),
        _Outcome("errors", "1", rules.error_margin, _list_values(events, errors, fmean)),
        _Outcome("latency", "s", rules.latency_ratio, _list_values(events, latencies, median)),
        _Outcome("cost", "USD", rules.cost_ratio, _list_values(events, costs, median)),
    ]


def _list_values(
    events: Sequence[CanaryEvent],
    values: Sequence[float | None],
    average: Callable[[Sequence[float]], float],
) -> list[tuple[str, float]]:
    """Return (version, value) of each event that has a value, by time.

    If all events name their users, each user has one value, the average, in the place of the first: requests of one user are alike, so
    they are not independent evidence.
    """
    pairs = [(event, value) for event, value in zip(events, values, strict=True) if value is not None]
    if not all(event.user for event in events):
        return [(event.arm, value) for event, value in pairs]
    by_user: dict[tuple[str, str], list[float]] = {}
    for event, value in pairs:
        by_user.setdefault((event.arm, event.user), []).append(value)
    return [(arm, average(own_values)) for (arm, _), own_values in by_user.items()]


def _compare_amounts(stable: float, canary: float, ratio: float) -> int:
    """Return 1 if the canary's amount is below the stable one times the ratio, -1 if it is above, 0 if equal."""
    limit = stable * ratio
    # A limit of 0 (a stable version that costs nothing) is also kept by an amount of 0.
    if canary < limit or not canary:
        return 1
    if canary > limit:
        return -1
    return 0


def _describe_wait(fine: float, limit: float, events: int) -> str:
    """Return how many more events a proof of "not worse" needs if the evidence goes on growing as it did.

    ``fine`` is the evidence so far, ``limit`` the evidence of a proof. Evidence grows exponentially with the events.
    """
    if fine <= 1:
        return "open"
    growth = math.log(limit) / math.log(fine)  # how many times as many events are needed
    more = math.ceil((growth - 1) * events)
    if not more:
        return "open"
    return f"open, about {format_count(more, 'more event')} at this rate"


def _list_notes(given: Sequence[CanaryEvent], ordered: Sequence[CanaryEvent]) -> tuple[str, ...]:
    """Return notes on events that came twice or out of order; ``ordered`` is ``given`` without repetitions, by time."""
    notes = []
    repeated = len(given) - len(ordered)
    if repeated:
        notes.append(f"{format_count(repeated, 'event')} delivered twice")
    late = sum(event.time < before.time for before, event in pairwise(given))
    if late:
        notes.append(f"{format_count(late, 'event')} out of order")
    return tuple(notes)


def _grow_wealth(gains: Float64Array) -> float:
    """Return the highest wealth that a bettor ever had who starts with 1 and splits it evenly among `BETS`.

    A part that bets a share has its wealth multiplied by 1 + share * gain in each block. If the true mean of the gains is 0 or less,
    the wealth ever reaches W with a probability of at most 1 / W.

    Source: Waudby-Smith and Ramdas, "Estimating Means of Bounded Random Variables by Betting", 2024; Ville's inequality.
    """
    # In logarithms, as the products overflow
    growth_steps = np.log1p(np.outer(BETS, gains))
    growth = growth_steps.cumsum(axis=1)
    best_logs = np.logaddexp.reduce(growth, axis=0)
    log_wealth = best_logs - math.log(len(BETS))
    highest = float(log_wealth.max(initial=0.0))
    return math.exp(min(highest, 700.0))


def _check_events(events: Sequence[CanaryEvent], rules: CanaryRules) -> list[CanaryEvent]:
    """Return each event once, sorted by time.

    Raises:
        UsageError: See `canary_decision`.
    """
    known = dict[str, CanaryEvent]()
    for event in events:
        if event.arm not in rules.arms:
            raise UnknownName("arm", event.arm, rules.arms, where=f"event {event.id}")
        if known.setdefault(event.id, event) != event:
            raise UsageError(
                f"event {event.id!r}: occurs twice with different contents; an id belongs to one request"
            )
    ordered = sorted(known.values(), key=lambda event: (event.time, event.id))
    stable_name, canary_name = rules.arms
    stable = [event for event in ordered if event.arm == stable_name]
    canary = [event for event in ordered if event.arm == canary_name]
    if not stable or not canary or stable_name == canary_name:
        got = f"{len(stable):,} and {len(canary):,}"
        raise UsageError(f"expected events of two versions, {stable_name} and {canary_name}, got {got}")
    first = stable[0].time
    last = stable[-1].time
    outside = sum(not first <= event.time <= last for event in canary)
    if 2 * outside > len(canary):
        count = format_count(len(canary), "event")
        period = f"{first} to {last}"
        raise UsageError(
            f"{outside:,} of {count} of {canary_name} lie outside of the time of {stable_name} "
            f"({period}): both must answer at the same time, by clocks that agree"
        )
    return ordered


def _check_share(events: Sequence[CanaryEvent], rules: CanaryRules) -> list[str]:
    """Check that the canary got the share of the users that it was meant to get, and return a note if that is not sure.

    Users are counted, each by the first request: users who ask in bursts change the share of the requests, but not the share of the users.
    Where an event names no user, requests are counted, as if each user had sent `REQUESTS_OF_A_USER`.

    Args:
        events: Each event once, sorted by time.
        rules: The rules.

    Raises:
        UsageError: It got another share.
    """
    if not rules.share:
        return []
    canary_name = rules.arms[1]
    arms = [event.arm for event in events]
    unit = "requests"
    cluster = REQUESTS_OF_A_USER
    if all(event.user for event in events):
        first_arms: dict[str, str] = {}
        for event in events:
            first_arms.setdefault(event.user, event.arm)
        arms = list(first_arms.values())
        unit = "users"
        cluster = 1
    count = arms.count(canary_name)
    total = len(arms)
    got = f"{count:,} of {total:,} ({count / total:.1%})"
    if _weigh_share(count / cluster, total / cluster, rules.share) > SHARE_EVIDENCE:
        raise UsageError(
            f"expected {rules.share:.1%} of the {unit} at {canary_name}, got {got}: "
            f"{unit} are lost, or not assigned as meant; nothing is decided"
        )
    if _weigh_share(count, total, rules.share) > SHARE_EVIDENCE:
        note = (
            f"{got} of the requests at {canary_name}, {rules.share:.1%} planned: log the user of each event, "
            "to see whether a few users sent many requests, or requests are lost"
        )
        return [note]
    return []


def _weigh_share(count: float, total: float, share: float) -> float:
    """Return the evidence that the canary does not get the planned share of independent units.

    It is the wealth of a bettor who splits it evenly over all possible shares.
    """
    from scipy.special import betaln

    others = total - count
    log_likelihood = count * math.log(share)
    log_likelihood += others * math.log1p(-share)
    log_wealth = betaln(others + 1, count + 1) - log_likelihood
    return math.exp(min(log_wealth, 700.0))
