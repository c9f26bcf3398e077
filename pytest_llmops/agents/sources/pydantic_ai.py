"""Read runs of Pydantic-AI: a result, or the list that its ``all_messages()`` gives."""

from collections.abc import Sequence

from pytest_llmops.agents.sources.fields import (
    format_value,
    get_class_name,
    get_field,
    get_items,
    get_text,
    sum_counts,
)
from pytest_llmops.agents.trajectory import ToolUse, Trajectory, TrajectoryBuilder, make_tool_use

# Ends of kinds: tools of the model's server have a word before
_CALL = "tool-call"
_RESULT = "tool-return"
_RETRIES = ("retry-prompt", "retry-feedback")
_OUTPUT_TOOL = "final_result"


def read(source: object) -> Trajectory | None:
    """Return the trajectory of a run; None if the value is not one.

    The tool by which the model returns its answer is not a call: its arguments are the text of the answer. A tool that
    requests another try from the model has failed.
    """
    output_tool = get_text(source, "_output_tool_name")
    entries = source
    if not isinstance(source, (list, tuple)):
        get_messages = get_field(source, "all_messages")
        if not callable(get_messages):
            return None
        entries = get_messages()
    if not isinstance(entries, (list, tuple)):
        return None
    if entries and not any(get_text(entry, "kind") in ("request", "response") for entry in entries):
        return None
    return _Reader(output_tool).read(entries)


class _Reader:
    """Reads the messages of a run."""

    def __init__(self, output_tool: str) -> None:
        self.builder = TrajectoryBuilder()
        self.output_tool = output_tool
        self.output_ids: set[str] = set()

    def read(self, entries: Sequence[object]) -> Trajectory:
        """Return the trajectory of all messages."""
        instructions = ""
        for number, entry in enumerate(entries, start=1):
            kind = get_text(entry, "kind")
            if kind == "request":
                if get_text(entry, "instructions") != instructions:
                    instructions = get_text(entry, "instructions")
                    self.builder.add_message("system", instructions)
                for part in get_items(entry, "parts"):
                    self._add_request_part(part)
            elif kind == "response":
                self._add_response(entry)
            else:
                self.builder.add_problem(
                    f"message {number}: expected a request or a response of Pydantic-AI, got {get_class_name(entry)}"
                )
        return self.builder.build()

    def _add_request_part(self, part: object) -> None:
        kind = get_text(part, "part_kind")
        content = get_field(part, "content")
        if kind == "system-prompt":
            self.builder.add_message("system", format_value(content))
        elif kind == "user-prompt":
            self.builder.add_message("user", _format_prompt(content))
        elif kind.endswith(_RESULT):
            self._add_result(part)
        elif kind in _RETRIES and get_text(part, "tool_name"):
            self._add_result(part, is_error=True)
        elif kind in _RETRIES:
            self.builder.add_message("user", format_value(content))

    def _add_result(self, part: object, *, is_error: bool = False) -> None:
        call_id = get_text(part, "tool_call_id")
        if call_id in self.output_ids:
            return
        outcome = get_text(part, "outcome") or "success"
        result = format_value(get_field(part, "content"))
        name = get_text(part, "tool_name")
        self.builder.add_result(call_id, result, name=name, is_error=is_error or outcome != "success")

    def _add_response(self, entry: object) -> None:
        texts: list[str] = []
        calls: list[ToolUse] = []
        parts = get_items(entry, "parts")
        for part in parts:
            kind = get_text(part, "part_kind")
            if kind == "text":
                texts.append(get_text(part, "content"))
            elif kind.endswith(_CALL) and self._is_output(part):
                self.output_ids.add(get_text(part, "tool_call_id"))
                texts.append(format_value(get_field(part, "args")))
            elif kind.endswith(_CALL):
                call_id = get_text(part, "tool_call_id")
                calls.append(make_tool_use(get_text(part, "tool_name"), get_field(part, "args"), id=call_id))
        tokens = sum_counts(get_field(entry, "usage"), "input_tokens", "output_tokens")
        self.builder.add_answer("\n".join(filter(None, texts)), calls, tokens=tokens)
        for part in parts:
            if get_text(part, "part_kind").endswith(_RESULT):
                self._add_result(part)

    def _is_output(self, part: object) -> bool:
        name = get_text(part, "tool_name")
        if get_text(part, "tool_kind") == "output" or name in (_OUTPUT_TOOL, self.output_tool):
            return True
        return name.startswith(f"{_OUTPUT_TOOL}_")


def _format_prompt(content: object) -> str:
    """Return the texts of a prompt, a line each; other parts are named by their kind."""
    if not isinstance(content, (list, tuple)):
        return format_value(content)
    lines = []
    for part in content:
        if isinstance(part, str):
            lines.append(part)
        elif get_text(part, "kind") == "text-content":
            lines.append(get_text(part, "content"))
        else:
            lines.append(f"[{get_text(part, 'kind') or get_class_name(part)}]")
    return "\n".join(lines)
