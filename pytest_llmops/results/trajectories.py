"""Typed readers for the steps of an agent, as measurements store them: ``detail["trajectory"]``.

Other programs write run files too. Each reader uses the values of the expected type, and keeps its default for the rest.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_llmops.measurement import Json, Measurement, as_finite_float
from pytest_llmops.results.details import as_list, as_mapping, fact_text, name_with_label

MAX_STEPS = 1_000  # of a trajectory, steps of started agents too
MAX_CALLS = 1_000  # of a step
MAX_DEPTH = 20  # agents that start agents
# Labels of the lines of a failure text that are its trajectory: "2 support", "  user"
_STEP_LABEL = re.compile(r"\d+ |  |\.\.\.\Z|problem\Z|note\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCall:
    """A tool that an agent called.

    Attributes:
        name: Name of the tool.
        arguments: The arguments as JSON text; it may be cut, and then is not JSON.
        problem: Why the arguments are not an object of JSON; "": they are.
        result: The result of the tool. None: not known.
        is_error: The tool failed.
        latency_s: How long the tool took, in seconds; None: not known.
        started: The steps of the agent that the call started. None: it started none.
    """

    name: str = ""
    arguments: str = ""
    problem: str = ""
    result: str | None = None
    is_error: bool = False
    latency_s: float | None = None
    started: "StoredTrajectory | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStep:
    """A message of a trajectory, with the tools that it calls.

    Attributes:
        role: ``assistant`` for the agent; ``user``, ``system`` or ``developer`` for its input.
        tokens: Tokens of the call to the model; None: not known. ``cost_usd`` and ``latency_s`` alike.
        calls_cut: How many calls are left out at the end.
    """

    role: str = ""
    text: str = ""
    agent: str = ""
    tokens: int | None = None
    cost_usd: float | None = None
    latency_s: float | None = None
    calls: tuple[StoredCall, ...] = ()
    calls_cut: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTrajectory:
    """The steps of an agent, as far as they are stored.

    Attributes:
        agent: Its name; "": not known.
        problems: What could not be read, a sentence each.
        steps_cut: How many steps are left out at the end.
        problems_cut: How many problems are left out.
    """

    agent: str = ""
    steps: tuple[StoredStep, ...] = ()
    problems: tuple[str, ...] = ()
    steps_cut: int = 0
    problems_cut: int = 0

    @property
    def left_out(self) -> int:
        """How many messages, and calls of stored messages, are left out, with the ones of started agents."""
        count = self.steps_cut + sum(step.calls_cut for step in self.steps)
        for step in self.steps:
            for call in step.calls:
                if call.started is not None:
                    count += call.started.left_out
        return count

    def walk_calls(self) -> Iterator[StoredCall]:
        """Yield all calls in the order of their numbers: the calls of a step, then the calls of the agents that these calls started."""
        for step in self.steps:
            yield from step.calls
            for call in step.calls:
                if call.started is not None:
                    yield from call.started.walk_calls()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTrajectory:
    """A trajectory, and the measurements that hold it.

    Attributes:
        measurements: Names of the measurements, with their labels.
        trials: Of how many trials the measurements are; the trajectory belongs to the worst one.
        unexpected: Numbers of the calls that the measurements do not allow, from 1.
    """

    trajectory: StoredTrajectory
    measurements: tuple[str, ...] = ()
    trials: int = 1
    unexpected: frozenset[int] = frozenset()


@dataclass(slots=True)
class _Reader:
    """Reads trajectories of bounded depth with a bounded number of steps.

    Attributes:
        steps_left: How many steps may still be read.
    """

    steps_left: int = MAX_STEPS

    def read(self, wire: object, depth: int = 0) -> StoredTrajectory:
        stored = as_mapping(wire)
        wires = as_list(stored.get("steps"))
        steps = []
        for step in wires:
            if self.steps_left <= 0:
                break
            self.steps_left -= 1
            steps.append(self._read_step(step, depth))
        return StoredTrajectory(
            agent=fact_text(stored.get("agent")),
            steps=tuple(steps),
            problems=tuple(map(fact_text, as_list(stored.get("problems")))),
            steps_cut=(_read_count(stored.get("steps_cut")) or 0) + len(wires) - len(steps),
            problems_cut=_read_count(stored.get("problems_cut")) or 0,
        )

    def _read_step(self, wire: object, depth: int) -> StoredStep:
        stored = as_mapping(wire)
        calls = as_list(stored.get("calls"))
        calls_cut = (_read_count(stored.get("calls_cut")) or 0) + max(len(calls) - MAX_CALLS, 0)
        return StoredStep(
            role=fact_text(stored.get("role")),
            text=_read_text(stored.get("text")),
            agent=fact_text(stored.get("agent")),
            tokens=_read_count(stored.get("tokens")),
            cost_usd=as_finite_float(stored.get("cost_usd")),
            latency_s=as_finite_float(stored.get("latency_s")),
            calls=tuple(self._read_call(call, depth) for call in calls[:MAX_CALLS]),
            calls_cut=calls_cut,
        )

    def _read_call(self, wire: object, depth: int) -> StoredCall:
        stored = as_mapping(wire)
        result = None
        if stored.get("result") is not None:
            result = _read_text(stored.get("result"))
        started = None
        if as_mapping(stored.get("started")) and depth < MAX_DEPTH:
            started = self.read(stored.get("started"), depth + 1)
        return StoredCall(
            name=fact_text(stored.get("name")),
            arguments=_read_text(stored.get("arguments")),
            problem=fact_text(stored.get("problem")),
            result=result,
            is_error=stored.get("is_error") is True,
            latency_s=as_finite_float(stored.get("latency_s")),
            started=started,
        )


def read_trajectory(wire: object) -> StoredTrajectory | None:
    """Return a stored trajectory; None if the value is not an object of JSON with steps or problems.

    >>> read_trajectory({"steps": [{"role": "assistant", "calls": [{"name": "search"}]}]}).steps[0].calls[0].name
    'search'
    >>> read_trajectory({"steps": 3}), read_trajectory(None)
    (None, None)
    """
    trajectory = _Reader().read(wire)
    if not trajectory.steps and not trajectory.problems:
        return None
    return trajectory


def find_trajectories(measurements: Iterable[Measurement]) -> list[ShownTrajectory]:
    """Return the trajectories that measurements hold, each distinct one once, in the order of the measurements.

    >>> wire = {"steps": [{"role": "assistant", "text": "Done."}]}
    >>> names = ("tools.calls", "trajectory.steps")
    >>> found = find_trajectories(Measurement(name=name, value=1.0, detail={"trajectory": wire}) for name in names)
    >>> len(found), found[0].measurements
    (1, ('tools.calls', 'trajectory.steps'))
    """
    groups: list[tuple[Json, list[Measurement]]] = []
    for measurement in measurements:
        wire = measurement.detail.get("trajectory")
        if wire is None:
            continue
        for known, holders in groups:
            if known == wire:
                holders.append(measurement)
                break
        else:
            groups.append((wire, [measurement]))
    shown = []
    for wire, holders in groups:
        trajectory = read_trajectory(wire)
        if trajectory is not None:
            shown.append(_describe_holders(trajectory, holders))
    return shown


def find_last_text(measurements: Iterable[Measurement]) -> str | None:
    """Return how the first agent that measurements hold ended: the text of its last message. None: it has no text, or is not stored.

    >>> steps = [{"role": "assistant", "calls": [{"name": "search"}]}, {"role": "assistant", "text": "Done."}]
    >>> find_last_text([Measurement(name="tools.calls", value=1.0, detail={"trajectory": {"steps": steps}})])
    'Done.'
    """
    found = find_trajectories(measurements)
    if not found or found[0].trajectory.steps_cut:
        return None
    steps = found[0].trajectory.steps
    if not steps or steps[-1].role != "assistant":
        return None
    return steps[-1].text or None


def refer_to_same_trajectories(measurements: Sequence[Mapping[str, Json]]) -> list[dict[str, Json]]:
    """Return stored measurements of a test, in which each distinct trajectory is written once.

    The later ones have ``{"same_as": 0}`` in its place: the index of the measurement that has it. `copy_same_trajectories` undoes it.

    >>> stored = [{"detail": {"trajectory": {"agent": "support"}}} for _ in range(2)]
    >>> refer_to_same_trajectories(stored)[1]
    {'detail': {'trajectory': {'same_as': 0}}}
    """
    written = []
    distinct: list[tuple[int, Json]] = []
    for index, measurement in enumerate(measurements):
        wire = _get_trajectory(measurement)
        same = next((known for known, other in distinct if other == wire), None)
        if not as_mapping(wire):
            written.append(dict(measurement))
        elif same is None:
            distinct.append((index, wire))
            written.append(dict(measurement))
        else:
            written.append(_replace_trajectory(measurement, {"same_as": same}))
    return written


def copy_same_trajectories(measurements: Sequence[Mapping[str, Json]]) -> list[dict[str, Json]]:
    """Return stored measurements of a test, each with its own trajectory; a reference to none, or to a later one, stays as it is."""
    read: list[dict[str, Json]] = []
    for measurement in measurements:
        same = _read_count(as_mapping(_get_trajectory(measurement)).get("same_as"))
        if same is None or same >= len(read) or not as_mapping(_get_trajectory(read[same])):
            read.append(dict(measurement))
        else:
            read.append(_replace_trajectory(measurement, _get_trajectory(read[same])))
    return read


def _get_trajectory(measurement: Mapping[str, Json]) -> Json:
    return as_mapping(measurement.get("detail")).get("trajectory")


def _replace_trajectory(measurement: Mapping[str, Json], wire: Json) -> dict[str, Json]:
    return {**measurement, "detail": {**as_mapping(measurement.get("detail")), "trajectory": wire}}


def is_step_label(label: str) -> bool:
    """Return whether a line of a failure text is a step of its trajectory, which a report shows better by itself.

    >>> is_step_label("2 support"), is_step_label("  user"), is_step_label("note"), is_step_label("step 2")
    (True, True, True, False)
    """
    return _STEP_LABEL.match(label) is not None


def _describe_holders(trajectory: StoredTrajectory, holders: Iterable[Measurement]) -> ShownTrajectory:
    """Return a trajectory with the results of the measurements that hold it."""
    names = []
    trials = 1
    unexpected: set[int] = set()
    for measurement in holders:
        names.append(name_with_label(measurement))
        trials = max(trials, len(measurement.samples))
        for number in as_list(measurement.detail.get("unexpected")):
            if isinstance(number, int):
                unexpected.add(number)
    return ShownTrajectory(
        trajectory=trajectory,
        measurements=tuple(dict.fromkeys(names)),
        trials=trials,
        unexpected=frozenset(unexpected),
    )


def _read_count(value: Json) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return None


def _read_text(value: Json) -> str:
    """Return a text as it is, any other value as JSON; "" for None."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, default=str)
