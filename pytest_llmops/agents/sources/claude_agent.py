"""Read runs of claude-agent-sdk: the list of messages that ``query`` or a client gave."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pytest_llmops.agents.sources import messages
from pytest_llmops.agents.sources.fields import (
    format_value,
    get_class_name,
    get_field,
    get_items,
    get_number,
    get_text,
    sum_counts,
)
from pytest_llmops.agents.trajectory import MAX_DEPTH, ToolUse, Trajectory, TrajectoryBuilder, make_tool_use

# Anthropic counts tokens that are read from the cache, or written to it, apart from the input
_USAGE = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
# Ends of the names of blocks: blocks of the server's tools have a word before
_CALL = "ToolUseBlock"
_RESULT = "ToolResultBlock"
_PACKAGE = "claude_agent_sdk"


def read(source: object) -> Trajectory | None:
    """Return the trajectory of messages; None if the value has none.

    Messages with a ``parent_tool_use_id`` belong to an agent that this call started. Tokens and cost are known for the whole
    only, from the result message: an answer comes before all of its tokens are counted.
    """
    entries: object = [source]
    if isinstance(source, (list, tuple)):
        entries = source
    if not isinstance(entries, (list, tuple)):
        return None
    if not any(type(entry).__module__.partition(".")[0] == _PACKAGE for entry in entries):
        return None
    reader = _Reader()
    for number, entry in enumerate(entries, start=1):
        reader.add_message(entry, number)
    return reader.build()


@dataclass(slots=True)
class _Agent:
    """The messages of one agent; those with one id are one answer, which comes in pieces.

    Attributes:
        builder: Gets its messages.
        place: How many agents had begun before it.
        depth: How many agents it is below the first one.
        message_id: Id of the answer that is being collected.
        texts: Its texts so far.
        calls: Its calls so far.
    """

    builder: TrajectoryBuilder
    place: int = 0
    depth: int = 0
    message_id: str = ""
    texts: list[str] = field(default_factory=list)
    calls: list[ToolUse] = field(default_factory=list)

    def end_answer(self) -> None:
        """Add the answer that was collected."""
        if self.texts or self.calls:
            self.builder.add_answer("\n".join(self.texts), self.calls)
        self.message_id = ""
        self.texts = []
        self.calls = []


@dataclass(slots=True)
class _Reader:
    """Reads messages.

    Attributes:
        agents: The agents by the id of the call that started them; "" is the first one.
        callers: Which agent made a call, by the id of the call.
        names: Name of the agent that a call starts, by the id of the call.
        tokens: Tokens of the whole; None: not known.
        cost_usd: Its price; None: not known.
    """

    agents: dict[str, _Agent] = field(default_factory=lambda: {"": _Agent(TrajectoryBuilder())})
    callers: dict[str, _Agent] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    tokens: int | None = None
    cost_usd: float | None = None

    def add_message(self, entry: object, number: int) -> None:
        """Add a message; messages that only report the progress of the run are left out."""
        kind = get_class_name(entry)
        if kind == "UserMessage":
            self._add_input(self._find_agent(entry), entry)
        elif kind == "AssistantMessage":
            self._add_answer(self._find_agent(entry), entry)
        elif kind == "ResultMessage":
            self._add_totals(entry)
        elif type(entry).__module__.partition(".")[0] != _PACKAGE:
            self.agents[""].builder.add_problem(
                f"message {number}: expected a message of claude-agent-sdk, got {kind}"
            )

    def build(self) -> Trajectory:
        """Return the tree of agents: the last ones are hung up first, as they may hang on those before them."""
        for agent in self.agents.values():
            agent.end_answer()
        root = self.agents[""]
        callers = {call_id: self._find_caller(call_id) for call_id in self.agents if call_id}
        for call_id, caller in reversed(callers.items()):
            caller.builder.start_agent(call_id, self.agents[call_id].builder.build())
        return replace(root.builder.build(), total_tokens=self.tokens, total_cost_usd=self.cost_usd)

    def _find_caller(self, call_id: str) -> _Agent:
        """Return the agent that started another one; the first agent if that is not known, which becomes a problem."""
        root = self.agents[""]
        agent = self.agents[call_id]
        caller = self.callers.get(call_id)
        if caller is None or caller.place >= agent.place:
            root.builder.add_problem(
                f"the call {call_id[:80]!r}, which started an agent, is not in the messages"
            )
            return root
        if caller.depth == MAX_DEPTH:
            root.builder.add_note(
                f"the agent of the call {call_id[:80]!r} is more than {MAX_DEPTH} agents deep"
            )
            return root
        agent.depth = caller.depth + 1
        return caller

    def _find_agent(self, entry: object) -> _Agent:
        call_id = get_text(entry, "parent_tool_use_id")
        if call_id not in self.agents:
            builder = TrajectoryBuilder(agent=self.names.get(call_id, ""))
            self.agents[call_id] = _Agent(builder, place=len(self.agents))
        return self.agents[call_id]

    def _add_input(self, agent: _Agent, entry: object) -> None:
        agent.end_answer()
        content = get_field(entry, "content")
        if isinstance(content, str):
            agent.builder.add_message("user", content)
            return
        blocks = get_items(entry, "content")
        self._add_results(agent, blocks)
        texts = [get_text(block, "text") for block in blocks if get_class_name(block) == "TextBlock"]
        if texts:
            agent.builder.add_message("user", "\n".join(texts))

    def _add_results(self, agent: _Agent, blocks: Sequence[object]) -> None:
        for block in blocks:
            if not get_class_name(block).endswith(_RESULT):
                continue
            content = get_field(block, "content")
            result = format_value(content)
            if isinstance(content, (list, tuple)):
                result = messages.format_content(content)
            is_error = get_field(block, "is_error") is True
            agent.builder.add_result(get_text(block, "tool_use_id"), result, is_error=is_error)

    def _add_answer(self, agent: _Agent, entry: object) -> None:
        message_id = get_text(entry, "message_id")
        if not message_id or message_id != agent.message_id:
            agent.end_answer()
        agent.message_id = message_id
        blocks = get_items(entry, "content")
        for block in blocks:
            kind = get_class_name(block)
            if kind == "TextBlock":
                agent.texts.append(get_text(block, "text"))
            elif kind.endswith(_CALL):
                agent.calls.append(self._read_call(agent, block))
        if any(get_class_name(block).endswith(_RESULT) for block in blocks):
            agent.end_answer()
            self._add_results(agent, blocks)

    def _read_call(self, agent: _Agent, block: object) -> ToolUse:
        call_id = get_text(block, "id")
        arguments = get_field(block, "input")
        self.callers.setdefault(call_id, agent)
        self.names.setdefault(call_id, get_text(arguments, "subagent_type"))
        return make_tool_use(get_text(block, "name"), arguments, id=call_id)

    def _add_totals(self, entry: object) -> None:
        """Add the tokens of a run; its cost is the cost of the session so far."""
        tokens = sum_counts(get_field(entry, "usage"), *_USAGE)
        if tokens is not None:
            self.tokens = (self.tokens or 0) + tokens
        cost_usd = get_number(entry, "total_cost_usd")
        if cost_usd is not None:
            self.cost_usd = cost_usd
        if get_field(entry, "is_error") is True:
            self.agents[""].builder.add_note(f"the run ended with {get_text(entry, 'subtype') or 'an error'}")
