"""Read runs of google-adk: a session, a list of its events, or contents of google-genai."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_llmops.agents.sources.fields import (
    format_value,
    get_class_name,
    get_count,
    get_field,
    get_items,
    get_text,
)
from pytest_llmops.agents.sources.handovers import HandoverBuilder
from pytest_llmops.agents.trajectory import ToolUse, Trajectory, make_tool_use
from pytest_llmops.recorder import shorten_masked

_TRANSFER = "transfer_to_agent"


def read(source: object) -> Trajectory | None:
    """Return the trajectory of events; None if the value has none, or is a reply of Gemini, also in a list: `messages` reads those.

    An agent hangs on the call that transferred to it, or that started it: an agent with ``mode="single_turn"`` is a tool of its
    name. A result with the key ``error`` has failed. An ``AgentTool`` is a call with a result: it has a session of its own.
    """
    events = source
    if not isinstance(source, (list, tuple)):
        events = get_field(source, "events")
        if events is None and _is_event(source):
            events = [source]
    if not isinstance(events, (list, tuple)):
        return None
    if any(get_field(event, "candidates") is not None for event in events):
        return None
    reader = _Reader()
    for number, event in enumerate(events, start=1):
        reader.add_event(event, number)
    return reader.builder.build()


def _is_event(source: object) -> bool:
    """Return whether a value is one event, one content, or a reply of Gemini."""
    return get_field(source, "content") is not None or get_field(source, "parts") is not None


@dataclass(slots=True)
class _Reader:
    """Reads events.

    Attributes:
        builder: Gets the messages of all agents.
        open_calls: Calls without a result by the name of the tool: the id, and the agent that called.
    """

    builder: HandoverBuilder = field(default_factory=HandoverBuilder)
    open_calls: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add_event(self, event: object, number: int) -> None:
        """Add an event; a fragment of an answer that comes whole later is left out."""
        if get_field(event, "partial") is True:
            return
        content = get_field(event, "content")
        if content is None:
            content = event
        error = get_text(event, "error_message")
        if error:
            self.builder.root.add_problem(f"event {number}: {shorten_masked(error, 500)}")
        parts = get_items(content, "parts")
        if not parts:
            if get_field(event, "author") is None and get_field(event, "role") is None:
                problem = f"event {number}: expected an event of google-adk, got {get_class_name(event)}"
                self.builder.root.add_problem(problem)
            return
        author = get_text(event, "author") or get_text(content, "role")
        responses = [value for part in parts if (value := get_field(part, "function_response")) is not None]
        text = "\n".join(filter(None, (_read_text(part) for part in parts)))
        calls = _read_calls(parts)
        if responses:
            self._add_results(responses, event)
        if calls or (author != "user" and not responses):
            self._add_answer(event, text, calls)
        elif not responses:
            self.builder.current.add_message("user", text)

    def _add_answer(self, event: object, text: str, calls: list[ToolUse]) -> None:
        agent = get_text(event, "author")
        if not self.builder.root.agent:
            self.builder.root.agent = agent
        if not self.builder.return_to(agent) and agent in self.open_calls:
            call_id, caller = self.open_calls[agent]
            self.builder.return_to(caller)
            self.builder.hand_over(agent, call_id=call_id, tool=agent)
        tokens = get_count(get_field(event, "usage_metadata"), "total_token_count")
        self.builder.current.add_answer(text, calls, agent=agent, tokens=tokens)
        for call in calls:
            self.open_calls[call.name] = (call.id, agent)

    def _add_results(self, responses: list[object], event: object) -> None:
        self.builder.return_to(get_text(event, "author"))
        for response in responses:
            result, is_error = _read_result(get_field(response, "response"))
            name = get_text(response, "name")
            self.builder.current.add_result(get_text(response, "id"), result, name=name, is_error=is_error)
            self.open_calls.pop(name, None)
        target = get_text(get_field(event, "actions"), "transfer_to_agent")
        if target:
            transfers = [response for response in responses if get_text(response, "name") == _TRANSFER]
            call_id = get_text((transfers or responses)[0], "id")
            self.builder.hand_over(target, call_id=call_id, tool=_TRANSFER)


def _read_text(part: object) -> str:
    """Return the text of a part; thoughts are left out."""
    if get_field(part, "thought") is True:
        return ""
    return get_text(part, "text")


def _read_calls(parts: object) -> list[ToolUse]:
    calls = []
    for part in get_items({"parts": parts}, "parts"):
        call = get_field(part, "function_call")
        if call is not None:
            arguments = get_field(call, "args")
            calls.append(make_tool_use(get_text(call, "name"), arguments, id=get_text(call, "id")))
    return calls


def _read_result(response: object) -> tuple[str, bool]:
    """Return the text of a result, which ADK wraps as ``{"result": ...}``, and whether it is an error."""
    if not isinstance(response, Mapping):
        return format_value(response), False
    is_error = bool(response.get("error"))
    if len(response) == 1 and ("result" in response or is_error):
        return format_value(next(iter(response.values()))), is_error
    return format_value(response), is_error
