"""`Trajectory`: the steps of an agent, in one form for all sources."""

import json
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, cast

from pytest_llmops._util.masked_cuts import mask_start
from pytest_llmops.measurement import Json, to_builtins
from pytest_llmops.protocols import Role
from pytest_llmops.recorder import mask_secrets

# Agents below each other; a tree of more could not be walked through
MAX_DEPTH = 50
MAX_PROBLEMS = 20  # of an agent, that are stored for reports
# Agents below each other that are stored as such; the steps of further ones are in one list
MAX_STORED_DEPTH = 20
MAX_STORED_CALLS = 1_000  # of a trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """A tool that an agent called, and what came of it.

    Attributes:
        name: Name of the tool.
        arguments: The arguments as values. {} if the model gave none, None if they are not a JSON object.
        text: The arguments as the model wrote them, in JSON.
        problem: Why ``arguments`` is None; "" if it is not.
        id: Id of the call; "": it has none.
        result: The result of the tool, as text; None: no result is known.
        is_error: Whether the tool failed.
        latency_s: How long the tool took, in seconds; None: not known.
        started: The steps of the agent that the call started, or handed over to; None: it started none.
    """

    name: str
    arguments: Mapping[str, Json] | None = None
    text: str = ""
    problem: str = ""
    id: str = ""
    result: str | None = None
    is_error: bool = False
    latency_s: float | None = None
    started: "Trajectory | None" = None

    def __str__(self) -> str:
        """Return the call as it would be written in Python: ``refund(order_id='B-77')``."""
        if self.arguments is None:
            return f"{self.name}({self.text})"
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.name}({arguments})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A message of a trajectory. The results of tools belong to the calls.

    Attributes:
        role: ``assistant`` for the agent; ``user``, ``system`` or ``developer`` for its input; ``tool`` never occurs.
        text: Text of the message.
        tool_calls: The tools that it calls, in the order of the model. Tools of one step may run at the same time.
        agent: Name of the agent that speaks; "": not known.
        tokens: Input and output of the call to the model, together; None: not known.
        cost_usd: Its price; None: not known.
        latency_s: How long the model took, in seconds; None: not known.
    """

    role: Role
    text: str = ""
    tool_calls: tuple[ToolUse, ...] = ()
    agent: str = ""
    tokens: int | None = None
    cost_usd: float | None = None
    latency_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """The steps of an agent: its messages and calls of tools, in order. Other agents that it started hang on the call that started them.

    Attributes:
        steps: The messages.
        agent: Name of the agent; "": not known.
        problems: Parts that could not be read and may have had tool calls, such as a reply that was cut. A sentence each. With
            problems, no statement about all calls is certain.
        notes: Oddities that hide no call, such as a result that no call waits for. A sentence each.
        total_tokens: Tokens of the whole, where the source has no more than this; None: the steps have their own.
        total_cost_usd: Price of the whole in US dollars, likewise.
        is_silent: Whether it is known that no model answered: each call of one got a fault on purpose.

    >>> lookup = ToolUse(name="get_order", arguments={"order_id": "B-77"})
    >>> trajectory = Trajectory(steps=(Step(role="assistant", tool_calls=(lookup,)),))
    >>> print(trajectory.tool_calls[0])
    get_order(order_id='B-77')
    """

    steps: tuple[Step, ...] = ()
    agent: str = ""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    total_tokens: int | None = None
    total_cost_usd: float | None = None
    is_silent: bool = False

    @property
    def tool_calls(self) -> list[ToolUse]:
        """All calls of tools. The calls of an agent that a call started follow this call."""
        return [call for step in self.walk() for call in step.tool_calls]

    @property
    def turns(self) -> int:
        """The number of model calls: the number of the agents' messages, also of started agents."""
        return sum(step.role == "assistant" for step in self.walk())

    @property
    def answer(self) -> str:
        """The text of the last message of the agent, or of the agent that it handed over to. "" if there is none."""
        for step in reversed(self.steps):
            if step.role != "assistant":
                continue
            if step.text:
                return step.text
            for call in reversed(step.tool_calls):
                if call.started is not None and call.started.answer:
                    return call.started.answer
            return ""
        return ""

    @property
    def tokens(self) -> int | None:
        """Tokens of the whole, or of all steps; None if the tokens of a step are not known, or no step was the agent's."""
        if self.total_tokens is not None:
            return self.total_tokens
        counts = [step.tokens for step in self.walk() if step.role == "assistant"]
        known = [count for count in counts if count is not None]
        if not known or len(known) < len(counts):
            return None
        return sum(known)

    @property
    def cost_usd(self) -> float | None:
        """Price of the whole, or of all steps, in US dollars; None if the price of a step is not known, or no step was the agent's."""
        if self.total_cost_usd is not None:
            return self.total_cost_usd
        prices = [step.cost_usd for step in self.walk() if step.role == "assistant"]
        known = [price for price in prices if price is not None]
        if not known or len(known) < len(prices):
            return None
        return math.fsum(known)

    @property
    def all_problems(self) -> list[str]:
        """The problems of this trajectory, and of all agents that its calls started."""
        return [problem for trajectory in _list_trajectories(self) for problem in trajectory.problems]

    @property
    def all_notes(self) -> list[str]:
        """The notes of this trajectory, and of all agents that its calls started."""
        return [note for trajectory in _list_trajectories(self) for note in trajectory.notes]

    def walk(self) -> Iterator[Step]:
        """Yield all steps in order. The steps of an agent that a call started follow the step with this call."""
        for step in self.steps:
            yield step
            for call in step.tool_calls:
                if call.started is not None:
                    yield from call.started.walk()

    def to_wire(self, *, max_chars: int = 2_000, max_steps: int = 300) -> dict[str, Json]:
        """Return plain builtins for reports. Longer texts are cut, and of more steps the first ones are kept.

        Of more than 20 agents below each other the last ones are one trajectory. The numbers of the calls stay the same.
        """
        return _Writer(max_chars, max_steps).write(self)


def _list_trajectories(trajectory: Trajectory) -> list[Trajectory]:
    """Return a trajectory, and the trajectories of all agents that its calls started, in order."""
    trajectories = [trajectory]
    for step in trajectory.steps:
        for call in step.tool_calls:
            if call.started is not None:
                trajectories += _list_trajectories(call.started)
    return trajectories


@dataclass(slots=True)
class _Writer:
    """Write a trajectory as builtins.

    Attributes:
        max_chars: Characters of a text that are kept.
        steps_left: How many steps may still be written.
        calls_left: How many calls may still be written. After the last one no step is, as the numbers of its calls would be wrong.
        depth: How many agents are around the one that is written.
    """

    max_chars: int
    steps_left: int
    calls_left: int = MAX_STORED_CALLS
    depth: int = 0

    def write(self, trajectory: Trajectory) -> dict[str, Json]:
        """Return a trajectory; ``steps_cut`` and ``problems_cut`` are the numbers of steps and problems that are left out."""
        all_steps: Sequence[Step] = trajectory.steps
        problems = [*trajectory.problems, *trajectory.notes]  # reports show both in the same way
        if self.depth == MAX_STORED_DEPTH:
            all_steps = list(trajectory.walk())
            problems = [*trajectory.all_problems, *trajectory.all_notes]
        steps: list[Json] = []
        for step in all_steps:
            if self.steps_left <= 0:
                break
            self.steps_left -= 1
            steps.append(self._write_step(step))
        wire: dict[str, Json] = {
            "agent": self._cut(trajectory.agent),
            "steps": steps,
            "problems": [self._cut(problem) for problem in problems[:MAX_PROBLEMS]],
        }
        if len(problems) > MAX_PROBLEMS:
            wire["problems_cut"] = len(problems) - MAX_PROBLEMS
        steps_cut = len(all_steps) - len(steps)
        if steps_cut:
            wire["steps_cut"] = steps_cut
        return _drop_empty(wire)

    def _write_step(self, step: Step) -> dict[str, Json]:
        kept = step.tool_calls[: self.calls_left]
        self.calls_left -= len(kept)
        calls_cut = len(step.tool_calls) - len(kept)
        if calls_cut:
            self.steps_left = 0
        wire = {
            "role": step.role,
            "text": self._cut(step.text),
            "agent": self._cut(step.agent),
            "tokens": step.tokens,
            "cost_usd": step.cost_usd,
            "latency_s": step.latency_s,
            "calls": [self._write_call(call) for call in kept],
            "calls_cut": calls_cut or None,
        }
        return _drop_empty(wire)

    def _write_call(self, call: ToolUse) -> dict[str, Json]:
        wire: dict[str, Json] = {
            "name": self._cut(call.name),
            "arguments": self._cut(call.text),
            "problem": self._cut(call.problem),
            "is_error": call.is_error,
            "latency_s": call.latency_s,
        }
        wire = _drop_empty(wire)
        if call.result is not None:
            wire["result"] = self._cut(call.result)
        if call.started is not None and self.depth < MAX_STORED_DEPTH:
            self.depth += 1
            wire["started"] = self.write(call.started)
            self.depth -= 1
        return wire

    def _cut(self, text: str) -> str:
        masked = mask_start(text, self.max_chars, mask_secrets)
        if len(masked) <= self.max_chars:
            return masked
        return f"{masked[: self.max_chars]}... (+{len(masked) - self.max_chars:,} chars)"


def _drop_empty(wire: Mapping[str, Any]) -> dict[str, Json]:
    """Return builtins without empty values: None, "", empty lists and False."""
    kept = {name: value for name, value in wire.items() if value is not False and value not in (None, "", [])}
    return dict(cast("Mapping[str, Json]", to_builtins(kept, where="trajectory")))


def parse_arguments(text: str) -> tuple[Mapping[str, Json] | None, str]:
    """Return the arguments of a call as values, and "" or why they are not a JSON object; no text means no arguments.

    >>> parse_arguments('{"order_id": "B-77"}'), parse_arguments("")
    (({'order_id': 'B-77'}, ''), ({}, ''))
    >>> parse_arguments('["B-77"]')
    (None, 'the arguments are a list, not a JSON object')
    """
    if not text.strip():
        return {}, ""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return None, f"the arguments are not JSON: {error}"
    if not isinstance(value, dict):
        return None, f"the arguments are {_describe_kind(value)}, not a JSON object"
    return value, ""


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _describe_kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, bool):
        return "true or false"
    return "a number"


def make_tool_use(name: str, arguments: object, **fields: Any) -> ToolUse:
    """Return a call whose arguments are JSON text (as models write them) or values.

    Args:
        name: Name of the tool.
        arguments: A text, a mapping, or None for no arguments; anything else is not an object of arguments.
        fields: Other attributes of `ToolUse`.

    >>> make_tool_use("refund", '{"amount": 20}').arguments, make_tool_use("refund", None).arguments
    ({'amount': 20}, {})
    """
    if arguments is None:
        arguments = ""
    if not isinstance(arguments, str):
        try:
            arguments = json.dumps(arguments, ensure_ascii=False, default=str)
        except Exception as error:  # noqa: BLE001 -- whatever an object of another package raises
            problem = f"the arguments cannot be written as JSON: {error}"
            return ToolUse(name=name, problem=problem, **fields)
    values, problem = parse_arguments(arguments)
    return ToolUse(name=name, arguments=values, text=arguments, problem=problem, **fields)


class _Outcome(NamedTuple):
    """What came of a call."""

    result: str
    is_error: bool
    latency_s: float | None


@dataclass(slots=True)
class _OpenStep:
    """A step whose calls may still get results; they replace the calls of ``step``."""

    step: Step
    calls: "list[_OpenCall]" = field(default_factory=list)
    has_results: bool = False


@dataclass(slots=True)
class _OpenCall:
    """A call that may still get a result, or the trajectory of an agent."""

    use: ToolUse
    step: _OpenStep

    def finish(self, outcome: _Outcome) -> None:
        """Give the call its result."""
        latency_s = outcome.latency_s
        if latency_s is None:
            latency_s = self.use.latency_s
        self.use = replace(self.use, result=outcome.result, is_error=outcome.is_error, latency_s=latency_s)
        self.step.has_results = True


@dataclass(slots=True)
class _QueuedCall:
    """A call in the queues of a `_CallQueues`; ``is_taken``: it was taken out of one of them, and counts in none."""

    call: _OpenCall
    is_taken: bool = False


@dataclass(slots=True)
class _CallQueues:
    """Calls in their order, found by id, by name, or as the first one of all, each in constant time."""

    _by_id: dict[str, deque[_QueuedCall]] = field(default_factory=dict)
    _by_name: dict[str, deque[_QueuedCall]] = field(default_factory=dict)
    _all: deque[_QueuedCall] = field(default_factory=deque)

    def push(self, call: _OpenCall) -> None:
        """Add a call."""
        queued = _QueuedCall(call)
        if call.use.id:
            self._by_id.setdefault(call.use.id, deque()).append(queued)
        self._by_name.setdefault(call.use.name, deque()).append(queued)
        self._all.append(queued)

    def has_seen(self, call_id: str) -> bool:
        """Return whether a call with this id was added, even if it was taken out since."""
        return call_id in self._by_id

    def find(self, call_id: str, name: str) -> _QueuedCall | None:
        """Return the first call with this id, else with this name, else of all; None if there is none.

        An id that no call has is ignored: Gemini gives ids to results whose calls have none. Then a call without an id is meant.
        """
        if call_id in self._by_id:
            return _find_first(self._by_id[call_id])
        if call_id and not name:
            return None
        queue = self._all
        if name:
            queue = self._by_name.get(name, deque())
        queued = _find_first(queue)
        if queued is not None and call_id and queued.call.use.id:
            return None
        return queued

    def pop(self, call_id: str, name: str) -> _OpenCall | None:
        """Take out the call that `find` returns."""
        queued = self.find(call_id, name)
        if queued is None:
            return None
        queued.is_taken = True
        return queued.call


def _find_first(queue: deque[_QueuedCall]) -> _QueuedCall | None:
    """Return the first call of a queue; those that were taken out of another queue are dropped."""
    while queue and queue[0].is_taken:
        queue.popleft()
    if not queue:
        return None
    return queue[0]


@dataclass(slots=True)
class TrajectoryBuilder:
    """Collects the messages of a source in their order, and gives each result to its call.

    >>> builder = TrajectoryBuilder()
    >>> builder.add_message("user", "Refund B-77, please.")
    >>> builder.add_answer("", [make_tool_use("get_order", '{"order_id": "B-77"}', id="c1")])
    >>> builder.add_result("c1", "delivered")
    >>> builder.build().tool_calls[0].result
    'delivered'
    """

    agent: str = ""
    _steps: list["_OpenStep"] = field(default_factory=list)
    _problems: list[str] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)
    _waiting: "_CallQueues" = field(default_factory=_CallQueues)
    _not_started: "_CallQueues" = field(default_factory=_CallQueues)
    _not_run: "_CallQueues" = field(default_factory=_CallQueues)
    _early_results: dict[str, deque[_Outcome]] = field(default_factory=dict)

    def add_message(self, role: Role, text: str, *, agent: str = "") -> None:
        """Add a message that the agent was given."""
        self._steps.append(_OpenStep(Step(role=role, text=text, agent=agent)))

    def add_answer(
        self,
        text: str,
        tool_calls: Sequence[ToolUse] = (),
        *,
        agent: str = "",
        tokens: int | None = None,
        cost_usd: float | None = None,
        latency_s: float | None = None,
    ) -> None:
        """Add a message of the agent, with the tools that it calls."""
        step = Step(
            role="assistant",
            text=text,
            agent=agent or self.agent,
            tokens=tokens,
            cost_usd=cost_usd,
            latency_s=latency_s,
        )
        self._steps.append(_OpenStep(step))
        self._open_calls(tool_calls)

    def add_calls(self, tool_calls: Sequence[ToolUse]) -> None:
        """Add calls to the last message of the agent, if it is the last of all; else they are a message of their own."""
        last = self._steps[-1] if self._steps else None
        if last is not None and last.step.role == "assistant" and not last.has_results:
            self._open_calls(tool_calls)
        else:
            self.add_answer("", tool_calls)

    def add_result(
        self,
        call_id: str,
        result: str,
        *,
        name: str = "",
        is_error: bool = False,
        latency_s: float | None = None,
    ) -> None:
        """Give a result to its call, which may also be added later.

        That is the first call with this id that has no result yet; without an id, the first one with this name; without both, the
        first one of all. A result that no call waits for becomes a note of the trajectory.
        """
        outcome = _Outcome(result, is_error, latency_s)
        call = self._waiting.pop(call_id, name)
        if call is not None:
            call.finish(outcome)
        elif call_id and not self._waiting.has_seen(call_id):
            self._early_results.setdefault(call_id, deque()).append(outcome)
        else:
            self._notes.append(_describe_lost_result(call_id, name))

    def start_tool(self, call_id: str, name: str) -> bool:
        """Count the first call with this id or name, which did not start yet, as started; return whether there is one."""
        return self._not_run.pop(call_id, name) is not None

    def add_problem(self, problem: str) -> None:
        """Add a sentence on a part that could not be read and may have had tool calls."""
        self._problems.append(problem)

    def add_note(self, note: str) -> None:
        """Add a sentence on an oddity that hides no tool call."""
        self._notes.append(note)

    def start_agent(self, call_id: str, trajectory: Trajectory, *, name: str = "") -> None:
        """Hang the trajectory of an agent on the call that started it, or handed over to it; without such a call, its steps are added."""
        call = None
        if call_id or name:
            call = self._not_started.pop(call_id, name)
        if call is not None:
            call.use = replace(call.use, started=trajectory)
            return
        for step in trajectory.steps:
            self._steps.append(_OpenStep(step))
            self._open_calls(step.tool_calls)
        self._problems += trajectory.problems
        self._notes += trajectory.notes

    def build(self) -> Trajectory:
        """Return the trajectory."""
        steps = [
            replace(item.step, tool_calls=tuple(call.use for call in item.calls)) for item in self._steps
        ]
        notes = list(self._notes)
        for call_id, results in self._early_results.items():
            notes += [_describe_lost_result(call_id, "")] * len(results)
        return Trajectory(
            steps=tuple(steps), agent=self.agent, problems=tuple(self._problems), notes=tuple(notes)
        )

    def _open_calls(self, tool_calls: Sequence[ToolUse]) -> None:
        """Add calls to the last step. One whose result was added before has it at once."""
        step = self._steps[-1]
        for use in tool_calls:
            call = _OpenCall(use, step)
            step.calls.append(call)
            step.has_results = step.has_results or use.result is not None
            self._not_run.push(call)
            if use.started is None:
                self._not_started.push(call)
            early_results = self._early_results.get(use.id)
            if early_results and use.result is None:
                call.finish(early_results.popleft())
            elif use.result is None:
                self._waiting.push(call)
            if not early_results:
                self._early_results.pop(use.id, None)


def _describe_lost_result(call_id: str, name: str) -> str:
    return f"there is a result for {_describe_call(call_id, name)}, which no call waits for"


def _describe_call(call_id: str, name: str) -> str:
    if call_id:
        return f"the call id {call_id[:80]!r}"
    if name:
        return f"the tool {name[:80]!r}"
    return "a call without an id"
