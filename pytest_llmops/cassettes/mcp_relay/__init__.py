"""Stands between an MCP server and a client in another process, which starts it instead of the server."""
