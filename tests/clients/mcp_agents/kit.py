"""MCP servers, the calls that a scripted model makes to each, and what the agents of all clients share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clients.frameworks.kit import ScriptedCall, Turn

MODEL = "scripted"
TIMEOUT_S = 60.0
"""A server may be slow to start on a busy machine; some frameworks wait for 5 seconds only."""
FOLDER = "{folder}"
"""In arguments: the folder that an agent works in."""
_QUESTION = re.compile(r"\AWork with the server ([a-z-]{1,40}) in (\S{1,400})\.\Z")


@dataclass(frozen=True)
class Connection:
    """How a client reaches a server: a command with its arguments and environment, or a URL."""

    command: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    url: str = ""


@dataclass(frozen=True)
class Script:
    """The calls that a model makes to a server, turn by turn.

    Attributes:
        args: The server's arguments; a path of an npm package is relative to ``node_modules``.
        expected: What the tools' results contain.
        is_http: The server listens on a port; otherwise the client starts it.
    """

    args: tuple[str, ...]
    turns: tuple[Turn, ...]
    expected: tuple[str, ...]
    is_http: bool = False

    @property
    def needs_node(self) -> bool:
        return self.args[0].startswith("@")


def call(name: str, **arguments: Any) -> ScriptedCall:
    return ScriptedCall(name, arguments)


_EVERYTHING = "@modelcontextprotocol/server-everything/dist/index.js"
_EVERYTHING_TURNS = (
    Turn(calls=(call("echo", message="hello"),)),
    Turn(calls=(call("get-sum", a=2, b=3), call("get-sum", a=20, b=30))),
    Turn(calls=(call("trigger-long-running-operation", duration=0.2, steps=2),)),
)
_EVERYTHING_RESULTS = ("Echo: hello", "sum of 2 and 3 is 5", "sum of 20 and 30 is 50", "Steps: 2")

SCRIPTS = {
    "time": Script(
        args=("-m", "mcp_server_time", "--local-timezone", "Etc/UTC"),
        turns=(
            Turn(calls=(call("get_current_time", timezone="Asia/Tokyo"),)),
            Turn(
                calls=(
                    call(
                        "convert_time",
                        source_timezone="Asia/Tokyo",
                        time="12:00",
                        target_timezone="Asia/Kolkata",
                    ),
                )
            ),
        ),
        expected=("+09:00", "T08:30:00+05:30", "-3.5h"),
    ),
    "git": Script(
        args=("-m", "mcp_server_git", "--repository", FOLDER),
        turns=(
            Turn(calls=(call("git_status", repo_path=FOLDER),)),
            Turn(calls=(call("git_log", repo_path=FOLDER, max_count=2),)),
        ),
        expected=("nothing to commit", "Add the orders"),
    ),
    "sqlite": Script(
        args=("-c", "import mcp_server_sqlite; mcp_server_sqlite.main()", "--db-path", f"{FOLDER}/orders.db"),
        turns=(
            Turn(
                calls=(
                    call("create_table", query="CREATE TABLE orders (id INTEGER PRIMARY KEY, state TEXT)"),
                )
            ),
            Turn(
                calls=(call("write_query", query="INSERT INTO orders (state) VALUES ('open'), ('shipped')"),)
            ),
            Turn(calls=(call("read_query", query="SELECT count(*) AS orders FROM orders"),)),
        ),
        expected=("created successfully", "affected_rows", "'orders': 2"),
    ),
    "everything": Script(args=(_EVERYTHING, "stdio"), turns=_EVERYTHING_TURNS, expected=_EVERYTHING_RESULTS),
    "filesystem": Script(
        args=("@modelcontextprotocol/server-filesystem/dist/index.js", FOLDER),
        turns=(
            Turn(calls=(call("write_file", path=f"{FOLDER}/note.txt", content="2 boxes\n"),)),
            Turn(calls=(call("read_text_file", path=f"{FOLDER}/note.txt"),)),
            Turn(calls=(call("list_directory", path=FOLDER),)),
        ),
        expected=("Successfully wrote", "2 boxes", "[FILE] note.txt"),
    ),
    "everything-http": Script(
        args=(_EVERYTHING, "streamableHttp"),
        turns=_EVERYTHING_TURNS,
        expected=_EVERYTHING_RESULTS,
        is_http=True,
    ),
}

CLOCK = "clock"
"""The server of the tests with faults: a single call, as a fault makes the model ask anew what follows."""
CLOCK_SCRIPT = Script(
    args=SCRIPTS["time"].args,
    turns=(Turn(calls=(call("get_current_time", timezone="Asia/Tokyo"),)),),
    expected=("+09:00",),
)


def find_script(server: str) -> Script:
    return CLOCK_SCRIPT if server == CLOCK else SCRIPTS[server]


def fill(arguments: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Return arguments of a call with the folder in place of `FOLDER`."""
    return {
        name: value.replace(FOLDER, folder) if isinstance(value, str) else value
        for name, value in arguments.items()
    }


def make_question(server: str, folder: str) -> str:
    return f"Work with the server {server} in {folder}."


def parse_question(text: str) -> tuple[str, str]:
    """Return server and folder of a question; raises ValueError for another text."""
    match = _QUESTION.match(text)
    if match is None:
        raise ValueError(f"expected a question of make_question, got {text[:200]!r}")
    return match[1], match[2]
