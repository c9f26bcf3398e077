"""The tools that an agent was offered, and whether its calls are valid by them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pytest_llmops.agents.argument_values import format_value
from pytest_llmops.agents.sources.fields import get_field
from pytest_llmops.agents.tool_definitions import SCHEMA_KEYS
from pytest_llmops.agents.trajectory import ToolUse, Trajectory
from pytest_llmops.errors import SchemaError, UsageError, find_closest_name, format_name_list
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.protocols import Call, ToolDefinition
from pytest_llmops.schemas import Difference, Schema, load

# A tool as OpenAI, Anthropic or MCP describe it
Tool: TypeAlias = ToolDefinition | Mapping[str, Any] | Any
MAX_PROBLEMS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """Which calls are valid.

    Attributes:
        share: Share of the calls that are valid; 1 without calls; None if there are calls, but the arguments of none are known.
        invalid: How many calls are not valid.
        problems: A sentence for each of the first calls that are not.
        doubt: Why it is not known of all calls whether they are valid; "" if it is known.
    """

    share: float | None
    invalid: int
    problems: tuple[str, ...]
    doubt: str = ""


def read_offered_tools(
    where: str, tools: object, source: object, trajectory: Trajectory, *, needs_schemas: bool = False
) -> dict[str, Schema | None] | None:
    """Return the schema of each tool's arguments by name; None if no tool is known.

    The schema is None if the tool has none, or was not called: hundreds of schemas would need seconds to compile.

    Args:
        where: Name of the assertion, for errors.
        tools: The tools as a test gives them; None: the tools of recorded calls.
        source: The source of the trajectory; recorded calls know the tools that were offered.
        trajectory: The same, read.
        needs_schemas: Whether an invalid schema of a recorded tool is an error too.

    Raises:
        UsageError: A tool without a name, or a called one with an invalid schema.
    """
    needs_schemas = needs_schemas or tools is not None
    if tools is None:
        tools = _list_recorded_tools(source)
        if not tools:
            return None
    # The answer to `tools/list` of an MCP server has them as `tools`.
    if not isinstance(tools, Sequence) and isinstance(get_field(tools, "tools"), (list, tuple)):
        tools = get_field(tools, "tools")
    if isinstance(tools, (str, Mapping)) or not isinstance(tools, Sequence):
        raise UsageError(f"{where}: expected tools to be a list of tools, got {format_value(tools)}")
    called = {use.name for use in trajectory.tool_calls}
    schemas: dict[str, Schema | None] = {}
    for number, tool in enumerate(tools, start=1):
        name, schema = _read_tool(f"{where}: tool {number}", tool)
        schemas[name] = None
        if schema is None or name not in called:
            continue
        try:
            schemas[name] = load(schema)
        except UsageError as error:
            if needs_schemas:
                raise UsageError(f"{where}: the schema of tool {name!r} is invalid: {error}") from None
    return schemas


def _list_recorded_tools(source: object) -> list[ToolDefinition]:
    """Return the tools of recorded calls; of several with the same name the last."""
    calls: list[object] = []
    if isinstance(source, Call):
        calls = [source]
    elif isinstance(source, Sequence) and not isinstance(source, str):
        calls = list(source)
    tools = {}
    for recorded in calls:
        if isinstance(recorded, Call) and recorded.purpose == "app":
            tools.update({tool.name: tool for tool in recorded.tools})
    return list(tools.values())


def _read_tool(where: str, tool: object) -> tuple[str, object]:
    """Return the name and the schema of a tool of any vendor."""
    inner = get_field(tool, "function") or tool
    # A tool that the provider has built in may only have a type.
    name = get_field(inner, "name") or get_field(tool, "type")
    if not isinstance(name, str) or not name:
        raise UsageError(
            f"{where}: expected a tool with a name, as OpenAI, Anthropic or MCP describe it, got {format_value(tool)}"
        )
    for key in SCHEMA_KEYS:
        schema = get_field(inner, key)
        if schema is not None:
            return name, schema
    return name, None


def check_arguments(calls: Sequence[ToolUse], offered: Mapping[str, Schema | None] | None) -> Validity:
    """Return the share of calls whose tool was offered and whose arguments are valid, with the problems of the others.

    Calls whose arguments are not known, as a span does not have them, are left out.

    Raises:
        SchemaError: The arguments of a call cannot be checked by the schema of its tool, for example because a pattern needs too long.
    """
    invalid = 0
    unknown = 0
    problems: list[str] = []
    for number, use in enumerate(calls, start=1):
        is_offered = offered is None or use.name in offered
        if is_offered and use.arguments is None and not use.text:
            unknown += 1
            continue
        differences = _list_differences(use, offered)
        if is_offered and use.arguments is not None and not differences:
            continue
        invalid += 1
        # Of an agent that never stops only the first are described: the search for a similar name is slow.
        if len(problems) < MAX_PROBLEMS:
            problems.append(f"step {number:,}: {_describe_problem(use, offered, differences)}")
    known = len(calls) - unknown
    share: float | None = 1.0
    if known:
        share = (known - invalid) / known
    elif calls:
        share = None
    doubt = ""
    if unknown:
        doubt = f"the source does not have the arguments of {unknown:,} of {format_count(len(calls), 'call')}"
    elif offered is None and calls:
        doubt = "the source does not have the tools that were offered; give them by tools=[...]"
    return Validity(share=share, invalid=invalid, problems=tuple(problems), doubt=doubt)


def _list_differences(use: ToolUse, offered: Mapping[str, Schema | None] | None) -> Sequence[Difference]:
    """Return how the arguments of a call differ from the schema of its tool; nothing without a schema."""
    if offered is None or use.arguments is None:
        return ()
    schema = offered.get(use.name)
    if schema is None:
        return ()
    try:
        return schema.differences(dict(use.arguments))
    except SchemaError as error:
        raise SchemaError(f"assert_tool_calls: tool {shorten_text(use.name, 60)!r}: {error}") from None


def _describe_problem(
    use: ToolUse, offered: Mapping[str, object] | None, differences: Sequence[Difference]
) -> str:
    """Return why a call is not valid."""
    if offered is not None and use.name not in offered:
        return _describe_unknown(use.name, offered)
    name = shorten_text(use.name, 60)
    if use.arguments is None:
        return f"{name}: {shorten_text(use.problem, 120)}"
    return f"{name}: not valid by its schema: {_describe_differences(differences)}"


def _describe_unknown(tool: str, offered: Iterable[str]) -> str:
    """Return that a tool was not offered, with a similar name or those that were."""
    name = shorten_text(tool, 60)
    known = [shorten_text(other, 60) for other in offered]
    closest = find_closest_name(name, known)
    if closest:
        return f"the tool {name} was not offered; did the model mean {closest}?"
    return f"the tool {name} was not offered; offered: {format_name_list(known)}"


def _describe_differences(differences: Sequence[Difference]) -> str:
    """Return the first difference, and how many more there are."""
    first = differences[0]
    place = first.path.removeprefix("$").removeprefix(".")
    if place:
        place += ": "
    more = ""
    if len(differences) > 1:
        more = f" (and {len(differences) - 1:,} more)"
    return f"{place}{first.text}{more}"
