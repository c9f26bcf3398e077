"""Servers of MCP that behave in odd ways, and what clients of both majors of the SDK make of them."""
