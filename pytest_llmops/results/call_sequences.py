"""The calls of tools that an agent made, in a short form that a baseline keeps, and how two of them differ.

A run stores them for a test with several trials as the fact ``call_sequences``, as the trials may differ. A baseline stores
them next to the answers of its tests.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self, TypeAlias, cast

from pytest_llmops._util.step_alignment import StepEdit, align_steps
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.results.details import as_list, as_mapping, fact_text
from pytest_llmops.results.trajectories import StoredCall, find_trajectories

FACT = "call_sequences"
MAX_SEQUENCES = 5  # of a test
MAX_CALLS = 200  # of a sequence
MAX_ARGUMENTS = 20  # of a call; a hash under "…" replaces the others
MAX_VALUE = 120  # characters of an argument, a result or a name; a hash replaces the rest
NOT_GIVEN = "not given"
StepKind: TypeAlias = Literal["inserted", "dropped", "changed", "result"]
SIGNS: Mapping[StepKind, str] = {"inserted": "+", "dropped": "-", "changed": "~", "result": "~"}


@dataclass(frozen=True, slots=True)
class KeptCall:
    """A call of a tool as a baseline keeps it. All texts are short; a hash replaces the parts left out.

    Attributes:
        name: Name of the tool.
        arguments: The arguments as Python would write them, by name; if they are not an object of JSON, the text of all under "".
        result: The result of the tool. None: not known.
    """

    name: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    result: str | None = None

    def __str__(self) -> str:
        """Return the call as Python would write it: ``refund(order_id='B-77')``."""
        parts = [f"{name}={value}" if name else value for name, value in self.arguments.items()]
        return f"{self.name}({', '.join(parts)})"

    @classmethod
    def from_wire(cls, wire: object) -> Self:
        """Return the stored values; a value of another type keeps its default."""
        stored = as_mapping(wire)
        arguments = list(as_mapping(stored.get("arguments")).items())[: MAX_ARGUMENTS + 1]
        result = None
        if stored.get("result") is not None:
            result = _shorten(fact_text(stored.get("result")))
        return cls(
            name=_shorten(fact_text(stored.get("name"))),
            arguments={_shorten(name): _shorten(fact_text(value)) for name, value in arguments},
            result=result,
        )


@dataclass(frozen=True, slots=True)
class CallSequence:
    """The calls of a trial in the order of their numbers: the calls of a message, then the calls of the agents that these calls started.

    Attributes:
        calls: The first 200 calls.
        trials: How many trials made the same calls with the same arguments.
        more: How many calls follow, which are not kept; a message that the run does not store counts as one.
    """

    calls: tuple[KeptCall, ...] = ()
    trials: int = 1
    more: int = 0

    @property
    def key(self) -> tuple[str, ...]:
        """The calls as texts, and how many follow; equal if two trials made the same calls. Their results do not count."""
        return (*map(str, self.calls), f"+{self.more}")

    @classmethod
    def from_wire(cls, wire: object) -> Self:
        """Return the stored values; a value of another type keeps its default."""
        stored = as_mapping(wire)
        calls = as_list(stored.get("calls"))[:MAX_CALLS]
        trials = stored.get("trials")
        if not isinstance(trials, int) or trials < 1:
            trials = 1
        more = stored.get("more")
        if not isinstance(more, int) or more < 0:
            more = 0
        return cls(tuple(map(KeptCall.from_wire, calls)), trials, more)

    def contains(self, part: "CallSequence") -> bool:
        """Return whether the calls of another sequence are some of these, one after another; their results do not count.

        >>> CallSequence((KeptCall("a"), KeptCall("b"), KeptCall("c"))).contains(CallSequence((KeptCall("b"), KeptCall("c"))))
        True
        """
        calls, wanted = list(map(str, self.calls)), list(map(str, part.calls))
        starts = range(len(calls) - len(wanted) + 1)
        return any(calls[start : start + len(wanted)] == wanted for start in starts)

    def to_wire(self) -> dict[str, Json]:
        """Return plain builtins."""
        return cast("dict[str, Json]", asdict(self))


def read_sequences(wire: object) -> tuple[CallSequence, ...]:
    """Return stored sequences, at most five; empty if the value is something else."""
    return tuple(map(CallSequence.from_wire, as_list(wire)[:MAX_SEQUENCES]))


def find_sequences(
    facts: Mapping[str, Json], measurements: Iterable[Measurement]
) -> tuple[CallSequence, ...]:
    """Return the calls that a test made: calls of the trajectories in its reports first, then calls of other trials.

    Args:
        facts: The facts of the test, which have the calls of several trials.
        measurements: Its measurements, which have the trajectories of the worst trial.
    """
    shown = shorten_trajectories(measurements)
    stored = read_sequences(facts.get(FACT))
    if shown is None:
        return stored
    same = [sequence for sequence in stored if sequence.key == shown.key]
    others = [sequence for sequence in stored if sequence.key != shown.key]
    return (*(same or [shown]), *others)


def shorten_trajectories(measurements: Iterable[Measurement]) -> CallSequence | None:
    """Return the calls of the trajectories that the measurements of a trial hold, one trajectory after another; None: they hold none.

    Only those with the name of the first measurement that holds one count: a test may measure each turn of a conversation.
    """
    holders = [measurement for measurement in measurements if measurement.detail.get("trajectory")]
    same_name = [measurement for measurement in holders if measurement.name == holders[0].name]
    found = find_trajectories(same_name)
    if not found:
        return None
    calls = [call for shown in found for call in shown.trajectory.walk_calls()]
    more = max(len(calls) - MAX_CALLS, 0) + sum(shown.trajectory.left_out for shown in found)
    return CallSequence(tuple(map(_shorten_call, calls[:MAX_CALLS])), more=more)


def count_sequences(trials: Iterable[CallSequence]) -> tuple[CallSequence, ...]:
    """Return the distinct sequences of trials with the number of trials that made the same calls, at most five.

    >>> search, stop = CallSequence((KeptCall("search"),)), CallSequence()
    >>> [(sequence.trials, len(sequence.calls)) for sequence in count_sequences([stop, search, search])]
    [(1, 0), (2, 1)]
    """
    groups: dict[tuple[str, ...], list[CallSequence]] = {}
    for sequence in trials:
        groups.setdefault(sequence.key, []).append(sequence)
    distinct = [replace(group[0], trials=len(group)) for group in groups.values()]
    return tuple(distinct[:MAX_SEQUENCES])


def _shorten_call(call: StoredCall) -> KeptCall:
    result = call.result
    if result is not None:
        result = _shorten(" ".join(result.split()))
    return KeptCall(_shorten(call.name), _read_arguments(call), result)


def _read_arguments(call: StoredCall) -> dict[str, str]:
    """Return the arguments of a call by name, the order of whose names does not count; a text that is not an object of JSON under ""."""
    if not call.arguments.strip():
        return {}
    try:
        values = json.loads(call.arguments)
        if isinstance(values, dict):
            named = sorted(values.items())
            kept = {
                _shorten(name): _shorten(repr(_normalize(value))) for name, value in named[:MAX_ARGUMENTS]
            }
            if len(named) > MAX_ARGUMENTS:
                kept["…"] = f"#{_make_digest(repr(_normalize(dict(named[MAX_ARGUMENTS:]))))}"
            return kept
    except (ValueError, RecursionError):
        pass  # also a text that is cut, or was never JSON
    return {"": _shorten(" ".join(call.arguments.split()))}


def _normalize(value: Any) -> Any:
    """Return a value of JSON with sorted names, and whole numbers as int: 20.0 is 20."""
    if isinstance(value, dict):
        return {name: _normalize(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_normalize(item) for item in value]
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    return value


def _shorten(text: str) -> str:
    """Return a short text as it is; of a longer one the beginning, with a hash of the whole text."""
    if len(text) <= MAX_VALUE:
        return text
    return f"{text[: MAX_VALUE - 12]}… #{_make_digest(text)}"


def _make_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class StepChange:
    """A call that only one of two sequences has, or whose arguments or result differ.

    Attributes:
        kind: ``result``: the same call returned something else.
        step: The number of the call, from 1: in the earlier sequence of a dropped call, else in the later one.
        text: The call, else what differs: ``refund amount: 20 -> 200``. Foreign text on one line, at most some hundred characters.
    """

    kind: StepKind
    step: int
    text: str

    def __str__(self) -> str:
        """Return the change in a line: ``~ step 4 refund amount: 20 -> 200``."""
        return f"{SIGNS[self.kind]} step {self.step} {self.text}"


def compare_sequences(before: CallSequence, now: CallSequence) -> list[StepChange]:
    """Return how the calls of a test differ from the baseline, in order; empty: they are the same.

    >>> before = CallSequence((KeptCall("get_order"), KeptCall("refund", {"amount": "20"})))
    >>> now = CallSequence((KeptCall("search", {"q": "'x'"}), KeptCall("refund", {"amount": "200"})))
    >>> for change in compare_sequences(before, now):
    ...     print(change)
    - step 1 get_order()
    + step 1 search(q='x')
    ~ step 2 refund amount: 20 -> 200
    """
    changes = []
    for edit in align_steps(_list_steps(before), _list_steps(now)):
        change = _describe_edit(edit, before, now)
        if change is not None:
            changes.append(change)
    if before.more != now.more:
        changes.append(
            StepChange("changed", MAX_CALLS + 1, f"and further calls: {before.more:,} -> {now.more:,}")
        )
    return changes


def _list_steps(sequence: CallSequence) -> list[tuple[str, str]]:
    return [(call.name, str(call)) for call in sequence.calls]


def _describe_edit(edit: StepEdit, before: CallSequence, now: CallSequence) -> StepChange | None:
    """Return an edit with its text; None: both calls are the same, with the same result."""
    if edit.new is None and edit.old is not None:
        return StepChange("dropped", edit.old + 1, str(before.calls[edit.old]))
    if edit.old is None and edit.new is not None:
        return StepChange("inserted", edit.new + 1, str(now.calls[edit.new]))
    if edit.old is None or edit.new is None:
        return None
    old, new = before.calls[edit.old], now.calls[edit.new]
    step = edit.new + 1
    if edit.change == "changed":
        return StepChange("changed", step, f"{new.name} {_describe_arguments(old, new)}")
    if old.result is None or new.result is None or old.result == new.result:
        return None
    return StepChange("result", step, f"{new.name} result: {old.result} -> {new.result}")


def _describe_arguments(old: KeptCall, new: KeptCall) -> str:
    """Return the arguments that differ: ``amount: 20 -> 200, currency: not given -> 'EUR'``."""
    parts = []
    for name in {**old.arguments, **new.arguments}:
        before = old.arguments.get(name, NOT_GIVEN)
        now = new.arguments.get(name, NOT_GIVEN)
        if before != now:
            parts.append(f"{name or 'arguments'}: {before} -> {now}")
    return ", ".join(parts)


def compare_with_nearest(before: Sequence[CallSequence], now: Sequence[CallSequence]) -> list[StepChange]:
    """Return how the first sequence of a test differs from the most similar one of the baseline; empty: a side is not known, or they are the same.

    The trials of a test may make different calls. A way that the baseline knows is not a difference.

    >>> twice = CallSequence((KeptCall("search"), KeptCall("search")))
    >>> compare_with_nearest([CallSequence(), twice], [twice])
    []
    """
    if not now:
        return []
    differences = [compare_sequences(sequence, now[0]) for sequence in before]
    return min(differences, key=_weigh, default=[])


def _weigh(changes: Sequence[StepChange]) -> tuple[int, int]:
    """Return a sort key: other calls count before other results."""
    results = sum(change.kind == "result" for change in changes)
    return len(changes) - results, results


def select_changes(changes: Sequence[StepChange], limit: int) -> tuple[list[StepChange], int]:
    """Return the changes that a report with little room shows, and how many it leaves out; other results of the same call go first.

    Args:
        changes: All changes.
        limit: How many are shown at most.

    >>> changes = [StepChange("result", 1, "find result: a -> b"), StepChange("dropped", 2, "ask()")]
    >>> [str(change) for change in select_changes(changes, 1)[0]]
    ['- step 2 ask()']
    """
    shown = list(changes)
    if len(shown) > limit:
        shown = [change for change in changes if change.kind != "result"] or shown
    shown = shown[:limit]
    return shown, len(changes) - len(shown)
