"""Trace tapes: the content of an exported trace, as a file from which a test replays the run."""
