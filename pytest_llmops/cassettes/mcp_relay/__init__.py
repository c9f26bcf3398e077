"""Relays messages between an MCP server and a client in another process, which starts the relay instead of the server."""
