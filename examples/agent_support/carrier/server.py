"""The MCP server of the carrier, which knows where parcels are. It runs in its own process; the agent asks it over stdio."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

PARCELS = json.loads((Path(__file__).parent / "parcels.json").read_text(encoding="utf-8"))

server = MCPServer("carrier")


@server.tool()
def track_parcel(order_id: str) -> str:
    """Tell where the parcel of an order is, and when it arrives."""
    parcel = PARCELS.get(order_id)
    if parcel is None:
        raise ToolError(f"no parcel has the number {order_id}")
    seen = datetime.now(UTC).strftime("%H:%M:%S")  # another answer each time
    return f"{parcel['place']}, seen there at {seen} UTC; arrives {parcel['arrives']}"


@server.tool()
def move_delivery(order_id: str, day: str) -> str:
    """Deliver a parcel on another day of the week."""
    if order_id not in PARCELS:
        raise ToolError(f"no parcel has the number {order_id}")
    PARCELS[order_id]["arrives"] = f"on {day}"
    return f"will be delivered on {day}"


if __name__ == "__main__":
    server.run("stdio")
