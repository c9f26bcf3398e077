"""Read LangChain's messages: a list, one message, or the state of a LangGraph agent."""

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
from pytest_llmops.agents.trajectory import Trajectory
from pytest_llmops.protocols import Role

_GIVEN: dict[str, Role] = {"human": "user", "user": "user", "system": "system", "developer": "developer"}
_ANSWERS = ("ai", "assistant", "AIMessageChunk")
_TRANSFER = "transfer_to_"
_RETURN = "transfer_back_to_"


def read(source: object) -> Trajectory | None:
    """Return the trajectory of messages; None if the value has none.

    A tool named ``transfer_to_billing`` hands over to the agent ``billing``, and ``transfer_back_to_desk`` ends it: these are
    the names of LangGraph's guides. A subgraph that a tool runs is a call with a result.
    """
    entries = source
    if not isinstance(source, (list, tuple)):
        entries = get_field(source, "messages")
        if entries is None and get_text(source, "type"):
            entries = [source]
    if not isinstance(entries, (list, tuple)):
        return None
    builder = HandoverBuilder()
    for number, entry in enumerate(entries, start=1):
        _add_entry(builder, entry, number)
    return builder.build()


def _add_entry(builder: HandoverBuilder, entry: object, number: int) -> None:
    kind = get_text(entry, "type") or get_text(entry, "role")
    if kind in _GIVEN:
        builder.current.add_message(_GIVEN[kind], messages.format_content(get_field(entry, "content")))
    elif kind in _ANSWERS:
        _add_answer(builder, entry)
    elif kind in ("tool", "function"):
        _add_result(builder, entry)
    elif kind != "remove":
        builder.root.add_problem(
            f"message {number}: expected a message of LangChain, got {get_class_name(entry)}"
        )


def _add_answer(builder: HandoverBuilder, entry: object) -> None:
    name = get_text(entry, "name")
    if not builder.root.agent:
        builder.root.agent = name
    if name:
        builder.return_to(name)
    text = messages.format_content(get_field(entry, "content"))
    tokens = sum_counts(get_field(entry, "usage_metadata"), "input_tokens", "output_tokens")
    parts = get_items(entry, "content")
    calls = messages.read_calls(entry, parts)
    messages.add_unread_calls(builder.current, entry, parts, calls)
    builder.current.add_answer(text, calls, agent=name, tokens=tokens)
    messages.add_results(builder.current, parts)


def _add_result(builder: HandoverBuilder, entry: object) -> None:
    call_id = get_text(entry, "tool_call_id")
    name = get_text(entry, "name")
    is_error = get_text(entry, "status") == "error"
    content = get_field(entry, "content")
    result = messages.format_content(content) or format_value(content)
    builder.current.add_result(call_id, result, name=name, is_error=is_error)
    if is_error:
        return
    if name.startswith(_RETURN):
        builder.return_to(name.removeprefix(_RETURN))
    elif name.startswith(_TRANSFER):
        builder.hand_over(name.removeprefix(_TRANSFER), call_id=call_id, tool=name)
