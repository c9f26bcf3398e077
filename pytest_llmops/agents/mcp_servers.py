"""List the tools of an MCP server: a command that is started for it, or a URL."""

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmops.agents.mcp_listing import NO_SDK, TIME_OUT
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, shorten_text

TIMEOUT_S = 30.0
# The SDK needs up to some seconds to end a server that does not end by itself: 0.5 s to flush, 2 s to wait, 2 s after SIGTERM, 2 s after SIGKILL
GRACE_S = 15.0
MAX_STDERR_BYTES = 20_000
MAX_STDERR_LINES = 8
INSTALL = "python -m pip install mcp"
_PYTHON_NAMES = ("python", "python3")


@dataclass(frozen=True, slots=True)
class McpServer:
    """How to reach an MCP server.

    Attributes:
        command: The command that starts it, and its arguments; empty: it has a URL. As the program, ``python`` is the interpreter that
            runs this code.
        url: Its address, for Streamable HTTP.
        headers: Headers of the requests to the URL.
    """

    command: tuple[str, ...] = ()
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return shorten_text(self.url or shlex.join(self.command), 200)


def parse_command(command: str | Sequence[str], where: str) -> tuple[str, ...]:
    """Return a command as a list of its parts.

    Args:
        command: A text, as for a shell, or its parts.
        where: What names the command, for errors.

    Raises:
        UsageError: It is empty, or a quotation mark is not closed.

    >>> parse_command("serve --file 'my tools.json'", "here")
    ('serve', '--file', 'my tools.json')
    """
    parts: Sequence[str] = ()
    if isinstance(command, str):
        with suppress(ValueError):
            parts = shlex.split(command)
    else:
        parts = command
    if not parts:
        raise UsageError(
            f"{where}: expected a command that starts an MCP server, like 'python -m orders_server', got {command!r}"
        )
    return tuple(parts)


def list_server_tools(
    server: McpServer, where: str, folder: Path, timeout_s: float = TIMEOUT_S
) -> list[dict[str, Json]]:
    """Return the tools of a server as it lists them (``tools/list``, all pages). A server that was started for it is ended again.

    Args:
        server: The server.
        where: What names it, for errors.
        folder: The working directory of its command.
        timeout_s: Seconds for its start and the whole list.

    Raises:
        UsageError: The package ``mcp`` is not installed, the server does not start or answer in time, or its answer is wrong. The error
            has the last lines of the server's standard error.
    """
    command = list(server.command)
    if command[:1] and command[0] in _PYTHON_NAMES:
        command[0] = sys.executable
    request = {
        "command": command,
        "url": server.url,
        "headers": dict(server.headers),
        "folder": str(folder),
        "timeout_s": timeout_s,
    }
    # A file and no pipe: a process that the server leaves behind could hold a pipe open.
    with tempfile.TemporaryFile() as stderr:
        answer = _run_listing(request, stderr, timeout_s + GRACE_S)
        problem = answer.get("problem")
        if problem is None:
            tools: list[dict[str, Json]] = answer["tools"]
            return tools
        lines = _read_last_lines(stderr)
    if problem == NO_SDK:
        raise UsageError(
            f"{where}: listing the tools of an MCP server needs the package 'mcp', which is not installed: {INSTALL}"
        )
    if problem == TIME_OUT:
        problem = f"it did not answer within {timeout_s:g} s"
    message = f"{where}: expected the list of tools of the MCP server {str(server)!r}, got none: {shorten_text(problem, 300)}"
    if lines:
        raise UsageError(
            "\n".join([f"{message}; its standard error ends:", *(f"  {line}" for line in lines)])
        )
    if server.url:
        raise UsageError(
            f"{message}; check the URL; a server that needs a key gets it by --header 'NAME: VALUE'"
        )
    raise UsageError(f"{message}; start it by itself to see why")


def _run_listing(request: Mapping[str, Any], stderr: Any, timeout_s: float) -> dict[str, Any]:
    """Run the program `mcp_listing`, and return its output."""
    # -P: a module `mcp` or `json` of the project's must not hide the real one.
    program = [sys.executable, "-P", "-m", "pytest_llmops.agents.mcp_listing"]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr)  # noqa: S603 -- our own
    try:
        output, _ = process.communicate(json.dumps(request).encode(), timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return {"problem": TIME_OUT}
    finally:
        _end_process(process)
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError:
        return {"problem": f"the program that lists the tools ended with exit status {process.returncode}"}
    return answer


def _end_process(process: "subprocess.Popen[bytes]") -> None:
    """End the program if it still runs, after it has ended its server."""
    if process.poll() is not None:
        return
    if os.name == "posix":
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    process.kill()
    process.wait()


def _read_last_lines(file: Any) -> list[str]:
    """Return the last lines of a file, without empty ones, each shortened."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - MAX_STDERR_BYTES))
    text = file.read(MAX_STDERR_BYTES).decode("utf-8", "replace")
    lines = [shorten_text(line.rstrip(), 300) for line in text.splitlines() if line.strip()]
    return lines[-MAX_STDERR_LINES:]
