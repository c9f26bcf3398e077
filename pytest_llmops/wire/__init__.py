"""Bodies of HTTP messages as readable JSON, and back to the same bytes."""
