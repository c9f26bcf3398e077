"""Commands on tools: write the tools of an MCP server into a file."""

import argparse
from typing import Any

from pytest_llmops.cli.common import add_command, add_group, import_command

# As in `agents.mcp_servers`, which is not imported only to show the help
TIMEOUT_S = 30.0


def add_tools_group(groups: Any) -> None:
    """Declare the group ``tools``."""
    commands = add_group(groups, "tools", "list the tools of an MCP server, for tests with llm_tools")
    command = add_command(
        commands,
        "list",
        import_command("tools_list", "list_tools"),
        "write the tools of an MCP server as JSON",
        "The marker llm_tools reads the file. Needs the package mcp: pip install mcp",
    )
    command.add_argument(
        "server", help="the command that starts the server ('python -m orders_server'), or its URL"
    )
    command.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="a header of the requests to the URL, such as a key (repeatable)",
    )
    command.add_argument(
        "--timeout",
        type=_parse_seconds,
        default=TIMEOUT_S,
        metavar="SECONDS",
        help=f"time limit in seconds for the start of the server and its list (default: {TIMEOUT_S:g})",
    )
    command.add_argument("--output", metavar="FILE", help="file to write (default: the standard output)")
    command.add_argument("--json", action="store_true", help="print JSON (the output is always JSON)")


def _parse_seconds(text: str) -> float:
    """Return a number of seconds above 0 from an argument."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text!r}")
    return seconds
