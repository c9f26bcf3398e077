"""Write the tools of an MCP server as JSON, in the form of its own answer to ``tools/list``."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from pytest_llmops.agents.mcp_servers import McpServer, list_server_tools, parse_command
from pytest_llmops.agents.tool_definitions import read_tools
from pytest_llmops.cli.common import check_output_path, print_json, print_line, write_output_file
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import escape_json_output, format_count

WHERE = "llmops tools list"


def list_tools(args: argparse.Namespace) -> int:
    """List the tools of a server, check them, and write them; return the exit status 0.

    Raises:
        UsageError: The server cannot be listed, or one of its tools is wrong.
    """
    output = None
    if args.output:
        output = Path(args.output)
    check_output_path("--output", output, {})
    tools = list_server_tools(_read_server(args), WHERE, Path.cwd(), args.timeout)
    read_tools(tools, f"{WHERE}: {args.server}")
    if output is None:
        print_json({"tools": tools})
        return 0
    write_output_file(output, escape_json_output(json.dumps({"tools": tools}, indent=1)) + "\n")
    print_line(f"{output}: {format_count(len(tools), 'tool')}")
    return 0


def _read_server(args: argparse.Namespace) -> McpServer:
    if args.server.startswith(("http://", "https://")):
        return McpServer(url=args.server, headers=_read_headers(args.header))
    if args.header:
        raise UsageError("--header: expected a URL as the server, got a command; a command has no headers")
    return McpServer(command=parse_command(args.server, WHERE))


def _read_headers(texts: Iterable[str]) -> dict[str, str]:
    headers = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip() or not value.strip():
            # The text may be a key, which an error must not show.
            raise UsageError(
                "--header: expected 'NAME: VALUE', got a text without a name, a colon or a value"
            )
        headers[name.strip()] = value.strip()
    return headers
