"""Read lists of messages: OpenAI's chat completions and Responses, and Anthropic's messages, as mappings or as objects of an SDK."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmops.agents.trajectory import ToolUse, Trajectory, TrajectoryBuilder, make_tool_use
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import ROLES, Role

_ROLES: Mapping[str, Role] = {
    **{role: role for role in ROLES},
    "human": "user",
    "ai": "assistant",
    "model": "assistant",
}


def read(source: object) -> Trajectory | None:
    """Return the trajectory of a list of messages, or of a value with such a list as ``messages``; None for any other value.

    Raises:
        UsageError: A message has no role.
    """
    messages = source
    if not isinstance(source, (list, tuple)):
        messages = get_field(source, "messages")
    if not isinstance(messages, (list, tuple)):
        return None
    if isinstance(source, (list, tuple)) and not any(map(_is_message, messages)):
        return None
    builder = TrajectoryBuilder()
    for number, message in enumerate(messages, start=1):
        _add_entry(builder, message, number)
    return builder.build()


def get_field(entry: object, key: str) -> Any:
    """Return a value of a mapping, or an attribute of an SDK's object; None if there is none."""
    if isinstance(entry, Mapping):
        return entry.get(key)
    return getattr(entry, key, None)


def _is_message(entry: object) -> bool:
    return bool(get_field(entry, "role") or get_field(entry, "type"))


def _add_entry(builder: TrajectoryBuilder, entry: object, number: int) -> None:
    """Add a message, or an item of OpenAI's Responses; thoughts are left out."""
    kind = get_field(entry, "type")
    if kind == "reasoning":
        return
    if kind in ("function_call", "custom_tool_call"):
        arguments = get_field(entry, "arguments")
        if arguments is None:
            arguments = get_field(entry, "input")
        call_id = str(get_field(entry, "call_id") or get_field(entry, "id") or "")
        builder.add_calls([make_tool_use(str(get_field(entry, "name")), arguments, id=call_id)])
        return
    if kind in ("function_call_output", "custom_tool_call_output"):
        builder.add_result(str(get_field(entry, "call_id") or ""), format_content(get_field(entry, "output")))
        return
    role = _ROLES.get(str(get_field(entry, "role") or kind))
    if role is None:
        known = ", ".join(ROLES)
        raise UsageError(
            f"message {number} has no role: expected one of {known}, got {shorten_text(repr(entry), 80)}"
        )
    _add_message(builder, entry, role)


def _add_message(builder: TrajectoryBuilder, entry: object, role: Role) -> None:
    content = get_field(entry, "content")
    if role == "tool":
        call_id = str(get_field(entry, "tool_call_id") or "")
        name = str(get_field(entry, "name") or "")
        is_error = get_field(entry, "status") == "error"
        builder.add_result(call_id, format_content(content), name=name, is_error=is_error)
        return
    parts: Sequence[object] = ()
    if isinstance(content, (list, tuple)):
        parts = content
    for part in parts:
        if get_field(part, "type") == "tool_result":
            is_error = get_field(part, "is_error") is True
            call_id = str(get_field(part, "tool_use_id") or "")
            builder.add_result(call_id, format_content(get_field(part, "content")), is_error=is_error)
    text = format_content(content)
    if not text:
        text = str(get_field(entry, "refusal") or "")
    if role == "assistant":
        builder.add_answer(text, _read_calls(entry, parts))
    elif text or not parts:
        builder.add_message(role, text)


def _read_calls(entry: object, parts: Sequence[object]) -> list[ToolUse]:
    calls = []
    for part in parts:
        if get_field(part, "type") == "tool_use":
            calls.append(_read_call(part))
    calls += [_read_call(call) for call in get_field(entry, "tool_calls") or ()]
    return calls


def _read_call(call: object) -> ToolUse:
    """Read a call of any SDK; the key of its arguments depends on the SDK."""
    inner = get_field(call, "function") or get_field(call, "custom") or call
    arguments = None
    for key in ("arguments", "args", "input"):
        value = get_field(inner, key)
        if arguments is None:
            arguments = value
    return make_tool_use(str(get_field(inner, "name")), arguments, id=str(get_field(call, "id") or ""))


def format_content(content: object) -> str:
    """Return the text of a message or a result: a text, or the texts of its parts, a line each; calls, results and thoughts are left out."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        return json.dumps(content, ensure_ascii=False, default=str)
    lines = []
    for part in content:
        if isinstance(part, str):
            lines.append(part)
            continue
        kind = get_field(part, "type")
        text = get_field(part, "text")
        if isinstance(text, str):
            lines.append(text)
        elif kind not in (
            "tool_use",
            "tool_result",
            "thinking",
            "redacted_thinking",
            "reasoning",
            "tool_call",
        ):
            lines.append(f"[{shorten_text(str(kind or 'part'), 40)}]")
    return "\n".join(lines)
