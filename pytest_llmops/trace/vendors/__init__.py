"""The built-in wire formats: each module states its own as ``WIRE_FORMAT``."""
