"""Records and replays the messages between MCP clients and servers, below every agent framework."""
