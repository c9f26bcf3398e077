"""The table of clients and MCP servers in docs/explanation/measured/agents.md, made of what the tests gave."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clients.mcp_agents import kit
from clients.mcp_agents.project import CLIENTS
from support.marked_part import MarkedPart

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "measured" / "agents.md"
PART = MarkedPart(
    PAGE,
    "<!-- clients and servers: written by tests/clients/test_mcp_agents.py -->",
    "<!-- end of clients and servers -->",
)
NAMES = {
    "time": "mcp-server-time",
    "git": "mcp-server-git",
    "sqlite": "mcp-server-sqlite",
    "everything": "server-everything",
    "filesystem": "server-filesystem",
    "everything-http": "server-everything over HTTP",
}
UNKNOWN = "–"
OWN = "its own"

Rows = dict[str, list[str]]
"""The cells of each client: its name, the version of mcp, and what happened with each server."""


def make_cells(client: str, versions: Mapping[str, str], cells: Mapping[str, str]) -> list[str]:
    """Return the row of a client; a server that was not run has a dash."""
    packages = [version for package, version in versions.items() if package != "mcp"]
    name = " ".join((CLIENTS[client].name, ", ".join(packages))).strip()
    mcp = versions["mcp"] if CLIENTS[client].major else OWN
    return [name, mcp, *(cells.get(server, UNKNOWN) for server in kit.SCRIPTS)]


def format_table(rows: Rows) -> str:
    head = ["client", "mcp", *(NAMES[server] for server in kit.SCRIPTS)]
    lines = [head, ["---"] * len(head), *(rows[client] for client in CLIENTS if client in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def read_rows() -> Rows:
    """Return the rows of the stored page by client."""
    rows: Rows = {}
    for line in PART.read().splitlines()[2:]:
        cells = line.strip("| ").split(" | ")
        rows[_find_client(cells)] = cells
    return rows


def _find_client(cells: list[str]) -> str:
    for key, client in CLIENTS.items():
        mcp = f"{client.major}." if client.major else OWN
        if cells[0].startswith(client.name) and cells[1].startswith(mcp):
            return key
    raise AssertionError(f"{PAGE.name}: no client of the tests is called {cells[0]!r} with mcp {cells[1]}")


def make_page(rows: Rows) -> str:
    return PART.fill(format_table(rows))


def write_rows(rows: Rows) -> None:
    """Put rows on the page, and keep the others."""
    PART.write(lambda: format_table({**read_rows(), **rows}))
