"""Messages for calls of tools that no recording answers, and for model requests that offer other tools than recorded."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_llmops._util.json_values import as_mapping, as_mappings
from pytest_llmops.cassettes.body_lines import NUMBER, WRAP_WIDTH, diff_lines, find_volatile_part, format_body
from pytest_llmops.cassettes.nearest_request import NamedRequest
from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.cassettes.tool_questions import (
    FUNCTION,
    describe_tool_call,
    describe_tool_question,
    is_repeated,
    name_tool_server,
    read_tool_params,
    tool_arguments,
    tool_name,
)
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.schemas.value_differences import iter_value_differences

MAX_DIFF = 14
MAX_LISTED = 6
MAX_COMPARED = 500  # recorded calls that are compared with the new one
MAX_LINE = 300
# Members of a model request that have definitions of tools
TOOL_MEMBERS = ("tools", "functions", "toolConfig")


def list_missing_call(question: Question, recorded: Sequence[NamedRequest]) -> list[str]:
    """Return the lines of the message for a call that no recording answers: the nearest call, and the other recorded calls.

    Args:
        question: The call.
        recorded: The recorded calls of tools.
    """
    server = [(name, request) for name, request in recorded if request.get("url") == question.url]
    if not server:
        return list(_iter_other_servers(question, recorded))
    wanted = tool_name(question.method, question.url, question.json)
    same = [(name, request) for name, request in server if _name(request) == wanted]
    lines: list[str] = []
    nearest = _find_nearest(question, same)
    if nearest is not None:
        lines += _format_nearest(question, *nearest)
    else:
        lines.append(f"  reason    no call of {shorten_text(wanted, 80)} is recorded")
    if len(server) > 1:
        lines.append(f"  recorded  {_list_calls(server)}")
    return lines


def _iter_other_servers(question: Question, recorded: Sequence[NamedRequest]) -> Iterator[str]:
    """Yield why no call of the server is recorded at all."""
    yield f"  reason    nothing of {name_tool_server(question.url)} is recorded here"
    others = dict.fromkeys(name_tool_server(str(request.get("url"))) for _, request in recorded)
    if others:
        names = ", ".join(list(others)[:MAX_LISTED])
        if len(others) > MAX_LISTED:
            names += f" and {len(others) - MAX_LISTED} more"
        yield f"  recorded  {names}"
    if question.url.startswith("mcp:") and others:
        yield "  hint      has its command or address changed? llm_mcp_servers gives a server a name that stays"


def _name(request: Mapping[str, Any]) -> str:
    """Return the tool that a stored request calls."""
    return tool_name(str(request.get("method")), str(request.get("url")), read_tool_params(request))


def _find_nearest(question: Question, same: Sequence[NamedRequest]) -> NamedRequest | None:
    """Return the recorded call of the same tool that has the most lines in common; None: there is none."""
    wanted = Counter(_argument_lines(question.json))

    def count_common(named: NamedRequest) -> int:
        return (wanted & Counter(_argument_lines(read_tool_params(named[1])))).total()

    return max(same[:MAX_COMPARED], key=count_common, default=None)


def _argument_lines(params: Any) -> list[str]:
    """Return the arguments of a call, a value on each line."""
    body = json.dumps(tool_arguments(params), sort_keys=True).encode()
    return format_body(body).split("\n")


def _format_nearest(question: Question, name: str, request: Mapping[str, Any]) -> Iterator[str]:
    """Yield the nearest recorded call, and the arguments that differ."""
    params = read_tool_params(request)
    call = describe_tool_call(str(request.get("method")), str(request.get("url")), params)
    yield f"  nearest   {shorten_text(name, 120)}: {shorten_text(call, MAX_LINE)}"
    changed = diff_lines(_argument_lines(params), _argument_lines(question.json))
    for sign, text in changed[:MAX_DIFF]:
        yield f"    {sign} {shorten_text(text, WRAP_WIDTH + 40)}"
    if len(changed) > MAX_DIFF:
        yield f"    and {len(changed) - MAX_DIFF} more lines differ"
    old, new = (json.dumps(tool_arguments(each), ensure_ascii=False) for each in (params, question.json))
    kind = find_volatile_part(old, new)
    if kind and kind != NUMBER and " and " not in kind:  # another number is another call
        step = "make it the same in every run"
        if question.url.startswith(f"{FUNCTION}:"):
            step += ", or name the tool with ignore= and the parameter that holds it"
        yield f"  hint      only {kind} differs: {step}"
    if not changed:
        yield "  reason    it is the same call: its answers are used up, or belong to another test"


def _list_calls(server: Sequence[NamedRequest]) -> str:
    """Return which tools of a server are recorded, and how often."""
    counts = Counter(map(_name, (request for _, request in server)))
    parts = []
    for name, count in counts.most_common(MAX_LISTED):
        times = f" ({count} different calls)" if count > 1 else ""
        parts.append(f"{shorten_text(name, 80)}{times}")
    if len(counts) > MAX_LISTED:
        parts.append(f"and {len(counts) - MAX_LISTED} more")
    return ", ".join(parts)


def describe_call(question: Question) -> str:
    """Return the name of a request to a tool in messages: ``the call refund(order_id=43) of MCP server orders``."""
    kind = "the request" if is_repeated(question) else "the call"
    return f"{kind} {describe_tool_question(question)}"


# Tools that a model request offers


def list_changed_tools(old: Any, new: Any) -> list[str]:
    """Return lines for the tools that two model requests offer differently; an empty list if there are none.

    Args:
        old: The body of the recorded request, as JSON.
        new: The body of the new one.
    """
    before = _read_definitions(old)
    after = _read_definitions(new)
    lines = []
    for name in sorted(before.keys() | after.keys()):
        shown = shorten_text(name, 80)
        if name not in after:
            lines.append(f"  tools     the tool {shown} is not offered any more")
        elif name not in before:
            lines.append(f"  tools     the tool {shown} is new")
        else:
            lines += _describe_change(shown, before[name], after[name])
    if len(lines) > MAX_LISTED:
        left = format_count(len(lines) - MAX_LISTED, "more difference")
        lines[MAX_LISTED:] = [f"  tools     and {left} of the tools"]
    return lines


def _describe_change(name: str, before: Any, after: Any) -> Iterator[str]:
    """Yield a line for each place in which two definitions differ."""
    for difference in iter_value_differences(before, after):
        old, now = difference.words
        text = f"the definition of tool {name} changed: {difference.path}: recorded {old}, now {now}"
        yield f"  tools     {shorten_text(text, MAX_LINE)}"


def without_tools(content: Any) -> Any:
    """Return the body of a model request without its definitions of tools."""
    if not isinstance(content, dict):
        return content
    return {name: value for name, value in content.items() if name not in TOOL_MEMBERS}


def _read_definitions(content: Any) -> dict[str, Any]:
    """Return the definitions of tools in a model request by name, in the formats of all vendors."""
    found: dict[str, Any] = {}
    request = as_mapping(content)
    entries: list[Any] = [request.get("tools"), request.get("functions")]
    entries.append(as_mapping(request.get("toolConfig")).get("tools"))
    for definition in _iter_definitions(entry for listed in entries for entry in as_mappings(listed)):
        name = definition.get("name")
        if isinstance(name, str):
            found[name] = definition
    return found


def _iter_definitions(entries: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield definitions without the objects around them: OpenAI's ``function``, Bedrock's ``toolSpec``, Gemini's lists."""
    for entry in entries:
        inner = entry.get("function", entry.get("toolSpec", entry))
        for key in ("functionDeclarations", "function_declarations"):
            yield from as_mappings(entry.get(key))
        if isinstance(inner, dict):
            yield inner
