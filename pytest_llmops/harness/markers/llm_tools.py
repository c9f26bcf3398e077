"""The marker ``llm_tools``: the catalogues of tools that the `llm_tools` fixture gives one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pytest_llmops._util.text_files import BadFile, fingerprint_parts
from pytest_llmops._util.user_files import find_path, folders_above
from pytest_llmops.agents.mcp_servers import TIMEOUT_S, McpServer, list_server_tools, parse_command
from pytest_llmops.agents.tool_catalogue import ToolCatalogue, build_catalogues, list_expected_tools
from pytest_llmops.agents.tool_definitions import describe_unknown_tool, read_tool_file, read_tools
from pytest_llmops.cases.files import Case
from pytest_llmops.errors import LLMOpsError, UsageError, format_error
from pytest_llmops.harness.markers.marker import Argument, Arguments, Marker, Parameter, is_name
from pytest_llmops.measurement import Json, as_finite_float, escape_output
from pytest_llmops.protocols import ToolDefinition
from pytest_llmops.settings import Settings

ALL = "all"  # the catalogue of a marker that names none
LIST_COMMAND = "llmops tools list URL --output tools.json"


@dataclass(frozen=True, slots=True)
class ToolSource:
    """The tools that a test is marked with.

    Attributes:
        file: Name or path of their JSON file; "": they come from the server.
        command: The command that starts the server; empty: they are in the file.
        catalogues: Name of each catalogue -> patterns of the names of its tools.
        decoys: Files with tools of other servers.
        timeout_s: Seconds for the start of the server and its list.
    """

    file: str
    command: tuple[str, ...]
    catalogues: Mapping[str, tuple[str, ...]]
    decoys: tuple[str, ...]
    timeout_s: float


def _parse_file(value: object) -> str:
    if isinstance(value, Path):
        value = str(value)
    if value is None:
        return ""
    if not is_name(value):
        raise ValueError("the name of a JSON file with tools")
    if value.startswith(("http://", "https://")):
        raise ValueError(f"the name of a JSON file with tools; to write it, run `{LIST_COMMAND}`")
    return value


def _parse_command(value: object) -> tuple[str, ...]:
    expected = "command as a text like 'python -m orders_server', or as a list of texts"
    is_list = isinstance(value, (list, tuple)) and all(map(is_name, value))
    if not is_name(value) and not is_list:
        raise ValueError(expected)
    try:
        return parse_command(value, "command")  # type: ignore[arg-type]  # checked above
    except UsageError:
        raise ValueError(expected) from None


def _parse_catalogues(value: object) -> Mapping[str, tuple[str, ...]]:
    expected = 'catalogues as names with patterns of tools, like {"billing": ["refund*", "get_invoice"]}'
    if not isinstance(value, Mapping) or not value:
        raise ValueError(expected)
    catalogues = {}
    for name, patterns in value.items():
        names = _parse_names(patterns, expected)
        if not is_name(name):
            raise ValueError(expected)
        catalogues[name] = names
    return catalogues


def _parse_names(value: object, expected: str) -> tuple[str, ...]:
    """Return a text, or a list of texts, as a tuple of texts."""
    if is_name(value):
        return (value,)
    if isinstance(value, (list, tuple)) and value and all(map(is_name, value)):
        return tuple(value)
    raise ValueError(expected)


def _parse_decoys(value: object) -> tuple[str, ...]:
    return _parse_names(
        value, "decoys as the name of a JSON file with tools of other servers, or a list of names"
    )


def _parse_timeout(value: object) -> float:
    seconds = as_finite_float(value)
    if seconds is None or seconds <= 0:
        raise ValueError("timeout_s as a number of seconds above 0")
    return seconds


class ToolsMarker(Marker):
    """The tools come from a JSON file or an MCP server. With cases, each question runs with each catalogue that has its tool.

    Example::

        @pytest.mark.llm_tools("tools.json")
        @pytest.mark.cases("cases/questions.jsonl")
        def test_choice(llm, case, llm_tools):
            llm_tools.check(llm.complete(case.input, tools=llm_tools.for_openai()), case)
    """

    name = "llm_tools"
    help = "run the test once for each catalogue of tools"
    fixture = "llm_tools"
    needs = "that has the tools"
    arguments = (
        Argument("file", _parse_file, "a JSON file with tools (MCP, OpenAI, Anthropic)", default=""),
        Argument(
            "command",
            _parse_command,
            "instead of a file: the command of an MCP server that lists them (`'python -m orders_server'`)",
            default=(),
        ),
        Argument(
            "catalogues",
            _parse_catalogues,
            'the name of each catalogue with patterns of its tools: `{"all": "*", "billing": ["refund*"]}`',
            default=None,
        ),
        Argument(
            "decoys",
            _parse_decoys,
            "JSON files with tools of other servers. Each catalogue runs a second time with them, as `all+decoys`",
            default=(),
        ),
        Argument(
            "timeout_s",
            _parse_timeout,
            "time limit in seconds for the start of the server and its list",
            default=TIMEOUT_S,
        ),
    )

    @property
    def usage(self) -> str:
        """Name and a source of tools, of which one is required."""
        return f"@pytest.mark.{self.name}(file)"

    def read(self, arguments: Arguments) -> ToolSource:
        """Return where the tools come from, and the catalogues."""
        values = self.parse(arguments)
        if bool(values["file"]) == bool(values["command"]):
            raise arguments.usage_error("either a JSON file with tools or the command of an MCP server")
        return ToolSource(
            file=values["file"],
            command=tuple(values["command"]),
            catalogues=values["catalogues"] or {ALL: ("*",)},
            decoys=tuple(values["decoys"]),
            timeout_s=values["timeout_s"],
        )

    def make_parameter(self, node: Any, settings: Settings) -> Parameter | None:
        """Return the catalogues."""
        arguments = self.find(node)
        if arguments is None:
            return None
        catalogues = read_catalogues(arguments, node)
        return Parameter(
            self.fixture, catalogues, [escape_output(catalogue.name) for catalogue in catalogues]
        )

    def order_tests(self, definition: Any, specs: list[Any]) -> str:
        """Leave out the tests of a catalogue whose question expects a tool that the catalogue leaves out.

        A question that is left out of every catalogue keeps its first test, which is skipped: it must not vanish.
        """
        kept = []
        unasked = dict[str, Any]()
        asked = set[str]()
        chosen = set[str]()
        names = dict[str, None]()
        for spec in specs:
            catalogue = spec.params.get(self.fixture)
            if not isinstance(
                catalogue, ToolCatalogue
            ):  # the marker is wrong, and its error is noted already
                return ""
            names[catalogue.name] = None
            case = spec.params.get("case")
            if isinstance(case, Case) and _leaves_out(catalogue, case):
                unasked.setdefault(case.id, spec)
                continue
            kept.append(spec)
            chosen.add(catalogue.name)
            if isinstance(case, Case):
                asked.add(case.id)
        empty = [name for name in names if name not in chosen]
        if empty:
            del specs[1:]
            where = f"{definition.nodeid}: @pytest.mark.llm_tools"
            return escape_output(
                f"{where}: catalogue {empty[0]!r}: expected a question for one of its tools, got none; "
                "add one, or leave the catalogue out"
            )
        kept += [spec for case_id, spec in unasked.items() if case_id not in asked]
        specs[:] = kept
        return ""

    def why_skipped(self, item: Any, settings: Settings) -> str:
        """Return that no catalogue has the tools of the question."""
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        catalogue, case = parameters.get(self.fixture), parameters.get("case")
        if not isinstance(catalogue, ToolCatalogue) or not isinstance(case, Case):
            return ""
        if not _leaves_out(catalogue, case):
            return ""
        names = ", ".join(_list_expected(case))
        return escape_output(f"question {case.id}: no catalogue of the test has {names}")

    def describe_test(self, item: Any, settings: Settings) -> Mapping[str, Json]:
        """Return the names of the tools that the test offers to the model, and of those that its question expects."""
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        catalogue = parameters.get(self.fixture)
        if not isinstance(catalogue, ToolCatalogue):
            return {}
        facts: dict[str, Json] = {
            "catalogue": catalogue.name,
            "tools": [tool.name for tool in catalogue.tools],
            "fingerprint": fingerprint_parts(*map(repr, catalogue)),
            "expected": [*_list_expected(parameters.get("case"))],
        }
        if catalogue.decoys:
            facts["decoys"] = [tool.name for tool in catalogue.decoys]
        return {"tools": facts}

    def describe_case(self, item: Any, case: Case, settings: Settings) -> Mapping[str, Json]:
        """Check that the tools that a question expects exist."""
        catalogue = getattr(getattr(item, "callspec", None), "params", {}).get(self.fixture)
        if isinstance(catalogue, ToolCatalogue):
            check_expected_tools(catalogue, case)
        return {}


MARKER = ToolsMarker()


def read_catalogues(arguments: Arguments, node: Any) -> tuple[ToolCatalogue, ...]:
    """Return the catalogues of a marked test. A server is started once for all tests of the process.

    Raises:
        UsageError: A file or the server cannot be read, or a tool, a pattern or a name is wrong.
    """
    source = MARKER.read(arguments)
    where = f"{arguments.where}: @pytest.mark.llm_tools"
    root = node.config.rootpath
    folders = folders_above(node.path.parent, root)
    if source.file:
        tools = _read_file(source.file, folders, where)
    else:
        tools = _list_tools(source.command, root, source.timeout_s)
    decoys = [tool for name in source.decoys for tool in _read_file(name, folders, where)]
    return build_catalogues(tools, source.catalogues, decoys, where)


def _read_file(name: str, folders: Sequence[Path], where: str) -> tuple[ToolDefinition, ...]:
    try:
        path = find_path(name, folders)
    except BadFile as error:
        raise UsageError(f"{where}: {name}: {error.what}") from None
    try:
        return _read_file_unless_changed(path, name, path.stat().st_mtime_ns)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


@lru_cache(maxsize=32)
def _read_file_unless_changed(path: Path, name: str, _changed: int) -> tuple[ToolDefinition, ...]:
    # The time of the change is only part of the cache's key.
    return read_tool_file(path, name)


# The list of each server in this process, or the error: it is started once, also if that fails
_LISTED: dict[tuple[tuple[str, ...], Path], tuple[ToolDefinition, ...] | str] = {}


def _list_tools(command: tuple[str, ...], root: Path, timeout_s: float) -> tuple[ToolDefinition, ...]:
    key = command, root
    if key not in _LISTED:
        server = McpServer(command=command)
        try:
            listed = list_server_tools(server, "@pytest.mark.llm_tools", root, timeout_s)
            _LISTED[key] = read_tools(listed, f"@pytest.mark.llm_tools: MCP server {str(server)!r}")
        except LLMOpsError as error:
            _LISTED[key] = format_error(error)
    tools = _LISTED[key]
    if isinstance(tools, str):
        raise UsageError(tools)
    return tools


def _leaves_out(catalogue: ToolCatalogue, case: Case) -> bool:
    """Return whether a question expects a tool of the server that a catalogue leaves out."""
    return not set(_list_expected(case)).isdisjoint(catalogue.left_out)


def _list_expected(case: object) -> list[str]:
    """Return the tools that a question expects; empty if its key is wrong, which is reported when the test is set up."""
    if not isinstance(case, Case):
        return []
    try:
        return list_expected_tools(case.data, "")
    except UsageError:
        return []


def check_expected_tools(catalogue: ToolCatalogue, case: Case) -> list[str]:
    """Return the tools that a question expects.

    Raises:
        UsageError: One of them does not exist, or the case's key ``tool`` has the wrong form.
    """
    where = f"case {case.id}"
    expected = list_expected_tools(case.data, where)
    known = catalogue.names
    for name in expected:
        if name not in known:
            hint = describe_unknown_tool(name, known)
            raise UsageError(f"{where}: tool: the catalogue {str(catalogue)!r} has no tool {name!r}; {hint}")
    return expected
