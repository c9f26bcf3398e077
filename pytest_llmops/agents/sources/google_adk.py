"""Read runs of google-adk: a session, a list of its events, or contents of google-genai."""

from collections.abc import Mapping

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


def read(source: object) -> Trajectory | None:
    """Return the trajectory of events; None if the value has none.

    An agent that was transferred to hangs on the call of ``transfer_to_agent``. A result with the key ``error`` has failed.
    An agent that is a tool (``AgentTool``) is a call with a result: it has a session of its own.
    """
    events = source
    if not isinstance(source, (list, tuple)):
        events = get_field(source, "events")
        if events is None and (
            get_field(source, "content") is not None or get_field(source, "parts") is not None
        ):
            events = [source]
    if not isinstance(events, (list, tuple)):
        return None
    builder = HandoverBuilder()
    for number, event in enumerate(events, start=1):
        _add_event(builder, event, number)
    return builder.build()


def _add_event(builder: HandoverBuilder, event: object, number: int) -> None:
    if get_field(event, "partial") is True:
        return
    content = get_field(event, "content")
    if content is None:
        content = event
    if get_text(event, "error_message"):
        builder.root.add_problem(f"event {number}: {get_text(event, 'error_message')[:500]}")
    parts = get_items(content, "parts")
    if not parts and not hasattr(event, "author") and get_field(event, "role") is None:
        builder.root.add_problem(
            f"event {number}: expected an event of google-adk, got {get_class_name(event)}"
        )
    if not parts:
        return
    author = get_text(event, "author") or get_text(content, "role")
    responses = [response for part in parts if (response := get_field(part, "function_response")) is not None]
    text = "\n".join(filter(None, (_read_text(part) for part in parts)))
    if responses:
        _add_results(builder, responses, event)
    elif author == "user":
        builder.current.add_message("user", text)
    else:
        _add_answer(builder, event, text, _read_calls(parts))


def _add_answer(builder: HandoverBuilder, event: object, text: str, calls: list[ToolUse]) -> None:
    agent = get_text(event, "author")
    if not builder.root.agent:
        builder.root.agent = agent
    builder.return_to(agent)
    tokens = get_count(get_field(event, "usage_metadata"), "total_token_count")
    builder.current.add_answer(text, calls, agent=agent, tokens=tokens)


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


def _add_results(builder: HandoverBuilder, responses: list[object], event: object) -> None:
    for response in responses:
        result, is_error = _read_result(get_field(response, "response"))
        name = get_text(response, "name")
        builder.current.add_result(get_text(response, "id"), result, name=name, is_error=is_error)
    target = get_text(get_field(event, "actions"), "transfer_to_agent")
    if target:
        transfers = [response for response in responses if get_text(response, "name") == "transfer_to_agent"]
        call_id = get_text((transfers or responses)[0], "id")
        builder.hand_over(target, call_id=call_id, tool="transfer_to_agent")


def _read_result(response: object) -> tuple[str, bool]:
    """Return the text of a result, which ADK wraps as ``{"result": ...}``, and whether it is an error."""
    if not isinstance(response, Mapping):
        return format_value(response), False
    is_error = bool(response.get("error"))
    if len(response) == 1 and ("result" in response or is_error):
        return format_value(next(iter(response.values()))), is_error
    return format_value(response), is_error
