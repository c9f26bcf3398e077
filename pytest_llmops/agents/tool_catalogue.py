"""`ToolCatalogue`: the tools that a model is offered in a test, chosen by patterns, and tools of other servers among them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import overload

from pytest_llmops.agents import tool_definitions
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, format_count, shorten_text
from pytest_llmops.protocols import ToolDefinition

WITH_DECOYS = "+decoys"  # ends the name of a catalogue with tools of other servers


@dataclass(frozen=True, slots=True, repr=False)
class ToolCatalogue(Sequence[ToolDefinition]):
    """The tools that a model is offered: a sequence of `ToolDefinition`, which other formats can be made of.

    Attributes:
        name: Its name, which is a part of the test's id.
        tools: The tools under test.
        decoys: Tools of other servers, which come after them.
        left_out: Names of tools of the server that are not in this catalogue.

    >>> catalogue = ToolCatalogue("all", (ToolDefinition(name="refund", parameters={"type": "object"}),))
    >>> catalogue.for_anthropic()
    [{'name': 'refund', 'description': '', 'input_schema': {'type': 'object'}}]
    """

    name: str
    tools: tuple[ToolDefinition, ...]
    decoys: tuple[ToolDefinition, ...] = field(default=(), repr=False)
    left_out: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        # pytest shows the arguments of a failed test: not a page of schemas.
        return f"<{format_count(len(self), 'tool')} of {self.name!r}>"

    def __len__(self) -> int:
        return len(self.tools) + len(self.decoys)

    @overload
    def __getitem__(self, index: int) -> ToolDefinition: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ToolDefinition, ...]: ...
    def __getitem__(self, index: int | slice) -> ToolDefinition | tuple[ToolDefinition, ...]:
        """Return the tool at an index, or a tuple of tools."""
        return (self.tools + self.decoys)[index]

    def __iter__(self) -> Iterator[ToolDefinition]:
        yield from self.tools
        yield from self.decoys

    @property
    def names(self) -> list[str]:
        """The names of all tools, decoys last."""
        return [tool.name for tool in self]

    def for_openai(self) -> list[dict[str, Json]]:
        """Return the tools for ``tools=`` of OpenAI's chat completions, of ``llm.complete`` and of all servers with this format."""
        return [tool_definitions.write_openai_tool(tool) for tool in self]

    def for_responses(self) -> list[dict[str, Json]]:
        """Return the tools for ``tools=`` of OpenAI's Responses API."""
        return [tool_definitions.write_responses_tool(tool) for tool in self]

    def for_anthropic(self) -> list[dict[str, Json]]:
        """Return the tools for ``tools=`` of Anthropic's Messages API."""
        return [tool_definitions.write_anthropic_tool(tool) for tool in self]

    def for_mcp(self) -> list[dict[str, Json]]:
        """Return the tools as an MCP server lists them."""
        return [tool_definitions.write_mcp_tool(tool) for tool in self]


def build_catalogues(
    tools: Sequence[ToolDefinition],
    patterns: Mapping[str, Sequence[str]],
    decoys: Sequence[ToolDefinition],
    where: str,
) -> tuple[ToolCatalogue, ...]:
    """Return a catalogue for each name; with decoys, each of them a second time with the decoys added.

    Args:
        tools: The tools under test.
        patterns: Name of a catalogue -> patterns of the names of its tools, such as ``refund*``.
        decoys: Tools of other servers.
        where: The marker, for errors.

    Raises:
        UsageError: A pattern matches no tool, a decoy has the name of a tool, or two catalogues would have the same name.

    >>> tools = [ToolDefinition(name="refund"), ToolDefinition(name="track")]
    >>> [catalogue.names for catalogue in build_catalogues(tools, {"all": "*", "billing": ["ref*"]}, [], "here")]
    [['refund', 'track'], ['refund']]
    """
    tool_definitions.check_unique_names([*tools, *decoys], f"{where}: tools and decoys")
    names = [tool.name for tool in tools]
    catalogues = []
    for name, chosen in patterns.items():
        for pattern in chosen:
            if not any(_matches(tool, pattern) for tool in names):
                hint = tool_definitions.describe_unknown_tool(pattern, names)
                raise UsageError(f"{where}: catalogue {name!r}: no tool has a name like {pattern!r}; {hint}")
        kept = [tool for tool in tools if any(_matches(tool.name, pattern) for pattern in chosen)]
        left_out = tuple(other for other in names if other not in {tool.name for tool in kept})
        catalogues.append(ToolCatalogue(name, tuple(kept), left_out=left_out))
    if not decoys:
        return tuple(catalogues)
    for name in patterns:
        if f"{name}{WITH_DECOYS}" in patterns:
            raise UsageError(
                f"{where}: expected each catalogue once, got two {name + WITH_DECOYS!r}: decoys= makes one of {name!r}; rename yours"
            )
    crowded = [
        ToolCatalogue(f"{plain.name}{WITH_DECOYS}", plain.tools, tuple(decoys), plain.left_out)
        for plain in catalogues
    ]
    return (*catalogues, *crowded)


def _matches(name: str, pattern: str) -> bool:
    """Return whether a name is the pattern, or has its form; brackets in a name would not match themselves."""
    return name == pattern or fnmatchcase(name, pattern)


def list_expected_tools(case: Mapping[str, Json], where: str) -> list[str]:
    """Return the names of the tools that a question expects, by its key ``tool``: a name, a list of names, or null.

    Args:
        case: The keys of a case.
        where: The case, for errors.

    Raises:
        UsageError: ``tool`` is something else.

    >>> list_expected_tools({"tool": "refund"}, "case a"), list_expected_tools({"tool": None}, "case b")
    (['refund'], [])
    """
    expected = case.get("tool")
    if expected is None:
        return []
    if isinstance(expected, str):
        expected = [expected]
    names = (
        [name for name in expected if isinstance(name, str) and name] if isinstance(expected, list) else []
    )
    if not names or not isinstance(expected, list) or len(names) < len(expected):
        got = shorten_text(repr(case.get("tool")), 80)
        raise UsageError(
            f"{where}: tool: expected the name of a tool, a list of names, or null for no tool, got {got}"
        )
    return names
