"""Read runs of openai-agents: `RunResult`, `RunResultStreaming`, or the list of their items."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_llmops.agents.sources import messages
from pytest_llmops.agents.sources.fields import (
    format_value,
    get_class_name,
    get_field,
    get_items,
    get_text,
    sum_counts,
)
from pytest_llmops.agents.sources.handovers import HandoverBuilder
from pytest_llmops.agents.trajectory import ToolUse, Trajectory, TrajectoryBuilder, make_tool_use

# How openai-agents begins the text that the model gets for a tool that failed; an item has no other sign of it
_FAILURES = ("An error occurred while running the tool", "An error occurred while parsing tool arguments")


def read(source: object) -> Trajectory | None:
    """Return the trajectory of a run; None if the value is not one.

    An agent that the run was handed over to hangs on the call of the hand-off. A run of an agent that is a tool
    (``Agent.as_tool``) is a call with a result: its own steps are not in the result of the outer run.
    """
    items = source
    if not isinstance(source, (list, tuple)):
        items = get_field(source, "new_items")
    if not isinstance(items, (list, tuple)):
        return None
    if not isinstance(source, (list, tuple)):
        return _read_items(items, get_field(source, "input"), get_items(source, "raw_responses"))
    if not any(get_field(item, "raw_item") is not None for item in items):
        return None
    return _read_items(items, None, ())


def _read_items(items: Sequence[object], given: object, responses: Sequence[object]) -> Trajectory:
    first_agent = ""
    if items:
        first_agent = get_text(get_field(items[0], "agent"), "name")
    builder = HandoverBuilder(TrajectoryBuilder(agent=first_agent))
    _add_input(builder.root, given)
    reader = _Reader(builder, responses)
    for number, item in enumerate(items, start=1):
        reader.add_item(item, number)
    reader.end_turn()
    return builder.build()


def _add_input(builder: TrajectoryBuilder, given: object) -> None:
    if isinstance(given, str):
        builder.add_message("user", given)
        return
    if isinstance(given, (list, tuple)) and given:
        trajectory = messages.read(given)
        if trajectory is not None:
            builder.start_agent("", trajectory)  # no call has this id: its steps are added


@dataclass(slots=True)
class _Reader:
    """Puts the items of a run together to the answers of its model.

    Attributes:
        builder: Gets the answers.
        responses: The answers of the model, for their tokens.
        turns: Number of the response that an item is of, by the identity of the item.
        turn: Number of the response whose items are being collected; None: not known.
        texts: Its texts so far.
        calls: Its calls so far.
    """

    builder: HandoverBuilder
    responses: Sequence[object]
    turns: dict[int, int] = field(init=False)
    turn: int | None = None
    texts: list[str] = field(default_factory=list)
    calls: list[ToolUse] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.turns = {}
        for number, response in enumerate(self.responses):
            for item in get_items(response, "output"):
                self.turns[id(item)] = number

    def add_item(self, item: object, number: int) -> None:
        """Add an item; one without a kind becomes a problem of the trajectory."""
        raw = get_field(item, "raw_item")
        kind = get_text(item, "type") or get_text(raw, "type")
        if kind == "message_output_item":
            self._start_turn(raw)
            self.texts.append(messages.format_content(get_field(raw, "content")))
        elif kind.endswith("_call_item"):
            self._start_turn(raw)
            self.calls.append(_read_call(item, raw))
            messages.add_own_result(self.builder.current, raw)
        elif kind == "handoff_output_item":
            self.end_turn()
            self._hand_over(item, raw)
        elif kind.endswith("_output_item"):
            self.end_turn()
            self._add_result(item, raw)
        elif not kind:
            self.builder.root.add_problem(f"item {number} has no type: {get_class_name(item)}")

    def end_turn(self) -> None:
        """Add the answer that was collected."""
        if self.texts or self.calls:
            tokens = None
            if self.turn is not None:
                usage = get_field(self.responses[self.turn], "usage")
                tokens = sum_counts(usage, "input_tokens", "output_tokens")
            self.builder.current.add_answer("\n".join(filter(None, self.texts)), self.calls, tokens=tokens)
        self.turn = None
        self.texts = []
        self.calls = []

    def _start_turn(self, raw: object) -> None:
        turn = self.turns.get(id(raw))
        if turn != self.turn:
            self.end_turn()
        self.turn = turn

    def _add_result(self, item: object, raw: object) -> None:
        output = get_field(item, "output")
        if output is None:
            output = get_field(raw, "output")
        result = format_value(output)
        call_id = get_text(raw, "call_id")
        name = ""
        if not call_id:
            name = get_text(raw, "type").removesuffix("_output")
        self.builder.current.add_result(call_id, result, name=name, is_error=result.startswith(_FAILURES))

    def _hand_over(self, item: object, raw: object) -> None:
        call_id = get_text(raw, "call_id")
        self.builder.current.add_result(call_id, format_value(get_field(raw, "output")))
        target = get_text(get_field(item, "target_agent"), "name")
        self.builder.hand_over(target, call_id=call_id)


def _read_call(item: object, raw: object) -> ToolUse:
    """Return a call. A hosted tool has no name: a ``web_search_call`` is called "web_search", as in all other sources."""
    name = get_text(raw, "name") or get_text(item, "tool_name") or get_text(raw, "type").removesuffix("_call")
    call_id = get_text(raw, "call_id") or get_text(raw, "id")
    return make_tool_use(name, messages.find_arguments(raw), id=call_id)
