"""MCP servers in the arguments of a client that is started as a process: ``--mcp-config``, as Claude Code has it.

Such a client starts the servers itself, where no patch sees them. So its arguments make it start the relay instead
(`mcp_relay`), which is between it and the server. Its own configuration is not changed: it gets another argument.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_llmops._util.json_values import get_mapping, parse_json
from pytest_llmops.cassettes import active_tape

OPTION = "--mcp-config"
SERVERS = "mcpServers"
# Runs the relay in a Python that ignores the environment, which is the server's, and uses the packages of this process
_CODE = "import sys; sys.path += {folders!r}; from pytest_llmops.cassettes.mcp_relay.__main__ import main; sys.exit(main())"


def relay_servers(args: Any, folder: Any) -> Any:
    """Return the arguments of a process, with the relay in the place of the MCP servers that they name.

    They stay as they are if there are none, and without a tape that records calls of tools.

    Args:
        args: The program and its arguments, in any form that `subprocess` accepts.
        folder: Where the process is started; None: here.
    """
    if not isinstance(args, (list, tuple)) or not any(_is_option(arg) for arg in args):
        return args
    tape = active_tape.current_tape()
    if active_tape.starts_tool_server() or tape is None or not tape.uses_tools():
        return args
    changed: list[Any] = []
    is_value = False
    for arg in args:
        if is_value and isinstance(arg, str) and not arg.startswith("-"):
            changed.append(_relay_in_value(arg, folder))
            continue
        is_value = arg == OPTION  # several values may follow
        if _is_option(arg) and not is_value:
            value = _relay_in_value(arg.partition("=")[2], folder)
            changed.append(f"{OPTION}={value}")
        else:
            changed.append(arg)
    return changed


def _is_option(arg: object) -> bool:
    """Return whether an argument is the option, alone or with its value."""
    return isinstance(arg, str) and arg.partition("=")[0] == OPTION


def _relay_in_value(value: str, folder: Any) -> str:
    """Return a value of the option, JSON or the path of a file, as JSON with the relay; as it is if it names no server."""
    config = parse_json(value)
    if not isinstance(config, dict):
        config = _read_file(value, folder)
    if not isinstance(config, dict):
        return value
    servers = get_mapping(config, SERVERS)
    relayed = {name: _relay_server(name, server) for name, server in servers.items()}
    if relayed == servers:
        return value
    return json.dumps({**config, SERVERS: relayed})


def _read_file(value: str, folder: Any) -> object:
    """Return the JSON of a file; None if it does not exist: the client reports that."""
    try:
        return parse_json(Path(os.fsdecode(folder or "."), value).read_bytes())
    except (OSError, ValueError, TypeError):
        return None


def _relay_server(name: str, server: Any) -> Any:
    """Return a server of the configuration with the relay in its place, if the client starts it."""
    if not isinstance(server, dict):
        return server
    if "url" in server:
        _note_address(name)
    command = server.get("command")
    args = server.get("args") or []
    if server.get("type", "stdio") != "stdio" or not isinstance(command, str) or not isinstance(args, list):
        return server
    return {**server, "command": sys.executable, "args": [*make_relay_arguments(), command, *args]}


def make_relay_arguments() -> Sequence[str]:
    """Return the arguments of this Python that start the relay; the command of the server follows."""
    return ["-I", "-c", _CODE.format(folders=[folder for folder in sys.path if folder])]


def _note_address(name: str) -> None:
    """Note in the report of the test that a server is not recorded."""
    tape = active_tape.current_tape()
    if tape is not None:
        tape.note_once(
            f"the MCP server {name!r} is at an address that a client in another process connects to: it is not recorded"
        )
