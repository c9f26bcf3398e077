"""Read definitions of tools from JSON, in the formats of MCP, OpenAI and Anthropic, and write them in these formats."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pytest_llmops._util.text_files import BadFile, json_kind, read_json, read_text
from pytest_llmops.errors import SchemaError, UsageError, find_closest_name
from pytest_llmops.measurement import Json, shorten_text, to_builtins
from pytest_llmops.protocols import ToolDefinition

EXPECTED = "an MCP `tools/list` result, or a list of tools in the format of MCP, OpenAI or Anthropic"
# The key of the schema of a tool's arguments, by format: MCP, Anthropic, OpenAI
SCHEMA_KEYS = ("inputSchema", "input_schema", "parameters")
NO_ARGUMENTS: Mapping[str, Json] = {"type": "object", "properties": {}}
MAX_PLACE = 80  # characters of a name in an error


def read_tool_file(path: Path, name: str) -> tuple[ToolDefinition, ...]:
    """Return the tools of a JSON file.

    Args:
        path: The file.
        name: What errors call it.

    Raises:
        UsageError: It cannot be read, is not JSON, or `read_tools` refuses it.
    """
    try:
        document = read_json(read_text(path))
    except BadFile as error:
        line = ""
        if error.line is not None:
            line = f" (line {error.line})"
        raise UsageError(f"{name}: {error.what}{line}") from None
    return read_tools(document, name)


def read_tools(document: object, where: str) -> tuple[ToolDefinition, ...]:
    """Return the tools of a JSON document, in its order. A tool without a schema has no arguments.

    Args:
        document: A list of tools, or an object with such a list as ``tools``, also within ``result``.
        where: Where the document comes from, for errors.

    Raises:
        UsageError: It has no tools, a tool has no name or one that another tool has, or its schema is invalid; names the tool.

    >>> read_tools({"tools": [{"name": "refund", "inputSchema": {"type": "object"}}]}, "tools.json")[0].name
    'refund'
    """
    entries = _find_entries(document)
    if entries is None:
        raise UsageError(f"{where}: expected {EXPECTED}, got {_describe(document)}")
    if not entries:
        raise UsageError(f"{where}: expected at least one tool, got none")
    if _has_more_pages(document):
        raise UsageError(
            f"{where}: expected all tools of the server, got the first page of its list (nextCursor); "
            "`llmops tools list` writes all pages"
        )
    tools = [_read_tool(entry, f"{where}: tool {number}") for number, entry in enumerate(entries, start=1)]
    check_unique_names(tools, where)
    return tuple(tools)


def check_unique_names(tools: Iterable[ToolDefinition], where: str) -> None:
    """Check that no two tools have the same name.

    Raises:
        UsageError: Two tools have.
    """
    names = set[str]()
    for tool in tools:
        if tool.name in names:
            name = shorten_text(tool.name, MAX_PLACE)
            raise UsageError(
                f"{where}: expected each name once, got two tools {name!r}; rename one of them, or leave it out"
            )
        names.add(tool.name)


def write_openai_tool(tool: ToolDefinition) -> dict[str, Json]:
    """Return a tool as OpenAI's chat completions, and all servers with their format, expect it."""
    return {"type": "function", "function": _write(tool, "parameters")}


def write_responses_tool(tool: ToolDefinition) -> dict[str, Json]:
    """Return a tool as OpenAI's Responses API expects it."""
    # The Responses API is strict unless a tool turns it off, and would refuse most schemas of MCP servers.
    return {"type": "function", **_write(tool, "parameters"), "strict": False}


def write_anthropic_tool(tool: ToolDefinition) -> dict[str, Json]:
    """Return a tool as Anthropic's Messages API expects it."""
    return _write(tool, "input_schema")


def write_mcp_tool(tool: ToolDefinition) -> dict[str, Json]:
    """Return a tool as an MCP server lists it."""
    return _write(tool, "inputSchema")


def describe_unknown_tool(name: str, known: Sequence[str]) -> str:
    """Return how an error ends that names a tool that does not exist: a similar name, or some of those that exist."""
    near = find_closest_name(name, known)
    if near:
        return f"did you mean {near!r}?"
    names = ", ".join(shorten_text(other, MAX_PLACE) for other in known[:12])
    if len(known) > 12:  # noqa: PLR2004 -- as many as are listed
        names += f" and {len(known) - 12:,} more"
    return f"known are {names}"


def _write(tool: ToolDefinition, schema_key: str) -> dict[str, Json]:
    return {"name": tool.name, "description": tool.description, schema_key: tool.parameters}


def _find_entries(document: object) -> Sequence[object] | None:
    """Return the list of tools in a document; None: there is none."""
    if isinstance(document, list):
        return document
    if not isinstance(document, Mapping):
        return None
    result = document.get("result", document)  # the answer of a server as it came over the wire
    if not isinstance(result, Mapping):
        return None
    entries = result.get("tools")
    if isinstance(entries, list):
        return entries
    return None


def _has_more_pages(document: object) -> bool:
    """Return whether a list of tools is one page of several."""
    if not isinstance(document, Mapping):
        return False
    result = document.get("result", document)
    return isinstance(result, Mapping) and bool(result.get("nextCursor"))


def _describe(document: object) -> str:
    if isinstance(document, Mapping):
        keys = ", ".join(shorten_text(str(key), 40) for key in list(document)[:8])
        return f"an object with the keys {keys or '(none)'}"
    return json_kind(document)


def _read_tool(entry: object, place: str) -> ToolDefinition:
    if not isinstance(entry, Mapping):
        raise UsageError(f"{place}: expected an object with a name, got {json_kind(entry)}")
    inner = entry.get("function", entry)
    if not isinstance(inner, Mapping):
        raise UsageError(f"{place}: function: expected an object with a name, got {json_kind(inner)}")
    name = inner.get("name")
    if not isinstance(name, str):
        raise UsageError(f"{place}: name: expected a text, got {json_kind(name)}")
    if not name:
        raise UsageError(f"{place}: name: expected a text, got an empty one")
    place = f"{place} ({shorten_text(name, MAX_PLACE)})"
    description = inner.get("description")
    if description is None:
        description = ""
    if not isinstance(description, str):
        raise UsageError(f"{place}: description: expected a text, got {json_kind(description)}")
    return ToolDefinition(name=name, description=description, parameters=_read_schema(inner, place))


def _read_schema(entry: Mapping[str, object], place: str) -> Mapping[str, Json]:
    """Return the schema of a tool's arguments, which is an object."""
    from pytest_llmops.schemas.json_schema import compile_schema

    key = next((key for key in SCHEMA_KEYS if entry.get(key) is not None), "")
    if not key:
        return NO_ARGUMENTS
    schema = entry[key]
    if not isinstance(schema, Mapping):
        raise UsageError(f"{place}: {key}: expected a JSON Schema as an object, got {json_kind(schema)}")
    kind = schema.get("type", "object")
    if kind != "object":
        got = shorten_text(repr(kind), 60)
        raise UsageError(
            f"{place}: {key}: expected a schema of the type 'object', got {got}; arguments of a tool have names"
        )
    if not schema:
        return NO_ARGUMENTS
    try:
        compile_schema(json.dumps(schema), f"{place}: {key}")
    except SchemaError as error:
        raise UsageError(str(error)) from None
    except RecursionError:
        raise UsageError(
            f"{place}: {key}: expected a JSON Schema, got one that is nested too deeply"
        ) from None
    return {"type": "object", **to_builtins(schema)}  # type: ignore[dict-item]
