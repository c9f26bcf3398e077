"""When a fault comes: `FaultPlan` counts the calls of a test, and keeps a timeline of them.

A request that is repeated after a fault, or after a failure, is another attempt of the same call. The same request
after an answer is a new call. So retries of the first call do not change the number of the second one.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pytest_llmops.cassettes.faults.kinds import Fault
from pytest_llmops.cassettes.request_key import Answer
from pytest_llmops.measurement import format_count, shorten_text

MAX_TRIES = 100  # tries of a call that all get a fault: no client has so many by itself
MAX_NAMES = 5  # of tools in a message
MAX_NAME = 80
MODEL = "model"  # the name of all models: `stale` gives what any of them has answered before


@dataclass(slots=True, eq=False)
class FaultEvent:
    """A call of the application, or an attempt of one.

    Attributes:
        what: The call in words.
        key: The key of its question.
        is_tool: Whether it is the call of a tool.
        attempt: Its number among the attempts of the call, from 1.
        fault: The fault that it got; None: it got an answer of its own.
        exchanges: How many exchanges the test had before.
        has_failed: Whether it failed without a fault of ours.
        came_late: Whether its answer came after all, late.
        hung: Whether the client waited or tried again for ever, up to our own limit.
    """

    what: str
    key: str
    is_tool: bool
    attempt: int
    fault: Fault | None
    exchanges: int
    has_failed: bool = False
    came_late: bool = False
    hung: bool = False

    @property
    def is_endless(self) -> bool:
        """Whether the client tries again for ever."""
        return self.fault is not None and self.attempt > MAX_TRIES

    @property
    def is_answered(self) -> bool:
        """Whether the call got an answer of its own."""
        return (self.fault is None and not self.has_failed) or self.came_late


@dataclass(slots=True)
class _Counter:
    """Counts the calls that a fault may hit, and the calls that it hit."""

    count: int = 0
    numbers: dict[str, int] = field(default_factory=dict)  # of the last call of each question
    hits: dict[int, int] = field(default_factory=dict)  # attempts that were hit, by the number of the call

    def number(self, key: str, *, is_retry: bool) -> int:
        """Return the number of a call, which is counted unless it is tried again."""
        if not is_retry or key not in self.numbers:
            self.count += 1
            self.numbers[key] = self.count
        return self.numbers[key]


class FaultPlan:
    """The faults of a test, and the outcomes of its calls.

    Args:
        faults: The faults. If several are for the same attempt, the first comes.

    Attributes:
        events: The calls of the application, in their order.
        is_judged: Whether `assert_recovers` has checked it.
        has_socket: Whether the test has opened a WebSocket, whose responses get no fault.
        output_schemas: The schemas of the results of tools, by server and name, as far as a client has requested them.
        is_obeyed: Whether an answer that the test has read shows that the instructions of ``hostile`` were obeyed.
        tools: The names of the tools that were called, in the form that ``tool=`` accepts.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        self.events: list[FaultEvent] = []
        self.is_judged = False
        self.has_socket = False
        self.output_schemas: dict[str, Mapping[str, object]] = {}
        self.is_obeyed = False
        self.tools: list[str] = []
        self._counters = [_Counter() for _ in self.faults]
        self._attempts: dict[str, int] = {}  # of questions whose last attempt got no answer
        self._last: dict[str, Answer] = {}
        self._lock = threading.RLock()

    @property
    def has_tool_faults(self) -> bool:
        """Whether a fault is for tools."""
        return any(fault.is_for_tool for fault in self.faults)

    @property
    def hits(self) -> list[FaultEvent]:
        """The calls that got a fault."""
        return [event for event in self.events if event.fault is not None]

    def list_missing(self) -> list[Fault]:
        """Return the faults that no call got, although one had to."""
        came = {id(event.fault) for event in self.hits}
        return [fault for fault in self.faults if fault.must_come and id(fault) not in came]

    def describe_missing(self) -> str:
        """Return why the test proves nothing: which faults no call got; "" if all came."""
        missing = self.list_missing()
        if not missing:
            return ""
        named = "; ".join(fault.describe() for fault in missing)
        tools = sum(event.is_tool for event in self.events)
        models = len(self.events) - tools
        called = f"{tools:,} of tools"
        if tools and any(fault.is_for_tool for fault in missing):
            called += f" ({self._name_tools()})"
        seen = f"{format_count(models, 'call')} of models and {called} came"
        advice = "correct call= or tool=, or set must_come=False"
        if self.has_socket and any(not fault.is_for_tool for fault in missing):
            advice = f"a response over a WebSocket gets no fault, a call over HTTP does; else {advice}"
        if not tools and any(fault.is_for_tool for fault in missing):
            advice = "only tools of MCP servers and of llm_cassette(tools=[...]) count"
        return f"this fault never came: {named}; {seen}: {advice}"

    def _name_tools(self) -> str:
        """Return the names of the tools that were called, the first of them."""
        names = [shorten_text(name, MAX_NAME) for name in self.tools[:MAX_NAMES]]
        if len(self.tools) > MAX_NAMES:
            names.append(f"{len(self.tools) - MAX_NAMES:,} more")
        return ", ".join(names)

    def describe_hung(self) -> str:
        """Return that the application waited for an answer, or tried again, for ever; "" if it did not."""
        for event in self.hits:
            if event.hung and event.is_endless:
                return f"hung: {event.what} was tried again {MAX_TRIES} times, and nothing gave up; limit the retries"
            if event.hung and event.fault is not None:
                return (
                    f"hung: {event.what} got no answer for {event.fault.at_most_s:g} s, and nothing gave up;"
                    " give the client a time limit below that, or raise at_most_s"
                )
        return ""

    def begin_call(
        self,
        what: str,
        key: str,
        *,
        tool_names: Sequence[str] = (),
        exchanges: int = 0,
        offers_tools: bool = False,
    ) -> FaultEvent:
        """Count a call, and return it with its fault.

        Args:
            what: The call in words.
            key: The key of its question.
            tool_names: The names of the tool; none: it is the call of a model.
            exchanges: How many exchanges the test had before.
            offers_tools: Whether it offers tools to a model.
        """
        with self._lock:
            attempts = self._attempts.pop(key, 0)
            hit = self._choose(key, tool_names, is_retry=attempts > 0, offers_tools=offers_tools)
            event = FaultEvent(what, key, bool(tool_names), attempts + 1, hit, exchanges)
            self.events.append(event)
            if tool_names and tool_names[-1] not in self.tools:
                self.tools.append(tool_names[-1])
            if hit is not None:
                self._attempts[key] = event.attempt
            return event

    def _choose(
        self, key: str, tool_names: Sequence[str], *, is_retry: bool, offers_tools: bool
    ) -> Fault | None:
        """Return the fault of a call; None: it has none. All faults that may hit such calls count it."""
        chosen: Fault | None = None
        source = tool_names[0] if tool_names else MODEL
        for fault, counter in zip(self.faults, self._counters, strict=True):
            if fault.is_for_tool is not bool(tool_names):
                continue
            if tool_names and not fault.takes_tool(tool_names):
                continue
            if fault.only_with_tools and not offers_tools:
                continue
            number = counter.number(key, is_retry=is_retry)
            hits = counter.hits.get(number, 0)
            if chosen is not None or fault.call not in (None, number):
                continue
            if fault.times is not None and hits >= fault.times:
                continue
            if fault.kind == "stale" and source not in self._last:
                continue
            counter.hits[number] = hits + 1
            chosen = fault
        return chosen

    def note_answer(self, key: str, source: str, answer: Answer) -> None:
        """Keep the answer to a call without a fault.

        Args:
            key: The key of its question.
            source: `MODEL`, or the name of the tool.
            answer: The answer.
        """
        with self._lock:
            is_broken = answer.outcome is not None and answer.outcome.kind != "left"
            if is_broken or answer.is_transient:
                self.note_failure(key)
            else:
                self._last[source] = answer

    def note_failure(self, key: str) -> None:
        """Note that the last call of a request failed without a fault: the same request is then another attempt."""
        event = self._find_event(key)
        if event is None or event.fault is not None:
            return
        with self._lock:
            event.has_failed = True
            self._attempts[key] = event.attempt

    def last_answer(self, source: str) -> Answer | None:
        """Return the last answer of a model, or of a tool."""
        return self._last.get(source)

    def note_late(self, key: str) -> None:
        """Note that the answer to a question comes now, late."""
        event = self._find_event(key)
        if event is not None and event.fault is not None:
            event.came_late = True

    def note_text(self, text: str) -> None:
        """Check whether an answer shows that the instructions of a fault were obeyed."""
        for event in self.hits:
            if event.fault is not None and event.fault.is_obeyed_by(text):
                self.is_obeyed = True

    def note_hung(self, key: str) -> None:
        """Note that the client has waited for the answer to a question up to our time limit."""
        event = self._find_event(key)
        if event is not None:
            event.hung = True

    def _find_event(self, key: str) -> FaultEvent | None:
        """Return the last call of a question."""
        with self._lock:
            for event in reversed(self.events):
                if event.key == key:
                    return event
        return None

    def describe_calls(self) -> list[tuple[str, str]]:
        """Return the timeline as a line for each call, with its answer or fault."""
        return [(f"call {number}", describe_event(event)) for number, event in enumerate(self.events, 1)]


def describe_event(event: FaultEvent) -> str:
    """Return a call with its answer or fault, in words."""
    text = event.what
    if event.attempt > 1:
        text += f", attempt {event.attempt}"
    if event.fault is not None:
        text += f": FAULT {event.fault.kind}"
    elif event.has_failed:
        text += ": failed by itself"
    else:
        text += ": answered"
    if event.came_late:
        text += ", answered late"
    if event.hung:
        text += ", HUNG"
    return text
