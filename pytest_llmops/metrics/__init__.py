"""Pure functions from texts, vectors and rankings to numbers: no input or output, no state."""
